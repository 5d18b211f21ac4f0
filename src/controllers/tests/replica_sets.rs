//! ReplicaSets: how many pods, which, and what they are called.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::Cluster;
use super::objects::BROKEN;
use crate::controllers::{BURST, Controller, reconcile, refused};
use crate::object::{Key, kinds};
use crate::store::{Change, Propagation};

fn replica_set(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name, "tier": "front"}, "annotations": {"a": "b"}},
                "spec": {"containers": [{"name": "web", "image": "nginx"}], "unheardOf": true},
            },
        },
    })
}

fn bare_pod(name: &str, app: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
        "spec": {"containers": [{"name": "web", "image": "nginx"}]}})
}

fn pod(name: &str) -> Key {
    Key::new(&kinds::POD, "shop", name)
}

fn slots(c: &Cluster) -> Vec<String> {
    let slot = |v: Value| v["metadata"]["annotations"]["skein.dev/slot"].as_str().unwrap_or("-").to_owned();
    let mut slots: Vec<String> = c.active_pods().iter().map(|e| slot(e.value())).collect();
    slots.sort();
    slots
}

#[test]
fn a_pod_is_made_from_the_template() {
    let mut c = Cluster::new(1);
    c.kubelets = false;
    let key = c.create(replica_set("web", 1));
    c.settle();
    let pod = c.active_pods()[0].value();
    let name = pod["metadata"]["name"].as_str().unwrap();
    let letters = name.strip_prefix("web-").unwrap();
    assert!(letters.len() == 5 && letters.chars().all(|l| "bcdfghjklmnpqrstvwxz2456789".contains(l)), "{name}");
    assert_eq!(pod["metadata"]["generateName"], "web-");
    assert_eq!(pod["metadata"]["labels"], json!({"app": "web", "tier": "front"}));
    assert_eq!(pod["metadata"]["annotations"], json!({"a": "b", "skein.dev/slot": "0"}));
    assert_eq!(pod["spec"], c.value(&key)["spec"]["template"]["spec"], "no field is lost");
    let owner = &pod["metadata"]["ownerReferences"];
    assert_eq!(
        owner,
        &json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web",
            "uid": c.value(&key)["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}])
    );
    assert_eq!(c.messages("SuccessfulCreate"), [format!("Created pod: {name}")]);
}

#[test]
fn status_counts_what_the_view_shows() {
    let mut c = Cluster::new(2);
    let key = c.create(replica_set("web", 3));
    c.settle();
    assert_eq!(
        c.value(&key)["status"],
        json!({"replicas": 3, "fullyLabeledReplicas": 3, "readyReplicas": 3, "availableReplicas": 3,
            "observedGeneration": 1})
    );
    let name = c.pod_names()[0].clone();
    c.edit(&pod(&name), |p| p["metadata"]["labels"]["tier"] = "back".into());
    c.settle();
    assert_eq!(c.value(&key)["status"]["fullyLabeledReplicas"], 2);
    c.edit(&key, |s| s["spec"]["replicas"] = 0.into());
    c.settle();
    assert_eq!(c.value(&key)["status"], json!({"replicas": 0, "observedGeneration": 2}));
}

#[test]
fn a_deleted_pod_is_replaced_at_once_again_and_again() {
    let mut c = Cluster::new(3);
    c.create(replica_set("web", 3));
    c.settle();
    let mut seen: BTreeSet<String> = c.pod_names().into_iter().collect();
    for _ in 0..10 {
        let victim = c.active_pods()[1].key.clone();
        c.delete(&victim, Propagation::Background);
        c.settle();
        assert_eq!(c.ready(), 3);
        assert_eq!(slots(&c), ["0", "1", "2"]);
        seen.extend(c.pod_names());
    }
    assert_eq!(seen.len(), 13, "no name came twice");
}

#[test]
fn finished_pods_are_replaced_and_stay_to_be_read() {
    let mut c = Cluster::new(4);
    c.create(replica_set("web", 2));
    c.settle();
    for (pod, phase) in c.active_pods().iter().zip(["Failed", "Succeeded"]) {
        c.status(&pod.key, json!({"phase": phase}));
    }
    c.settle();
    assert_eq!((c.ready(), c.pod_names().len()), (2, 4));
    assert_eq!(slots(&c), ["0", "1"]);
}

#[test]
fn growing_fills_the_smallest_free_slots() {
    let mut c = Cluster::new(5);
    let key = c.create(replica_set("web", 4));
    c.settle();
    let gone = c.active_pods()[0].key.clone();
    c.edit(&gone, |p| p["metadata"]["annotations"]["controller.kubernetes.io/pod-deletion-cost"] = "-1".into());
    let slot = c.value(&gone)["metadata"]["annotations"]["skein.dev/slot"].clone();
    c.edit(&key, |s| s["spec"]["replicas"] = 3.into());
    c.settle();
    assert!(!c.exists(&gone));
    c.edit(&key, |s| s["spec"]["replicas"] = 5.into());
    c.settle();
    assert_eq!(slots(&c), ["0", "1", "2", "3", "4"], "{slot} was filled again");
}

#[test]
fn orphans_are_adopted_and_strays_released() {
    let mut c = Cluster::new(6);
    c.create(bare_pod("mine", "web"));
    c.create(bare_pod("other", "db"));
    let key = c.create(replica_set("web", 2));
    c.settle();
    let uid = c.value(&key)["metadata"]["uid"].clone();
    assert_eq!(c.value(&pod("mine"))["metadata"]["ownerReferences"][0]["uid"], uid);
    assert!(c.value(&pod("other"))["metadata"]["ownerReferences"].is_null());
    assert_eq!(c.pod_names().len(), 3, "one was there already");

    c.edit(&pod("mine"), |p| p["metadata"]["labels"]["app"] = "debug".into());
    c.settle();
    assert!(c.value(&pod("mine"))["metadata"]["ownerReferences"].is_null());
    assert_eq!(c.value(&key)["status"]["replicas"], 2);
    assert_eq!(c.pod_names().len(), 4);

    // It comes back to a set that is full: one of the three has to go.
    c.edit(&pod("mine"), |p| p["metadata"]["labels"]["app"] = "web".into());
    c.settle();
    assert_eq!(c.value(&key)["status"]["replicas"], 2);
    assert_eq!(c.active_pods().len(), 3);
}

#[test]
fn a_pod_of_another_controller_is_left_alone() {
    let mut c = Cluster::new(7);
    let owner =
        c.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "o", "namespace": "shop"}}));
    let mut theirs = bare_pod("theirs", "web");
    theirs["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "o",
        "uid": c.value(&owner)["metadata"]["uid"], "controller": true}]);
    c.create(theirs);
    c.create(replica_set("web", 1));
    c.settle();
    assert_eq!(c.active_pods().len(), 2);
}

