//! The replicated cluster state: intent is merged, decisions are fenced, observations are replaced, projections
//! are computed (design, section 3).
//!
//! ```text
//! commit -> plan (pure: may it be, what comes out) -> working state + records -> batch -> disk
//!                                                                                  |
//! Snapshot, watch events <- show, with the next revision <- persisted <------------+
//! ```
//!
//! Invariants:
//! * *Shown is durable*: intent, decisions and clients' statuses are shown only when their records are on disk;
//!   observations, ephemeral objects and projections at once (rule 21).
//! * *The state is its records*: opening a store from the records of another gives the same objects, in any order and
//!   with repetitions. A tombstone beats every change.
//! * *Merging never fences*: the highest stamp wins in a register, an Automerge document decides by itself; the same
//!   everywhere (design, section 3).
//! * *Revisions* grow within a node, over restarts too.

pub mod allocate;
pub mod change;
pub mod class;
pub mod leaves;
pub mod record;
pub mod snapshot;

mod commit;
mod delete;
mod document;
mod ephemeral;
mod merge;
mod parts;
mod revision;
mod show;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use ipnet::Ipv4Net;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

use crate::ids::{NodeId, PersistId, Revision, Uid};
use crate::object::Key;
use crate::time::Now;

pub use change::{Author, Change, Committed, DeleteOptions, Precondition, Propagation, Rejected};
pub use leaves::ListKeys;
pub use merge::MergeError;
pub use snapshot::{Entry, Snapshot, TooOld, WatchEvent};

use document::Document;
use ephemeral::Ephemeral;
use parts::Object;
use record::{About, Body};
use revision::Revisions;

/// How many documents are kept in memory (about 20 KB each).
const DOCUMENTS: usize = 64;

/// What a store is told at its start.
pub struct Config {
    /// The node's key; its records are signed with it.
    pub key: SigningKey,
    /// The tag in the low bits of resourceVersions: no two live members have the same.
    pub tag: u16,
    /// Grows with every start: part of the actor's name and of observations' stamps.
    pub incarnation: u64,
    /// Of the store's own random source.
    pub seed: [u8; 32],
    /// Where ClusterIPs are taken from.
    pub service_range: Ipv4Net,
    /// Addresses of it that are given only to those who ask for them.
    pub reserved_addresses: Vec<Ipv4Addr>,
    /// Where NodePorts are taken from.
    pub node_ports: RangeInclusive<u16>,
    /// Tells the keys of keyed lists.
    pub list_keys: ListKeys,
}

/// What was found when a store was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// How many records were read.
    pub records: usize,
    /// One sentence for each that could not be.
    pub refused: Vec<String>,
}

/// Correlates a change with the moment at which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What became of a change at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Receipt {
    /// Everything was so already: no record, no revision.
    Unchanged(Committed),
    /// It will be shown when it is durable.
    Pending(Ticket),
    /// It is shown.
    Shown(Committed),
}

/// Records to write at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Batches become durable in this order.
    pub id: PersistId,
    /// The records.
    pub records: Vec<Vec<u8>>,
    /// Whether somebody waits for it.
    pub urgent: bool,
}

/// The cluster state of one node.
pub struct Store {
    config: Config,
    node: NodeId,
    actor: [u8; 16],
    random: StdRng,
    /// The objects as they will be when all that waits for the disk is durable.
    objects: BTreeMap<Uid, Object>,
    /// Which objects have a name. More than one only after two sides made it: the oldest is shown.
    names: BTreeMap<Key, BTreeSet<Uid>>,
    /// The highest turn known of a name (rule 15).
    turns: BTreeMap<Key, u64>,
    /// What is gone for good, with the signed record that says so.
    tombstones: BTreeMap<Uid, Tombstone>,
    ephemeral: Ephemeral,
    projected: BTreeSet<Key>,
    /// Hydrated documents, and when each was used last.
    documents: BTreeMap<Uid, (u64, Document)>,
    uses: u64,
    revisions: Revisions,
    snapshot: Snapshot,
    /// Counts this node's records.
    seq: u64,
    outbox: Vec<Vec<u8>>,
    urgent: bool,
    next_batch: PersistId,
    next_ticket: Ticket,
    pending: VecDeque<Pending>,
    /// The wall time of the last input, for revisions given when a batch is durable.
    wall: crate::time::Wall,
}

