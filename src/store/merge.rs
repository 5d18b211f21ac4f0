//! Records of others, and of our own disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::{Revision, Uid};
use crate::time::Now;

use super::class::Section;
use super::document::{Document, DocumentError};
use super::leaves;
use super::parts::{Object, Parts, Register};
use super::record::{self, About, Body, Record, RecordError};
use super::revision::Revisions;
use super::{OpenReport, Snapshot, Store, Tombstone};

/// How many changes of an object may wait for their parents.
const WAITING_CHANGES: usize = 1_024;

/// A peer's record is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// It is no good.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Its change is no good.
    #[error("{about}: {error}")]
    Document {
        /// The object.
        about: String,
        /// What is wrong.
        error: DocumentError,
    },
    /// Too many changes of the object wait for others.
    #[error("{0}: too many changes wait for their parents")]
    Crowded(String),
}

/// What a record has touched.
enum Touched {
    Nothing,
    Object(About),
    Gone(About),
}

impl Store {
    /// Merges a peer's record: verified, in any order, any number of times. It is persisted, and shown when durable.
    ///
    /// # Errors
    /// [`MergeError`]; nothing has changed then.
    pub fn merge(&mut self, now: Now, bytes: &[u8]) -> Result<(), MergeError> {
        self.wall = now.wall;
        let record = record::verify(bytes)?;
        if let Body::Change { about, change, .. } = &record.body {
            self.probe(about, change)?;
        }
        let bytes: Arc<[u8]> = bytes.into();
        let touched = self.absorb(record, &bytes);
        if matches!(touched, Touched::Nothing) {
            return Ok(());
        }
        self.outbox.push(bytes.to_vec());
        match touched {
            Touched::Nothing => {}
            Touched::Object(about) => {
                self.materialise(about.uid);
                if let Some(parts) = self.objects.get(&about.uid).map(|o| o.working.clone()).filter(is_there) {
                    self.wait(&about.key, about.uid, parts, false);
                }
            }
            Touched::Gone(about) => {
                self.wait(&about.key, about.uid, Parts::default(), true);
            }
        }
        Ok(())
    }

    /// Tries a peer's change on a copy before it may touch anything.
    fn probe(&self, about: &About, change: &[u8]) -> Result<(), MergeError> {
        let known = self.objects.get(&about.uid).map_or(&[][..], |o| o.changes.as_slice());
        if known.len() > WAITING_CHANGES {
            return Err(MergeError::Crowded(about.key.to_string()));
        }
        match hydrate(&self.actor, known).apply(change) {
            Ok(()) | Err(DocumentError::Missing) => Ok(()),
            Err(error) => Err(MergeError::Document { about: about.key.to_string(), error }),
        }
    }

    /// Reads the records of our own disk.
    pub(super) fn load(&mut self, records: impl IntoIterator<Item = Vec<u8>>, now: Now) -> OpenReport {
        let mut report = OpenReport::default();
        let (mut ceiling, mut seq) = (Revision(0), self.seq);
        for bytes in records {
            report.records += 1;
            match record::read(&bytes) {
                Ok(Record { body: Body::Ceiling(found), author, .. }) if author == self.node => {
                    ceiling = ceiling.max(Revision(found));
                }
                Ok(record) => {
                    if record.author == self.node {
                        seq = seq.max(record.seq);
                    }
                    self.absorb(record, &bytes.into());
                }
                Err(error) => report.refused.push(error.to_string()),
            }
        }
        self.seq = seq;
        self.revisions = Revisions::new(self.config.tag, ceiling, now.wall);
        self.snapshot = Snapshot::starting_at(self.revisions.last());
        for uid in self.objects.keys().copied().collect::<Vec<_>>() {
            self.materialise(uid);
        }
        self.documents.clear();
        self.show_loaded();
        self.reserve();
        report
    }

