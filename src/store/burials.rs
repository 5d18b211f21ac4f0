//! What a store knows of the collection of tombstones: the register, the batches, and how far this node has come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::ids::{PersistId, Uid};

use super::horizon::{Horizon, Standing};
use super::record::RecordId;

/// What is known of the collection of tombstones.
#[derive(Debug, Default)]
pub(super) struct Burials {
    /// The newest value of the register that is known.
    pub horizon: Horizon,
    pub batches: BTreeMap<RecordId, Sealed>,
    /// Uids of what is dropped and not forgotten.
    pub ghosts: BTreeSet<Uid>,
    /// The horizon that this node has acked.
    pub acked: u64,
    /// The record that says how far this node has come.
    pub ack: Option<Arc<[u8]>>,
    /// What such records say that are not durable yet.
    pub arriving: VecDeque<(PersistId, Standing)>,
    /// What the newest says that is.
    pub durable: Standing,
}

/// A batch of tombstones.
#[derive(Debug)]
pub(super) struct Sealed {
    /// The horizon that it is to be.
    pub number: u64,
    pub uids: Vec<Uid>,
    pub record: Arc<[u8]>,
    /// Whether its tombstones are dropped.
    pub dropped: bool,
}

impl Burials {
    /// Puts a batch in that was found on disk.
    pub fn found(&mut self, number: u64, uids: Vec<Uid>, record: Arc<[u8]>) {
        self.batches.insert(RecordId::of(&record), Sealed { number, uids, record, dropped: false });
    }

    /// Takes in how far this node had come, as found on disk. Both grow, so the most is the newest.
    pub fn found_ack(&mut self, number: u64, horizon: &Horizon, record: &Arc<[u8]>) {
        if (number, horizon.progress()) >= (self.acked, self.horizon.progress()) {
            (self.acked, self.horizon, self.ack) = (number, horizon.clone(), Some(Arc::clone(record)));
            self.durable = self.standing();
        }
    }

    /// Takes batches out that are forgotten. Returns their records.
    pub fn unfound(&mut self, ids: &[RecordId]) -> Vec<Arc<[u8]>> {
        ids.iter().filter_map(|id| self.batches.remove(id)).map(|batch| batch.record).collect()
    }

    /// Notes which batches are durable.
    pub fn persisted(&mut self, id: PersistId) {
        while let Some((_, standing)) = self.arriving.pop_front_if(|(batch, _)| *batch <= id) {
            self.durable = standing;
        }
    }

    /// Returns how far this node has come, durable or not.
    pub fn standing(&self) -> Standing {
        let applied = self.acked >= self.horizon.floor;
        let (floor, cleared) = if applied { (self.horizon.floor, self.horizon.cleared) } else { (0, 0) };
        Standing { acked: self.acked, floor, cleared }
    }

    /// Returns the records that peers should have.
    pub fn records(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.batches.values().map(|batch| &batch.record)
    }

    /// Tells whether an object was collected: whatever is said of it is not heard.
    pub fn is_ghost(&self, uid: Uid) -> bool {
        self.ghosts.contains(&uid)
    }

    #[cfg(test)]
    pub fn uids(&self, batch: RecordId) -> Vec<Uid> {
        self.batches[&batch].uids.clone()
    }

    /// Tells whether the register names a batch: only then it is in effect.
    pub fn is_named(&self, id: RecordId, number: u64) -> bool {
        self.horizon.batch(number) == Some(id)
    }

    /// Tells whether a batch is of no use any more: forgotten, or never to be in effect.
    pub fn is_over(&self, id: RecordId, number: u64) -> bool {
        number <= self.horizon.cleared || number <= self.horizon.number && !self.is_named(id, number)
    }
}
