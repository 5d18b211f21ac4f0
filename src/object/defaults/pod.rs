//! Defaults of pods and pod templates (`SetDefaults_Pod`, `SetDefaults_PodSpec` and what they lead to).

use serde_json::{Map, Value, json};

use super::fill::{Members, each, fill, fill_number, fill_text, open, open_or_make, quantity, resources, text_of};

/// Fills in a Pod: its spec, and what upstream gives to pods but not to templates.
pub(super) fn pod(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    // The ServiceAccount admission's; the template's name wins over the deprecated one.
    let deprecated = text_of(spec, "serviceAccount").to_owned();
    fill_text(spec, "serviceAccountName", if deprecated.is_empty() { "default" } else { &deprecated });
    pod_spec(spec);
    for list in ["containers", "initContainers"] {
        let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
        for container in each(spec, list) {
            requests_from_limits(container);
            if host_network {
                each(container, "ports").for_each(host_port);
            }
        }
    }
    fill(spec, "enableServiceLinks", true);
    priority(spec);
}

/// The Priority admission's. Only upstream's two built-in classes are known.
fn priority(spec: &mut Members) {
    let value = match text_of(spec, "priorityClassName") {
        "" => 0,
        "system-cluster-critical" => 2_000_000_000,
        "system-node-critical" => 2_000_001_000,
        _ => return,
    };
    fill(spec, "priority", value);
    fill(spec, "preemptionPolicy", "PreemptLowerPriority");
}

/// Fills in the pod template of a workload.
pub(super) fn template(owner_spec: &mut Members) {
    if let Some(spec) = open_or_make(owner_spec, "template").and_then(|t| open_or_make(t, "spec")) {
        pod_spec(spec);
    }
}

fn pod_spec(spec: &mut Members) {
    fill_text(spec, "restartPolicy", "Always");
    fill_text(spec, "dnsPolicy", "ClusterFirst");
    fill_text(spec, "schedulerName", "default-scheduler");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "securityContext", Map::new());
    same_service_account(spec);
    resources(spec, "overhead");
    each(spec, "volumes").for_each(volume);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list).for_each(container);
    }
}

/// `serviceAccount` is the old word for `serviceAccountName`; both are shown.
fn same_service_account(spec: &mut Members) {
    let deprecated = text_of(spec, "serviceAccount").to_owned();
    if !deprecated.is_empty() {
        fill_text(spec, "serviceAccountName", &deprecated);
    }
    let name = text_of(spec, "serviceAccountName").to_owned();
    if !name.is_empty() {
        spec.insert("serviceAccount".into(), name.into());
    }
}

fn container(container: &mut Members) {
    let policy = pull_policy(text_of(container, "image"));
    fill_text(container, "imagePullPolicy", policy);
    fill_text(container, "terminationMessagePath", "/dev/termination-log");
    fill_text(container, "terminationMessagePolicy", "File");
    if let Some(demands) = open_or_make(container, "resources") {
        resources(demands, "limits");
        resources(demands, "requests");
    }
    each(container, "ports").for_each(|port| fill_text(port, "protocol", "TCP"));
    each(container, "env").filter_map(|e| open(e, "valueFrom")).for_each(references);
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        open(container, name).into_iter().for_each(probe);
    }
    if let Some(lifecycle) = open(container, "lifecycle") {
        for hook in ["postStart", "preStop"] {
            open(lifecycle, hook).and_then(|h| open(h, "httpGet")).into_iter().for_each(http_get);
        }
    }
}

/// `Always` for an image whose tag is `latest` or not named at all, unless a digest pins it.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or(name);
    let latest = match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_none() && !name.is_empty(),
    };
    if latest { "Always" } else { "IfNotPresent" }
}

fn probe(probe: &mut Members) {
    for (name, number) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        fill_number(probe, name, number);
    }
    open(probe, "httpGet").into_iter().for_each(http_get);
    if let Some(grpc) = open(probe, "grpc") {
        fill(grpc, "service", "");
    }
}

fn http_get(action: &mut Members) {
    fill_text(action, "path", "/");
    fill_text(action, "scheme", "HTTP");
}

/// `fieldRef` and `resourceFieldRef`, of the environment and of downward volumes.
fn references(source: &mut Members) {
    if let Some(field) = open(source, "fieldRef") {
        fill_text(field, "apiVersion", "v1");
    }
    if let Some(resource) = open(source, "resourceFieldRef") {
        fill(resource, "divisor", "0");
        quantity(resource, "divisor");
    }
}

fn requests_from_limits(container: &mut Members) {
    let Some(demands) = open(container, "resources") else { return };
    let Some(limits) = demands.get("limits").and_then(Value::as_object).filter(|l| !l.is_empty()).cloned() else {
        return;
    };
    if let Some(requests) = open_or_make(demands, "requests") {
        for (name, limit) in limits {
            fill(requests, &name, limit);
        }
    }
}

fn host_port(port: &mut Members) {
    if let Some(number) = port.get("containerPort").and_then(Value::as_i64) {
        fill_number(port, "hostPort", number);
    }
}

/// Defaults of volume sources that are plain values.
const VOLUMES: &[(&str, &str, &str)] = &[
    ("hostPath", "type", ""),
    ("iscsi", "iscsiInterface", "default"),
    ("rbd", "pool", "rbd"),
    ("rbd", "user", "admin"),
    ("rbd", "keyring", "/etc/ceph/keyring"),
    ("azureDisk", "cachingMode", "ReadWrite"),
    ("azureDisk", "kind", "Shared"),
    ("azureDisk", "fsType", "ext4"),
    ("scaleIO", "storageMode", "ThinProvisioned"),
    ("scaleIO", "fsType", "xfs"),
];

/// Permission bits 0644.
const FILE_MODE: i64 = 0o644;

fn volume(volume: &mut Members) {
    if !volume.iter().any(|(name, value)| name != "name" && !value.is_null()) {
        volume.insert("emptyDir".into(), json!({}));
    }
    for (source, name, text) in VOLUMES {
        open(volume, source).into_iter().for_each(|s| fill(s, name, *text));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        open(volume, source).into_iter().for_each(|s| fill(s, "defaultMode", FILE_MODE));
    }
    open(volume, "emptyDir").into_iter().for_each(|s| quantity(s, "sizeLimit"));
    open(volume, "downwardAPI").into_iter().for_each(downward);
    let projections = open(volume, "projected").into_iter().flat_map(|s| each(s, "sources"));
    for source in projections {
        open(source, "downwardAPI").into_iter().for_each(downward);
        open(source, "serviceAccountToken").into_iter().for_each(|t| fill(t, "expirationSeconds", 3_600));
    }
    if let Some(source) = open(volume, "image") {
        let policy = pull_policy(text_of(source, "reference"));
        fill_text(source, "pullPolicy", policy);
    }
    let claim = open(volume, "ephemeral").and_then(|e| open(e, "volumeClaimTemplate")).and_then(|t| open(t, "spec"));
    claim.into_iter().for_each(|spec| fill(spec, "volumeMode", "Filesystem"));
}

fn downward(source: &mut Members) {
    each(source, "items").for_each(references);
}
