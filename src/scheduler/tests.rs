//! Clusters, pods, and where they go.

#![allow(clippy::needless_pass_by_value, reason = "tables hand over JSON literals")]

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::*;
use crate::ids::{Revision, Uid};
use crate::object::{Key, defaults, kinds};
use crate::store::{Entry, Snapshot};

/// A cluster made of objects, each shown at a revision of its own.
#[derive(Default)]
struct Cluster {
    snapshot: Snapshot,
    revision: u64,
}

impl Cluster {
    /// Nodes n1 ... of four cores and 8 GiB, ready, in zones a, b, a ...
    fn of(nodes: usize) -> Self {
        let mut cluster = Self::default();
        for i in 1..=nodes {
            cluster.node(&format!("n{i}"), json!({}));
        }
        cluster
    }

    fn node(&mut self, name: &str, spec: Value) {
        let number: usize = name[1..].parse().unwrap();
        let zone = if number % 2 == 1 { "a" } else { "b" };
        self.show(json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}},
            "spec": spec,
            "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
                "conditions": [{"type": "Ready", "status": "True"}]}}));
    }

    fn show(&mut self, mut object: Value) {
        let key = Key::of(&object).unwrap();
        self.revision += 1;
        object["metadata"]["uid"] = json!(Uid::derived(&[key.to_string().as_bytes()]).to_string());
        let entry = Entry::of(key.clone(), Revision(self.revision), &object);
        self.snapshot.show(&key, Some(Arc::new(entry)), Revision(self.revision));
    }

    /// Shows a pod that is bound.
    fn bound(&mut self, name: &str, node: &str, mut pod: Value) {
        pod["spec"]["nodeName"] = json!(node);
        self.show(manifest(name, pod));
    }

    fn place(&self, pod: Value) -> Result<String, String> {
        schedule(&View::of(&self.snapshot), &typed("new", pod)).map_err(|e| e.to_string())
    }
}

/// A pod called `name` in namespace `shop`, with the metadata, spec and status of `pod`.
fn manifest(name: &str, mut pod: Value) -> Value {
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!(name);
    pod["metadata"]["uid"] = json!(Uid::derived(&[name.as_bytes()]).to_string());
    if pod["metadata"]["namespace"].is_null() {
        pod["metadata"]["namespace"] = json!("shop");
    }
    if pod["spec"]["containers"].is_null() {
        pod["spec"]["containers"] = json!([{"name": "c", "image": "x"}]);
    }
    defaults::apply(&kinds::POD, &mut pod);
    pod
}

fn typed(name: &str, pod: Value) -> Pod {
    serde_json::from_value(manifest(name, pod)).unwrap()
}

fn asking(cpu: &str) -> Value {
    json!({"spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": cpu}}}]}})
}

fn labelled(app: &str) -> Value {
    json!({"metadata": {"labels": {"app": app}}})
}

#[test]
fn a_cluster_without_nodes_says_so() {
    assert_eq!(Cluster::default().place(json!({})), Err("no nodes available to schedule pods".into()));
}

#[test]
fn reasons_are_counted_as_upstream_counts_them() {
    let mut cluster = Cluster::of(1);
    assert_eq!(cluster.place(asking("5")), Err("0/1 nodes are available: 1 Insufficient cpu.".into()));
    cluster.node("n2", json!({"taints": [{"key": "key", "value": "value", "effect": "NoSchedule"}]}));
    cluster.node("n3", json!({"taints": [{"key": "key", "value": "value", "effect": "NoExecute"}]}));
    cluster.node("n4", json!({"unschedulable": true}));
    assert_eq!(
        cluster.place(asking("5")),
        Err("0/4 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable, \
             2 node(s) had untolerated taint {key: value}."
            .into())
    );
    assert_eq!(cluster.place(asking("4")), Ok("n1".into()));
}

#[test]
fn bound_pods_take_room_until_they_are_gone_or_finished() {
    let mut cluster = Cluster::of(1);
    cluster.bound("a", "n1", asking("3"));
    assert!(cluster.place(asking("2")).is_err());
    let mut going = asking("3");
    going["metadata"] = json!({"deletionTimestamp": "2025-01-01T00:00:00Z"});
    cluster.bound("a", "n1", going);
    assert!(cluster.place(asking("2")).is_err(), "a pod that is being deleted is still there");
    let mut finished = asking("3");
    finished["status"] = json!({"phase": "Succeeded"});
    cluster.bound("a", "n1", finished);
    assert_eq!(cluster.place(asking("2")), Ok("n1".into()));
}

