//! Ingresses and their classes, NetworkPolicies, Endpoints, and addresses that are taken.

use serde_json::Value;

use crate::time::Wall;

use super::format::{NONE, count, items, len, or, selector, texts};
use super::{AGE, NAME, Printer, age, name, text};

pub(super) const INGRESSES: Printer = Printer {
    columns: &[
        NAME,
        text("Class", "The name of the IngressClass resource that should be used for additional configuration"),
        text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
        text("Address", "Address is a list containing ingress points for the load-balancer"),
        text("Ports", "Ports of TLS configurations that open"),
        AGE,
    ],
    cells: ingress,
};

pub(super) const INGRESS_CLASSES: Printer = Printer {
    columns: &[
        NAME,
        text("Controller", "Controller that is responsible for handling this class"),
        text("Parameters", "A reference to a resource with additional parameters"),
        AGE,
    ],
    cells: ingress_class,
};

pub(super) const NETWORK_POLICIES: Printer = Printer {
    columns: &[
        NAME,
        text(
            "Pod-Selector",
            "podSelector selects the pods to which this NetworkPolicy object applies. The array of ingress rules is applied to any pods selected by this field. Multiple network policies can select the same set of pods. In this case, the ingress rules for each are combined additively. This field is NOT optional and follows standard label selector semantics. An empty podSelector matches all pods in this namespace.",
        ),
        AGE,
    ],
    cells: |o, now| vec![name(o), selector(&o["spec"]["podSelector"]).into(), age(o, now)],
};

pub(super) const IP_ADDRESSES: Printer = Printer {
    columns: &[
        NAME,
        text(
            "ParentRef",
            "ParentRef references the resource that an IPAddress is attached to. An IPAddress must reference a parent object.",
        ),
        AGE,
    ],
    cells: ip_address,
};

pub(super) const SERVICE_CIDRS: Printer = Printer {
    columns: &[
        NAME,
        text(
            "CIDRs",
            "CIDRs defines the IP blocks in CIDR notation (e.g. \"192.168.0.0/24\" or \"2001:db8::/64\") from which to assign service cluster IPs. Max of two CIDRs is allowed, one of each IP family. This field is immutable.",
        ),
        AGE,
    ],
    cells: |o, now| vec![name(o), texts(&o["spec"]["cidrs"], ",").into(), age(o, now)],
};

pub(super) const ENDPOINTS: Printer = Printer {
    columns: &[
        NAME,
        text(
            "Endpoints",
            "The set of all endpoints is the union of all subsets. Addresses are placed into subsets according to the IPs they share. A single address with multiple ports, some of which are ready and some of which are not (because they come from different containers) will result in the address being displayed in different subsets for the different ports. No address will appear in both Addresses and NotReadyAddresses in the same subset. Sets of addresses and ports that comprise a service.",
        ),
        AGE,
    ],
    cells: |o, now| vec![name(o), endpoints(&o["subsets"]).into(), age(o, now)],
};

fn ingress(object: &Value, now: Wall) -> Vec<Value> {
    let spec = &object["spec"];
    let given = items(&object["status"]["loadBalancer"]["ingress"]).iter();
    let given: Vec<_> = given.map(|i| or(&i["ip"], or(&i["hostname"], ""))).filter(|text| !text.is_empty()).collect();
    let ports = if len(&spec["tls"]) == 0 { "80" } else { "80, 443" };
    vec![
        name(object),
        or(&spec["ingressClassName"], NONE).into(),
        hosts(&spec["rules"]).into(),
        given.join(",").into(),
        ports.into(),
        age(object, now),
    ]
}

/// The hosts of an Ingress's rules, a few of them.
fn hosts(rules: &Value) -> String {
    const SHOWN: usize = 3;
    let hosts: Vec<_> = items(rules).iter().map(|rule| or(&rule["host"], "")).filter(|host| !host.is_empty()).collect();
    let shown = hosts[..hosts.len().min(SHOWN)].join(",");
    match hosts.len() {
        0 => "*".to_owned(),
        n if n > SHOWN => format!("{shown} + {} more...", n - SHOWN),
        _ => shown,
    }
}

fn ingress_class(object: &Value, now: Wall) -> Vec<Value> {
    let spec = &object["spec"];
    let with = &spec["parameters"];
    let group = with["apiGroup"].as_str().map(|group| format!(".{group}")).unwrap_or_default();
    let with = if with.is_null() {
        NONE.to_owned()
    } else {
        format!("{}{group}/{}", or(&with["kind"], ""), or(&with["name"], ""))
    };
    vec![name(object), or(&spec["controller"], "").into(), with.into(), age(object, now)]
}

fn ip_address(object: &Value, now: Wall) -> Vec<Value> {
    let parent = &object["spec"]["parentRef"];
    let parts = ["resource", "namespace", "name"].map(|field| or(&parent[field], ""));
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let parent = if parts.is_empty() { NONE.to_owned() } else { parts.join("/") };
    vec![name(object), parent.into(), age(object, now)]
}

/// `10.0.0.1:80,10.0.0.2:80`: a few of the addresses that are ready, with each port.
fn endpoints(subsets: &Value) -> String {
    const SHOWN: usize = 3;
    let of_subset = |subset: &Value| -> Vec<String> {
        let addresses = items(&subset["addresses"]).iter().map(|a| or(&a["ip"], "").to_owned());
        let ports: Vec<i64> = items(&subset["ports"]).iter().map(|port| count(&port["port"])).collect();
        if ports.is_empty() {
            return addresses.collect();
        }
        let addresses: Vec<String> = addresses.collect();
        let pairs = ports.iter().flat_map(|port| {
            addresses.iter().map(move |address| match address.contains(':') {
                true => format!("[{address}]:{port}"),
                false => format!("{address}:{port}"),
            })
        });
        pairs.collect()
    };
    let all: Vec<String> = items(subsets).iter().flat_map(of_subset).collect();
    let shown = all[..all.len().min(SHOWN)].join(",");
    match all.len() {
        0 => NONE.to_owned(),
        n if n > SHOWN => format!("{shown} + {} more...", n - SHOWN),
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_ingress_is_printed_as_upstream_does() {
        let mut web = json!({"metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"rules": [{"host": "a"}, {"host": "b"}, {}], "tls": [{}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb"}]}}});
        let cells = json!(ingress(&web, Wall::from_secs(60)));
        assert_eq!(cells, json!(["x", "<none>", "a,b", "192.0.2.1,lb", "80, 443", "60s"]));
        web["spec"] =
            json!({"ingressClassName": "c", "rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}]});
        let cells = json!(ingress(&web, Wall::from_secs(60)));
        assert_eq!((&cells[1], &cells[2], &cells[4]), (&json!("c"), &json!("a,b,c + 1 more..."), &json!("80")));
        assert_eq!(hosts(&json!([{}])), "*");
    }

    #[test]
    fn endpoints_are_printed_as_upstream_does() {
        let subsets =
            json!([{"addresses": [{"ip": "10.0.0.1"}, {"ip": "::1"}], "ports": [{"port": 80}, {"port": 81}]}]);
        assert_eq!(endpoints(&subsets), "10.0.0.1:80,[::1]:80,10.0.0.1:81 + 1 more...");
        assert_eq!(endpoints(&json!([{"addresses": [{"ip": "10.0.0.1"}]}])), "10.0.0.1");
        assert_eq!(endpoints(&json!([])), "<none>");
    }
}
