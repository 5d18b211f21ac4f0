//! Where a document's changes stand among each other, and whether a peer's change can stand where it says.
//!
//! Each verdict is a function of the change and of what it builds on, never of what else a node holds: so all nodes
//! take the same changes, in whatever order they come.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use automerge::{ActorId, Change};
use imbl::OrdMap;

use super::document::Hash;

/// Why a change cannot stand where it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// Its author has told others something else under the same number: that change.
    Twice(Hash),
    /// It is wrong in itself.
    Wrong(&'static str),
}

/// The changes of a document. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    places: OrdMap<Hash, Arc<Place>>,
    by_number: OrdMap<(ActorId, u64), Hash>,
}

#[derive(Debug)]
struct Place {
    actor: ActorId,
    seq: u64,
    last_op: u64,
    parents: Vec<Hash>,
}

impl Lineage {
    /// Adds changes that were applied, in any order; those whose parents are missing are left out.
    pub fn add<'a>(&mut self, changes: impl IntoIterator<Item = &'a Change>) {
        let mut left: Vec<&Change> = changes.into_iter().collect();
        loop {
            let before = left.len();
            left.retain(|change| {
                let stands = change.deps().iter().all(|parent| self.places.contains_key(&parent.0));
                if stands {
                    self.add_one(change);
                }
                !stands
            });
            if left.is_empty() || left.len() == before {
                return;
            }
        }
    }

    fn add_one(&mut self, change: &Change) {
        let (hash, actor) = (change.hash().0, change.actor_id().clone());
        self.by_number.insert((actor.clone(), change.seq()), hash);
        let parents = change.deps().iter().map(|parent| parent.0).collect();
        let place = Place { actor, seq: change.seq(), last_op: change.max_op(), parents };
        self.places.insert(hash, Arc::new(place));
    }

    /// Tells whether a change can be added whose parents are all here. Our writers build on all they hold, number
    /// their changes without a gap and their operations from one above the highest; so nothing else is taken, and no
    /// peer can bring the numbers near where they overflow.
    ///
    /// # Errors
    /// [`Misfit`].
    pub fn check(&self, change: &Change) -> Result<(), Misfit> {
        let parents: Vec<Hash> = change.deps().iter().map(|parent| parent.0).collect();
        if parents.iter().collect::<BTreeSet<_>>().len() != parents.len() {
            return Err(Misfit::Wrong("a parent is named twice"));
        }
        // A parent's last operation is above all of its own parents'.
        let mut last = 0;
        for parent in &parents {
            let place = self.places.get(parent).ok_or(Misfit::Wrong("a parent is missing"))?;
            last = last.max(place.last_op);
        }
        if change.start_op().get() != last.saturating_add(1) {
            return Err(Misfit::Wrong("its operations are not numbered from one above the highest"));
        }
        let former = change.seq().saturating_sub(1);
        if former != self.last_of(change.actor_id(), parents, former) {
            return Err(Misfit::Wrong("it does not build on its author's former change"));
        }
        match self.by_number.get(&(change.actor_id().clone(), change.seq())) {
            Some(other) if *other != change.hash().0 => Err(Misfit::Twice(*other)),
            _ => Ok(()),
        }
    }

    /// Returns the highest number of an actor's changes among `from` and what these build on, 0 without any. Looks no
    /// further than the first that is `expected`.
    fn last_of(&self, actor: &ActorId, from: Vec<Hash>, expected: u64) -> u64 {
        let mut seen: BTreeSet<Hash> = from.iter().copied().collect();
        let mut queue = VecDeque::from(from);
        let mut last = 0;
        while let Some(place) = queue.pop_front().and_then(|hash| self.places.get(&hash)) {
            if place.actor == *actor {
                last = last.max(place.seq);
                if last >= expected && expected > 0 {
                    break;
                }
            }
            queue.extend(place.parents.iter().filter(|parent| seen.insert(**parent)));
        }
        last
    }

    /// Returns a change and all that build on it.
    pub fn descendants(&self, hash: Hash) -> BTreeSet<Hash> {
        let mut found = BTreeSet::from([hash]);
        loop {
            let builds = |place: &Place| place.parents.iter().any(|parent| found.contains(parent));
            let more: Vec<Hash> =
                self.places.iter().filter(|(h, p)| !found.contains(*h) && builds(p)).map(|(h, _)| *h).collect();
            if more.is_empty() {
                return found;
            }
            found.extend(more);
        }
    }
}
