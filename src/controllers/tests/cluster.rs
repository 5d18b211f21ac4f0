//! A cluster in memory: a store, kubelets that start and stop pods at once, a queue of keys, and a seed that decides
//! who moves next.
//!
//! The queue keeps the node's rule: a key is reconciled again only on a view that contains all changes of its last
//! reconcile, rejected ones counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::objects::{BROKEN, ready};
use crate::controllers::{Controller, Plan, affected, all, pod, reconcile};
use crate::ids::Revision;
use crate::object::{Key, Kind, Note, kinds};
use crate::store::{Change, DeleteOptions, Entry, Precondition, Propagation, Snapshot};
use crate::time::{Mono, Now, Wall};

/// How many moves a cluster may need to come to rest.
const PATIENCE: usize = 20_000;

pub struct Cluster {
    /// What controllers see.
    pub view: Snapshot,
    /// Whether the view lags behind the store, by as much as the seed likes.
    pub lags: bool,
    /// What is stored.
    pub(super) truth: Snapshot,
    pub(super) pending: VecDeque<(Key, Option<Arc<Entry>>, Revision)>,
    /// The revision that a key has to wait for.
    blocked: BTreeMap<(Controller, Key), Revision>,
    pub now: Now,
    pub notes: Vec<Note>,
    /// Every change that was made, in order.
    pub trace: Vec<Change>,
    /// How often the store said no to a controller.
    pub refusals: usize,
    /// Whether pods start, get ready and end.
    pub kubelets: bool,
    pub nodes: Vec<&'static str>,
    rng: StdRng,
    queue: BTreeSet<(Controller, Key)>,
    later: BTreeMap<(Controller, Key), Mono>,
    pub(super) revision: u64,
    pub(super) uids: u64,
}

#[derive(Clone)]
enum Move {
    Reconcile(Controller, Key),
    Pod(Key),
    Show,
}

