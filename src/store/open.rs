//! Opening a store from its records.
//!
//! What is on this node's disk was checked when it was taken in and is guarded by the log's checksums, so signatures
//! are not checked again. A record that cannot be read is named, never a reason not to start.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ids::Uid;
use crate::object::Key;
use crate::time::Now;

use super::bounds;
use super::burials::Burials;
use super::document::DocumentError;
use super::epoch::Epoch;
use super::epoch_assemble::assemble;
use super::epoch_images::{Found, NoImage};
use super::inflate::inflate;
use super::leaves::Shape;
use super::merge::{merge_mark, merge_told};
use super::parts::{Grave, Object, Parts, to_json};
use super::record::{Body, Record, RecordError};
use super::register::{Register, Slot, Stamp};
use super::repair::settle;
use super::state::{Config, Store, entry_of};

/// What was found on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Records read.
    pub records: usize,
    /// Objects that live.
    pub objects: usize,
    /// Objects that are gone for good.
    pub tombstones: usize,
    /// Records that were not taken.
    pub refused: Vec<Refusal>,
}

/// A record that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which, counted from 0.
    pub index: usize,
    /// Why.
    pub reason: String,
}

/// The records of one object.
#[derive(Default)]
struct Pile {
    epochs: Vec<Epoch>,
    indexes: Vec<usize>,
    changes: Vec<Found>,
    others: Vec<(usize, Record)>,
}

impl Pile {
    /// Returns the object's name as the first record says that says it.
    fn key(&self) -> Option<&Key> {
        let changes = self.changes.iter().filter_map(|found| found.birth.as_ref());
        self.epochs.iter().map(|epoch| &epoch.birth).chain(changes).map(|birth| &birth.key).next()
    }
}

impl Store {
    /// Opens a store from the records of all batches that were made durable; with none, a new one. Their order matters
    /// only where something was forgotten: that is all that is before.
    ///
    /// The first batch carries a new ceiling. Whatever the store is asked before that is durable is shown with it.
    pub fn open(mut config: Config, records: impl IntoIterator<Item = Vec<u8>>, now: Now) -> (Self, OpenReport) {
        let mut report = OpenReport::default();
        let (mut piles, mut graves, mut strangers) = (BTreeMap::<Uid, Pile>::new(), BTreeMap::new(), Vec::new());
        let (mut ceiling, mut ceiling_record) = (0, None);
        let mut burials = Burials::default();
        for (index, raw) in records.into_iter().enumerate() {
            report.records += 1;
            let raw: Arc<[u8]> = raw.into();
            let sorted = Record::read(Arc::clone(&raw)).map_err(|e| {
                if matches!(e, RecordError::Version(_) | RecordError::Kind(_)) {
                    strangers.push(raw);
                }
                e.to_string()
            });
            if let Ok(record) = &sorted
                && record.author == config.node
            {
                // A run never has the number of an earlier one, whatever the clock says.
                config.incarnation = config.incarnation.max(record.incarnation.saturating_add(1));
            }
            let within = |record: Record| bounds::within(&record).map(|()| record);
            let sorted = sorted.and_then(within).and_then(|record| match &record.body {
                Body::Ceiling { ceiling: found } => {
                    if *found > ceiling {
                        ceiling = *found;
                        ceiling_record = Some(Arc::clone(&record.raw));
                    }
                    Ok(())
                }
                Body::Tombstone { uid, birth, displaced } => {
                    let (birth, displaced) = (birth.clone(), *displaced);
                    let grave = Grave { birth, displaced, record: Arc::clone(&record.raw) };
                    let known: &mut Grave = graves.entry(*uid).or_insert_with(|| grave.clone());
                    if grave.record < known.record {
                        *known = grave;
                    }
                    Ok(())
                }
                Body::Sealed { number, uids } => {
                    burials.found(*number, uids.clone(), Arc::clone(&record.raw));
                    Ok(())
                }
                Body::Acked { number, horizon } => {
                    if record.author == config.node {
                        burials.found_ack(*number, horizon, &record.raw);
                    }
                    Ok(())
                }
                Body::Forgotten { uids, batches } => {
                    for uid in uids {
                        piles.remove(uid);
                        graves.remove(uid);
                    }
                    burials.unfound(batches);
                    Ok(())
                }
                // Never written by us; nothing of it lasts.
                Body::Event { .. } => Ok(()),
                _ => sort(&mut piles, index, record),
            });
            if let Err(reason) = sorted {
                report.refused.push(Refusal { index, reason });
            }
        }
        let mut store = Self::empty(config, now, ceiling);
        store.strangers = strangers;
        store.burials = burials;
        store.ceiling = ceiling_record;
        report.tombstones = graves.len();
        for (uid, grave) in &graves {
            store.note_turn(&grave.birth);
            store.snapshot.bury(*uid, grave.displaced);
        }
        store.graves = graves;
        for (uid, pile) in piles {
            if !store.graves.contains_key(&uid) {
                store.open_object(uid, pile, &mut report);
            }
        }
        report.objects = store.objects.len();
        report.refused.sort_by_key(|refusal| refusal.index);
        store.show_found();
        store.hold_all();
        // The log may still hold what was collected since it was rewritten last.
        store.collect();
        if !report.refused.is_empty() {
            store.lost_records();
        }
        (store, report)
    }

