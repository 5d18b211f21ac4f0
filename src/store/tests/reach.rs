//! How nodes are, projected onto Nodes and their pods.

use super::super::reach::{RETURNING, UNREACHABLE};
use super::*;

const LOST_MESSAGE: &str = "Node n2 which was running pod p is unresponsive";

fn node_key() -> Key {
    Key::cluster(&kinds::NODE, "n2")
}

fn node(taints: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}, "spec": {"taints": taints}})
}

fn ready(kind: &str) -> Value {
    json!({"type": kind, "status": "True", "reason": "Fine", "lastTransitionTime": "2025-01-01T00:00:00Z",
        "lastHeartbeatTime": "2025-01-01T00:00:00Z"})
}

/// A cluster with node n2 and a running pod on it.
fn rig() -> Rig {
    let mut rig = Rig::new(1);
    rig.create(node(json!([{"key": "mine", "effect": "NoSchedule"}])));
    rig.done_as(Author::Kubelet, status(&node_key(), json!({"conditions": [ready("Ready"), ready("Other")]}))).unwrap();
    bound(&mut rig, "p");
    rig
}

fn bound(rig: &mut Rig, name: &str) {
    rig.create(pod(name));
    rig.done_as(Author::Leader, bind(&pod_key(name), "n2")).unwrap();
    let seen = json!({"phase": "Running", "conditions": [ready("Ready"), ready("ContainersReady")]});
    rig.done_as(Author::Kubelet, status(&pod_key(name), seen)).unwrap();
}

fn reach(rig: &mut Rig, reach: Reach) {
    rig.wait(Duration::from_secs(1));
    rig.store.set_reach(rig.now, "n2", reach);
}

fn taints(rig: &Rig) -> Vec<String> {
    let taints = rig.get(&node_key()).unwrap()["spec"]["taints"].clone();
    let text = |t: &Value| format!("{}:{}", t["key"].as_str().unwrap(), t["effect"].as_str().unwrap());
    taints.as_array().into_iter().flatten().map(text).collect()
}

