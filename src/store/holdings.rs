//! The live records that this node holds: what a log is rewritten from, what peers compare and give each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::Uid;

use super::index::Index;
use super::parts::{Mark, Object, Parts};
use super::record::{Record, RecordId};
use super::register::Register;
use super::state::Store;

impl Store {
    /// Returns every live record, those of batches still on their way included: what a log is rewritten from. A store
    /// opened from them is the same.
    pub fn records(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut records: Vec<Arc<[u8]>> = self.ceiling.iter().cloned().collect();
        for (uid, object) in self.objects.iter().filter(|(_, object)| !object.working.gone) {
            visit_documents(object, &mut |record| records.push(Arc::clone(record)));
            records.extend(object.former.iter().cloned());
            visit_parts(&object.working, &mut |record| records.push(Arc::clone(record)));
            records.extend(object.observed.values().map(|register| self.observed_record(*uid, register)));
        }
        records.extend(self.graves.values().map(|grave| Arc::clone(&grave.record)));
        records.extend(self.burials.records().chain(self.burials.ack.as_ref()).cloned());
        records.extend(self.strangers.iter().cloned());
        records.into_iter().map(|record| record.to_vec())
    }

    fn observed_record(&self, uid: Uid, register: &Register) -> Arc<[u8]> {
        register.record.clone().unwrap_or_else(|| self.observation_record(uid, register))
    }

    /// Returns the records that peers should have: all live ones but the ceiling, Events, records of a newer version,
    /// and what is not durable on this node's disk. Only observations need not be durable: they are told before that
    /// too. Stores that hold the same have the same.
    pub fn held(&self) -> &Index {
        &self.held
    }

    /// Lists the ids of what [`Store::held`] is to hold, by a walk over all objects.
    pub fn record_ids(&self) -> Vec<RecordId> {
        let mut ids = Vec::with_capacity(3 * self.objects.len() + self.graves.len());
        self.visit_held(&mut |record| ids.push(RecordId::of(record)));
        ids
    }

    /// Returns the records that are held of `ids`, in an order in which they can be merged.
    pub fn records_of(&self, ids: &BTreeSet<RecordId>) -> Vec<Arc<[u8]>> {
        let mut by_object: BTreeMap<Uid, Vec<Arc<[u8]>>> = BTreeMap::new();
        for record in ids.iter().filter_map(|id| self.held.get(id)) {
            by_object.entry(subject(record)).or_default().push(Arc::clone(record));
        }
        for (uid, records) in by_object.iter_mut().filter(|(_, records)| records.len() > 1) {
            let object = self.objects.get(uid);
            let epoch = object.and_then(|object| object.epoch.as_ref()).map(|epoch| place(&epoch.record));
            let changes = object.map(|object| &*object.changes).unwrap_or_default();
            let changes = changes.iter().map(|kept| place(&kept.record));
            let places: BTreeMap<_, usize> = epoch.into_iter().chain(changes).zip(0..).collect();
            records.sort_by_key(|record| places.get(&place(record)).copied().unwrap_or(usize::MAX));
        }
        by_object.into_values().flatten().collect()
    }

    fn visit_held(&self, visit: &mut dyn FnMut(&Arc<[u8]>)) {
        for uid in self.objects.keys() {
            self.visit_held_of(*uid, visit);
        }
        let graves = self.graves.values().map(|grave| &grave.record);
        graves.chain(self.burials.records()).filter(|record| self.is_saved(record)).for_each(visit);
    }

    /// What is held of an object; its tombstone apart.
    fn visit_held_of(&self, uid: Uid, visit: &mut dyn FnMut(&Arc<[u8]>)) {
        let Some(object) = self.objects.get(&uid) else { return };
        // Nothing of an object whose first change is not durable.
        let Some(shown) = &object.shown else { return };
        let mut saved = |record: &Arc<[u8]>| {
            if self.is_saved(record) {
                visit(record);
            }
        };
        visit_documents(object, &mut saved);
        visit_parts(shown, &mut saved);
        object.observed.values().filter_map(|register| register.record.as_ref()).for_each(saved);
    }

    fn is_saved(&self, record: &Arc<[u8]>) -> bool {
        !self.unsaved.has(RecordId::of(record))
    }

    /// Puts all that is to be held of an object into the index. Where much of an object is replaced at once, call
    /// [`Store::release`] before, and this after.
    pub(super) fn hold(&mut self, uid: Uid) {
        let mut records = Vec::new();
        self.visit_held_of(uid, &mut |record| records.push(Arc::clone(record)));
        records.iter().for_each(|record| self.held.insert(record));
    }

