//! Epochs: an object's history begins anew, so that it does not grow for ever (rules, 17).
//!
//! A decision to begin the next epoch says up to where the former history counts and carries the *birth change*, one
//! change that makes the document as it was there. What it counts is told by a [`Clock`]: of each run of a node, the
//! number of its last record. A node's own changes of an object build on each other, so that is exact however many
//! there were, and the history itself need not be kept to know what is in it. A change that is not counted is *late*
//! (`history` says how it is taken over).
//!
//! The highest name wins everywhere. Clocks only grow along a line of epochs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::ids::{NodeId, Uid};

use super::document::{Actor, Chunk, Document, DocumentError, Hash};
use super::horizon::KEPT;
use super::parts::Birth;
use super::record::{Body, Record};

/// The highest number of an epoch. What is above was made to be the last word, so it is no decision.
pub const MOST_EPOCHS: u64 = 1 << 40;
/// The most runs that a clock names, and the most nodes of which it has forgotten some.
pub const MOST_RUNS: usize = 4_096;

/// Which record: a number within a node's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Serial {
    /// The node.
    pub author: NodeId,
    /// Its run.
    pub incarnation: u64,
    /// The number.
    pub seq: u64,
}

impl Serial {
    /// Returns that of a record.
    pub fn of(record: &Record) -> Self {
        Self { author: record.author, incarnation: record.incarnation, seq: record.seq }
    }
}

/// An epoch's name. The first epoch of an object, in which it was made, has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// From 2.
    pub number: u64,
    /// The hash of the birth change, which follows from object, number, decided heads and content.
    pub hash: Hash,
}

/// How a change stands to an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// The birth change has it in it.
    Decided,
    /// It has not.
    Late,
    /// Nobody knows any more.
    TooLate,
}

/// Up to where records count: an exact summary of a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Of each run the last number, and the horizon when it was last raised.
    pub runs: BTreeMap<(NodeId, u64), (u64, u64)>,
    /// Of each node the last run of which nothing is known any more.
    pub ended: BTreeMap<NodeId, u64>,
}

impl Clock {
    /// Tells how a record stands to it.
    pub fn judge(&self, serial: Serial) -> Judged {
        match self.runs.get(&(serial.author, serial.incarnation)) {
            Some((seq, _)) if serial.seq <= *seq => Judged::Decided,
            Some(_) => Judged::Late,
            None if self.ended.get(&serial.author).is_some_and(|run| serial.incarnation <= *run) => Judged::TooLate,
            None => Judged::Late,
        }
    }

    /// Counts a record.
    pub fn raise(&mut self, serial: Serial, horizon: u64) {
        let reached = self.runs.entry((serial.author, serial.incarnation)).or_default();
        if serial.seq > reached.0 {
            *reached = (serial.seq, horizon);
        }
    }

    /// Forgets runs that were ended by a later one and not heard of for [`KEPT`] horizons, whose late changes are refused then, so that the clock is bounded
    /// however often nodes are started.
    pub fn forget(&mut self, horizon: u64) {
        let mut last: BTreeMap<NodeId, u64> = BTreeMap::new();
        for (author, run) in self.runs.keys() {
            // Keys are in order: the last one stays.
            last.insert(*author, *run);
        }
        let ended = &mut self.ended;
        self.runs.retain(|(author, run), (_, raised)| {
            let keep = last[author] == *run || raised.saturating_add(KEPT) >= horizon;
            if !keep {
                let floor = ended.entry(*author).or_default();
                *floor = (*floor).max(*run);
            }
            keep
        });
    }
}

/// What a decision says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The number of the epoch that begins.
    pub number: u64,
    /// The hash that names the epoch that ends, `None` for the first.
    pub former: Option<Hash>,
    /// The change at which the former document was cut: exactly one, which builds on all others that count.
    pub heads: Vec<Serial>,
    /// All that counts.
    pub clock: Clock,
    /// How many changes touched the spec.
    pub generation: u64,
    /// Where in the record the birth change is.
    pub chunk: Range<usize>,
}

