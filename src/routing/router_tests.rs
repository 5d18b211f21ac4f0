//! The router is only a cache: whatever happened before, it shows what [`routes`] shows.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::routing::fixtures::{self, namespace, pod, remove, service, service_key, show, view, web};
use crate::routing::routes::{Backends, Listen};
use crate::routing::{affected, endpoint_slices};

fn backends<'a>(routes: &'a Routes, service: &str) -> &'a Arc<Backends> {
    routes.listeners.values().find(|b| b.service == service).expect("the service is routed")
}

/// Shows an object and computes the slices that it affects, as the store does.
fn show_all(view: &mut Snapshot, object: Value) {
    let event = show(view, object);
    project_slices(view, &affected(view, &event));
}

fn remove_all(view: &mut Snapshot, key: &Key) {
    let event = remove(view, key);
    project_slices(view, &affected(view, &event));
}

fn project_slices(view: &mut Snapshot, services: &[Key]) {
    for service in services {
        let new = endpoint_slices(view, service);
        let keys: Vec<_> = new.iter().filter_map(Key::of).collect();
        let stale: Vec<_> = view
            .list(&kinds::ENDPOINT_SLICE, Some(&service.namespace))
            .filter(|e| e.labels.get(SERVICE_NAME) == Some(&service.name) && !keys.contains(&e.key))
            .map(|e| e.key.clone())
            .collect();
        for key in stale {
            remove(view, &key);
        }
        for slice in new {
            show(view, slice);
        }
    }
}

fn api() -> Value {
    let spec = json!({"clusterIP": "10.96.7.8", "selector": {"app": "api"}, "ports": [{"port": 81}]});
    service("api", spec)
}

#[test]
fn what_did_not_change_is_shared() {
    let mut view = view([]);
    show_all(&mut view, web());
    show_all(&mut view, api());
    let config = Config::of("n1");
    let mut router = Router::new(config.clone());
    let before = router.update(&view).expect("there is something to show");
    show_all(&mut view, pod("web-1", "10.240.0.5"));
    let after = router.update(&view).expect("an endpoint more");
    let again = routes(&view, &config, &before);
    for after in [&*after, &again] {
        assert!(Arc::ptr_eq(backends(&before, "shop/api:81"), backends(after, "shop/api:81")));
        assert!(!Arc::ptr_eq(backends(&before, "shop/web:http"), backends(after, "shop/web:http")));
        let name = "web.shop.svc.cluster.local";
        assert!(Arc::ptr_eq(&before.names[name], &after.names[name]), "the address is as it was");
    }
    assert_eq!(*after, again);
}

#[test]
fn nothing_new_is_no_update() {
    let mut view = view([]);
    show_all(&mut view, web());
    show_all(&mut view, pod("web-1", "10.240.0.5"));
    let mut router = Router::new(Config::of("n1"));
    assert!(router.update(&view).is_some());
    assert!(router.update(&view).is_none());
    let mut labelled = web();
    labelled["metadata"]["labels"]["team"] = json!("ducks");
    show_all(&mut view, labelled);
    assert!(router.update(&view).is_none(), "a label is no traffic");
    remove_all(&mut view, &service_key("web"));
    let gone = router.update(&view).expect("the service is gone");
    assert_eq!(*gone, Routes::default());
}

#[test]
fn the_first_service_has_a_place_that_two_claim() {
    let mut second = api();
    second["spec"]["clusterIP"] = json!("10.96.7.7");
    second["spec"]["ports"][0]["port"] = json!(80);
    let routes = routes(&view([web(), second]), &Config::of("n1"), &Routes::default());
    let owners: Vec<_> = routes.listeners.values().map(|b| b.service.as_str()).collect();
    assert_eq!(owners, ["shop/api:80"]);
}

#[test]
fn namespaces_are_names_without_addresses() {
    let routes = routes(&view([namespace("shop")]), &Config::of("n1"), &Routes::default());
    let nothing = Name::Addresses(Vec::new());
    assert_eq!(routes.names.get("shop.svc.cluster.local").map(|n| &**n), Some(&nothing));
}

