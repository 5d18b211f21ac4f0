//! What is shown and when: a write when its batch is durable, the rest at once; each with a revision of its own.

use std::sync::Arc;

use serde_json::Value;

use crate::ids::{PersistId, Uid};
use crate::object::{Key, json};
use crate::time::Now;

use super::change::Committed;
use super::parts::{Parts, to_json};
use super::record::Draft;
use super::render::{observation, render};
use super::small::SmallMap;
use super::snapshot::Entry;
use super::state::{Batch, Receipt, Store, Ticket, entry_of};

/// Something to show once a batch is durable.
#[derive(Debug)]
pub struct Step {
    batch: PersistId,
    key: Key,
    what: What,
    pub(super) ticket: Option<Ticket>,
}

/// What to show.
#[derive(Debug)]
pub enum What {
    /// An object as it was after a change.
    Parts {
        /// The object.
        uid: Uid,
        /// How it was.
        parts: Box<Parts>,
        /// Whether it was asked something, so that its revision is stale meanwhile.
        asks: bool,
    },
    /// An object as it is by then.
    Look {
        /// The object.
        uid: Uid,
        /// How it was last, should it be taken away meanwhile.
        last: Option<Arc<Entry>>,
    },
    /// Whatever is there by then; the entry is how it was last.
    Passing(Arc<Entry>),
    /// Whatever is there by then; nobody waits for it.
    Reveal,
}

impl Step {
    /// Has it look at what is there by then, since its object is taken away before; `last` is how that was.
    pub(super) fn look_instead(&mut self, last: Option<Arc<Entry>>) {
        if let What::Parts { uid, .. } | What::Look { uid, .. } = self.what {
            self.what = What::Look { uid, last };
        }
    }

    /// Tells whether it is about an object.
    pub fn is_about(&self, uid: Uid) -> bool {
        matches!(&self.what, What::Parts { uid: u, .. } | What::Look { uid: u, .. } if *u == uid)
    }
}

impl Store {
    /// Takes all records since the last time; `None` if there is nothing to write. Batches are to be made durable
    /// in order.
    pub fn take_batch(&mut self) -> Option<Batch> {
        let id = self.taken.next();
        let mut records = Vec::new();
        let ceiling = self.revisions.wanted(self.now.wall, 2 * self.steps.len() as u64);
        if let Some(ceiling) = ceiling {
            // First, so that whatever else is durable, this is.
            let record = self.scribe.write(Draft::Ceiling(ceiling));
            records.push(record.to_vec());
            self.ceiling = Some(record);
            self.ceilings.push_back((id, ceiling));
        }
        records.extend(self.outbox.drain(..).map(|record| record.to_vec()));
        for uid in std::mem::take(&mut self.unwritten) {
            records.extend(self.signed_observation(uid).map(|record| record.to_vec()));
        }
        let urgent = std::mem::take(&mut self.urgent) || ceiling.is_some();
        if records.is_empty() {
            return None;
        }
        self.taken = id;
        Some(Batch { id, records, urgent })
    }

    /// Shows all that is durable now, every batch up to `id`, and returns the answers that were due for it.
    pub fn persisted(&mut self, id: PersistId) -> Vec<(Ticket, Committed)> {
        while let Some((_, ceiling)) = self.ceilings.pop_front_if(|(batch, _)| *batch <= id) {
            self.revisions.reserved(ceiling);
        }
        self.durable = self.durable.max(id);
        let saved = self.unsaved.saved(id);
        self.burials.persisted(id);
        let mut answers = Vec::new();
        while let Some(step) = self.steps.pop_front_if(|step| step.batch <= id) {
            let answer = self.take_step(&step);
            answers.extend(step.ticket.zip(answer));
        }
        self.hold_saved(&saved);
        answers
    }

