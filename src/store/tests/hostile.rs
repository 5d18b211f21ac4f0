//! A member gone mad: validly signed records whose changes are garbage.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sha2::{Digest, Sha256};

use std::sync::Arc;

use super::super::document::{Actor, Document};
use super::super::leaves::Leaf;
use super::super::parts::{Birth, Mark};
use super::super::record::{Body, Draft, Record, Scribe};
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
    let checksum = Sha256::digest(&chunk[8..]);
    chunk[4..8].copy_from_slice(&checksum[..4]);
    chunk
}

#[test]
fn signed_garbage_neither_stops_a_node_nor_keeps_it_from_starting() {
    let mut a = Rig::new(1);
    a.create(deployment("web", 1, "a"));
    a.update(deployment("web", 2, "b"));
    let mad = config(2, 1);
    let mut scribe = Scribe::new(mad.node, 1, mad.key);
    let mut random = StdRng::from_seed([7; 32]);
    let (mut refused, mut taken) = (0, 0);
    for record in a.disk.clone() {
        let record = Record::read(record).unwrap();
        let Body::Change { uid, birth, spec, chunk } = &record.body else { continue };
        for _ in 0..150 {
            let chunk = mutated(&record.raw[chunk.clone()], &mut random);
            let forged = scribe.write(Draft::Change(*uid, birth.as_ref(), *spec, &chunk));
            match a.merge(&forged) {
                Ok(Merged::New) => taken += 1,
                Ok(_) => {}
                Err(_) => refused += 1,
            }
        }
    }
    a.flush();
    assert!(refused > 100, "{refused} refused, {taken} taken");
    let visible = a.visible();
    let report = a.crash();
    assert_eq!(report.refused, []);
    assert_eq!(a.visible(), visible);
    a.flush();
    a.update(deployment("web", 7, "c"));
    assert_eq!(a.get(&deployment_key("web")).unwrap()["spec"]["replicas"], 7);
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
            rig.merge(&scribe.write(Draft::Change(uid, Some(&birth), i % 2 == 0, &chunk))).unwrap();
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
