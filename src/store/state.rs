//! The store itself: what it holds, how it is asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use ipnet::Ipv4Net;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::ids::{NodeId, PersistId, Revision, Uid};
use crate::object::{Key, Note, kinds};
use crate::time::{Mono, Now};

use super::allocate::Allocations;
use super::burials::Burials;
use super::change::{Committed, Precondition, Rejected};
use super::document::{Actor, Cache};
use super::ephemeral::Ephemerals;
use super::epoch_images::Images;
use super::index::Index;
use super::leaves::{ListKeys, Shape};
use super::news::{Unsaved, Untold};
use super::parts::{Grave, Object};
use super::quarantine::Quarantine;
use super::reach::Sight;
use super::record::{Draft, Scribe};
use super::register::Register;
use super::render::{observation, render};
use super::revision::Revisions;
use super::show::Step;
use super::small::SmallMap;
use super::snapshot::{Entry, Snapshot};
use super::waiting::Waiting;

/// What a store has to know of its node.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node.
    pub node: NodeId,
    /// Its key, which signs every record.
    pub key: SigningKey,
    /// The node's tag: the low bits of its revisions.
    pub tag: u16,
    /// Higher at every start of the agent.
    pub incarnation: u64,
    /// Where its randomness comes from.
    pub seed: [u8; 32],
    /// ClusterIPs come from here.
    pub service_range: Ipv4Net,
    /// NodePorts come from here.
    pub node_ports: RangeInclusive<u16>,
    /// ClusterIPs given only to Services that ask for them.
    pub reserved_addresses: Vec<Ipv4Addr>,
    /// The schema's list keys.
    pub list_keys: ListKeys,
}

/// Stands for a change whose answer is due when it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What became of a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Receipt {
    /// All is as it was asked for already: no record, no revision.
    Unchanged(Committed),
    /// Made; [`Store::persisted`] brings the answer.
    Pending(Ticket),
    /// Made and shown: an observation, or something that never goes to disk.
    Shown(Committed),
}

/// Records for the disk, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The batch.
    pub id: PersistId,
    /// What to append.
    pub records: Vec<Vec<u8>>,
    /// Whether somebody waits for it.
    pub urgent: bool,
}

/// Records of this node that peers are to be told.
#[derive(Clone, Debug)]
pub struct News {
    /// The batch that must be durable first; `None`: tell at once (observations and Events).
    pub after: Option<PersistId>,
    /// The records, in an order in which they can be merged.
    pub records: Vec<super::record::Verified>,
}

