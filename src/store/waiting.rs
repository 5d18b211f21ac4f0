//! Records that came before what they build on.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::Uid;

use super::record::Record;

/// How many may wait.
pub const MOST: usize = 4_096;
/// How many bytes of them.
pub const MOST_BYTES: usize = 16 << 20;

/// The queue. When it is full the oldest go: the next exchange brings them again.
#[derive(Debug, Default)]
pub struct Waiting {
    by_object: BTreeMap<Uid, VecDeque<(u64, Record)>>,
    oldest: BTreeMap<u64, Uid>,
    bytes: usize,
    serial: u64,
}

impl Waiting {
    /// Lets a record wait.
    pub fn push(&mut self, uid: Uid, record: Record) {
        let queue = self.by_object.entry(uid).or_default();
        if queue.iter().any(|(_, waiting)| waiting.raw == record.raw) {
            return;
        }
        self.serial += 1;
        self.bytes += record.raw.len();
        queue.push_back((self.serial, record));
        self.oldest.insert(self.serial, uid);
        while self.oldest.len() > MOST || self.bytes > MOST_BYTES {
            let Some((_, uid)) = self.oldest.pop_first() else { break };
            self.drop_first(uid);
        }
    }

    fn drop_first(&mut self, uid: Uid) {
        let Some(queue) = self.by_object.get_mut(&uid) else { return };
        if let Some((_, record)) = queue.pop_front() {
            self.bytes -= record.raw.len();
        }
        if queue.is_empty() {
            self.by_object.remove(&uid);
        }
    }

    /// Takes out all that waits for an object, oldest first.
    pub fn take(&mut self, uid: Uid) -> Vec<Record> {
        let queue = self.by_object.remove(&uid).unwrap_or_default();
        for (serial, record) in &queue {
            self.oldest.remove(serial);
            self.bytes -= record.raw.len();
        }
        queue.into_iter().map(|(_, record)| record).collect()
    }

    /// Tells how many wait.
    pub fn count(&self) -> usize {
        self.oldest.len()
    }
}
