//! Events.

use serde_json::Value;

use crate::time::Wall;

use super::format::{count, elapsed, or, time};
use super::{NAME, Printer, integer, name, text, wide};

pub(super) const EVENTS: Printer = Printer {
    columns: &[
        text("Last Seen", "The time at which the most recent occurrence of this event was recorded."),
        text("Type", "Type of this event (Normal, Warning), new types could be added in the future"),
        text(
            "Reason",
            "This should be a short, machine understandable string that gives the reason for the transition into the object's current status.",
        ),
        text("Object", "The object that this event is about."),
        wide(text(
            "Subobject",
            "If referring to a piece of an object instead of an entire object, this should contain a valid JSON/Go field access statement.",
        )),
        wide(text("Source", "The component reporting this event.")),
        text("Message", "A human-readable description of the status of this operation."),
        wide(text("First Seen", "The time at which the event was first recorded.")),
        wide(integer("Count", "The number of times this event has occurred.")),
        wide(NAME),
    ],
    cells,
};

fn cells(event: &Value, now: Wall) -> Vec<Value> {
    let about = &event["involvedObject"];
    let kind = or(&about["kind"], "").to_lowercase();
    let object = match or(&about["name"], "") {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    let first = time(&event["firstTimestamp"]).or_else(|| time(&event["eventTime"]));
    let series = &event["series"];
    let (last, times) = if series.is_object() {
        (time(&series["lastObservedTime"]), count(&series["count"]))
    } else {
        (time(&event["lastTimestamp"]).or(first), count(&event["count"]).max(1))
    };
    let ago = |at: Option<Wall>| at.map_or_else(|| "<unknown>".to_owned(), |at| elapsed(at, now));
    vec![
        ago(last).into(),
        or(&event["type"], "").into(),
        or(&event["reason"], "").into(),
        object.into(),
        or(&about["fieldPath"], "").into(),
        source(event).into(),
        or(&event["message"], "").trim().into(),
        ago(first).into(),
        times.into(),
        name(event),
    ]
}

fn source(event: &Value) -> String {
    let component = or(&event["source"]["component"], or(&event["reportingComponent"], ""));
    match or(&event["source"]["host"], or(&event["reportingInstance"], "")) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_printed_as_upstream_does() {
        let mut event = json!({
            "metadata": {"name": "web.1"},
            "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"},
            "type": "Warning", "reason": "BackOff", "message": "Back-off restarting failed container\n",
            "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "1970-01-01T00:00:00Z", "lastTimestamp": "1970-01-01T00:01:00Z", "count": 4,
        });
        let expected = json!([
            "30s",
            "Warning",
            "BackOff",
            "pod/web",
            "spec.containers{web}",
            "kubelet, n1",
            "Back-off restarting failed container",
            "90s",
            4,
            "web.1"
        ]);
        assert_eq!(json!(cells(&event, Wall::from_secs(90))), expected);
        event["series"] = json!({"count": 9, "lastObservedTime": "1970-01-01T00:01:20.000000Z"});
        let cells = cells(&event, Wall::from_secs(90));
        assert_eq!((&cells[0], &cells[8]), (&json!("10s"), &json!(9)));
    }

    #[test]
    fn an_event_of_the_newer_form_counts_once() {
        let event = json!({
            "metadata": {"name": "x"}, "involvedObject": {"kind": "Node"}, "eventTime": "1970-01-01T00:00:10.000000Z",
            "reportingComponent": "scheduler", "firstTimestamp": null, "lastTimestamp": null,
        });
        let cells = cells(&event, Wall::from_secs(20));
        assert_eq!(
            (&cells[0], &cells[3], &cells[5], &cells[8]),
            (&json!("10s"), &json!("node"), &json!("scheduler"), &json!(1))
        );
    }
}