/// The replicated cluster state of one node.
#[derive(Debug)]
pub struct Store {
    pub(super) list_keys: ListKeys,
    pub(super) scribe: Scribe,
    pub(super) actor: Actor,
    pub(super) random: StdRng,
    pub(super) revisions: Revisions,
    /// The moment of the last call.
    pub(super) now: Now,
    /// Hybrid clock of what clients say: microseconds.
    pub(super) clock: u64,
    pub(super) objects: BTreeMap<Uid, Object>,
    /// Objects by name, hidden ones and those on their way out included.
    pub(super) names: BTreeMap<Key, SmallMap<Uid, ()>>,
    pub(super) graves: BTreeMap<Uid, Grave>,
    /// How tombstones are collected.
    pub(super) burials: Burials,
    /// The highest turn of each origin.
    pub(super) turns: BTreeMap<Uid, u64>,
    pub(super) allocations: Allocations,
    pub(super) documents: Cache,
    pub(super) ephemerals: Ephemerals,
    pub(super) projections: BTreeMap<Key, Arc<[u8]>>,
    /// What quorum registers say of objects that are unique decisions: JSON.
    pub(super) decided: BTreeMap<Key, Arc<[u8]>>,
    /// How nodes are that are not just reachable, by name.
    pub(super) sights: BTreeMap<String, Sight>,
    pub(super) waiting: Waiting,
    /// What members have signed and nobody can take.
    pub(super) quarantine: Quarantine,
    /// What late changes of one object were taken over with last.
    pub(super) images: Option<Images>,
    /// Objects about which a decision came that is wrong, and the number of the epoch.
    pub(super) refused_epochs: BTreeMap<Uid, u64>,
    /// Records of a newer version found on disk: kept, not understood.
    pub(super) strangers: Vec<Arc<[u8]>>,
    pub(super) ceiling: Option<Arc<[u8]>>,
    pub(super) snapshot: Snapshot,
    /// Records since the last batch.
    pub(super) outbox: Vec<Arc<[u8]>>,
    pub(super) urgent: bool,
    /// Objects whose own observation is not written yet.
    pub(super) unwritten: BTreeSet<Uid>,
    /// What peers are to be told.
    pub(super) news: Untold,
    /// Records that are not durable yet.
    pub(super) unsaved: Unsaved,
    /// What users are to be told of merges.
    pub(super) notes: Vec<Note>,
    /// The records that peers should have.
    pub(super) held: Index,
    /// Names at which a merge has left something to bring in order.
    pub(super) unsettled: BTreeSet<Key>,
    /// What was owned by objects of which only the tombstone came.
    pub(super) bereaved: BTreeSet<Key>,
    /// When the last of it came.
    pub(super) disorder: Mono,
    /// What is shown when its batch is durable, in order.
    pub(super) steps: VecDeque<Step>,
    /// The last batch taken.
    pub(super) taken: PersistId,
    /// The last batch that is durable.
    pub(super) durable: PersistId,
    pub(super) ceilings: VecDeque<(PersistId, u64)>,
    pub(super) tickets: u64,
}

impl Store {
    pub(super) fn empty(config: Config, now: Now, ceiling: u64) -> Self {
        let revisions = Revisions::new(config.tag, ceiling);
        Self {
            list_keys: config.list_keys,
            random: StdRng::from_seed(seed(&config)),
            actor: Actor::new(config.node, config.incarnation),
            scribe: Scribe::new(config.node, config.incarnation, config.key),
            snapshot: Snapshot::starting_at(revisions.last()),
            revisions,
            now,
            clock: 0,
            objects: BTreeMap::new(),
            names: BTreeMap::new(),
            graves: BTreeMap::new(),
            burials: Burials::default(),
            turns: BTreeMap::new(),
            allocations: Allocations::new(config.service_range, config.node_ports, config.reserved_addresses),
            documents: Cache::default(),
            ephemerals: Ephemerals::default(),
            projections: BTreeMap::new(),
            decided: BTreeMap::new(),
            sights: BTreeMap::new(),
            waiting: Waiting::default(),
            quarantine: Quarantine::default(),
            images: None,
            refused_epochs: BTreeMap::new(),
            strangers: Vec::new(),
            ceiling: None,
            outbox: Vec::new(),
            urgent: false,
            unwritten: BTreeSet::new(),
            news: Untold::default(),
            unsaved: Unsaved::default(),
            notes: Vec::new(),
            held: Index::default(),
            unsettled: BTreeSet::new(),
            bereaved: BTreeSet::new(),
            disorder: now.mono,
            steps: VecDeque::new(),
            taken: PersistId::default(),
            durable: PersistId::default(),
            ceilings: VecDeque::new(),
            tickets: 0,
        }
    }

    /// Returns the node whose store it is.
    pub fn node_id(&self) -> NodeId {
        self.scribe.node
    }

    /// Returns the cluster as it is shown now.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Tells how many records of peers wait for what they build on.
    pub fn waiting(&self) -> usize {
        self.waiting.count()
    }

    pub(super) fn observation_record(&self, uid: Uid, register: &Register) -> Arc<[u8]> {
        let stamp = register.stamp;
        register.record.clone().unwrap_or_else(|| {
            let slot = super::register::Slot::Observation;
            self.scribe.write_as(stamp.minor, Draft::Register(uid, slot, (stamp.major, stamp.minor), register.value()))
        })
    }

    /// Notes that time has passed.
    pub(super) fn advance(&mut self, now: Now) {
        self.now = now;
    }