    /// Takes all that is held of an object out of the index; its tombstone stays.
    pub(super) fn release(&mut self, uid: Uid) {
        let mut records = Vec::new();
        self.visit_held_of(uid, &mut |record| records.push(Arc::clone(record)));
        self.held.remove_all(&records);
    }

    /// Takes out of the index what an object showed before and does not any more.
    pub(super) fn release_replaced(&mut self, before: &Parts, now: &Parts) {
        if Arc::ptr_eq(&before.registers, &now.registers) && Arc::ptr_eq(&before.told, &now.told) {
            return;
        }
        let mut still: BTreeSet<_> = BTreeSet::new();
        visit_parts(now, &mut |record| {
            still.insert(place(record));
        });
        visit_parts(before, &mut |record| {
            if !still.contains(&place(record)) {
                self.held.remove(record);
            }
        });
    }

    /// Puts records that have become durable into the index, if they are still to be held.
    pub(super) fn hold_saved(&mut self, records: &[Arc<[u8]>]) {
        for record in records {
            self.hold_record(subject(record), record);
        }
    }

    /// Puts a record of an object into the index, if it is to be held.
    pub(super) fn hold_record(&mut self, uid: Uid, record: &Arc<[u8]>) {
        if self.is_of(uid, record) && self.is_saved(record) {
            self.held.insert(record);
        }
    }

    /// Tells whether a record is a live one of an object.
    fn is_of(&self, uid: Uid, record: &Arc<[u8]>) -> bool {
        let is = |known: &Arc<[u8]>| Arc::ptr_eq(known, record);
        if self.graves.get(&uid).is_some_and(|grave| is(&grave.record)) || self.burials.records().any(is) {
            return true;
        }
        let Some(object) = self.objects.get(&uid) else { return false };
        let Some(shown) = &object.shown else { return false };
        let mut found = object.observed.values().any(|register| register.record.as_ref().is_some_and(is))
            || object.epoch.as_ref().is_some_and(|epoch| is(&epoch.record))
            || object.changes.iter().rev().any(|kept| is(&kept.record))
            || object.marks.iter().any(|kept| is(&kept.record));
        visit_parts(shown, &mut |known| found |= is(known));
        found
    }

    /// Fills the index with all that is to be held.
    pub(super) fn hold_all(&mut self) {
        let mut records = Vec::with_capacity(3 * self.objects.len() + self.graves.len());
        self.visit_held(&mut |record| records.push(Arc::clone(record)));
        self.held = records.into_iter().collect();
    }

    /// Keeps a mark of an object. Returns whether it adds anything to those that are kept.
    pub(super) fn keep_mark(&mut self, uid: Uid, mark: Mark, record: &Arc<[u8]>) -> bool {
        let kept = self.objects.get_mut(&uid).and_then(|object| object.keep_mark(mark, Arc::clone(record)));
        self.held.remove_all(kept.iter().flatten().map(|replaced| &replaced.record));
        kept.is_some()
    }
}

/// Returns the object that a record is about; of one about many, or none, a uid that no object has.
fn subject(record: &Arc<[u8]>) -> Uid {
    let uid = Record::read(Arc::clone(record)).ok().and_then(|record| record.body.uid());
    uid.unwrap_or(Uid([0; 16]))
}

/// Where a record is in memory: which of the store's it is.
fn place(record: &Arc<[u8]>) -> usize {
    Arc::as_ptr(record).cast::<u8>().addr()
}

/// The epoch, changes, parents before children, and marks.
pub(super) fn visit_documents(object: &Object, visit: &mut dyn FnMut(&Arc<[u8]>)) {
    object.epoch.iter().for_each(|epoch| visit(&epoch.record));
    object.changes.iter().for_each(|kept| visit(&kept.record));
    object.marks.iter().for_each(|kept| visit(&kept.record));
}

/// What was decided, and what clients said.
pub(super) fn visit_parts(parts: &Parts, visit: &mut dyn FnMut(&Arc<[u8]>)) {
    parts.registers.values().filter_map(|register| register.record.as_ref()).for_each(&mut *visit);
    let mut told: Vec<&Arc<[u8]>> = Vec::new();
    for record in parts.told.values().filter_map(|told| told.record.as_ref()) {
        // One record may say several things.
        if !told.iter().any(|known| Arc::ptr_eq(known, record)) {
            told.push(record);
            visit(record);
        }
    }
}
