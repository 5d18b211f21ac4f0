//! Two sides change the same thing: one outcome everywhere, valid, and told once.

use super::merge::pair;
use super::*;
use crate::object::{Note, validation};

fn exchange(a: &mut Rig, b: &mut Rig) -> (Vec<Note>, Vec<Note>) {
    for _ in 0..2 {
        b.take_all(a);
        a.take_all(b);
    }
    assert_eq!(a.visible(), b.visible());
    for rig in [&mut *a, &mut *b] {
        let before = rig.visible();
        rig.crash();
        assert_eq!(rig.visible(), before, "also when read from the disk at once");
    }
    (a.store.take_notes(), b.store.take_notes())
}

/// Exchanges without a crash, so that what is told is kept.
fn meet(a: &mut Rig, b: &mut Rig) -> Vec<Note> {
    for _ in 0..3 {
        b.take_all(a);
        a.take_all(b);
    }
    let notes = [a.store.take_notes(), b.store.take_notes()].concat();
    let silent = exchange(a, b);
    assert_eq!(silent, (vec![], vec![]), "nothing is told twice");
    notes
}

fn complete(object: Value) -> Value {
    let key = Key::of(&object).unwrap();
    crate::object::write::create_value(key.kind, &key.namespace, object).unwrap().object
}

fn edit(rig: &mut Rig, key: &Key, edit: impl FnOnce(&mut Value)) {
    let mut object = rig.get(key).unwrap();
    edit(&mut object);
    rig.update(object);
}

fn assert_valid(rig: &Rig, key: &Key) {
    assert_eq!(validation::on_create(key.kind, &rig.get(key).unwrap()), vec![], "{key}");
}

fn secret() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"},
        "data": {"password": "b2xk"}})
}

#[test]
fn one_of_two_edits_of_a_field_stays_everywhere_and_its_loser_is_told_once() {
    let (mut a, mut b) = pair();
    let key = deployment_key("web");
    a.create(complete(deployment("web", 1, "nginx:1")));
    b.take_all(&a);
    edit(&mut a, &key, |o| o["spec"]["replicas"] = 5.into());
    edit(&mut b, &key, |o| o["spec"]["replicas"] = 7.into());
    let notes = meet(&mut a, &mut b);
    let kept = a.get(&key).unwrap()["spec"]["replicas"].as_u64().unwrap();
    let message = format!("two sides of a cut changed spec.replicas: {kept} stays, {} is dropped", 12 - kept);
    let said: Vec<_> = notes.iter().map(|n| (n.reason, &*n.field_path, &*n.message)).collect();
    assert_eq!(said, [("MergeConflict", "spec.replicas", &*message)]);
    assert_eq!((&notes[0].regarding, notes[0].uid), (&key, a.entry(&key).uid));
}

#[test]
fn edits_of_different_fields_or_to_the_same_value_are_no_conflict() {
    let (mut a, mut b) = pair();
    let key = deployment_key("web");
    a.create(complete(deployment("web", 1, "nginx:1")));
    b.take_all(&a);
    for rig in [&mut a, &mut b] {
        edit(rig, &key, |o| o["spec"]["paused"] = true.into());
    }
    edit(&mut b, &key, |o| o["metadata"]["labels"] = json!({"tier": "b"}));
    assert_eq!(meet(&mut a, &mut b), []);
}

#[test]
fn a_secrets_value_is_in_no_event() {
    let (mut a, mut b) = pair();
    let key = Key::new(&kinds::SECRET, "shop", "s");
    a.create(complete(secret()));
    b.take_all(&a);
    edit(&mut a, &key, |o| o["data"]["password"] = "YWFh".into());
    edit(&mut b, &key, |o| o["data"]["password"] = "YmJi".into());
    let notes = meet(&mut a, &mut b);
    assert_eq!(notes.len(), 1);
    let told = format!("{notes:?}");
    assert!(told.contains("data.password") && !told.contains("YWFh") && !told.contains("YmJi"), "{told}");
}

