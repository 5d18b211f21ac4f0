//! A member gone mad: validly signed records whose changes are garbage.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::document::{Actor, Chunk, Document};
use super::super::leaves::Leaf;
use super::super::parts::{Birth, Mark};
use super::super::record::{Draft, Scribe};
use super::super::register::Slot;
use super::*;
use crate::ids::Uid;

/// Where a chunk's body begins: behind magic, checksum, type and length.
fn body_start(chunk: &[u8]) -> usize {
    9 + chunk[9..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1
}

/// Changes some bytes of a chunk and makes its checksum right again.
fn mutated(chunk: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut chunk = chunk.to_vec();
    let start = body_start(&chunk);
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(start..chunk.len());
        chunk[at] = random.random();
    }
    correct(&mut chunk);
    chunk
}

/// Makes a chunk's checksum right.
fn correct(chunk: &mut [u8]) {
    let checksum = Sha256::digest(&chunk[8..]);
    chunk[4..8].copy_from_slice(&checksum[..4]);
}

/// A member that signs what it likes.
struct Mad {
    actor: Actor,
    scribe: Scribe,
}

impl Mad {
    fn new(n: u8, incarnation: u64) -> Self {
        let config = config(n, incarnation);
        let actor = Actor::new(config.node, incarnation);
        Self { actor, scribe: Scribe::new(config.node, incarnation, config.key) }
    }

    fn sign(&mut self, uid: Uid, birth: Option<&Birth>, chunk: &[u8]) -> Vec<u8> {
        self.scribe.write(change(uid, birth, false, chunk)).to_vec()
    }

    fn write(&self, document: &mut Document, path: &str, text: &str) -> Vec<u8> {
        document.write(&self.actor, vec![(path.into(), Some(Leaf::Text(text.into())))]).unwrap().chunk
    }
}

fn odd_birth(rig: &Rig) -> (Uid, Birth) {
    let home = rig.entry(&Key::cluster(&kinds::NAMESPACE, "shop")).uid;
    let key = Key::new(&kinds::CONFIG_MAP, "shop", "odd");
    (Uid([5; 16]), Birth { key, created: Wall(7), turn: 0, origin: None, namespace: Some(home) })
}

#[test]
fn signed_garbage_neither_stops_a_node_nor_keeps_it_from_starting() {
    let mut a = Rig::new(1);
    let mut mad = Mad::new(2, 1);
    let mut random = StdRng::from_seed([7; 32]);
    let (uid, birth) = odd_birth(&a);
    let mut document = Document::default();
    let first = mad.write(&mut document, "/data/a", "first");
    let second = mad.write(&mut document, "/data/a", "second");
    a.merge(&mad.sign(uid, Some(&birth), &first)).unwrap();
    let (mut refused, mut taken) = (0, 0);
    for n in 0..600 {
        let chunk = mutated(&second, &mut random);
        let forged = mad.sign(uid, (n % 2 == 0).then_some(&birth), &chunk);
        match a.merge(&forged) {
            Ok(Merged::New) => taken += 1,
            Ok(_) => {}
            Err(_) => refused += 1,
        }
    }
    a.flush();
    assert!(refused > 100, "{refused} refused, {taken} taken");
    let visible = a.visible();
    let report = a.crash();
    assert_eq!(report.refused, []);
    assert_eq!(a.visible(), visible);
    a.flush();
    let after = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd", "namespace": "shop"},
        "data": {"a": "mine"}});
    a.update(after);
    assert_eq!(a.get(&birth.key).unwrap()["data"]["a"], "mine");
}

