//! ClusterIPs and NodePorts.

use super::*;

fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

fn ports() -> Value {
    json!([{"name": "http", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}])
}

fn refusal(rig: &mut Rig, object: Value) -> String {
    let refused = rig.done(create(object)).unwrap_err();
    let Rejected::Invalid { field, value, message, .. } = refused else { panic!("{refused:?}") };
    format!("{field}: Invalid value: {value}: {message}")
}

#[test]
fn an_address_is_picked_kept_and_given_back() {
    let mut rig = Rig::new(1);
    let made = rig.create(service("web", json!({"type": "ClusterIP", "ports": ports()})));
    let address = made["spec"]["clusterIP"].as_str().unwrap().to_owned();
    assert!(address.starts_with("10.96."));
    assert_eq!(made["spec"]["clusterIPs"], json!([address]));
    assert_eq!(made["spec"]["ports"][0].get("nodePort"), None);
    let kept = rig.update(service("web", json!({"type": "ClusterIP", "ports": ports(), "selector": {"a": "b"}})));
    assert_eq!(kept["spec"]["clusterIP"], *address);

    let same = service("other", json!({"clusterIP": address, "ports": ports()}));
    assert_eq!(
        refusal(&mut rig, same.clone()),
        format!(
            "spec.clusterIPs: Invalid value: []string{{{address:?}}}: failed to allocate IP {address}: provided IP is \
             already allocated"
        )
    );
    rig.crash();
    rig.flush();
    assert!(rig.done(create(same.clone())).is_err(), "also after a restart");
    rig.done(delete(&Key::new(&kinds::SERVICE, "shop", "web"))).unwrap();
    rig.create(same);
}

#[test]
fn explicit_addresses_are_checked() {
    let mut rig = Rig::new(1);
    assert_eq!(
        refusal(&mut rig, service("web", json!({"clusterIP": "10.1.1.1"}))),
        "spec.clusterIPs: Invalid value: []string{\"10.1.1.1\"}: failed to allocate IP 10.1.1.1: the provided IP \
         (10.1.1.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16"
    );
    let dns = rig.create(service("dns", json!({"clusterIP": "10.96.0.10"})));
    assert_eq!(dns["spec"]["clusterIP"], "10.96.0.10");
    let headless = rig.create(service("headless", json!({"clusterIP": "None"})));
    assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    let alias = rig.create(service("alias", json!({"type": "ExternalName", "externalName": "example.com"})));
    assert_eq!(alias["spec"].get("clusterIP"), None);
}

#[test]
fn all_of_a_small_range_is_used_but_for_reserved_and_edge_addresses() {
    let mut small = config(1, 1);
    small.service_range = "10.96.0.0/28".parse().unwrap();
    let (store, _) = Store::open(small, [], start());
    let mut rig = Rig { store, now: start(), n: 1, disk: Vec::new(), flying: None };
    rig.create(namespace("shop"));
    let mut given = std::collections::BTreeSet::new();
    for i in 0..13 {
        let made = rig.create(service(&format!("s{i}"), json!({"ports": ports()})));
        given.insert(made["spec"]["clusterIP"].as_str().unwrap().to_owned());
    }
    assert_eq!(given.len(), 13);
    assert!(!given.contains("10.96.0.10") && !given.contains("10.96.0.0") && !given.contains("10.96.0.15"));
    assert!(rig.done(create(service("more", json!({"ports": ports()})))).is_err());
}

#[test]
fn node_ports_follow_the_type() {
    let mut rig = Rig::new(1);
    let made = rig.create(service("web", json!({"type": "NodePort", "ports": ports()})));
    let number = |object: &Value, i: usize| object["spec"]["ports"][i]["nodePort"].as_u64();
    let (http, dns) = (number(&made, 0).unwrap(), number(&made, 1).unwrap());
    assert!((30_000..=32_767).contains(&http) && http != dns);
    let kept = rig.update(service("web", json!({"type": "NodePort", "ports": ports()})));
    assert_eq!((number(&kept, 0), number(&kept, 1)), (Some(http), Some(dns)));

    let wanted = |n: u64| {
        service("b", json!({"type": "NodePort", "ports": [{"name": "x", "port": 1, "protocol": "TCP", "nodePort": n}]}))
    };
    assert_eq!(
        refusal(&mut rig, wanted(http)),
        format!("spec.ports[0].nodePort: Invalid value: {http}: provided port is already allocated")
    );
    assert_eq!(
        refusal(&mut rig, wanted(80)),
        "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports \
         is 30000-32767"
    );
    let mut inward = kept;
    inward["spec"]["type"] = "ClusterIP".into();
    let inward = rig.update(inward);
    assert_eq!((number(&inward, 0), number(&inward, 1)), (None, None));
    let taken_over = rig.create(wanted(http));
    assert_eq!(number(&taken_over, 0), Some(http));
}

#[test]
fn an_address_goes_with_the_type() {
    let mut rig = Rig::new(1);
    let mut made = rig.create(service("web", json!({"type": "ClusterIP", "ports": ports()})));
    made["spec"]["type"] = "ExternalName".into();
    made["spec"]["externalName"] = "example.com".into();
    let alias = rig.update(made);
    assert_eq!(alias["spec"].get("clusterIP"), None);
    let mut back = alias;
    back["spec"]["type"] = "ClusterIP".into();
    assert!(rig.update(back)["spec"]["clusterIP"].is_string());
}

#[test]
fn a_dry_run_takes_nothing() {
    let mut rig = Rig::new(1);
    let wanted = service("web", json!({"clusterIP": "10.96.7.7"}));
    rig.store.dry_run(rig.now, Author::Client, Term(1), create(wanted.clone())).unwrap();
    rig.create(service("other", json!({"clusterIP": "10.96.7.7"})));
    assert!(rig.store.dry_run(rig.now, Author::Client, Term(1), create(wanted)).is_err());
}