#[test]
fn bursts_are_bounded() {
    let mut c = Cluster::new(8);
    c.kubelets = false;
    let key = c.create(replica_set("web", BURST + 20));
    let plan = reconcile(Controller::ReplicaSet, &c.view, &key, c.now);
    let creates = plan.changes.iter().filter(|c| matches!(c, Change::Create { .. })).count();
    assert_eq!(creates, BURST);
    let names: BTreeSet<&Key> = plan.changes.iter().map(Change::key).collect();
    assert_eq!(names.len(), plan.changes.len());
    c.carry_out(Controller::ReplicaSet, &key, plan);
    c.settle();
    assert_eq!(c.active_pods().len(), BURST + 20);

    c.edit(&key, |s| s["spec"]["replicas"] = 0.into());
    let plan = reconcile(Controller::ReplicaSet, &c.view, &key, c.now);
    assert_eq!(plan.changes.iter().filter(|c| matches!(c, Change::Delete { .. })).count(), BURST);
}

#[test]
fn nothing_is_made_in_a_namespace_that_ends() {
    let mut c = Cluster::new(9);
    c.kubelets = false;
    let key = c.create(replica_set("web", 2));
    c.edit(&Key::cluster(&kinds::NAMESPACE, "shop"), |n| {
        n["metadata"]["deletionTimestamp"] = "2025-11-23T00:00:00Z".into();
    });
    let plan = reconcile(Controller::ReplicaSet, &c.view, &key, c.now);
    assert!(plan.changes.iter().all(|c| matches!(c, Change::Status { .. })), "{:?}", plan.changes);
}

#[test]
fn a_terminating_set_makes_and_deletes_nothing() {
    let mut c = Cluster::new(9);
    let key = c.create(replica_set("web", 2));
    c.settle();
    c.edit(&key, |s| {
        s["metadata"]["finalizers"] = json!(["example.com/hold"]);
        s["spec"]["replicas"] = 5.into();
    });
    c.delete(&key, Propagation::Background);
    let stray = c.active_pods()[0].key.clone();
    c.edit(&stray, |p| p["metadata"]["labels"]["app"] = "debug".into());
    c.settle();
    assert_eq!(c.active_pods().len(), 2);
    assert!(!c.value(&stray)["metadata"]["ownerReferences"].is_null(), "nor does it release any");
}

#[test]
fn becoming_available_needs_no_event() {
    let mut c = Cluster::new(10);
    let mut set = replica_set("web", 2);
    set["spec"]["minReadySeconds"] = 5.into();
    let key = c.create(set);
    c.settle();
    assert_eq!(c.value(&key)["status"]["readyReplicas"], 2);
    assert!(c.value(&key)["status"]["availableReplicas"].is_null());
    let plan = reconcile(Controller::ReplicaSet, &c.view, &key, c.now);
    assert_eq!(plan.again, Some(Duration::from_secs(5)));
    c.wait(5);
    assert_eq!(c.value(&key)["status"]["availableReplicas"], 2);
    assert_eq!(reconcile(Controller::ReplicaSet, &c.view, &key, c.now).again, None);
}

