//! One node: the shipped machine, its disk, and the save that is on its way.
//!
//! The machine's clock stands still. What it waits for comes when the model says so: as the next beat, or as a timeout.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::election::lead::Leader;
use crate::election::machine::{Follower, Part};
use crate::election::recall::Recall;
use crate::election::tests::world::{node, nodes};
use crate::election::{
    Ballot, Election, Input, MOST_VOTERS, Message, Output, ProposalId, Register, Registers, Role, Stamp, Timing, Voters,
};
use crate::ids::{NodeId, Term};
use crate::time::Mono;

use super::cluster::Bounds;

/// The register that is to be decided once.
const KEY: &str = "key";
/// The moment at which all happens, and those at which a beat and everything else is due.
const NOW: Mono = Mono(Duration::from_secs(1000));
const BEAT: Mono = Mono(Duration::from_secs(1001));
const LATE: Mono = Mono(Duration::from_secs(5000));
const NEVER: Mono = Mono(Duration::from_secs(1_000_000));

/// Something that happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    /// It hears the message of this number.
    Hears(u32),
    /// It learns of the term that this node, from 0, is in; within a step: of this term.
    Learns(u8),
    /// Its save is done.
    Saved,
    /// It waits no longer.
    Timeout,
    /// It leads, and the next beat is due.
    Beat,
    /// It leads, and finds the register free.
    Propose,
    /// It crashes when so much of the save is on its disk (nothing, the ballot, all), and starts again.
    Crash(u8),
}

/// A node.
#[derive(Debug)]
pub struct Local {
    machine: Election,
    ballot: Ballot,
    registers: Registers,
    saving: Option<(Option<Ballot>, Option<Registers>)>,
}

/// What comes of an event.
#[derive(Debug, Default)]
pub struct Step {
    /// What is sent.
    pub sent: Vec<(NodeId, Message)>,
    /// What the register says, as far as it was shown to be in effect.
    pub shown: Vec<u8>,
    /// Whether it took office in this step.
    pub established: bool,
    /// Whether something that was in effect went back.
    pub regressed: bool,
}

impl Local {
    /// Makes node `n`, from 1, of a cluster that begins.
    pub fn new(n: u8, bounds: &Bounds) -> Self {
        let voters = Voters { term: Term(1), version: 1, members: nodes(1..=bounds.voters), ..Voters::default() };
        let first = Register { stamp: Stamp { term: Term(1), seq: 1 }, value: vec![9] };
        let ballot = Ballot { term: Term(1), voters, ..Ballot::default() };
        let ballot = if n <= bounds.voters { ballot } else { Ballot { term: Term(1), ..Ballot::default() } };
        Self::start(n, bounds, ballot, Registers::from([("first".into(), first)])).0
    }

    /// Starts a node with what its disk has.
    fn start(n: u8, bounds: &Bounds, ballot: Ballot, registers: Registers) -> (Self, Step) {
        let mut machine = Election::new(node(n), 0, Timing::default(), ballot.clone(), registers.clone());
        machine.broken = bounds.broken;
        machine.recall = recalled();
        let mut local = Self { machine, ballot, registers, saving: None };
        let mut step = Step::default();
        let all: BTreeSet<NodeId> = nodes(1..=bounds.members);
        local.input(
            NOW,
            Input::Members { all: all.clone(), reachable: all, witnesses: BTreeSet::new(), most: MOST_VOTERS },
            &mut step,
        );
        (local, step)
    }

    pub fn copy(&self) -> Self {
        let from = &self.machine;
        let machine = Election {
            me: from.me,
            timing: from.timing,
            most: from.most,
            able: from.able,
            now: from.now,
            ballot: from.ballot.clone(),
            holding: from.holding.clone(),
            members: from.members.clone(),
            reachable: from.reachable.clone(),
            witnesses: from.witnesses.clone(),
            part: from.part.clone(),
            saver: from.saver.clone(),
            recall: from.recall.clone(),
            told: from.told.clone(),
            rng: StdRng::seed_from_u64(0),
            shown: from.shown,
            out: Vec::new(),
            broken: from.broken,
        };
        let (ballot, registers, saving) = (self.ballot.clone(), self.registers.clone(), self.saving.clone());
        Self { machine, ballot, registers, saving }
    }