#[test]
fn several_pods_are_placed_in_one_pass() {
    let cluster = Cluster::of(3);
    let mut view = View::of(&cluster.snapshot);
    let counts = burst(&mut view, (0..6).map(|i| typed(&format!("web-{i}"), asking("2"))));
    assert_eq!(counts, by_node([("n1", 2), ("n2", 2), ("n3", 2)]));
    assert!(schedule(&view, &typed("web-6", asking("2"))).is_err());
}

#[test]
fn the_least_allocated_node_is_taken() {
    let mut cluster = Cluster::of(3);
    cluster.bound("a", "n1", asking("2"));
    cluster.bound("b", "n3", asking("1"));
    assert_eq!(cluster.place(asking("1")), Ok("n2".into()));
    // Pods that state no request count too, else all of them would crowd one node.
    let mut cluster = Cluster::of(2);
    cluster.bound("a", "n1", json!({}));
    assert_eq!(cluster.place(json!({})), Ok("n2".into()));
}

/// A pod of the ReplicaSet `set`, behind the Service `web` if there is one.
fn owned_by(set: &str) -> Value {
    let uid = Uid::derived(&[set.as_bytes()]).to_string();
    json!({"metadata": {"labels": {"app": "web"}, "ownerReferences": [
        {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": uid, "controller": true}]}})
}

/// Places pods in one pass and counts them by node.
fn burst(view: &mut View, pods: impl IntoIterator<Item = Pod>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for pod in pods {
        let node = schedule(view, &pod).unwrap();
        view.assume(&pod, &node);
        *counts.entry(node).or_default() += 1;
    }
    counts
}

fn by_node<const N: usize>(counts: [(&str, usize); N]) -> BTreeMap<String, usize> {
    counts.into_iter().map(|(node, count)| (node.to_owned(), count)).collect()
}

#[test]
fn replicas_lie_one_on_each_of_three_equal_nodes() {
    let each = by_node([("n1", 1), ("n2", 1), ("n3", 1)]);
    for seed in 0..40 {
        let pods = |set: &str| (0..3).map(|i| typed(&format!("{set}-{seed}-{i}"), owned_by(set))).collect::<Vec<_>>();
        let mut cluster = Cluster::of(3);
        let placed = burst(&mut View::of(&cluster.snapshot), pods("web"));
        assert_eq!(placed, each, "seed {seed}: in one pass");
        for (i, pod) in pods("web").into_iter().enumerate() {
            let node = schedule(&View::of(&cluster.snapshot), &pod).unwrap();
            cluster.bound(&format!("old-{i}"), &node, owned_by("web"));
        }
        // A rollout: the new ones are spread among themselves, wherever the old ones are that one Service selects.
        cluster.show(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {"app": "web"}}}));
        let mut view = View::of(&cluster.snapshot);
        assert_eq!(burst(&mut view, pods("next")), each, "seed {seed}: beside the old ones");
        cluster.bound("old-0", "n1", json!({"metadata": {"deletionTimestamp": "2025-01-01T00:00:00Z"}}));
        assert_eq!(burst(&mut View::of(&cluster.snapshot), pods("next")), each, "seed {seed}: while they go");
    }
}

/// Taints n3 as the store does for a node in this state.
fn away(cluster: &mut Cluster, taints: Value) {
    cluster.node("n3", json!({ "taints": taints }));
}

#[test]
fn substitutes_are_spread_over_the_nodes_that_are_left() {
    let lost = || {
        json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"},
            {"key": "node.kubernetes.io/unreachable", "effect": "NoExecute", "timeAdded": "2025-01-01T00:00:00Z"}])
    };
    // Which of the nodes had two of the four.
    for doubled in ["n1", "n2", "n3"] {
        let mut cluster = Cluster::of(3);
        for (i, node) in ["n1", "n2", "n3", doubled].into_iter().enumerate() {
            cluster.bound(&format!("web-{i}"), node, owned_by("web"));
        }
        away(&mut cluster, lost());
        let missing = if doubled == "n3" { 2 } else { 1 };
        let substitutes = (0..missing).map(|i| typed(&format!("sub-{i}"), owned_by("web")));
        let mut placed = burst(&mut View::of(&cluster.snapshot), substitutes);
        for node in ["n1", "n2", doubled].into_iter().filter(|n| *n != "n3") {
            *placed.entry(node.to_owned()).or_default() += 1;
        }
        assert_eq!(placed, by_node([("n1", 2), ("n2", 2)]), "{doubled}");
    }
}

