//! Which pods become endpoints, and how.

use serde_json::json;

use super::*;
use crate::routing::fixtures::{
    CREATED, pod, remove, service, service_key, show, terminating, uid, unready, view, web,
};

fn slices_of(objects: impl IntoIterator<Item = Value>) -> Vec<Value> {
    endpoint_slices(&view(objects), &service_key("web"))
}

fn addresses(slices: &[Value]) -> Vec<&str> {
    let endpoints = slices.iter().flat_map(|s| s["endpoints"].as_array().expect("a list"));
    endpoints.map(|e| e["addresses"][0].as_str().expect("an address")).collect()
}

#[test]
fn a_slice_has_all_that_kubernetes_puts_there() {
    let slices = slices_of([web(), pod("web-1", "10.240.0.5")]);
    assert_eq!(slices.len(), 1);
    let owner = uid(&service_key("web")).to_string();
    let pod_uid = uid(&Key::new(&kinds::POD, "shop", "web-1")).to_string();
    let name = slices[0]["metadata"]["name"].as_str().expect("a name");
    assert!(name.starts_with("web-") && name.len() == "web-".len() + 5, "{name}");
    let slice_uid = slices[0]["metadata"]["uid"].as_str().expect("a uid");
    assert!(slice_uid.parse::<Uid>().is_ok() && slice_uid != owner);
    assert_eq!(
        slices[0],
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {
                "name": name, "generateName": "web-", "namespace": "shop", "uid": slice_uid,
                "creationTimestamp": CREATED,
                "labels": {"team": "geese", "kubernetes.io/service-name": "web",
                    "endpointslice.kubernetes.io/managed-by": "skein.dev"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Service", "name": "web", "uid": owner,
                    "controller": true, "blockOwnerDeletion": true}],
            },
            "endpoints": [{
                "addresses": ["10.240.0.5"],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "nodeName": "n1",
                "targetRef": {"kind": "Pod", "namespace": "shop", "name": "web-1", "uid": pod_uid},
            }],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        })
    );
    assert_eq!(Key::of(&slices[0]).map(|k| k.kind), Some(&kinds::ENDPOINT_SLICE));
}

#[test]
fn conditions_follow_readiness_and_deletion() {
    let mut publishing = web();
    publishing["spec"]["publishNotReadyAddresses"] = json!(true);
    let ready = pod("a", "10.240.0.5");
    // (service, pod, ready, serving, terminating)
    let table = [
        (web(), ready.clone(), true, true, false),
        (web(), unready(ready.clone()), false, false, false),
        (web(), terminating(ready.clone()), false, true, true),
        (web(), terminating(unready(ready.clone())), false, false, true),
        (publishing.clone(), unready(ready.clone()), true, false, false),
        (publishing, terminating(unready(ready)), true, false, true),
    ];
    for (service, pod, ready, serving, terminating) in table {
        let slices = slices_of([service, pod.clone()]);
        let want = json!({"ready": ready, "serving": serving, "terminating": terminating});
        assert_eq!(slices[0]["endpoints"][0]["conditions"], want, "{pod}");
    }
}

#[test]
fn only_living_pods_of_the_selector_and_namespace_are_endpoints() {
    let with = |path: &str, value: Value| {
        let mut pod = pod("other", "10.240.0.9");
        *pod.pointer_mut(path).expect("the path is there") = value;
        pod
    };
    let left_out = [
        with("/metadata/labels/app", json!("shop")),
        with("/metadata/namespace", json!("elsewhere")),
        with("/status/phase", json!("Succeeded")),
        with("/status/phase", json!("Failed")),
        with("/status/podIP", Value::Null),
        with("/status/podIP", json!("fd00::9")),
        with("/status", Value::Null),
    ];
    for other in left_out {
        let slices = slices_of([web(), pod("web-1", "10.240.0.5"), other.clone()]);
        assert_eq!(addresses(&slices), ["10.240.0.5"], "{other}");
    }
}

