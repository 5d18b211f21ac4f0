//! What is worth telling the user: the seed of a Kubernetes Event.

use crate::ids::Uid;

use super::Key;

/// Something that happened to an object. The node folds equal notes into one Event with a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The object it happened to.
    pub regarding: Key,
    /// That object's uid.
    pub uid: Uid,
    /// The part of it, such as `spec.containers{web}`; empty for the whole.
    pub field_path: String,
    /// Normal or Warning.
    pub kind: NoteType,
    /// CamelCase, as Kubernetes words it (`Scheduled`, `FailedScheduling`, `BackOff`).
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// Who says so, as Kubernetes names it (`default-scheduler`, `kubelet`, `deployment-controller`).
    pub component: &'static str,
}

/// How an Event is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteType {
    /// All is as it should be.
    Normal,
    /// Somebody may want to look.
    Warning,
}

impl NoteType {
    /// Returns the word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}
