//! JSON merge patch (RFC 7386).

use serde_json::{Map, Value};

/// Applies `patch` to `original`.
pub(super) fn merge(original: Value, patch: Value) -> Value {
    let Value::Object(patch) = patch else { return patch };
    let mut merged = match original {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    for (name, change) in patch {
        if change.is_null() {
            merged.remove(&name);
        } else {
            let before = merged.remove(&name).unwrap_or(Value::Null);
            merged.insert(name, merge(before, change));
        }
    }
    Value::Object(merged)
}
