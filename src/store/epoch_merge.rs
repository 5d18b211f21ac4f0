//! Takes decisions to begin an epoch in, and changes of other epochs.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ids::{NodeId, Uid};
use crate::object::{Note, NoteType};

use super::document::{Chunk, DocumentError};
use super::epoch::{Epoch, Judged, MOST_EPOCHS, Serial};
use super::epoch_assemble::assemble;
use super::epoch_begin::begin;
use super::epoch_images::{Found, Images, NoImage};
use super::merge::{MergeError, Merged};
use super::notices::COMPONENT;
use super::parts::{Kept, Object, Parts, to_json};
use super::record::Record;
use super::repair::settle;
use super::state::Store;

/// Where a change goes.
pub(super) enum Place {
    /// It counts already.
    Known,
    /// What it builds on has not come.
    Waits,
    /// The change is here already, in another's record: that one is kept too.
    Again,
    /// Into the document, as it is.
    Own,
    /// Into the document, by this image.
    Late(Box<Chunk>),
}

impl Store {
    /// Tells whether a record is among an object's changes.
    pub(super) fn has_change(&self, uid: Uid, found: &Found) -> bool {
        let written = found.chunk.hash();
        let is = |kept: &Kept| kept.written() == written && kept.record == found.record;
        self.objects.get(&uid).is_some_and(|object| object.changes.iter().any(is))
    }

    /// Finds where a change goes that is not here.
    pub(super) fn place(&mut self, uid: Uid, found: &Found) -> Result<Place, MergeError> {
        let Some(object) = self.objects.get(&uid) else {
            // It begins here: either with nothing before it, or not yet.
            let first = found.base.is_none() && found.chunk.parents().next().is_none();
            return Ok(if first { Place::Own } else { Place::Waits });
        };
        let epoch = object.epoch.clone();
        if found.base == epoch.as_ref().map(|epoch| epoch.name) {
            return Ok(place_of_own(object, found));
        }
        let Some(epoch) = epoch.filter(|epoch| found.base < Some(epoch.name)) else { return Ok(Place::Waits) };
        match epoch.judge(found.serial) {
            Judged::Decided => return Ok(Place::Known),
            Judged::TooLate => return Err(self.too_late(uid, found.serial.author)),
            Judged::Late => {}
        }
        let changes = object.changes.clone();
        let images = match &mut self.images {
            Some(images) if images.fits(uid, &epoch, &changes) => images,
            images => images.insert(Images::new(uid, epoch, &changes)),
        };
        match images.image(found) {
            Ok(image) => Ok(Place::Late(Box::new(image))),
            Err(NoImage::Missing) => Ok(Place::Waits),
            Err(NoImage::TooLate) => Err(self.too_late(uid, found.serial.author)),
            Err(NoImage::Unreadable) => {
                let source = DocumentError::Unreadable("an operation that cannot be read".into());
                Err(MergeError::Document { uid, source })
            }
        }
    }

    /// Refuses a change of which nobody knows any more what it builds on, and tells its user so.
    fn too_late(&mut self, uid: Uid, author: NodeId) -> MergeError {
        if let Some(object) = self.objects.get(&uid) {
            let message = format!(
                "a change by node {author} came long after others had replaced what it builds on: it is dropped, \
                 make it again if it is still wanted"
            );
            let (regarding, field_path) = (object.working.birth.key.clone(), String::new());
            let (kind, reason) = (NoteType::Warning, "ChangeTooLate");
            let note = Note { regarding, uid, field_path, kind, reason, message, component: COMPONENT };
            if !self.notes.contains(&note) {
                self.notes.push(note);
            }
        }
        MergeError::TooLate { uid, author }
    }

