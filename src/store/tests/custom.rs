//! Objects of kinds that users define: no definition is needed to keep, tell and merge them.

use super::merge::{exchange, pair};
use super::*;
use crate::object::custom::{self, Names};
use crate::object::kinds::Subresource;

/// A kind as the API knows it, by a definition that no store ever sees.
fn kind(version: &str) -> &'static Kind {
    let (group, plural, kind) = ("store.example.com", "widgets", "Widget");
    let subresources = &[Subresource::Status];
    custom::kind(Names { group, version, plural, kind, namespaced: true, subresources }).unwrap()
}

fn key() -> Key {
    Key::new(kind("v1"), "shop", "w")
}

fn widget(spec: Value) -> Value {
    json!({"apiVersion": "store.example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "shop"}, "spec": spec})
}

fn made(rig: &mut Rig, spec: Value) -> Value {
    rig.done(Change::Create { key: key(), object: widget(spec) }).unwrap().entry.value()
}

fn changed(rig: &mut Rig, object: Value) -> Value {
    let change = Change::Update { key: key(), object, when: Precondition::default() };
    rig.done(change).unwrap().entry.value()
}

#[test]
fn sides_merge_maps_by_key_and_take_lists_as_one_value() {
    let (mut a, mut b) = pair();
    made(&mut a, json!({"size": 1, "color": "red", "list": [{"name": "a"}]}));
    b.take_all(&a);
    assert_eq!(b.visible(), a.visible(), "no definition is needed");
    changed(&mut a, widget(json!({"size": 2, "color": "red", "list": [{"name": "a"}, {"name": "b"}]})));
    changed(&mut b, widget(json!({"size": 1, "color": "blue", "list": [{"name": "a"}, {"name": "c"}]})));
    exchange(&mut a, &mut b);
    let merged = a.get(&key()).unwrap();
    assert_eq!((&merged["spec"]["size"], &merged["spec"]["color"]), (&json!(2), &json!("blue")));
    assert_eq!(merged["spec"]["list"].as_array().unwrap().len(), 2, "one side's, and nothing put together: {merged}");
    assert_eq!(merged["metadata"]["generation"], 3, "above both");
    b.crash();
    assert_eq!(a.visible(), b.visible());
    assert_eq!(b.entry(&key()).key.kind.kind, "Widget", "a record says what its kind is called");
}

#[test]
fn versions_are_one_object_and_it_goes_with_all_of_them() {
    let mut a = Rig::new(1);
    made(&mut a, json!({"size": 1}));
    let beta = Key::new(kind("v1beta1"), "shop", "w");
    assert_eq!(a.get(&beta).unwrap()["apiVersion"], "store.example.com/v1", "as it was made");
    let again = Change::Create { key: beta.clone(), object: widget(json!({})) };
    assert!(matches!(a.done(again), Err(Rejected::AlreadyExists { .. })));
    let uid = a.entry(&beta).uid;
    a.done(delete(&beta)).unwrap();
    assert_eq!(a.get(&key()), None);
    a.crash();
    assert_eq!(a.get(&key()), None);
    assert!(a.store.snapshot().is_buried(uid));
}

#[test]
fn a_status_apart_is_told_and_one_within_is_a_field() {
    let mut a = Rig::new(1);
    made(&mut a, json!({"size": 1}));
    let told = a.done(status(&key(), json!({"ready": true}))).unwrap().entry.value();
    assert_eq!((&told["status"], &told["metadata"]["generation"]), (&json!({"ready": true}), &json!(1)));
    // A controller writes back what it has read, status and all.
    let mut read = a.get(&key()).unwrap();
    read["metadata"]["labels"] = json!({"a": "b"});
    let labelled = changed(&mut a, read);
    assert_eq!((&labelled["status"], &labelled["metadata"]["generation"]), (&json!({"ready": true}), &json!(1)));
    a.done(status(&key(), json!({"ready": false}))).unwrap();
    assert_eq!(a.get(&key()).unwrap()["status"], json!({"ready": false}), "it was not frozen");

    let other = Key::new(kind("v1"), "shop", "other");
    let mut object = widget(json!({}));
    object["metadata"]["name"] = json!("other");
    object["status"] = json!({"phase": "new"});
    a.done(Change::Create { key: other.clone(), object: object.clone() }).unwrap();
    object["status"] = json!("odd, and it may be");
    let when = Precondition::default();
    let odd = a.done(Change::Update { key: other.clone(), object: object.clone(), when }).unwrap().entry.value();
    assert_eq!((&odd["status"], &odd["metadata"]["generation"]), (&json!("odd, and it may be"), &json!(2)));
    object["status"] = Value::Null;
    let when = Precondition::default();
    let none = a.done(Change::Update { key: other, object, when }).unwrap().entry.value();
    assert_eq!(none.get("status"), None);
}

#[test]
fn conditions_that_are_not_told_apart_by_type_are_kept_as_they_are() {
    let mut a = Rig::new(1);
    made(&mut a, json!({}));
    for conditions in [json!(["up", "down"]), json!([{"type": "A", "n": 1}, {"type": "A", "n": 2}]), json!([{"x": 1}])]
    {
        a.done(status(&key(), json!({"conditions": conditions}))).unwrap();
        assert_eq!(a.get(&key()).unwrap()["status"], json!({"conditions": conditions}));
    }
}
