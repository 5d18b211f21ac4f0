//! Deletion as Kubernetes has it.

use super::*;

fn with(key: &Key, options: DeleteOptions) -> Change {
    Change::Delete { key: key.clone(), options }
}

fn grace(seconds: i64) -> DeleteOptions {
    DeleteOptions { grace_seconds: Some(seconds), ..DeleteOptions::default() }
}

fn bound_pod(rig: &mut Rig, name: &str) -> Key {
    rig.create(pod(name));
    rig.done_as(Author::Leader, bind(&pod_key(name), "n1")).unwrap();
    pod_key(name)
}

#[test]
fn what_nothing_holds_goes_at_once_and_the_name_is_free() {
    let mut rig = Rig::new(1);
    let made = rig.create(config_map("a", json!({"x": "1"})));
    let gone = rig.done(delete(&map_key("a"))).unwrap();
    assert!(gone.removed);
    assert_eq!(gone.entry.value(), made);
    assert_eq!(rig.get(&map_key("a")), None);
    assert_eq!(rig.try_as(Author::Client, delete(&map_key("a"))), Err(Rejected::NotFound { key: map_key("a") }));
    let again = rig.create(config_map("a", json!({})));
    assert_ne!(again["metadata"]["uid"], made["metadata"]["uid"]);
}

#[test]
fn delete_and_create_in_one_batch_are_two_steps() {
    let mut rig = Rig::new(1);
    rig.create(config_map("a", json!({"x": "1"})));
    let from = rig.store.snapshot().revision();
    rig.try_as(Author::Client, delete(&map_key("a"))).unwrap();
    rig.try_as(Author::Client, create(config_map("a", json!({"x": "2"})))).unwrap();
    rig.flush();
    let events: Vec<_> = rig.store.snapshot().events_since(&kinds::CONFIG_MAP, from).unwrap().collect();
    assert_eq!(events.len(), 2);
    assert!(events[0].new.is_none() && events[1].old.is_none());
    assert!(events[0].revision < events[1].revision);
}

#[test]
fn a_bound_pod_gets_its_grace_which_only_shortens() {
    let mut rig = Rig::new(1);
    let key = bound_pod(&mut rig, "a");
    let marked = rig.done(delete(&key)).unwrap();
    assert!(!marked.removed && marked.entry.terminating);
    let meta = marked.entry.value()["metadata"].clone();
    assert_eq!(meta["deletionTimestamp"], "2025-11-23T12:13:50Z");
    assert_eq!(meta["deletionGracePeriodSeconds"], 30);
    for longer in [delete(&key), with(&key, grace(60)), with(&key, grace(30))] {
        assert!(matches!(rig.try_as(Author::Client, longer), Ok(Receipt::Unchanged(_))));
    }
    let meta = rig.done(with(&key, grace(10))).unwrap().entry.value()["metadata"].clone();
    assert_eq!(meta["deletionTimestamp"], "2025-11-23T12:13:30Z");
    assert_eq!(meta["deletionGracePeriodSeconds"], 10);
    assert!(rig.try_as(Author::Leader, bind(&key, "n2")).is_err());
    assert!(rig.done_as(Author::Kubelet, with(&key, grace(0))).unwrap().removed);
    assert_eq!(rig.get(&key), None);
}

#[test]
fn a_pod_that_runs_nowhere_goes_at_once() {
    let mut rig = Rig::new(1);
    rig.create(pod("unbound"));
    assert!(rig.done(delete(&pod_key("unbound"))).unwrap().removed);
    for phase in ["Succeeded", "Failed"] {
        let key = bound_pod(&mut rig, "ended");
        rig.done_as(Author::Kubelet, status(&key, json!({"phase": phase}))).unwrap();
        assert!(rig.done(delete(&key)).unwrap().removed, "{phase}");
    }
    let key = bound_pod(&mut rig, "forced");
    assert!(rig.done(with(&key, grace(0))).unwrap().removed);
    let key = bound_pod(&mut rig, "negative");
    let marked = rig.done(with(&key, grace(-5))).unwrap().entry.value();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 1);
}

#[test]
fn finalizers_hold_and_only_shrink() {
    let mut rig = Rig::new(1);
    let mut object = config_map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["x/a", "x/b"]);
    rig.create(object.clone());
    let key = map_key("a");
    let marked = rig.done(delete(&key)).unwrap();
    assert!(!marked.removed && marked.entry.terminating);
    assert_eq!(marked.entry.value()["metadata"]["deletionGracePeriodSeconds"], 0);
    assert!(matches!(rig.try_as(Author::Client, delete(&key)), Ok(Receipt::Unchanged(_))));

    let mut more = marked.entry.value();
    more["metadata"]["finalizers"] = json!(["x/a", "x/b", "x/c"]);
    let refused = rig.try_as(Author::Client, update(more)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "configmaps/shop/a: metadata.finalizers: no new finalizers can be added if the object is being deleted, \
         found new finalizers []string{\"x/c\"}"
    );
    let mut cleared = marked.entry.value();
    cleared["metadata"].as_object_mut().unwrap().remove("deletionTimestamp");
    cleared["metadata"]["finalizers"] = json!(["x/b"]);
    let left = rig.update(cleared);
    assert_eq!(left["metadata"]["finalizers"], json!(["x/b"]));
    assert!(left["metadata"]["deletionTimestamp"].is_string(), "a deletion is not taken back");
    let mut free = left;
    free["metadata"].as_object_mut().unwrap().remove("finalizers");
    assert!(rig.done(update(free)).unwrap().removed);
    assert_eq!(rig.get(&key), None);
}

