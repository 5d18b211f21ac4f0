//! What must be on disk before what: one save at a time, and messages that wait for theirs.
//!
//! While a save is on its way, what changes further is gathered and saved together once it is done.

use std::collections::VecDeque;

use crate::ids::{NodeId, Term};

use super::message::Message;
use super::register::Stamp;
use super::voters::VotersId;
use super::{Output, SaveId};

/// What of a node's state is on disk.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Durable {
    pub term: Term,
    pub voters: VotersId,
    pub held: Stamp,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Saver {
    ballot_changed: bool,
    registers_changed: bool,
    /// Whether more is known to be in effect than the disk says.
    knowledge_changed: bool,
    /// The save that is on its way, and what will then be durable.
    saving: Option<Durable>,
    durable: Durable,
    issued: u64,
    /// The saves that hold the newest ballot, and the newest of all.
    ballot_gate: u64,
    gate: u64,
    /// In the order in which they were said.
    waiting: VecDeque<Waiting>,
}

#[derive(Clone, Debug)]
struct Waiting {
    gate: u64,
    to: NodeId,
    message: Message,
}

impl Saver {
    /// Starts with what the disk holds.
    pub fn new(durable: Durable) -> Self {
        Self { durable, ..Self::default() }
    }

    pub fn durable(&self) -> Durable {
        self.durable
    }

    pub fn ballot_changed(&mut self) {
        self.ballot_changed = true;
        self.gate = self.issued + 1;
        self.ballot_gate = self.gate;
    }

    pub fn registers_changed(&mut self) {
        self.registers_changed = true;
        self.gate = self.issued + 1;
    }

    /// What is known to be in effect has changed, and nothing else: the next save, whatever it is for, will say it. Lost
    /// in a crash, it comes again with the next leader.
    pub fn knowledge_changed(&mut self) {
        self.knowledge_changed = true;
    }

    /// Returns the number of the last save.
    #[cfg(test)]
    pub fn issued(&self) -> SaveId {
        SaveId(self.issued)
    }

    /// Counts anew, so that two machines that have saved differently often are equal if they are else.
    #[cfg(test)]
    pub fn renumber(&mut self) {
        let (issued, durable) = (self.issued, self.issued - u64::from(self.saving.is_some()));
        let renumbered = |gate: u64| if gate <= durable { 0 } else { gate + 2 - issued };
        self.ballot_gate = renumbered(self.ballot_gate);
        self.gate = renumbered(self.gate);
        for waiting in &mut self.waiting {
            waiting.gate = renumbered(waiting.gate);
        }
        self.issued = 2;
    }

    /// Begins a save if one is due: its number, and whether it has the ballot and the registers in it.
    pub fn begin(&mut self, state: Durable) -> Option<(SaveId, bool, bool)> {
        if self.saving.is_some() || !(self.ballot_changed || self.registers_changed) {
            return None;
        }
        self.issued += 1;
        self.saving = Some(state);
        let ballot = std::mem::take(&mut self.ballot_changed);
        let known = std::mem::take(&mut self.knowledge_changed);
        let registers = std::mem::take(&mut self.registers_changed) || known;
        Some((SaveId(self.issued), ballot, registers))
    }

    /// Learns that saves are durable, and returns the messages that waited for them.
    pub fn saved(&mut self, id: SaveId) -> Vec<Output> {
        if id.0 != self.issued {
            return Vec::new();
        }
        let Some(durable) = self.saving.take() else { return Vec::new() };
        self.durable = durable;
        let (free, waiting) = std::mem::take(&mut self.waiting).into_iter().partition(|w| w.gate <= id.0);
        self.waiting = waiting;
        let free: VecDeque<Waiting> = free;
        free.into_iter().map(|w| Output::Send { to: w.to, message: w.message }).collect()
    }

    /// Says nothing of what waits.
    pub fn forget_what_waits(&mut self) {
        self.waiting.clear();
    }

    /// Returns the message if it may leave now, else keeps it until what it depends on is durable.
    ///
    /// What answers for registers waits for both; all else for the ballot: a leader's writes go to others while its
    /// own disk is still at work.
    pub fn admit(&mut self, to: NodeId, message: Message) -> Option<Output> {
        let gate = match message {
            Message::Ack { .. } | Message::Voted { .. } | Message::Held { .. } => self.gate,
            _ => self.ballot_gate,
        };
        let durable = if self.saving.is_some() { self.issued - 1 } else { self.issued };
        if gate <= durable {
            return Some(Output::Send { to, message });
        }
        if matches!(message, Message::Ack { .. } | Message::Beat { .. }) {
            // A later one of the same kind says all that the earlier would; so a slow disk heaps up nothing.
            let kind = std::mem::discriminant(&message);
            self.waiting.retain(|w| w.gate != gate || w.to != to || std::mem::discriminant(&w.message) != kind);
        }
        self.waiting.push_back(Waiting { gate, to, message });
        None
    }
}
