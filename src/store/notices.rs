//! What users are to be told of merges: which edit gave way to another, and what found no place.
//!
//! Every node merges alike, but each thing is told once: by the node whose own edit was lost, when the edit comes to
//! which it was lost.

use crate::object::{Key, Note, NoteType, kinds};

use super::document::{Actor, Chunk, Document};
use super::fork::Rival;
use super::leaves::{Leaf, Shape};
use super::path::{Segment, parse};
use super::record::Record;
use super::repair::Settled;
use super::state::Store;
use crate::ids::Uid;

/// Who says so.
pub(super) const COMPONENT: &str = "skein-merge";
/// How much of a value is told, in characters.
const SHOWN: usize = 60;
/// How many things of one merge are told.
const MOST: usize = 10;

impl Store {
    /// Takes what users are to be told of merges since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Notes what `after` has lost of this node's edits that `before` had not.
    pub(super) fn note_losses(
        &mut self,
        key: &Key,
        uid: Uid,
        before: (&Document, &Settled),
        after: (&Document, &Settled),
    ) {
        if !after.0.is_forked() {
            return;
        }
        let ours = self.own_actors(uid);
        let told = before.0.rivals();
        let rivals = after.0.rivals().into_iter().filter(|rival| ours.contains(&rival.loser) && !told.contains(rival));
        let gave_way = rivals.map(|rival| (rival.path.clone(), "MergeConflict", conflict(key, &rival)));
        let shape = self.shape(key);
        let homeless = after.1.strays.difference(&before.1.strays);
        let homeless = homeless.filter(|path| after.0.author(path).is_some_and(|author| ours.contains(&author)));
        let homeless = homeless.map(|path| (path.clone(), "MergeRepaired", stray(shape, path, after.0)));
        let mut losses: Vec<_> = gave_way.filter(|(path, ..)| !is_order(path)).chain(homeless).take(MOST).collect();
        if after.1.alone.is_some() && before.1.alone.is_none() && self.lost_alone(uid, after.1) {
            let message = format!(
                "what two sides of a cut made of it together is no valid {}: the side that wrote last stands, this \
                 node's changes are dropped",
                key.kind.kind
            );
            losses.push((String::new(), "MergeRefused", message));
        }
        for (path, reason, message) in losses {
            let (regarding, field_path) = (key.clone(), shown_path(&path));
            let kind = NoteType::Warning;
            self.notes.push(Note { regarding, uid, field_path, kind, reason, message, component: COMPONENT });
        }
    }

    /// Lists the actors under which this node has written to an object, in this run and earlier ones.
    fn own_actors(&self, uid: Uid) -> Vec<Actor> {
        let mut actors = vec![self.actor.clone()];
        for kept in self.objects.get(&uid).map(|object| &*object.changes).unwrap_or_default() {
            let ours = Record::read(std::sync::Arc::clone(&kept.record)).is_ok_and(|r| r.author == self.scribe.node);
            if let (true, Ok(chunk)) = (ours, Chunk::read(kept.in_document())) {
                actors.push(chunk.actor());
            }
        }
        actors
    }

    /// Tells whether this node wrote to an object of which another side stands alone, but not that side's last word.
    fn lost_alone(&self, uid: Uid, settled: &Settled) -> bool {
        let Some(object) = self.objects.get(&uid) else { return false };
        let last = object.changes.iter().rfind(|kept| {
            Record::read(std::sync::Arc::clone(&kept.record)).is_ok_and(|record| record.author == self.scribe.node)
        });
        last.is_some_and(|kept| Some(kept.hash) != settled.alone)
    }
}

fn conflict(key: &Key, rival: &Rival) -> String {
    let path = shown_path(&rival.path);
    if *key.kind == kinds::SECRET {
        // Never a Secret's value, wherever in it.
        return format!("two sides of a cut changed {path}: the other side's value stays, this one's is dropped");
    }
    let (kept, lost) = (shown(&rival.kept), shown(&rival.lost));
    format!("two sides of a cut changed {path}: {kept} stays, {lost} is dropped")
}

fn stray(shape: Shape, path: &str, document: &Document) -> String {
    let shown_path = shown_path(path);
    match document.leaves().get(path).filter(|_| *shape.kind != kinds::SECRET) {
        Some(leaf) => format!("{shown_path} has no place after a merge: {} is dropped", shown(leaf)),
        None => format!("{shown_path} has no place after a merge and is dropped"),
    }
}

fn is_order(path: &str) -> bool {
    path.ends_with('#')
}

/// Writes a value, shortened.
fn shown(leaf: &Leaf) -> String {
    let text = match leaf {
        Leaf::Null => "null".to_owned(),
        Leaf::Bool(b) => b.to_string(),
        Leaf::Int(n) => n.to_string(),
        Leaf::Uint(n) => n.to_string(),
        Leaf::Float(n) => n.to_string(),
        Leaf::Text(text) => format!("{text:?}"),
        Leaf::Json(json) => String::from_utf8_lossy(json).into_owned(),
    };
    if text.chars().count() <= SHOWN {
        return text;
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start}...")
}

/// Writes a leaf's path as users do: `spec.template.spec.containers[web].image`.
fn shown_path(path: &str) -> String {
    let mut shown = String::new();
    for segment in parse(path).into_iter().flatten() {
        match segment {
            Segment::Key(key) if key.contains(['.', '/']) => shown.push_str(&format!("[{key}]")),
            Segment::Key(key) if shown.is_empty() => shown.push_str(&key),
            Segment::Key(key) => {
                shown.push('.');
                shown.push_str(&key);
            }
            Segment::Element(id) => shown.push_str(&format!("[{}]", id.replace('"', ""))),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_values_are_shown_as_users_write_them() {
        assert_eq!(
            shown_path("/spec/template/spec/containers#\"web\"/ports#80,\"TCP\"/hostPort"),
            "spec.template.spec.containers[web].ports[80,TCP].hostPort"
        );
        assert_eq!(shown_path("/metadata/annotations/skein.dev~1slot"), "metadata.annotations[skein.dev/slot]");
        assert_eq!(shown(&Leaf::Text("x".repeat(200))).len(), SHOWN + 3);
    }
}