    /// Shows what a step is about. Returns the answer to whoever waits for it: there is one whatever became of the object.
    fn take_step(&mut self, step: &Step) -> Option<Committed> {
        let last = self.snapshot.get(&step.key).cloned();
        let gone = |entry| Committed { entry, removed: true };
        match &step.what {
            What::Parts { uid, parts, asks } => {
                let hidden = parts.gone.then(|| self.committed(&step.key, *uid)).flatten();
                self.settle(*uid, parts, *asks);
                self.reveal(&step.key);
                step.ticket?;
                let shown = hidden.map(|hidden| gone(hidden.entry)).or_else(|| self.committed(&step.key, *uid));
                shown.or_else(|| {
                    let value = self.projected(&step.key, render(*uid, parts, None));
                    let entry = last.filter(|last| last.uid == *uid);
                    Some(gone(entry.unwrap_or_else(|| entry_of(&step.key, self.snapshot.revision(), value))))
                })
            }
            What::Look { uid, last: before } => {
                self.reveal(&step.key);
                let last = last.filter(|last| last.uid == *uid).or_else(|| before.clone());
                self.committed(&step.key, *uid).or_else(|| last.map(gone))
            }
            What::Passing(before) => {
                self.reveal(&step.key);
                let shown = self.snapshot.get(&step.key).cloned();
                let shown = shown.map(|entry| Committed { entry, removed: false });
                shown.or_else(|| Some(gone(last.unwrap_or_else(|| Arc::clone(before)))))
            }
            What::Reveal => {
                self.reveal(&step.key);
                None
            }
        }
    }

    /// Makes durable parts those that count for what is shown.
    fn settle(&mut self, uid: Uid, parts: &Parts, asks: bool) {
        if parts.gone {
            self.release(uid);
        }
        let Some(object) = self.objects.get_mut(&uid) else { return };
        object.pending -= u32::from(asks);
        if !parts.gone {
            let before = object.shown.replace(parts.clone());
            match before {
                Some(before) => self.release_replaced(&before, parts),
                None => self.hold(uid),
            }
            return;
        }
        self.objects.remove(&uid);
        self.snapshot.bury(uid, self.graves.get(&uid).is_some_and(|grave| grave.displaced));
        let key = &parts.birth.key;
        if self.names.get_mut(key).is_some_and(|uids| uids.remove(&uid).is_some() && uids.is_empty()) {
            self.names.remove(key);
        }
    }

