//! The store as its callers see it: what is acknowledged stays, replicas agree, versions grow.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::*;
use crate::ids::Term;
use crate::object::{Kind, kinds};
use crate::time::{Mono, Wall};

const WALL: Wall = Wall(1_800_000_000_000_000);
const TERM: Term = Term(3);

fn at(seconds: u64) -> Now {
    Now { mono: Mono(Duration::from_secs(seconds)), wall: WALL + Duration::from_secs(seconds) }
}

fn list_keys(_: &Kind, path: &[&str]) -> Option<&'static [String]> {
    static NAME: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| vec!["name".into()]);
    (path.last() == Some(&"containers")).then_some(&NAME)
}

fn config(node: u8, incarnation: u64) -> Config {
    Config {
        key: SigningKey::from_bytes(&[node; 32]),
        tag: u16::from(node),
        incarnation,
        seed: [node.wrapping_mul(31).wrapping_add(u8::try_from(incarnation).unwrap()); 32],
        service_range: "10.96.0.0/16".parse().unwrap(),
        reserved_addresses: vec!["10.96.0.10".parse().unwrap()],
        node_ports: 30_000..=32_767,
        list_keys,
    }
}

/// A store with a disk.
struct Node {
    store: Store,
    disk: Vec<Vec<u8>>,
    /// Every record that may be sent to peers.
    sent: Vec<Vec<u8>>,
}

impl Node {
    fn new(node: u8) -> Self {
        Self::open(node, 1, Vec::new())
    }

    fn open(node: u8, incarnation: u64, disk: Vec<Vec<u8>>) -> Self {
        let (store, report) = Store::open(config(node, incarnation), disk.clone(), at(incarnation));
        assert_eq!(report.refused, [""; 0]);
        let mut node = Self { store, disk, sent: Vec::new() };
        node.sync();
        node
    }

    /// Makes all durable.
    fn sync(&mut self) -> Vec<Committed> {
        let mut done = Vec::new();
        while let Some(batch) = self.store.take_batch() {
            self.disk.extend(batch.records.iter().cloned());
            self.sent.extend(batch.records);
            done.extend(self.store.persisted(batch.id).into_iter().map(|(_, committed)| committed));
        }
        done
    }

    fn commit(&mut self, author: Author, change: Change) -> Result<Committed, Rejected> {
        match self.store.commit(at(5), author, TERM, change)? {
            Receipt::Unchanged(committed) | Receipt::Shown(committed) => Ok(committed),
            Receipt::Pending(_) => Ok(self.sync().pop().expect("what was pending is shown")),
        }
    }

    fn make(&mut self, key: &Key, object: Value) -> Committed {
        self.commit(Author::Client, Change::Create { key: key.clone(), object }).expect("can be made")
    }

    fn update(&mut self, key: &Key, edit: impl FnOnce(&mut Value)) -> Committed {
        let mut object = self.value(key);
        edit(&mut object);
        let change = Change::Update { key: key.clone(), object, when: Precondition::default() };
        self.commit(Author::Client, change).expect("can be updated")
    }

    fn delete(&mut self, key: &Key) -> Result<Committed, Rejected> {
        self.commit(Author::Client, Change::Delete { key: key.clone(), options: DeleteOptions::default() })
    }

    fn value(&self, key: &Key) -> Value {
        self.store.snapshot().get(key).unwrap_or_else(|| panic!("{key} is there")).value()
    }

    fn has(&self, key: &Key) -> bool {
        self.store.snapshot().get(key).is_some()
    }

    /// All objects but their versions, which are each node's own.
    fn everything(&self) -> Vec<Value> {
        let strip = |mut v: Value| {
            v["metadata"]["resourceVersion"].take();
            v
        };
        self.store.snapshot().all().map(|e| strip(e.value())).collect()
    }

