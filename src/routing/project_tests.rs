//! Listeners and names of one Service.

use serde_json::{Value, json};

use super::*;
use crate::routing::fixtures::{pod, service, slice, terminating, unready, view, web};
use crate::routing::{Routes, endpoint_slices, fixtures, routes};

/// The routes of one Service in namespace `shop`, its pods and slices, seen from node `n1`.
fn routed(objects: impl IntoIterator<Item = Value>) -> Routes {
    let mut view = view(objects);
    let services: Vec<_> = view.list(&crate::object::kinds::SERVICE, None).map(|e| e.key.clone()).collect();
    for slice in services.iter().flat_map(|key| endpoint_slices(&view, key)).collect::<Vec<_>>() {
        fixtures::show(&mut view, slice);
    }
    routes(&view, &Config::of("n1"), &Routes::default())
}

/// `tcp 10.96.7.7:80` or `udp *:30053` -> `address@node` of each endpoint.
fn listeners(routes: &Routes) -> Vec<(String, String)> {
    let place = |listen: &Listen| match listen {
        Listen::Virtual { protocol, address } => format!("{protocol:?} {address}"),
        Listen::Node { protocol, port } => format!("{protocol:?} *:{port}"),
    };
    let whom = |backends: &Backends| {
        let each = backends.endpoints.iter().map(|e| format!("{}@{}", e.address, e.node.as_deref().unwrap_or("-")));
        each.collect::<Vec<_>>().join(" ")
    };
    routes.listeners.iter().map(|(l, b)| (place(l), whom(b))).collect()
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn on(node: &str, mut pod: Value) -> Value {
    pod["spec"]["nodeName"] = json!(node);
    pod
}

#[test]
fn a_service_listens_at_its_address_and_its_node_port() {
    let mut web = web();
    web["spec"]["type"] = json!("NodePort");
    web["spec"]["ports"] = json!([{"name": "http", "port": 80, "targetPort": "http", "nodePort": 30080},
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": "dns", "nodePort": 30053},
        {"name": "sctp", "port": 99, "protocol": "SCTP"}]);
    let routes = routed([web, pod("b", "10.240.0.6"), on("n2", pod("a", "10.240.0.5"))]);
    let (http, dns) = ("10.240.0.5:8080@n2 10.240.0.6:8080@n1", "10.240.0.5:53@n2 10.240.0.6:53@n1");
    let want = [("Tcp 10.96.7.7:80", http), ("Udp 10.96.7.7:53", dns), ("Tcp *:30080", http), ("Udp *:30053", dns)];
    assert_eq!(listeners(&routes), owned(&want));
    let services: Vec<_> = routes.listeners.values().map(|b| b.service.as_str()).collect();
    assert_eq!(services, ["shop/web:http", "shop/web:dns", "shop/web:http", "shop/web:dns"]);
}

#[test]
fn an_unnamed_port_is_called_by_its_number() {
    let spec = json!({"clusterIP": "10.96.7.7", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    let routes = routed([service("web", spec), pod("a", "10.240.0.5")]);
    assert_eq!(routes.listeners.values().next().map(|b| b.service.as_str()), Some("shop/web:80"));
    assert_eq!(listeners(&routes), owned(&[("Tcp 10.96.7.7:80", "10.240.0.5:80@n1")]));
}

#[test]
fn only_ready_endpoints_get_traffic_unless_none_is() {
    use fixtures::{terminating, unready};
    let (a, b) = (pod("a", "10.240.0.5"), pod("b", "10.240.0.6"));
    let table = [
        (vec![a.clone(), b.clone()], "10.240.0.5:8080@n1 10.240.0.6:8080@n1"),
        (vec![a.clone(), unready(b.clone())], "10.240.0.5:8080@n1"),
        (vec![a.clone(), terminating(b.clone())], "10.240.0.5:8080@n1"),
        (vec![terminating(a.clone()), unready(b.clone())], "10.240.0.5:8080@n1"),
        (vec![terminating(unready(a.clone())), unready(b)], ""),
        (vec![], ""),
    ];
    for (pods, want) in table {
        let routes = routed([web()].into_iter().chain(pods));
        assert_eq!(listeners(&routes), owned(&[("Tcp 10.96.7.7:80", want)]));
    }
}

#[test]
fn pods_of_a_node_that_does_not_answer_get_no_traffic_even_if_nobody_else_is_there() {
    let gone = |pod: Value| unready(on("n2", pod));
    let (a, b) = (pod("a", "10.240.2.5"), pod("b", "10.240.2.6"));
    let lone = routed([web(), gone(a.clone()), gone(terminating(b.clone()))]);
    assert_eq!(listeners(&lone), owned(&[("Tcp 10.96.7.7:80", "")]));
    // One that terminates where it can be reached is better than none.
    let here = pod("c", "10.240.1.5");
    let some = routed([web(), gone(a), gone(terminating(b)), terminating(here)]);
    assert_eq!(listeners(&some), owned(&[("Tcp 10.96.7.7:80", "10.240.1.5:8080@n1")]));
}

#[test]
fn local_policies_keep_traffic_on_this_node() {
    let pods = [on("n1", pod("a", "10.240.0.5")), on("n2", pod("b", "10.240.0.6"))];
    let all = "10.240.0.5:8080@n1 10.240.0.6:8080@n2";
    let here = "10.240.0.5:8080@n1";
    for (internal, external, want) in
        [("Cluster", "Cluster", (all, all)), ("Local", "Cluster", (here, all)), ("Cluster", "Local", (all, here))]
    {
        let spec = json!({"type": "NodePort", "clusterIP": "10.96.7.7", "selector": {"app": "web"},
            "internalTrafficPolicy": internal, "externalTrafficPolicy": external,
            "ports": [{"port": 80, "targetPort": 8080, "nodePort": 30080}]});
        let routes = routed([service("web", spec)].into_iter().chain(pods.clone()));
        assert_eq!(listeners(&routes), owned(&[("Tcp 10.96.7.7:80", want.0), ("Tcp *:30080", want.1)]));
    }
}

#[test]
fn affinity_is_read_with_its_default() {
    for (config, want) in [
        (json!({}), None),
        (json!({"sessionAffinity": "None"}), None),
        (json!({"sessionAffinity": "ClientIP"}), Some(10_800)),
        (
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}),
            Some(60),
        ),
    ] {
        let mut web = web();
        for (key, value) in config.as_object().expect("a map") {
            web["spec"][key] = value.clone();
        }
        let routes = routed([web]);
        assert_eq!(routes.listeners.values().next().map(|b| b.affinity_seconds), Some(want));
    }
}

#[test]
fn slices_that_a_user_made_count() {
    let spec = json!({"clusterIP": "10.96.7.7", "ports": [{"name": "http", "port": 80}]});
    let endpoints = json!([
        {"addresses": ["192.0.2.7", "192.0.2.8"]},
        {"addresses": ["192.0.2.9"], "conditions": {"ready": false}},
        {"addresses": ["not an address"]},
        {"addresses": []},
        {"addresses": ["192.0.2.7"]},
        {"addresses": ["127.0.0.1"]},
        {"addresses": ["0.0.0.0"]},
        {"addresses": ["10.96.7.7"]},
        {"addresses": ["169.254.169.254"]},
        {"addresses": ["224.0.0.1"]},
        {"addresses": ["255.255.255.255"]},
    ]);
    let mut six = slice("six", "outside", json!([{"addresses": ["192.0.2.66"]}]));
    six["addressType"] = json!("IPv6");
    let other = slice("other", "web", json!([{"addresses": ["192.0.2.77"]}]));
    let mut misnamed = slice("misnamed", "outside", json!([{"addresses": ["192.0.2.88"]}]));
    misnamed["ports"][0]["name"] = json!("https");
    let routes = routed([service("outside", spec), slice("one", "outside", endpoints), six, other, misnamed]);
    assert_eq!(listeners(&routes), owned(&[("Tcp 10.96.7.7:80", "192.0.2.7:8080@-")]));
}

#[test]
fn names_of_a_service() {
    let routes = routed([web(), pod("a", "10.240.0.5")]);
    let names: Vec<_> = routes.names.iter().map(|(k, v)| (k.as_str(), (**v).clone())).collect();
    let name = "web.shop.svc.cluster.local".to_owned();
    let want = vec![
        ("7.7.96.10.in-addr.arpa", Name::Pointer(name.clone())),
        ("_http._tcp.web.shop.svc.cluster.local", Name::Service(vec![(name, 80)])),
        ("web.shop.svc.cluster.local", Name::Addresses(vec![Ipv4Addr::new(10, 96, 7, 7)])),
    ];
    assert_eq!(names, want);
}

#[test]
fn names_of_a_headless_service() {
    let spec = json!({"clusterIP": "None", "selector": {"app": "web"},
        "ports": [{"name": "http", "port": 80, "targetPort": "http"}]});
    let mut first = pod("db-0", "10.240.0.5");
    first["spec"]["hostname"] = json!("DB-0");
    first["spec"]["subdomain"] = json!("db");
    let objects = [service("db", spec), first, pod("x", "10.240.0.6"), fixtures::unready(pod("y", "10.240.0.7"))];
    let routes = routed(objects);
    assert_eq!(routes.listeners.len(), 0);
    let names: Vec<_> = routes.names.iter().map(|(k, v)| (k.as_str(), (**v).clone())).collect();
    let (one, two) = (Ipv4Addr::new(10, 240, 0, 5), Ipv4Addr::new(10, 240, 0, 6));
    let (host, dashed) = ("db-0.db.shop.svc.cluster.local", "10-240-0-6.db.shop.svc.cluster.local");
    let want = vec![
        (dashed, Name::Addresses(vec![two])),
        ("5.0.240.10.in-addr.arpa", Name::Pointer(host.into())),
        ("6.0.240.10.in-addr.arpa", Name::Pointer(dashed.into())),
        ("_http._tcp.db.shop.svc.cluster.local", Name::Service(vec![(dashed.into(), 8080), (host.into(), 8080)])),
        (host, Name::Addresses(vec![one])),
        ("db.shop.svc.cluster.local", Name::Addresses(vec![one, two])),
    ];
    assert_eq!(names, want);
}

#[test]
fn names_of_an_external_name_and_of_half_made_services() {
    let routes = routed([
        service("out", json!({"type": "ExternalName", "externalName": "Example.COM."})),
        service("blank", json!({"type": "ExternalName"})),
        service("unassigned", json!({"ports": [{"port": 80}], "selector": {"app": "web"}})),
        service("garbled", json!({"clusterIP": "10.96", "ports": [{"port": 80}]})),
    ]);
    assert_eq!(routes.listeners.len(), 0);
    let names: Vec<_> = routes.names.iter().map(|(k, v)| (k.as_str(), (**v).clone())).collect();
    assert_eq!(names, [("out.shop.svc.cluster.local", Name::Alias("example.com".into()))]);
}
