//! Tombstones, and how they go: sealed in batches by the leader, dropped by all when the horizon's floor passes, as a
//! function of the register and the batches (rules 15, 16).
//!
//! ```text
//! buried -> sealed: in a batch that the register names -> every member has acked: floor passes -> tombstone dropped,
//!        its uid stays dead -> every member has dropped: cleared passes -> the batch is forgotten
//! ```
//!
//! Why nothing comes back: who has acked h has, after the leader held the batch, finished a full exchange with somebody
//! who had acked h, so it holds the tombstones of h and no object that they bury. Who has not is too old as soon as the
//! floor passes h, and gives nothing to anybody before it has forgotten what the cluster does not hold. What is still on
//! its way (frames, batches kept to be pulled) meets the dead uids of the batch, until everybody has told that it dropped
//! the tombstones and with them whatever it kept to pass on.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::Uid;
use crate::object::Key;
use crate::time::Now;

use super::burials::{Burials, Sealed};
use super::horizon::{Horizon, Standing};
use super::merge::Merged;
use super::parts::Birth;
use super::record::{Draft, RecordId};
use super::state::Store;
use super::uid;

/// The most tombstones of a batch; the rest waits for the next.
pub const MOST_SEALED: usize = 100_000;
/// Turns of an owned object begin anew above this power of two times the floor: a uid is never given twice, and
/// the turns of what is dropped need not be remembered.
const TURN_BITS: u32 = 20;
/// A batch of a horizon further ahead than this is nobody's.
const AHEAD: u64 = 64;

impl Store {
    /// Returns the number of the cluster's horizon, as this node knows it; 0 at the beginning. It never goes back.
    pub fn horizon(&self) -> u64 {
        self.burials.horizon.number
    }

    /// Returns how far this node has come; what it says is durable.
    pub fn standing(&self) -> Standing {
        self.burials.durable
    }

    /// Tells whether this node has slept past the horizon: what it alone holds may be long gone elsewhere.
    pub fn is_too_old(&self) -> bool {
        self.burials.acked < self.burials.horizon.floor
    }

    /// Learns the horizon from the register. An older one is passed over. Returns whether more is dropped or forgotten
    /// than before.
    pub fn set_horizon(&mut self, now: Now, horizon: Horizon) -> bool {
        self.advance(now);
        let known = &self.burials.horizon;
        if horizon.progress() <= known.progress() {
            return false;
        }
        let moved = horizon.floor > known.floor || horizon.cleared > known.cleared;
        self.burials.horizon = horizon;
        self.write_standing();
        self.collect();
        moved
    }

    /// Has it on disk how far this node has come. What is told of it is never more than is there: who drops a tombstone,
    /// says so, and then did not know it any more could be given again what it buried.
    fn write_standing(&mut self) {
        let record = self.scribe.write(Draft::Acked(self.burials.acked, &self.burials.horizon));
        self.burials.ack = Some(Arc::clone(&record));
        self.burials.arriving.push_back((self.taken.next(), self.burials.standing()));
        self.save(record);
    }

    /// Notes that an exchange is finished with somebody who had acked `number` when it began, or, as the leader, that
    /// `number` is in effect. All that was merged before is durable when the ack is.
    pub fn ack(&mut self, number: u64) {
        if number <= self.burials.acked {
            return;
        }
        self.burials.acked = number;
        self.write_standing();
        self.collect();
    }

    /// Takes back what was acked, as far as that is possible: tombstones may be among what the disk has lost. The next
    /// exchange brings them again.
    pub(super) fn doubt_ack(&mut self) {
        let Burials { acked, horizon, .. } = &mut self.burials;
        if *acked > horizon.floor {
            *acked = horizon.floor;
            self.burials.durable = self.burials.standing();
            self.write_standing();
        }
    }

    /// Tells whether there are tombstones that the next horizon would have.
    pub fn has_unsealed(&self) -> bool {
        let sealed = self.sealed();
        self.graves.iter().any(|(uid, grave)| self.is_sealable(*uid, &grave.birth, &sealed))
    }

    /// Writes the next horizon's batch. Returns its id; `None` if it would be empty. To be decided once
    /// [`Store::is_durable`] says that it is durable.
    pub fn seal(&mut self, now: Now) -> Option<RecordId> {
        self.advance(now);
        let (number, sealed) = (self.burials.horizon.number + 1, self.sealed());
        let unsealed = self.graves.iter().filter(|(uid, grave)| self.is_sealable(**uid, &grave.birth, &sealed));
        let uids: Vec<Uid> = unsealed.map(|(uid, _)| *uid).take(MOST_SEALED).collect();
        if uids.is_empty() {
            return None;
        }
        let record = self.scribe.write(Draft::Sealed(number, &uids));
        let id = RecordId::of(&record);
        self.burials.batches.insert(id, Sealed { number, uids, record: Arc::clone(&record), dropped: false });
        self.tell(record);
        Some(id)
    }

    /// Returns how far a peer must have come to be listened to, and how far this node, to be asked.
    pub fn required_standing(&self) -> Standing {
        let Horizon { floor, cleared, .. } = self.burials.horizon;
        Standing { acked: floor, floor, cleared }
    }

    /// Tells whether a record of this node is durable.
    pub fn is_durable(&self, id: RecordId) -> bool {
        !self.unsaved.has(id)
    }

    /// Tells how many tombstones are held.
    pub fn tombstones(&self) -> usize {
        self.graves.len()
    }

