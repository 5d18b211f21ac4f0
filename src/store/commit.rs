//! Changes made by this node: thought through ([`super::plan`]), written down, shown when durable.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::{Term, Uid};
use crate::object::kinds;
use crate::time::Now;

use super::change::{Author, Change, Committed, Rejected};
use super::class::{self, Class};
use super::credit::Credit;
use super::document::{Chunk, Document, Written};
use super::epoch::Serial;
use super::leaves::{self, Leaves};
use super::parts::{Birth, Grave, Kept, Mark, Object};
use super::plan::{Plan, Planned, Write};
use super::record::{Body, Draft, Record};
use super::register::{Register, Slot, Stamp};
use super::render::{observation, render};
use super::show::What;
use super::snapshot::Entry;
use super::state::{Receipt, Store, entry_of};

impl Store {
    /// Makes a change. `term` is the leader's, for decisions.
    ///
    /// # Errors
    /// [`Rejected`] says why not; nothing has changed then.
    pub fn commit(&mut self, now: Now, author: Author, term: Term, change: Change) -> Result<Receipt, Rejected> {
        self.commit_for(now, author, None, term, change)
    }

    /// Makes a change that a `user` of the API has asked for, whose name goes into the object's history.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_for(
        &mut self,
        now: Now,
        author: Author,
        user: Option<String>,
        term: Term,
        change: Change,
    ) -> Result<Receipt, Rejected> {
        self.advance(now);
        self.scribe.set_credit(Credit { at: Some(now.wall), author: Some(author), user, node: None });
        let fresh = if matches!(change, Change::Create { .. }) { self.random_uid() } else { Uid([0; 16]) };
        if class::of_object(change.key(), None) == Class::Ephemeral {
            return self.commit_ephemeral(fresh, change);
        }
        match self.plan(author, term, fresh, change)? {
            Planned::Same(key, uid) => Ok(self.unchanged(&key, uid)),
            Planned::Do(plan) => Ok(self.perform(*plan)),
        }
    }

    /// Returns what [`Store::commit`] would answer, and leaves no trace.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn dry_run(&self, now: Now, author: Author, term: Term, change: Change) -> Result<Committed, Rejected> {
        let at = now.wall.0.to_be_bytes();
        let fresh = Uid::derived(&[b"dry run", change.key().to_string().as_bytes(), &at]);
        if class::of_object(change.key(), None) == Class::Ephemeral {
            return self.dry_run_ephemeral(fresh, change);
        }
        match self.plan(author, term, fresh, change)? {
            Planned::Same(key, uid) => self.committed(&key, uid).ok_or(Rejected::NotFound { key }),
            Planned::Do(plan) => Ok(self.preview(*plan)),
        }
    }

    fn preview(&self, plan: Plan) -> Committed {
        let old = self.snapshot.get(&plan.key).filter(|entry| entry.uid == plan.uid);
        if let (true, Some(old)) = (plan.after.gone, old) {
            return Committed { entry: Arc::clone(old), removed: true };
        }
        let node = self.scribe.node;
        let drafted = plan.observed.map(|value| Register::draft(Stamp { major: 0, minor: 0, author: node }, value));
        let seen = self.objects.get(&plan.uid).and_then(observation);
        let value = render(plan.uid, &plan.after, drafted.as_ref().or(seen));
        let value = self.projected(&plan.key, value);
        let entry = match old {
            Some(old) => entry_of(&plan.key, old.revision, value),
            // What is not made has no resourceVersion.
            None => Arc::new(Entry::of(plan.key, self.snapshot.revision(), &value)),
        };
        Committed { entry, removed: plan.after.gone }
    }

    fn unchanged(&mut self, key: &crate::object::Key, uid: Uid) -> Receipt {
        let waits = self.steps.iter().any(|step| step.is_about(uid));
        match self.committed(key, uid) {
            Some(committed) if !waits => Receipt::Unchanged(committed),
            // What it found is not durable yet: the answer has to wait for that.
            _ => self.follow(key, uid),
        }
    }

    pub(super) fn perform(&mut self, plan: Plan) -> Receipt {
        let Plan { key, uid, born, mut after, observed, writes } = plan;
        if born {
            self.objects.insert(uid, Object::new(after.clone()));
            self.register_birth(uid, &after.birth.clone());
        }
        self.reallocate(uid, &key, Some(&after));
        let asks = writes
            .iter()
            .any(|write| !matches!(write, Write::Decide(Slot::Status | Slot::CaretakerStatus, ..) | Write::Tell(..)));
        let durable = !writes.is_empty();
        for write in writes {
            self.write(uid, born, &mut after, write);
        }
        let object = self.objects.get_mut(&uid).expect("a plan is about an object that is there");
        object.working = after;
        if let Some(value) = observed {
            let stamp =
                Stamp { major: self.scribe.incarnation, minor: self.scribe.next_seq(), author: self.scribe.node };
            let before = object.observed.insert(stamp.author, Register::draft(stamp, value));
            self.held.remove_all(before.iter().filter_map(|register| register.record.as_ref()));
            self.unwritten.insert(uid);
            self.news.saw(uid);
        }
        if durable {
            let parts = Box::new(object.working.clone());
            object.pending += u32::from(asks);
            Receipt::Pending(self.then_show(&key, What::Parts { uid, parts, asks }))
        } else {
            self.show_now(&key, uid)
        }
    }

    fn show_now(&mut self, key: &crate::object::Key, uid: Uid) -> Receipt {
        let shown = self.objects.get(&uid).is_some_and(|object| object.shown.is_some());
        if !shown || !self.revisions.has(2) {
            return self.follow(key, uid);
        }
        self.reveal(key);
        let committed = self.committed(key, uid).expect("the object is there");
        Receipt::Shown(committed)
    }

    /// Carries out a plan for whose outcome nobody waits.
    pub(super) fn perform_unasked(&mut self, plan: Plan) {
        self.perform(plan);
        if let Some(step) = self.steps.back_mut() {
            step.ticket = None;
        }
    }

    /// Notes name and turn of an object.
    pub(super) fn register_birth(&mut self, uid: Uid, birth: &Birth) {
        let namesakes = self.names.entry(birth.key.clone()).or_default();
        namesakes.insert(uid, ());
        let shared = namesakes.keys().nth(1).is_some();
        if shared || birth.namespace.is_some_and(|namespace| self.graves.contains_key(&namespace)) {
            self.unsettle(&birth.key);
        }
        self.note_turn(birth);
    }

    pub(super) fn note_turn(&mut self, birth: &Birth) {
        if let Some(origin) = birth.origin {
            let turn = self.turns.entry(origin).or_default();
            *turn = birth.turn.max(*turn);
        }
    }

    /// Keeps the table of addresses and ports in step with a Service that is about to become `after`.
    pub(super) fn reallocate(&mut self, uid: Uid, key: &crate::object::Key, after: Option<&super::parts::Parts>) {
        if *key.kind != kinds::SERVICE {
            return;
        }
        if let Some(object) = self.objects.get(&uid) {
            self.allocations.release(uid, &object.working.intent());
        }
        if let Some(after) = after.filter(|after| !after.gone)
            && self.allocations.claim(uid, &after.intent())
        {
            self.disorder = self.now.mono;
        }
    }

    fn write(&mut self, uid: Uid, born: bool, after: &mut super::parts::Parts, write: Write) {
        match write {
            Write::Intent { leaves, spec } => {
                let birth = born.then(|| Arc::clone(&after.birth));
                self.write_intent(uid, birth.as_deref(), &leaves, spec);
            }
            Write::Decide(slot, stamp, value) => {
                let record = self.scribe.write(Draft::Register(uid, slot, (stamp.major, stamp.minor), &value));
                let at = value_range(&record);
                Arc::make_mut(&mut after.registers).insert(slot, Register::signed(stamp, Arc::clone(&record), at));
                self.tell(record);
            }
            Write::Tell(stamp, fields) => {
                self.clock = self.clock.max(stamp.major);
                let record = self.scribe.write(Draft::Told(uid, stamp.major, &fields));
                let told = Arc::make_mut(&mut after.told);
                for (part, _) in fields {
                    if let Some(told) = told.get_mut(&part) {
                        told.record = Some(Arc::clone(&record));
                    }
                }
                self.tell(record);
            }
            Write::Mark => {
                let Some(mark) = &after.mark else { return };
                let record = self.scribe.write(Draft::Mark(uid, mark));
                self.keep_mark(uid, Mark::clone(mark), &record);
                self.tell(record);
            }
            Write::Bury { displaced } => {
                let birth = Birth::clone(&after.birth);
                let draft = if displaced { Draft::Displaced(uid, &birth) } else { Draft::Tombstone(uid, &birth) };
                let record = self.scribe.write(draft);
                self.unsettle_namespace(&birth.key, uid);
                self.graves.insert(uid, Grave { birth, displaced, record: Arc::clone(&record) });
                self.documents.take(uid);
                self.forget_observation(uid);
                self.tell(record);
            }
        }
    }

    fn write_intent(&mut self, uid: Uid, birth: Option<&Birth>, leaves: &Leaves, spec: bool) {
        let mut document = self.document(uid);
        let mut delta = leaves::diff(document.leaves(), leaves);
        if delta.is_empty() && (birth.is_some() || document.is_forked()) {
            // An object of which nothing is asked but to be there, or which two sides left as it is wanted.
            let written = document.write_nothing(&self.actor);
            self.keep_written(uid, birth, spec, written);
        }
        // A large one goes as several. What a user may write of a new object is always one.
        let mut spec = spec;
        while !delta.is_empty() {
            let rest = delta.split_off(document.affordable(&delta).min(delta.len()));
            let Some(written) = document.write(&self.actor, std::mem::replace(&mut delta, rest)) else { break };
            self.keep_written(uid, birth, std::mem::take(&mut spec), written);
        }
        // Most objects are never edited: what was just made is not kept alive.
        if birth.is_none() {
            self.documents.put(uid, document);
        }
    }

    fn keep_written(&mut self, uid: Uid, birth: Option<&Birth>, spec: bool, written: Written) {
        let Written { chunk, hash } = written;
        let parents = self.parents_of(uid, &chunk);
        let base = self.objects.get(&uid).and_then(|object| object.epoch.as_ref()).map(|epoch| epoch.name);
        let draft = Draft::Change { uid, birth, spec, chunk: &chunk, base, parents: Some(&parents) };
        let record = self.scribe.write(draft);
        let kept = Kept { hash, chunk: value_range(&record), record: Arc::clone(&record), spec, image: None };
        self.objects.get_mut(&uid).expect("a document belongs to an object").keep_change(kept);
        self.tell(record);
    }

    /// Lists the records that a change of our own builds on: where it builds on the beginning of an epoch, what that was
    /// cut at, if this node held it. A decision may name what nobody ever wrote; what is written now must not wait for that.
    fn parents_of(&self, uid: Uid, chunk: &[u8]) -> Vec<Serial> {
        let (Some(object), Ok(chunk)) = (self.objects.get(&uid), Chunk::read(chunk)) else { return Vec::new() };
        let mut parents = BTreeSet::new();
        for hash in chunk.parents() {
            match &object.epoch {
                Some(epoch) if epoch.begins_with(hash) => {
                    let held: BTreeSet<Serial> = object.former.iter().filter_map(serial_of).collect();
                    parents.extend(epoch.decision.heads.iter().filter(|head| held.contains(head)));
                }
                _ => parents.extend(object.changes.iter().rfind(|kept| kept.hash == hash).map(Kept::serial)),
            }
        }
        parents.into_iter().collect()
    }

    /// Brings an object's document to life.
    pub(super) fn document(&mut self, uid: Uid) -> Document {
        self.documents.take(uid).unwrap_or_else(|| {
            let Some(object) = self.objects.get(&uid) else { return Document::default() };
            let birth = object.epoch.iter().flat_map(|epoch| epoch.chunks());
            let read = |kept: &Kept| Chunk::read(kept.in_document()).ok();
            Document::of(&birth.chain(object.changes.iter().filter_map(read)).collect::<Vec<_>>())
        })
    }
}

fn serial_of(raw: &Arc<[u8]>) -> Option<Serial> {
    Record::read(Arc::clone(raw)).ok().map(|record| Serial::of(&record))
}

/// Where in a record of ours the chunk or value is.
fn value_range(record: &Arc<[u8]>) -> std::ops::Range<usize> {
    match Record::read(Arc::clone(record)).map(|record| record.body) {
        Ok(Body::Change { chunk: at, .. } | Body::Register { value: at, .. }) => at,
        _ => unreachable!("a record that was just written can be read"),
    }
}
