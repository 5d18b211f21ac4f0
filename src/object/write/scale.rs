//! The replica count as an object of its own: autoscaling/v1 Scale, which is how `kubectl scale` and autoscalers see
//! whatever has replicas.

use serde_json::{Map, Value, json};

use super::error::WriteError;
use crate::object::decode::Target;
use crate::object::schema;
use crate::object::validation::{Cause, CauseReason};
use crate::object::{Kind, Selector};

/// What a Scale is read as.
pub(super) fn target() -> Target {
    let shape = schema::definition("io.k8s.api.autoscaling.v1.Scale").expect("the schema has it; a test looks");
    Target { group: "autoscaling", version: "v1", kind: "Scale", shape }
}

/// Returns the Scale of `object`, which has `spec.replicas` and `spec.selector`.
pub fn scale(object: &Value) -> Value {
    let mut meta = Map::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(name) {
            meta.insert(name.into(), value.clone());
        }
    }
    let mut status = json!({"replicas": object["status"]["replicas"].as_i64().unwrap_or_default()});
    if let Ok(selector) = Selector::of_object(&object["spec"]["selector"]) {
        status["selector"] = selector.to_string().into();
    }
    json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": meta,
        "spec": {"replicas": object["spec"]["replicas"].as_i64().unwrap_or_default()},
        "status": status,
    })
}

/// Returns what a Scale that is applied says of an object of `kind`.
pub(super) fn as_object(kind: &Kind, scale: &Value) -> Value {
    json!({
        "apiVersion": kind.api_version(),
        "kind": kind.kind,
        "metadata": {"name": scale["metadata"]["name"], "namespace": scale["metadata"]["namespace"]},
        "spec": {"replicas": scale["spec"]["replicas"].as_i64().unwrap_or_default()},
    })
}

/// Reads the replica count that a Scale of `current` asks for.
pub(super) fn replicas(current: &Value, scale: &Value) -> Result<i64, WriteError> {
    // A Scale without a number means none, as in upstream's type.
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
    if replicas < 0 {
        let name = current["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let message = format!("Invalid value: {replicas}: must be greater than or equal to 0");
        let cause = Cause { reason: CauseReason::FieldValueInvalid, field: "spec.replicas".into(), message };
        return Err(WriteError::Invalid { group: "autoscaling", kind: "Scale", name, causes: vec![cause] });
    }
    Ok(replicas)
}

/// Returns `current` with the replica count of `scale`.
pub(super) fn apply(current: &Value, scale: &Value) -> Result<Value, WriteError> {
    let replicas = replicas(current, scale)?;
    let mut after = current.clone();
    match after.get_mut("spec").and_then(Value::as_object_mut) {
        Some(spec) => spec.insert("replicas".into(), replicas.into()),
        None => return Err(WriteError::BadRequest("the object has no replicas".into())),
    };
    Ok(after)
}
