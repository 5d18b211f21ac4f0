//! HorizontalPodAutoscalers.

use serde_json::Value;

use crate::time::Wall;

use super::format::{NONE, UNSET, count, items, or};
use super::{age, name};

/// How many metrics are shown.
const SHOWN: usize = 2;
const UNKNOWN: &str = "<unknown>";

pub(super) fn cells(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let target = &spec["scaleTargetRef"];
    let target = format!("{}/{}", or(&target["kind"], ""), or(&target["name"], ""));
    let least = spec["minReplicas"].as_i64().map_or_else(|| UNSET.to_owned(), |n| n.to_string());
    let targets = targets(&spec["metrics"], &status["currentMetrics"]);
    let (most, now_there) = (count(&spec["maxReplicas"]), count(&status["currentReplicas"]));
    vec![name(object), target.into(), targets.into(), least.into(), most.into(), now_there.into(), age(object, now)]
}

/// `cpu: 10%/50%, 3/5 (avg)`: what is and what shall be, of the first metrics.
fn targets(metrics: &Value, current: &Value) -> String {
    let metrics = items(metrics);
    if metrics.is_empty() {
        return NONE.to_owned();
    }
    let all: Vec<String> = metrics.iter().enumerate().map(|(at, metric)| one(metric, &current[at])).collect();
    let shown = all[..all.len().min(SHOWN)].join(", ");
    if all.len() > SHOWN { format!("{shown} + {} more...", all.len() - SHOWN) } else { shown }
}

fn one(metric: &Value, status: &Value) -> String {
    let (member, is_resource) = match metric["type"].as_str() {
        Some("Resource") => ("resource", true),
        Some("ContainerResource") => ("containerResource", true),
        Some("Pods") => ("pods", false),
        Some("Object") => ("object", false),
        Some("External") => ("external", false),
        _ => return "<unknown type>".to_owned(),
    };
    let (target, now) = (&metric[member]["target"], &status[member]["current"]);
    let percent = |value: &Value, absent: &str| value.as_i64().map_or_else(|| absent.to_owned(), |n| format!("{n}%"));
    let average = target["averageValue"].as_str();
    match (is_resource, average) {
        (true, Some(average)) => {
            format!("{}: {}/{average}", or(&metric[member]["name"], ""), or(&now["averageValue"], UNKNOWN))
        }
        (true, None) => {
            let (now, target) =
                (percent(&now["averageUtilization"], UNKNOWN), percent(&target["averageUtilization"], "<auto>"));
            format!("{}: {now}/{target}", or(&metric[member]["name"], ""))
        }
        (false, Some(average)) if member == "pods" => format!("{}/{average}", or(&now["averageValue"], UNKNOWN)),
        (false, Some(average)) => format!("{}/{average} (avg)", or(&now["averageValue"], UNKNOWN)),
        (false, None) => format!("{}/{}", or(&now["value"], UNKNOWN), or(&target["value"], "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn metrics_are_printed_as_upstream_does() {
        let cpu = |current: Option<i64>| {
            let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 50}}});
            let status = current.map_or(json!([]), |n| json!([{"resource": {"current": {"averageUtilization": n}}}]));
            (metric, status)
        };
        let (metric, status) = cpu(Some(10));
        assert_eq!(targets(&json!([metric]), &status), "cpu: 10%/50%");
        assert_eq!(targets(&json!([metric]), &cpu(None).1), "cpu: <unknown>/50%");
        let pods = json!({"type": "Pods", "pods": {"target": {"averageValue": "5"}}});
        let object = json!({"type": "Object", "object": {"target": {"averageValue": "5"}}});
        let all = targets(&json!([pods, object, metric]), &Value::Null);
        assert_eq!(all, "<unknown>/5, <unknown>/5 (avg) + 1 more...");
        assert_eq!(targets(&Value::Null, &Value::Null), "<none>");
    }
}