#[test]
fn nodes_that_do_not_answer_or_return_get_no_pods() {
    for key in ["node.kubernetes.io/unreachable", "skein.dev/returning"] {
        let mut cluster = Cluster::default();
        away(&mut cluster, json!([{"key": key, "effect": "NoSchedule"}]));
        let words = format!("0/1 nodes are available: 1 node(s) had untolerated taint {{{key}: }}.");
        assert_eq!(cluster.place(json!({})), Err(words));
        cluster.node("n1", json!({}));
        assert_eq!(cluster.place(json!({})), Ok("n1".into()));
    }
}

#[test]
fn replicas_are_spread() {
    let owned = || owned_by("web");
    let mut cluster = Cluster::of(2);
    cluster.bound("a", "n1", owned());
    // Even though the other node is busier.
    cluster.bound("b", "n2", asking("1"));
    assert_eq!(cluster.place(owned()), Ok("n2".into()));
    assert_eq!(cluster.place(json!({})), Ok("n1".into()));
    // The same for pods behind one Service.
    let mut cluster = Cluster::of(2);
    cluster.bound("a", "n1", labelled("web"));
    cluster.bound("b", "n2", asking("1"));
    assert_eq!(cluster.place(labelled("web")), Ok("n1".into()));
    cluster.show(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"selector": {"app": "web"}}}));
    assert_eq!(cluster.place(labelled("web")), Ok("n2".into()));
}

#[test]
fn preferences_and_soft_taints_count() {
    let mut cluster = Cluster::of(2);
    cluster.bound("a", "n2", asking("1"));
    let preferring = json!({"spec": {"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 1, "preference": {"matchExpressions": [
            {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["b"]}]}}]}}}});
    assert_eq!(cluster.place(preferring), Ok("n2".into()));
    cluster.node("n1", json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}));
    assert_eq!(cluster.place(json!({})), Ok("n2".into()));
    assert_eq!(cluster.place(json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}})), Ok("n1".into()));
}

#[test]
fn ties_are_broken_by_pod_and_always_alike() {
    let cluster = Cluster::of(3);
    let view = View::of(&cluster.snapshot);
    let place = |i: usize| schedule(&view, &typed(&format!("p{i}"), json!({}))).unwrap();
    let first: Vec<_> = (0..50).map(place).collect();
    assert_eq!(first, (0..50).map(place).collect::<Vec<_>>());
    for node in ["n1", "n2", "n3"] {
        assert!(first.iter().filter(|n| *n == node).count() > 5, "{node} is somebody's favourite: {first:?}");
    }
}

#[test]
fn spread_constraints_are_kept() {
    let spreading = |key: &str, action: &str| {
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"topologySpreadConstraints": [{"maxSkew": 1,
            "topologyKey": key, "whenUnsatisfiable": action, "labelSelector": {"matchLabels": {"app": "web"}}}]}})
    };
    let mut cluster = Cluster::of(2);
    cluster.bound("a", "n1", labelled("web"));
    cluster.bound("b", "n2", asking("3"));
    for key in ["kubernetes.io/hostname", "topology.kubernetes.io/zone"] {
        assert_eq!(cluster.place(spreading(key, "DoNotSchedule")), Ok("n2".into()), "{key}");
        assert_eq!(cluster.place(spreading(key, "ScheduleAnyway")), Ok("n2".into()), "{key}");
    }
    cluster.node("n2", json!({"unschedulable": true}));
    assert_eq!(
        cluster.place(spreading("kubernetes.io/hostname", "DoNotSchedule")),
        Err("0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, \
             1 node(s) were unschedulable."
            .into())
    );
    assert_eq!(cluster.place(spreading("kubernetes.io/hostname", "ScheduleAnyway")), Ok("n1".into()));
    assert_eq!(
        Cluster::of(1).place(spreading("rack", "DoNotSchedule")),
        Err("0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints \
             (missing required label)."
            .into())
    );
}

