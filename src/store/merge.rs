//! Records of peers: taken in any order and any number of times, with the same outcome on every node.
//!
//! Merging never fences: a register's highest stamp wins whoever is asked. Signatures are checked before a record comes
//! here ([`Verified`]); whether the author is a member of the cluster is `trust`'s to know.

use std::sync::Arc;

use serde_json::Value;

use crate::ids::{NodeId, Uid};
use crate::object::Key;
use crate::time::Now;

use super::bounds;
use super::document::{Actor, DocumentError};
use super::epoch_images::Found;
use super::epoch_merge::Place;
use super::parts::{Birth, Grave, Mark, Object, Parts, to_json};
use super::record::{Body, Record, Verified};
use super::register::{Register, Slot, Stamp, Told};
use super::rename::Naming;
use super::repair::settle;
use super::show::What;
use super::state::Store;

/// How far ahead of this node's clock a peer's may pull it.
const MAX_PULL_MICROS: u64 = 60_000_000;

/// What became of a peer's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// It was new: it goes to disk, then it is shown.
    New,
    /// It says nothing that was not known.
    Known,
    /// It builds on what has not come yet; ask for the records of this object.
    Waiting {
        /// The object.
        uid: Uid,
    },
}

/// Why a peer's record was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// Its change does not go with the object.
    #[error("object {uid}: {source}")]
    Document {
        /// The object.
        uid: Uid,
        /// Why.
        source: DocumentError,
    },
    /// It builds on what nobody knows any more: it comes after more horizons than are kept.
    #[error("object {uid}: a change of {author} comes too late")]
    TooLate {
        /// The object.
        uid: Uid,
        /// Whose change it is.
        author: NodeId,
    },
    /// It decides to begin an epoch with what does not follow from the former one.
    #[error("object {uid}: epoch {number} does not begin as the former one ended")]
    Epoch {
        /// The object.
        uid: Uid,
        /// The epoch's number.
        number: u64,
    },
    /// It says of an Event what none can be.
    #[error("{key}: {reason}")]
    Event {
        /// The Event.
        key: Key,
        /// What is wrong with it.
        reason: String,
    },
    /// It says more than a record may, or cannot be read.
    #[error("{0}")]
    Bounds(String),
    /// It gives an object a name that it has not got.
    #[error("object {uid} is {known}, not {given}")]
    Name {
        /// The object.
        uid: Uid,
        /// Its key.
        known: Key,
        /// What the record says.
        given: Key,
    },
}

impl Store {
    /// Takes in a peer's record.
    ///
    /// # Errors
    /// [`MergeError`] says what is wrong with it; nothing has changed then but that the record is held as refused.
    pub fn merge(&mut self, now: Now, record: Verified) -> Result<Merged, MergeError> {
        self.advance(now);
        if self.is_refused(record.id()) {
            return Ok(Merged::Known);
        }
        let record = record.into_record();
        let uid = record.body.uid();
        let merged = self.take_in_or_refuse(&record);
        if record.author == self.scribe.node
            && matches!(record.body, Body::Change { .. })
            && merged != Ok(Merged::Known)
            && record.incarnation >= self.scribe.incarnation
        {
            tracing::warn!("another has written under this run's numbers: this machine was set back while it ran");
            self.begin_another_run(record.incarnation);
        }
        let merged = merged?;
        if let (Merged::New, Some(uid)) = (merged, uid) {
            self.retry(uid);
        }
        Ok(merged)
    }

    /// Goes on under another run's number, if this one's was found where it ought not to be. Somebody else may write as
    /// this node does, as a machine does that was set back to an earlier moment while it ran; or what this node wrote
    /// waits, so that what it writes from now on does not build on it.
    pub(super) fn begin_another_run(&mut self, found: u64) {
        if found < self.scribe.incarnation {
            return;
        }
        let time = u64::try_from(self.now.wall.millis()).unwrap_or(0);
        self.scribe.incarnation = time.max(found.saturating_add(1));
        self.actor = Actor::new(self.scribe.node, self.scribe.incarnation);
    }

