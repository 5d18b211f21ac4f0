//! Two changes under one actor and number: whose own actor it is stands before who writes in another's name (as who
//! restores a backup does), then the lower hash; on every node alike, whichever came first. The other goes, and what
//! builds on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::Uid;

use super::document::{Actor, Chunk, Document, DocumentError, Hash};
use super::epoch::Serial;
use super::epoch_images::Found;
use super::merge::elder;
use super::parts::{Birth, Kept, spec_changes};
use super::record::{Body, Record};
use super::state::Store;

/// The lowest of one actor and number stands.
pub(super) type Rank = (bool, Hash);

/// What an epoch begins with, and what is computed from late changes: nothing takes its place.
pub(super) const FIXED: Rank = (false, [0; 32]);

/// Returns the rank of a change in the epoch that it was written in.
pub(super) fn rank_of(found: &Found) -> Rank {
    let Serial { author, incarnation, .. } = found.serial;
    (found.chunk.actor() != Actor::new(author, incarnation), found.chunk.hash())
}

fn rank_of_kept(kept: &Kept) -> Option<Rank> {
    if kept.image.is_some() {
        return Some(FIXED);
    }
    Some(rank_of(&Found::of(&Record::read(Arc::clone(&kept.record)).ok()?)?.ok()?))
}

/// Lists of a document's changes those that are `misnamed` or give way to others under their number, and what builds on
/// them: a merge takes them out, the log may still hold them.
pub(super) fn evicted(changes: &[(&Chunk, Rank)], misnamed: BTreeSet<Hash>) -> BTreeSet<Hash> {
    let mut evicted = misnamed;
    add_descendants(changes, &mut evicted);
    let mut numbered: BTreeMap<_, Vec<(Rank, Hash)>> = BTreeMap::new();
    for (chunk, rank) in changes.iter().filter(|(chunk, _)| !evicted.contains(&chunk.hash())) {
        numbered.entry(chunk.number()).or_default().push((*rank, chunk.hash()));
    }
    for mut rivals in numbered.into_values().filter(|rivals| rivals.len() > 1) {
        rivals.sort_unstable();
        evicted.extend(rivals.iter().map(|(_, hash)| *hash).filter(|hash| *hash != rivals[0].1));
    }
    add_descendants(changes, &mut evicted);
    evicted
}

/// Adds the changes that build on those.
fn add_descendants(changes: &[(&Chunk, Rank)], evicted: &mut BTreeSet<Hash>) {
    while !evicted.is_empty() {
        let before = evicted.len();
        let builds = |chunk: &Chunk| chunk.parents().any(|parent| evicted.contains(&parent));
        let more: Vec<Hash> =
            changes.iter().filter(|(chunk, _)| builds(chunk)).map(|(chunk, _)| chunk.hash()).collect();
        evicted.extend(more);
        if evicted.len() == before {
            break;
        }
    }
}

impl Store {
    /// Merges a change, or the image that stands for it, into a copy of its document; returns the document without and
    /// with it.
    pub(super) fn merged_document(
        &mut self,
        uid: Uid,
        found: &Found,
        image: Option<&Chunk>,
    ) -> Result<(Document, Document), DocumentError> {
        let chunk = image.unwrap_or(&found.chunk).clone();
        let rank = if image.is_some() { FIXED } else { rank_of(found) };
        let document = self.document(uid);
        let evicting = match document.merged(chunk.clone()) {
            Ok(merged) => return Ok((document, merged)),
            Err(DocumentError::Twice(other)) if self.gives_way(uid, other, rank) => {
                let gone = document.descendants(other);
                let before = self.document_without(uid, &gone);
                before.merged(chunk).map(|merged| (gone, before, merged))
            }
            Err(error) => Err(error),
        };
        match evicting {
            Ok((gone, before, merged)) => {
                self.evict(uid, &gone, found.birth.as_ref());
                Ok((before, merged))
            }
            Err(error) => {
                self.documents.put(uid, document);
                Err(error)
            }
        }
    }

    /// Tells whether one of an object's changes gives way to one of that rank under its number.
    fn gives_way(&self, uid: Uid, hash: Hash, to: Rank) -> bool {
        let Some(object) = self.objects.get(&uid) else { return true };
        if object.epoch.as_ref().is_some_and(|epoch| epoch.begins_with(hash)) {
            return false;
        }
        let known = object.changes.iter().find(|kept| kept.hash == hash);
        known.and_then(rank_of_kept).is_none_or(|rank| to < rank)
    }

    fn document_without(&self, uid: Uid, gone: &BTreeSet<Hash>) -> Document {
        let Some(object) = self.objects.get(&uid) else { return Document::default() };
        let left = object.changes.iter().filter(|kept| !gone.contains(&kept.hash));
        let left = left.filter_map(|kept| Chunk::read(kept.in_document()).ok());
        Document::of(&object.epoch.iter().flat_map(|epoch| epoch.chunks()).chain(left).collect::<Vec<_>>())
    }

    /// Takes changes out of an object again. Should none be left, the object is born anew as `instead` says.
    fn evict(&mut self, uid: Uid, gone: &BTreeSet<Hash>, instead: Option<&Birth>) {
        self.release(uid);
        self.images = None;
        let Some(object) = self.objects.get_mut(&uid) else { return };
        let (evicted, kept): (Vec<Kept>, Vec<Kept>) =
            std::mem::take(&mut object.changes).into_iter().partition(|kept| gone.contains(&kept.hash));
        object.changes = kept;
        let births = object.changes.iter().filter_map(|kept| match Record::read(Arc::clone(&kept.record)).ok()?.body {
            Body::Change { birth, .. } => birth,
            _ => None,
        });
        let epoch = object.epoch.as_ref();
        let decided = epoch.map_or(0, |epoch| epoch.decision.generation);
        let births = births.chain(instead.cloned()).chain(epoch.map(|epoch| epoch.birth.clone()));
        if let Some(birth) = births.reduce(|one, other| elder(&one, other)) {
            object.working.birth = Arc::new(birth);
        }
        object.working.spec_changes = decided + spec_changes(&object.changes);
        self.hold(uid);
        for record in evicted.into_iter().filter_map(|kept| Record::read(kept.record).ok()) {
            self.refuse_change(&record, "its author, or that of what it builds on, says two things under one number");
        }
    }
}
