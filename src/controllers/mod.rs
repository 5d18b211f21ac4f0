//! What should exist: one file a controller.
//!
//! Each controller is a pure function of a [`Snapshot`]: it compares what is asked of one object with what the view
//! shows and returns the [`Change`]s that bring the two closer, all of them made as `Author::Leader`. The node owns
//! the queue of keys, makes the changes, and keeps the one rule that makes this safe: a key is reconciled again only
//! on a view that contains all changes of its last reconcile, rejected ones counted (else a view that lags makes a
//! second pod for every first one).
//!
//! What holds of every controller:
//! - *idempotent*: reconciling a settled view gives an empty plan;
//! - *bounded*: one plan makes at most [`BURST`] changes of dependants, the rest follows when those are visible;
//! - *deterministic*: the same view, key and time give the same plan, names of new objects included;
//! - *woken by what it reads*: [`affected`] names a key after every visible change that may alter its plan, except
//!   for the passing of time, which [`Plan::again`] asks for.
//!
//! It must never act on what the view does not show, and never write a pod's status: that is its node's.
//!
//! A terminating namespace is emptied by `namespace`, dependants of what is gone by `garbage`, pods nobody else will
//! end by `pod_garbage`, those that do not tolerate a user's taint by `taint_eviction`. Not here: endpoints (a
//! projection of `routing`), the taints and conditions of nodes that do not answer (a projection of `store`), and the
//! ConfigMap `kube-root-ca.crt` (its content is the certificate authority's, which no pure room but `trust` knows).
//!
//! # Nodes that come and go
//!
//! A pod whose node does not answer is deleted by nobody here. Once it is *lost* (`node`), it does not count: not as
//! a replica, not in any status. Deletion marks it all the same where its user asked for it (of the pod, of its owner
//! or namespace, or a ReplicaSet of none): it stays Terminating until its node is back and ends it, its Node is
//! deleted, or a user deletes it by force.

mod affected;
mod caretaker;
mod cluster_role;
mod custom_resources;
mod deployment;
mod disruption;
mod edit;
mod garbage;
mod job;
mod names;
mod namespace;
mod node;
mod owner;
mod pod;
mod pod_garbage;
mod replica_set;
mod service_account;
mod taint_eviction;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub use affected::{affected, all};
pub use caretaker::{MADE_BY_CARETAKER, is_made_by_caretaker, look_after};

use crate::object::{Key, Note, NoteType, kinds};
use crate::store::{Change, Entry, Snapshot, class};
use crate::time::Now;

/// How many dependants one plan creates, deletes or edits at most (upstream's `BurstReplicas`).
pub const BURST: usize = 500;

/// Which controller a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Rolls out pod templates by scaling ReplicaSets. Keys are Deployments.
    Deployment,
    /// Keeps as many pods as asked for. Keys are ReplicaSets.
    ReplicaSet,
    /// Empties and removes what is being deleted. Keys are Namespaces.
    Namespace,
    /// Deletes dependants without an owner, and holds owners back for dependants. Keys are objects of any kind.
    Garbage,
    /// Tells whose names are taken, and empties what is being deleted. Keys are CustomResourceDefinitions.
    CustomResources,
    /// Gives every namespace its ServiceAccount `default`. Keys are Namespaces.
    ServiceAccount,
    /// Deletes pods that no kubelet will ever end. Keys are Pods.
    PodGarbage,
    /// Deletes pods that do not tolerate what their node was tainted with. Keys are Nodes.
    TaintEviction,
    /// Runs pods to completion. Keys are Jobs.
    Job,
    /// Says how many pods may be evicted. Keys are PodDisruptionBudgets.
    Disruption,
    /// Makes the roles and bindings that every cluster has, and puts roles together. Keys are ClusterRoles and
    /// ClusterRoleBindings.
    ClusterRole,
}

/// What one reconcile wants done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Changes to make, in order, as `Author::Leader`.
    pub changes: Vec<Change>,
    /// What to tell the user.
    pub notes: Vec<Note>,
    /// Reconcile the key again after so long even if nothing changes.
    pub again: Option<Duration>,
}

impl Plan {
    /// Asks for another look after `wait`, or earlier if that was asked for already.
    fn look_again(&mut self, wait: Duration) {
        self.again = Some(self.again.map_or(wait, |w| w.min(wait)));
    }
}

/// Compares what is asked of the object at `key` with what `view` shows. An object that is gone, or whose shape does
/// not fit its kind, gives an empty plan.
pub fn reconcile(controller: Controller, view: &Snapshot, key: &Key, now: Now) -> Plan {
    match controller {
        Controller::Deployment => deployment::reconcile(view, key, now),
        Controller::ReplicaSet => replica_set::reconcile(view, key, now),
        Controller::Namespace => namespace::reconcile(view, key),
        Controller::Garbage => garbage::reconcile(view, key),
        Controller::CustomResources => custom_resources::reconcile(view, key, now),
        Controller::ServiceAccount => service_account::reconcile(view, key),
        Controller::PodGarbage => pod_garbage::reconcile(view, key, now),
        Controller::TaintEviction => taint_eviction::reconcile(view, key, now),
        Controller::Job => job::reconcile(view, key, now),
        Controller::Disruption => disruption::reconcile(view, key, now),
        Controller::ClusterRole => cluster_role::reconcile(view, key),
    }
}

/// Words what the user is told when `change`, wanted by the reconcile of `key`, was refused because of `why`.
/// `None` where upstream says nothing either.
pub fn refused(controller: Controller, view: &Snapshot, key: &Key, change: &Change, why: &str) -> Option<Note> {
    let about = view.get(key)?;
    let (component, reason, message) = match (controller, change) {
        (Controller::ReplicaSet, Change::Create { .. }) => {
            (replica_set::COMPONENT, "FailedCreate", format!("Error creating: {why}"))
        }
        (Controller::ReplicaSet, Change::Delete { .. }) => {
            (replica_set::COMPONENT, "FailedDelete", format!("Error deleting: {why}"))
        }
        (Controller::Job, Change::Create { .. }) => (job::COMPONENT, "FailedCreate", format!("Error creating: {why}")),
        (Controller::Job, Change::Delete { .. }) => (job::COMPONENT, "FailedDelete", format!("Error deleting: {why}")),
        (Controller::Deployment, Change::Create { key, .. }) => (
            deployment::COMPONENT,
            "ReplicaSetCreateError",
            format!("Failed to create new replica set {:?}: {why}", key.name),
        ),
        _ => return None,
    };
    Some(note(about, NoteType::Warning, component, reason, message))
}

fn note(about: &Entry, kind: NoteType, component: &'static str, reason: &'static str, message: String) -> Note {
    Note { regarding: about.key.clone(), uid: about.uid, field_path: String::new(), kind, reason, message, component }
}

/// Tells whether every node computes the object for itself (`rules.md` 20): such a one is neither deleted nor waited
/// for, it goes with what it is computed from.
fn computed(entry: &Entry) -> bool {
    class::is_projection(&entry.key, entry.labels.get(class::MANAGED_BY).map(String::as_str))
}

/// Tells whether objects can be created in `namespace`: it exists and is not being deleted.
fn open(view: &Snapshot, namespace: &str) -> bool {
    view.get(&Key::cluster(&kinds::NAMESPACE, namespace)).is_some_and(|e| !e.terminating)
}
