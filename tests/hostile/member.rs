//! A member that writes well: where all mutants come from.

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use skein::ids::{ClusterId, NodeId, Term, Uid};
use skein::object::{Key, kinds};
use skein::store::{Author, Change, DeleteOptions, Precondition, Store, fuzzing};
use skein::trust::Member;

use crate::config::config_of;

/// The member that founds the cluster, and the one that goes mad.
pub const FOUNDER: u8 = 1;
pub const MAD: u8 = 2;

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

pub fn id(n: u8) -> NodeId {
    NodeId(key(n).verifying_key().to_bytes())
}

pub fn member(n: u8) -> Member {
    Member {
        cluster: ClusterId::founded_by(id(FOUNDER)),
        id: id(n),
        name: format!("n{n}"),
        tag: n.into(),
        pod_range: format!("10.240.{n}.0/24").parse().unwrap(),
        joined: skein::time::Wall(1_700_000_000_000_000),
        token: None,
        by: id(FOUNDER),
    }
}

/// The name under which a run of the mad member writes changes.
pub fn actor(incarnation: u64) -> [u8; 16] {
    let digest =
        Sha256::new_with_prefix(b"skein actor").chain_update(id(MAD).0).chain_update(incarnation.to_be_bytes());
    digest.finalize().first_chunk().copied().unwrap()
}

/// Writes objects of all sorts, changes, marks and buries them: the records of one run, in order.
pub fn records(incarnation: u64) -> Vec<Vec<u8>> {
    let config = config_of(&member(MAD), key(MAD), incarnation, [7; 32]).store;
    let (mut store, _) = Store::open(config, [], fuzzing::now());
    let mut said = Vec::new();
    for change in changes() {
        let author = match &change {
            Change::Bind { .. } => Author::Leader,
            Change::Status { key, .. } if *key.kind == kinds::POD => Author::Kubelet,
            _ => Author::Client,
        };
        drop(store.commit(fuzzing::now(), author, Term(1), change));
        for news in store.take_news() {
            said.extend(news.records.iter().map(|record| record.record().raw.to_vec()));
        }
        while let Some(batch) = store.take_batch() {
            store.persisted(batch.id);
        }
    }
    assert!(said.len() > 150, "{}", said.len());
    said
}

fn changes() -> Vec<Change> {
    let when = Precondition::default;
    let create = |object: Value| Change::Create { key: Key::of(&object).unwrap(), object };
    let update = |object: Value| Change::Update { key: Key::of(&object).unwrap(), object, when: when() };
    let mut all = vec![create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))];
    for n in 0..8 {
        for round in 0..5 {
            let write = if round == 0 { &create as &dyn Fn(Value) -> Change } else { &update };
            all.push(write(deployment(n, round)));
            all.push(write(config_map(n, round)));
            all.push(write(service(n, round)));
        }
        let pod = Key::new(&kinds::POD, "shop", format!("pod{n}"));
        all.push(create(self::pod(n)));
        all.push(Change::Bind { key: pod.clone(), when: when(), node: "n2".into() });
        let ready = json!({"type": "Ready", "status": "True"});
        for phase in ["Pending", "Running"] {
            let status = json!({"phase": phase, "conditions": [ready], "podIP": "10.240.2.7"});
            all.push(Change::Status { key: pod.clone(), status, when: when() });
        }
        let web = Key::new(&kinds::DEPLOYMENT, "shop", format!("web{n}"));
        let available = json!({"conditions": [{"type": "Available", "status": "True"}], "replicas": n});
        all.push(Change::Status { key: web.clone(), status: available, when: when() });
        all.push(create(event(n)));
        if n % 2 == 0 {
            all.push(Change::Delete { key: web, options: DeleteOptions::default() });
            all.push(Change::Delete { key: pod, options: DeleteOptions::default() });
        }
    }
    all
}

fn meta(name: &str, round: u32) -> Value {
    let finalizers = if round > 2 { json!(["example.com/hold"]) } else { json!([]) };
    json!({"name": name, "namespace": "shop", "labels": {"app": "web", "round": round.to_string()},
        "finalizers": finalizers})
}

fn deployment(n: u32, round: u32) -> Value {
    let container = json!({"name": "web", "image": format!("nginx:{round}"), "env": [{"name": "A", "value": "1"}],
        "ports": [{"containerPort": 80 + round, "protocol": "TCP"}]});
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(&format!("web{n}"), round),
        "spec": {"replicas": round, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}}})
}

fn config_map(n: u32, round: u32) -> Value {
    let mut data = json!({"a": "x".repeat(round as usize * 100), "ü/#~": round.to_string()});
    data[format!("key{round}")] = "value".into();
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(&format!("map{n}"), round), "data": data})
}

fn service(n: u32, round: u32) -> Value {
    let port = |port: u32| json!({"name": format!("p{port}"), "port": port, "protocol": "TCP"});
    json!({"apiVersion": "v1", "kind": "Service", "metadata": meta(&format!("svc{n}"), round),
        "spec": {"selector": {"app": "web"}, "ports": [port(80), port(81 + round)]}})
}

fn pod(n: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta(&format!("pod{n}"), 0),
        "spec": {"containers": [{"name": "web", "image": "nginx:1"}], "terminationGracePeriodSeconds": 30},
        "status": {"qosClass": "BestEffort"}})
}

fn event(n: u32) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("e{n}"), "namespace": "shop"},
        "involvedObject": {"kind": "Pod", "name": "pod0", "namespace": "shop"}, "reason": "Testing", "count": 1})
}

/// The uid of an object that the mad member makes up.
pub fn made_up(n: u64) -> Uid {
    Uid::derived(&[b"made up", &n.to_be_bytes()])
}
