//! Pods that nobody else ends.

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects::deployment;
use crate::controllers::{Controller, reconcile};
use crate::object::{Key, kinds};
use crate::store::{Change, DeleteOptions, Precondition};

fn pod(name: &str, node: Option<&str>, phase: &str) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": []}, "status": {"phase": phase}});
    if let Some(node) = node {
        pod["spec"]["nodeName"] = node.into();
    }
    pod
}

#[test]
fn pods_of_a_removed_node_go_after_the_quarantine() {
    let mut c = Cluster::new(1);
    c.create(deployment("web", 4, "nginx:1"));
    c.settle();
    let lost: Vec<Key> = c.view.on_node("n2").map(|e| e.key.clone()).collect();
    assert!(!lost.is_empty());
    c.nodes = vec!["n1"];
    c.apply(Change::Remove { key: Key::cluster(&kinds::NODE, "n2"), when: Precondition::default() }).unwrap();
    c.settle();
    c.wait(35);
    assert!(lost.iter().all(|key| c.exists(key)), "the node may register again");
    c.wait(10);
    assert!(!lost.iter().any(|key| c.exists(key)));
    assert_eq!((c.ready(), c.active_pods().len()), (4, 4), "replaced elsewhere");
}

#[test]
fn a_clock_that_was_ahead_keeps_no_pod_of_a_removed_node() {
    const SINCE: &str = "skein.dev/node-missing-since";
    let mut c = Cluster::new(1);
    c.kubelets = false;
    let mut stray = pod("stray", Some("gone"), "Running");
    let now = c.now.wall.0.div_euclid(1_000_000);
    stray["metadata"]["annotations"] = json!({SINCE: (now + 86_400).to_string()});
    let stray = c.create(stray);
    let plan = reconcile(Controller::PodGarbage, &c.view, &stray, c.now);
    let [Change::Update { object, .. }] = &plan.changes[..] else { panic!("{:?}", plan.changes) };
    assert_eq!(object["metadata"]["annotations"][SINCE], now.to_string(), "it begins to count anew");
}

#[test]
fn pods_of_a_node_that_registers_again_stay() {
    let mut c = Cluster::new(2);
    c.create(deployment("web", 4, "nginx:1"));
    c.settle();
    let pods = c.pod_names();
    c.apply(Change::Remove { key: Key::cluster(&kinds::NODE, "n2"), when: Precondition::default() }).unwrap();
    c.wait(20);
    c.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}));
    c.wait(60);
    assert_eq!(c.pod_names(), pods);
    assert!(
        c.entries(&kinds::POD)
            .iter()
            .all(|e| { e.value()["metadata"]["annotations"]["skein.dev/node-missing-since"].is_null() })
    );
}

#[test]
fn a_terminating_pod_without_a_node_goes_at_once() {
    let mut c = Cluster::new(3);
    c.kubelets = false;
    // The store lets unbound pods go at once itself; this one was marked when it was bound elsewhere.
    let mut odd = pod("odd", None, "Pending");
    odd["metadata"]["deletionTimestamp"] = c.now.wall.to_string().into();
    odd["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    let odd = c.create(odd);
    c.settle();
    assert!(!c.exists(&odd));
}

#[test]
fn a_finalizer_still_holds_it() {
    let mut c = Cluster::new(4);
    let mut held = pod("held", Some("gone"), "Running");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let held = c.create(held);
    c.settle();
    c.wait(45);
    assert_eq!(c.value(&held)["metadata"]["deletionGracePeriodSeconds"], 0);
    c.edit(&held, |h| h["metadata"]["finalizers"] = json!([]));
    c.settle();
    assert!(!c.exists(&held));
}

#[test]
fn running_pods_on_a_live_node_are_none_of_its_business() {
    let mut c = Cluster::new(5);
    c.kubelets = false;
    let key = c.create(pod("p", Some("n1"), "Running"));
    assert!(reconcile(Controller::PodGarbage, &c.view, &key, c.now).changes.is_empty());
    c.apply(Change::Delete { key: key.clone(), options: DeleteOptions::default() }).unwrap();
    assert!(reconcile(Controller::PodGarbage, &c.view, &key, c.now).changes.is_empty(), "its kubelet ends it");
}

#[test]
fn only_so_many_finished_pods_are_kept() {
    let mut c = Cluster::new(6);
    c.kubelets = false;
    let kept = super::super::pod_garbage::FINISHED_KEPT;
    for i in 0..kept {
        c.create(pod(&format!("p{i}"), Some("n1"), if i % 2 == 0 { "Failed" } else { "Succeeded" }));
    }
    let key = c.create(pod("p0x", Some("n1"), "Running"));
    assert!(reconcile(Controller::PodGarbage, &c.view, &key, c.now).changes.is_empty());
    c.status(&key, json!({"phase": "Succeeded"}));
    let plan = reconcile(Controller::PodGarbage, &c.view, &key, c.now);
    let gone: Vec<&Key> = plan.changes.iter().map(Change::key).collect();
    assert_eq!(gone, [&Key::new(&kinds::POD, "shop", "p0")], "the one that finished first");
}
