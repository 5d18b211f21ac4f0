//! Empties a namespace that is being deleted, and lets go of it when nothing is left.

use std::sync::Arc;

use serde_json::json;

use crate::object::Key;
use crate::store::{Change, DeleteOptions, Entry, Precondition, Snapshot};

use super::{BURST, Plan, computed, edit};

/// Brings a terminating namespace closer to its end: what is in it is deleted as a user would (pods with their
/// grace, finalizers respected), and once it is empty, and nobody holds it by a finalizer, it is removed.
pub fn reconcile(view: &Snapshot, key: &Key) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    let mut plan = Plan::default();
    show_phase(&mut plan, entry);
    if !entry.terminating {
        return plan;
    }
    let mut empty = true;
    for object in contents(view, &key.name) {
        empty = false;
        if !object.terminating && plan.changes.len() < BURST {
            let options = DeleteOptions { when: Precondition::same(object), ..DeleteOptions::default() };
            plan.changes.push(Change::Delete { key: object.key.clone(), options });
        }
    }
    if empty && edit::finalizers(&entry.value()).is_empty() {
        let when = Precondition::same(entry);
        plan.changes = vec![Change::Remove { key: key.clone(), when }];
    }
    plan
}

/// `status.phase` is what kubectl shows as the namespace's status.
fn show_phase(plan: &mut Plan, entry: &Entry) {
    let phase = if entry.terminating { "Terminating" } else { "Active" };
    if entry.phase.as_deref() != Some(phase) {
        let mut status = json!(edit::map(&entry.value()["status"]));
        status["phase"] = phase.into();
        plan.changes.push(Change::Status { key: entry.key.clone(), status, when: Precondition::same(entry) });
    }
}

/// Lists what keeps a namespace from going.
fn contents<'a>(view: &'a Snapshot, namespace: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> {
    let namespaced = view.kinds().filter(|k| k.namespaced);
    namespaced.flat_map(move |kind| view.list(kind, Some(namespace))).filter(|e| !computed(e))
}