    fn show_loaded(&mut self) {
        for object in self.objects.values_mut() {
            object.shown = Some(object.working.clone()).filter(is_there);
        }
        for key in self.names.keys().cloned().collect::<BTreeSet<_>>() {
            self.show_name(&key);
        }
        // What was loaded is the past: watches start after it.
        self.snapshot.forget_history();
    }

    /// Takes a record into the working state, documents aside.
    fn absorb(&mut self, record: Record, bytes: &Arc<[u8]>) -> Touched {
        match record.body {
            Body::Ceiling(_) | Body::Unknown => Touched::Nothing,
            Body::Tombstone { about } => {
                if self.tombstones.contains_key(&about.uid) {
                    return Touched::Nothing;
                }
                self.bury(Tombstone { about: about.clone(), record: Arc::clone(bytes) });
                Touched::Gone(about)
            }
            Body::Change { about, .. } => self.absorb_change(about, bytes),
            Body::Register { about, section, stamp, value } => {
                let register = Register { stamp, value: value.into(), record: Arc::clone(bytes) };
                self.absorb_register(about, section, register)
            }
        }
    }

    fn absorb_change(&mut self, about: About, bytes: &Arc<[u8]>) -> Touched {
        let Some(object) = self.object(&about) else { return Touched::Nothing };
        if object.changes.contains(bytes) {
            return Touched::Nothing;
        }
        object.changes.push(Arc::clone(bytes));
        self.documents.remove(&about.uid);
        Touched::Object(about)
    }

    fn absorb_register(&mut self, about: About, section: u8, register: Register) -> Touched {
        let Some(section) = Section::of_number(section) else { return Touched::Nothing };
        let Some(object) = self.object(&about) else { return Touched::Nothing };
        // Equal stamps of different authors: the larger value wins, the same everywhere.
        let newer = |old: &Register| (old.stamp, &old.value) < (register.stamp, &register.value);
        if object.working.registers.get(&section).is_some_and(|old| !newer(old)) {
            return Touched::Nothing;
        }
        object.working.registers.insert(section, register);
        Touched::Object(about)
    }

    /// Finds or begins an object. `None` if it is gone for good.
    fn object(&mut self, about: &About) -> Option<&mut Object> {
        if self.tombstones.contains_key(&about.uid) {
            return None;
        }
        self.names.entry(about.key.clone()).or_default().insert(about.uid);
        let highest = self.turns.entry(about.key.clone()).or_default();
        *highest = (*highest).max(about.turn);
        Some(self.objects.entry(about.uid).or_insert_with(|| Object {
            key: about.key.clone(),
            turn: about.turn,
            changes: Vec::new(),
            working: Parts::default(),
            shown: None,
            pending: 0,
        }))
    }

    /// Computes an object's intent from its document.
    fn materialise(&mut self, uid: Uid) {
        let (found, generation) = self.with_document(uid, |doc| (doc.leaves(), doc.generation()));
        let Some(object) = self.objects.get_mut(&uid) else { return };
        if found.is_empty() {
            return;
        }
        let intent = leaves::put_together(object.key.kind, self.config.list_keys, &found);
        object.working.intent = intent.to_string().into_bytes().into();
        object.working.generation = generation;
    }
}

/// Registers may come before the document that they belong to; until then there is nothing to show.
fn is_there(parts: &Parts) -> bool {
    !parts.intent.is_empty()
}

/// Builds a document of its records, in whatever order they are. Those whose parents are missing wait.
pub(super) fn hydrate(actor: &[u8], records: &[Arc<[u8]>]) -> Document {
    let mut document = Document::new(actor);
    let mut waiting: Vec<Vec<u8>> = records.iter().filter_map(|r| change_in(r)).collect();
    loop {
        let before = waiting.len();
        waiting.retain(|change| document.apply(change) == Err(DocumentError::Missing));
        if waiting.is_empty() || waiting.len() == before {
            return document;
        }
    }
}

fn change_in(record: &[u8]) -> Option<Vec<u8>> {
    match record::read(record).ok()?.body {
        Body::Change { change, .. } => Some(change),
        _ => None,
    }
}
