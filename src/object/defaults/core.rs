//! Defaults of the small kinds, and the status that objects begin with.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::fill::{Members, each, fill, fill_text, open, open_or_make, resources, text_of};
use crate::object::{Kind, Quantity, kinds};

/// The type, and `stringData` folded into `data`, where it wins.
pub(super) fn secret(object: &mut Value) {
    let Some(secret) = object.as_object_mut() else { return };
    fill_text(secret, "type", "Opaque");
    let Some(plain) = secret.get("stringData").and_then(Value::as_object).cloned() else { return };
    if plain.values().all(Value::is_string) {
        secret.remove("stringData");
        if let Some(data) = open_or_make(secret, "data").filter(|_| !plain.is_empty()) {
            data.extend(plain.iter().map(|(key, v)| (key.clone(), encoded(v))));
        } else if secret.get("data").and_then(Value::as_object).is_some_and(serde_json::Map::is_empty) {
            secret.remove("data");
        }
    }
}

fn encoded(text: &Value) -> Value {
    BASE64.encode(text.as_str().unwrap_or_default()).into()
}

/// The label that repeats the name, and the finalizer that empties a namespace before it goes.
pub(super) fn namespace(object: &mut Value) {
    let Some(namespace) = object.as_object_mut() else { return };
    let Some(meta) = open(namespace, "metadata") else { return };
    let name = text_of(meta, "name").to_owned();
    let terminating = meta.contains_key("deletionTimestamp");
    if !name.is_empty()
        && let Some(labels) = open_or_make(meta, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
    // A namespace on its way out has lost its finalizer for good.
    if !terminating
        && let Some(spec) = open_or_make(namespace, "spec")
        && spec.get("finalizers").and_then(Value::as_array).is_none_or(Vec::is_empty)
    {
        spec.insert("finalizers".into(), json!(["kubernetes"]));
    }
}

/// What can be given away is all there is, unless said otherwise.
pub(super) fn node(object: &mut Value) {
    let Some(node) = object.as_object_mut() else { return };
    open_or_make(node, "spec");
    let Some(status) = open(node, "status") else { return };
    resources(status, "capacity");
    resources(status, "allocatable");
    if let Some(capacity) = status.get("capacity").filter(|c| c.is_object()).cloned() {
        fill(status, "allocatable", capacity);
    }
}

/// Ports have a name, be it empty, and a protocol.
pub(super) fn endpoint_slice(object: &mut Value) {
    let Some(slice) = object.as_object_mut() else { return };
    for port in each(slice, "ports") {
        fill(port, "name", "");
        fill(port, "protocol", "TCP");
    }
}

/// Returns the status that a new object of the kind begins with (upstream's `PrepareForCreate`), if it has one.
pub fn initial_status(kind: &'static Kind, object: &Value) -> Option<Value> {
    match kind {
        k if *k == kinds::POD => Some(json!({"phase": "Pending", "qosClass": qos_class(object)})),
        k if *k == kinds::NAMESPACE => Some(json!({"phase": "Active"})),
        k if *k == kinds::SERVICE => Some(json!({"loadBalancer": {}})),
        k if *k == kinds::REPLICA_SET => Some(json!({"replicas": 0})),
        k if *k == kinds::DEPLOYMENT => Some(json!({})),
        _ => empty_status(kind),
    }
}

/// Returns the status of an object about which nobody has said anything, for kinds that feature level 5 brought. What the
/// schema requires is there: strict clients refuse to read an object without.
pub fn empty_status(kind: &Kind) -> Option<Value> {
    match (kind.group, kind.plural) {
        ("", "persistentvolumes" | "persistentvolumeclaims") => Some(json!({"phase": "Pending"})),
        ("", "replicationcontrollers") => Some(json!({"replicas": 0})),
        ("", "resourcequotas") => Some(json!({})),
        ("apps", "daemonsets") => Some(json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        })),
        ("apps", "statefulsets") => Some(json!({"availableReplicas": 0, "replicas": 0})),
        ("autoscaling", _) => Some(json!({"currentMetrics": null, "desiredReplicas": 0})),
        ("networking.k8s.io", "ingresses") => Some(json!({"loadBalancer": {}})),
        ("policy", _) => Some(json!({
            "currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0,
        })),
        ("storage.k8s.io", "volumeattachments") => Some(json!({"attached": false})),
        ("batch" | "certificates.k8s.io", _)
        | ("networking.k8s.io", "servicecidrs")
        | ("admissionregistration.k8s.io", "validatingadmissionpolicies") => Some(json!({})),
        _ => None,
    }
}

/// Computes a pod's quality of service: `Guaranteed` if every container's processor and memory requests equal its
/// limits, `BestEffort` if none states any, else `Burstable`.
fn qos_class(pod: &Value) -> &'static str {
    let lists = ["containers", "initContainers"].map(|list| pod["spec"][list].as_array());
    let (mut any, mut guaranteed) = (false, true);
    for container in lists.into_iter().flatten().flatten() {
        let limits = compute(&container["resources"]["limits"]);
        let requests = compute(&container["resources"]["requests"]);
        any |= !limits.is_empty() || !requests.is_empty();
        guaranteed &= limits.len() == 2 && requests.iter().all(|(name, amount)| limits[name] == *amount);
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn compute(list: &Value) -> BTreeMap<&'static str, Quantity> {
    let amount = |name: &'static str| Quantity::of(&list[name]).ok().filter(|q| !q.is_zero()).map(|q| (name, q));
    ["cpu", "memory"].into_iter().filter_map(amount).collect()
}

/// The members of an object, for `carry_over`.
pub(super) fn spec_of(object: &mut Value) -> Option<&mut Members> {
    object.as_object_mut().and_then(|o| open(o, "spec"))
}
