//! Tests of the store as a whole, by what must hold.

// Objects are written as `json!` where they are used.
#![allow(clippy::needless_pass_by_value)]

mod conflicts;
mod cron;
mod custom;
mod delete;
mod displaced;
mod durability;
mod ephemeral;
mod epochs;
mod epochs_random;
mod epochs_size;
mod histories;
mod history;
mod horizon;
mod hostile;
mod intent;
mod leaves;
mod merge;
mod news;
mod reach;
mod records;
mod services;
mod size;
mod speed;
mod status;
mod tickets;

use std::sync::LazyLock;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::ids::{NodeId, Term};
use crate::object::{Key, Kind, kinds};
use crate::time::{Mono, Now, Wall};

use super::*;

/// Some of the schema's list keys.
pub fn list_keys(_: &Kind, path: &[&str]) -> Option<&'static [String]> {
    static NAME: LazyLock<Vec<String>> = LazyLock::new(|| vec!["name".into()]);
    static PORT: LazyLock<Vec<String>> = LazyLock::new(|| vec!["containerPort".into(), "protocol".into()]);
    static SERVICE_PORT: LazyLock<Vec<String>> = LazyLock::new(|| vec!["port".into(), "protocol".into()]);
    static UID: LazyLock<Vec<String>> = LazyLock::new(|| vec!["uid".into()]);
    match path {
        [.., "containers" | "initContainers" | "env" | "volumes"] => Some(&NAME),
        [.., "containers", "ports"] => Some(&PORT),
        ["spec", "ports"] => Some(&SERVICE_PORT),
        ["metadata", "ownerReferences"] => Some(&UID),
        _ => None,
    }
}

/// A store with a clock and a disk.
pub struct Rig {
    pub store: Store,
    pub now: Now,
    pub n: u8,
    /// What is durable.
    pub disk: Vec<Vec<u8>>,
    /// The batch that was taken and is not durable.
    pub flying: Option<Batch>,
}

pub fn config(n: u8, incarnation: u64) -> Config {
    let key = SigningKey::from_bytes(&[n; 32]);
    Config {
        node: NodeId(key.verifying_key().to_bytes()),
        key,
        tag: u16::from(n),
        incarnation,
        seed: [n; 32],
        service_range: "10.96.0.0/16".parse().unwrap(),
        node_ports: 30_000..=32_767,
        reserved_addresses: vec!["10.96.0.10".parse().unwrap()],
        list_keys,
    }
}

pub fn start() -> Now {
    Now { mono: Mono(Duration::from_secs(100)), wall: Wall::from_secs(1_763_900_000) }
}

impl Rig {
    /// A node's first start, its namespaces `default` and `shop` made.
    pub fn new(n: u8) -> Self {
        let mut rig = Self::bare(n);
        for name in ["default", "shop"] {
            rig.create(namespace(name));
        }
        rig
    }

    pub fn bare(n: u8) -> Self {
        let (store, report) = Store::open(config(n, 1), [], start());
        assert_eq!(report, OpenReport::default());
        let mut rig = Self { store, now: start(), n, disk: Vec::new(), flying: None };
        rig.flush();
        rig
    }

    pub fn wait(&mut self, time: Duration) {
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
    }

    /// Makes everything durable; returns the answers.
    pub fn flush(&mut self) -> Vec<(Ticket, Committed)> {
        let mut answers = Vec::new();
        while let Some(batch) = self.flying.take().or_else(|| self.store.take_batch()) {
            self.disk.extend(batch.records);
            answers.extend(self.store.persisted(batch.id));
        }
        self.check_index();
        answers
    }

    /// What peers are to have is what a walk over all objects finds.
    pub fn check_index(&self) {
        let mut counted = self.store.record_ids();
        counted.sort_unstable();
        let held: Vec<RecordId> = self.store.held().ids(Range::ALL).copied().collect();
        assert_eq!(held, counted);
        assert_eq!(self.store.held().sum(), held.iter().collect());
    }

