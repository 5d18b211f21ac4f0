//! What the world has seen of all hosts, for invariants that no single host can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use skein::ids::{NodeId, Term, Uid};
use skein::object::{Key, hold};
use skein::store::record::{Body, Record};
use skein::store::{Entry, Slot};
use skein::time::Wall;

use crate::host::WALL;

/// By how many microseconds a right date differs from when the object is first shown: dates are whole seconds, and
/// clocks that differ by a second are right enough.
const DATED: RangeInclusive<i64> = -3_000_000..=1_000_000;

/// What was seen.
#[derive(Default)]
pub struct Ledger {
    /// Who has led each term: host and run.
    pub leaders: BTreeMap<Term, (usize, u64)>,
    /// To which node each pod was bound in each term, first and otherwise.
    pub bound: BTreeMap<(Uid, u64), BTreeSet<String>>,
    /// Objects that are gone for good, and on which hosts' disks that is written.
    pub buried: BTreeMap<Uid, BTreeSet<usize>>,
    /// Of those, the ones that an older one of their name displaced, with their keys.
    pub displaced: BTreeMap<Uid, Key>,
    /// What users made, as they were told.
    pub made: BTreeMap<Uid, Key>,
    /// What users asked to be deleted, whether they were answered or not.
    pub asked_to_go: BTreeSet<Uid>,
    /// When each pod was first shown.
    pub born: BTreeMap<Uid, Duration>,
    /// Pods whose creationTimestamp is wrong.
    pub misdated: BTreeSet<Uid>,
    /// Since when each pod is shown as ready.
    pub ready: BTreeMap<Uid, Duration>,
    /// Who has marked what for deletion, each on its own.
    pub marked: BTreeMap<Uid, BTreeSet<NodeId>>,
    /// What each pod holds that must never run twice.
    pub slots: BTreeMap<Uid, hold::Slot>,
    /// Pods that users asked to be deleted.
    pub unwanted: BTreeSet<Uid>,
}

/// What a record tells that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// This host binds a pod, with a stamp.
    Binding(Uid, (u64, u64)),
    /// This host binds a pod as caretaker.
    CaretakerBinding,
    /// This host buries what an older object of its name displaced.
    Displaced,
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
        if let Body::Register { uid, slot: Slot::Binding, stamp, value } = &record.body {
            let (uid, stamp) = (*uid, *stamp);
            let value: serde_json::Value = serde_json::from_slice(&raw[value.clone()]).unwrap_or_default();
            let node = value["node"].as_str().unwrap_or_default().to_owned();
            self.bound.entry((uid, stamp.0)).or_default().insert(node);
            if !merged {
                return Seen::Binding(uid, stamp);
            }
        }
        if let (Body::Mark { uid, .. } | Body::Tombstone { uid, .. }, false) = (&record.body, merged) {
            self.marked.entry(*uid).or_default().insert(me);
        }
        match record.body {
            _ if merged => Seen::Merged,
            Body::Tombstone { displaced: true, .. } => Seen::Displaced,
            Body::Register { slot: Slot::CaretakerBinding, .. } => Seen::CaretakerBinding,
            _ => Seen::Nothing,
        }
    }

    /// Notes that a pod is shown for the first time. Tells whether its creationTimestamp is far from then.
    pub fn bear(&mut self, now: Duration, pod: &Entry) -> bool {
        self.born.insert(pod.uid, now);
        let dated = pod.typed::<Pod>().and_then(|pod| pod.metadata.creation_timestamp);
        let wrong = dated.is_none_or(|at| !DATED.contains(&(Wall::of(&at).0 - (WALL + now).0)));
        wrong && self.misdated.insert(pod.uid)
    }

    /// Notes which tombstones are on a host's disk.
    pub fn durable<'a>(&mut self, host: usize, records: impl Iterator<Item = &'a Vec<u8>>) {
        for raw in records {
            if let Ok(Body::Tombstone { uid, birth, displaced }) = Record::read(raw.as_slice()).map(|r| r.body) {
                self.buried.entry(uid).or_default().insert(host);
                if displaced {
                    self.displaced.insert(uid, birth.key);
                }
            }
        }
    }
}
