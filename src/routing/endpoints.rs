//! Endpoints: the older form of a Service's EndpointSlices, for clients that know no other.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::ids::Uid;
use crate::object::Key;
use crate::store::class::{MANAGED_BY, MANAGER};
use crate::store::{Entry, Snapshot, class};

use super::slices::SERVICE_NAME;
use crate::object::kinds;

/// The most addresses in one, as upstream's; what is over is left out and said in [`OVER_CAPACITY`].
pub const MAX_ADDRESSES: usize = 1000;
/// The annotation of one that does not name all.
pub const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// Computes the Endpoints of a Service from its slices; `None` without slices, or where somebody has made one.
pub fn endpoints(view: &Snapshot, service: &Key, slices: &[Value]) -> Option<Value> {
    let owner = view.get(service)?;
    let key = Key::new(&kinds::ENDPOINTS, &*service.namespace, &*service.name);
    let made = |entry: &Entry| !class::is_projection(&key, entry.labels.get(MANAGED_BY).map(String::as_str));
    if slices.is_empty() || view.get(&key).is_some_and(|entry| made(entry)) {
        return None;
    }
    let mut labels = BTreeMap::clone(&owner.labels);
    labels.remove(SERVICE_NAME);
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let (subsets, complete) = subsets(slices);
    let mut endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": service.name,
            "namespace": service.namespace,
            "uid": Uid::derived(&[b"endpoints", &owner.uid.0]),
            "creationTimestamp": slices[0]["metadata"]["creationTimestamp"],
            "labels": labels,
        },
    });
    if !subsets.is_empty() {
        endpoints["subsets"] = subsets.into();
    }
    if !complete {
        endpoints["metadata"]["annotations"] = json!({OVER_CAPACITY: "truncated"});
    }
    Some(endpoints)
}

/// Puts together what has the same ports. Says whether everything fitted in.
fn subsets(slices: &[Value]) -> (Vec<Value>, bool) {
    let mut by_ports: BTreeMap<String, (Value, Vec<Value>, Vec<Value>)> = BTreeMap::new();
    let mut room = MAX_ADDRESSES;
    for slice in slices {
        let ports: Vec<Value> = slice["ports"].as_array().into_iter().flatten().map(port).collect();
        let subset = by_ports.entry(json!(ports).to_string()).or_insert_with(|| (json!(ports), Vec::new(), Vec::new()));
        for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
            let Some(left) = room.checked_sub(1) else { break };
            room = left;
            let ready = endpoint["conditions"]["ready"] != false;
            let terminating = endpoint["conditions"]["terminating"] == true;
            // One that is on its way out is in neither list.
            match (ready, terminating) {
                (true, _) => subset.1.push(address(endpoint)),
                (false, false) => subset.2.push(address(endpoint)),
                (false, true) => {}
            }
        }
    }
    let all: usize = slices.iter().filter_map(|slice| slice["endpoints"].as_array()).map(Vec::len).sum();
    let filled = by_ports.into_values().filter(|(_, ready, other)| !ready.is_empty() || !other.is_empty());
    let made = filled.map(|(ports, ready, other)| {
        let mut subset = json!({"ports": ports});
        for (name, list) in [("addresses", ready), ("notReadyAddresses", other)] {
            if !list.is_empty() {
                subset[name] = list.into();
            }
        }
        subset
    });
    (made.collect(), all <= MAX_ADDRESSES)
}

fn port(port: &Value) -> Value {
    let mut port = port.clone();
    if port["name"] == "" {
        port.as_object_mut().map(|members| members.remove("name"));
    }
    port
}

fn address(endpoint: &Value) -> Value {
    let mut address = json!({"ip": endpoint["addresses"][0]});
    for name in ["hostname", "nodeName", "targetRef"] {
        if !endpoint[name].is_null() {
            address[name] = endpoint[name].clone();
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ids::Revision;

    fn view(objects: &[Value]) -> Snapshot {
        let mut view = Snapshot::starting_at(Revision(1 << 16));
        for (n, object) in objects.iter().enumerate() {
            let mut object = object.clone();
            object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{n:012}"));
            let key = Key::of(&object).expect("a known kind");
            let revision = Revision((n as u64 + 2) << 16);
            view.show(&key, Some(Arc::new(Entry::of(key.clone(), revision, &object))), revision);
        }
        view
    }

    fn service() -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop", "labels": {"a": "b"}}})
    }

    fn slice(port: u16, endpoints: &Value) -> Value {
        json!({"metadata": {"creationTimestamp": "2025-01-01T00:00:00Z"}, "endpoints": endpoints,
            "ports": [{"name": "", "port": port, "protocol": "TCP"}]})
    }

    fn key() -> Key {
        Key::new(&kinds::SERVICE, "shop", "web")
    }

    #[test]
    fn slices_become_one_object_by_their_ports() {
        let end = |ip: &str, ready: bool, terminating: bool| json!({"addresses": [ip], "conditions": {"ready": ready, "terminating": terminating}, "nodeName": "n1"});
        let slices = [
            slice(80, &json!([end("10.0.0.1", true, false), end("10.0.0.2", false, false)])),
            slice(80, &json!([end("10.0.0.3", true, false)])),
            slice(81, &json!([end("10.0.0.4", false, true)])),
        ];
        let made = endpoints(&view(&[service()]), &key(), &slices).unwrap();
        let address = |ip: &str| json!({"ip": ip, "nodeName": "n1"});
        let subset = json!([{"addresses": [address("10.0.0.1"), address("10.0.0.3")], "notReadyAddresses": [address("10.0.0.2")],
            "ports": [{"port": 80, "protocol": "TCP"}]}]);
        assert_eq!(made["subsets"], subset);
        assert_eq!(made["metadata"]["labels"], json!({"a": "b", MANAGED_BY: MANAGER}));
        let none = endpoints(&view(&[service()]), &key(), &[slice(80, &json!([]))]).unwrap();
        assert!(none["subsets"].is_null(), "{none}");
    }

    #[test]
    fn what_a_user_has_made_stays() {
        let own = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web", "namespace": "shop"}});
        assert_eq!(endpoints(&view(&[service(), own]), &key(), &[slice(80, &json!([]))]), None);
        assert_eq!(endpoints(&view(&[service()]), &key(), &[]), None, "a Service without a selector");
    }

    #[test]
    fn more_than_a_thousand_are_cut_off_and_said() {
        let many: Vec<Value> =
            (0..1100).map(|n| json!({"addresses": [format!("10.0.{}.{}", n / 256, n % 256)]})).collect();
        let made = endpoints(&view(&[service()]), &key(), &[slice(80, &json!(many))]).unwrap();
        assert_eq!(made["subsets"][0]["addresses"].as_array().unwrap().len(), MAX_ADDRESSES);
        assert_eq!(made["metadata"]["annotations"][OVER_CAPACITY], "truncated");
    }
}