#[test]
fn named_target_ports_are_looked_up_in_each_pod() {
    let spec = json!({"clusterIP": "10.96.7.7", "selector": {"app": "web"}, "ports": [
        {"name": "http", "port": 80, "targetPort": "http"}, {"name": "dns", "port": 53, "targetPort": "dns",
         "protocol": "UDP"}, {"name": "wrong", "port": 54, "targetPort": "dns", "protocol": "TCP"}]});
    let mut newer = pod("web-2", "10.240.0.6");
    newer["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
    let sidecar = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": "web-3", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}], "initContainers": [
            {"name": "once", "ports": [{"name": "http", "containerPort": 1}]},
            {"name": "side", "restartPolicy": "Always", "ports": [{"name": "http", "containerPort": 7070}]}]},
        "status": {"phase": "Running", "podIP": "10.240.0.7"}});
    let slices = slices_of([service("web", spec), pod("web-1", "10.240.0.5"), newer, sidecar]);
    let seen: Vec<_> = slices
        .iter()
        .map(|s| {
            let ports = s["ports"].as_array().expect("ports").iter();
            let ports: Vec<_> = ports.map(|p| format!("{}={}", p["name"].as_str().unwrap(), p["port"])).collect();
            (ports.join(" "), addresses(std::slice::from_ref(s)).join(" "))
        })
        .collect();
    let want = [("http=8080 dns=53", "10.240.0.5"), ("http=9090 dns=53", "10.240.0.6"), ("http=7070", "10.240.0.7")];
    for (ports, pods) in want {
        assert!(seen.contains(&(ports.to_owned(), pods.to_owned())), "{ports} {pods} not in {seen:?}");
    }
    assert_eq!(seen.len(), 3);
    let names: std::collections::BTreeSet<_> = slices.iter().map(|s| s["metadata"]["name"].to_string()).collect();
    assert_eq!(names.len(), 3, "each slice has a name of its own");
}

#[test]
fn an_absent_target_port_means_the_port_itself() {
    let spec = json!({"clusterIP": "10.96.7.7", "selector": {"app": "web"},
        "ports": [{"port": 80}, {"name": "zero", "port": 81, "targetPort": 0, "appProtocol": "h2c"}]});
    let slices = slices_of([service("web", spec), pod("web-1", "10.240.0.5")]);
    let want = json!([{"name": "", "port": 80, "protocol": "TCP"},
        {"name": "zero", "port": 81, "protocol": "TCP", "appProtocol": "h2c"}]);
    assert_eq!(slices[0]["ports"], want);
}

#[test]
fn a_slice_holds_at_most_a_hundred() {
    let pods = |n: usize| (0..n).map(|i| pod(&format!("web-{i:03}"), &format!("10.240.{}.{}", i / 200, i % 200 + 1)));
    for (count, want) in [(1, vec![1]), (100, vec![100]), (101, vec![100, 1]), (250, vec![100, 100, 50])] {
        let slices = slices_of([web()].into_iter().chain(pods(count)));
        let sizes: Vec<_> = slices.iter().map(|s| s["endpoints"].as_array().map_or(0, Vec::len)).collect();
        assert_eq!(sizes, want);
    }
}

#[test]
fn a_service_without_pods_has_one_empty_slice_that_keeps_its_name() {
    let empty = slices_of([web()]);
    assert_eq!(empty.len(), 1);
    assert_eq!((&empty[0]["endpoints"], &empty[0]["ports"]), (&json!([]), &json!([])));
    let filled = slices_of([web(), pod("web-1", "10.240.0.5")]);
    assert_eq!(empty[0]["metadata"], filled[0]["metadata"]);
}

#[test]
fn services_without_selector_have_no_slices_of_ours() {
    let table = [
        json!({"clusterIP": "10.96.7.7", "ports": [{"port": 80}]}),
        json!({"clusterIP": "10.96.7.7", "selector": {}, "ports": [{"port": 80}]}),
        json!({"type": "ExternalName", "externalName": "example.com", "selector": {"app": "web"}}),
    ];
    for spec in table {
        assert_eq!(slices_of([service("web", spec.clone()), pod("web-1", "10.240.0.5")]), [] as [Value; 0], "{spec}");
    }
    assert_eq!(slices_of([pod("web-1", "10.240.0.5")]), [] as [Value; 0], "a Service that is gone");
}

