//! What peers are to be told, and which records are not durable yet.
//!
//! Only what this node wrote itself is news; what others wrote they tell themselves, and the exchange repairs the rest.
//! Nothing found on disk at the start is news either.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::ids::{PersistId, Uid};
use crate::object::Key;

use super::record::{Body, Draft, Record, RecordId, Verified};
use super::register::Register;
use super::state::{News, Store};

/// News that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// Records that must be durable first, with their batch, oldest first.
    durable: Vec<(PersistId, Arc<[u8]>)>,
    /// Objects of which this node's kubelet saw something new.
    seen: BTreeSet<Uid>,
    /// Events that this node wrote or deleted.
    passed: BTreeSet<Key>,
}

impl Untold {
    /// Notes that this node's kubelet saw something new of an object.
    pub fn saw(&mut self, uid: Uid) {
        self.seen.insert(uid);
    }

    /// There is nothing to tell of these records any more.
    pub fn forget(&mut self, ids: &BTreeSet<RecordId>) {
        self.durable.retain(|(_, record)| !ids.contains(&RecordId::of(record)));
    }

    /// Notes that this node wrote or deleted an Event.
    pub fn passed(&mut self, key: &Key) {
        self.passed.insert(key.clone());
    }
}

/// The records of batches that are not durable yet.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    order: VecDeque<(PersistId, Arc<[u8]>)>,
    ids: BTreeSet<RecordId>,
    bytes: usize,
}

impl Unsaved {
    fn add(&mut self, batch: PersistId, record: &Arc<[u8]>) {
        if self.ids.insert(RecordId::of(record)) {
            self.bytes += record.len();
            self.order.push_back((batch, Arc::clone(record)));
        }
    }

    /// Every batch up to this one is durable. Returns the records of which that is new.
    pub fn saved(&mut self, batch: PersistId) -> Vec<Arc<[u8]>> {
        let mut records = Vec::new();
        while let Some((_, record)) = self.order.pop_front_if(|(b, _)| *b <= batch) {
            self.ids.remove(&RecordId::of(&record));
            self.bytes -= record.len();
            records.push(record);
        }
        records
    }

    /// Tells whether a record is not durable yet.
    pub fn has(&self, id: RecordId) -> bool {
        self.ids.contains(&id)
    }
}

impl Store {
    /// Returns what peers are to be told since the last call: this node's own records. What must be durable first names
    /// its batch: the one that the next [`Store::take_batch`] returns, or, if that was called before, the one it
    /// returned. Observations and Events come first, to be told at once: each newest value once.
    ///
    /// A node calls this and [`Store::take_batch`] at the end of each turn, this one first.
    pub fn take_news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        let mut at_once = self.fresh_observations();
        at_once.extend(self.fresh_events());
        if !at_once.is_empty() {
            news.push(News { after: None, records: at_once });
        }
        let mut batches: BTreeMap<PersistId, Vec<Verified>> = BTreeMap::new();
        for (batch, record) in std::mem::take(&mut self.news.durable) {
            batches.entry(batch).or_default().push(Verified::own(record));
        }
        news.extend(batches.into_iter().map(|(batch, records)| {
            let after = (batch > self.durable).then_some(batch);
            News { after, records }
        }));
        news
    }

    fn fresh_observations(&mut self) -> Vec<Verified> {
        let seen = std::mem::take(&mut self.news.seen);
        seen.into_iter().filter_map(|uid| self.signed_observation(uid)).map(Verified::own).collect()
    }

    fn fresh_events(&mut self) -> Vec<Verified> {
        let passed = std::mem::take(&mut self.news.passed);
        let (node, scribe) = (self.scribe.node, &mut self.scribe);
        let ours =
            passed.iter().filter_map(|key| Some((key, self.ephemerals.last(key).filter(|e| e.stamp.author == node)?)));
        ours.map(|(key, event)| {
            let draft = Draft::Event(event.uid, key, event.stamp.major, event.object.as_deref());
            Verified::own(scribe.write(draft))
        })
        .collect()
    }

    /// Signs what this node's kubelet saw of an object, unless it is signed already: disk and peers get the same bytes.
    pub(super) fn signed_observation(&mut self, uid: Uid) -> Option<Arc<[u8]>> {
        let register = self.objects.get(&uid)?.observed.get(&self.scribe.node)?;
        if let Some(record) = &register.record {
            return Some(Arc::clone(record));
        }
        let record = self.observation_record(uid, register);
        let register = self.objects.get_mut(&uid)?.observed.get_mut(&self.scribe.node)?;
        if let Ok(Body::Register { value, .. }) = Record::read(Arc::clone(&record)).map(|record| record.body) {
            *register = Register::signed(register.stamp, Arc::clone(&record), value);
        }
        self.hold_record(uid, &record);
        Some(record)
    }

    /// There is nothing to write or tell of an observation any more.
    pub(super) fn forget_observation(&mut self, uid: Uid) {
        self.unwritten.remove(&uid);
        self.news.seen.remove(&uid);
    }

    /// Returns how many records are not durable yet that somebody waits for or that are not shown before, and how many
    /// bytes they have.
    pub fn unsaved(&self) -> (usize, usize) {
        (self.unsaved.order.len(), self.unsaved.bytes)
    }

    /// Hands a record of this node to the next batch, and then to peers.
    pub(super) fn tell(&mut self, record: Arc<[u8]>) {
        self.announce(Arc::clone(&record));
        self.save(record);
    }

    /// Hands a record of this node to peers once the next batch is durable.
    pub(super) fn announce(&mut self, record: Arc<[u8]>) {
        self.news.durable.push((self.taken.next(), record));
    }

    /// Hands a record to the next batch.
    pub(super) fn save(&mut self, record: Arc<[u8]>) {
        self.unsaved.add(self.taken.next(), &record);
        self.outbox.push(record);
        self.urgent = true;
    }
}
