//! Looks after CustomResourceDefinitions: whose names are taken, and that their objects go before them.

use serde_json::{Value, json};

use crate::object::custom::{self, CLEANUP, Catalog, Definition};
use crate::object::{Key, Kind, kinds};
use crate::store::{Change, DeleteOptions, Entry, Precondition, Snapshot};
use crate::time::Now;

use super::{BURST, Plan, edit};

/// Brings a definition's status up to what holds, or one that is being deleted closer to its end.
///
/// Whose names a definition has follows from all definitions, on each node alike; this only tells it. So a definition is
/// served at once, whether anybody leads or not.
pub fn reconcile(view: &Snapshot, key: &Key, now: Now) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    let changes = if entry.terminating { clean_up(view, entry, now) } else { tell_status(view, entry, now) };
    Plan { changes, ..Plan::default() }
}

/// Returns the definition of a user's kind.
pub fn definition_of(kind: &Kind) -> Key {
    Key::cluster(&kinds::CUSTOM_RESOURCE_DEFINITION, format!("{}.{}", kind.plural, kind.group))
}

/// Lists the definitions of a group, that of `key` among them.
pub fn neighbours<'a>(view: &'a Snapshot, key: &Key) -> impl Iterator<Item = &'a std::sync::Arc<Entry>> {
    let group = key.name.split_once('.').map_or("", |(_, group)| group).to_owned();
    let all = view.list(&kinds::CUSTOM_RESOURCE_DEFINITION, None);
    all.filter(move |entry| entry.key.name.split_once('.').is_some_and(|(_, g)| g == group))
}

fn tell_status(view: &Snapshot, entry: &Entry, now: Now) -> Vec<Change> {
    let headings = neighbours(view, &entry.key).filter_map(|e| Definition::heading(&e.json)).map(std::sync::Arc::new);
    let catalog = Catalog::of(headings);
    let Some(own) = Definition::heading(&entry.json) else { return Vec::new() };
    let object = entry.value();
    let wanted = custom::status(&object["spec"], &catalog.taken(&own), &now.wall.to_string());
    let mut status = json!(edit::map(&object["status"]));
    let mut differs = status["acceptedNames"] != wanted["acceptedNames"];
    status["acceptedNames"] = wanted["acceptedNames"].clone();
    for condition in wanted["conditions"].as_array().into_iter().flatten() {
        differs |= set_condition(&mut status, condition);
    }
    if !differs {
        return Vec::new();
    }
    vec![Change::Status { key: entry.key.clone(), status, when: Precondition::same(entry) }]
}

/// Puts a condition in a status, and tells whether it says something new.
fn set_condition(status: &mut Value, condition: &Value) -> bool {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(all) = status["conditions"].as_array_mut() else { return false };
    match all.iter_mut().find(|c| c["type"] == condition["type"]) {
        Some(c) if (&c["status"], &c["reason"]) == (&condition["status"], &condition["reason"]) => false,
        Some(c) => {
            *c = condition.clone();
            true
        }
        None => {
            all.push(condition.clone());
            true
        }
    }
}

/// Deletes the objects of a definition that is being deleted, and lets go of it once there are none.
fn clean_up(view: &Snapshot, entry: &Entry, now: Now) -> Vec<Change> {
    let mut object = entry.value();
    if !edit::has_finalizer(&object, CLEANUP) {
        return Vec::new();
    }
    let is_its = |kind: &&'static Kind| kind.is_custom() && definition_of(kind) == entry.key;
    let mut left = view.kinds().find(is_its).into_iter().flat_map(|kind| view.list(kind, None)).peekable();
    if left.peek().is_none() {
        edit::unfinalize(&mut object, CLEANUP);
        return vec![edit::update(entry, object)];
    }
    let mut changes = Vec::new();
    let mut status = json!(edit::map(&object["status"]));
    let terminating = json!({"type": "Terminating", "status": "True", "reason": "InstanceDeletionInProgress",
        "message": "CustomResource deletion is in progress", "lastTransitionTime": now.wall.to_string()});
    if set_condition(&mut status, &terminating) {
        changes.push(Change::Status { key: entry.key.clone(), status, when: Precondition::same(entry) });
    }
    for object in left.filter(|object| !object.terminating).take(BURST) {
        let options = DeleteOptions { when: Precondition::same(object), ..DeleteOptions::default() };
        changes.push(Change::Delete { key: object.key.clone(), options });
    }
    changes
}
