//! Defaults of Services (`SetDefaults_Service`, and the address families that upstream's allocator fills in).

use serde_json::{Map, Value, json};

use super::fill::{Members, each, fill, fill_text, open, open_or_make, text_of};

/// How long a client sticks to an endpoint: three hours.
const AFFINITY_SECONDS: i64 = 10_800;

/// Fills in a Service. Addresses and node ports are the store's to give.
pub(super) fn service(object: &mut Value) {
    let Some(object) = object.as_object_mut() else { return };
    let Some(spec) = open_or_make(object, "spec") else { return };
    fill_text(spec, "type", "ClusterIP");
    fill_text(spec, "sessionAffinity", "None");
    affinity(spec);
    each(spec, "ports").for_each(port);
    let kind = text_of(spec, "type").to_owned();
    let external = kind == "NodePort" || kind == "LoadBalancer";
    let own_addresses = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if external || (kind == "ClusterIP" && own_addresses) {
        fill_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if external || kind == "ClusterIP" {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind != "ExternalName" {
        addresses(spec);
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
        let status = open(object, "status").and_then(|s| open(s, "loadBalancer"));
        for ingress in status.into_iter().flat_map(|s| each(s, "ingress")) {
            if !text_of(ingress, "ip").is_empty() {
                fill(ingress, "ipMode", "VIP");
            }
        }
    }
}

fn affinity(spec: &mut Members) {
    match text_of(spec, "sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP" => {
            fill(spec, "sessionAffinityConfig", Map::new());
            let client = open(spec, "sessionAffinityConfig").and_then(|c| open_or_make(c, "clientIP"));
            client.into_iter().for_each(|c| fill(c, "timeoutSeconds", AFFINITY_SECONDS));
        }
        _ => {}
    }
}

fn port(port: &mut Members) {
    fill_text(port, "protocol", "TCP");
    let unsaid = match port.get("targetPort") {
        None | Some(Value::Null) => true,
        Some(Value::String(name)) => name.is_empty(),
        Some(number) => number.as_i64() == Some(0),
    };
    if unsaid && let Some(number) = port.get("port").cloned() {
        port.insert("targetPort".into(), number);
    }
}

/// The cluster has IPv4 addresses only. The list of addresses repeats the one that is named.
fn addresses(spec: &mut Members) {
    if spec.get("ipFamilies").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("ipFamilies".into(), json!(["IPv4"]));
    }
    fill(spec, "ipFamilyPolicy", "SingleStack");
    let address = text_of(spec, "clusterIP").to_owned();
    if !address.is_empty() && spec.get("clusterIPs").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        spec.insert("clusterIPs".into(), json!([address]));
    }
}