/// An epoch, as decided.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// Its name.
    pub name: Name,
    /// How the object came to be.
    pub birth: Birth,
    /// What was decided.
    pub decision: Decision,
    /// The birth change.
    pub chunk: Chunk,
    /// A change on top of it that says nothing. Who knows of the epoch builds on this one, late changes build on the
    /// birth change itself: so the document is forked until somebody has seen them.
    pub mark: Chunk,
    /// The signed record.
    pub record: Arc<[u8]>,
}

impl Epoch {
    /// Reads a decision; `None` if the record is none.
    ///
    /// # Errors
    /// [`DocumentError`] if it cannot be one.
    pub fn of(record: &Record) -> Option<(Uid, Result<Self, DocumentError>)> {
        let Body::Epoch { uid, birth, decision } = &record.body else { return None };
        Some((*uid, Self::read(*uid, birth, decision, &record.raw)))
    }

    fn read(uid: Uid, birth: &Birth, decision: &Decision, raw: &Arc<[u8]>) -> Result<Self, DocumentError> {
        let refused = |why: &str| Err(DocumentError::Refused(why.into()));
        if !(2..=MOST_EPOCHS).contains(&decision.number) {
            return refused("no number of an epoch");
        }
        let chunk = Chunk::of_peer(&raw[decision.chunk.clone()])?;
        if chunk.parents().next().is_some() {
            return refused("a birth change builds on nothing");
        }
        let actor = Actor::of_birth(uid, decision.number, &decision.heads);
        if chunk.actor() != actor {
            return refused("not the actor of a birth change");
        }
        if decision.heads.iter().map(|head| decision.clock.judge(*head)).ne([Judged::Decided]) {
            return refused("not cut at one change that counts");
        }
        let name = Name { number: decision.number, hash: chunk.hash() };
        let mark = Document::default().merged(chunk.clone())?.write_nothing(&actor);
        let mark = Chunk::read(&mark.chunk)?;
        let (birth, decision, record) = (birth.clone(), decision.clone(), Arc::clone(raw));
        Ok(Self { name, birth, decision, chunk, mark, record })
    }

    /// Tells whether this one stands against `other`: the higher name, and of two decisions of one name the same on
    /// every node.
    pub fn beats(&self, other: &Self) -> bool {
        self.name > other.name || self.name == other.name && self.record < other.record
    }

    /// Returns what its document begins with.
    pub fn chunks(&self) -> [Chunk; 2] {
        [self.chunk.clone(), self.mark.clone()]
    }

    /// Tells whether a change is one that its document begins with.
    pub fn begins_with(&self, hash: Hash) -> bool {
        hash == self.name.hash || hash == self.mark.hash()
    }

    /// Tells how a change stands to it.
    pub fn judge(&self, serial: Serial) -> Judged {
        self.decision.clock.judge(serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serial(author: u8, incarnation: u64, seq: u64) -> Serial {
        Serial { author: NodeId([author; 32]), incarnation, seq }
    }

    #[test]
    fn a_clock_counts_what_is_not_above_it() {
        let mut clock = Clock::default();
        clock.raise(serial(1, 1, 5), 0);
        clock.raise(serial(1, 1, 3), 0);
        assert_eq!(clock.judge(serial(1, 1, 5)), Judged::Decided);
        assert_eq!(clock.judge(serial(1, 1, 6)), Judged::Late);
        assert_eq!(clock.judge(serial(1, 2, 1)), Judged::Late);
        assert_eq!(clock.judge(serial(2, 1, 1)), Judged::Late);
    }

    #[test]
    fn a_clock_forgets_old_runs_and_never_the_last_one() {
        let mut clock = Clock::default();
        for run in 1..=100 {
            clock.raise(serial(1, run, 9), run);
            clock.forget(run);
        }
        assert_eq!(clock.runs.len(), 31);
        assert_eq!(clock.judge(serial(1, 69, 9)), Judged::TooLate);
        assert_eq!(clock.judge(serial(1, 70, 9)), Judged::Decided);
        clock.forget(10_000);
        assert_eq!(clock.runs.len(), 1);
        assert_eq!(clock.judge(serial(1, 100, 10)), Judged::Late, "the run goes on");
    }
}