    fn take_from(&mut self, other: &Node, order: &mut StdRng) {
        self.sync();
        let mut records = other.sent.clone();
        for i in (1..records.len()).rev() {
            records.swap(i, order.random_range(0..=i));
        }
        let repeated = records.first().cloned();
        for record in records.into_iter().chain(repeated) {
            self.store.merge(at(9), &record).expect("a good record");
        }
        // What came from others is not sent on in these tests.
        let before = self.sent.len();
        self.sync();
        self.sent.truncate(before);
    }
}

fn space() -> Key {
    Key::cluster(&kinds::NAMESPACE, "default")
}

fn with_space(node: u8) -> Node {
    let mut node = Node::new(node);
    node.make(&space(), json!({"metadata": {"name": "default"}}));
    node
}

fn config_map(name: &str) -> Key {
    Key::new(&kinds::CONFIG_MAP, "default", name)
}

fn web() -> Key {
    Key::new(&kinds::DEPLOYMENT, "default", "web")
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": "a:1"}]}}}})
}

fn pod(name: &str) -> (Key, Value) {
    let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "a:1"}]}});
    (Key::new(&kinds::POD, "default", name), object)
}

#[test]
fn a_write_is_shown_only_when_it_is_durable() {
    let mut node = with_space(1);
    let change = Change::Create { key: config_map("x"), object: json!({"data": {"a": "1"}}) };
    let receipt = node.store.commit(at(5), Author::Client, TERM, change).unwrap();
    assert!(matches!(receipt, Receipt::Pending(_)));
    assert!(!node.has(&config_map("x")));
    let shown = node.sync().pop().unwrap();
    let object = shown.entry.value();
    assert_eq!(object["data"], json!({"a": "1"}));
    assert_eq!(object["metadata"]["name"], "x");
    assert_eq!(object["metadata"]["resourceVersion"], shown.entry.revision.to_string());
    assert!(object["metadata"]["creationTimestamp"].is_string());
}

#[test]
fn a_second_write_of_the_same_changes_nothing() {
    let mut node = with_space(1);
    node.make(&web(), deployment());
    let before = node.store.snapshot().revision();
    let object = node.value(&web());
    let change = Change::Update { key: web(), object, when: Precondition::default() };
    assert!(matches!(node.store.commit(at(6), Author::Client, TERM, change), Ok(Receipt::Unchanged(_))));
    assert!(node.store.take_batch().is_none());
    assert_eq!(node.store.snapshot().revision(), before);
}

#[test]
fn generation_counts_what_touches_the_spec() {
    let mut node = with_space(1);
    node.make(&web(), deployment());
    assert_eq!(node.value(&web())["metadata"]["generation"], 1);
    node.update(&web(), |d| d["metadata"]["labels"] = json!({"a": "b"}));
    assert_eq!(node.value(&web())["metadata"]["generation"], 1);
    node.update(&web(), |d| d["spec"]["replicas"] = 5.into());
    assert_eq!(node.value(&web())["metadata"]["generation"], 2);
}

#[test]
fn what_is_expected_is_checked() {
    let mut node = with_space(1);
    let made = node.make(&config_map("x"), json!({"data": {"n": "0"}}));
    let update = |when| Change::Update { key: config_map("x"), object: json!({"data": {"n": "1"}}), when };
    let seen = Precondition::unchanged(&made.entry);
    node.commit(Author::Client, update(seen)).unwrap();
    assert_eq!(node.commit(Author::Client, update(seen)), Err(Rejected::Stale { key: config_map("x") }));
    let other = Precondition { uid: Some(Uid([9; 16])), revision: None };
    assert!(matches!(node.commit(Author::Client, update(other)), Err(Rejected::UidMismatch { .. })));
    let again = Change::Create { key: config_map("x"), object: json!({}) };
    assert!(matches!(node.commit(Author::Client, again), Err(Rejected::AlreadyExists { .. })));
    let nowhere = Key::new(&kinds::CONFIG_MAP, "nowhere", "x");
    let lost = Change::Create { key: nowhere, object: json!({}) };
    assert!(matches!(node.commit(Author::Client, lost), Err(Rejected::NoNamespace { .. })));
}

