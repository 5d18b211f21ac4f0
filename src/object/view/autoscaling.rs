//! HorizontalPodAutoscalers of autoscaling/v1 (`pkg/apis/autoscaling/v1/conversion.go`): of the metrics it knows the
//! processor's utilization alone, the others and what else v2 has go along as JSON in annotations.

use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

pub(super) fn show(hpa: &mut Value) {
    let mut notes = Map::new();
    let metrics = take_list(&mut hpa["spec"], "metrics");
    let (cpu, others) = apart(metrics);
    if let Some(target) = cpu.and_then(|m| m["resource"]["target"]["averageUtilization"].as_i64()) {
        hpa["spec"]["targetCPUUtilizationPercentage"] = target.into();
    }
    note(&mut notes, METRICS, &others.iter().map(old_target).collect());
    if let Some(behavior) = take(&mut hpa["spec"], "behavior") {
        notes.insert(BEHAVIOR.into(), behavior.to_string().into());
    }
    let current = take_list(&mut hpa["status"], "currentMetrics");
    let (cpu, _) = apart(current.clone());
    if let Some(now) = cpu.and_then(|m| m["resource"]["current"]["averageUtilization"].as_i64()) {
        hpa["status"]["currentCPUUtilizationPercentage"] = now.into();
    }
    note(&mut notes, CURRENT_METRICS, &current.iter().map(old_current).collect());
    let conditions = take_list(&mut hpa["status"], "conditions");
    note(&mut notes, CONDITIONS, &conditions);
    for count in ["currentReplicas", "desiredReplicas"] {
        if hpa["status"][count].is_null() {
            hpa["status"][count] = 0.into();
        }
    }
    if !notes.is_empty() {
        match hpa["metadata"]["annotations"].as_object_mut() {
            Some(annotations) => annotations.extend(notes),
            None => hpa["metadata"]["annotations"] = notes.into(),
        }
    }
}

pub(super) fn store(hpa: &mut Value) {
    let mut metrics: Vec<Value> = list(&take_note(hpa, METRICS)).iter().map(new_target).collect();
    if let Some(target) = take(&mut hpa["spec"], "targetCPUUtilizationPercentage") {
        let target = json!({"type": "Utilization", "averageUtilization": target});
        metrics.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    }
    if !metrics.is_empty() {
        hpa["spec"]["metrics"] = metrics.into();
    }
    if let Some(behavior) = take_note(hpa, BEHAVIOR) {
        hpa["spec"]["behavior"] = behavior;
    }
    let mut current: Vec<Value> = list(&take_note(hpa, CURRENT_METRICS)).iter().map(new_current).collect();
    let utilization = take(&mut hpa["status"], "currentCPUUtilizationPercentage");
    if let (Some(now), None) = (utilization, apart(current.clone()).0) {
        let now = json!({"averageUtilization": now});
        current.insert(0, json!({"type": "Resource", "resource": {"name": "cpu", "current": now}}));
    }
    if !current.is_empty() {
        hpa["status"]["currentMetrics"] = current.into();
    }
    if let Some(conditions) = take_note(hpa, CONDITIONS) {
        hpa["status"]["conditions"] = conditions;
    }
    let annotations = hpa["metadata"]["annotations"].as_object();
    if annotations.is_some_and(Map::is_empty) {
        take(&mut hpa["metadata"], "annotations");
    }
}

/// Takes the processor's utilization out of metrics, the first if there are several.
fn apart(mut metrics: Vec<Value>) -> (Option<Value>, Vec<Value>) {
    let is_cpu = |m: &Value| {
        let values = [&m["resource"]["target"], &m["resource"]["current"]];
        m["type"] == "Resource"
            && m["resource"]["name"] == "cpu"
            && values.iter().any(|value| value["averageUtilization"].is_i64())
    };
    let cpu = metrics.iter().position(is_cpu).map(|at| metrics.remove(at));
    (cpu, metrics)
}

