//! Users who make, scale, break and delete things, and remember what they were told.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use serde::Deserialize;
use serde_json::{Value, json};
use skein::ids::{RequestId, Uid};
use skein::node::Request;
use skein::object::{Key, hold, kinds, write};
use skein::store::{Change, Committed, DeleteOptions, Precondition, Rejected, Snapshot};

/// What a user wants of one object: a number in it (a ConfigMap's value, a Deployment's replicas), or its absence.
pub type Wish = Option<i64>;

/// What is known of one object.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last wish that was acknowledged.
    pub acknowledged: Wish,
    /// Later wishes that were never answered: they may hold or not.
    pub unanswered: Vec<Wish>,
}

impl Known {
    /// Whether the object may look so.
    pub fn allows(&self, found: Wish) -> bool {
        self.acknowledged == found || self.unanswered.contains(&found)
    }
}

/// All users of a run.
#[derive(Default)]
pub struct Users {
    /// What the names of all that they touch begin with.
    pub home: String,
    /// What is known of every object ever touched.
    pub known: BTreeMap<Key, Known>,
    /// Uids of objects whose deletion was acknowledged.
    pub dead: BTreeSet<Uid>,
    /// What was asked and is not answered yet.
    pub in_flight: BTreeMap<RequestId, (Key, Wish)>,
    /// The last number given out.
    pub next: RequestId,
}

/// What became of an answered request.
pub enum Told {
    /// It is done.
    Acknowledged,
    /// It was refused, and nothing has changed.
    Refused,
}

impl Users {
    /// Lets a user do something. `None` if the object picked is busy.
    pub fn act(&mut self, random: &mut StdRng, view: &Snapshot) -> Option<(RequestId, Request, String)> {
        let key = pick_key(random, &self.home);
        if self.is_busy(&key) {
            return None;
        }
        let present = view.get(&key);
        let wish: Wish = (random.random_range(0..4) > 0).then(|| random.random_range(0..4));
        let change = match (present, wish) {
            (None, None) => return None,
            (None, Some(n)) => create(&key, n),
            (Some(entry), Some(n)) => {
                let mut object = entry.value();
                set(&key, &mut object, n);
                Change::Update { key: key.clone(), object, when: Precondition::unchanged(entry) }
            }
            (Some(entry), None) => {
                let options = DeleteOptions { when: Precondition::same(entry), ..DeleteOptions::default() };
                Change::Delete { key: key.clone(), options }
            }
        };
        self.next = self.next.next();
        self.in_flight.insert(self.next, (key.clone(), wish));
        Some((self.next, Request { change, dry_run: false, user: None }, format!("user: {key} = {wish:?}")))
    }

    /// Deletes a random pod, as users do.
    pub fn delete_pod(&mut self, random: &mut StdRng, view: &Snapshot) -> Option<(RequestId, Request, String)> {
        let pods: Vec<_> = view.list(&kinds::POD, None).filter(|p| !p.terminating).collect();
        let pod = pods.get(random.next_u32() as usize % pods.len().max(1))?;
        self.next = self.next.next();
        let options = DeleteOptions { when: Precondition::same(pod), grace_seconds: Some(1), propagation: None };
        let change = Change::Delete { key: pod.key.clone(), options };
        Some((self.next, Request { change, dry_run: false, user: None }, format!("user: delete {}", pod.key)))
    }

    /// Takes an answer. `None` if it is not one that users remember.
    pub fn told(&mut self, id: RequestId, result: &Result<Committed, Rejected>) -> Option<Told> {
        let (key, wish) = self.in_flight.remove(&id)?;
        let known = self.known.entry(key).or_default();
        match result {
            Ok(committed) => {
                *known = Known { acknowledged: wish, unanswered: Vec::new() };
                if committed.removed {
                    self.dead.insert(committed.entry.uid);
                }
                Some(Told::Acknowledged)
            }
            Err(_) => Some(Told::Refused),
        }
    }

    /// Whether a request about an object is under way: what is shown may be ahead of its answer.
    pub fn is_busy(&self, key: &Key) -> bool {
        self.in_flight.values().any(|(k, _)| k == key)
    }

    /// The agent is gone: what was not answered may have been done.
    pub fn agent_died(&mut self) {
        for (_, (key, wish)) in std::mem::take(&mut self.in_flight) {
            self.known.entry(key).or_default().unanswered.push(wish);
        }
    }
}

/// Reads what a user would see of an object.
pub fn look(view: &Snapshot, key: &Key) -> Wish {
    let entry = view.get(key).filter(|e| !e.terminating)?;
    let Shown { spec, data } = serde_json::from_slice(&entry.json).ok()?;
    if key.kind == &kinds::DEPLOYMENT { spec.replicas } else { data.n?.parse().ok() }
}

/// What users look at; all else is passed over, since they look all the time.
#[derive(Deserialize)]
struct Shown {
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Spec {
    replicas: Option<i64>,
}

#[derive(Default, Deserialize)]
struct Data {
    n: Option<String>,
}

fn pick_key(random: &mut StdRng, home: &str) -> Key {
    if random.random_bool(0.4) {
        Key::new(&kinds::DEPLOYMENT, "default", format!("{home}d{}", random.random_range(0..3)))
    } else {
        Key::new(&kinds::CONFIG_MAP, "default", format!("{home}c{}", random.random_range(0..5)))
    }
}

fn create(key: &Key, n: i64) -> Change {
    let mut object = if key.kind == &kinds::DEPLOYMENT { deployment(&key.name) } else { config_map(&key.name) };
    set(key, &mut object, n);
    let written = write::create_value(key.kind, &key.namespace, object).expect("the users' manifests are good");
    Change::Create { key: key.clone(), object: written.object }
}

fn set(key: &Key, object: &mut Value, n: i64) {
    if key.kind == &kinds::DEPLOYMENT {
        object["spec"]["replicas"] = n.into();
    } else {
        object["data"]["n"] = n.to_string().into();
    }
}

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {}})
}

/// One in three Deployments is of pods that must never run twice.
fn deployment(name: &str) -> Value {
    let partition = if name.ends_with("d2") { hold::HOLD } else { hold::RUN };
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "annotations": {hold::PARTITION: partition}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 2,
                    "containers": [{"name": "main", "image": "app:1", "imagePullPolicy": "IfNotPresent"}]},
            },
        },
    })
}