#[test]
fn a_refused_record_is_named_and_not_asked_for_again() {
    let mut rig = Rig::new(1);
    let (mut mad, mut other) = (Mad::new(2, 1), Mad::new(3, 1));
    let (uid, birth) = odd_birth(&rig);
    let mut document = Document::default();
    let first = mad.write(&mut document, "/data/a", "first");
    let odd = Birth { key: Key::new(&kinds::CONFIG_MAP, "shop", "a/b"), ..birth.clone() };
    let misnamed = other.sign(uid, Some(&odd), &first);
    assert!(matches!(rig.merge(&misnamed), Err(MergeError::Bounds(_))));
    let id = RecordId::of(&misnamed);
    assert!(rig.store.is_refused(id));
    assert_eq!(rig.merge(&misnamed), Ok(Merged::Known));
    assert_eq!(rig.store.refusals()[&config(3, 1).node], 1);
    let told = rig.store.take_refused();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].id, told[0].author, told[0].uid), (id, config(3, 1).node, Some(uid)));
    assert!(rig.store.take_refused().is_empty());
    rig.merge(&mad.sign(uid, Some(&birth), &first)).unwrap();
    // What builds on a refused change is refused like it, whichever comes first.
    let mut bad = mad.write(&mut document, "/data/a", "second");
    let at = body_start(&bad) + 1 + 32 + 1 + 16 + 1;
    bad[at] = 99;
    correct(&mut bad);
    let mut child = mad.write(&mut document, "/data/a", "third");
    let at = body_start(&child) + 1;
    child[at..at + 32].copy_from_slice(&Sha256::digest(&bad[8..]));
    correct(&mut child);
    let (bad, child) = (mad.sign(uid, None, &bad), mad.sign(uid, None, &child));
    assert!(matches!(rig.merge(&child), Ok(Merged::Waiting { .. })));
    assert!(rig.merge(&bad).is_err());
    assert!(rig.store.is_refused(RecordId::of(&child)));
    assert_eq!(rig.store.waiting(), 0);
    assert!(!rig.store.record_ids().contains(&RecordId::of(&bad)));
    // The chunk of a record that was refused for its name is not to blame.
    let other_child = mad.write(&mut Document::of(&[Chunk::read(&first).unwrap()]), "/data/b", "good");
    rig.merge(&mad.sign(uid, None, &other_child)).unwrap();
}

#[test]
fn who_writes_in_anothers_name_gives_way_to_that_one() {
    let (uid, birth) = odd_birth(&Rig::new(1));
    for squatter_first in [true, false] {
        let mut rig = Rig::new(1);
        let (mut owner, mut squatter) = (Mad::new(2, 1), Mad::new(3, 1));
        let mut document = Document::default();
        let first = owner.write(&mut document, "/data/a", "first");
        rig.merge(&owner.sign(uid, Some(&birth), &first)).unwrap();
        // Among so many one has a lower hash.
        let stolen: Vec<Vec<u8>> =
            (0..9).map(|n| owner.write(&mut document.clone(), "/data/a", &format!("stolen {n}"))).collect();
        let stolen: Vec<Vec<u8>> = stolen.iter().map(|chunk| squatter.sign(uid, None, chunk)).collect();
        let own = owner.write(&mut document, "/data/a", "own");
        let own = owner.sign(uid, None, &own);
        let order: Vec<&Vec<u8>> = if squatter_first {
            stolen.iter().chain([&own]).collect()
        } else {
            [&own].into_iter().chain(&stolen).collect()
        };
        order.into_iter().for_each(|record| drop(rig.merge(record)));
        rig.flush();
        for _ in 0..2 {
            assert_eq!(rig.get(&birth.key).unwrap()["data"]["a"], "own");
            assert_eq!(rig.crash().refused, []);
        }
    }
}

#[test]
fn a_user_goes_on_from_the_last_good_state_and_all_agree() {
    let (mut a, mut b) = (Rig::new(1), Rig::new(3));
    let mut mad = Mad::new(2, 1);
    let (uid, birth) = odd_birth(&a);
    let mut document = Document::default();
    let first = mad.sign(uid, Some(&birth), &mad.write(&mut document, "/data/a", "first"));
    let mut lost = Document::default();
    mad.write(&mut lost, "/data/x", "elsewhere");
    let wrong = mad.sign(uid, None, &mad.write(&mut lost, "/data/a", "of another history"));
    for rig in [&mut a, &mut b] {
        rig.merge(&first).unwrap();
        assert_eq!(rig.merge(&wrong), Ok(Merged::Waiting { uid }), "its parent never comes");
        rig.flush();
    }
    a.update(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "odd", "namespace": "shop"},
        "data": {"a": "mine"}}));
    b.take_all(&a);
    for rig in [&a, &b] {
        assert_eq!(rig.get(&birth.key).unwrap()["data"]["a"], "mine");
    }
}