/// An object that is gone.
#[derive(Clone, Debug)]
struct Tombstone {
    about: About,
    record: Arc<[u8]>,
}

/// Something that is shown when its batch is durable.
struct Pending {
    batch: PersistId,
    what: Waiting,
}

enum Waiting {
    /// An object is to be shown so, or (`gone`) was so last.
    Show { ticket: Ticket, key: Key, uid: Uid, parts: parts::Parts, gone: bool },
    /// Revisions up to here may be given.
    Ceiling(Revision),
}

impl Store {
    /// Opens a store of the records on disk, in any order.
    pub fn open(config: Config, records: impl IntoIterator<Item = Vec<u8>>, now: Now) -> (Self, OpenReport) {
        let node = NodeId(config.key.verifying_key().to_bytes());
        let mut store = Self {
            node,
            actor: actor(node, config.incarnation),
            random: StdRng::from_seed(config.seed),
            objects: BTreeMap::new(),
            names: BTreeMap::new(),
            turns: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            ephemeral: Ephemeral::default(),
            projected: BTreeSet::new(),
            documents: BTreeMap::new(),
            uses: 0,
            revisions: Revisions::new(config.tag, Revision(0), now.wall),
            snapshot: Snapshot::default(),
            seq: config.incarnation << 32,
            outbox: Vec::new(),
            urgent: false,
            next_batch: PersistId(1),
            next_ticket: Ticket(1),
            pending: VecDeque::new(),
            wall: now.wall,
            config,
        };
        let report = store.load(records, now);
        (store, report)
    }

    /// Returns this node's id.
    pub fn node_id(&self) -> NodeId {
        self.node
    }

    /// Returns the cluster as it is shown now.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Takes all records since the last take. `None` if there are none.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.outbox.is_empty() {
            return None;
        }
        let id = self.next_batch;
        self.next_batch = id.next();
        let urgent = std::mem::take(&mut self.urgent);
        Some(Batch { id, records: std::mem::take(&mut self.outbox), urgent })
    }

    /// Lets time pass: ephemeral objects expire, revisions are reserved ahead.
    pub fn tick(&mut self, now: Now) {
        self.wall = now.wall;
        self.expire_ephemeral(now);
    }

    /// Returns all live records: a store opened from them is the same.
    pub fn records(&self) -> impl Iterator<Item = Vec<u8>> {
        let ceiling = record::write(&self.config.key, self.seq, &Body::Ceiling(self.revisions.asked().0));
        let dead = self.tombstones.values().map(|t| t.record.to_vec());
        let alive = self.objects.values().flat_map(|object| {
            let registers = object.working.registers.values().map(|r| r.record.to_vec());
            object.changes.iter().map(|c| c.to_vec()).chain(registers).collect::<Vec<_>>()
        });
        std::iter::once(ceiling).chain(dead).chain(alive)
    }

    /// Signs a record and puts it into the outbox.
    fn record(&mut self, body: &Body, urgent: bool) -> Arc<[u8]> {
        self.seq += 1;
        let bytes = record::write(&self.config.key, self.seq, body);
        self.outbox.push(bytes.clone());
        self.urgent |= urgent;
        bytes.into()
    }

    /// Works on an object's document, hydrating it if need be.
    fn with_document<T>(&mut self, uid: Uid, work: impl FnOnce(&mut Document) -> T) -> T {
        self.uses += 1;
        let uses = self.uses;
        let mut document = match self.documents.remove(&uid) {
            Some((_, document)) => document,
            None => merge::hydrate(&self.actor, self.objects.get(&uid).map_or(&[], |o| o.changes.as_slice())),
        };
        let result = work(&mut document);
        if self.documents.len() >= DOCUMENTS
            && let Some(oldest) = self.documents.iter().min_by_key(|(_, (used, _))| *used).map(|(uid, _)| *uid)
        {
            self.documents.remove(&oldest);
        }
        self.documents.insert(uid, (uses, document));
        result
    }
}

/// One actor a node and store incarnation: a reused one is rejected by peers for ever as "duplicate seq".
fn actor(node: NodeId, incarnation: u64) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update(node.0);
    hash.update(incarnation.to_be_bytes());
    hash.finalize()[..16].try_into().expect("a digest has 32 bytes")
}