    /// Notes that records were lost before they came here: what is not shown may be alive all the same.
    pub fn lost_records(&mut self) {
        self.snapshot.set_lost(true);
        self.doubt_ack();
    }

    /// Notes whether other members may hold what is not shown.
    pub fn set_complete(&mut self, complete: bool) {
        self.snapshot.set_complete(complete);
    }

    /// What was lost is here again, or is known to be lost for good.
    pub fn is_complete_again(&mut self) {
        self.snapshot.set_lost(false);
    }

    fn open_object(&mut self, uid: Uid, pile: Pile, report: &mut OpenReport) {
        let name = pile.key().map(ToString::to_string);
        let mut refuse = |index: usize, reason: &str| {
            let reason = format!("object {}: {reason}", name.as_ref().unwrap_or(&uid.to_string()));
            report.refused.push(Refusal { index, reason });
        };
        let indexes: Vec<usize> = pile.indexes.iter().copied().chain(pile.others.iter().map(|other| other.0)).collect();
        let mut made = assemble(uid, pile.epochs, &pile.changes);
        let Some(birth) = made.birth.take() else {
            indexes.into_iter().for_each(|index| refuse(index, "its first change is missing"));
            return;
        };
        for (at, why) in &made.left {
            let found = &pile.changes[*at];
            match why {
                // Nobody's any more: the log was not rewritten since.
                NoImage::TooLate => {}
                NoImage::Missing if found.base < made.epoch.as_ref().map(|epoch| epoch.name) => {
                    // A late change that waited before the restart, too.
                    made.former.push(Arc::clone(&found.record));
                    if let Ok(record) = Record::read(Arc::clone(&found.record)) {
                        self.waiting.push(uid, record);
                    }
                }
                NoImage::Missing => refuse(pile.indexes[*at], "a change that it builds on is missing or bad"),
                NoImage::Unreadable => refuse(pile.indexes[*at], "an operation of it cannot be read"),
            }
        }
        let shape = Shape { kind: birth.key.kind, list_keys: self.list_keys };
        let intent = match &made.sole {
            Some(leaves) => inflate(shape, leaves),
            None => settle(shape, &birth.key, &made.document).intent,
        };
        let mut parts = Parts::new(birth, &Value::Object(Map::new()));
        parts.intent = to_json(&intent);
        parts.spec_changes = made.spec_changes;
        let mut object = Object::new(parts);
        object.epoch = made.epoch;
        object.changes = made.changes;
        object.former = made.former;
        for (_, record) in &pile.others {
            self.open_other(&mut object, record);
        }
        object.shown = Some(object.working.clone());
        let birth = Arc::clone(&object.working.birth);
        self.register_birth(uid, &birth);
        self.objects.insert(uid, object);
        let parts = self.objects[&uid].working.clone();
        self.reallocate(uid, &birth.key, Some(&parts));
    }

    fn open_other(&mut self, object: &mut Object, record: &Record) {
        let parts = &mut object.working;
        match &record.body {
            Body::Register { slot, stamp, value, .. } => {
                let stamp = Stamp { major: stamp.0, minor: stamp.1, author: record.author };
                let register = Register::signed(stamp, Arc::clone(&record.raw), value.clone());
                if *slot == Slot::Observation {
                    if register.beats(object.observed.get(&record.author)) {
                        object.observed.insert(record.author, register);
                    }
                } else if register.beats(parts.registers.get(slot)) {
                    Arc::make_mut(&mut parts.registers).insert(*slot, register);
                }
            }
            Body::Told { time, fields, .. } => {
                self.pull_clock(*time);
                merge_told(parts, record, *time, fields);
            }
            Body::Mark { mark, .. } => {
                merge_mark(parts, mark);
                object.keep_mark(mark.clone(), Arc::clone(&record.raw));
            }
            _ => {}
        }
    }

    /// Shows what was found, in key order, and has ended what a crash kept from ending.
    fn show_found(&mut self) {
        let keys: Vec<_> = self.names.keys().cloned().collect();
        for key in keys {
            if let Some((uid, value)) = self.visible(&key) {
                self.note_hidden(&key, uid);
                let revision = self.revisions.found();
                self.snapshot.show(&key, Some(entry_of(&key, revision, value)), revision);
            }
        }
        let finished = self.objects.iter().filter(|(_, object)| self.is_finished(&object.working));
        let finished: Vec<(Uid, bool, Key)> = finished
            .map(|(uid, object)| {
                let held = object.working.mark.as_ref().is_some_and(|mark| !mark.finalizers.is_empty());
                (*uid, held, object.working.birth.key.clone())
            })
            .collect();
        for (uid, held, key) in finished {
            if held { self.unsettle(&key) } else { self.end(uid) }
        }
    }
}

fn sort(piles: &mut BTreeMap<Uid, Pile>, index: usize, record: Record) -> Result<(), String> {
    let Some(uid) = record.body.uid() else { return Ok(()) };
    let named = |e: DocumentError| format!("object {uid}: {e}");
    let pile = piles.entry(uid).or_default();
    if let Some((_, epoch)) = Epoch::of(&record) {
        pile.epochs.push(epoch.map_err(named)?);
    } else if let Some(found) = Found::of(&record) {
        pile.changes.push(found.map_err(named)?);
        pile.indexes.push(index);
    } else {
        pile.others.push((index, record));
    }
    Ok(())
}