#[test]
fn two_writes_that_both_saw_the_same_do_not_both_pass() {
    let mut node = with_space(1);
    let made = node.make(&config_map("x"), json!({"data": {"n": "0"}}));
    let when = Precondition::unchanged(&made.entry);
    let write = |n: &str| Change::Update { key: config_map("x"), object: json!({"data": {"n": n}}), when };
    node.store.commit(at(5), Author::Client, TERM, write("1")).unwrap();
    let second = node.store.commit(at(5), Author::Client, TERM, write("2"));
    assert!(matches!(second, Err(Rejected::Stale { .. })), "the first is not durable yet: {second:?}");
}

#[test]
fn every_ticket_is_told_even_if_the_object_goes_meanwhile() {
    let mut node = with_space(1);
    let mut tickets = Vec::new();
    let when = Precondition::default();
    let key = config_map("x");
    for change in [
        Change::Create { key: key.clone(), object: json!({}) },
        Change::Update { key: key.clone(), object: json!({"data": {"a": "b"}}), when },
        Change::Remove { key: key.clone(), when },
        Change::Create { key: key.clone(), object: json!({}) },
    ] {
        match node.store.commit(at(5), Author::Client, TERM, change) {
            Ok(Receipt::Pending(ticket)) => tickets.push(ticket),
            other => panic!("{other:?}"),
        }
    }
    let batch = node.store.take_batch().unwrap();
    let told = node.store.persisted(batch.id);
    assert_eq!(told.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), tickets);
    assert_eq!(told.iter().map(|(_, c)| c.removed).collect::<Vec<_>>(), [false, false, true, false]);
    assert!(node.has(&key));
}

#[test]
fn a_dry_run_leaves_no_trace() {
    let mut node = with_space(1);
    node.make(&web(), deployment());
    let before = (node.everything(), node.store.snapshot().revision());
    let key = Key::new(&kinds::SERVICE, "default", "s");
    let change = Change::Create { key, object: json!({"spec": {"ports": [{"port": 80}]}}) };
    let shown = node.store.dry_run(at(6), Author::Client, TERM, change).unwrap();
    assert!(shown.entry.value()["spec"]["clusterIP"].is_string());
    let change = Change::Delete { key: web(), options: DeleteOptions::default() };
    assert!(node.store.dry_run(at(6), Author::Client, TERM, change).unwrap().removed);
    assert!(node.store.take_batch().is_none());
    assert_eq!(before, (node.everything(), node.store.snapshot().revision()));
}

#[test]
fn statuses_are_of_their_authors() {
    let mut node = with_space(1);
    let (key, object) = pod("x");
    node.make(&key, object);
    assert_eq!(node.value(&key)["status"]["phase"], "Pending");
    let bind = Change::Bind { key: key.clone(), when: Precondition::default(), node: "n1".into() };
    assert!(matches!(node.commit(Author::Client, bind.clone()), Err(Rejected::Forbidden { .. })));
    node.commit(Author::Leader, bind).unwrap();
    assert_eq!(node.store.snapshot().on_node("n1").count(), 1);
    let status =
        Change::Status { key: key.clone(), status: json!({"phase": "Running"}), when: Precondition::default() };
    let receipt = node.store.commit(at(6), Author::Kubelet, TERM, status).unwrap();
    assert!(matches!(receipt, Receipt::Shown(_)), "an observation is shown at once");
    let batch = node.store.take_batch().unwrap();
    assert!(!batch.urgent, "nobody waits for an observation");
    let shown = node.value(&key);
    assert_eq!((&shown["status"]["phase"], &shown["spec"]["nodeName"]), (&json!("Running"), &json!("n1")));
    node.update(&key, |p| p["metadata"]["labels"] = json!({"a": "b"}));
    assert_eq!(node.value(&key)["spec"]["nodeName"], "n1");
}

