//! What members have signed and nobody can take: named, counted, told, and never asked for again.
//!
//! A refused record is not kept, only its id, so that no exchange brings it again; what builds on a refused change is
//! refused like it. All is held in memory and bounded; a start forgets it, and what still comes is refused anew.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::{NodeId, Uid};
use crate::object::Key;

use super::document::Hash;
use super::merge::MergeError;
use super::record::{Body, Record, RecordId, Verified};
use super::state::Store;

/// How many refused records are remembered, of one author and of all; the oldest are forgotten.
pub const MOST_OF_ONE: usize = 1_024;
/// See [`MOST_OF_ONE`].
pub const MOST: usize = 4_096;
/// How many authors are counted.
const MOST_AUTHORS: usize = 256;
/// How many refusals wait to be told; more are only counted.
const MOST_UNTOLD: usize = 64;
/// The most bytes of a reason.
const REASON: usize = 256;

/// A record that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Which.
    pub id: RecordId,
    /// Who signed it.
    pub author: NodeId,
    /// The object that it is about.
    pub uid: Option<Uid>,
    /// Where that object lives, as far as this node knows.
    pub key: Option<Key>,
    /// What is wrong with it.
    pub reason: String,
}

/// The refused records.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    /// What each is about: the object, and the change if that is at fault.
    held: BTreeMap<RecordId, (Option<Uid>, Option<Hash>)>,
    /// The changes among them.
    changes: BTreeMap<(Uid, Hash), RecordId>,
    /// Of each author, oldest first.
    by_author: BTreeMap<NodeId, VecDeque<RecordId>>,
    /// How many of each author there were since the start.
    counts: BTreeMap<NodeId, u64>,
    untold: Vec<Quarantined>,
}

impl Quarantine {
    /// Holds a record as refused. Returns whether it is new.
    pub fn add(&mut self, refused: Quarantined, change: Option<Hash>) -> bool {
        let Quarantined { id, author, uid, .. } = refused;
        if self.held.contains_key(&id) {
            return false;
        }
        if self.by_author.get(&author).is_some_and(|ids| ids.len() >= MOST_OF_ONE) {
            self.forget_oldest_of(author);
        } else if self.held.len() >= MOST {
            // Who has most has room taken from.
            let most = self.by_author.iter().max_by_key(|(_, ids)| ids.len()).map(|(author, _)| *author);
            most.into_iter().for_each(|author| self.forget_oldest_of(author));
        }
        if let Some(change) = uid.zip(change) {
            self.changes.insert(change, id);
        }
        self.held.insert(id, (uid, change));
        self.by_author.entry(author).or_default().push_back(id);
        if self.counts.len() < MOST_AUTHORS || self.counts.contains_key(&author) {
            *self.counts.entry(author).or_default() += 1;
        }
        if self.untold.len() < MOST_UNTOLD {
            self.untold.push(refused);
        }
        true
    }

    fn forget_oldest_of(&mut self, author: NodeId) {
        let Some(ids) = self.by_author.get_mut(&author) else { return };
        let oldest = ids.pop_front();
        if ids.is_empty() {
            self.by_author.remove(&author);
        }
        let about = oldest.and_then(|id| self.held.remove(&id));
        if let Some(change) = about.and_then(|(uid, change)| uid.zip(change)) {
            self.changes.remove(&change);
        }
    }

    /// Forgets what was refused of an object: what is wrong in one epoch need not be in the next.
    pub fn forget_object(&mut self, uid: Uid) {
        let before = self.held.len();
        self.held.retain(|_, (about, _)| *about != Some(uid));
        if self.held.len() == before {
            return;
        }
        let held = &self.held;
        self.by_author.retain(|_, ids| {
            ids.retain(|id| held.contains_key(id));
            !ids.is_empty()
        });
        self.changes.retain(|(about, _), _| *about != uid);
    }

    /// Forgets which records were refused, and not how many.
    pub fn forget(&mut self) {
        let Self { counts, untold, .. } = std::mem::take(self);
        *self = Self { counts, untold, ..Self::default() };
    }

    /// Tells whether a record is held as refused.
    pub fn has(&self, id: RecordId) -> bool {
        self.held.contains_key(&id)
    }

    /// Tells whether one of an object's changes is held as refused.
    pub fn has_change(&self, uid: Uid, hash: Hash) -> bool {
        self.changes.contains_key(&(uid, hash))
    }
}

impl Store {
    /// Tells whether a record was refused: it is known, need not be asked for, and is not held.
    pub fn is_refused(&self, id: RecordId) -> bool {
        self.quarantine.has(id)
    }

    /// Lists the ids of the refused records, at most [`MOST`].
    pub fn refused_ids(&self) -> impl Iterator<Item = RecordId> {
        self.quarantine.held.keys().copied()
    }

    /// Returns how many records of each author were refused since the start.
    pub fn refusals(&self) -> &BTreeMap<NodeId, u64> {
        &self.quarantine.counts
    }

    /// Takes what was refused since the last call, to be told; at most 64.
    pub fn take_refused(&mut self) -> Vec<Quarantined> {
        std::mem::take(&mut self.quarantine.untold)
    }