/// A pod for the table of deletion orders.
#[derive(Clone, Copy)]
struct P {
    node: Option<&'static str>,
    phase: &'static str,
    ready: Option<u32>,
    cost: i32,
    restarts: i32,
    created: u32,
}

const GOOD: P = P { node: Some("n1"), phase: "Running", ready: Some(10), cost: 0, restarts: 0, created: 10 };

/// Of two pods, scaling down deletes the first.
fn deleted_first(first: P, second: P) -> bool {
    let mut ways = BTreeSet::new();
    for (one, other, expected) in [(first, second, "p0"), (second, first, "p1")] {
        let mut c = Cluster::new(1);
        c.kubelets = false;
        let key = c.create(replica_set("web", 2));
        let owners = json!([super::super::owner::reference(c.view.get(&key).unwrap())]);
        for (i, p) in [one, other].into_iter().enumerate() {
            let mut object = bare_pod(&format!("p{i}"), "web");
            object["metadata"]["ownerReferences"] = owners.clone();
            let time = |s: u32| format!("2025-11-23T00:00:{s:02}Z");
            object["metadata"]["creationTimestamp"] = time(p.created).into();
            object["metadata"]["annotations"] =
                json!({"controller.kubernetes.io/pod-deletion-cost": p.cost.to_string()});
            if let Some(node) = p.node {
                object["spec"]["nodeName"] = node.into();
            }
            let ready = json!({"type": "Ready", "status": if p.ready.is_some() { "True" } else { "False" },
                "lastTransitionTime": time(p.ready.unwrap_or(0))});
            object["status"] = json!({"phase": p.phase, "conditions": [ready],
                "containerStatuses": [{"name": "web", "restartCount": p.restarts, "image": "", "imageID": "", "ready": true}]});
            c.create(object);
        }
        // A third pod of the set shares node n2, and is too dear to go.
        let mut third = bare_pod("third", "web");
        third["metadata"]["annotations"] = json!({"controller.kubernetes.io/pod-deletion-cost": "1000"});
        third["metadata"]["ownerReferences"] = owners;
        third["spec"]["nodeName"] = "n2".into();
        third["status"] = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
        let third = c.create(third);
        let plan = reconcile(Controller::ReplicaSet, &c.view, &key, c.now);
        let deleted: Vec<&Key> =
            plan.changes.iter().filter(|c| matches!(c, Change::Delete { .. })).map(Change::key).collect();
        assert_eq!(deleted.len(), 1);
        assert_ne!(deleted[0], &third);
        ways.insert(deleted[0].name == expected);
    }
    ways == BTreeSet::from([true])
}

#[test]
fn surplus_goes_in_upstreams_order() {
    let cases = [
        ("unscheduled before scheduled", P { node: None, ..GOOD }, GOOD),
        ("pending before unknown", P { phase: "Pending", ..GOOD }, P { phase: "Unknown", ..GOOD }),
        ("unknown before running", P { phase: "Unknown", ..GOOD }, GOOD),
        ("not ready before ready", P { ready: None, ..GOOD }, GOOD),
        ("cheap before dear", P { cost: -5, ..GOOD }, P { cost: 5, ..GOOD }),
        ("doubled up before alone", P { node: Some("n2"), ..GOOD }, GOOD),
        ("newly ready before long ready", P { ready: Some(20), ..GOOD }, GOOD),
        ("often restarted before never", P { restarts: 3, ..GOOD }, GOOD),
        ("new before old", P { created: 20, ..GOOD }, GOOD),
        ("readiness beats cost", P { ready: None, cost: 9, ..GOOD }, GOOD),
        ("cost beats company", P { cost: -1, ..GOOD }, P { node: Some("n2"), ..GOOD }),
    ];
    for (what, first, second) in cases {
        assert!(deleted_first(first, second), "{what}");
    }
}

#[test]
fn refusals_are_told() {
    let mut c = Cluster::new(11);
    let key = c.create(replica_set("web", 1));
    let change = Change::Create { key: pod("web-x"), object: Value::Null };
    let note = refused(Controller::ReplicaSet, &c.view, &key, &change, "no room").unwrap();
    assert_eq!((note.reason, note.message.as_str()), ("FailedCreate", "Error creating: no room"));
    assert_eq!(note.component, "replicaset-controller");
    assert_eq!(refused(Controller::Garbage, &c.view, &key, &change, "no"), None);
}

#[test]
fn pods_that_never_start_do_not_run_away() {
    let mut c = Cluster::new(12);
    let mut set = replica_set("web", 3);
    set["spec"]["template"]["spec"]["containers"][0]["image"] = BROKEN.into();
    c.create(set);
    c.settle();
    c.wait(5);
    assert_eq!(c.pod_names().len(), 3);
}