    /// Stops without a further write and starts again from the disk.
    pub fn crash(&mut self) -> OpenReport {
        let incarnation = u64::try_from(self.now.wall.0).unwrap();
        self.wait(Duration::from_millis(1));
        let (store, report) = Store::open(config(self.n, incarnation), self.disk.clone(), self.now);
        self.store = store;
        self.flying = None;
        self.check_index();
        report
    }

    pub fn try_as(&mut self, author: Author, change: Change) -> Result<Receipt, Rejected> {
        self.store.commit(self.now, author, Term(1), change)
    }

    /// Commits, makes durable, returns the answer.
    pub fn done_as(&mut self, author: Author, change: Change) -> Result<Committed, Rejected> {
        match self.try_as(author, change)? {
            Receipt::Unchanged(committed) | Receipt::Shown(committed) => Ok(committed),
            Receipt::Pending(ticket) => {
                let answers = self.flush();
                Ok(answers.into_iter().find(|(t, _)| *t == ticket).expect("every ticket is answered").1)
            }
        }
    }

    pub fn done(&mut self, change: Change) -> Result<Committed, Rejected> {
        self.done_as(Author::Client, change)
    }

    pub fn create(&mut self, object: Value) -> Value {
        self.done(create(object)).unwrap().entry.value()
    }

    pub fn update(&mut self, object: Value) -> Value {
        self.done(update(object)).unwrap().entry.value()
    }

    pub fn get(&self, key: &Key) -> Option<Value> {
        self.store.snapshot().get(key).map(|entry| entry.value())
    }

    pub fn entry(&self, key: &Key) -> &Entry {
        self.store.snapshot().get(key).expect("it is there")
    }

    pub fn merge(&mut self, record: &[u8]) -> Result<Merged, MergeError> {
        self.store.merge(self.now, Verified::read(record).expect("a signed record"))
    }

    /// Takes all that another has on disk.
    pub fn take_all(&mut self, other: &Rig) {
        for record in &other.disk {
            self.merge(record).unwrap();
        }
        self.flush();
    }

    /// All that is visible, without revisions.
    pub fn visible(&self) -> Vec<Value> {
        let strip = |mut value: Value| {
            value["metadata"].as_object_mut().unwrap().remove("resourceVersion");
            value
        };
        self.store.snapshot().all().map(|entry| strip(entry.value())).collect()
    }
}

pub fn create(object: Value) -> Change {
    Change::Create { key: Key::of(&object).unwrap(), object }
}

pub fn update(object: Value) -> Change {
    Change::Update { key: Key::of(&object).unwrap(), object, when: Precondition::default() }
}

pub fn delete(key: &Key) -> Change {
    Change::Delete { key: key.clone(), options: DeleteOptions::default() }
}

pub fn remove(key: &Key) -> Change {
    Change::Remove { key: key.clone(), when: Precondition::default() }
}

pub fn status(key: &Key, status: Value) -> Change {
    Change::Status { key: key.clone(), status, when: Precondition::default() }
}

pub fn bind(key: &Key, node: &str) -> Change {
    Change::Bind { key: key.clone(), when: Precondition::default(), node: node.into() }
}

pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub fn config_map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": data})
}

pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "containers": [{"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80, "protocol": "TCP"}]}],
            "terminationGracePeriodSeconds": 30
        },
        "status": {"qosClass": "BestEffort"}})
}

pub fn deployment(name: &str, replicas: u64, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "web", "image": image, "env": [{"name": "A", "value": "1"}]}]}}}})
}

pub fn pod_key(name: &str) -> Key {
    Key::new(&kinds::POD, "shop", name)
}

pub fn map_key(name: &str) -> Key {
    Key::new(&kinds::CONFIG_MAP, "shop", name)
}

pub fn deployment_key(name: &str) -> Key {
    Key::new(&kinds::DEPLOYMENT, "shop", name)
}