    pub(super) fn random_uid(&mut self) -> Uid {
        loop {
            let mut bytes = [0; 16];
            self.random.fill_bytes(&mut bytes);
            let uid = Uid::random(bytes);
            if !self.objects.contains_key(&uid) && !self.graves.contains_key(&uid) && !self.burials.is_ghost(uid) {
                return uid;
            }
        }
    }

    pub(super) fn shape(&self, key: &Key) -> Shape {
        Shape { kind: key.kind, list_keys: self.list_keys }
    }

    /// Finds the object that has a name, what is not durable yet counted.
    pub(super) fn holder(&self, key: &Key) -> Option<(Uid, &Object)> {
        let uids = self.names.get(key)?.keys();
        let alive = uids.filter_map(|uid| Some((*uid, self.objects.get(uid)?))).filter(|(_, o)| !o.working.gone);
        alive.min_by_key(|(uid, object)| object.seniority(*uid))
    }

    /// Finds the object that a change is about.
    pub(super) fn find(&self, key: &Key, when: &Precondition) -> Result<(Uid, &Object), Rejected> {
        let Some((uid, object)) = self.holder(key) else {
            let projected = self.projections.contains_key(key)
                || super::class::of_object(key, None) == super::class::Class::Projection;
            let key = key.clone();
            return Err(if projected { Rejected::Projection { key } } else { Rejected::NotFound { key } });
        };
        self.check(key, uid, object.pending > 0, when)?;
        Ok((uid, object))
    }

    /// Checks a precondition against the object `uid`, of which something is `pending` or not.
    pub(super) fn check(&self, key: &Key, uid: Uid, pending: bool, when: &Precondition) -> Result<(), Rejected> {
        if let Some(given) = when.uid.filter(|given| *given != uid) {
            return Err(Rejected::UidMismatch { key: key.clone(), given, found: uid });
        }
        if let Some(revision) = when.revision {
            let shown = self.snapshot.get(key).filter(|entry| entry.uid == uid);
            if pending || shown.is_none_or(|entry| entry.revision != revision) {
                return Err(Rejected::Stale { key: key.clone() });
            }
        }
        Ok(())
    }

    /// Finds the namespace that a new object would live in: its uid.
    pub(super) fn home(&self, key: &Key) -> Result<Option<Uid>, Rejected> {
        if !key.kind.namespaced {
            return Ok(None);
        }
        let namespace = key.namespace.clone();
        match self.holder(&Key::cluster(&kinds::NAMESPACE, &*namespace)) {
            None => Err(Rejected::NoNamespace { key: key.clone(), namespace }),
            Some((_, object)) if object.working.mark.is_some() => {
                Err(Rejected::NamespaceTerminating { key: key.clone(), namespace })
            }
            Some((uid, _)) => Ok(Some(uid)),
        }
    }

    /// Returns an object as it is shown, or as it would be if something hides it.
    pub(super) fn committed(&self, key: &Key, uid: Uid) -> Option<Committed> {
        if let Some(entry) = self.snapshot.get(key).filter(|entry| entry.uid == uid) {
            return Some(Committed { entry: Arc::clone(entry), removed: false });
        }
        let object = self.objects.get(&uid)?;
        let value = self.projected(key, render(uid, &object.working, observation(object)));
        let entry = entry_of(key, self.snapshot.revision(), value);
        Some(Committed { entry, removed: object.working.gone })
    }
}

/// A run draws other numbers than the one before it, also from the same seed.
fn seed(config: &Config) -> [u8; 32] {
    let hash = Sha256::new_with_prefix(config.seed).chain_update(config.node.0);
    hash.chain_update(config.incarnation.to_be_bytes()).finalize().into()
}

/// Makes the entry of an object, which gets its resourceVersion here.
pub(super) fn entry_of(key: &Key, revision: Revision, mut object: Value) -> Arc<Entry> {
    object["metadata"]["resourceVersion"] = revision.to_string().into();
    Arc::new(Entry::of(key.clone(), revision, &object))
}
