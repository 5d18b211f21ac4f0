//! Taints that users give to nodes.

use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::object::{Key, kinds};
use crate::store::{RETURNING, UNREACHABLE};

fn node(name: &str) -> Key {
    Key::cluster(&kinds::NODE, name)
}

fn taint(c: &mut Cluster, taints: Value) {
    c.edit(&node("n2"), |n| n["spec"]["taints"] = taints);
}

/// A pod on n2 that tolerates the taint `drain` so.
fn pod(c: &mut Cluster, name: &str, tolerations: &Value) -> Key {
    c.create(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"nodeName": "n2", "containers": [], "tolerations": tolerations}}))
}

#[test]
fn a_pod_that_does_not_tolerate_it_is_deleted_and_told() {
    let mut c = Cluster::new(1);
    let plain = pod(&mut c, "plain", &json!([]));
    let tough = pod(&mut c, "tough", &json!([{"key": "drain", "operator": "Exists", "effect": "NoExecute"}]));
    c.settle();
    taint(&mut c, json!([{"key": "drain", "effect": "NoSchedule"}]));
    c.settle();
    assert!(c.exists(&plain), "another effect");
    taint(&mut c, json!([{"key": "drain", "value": "now", "effect": "NoExecute"}]));
    c.settle();
    assert!(!c.exists(&plain) && c.exists(&tough));
    let notes: Vec<_> = c.notes.iter().filter(|n| n.reason == "TaintManagerEviction").collect();
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].message, "Marking for deletion Pod shop/plain");
    assert_eq!((&notes[0].regarding, notes[0].component), (&plain, "taint-eviction-controller"));
    let late = pod(&mut c, "late", &json!([]));
    c.settle();
    assert!(!c.exists(&late), "nor may one come later");
}

#[test]
fn patience_counts_from_when_the_taint_came() {
    let mut c = Cluster::new(2);
    let tolerate = |seconds: i32| json!([{"key": "drain", "operator": "Exists", "tolerationSeconds": seconds}]);
    let (brief, long) = (pod(&mut c, "brief", &tolerate(10)), pod(&mut c, "long", &tolerate(60)));
    c.settle();
    taint(&mut c, json!([{"key": "drain", "effect": "NoExecute"}]));
    let since = c.now.wall.to_string();
    c.settle();
    assert_eq!(c.value(&node("n2"))["spec"]["taints"][0]["timeAdded"], since);
    c.wait(9);
    assert!(c.exists(&brief));
    c.wait(1);
    assert!(!c.exists(&brief) && c.exists(&long));
    taint(&mut c, Value::Null);
    c.wait(100);
    assert!(c.exists(&long), "it was taken away in time");
}

#[test]
fn projected_taints_end_no_pod() {
    let mut c = Cluster::new(4);
    let plain = pod(&mut c, "plain", &json!([]));
    c.settle();
    for key in [UNREACHABLE, RETURNING] {
        taint(&mut c, json!([{"key": key, "effect": "NoExecute"}]));
        c.wait(10);
        assert!(c.exists(&plain), "{key}");
        assert!(c.value(&node("n2"))["spec"]["taints"][0]["timeAdded"].is_null(), "{key} is nobody's to write");
    }
}