impl Cluster {
    /// Makes a cluster of two nodes with the namespace `shop`, at rest.
    pub fn new(seed: u64) -> Self {
        let start = Now { mono: Mono(Duration::from_secs(100)), wall: Wall::from_secs(1_763_900_000) };
        let mut cluster = Self {
            view: Snapshot::default(),
            lags: false,
            truth: Snapshot::default(),
            pending: VecDeque::new(),
            blocked: BTreeMap::new(),
            now: start,
            notes: Vec::new(),
            trace: Vec::new(),
            refusals: 0,
            kubelets: true,
            nodes: vec!["n1", "n2"],
            rng: StdRng::seed_from_u64(seed),
            queue: BTreeSet::new(),
            later: BTreeMap::new(),
            revision: 0,
            uids: 0,
        };
        for node in cluster.nodes.clone() {
            cluster.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}));
        }
        cluster.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}));
        // Who takes office looks at everything, also at what is not there yet.
        cluster.queue.extend(all(&cluster.view));
        cluster.settle();
        cluster.trace.clear();
        cluster
    }

    pub fn create(&mut self, object: Value) -> Key {
        let key = Key::of(&object).unwrap();
        self.apply(Change::Create { key: key.clone(), object }).unwrap();
        key
    }

    /// Changes what is asked of an object, as a client would.
    pub fn edit(&mut self, key: &Key, edit: impl FnOnce(&mut Value)) {
        let mut object = self.value(key);
        edit(&mut object);
        self.apply(Change::Update { key: key.clone(), object, when: Precondition::default() }).unwrap();
    }

    /// Shows an object of another uid in the place of one, as the store does when an older one of its name comes.
    pub fn replace(&mut self, key: &Key, object: Value) {
        self.show(key, None);
        self.show(key, Some(object));
    }

    pub fn status(&mut self, key: &Key, status: Value) {
        self.apply(Change::Status { key: key.clone(), status, when: Precondition::default() }).unwrap();
    }

    pub fn delete(&mut self, key: &Key, propagation: Propagation) {
        let options = DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() };
        self.apply(Change::Delete { key: key.clone(), options }).unwrap();
    }

    pub fn value(&self, key: &Key) -> Value {
        self.truth.get(key).unwrap_or_else(|| panic!("{key} not found")).value()
    }

    pub fn exists(&self, key: &Key) -> bool {
        self.truth.get(key).is_some()
    }

    pub fn entries(&self, kind: &'static Kind) -> Vec<Arc<Entry>> {
        self.truth.list(kind, Some("shop")).cloned().collect()
    }

    /// Pods that count as replicas.
    pub fn active_pods(&self) -> Vec<Arc<Entry>> {
        self.entries(&kinds::POD).into_iter().filter(|e| pod::active(e)).collect()
    }

    pub fn pod_names(&self) -> Vec<String> {
        self.entries(&kinds::POD).iter().map(|e| e.key.name.clone()).collect()
    }

    /// Active pods that are ready.
    pub fn ready(&self) -> usize {
        self.active_pods().iter().filter(|e| ready(&e.value())).count()
    }

    /// ReplicaSets that ask for pods: name and count.
    pub fn sizes(&self) -> BTreeMap<String, i64> {
        let sets = self.entries(&kinds::REPLICA_SET).into_iter();
        sets.map(|e| (e.key.name.clone(), e.value()["spec"]["replicas"].as_i64().unwrap()))
            .filter(|s| s.1 > 0)
            .collect()
    }

    pub fn messages(&self, reason: &str) -> Vec<&str> {
        self.notes.iter().filter(|n| n.reason == reason).map(|n| n.message.as_str()).collect()
    }

    /// Random number below `n`.
    pub fn draw(&mut self, n: usize) -> usize {
        self.rng.random_range(0..n)
    }

    pub fn settle(&mut self) {
        self.settle_and(|_| {});
    }

    /// Lets everybody move, in random order, until nobody wants to; looks at every state on the way. At rest no
    /// controller may want anything, woken or not.
    pub fn settle_and(&mut self, look: impl Fn(&Self)) {
        for _ in 0..PATIENCE {
            look(self);
            if !self.step() {
                return self.assert_rest();
            }
        }
        panic!("no rest after {PATIENCE} moves: {:#?}", self.trace.iter().rev().take(6).collect::<Vec<_>>());
    }

    /// Makes one random move. False if nobody wants to move.
    pub fn step(&mut self) -> bool {
        let moves = self.moves();
        if moves.is_empty() {
            return false;
        }
        match moves[self.rng.random_range(0..moves.len())].clone() {
            Move::Reconcile(controller, key) => {
                self.queue.remove(&(controller, key.clone()));
                let plan = reconcile(controller, &self.view, &key, self.now);
                self.carry_out(controller, &key, plan);
            }
            Move::Pod(key) => self.move_pod(&key),
            Move::Show => self.catch_up(),
        }
        true
    }

    /// Lets time pass, second by second, settling after each.
    pub fn wait(&mut self, seconds: u64) {
        self.wait_and(seconds, |_| {});
    }

    pub fn wait_and(&mut self, seconds: u64, look: impl Fn(&Self)) {
        for _ in 0..seconds {
            let second = Duration::from_secs(1);
            self.now = Now { mono: self.now.mono + second, wall: self.now.wall + second };
            let due: Vec<_> =
                self.later.iter().filter(|(_, at)| **at <= self.now.mono).map(|(k, _)| k.clone()).collect();
            for key in due {
                self.later.remove(&key);
                self.queue.insert(key);
            }
            self.settle_and(&look);
        }
    }

    pub fn assert_rest(&self) {
        for (controller, key) in all(&self.view) {
            let plan = reconcile(controller, &self.view, &key, self.now);
            assert!(plan.changes.is_empty(), "{controller:?} {key} was not woken for {:#?}", plan.changes);
            assert!(plan.notes.is_empty(), "{controller:?} {key} talks at rest: {:#?}", plan.notes);
        }
    }

    pub fn carry_out(&mut self, controller: Controller, key: &Key, plan: Plan) {
        self.notes.extend(plan.notes);
        if let Some(wait) = plan.again {
            self.later.insert((controller, key.clone()), self.now.mono + wait);
        }
        for change in plan.changes {
            self.trace.push(change.clone());
            if self.apply(change).is_err() {
                self.refusals += 1;
                self.queue.insert((controller, key.clone()));
            }
        }
        self.blocked.insert((controller, key.clone()), self.truth.revision());
    }

    fn moves(&self) -> Vec<Move> {
        let free = |key: &&(Controller, Key)| self.blocked.get(*key).is_none_or(|r| *r <= self.view.revision());
        let mut moves: Vec<Move> =
            self.queue.iter().filter(free).map(|(c, k)| Move::Reconcile(*c, k.clone())).collect();
        moves.extend(self.pending.front().map(|_| Move::Show));
        if self.kubelets {
            let pods = self.truth.list(&kinds::POD, None).filter(|e| self.restless(e));
            moves.extend(pods.map(|e| Move::Pod(e.key.clone())));
        }
        moves
    }

    fn restless(&self, pod: &Entry) -> bool {
        let value = pod.value();
        let broken = value["spec"]["containers"][0]["image"] == BROKEN;
        let grace_over = value["metadata"]["deletionGracePeriodSeconds"] == 0;
        match &pod.node {
            Some(node) if !self.nodes.iter().any(|n| n == node) => false,
            Some(_) if pod.terminating => !grace_over,
            Some(_) => !pod::finished(pod) && !broken && !ready(&value),
            None => !pod.terminating,
        }
    }

    /// Moves a pod one step along: bound, running, ready; or, if it is terminating, gone.
    fn move_pod(&mut self, key: &Key) {
        let entry = Arc::clone(self.truth.get(key).unwrap());
        let when = Precondition::same(&entry);
        let Some(_) = &entry.node else {
            let node = self.nodes[self.rng.random_range(0..self.nodes.len())].to_owned();
            return self.apply(Change::Bind { key: key.clone(), when, node }).unwrap();
        };
        if entry.terminating {
            let mut object = entry.value();
            object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
            return self.show_or_remove(&entry, object);
        }
        let is_ready = if entry.phase.as_deref() == Some("Running") { "True" } else { "False" };
        let ready = json!({"type": "Ready", "status": is_ready, "lastTransitionTime": self.now.wall.to_string()});
        self.status(key, json!({"phase": "Running", "conditions": [ready]}));
    }

    /// Shows the controllers one more change.
    pub(super) fn catch_up(&mut self) {
        let Some((key, entry, revision)) = self.pending.pop_front() else { return };
        if let (None, Some(old)) = (&entry, self.view.get(&key).map(|old| old.uid)) {
            self.view.bury(old, false);
        }
        if let Some(event) = self.view.show(&key, entry, revision) {
            self.queue.extend(affected(&event, &self.view));
        }
    }
}