    /// Takes in what waited for an object, as far as it goes now.
    fn retry(&mut self, uid: Uid) {
        loop {
            let mut moved = false;
            for record in self.waiting.take(uid) {
                moved |= self.take_in_or_refuse(&record) == Ok(Merged::New);
            }
            if !moved {
                return;
            }
        }
    }

    fn take_in_or_refuse(&mut self, record: &Record) -> Result<Merged, MergeError> {
        let within = bounds::within(record).map_err(MergeError::Bounds);
        within.and_then(|()| self.take_in(record.clone())).map_err(|error| self.refused(record, error))
    }

    fn take_in(&mut self, record: Record) -> Result<Merged, MergeError> {
        if let Body::Event { .. } = &record.body {
            return self.merge_ephemeral(&record);
        }
        if let Body::Sealed { number, uids } = &record.body {
            return Ok(self.merge_batch(*number, uids, &record.raw));
        }
        let Some(uid) = record.body.uid() else { return Ok(Merged::Known) };
        if self.burials.is_ghost(uid) {
            return Ok(Merged::Known);
        }
        if let Body::Tombstone { birth, displaced, .. } = &record.body {
            return Ok(self.bury_merged(uid, birth.clone(), *displaced, &record.raw));
        }
        if self.graves.contains_key(&uid) {
            // A tombstone beats any change.
            return Ok(Merged::Known);
        }
        match &record.body {
            Body::Epoch { .. } => self.merge_epoch(&record),
            Body::Change { birth, .. } if birth.is_some() || self.objects.contains_key(&uid) => {
                self.merge_change(uid, record)
            }
            _ if !self.objects.contains_key(&uid) => {
                self.waiting.push(uid, record);
                Ok(Merged::Waiting { uid })
            }
            _ => Ok(if self.merge_register(uid, &record) { Merged::New } else { Merged::Known }),
        }
    }

    fn merge_change(&mut self, uid: Uid, record: Record) -> Result<Merged, MergeError> {
        let refused = |source| MergeError::Document { uid, source };
        let Some(found) = Found::of_peer(&record) else { return Ok(Merged::Known) };
        let found = found.map_err(refused)?;
        let birth = found.birth.clone();
        if birth.is_none() && found.chunk.parents().next().is_none() {
            return Err(MergeError::Bounds("a first change that does not say of what".into()));
        }
        if found.chunk.parents().any(|parent| self.quarantine.has_change(uid, parent)) {
            return Err(refused(DocumentError::Refused("it builds on a change that is refused".into())));
        }
        if self.has_change(uid, &found) {
            return Ok(Merged::Known);
        }
        if let (Some(birth), Some(object)) = (&birth, self.objects.get(&uid))
            && birth.key != object.working.birth.key
        {
            let (known, given) = (object.working.birth.key.clone(), birth.key.clone());
            match self.give_name(uid, &found, birth) {
                Naming::Refused => return Err(MergeError::Name { uid, known, given }),
                Naming::Waits => {
                    self.waiting.push(uid, record);
                    return Ok(Merged::Waiting { uid });
                }
                Naming::Taken => {}
            }
        }
        let image = match self.place(uid, &found)? {
            Place::Known => return Ok(Merged::Known),
            Place::Waits => {
                self.waiting.push(uid, record);
                return Ok(Merged::Waiting { uid });
            }
            Place::Again => {
                self.keep_again(uid, record);
                return Ok(Merged::New);
            }
            Place::Own => None,
            Place::Late(image) => Some(*image),
        };
        let (document, merged) = self.merged_document(uid, &found, image.as_ref()).map_err(refused)?;
        let born = !self.objects.contains_key(&uid);
        if let (Some(birth), true) = (&birth, born) {
            let parts = Parts::new(birth.clone(), &Value::Object(serde_json::Map::new()));
            self.objects.insert(uid, Object::new(parts));
            self.register_birth(uid, birth);
        }
        let Some(object) = self.objects.get(&uid) else { return Ok(Merged::Known) };
        let mut after = object.working.clone();
        if let Some(birth) = birth {
            after.birth = Arc::new(elder(&after.birth, birth));
        }
        let (shape, key) = (self.shape(&after.birth.key), after.birth.key.clone());
        let settled = settle(shape, &key, &merged);
        if merged.is_forked() {
            let before = settle(shape, &key, &document);
            self.note_losses(&key, uid, (&document, &before), (&merged, &settled));
        }
        after.intent = to_json(&settled.intent);
        after.spec_changes += u64::from(found.spec);
        if !born {
            self.documents.put(uid, merged);
        }
        self.reallocate(uid, &after.birth.key.clone(), Some(&after));
        if let Some(object) = self.objects.get_mut(&uid) {
            object.keep_change(found.kept(image.as_ref()));
        }
        if let (Some(image), Some(images)) = (image, &mut self.images) {
            images.add(found.serial, image);
        }
        self.save(record.raw);
        self.settle_merged(uid, after, true);
        Ok(Merged::New)
    }

