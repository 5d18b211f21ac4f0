//! Tables of pods and nodes.

#![allow(clippy::needless_pass_by_value, reason = "tables hand over JSON literals")]

use serde_json::{Value, json};

use super::*;

fn pod(spec: Value) -> Pod {
    let mut spec = spec;
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "web"}]);
    }
    serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": spec})).unwrap()
}

fn requesting(cpu: &str, memory: &str) -> Value {
    json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu, "memory": memory}}}]})
}

/// A ready node of two cores, 1 GiB and ten pods.
fn node(spec: Value) -> Node {
    serde_json::from_value(json!({
        "metadata": {"name": "n1", "labels": {"zone": "a", "cores": "2", "kubernetes.io/hostname": "n1"}},
        "spec": spec,
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "10"},
            "conditions": [{"type": "Ready", "status": "True"}]}
    }))
    .unwrap()
}

fn reasons(pod: &Pod, node: &Node, usage: &Usage) -> Vec<String> {
    misfits(pod, node, usage).iter().map(ToString::to_string).collect()
}

#[test]
fn requests_are_summed_as_upstream_does() {
    let container = |cpu: &str, restart: Value| json!({"name": "x", "resources": {"requests": {"cpu": cpu}}, "restartPolicy": restart});
    let always = json!("Always");
    let none = Value::Null;
    let table = [
        (json!({"containers": [container("100m", none.clone()), container("200m", none.clone())]}), "300m"),
        // An init container runs alone and may need more.
        (
            json!({"initContainers": [container("1", none.clone())], "containers": [container("100m", none.clone())]}),
            "1",
        ),
        (
            json!({"initContainers": [container("50m", none.clone())], "containers": [container("100m", none.clone())]}),
            "100m",
        ),
        // A sidecar counts beside the containers, and beside the init containers after it.
        (
            json!({"initContainers": [container("1", always.clone())], "containers": [container("100m", none.clone())]}),
            "1100m",
        ),
        (
            json!({"initContainers": [container("1", always.clone()), container("2", none.clone())],
                "containers": [container("100m", none.clone())]}),
            "3",
        ),
        (
            json!({"initContainers": [container("2", none.clone()), container("1", always)],
                "containers": [container("100m", none.clone())]}),
            "2",
        ),
        (json!({"containers": [container("100m", none)], "overhead": {"cpu": "10m"}}), "110m"),
    ];
    for (spec, cpu) in table {
        let requests = requests(pod(spec.clone()).spec.as_ref().unwrap());
        assert_eq!(requests["cpu"].to_string(), cpu, "{spec}");
    }
}

#[test]
fn containers_without_requests_count_a_little_in_scoring() {
    let scored = |spec| scored_requests(pod(spec).spec.as_ref().unwrap());
    assert_eq!(scored(json!({})), (100, 200 << 20));
    assert_eq!(scored(requesting("500m", "1Mi")), (500, 1 << 20));
    assert_eq!(scored(requesting("0", "0")), (0, 0));
}

#[test]
fn what_is_taken_is_not_left() {
    let node = node(json!({}));
    let mut usage = Usage::default();
    assert_eq!(reasons(&pod(requesting("2", "1Gi")), &node, &usage), [""; 0]);
    assert_eq!(reasons(&pod(requesting("2001m", "1Gi")), &node, &usage), ["Insufficient cpu"]);
    assert_eq!(reasons(&pod(requesting("3", "2Gi")), &node, &usage), ["Insufficient cpu", "Insufficient memory"]);
    let half = requests(pod(requesting("1", "0")).spec.as_ref().unwrap());
    usage.add(&half, &BTreeSet::new());
    assert_eq!(reasons(&pod(requesting("1", "1Gi")), &node, &usage), [""; 0]);
    assert_eq!(reasons(&pod(requesting("1001m", "0")), &node, &usage), ["Insufficient cpu"]);
    // Even on an overcommitted node there is room for who asks for nothing.
    usage.add(&requests(pod(requesting("5", "0")).spec.as_ref().unwrap()), &BTreeSet::new());
    assert_eq!(reasons(&pod(json!({})), &node, &usage), [""; 0]);
    usage.pods = 10;
    assert_eq!(reasons(&pod(json!({})), &node, &usage), ["Too many pods"]);
    let gpu = json!({"containers": [{"name": "a", "resources": {"requests": {"example.com/gpu": "1"}}}]});
    assert_eq!(reasons(&pod(gpu), &node, &Usage::default()), ["Insufficient example.com/gpu"]);
}

