//! An object's history, for people: which change touched which field; and one change put back.
//!
//! It is read out of the document's own changes, so it goes back as far as those are kept: to where its epoch began.
//! What a change did is told as its author saw it: against the state that it builds on, not against what others wrote
//! meanwhile. Status and the binding of a pod are registers, of which only the last is kept: they have no history.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::ids::NodeId;
use crate::object::Key;

use super::credit::Credit;
use super::document::{Chunk, Hash};
use super::inflate::inflate;
use super::leaves::{self, Delta, Leaf, Leaves, ListKeys, Shape, flatten};
use super::path::{self, Segment};
use super::record::Record;
use super::state::Store;

/// How many hexadecimal digits of a change's hash name it.
const NAME_DIGITS: usize = 8;

/// One change of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Its hash.
    pub hash: Hash,
    /// The node that signed it.
    pub node: NodeId,
    /// Whose it is.
    pub credit: Credit,
    /// Whether it made the object.
    pub birth: bool,
    /// What it touched, by path.
    pub fields: Vec<FieldEdit>,
}

/// What a change did to one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldEdit {
    path: String,
    before: Option<Leaf>,
    after: Option<Leaf>,
}

/// Why a change cannot be put back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotUndo {
    /// No change has this name.
    #[error("the object has no change {0}: see its history")]
    Unknown(String),
    /// The name is too short.
    #[error("several changes of the object begin with {0}: give more digits")]
    Ambiguous(String),
    /// It made the object.
    #[error("change {0} made the object: delete the object instead")]
    Birth(String),
    /// A later change touched the same field.
    #[error("change {later} has touched {field} since: put that back first, or use --force")]
    Touched {
        /// The field.
        field: String,
        /// The later change; `-` if it is not known.
        later: String,
    },
    /// All is as it was before already.
    #[error("nothing is left of change {0}: its fields are as they were before it")]
    Nothing(String),
}

/// The owners of fields, as people write it.
const OWNERS: &str = "metadata.managedFields";

impl Edit {
    /// Returns the name by which people call it.
    pub fn name(&self) -> String {
        let mut name = hex::encode(self.hash);
        name.truncate(NAME_DIGITS);
        name
    }
}

impl FieldEdit {
    /// Returns the field as people write it: `spec.template.spec.containers[web].image`.
    pub fn field(&self) -> String {
        spoken(&self.path)
    }

    /// Returns its value before, `None` if it was not there.
    pub fn was(&self) -> Option<Value> {
        self.before.as_ref().map(value)
    }

    /// Returns its value after, `None` if it was taken away.
    pub fn became(&self) -> Option<Value> {
        self.after.as_ref().map(value)
    }

    /// Tells whether it is only the order of a list's elements.
    pub fn is_order(&self) -> bool {
        self.path.ends_with('#')
    }
}

impl Store {
    /// Returns the changes of the object that has a name, oldest first; `None` if there is none.
    pub fn history(&mut self, key: &Key) -> Option<Vec<Edit>> {
        let (uid, object) = self.holder(key)?;
        let kept = object.changes.clone();
        let document = self.document(uid);
        let edits = kept.iter().filter_map(|change| {
            let record = Record::read(change.record.clone()).ok()?;
            let parents: Vec<Hash> = Chunk::read(change.in_document()).ok()?.parents().collect();
            let (before, after) = (document.leaves_at(&parents), document.leaves_at(&[change.hash]));
            Some(Edit {
                hash: change.written(),
                node: record.author,
                credit: record.credit(),
                birth: parents.is_empty(),
                fields: fields(&before, &after),
            })
        });
        let edits = edits.collect();
        self.documents.put(uid, document);
        Some(edits)
    }
}

fn fields(before: &Leaves, after: &Leaves) -> Vec<FieldEdit> {
    let paths: BTreeSet<String> = leaves::diff(before, after).into_iter().map(|(path, _)| path).collect();
    let field = |path: String| FieldEdit { before: before.get(&path).cloned(), after: after.get(&path).cloned(), path };
    // Who owns which field is written along with every edit, and is no edit of its own.
    paths.into_iter().filter(|path| spoken(path) != OWNERS).map(field).collect()
}

/// Puts back what the change called `name` did to `shown`, an object as the API shows it; `edits` is its history.
/// With `force` also where a later change has touched the same field.
///
/// # Errors
/// [`CannotUndo`].
pub fn undo(
    key: &Key,
    list_keys: ListKeys,
    shown: &Value,
    edits: &[Edit],
    name: &str,
    force: bool,
) -> Result<Value, CannotUndo> {
    let at = find(edits, name)?;
    let edit = &edits[at];
    if edit.birth {
        return Err(CannotUndo::Birth(edit.name()));
    }
    let shape = Shape { kind: key.kind, list_keys };
    let mut now = flatten(shape, shown);
    let mut delta = Delta::new();
    for field in &edit.fields {
        let current = now.get(&field.path);
        if current == field.before.as_ref() || field.is_order() && current != field.after.as_ref() {
            // As it was, or an order of elements that has changed since: those put back then come last.
            continue;
        }
        if current != field.after.as_ref() && !force {
            return Err(CannotUndo::Touched { field: field.field(), later: later(&edits[at + 1..], &field.path) });
        }
        delta.push((field.path.clone(), field.before.clone()));
    }
    if delta.is_empty() {
        return Err(CannotUndo::Nothing(edit.name()));
    }
    leaves::apply(&mut now, delta);
    Ok(inflate(shape, &now))
}

fn find(edits: &[Edit], name: &str) -> Result<usize, CannotUndo> {
    let wanted = name.to_ascii_lowercase();
    let mut found =
        (0..edits.len()).filter(|at| !wanted.is_empty() && hex::encode(edits[*at].hash).starts_with(&wanted));
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => Err(CannotUndo::Ambiguous(name.to_owned())),
        (None, _) => Err(CannotUndo::Unknown(name.to_owned())),
    }
}

fn later(edits: &[Edit], path: &str) -> String {
    let touches = |edit: &&Edit| edit.fields.iter().any(|field| field.path == path);
    edits.iter().rev().find(touches).map_or_else(|| "-".to_owned(), Edit::name)
}

fn value(leaf: &Leaf) -> Value {
    match leaf {
        Leaf::Null => Value::Null,
        Leaf::Bool(b) => Value::Bool(*b),
        Leaf::Int(n) => Value::from(*n),
        Leaf::Uint(n) => Value::from(*n),
        Leaf::Float(n) => Value::from(*n),
        Leaf::Text(text) => Value::String(text.clone()),
        Leaf::Json(json) => serde_json::from_slice(json).unwrap_or_default(),
    }
}

/// Writes a leaf's path as people write fields.
fn spoken(path: &str) -> String {
    let Some(segments) = path::parse(path) else { return path.to_owned() };
    let mut field = String::new();
    for segment in segments {
        match segment {
            Segment::Key(key) if key.contains(['.', '/', '[']) => field.push_str(&format!("[{key}]")),
            Segment::Key(key) if field.is_empty() => field.push_str(&key),
            Segment::Key(key) => field.push_str(&format!(".{key}")),
            Segment::Element(id) => field.push_str(&format!("[{}]", id.replace('"', ""))),
        }
    }
    field
}