    /// Has a change shown when it is durable.
    pub(super) fn then_show(&mut self, key: &Key, what: What) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.push_step(key, what, Some(ticket));
        ticket
    }

    /// Has a merged record shown when it is durable; nobody waits for an answer.
    pub(super) fn then_show_merged(&mut self, key: &Key, what: What) {
        self.push_step(key, what, None);
    }

    fn push_step(&mut self, key: &Key, what: What, ticket: Option<Ticket>) {
        // With nothing to write there may be no next batch; the last one has all that the step waits for.
        let last_does = self.outbox.is_empty() && self.taken > self.durable;
        let batch = if last_does { self.taken } else { self.taken.next() };
        self.steps.push_back(Step { batch, key: key.clone(), what, ticket });
    }

    /// Has what is on its way of an object not count any more; who waits is answered with what is there by then.
    pub(super) fn forget_parts(&mut self, uid: Uid) {
        for step in self.steps.iter_mut().filter(|step| step.is_about(uid)) {
            let waits = step.ticket.is_some();
            step.what = if waits { What::Look { uid, last: None } } else { What::Reveal };
        }
    }

    /// Answers when all that is on its way is durable.
    pub(super) fn follow(&mut self, key: &Key, uid: Uid) -> Receipt {
        let last = self.committed(key, uid).map(|committed| committed.entry);
        Receipt::Pending(self.then_show(key, What::Look { uid, last }))
    }

    /// Answers for something that never goes to disk, when there are revisions again.
    pub(super) fn follow_passing(&mut self, key: &Key, fallback: Arc<Entry>) -> Receipt {
        Receipt::Pending(self.then_show(key, What::Passing(fallback)))
    }

    /// Shows what is at a key now, at once if there are revisions left, else with the next batch.
    pub(super) fn reveal_or_follow(&mut self, key: &Key) {
        if self.revisions.has(2) {
            self.reveal(key);
        } else {
            self.then_show_merged(key, What::Reveal);
        }
    }

    /// Sets what every node computes for itself, `None` if it is no more. Shown at once, if it differs. Of no effect
    /// where a user's object has the name.
    pub fn project(&mut self, now: Now, key: &Key, object: Option<Value>) {
        self.advance(now);
        match object {
            Some(mut object) => {
                if let Some(meta) = object["metadata"].as_object_mut() {
                    meta.remove("resourceVersion");
                }
                let readable = object["metadata"]["uid"].as_str().is_some_and(|uid| uid.parse::<Uid>().is_ok());
                debug_assert!(readable, "a projection's uid derives from its source");
                if !readable {
                    return;
                }
                self.projections.insert(key.clone(), to_json(&object));
            }
            None => {
                self.projections.remove(key);
            }
        }
        self.reveal_or_follow(key);
    }

    /// Brings the snapshot in step with what there is at a key. Takes up to two revisions.
    pub(super) fn reveal(&mut self, key: &Key) {
        let old = self.snapshot.get(key).cloned();
        let visible = self.visible(key);
        if let Some((uid, _)) = &visible {
            self.note_hidden(key, *uid);
        }
        let Some((uid, mut value)) = visible else {
            if old.is_some() {
                let revision = self.revisions.next(self.now.wall);
                self.snapshot.show(key, None, revision);
            }
            return;
        };
        if let Some(old) = old {
            if old.uid == uid {
                value["metadata"]["resourceVersion"] = old.revision.to_string().into();
                if json::write(&value) == *old.json {
                    return;
                }
            } else {
                let revision = self.revisions.next(self.now.wall);
                self.snapshot.show(key, None, revision);
            }
        }
        let revision = self.revisions.next(self.now.wall);
        self.snapshot.show(key, Some(entry_of(key, revision, value)), revision);
    }

    /// Notes which objects the one that is to be seen at a key hides.
    pub(super) fn note_hidden(&mut self, key: &Key, visible: Uid) {
        self.snapshot.set_displaced(visible, false);
        let uids = self.names.get(key).into_iter().flat_map(SmallMap::keys);
        for uid in uids.filter(|uid| **uid != visible) {
            let shown = self.objects.get(uid).is_some_and(|object| object.shown.is_some());
            self.snapshot.set_displaced(*uid, shown);
        }
    }

    /// Finds what is to be seen at a key: what is decided, of objects the oldest, else something ephemeral, else a projection.
    pub(super) fn visible(&self, key: &Key) -> Option<(Uid, Value)> {
        if let Some(decided) = self.decided.get(key) {
            let value: Value = serde_json::from_slice(decided).ok()?;
            let uid = value["metadata"]["uid"].as_str()?.parse().ok()?;
            return Some((uid, value));
        }
        let uids = self.names.get(key).into_iter().flat_map(SmallMap::keys);
        let durable = uids.filter_map(|uid| {
            let object = self.objects.get(uid)?;
            let shown = object.shown.as_ref()?;
            Some(((shown.birth.created, *uid), shown, object))
        });
        if let Some(((_, uid), shown, object)) = durable.min_by_key(|(seniority, ..)| *seniority) {
            return Some((uid, self.projected(key, render(uid, shown, observation(object)))));
        }
        if let Some(found) = self.ephemerals.get(key) {
            return Some(found);
        }
        let value: Value = serde_json::from_slice(self.projections.get(key)?).ok()?;
        let uid = value["metadata"]["uid"].as_str()?.parse().ok()?;
        Some((uid, value))
    }
}