#[test]
fn deletion_is_graceful_and_a_name_can_be_used_again() {
    let mut node = with_space(1);
    let (key, object) = pod("x");
    let first = node.make(&key, object.clone()).entry.uid;
    node.commit(Author::Leader, Change::Bind { key: key.clone(), when: Precondition::default(), node: "n1".into() })
        .unwrap();
    assert!(!node.delete(&key).unwrap().removed);
    assert_eq!(node.value(&key)["metadata"]["deletionGracePeriodSeconds"], 30);
    node.update(&key, |p| drop(p["metadata"].as_object_mut().map(|m| m.remove("deletionTimestamp"))));
    assert!(node.value(&key)["metadata"]["deletionTimestamp"].is_string(), "a mark is never taken back");
    let now = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
    assert!(node.commit(Author::Kubelet, Change::Delete { key: key.clone(), options: now }).unwrap().removed);
    assert!(!node.has(&key));
    assert!(matches!(node.delete(&key), Err(Rejected::NotFound { .. })));
    assert_ne!(node.make(&key, object).entry.uid, first);
}

#[test]
fn taking_the_last_finalizer_away_ends_a_marked_object() {
    let mut node = with_space(1);
    node.make(&config_map("x"), json!({"metadata": {"finalizers": ["a/b"]}}));
    assert!(!node.delete(&config_map("x")).unwrap().removed);
    assert!(node.update(&config_map("x"), |c| c["metadata"]["finalizers"] = json!([])).removed);
    assert!(!node.has(&config_map("x")));
}

#[test]
fn namespaces_end_by_removal_and_come_back_with_another_uid() {
    let mut node = with_space(1);
    let first = node.store.snapshot().get(&space()).unwrap().uid;
    assert_eq!(node.value(&space())["status"]["phase"], "Active");
    assert!(!node.delete(&space()).unwrap().removed);
    assert_eq!(node.value(&space())["status"]["phase"], "Terminating");
    let late = Change::Create { key: config_map("x"), object: json!({}) };
    assert!(matches!(node.commit(Author::Client, late), Err(Rejected::NamespaceTerminating { .. })));
    node.commit(Author::Leader, Change::Remove { key: space(), when: Precondition::default() }).unwrap();
    let second = node.make(&space(), json!({})).entry.uid;
    assert_ne!(first, second);
    let mut other = with_space(2);
    assert_eq!(other.store.snapshot().get(&space()).unwrap().uid, first, "equal on every node");
    other.take_from(&node, &mut StdRng::seed_from_u64(1));
    assert_eq!(other.everything(), node.everything());
}

#[test]
fn events_live_in_memory_for_an_hour() {
    let mut node = with_space(1);
    let key = Key::new(&kinds::EVENT, "default", "e");
    let change = Change::Create {
        key: key.clone(),
        object: json!({"apiVersion": "v1", "kind": "Event",
        "metadata": {"name": "e", "namespace": "default"}, "reason": "x"}),
    };
    let receipt = node.store.commit(at(10), Author::Leader, TERM, change).unwrap();
    assert!(matches!(receipt, Receipt::Shown(_)));
    assert!(node.store.take_batch().is_none());
    node.store.tick(at(3600));
    assert!(node.has(&key));
    node.store.tick(at(3611));
    assert!(!node.has(&key));
}

#[test]
fn projections_are_shown_and_not_written() {
    let mut node = with_space(1);
    let key = Key::new(&kinds::LEASE, "kube-node-lease", "n1");
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": "n1", "namespace": "kube-node-lease", "uid": Uid([1; 16]).to_string()}, "spec": {}});
    node.store.project(at(6), &key, Some(lease.clone()));
    let first = node.store.snapshot().get(&key).unwrap().revision;
    node.store.project(at(7), &key, Some(lease));
    assert_eq!(node.store.snapshot().get(&key).unwrap().revision, first, "nothing has changed");
    assert!(matches!(node.delete(&key), Err(Rejected::Projection { .. })));
    node.store.project(at(8), &key, None);
    assert!(!node.has(&key));
    assert!(node.store.take_batch().is_none());
}

