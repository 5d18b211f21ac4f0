//! What a caretaker does of what a leader would (design, section 4; rules 2, 10): it keeps what is asked for running, and does
//! nothing that needs the whole cluster's word.
//!
//! | of | a caretaker does |
//! |---|---|
//! | ReplicaSets | makes what is missing, unless it must never run twice; deletes only on nodes that it sees |
//! | Deployments | scales, and rolls out what is new on its side; a rollout under way waits for a leader, unless the annotation [`hold::PARTITION`] is `run` |
//! | namespaces, owners | deletes what is in one, or was owned, where that is known to be deleted; ends nothing that a finalizer holds |
//! | Jobs | nothing: what has been tried elsewhere it cannot know |
//! | disruption budgets | nothing: evictions they allow need a leader |
//! | pods nobody will end | nothing: their node may be on another side |
//! | roles of all clusters | nothing: they are there |

use crate::object::{Key, hold, kinds};
use crate::store::{Change, Entry, Snapshot};
use crate::time::Now;

use super::node::{Nodes, Standing};
use super::{Controller, Plan, deployment, reconcile, replica_set};

/// The annotation of pods that a caretaker has made.
pub const MADE_BY_CARETAKER: &str = "skein.dev/made-by-caretaker";

/// Tells whether a caretaker has made a pod.
pub fn is_made_by_caretaker(pod: &Entry) -> bool {
    pod.value()["metadata"]["annotations"][MADE_BY_CARETAKER].is_string()
}

/// As [`reconcile`], within what a caretaker may do.
pub fn look_after(controller: Controller, view: &Snapshot, key: &Key, now: Now) -> Plan {
    let mut plan = match controller {
        Controller::Deployment => deployment::look_after(view, key, now),
        Controller::ReplicaSet => replica_set::look_after(view, key, now),
        _ => reconcile(controller, view, key, now),
    };
    let mut nodes = Nodes::new(view, now.wall);
    let before = plan.changes.len();
    plan.changes.retain(|change| match controller {
        Controller::ReplicaSet => may_delete(view, &mut nodes, change) && !makes_what_holds(change),
        Controller::Namespace => !matches!(change, Change::Remove { .. }),
        Controller::Garbage => is_orphaned(view, change),
        // It is ended once everybody's objects are known to be gone.
        Controller::CustomResources => !matches!(change, Change::Update { .. }),
        // Whether an attempt has failed, or runs elsewhere, only the whole cluster knows.
        Controller::PodGarbage | Controller::Job | Controller::Disruption | Controller::ClusterRole => false,
        Controller::Deployment | Controller::ServiceAccount | Controller::TaintEviction => true,
    });
    if plan.changes.len() < before {
        // What they tell may not have been done.
        plan.notes.clear();
    }
    plan
}

/// Whether a ReplicaSet's change deletes nothing, or a pod that no other side can have.
fn may_delete(view: &Snapshot, nodes: &mut Nodes<'_>, change: &Change) -> bool {
    let Change::Delete { key, .. } = change else { return true };
    let Some(pod) = view.get(key).filter(|_| *key.kind == kinds::POD) else { return true };
    !nodes.is_lost(pod) && nodes.standing(pod) == Standing::Settled
}

/// Whether a change makes a pod that must never run twice: another side may have it.
fn makes_what_holds(change: &Change) -> bool {
    matches!(change, Change::Create { object, .. } if hold::holds(object))
}

/// Whether a change deletes an object all of whose owners are known to be deleted.
fn is_orphaned(view: &Snapshot, change: &Change) -> bool {
    let Change::Delete { key, .. } = change else { return false };
    let Some(entry) = view.get(key) else { return false };
    let object = entry.value();
    let owners = object["metadata"]["ownerReferences"].as_array();
    let is_buried = |owner: &serde_json::Value| {
        owner["uid"].as_str().and_then(|uid| uid.parse().ok()).is_some_and(|uid| view.is_buried(uid))
    };
    owners.is_some_and(|owners| owners.iter().all(is_buried))
}