    /// Takes a decision in.
    pub(super) fn merge_epoch(&mut self, record: &Record) -> Result<Merged, MergeError> {
        let Some((uid, epoch)) = Epoch::of(record) else { return Ok(Merged::Known) };
        let epoch = epoch.map_err(|source| MergeError::Document { uid, source })?;
        if let Some(object) = self.objects.get(&uid) {
            if object.working.birth.key != epoch.birth.key {
                if !self.has_better_name(uid, &epoch.birth) {
                    let (known, given) = (object.working.birth.key.clone(), epoch.birth.key);
                    return Err(MergeError::Name { uid, known, given });
                }
                self.rename(uid, &epoch.birth);
            } else if object.epoch.as_ref().is_some_and(|known| !epoch.beats(known)) {
                return Ok(Merged::Known);
            }
        }
        let number = epoch.name.number;
        let refused = self.refused_epochs.get(&uid).is_some_and(|refused| number <= *refused);
        // There must be room for one that puts it right: the last word stands, whatever it says.
        if number < MOST_EPOCHS && (refused || self.contradicts(uid, &epoch)) {
            // Those who cannot check it follow it. One more epoch, from what is true here, brings them back.
            self.refused_epochs.entry(uid).and_modify(|refused| *refused = number.max(*refused)).or_insert(number);
            return Err(MergeError::Epoch { uid, number });
        }
        self.adopt(uid, epoch);
        Ok(Merged::New)
    }

    /// Tells whether a decision differs from what follows from what is held here. Who lacks some of it cannot tell.
    fn contradicts(&self, uid: Uid, epoch: &Epoch) -> bool {
        let Some(object) = self.objects.get(&uid) else { return false };
        if self.is_misquoted(epoch) {
            return true;
        }
        if object.epoch.as_ref().map(|e| e.name.hash) != epoch.decision.former {
            return false;
        }
        let held: BTreeSet<Serial> = object.changes.iter().map(Kept::serial).collect();
        let counts = |serial: Serial| {
            let before = object.epoch.as_ref().is_some_and(|e| e.judge(serial) == Judged::Decided);
            before || held.contains(&serial)
        };
        let last = |((author, incarnation), (seq, _)): (&(NodeId, u64), &(u64, u64))| {
            counts(Serial { author: *author, incarnation: *incarnation, seq: *seq })
        };
        if !epoch.decision.clock.runs.iter().all(last) {
            return false;
        }
        let decided: Vec<Kept> =
            object.changes.iter().filter(|k| epoch.judge(k.serial()) == Judged::Decided).cloned().collect();
        let Some(begun) = begin(uid, epoch.name.number, object.epoch.as_deref(), &decided) else { return true };
        begun.chunk != epoch.chunk.bytes()
            || begun.heads != epoch.decision.heads
            || begun.generation != epoch.decision.generation
    }

    /// Tells whether a decision counts what this node, in this run, has not written: all it writes from now on would
    /// count as known.
    fn is_misquoted(&self, epoch: &Epoch) -> bool {
        let (node, run, next) = (self.scribe.node, self.scribe.incarnation, self.scribe.peek_seq());
        let clock = &epoch.decision.clock;
        let mut runs = clock.runs.range((node, run)..=(node, u64::MAX));
        runs.any(|((_, of), (seq, _))| *of > run || *seq >= next) || clock.ended.get(&node).is_some_and(|at| *at >= run)
    }

    /// Makes a decision that stands the object's epoch. What it does not count is taken over.
    pub(super) fn adopt(&mut self, uid: Uid, epoch: Epoch) {
        if let std::collections::btree_map::Entry::Vacant(free) = self.objects.entry(uid) {
            let parts = Parts::new(epoch.birth.clone(), &Value::Object(Map::new()));
            free.insert(Object::new(parts));
            self.register_birth(uid, &epoch.birth);
        }
        // What was wrong in one epoch need not be in the next.
        self.quarantine.forget_object(uid);
        let raw = Arc::clone(&epoch.record);
        self.rebuild(uid, vec![epoch], Vec::new());
        self.save(raw);
        self.show_rebuilt(uid);
    }

