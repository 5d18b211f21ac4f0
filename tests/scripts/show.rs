//! One line for what is to be known of an object.

use serde_json::Value;
use skein::object::kinds;
use skein::store::Entry;

/// Describes an object; `None` for what no story is about.
pub fn line(entry: &Entry) -> Option<String> {
    let object = entry.value();
    let kind = entry.key.kind;
    let said = if *kind == kinds::POD {
        pod(&object)
    } else if *kind == kinds::DEPLOYMENT {
        deployment(&object)
    } else if *kind == kinds::REPLICA_SET {
        format!("{}/{} ready", number(&object["status"]["readyReplicas"]), number(&object["spec"]["replicas"]))
    } else if *kind == kinds::NAMESPACE {
        text(&object["status"]["phase"]).to_owned()
    } else if *kind == kinds::NODE {
        node(&object)
    } else if *kind == kinds::ENDPOINT_SLICE {
        slice(&object)
    } else if *kind == kinds::LEASE || *kind == kinds::EVENT {
        return None;
    } else {
        "is there".to_owned()
    };
    let terminating = if entry.terminating { ", terminating" } else { "" };
    Some(format!("{}: {said}{terminating}", title(entry)))
}

/// Describes what was told of an object.
pub fn event(entry: &Entry) -> String {
    let event = entry.value();
    let about = &event["involvedObject"];
    let times = match number(&event["count"]) {
        0 | 1 => String::new(),
        n => format!(" (x{n})"),
    };
    let (kind, name) = (text(&about["kind"]).to_lowercase(), text(&about["name"]));
    format!("  {kind} {name}: {}: {}{times}", text(&event["reason"]), text(&event["message"]))
}

/// Names an object: its kind, its namespace if that is not the usual one, its name.
pub fn title(entry: &Entry) -> String {
    let (kind, key) = (entry.key.kind.singular, &entry.key);
    match &*key.namespace {
        "" | "default" => format!("{kind} {}", key.name),
        namespace => format!("{kind} {namespace}/{}", key.name),
    }
}

fn pod(pod: &Value) -> String {
    let status = &pod["status"];
    let containers = status["containerStatuses"].as_array().map_or(&[][..], Vec::as_slice);
    let ready = containers.iter().filter(|c| c["ready"] == true).count();
    let all = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    let mut said = format!("{} {ready}/{all}", text(&status["phase"]));
    for state in containers.iter().map(|c| &c["state"]) {
        let reason = text(&state["waiting"]["reason"]).to_owned() + text(&state["terminated"]["reason"]);
        if !reason.is_empty() {
            said += &format!(" {reason}");
        }
        if let Some(code) = state["terminated"]["exitCode"].as_i64() {
            said += &format!(" {code}");
        }
    }
    let restarts: i64 = containers.iter().map(|c| number(&c["restartCount"])).sum();
    if restarts > 0 {
        said += &format!(", restarts {restarts}");
    }
    for (label, value) in [("at", &status["podIP"]), ("on", &pod["spec"]["nodeName"])] {
        if !text(value).is_empty() {
            said += &format!(", {label} {}", text(value));
        }
    }
    said
}

fn deployment(deployment: &Value) -> String {
    let status = &deployment["status"];
    let of = |field: &str| number(&status[field]);
    let wanted = number(&deployment["spec"]["replicas"]);
    let (ready, new, available) = (of("readyReplicas"), of("updatedReplicas"), of("availableReplicas"));
    format!("{ready}/{wanted} ready, {new} up to date, {available} available")
}

fn node(node: &Value) -> String {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|c| c["type"] == "Ready");
    let ready = ready.map_or("not known yet", |c| if c["status"] == "True" { "ready" } else { "not ready" });
    format!("{ready}{}", if node["spec"]["unschedulable"] == true { ", cordoned" } else { "" })
}

fn slice(slice: &Value) -> String {
    let endpoints = slice["endpoints"].as_array().map_or(&[][..], Vec::as_slice);
    let said: Vec<String> = endpoints
        .iter()
        .map(|endpoint| {
            let not = if endpoint["conditions"]["ready"] == true { "" } else { " not" };
            format!("{}{not} ready", text(&endpoint["addresses"][0]))
        })
        .collect();
    if said.is_empty() { "no endpoints".into() } else { said.join(", ") }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}