/// A sort of metric: its member in both forms, and pairs of paths of what it says, in v2 within the member or its `metric`,
/// and in v1. The values are apart.
type Sort = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
const SORTS: [Sort; 5] = [
    (
        "Object",
        "object",
        &[("describedObject", "target"), ("metric.name", "metricName"), ("metric.selector", "selector")],
    ),
    ("Pods", "pods", &[("metric.name", "metricName"), ("metric.selector", "selector")]),
    ("Resource", "resource", &[("name", "name")]),
    ("ContainerResource", "containerResource", &[("name", "name"), ("container", "container")]),
    ("External", "external", &[("metric.name", "metricName"), ("metric.selector", "metricSelector")]),
];

/// The names that v1 has for a value, a value a pod, and a utilization, in a target or as they are.
fn value_names(sort: &str, is_target: bool) -> [(&'static str, &'static str); 3] {
    let (value, average, utilization) = match (sort, is_target) {
        ("Object", true) => ("targetValue", "averageValue", ""),
        ("Object", false) => ("currentValue", "averageValue", ""),
        (_, true) => ("targetValue", "targetAverageValue", "targetAverageUtilization"),
        (_, false) => ("currentValue", "currentAverageValue", "currentAverageUtilization"),
    };
    [("value", value), ("averageValue", average), ("averageUtilization", utilization)]
}

fn old_target(metric: &Value) -> Value {
    old(metric, "target")
}

fn old_current(metric: &Value) -> Value {
    old(metric, "current")
}

fn new_target(metric: &Value) -> Value {
    new(metric, "target")
}

fn new_current(metric: &Value) -> Value {
    new(metric, "current")
}

/// Turns a metric of v2 into that of v1. One of a sort that is not known stays as it is.
fn old(metric: &Value, values: &str) -> Value {
    let Some((sort, member, names)) = SORTS.iter().find(|(sort, ..)| metric["type"] == *sort) else {
        return metric.clone();
    };
    let from = &metric[*member];
    let mut to = Map::new();
    for (path, name) in *names {
        let value = path.split('.').fold(from, |at, step| &at[step]);
        put(&mut to, name, value);
    }
    for (new, old) in value_names(sort, values == "target") {
        put(&mut to, old, &from[values][new]);
    }
    json!({"type": sort, *member: to})
}

/// Turns a metric of v1 into that of v2.
fn new(metric: &Value, values: &str) -> Value {
    let Some((sort, member, names)) = SORTS.iter().find(|(sort, ..)| metric["type"] == *sort) else {
        return metric.clone();
    };
    let from = &metric[*member];
    let mut to = json!({});
    for (path, name) in *names {
        if !from[*name].is_null() {
            *path.split('.').fold(&mut to, |at, step| &mut at[step]) = from[*name].clone();
        }
    }
    let mut given = Map::new();
    for (new, old) in value_names(sort, values == "target") {
        put(&mut given, new, &from[old]);
    }
    if values == "target" {
        let kinds = [("averageUtilization", "Utilization"), ("averageValue", "AverageValue"), ("value", "Value")];
        let kind = kinds.iter().find(|(name, _)| given.contains_key(*name)).map_or("Value", |(_, kind)| kind);
        given.insert("type".into(), kind.into());
    }
    to[values] = given.into();
    json!({"type": sort, *member: to})
}

fn put(to: &mut Map<String, Value>, name: &str, value: &Value) {
    if !name.is_empty() && !value.is_null() {
        to.insert(name.to_owned(), value.clone());
    }
}

fn take(object: &mut Value, name: &str) -> Option<Value> {
    object.as_object_mut()?.remove(name).filter(|value| !value.is_null())
}

fn take_list(object: &mut Value, name: &str) -> Vec<Value> {
    list(&take(object, name))
}

fn list(value: &Option<Value>) -> Vec<Value> {
    value.as_ref().and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Takes an annotation of JSON. What is none is dropped, as upstream does.
fn take_note(object: &mut Value, name: &str) -> Option<Value> {
    let annotations = object["metadata"].get_mut("annotations")?.as_object_mut()?;
    serde_json::from_str(annotations.remove(name)?.as_str()?).ok()
}

fn note(notes: &mut Map<String, Value>, name: &str, list: &Vec<Value>) {
    if !list.is_empty() {
        notes.insert(name.to_owned(), json!(list).to_string().into());
    }
}
