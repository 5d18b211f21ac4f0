//! What an event is to a watch, and how it is written.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::api::present::Lens;
use crate::api::status::Status;
use crate::ids::Revision;
use crate::object::Kind;
use crate::store::{Entry, Snapshot, TooOld, WatchEvent};

use super::Scope;

/// What a line says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Added,
    Modified,
    Deleted,
}

impl Type {
    fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One line to send.
#[derive(Clone, Debug)]
pub enum Line {
    Object { kind: Type, entry: Arc<Entry>, revision: Revision },
    Bookmark { revision: Revision, initial_end: bool },
    Error(Status),
}

impl Line {
    /// Appends it. `columns` says whether a table describes its columns.
    pub(super) fn write(&self, out: &mut Vec<u8>, lens: &Lens, columns: bool) {
        let word = match self {
            Self::Object { kind, .. } => kind.word(),
            Self::Bookmark { .. } => "BOOKMARK",
            Self::Error(_) => "ERROR",
        };
        out.extend_from_slice(br#"{"type":""#);
        out.extend_from_slice(word.as_bytes());
        out.extend_from_slice(br#"","object":"#);
        match self {
            Self::Object { entry, revision, .. } if entry.revision == *revision => {
                lens.write_entry(out, entry, columns);
            }
            Self::Object { entry, revision, .. } => {
                lens.write_object(out, &at_revision(lens.value(entry), *revision), columns);
            }
            Self::Bookmark { revision, initial_end } => {
                lens.write_object(out, &bookmark(lens.kind(), *revision, *initial_end), columns);
            }
            Self::Error(status) => out.extend(status.json()),
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Returns the objects in `scope` that are there, as added.
pub(super) fn initial<'a>(scope: &'a Scope, snapshot: &'a Snapshot) -> impl Iterator<Item = Line> + 'a {
    let there = snapshot.list(scope.kind, scope.namespace.as_deref()).filter(|entry| scope.filter.matches(entry));
    there.map(|e| Line::Object { kind: Type::Added, entry: Arc::clone(e), revision: e.revision })
}

/// What happened to the objects in `scope` after `cursor`: an object that comes to match is added, one that ceases to
/// is deleted.
pub(super) fn lines(scope: &Scope, snapshot: &Snapshot, cursor: Revision) -> Result<Vec<Line>, TooOld> {
    let events = snapshot.events_since(scope.kind, cursor)?;
    Ok(events.filter(|event| is_here(scope, event)).flat_map(|event| step(scope, event)).collect())
}

/// Tells whether an event of the scope's kind says anything to it.
pub(super) fn concerns(scope: &Scope, event: &WatchEvent) -> bool {
    let matches = |side: &Option<Arc<Entry>>| side.as_ref().is_some_and(|entry| scope.filter.matches(entry));
    is_here(scope, event) && (matches(&event.new) || matches(&event.old))
}

fn is_here(scope: &Scope, event: &WatchEvent) -> bool {
    scope.namespace.as_ref().is_none_or(|namespace| *namespace == event.key().namespace)
}

fn step(scope: &Scope, event: &WatchEvent) -> Vec<Line> {
    let matching = |side: &Option<Arc<Entry>>| side.clone().filter(|e| scope.filter.matches(e));
    let line = |kind, entry| Line::Object { kind, entry, revision: event.revision };
    match (matching(&event.old), matching(&event.new)) {
        (None, None) => Vec::new(),
        (None, Some(new)) => vec![line(Type::Added, new)],
        (Some(old), None) => vec![line(Type::Deleted, old)],
        // Another object has taken the name.
        (Some(old), Some(new)) if old.uid != new.uid => vec![line(Type::Deleted, old), line(Type::Added, new)],
        (Some(_), Some(new)) => vec![line(Type::Modified, new)],
    }
}

/// The object as it was last, but with the revision at which it went: clients go on watching from there.
fn at_revision(mut object: Value, revision: Revision) -> Value {
    object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
    object
}

/// An object of nothing but a revision: all before it has been sent.
fn bookmark(kind: &Kind, revision: Revision, initial_end: bool) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata})
}
