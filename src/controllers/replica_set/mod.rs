//! Keeps as many pods as a ReplicaSet asks for: claims those that are its own, makes what is missing, deletes what
//! is too much, and counts.
//!
//! Finished and terminating pods do not count and are replaced at once. Every pod holds a *slot*, the smallest
//! index that no other replica holds, so that two leaders that repaired the same loss can be told to have made the
//! same pod twice (`rules.md` 11).

mod create;
mod status;
mod surplus;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use crate::object::{Key, kinds};
use crate::store::{Entry, Snapshot};
use crate::time::Now;

use super::{BURST, Plan, open, owner, pod};

/// Who says what this controller has to say.
pub const COMPONENT: &str = "replicaset-controller";

/// A pod that counts as a replica.
#[derive(Debug)]
struct Replica {
    entry: Arc<Entry>,
    pod: Pod,
}

/// Brings the pods of the ReplicaSet at `key` closer to what it asks for.
pub fn reconcile(view: &Snapshot, key: &Key, now: Now) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    let Some(set) = entry.typed::<ReplicaSet>() else { return Plan::default() };
    let Some(spec) = &set.spec else { return Plan::default() };
    let Some(selector) = owner::selector(&spec.selector) else { return Plan::default() };

    let claimed = owner::claim(view, entry, &selector, &kinds::POD, pod::active);
    let mut plan = Plan { changes: claimed.changes, ..Plan::default() };
    let replicas: Vec<Replica> =
        claimed.objects.into_iter().map(|entry| Replica { pod: entry.typed().unwrap_or_default(), entry }).collect();
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    if entry.terminating {
        // Its dependants are the garbage collector's now.
    } else if replicas.len() < wanted && open(view, &key.namespace) {
        create::missing(&mut plan, view, entry, &replicas, (wanted - replicas.len()).min(BURST));
    } else if replicas.len() > wanted {
        surplus::delete(&mut plan, view, entry, &replicas, (replicas.len() - wanted).min(BURST));
    }
    status::count(&mut plan, entry, &set, &replicas, now);
    plan
}
