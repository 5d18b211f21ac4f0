//! Recalling: a voter that starts may have been given an older copy of its disk, on which a vote or an acknowledgement is
//! missing. So it asks the others what it has told them before it votes again.
//!
//! Who finds that it has told more than it knows is like one that has lost its ballot: it leaves its seat, and a
//! leader makes it a voter anew. Nobody can tell what only those know who do not answer; a voter waits for them for the
//! election timeout and no longer, for else a second dead node would keep a third one from voting.

use std::collections::BTreeSet;
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::ids::{NodeId, Term};
use crate::time::Mono;

use super::Output;
use super::machine::{AGAIN, Election, Part};
use super::message::Message;
use super::register::{Registers, Stamp, newest};
use super::rule::Rule;
use super::voters::VotersId;
use super::wire;

/// How soon one is asked again that has not answered in time.
const LATER: Duration = Duration::from_secs(1);

/// The most that a node has told this one to have on its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Told {
    /// On which seat it was.
    #[n(0)]
    pub seat: u64,
    /// The newest term it took part in.
    #[cbor(n(1), with = "wire::term")]
    pub term: Term,
    /// The newest configuration.
    #[n(2)]
    pub voters: VotersId,
    /// The newest state of the registers.
    #[n(3)]
    pub held: Stamp,
}

/// How far a voter that has just started is with asking.
#[derive(Clone, Debug, Default)]
pub(super) struct Recall {
    /// Who has answered.
    pub heard: BTreeSet<NodeId>,
    /// Until when it waits for answers; none while there is nobody to ask.
    pub until: Option<Mono>,
    pub again: Mono,
}

impl Election {
    /// Tells whether this node may vote as far as its memory goes: all other voters have said what they know, or have had
    /// their time. A sole voter listens to all members: the others may be voters by now.
    pub(super) fn has_recalled(&self) -> bool {
        let heard = |node: &NodeId| *node == self.me || self.recall.heard.contains(node);
        let asked = if self.is_sole() { &self.members } else { &self.ballot.voters.members };
        !self.obeys(Rule::RecallFirst)
            || self.recall.until.is_some_and(|until| self.now >= until)
            || asked.iter().all(heard)
    }

    /// Asks whoever can be reached and has not answered.
    pub(super) fn ask_what_was_told(&mut self) {
        // The time runs from when there is somebody to be asked; a sole voter waits for nobody longer than that.
        let others = self.reachable.iter().any(|node| *node != self.me && self.ballot.voters.members.contains(node));
        if others || self.is_sole() {
            self.recall.until.get_or_insert(self.now + self.timing.patience);
        }
        if self.now < self.recall.again {
            return;
        }
        let in_time = self.recall.until.is_none_or(|until| self.now < until);
        self.recall.again = self.now + if in_time { AGAIN } else { LATER };
        let asked = |node: &&NodeId| **node != self.me && !self.recall.heard.contains(*node);
        let asked: Vec<NodeId> = self.reachable.iter().filter(asked).copied().collect();
        for node in asked {
            self.send(node, Message::Recall { term: self.ballot.term, held: self.holding.stamp() });
        }
    }

    /// Keeps what a member says to have on its disk.
    pub(super) fn note_told(&mut self, from: NodeId, message: &Message) {
        let told = match message {
            Message::Voted { term, held, seat } => {
                Told { seat: *seat, term: *term, voters: VotersId::default(), held: *held }
            }
            Message::Ack { term, voters, held, seat } => {
                Told { seat: *seat, term: *term, voters: *voters, held: *held }
            }
            Message::Beat { term, voters, .. } => {
                Told { seat: voters.seat(&from), term: *term, voters: voters.id(), held: Stamp::default() }
            }
            _ => return,
        };
        if !self.members.contains(&from) && !self.ballot.voters.members.contains(&from) {
            return;
        }
        let known = self.told.entry(from).or_default();
        *known = if known.seat == told.seat { known.with(told) } else { told };
    }

    pub(super) fn on_recall(&mut self, from: NodeId, held: Stamp) {
        let told = self.told.get(&from).copied();
        let lacks = self.ballot.voters.only(&from) && held < self.holding.stamp();
        let registers = if lacks { self.holding.all().clone() } else { Registers::new() };
        self.send(from, Message::Recalled { term: self.ballot.term, told, registers });
    }

    pub(super) fn on_recalled(&mut self, from: NodeId, told: Option<Told>, registers: Registers) {
        self.recall.heard.insert(from);
        self.take_back(registers);
        let durable = self.saver.durable();
        let forgotten = |told: Told| {
            told.seat == self.ballot.seat
                && (told.term > durable.term || told.voters > durable.voters || told.held > durable.held)
        };
        let Some(told) = told.filter(|told| forgotten(*told) && self.obeys(Rule::RecallFirst)) else { return };
        if !self.is_sole() || told.voters.version > durable.voters.version {
            self.leave_seat();
        } else if told.term > self.ballot.term {
            // Nobody else could make it a voter again: it goes on above all that it may have said.
            self.observe(told.term);
        }
    }

    /// A sole voter that finds with another member what it has decided and forgotten takes it over once more.
    fn take_back(&mut self, registers: Registers) {
        let stamp = newest(&registers);
        if !self.is_sole() || stamp <= self.holding.stamp() {
            return;
        }
        if stamp.term > self.ballot.term {
            self.observe(stamp.term);
        } else if !matches!(self.part, Part::Follower(_)) {
            self.step_down();
        }
        self.holding.replace(registers);
        self.saver.registers_changed();
    }

    /// Is no voter any more until a leader makes it one.
    fn leave_seat(&mut self) {
        self.ballot.seat = self.draw_seat();
        self.ballot.voted_for = None;
        self.saver.ballot_changed();
        self.told.clear();
        if !matches!(self.part, Part::Follower(_)) {
            self.step_down();
        }
        self.emit(Output::Unseated);
    }
}

impl Told {
    fn with(self, other: Self) -> Self {
        Self {
            seat: self.seat,
            term: self.term.max(other.term),
            voters: self.voters.max(other.voters),
            held: self.held.max(other.held),
        }
    }
}