#[test]
fn who_says_two_things_under_one_number_is_heard_alike_by_all() {
    let mut mad = Mad::new(2, 1);
    let rigs = || (Rig::new(1), Rig::new(3));
    let (uid, birth) = odd_birth(&rigs().0);
    let mut document = Document::default();
    let first = mad.sign(uid, Some(&birth), &mad.write(&mut document, "/data/a", "first"));
    let (mut one, mut other) = (document.clone(), document.clone());
    let one_chunk = mad.write(&mut one, "/data/a", "one");
    let child = mad.sign(uid, None, &mad.write(&mut one, "/data/b", "on one"));
    let other_chunk = mad.write(&mut other, "/data/a", "other");
    let (one, other) = (mad.sign(uid, None, &one_chunk), mad.sign(uid, None, &other_chunk));
    let (mut a, mut b) = rigs();
    for record in [&first, &one, &child, &other] {
        drop(a.merge(record));
    }
    for record in [&first, &other, &one, &child] {
        drop(b.merge(record));
    }
    let data = |rig: &mut Rig| {
        rig.flush();
        rig.store.objects[&uid].working.intent()["data"].clone()
    };
    assert_eq!(data(&mut a), data(&mut b));
    let hashes = |rig: &Rig| -> BTreeSet<_> { rig.store.objects[&uid].changes.iter().map(|kept| kept.hash).collect() };
    assert_eq!(hashes(&a), hashes(&b));
    for rig in [&mut a, &mut b] {
        let before = data(rig);
        assert_eq!(rig.crash().refused, []);
        assert_eq!(data(rig), before);
    }
}

#[test]
fn a_value_that_is_nested_too_deep_to_be_read_again_is_refused() {
    let mut rig = Rig::new(1);
    let mut mad = Mad::new(2, 1);
    let uid = rig.entry(&Key::cluster(&kinds::NAMESPACE, "shop")).uid;
    for depth in [100, 101, 120, 127, 128, 100_000] {
        let value = format!("{}{}", "{\"a\":".repeat(depth - 1) + "{", "}".repeat(depth));
        let status = mad.scribe.write(Draft::Register(uid, Slot::Status, (depth as u64, 1), value.as_bytes()));
        assert_eq!(rig.merge(&status).is_ok(), depth <= 100, "{depth}");
        let said = [("condition/Ready".to_owned(), Some(Arc::from(value.as_bytes())))];
        let told = mad.scribe.write(Draft::Told(uid, depth as u64, &said));
        assert_eq!(rig.merge(&told).is_ok(), depth <= 100, "{depth}");
        rig.flush();
        rig.entry(&Key::cluster(&kinds::NAMESPACE, "shop")).value();
    }
    rig.crash();
}

#[test]
fn numbers_cannot_be_driven_to_where_they_overflow() {
    let mut rig = Rig::new(1);
    let mut mad = Mad::new(2, 1);
    let (uid, birth) = odd_birth(&rig);
    let mut document = Document::default();
    let first = mad.write(&mut document, "/data/a", "first");
    rig.merge(&mad.sign(uid, Some(&birth), &first)).unwrap();
    let second = mad.write(&mut document, "/data/a", "second");
    // Behind parents (one, 32 bytes) and actor (16 bytes): the change's number, and its first operation's.
    let at = body_start(&second) + 1 + 32 + 1 + 16;
    assert_eq!(&second[at..at + 2], [2, 2]);
    for (seq, op) in [(2, 3), (2, 1), (1, 2), (3, 2), (0, 2), (2, 0), (2, 127), (127, 2)] {
        let mut chunk = second.clone();
        (chunk[at], chunk[at + 1]) = (seq, op);
        correct(&mut chunk);
        assert!(rig.merge(&mad.sign(uid, None, &chunk)).is_err(), "{seq} {op}");
    }
    rig.merge(&mad.sign(uid, None, &second)).unwrap();
}

#[test]
fn a_change_that_is_dear_to_apply_is_refused_and_none_of_ours_is() {
    let mut mad = Mad::new(2, 1);
    let (mut a, mut b) = (Rig::new(1), Rig::new(3));
    let (uid, birth) = odd_birth(&a);
    let put = |n: usize, text: &str| -> Vec<_> {
        (0..n).map(|k| (format!("/data/{k}"), Some(Leaf::Text(text.into())))).collect()
    };
    let many = Document::default().write(&mad.actor, put(17_000, "x")).unwrap().chunk;
    assert!(a.merge(&mad.sign(uid, Some(&birth), &many)).is_err());
    let object = |text: &str| {
        let map: serde_json::Map<_, _> = (0..2_000).map(|k| (format!("{k}"), json!(text))).collect();
        let data = json!({"a": map, "b": map, "c": map, "d": map});
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big", "namespace": "shop"}, "data": data})
    };
    a.create(object("a"));
    a.update(object("b"));
    let key = Key::new(&kinds::CONFIG_MAP, "shop", "big");
    b.take_all(&a);
    assert_eq!(b.get(&key).unwrap()["data"]["d"]["1999"], "b");
    let map: serde_json::Map<_, _> = (0..2_000).map(|k| (format!("{k}"), json!(""))).collect();
    let data = json!({"a": map, "b": map, "c": map, "d": map, "e": map, "f": map});
    let refused = a.done(create(json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "bigger", "namespace": "shop"}, "data": data})));
    assert!(matches!(refused, Err(Rejected::Invalid { .. })), "{refused:?}");
}

