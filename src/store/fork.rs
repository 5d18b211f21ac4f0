//! What sides that did not know of each other have left in a document: the second half of what knows Automerge.
//!
//! A document is *forked* while its changes have no last one that builds on all others. The next write joins it.

use automerge::{ROOT, ReadDoc, Value};

use super::document::{Actor, Document, Hash, leaf_of, leaves_in};
use super::guard::guarded;
use super::leaves::{Leaf, Leaves};

/// How many sides are looked at; more come only of a cluster in as many pieces.
const SIDES: usize = 16;

/// One side of a fork.
#[derive(Clone, Debug)]
pub struct Side {
    /// Its last change.
    pub head: Hash,
    /// The document as it was for whoever wrote that.
    pub leaves: Leaves,
}

/// A value that gave way to another, written without knowing of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rival {
    /// Where.
    pub path: String,
    /// What stays.
    pub kept: Leaf,
    /// What gave way.
    pub lost: Leaf,
    /// Who wrote what gave way.
    pub loser: Actor,
}

impl Document {
    /// Tells whether sides wrote to it that did not know of each other, and nobody since who knew of all.
    pub fn is_forked(&self) -> bool {
        self.doc.get_heads().len() > 1
    }

    /// Lists the sides of a fork, the one that wrote last first, as every node does.
    pub fn sides(&self) -> Vec<Side> {
        let written =
            |head: &automerge::ChangeHash| self.doc.get_change_by_hash(head).map_or(0, |change| change.max_op());
        let mut heads: Vec<_> = self.doc.get_heads().into_iter().map(|head| (written(&head), head)).collect();
        heads.sort_unstable_by(|one, other| other.cmp(one));
        let side = |(_, head): &(u64, automerge::ChangeHash)| {
            let leaves = guarded(|| leaves_in(self.doc.map_range_at(ROOT, .., &[*head]))).ok()?;
            Some(Side { head: head.0, leaves })
        };
        heads.iter().take(SIDES).filter_map(side).collect()
    }

    /// Lists the values that gave way to others.
    pub fn rivals(&self) -> Vec<Rival> {
        let contested = self.doc.map_range(ROOT, ..).filter(|item| item.conflict);
        let paths: Vec<String> = contested.map(|item| item.key.into_owned()).collect();
        let all = |path: String| {
            let kept = self.leaves().get(&path)?.clone();
            let said = self.doc.get_all(ROOT, path.as_str()).ok()?.into_iter();
            let rival = move |(value, id): (Value<'_>, automerge::ObjId)| {
                let lost = leaf_of(value.into_scalar().ok()?).filter(|lost| *lost != kept)?;
                Some(Rival { path: path.clone(), kept: kept.clone(), lost, loser: actor_of(&id)? })
            };
            Some(said.filter_map(rival).collect::<Vec<_>>())
        };
        guarded(|| paths.into_iter().filter_map(all).flatten().collect()).unwrap_or_default()
    }

    /// Returns who wrote a leaf.
    pub fn author(&self, path: &str) -> Option<Actor> {
        let (_, id) = guarded(|| self.doc.get(ROOT, path)).ok()?.ok()??;
        actor_of(&id)
    }
}

fn actor_of(id: &automerge::ObjId) -> Option<Actor> {
    match id {
        automerge::ObjId::Id(_, actor, _) => Some(Actor(actor.clone())),
        automerge::ObjId::Root => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::Chunk;
    use super::*;
    use crate::ids::NodeId;

    fn actor(n: u8) -> Actor {
        Actor::new(NodeId([n; 32]), 1)
    }

    fn write(document: &mut Document, n: u8, path: &str, text: &str) -> Chunk {
        let delta = vec![(path.to_owned(), Some(Leaf::Text(text.into())))];
        Chunk::read(&document.write(&actor(n), delta).unwrap().chunk).unwrap()
    }

    #[test]
    fn both_nodes_know_who_gave_way_and_what_each_side_saw() {
        let mut a = Document::default();
        let first = write(&mut a, 1, "/x", "1");
        let mut b = Document::of(&[first]);
        let (on_a, on_b) = (write(&mut a, 1, "/x", "a"), write(&mut b, 2, "/x", "b"));
        assert!(!a.is_forked());
        let (a, mut b) = (a.merged(on_b).unwrap(), b.merged(on_a).unwrap());
        assert!(a.is_forked());
        let rivals = a.rivals();
        assert_eq!((rivals.len(), &rivals), (1, &b.rivals()));
        let kept = if rivals[0].loser == actor(1) { ("b", 2) } else { ("a", 1) };
        assert_eq!(rivals[0].kept, Leaf::Text(kept.0.into()));
        assert_eq!(b.author("/x"), Some(actor(kept.1)));
        let seen: Vec<_> = a.sides().into_iter().map(|side| side.leaves["/x"].clone()).collect();
        assert_eq!((seen.len(), seen.contains(&rivals[0].lost)), (2, true));
        write(&mut b, 2, "/y", "both");
        assert!(!b.is_forked(), "whoever writes next joins the sides");
    }
}