#[test]
fn services_get_addresses_and_give_them_back() {
    let mut node = with_space(1);
    let service = |name: &str| Key::new(&kinds::SERVICE, "default", name);
    let spec = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    node.make(&service("a"), spec.clone());
    let first = node.value(&service("a"));
    let ip = first["spec"]["clusterIP"].clone();
    let again = json!({"spec": {"clusterIP": ip, "ports": [{"port": 80}]}});
    let clash = Change::Create { key: service("b"), object: again.clone() };
    assert!(matches!(node.commit(Author::Client, clash), Err(Rejected::Invalid { .. })));
    node.delete(&service("a")).unwrap();
    node.make(&service("b"), again);
    assert_eq!(node.value(&service("b"))["spec"]["clusterIP"], ip);
}

#[test]
fn a_restart_shows_all_that_was_durable_under_newer_versions() {
    let mut node = with_space(1);
    node.make(&web(), deployment());
    node.update(&web(), |d| d["spec"]["replicas"] = 2.into());
    node.make(&config_map("gone"), json!({}));
    node.delete(&config_map("gone")).unwrap();
    let (before, revision) = (node.everything(), node.store.snapshot().revision());
    // One more, not durable.
    let lost = Change::Create { key: config_map("lost"), object: json!({}) };
    node.store.commit(at(6), Author::Client, TERM, lost).unwrap();
    let mut after = Node::open(1, 2, node.disk);
    assert_eq!(after.everything(), before);
    assert!(after.store.snapshot().revision() > revision);
    assert!(after.store.snapshot().events_since(&kinds::DEPLOYMENT, revision).is_err(), "the past cannot be watched");
    after.update(&web(), |d| d["spec"]["replicas"] = 3.into());
    let compacted = Node::open(1, 3, after.store.records().collect());
    assert_eq!(compacted.everything(), after.everything());
    assert_eq!(compacted.value(&web())["metadata"]["generation"], 3);
}

#[test]
fn edits_of_both_sides_survive_a_merge() {
    let (mut a, mut b) = (with_space(1), Node::new(2));
    a.make(&web(), deployment());
    let mut random = StdRng::seed_from_u64(1);
    b.take_from(&a, &mut random);
    a.update(&web(), |d| d["spec"]["replicas"] = 4.into());
    b.update(&web(), |d| d["spec"]["template"]["spec"]["containers"][0]["image"] = "a:2".into());
    a.take_from(&b, &mut random);
    b.take_from(&a, &mut random);
    let merged = a.value(&web());
    assert_eq!(merged["spec"]["replicas"], 4);
    assert_eq!(merged["spec"]["template"]["spec"]["containers"][0]["image"], "a:2");
    assert_eq!(merged["metadata"]["generation"], 3, "above both sides'");
    assert_eq!(a.everything(), b.everything());
}

#[test]
fn of_two_objects_of_one_name_the_older_is_shown_everywhere() {
    let (mut a, mut b) = (with_space(1), with_space(2));
    a.make(&config_map("x"), json!({"data": {"from": "a"}}));
    b.make(&config_map("x"), json!({"data": {"from": "b"}}));
    let mut random = StdRng::seed_from_u64(1);
    a.take_from(&b, &mut random);
    b.take_from(&a, &mut random);
    assert_eq!(a.everything(), b.everything());
    let winner = a.value(&config_map("x"))["data"]["from"].clone();
    a.delete(&config_map("x")).unwrap();
    assert!(a.has(&config_map("x")), "the other one had the name too");
    assert_ne!(a.value(&config_map("x"))["data"]["from"], winner);
}

#[test]
fn hostile_records_are_refused_and_leave_no_trace() {
    let mut node = with_space(1);
    let mut other = with_space(2);
    other.make(&config_map("x"), json!({}));
    let before = node.everything();
    for record in &other.sent {
        for at_byte in (0..record.len()).step_by(7) {
            let mut forged = record.clone();
            forged[at_byte] ^= 0x55;
            assert!(node.store.merge(at(9), &forged).is_err());
        }
    }
    // Signed rubbish of a member.
    let about = About { key: config_map("x"), uid: Uid([5; 16]), turn: 1 };
    let body = Body::Change { about, epoch: 1, change: b"rubbish".to_vec() };
    let signed = record::write(&SigningKey::from_bytes(&[2; 32]), 77, &body);
    assert!(matches!(node.store.merge(at(9), &signed), Err(MergeError::Document { .. })));
    assert!(node.store.take_batch().is_none());
    assert_eq!(node.everything(), before);
}

