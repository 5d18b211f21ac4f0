//! Services and EndpointSlices.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::time::Wall;

use super::format::{NONE, count, items, labels, or, some_of};
use super::{AGE, NAME, Printer, age, name, text, wide};

pub(super) const SERVICES: Printer = Printer {
    columns: &[
        NAME,
        text("Type", "type determines how the Service is exposed. Defaults to ClusterIP."),
        text("Cluster-IP", "clusterIP is the IP address of the service and is usually assigned randomly."),
        text(
            "External-IP",
            "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.",
        ),
        text("Port(s)", "The list of ports that are exposed by this service."),
        AGE,
        wide(text("Selector", "Route service traffic to pods with label keys and values matching this selector.")),
    ],
    cells: service,
};

fn service(object: &Value, now: Wall) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        or(&spec["type"], "").into(),
        or(&spec["clusterIPs"][0], NONE).into(),
        external_ip(object).into(),
        ports(&spec["ports"]).into(),
        age(object, now),
        labels(&spec["selector"]).into(),
    ]
}

fn external_ip(object: &Value) -> String {
    let spec = &object["spec"];
    let own: Vec<_> = items(&spec["externalIPs"]).iter().filter_map(Value::as_str).collect();
    let own = own.join(",");
    match spec["type"].as_str() {
        Some("ClusterIP" | "NodePort") if own.is_empty() => NONE.to_owned(),
        Some("ClusterIP" | "NodePort") => own,
        Some("LoadBalancer") => {
            let ingress = items(&object["status"]["loadBalancer"]["ingress"]).iter();
            let given: BTreeSet<_> = ingress.map(|i| or(&i["ip"], or(&i["hostname"], ""))).collect();
            let given: Vec<_> = given.into_iter().filter(|g| !g.is_empty()).collect();
            let all: Vec<_> = [given.join(","), own].into_iter().filter(|t| !t.is_empty()).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        Some("ExternalName") => or(&spec["externalName"], "").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(ports: &Value) -> String {
    let texts = items(ports).iter().map(|port| {
        let (number, protocol) = (count(&port["port"]), or(&port["protocol"], ""));
        match count(&port["nodePort"]) {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    });
    let texts: Vec<_> = texts.collect();
    if texts.is_empty() { NONE.to_owned() } else { texts.join(",") }
}

/// How many ports and addresses of a slice are shown.
const SHOWN: usize = 3;

pub(super) const ENDPOINT_SLICES: Printer = Printer {
    columns: &[
        NAME,
        text("AddressType", "addressType specifies the type of address carried by this EndpointSlice."),
        text("Ports", "ports specifies the list of network ports exposed by each endpoint in this slice."),
        text("Endpoints", "endpoints is a list of unique endpoints in this slice."),
        AGE,
    ],
    cells: endpoint_slice,
};

fn endpoint_slice(object: &Value, now: Wall) -> Vec<Value> {
    let port = |p: &Value| p["port"].as_i64().map_or_else(|| or(&p["name"], "*").to_owned(), |n| n.to_string());
    let ports: Vec<String> = items(&object["ports"]).iter().map(port).collect();
    let addresses = items(&object["endpoints"]).iter().flat_map(|e| items(&e["addresses"]));
    let addresses: Vec<String> = addresses.filter_map(|a| a.as_str().map(str::to_owned)).collect();
    vec![
        name(object),
        or(&object["addressType"], "").into(),
        some_of(&ports, SHOWN).into(),
        some_of(&addresses, SHOWN).into(),
        age(object, now),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn external(spec: &Value, status: &Value) -> String {
        external_ip(&json!({"spec": spec, "status": status}))
    }

    #[test]
    fn a_service_is_printed_as_upstream_does() {
        let web = json!({
            "metadata": {"name": "web", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {
                "type": "NodePort",
                "clusterIPs": ["10.96.0.7"],
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
                "selector": {"app": "web"},
            },
        });
        let expected = json!(["web", "NodePort", "10.96.0.7", "<none>", "80:30080/TCP,53/UDP", "60s", "app=web"]);
        assert_eq!(json!(service(&web, Wall::from_secs(60))), expected);
        assert_eq!(ports(&json!([])), "<none>");
    }

    #[test]
    fn the_external_address_depends_on_the_type() {
        let none = json!({});
        let load_balancer = json!({"loadBalancer": {"ingress": [{"ip": "5.6.7.8"}, {"hostname": "lb.example"}]}});
        for (spec, status, text) in [
            (json!({"type": "ClusterIP", "externalIPs": ["1.2.3.4", "1.2.3.5"]}), &none, "1.2.3.4,1.2.3.5"),
            (json!({"type": "LoadBalancer"}), &none, "<pending>"),
            (json!({"type": "LoadBalancer", "externalIPs": ["1.2.3.4"]}), &load_balancer, "5.6.7.8,lb.example,1.2.3.4"),
            (json!({"type": "ExternalName", "externalName": "example.org"}), &none, "example.org"),
            (json!({}), &none, "<unknown>"),
        ] {
            assert_eq!(external(&spec, status), text);
        }
    }

    #[test]
    fn a_slice_shows_three_of_each() {
        let endpoints: Vec<_> = (1..=5).map(|i| json!({"addresses": [format!("10.240.0.{i}")]})).collect();
        let slice = json!({"metadata": {"name": "web-x"}, "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 80}, {"name": "any"}, {}]});
        let cells = endpoint_slice(&slice, Wall(0));
        assert_eq!(cells[2], "80,any,*");
        assert_eq!(cells[3], "10.240.0.1,10.240.0.2,10.240.0.3 + 2 more...");
    }
}