#[test]
fn taints_keep_out_who_does_not_tolerate_them() {
    let tainted = node(json!({"taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]}));
    let table = [
        (json!([]), false),
        (json!([{"key": "a", "value": "b"}]), true),
        (json!([{"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"}]), true),
        (json!([{"key": "a", "value": "c"}]), false),
        (json!([{"key": "a", "operator": "Exists", "effect": "NoExecute"}]), false),
        (json!([{"key": "a", "operator": "Exists"}]), true),
        (json!([{"operator": "Exists"}]), true),
    ];
    for (tolerations, fits) in table {
        let reasons = reasons(&pod(json!({ "tolerations": tolerations })), &tainted, &Usage::default());
        assert_eq!(reasons.is_empty(), fits, "{tolerations}");
        if !fits {
            assert_eq!(reasons, ["node(s) had untolerated taint {a: b}"]);
        }
    }
    let preferred = node(json!({"taints": [{"key": "a", "effect": "PreferNoSchedule"}]}));
    assert_eq!(reasons(&pod(json!({})), &preferred, &Usage::default()), [""; 0]);
}

#[test]
fn nodes_that_are_not_ready_or_cordoned_get_no_pods() {
    let mut node = node(json!({"unschedulable": true}));
    assert_eq!(reasons(&pod(json!({})), &node, &Usage::default()), ["node(s) were unschedulable"]);
    let tolerant = json!({"tolerations": [{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}]});
    assert_eq!(reasons(&pod(tolerant), &node, &Usage::default()), [""; 0]);
    node.spec = None;
    for (status, key) in [("False", "not-ready"), ("Unknown", "unreachable")] {
        node.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].status = status.into();
        let words = format!("node(s) had untolerated taint {{node.kubernetes.io/{key}: }}");
        assert_eq!(reasons(&pod(json!({})), &node, &Usage::default()), [words]);
    }
    node.status.as_mut().unwrap().conditions = None;
    assert_eq!(reasons(&pod(json!({})), &node, &Usage::default()).len(), 1);
}

#[test]
fn selectors_and_affinity_choose_nodes() {
    let required = |terms: Value| json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
    let expression = |key: &str, operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": key, "operator": operator, "values": values}]});
    let table = [
        (json!({"nodeSelector": {"zone": "a"}}), true),
        (json!({"nodeSelector": {"zone": "b"}}), false),
        (json!({"nodeSelector": {"zone": "a", "disk": "ssd"}}), false),
        (required(json!([expression("zone", "In", &["b", "a"])])), true),
        (required(json!([expression("zone", "NotIn", &["a"])])), false),
        (required(json!([expression("disk", "NotIn", &["ssd"])])), true),
        (required(json!([expression("disk", "Exists", &[])])), false),
        (required(json!([expression("disk", "DoesNotExist", &[])])), true),
        (required(json!([expression("cores", "Gt", &["1"])])), true),
        (required(json!([expression("cores", "Lt", &["2"])])), false),
        (required(json!([expression("disk", "Exists", &[]), expression("zone", "Exists", &[])])), true),
        (required(json!([{}])), false),
        (required(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}])), true),
        (required(json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}])), false),
    ];
    for (spec, fits) in table {
        let words = if fits { vec![] } else { vec!["node(s) didn't match Pod's node affinity/selector"] };
        assert_eq!(reasons(&pod(spec.clone()), &node(json!({})), &Usage::default()), words, "{spec}");
    }
    let preferred = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 30, "preference": expression("zone", "In", &["a"])},
        {"weight": 5, "preference": expression("cores", "Exists", &[])},
        {"weight": 50, "preference": expression("disk", "Exists", &[])},
        {"weight": 9, "preference": {}}]}}});
    assert_eq!(preference(pod(preferred).spec.as_ref().unwrap(), &node(json!({}))), 35);
}

#[test]
fn a_port_of_the_host_is_held_once() {
    let on = |port: Value| pod(json!({"containers": [{"name": "a", "ports": [port]}]}));
    let web = on(json!({"containerPort": 80, "hostPort": 80, "hostIP": "10.0.0.1"}));
    let mut usage = Usage::default();
    usage.add(&Resources::new(), &host_ports(web.spec.as_ref().unwrap()));
    let clash = ["node(s) didn't have free ports for the requested pod ports"];
    let table = [
        (json!({"containerPort": 80}), false),
        (json!({"containerPort": 1, "hostPort": 80}), true),
        (json!({"containerPort": 1, "hostPort": 80, "protocol": "UDP"}), false),
        (json!({"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.2"}), false),
        (json!({"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"}), true),
        (json!({"containerPort": 1, "hostPort": 81}), false),
    ];
    for (port, clashes) in table {
        let words = reasons(&on(port.clone()), &node(json!({})), &usage);
        assert_eq!(words.first().map(String::as_str), clashes.then_some(clash[0]), "{port}");
    }
}
