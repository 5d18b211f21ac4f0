//! Objects that tests make, and what they read out of them.

use serde_json::{Value, json};

/// An image that cannot be pulled: its pods stay Pending.
pub const BROKEN: &str = "broken";

pub fn ready(pod: &Value) -> bool {
    pod["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

pub fn deployment(name: &str, replicas: i32, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image}]},
            },
        },
    })
}

pub fn set_image(deployment: &mut Value, image: &str) {
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
}

/// What `kubectl rollout status` makes of a Deployment: done, to be waited for, or given up.
pub fn rollout_status(d: &Value) -> Result<bool, String> {
    let status = |field: &str| d["status"][field].as_i64().unwrap_or(0);
    if d["metadata"]["generation"].as_i64().unwrap() > status("observedGeneration") {
        return Ok(false);
    }
    if condition(d, "Progressing")["reason"] == "ProgressDeadlineExceeded" {
        return Err(format!("deployment {} exceeded its progress deadline", d["metadata"]["name"]));
    }
    Ok(status("updatedReplicas") >= d["spec"]["replicas"].as_i64().unwrap()
        && status("replicas") <= status("updatedReplicas")
        && status("availableReplicas") >= status("updatedReplicas"))
}

pub fn condition(object: &Value, name: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|c| c["type"] == name).cloned().unwrap_or_default()
}