    /// Lets something happen. Returns nothing if it cannot, or does nothing.
    pub fn step(mut self, event: Event, message: Option<(NodeId, Message)>, bounds: &Bounds) -> Option<(Self, Step)> {
        let mut step = Step::default();
        match event {
            Event::Hears(_) => {
                let (from, message) = message?;
                self.input(NOW, Input::Received { from, message }, &mut step);
            }
            Event::Learns(term) => {
                if term <= self.term() {
                    return None;
                }
                // Who said it is of no account.
                let (from, message) = (node(9), Message::Newer { term: Term(term.into()) });
                self.input(NOW, Input::Received { from, message }, &mut step);
            }
            Event::Saved => self.save(&mut step)?,
            Event::Timeout => self.timeout(bounds, &mut step)?,
            Event::Beat => {
                self.leader()?;
                self.input(BEAT, Input::Tick, &mut step);
            }
            Event::Propose => {
                let leader = self.leader()?;
                if !leader.established || self.machine.holding.all().contains_key(KEY) {
                    return None;
                }
                let value = vec![self.machine.me.0[0] * 16 + self.term()];
                self.input(NOW, Input::Propose { id: ProposalId(1), key: KEY.into(), value }, &mut step);
            }
            Event::Crash(part) => return self.crash(part, bounds),
        }
        if !bounds.slow {
            while self.save(&mut step).is_some() {}
        }
        Some((self, step))
    }

    fn timeout(&mut self, bounds: &Bounds, step: &mut Step) -> Option<()> {
        if self.leader().is_none() {
            if !self.machine.votes() || self.term() > bounds.elections {
                return None;
            }
            if !bounds.asks {
                // As when the others have said that they would vote: they always may have.
                self.machine.campaign();
                self.input(NOW, Input::Tick, step);
                return Some(());
            }
        }
        self.input(LATE, Input::Tick, step);
        Some(())
    }

    /// The save is on the disk.
    fn save(&mut self, step: &mut Step) -> Option<()> {
        let (ballot, registers) = self.saving.take()?;
        self.ballot = ballot.unwrap_or_else(|| self.ballot.clone());
        self.registers = registers.unwrap_or_else(|| self.registers.clone());
        let id = self.machine.saver.issued();
        self.input(NOW, Input::Saved(id), step);
        Some(())
    }

    fn crash(self, part: u8, bounds: &Bounds) -> Option<(Self, Step)> {
        let (ballot, registers) = self.saving.unwrap_or_default();
        let needless = (ballot.is_none() && part == 1) || (registers.is_none() && part == 2);
        if needless {
            return None;
        }
        let ballot = ballot.filter(|_| part >= 1).unwrap_or(self.ballot);
        let registers = registers.filter(|_| part >= 2).unwrap_or(self.registers);
        Some(Self::start(self.machine.me.0[0], bounds, ballot, registers))
    }

    fn input(&mut self, now: Mono, input: Input, step: &mut Step) {
        let before = self.machine.committed().clone();
        for output in self.machine.handle(now, input) {
            match output {
                Output::Send { to, message } => step.sent.push((to, message)),
                Output::Save { ballot, registers, .. } => self.saving = Some((ballot, registers)),
                Output::Role(Role::Leader(_)) => step.established = true,
                Output::Committed(new) => step.shown.extend(new.get(KEY).map(|register| register.value[0])),
                Output::Decided { result: Ok(()), .. } => step.shown.extend(self.value()),
                Output::Decided { .. } | Output::Role(_) | Output::Unseated => {}
            }
        }
        let after = self.machine.committed();
        step.regressed |= before.iter().any(|(key, was)| after.get(key).is_none_or(|is| is.stamp < was.stamp));
        self.stand_still();
    }

    /// Puts everything that only has to do with time, chance and counting where it is always.
    fn stand_still(&mut self) {
        let machine = &mut self.machine;
        machine.now = NOW;
        machine.rng = StdRng::seed_from_u64(0);
        machine.told.clear();
        machine.recall = recalled();
        machine.saver.renumber();
        match &mut machine.part {
            // That it has just heard a leader keeps it from no vote: the vote might come later.
            Part::Follower(follower) => {
                *follower = Follower { leader: follower.leader, heard: None, gone: false, deadline: Some(LATE) };
            }
            Part::Asking { again, .. } => *again = LATE,
            Part::Candidate { again, deadline, .. } => (*again, *deadline) = (LATE, LATE),
            Part::Leader(leader) => {
                leader.next_beat = BEAT;
                leader.peers.values_mut().for_each(|peer| peer.heard = NOW);
            }
        }
    }

    pub fn me(&self) -> NodeId {
        self.machine.me
    }

    pub fn term(&self) -> u8 {
        u8::try_from(self.machine.ballot.term.0).expect("terms are bounded")
    }

    pub fn disk_term(&self) -> u8 {
        u8::try_from(self.ballot.term.0).expect("terms are bounded")
    }

    pub fn version(&self) -> u8 {
        u8::try_from(self.machine.ballot.voters.version).expect("versions are bounded")
    }

    pub fn leader(&self) -> Option<&Leader> {
        match &self.machine.part {
            Part::Leader(leader) => Some(leader),
            _ => None,
        }
    }

    /// Returns what the register says that is in effect.
    pub fn value(&self) -> Option<u8> {
        self.machine.committed().get(KEY).map(|register| register.value[0])
    }
}

/// Nobody has been given an older disk.
fn recalled() -> Recall {
    Recall { heard: nodes(1..=9), until: None, again: NEVER }
}
