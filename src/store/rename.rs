//! Two first changes that give one uid two names, which only a member gone mad makes: which of them stands is a matter of
//! what they say, so that every node decides alike, whichever came first. The other goes, and what builds on it.
//!
//! A birth whose uid derives from its name stands before one whose uid does not; then the older one does, then the one of
//! the lesser name.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ids::Uid;
use crate::object::Key;
use crate::time::Wall;

use super::document::{Document, Hash};
use super::epoch_images::Found;
use super::parts::{Birth, to_json};
use super::record::Record;
use super::show::What;
use super::state::Store;
use super::uid;

/// The least stands.
type Rank<'a> = (bool, Wall, u64, Option<Uid>, Option<Uid>, &'a Key);

fn rank(uid: Uid, birth: &Birth) -> Rank<'_> {
    (!derives(uid, birth), birth.created, birth.turn, birth.origin, birth.namespace, &birth.key)
}

/// Tells whether a uid derives from what a birth says, as far as the birth alone can show it.
fn derives(uid: Uid, birth: &Birth) -> bool {
    let named = uid::origin(&birth.key, &Map::new(), birth.namespace);
    birth
        .origin
        .is_some_and(|origin| uid::of_turn(origin, birth.turn) == uid && named.is_none_or(|named| named == origin))
}

/// Returns the birth that stands, and the hashes of the changes that give its uid another name.
pub(super) fn named(uid: Uid, births: &[(Hash, Birth)]) -> (Option<&Birth>, BTreeSet<Hash>) {
    let birth = births.iter().map(|(_, birth)| birth).min_by(|one, other| rank(uid, one).cmp(&rank(uid, other)));
    let other = |at: &&(Hash, Birth)| birth.is_some_and(|birth| birth.key != at.1.key);
    (birth, births.iter().filter(other).map(|(hash, _)| *hash).collect())
}

/// What becomes of a change that gives an object another name than it has.
pub(super) enum Naming {
    /// Nothing: the object has its name.
    Refused,
    /// It has to wait for what it builds on.
    Waits,
    /// The object has that name from now on, and nothing is known of what is asked of it.
    Taken,
}

impl Store {
    /// Decides about a change that gives an object another name than it has.
    pub(super) fn give_name(&mut self, uid: Uid, found: &Found, birth: &Birth) -> Naming {
        let (Some(object), chunk) = (self.objects.get(&uid), &found.chunk) else { return Naming::Taken };
        if !self.has_better_name(uid, birth) || found.base.is_some() {
            return Naming::Refused;
        }
        if !chunk.parents().all(|parent| object.changes.iter().any(|kept| kept.hash == parent)) {
            return Naming::Waits;
        }
        // What builds on the changes that would have to go goes with them.
        if chunk.parents().next().is_some() || Document::default().merged(chunk.clone()).is_err() {
            return Naming::Refused;
        }
        self.rename(uid, birth);
        Naming::Taken
    }

    /// Tells whether a birth stands before an object's own.
    pub(super) fn has_better_name(&self, uid: Uid, birth: &Birth) -> bool {
        self.objects.get(&uid).is_none_or(|object| rank(uid, birth) < rank(uid, &object.working.birth))
    }

    /// Gives an object the name that a birth says, and forgets what was asked of it.
    pub(super) fn rename(&mut self, uid: Uid, birth: &Birth) {
        self.release(uid);
        self.documents.take(uid);
        self.images = None;
        self.quarantine.forget_object(uid);
        let Some(object) = self.objects.get(&uid) else { return };
        let former = object.working.birth.key.clone();
        self.reallocate(uid, &former, None);
        self.forget_parts(uid);
        let Some(object) = self.objects.get_mut(&uid) else { return };
        let gone = std::mem::take(&mut object.changes);
        (object.epoch, object.former) = (None, Vec::new());
        object.working.birth = Arc::new(birth.clone());
        object.working.intent = to_json(&Value::Object(Map::new()));
        object.working.spec_changes = 0;
        (object.shown, object.pending) = (None, 0);
        if self.names.get_mut(&former).is_some_and(|uids| uids.remove(&uid).is_some() && uids.is_empty()) {
            self.names.remove(&former);
        }
        self.register_birth(uid, birth);
        self.then_show_merged(&former, What::Reveal);
        for record in gone.into_iter().filter_map(|kept| Record::read(kept.record).ok()) {
            self.refuse_change(&record, "its object has another name, or what it builds on gives it another");
        }
    }
}