#[test]
fn headless_services_mark_their_slices_and_name_their_hosts() {
    let mut named = pod("db-0", "10.240.0.5");
    named["spec"]["hostname"] = json!("db-0");
    named["spec"]["subdomain"] = json!("web");
    let mut other = pod("db-1", "10.240.0.6");
    other["spec"]["hostname"] = json!("db-1");
    other["spec"]["subdomain"] = json!("another");
    let spec = json!({"clusterIP": "None", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    let slices = slices_of([service("web", spec), named, other]);
    assert_eq!(slices[0]["metadata"]["labels"][HEADLESS], json!(""));
    assert_eq!(slices[0]["endpoints"][0]["hostname"], json!("db-0"));
    assert_eq!(slices[0]["endpoints"][1]["hostname"], Value::Null);
}

#[test]
fn names_differ_between_services_and_turns() {
    let first = slices_of([web()]);
    let mut again = web();
    again["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000001");
    let second = slices_of([again]);
    assert_ne!(first[0]["metadata"]["name"], second[0]["metadata"]["name"]);
    assert_ne!(first[0]["metadata"]["uid"], second[0]["metadata"]["uid"]);
    assert_eq!(first, slices_of([web()]), "the same view gives the same slices");
}

#[test]
fn only_what_a_slice_shows_makes_it_be_computed_again() {
    let base = || pod("web-1", "10.240.0.5");
    let other = || {
        let spec = json!({"clusterIP": "10.96.7.8", "selector": {"app": "shop"}, "ports": [{"port": 80}]});
        service("shop", spec)
    };
    let with = |path: &str, value: Value| {
        let mut pod = base();
        match path.rsplit_once('/') {
            Some((parent, key)) => pod.pointer_mut(parent).expect("parent")[key] = value,
            None => unreachable!("paths begin with a slash"),
        }
        pod
    };
    let both = vec!["shop", "web"];
    let table = [
        ("nothing", base(), vec![]),
        ("an annotation", with("/metadata/annotations", json!({"a": "b"})), vec![]),
        ("a status tick", with("/status/containerStatuses", json!([{"name": "c", "restartCount": 3}])), vec![]),
        ("readiness", unready(base()), vec!["web"]),
        ("deletion", terminating(base()), vec!["web"]),
        ("its end", with("/status/phase", json!("Failed")), vec!["web"]),
        ("its address", with("/status/podIP", json!("10.240.0.99")), vec!["web"]),
        ("its labels", with("/metadata/labels/app", json!("shop")), both),
        ("its uid", with("/metadata/uid", json!("00000000-0000-4000-8000-000000000001")), vec!["web"]),
    ];
    for (what, after, want) in table {
        let mut view = view([web(), other(), base()]);
        let event = show(&mut view, after);
        let seen: Vec<_> = affected(&view, &event).into_iter().map(|k| k.name).collect();
        assert_eq!(seen, want, "{what}");
    }
}

#[test]
fn pods_that_come_and_go_and_services_themselves_affect() {
    let mut view = view([web()]);
    let come = show(&mut view, pod("web-1", "10.240.0.5"));
    assert_eq!(affected(&view, &come), [service_key("web")]);
    let go = remove(&mut view, &Key::new(&kinds::POD, "shop", "web-1"));
    assert_eq!(affected(&view, &go), [service_key("web")]);
    let gone = remove(&mut view, &service_key("web"));
    assert_eq!(affected(&view, &gone), [service_key("web")]);
    let mut elsewhere = pod("web-1", "10.240.0.5");
    elsewhere["metadata"]["namespace"] = json!("elsewhere");
    show(&mut view, web());
    let event = show(&mut view, elsewhere);
    assert_eq!(affected(&view, &event), []);
}
