//! Coming back after too long: a store takes the cluster's state in place of its own, and forgets what it alone holds
//! (rule 16). Some of that may be long gone elsewhere, and nobody can tell any more what: it is for its user to judge.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::ids::Uid;
use crate::object::Key;
use crate::time::Now;

use super::document::Actor;
use super::epoch::{Epoch, Judged, Serial};
use super::holdings::{visit_documents, visit_parts};
use super::parts::{Birth, Object};
use super::record::{Body, Draft, Record, RecordId, Verified};
use super::register::{Register, Stamp};
use super::render::{observation, render};
use super::show::What;
use super::state::Store;
use super::waiting::Waiting;

/// The most ids of one record.
const MOST_IDS: usize = 100_000;

/// Something that only this node held.
#[derive(Clone, Debug, PartialEq)]
pub struct Displaced {
    /// Where it lived.
    pub key: Key,
    /// What this node alone knew of it.
    pub how: How,
    /// The object as it was here, without what a store gives; its name alone if it was deleted.
    pub object: Value,
}

/// What one node alone knew of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// That it is there at all.
    Made,
    /// Something that was asked of it.
    Changed,
    /// That it was deleted.
    Deleted,
}

impl Store {
    /// Takes what the cluster holds, all of it and in an order in which it can be merged, in place of what this node
    /// holds. Returns what it alone held and what was asked of somebody; statuses are not.
    ///
    /// Once the batch that [`Store::take_batch`] returns next is durable, the disk has forgotten it too.
    pub fn rejoin(&mut self, now: Now, cluster: Vec<Verified>) -> Vec<Displaced> {
        self.advance(now);
        let keep: BTreeSet<RecordId> = cluster.iter().map(Verified::id).collect();
        let epochs = cluster.iter().filter_map(|record| Epoch::of(record.record()));
        let epochs = epochs.filter_map(|(uid, epoch)| Some((uid, epoch.ok()?))).collect();
        let mut lost = Lost { keep: &keep, epochs, forgotten: BTreeSet::new(), displaced: Vec::new() };
        let objects = self.objects.iter();
        let mut affected: BTreeSet<Uid> =
            objects.filter(|(uid, o)| lost.look_at(**uid, o)).map(|(uid, _)| *uid).collect();
        let graves = self.graves.iter().filter(|(_, grave)| lost.forgets(&grave.record));
        let graves: BTreeMap<Uid, Key> = graves.map(|(uid, grave)| (*uid, grave.birth.key.clone())).collect();
        let batches: Vec<RecordId> =
            self.burials.records().filter(|r| lost.forgets(r)).map(|r| RecordId::of(r)).collect();
        let Lost { forgotten, mut displaced, .. } = lost;
        displaced.extend(graves.values().map(|key| Displaced {
            key: key.clone(),
            how: How::Deleted,
            object: nameplate(key),
        }));
        // What is on its way out by a tombstone that is forgotten stays.
        affected.extend(graves.keys());
        self.forget(&forgotten, &affected, &batches);
        self.replace(now, &affected, cluster);
        displaced
    }

    /// Forgets records. Of the objects that they are about the disk forgets everything: what it still has of one that was
    /// buried must not come back with the tombstone gone. What the cluster holds of them is written again.
    fn forget(&mut self, forgotten: &BTreeSet<RecordId>, affected: &BTreeSet<Uid>, batches: &[RecordId]) {
        self.outbox.retain(|record| !forgotten.contains(&RecordId::of(record)));
        self.news.forget(forgotten);
        let gone = self.burials.unfound(batches);
        self.held.remove_all(&gone);
        self.waiting = Waiting::default();
        self.quarantine.forget();
        for uid in affected {
            if let Some(grave) = self.graves.remove(uid) {
                self.held.remove(&grave.record);
                self.snapshot.forget_burial(*uid);
            }
        }
        let uids: Vec<Uid> = affected.iter().copied().collect();
        for uids in uids.chunks(MOST_IDS) {
            let record = self.scribe.write(Draft::Forgotten(uids, &[]));
            self.save(record);
        }
        for batches in batches.chunks(MOST_IDS) {
            let record = self.scribe.write(Draft::Forgotten(&[], batches));
            self.save(record);
        }
        // Numbers of changes that are forgotten must not be given to others.
        self.scribe.incarnation += 1;
        self.actor = Actor::new(self.scribe.node, self.scribe.incarnation);
    }

