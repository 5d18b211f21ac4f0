//! Histories, undoing, and a cluster restored from another's records.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::Encoder;

use super::super::record::{Body, Draft, Record, Scribe};
use super::super::{CannotUndo, Credit, Edit, restore, undo};
use super::*;
use crate::object::Key;

const ANN: &str = "ann";

fn web() -> Key {
    Key::new(&kinds::DEPLOYMENT, "shop", "web")
}

fn by(rig: &mut Rig, user: &str, change: Change) {
    rig.store.commit_for(rig.now, Author::Client, Some(user.into()), Term(1), change).unwrap();
    rig.flush();
}

fn edit(rig: &mut Rig, user: &str, edit: impl FnOnce(&mut Value)) {
    let mut object = rig.store.snapshot().get(&web()).unwrap().value();
    edit(&mut object);
    rig.wait(Duration::from_secs(60));
    by(rig, user, Change::Update { key: web(), object, when: Precondition::default() });
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app.kubernetes.io/name": "web"}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
}

/// A Deployment that two users have changed: first the image, then the replicas.
fn changed() -> Rig {
    let mut rig = Rig::new(1);
    rig.create(deployment());
    edit(&mut rig, ANN, |o| o["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2".into());
    edit(&mut rig, "bob", |o| o["spec"]["replicas"] = 5.into());
    rig
}

fn history(rig: &mut Rig) -> Vec<Edit> {
    rig.store.history(&web()).unwrap()
}

fn try_undo(rig: &mut Rig, name: &str, force: bool) -> Result<Value, CannotUndo> {
    let shown = rig.store.snapshot().get(&web()).unwrap().value();
    let edits = history(rig);
    undo(&web(), list_keys, &shown, &edits, name, force)
}

#[test]
fn a_history_tells_who_changed_which_field_when() {
    let mut rig = changed();
    rig.crash();
    let edits = history(&mut rig);
    assert!(edits[0].birth && edits[0].fields.iter().any(|f| f.field() == "metadata.labels[app.kubernetes.io/name]"));
    let told: Vec<_> = edits[1..]
        .iter()
        .flat_map(|edit| {
            edit.fields.iter().map(|f| (edit.credit.user.clone().unwrap(), f.field(), f.was(), f.became()))
        })
        .collect();
    let image = "spec.template.spec.containers[web].image".to_owned();
    assert_eq!(
        told,
        [
            (ANN.to_owned(), image, Some(json!("web:1")), Some(json!("web:2"))),
            ("bob".to_owned(), "spec.replicas".to_owned(), Some(json!(1)), Some(json!(5))),
        ]
    );
    assert_eq!(edits[1].node, config(1, 1).node);
    let (first, second) = (edits[1].credit.at.unwrap(), edits[2].credit.at.unwrap());
    assert_eq!((second.0 - first.0, first.0), (60_000_000, (start().wall + Duration::from_secs(60)).0));
    assert_eq!(edits[1].credit.author, Some(Author::Client));
}

#[test]
fn a_change_is_told_as_its_author_saw_it_even_where_another_won() {
    let mut rig = changed();
    let mut other = Rig::bare(2);
    for raw in &rig.disk {
        other.store.merge(other.now, Verified::read(raw.clone()).unwrap()).unwrap();
    }
    other.flush();
    edit(&mut rig, ANN, |o| o["spec"]["replicas"] = 7.into());
    edit(&mut other, "eve", |o| o["spec"]["replicas"] = 9.into());
    for raw in &other.disk {
        rig.store.merge(rig.now, Verified::read(raw.clone()).unwrap()).unwrap();
    }
    rig.flush();
    let edits = history(&mut rig);
    let last: Vec<_> = edits[edits.len() - 2..].iter().map(|e| (e.fields[0].was(), e.fields[0].became())).collect();
    assert_eq!(last, [(Some(json!(5)), Some(json!(7))), (Some(json!(5)), Some(json!(9)))]);
}

#[test]
fn an_undone_change_leaves_what_came_after_it() {
    let mut rig = changed();
    let image = history(&mut rig)[1].name();
    let wanted = try_undo(&mut rig, &image, false).unwrap();
    assert_eq!(wanted["spec"]["template"]["spec"]["containers"][0]["image"], "web:1");
    assert_eq!(wanted["spec"]["replicas"], 5);
    let mut shown = rig.store.snapshot().get(&web()).unwrap().value();
    shown["spec"]["template"]["spec"]["containers"][0]["image"] = "web:1".into();
    assert_eq!(wanted, shown, "nothing else is touched");
    by(&mut rig, "bob", Change::Update { key: web(), object: wanted, when: Precondition::default() });
    assert_eq!(history(&mut rig).len(), 4, "it is a change of its own");
    assert_eq!(try_undo(&mut rig, &image, false), Err(CannotUndo::Nothing(image)));
}

#[test]
fn an_element_comes_back_whole() {
    let mut rig = changed();
    let containers = |o: &Value| o["spec"]["template"]["spec"]["containers"].clone();
    edit(&mut rig, ANN, |o| {
        let list = o["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
        list.push(json!({"name": "log", "image": "log:1", "env": [{"name": "A", "value": "1"}]}));
    });
    let with = containers(&rig.store.snapshot().get(&web()).unwrap().value());
    edit(&mut rig, "bob", |o| drop(o["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().pop()));
    let gone = history(&mut rig).last().unwrap().name();
    assert_eq!(containers(&try_undo(&mut rig, &gone, false).unwrap()), with);
}

#[test]
fn an_undo_is_refused_where_it_would_take_back_more_or_means_nothing() {
    let mut rig = changed();
    edit(&mut rig, ANN, |o| o["spec"]["template"]["spec"]["containers"][0]["image"] = "web:3".into());
    let names: Vec<String> = history(&mut rig).iter().map(Edit::name).collect();
    let field = "spec.template.spec.containers[web].image".to_owned();
    let touched = CannotUndo::Touched { field, later: names[3].clone() };
    assert_eq!(try_undo(&mut rig, &names[1], false), Err(touched));
    let forced = try_undo(&mut rig, &names[1], true).unwrap();
    assert_eq!(forced["spec"]["template"]["spec"]["containers"][0]["image"], "web:1");
    assert_eq!(try_undo(&mut rig, &names[0], true), Err(CannotUndo::Birth(names[0].clone())));
    assert_eq!(try_undo(&mut rig, "zz", true), Err(CannotUndo::Unknown("zz".into())));
    assert_eq!(try_undo(&mut rig, "", true), Err(CannotUndo::Unknown(String::new())));
}

#[test]
fn what_a_newer_build_says_besides_survives_untouched() {
    // A change's body of a newer version: all of today's fields, and one more.
    let rig = changed();
    let raw = rig.disk.iter().rfind(|raw| matches!(Record::read(raw.as_slice()).unwrap().body, Body::Change { .. }));
    let record = Record::read(raw.unwrap().as_slice()).unwrap();
    assert_eq!(record.credit().user.as_deref(), Some("bob"));
    let Body::Change { uid, spec, chunk, .. } = record.body.clone() else { panic!() };
    let mut body = Encoder::new(Vec::new());
    body.map(4).unwrap().u8(0).unwrap().bytes(&uid.0).unwrap().u8(2).unwrap().bool(spec).unwrap();
    body.u8(3).unwrap().bytes(&record.raw[chunk]).unwrap().u8(99).unwrap().str("new").unwrap();
    let mut envelope = Encoder::new(Vec::new());
    envelope.map(8).unwrap().u8(0).unwrap().u8(1).unwrap().u8(1).unwrap().bytes(&config(1, 1).node.0).unwrap();
    envelope.u8(2).unwrap().u8(1).unwrap().u8(3).unwrap().u8(1).unwrap().u8(4).unwrap().u64(999).unwrap();
    envelope.u8(5).unwrap().u8(1).unwrap().u8(6).unwrap().bytes(&body.into_writer()).unwrap();
    envelope.u8(77).unwrap().str("newer still").unwrap();
    let mut bytes = envelope.into_writer();
    let signature = ed25519_dalek::Signer::sign(&config(1, 1).key, &[b"skein record 1\0", bytes.as_slice()].concat());
    bytes.extend(signature.to_bytes());
    // On a node that has all but this change, it goes to disk and to others as it came.
    let mut other = Rig::bare(2);
    for known in rig.disk.iter().filter(|known| **known != *record.raw) {
        other.store.merge(other.now, Verified::read(known.clone()).unwrap()).unwrap();
    }
    other.store.merge(other.now, Verified::read(bytes.clone()).unwrap()).unwrap();
    other.flush();
    assert_eq!(other.store.snapshot().get(&web()).unwrap().value()["spec"]["replicas"], 5);
    assert!(other.disk.contains(&bytes) && other.store.records().any(|kept| kept == bytes));
    let told = other.store.records_of(&other.store.record_ids().into_iter().collect());
    assert!(told.iter().any(|kept| **kept == *bytes));
    assert_eq!(other.store.history(&web()).unwrap().last().unwrap().credit, Credit::default());
}

fn pod(name: &str, more: Value) -> Value {
    let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": "c", "image": "i"}]}});
    if let (Value::Object(meta), Value::Object(more)) = (&mut pod["metadata"], more) {
        meta.extend(more);
    }
    pod
}

#[test]
fn a_restored_cluster_has_the_objects_and_histories_but_no_machines_of_the_old_one() {
    let mut old = changed();
    let owner = old.store.snapshot().get(&web()).unwrap().uid;
    let owners = json!({"ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web",
        "uid": owner, "controller": true}]});
    old.create(pod("owned", owners));
    for name in ["bare", "done"] {
        old.create(pod(name, json!({})));
    }
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}});
    old.create(node);
    let key = |name: &str| Key::new(&kinds::POD, "shop", name);
    let when = Precondition::default();
    for name in ["bare", "done"] {
        old.done_as(Author::Leader, Change::Bind { key: key(name), when, node: "n1".into() }).unwrap();
        let status = json!({"phase": if name == "done" { "Succeeded" } else { "Running" }});
        old.done_as(Author::Kubelet, Change::Status { key: key(name), status, when }).unwrap();
    }
    let status = Change::Status { key: web(), status: json!({"replicas": 5}), when };
    old.store.commit(old.now, Author::Leader, Term(41), status).unwrap();
    old.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "gone", "namespace": "shop"}}));
    old.done(Change::Remove { key: Key::new(&kinds::CONFIG_MAP, "shop", "gone"), when }).unwrap();
    let before = old.store.snapshot().get(&web()).unwrap().value();

    let names = BTreeMap::from([(config(1, 1).node, "n1".to_owned())]);
    let restored = restore(config(9, 1), old.disk.clone(), &names, old.now);
    assert!(restored.refused.is_empty(), "{:?}", restored.refused);
    assert_eq!(restored.term, Term(41));
    let left: BTreeMap<String, &str> = restored.left.iter().map(|(key, why)| (key.name.clone(), *why)).collect();
    assert_eq!(left.keys().collect::<Vec<_>>(), ["done", "n1", "owned"]);
    assert!(left["owned"].contains("controller") && left["done"].contains("finished"));

    let (mut store, report) = Store::open(config(9, 2), restored.records.clone(), old.now);
    assert!(report.refused.is_empty() && report.tombstones == 0, "{report:?}");
    let mut after = store.snapshot().get(&web()).unwrap().value();
    assert!(store.snapshot().revision() > old.store.snapshot().revision(), "versions go on");
    after["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
    assert_eq!(after, before, "uid, creation, generation and status too");
    let bare = store.snapshot().get(&key("bare")).unwrap().value();
    assert_eq!((&bare["spec"]["nodeName"], &bare["status"]["phase"]), (&Value::Null, &json!("Pending")));
    let edits = store.history(&web()).unwrap();
    let told: Vec<_> = edits.iter().map(|e| (e.node, e.credit.node.as_deref(), e.credit.user.as_deref())).collect();
    let new = config(9, 1).node;
    assert_eq!(told, [(new, Some("n1"), None), (new, Some("n1"), Some(ANN)), (new, Some("n1"), Some("bob"))]);

    // Somebody who joins the new cluster takes all of it: it is signed by a member.
    let mut joiner = Rig::bare(8);
    for raw in &restored.records {
        let record = Verified::read(raw.clone()).unwrap();
        assert_eq!(record.record().author, new);
        joiner.store.merge(joiner.now, record).unwrap();
    }
    joiner.flush();
    assert_eq!(joiner.store.waiting(), 0);
    assert_eq!(joiner.store.snapshot().get(&web()).unwrap().value()["spec"], before["spec"]);
}

#[test]
fn a_record_taken_over_says_the_same_under_another_name() {
    let scribe = Scribe::new(config(1, 3).node, 3, config(1, 3).key);
    let raw = scribe.write_as(7, Draft::Ceiling(5));
    let mut other = Scribe::new(config(2, 1).node, 1, config(2, 1).key);
    let taken = Verified::read(other.take_over(&Record::read(Arc::clone(&raw)).unwrap(), Some("n1"))).unwrap();
    let record = taken.record();
    assert_eq!((record.author, record.incarnation, record.seq), (config(2, 1).node, 1, 1));
    assert_eq!(record.body, Body::Ceiling { ceiling: 5 });
}
