//! Nodes and what the cluster tells itself: Leases, EndpointSlices, Events.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::field::{Causes, Field, quoted};
use super::{names, pod};

/// Checks a Node.
pub(super) fn node(root: &Field<'_>, causes: &mut Causes) {
    let ranges = root.child("spec").child("podCIDRs");
    for range in ranges.items() {
        causes.invalid_each(&range, names::cidr(range.text()));
    }
    taints(root, causes);
}

/// Checks what may become of a Node.
pub(super) fn node_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (spec, before) = (new.child("spec"), old.child("spec"));
    if before.child("podCIDRs").len() > 0 && before.value["podCIDRs"] != spec.value["podCIDRs"] {
        let why = "node updates may not change podCIDR except from \"\" to valid";
        causes.forbidden(&spec.child("podCIDRs"), why);
    }
    let provider = before.child("providerID");
    if !provider.text().is_empty() && provider.value != spec.child("providerID").value {
        let why = "node updates may not change providerID except from \"\" to valid";
        causes.forbidden(&spec.child("providerID"), why);
    }
}

/// Checks the status of a Node.
pub(super) fn node_status(new: &Field<'_>, causes: &mut Causes) {
    let status = new.child("status");
    for list in ["capacity", "allocatable"].map(|name| status.child(name)) {
        for (name, amount) in list.entries() {
            pod::resource_value(name, &amount.named(list.child(name).path), causes);
        }
    }
    let mut seen = BTreeSet::new();
    for address in status.child("addresses").items() {
        if !seen.insert((address.child("type").text(), address.child("address").text())) {
            causes.duplicate(&address);
        }
    }
}

fn taints(root: &Field<'_>, causes: &mut Causes) {
    // Upstream looks for them in the spec and calls them metadata's.
    let taints = root.child("spec").child("taints").named(root.child("metadata").child("taints").path);
    let mut used = BTreeSet::new();
    for taint in taints.items() {
        let (key, value, effect) = (taint.child("key"), taint.child("value"), taint.child("effect"));
        causes.invalid_each(&key, names::qualified_name(key.text()));
        let faults = names::label_value(value.text());
        if !faults.is_empty() {
            causes.invalid(&value, &faults.join(";"));
        }
        pod::taint_effect(&effect, causes);
        if !used.insert((key.text(), effect.text())) {
            let shown = format!(
                "core.Taint{{Key:{}, Value:{}, Effect:{}, TimeAdded:<nil>}}",
                quoted(key.text()),
                quoted(value.text()),
                quoted(effect.text())
            );
            causes.duplicate_as(&taint, &shown, "taints must be unique by key and effect pair");
        }
    }
}

/// Checks a Lease.
pub(super) fn lease(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    let seconds = spec.child("leaseDurationSeconds");
    if seconds.number().is_some_and(|n| n <= 0) {
        causes.invalid(&seconds, "must be greater than 0");
    }
    causes.not_negative(&spec.child("leaseTransitions"));
}

/// Most endpoints and ports of a slice, and addresses of an endpoint.
const ENDPOINTS: usize = 1_000;
const PORTS: usize = 20_000;
const ADDRESSES: usize = 100;

/// Checks an EndpointSlice.
pub(super) fn endpoint_slice(root: &Field<'_>, causes: &mut Causes) {
    let kind = root.child("addressType");
    causes.one_of(&kind, &["FQDN", "IPv4", "IPv6"]);
    let endpoints = root.child("endpoints");
    if endpoints.len() > ENDPOINTS {
        return causes.too_many(&endpoints, ENDPOINTS);
    }
    for endpoint in endpoints.items() {
        let addresses = endpoint.child("addresses");
        if addresses.len() == 0 {
            causes.required(&addresses, "must contain at least 1 address");
        } else if addresses.len() > ADDRESSES {
            causes.too_many(&addresses, ADDRESSES);
        }
        for address in addresses.items() {
            endpoint_address(&address, kind.text(), causes);
        }
        let host = endpoint.child("hostname");
        if host.is_set() {
            causes.invalid_each(&host, names::dns_label(host.text()));
        }
        let node = endpoint.child("nodeName");
        if node.is_set() {
            causes.invalid_each(&node, names::dns_subdomain(node.text()));
        }
    }
    endpoint_ports(&root.child("ports"), causes);
}

fn endpoint_address(address: &Field<'_>, kind: &str, causes: &mut Causes) {
    let ip = address.text().parse::<IpAddr>();
    match (kind, ip) {
        ("IPv4", Ok(IpAddr::V6(_))) => causes.invalid(address, "must be an IPv4 address"),
        ("IPv6", Ok(IpAddr::V4(_))) => causes.invalid(address, "must be an IPv6 address"),
        ("IPv4" | "IPv6", Err(_)) => causes.invalid_each(address, names::ip_address(address.text())),
        ("FQDN", _) => causes.invalid_each(address, names::dns_subdomain(address.text())),
        _ => {}
    }
}