    /// Has merged parts of an object shown when they are durable, and ends the object if nothing holds it any more.
    pub(super) fn settle_merged(&mut self, uid: Uid, after: Parts, asks: bool) {
        let key = after.birth.key.clone();
        let Some(object) = self.objects.get_mut(&uid) else { return };
        object.pending += u32::from(asks);
        object.working = after.clone();
        let finished = self.is_finished(&after);
        let held = after.mark.as_ref().is_some_and(|mark| !mark.finalizers.is_empty());
        self.then_show_merged(&key, What::Parts { uid, parts: Box::new(after), asks });
        if finished && held {
            // What held it may be gone, or not have come yet: the leader ends it, once it has heard everybody.
            self.unsettle(&key);
        } else if finished {
            self.end(uid);
        }
    }

    /// Ends an object that nothing holds any more.
    pub(super) fn end(&mut self, uid: Uid) {
        let Some(object) = self.objects.get(&uid) else { return };
        let mut plan = self.plan_for(object.working.birth.key.clone(), uid, object);
        plan.bury();
        self.perform_unasked(plan);
    }

    fn bury_merged(&mut self, uid: Uid, birth: Birth, displaced: bool, raw: &Arc<[u8]>) -> Merged {
        let known = self.graves.get(&uid);
        // Of two tombstones every node keeps the same one.
        if known.is_some_and(|grave| grave.record <= *raw) {
            return Merged::Known;
        }
        let first = known.is_none();
        self.note_turn(&birth);
        self.unsettle_namespace(&birth.key, uid);
        let before = self.graves.insert(uid, Grave { birth, displaced, record: Arc::clone(raw) });
        self.held.remove_all(before.iter().map(|grave| &grave.record));
        if !self.objects.contains_key(&uid) {
            self.snapshot.bury(uid, displaced);
            // Nothing is seen to go, so nobody else would look after what it owned.
            self.bereaved.extend(self.snapshot.owned_by(uid).map(|entry| entry.key.clone()));
        }
        self.waiting.take(uid);
        self.save(Arc::clone(raw));
        if let (true, Some(object)) = (first, self.objects.get(&uid)) {
            let mut after = object.working.clone();
            let key = after.birth.key.clone();
            after.gone = true;
            self.reallocate(uid, &key, None);
            self.documents.take(uid);
            self.forget_observation(uid);
            if let Some(object) = self.objects.get_mut(&uid) {
                object.working.gone = true;
                object.pending += 1;
            }
            self.then_show_merged(&key, What::Parts { uid, parts: Box::new(after), asks: true });
        }
        Merged::New
    }