/// Leaves in places where something else belongs.
fn odd_leaves() -> Vec<(&'static str, Leaf)> {
    let json = |text: &str| Leaf::Json(text.as_bytes().to_vec());
    let text = |text: &str| Leaf::Text(text.into());
    vec![
        ("/metadata", text("x")),
        ("/metadata", json("[]")),
        ("/metadata/labels", text("x")),
        ("/metadata/labels", json(r#"{"a":1}"#)),
        ("/metadata/annotations", json("[3]")),
        ("/metadata/finalizers", text("x")),
        ("/metadata/finalizers", json(r#"[1,"x",{}]"#)),
        ("/metadata/ownerReferences", json(r#"[1,"x",{"controller":true},{"uid":7}]"#)),
        ("/metadata/creationTimestamp", json("{}")),
        ("/spec", Leaf::Int(3)),
        ("/spec", json("[1]")),
        ("/spec", json("not json")),
        ("/spec", json(r#"{"containers":[1,{"name":[]}],"nodeName":7}"#)),
        ("/spec/nodeName", Leaf::Float(f64::INFINITY)),
        ("/spec/taints", text("x")),
        ("/spec/taints", json(r#"[1,{"key":{}},[]]"#)),
        ("/spec/ports", json(r#"[1,{"nodePort":-1},{"nodePort":1e99}]"#)),
        ("/spec/clusterIP", Leaf::Uint(u64::MAX)),
        ("/spec/template", Leaf::Null),
        ("/spec/containers#\"web\"/image", text("alone")),
        ("/status", text("x")),
        ("/status/conditions", json(r#"[1,{"type":3}]"#)),
        ("/apiVersion", Leaf::Bool(true)),
        ("/kind", json("[]")),
        ("no path", Leaf::Null),
    ]
}

/// Contents of registers that nothing of ours writes.
const ODD_VALUES: [&str; 8] = [
    "",
    "7",
    "[]",
    r#"{"conditions":3}"#,
    r#"{"conditions":[1,{"type":3},{"type":"Ready"},[]],"phase":[],"reason":{}}"#,
    r#"{"node":"n1","at":"x"}"#,
    r#"{"node":[]}"#,
    r#""x""#,
];

#[test]
fn nothing_a_member_says_of_an_object_makes_showing_or_changing_it_panic() {
    let mut rig = Rig::new(1);
    rig.store.set_reach(rig.now, "n1", Reach::Lost);
    let mad = config(2, 1);
    let actor = Actor::new(mad.node, 1);
    let mut scribe = Scribe::new(mad.node, 1, mad.key);
    let home = rig.entry(&Key::cluster(&kinds::NAMESPACE, "shop")).uid;
    let mut keys = Vec::new();
    for (k, kind) in kinds::KINDS.iter().enumerate().filter(|(_, kind)| ***kind != kinds::EVENT) {
        for (i, (path, leaf)) in odd_leaves().into_iter().enumerate() {
            let name = if *kind == &kinds::NODE && i % 2 == 0 { "n1".to_owned() } else { format!("odd{i}") };
            let key = if kind.namespaced { Key::new(kind, "shop", name) } else { Key::cluster(kind, name) };
            let uid = Uid::derived(&[b"odd", &[u8::try_from(k).unwrap(), u8::try_from(i).unwrap()]]);
            let created = Wall(if i % 3 == 0 { i64::MIN } else { i64::MAX });
            let (turn, origin) = (u64::MAX, Some(Uid([9; 16])));
            let birth = Birth { key: key.clone(), created, turn, origin, namespace: Some(home) };
            let chunk = Document::default().write(&actor, vec![(path.into(), Some(leaf))]).unwrap().chunk;
            rig.merge(&scribe.write(change(uid, Some(&birth), i % 2 == 0, &chunk))).unwrap();
            let value = ODD_VALUES[i % ODD_VALUES.len()].as_bytes();
            let stamp = if i % 2 == 0 { (u64::MAX, u64::MAX) } else { (1, 1) };
            for slot in [Slot::Binding, Slot::Status, Slot::Spec, Slot::Observation, Slot::CaretakerBinding] {
                rig.merge(&scribe.write(Draft::Register(uid, slot, stamp, value))).unwrap();
            }
            let said = |part: &str| (part.to_owned(), Some(Arc::from(value)));
            let fields = [said("field/conditions"), said("condition/Ready"), said("field/phase"), said("odd")];
            rig.merge(&scribe.write(Draft::Told(uid, stamp.0, &fields))).unwrap();
            if i % 4 == 0 {
                let finalizers = ["x".to_owned()].into();
                let mark = Mark { at: i64::MIN, grace: Some(i64::MIN), finalizers };
                rig.merge(&scribe.write(Draft::Mark(uid, &mark))).unwrap();
            }
            keys.push(key);
        }
    }
    rig.flush();
    for key in &keys {
        let Some(object) = rig.get(key) else { continue };
        assert_eq!((&object["kind"], &object["metadata"]["name"]), (&json!(key.kind.kind), &json!(key.name)));
        drop(rig.entry(key).typed::<k8s_openapi::api::core::v1::Pod>());
        for author in [Author::Client, Author::Leader, Author::Kubelet] {
            // Refusals are fine.
            drop(rig.done_as(author, status(key, object["status"].clone())));
            drop(rig.done_as(author, bind(key, "n1")));
            drop(rig.done_as(
                author,
                update(json!({"apiVersion": object["apiVersion"], "kind": object["kind"],
                "metadata": {"name": key.name, "namespace": key.namespace}, "spec": {"a": "b"}})),
            ));
            drop(rig.done_as(author, delete(key)));
        }
        drop(rig.done(create(object)));
    }
    let visible = rig.visible();
    rig.crash();
    rig.store.set_reach(rig.now, "n1", Reach::Lost);
    rig.flush();
    assert_eq!(rig.visible(), visible);
}

#[test]
fn of_two_first_changes_that_give_one_uid_two_names_the_same_stands_whichever_comes_first() {
    let home = Rig::new(1);
    let (uid, younger) = odd_birth(&home);
    let elder = Birth { key: map_key("elder"), created: Wall(3), ..younger.clone() };
    let (mut mad, mut other) = (Mad::new(2, 1), Mad::new(3, 1));
    let (mut one, mut two) = (Document::default(), Document::default());
    let records = [
        (mad.write(&mut one, "/data/a", "younger"), Some(&younger)),
        (mad.write(&mut one, "/data/a", "edited"), None),
        (other.write(&mut two, "/data/a", "first"), Some(&elder)),
        (other.write(&mut two, "/data/b", "second"), Some(&elder)),
    ];
    let mut records: Vec<Vec<u8>> = records
        .into_iter()
        .enumerate()
        .map(|(n, (chunk, birth))| if n < 2 { mad.sign(uid, birth, &chunk) } else { other.sign(uid, birth, &chunk) })
        .collect();
    let fields = [("conditions/Seen".to_owned(), Some(Arc::from(&br#"{"type":"Seen","status":"True"}"#[..])))];
    records.push(other.scribe.write(Draft::Told(uid, 9, &fields)).to_vec());
    let mut outcomes = BTreeSet::new();
    for flush in [true, false] {
        for order in orders(records.len()) {
            let mut rig = Rig::bare(7);
            rig.take_all(&home);
            for at in &order {
                let _ = rig.merge(&records[*at]);
                if flush {
                    rig.flush();
                }
            }
            rig.flush();
            assert_eq!(rig.get(&map_key("odd")), None, "{order:?}");
            let shown = rig.get(&map_key("elder")).expect("it is there");
            assert_eq!(shown["data"], json!({"a": "first", "b": "second"}), "{order:?}");
            outcomes.insert((format!("{:?}", rig.visible()), format!("{:?}", rig.store.held().sum())));
            let before = rig.visible();
            assert_eq!(rig.crash().refused, [], "{order:?}");
            assert_eq!(rig.visible(), before, "{order:?}");
        }
    }
    assert_eq!(outcomes.len(), 1);
}

/// Lists all orders of so many things.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![Vec::new()];
    for n in 0..count {
        let longer = |order: &Vec<usize>| (0..=n).map(|at| [&order[..at], &[n], &order[at..]].concat()).collect();
        orders = orders.iter().flat_map(|order| -> Vec<Vec<usize>> { longer(order) }).collect();
    }
    orders
}

#[test]
fn a_user_who_waits_while_an_object_loses_its_name_is_answered() {
    let mut rig = Rig::new(1);
    let (uid, younger) = odd_birth(&rig);
    let elder = Birth { key: map_key("elder"), created: Wall(3), ..younger.clone() };
    let mut mad = Mad::new(2, 1);
    let (mut one, mut two) = (Document::default(), Document::default());
    let first = mad.write(&mut one, "/data/a", "younger");
    rig.merge(&mad.sign(uid, Some(&younger), &first)).unwrap();
    rig.flush();
    let Receipt::Pending(ticket) = rig.try_as(Author::Client, update(config_map("odd", json!({"a": "mine"})))).unwrap()
    else {
        panic!("it is to be written")
    };
    let mut other = Mad::new(3, 1);
    let chunk = other.write(&mut two, "/data/a", "elder");
    rig.merge(&other.sign(uid, Some(&elder), &chunk)).unwrap();
    assert!(rig.flush().iter().any(|(answered, _)| *answered == ticket));
    assert_eq!(
        (rig.get(&map_key("odd")), rig.get(&map_key("elder")).unwrap()["data"]["a"].as_str()),
        (None, Some("elder"))
    );
}

#[test]
fn a_namespace_does_not_lose_its_uid_to_an_older_birth_of_another_name() {
    let mut rig = Rig::new(1);
    let shop = rig.entry(&Key::cluster(&kinds::NAMESPACE, "shop")).uid;
    let mut mad = Mad::new(2, 1);
    let key = Key::cluster(&kinds::NAMESPACE, "trap");
    let birth = Birth { key, created: Wall(1), turn: 0, origin: None, namespace: None };
    let chunk = mad.write(&mut Document::default(), "/metadata/labels/a", "b");
    assert!(rig.merge(&mad.sign(shop, Some(&birth), &chunk)).is_err());
    rig.flush();
    assert!(rig.get(&Key::cluster(&kinds::NAMESPACE, "shop")).is_some());
}

#[test]
fn a_machine_that_was_set_back_while_it_ran_writes_under_other_numbers_once_it_hears_of_it() {
    let mut ran = Rig::new(1);
    ran.create(config_map("note", json!({"a": "0"})));
    let (mut witness, disk) = (Rig::bare(3), ran.disk.clone());
    witness.take_all(&ran);
    // Both go on from here with the same numbers.
    let mut resumed = Rig::bare(1);
    (resumed.store, _) = Store::open(config(1, 9), disk.clone(), start());
    (ran.store, _) = Store::open(config(1, 9), disk, start());
    resumed.disk = ran.disk.clone();
    ran.update(config_map("note", json!({"a": "1"})));
    resumed.update(config_map("note", json!({"a": "2"})));
    witness.take_all(&ran);
    for record in &ran.disk {
        let _ = resumed.merge(record);
    }
    resumed.flush();
    resumed.update(config_map("note", json!({"a": "3", "b": "4"})));
    for record in &resumed.disk {
        let _ = witness.merge(record);
    }
    witness.flush();
    let data = witness.get(&map_key("note")).expect("it is there")["data"].clone();
    assert_eq!(data, json!({"a": "3", "b": "4"}), "what it wrote after it heard of it is lost to nobody");
    let count = resumed.disk.len();
    for record in &resumed.disk.clone() {
        let _ = resumed.merge(record);
    }
    resumed.update(config_map("note", json!({"a": "5"})));
    let runs: BTreeSet<u64> = [&resumed.disk[count - 1], resumed.disk.last().expect("a record")]
        .map(|raw| Verified::read(&raw[..]).expect("signed").record().incarnation)
        .into();
    assert_eq!(runs.len(), 1, "its own echo is nobody else's");
}

/// Drafts a change that says nothing of what it builds on.
fn change<'a>(uid: crate::ids::Uid, birth: Option<&'a Birth>, spec: bool, chunk: &'a [u8]) -> Draft<'a> {
    Draft::Change { uid, birth, spec, chunk, base: None, parents: None }
}