#[test]
fn a_bound_pod_with_finalizers_needs_both_to_end() {
    let mut rig = Rig::new(1);
    let mut object = pod("a");
    object["metadata"]["finalizers"] = json!(["x/a"]);
    rig.create(object.clone());
    let key = pod_key("a");
    rig.done_as(Author::Leader, bind(&key, "n1")).unwrap();
    let marked = rig.done(delete(&key)).unwrap();
    let mut free = marked.entry.value();
    free["metadata"].as_object_mut().unwrap().remove("finalizers");
    assert!(!rig.done(update(free)).unwrap().removed, "its containers may run still");
    assert!(rig.done_as(Author::Kubelet, with(&key, grace(0))).unwrap().removed);

    object["metadata"]["name"] = "b".into();
    rig.create(object);
    let key = pod_key("b");
    rig.done_as(Author::Leader, bind(&key, "n1")).unwrap();
    rig.done(delete(&key)).unwrap();
    let held = rig.done_as(Author::Kubelet, with(&key, grace(0))).unwrap();
    assert!(!held.removed);
    let mut free = held.entry.value();
    free["metadata"].as_object_mut().unwrap().remove("finalizers");
    assert!(rig.done(update(free)).unwrap().removed);
}

#[test]
fn propagation_is_a_finalizer() {
    let mut rig = Rig::new(1);
    for (propagation, finalizer) in [(Propagation::Foreground, "foregroundDeletion"), (Propagation::Orphan, "orphan")] {
        rig.create(deployment("web", 1, "a"));
        let key = deployment_key("web");
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        let marked = rig.done(with(&key, options)).unwrap();
        assert!(!marked.removed);
        assert_eq!(marked.entry.value()["metadata"]["finalizers"], json!([finalizer]));
        assert_eq!(marked.entry.value()["metadata"]["generation"], 2);
        rig.crash();
        rig.flush();
        let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
        assert!(rig.done(with(&key, background)).unwrap().removed);
    }
    rig.create(deployment("web", 1, "a"));
    let background = DeleteOptions { propagation: Some(Propagation::Background), ..DeleteOptions::default() };
    assert!(rig.done(with(&deployment_key("web"), background)).unwrap().removed);
}

#[test]
fn propagation_comes_too_late_once_it_is_to_go() {
    let mut rig = Rig::new(1);
    let mut object = config_map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["x/a"]);
    rig.create(object);
    rig.done(delete(&map_key("a"))).unwrap();
    let foreground = DeleteOptions { propagation: Some(Propagation::Foreground), ..DeleteOptions::default() };
    let again = rig.try_as(Author::Client, with(&map_key("a"), foreground)).unwrap();
    let Receipt::Unchanged(again) = again else { panic!("{again:?}") };
    assert_eq!(again.entry.value()["metadata"]["finalizers"], json!(["x/a"]));
}

#[test]
fn a_namespace_is_marked_and_ended_by_removal() {
    let mut rig = Rig::new(1);
    let key = Key::cluster(&kinds::NAMESPACE, "shop");
    let marked = rig.done(delete(&key)).unwrap();
    assert!(!marked.removed);
    let value = marked.entry.value();
    assert_eq!(value["status"]["phase"], "Terminating");
    assert!(value["metadata"]["deletionTimestamp"].is_string());
    assert!(matches!(rig.try_as(Author::Client, delete(&key)), Ok(Receipt::Unchanged(_))));
    rig.update(value);
    assert!(rig.get(&key).is_some(), "an update does not end a namespace");
    assert!(rig.done_as(Author::Leader, remove(&key)).unwrap().removed);
    assert!(rig.done(delete(&Key::cluster(&kinds::NAMESPACE, "default"))).is_err());
}

#[test]
fn preconditions_hold_for_deletion() {
    let mut rig = Rig::new(1);
    rig.create(config_map("a", json!({})));
    let key = map_key("a");
    let other = Precondition { uid: Some(crate::ids::Uid([1; 16])), revision: None };
    let wrong = DeleteOptions { when: other, ..DeleteOptions::default() };
    assert!(matches!(rig.try_as(Author::Client, with(&key, wrong)), Err(Rejected::UidMismatch { .. })));
    let right = DeleteOptions { when: Precondition::unchanged(rig.entry(&key)), ..DeleteOptions::default() };
    assert!(rig.done(with(&key, right)).unwrap().removed);
}

#[test]
fn deleted_stays_deleted_over_a_crash() {
    let mut rig = Rig::new(1);
    rig.create(config_map("a", json!({})));
    rig.done(delete(&map_key("a"))).unwrap();
    let report = rig.crash();
    assert_eq!((report.tombstones, rig.get(&map_key("a"))), (1, None));
}