    /// Merges what is not a document. Returns whether anything was new.
    fn merge_register(&mut self, uid: Uid, record: &Record) -> bool {
        let Some(object) = self.objects.get(&uid) else { return false };
        let mut after = object.working.clone();
        match &record.body {
            Body::Register { slot: Slot::Observation, stamp, value, .. } => {
                let stamp = Stamp { major: stamp.0, minor: stamp.1, author: record.author };
                return self.merge_observation(uid, Register::signed(stamp, Arc::clone(&record.raw), value.clone()));
            }
            Body::Register { slot, stamp, value, .. } => {
                let stamp = Stamp { major: stamp.0, minor: stamp.1, author: record.author };
                let register = Register::signed(stamp, Arc::clone(&record.raw), value.clone());
                if !register.beats(after.registers.get(slot)) {
                    return false;
                }
                Arc::make_mut(&mut after.registers).insert(*slot, register);
            }
            Body::Told { time, fields, .. } => {
                self.pull_clock(*time);
                if !merge_told(&mut after, record, *time, fields) {
                    return false;
                }
            }
            Body::Mark { mark, .. } => {
                if !self.keep_mark(uid, mark.clone(), &record.raw) {
                    return false;
                }
                merge_mark(&mut after, mark);
            }
            _ => return false,
        }
        let asks = matches!(record.body, Body::Mark { .. });
        self.save(Arc::clone(&record.raw));
        self.settle_merged(uid, after, asks);
        true
    }

    fn merge_observation(&mut self, uid: Uid, register: Register) -> bool {
        let Some(object) = self.objects.get_mut(&uid) else { return false };
        let author = register.stamp.author;
        if !register.beats(object.observed.get(&author)) {
            return false;
        }
        // Nobody waits for it: it goes with the next batch, urgent or not.
        let record = register.record.clone();
        let before = object.observed.insert(author, register);
        self.outbox.extend(record.clone());
        self.held.remove_all(before.iter().filter_map(|register| register.record.as_ref()));
        record.iter().for_each(|record| self.hold_record(uid, record));
        let Some(object) = self.objects.get(&uid) else { return false };
        let shown = object.shown.as_ref().map(|shown| shown.birth.key.clone());
        if author == self.scribe.node {
            self.forget_observation(uid);
        }
        if let Some(key) = shown {
            self.reveal_or_follow(&key);
        }
        true
    }

    /// Returns the time to stamp with what is said now.
    pub(super) fn hybrid_time(&self) -> u64 {
        let wall = u64::try_from(self.now.wall.0).unwrap_or(0);
        wall.max(self.clock.saturating_add(1))
    }

    pub(super) fn pull_clock(&mut self, time: u64) {
        let wall = u64::try_from(self.now.wall.0).unwrap_or(0);
        self.clock = self.clock.max(time.min(wall.saturating_add(MAX_PULL_MICROS)));
    }
}

impl Body {
    /// Returns the durable object it is about.
    pub fn uid(&self) -> Option<Uid> {
        match self {
            Self::Change { uid, .. }
            | Self::Epoch { uid, .. }
            | Self::Register { uid, .. }
            | Self::Told { uid, .. }
            | Self::Mark { uid, .. }
            | Self::Tombstone { uid, .. } => Some(*uid),
            Self::Ceiling { .. }
            | Self::Sealed { .. }
            | Self::Acked { .. }
            | Self::Forgotten { .. }
            | Self::Event { .. }
            | Self::Unreadable { .. } => None,
        }
    }

    /// Returns why it cannot be read.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Unreadable { reason } => Some(reason),
            _ => None,
        }
    }
}

/// Merges what a client said, field by field. Returns whether anything was new.
pub(super) fn merge_told(
    after: &mut Parts,
    record: &Record,
    time: u64,
    fields: &[(String, Option<Arc<[u8]>>)],
) -> bool {
    let stamp = Stamp { major: time, minor: 0, author: record.author };
    let mut new = false;
    for (part, value) in fields {
        let told = Told { stamp, value: value.clone(), record: Some(Arc::clone(&record.raw)) };
        if told.beats(after.told.get(part)) {
            Arc::make_mut(&mut after.told).insert(part.clone(), told);
            new = true;
        }
    }
    new
}

/// Merges marks that were read one by one.
pub(super) fn merge_mark(after: &mut Parts, mark: &Mark) {
    let merged = after.mark.as_ref().map_or_else(|| mark.clone(), |known| known.and(mark));
    after.mark = Some(Arc::new(merged));
}

/// Returns the birth that stands of two of one uid.
pub(super) fn elder(one: &Birth, other: Birth) -> Birth {
    let rank = |b: &Birth| (b.created, b.turn, b.origin, b.namespace);
    if rank(&other) < rank(one) { other } else { one.clone() }
}
