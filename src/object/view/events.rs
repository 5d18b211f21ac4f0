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
    // The schema requires it, and old Events have none; upstream shows null then, which clients refuse that go by the schema.
    if event["eventTime"].is_null() {
        event["eventTime"] = stand_in(event).into();
    }
}

/// The time that an Event of the old kind is shown with.
fn stand_in(event: &Value) -> String {
    let times = [
        &event["deprecatedFirstTimestamp"],
        &event["deprecatedLastTimestamp"],
        &event["metadata"]["creationTimestamp"],
    ];
    times.into_iter().find_map(Value::as_str).unwrap_or("1970-01-01T00:00:00Z").replace('Z', ".000000Z")
}

pub(super) fn store(event: &mut Value) {
    if event["eventTime"] == stand_in(event) {
        event["eventTime"] = Value::Null;
    }
    for (core, events) in NAMES {
        rename(event, events, core);
    }
    // Core/v1 requires an object to speak of.
    if event["involvedObject"].is_null() {
        event["involvedObject"] = serde_json::json!({});
    }
}
