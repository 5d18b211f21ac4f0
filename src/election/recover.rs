//! Recovery: when more than half of the voters are gone for good, a human makes one member the only voter of a new
//! *generation* of the cluster (`agent recover`).
//!
//! To the protocol each generation is a cluster of its own: whoever drives this machine hands it only what members of the
//! same generation say. A member that hears of a newer one leaves its own: it votes no more until a leader of the new one
//! makes it a voter, and what it holds is no state of theirs. So the proofs hold within a generation, and what was
//! decided in a former one stands as far as the first voter of the new one knows it.

use crate::ids::{NodeId, Term};

use super::machine::Election;
use super::message::MAX_NUMBER;
use super::recall::Recall;
use super::voters::Voters;

/// The quorum register with what proves the generation.
pub const RECOVERY: &str = "recovery";

/// By how much the terms of a generation are above those of the one before: what those who are gone may have begun
/// elections for, and decided in, must not come again.
const JUMP: u64 = 1 << 20;

/// A generation of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Which. A newer one is greater; the first is 0.
    pub number: u64,
    /// A term below all of its own.
    pub term: Term,
    /// Its first voter.
    pub first: NodeId,
    /// What proves it to members; opaque here.
    pub proof: Vec<u8>,
}

impl Election {
    /// Returns this node's generation of the cluster.
    pub fn generation(&self) -> u64 {
        self.ballot.voters.generation
    }

    /// Returns a term to begin a generation with. `chance`: any number; two that begin one at once shall not lead in the
    /// same terms.
    pub fn next_generations_term(&self, chance: u64) -> Term {
        Term(self.ballot.term.0 + JUMP + chance % JUMP)
    }

    /// Leaves its own generation for a newer one.
    pub(super) fn begin_generation(&mut self, Generation { number, term, first, proof }: Generation) {
        if number <= self.generation() || term.0 > MAX_NUMBER {
            return;
        }
        // What was said in the former one is not heard any more, and what was told there binds nobody here.
        self.saver.forget_what_waits();
        self.told.clear();
        self.recall = Recall::default();
        if first != self.me {
            self.holding.begin_anew();
        }
        self.holding.note(RECOVERY, proof);
        self.saver.registers_changed();
        let mut voters = Voters { generation: number, term, version: 1, ..Voters::default() };
        voters.add(first, if first == self.me { self.ballot.seat } else { 0 });
        self.ballot.voters = voters;
        self.ballot.term = self.ballot.term.max(term);
        self.ballot.voted_for = None;
        self.saver.ballot_changed();
        self.step_down();
    }
}
