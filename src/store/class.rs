//! The table of classes (design, section 3): by kind, field and author, how a fact is kept and merged.

use serde_json::Value;

use crate::object::{Key, Kind, kinds};

use super::change::Author;

/// The label by which a projected EndpointSlice is known, and its value.
pub const MANAGED_BY: (&str, &str) = ("endpointslice.kubernetes.io/managed-by", "skein.dev");

/// How the intent of an object (all but its status) is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An Automerge document, merged field by field; durable before it is shown.
    Document,
    /// In memory only, newest wins.
    Ephemeral,
    /// Computed by every node from its own view; nobody writes it.
    Projection,
}

/// Tells how an object is kept.
pub fn of(key: &Key, object: &Value) -> Class {
    if key.kind == &kinds::EVENT {
        return Class::Ephemeral;
    }
    let node_lease = key.kind == &kinds::LEASE && key.namespace == "kube-node-lease";
    let slice = key.kind == &kinds::ENDPOINT_SLICE && object["metadata"]["labels"][MANAGED_BY.0] == MANAGED_BY.1;
    if node_lease || slice { Class::Projection } else { Class::Document }
}

/// Which register a written fact goes into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// A pod's node: the elected leader's decision.
    Binding,
    /// A status that the elected leader decides.
    Decision,
    /// A status that the object's own node observes.
    Observation,
    /// A status that an API client writes.
    Client,
    /// A binding that a caretaker decided (design, section 4).
    CaretakerBinding,
    /// A status that a caretaker decided.
    CaretakerDecision,
}

impl Section {
    /// The register that `author` writes an object's status to.
    pub fn of_status(author: Author) -> Self {
        match author {
            Author::Client => Self::Client,
            Author::Leader => Self::Decision,
            Author::Kubelet => Self::Observation,
        }
    }

    /// The number of the section in records.
    pub fn number(self) -> u8 {
        match self {
            Self::Binding => 1,
            Self::Decision => 2,
            Self::Observation => 3,
            Self::Client => 4,
            Self::CaretakerBinding => 5,
            Self::CaretakerDecision => 6,
        }
    }

    /// The section of a number; `None` for one that this build does not know.
    pub fn of_number(number: u8) -> Option<Self> {
        let all = [
            Self::Binding,
            Self::Decision,
            Self::Observation,
            Self::Client,
            Self::CaretakerBinding,
            Self::CaretakerDecision,
        ];
        all.into_iter().find(|s| s.number() == number)
    }

    /// Whether a write waits for the disk before it is shown.
    pub fn durable_first(self) -> bool {
        self != Self::Observation
    }
}

/// Whether Kubernetes counts `metadata.generation` for a kind of ours.
pub fn has_generation(kind: &Kind) -> bool {
    [&kinds::DEPLOYMENT, &kinds::REPLICA_SET].contains(&kind)
}

/// Whether a value at `path` is one register though it has structure: what is immutable or has one writer by nature.
pub fn is_register(kind: &Kind, path: &[&str]) -> bool {
    match path {
        ["spec"] => kind == &kinds::POD,
        ["metadata", "ownerReferences" | "managedFields"] => true,
        _ => false,
    }
}
