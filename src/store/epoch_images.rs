//! Late changes: a change of a former epoch becomes exactly one change of the current one, its *image*.
//!
//! The image is a function of the signed record, the epoch's decision and birth change, and the images of those it
//! builds on that do not count yet: never of what else is in the live document. So every node makes the same bytes of
//! it, in whatever order things come, and only the signed original travels. Its actor writes nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::ids::Uid;

use super::document::{Actor, Chunk, Document, DocumentError, Hash};
use super::epoch::{Epoch, Judged, Name, Serial};
use super::parts::{Birth, Image, Kept};
use super::record::{Body, Record};

/// A change record that was read.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which record.
    pub serial: Serial,
    /// If it is the first of the object.
    pub birth: Option<Birth>,
    /// The epoch it was written in.
    pub base: Option<Name>,
    /// What it builds on, if it says so.
    pub parents: Option<Vec<Serial>>,
    /// Whether it touches the spec.
    pub spec: bool,
    /// The change.
    pub chunk: Chunk,
    /// The record.
    pub record: Arc<[u8]>,
    /// Where in it the chunk is.
    pub at: Range<usize>,
}

impl Found {
    /// Reads the change of a record that this node has taken; `None` if it is about something else.
    pub fn of(record: &Record) -> Option<Result<Self, DocumentError>> {
        Self::read(record, Chunk::read)
    }

    /// Reads the change of a peer's record; `None` if it is about something else.
    pub fn of_peer(record: &Record) -> Option<Result<Self, DocumentError>> {
        Self::read(record, Chunk::of_peer)
    }

    fn read(
        record: &Record,
        chunk: impl FnOnce(&[u8]) -> Result<Chunk, DocumentError>,
    ) -> Option<Result<Self, DocumentError>> {
        let Body::Change { birth, spec, chunk: at, base, parents, .. } = &record.body else { return None };
        Some(chunk(&record.raw[at.clone()]).map(|chunk| Self {
            serial: Serial::of(record),
            birth: birth.clone(),
            base: *base,
            parents: parents.clone(),
            spec: *spec,
            chunk,
            record: Arc::clone(&record.raw),
            at: at.clone(),
        }))
    }

    /// Returns how it is kept, as it is or by its image.
    pub fn kept(&self, image: Option<&Chunk>) -> Kept {
        let (record, chunk, spec) = (Arc::clone(&self.record), self.at.clone(), self.spec);
        let written = self.chunk.hash();
        let Some(image) = image else { return Kept { hash: written, record, chunk, spec, image: None } };
        let kept = Image { of: written, chunk: image.bytes().to_vec() };
        Kept { hash: image.hash(), record, chunk, spec, image: Some(Arc::new(kept)) }
    }
}

/// Why a change has no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoImage {
    /// What it builds on has not come yet.
    Missing,
    /// What it builds on is not known any more.
    TooLate,
    /// An operation of it cannot be read.
    Unreadable,
}

/// What images of one object are made from.
#[derive(Debug)]
pub struct Images {
    /// The object.
    pub uid: Uid,
    /// The epoch they are made for.
    pub epoch: Arc<Epoch>,
    by_serial: BTreeMap<Serial, Hash>,
    chunks: BTreeMap<Hash, Chunk>,
    /// The document that the last image was made in, and what is in it: mostly the next one goes on there.
    last: Option<(BTreeSet<Hash>, Document)>,
}

impl Images {
    /// Begins with the images that are in the document. What was written in the epoch itself is none, and no late
    /// change can build on it.
    pub fn new(uid: Uid, epoch: Arc<Epoch>, changes: &[Kept]) -> Self {
        let chunks = BTreeMap::from([(epoch.name.hash, epoch.chunk.clone())]);
        let mut images = Self { uid, epoch, by_serial: BTreeMap::new(), chunks, last: None };
        for kept in changes.iter().filter(|kept| kept.image.is_some()) {
            if let Ok(chunk) = Chunk::read(kept.in_document()) {
                images.add(kept.serial(), chunk);
            }
        }
        images
    }

    /// Tells whether it knows all images among an object's changes.
    pub fn fits(&self, uid: Uid, epoch: &Epoch, changes: &[Kept]) -> bool {
        let images = changes.iter().filter(|kept| kept.image.is_some()).count();
        self.uid == uid && Arc::ptr_eq(&self.epoch.record, &epoch.record) && self.chunks.len() == images + 1
    }

    /// Adds an image that is in the document now.
    pub fn add(&mut self, serial: Serial, chunk: Chunk) {
        self.by_serial.insert(serial, chunk.hash());
        self.chunks.insert(chunk.hash(), chunk);
    }

    /// Makes the image of a late change.
    ///
    /// # Errors
    /// [`NoImage`] says why there is none.
    pub fn image(&mut self, found: &Found) -> Result<Chunk, NoImage> {
        let delta = found.chunk.delta().map_err(|_| NoImage::Unreadable)?;
        let closure = self.closure(self.parents(found)?);
        let mut document = self.document(&closure);
        let actor = Actor::of_image(self.uid, self.epoch.name, &found.record);
        let written = document.write_once(&actor, delta);
        let chunk = Chunk::read(&written.chunk).map_err(|_| NoImage::Unreadable)?;
        let mut inside = closure;
        inside.insert(chunk.hash());
        self.last = Some((inside, document));
        Ok(chunk)
    }

    /// Finds what the image builds on: the images of what does not count yet, besides the birth change.
    fn parents(&self, found: &Found) -> Result<Vec<Hash>, NoImage> {
        let Some(parents) = &found.parents else {
            // An older version wrote it and says only hashes: whether those count, nobody knows.
            let first = found.chunk.parents().next().is_none();
            return if first { Ok(Vec::new()) } else { Err(NoImage::TooLate) };
        };
        let mut hashes = Vec::new();
        for parent in parents {
            match (self.epoch.judge(*parent), self.by_serial.get(parent)) {
                (Judged::Decided, _) => {}
                (_, Some(hash)) => hashes.push(*hash),
                (Judged::Late, None) => return Err(NoImage::Missing),
                (Judged::TooLate, None) => return Err(NoImage::TooLate),
            }
        }
        Ok(hashes)
    }

    /// Returns all that the document at `heads` is made of.
    fn closure(&self, heads: Vec<Hash>) -> BTreeSet<Hash> {
        let mut closure = BTreeSet::from([self.epoch.name.hash]);
        let mut todo = heads;
        while let Some(hash) = todo.pop() {
            if closure.insert(hash) {
                todo.extend(self.chunks.get(&hash).into_iter().flat_map(Chunk::parents));
            }
        }
        closure
    }

    fn document(&mut self, closure: &BTreeSet<Hash>) -> Document {
        let chunks = |wanted: &mut dyn Iterator<Item = &Hash>| -> Vec<Chunk> {
            wanted.filter_map(|hash| self.chunks.get(hash).cloned()).collect()
        };
        match self.last.take() {
            Some((inside, mut document)) if inside.is_subset(closure) => {
                let more = chunks(&mut closure.difference(&inside));
                if more.is_empty() || document.take(more).is_ok() {
                    return document;
                }
                Document::of(&chunks(&mut closure.iter()))
            }
            _ => Document::of(&chunks(&mut closure.iter())),
        }
    }
}
