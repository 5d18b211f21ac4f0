//! Which pods go when there are too many, and when: a function of the state (`rules.md` 11), so that every leader that
//! sees the same comes to the same.
//!
//! First those that share a slot, which were made for one another while a node was cut off: the oldest that is ready
//! stays. Then upstream's order (`ActivePodsWithRanks`), by which the younger goes of two that are alike. Never more
//! than there are too many.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Pod;

use crate::ids::Uid;
use crate::object::{NoteType, kinds};
use crate::store::{Change, DeleteOptions, Entry, Precondition, Snapshot};
use crate::time::Wall;

use super::{COMPONENT, Plan, Replica, create, pod};
use crate::controllers::node::{Nodes, Standing};
use crate::controllers::{is_made_by_caretaker, note};

/// Says how dear a pod is: cheaper ones are deleted first.
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// Tells whether what is known of the nodes of all `replicas` is enough to choose among them.
///
/// It is not while any node is returning, whether it holds one of them or not: it may hold pods, and a size of the set, that
/// the view does not show yet, or shows as it was once on the way to what it is.
/// Nor while one does not answer and is not lost yet: then the pods there look worse than they may be. The latter does
/// not matter if all are to go.
pub fn may_go(nodes: &mut Nodes<'_>, replicas: &[Replica], wanted: usize) -> bool {
    let doubtful = replicas.iter().any(|r| nodes.standing(&r.entry) == Standing::Doubtful);
    (wanted == 0 || !doubtful) && !nodes.is_any_returning()
}

/// Chooses the pods that are missed least when so many are `wanted`; the lost ones go too when none is. `leaderless`: for a
/// caretaker nothing that is lost goes, and what caretakers made goes first.
pub fn choose<'a>(
    view: &Snapshot,
    set: &Entry,
    replicas: &'a [Replica],
    lost: &'a [Replica],
    wanted: usize,
    leaderless: bool,
) -> Vec<&'a Replica> {
    if wanted == 0 && !leaderless {
        return replicas.iter().chain(lost).collect();
    }
    let count = replicas.len().saturating_sub(wanted);
    if count == 0 {
        return Vec::new();
    }
    let (crowd, doubles) = (crowd(view, set), doubles(replicas));
    let first = |r: &Replica| leaderless && is_made_by_caretaker(&r.entry);
    let mut order: Vec<&Replica> = replicas.iter().collect();
    order.sort_by_cached_key(|r| (!first(r), !doubles.contains(&r.entry.uid), worth(r, &crowd)));
    order.truncate(count);
    order
}

/// The pods whose slot another one is to keep.
fn doubles(replicas: &[Replica]) -> BTreeSet<Uid> {
    let mut slots: BTreeMap<usize, Vec<&Replica>> = BTreeMap::new();
    for replica in replicas {
        if let Some(slot) = create::slot(replica) {
            slots.entry(slot).or_default().push(replica);
        }
    }
    let unripe = |r: &&Replica| {
        let created = r.pod.metadata.creation_timestamp.as_ref().map_or(Wall(i64::MAX), Wall::of);
        (pod::ready_since(&r.pod).is_none(), created, r.entry.uid)
    };
    let extras = slots.into_values().flat_map(|mut holders| {
        holders.sort_by_key(unripe);
        holders.into_iter().skip(1)
    });
    extras.map(|r| r.entry.uid).collect()
}

/// Plans the deletion of pods.
pub fn delete<'a>(plan: &mut Plan, set: &Entry, doomed: impl Iterator<Item = &'a Replica>) {
    for replica in doomed {
        let entry = &replica.entry;
        let options = DeleteOptions { when: Precondition::same(entry), ..DeleteOptions::default() };
        plan.changes.push(Change::Delete { key: entry.key.clone(), options });
        let message = format!("Deleted pod: {}", entry.key.name);
        plan.notes.push(note(set, NoteType::Normal, COMPONENT, "SuccessfulDelete", message));
    }
}

/// What a pod is compared by; the least goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    scheduled: bool,
    phase: u8,
    ready: bool,
    cost: i32,
    neighbours: Reverse<usize>,
    /// Unknown before known, newest before oldest.
    ready_since: (bool, Reverse<Wall>),
    restarts: Reverse<i32>,
    sidecar_restarts: Reverse<i32>,
    created: (bool, Reverse<Wall>),
    /// Upstream leaves ties to chance.
    uid: Uid,
}

fn worth(replica: &Replica, crowd: &BTreeMap<String, usize>) -> Worth {
    let Replica { entry, pod } = replica;
    let ready = pod::ready_since(pod);
    let (restarts, sidecar_restarts) = restarts(pod);
    let created = pod.metadata.creation_timestamp.as_ref().map(Wall::of);
    Worth {
        scheduled: entry.node.is_some(),
        phase: match entry.phase.as_deref() {
            Some("Running") => 2,
            Some("Unknown") => 1,
            _ => 0,
        },
        ready: ready.is_some(),
        cost: cost(pod),
        neighbours: Reverse(entry.node.as_ref().and_then(|n| crowd.get(n)).copied().unwrap_or(0)),
        ready_since: newest_first(ready),
        restarts: Reverse(restarts),
        sidecar_restarts: Reverse(sidecar_restarts),
        created: newest_first(created),
        uid: entry.uid,
    }
}

fn newest_first(time: Option<Wall>) -> (bool, Reverse<Wall>) {
    let time = time.unwrap_or_default();
    (time != Wall::default(), Reverse(time))
}

fn cost(pod: &Pod) -> i32 {
    let annotations = pod.metadata.annotations.as_ref();
    annotations.and_then(|a| a.get(COST)?.parse().ok()).unwrap_or(0)
}

/// Counts active pods by node: those of all ReplicaSets that share this one's controller, so that a rollout thins
/// out the node where old and new pods crowd.
fn crowd(view: &Snapshot, set: &Entry) -> BTreeMap<String, usize> {
    let siblings: Vec<Uid> = match set.controller {
        Some(owner) => view.controlled_by(owner, &kinds::REPLICA_SET).map(|e| e.uid).collect(),
        None => vec![set.uid],
    };
    let mut crowd = BTreeMap::new();
    let pods = siblings.iter().flat_map(|uid| view.controlled_by(*uid, &kinds::POD));
    for node in pods.filter(|e| pod::active(e)).filter_map(|e| e.node.clone()) {
        *crowd.entry(node).or_default() += 1;
    }
    crowd
}

/// The highest restart count among containers, and among sidecars (init containers that are restarted always).
fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else { return (0, 0) };
    let most = |it: &mut dyn Iterator<Item = i32>| it.max().unwrap_or(0);
    let init = pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten());
    let sidecars: Vec<&str> =
        init.filter(|c| c.restart_policy.as_deref() == Some("Always")).map(|c| c.name.as_str()).collect();
    let regular = most(&mut status.container_statuses.iter().flatten().map(|s| s.restart_count));
    let init = status.init_container_statuses.iter().flatten();
    let sidecar = most(&mut init.filter(|s| sidecars.contains(&s.name.as_str())).map(|s| s.restart_count));
    (regular, sidecar)
}
