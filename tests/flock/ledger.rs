//! What the world has seen of all hosts, for invariants that no single host can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skein::ids::{NodeId, Term, Uid};
use skein::store::Slot;
use skein::store::record::{Body, Record};

/// What was seen.
#[derive(Default)]
pub struct Ledger {
    /// Who has led each term: host and run.
    pub leaders: BTreeMap<Term, (usize, u64)>,
    /// To which node each pod was bound in each term, first and otherwise.
    pub bound: BTreeMap<(Uid, u64), BTreeSet<String>>,
    /// Objects that are gone for good, and on which hosts' disks that is written.
    pub buried: BTreeMap<Uid, BTreeSet<usize>>,
    /// When each pod was first shown.
    pub born: BTreeMap<Uid, Duration>,
    /// Pods that users asked to be deleted.
    pub unwanted: BTreeSet<Uid>,
}

/// What a record tells that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// This host binds a pod, with a stamp.
    Binding(Uid, (u64, u64)),
    /// It is somebody else's.
    Merged,
    /// Nothing of note.
    Nothing,
}

impl Ledger {
    /// Reads a record that host `me` is about to write.
    pub fn written(&mut self, me: NodeId, raw: &[u8]) -> Seen {
        let Ok(record) = Record::read(raw) else { return Seen::Nothing };
        let merged = record.author != me;
        if let Body::Register { uid, slot: Slot::Binding, stamp, value } = record.body {
            let value: serde_json::Value = serde_json::from_slice(&raw[value]).unwrap_or_default();
            let node = value["node"].as_str().unwrap_or_default().to_owned();
            self.bound.entry((uid, stamp.0)).or_default().insert(node);
            if !merged {
                return Seen::Binding(uid, stamp);
            }
        }
        if merged { Seen::Merged } else { Seen::Nothing }
    }

    /// Notes which tombstones are on a host's disk.
    pub fn durable<'a>(&mut self, host: usize, records: impl Iterator<Item = &'a Vec<u8>>) {
        for raw in records {
            if let Ok(Body::Tombstone { uid, .. }) = Record::read(raw.as_slice()).map(|record| record.body) {
                self.buried.entry(uid).or_default().insert(host);
            }
        }
    }
}