    /// Keeps a record of a change that is in the document already.
    pub(super) fn keep_again(&mut self, uid: Uid, record: Record) {
        let raw = Arc::clone(&record.raw);
        self.rebuild(uid, Vec::new(), vec![record]);
        self.save(raw);
        self.show_rebuilt(uid);
    }

    /// Makes an object anew of its records and some more.
    fn rebuild(&mut self, uid: Uid, mut epochs: Vec<Epoch>, more: Vec<Record>) {
        let Some(object) = self.objects.get(&uid) else { return };
        epochs.extend(object.epoch.as_deref().cloned());
        let raws = object.former.iter().chain(object.changes.iter().map(|kept| &kept.record));
        let mut records: Vec<Record> = raws.filter_map(|raw| Record::read(Arc::clone(raw)).ok()).collect();
        records.extend(more);
        epochs.extend(records.iter().filter_map(|record| Epoch::of(record)?.1.ok()));
        let found = |record: Record| Some((Found::of(&record)?.ok()?, record));
        let (found, records): (Vec<Found>, Vec<Record>) = records.into_iter().filter_map(found).unzip();
        let mut made = assemble(uid, epochs, &found);
        for (at, why) in made.left {
            match why {
                NoImage::Missing | NoImage::Unreadable => {
                    // It goes on waiting here, also after a restart.
                    made.former.push(Arc::clone(&records[at].raw));
                    self.waiting.push(uid, records[at].clone());
                    if records[at].author == self.scribe.node {
                        // What comes next does not build on it, and a clock counts a run's changes in their order.
                        self.begin_another_run(records[at].incarnation);
                    }
                }
                NoImage::TooLate => {
                    self.too_late(uid, records[at].author);
                }
            }
        }
        self.release(uid);
        let Some(object) = self.objects.get_mut(&uid) else { return };
        object.epoch = made.epoch;
        object.changes = made.changes;
        object.former = made.former;
        if let Some(birth) = made.birth {
            object.working.birth = Arc::new(birth);
        }
        object.working.spec_changes = made.spec_changes;
        self.hold(uid);
        self.images = None;
        self.documents.take(uid);
        if made.sole.is_none() {
            self.documents.put(uid, made.document);
        }
    }

    /// Has shown what an object has become.
    fn show_rebuilt(&mut self, uid: Uid) {
        let document = self.document(uid);
        let Some(object) = self.objects.get(&uid) else { return };
        let mut after = object.working.clone();
        let key = after.birth.key.clone();
        let intent = to_json(&settle(self.shape(&key), &key, &document).intent);
        self.documents.put(uid, document);
        let asks = after.intent != intent;
        after.intent = intent;
        self.reallocate(uid, &key, Some(&after));
        self.settle_merged(uid, after, asks);
    }
}

/// Finds where a change of the current epoch goes. What it says of what it builds on must be so: a late change is taken
/// over by that.
fn place_of_own(object: &Object, found: &Found) -> Place {
    let written = found.chunk.hash();
    if object.changes.iter().any(|kept| kept.hash == written) {
        return Place::Again;
    }
    let mut right: BTreeSet<Serial> = BTreeSet::new();
    for parent in found.chunk.parents() {
        let records: Vec<Serial> = object.changes.iter().filter(|kept| kept.hash == parent).map(Kept::serial).collect();
        match object.epoch.as_ref().filter(|epoch| epoch.begins_with(parent)) {
            Some(epoch) => right.extend(&epoch.decision.heads),
            None if records.is_empty() => return Place::Waits,
            None => {}
        }
        let said = |serial: &Serial| found.parents.as_ref().is_none_or(|parents| parents.contains(serial));
        if !records.is_empty() && !records.iter().any(said) {
            return Place::Waits;
        }
        right.extend(records);
    }
    let so = found.parents.iter().flatten().all(|parent| right.contains(parent));
    if so { Place::Own } else { Place::Waits }
}