/// Some random thing that a user, leader or kubelet may do.
fn random_change(random: &mut StdRng, node: &Node) -> (Author, Change) {
    let name = format!("o{}", random.random_range(0..4));
    let kind = [&kinds::CONFIG_MAP, &kinds::DEPLOYMENT, &kinds::POD][random.random_range(0..3)];
    let key = Key::new(kind, "default", name);
    let n = random.random_range(0..5);
    let when = Precondition::default();
    let shape = match kind.kind {
        "ConfigMap" => json!({"data": {format!("k{}", random.random_range(0..3)): n.to_string()}}),
        "Deployment" => json!({"spec": {"replicas": n, "template": {"spec": {"containers": [
            {"name": format!("c{}", random.random_range(0..3)), "image": format!("i:{n}")}, {"name": "main", "image": "m"}]}}}}),
        _ => json!({"spec": {"containers": [{"name": "main", "image": format!("i:{n}")}]}}),
    };
    match random.random_range(0..6) {
        0 | 1 => (Author::Client, Change::Create { key, object: shape }),
        2 if node.has(&key) => {
            let mut object = node.value(&key);
            object["metadata"]["labels"] = json!({"n": n.to_string()});
            object["data"] = shape["data"].clone();
            object["spec"] = shape["spec"].clone();
            (Author::Client, Change::Update { key, object, when })
        }
        3 => (Author::Client, Change::Delete { key, options: DeleteOptions::default() }),
        4 => (Author::Leader, Change::Status { key, status: json!({"n": n}), when }),
        _ if kind == &kinds::POD => (Author::Leader, Change::Bind { key, when, node: format!("n{n}") }),
        _ => (Author::Kubelet, Change::Status { key, status: json!({"seen": n}), when }),
    }
}

#[test]
fn replicas_that_exchange_everything_in_any_order_agree() {
    let mut operations = 0;
    for seed in 0..120 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut nodes: Vec<Node> = (1..=3).map(with_space).collect();
        for _ in 0..3 {
            for node in &mut nodes {
                for _ in 0..random.random_range(0..15) {
                    let (author, change) = random_change(&mut random, node);
                    operations += usize::from(node.commit(author, change).is_ok());
                }
            }
            let (from, to) = (random.random_range(0..3), random.random_range(0..3));
            if from != to {
                let sent = std::mem::take(&mut nodes[from].sent);
                let source = Node { store: Node::new(9).store, disk: Vec::new(), sent };
                nodes[to].take_from(&source, &mut random);
                nodes[from].sent = source.sent;
            }
        }
        nodes.iter_mut().for_each(|node| drop(node.sync()));
        for _ in 0..2 {
            for to in 0..3 {
                for from in (0..3).filter(|from| *from != to) {
                    let source = Node { store: Node::new(9).store, disk: Vec::new(), sent: nodes[from].sent.clone() };
                    nodes[to].take_from(&source, &mut random);
                }
            }
        }
        assert_eq!(nodes[0].everything(), nodes[1].everything(), "seed {seed}");
        assert_eq!(nodes[1].everything(), nodes[2].everything(), "seed {seed}");
        let reopened = Node::open(1, 2, nodes[0].disk.clone());
        assert_eq!(reopened.everything(), nodes[0].everything(), "seed {seed}: a restart");
        let received = Node::open(7, 1, nodes[1].store.records().filter(|r| record::verify(r).is_ok()).collect());
        assert_eq!(received.everything(), nodes[1].everything(), "seed {seed}: a full exchange");
    }
    assert!(operations > 2_000, "{operations} operations are too few to prove anything");
}