#[test]
fn affinity_between_pods_is_kept() {
    let with = |kind: &str, app: &str| {
        json!({"metadata": {"labels": {"app": "web"}}, "spec": {"affinity": {kind: {
            "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname",
                "labelSelector": {"matchLabels": {"app": app}}}]}}}})
    };
    let mut cluster = Cluster::of(2);
    // The first that wants its own kind may be anywhere; who wants others has to wait for them.
    assert!(cluster.place(with("podAffinity", "web")).is_ok());
    assert_eq!(
        cluster.place(with("podAffinity", "db")),
        Err("0/2 nodes are available: 2 node(s) didn't match pod affinity rules.".into())
    );
    cluster.bound("db", "n1", labelled("db"));
    assert_eq!(cluster.place(with("podAffinity", "db")), Ok("n1".into()));
    assert_eq!(cluster.place(with("podAntiAffinity", "db")), Ok("n2".into()));
    let mut elsewhere = with("podAntiAffinity", "db");
    elsewhere["metadata"]["namespace"] = json!("other");
    elsewhere["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "n1"});
    assert_eq!(cluster.place(elsewhere), Ok("n1".into()));
    // One that is there refuses newcomers.
    cluster.bound("hermit", "n2", with("podAntiAffinity", "web"));
    assert_eq!(cluster.place(labelled("web")), Ok("n1".into()));
    cluster.node("n1", json!({"unschedulable": true}));
    assert_eq!(
        cluster.place(labelled("web")),
        Err("0/2 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules, \
             1 node(s) were unschedulable."
            .into())
    );
}

#[test]
fn preferred_affinity_between_pods_counts() {
    let preferring = |kind: &str| {
        json!({"spec": {"affinity": {kind: {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100,
            "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "namespaceSelector": {},
                "labelSelector": {"matchLabels": {"app": "db"}}}}]}}}})
    };
    let mut cluster = Cluster::of(2);
    cluster.show(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "data"}}));
    let mut db = labelled("db");
    db["metadata"]["namespace"] = json!("data");
    cluster.bound("db", "n1", db);
    assert_eq!(cluster.place(preferring("podAffinity")), Ok("n1".into()));
    assert_eq!(cluster.place(preferring("podAntiAffinity")), Ok("n2".into()));
}

#[test]
fn only_pods_that_want_this_scheduler_now_are_waiting() {
    let table = [
        (json!({}), true),
        (json!({"spec": {"nodeName": "n1"}}), false),
        (json!({"spec": {"schedulerName": "mine"}}), false),
        (json!({"spec": {"schedulingGates": [{"name": "a"}]}}), false),
        (json!({"metadata": {"deletionTimestamp": "2025-01-01T00:00:00Z"}}), false),
        (json!({"status": {"phase": "Failed"}}), false),
        (json!({"status": {"phase": "Pending"}}), true),
    ];
    for (pod, expected) in table {
        assert_eq!(is_waiting(&typed("p", pod.clone())), expected, "{pod}");
    }
    let mut cluster = Cluster::of(1);
    cluster.bound("bound", "n1", json!({}));
    for (name, created, priority) in [("young", "02", 0), ("old", "01", 0), ("urgent", "03", 9)] {
        cluster.show(manifest(
            name,
            json!({"metadata": {"creationTimestamp": format!("2025-01-{created}T00:00:00Z")},
                "spec": {"priority": priority}}),
        ));
    }
    let names: Vec<_> = waiting(&cluster.snapshot).into_iter().filter_map(|p| p.metadata.name).collect();
    assert_eq!(names, ["urgent", "old", "young"]);
}

#[test]
fn a_refreshed_view_is_the_view_of_the_newer_snapshot() {
    let mut cluster = Cluster::of(2);
    cluster.bound("a", "n1", asking("1"));
    let view = View::of(&cluster.snapshot);
    cluster.bound("a", "n1", asking("3"));
    cluster.bound("b", "n2", asking("4"));
    let pod = typed("new", asking("2"));
    assert_eq!(schedule(&view, &pod), Ok("n2".into()));
    let mut assumed = view.clone();
    assumed.assume(&pod, "n1");
    for newer in [view.refreshed(&cluster.snapshot), assumed.refreshed(&cluster.snapshot)] {
        assert_eq!(schedule(&newer, &pod), schedule(&View::of(&cluster.snapshot), &pod));
        assert!(schedule(&newer, &pod).is_err());
    }
}
