//! Namespaces: what each has from the start, and how one ends.

use serde_json::json;

use super::cluster::Cluster;
use super::objects::deployment;
use crate::controllers::{BURST, Controller, reconcile};
use crate::object::{Key, kinds};
use crate::store::Propagation;

fn shop() -> Key {
    Key::cluster(&kinds::NAMESPACE, "shop")
}

fn account() -> Key {
    Key::new(&kinds::SERVICE_ACCOUNT, "shop", "default")
}

#[test]
fn every_namespace_is_active_and_has_its_default_account() {
    let mut c = Cluster::new(1);
    assert_eq!(c.value(&shop())["status"]["phase"], "Active");
    assert!(c.exists(&account()));
    c.delete(&account(), Propagation::Background);
    c.settle();
    assert!(c.exists(&account()), "made again");
}

#[test]
fn a_terminating_namespace_is_emptied_and_goes() {
    for seed in 0..10 {
        let mut c = Cluster::new(seed);
        let web = c.create(deployment("web", 3, "nginx:1"));
        c.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}}));
        c.settle();
        c.delete(&shop(), Propagation::Background);
        c.settle_and(|c| {
            if c.exists(&shop()) {
                return;
            }
            assert!(c.view.all().all(|e| e.key.namespace != "shop"), "it goes last");
        });
        assert!(!c.exists(&shop()) && !c.exists(&web) && !c.exists(&account()));
    }
}

#[test]
fn it_shows_as_terminating_while_a_finalizer_holds_something() {
    let mut c = Cluster::new(1);
    let held = c.create(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "held", "namespace": "shop", "finalizers": ["example.com/hold"]}}));
    c.settle();
    c.delete(&shop(), Propagation::Background);
    c.settle();
    assert_eq!(c.value(&shop())["status"]["phase"], "Terminating");
    assert!(!c.exists(&account()), "all else is gone, and not made again");
    c.edit(&held, |h| h["metadata"]["finalizers"] = json!([]));
    c.settle();
    assert!(!c.exists(&shop()));
}

#[test]
fn a_finalizer_of_its_own_holds_an_empty_namespace() {
    let mut c = Cluster::new(1);
    c.edit(&shop(), |n| n["metadata"]["finalizers"] = json!(["example.com/hold"]));
    c.delete(&shop(), Propagation::Background);
    c.settle();
    assert!(c.exists(&shop()));
    c.edit(&shop(), |n| n["metadata"]["finalizers"] = json!([]));
    c.settle();
    assert!(!c.exists(&shop()));
}

#[test]
fn pods_get_their_grace() {
    let mut c = Cluster::new(1);
    c.create(deployment("web", 1, "nginx:1"));
    c.settle();
    c.kubelets = false;
    c.delete(&shop(), Propagation::Background);
    c.settle();
    let pods = c.entries(&kinds::POD);
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].value()["metadata"]["deletionGracePeriodSeconds"], 30);
    assert!(c.exists(&shop()));
    c.kubelets = true;
    c.settle();
    assert!(!c.exists(&shop()));
}

#[test]
fn a_full_namespace_is_emptied_in_bursts() {
    let mut c = Cluster::new(1);
    for i in 0..BURST + 50 {
        c.create(json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("c{i}"), "namespace": "shop"}}));
    }
    c.delete(&shop(), Propagation::Background);
    assert_eq!(reconcile(Controller::Namespace, &c.view, &shop(), c.now).changes.len(), BURST);
    c.settle();
    assert!(!c.exists(&shop()));
}
