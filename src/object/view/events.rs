//! Events of events.k8s.io/v1: the same facts under other names (`pkg/apis/events/v1/conversion.go`).

use serde_json::Value;

use super::rename;

/// The name in core/v1, and that in events.k8s.io/v1.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

pub(super) fn show(event: &mut Value) {
    for (core, events) in NAMES {
        rename(event, core, events);
    }
    // The schema requires it, and old Events have none.
    if let Some(members) = event.as_object_mut() {
        members.entry("eventTime").or_insert(Value::Null);
    }
}

pub(super) fn store(event: &mut Value) {
    for (core, events) in NAMES {
        rename(event, events, core);
    }
    // Core/v1 requires an object to speak of.
    if event["involvedObject"].is_null() {
        event["involvedObject"] = serde_json::json!({});
    }
}
