//! Nodes.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::time::Wall;

use super::format::{NONE, items, or};
use super::{AGE, Column, NAME, Printer, age, name, text, wide};

pub(super) const NODES: Printer = Printer { columns: COLUMNS, cells };

const COLUMNS: &[Column] = &[
    NAME,
    text("Status", "The status of the node"),
    text("Roles", "The roles of the node"),
    AGE,
    text("Version", "Kubelet Version reported by the node."),
    wide(text("Internal-IP", "List of addresses reachable to the node.")),
    wide(text("External-IP", "List of addresses reachable to the node.")),
    wide(text("OS-Image", "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).")),
    wide(text("Kernel-Version", "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).")),
    wide(text(
        "Container-Runtime",
        "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
    )),
];

/// The label whose suffix names a role.
const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
/// The older label whose value does.
const ROLE: &str = "kubernetes.io/role";

fn cells(node: &Value, now: Wall) -> Vec<Value> {
    let info = &node["status"]["nodeInfo"];
    let unknown = |field: &str| or(&info[field], "<unknown>").to_owned();
    vec![
        name(node),
        status(node).into(),
        roles(node).into(),
        age(node, now),
        or(&info["kubeletVersion"], "").into(),
        address(node, "InternalIP").into(),
        address(node, "ExternalIP").into(),
        unknown("osImage").into(),
        unknown("kernelVersion").into(),
        unknown("containerRuntimeVersion").into(),
    ]
}

fn status(node: &Value) -> String {
    let ready = items(&node["status"]["conditions"]).iter().find(|c| c["type"] == "Ready");
    let word = match ready {
        Some(c) if c["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = if node["spec"]["unschedulable"] == true { ",SchedulingDisabled" } else { "" };
    format!("{word}{cordoned}")
}

fn roles(node: &Value) -> String {
    let labels = node["metadata"]["labels"].as_object();
    let role = |(key, value): (&String, &Value)| match key.strip_prefix(ROLE_PREFIX) {
        Some(role) if !role.is_empty() => Some(role.to_owned()),
        None if key == ROLE => value.as_str().filter(|v| !v.is_empty()).map(str::to_owned),
        _ => None,
    };
    let roles: BTreeSet<String> = labels.into_iter().flatten().filter_map(role).collect();
    if roles.is_empty() { NONE.to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address(node: &Value, kind: &str) -> String {
    let found = items(&node["status"]["addresses"]).iter().find(|a| a["type"] == kind);
    found.map_or(NONE, |a| or(&a["address"], NONE)).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_is_printed_as_upstream_does() {
        let node = json!({
            "metadata": {"name": "n1", "creationTimestamp": "1970-01-01T00:00:00Z", "labels": {
                "node-role.kubernetes.io/worker": "", "node-role.kubernetes.io/control-plane": "", "x": "y"}},
            "spec": {"unschedulable": true},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1.33.0", "osImage": "Debian", "kernelVersion": "6.1",
                    "containerRuntimeVersion": "docker://20.10"},
            },
        });
        let expected = [
            "n1",
            "Ready,SchedulingDisabled",
            "control-plane,worker",
            "60s",
            "v1.33.0",
            "10.0.0.1",
            "<none>",
            "Debian",
            "6.1",
            "docker://20.10",
        ];
        assert_eq!(cells(&node, Wall::from_secs(60)), expected);
    }

    #[test]
    fn readiness_has_three_words() {
        let of = |conditions: Value| status(&json!({"status": {"conditions": conditions}}));
        assert_eq!(of(json!([{"type": "Ready", "status": "Unknown"}])), "NotReady");
        assert_eq!(of(json!([{"type": "MemoryPressure", "status": "False"}])), "Unknown");
        assert_eq!(roles(&json!({"metadata": {"labels": {"kubernetes.io/role": "edge"}}})), "edge");
    }
}
