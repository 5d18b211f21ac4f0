//! Whose an object is: owner references, adoption and release (upstream's `ControllerRefManager`).

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

use crate::object::{Kind, Selector};
use crate::store::{Change, Entry, Snapshot};

use super::{BURST, edit};

/// Reads a controller's selector. `None` for one that selects everything, or cannot be read: validation refuses both,
/// and a controller that deletes surplus must not act on a mistake.
pub fn selector(selector: &LabelSelector) -> Option<Selector> {
    Selector::of_typed(selector).ok().filter(|s| !s.is_everything())
}

/// Returns the owner reference of the controller that `owner` shows.
pub fn reference(owner: &Entry) -> Value {
    json!({
        "apiVersion": owner.key.kind.api_version(),
        "kind": owner.key.kind.kind,
        "name": owner.key.name,
        "uid": owner.uid,
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The objects of a kind that an owner controls, and what it takes to make it so.
#[derive(Debug, Default)]
pub struct Claimed {
    /// The objects it controls, adopted ones included.
    pub objects: Vec<Arc<Entry>>,
    /// Adoptions and releases, at most [`BURST`]: an object whose adoption has to wait is counted already.
    pub changes: Vec<Change>,
}

impl Claimed {
    fn change(&mut self, change: Change) {
        if self.changes.len() < BURST {
            self.changes.push(change);
        }
    }
}

/// Claims the objects of `kind` in the owner's namespace: those it controls and selects stay, those it controls but
/// does not select any more are released, orphans that it selects are adopted. A terminating owner adopts and
/// releases nothing; a terminating orphan is left alone.
pub fn claim(
    view: &Snapshot,
    owner: &Entry,
    selector: &Selector,
    kind: &'static Kind,
    wanted: impl Fn(&Entry) -> bool,
) -> Claimed {
    let mut claimed = Claimed::default();
    for object in view.controlled_by(owner.uid, kind).filter(|e| wanted(e)) {
        if selector.matches(&object.labels) {
            claimed.objects.push(Arc::clone(object));
        } else if !owner.terminating {
            claimed.change(release(object, owner));
        }
    }
    if owner.terminating {
        return claimed;
    }
    for object in orphans(view, kind, &owner.key.namespace).filter(|e| wanted(e)) {
        if !object.terminating && selector.matches(&object.labels) {
            claimed.change(adopt(view, object, owner));
            claimed.objects.push(Arc::clone(object));
        }
    }
    claimed
}

/// Lists the objects of `kind` that nobody controls, or one that has given its name to an older one.
pub fn orphans<'a>(
    view: &'a Snapshot,
    kind: &'static Kind,
    namespace: &'a str,
) -> impl Iterator<Item = &'a Arc<Entry>> {
    view.list(kind, Some(namespace)).filter(|e| e.controller.is_none_or(|uid| view.is_displaced(uid)))
}

fn adopt(view: &Snapshot, object: &Entry, owner: &Entry) -> Change {
    let mut value = object.value();
    let uid = owner.uid.to_string();
    let is_displaced = |o: &Value| o["uid"].as_str().and_then(|o| o.parse().ok()).is_some_and(|o| view.is_displaced(o));
    edit::retain_owners(&mut value, |o| o["uid"] != uid.as_str() && !is_displaced(o));
    let owners = &mut value["metadata"]["ownerReferences"];
    match owners.as_array_mut() {
        Some(owners) => owners.push(reference(owner)),
        None => *owners = json!([reference(owner)]),
    }
    edit::update(object, value)
}

fn release(object: &Entry, owner: &Entry) -> Change {
    let mut value = object.value();
    let uid = owner.uid.to_string();
    edit::retain_owners(&mut value, |o| o["uid"] != uid.as_str());
    edit::update(object, value)
}
