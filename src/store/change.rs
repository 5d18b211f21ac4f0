//! What others ask of the store, and what it answers.

use std::sync::Arc;

use serde_json::Value;

use crate::ids::{Revision, Uid};
use crate::object::Key;

use super::snapshot::Entry;

/// Who asks; with the table of classes it decides into which document or register a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Author {
    /// An API client.
    Client,
    /// The leader's scheduler and controllers.
    Leader,
    /// This node's kubelet.
    Kubelet,
    /// The scheduler and controllers of a caretaker, who decides for a side that hears no leader.
    Caretaker,
}

/// A wish to change one object. Objects in it are defaulted and validated already (`object::write`).
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Make an object. Uid, creation time and the like are the store's to give; `status` is kept only for kinds
    /// whose status the author may write.
    Create {
        /// Where.
        key: Key,
        /// The whole object.
        object: Value,
    },
    /// Replace all that is asked of an object (metadata and spec, not status).
    Update {
        /// Where.
        key: Key,
        /// The object after.
        object: Value,
        /// What must be true for it.
        when: Precondition,
    },
    /// Replace an object's status.
    Status {
        /// Where.
        key: Key,
        /// The value of `.status` after.
        status: Value,
        /// What must be true for it.
        when: Precondition,
    },
    /// Bind a pod to a node, which the leader alone may do.
    Bind {
        /// The pod.
        key: Key,
        /// What must be true for it.
        when: Precondition,
        /// The node's name.
        node: String,
    },
    /// Delete an object as Kubernetes does. With a grace period or finalizers it is marked first; the kubelet, or
    /// whoever takes the last finalizer away, ends it.
    Delete {
        /// Where.
        key: Key,
        /// How.
        options: DeleteOptions,
    },
    /// Let go of an object for good, whatever its grace and finalizers: its tombstone is written.
    Remove {
        /// Where.
        key: Key,
        /// What must be true for it.
        when: Precondition,
    },
}

impl Change {
    /// Returns the key of the object it is about.
    pub fn key(&self) -> &Key {
        match self {
            Self::Create { key, .. }
            | Self::Update { key, .. }
            | Self::Status { key, .. }
            | Self::Bind { key, .. }
            | Self::Delete { key, .. }
            | Self::Remove { key, .. } => key,
        }
    }
}

/// What a change expects to find. An empty one accepts whatever is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The object has this uid.
    pub uid: Option<Uid>,
    /// The object was last shown at this revision, and nothing has been asked of it since.
    pub revision: Option<Revision>,
}

impl Precondition {
    /// The object is exactly as `entry` shows it.
    pub fn unchanged(entry: &Entry) -> Self {
        Self { uid: Some(entry.uid), revision: Some(entry.revision) }
    }

    /// The object is the one that `entry` shows, whatever its state.
    pub fn same(entry: &Entry) -> Self {
        Self { uid: Some(entry.uid), revision: None }
    }
}

/// The part of Kubernetes' DeleteOptions that has a meaning here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// What must be true for it.
    pub when: Precondition,
    /// Seconds the object may take to go; `None` for the kind's default.
    pub grace_seconds: Option<i64>,
    /// What becomes of dependants; `None` for the kind's default.
    pub propagation: Option<Propagation>,
}

/// What becomes of the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// They stay, without an owner.
    Orphan,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
}

/// A change that was made, as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// The object after; the object as it was last if it is gone now.
    pub entry: Arc<Entry>,
    /// Whether it is gone.
    pub removed: bool,
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// There is no such object.
    #[error("{key} not found")]
    NotFound {
        /// The object.
        key: Key,
    },
    /// The name is taken.
    #[error("{key} already exists")]
    AlreadyExists {
        /// The object.
        key: Key,
    },
    /// The object was changed meanwhile: read it again and retry.
    #[error("{key} has been modified")]
    Stale {
        /// The object.
        key: Key,
    },
    /// The uid in the precondition is another object's.
    #[error("{key} has uid {found}, not {given}")]
    UidMismatch {
        /// The object.
        key: Key,
        /// The uid that was expected.
        given: Uid,
        /// The uid it has.
        found: Uid,
    },
    /// The object is computed by every node for itself and cannot be written.
    #[error("{key} is computed by the cluster and cannot be written")]
    Projection {
        /// The object.
        key: Key,
    },
    /// The namespace it would live in is not there.
    #[error("namespaces {namespace:?} not found")]
    NoNamespace {
        /// The object.
        key: Key,
        /// The namespace's name.
        namespace: String,
    },
    /// The namespace it would live in is being deleted.
    #[error("{key} cannot be created in namespace {namespace:?} because it is being terminated")]
    NamespaceTerminating {
        /// The object.
        key: Key,
        /// The namespace's name.
        namespace: String,
    },
    /// A value that only the cluster can judge does not do: an address that is taken, a full range.
    #[error("{key}: {field}: {message}")]
    Invalid {
        /// The object.
        key: Key,
        /// The field, as `spec.ports[0].nodePort`.
        field: String,
        /// The offending value.
        value: String,
        /// What is wrong with it.
        message: String,
    },
    /// Not all members can read the object yet: the cluster's feature level is too low.
    #[error("{message}")]
    NotYet {
        /// The object.
        key: Key,
        /// Which level it takes.
        message: String,
    },
    /// The request is understood and refused.
    #[error("{key}: {message}")]
    Forbidden {
        /// The object.
        key: Key,
        /// Why.
        message: String,
    },
    /// It takes a leader and a majority of the voters to decide it, and there is none just now. Nothing was done.
    #[error("{key}: {message}")]
    NoLeader {
        /// The object.
        key: Key,
        /// Why.
        message: String,
    },
    /// It was asked to be decided, and whether it is, is not known: read it again.
    #[error("{key}: {message}")]
    Unknown {
        /// The object.
        key: Key,
        /// Why.
        message: String,
    },
    /// There is no room for it where unique decisions are kept.
    #[error("{key}: {message}")]
    NoRoom {
        /// The object.
        key: Key,
        /// Why.
        message: String,
    },
    /// The node cannot take writes just now.
    #[error("{message}")]
    Unavailable {
        /// Why.
        message: String,
    },
}
