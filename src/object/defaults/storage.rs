//! Defaults of storage and of what is about the network (`pkg/apis/{core,storage,networking}/v1/defaults.go`).

use serde_json::{Value, json};

use super::fill::{Members, each, fill, fill_text, open, open_or_make, resources};

/// A PersistentVolume.
pub(super) fn volume(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    fill_text(spec, "persistentVolumeReclaimPolicy", "Retain");
    fill_text(spec, "volumeMode", "Filesystem");
    resources(spec, "capacity");
    if let Some(path) = open(spec, "hostPath") {
        fill(path, "type", "");
    }
}

/// A PersistentVolumeClaim.
pub(super) fn claim(object: &mut Value) {
    if let Some(claim) = object.as_object_mut() {
        claim_of(claim);
    }
}

/// A claim, perhaps as a template of a StatefulSet.
pub(super) fn claim_of(claim: &mut Members) {
    let Some(spec) = open_or_make(claim, "spec") else { return };
    fill_text(spec, "volumeMode", "Filesystem");
    if let Some(demands) = open(spec, "resources") {
        resources(demands, "limits");
        resources(demands, "requests");
    }
}

/// A StorageClass.
pub(super) fn class(object: &mut Value) {
    let Some(class) = object.as_object_mut() else { return };
    fill_text(class, "reclaimPolicy", "Delete");
    fill_text(class, "volumeBindingMode", "Immediate");
}

/// A CSIDriver.
pub(super) fn driver(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    fill(spec, "attachRequired", true);
    for off in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
        fill(spec, off, false);
    }
    fill_text(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
    if spec.get("volumeLifecycleModes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("volumeLifecycleModes".into(), json!(["Persistent"]));
    }
}

/// An IngressClass.
pub(super) fn ingress_class(object: &mut Value) {
    let spec = object.as_object_mut().and_then(|o| open(o, "spec"));
    if let Some(parameters) = spec.and_then(|spec| open(spec, "parameters")) {
        fill_text(parameters, "scope", "Cluster");
    }
}

/// A NetworkPolicy: it is about what comes in, and about what goes out if it says anything of that.
pub(super) fn network_policy(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    for rule in ["ingress", "egress"] {
        for rule in each(spec, rule) {
            each(rule, "ports").for_each(|port| fill_text(port, "protocol", "TCP"));
        }
    }
    if spec.get("policyTypes").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".into(), types);
    }
}

/// Endpoints: the protocol of their ports.
pub(super) fn endpoints(object: &mut Value) {
    for subset in object.as_object_mut().into_iter().flat_map(|o| each(o, "subsets")) {
        each(subset, "ports").for_each(|port| fill_text(port, "protocol", "TCP"));
    }
}
