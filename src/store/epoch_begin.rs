//! How an epoch begins: computed from what is held, the same bytes on every node that holds the same.

use std::collections::BTreeSet;

use crate::ids::Uid;

use super::document::{Actor, Chunk, Document, Hash};
use super::epoch::{Epoch, Serial};
use super::parts::{Kept, spec_changes};

/// The most bytes of a birth change: a record has at most 4 MiB, and says more than that.
const MOST_BYTES: usize = 3 << 20;

/// How an epoch begins.
pub(super) struct Begun {
    /// The change at which the former document is cut, by one of its records.
    pub heads: Vec<Serial>,
    /// How many changes touched the spec.
    pub generation: u64,
    /// The birth change.
    pub chunk: Vec<u8>,
}

/// Computes how an epoch begins in which `decided` counts, on top of `former`. `None` if something in it has no place,
/// if it is too large, or if it is forked: an epoch begins with what one author saw and found valid, leaf by leaf, so
/// that builds with other schemas come to the same.
pub(super) fn begin(uid: Uid, number: u64, former: Option<&Epoch>, decided: &[Kept]) -> Option<Begun> {
    let mut chunks: Vec<Chunk> = former.iter().flat_map(|former| former.chunks()).collect();
    let mut seen = BTreeSet::new();
    for kept in decided.iter().filter(|kept| seen.insert(kept.hash)) {
        chunks.push(Chunk::read(kept.in_document()).ok()?);
    }
    let document = Document::of(&chunks);
    if document.is_forked() || !decided.iter().all(|kept| document.has(kept.hash)) {
        return None;
    }
    let tips: BTreeSet<Hash> = tips(former, decided)?.into_iter().collect();
    let at = decided.iter().filter(|kept| tips.contains(&kept.hash)).map(Kept::serial).min();
    let heads = match (at, former) {
        (Some(at), _) => vec![at],
        (None, Some(former)) => former.decision.heads.clone(),
        (None, None) => return None,
    };
    let generation = former.map_or(0, |former| former.decision.generation) + spec_changes(decided);
    let leaves = document.leaves().iter().map(|(path, leaf)| (path.clone(), Some(leaf.clone())));
    let chunk = Document::default().write_once(&Actor::of_birth(uid, number, &heads), leaves.collect()).chunk;
    let taken = chunk.len() <= MOST_BYTES && Chunk::of_peer(&chunk).is_ok();
    taken.then_some(Begun { heads, generation, chunk })
}

/// Returns what nothing builds on among changes of an epoch; `None` if one of them cannot be read.
fn tips(epoch: Option<&Epoch>, changes: &[Kept]) -> Option<BTreeSet<Hash>> {
    let mut tips: BTreeSet<Hash> = epoch.iter().map(|epoch| epoch.mark.hash()).collect();
    tips.extend(changes.iter().map(|kept| kept.hash));
    for kept in changes {
        for parent in Chunk::read(kept.in_document()).ok()?.parents() {
            tips.remove(&parent);
        }
    }
    Some(tips)
}

/// Returns up to where changes can be cut: the last at which one builds on all others.
pub(super) fn joined(epoch: Option<&Epoch>, changes: &[Kept]) -> usize {
    let mut tips: BTreeSet<Hash> = epoch.iter().map(|epoch| epoch.mark.hash()).collect();
    let mut joined = 0;
    let mut seen = BTreeSet::new();
    for (at, kept) in changes.iter().enumerate() {
        let Ok(chunk) = Chunk::read(kept.in_document()) else { break };
        if seen.insert(kept.hash) {
            for parent in chunk.parents() {
                tips.remove(&parent);
            }
            tips.insert(kept.hash);
        }
        if tips.len() == 1 {
            joined = at + 1;
        }
    }
    joined
}