    /// Holds a validly signed record as refused, whatever is wrong with it.
    pub fn refuse(&mut self, record: &Record, reason: &str) {
        self.hold_refused(record, reason, None);
    }

    /// Holds a record as refused whose change is at fault, whoever signs it: what builds on that is refused like it.
    pub(super) fn refuse_change(&mut self, record: &Record, reason: &str) {
        let change = match &record.body {
            Body::Change { chunk, .. } => change_hash(&record.raw[chunk.clone()]),
            _ => None,
        };
        self.hold_refused(record, reason, change);
    }

    fn hold_refused(&mut self, record: &Record, reason: &str, change: Option<Hash>) {
        let uid = record.body.uid();
        let key = uid.and_then(|uid| self.objects.get(&uid)).map(|object| object.working.birth.key.clone());
        let reason = crop(reason).to_owned();
        let refused = Quarantined { id: RecordId::of(&record.raw), author: record.author, uid, key, reason };
        if self.quarantine.add(refused, change)
            && let (Some(uid), Some(_)) = (uid, change)
        {
            self.refuse_descendants(uid);
        }
    }

    /// Reckons how long merging a record will take, in microseconds: from above for a release build.
    pub fn cost(&self, record: &Verified) -> u64 {
        let record = record.record();
        let bytes = record.raw.len() as u64;
        let (uid, times) = match &record.body {
            Body::Change { uid, base, .. } => {
                let epoch = self.objects.get(uid).and_then(|object| object.epoch.as_ref());
                // Of a late one the image is made first, in a document of its own.
                (uid, if epoch.is_some_and(|epoch| *base != Some(epoch.name)) { 3 } else { 1 })
            }
            // All changes are looked at again.
            Body::Epoch { uid, .. } => (uid, 10),
            _ => return 20 + bytes / 50,
        };
        let history = self.objects.get(uid).map_or(&[][..], |object| &object.changes);
        let former: usize = history.iter().map(|kept| kept.chunk.len()).sum();
        // Operations take 10 to 20 bytes and up to 22 us each; then the whole document is saved and loaded.
        times * (100 + bytes + 2 * history.len() as u64 + former as u64 / 10)
    }

    pub(super) fn refused(&mut self, record: &Record, error: MergeError) -> MergeError {
        let reason = error.to_string();
        match &error {
            MergeError::Document { .. } => self.refuse_change(record, &reason),
            _ => self.refuse(record, &reason),
        }
        error
    }

    /// Refuses what waits for a change that is refused.
    fn refuse_descendants(&mut self, uid: Uid) {
        for record in self.waiting.take(uid) {
            if self.builds_on_refused(uid, &record) {
                self.refuse_change(&record, "it builds on a change that is refused");
            } else {
                self.waiting.push(uid, record);
            }
        }
    }

    fn builds_on_refused(&self, uid: Uid, record: &Record) -> bool {
        let Body::Change { chunk, .. } = &record.body else { return false };
        let chunk = super::document::Chunk::of_peer(&record.raw[chunk.clone()]);
        chunk.is_ok_and(|chunk| chunk.parents().any(|parent| self.quarantine.has_change(uid, parent)))
    }
}

/// Returns a change's hash, also of one that cannot be read further than that.
fn change_hash(chunk: &[u8]) -> Option<Hash> {
    use sha2::{Digest, Sha256};
    Some(Sha256::digest(chunk.get(8..)?).into())
}

fn crop(text: &str) -> &str {
    let end = (0..=REASON.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(author: u8, n: u32) -> Quarantined {
        let mut id = [author; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        Quarantined {
            id: RecordId(id),
            author: NodeId([author; 32]),
            uid: Some(Uid([1; 16])),
            key: None,
            reason: "x".into(),
        }
    }

    #[test]
    fn one_author_cannot_have_another_forgotten_and_all_is_bounded() {
        let mut quarantine = Quarantine::default();
        assert!(quarantine.add(refused(1, 0), Some([9; 32])));
        assert!(!quarantine.add(refused(1, 0), None), "known");
        for n in 0..10_000 {
            quarantine.add(refused(2, n), None);
        }
        assert!(quarantine.has(refused(1, 0).id) && quarantine.has_change(Uid([1; 16]), [9; 32]));
        assert_eq!(quarantine.held.len(), MOST_OF_ONE + 1);
        assert_eq!(quarantine.counts[&NodeId([2; 32])], 10_000);
        for author in 3..100 {
            for n in 0..1_024 {
                quarantine.add(refused(author, n), Some([author; 32]));
            }
        }
        assert!(quarantine.held.len() <= MOST && quarantine.untold.len() == MOST_UNTOLD);
        assert!(quarantine.changes.len() <= quarantine.held.len());
        assert!(quarantine.has(refused(1, 0).id), "the one with least keeps it");
    }

    #[test]
    fn reasons_are_cut_between_characters() {
        assert_eq!(crop("short"), "short");
        assert_eq!(crop(&"é".repeat(300)).len(), REASON);
        assert_eq!(crop(&format!("x{}", "é".repeat(300))).len(), REASON - 1);
    }
}
