//! The live records that this node holds: what a log is rewritten from, what peers compare and give each other.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::Uid;

use super::parts::{Object, Parts};
use super::record::RecordId;
use super::register::Register;
use super::state::Store;

impl Store {
    /// Returns every live record, those of batches still on their way included: what a log is rewritten from. A store
    /// opened from them is the same.
    pub fn records(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut records: Vec<Arc<[u8]>> = self.ceiling.iter().cloned().collect();
        for (uid, object) in self.objects.iter().filter(|(_, object)| !object.working.gone) {
            visit_documents(object, &mut |record| records.push(Arc::clone(record)));
            visit_parts(&object.working, &mut |record| records.push(Arc::clone(record)));
            records.extend(object.observed.values().map(|register| self.observed_record(*uid, register)));
        }
        records.extend(self.graves.values().map(|grave| Arc::clone(&grave.record)));
        records.extend(self.strangers.iter().cloned());
        records.into_iter().map(|record| record.to_vec())
    }

    fn observed_record(&self, uid: Uid, register: &Register) -> Arc<[u8]> {
        register.record.clone().unwrap_or_else(|| self.observation_record(uid, register))
    }

    /// Lists the ids of all live records that peers should have, in no order: all but the ceiling, Events, records of a
    /// newer version, and what is not durable on this node's disk. Only observations need not be durable: they are told
    /// before that too. Stores that hold the same list the same.
    pub fn record_ids(&self) -> Vec<RecordId> {
        let mut ids = Vec::with_capacity(3 * self.objects.len() + self.graves.len());
        self.visit_held(&mut |id, _| ids.push(id));
        ids
    }

    /// Returns the records that are held of `ids`, in an order in which they can be merged.
    pub fn records_of(&self, ids: &BTreeSet<RecordId>) -> Vec<Arc<[u8]>> {
        let mut records = Vec::with_capacity(ids.len());
        if !ids.is_empty() {
            self.visit_held(&mut |id, record| {
                if ids.contains(&id) {
                    records.push(Arc::clone(record));
                }
            });
        }
        records
    }

    fn visit_held(&self, visit: &mut dyn FnMut(RecordId, &Arc<[u8]>)) {
        let mut durable = |record: &Arc<[u8]>| {
            let id = RecordId::of(record);
            if !self.unsaved.has(id) {
                visit(id, record);
            }
        };
        for object in self.objects.values() {
            // Nothing of an object whose first change is not durable.
            let Some(shown) = &object.shown else { continue };
            visit_documents(object, &mut durable);
            visit_parts(shown, &mut durable);
            object.observed.values().filter_map(|register| register.record.as_ref()).for_each(&mut durable);
        }
        self.graves.values().for_each(|grave| durable(&grave.record));
    }
}

/// Changes, parents before children, and marks.
fn visit_documents(object: &Object, visit: &mut dyn FnMut(&Arc<[u8]>)) {
    object.changes.iter().for_each(|kept| visit(&kept.record));
    object.marks.iter().for_each(|kept| visit(&kept.record));
}

/// What was decided, and what clients said.
fn visit_parts(parts: &Parts, visit: &mut dyn FnMut(&Arc<[u8]>)) {
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
