//! What an update need not repeat: values that the cluster allocated once and a client's manifest does not know.

use serde_json::{Value, json};

use super::core::spec_of;
use super::fill::{Members, each, fill, fill_text, open_or_make, text_of};
use crate::object::{Kind, kinds};

/// Copies from `old` into `new` what the cluster has given the object and `new` leaves open (upstream's
/// `patchAllocatedValues` and the like): a Service's addresses and node ports, a pod's priority and service account,
/// a namespace's finalizers. For whole-object updates, before [`super::apply`].
pub fn carry_over(kind: &'static Kind, new: &mut Value, old: &Value) {
    match kind {
        k if *k == kinds::SERVICE => service(new, &old["spec"]),
        k if *k == kinds::POD => pod(new, &old["spec"]),
        k if *k == kinds::NAMESPACE => namespace(new, &old["spec"]),
        _ => {}
    }
}

/// Only the end of a namespace takes its finalizers away.
fn namespace(new: &mut Value, old: &Value) {
    let Some(spec) = new.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    match old.get("finalizers") {
        Some(finalizers) => spec.insert("finalizers".into(), finalizers.clone()),
        None => spec.remove("finalizers"),
    };
}

fn pod(new: &mut Value, old: &Value) {
    let Some(spec) = spec_of(new) else { return };
    for name in ["priority", "preemptionPolicy", "serviceAccountName"] {
        if let Some(value) = old.get(name) {
            fill(spec, name, value.clone());
        }
    }
}

fn service(new: &mut Value, old: &Value) {
    let Some(spec) = spec_of(new) else { return };
    let kind = Some(text_of(spec, "type")).filter(|t| !t.is_empty()).unwrap_or("ClusterIP").to_owned();
    let was = old["type"].as_str().unwrap_or("ClusterIP");
    if kind != "ExternalName" && was != "ExternalName" {
        addresses(spec, old);
    }
    if with_node_ports(&kind) && with_node_ports(was) {
        node_ports(spec, old);
    }
    drop_of_former_type(spec, &kind, old, was);
}

fn with_node_ports(kind: &str) -> bool {
    kind == "NodePort" || kind == "LoadBalancer"
}

fn addresses(spec: &mut Members, old: &Value) {
    let said = text_of(spec, "clusterIP").to_owned();
    let list_is_repeated = spec.get("clusterIPs") == Some(&old["clusterIPs"]);
    if !said.is_empty() && list_is_repeated && old["clusterIPs"][0] != *said {
        // The one address was changed and the list forgotten: upstream lets the list follow.
        spec.insert("clusterIPs".into(), json!([said]));
    }
    fill_text(spec, "clusterIP", old["clusterIP"].as_str().unwrap_or_default());
    for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if let Some(value) = old.get(name) {
            fill(spec, name, value.clone());
        }
    }
}

/// Takes away what only the former type had a use for, unless it was changed too (upstream's
/// `dropTypeDependentFields`): a patch of the type alone must do.
fn drop_of_former_type(spec: &mut Members, kind: &str, old: &Value, was: &str) {
    if with_node_ports(was)
        && !with_node_ports(kind)
        && node_ports_of(spec.get("ports")) == node_ports_of(old.get("ports"))
    {
        each(spec, "ports").for_each(|port| drop(port.remove("nodePort")));
    }
    let mut gone: Vec<&str> = Vec::new();
    if was != "ExternalName" && kind == "ExternalName" {
        gone.extend(["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    }
    if was == "LoadBalancer" && kind != "LoadBalancer" {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort"]);
    }
    if with_node_ports(was) && !with_node_ports(kind) {
        gone.push("externalTrafficPolicy");
    }
    for name in gone {
        if spec.get(name) == old.get(name) {
            spec.remove(name);
        }
    }
}

fn node_ports_of(ports: Option<&Value>) -> Vec<i64> {
    let ports = ports.and_then(Value::as_array).into_iter().flatten();
    ports.filter_map(|p| p["nodePort"].as_i64()).collect()
}

/// A port keeps its node port as long as protocol and port are the same.
fn node_ports(spec: &mut Members, old: &Value) {
    let protocol = |v: Option<&Value>| v.and_then(Value::as_str).filter(|p| !p.is_empty()).unwrap_or("TCP").to_owned();
    for port in each(spec, "ports") {
        let number = port.get("port");
        let same =
            |o: &&Value| o.get("port") == number && protocol(o.get("protocol")) == protocol(port.get("protocol"));
        let before = old["ports"].as_array().into_iter().flatten().find(same);
        if let Some(node_port) = before.and_then(|o| o["nodePort"].as_i64())
            && port.get("nodePort").and_then(Value::as_i64).unwrap_or_default() == 0
        {
            port.insert("nodePort".into(), node_port.into());
        }
    }
}