fn endpoint_ports(ports: &Field<'_>, causes: &mut Causes) {
    if ports.len() > PORTS {
        return causes.too_many(ports, PORTS);
    }
    let mut used = BTreeSet::new();
    for port in ports.items() {
        let (name, protocol) = (port.child("name"), port.child("appProtocol"));
        if !name.text().is_empty() {
            causes.invalid_each(&name, names::dns_label(name.text()));
        }
        if !used.insert(name.text()) {
            causes.duplicate(&name);
        }
        causes.one_of(&port.child("protocol"), &["SCTP", "TCP", "UDP"]);
        if protocol.is_set() {
            causes.invalid_each(&protocol, names::qualified_name(protocol.text()));
        }
    }
}

/// Checks what may become of an EndpointSlice.
pub(super) fn endpoint_slice_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    causes.immutable(&new.child("addressType"), &old.child("addressType"));
}

/// Checks an Event: it lives beside what it tells of.
pub(super) fn event(root: &Field<'_>, causes: &mut Causes) {
    let namespace = root.child("metadata").child("namespace").text();
    let about = root.child("involvedObject").child("namespace");
    let fits = if about.text().is_empty() { namespace == "default" } else { namespace == about.text() };
    if !fits && !namespace.is_empty() {
        causes.invalid_as(&about, &quoted(about.text()), "does not match event.namespace");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::object::validation::{on_create, on_status, on_update};
    use crate::object::{Kind, kinds};

    fn faults(kind: &'static Kind, mut object: Value) -> Vec<String> {
        object["metadata"] = json!({"name": "x"});
        if kind.namespaced {
            object["metadata"]["namespace"] = json!("shop");
        }
        on_create(kind, &object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn faults_are_named_in_upstreams_words() {
        let table: [(&'static Kind, Value, &[&str]); 13] = [
            (
                &kinds::NODE,
                json!({"spec": {"podCIDRs": ["10.240.1.0/24"], "taints": [{"key": "a", "effect": "NoExecute"}]}}),
                &[],
            ),
            (
                &kinds::NODE,
                json!({"spec": {"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "a", "effect": "NoSchedule"}]}}),
                &[
                    "metadata.taints[1]: Duplicate value: core.Taint{Key:\"a\", Value:\"\", Effect:\"NoSchedule\", TimeAdded:<nil>}: taints must be unique by key and effect pair",
                ],
            ),
            (
                &kinds::NODE,
                json!({"spec": {"taints": [{"key": "a", "effect": "Go"}]}}),
                &[
                    "metadata.taints[0].effect: Unsupported value: \"Go\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                ],
            ),
            (
                &kinds::NODE,
                json!({"spec": {"podCIDRs": ["10.240.1.0"]}}),
                &[
                    "spec.podCIDRs[0]: Invalid value: \"10.240.1.0\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                ],
            ),
            (&kinds::LEASE, json!({"spec": {"leaseDurationSeconds": 15}}), &[]),
            (
                &kinds::LEASE,
                json!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1}}),
                &[
                    "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
                    "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
                ],
            ),
            (
                &kinds::ENDPOINT_SLICE,
                json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "", "port": 80, "protocol": "TCP"}]}),
                &[],
            ),
            (&kinds::ENDPOINT_SLICE, json!({}), &["addressType: Required value"]),
            (
                &kinds::ENDPOINT_SLICE,
                json!({"addressType": "IPv4", "endpoints": [{"addresses": []}, {"addresses": ["::1"]}]}),
                &[
                    "endpoints[0].addresses: Required value: must contain at least 1 address",
                    "endpoints[1].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
                ],
            ),
            (
                &kinds::ENDPOINT_SLICE,
                json!({"addressType": "IPv4", "ports": [{"name": "", "protocol": "TCP"}, {"name": "", "protocol": "TCP"}]}),
                &["ports[1].name: Duplicate value: \"\""],
            ),
            (&kinds::EVENT, json!({"involvedObject": {"namespace": "shop"}}), &[]),
            (
                &kinds::EVENT,
                json!({"involvedObject": {"kind": "Node", "name": "n1"}}),
                &["involvedObject.namespace: Invalid value: \"\": does not match event.namespace"],
            ),
            (&kinds::SERVICE_ACCOUNT, json!({}), &[]),
        ];
        for (kind, object, words) in table {
            assert_eq!(faults(kind, object.clone()), words, "{object}");
        }
        let slice = json!({"addressType": "IPv4", "endpoints": vec![json!({"addresses": ["1.2.3.4"]}); 1_001]});
        assert_eq!(faults(&kinds::ENDPOINT_SLICE, slice), ["endpoints: Too many: 1001: must have at most 1000 items"]);
    }

    #[test]
    fn a_nodes_range_stays_and_its_status_is_checked() {
        let old = json!({"metadata": {"name": "n1"}, "spec": {"podCIDRs": ["10.240.1.0/24"]}});
        let mut new = old.clone();
        assert_eq!(on_update(&kinds::NODE, &new, &old), []);
        new["spec"]["podCIDRs"] = json!(["10.240.2.0/24"]);
        let words: Vec<_> = on_update(&kinds::NODE, &new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(words, ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]);
        new["status"] = json!({"capacity": {"cpu": "-1", "pods": "1.5"}});
        let words: Vec<_> = on_status(&kinds::NODE, &new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "status.capacity.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
                "status.capacity.pods: Invalid value: \"1500m\": must be an integer"
            ]
        );
    }
}