    /// Makes objects anew of what the cluster holds. What is shown of them stays until that is durable.
    fn replace(&mut self, now: Now, affected: &BTreeSet<Uid>, cluster: Vec<Verified>) {
        let me = self.scribe.node;
        let seen = |uid: &Uid| Some((*uid, self.objects.get(uid)?.observed.get(&me)?.value().to_vec()));
        let seen: Vec<(Uid, Vec<u8>)> = affected.iter().filter_map(seen).collect();
        let keys: BTreeSet<Key> = affected.iter().filter_map(|uid| self.take_away(*uid)).collect();
        self.turns.clear();
        let objects = self.objects.values().map(|object| Birth::clone(&object.working.birth));
        let births: Vec<Birth> = objects.chain(self.graves.values().map(|grave| grave.birth.clone())).collect();
        births.iter().for_each(|birth| self.note_turn(birth));
        for record in cluster {
            // What is refused here the others have in spite of it; they name it themselves.
            if let Err(error) = self.merge(now, record) {
                tracing::warn!(%error, "a record of the cluster is refused");
            }
        }
        for (uid, value) in seen {
            let stamp = Stamp { major: self.scribe.incarnation, minor: self.scribe.next_seq(), author: me };
            if let Some(object) = self.objects.get_mut(&uid) {
                let before = object.observed.insert(me, Register::draft(stamp, value));
                self.held.remove_all(before.iter().filter_map(|register| register.record.as_ref()));
                self.unwritten.insert(uid);
                self.news.saw(uid);
            }
        }
        keys.iter().for_each(|key| self.then_show_merged(key, What::Reveal));
    }

    /// Returns the run under which this node writes.
    pub fn incarnation(&self) -> u64 {
        self.scribe.incarnation
    }
}

/// What is found that the cluster does not hold.
struct Lost<'a> {
    keep: &'a BTreeSet<RecordId>,
    /// What the cluster has cut histories to.
    epochs: BTreeMap<Uid, Epoch>,
    forgotten: BTreeSet<RecordId>,
    displaced: Vec<Displaced>,
}

impl Lost<'_> {
    fn forgets(&mut self, record: &[u8]) -> bool {
        let id = RecordId::of(record);
        let forgets = !self.keep.contains(&id);
        self.forgotten.extend(forgets.then_some(id));
        forgets
    }

    /// Looks for what of an object is held here alone. Returns whether there is anything.
    fn look_at(&mut self, uid: Uid, object: &Object) -> bool {
        let before = self.forgotten.len();
        let (mut born, mut asked) = (false, false);
        visit_documents(object, &mut |record| {
            let Ok(read) = Record::read(Arc::clone(record)) else { return };
            let counts = |epoch: &Epoch| epoch.judge(Serial::of(&read)) == Judged::Decided;
            if self.forgets(record) && !self.epochs.get(&uid).is_some_and(counts) {
                asked |= !matches!(read.body, Body::Epoch { .. });
                born |= matches!(read.body, Body::Change { birth: Some(_), .. });
            }
        });
        visit_parts(&object.working, &mut |record| {
            self.forgets(record);
        });
        // What is not signed yet nobody has, and it stays as it is.
        for record in object.observed.values().filter_map(|register| register.record.as_ref()) {
            self.forgets(record);
        }
        if asked && !object.working.gone {
            let key = object.working.birth.key.clone();
            let how = if born { How::Made } else { How::Changed };
            let object = plain(&key, render(uid, &object.working, observation(object)));
            self.displaced.push(Displaced { key, how, object });
        }
        self.forgotten.len() > before
    }
}

/// Returns an object as its user would write it.
fn plain(key: &Key, mut object: Value) -> Value {
    if let Some(all) = object.as_object_mut() {
        all.remove("status");
    }
    if let Some(meta) = object["metadata"].as_object_mut() {
        for given in ["uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"] {
            meta.remove(given);
        }
        meta.remove("deletionGracePeriodSeconds");
        // Owners are named by uids that may be gone.
        meta.remove("ownerReferences");
    }
    for (field, value) in nameplate(key).as_object().into_iter().flatten() {
        if field != "metadata" {
            object[field] = value.clone();
        }
    }
    object
}

/// Returns what names an object.
fn nameplate(key: &Key) -> Value {
    let mut meta = BTreeMap::from([("name", key.name.clone())]);
    if key.kind.namespaced {
        meta.insert("namespace", key.namespace.clone());
    }
    json!({"apiVersion": key.kind.api_version(), "kind": key.kind.kind, "metadata": meta})
}