#[test]
fn a_pods_node_is_known_by_its_range() {
    let node = |name: &str, range: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"podCIDR": range}});
    let mut view = view([node("n1", "10.240.0.0/24"), node("n2", "10.240.1.0/24"), node("n3", "")]);
    let mut router = Router::new(Config::of("n1"));
    let routes = router.update(&view).expect("there are nodes");
    for (address, expected) in
        [([10, 240, 0, 9], Some("n1")), ([10, 240, 1, 255], Some("n2")), ([10, 240, 2, 0], None), ([10, 0, 0, 1], None)]
    {
        assert_eq!(routes.node_of(address.into()), expected, "{address:?}");
    }
    remove(&mut view, &Key::new(&kinds::NODE, "", "n2"));
    assert_eq!(router.update(&view).expect("one is gone").node_of([10, 240, 1, 9].into()), None);
}

#[test]
fn the_same_name_in_two_namespaces_is_two_services() {
    let mut other = web();
    other["metadata"]["namespace"] = json!("test");
    other["spec"]["clusterIP"] = json!("10.96.7.9");
    let mut view = view([]);
    show_all(&mut view, web());
    show_all(&mut view, other);
    show_all(&mut view, pod("web-1", "10.240.0.5"));
    let mut router = Router::new(Config::of("n1"));
    let routes = router.update(&view).expect("routes");
    assert_eq!(backends(&routes, "shop/web:http").endpoints.len(), 1);
    assert_eq!(backends(&routes, "test/web:http").endpoints.len(), 0);
    let at: Vec<_> = routes.listeners.keys().filter(|l| matches!(l, Listen::Virtual { .. })).collect();
    assert_eq!(at.len(), 2);
}

/// What may happen to a small cluster: pods 0-3 and Services 0-2, of which each pod and Service has one label of two.
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8, 0..2u8, 0..3u8).prop_map(|(pod, app, state)| Step::Pod { pod, app, state }),
        (0..4u8).prop_map(Step::PodGone),
        (0..3u8, 0..2u8, 0..3u8).prop_map(|(service, app, shape)| Step::Service { service, app, shape }),
        (0..3u8).prop_map(Step::ServiceGone),
        (0..2u8).prop_map(Step::Namespace),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Pod { pod: u8, app: u8, state: u8 },
    PodGone(u8),
    Service { service: u8, app: u8, shape: u8 },
    ServiceGone(u8),
    Namespace(u8),
}

fn apply(view: &mut Snapshot, step: &Step) {
    let pod_key = |n: &u8| Key::new(&kinds::POD, "shop", format!("pod-{n}"));
    match step {
        Step::Pod { pod: n, app, state } => {
            let mut object = pod(&format!("pod-{n}"), &format!("10.240.0.{}", n + 5));
            object["metadata"]["labels"]["app"] = json!(format!("app-{app}"));
            let object = match state {
                0 => object,
                1 => fixtures::unready(object),
                _ => fixtures::terminating(object),
            };
            show_all(view, object);
        }
        Step::PodGone(n) if view.get(&pod_key(n)).is_some() => remove_all(view, &pod_key(n)),
        Step::Service { service: n, app, shape } => {
            let address = format!("10.96.7.{}", if *shape == 1 { 1 } else { n + 5 });
            let address = if *shape == 2 { "None".to_owned() } else { address };
            let spec = json!({"clusterIP": address, "selector": {"app": format!("app-{app}")},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}]});
            show_all(view, service(&format!("svc-{n}"), spec));
        }
        Step::ServiceGone(n) if view.get(&service_key(&format!("svc-{n}"))).is_some() => {
            remove_all(view, &service_key(&format!("svc-{n}")));
        }
        Step::Namespace(n) => show_all(view, namespace(&format!("ns-{n}"))),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_router_and_the_slices_are_only_caches(steps in proptest::collection::vec((step(), any::<bool>()), 1..40)) {
        let mut view = view([]);
        let config = Config::of("n1");
        let mut router = Router::new(config.clone());
        for (step, look) in steps {
            apply(&mut view, &step);
            if look {
                router.update(&view);
                prop_assert_eq!(&*router.routes(), &routes(&view, &config, &Routes::default()));
            }
        }
        // `affected` missed nothing: computing every slice anew changes no route.
        let services: Vec<_> = view.list(&kinds::SERVICE, None).map(|e| e.key.clone()).collect();
        let kept = routes(&view, &config, &Routes::default());
        project_slices(&mut view, &services);
        prop_assert_eq!(kept, routes(&view, &config, &Routes::default()));
    }
}
