//! Small edits of raw objects. Controllers read typed objects but write raw JSON, so that no field they do not know
//! is lost.

use serde_json::{Map, Value, json};

use crate::store::{Change, Entry, Precondition};

/// Returns an annotation.
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(name)?.as_str()
}

/// Sets an annotation and tells whether that changed anything.
pub fn annotate(object: &mut Value, name: &str, value: &str) -> bool {
    if annotation(object, name) == Some(value) {
        return false;
    }
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[name] = value.into();
    true
}

/// Takes an annotation away and tells whether it was there.
pub fn unannotate(object: &mut Value, name: &str) -> bool {
    let annotations = object["metadata"]["annotations"].as_object_mut();
    annotations.is_some_and(|a| a.remove(name).is_some())
}

/// Takes a finalizer away.
pub fn unfinalize(object: &mut Value, name: &str) {
    if let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() {
        finalizers.retain(|f| f != name);
    }
    drop_if_empty(object, "finalizers");
}

/// Tells whether `object` carries a finalizer.
pub fn has_finalizer(object: &Value, name: &str) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|f| f.iter().any(|f| f == name))
}

/// Keeps the owner references that `keep` accepts.
pub fn retain_owners(object: &mut Value, keep: impl Fn(&Value) -> bool) {
    if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
        owners.retain(keep);
    }
    drop_if_empty(object, "ownerReferences");
}

fn drop_if_empty(object: &mut Value, field: &str) {
    let metadata = object["metadata"].as_object_mut();
    if let Some(metadata) = metadata
        && metadata.get(field).and_then(Value::as_array).is_some_and(Vec::is_empty)
    {
        metadata.remove(field);
    }
}

/// The change that makes `entry` look like `object`, unless somebody else changes it first.
pub fn update(entry: &Entry, object: Value) -> Change {
    Change::Update { key: entry.key.clone(), object, when: Precondition::unchanged(entry) }
}

/// Copies a map of texts out of `object`; empty if there is none.
pub fn map(object: &Value) -> Map<String, Value> {
    object.as_object().cloned().unwrap_or_default()
}

/// Lists the finalizers.
pub fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