fn condition(rig: &Rig, key: &Key, name: &str) -> Value {
    let object = rig.get(key).unwrap();
    object["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == name).cloned().unwrap()
}

#[test]
fn an_unreachable_node_is_unknown_and_its_pods_are_not_ready() {
    let mut rig = rig();
    let before = (rig.get(&node_key()), rig.get(&pod_key("p")));
    reach(&mut rig, Reach::Unreachable);
    let at = rig.now.wall.to_string();
    assert_eq!(taints(&rig), ["mine:NoSchedule".to_owned(), format!("{UNREACHABLE}:NoSchedule")]);
    let unknown = condition(&rig, &node_key(), "Ready");
    assert_eq!(
        unknown,
        json!({"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "lastTransitionTime": at,
            "message": "Kubelet stopped posting node status.", "lastHeartbeatTime": "2025-01-01T00:00:00Z"})
    );
    assert_eq!(condition(&rig, &node_key(), "DiskPressure")["reason"], "NodeStatusNeverUpdated");
    assert_eq!(condition(&rig, &node_key(), "Other"), ready("Other"));
    let pod = condition(&rig, &pod_key("p"), "Ready");
    assert_eq!((&pod["status"], &pod["lastTransitionTime"]), (&json!("False"), &json!(at)));
    assert_eq!(condition(&rig, &pod_key("p"), "ContainersReady"), ready("ContainersReady"));
    assert!(rig.get(&pod_key("p")).unwrap()["status"].get("reason").is_none());
    reach(&mut rig, Reach::Reachable);
    let strip = |value: Option<Value>| {
        let mut value = value.unwrap();
        value["metadata"]["resourceVersion"].take();
        value
    };
    assert_eq!(strip(rig.get(&node_key())), strip(before.0));
    assert_eq!(strip(rig.get(&pod_key("p"))), strip(before.1));
}

#[test]
fn a_lost_nodes_pods_say_so_and_what_has_ended_stays() {
    let mut rig = rig();
    bound(&mut rig, "ended");
    rig.done_as(Author::Kubelet, status(&pod_key("ended"), json!({"phase": "Succeeded"}))).unwrap();
    let ended = rig.get(&pod_key("ended"));
    reach(&mut rig, Reach::Unreachable);
    let dark = rig.now.wall.to_string();
    reach(&mut rig, Reach::Lost);
    let object = rig.get(&node_key()).unwrap();
    let added: Vec<&Value> = object["spec"]["taints"].as_array().unwrap().iter().map(|t| &t["timeAdded"]).collect();
    assert_eq!(added, [&Value::Null, &json!(dark), &json!(rig.now.wall.to_string())]);
    assert_eq!(condition(&rig, &node_key(), "Ready")["lastTransitionTime"], dark);
    let status = rig.get(&pod_key("p")).unwrap()["status"].clone();
    assert_eq!((&status["reason"], &status["message"]), (&json!("NodeLost"), &json!(LOST_MESSAGE)));
    assert_eq!(rig.get(&pod_key("ended")), ended);
    reach(&mut rig, Reach::Returning);
    assert_eq!(taints(&rig)[1..], [format!("{RETURNING}:NoSchedule")]);
    assert_eq!(condition(&rig, &pod_key("p"), "Ready"), ready("Ready"));
}

#[test]
fn every_flip_is_one_event_an_object_and_nothing_is_written() {
    let mut rig = rig();
    rig.flush();
    rig.store.take_news();
    for (to, node_events, pod_events) in [
        (Reach::Unreachable, 1, 1),
        (Reach::Lost, 1, 1),
        (Reach::Lost, 0, 0),
        (Reach::Returning, 1, 1),
        (Reach::Reachable, 1, 0),
    ] {
        let from = rig.store.snapshot().revision();
        reach(&mut rig, to);
        let count = |kind| rig.store.snapshot().events_since(kind, from).unwrap().count();
        assert_eq!((count(&kinds::NODE), count(&kinds::POD)), (node_events, pod_events), "{to:?}");
    }
    assert!(rig.store.take_batch().is_none());
    assert!(rig.store.take_news().is_empty());
}

#[test]
fn what_comes_later_is_projected_when_shown() {
    let mut rig = Rig::new(1);
    rig.store.set_reach(rig.now, "n2", Reach::Lost);
    rig.create(node(json!([])));
    assert_eq!(taints(&rig).len(), 2);
    bound(&mut rig, "p");
    assert_eq!(rig.get(&pod_key("p")).unwrap()["status"]["reason"], "NodeLost");
    assert_eq!(rig.entry(&pod_key("p")).node.as_deref(), Some("n2"));
}

#[test]
fn projected_taints_are_not_stored_and_a_users_own_stays() {
    let mut rig = rig();
    reach(&mut rig, Reach::Lost);
    let mut object = rig.get(&node_key()).unwrap();
    assert!(matches!(rig.try_as(Author::Client, update(object.clone())), Ok(Receipt::Unchanged(_))));
    object["spec"]["unschedulable"] = true.into();
    object["spec"]["taints"].as_array_mut().unwrap().push(json!({"key": "more", "effect": "NoExecute"}));
    let updated = rig.update(object);
    assert_eq!(updated["spec"]["taints"].as_array().unwrap().len(), 4, "shown with what is projected");
    // A user's own taint of our key.
    let mut object = updated;
    let list = object["spec"]["taints"].as_array_mut().unwrap();
    list.push(json!({"key": UNREACHABLE, "effect": "PreferNoSchedule"}));
    rig.update(object);
    reach(&mut rig, Reach::Reachable);
    assert_eq!(
        taints(&rig),
        ["mine:NoSchedule".to_owned(), "more:NoExecute".to_owned(), format!("{UNREACHABLE}:PreferNoSchedule")]
    );
}

#[test]
fn a_node_without_taints_of_its_own_has_none_stored() {
    let mut rig = Rig::new(1);
    rig.create(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}, "spec": {"podCIDR": "10.0.0.0/24"}}),
    );
    reach(&mut rig, Reach::Unreachable);
    let mut object = rig.get(&node_key()).unwrap();
    object["metadata"]["labels"] = json!({"a": "b"});
    rig.update(object);
    reach(&mut rig, Reach::Reachable);
    assert_eq!(rig.get(&node_key()).unwrap()["spec"], json!({"podCIDR": "10.0.0.0/24"}));
}

#[test]
fn a_status_written_back_does_not_store_what_is_projected() {
    for author in [Author::Client, Author::Leader] {
        let mut rig = rig();
        let plain = [node_key(), pod_key("p")].map(|key| rig.get(&key).unwrap()["status"].clone());
        reach(&mut rig, Reach::Lost);
        for key in [node_key(), pod_key("p")] {
            let mut seen = rig.get(&key).unwrap()["status"].clone();
            assert!(matches!(rig.try_as(author, status(&key, seen.clone())), Ok(Receipt::Unchanged(_))), "{key}");
            seen["conditions"].as_array_mut().unwrap().push(json!({"type": "x/gate", "status": "True"}));
            rig.done_as(author, status(&key, seen)).unwrap();
        }
        reach(&mut rig, Reach::Reachable);
        for (key, plain) in [node_key(), pod_key("p")].iter().zip(plain) {
            let mut now = rig.get(key).unwrap()["status"].clone();
            now["conditions"].as_array_mut().unwrap().retain(|c| c["type"] != "x/gate");
            let sorted = |mut status: Value| {
                status["conditions"].as_array_mut().unwrap().sort_by_key(|c| c["type"].to_string());
                status
            };
            assert_eq!(sorted(now), sorted(plain), "{author:?} {key}");
        }
    }
}

#[test]
fn a_store_without_revisions_shows_a_flip_with_its_first_batch() {
    let (store, _) = Store::open(config(1, 2), rig().disk, start());
    let mut rig = Rig { store, now: start(), n: 1, disk: Vec::new(), flying: None };
    reach(&mut rig, Reach::Lost);
    rig.flush();
    assert_eq!(rig.get(&pod_key("p")).unwrap()["status"]["reason"], "NodeLost");
}
