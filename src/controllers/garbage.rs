//! What becomes of dependants when their owner goes, and of owners that wait for dependants: Kubernetes' cascading
//! deletion by owner references.
//!
//! - *Background*: the owner is gone, so what it alone owned is deleted.
//! - *Foreground*: the owner stays, terminating, with the finalizer `foregroundDeletion` until all dependants are
//!   gone that block it (`blockOwnerDeletion`).
//! - *Orphan*: the owner stays, terminating, with the finalizer `orphan` until no dependant names it any more.

use std::sync::Arc;

use serde_json::Value;

use crate::ids::Uid;
use crate::object::Key;
use crate::store::{Change, DeleteOptions, Entry, Precondition, Propagation, Snapshot};

use super::{BURST, Plan, computed, edit};

/// Held by an owner that goes after its dependants.
const FOREGROUND: &str = "foregroundDeletion";
/// Held by an owner that leaves its dependants behind.
const ORPHAN: &str = "orphan";

/// Looks after the object at `key`, as an owner if it is on its way out and as a dependant else.
pub fn reconcile(view: &Snapshot, key: &Key) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    if computed(entry) {
        return Plan::default();
    }
    let object = entry.value();
    let changes = match () {
        () if !entry.terminating => as_dependant(view, entry, object),
        () if edit::has_finalizer(&object, ORPHAN) => let_go_of_dependants(view, entry, object),
        () if edit::has_finalizer(&object, FOREGROUND) => wait_for_dependants(view, entry, object),
        () => Vec::new(),
    };
    Plan { changes, ..Plan::default() }
}

/// Tells whether the object waits for its dependants.
pub fn waits(entry: &Entry) -> bool {
    entry.terminating && edit::has_finalizer(&entry.value(), FOREGROUND)
}

/// Tells whether the owner that `reference` names is gone for good, as seen from an object in `namespace`.
///
/// The one place that concludes an absence. It holds of an owner whose tombstone is known, and of one whose name nobody
/// has; that is sound as long as the view is complete: on a node that is the whole cluster and has lost no records, and on
/// a leader that has led for an hour and knows what a majority holds; else the owner may be what was lost, or not come yet. If another has its name, it may be an older one, made on another side of a cut, or what is missing may
/// be still on its way: then its tombstone alone counts. An owner of a kind that is not served, or in a namespace while
/// its dependant is in none, cannot be looked for and so is never gone. One of a user's kind of which nothing was seen is
/// gone once its tombstone is known.
fn gone(view: &Snapshot, namespace: &str, reference: &Value) -> bool {
    let text = |field: &str| reference[field].as_str().unwrap_or_default();
    let uid: Option<Uid> = text("uid").parse().ok();
    let Some(kind) = view.kind_of(text("apiVersion"), text("kind")) else {
        return uid.is_some_and(|uid| view.is_buried(uid));
    };
    if kind.namespaced && namespace.is_empty() {
        return false;
    }
    let key = Key::new(kind.stored(), if kind.namespaced { namespace } else { "" }, text("name"));
    match view.get(&key) {
        Some(owner) => uid.is_none_or(|uid| owner.uid != uid && view.is_buried(uid)),
        None => view.is_complete() || uid.is_some_and(|uid| view.is_buried(uid)),
    }
}

/// Tells whether the owner that `reference` names has given its name to an older one.
fn displaced(view: &Snapshot, reference: &Value) -> bool {
    reference["uid"].as_str().and_then(|uid| uid.parse().ok()).is_some_and(|uid| view.is_displaced(uid))
}

/// How an owner reference stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Gone,
    /// It goes as soon as this dependant has gone.
    Waits,
    /// It has given its name to an older one: what it owned lives on, and whoever selects it takes it over.
    Displaced,
    Solid,
}

fn owner(view: &Snapshot, namespace: &str, reference: &Value) -> Owner {
    if displaced(view, reference) {
        return Owner::Displaced;
    }
    if gone(view, namespace, reference) {
        return Owner::Gone;
    }
    let owner = reference["uid"].as_str().and_then(|u| u.parse().ok()).and_then(|uid| view.by_uid(uid));
    let blocks = reference["blockOwnerDeletion"] == true;
    if blocks && owner.is_some_and(|o| waits(o)) { Owner::Waits } else { Owner::Solid }
}

