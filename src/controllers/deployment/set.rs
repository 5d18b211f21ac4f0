//! One ReplicaSet of a Deployment, as the view shows it and as the plan wants it.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition};
use serde_json::Value;

use crate::object::{Key, kinds};
use crate::store::{Change, Entry, Snapshot};
use crate::time::Wall;

use super::super::{edit, node::Nodes, pod};
use super::revision;
use super::wanted::Wanted;

/// The number of replicas the Deployment asked for when this set was last scaled: tells a scaling from a rollout.
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
/// The most replicas the Deployment could have then: the base of proportions.
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";

/// A ReplicaSet under consideration.
#[derive(Debug)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// `spec.replicas`, as it shall be.
    pub replicas: i32,
    /// `status.replicas`.
    pub actual: i32,
    /// `status.readyReplicas`.
    pub ready: i32,
    /// `status.availableReplicas`.
    pub reported_available: i32,
    /// Pods in the view that count: neither finished nor terminating nor lost.
    pub live: i32,
    /// Its creation; the end of time for one that is only planned.
    pub created: Wall,
    /// Whether the ReplicaSet controller has seen its newest spec.
    pub observed: bool,
    /// The condition that says that pods cannot be made.
    pub failure: Option<ReplicaSetCondition>,
    /// The object, as it shall be.
    pub object: Value,
    /// The object as it is; `None` for one that is only planned.
    pub entry: Option<Arc<Entry>>,
    edited: bool,
}

impl Set {
    /// Reads the set that `entry` shows. `None` if its shape does not fit.
    pub fn of(view: &Snapshot, nodes: &mut Nodes<'_>, entry: &Arc<Entry>) -> Option<Self> {
        let set: ReplicaSet = entry.typed()?;
        let status = set.status.unwrap_or_default();
        let active = view.controlled_by(entry.uid, &kinds::POD).filter(|e| pod::active(e));
        let live = active.filter(|e| !nodes.is_lost(e)).count();
        Some(Self {
            name: entry.key.name.clone(),
            replicas: set.spec.as_ref()?.replicas.unwrap_or(1),
            actual: status.replicas,
            ready: status.ready_replicas.unwrap_or(0),
            reported_available: status.available_replicas.unwrap_or(0),
            live: i32::try_from(live).unwrap_or(i32::MAX),
            created: set.metadata.creation_timestamp.as_ref().map(Wall::of).unwrap_or_default(),
            observed: set.metadata.generation <= status.observed_generation,
            failure: status.conditions.into_iter().flatten().find(|c| c.type_ == "ReplicaFailure"),
            object: entry.value(),
            entry: Some(Arc::clone(entry)),
            edited: false,
        })
    }

    /// Makes a set that does not exist yet.
    pub fn planned(name: String, object: Value) -> Self {
        Self {
            name,
            replicas: 0,
            actual: 0,
            ready: 0,
            reported_available: 0,
            live: 0,
            created: Wall(i64::MAX),
            observed: false,
            failure: None,
            object,
            entry: None,
            edited: false,
        }
    }

    /// How many available pods it may be relied on to keep. A status lags behind: it cannot have more than it is
    /// asked for or than there are.
    pub fn available(&self) -> i32 {
        self.reported_available.min(self.replicas).min(self.live)
    }

    /// How many pods it has or will have, whichever is more.
    pub fn pods(&self) -> i32 {
        self.replicas.max(self.live)
    }

    /// Whether it has pods or shall have some.
    pub fn active(&self) -> bool {
        self.replicas > 0
    }

    /// Whether it is being deleted.
    pub fn terminating(&self) -> bool {
        self.entry.as_ref().is_some_and(|e| e.terminating)
    }

    /// Its revision; `None` if the annotation is no number, 0 if there is none.
    pub fn revision(&self) -> Option<i64> {
        edit::annotation(&self.object, revision::REVISION).map_or(Some(0), |r| r.parse().ok())
    }

    /// Reads one of the two counts kept in annotations.
    pub fn count(&self, annotation: &str) -> Option<i32> {
        edit::annotation(&self.object, annotation)?.parse().ok()
    }

    /// Sets an annotation.
    pub fn annotate(&mut self, name: &str, value: &str) {
        self.edited |= edit::annotate(&mut self.object, name, value);
    }

    /// Asks for `replicas` pods and remembers for what size of the Deployment.
    pub fn resize(&mut self, replicas: i32, wanted: &Wanted) {
        self.annotate(DESIRED, &wanted.replicas.to_string());
        self.annotate(MAX, &wanted.most().to_string());
        if self.replicas != replicas {
            self.replicas = replicas;
            self.edited = true;
        }
        self.object["spec"]["replicas"] = replicas.into();
    }

    /// Takes over the Deployment's `minReadySeconds`.
    pub fn set_min_ready(&mut self, seconds: i32) {
        let spec = &mut self.object["spec"];
        if spec["minReadySeconds"].as_i64().unwrap_or(0) != i64::from(seconds) {
            spec["minReadySeconds"] = seconds.into();
            self.edited = true;
        }
    }

    /// The change that makes it so, if any.
    pub fn change(self) -> Option<Change> {
        match self.entry {
            Some(entry) if self.edited => Some(edit::update(&entry, self.object)),
            Some(_) => None,
            None => Some(Change::Create {
                key: Key::of(&self.object).expect("a planned ReplicaSet is named"),
                object: self.object,
            }),
        }
    }
}

/// Adds up one count of several sets.
pub fn sum<'a>(sets: impl IntoIterator<Item = &'a Set>, count: impl Fn(&Set) -> i32) -> i32 {
    sets.into_iter().fold(0, |n, set| n.saturating_add(count(set)))
}
