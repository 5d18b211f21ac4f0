//! Keeps as many pods as a ReplicaSet asks for: claims those that are its own, makes what is missing, deletes what
//! is too much, and counts.
//!
//! Finished, terminating and lost pods do not count, in the status neither, and are replaced at once. Every pod holds a
//! *slot*, an index that no other replica holds, so that pods that were made for one another can be told: a substitute
//! takes the slot of a pod that is lost, and when that comes back one of the two is too many (`surplus`).
//!
//! A lost pod is not deleted, unless the ReplicaSet asks for no pods at all: then it will not be wanted when it comes
//! back either. It is marked, and its node ends it.

mod create;
mod status;
mod surplus;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use crate::object::{Key, kinds};
use crate::store::{Entry, Snapshot};
use crate::time::Now;

use super::node::Nodes;
use super::{BURST, Plan, open, owner, pod};

/// Who says what this controller has to say.
pub const COMPONENT: &str = "replicaset-controller";

/// How soon it is looked again whether what is too much may go.
const PATIENCE: Duration = Duration::from_secs(1);

/// A pod that counts as a replica.
#[derive(Debug)]
struct Replica {
    entry: Arc<Entry>,
    pod: Pod,
}

/// Brings the pods of the ReplicaSet at `key` closer to what it asks for.
pub fn reconcile(view: &Snapshot, key: &Key, now: Now) -> Plan {
    reconcile_with(view, key, now, false)
}

/// As [`reconcile`], on a side that hears no leader: of what is too much, what a caretaker made goes first, and only where this
/// side sees the node.
pub fn look_after(view: &Snapshot, key: &Key, now: Now) -> Plan {
    reconcile_with(view, key, now, true)
}

fn reconcile_with(view: &Snapshot, key: &Key, now: Now, leaderless: bool) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    let Some(set) = entry.typed::<ReplicaSet>() else { return Plan::default() };
    let Some(spec) = &set.spec else { return Plan::default() };
    let Some(selector) = owner::selector(&spec.selector) else { return Plan::default() };

    let claimed = owner::claim(view, entry, &selector, &kinds::POD, pod::active);
    let mut plan = Plan { changes: claimed.changes, ..Plan::default() };
    let mut nodes = Nodes::new(view, now.wall);
    let (replicas, lost) = tell_lost(&mut plan, &mut nodes, claimed.objects);
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    // Of two that hold one slot only one may run, so the other is none that anybody can count on.
    let holder = create::holder(entry, &set);
    let counted = if holder.is_some() { create::slots(&replicas) } else { replicas.len() };
    if entry.terminating {
        // Its dependants are the garbage collector's now.
    } else if counted < wanted && open(view, &key.namespace) {
        create::missing(&mut plan, view, entry, holder, &replicas, &lost, (wanted - counted).min(BURST));
    } else if replicas.len() + lost.len() <= wanted {
        // Nothing is too much.
    } else if !surplus::may_go(&mut nodes, &replicas, wanted) {
        plan.look_again(PATIENCE);
    } else {
        let doomed = surplus::choose(view, entry, &replicas, &lost, wanted, leaderless);
        surplus::delete(&mut plan, entry, doomed.into_iter().take(BURST));
    }
    status::count(&mut plan, entry, &set, &replicas, now);
    plan
}

/// Tells the pods that count from those that are lost, and plans another look for when the next one will be.
fn tell_lost(plan: &mut Plan, nodes: &mut Nodes<'_>, pods: Vec<Arc<Entry>>) -> (Vec<Replica>, Vec<Replica>) {
    let (mut live, mut lost) = (Vec::new(), Vec::new());
    for entry in pods {
        let left = nodes.until_lost(&entry);
        let replica = Replica { pod: entry.typed().unwrap_or_default(), entry };
        match left {
            Some(Duration::ZERO) => lost.push(replica),
            Some(left) => {
                plan.look_again(left);
                live.push(replica);
            }
            None => live.push(replica),
        }
    }
    (live, lost)
}
