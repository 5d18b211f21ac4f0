//! Pods that no kubelet will ever end: unbound ones that are being deleted, those of a node that is no more, and
//! finished ones beyond what anybody will read.

use std::sync::Arc;
use std::time::Duration;

use crate::object::{Key, kinds};
use crate::store::{Change, DeleteOptions, Entry, Precondition, Snapshot};
use crate::time::{Now, Wall};

use super::{BURST, Plan, edit, job, pod};

/// How many finished pods are kept (upstream's `--terminated-pod-gc-threshold`).
pub const FINISHED_KEPT: usize = 12_500;
/// How long a node may be missing before its pods are deleted: it may be about to register again (upstream's
/// quarantine).
pub const QUARANTINE: Duration = Duration::from_secs(40);
/// Since when the node of a pod is missing. Kept on the pod, so that neither a restart nor a new leader forgets it.
const MISSING_SINCE: &str = "skein.dev/node-missing-since";

/// Looks after the pod at `key`.
pub fn reconcile(view: &Snapshot, key: &Key, now: Now) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    if job::is_forgotten(view, entry) {
        return Plan { changes: vec![job::released(entry)], ..Plan::default() };
    }
    match &entry.node {
        None if entry.terminating => Plan { changes: end(entry), ..Plan::default() },
        Some(node) if view.get(&Key::cluster(&kinds::NODE, node.clone())).is_none() => lost_node(entry, now),
        _ if pod::finished(entry) && !entry.terminating => {
            let changes = trim(view);
            if changes.is_empty() { found_node(entry) } else { Plan { changes, ..Plan::default() } }
        }
        _ => found_node(entry),
    }
}

/// Deletes without grace, since nobody is there to grant it. Empty if that was done and only finalizers are left.
fn end(entry: &Entry) -> Vec<Change> {
    if entry.terminating && entry.value()["metadata"]["deletionGracePeriodSeconds"] == 0 {
        return Vec::new();
    }
    let options = DeleteOptions { when: Precondition::same(entry), grace_seconds: Some(0), ..DeleteOptions::default() };
    vec![Change::Delete { key: entry.key.clone(), options }]
}

/// Writes down when the node was first missed; deletes the pod once that is long enough ago.
fn lost_node(entry: &Arc<Entry>, now: Now) -> Plan {
    let mut plan = Plan::default();
    let mut object = entry.value();
    let since = edit::annotation(&object, MISSING_SINCE).and_then(|t| t.parse::<i64>().ok());
    // What lies ahead was written by a clock that was wrong, and may lie ahead for days.
    let Some(since) = since.map(Wall::from_secs).filter(|since| *since <= now.wall) else {
        edit::annotate(&mut object, MISSING_SINCE, &now.wall.0.div_euclid(1_000_000).to_string());
        plan.changes.push(edit::update(entry, object));
        plan.look_again(QUARANTINE);
        return plan;
    };
    let left = (since + QUARANTINE).0.saturating_sub(now.wall.0);
    match u64::try_from(left) {
        Ok(left) if left > 0 => plan.look_again(Duration::from_micros(left)),
        _ => plan.changes = end(entry),
    }
    plan
}

/// Forgets that the node was missing.
fn found_node(entry: &Entry) -> Plan {
    let mut plan = Plan::default();
    let mut object = entry.value();
    if edit::unannotate(&mut object, MISSING_SINCE) {
        plan.changes.push(edit::update(entry, object));
    }
    plan
}

/// Deletes the finished pods that changed longest ago, if there are too many.
fn trim(view: &Snapshot) -> Vec<Change> {
    let finished = || view.list(&kinds::POD, None).filter(|e| pod::finished(e) && !e.terminating);
    let surplus = finished().count().saturating_sub(FINISHED_KEPT);
    if surplus == 0 {
        return Vec::new();
    }
    let mut oldest: Vec<&Arc<Entry>> = finished().collect();
    oldest.sort_by_key(|e| e.revision);
    oldest.into_iter().take(surplus.min(BURST)).flat_map(|e| end(e)).collect()
}
