//! Makes an object's document of its records, whatever their epochs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ids::Uid;

use super::document::{Chunk, Document, Hash};
use super::epoch::{Epoch, Judged};
use super::epoch_images::{Found, Images, NoImage};
use super::evict::{self, Rank, evicted};
use super::leaves::Leaves;
use super::merge::elder;
use super::parts::{Birth, Kept, spec_changes};
use super::rename::named;

/// An object's history, made of its records.
#[derive(Debug)]
pub struct Assembled {
    /// The epoch that stands.
    pub epoch: Option<Arc<Epoch>>,
    /// How the object came to be, as far as the epoch and its changes say.
    pub birth: Option<Birth>,
    /// The document.
    pub document: Document,
    /// The leaves of one that has but one change, which is most of them: it is not brought to life.
    pub sole: Option<Leaves>,
    /// What is in it.
    pub changes: Vec<Kept>,
    /// What of the former epoch is kept.
    pub former: Vec<Arc<[u8]>>,
    /// How many changes touched the spec.
    pub spec_changes: u64,
    /// What has no place, by its number in what was given.
    pub left: Vec<(usize, NoImage)>,
}

/// Makes the document of `found`, in any order, in the highest of `epochs`.
pub fn assemble(uid: Uid, epochs: Vec<Epoch>, found: &[Found]) -> Assembled {
    let misnamed = misnamed(uid, &epochs, found);
    let stands = |epoch: &Epoch| !misnamed.contains(&epoch.name.hash);
    let epochs: Vec<Arc<Epoch>> = epochs.into_iter().filter(stands).map(Arc::new).collect();
    let epoch = epochs.iter().reduce(|one, other| if other.beats(one) { other } else { one }).cloned();
    let mut out = Assembled {
        spec_changes: epoch.as_ref().map_or(0, |epoch| epoch.decision.generation),
        birth: epoch.as_ref().map(|epoch| epoch.birth.clone()),
        epoch,
        document: Document::default(),
        sole: None,
        changes: Vec::new(),
        former: Vec::new(),
        left: Vec::new(),
    };
    if let (None, [found]) = (&out.epoch, found)
        && let (Some(_), None, Some(leaves)) = (&found.birth, found.base, found.chunk.sole_leaves())
    {
        out.sole = Some(leaves);
        out.keep(found, None);
        out.spec_changes = u64::from(found.spec);
        return out;
    }
    let mut seen = BTreeSet::new();
    let mut todo: Vec<usize> = (0..found.len()).filter(|at| seen.insert(&found[*at].record)).collect();
    let mut late = Vec::new();
    if let Some(epoch) = out.epoch.clone() {
        let before = epoch.decision.former.and_then(|hash| epochs.iter().find(|e| e.name.hash == hash));
        out.former.extend(before.map(|before| Arc::clone(&before.record)));
        out.put_aside(&epoch, before.map(Arc::as_ref), found, &mut todo);
        todo.retain(|at| found[*at].base == Some(epoch.name) || !misnamed.contains(&found[*at].chunk.hash()));
        late = out.take_over(uid, &epoch, found, &mut todo);
    }
    out.fill(&late, found, &todo, misnamed);
    out
}

/// Lists what gives the object another name than it has: changes, and epochs by what they begin with.
fn misnamed(uid: Uid, epochs: &[Epoch], found: &[Found]) -> BTreeSet<Hash> {
    let births = |first: bool| {
        let of_found = found.iter().filter(move |found| found.base.is_none() == first);
        of_found.filter_map(|found| Some((found.chunk.hash(), found.birth.clone()?)))
    };
    let mut all: Vec<(Hash, Birth)> = births(true).collect();
    all.extend(epochs.iter().map(|epoch| (epoch.name.hash, epoch.birth.clone())));
    let (birth, mut misnamed) = named(uid, &all);
    let other = |(_, later): &(Hash, Birth)| birth.is_none_or(|birth| birth.key != later.key);
    misnamed.extend(births(false).filter(other).map(|(hash, _)| hash));
    misnamed
}

impl Assembled {
    /// Leaves out what the birth change has in it; of that it keeps what the epoch before had not.
    fn put_aside(&mut self, epoch: &Epoch, before: Option<&Epoch>, found: &[Found], todo: &mut Vec<usize>) {
        todo.retain(|at| {
            let change = &found[*at];
            match epoch.judge(change.serial) {
                _ if change.base == Some(epoch.name) => true,
                Judged::Late => true,
                Judged::TooLate => {
                    self.left.push((*at, NoImage::TooLate));
                    false
                }
                Judged::Decided => {
                    if before.is_none_or(|before| before.judge(change.serial) != Judged::Decided) {
                        self.former.push(Arc::clone(&change.record));
                    }
                    false
                }
            }
        });
    }

    /// Makes images of changes of other epochs, as long as one more has one.
    fn take_over(
        &mut self,
        uid: Uid,
        epoch: &Arc<Epoch>,
        found: &[Found],
        todo: &mut Vec<usize>,
    ) -> Vec<(usize, Chunk)> {
        let mut late: Vec<(usize, NoImage)> = Vec::new();
        todo.retain(|at| {
            let own = found[*at].base == Some(epoch.name);
            if !own {
                late.push((*at, NoImage::Missing));
            }
            own
        });
        let mut images = Images::new(uid, Arc::clone(epoch), &[]);
        let mut made = Vec::new();
        loop {
            let before = late.len();
            late.retain_mut(|(at, why)| match images.image(&found[*at]) {
                Ok(image) => {
                    images.add(found[*at].serial, image.clone());
                    made.push((*at, image));
                    false
                }
                Err(none) => {
                    *why = none;
                    true
                }
            });
            if late.len() == before {
                self.left.extend(late);
                return made;
            }
        }
    }

    /// Makes the document of late changes and the epoch's own, those that have a place.
    fn fill(&mut self, late: &[(usize, Chunk)], found: &[Found], own: &[usize], misnamed: BTreeSet<Hash>) {
        let begins: Vec<Chunk> = self.epoch.iter().flat_map(|epoch| epoch.chunks()).collect();
        let fixed = begins.iter().chain(late.iter().map(|(_, image)| image)).map(|chunk| (chunk, evict::FIXED));
        let ranked = own.iter().map(|at| (&found[*at].chunk, evict::rank_of(&found[*at])));
        let all: Vec<(&Chunk, Rank)> = fixed.chain(ranked).collect();
        let gone = evicted(&all, misnamed);
        let mut seen = gone.clone();
        let chunks: Vec<Chunk> =
            all.iter().filter(|(chunk, _)| seen.insert(chunk.hash())).map(|(chunk, _)| (*chunk).clone()).collect();
        self.document = Document::of(&chunks);
        let decided = self.spec_changes;
        for (at, image) in late.iter().map(|(at, image)| (at, Some(image))).chain(own.iter().map(|at| (at, None))) {
            let hash = image.map_or_else(|| found[*at].chunk.hash(), Chunk::hash);
            if gone.contains(&hash) {
                // The log may still hold what gave way.
            } else if self.document.has(hash) {
                self.keep(&found[*at], image);
            } else {
                self.left.push((*at, NoImage::Missing));
            }
        }
        self.spec_changes = decided + spec_changes(&self.changes);
    }

    fn keep(&mut self, found: &Found, image: Option<&Chunk>) {
        self.changes.push(found.kept(image));
        if let Some(birth) = found.birth.clone() {
            self.birth = Some(match &self.birth {
                Some(known) => elder(known, birth),
                None => birth,
            });
        }
    }
}