#[test]
fn an_edit_of_a_container_that_another_side_took_out_is_dropped_and_told() {
    let (mut a, mut b) = pair();
    let key = deployment_key("web");
    let mut object = deployment("web", 1, "nginx:1");
    object["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "web", "image": "nginx"}, {"name": "log", "image": "log:1"}]);
    a.create(complete(object));
    b.take_all(&a);
    edit(&mut a, &key, |o| {
        o["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().pop();
    });
    edit(&mut b, &key, |o| o["spec"]["template"]["spec"]["containers"][1]["image"] = "log:2".into());
    let notes = meet(&mut a, &mut b);
    assert_eq!(a.get(&key).unwrap()["spec"]["template"]["spec"]["containers"].as_array().unwrap().len(), 1);
    assert_valid(&a, &key);
    let said: Vec<_> = notes.iter().map(|n| (n.reason, &*n.message)).collect();
    let message = "spec.template.spec.containers[log].image has no place after a merge: \"log:2\" is dropped";
    assert_eq!(said, [("MergeRepaired", message)]);
}

#[test]
fn of_two_sources_of_one_volume_one_stays_everywhere() {
    let (mut a, mut b) = pair();
    let key = deployment_key("web");
    let mut object = deployment("web", 1, "nginx:1");
    object["spec"]["template"]["spec"]["volumes"] = json!([{"name": "v", "emptyDir": {"medium": "Memory"}}]);
    a.create(complete(object));
    b.take_all(&a);
    edit(&mut a, &key, |o| {
        o["spec"]["template"]["spec"]["volumes"][0] = json!({"name": "v", "configMap": {"name": "c"}});
    });
    edit(&mut b, &key, |o| {
        o["spec"]["template"]["spec"]["volumes"][0] = json!({"name": "v", "hostPath": {"path": "/x"}});
    });
    let notes = meet(&mut a, &mut b);
    let volume = a.get(&key).unwrap()["spec"]["template"]["spec"]["volumes"][0].clone();
    assert_eq!(volume.as_object().unwrap().len(), 2, "{volume}");
    assert_valid(&a, &key);
    assert!(!notes.is_empty() && notes.iter().all(|n| n.reason == "MergeRepaired"), "{notes:?}");
}

#[test]
fn what_cannot_be_repaired_stays_as_one_side_had_it() {
    let (mut a, mut b) = pair();
    let key = deployment_key("web");
    let mut object = deployment("web", 1, "nginx:1");
    object["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "one", "image": "one:1"}, {"name": "two", "image": "two:1"}]);
    a.create(complete(object));
    b.take_all(&a);
    edit(&mut a, &key, |o| {
        o["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().pop();
    });
    edit(&mut b, &key, |o| {
        o["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().remove(0);
    });
    let notes = meet(&mut a, &mut b);
    let containers = a.get(&key).unwrap()["spec"]["template"]["spec"]["containers"].clone();
    assert_eq!(containers.as_array().unwrap().len(), 1, "each took out what the other kept: {containers}");
    assert_valid(&a, &key);
    let said: Vec<_> = notes.iter().map(|n| n.reason).collect();
    assert_eq!(said, ["MergeRefused"], "{notes:?}");
    // Whoever writes next decides.
    edit(&mut b, &key, |o| o["spec"]["replicas"] = 2.into());
    a.take_all(&b);
    assert_eq!(a.visible(), b.visible());
    assert_eq!(a.get(&key).unwrap()["spec"]["template"]["spec"]["containers"], containers);
    assert_eq!(a.get(&key).unwrap()["spec"]["replicas"], 2);
}

#[test]
fn a_write_that_says_what_a_merge_left_joins_the_sides() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "0"})));
    b.take_all(&a);
    a.update(config_map("x", json!({"k": "0", "a": "1"})));
    b.update(config_map("x", json!({"k": "0", "b": "1"})));
    meet(&mut a, &mut b);
    let merged = config_map("x", json!({"k": "0", "a": "1", "b": "1"}));
    assert!(matches!(a.try_as(Author::Client, update(merged)), Ok(Receipt::Unchanged(_))), "nothing new is said");
}
