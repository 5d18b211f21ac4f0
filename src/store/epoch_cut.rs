//! Which histories are long enough to begin anew, and the decision to do so.

use crate::ids::Uid;
use crate::time::Now;

use super::epoch::{Clock, Decision, Epoch, MOST_EPOCHS, MOST_RUNS};
use super::epoch_begin::{begin, joined};
use super::horizon::KEPT;
use super::parts::{Kept, Object};
use super::record::{Draft, Record};
use super::state::Store;

/// A history of more changes is cut.
pub const MOST_CHANGES: usize = 256;
/// So is one that takes this many times what its object takes afresh ...
const TIMES_FRESH: usize = 4;
/// ... and more bytes than this, so that small objects are not cut all the time.
const LEAST_BYTES: usize = 8 << 10;
/// What a change's record takes beside what is asked of the object: signature, envelope, columns.
const OVERHEAD: usize = 512;

/// How an object's history stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overgrown {
    /// The object.
    pub uid: Uid,
    /// The number of its epoch.
    pub epoch: u64,
    /// How many changes it has in it.
    pub changes: usize,
}

impl Overgrown {
    /// Notes how the history of an object stands that is there and shown.
    pub(super) fn of(uid: Uid, object: &Object) -> Option<Self> {
        let stands = !object.working.gone && object.shown.is_some();
        stands.then(|| Self { uid, epoch: number(object), changes: object.changes.len() })
    }
}

impl Store {
    /// Lists objects whose history should be cut, up to `most`.
    pub fn overgrown(&self, most: usize) -> Vec<Overgrown> {
        let long = self.objects.iter().filter(|(_, object)| is_overgrown(object));
        long.filter_map(|(uid, object)| Overgrown::of(*uid, object)).take(most).collect()
    }

    /// Lists objects about which a wrong decision came in: every node that noticed may cut their history, for those
    /// that could not notice.
    pub fn misled(&self) -> Vec<Overgrown> {
        self.refused_epochs.keys().filter_map(|uid| Overgrown::of(*uid, self.objects.get(uid)?)).collect()
    }

    /// Decides to cut an object's history as it was when [`Store::overgrown`] said so. Returns whether it was cut: not
    /// if another epoch has begun since, or as long as it is forked.
    ///
    /// The caller sees to it that the members that are there hold what counts. Only an elected leader should decide;
    /// that two do is no harm.
    pub fn cut(&mut self, now: Now, at: Overgrown) -> bool {
        self.advance(now);
        let Some(object) = self.objects.get(&at.uid).filter(|object| !object.working.gone) else {
            self.refused_epochs.remove(&at.uid);
            return false;
        };
        let refused = self.refused_epochs.get(&at.uid).copied().unwrap_or(0);
        let next = number(object).max(refused) + 1;
        if number(object) != at.epoch || at.changes > object.changes.len() || next > MOST_EPOCHS {
            return false;
        }
        let count = joined(object.epoch.as_deref(), &object.changes[..at.changes]);
        if 2 * count < at.changes && refused == 0 {
            // Sides that did not know of each other: whoever writes next joins them.
            return false;
        }
        let decided: &[Kept] = &object.changes[..count];
        let former = object.epoch.as_deref();
        let Some(begun) = begin(at.uid, next, former, decided) else { return false };
        let horizon = self.horizon();
        let mut clock = former.map_or_else(Clock::default, |former| former.decision.clock.clone());
        decided.iter().for_each(|kept| clock.raise(kept.serial(), horizon));
        clock.forget(horizon);
        if clock.runs.len() > MOST_RUNS || clock.ended.len() > MOST_RUNS {
            return false;
        }
        let birth = object.working.birth.clone();
        let former = former.map(|former| former.name.hash);
        let decision =
            Decision { number: next, former, heads: begun.heads, clock, generation: begun.generation, chunk: 0..0 };
        let raw = self.scribe.write(Draft::Epoch(at.uid, &birth, &decision, &begun.chunk));
        let record = Record::read(raw.clone()).expect("a record that was just written can be read");
        let Some((uid, Ok(epoch))) = Epoch::of(&record) else { return false };
        self.refused_epochs.remove(&uid);
        self.announce(raw);
        self.adopt(uid, epoch);
        true
    }

    /// Lets go of former documents whose horizon has passed.
    pub fn forget_former_documents(&mut self) {
        let horizon = self.horizon();
        for object in self.objects.values_mut().filter(|object| !object.former.is_empty()) {
            let decided = object
                .epoch
                .as_ref()
                .map_or(0, |epoch| epoch.decision.clock.runs.values().map(|(_, raised)| *raised).max().unwrap_or(0));
            if decided.saturating_add(KEPT) < horizon {
                object.former = Vec::new();
            }
        }
    }
}

fn number(object: &Object) -> u64 {
    object.epoch.as_ref().map_or(1, |epoch| epoch.name.number)
}

fn is_overgrown(object: &Object) -> bool {
    if object.changes.len() > MOST_CHANGES {
        return true;
    }
    let bytes: usize = object.changes.iter().map(|kept| kept.record.len()).sum();
    bytes > LEAST_BYTES.max(TIMES_FRESH * (object.working.intent.len() + OVERHEAD))
}