    /// Returns what is in batches in effect that this node answers for.
    fn sealed(&self) -> BTreeSet<Uid> {
        let Burials { batches, acked, .. } = &self.burials;
        let named = batches.iter().filter(|(id, b)| b.number <= *acked && self.burials.is_named(**id, b.number));
        named.flat_map(|(_, batch)| batch.uids.iter().copied()).collect()
    }

    fn is_sealable(&self, uid: Uid, birth: &Birth, sealed: &BTreeSet<Uid>) -> bool {
        let durable = || self.graves.get(&uid).is_some_and(|grave| !self.unsaved.has(RecordId::of(&grave.record)));
        !sealed.contains(&uid) && !self.keeps_turn(birth) && durable()
    }

    /// Tells whether a tombstone is what remembers the highest turn of a name: such a one is kept for ever, or as long
    /// as the namespace that it is in.
    fn keeps_turn(&self, birth: &Birth) -> bool {
        let highest = |origin| self.turns.get(&origin) == Some(&birth.turn);
        uid::is_by_name(birth.key.kind)
            && birth.origin.is_some_and(highest)
            && birth.namespace.is_none_or(|home| self.objects.contains_key(&home))
    }

    /// Returns the turn of the next object of an origin.
    pub(super) fn next_turn(&self, key: &Key, origin: Uid) -> u64 {
        let next = self.turns.get(&origin).copied().unwrap_or(0).saturating_add(1);
        if uid::is_by_name(key.kind) {
            return next;
        }
        next.max((self.burials.horizon.floor << TURN_BITS) + 1)
    }

    pub(super) fn merge_batch(&mut self, number: u64, uids: &[Uid], record: &Arc<[u8]>) -> Merged {
        let id = RecordId::of(record);
        let known = self.burials.batches.contains_key(&id);
        let ahead = number > self.burials.horizon.number.saturating_add(AHEAD);
        if known || ahead || self.burials.is_over(id, number) {
            return Merged::Known;
        }
        let batch = Sealed { number, uids: uids.to_vec(), record: Arc::clone(record), dropped: false };
        self.burials.batches.insert(id, batch);
        self.save(Arc::clone(record));
        self.collect();
        Merged::New
    }

    /// Drops and forgets what is due. One that is too old drops nothing before it has taken the cluster's state.
    pub(super) fn collect(&mut self) {
        if self.is_too_old() {
            return;
        }
        let mut dropped = Vec::new();
        let Burials { horizon, batches, .. } = &mut self.burials;
        for (id, batch) in batches.iter_mut().filter(|(_, batch)| !batch.dropped) {
            if batch.number <= horizon.floor && horizon.batch(batch.number) == Some(*id) {
                batch.dropped = true;
                dropped.extend(batch.uids.iter().copied());
            }
        }
        let burials = &self.burials;
        let over = burials.batches.iter().filter(|(id, batch)| burials.is_over(**id, batch.number));
        let over: Vec<RecordId> = over.map(|(id, _)| *id).collect();
        if dropped.is_empty() && over.is_empty() {
            return;
        }
        for uid in &dropped {
            self.drop_grave(*uid);
        }
        for batch in over.iter().filter_map(|id| self.burials.batches.remove(id)) {
            self.held.remove(&batch.record);
            batch.uids.iter().for_each(|uid| self.snapshot.forget_burial(*uid));
        }
        let still = self.burials.batches.values().filter(|batch| batch.dropped);
        self.burials.ghosts = still.flat_map(|batch| batch.uids.iter().copied()).collect();
        for uid in &self.burials.ghosts {
            let displaced = self.snapshot.is_displaced(*uid);
            self.snapshot.bury(*uid, displaced);
        }
        self.graves.iter().for_each(|(uid, grave)| self.snapshot.bury(*uid, grave.displaced));
    }

    fn drop_grave(&mut self, uid: Uid) {
        self.waiting.take(uid);
        let Some(grave) = self.graves.remove(&uid) else { return self.end_unburied(uid) };
        self.held.remove(&grave.record);
        if let Some(origin) = grave.birth.origin {
            let top = self.turns.get(&origin).map(|turn| uid::of_turn(origin, *turn));
            if top.is_some_and(|top| !self.objects.contains_key(&top) && !self.graves.contains_key(&top)) {
                self.turns.remove(&origin);
            }
        }
        self.end_unburied(uid);
    }

    /// Ends an object that is collected and here all the same: its tombstone was lost to a damaged disk, or had been
    /// dropped already by those from whom this node took the cluster's state. The disk has to forget it.
    fn end_unburied(&mut self, uid: Uid) {
        if self.objects.get(&uid).is_none_or(|object| object.working.gone) {
            return;
        }
        if let Some(key) = self.take_away(uid) {
            let record = self.scribe.write(Draft::Forgotten(&[uid], &[]));
            self.save(record);
            self.reveal_or_follow(&key);
        }
    }

    /// Takes an object away without showing it yet. Who waits for it is told how it was last. Returns its key.
    pub(super) fn take_away(&mut self, uid: Uid) -> Option<Key> {
        let key = self.objects.get(&uid)?.working.birth.key.clone();
        let last = self.committed(&key, uid).map(|committed| committed.entry);
        self.reallocate(uid, &key, None);
        self.documents.take(uid);
        self.forget_observation(uid);
        self.release(uid);
        self.objects.remove(&uid);
        if self.names.get_mut(&key).is_some_and(|uids| uids.remove(&uid).is_some() && uids.is_empty()) {
            self.names.remove(&key);
            self.unsettled.remove(&key);
            self.bereaved.remove(&key);
        }
        for step in self.steps.iter_mut().filter(|step| step.is_about(uid)) {
            step.look_instead(last.clone());
        }
        Some(key)
    }
}
