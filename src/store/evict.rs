//! Two changes under one actor and number: whose own actor it is stands before who writes in another's name (as who
//! restores a backup does), then the lower hash; on every node alike, whichever came first. The other goes, and what
//! builds on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::ids::Uid;

use super::document::{Actor, Chunk, Document, DocumentError, Hash};
use super::merge::elder;
use super::parts::{Birth, Kept};
use super::record::{Body, Record};
use super::state::Store;

/// The lowest of one actor and number stands.
type Rank = (bool, Hash);

fn rank(record: &Record, chunk: &Chunk) -> Rank {
    (chunk.actor() != Actor::new(record.author, record.incarnation), chunk.hash())
}

fn rank_of(kept: &Kept) -> Option<Rank> {
    let chunk = Chunk::read(&kept.record[kept.chunk.clone()]).ok()?;
    Some(rank(&Record::read(Arc::clone(&kept.record)).ok()?, &chunk))
}

/// Lists of an object's changes those that are `misnamed` or give way to others under their number, and what builds on
/// them: a merge takes them out, the log may still hold them.
pub(super) fn evicted<'a>(
    changes: &(impl Iterator<Item = (&'a Chunk, &'a Kept)> + Clone),
    misnamed: BTreeSet<Hash>,
) -> BTreeSet<Hash> {
    let mut evicted = misnamed;
    add_descendants(changes, &mut evicted);
    let mut numbered: BTreeMap<_, Vec<&Kept>> = BTreeMap::new();
    for (chunk, kept) in changes.clone().filter(|(_, kept)| !evicted.contains(&kept.hash)) {
        numbered.entry(chunk.number()).or_default().push(kept);
    }
    for mut rivals in numbered.into_values().filter(|rivals| rivals.len() > 1) {
        rivals.sort_by_key(|kept| rank_of(kept));
        evicted.extend(rivals.iter().map(|kept| kept.hash).filter(|hash| *hash != rivals[0].hash));
    }
    add_descendants(changes, &mut evicted);
    evicted
}

/// Adds the changes that build on those.
fn add_descendants<'a>(changes: &(impl Iterator<Item = (&'a Chunk, &'a Kept)> + Clone), evicted: &mut BTreeSet<Hash>) {
    while !evicted.is_empty() {
        let before = evicted.len();
        let builds = |chunk: &Chunk| chunk.parents().any(|parent| evicted.contains(&parent));
        let more: Vec<Hash> = changes.clone().filter(|(chunk, _)| builds(chunk)).map(|(_, kept)| kept.hash).collect();
        evicted.extend(more);
        if evicted.len() == before {
            break;
        }
    }
}

impl Store {
    /// Merges a change into a copy of its document; returns the document without and with it.
    pub(super) fn merged_document(
        &mut self,
        uid: Uid,
        chunk: Chunk,
        record: &Record,
        birth: Option<&Birth>,
    ) -> Result<(Document, Document), DocumentError> {
        let document = self.document(uid);
        let evicting = match document.merged(chunk.clone()) {
            Ok(merged) => return Ok((document, merged)),
            Err(DocumentError::Twice(other)) if self.gives_way(uid, other, rank(record, &chunk)) => {
                let gone = document.descendants(other);
                let before = self.document_without(uid, &gone);
                before.merged(chunk).map(|merged| (gone, before, merged))
            }
            Err(error) => Err(error),
        };
        match evicting {
            Ok((gone, before, merged)) => {
                self.evict(uid, &gone, birth);
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
        let changes = self.objects.get(&uid).map(|object| &*object.changes).unwrap_or_default();
        changes.iter().find(|kept| kept.hash == hash).and_then(rank_of).is_none_or(|rank| to < rank)
    }

    fn document_without(&self, uid: Uid, gone: &BTreeSet<Hash>) -> Document {
        let changes = self.objects.get(&uid).map(|object| &*object.changes).unwrap_or_default();
        let read = |kept: &Kept| Chunk::read(&kept.record[kept.chunk.clone()]).ok();
        let left = changes.iter().filter(|kept| !gone.contains(&kept.hash));
        Document::of(&left.filter_map(read).collect::<Vec<_>>())
    }

    /// Takes changes out of an object again. Should none be left, the object is born anew as `instead` says.
    fn evict(&mut self, uid: Uid, gone: &BTreeSet<Hash>, instead: Option<&Birth>) {
        self.release(uid);
        let Some(object) = self.objects.get_mut(&uid) else { return };
        let (evicted, kept): (Vec<Kept>, Vec<Kept>) =
            std::mem::take(&mut object.changes).into_iter().partition(|kept| gone.contains(&kept.hash));
        object.changes = kept;
        let said = object.changes.iter().filter_map(|kept| match Record::read(Arc::clone(&kept.record)).ok()?.body {
            Body::Change { birth, spec, .. } => Some((birth, spec)),
            _ => None,
        });
        let (births, specs): (Vec<Option<Birth>>, Vec<bool>) = said.unzip();
        let births = births.into_iter().flatten().chain(instead.cloned());
        if let Some(birth) = births.reduce(|one, other| elder(&one, other)) {
            object.working.birth = Arc::new(birth);
        }
        object.working.spec_changes = specs.into_iter().map(u64::from).sum();
        self.hold(uid);
        for record in evicted.into_iter().filter_map(|kept| Record::read(kept.record).ok()) {
            self.refuse_change(&record, "its author, or that of what it builds on, says two things under one number");
        }
    }
}