/// Deletes an object that no owner holds any more. One that is held loses its references to the other owners, which
/// would else wait for it for ever.
fn as_dependant(view: &Snapshot, entry: &Arc<Entry>, mut object: Value) -> Vec<Change> {
    let references = object["metadata"]["ownerReferences"].as_array();
    let owners: Vec<Owner> = references.into_iter().flatten().map(|r| owner(view, &entry.key.namespace, r)).collect();
    if owners.iter().all(|o| *o == Owner::Solid) {
        return Vec::new();
    }
    if owners.contains(&Owner::Displaced) {
        edit::retain_owners(&mut object, |r| {
            matches!(owner(view, &entry.key.namespace, r), Owner::Solid | Owner::Waits)
        });
        return vec![edit::update(entry, object)];
    }
    if owners.contains(&Owner::Solid) {
        edit::retain_owners(&mut object, |r| owner(view, &entry.key.namespace, r) == Owner::Solid);
        return vec![edit::update(entry, object)];
    }
    let mut dependants = view.owned_by(entry.uid).filter(|d| !computed(d)).peekable();
    if owners.contains(&Owner::Waits) && dependants.peek().is_some() {
        let circle = dependants.any(|d| waits(d));
        return foreground(entry, object, circle);
    }
    let propagation = match () {
        () if edit::has_finalizer(&object, ORPHAN) => Propagation::Orphan,
        () if edit::has_finalizer(&object, FOREGROUND) => Propagation::Foreground,
        () => Propagation::Background,
    };
    vec![delete(entry, propagation)]
}

/// Deletes an object in the foreground. In a circle of owners everybody would wait for everybody: it stops blocking.
fn foreground(entry: &Entry, mut object: Value, circle: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    if circle {
        let references = object["metadata"]["ownerReferences"].as_array_mut();
        for reference in references.into_iter().flatten() {
            reference["blockOwnerDeletion"] = false.into();
        }
        changes.push(edit::update(entry, object));
    }
    changes.push(delete(entry, Propagation::Foreground));
    changes
}

fn delete(entry: &Entry, propagation: Propagation) -> Change {
    let when = Precondition::same(entry);
    let options = DeleteOptions { when, grace_seconds: None, propagation: Some(propagation) };
    Change::Delete { key: entry.key.clone(), options }
}

/// Drops the finalizer once no dependant blocks any more. The dependants' own keys see to their deletion.
fn wait_for_dependants(view: &Snapshot, entry: &Entry, mut object: Value) -> Vec<Change> {
    let uid = entry.uid.to_string();
    let blocks = |dependant: &Value| {
        let references = dependant["metadata"]["ownerReferences"].as_array();
        references.into_iter().flatten().any(|r| r["uid"] == uid.as_str() && r["blockOwnerDeletion"] == true)
    };
    if view.owned_by(entry.uid).any(|d| !computed(d) && blocks(&d.value())) {
        return Vec::new();
    }
    edit::unfinalize(&mut object, FOREGROUND);
    vec![edit::update(entry, object)]
}

/// Takes the owner's name off its dependants, and drops the finalizer once the view shows none that has it.
fn let_go_of_dependants(view: &Snapshot, entry: &Entry, mut object: Value) -> Vec<Change> {
    let uid = entry.uid.to_string();
    let dependants = view.owned_by(entry.uid).filter(|d| !computed(d)).take(BURST);
    let changes: Vec<Change> = dependants
        .map(|dependant| {
            let mut object = dependant.value();
            edit::retain_owners(&mut object, |r| r["uid"] != uid.as_str());
            edit::update(dependant, object)
        })
        .collect();
    if !changes.is_empty() {
        return changes;
    }
    edit::unfinalize(&mut object, ORPHAN);
    vec![edit::update(entry, object)]
}
