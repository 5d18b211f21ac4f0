//! The machine: takes inputs to where they belong, and lets out what may leave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::ids::{NodeId, Term};
use crate::time::Mono;

use super::lead::Leader;
use super::message::Message;
use super::recall::{Recall, Told};
use super::register::{Holding, Registers, Stamp};
use super::rule::Rule;
use super::save::{Durable, Saver};
use super::voters::{Ballot, FORMER_VOTERS, Voters};
use super::{Input, Output, Role, SaveId, Timing};

/// By how much longer a voter waits than the one before it.
const RANK: Duration = Duration::from_millis(150);
/// By how much longer it waits when it knows that the leader's agent is dead.
const RANK_GONE: Duration = Duration::from_millis(100);
/// Up to how much each adds by chance.
const CHANCE: Duration = Duration::from_millis(60);
/// For how long one that would vote for another does not stand itself: as long as votes take.
pub(super) const WAY: Duration = Duration::from_millis(50);
/// How soon a question without an answer is asked again.
pub(super) const AGAIN: Duration = Duration::from_millis(100);

/// The machine of one node.
#[derive(Debug)]
pub struct Election {
    pub(super) me: NodeId,
    pub(super) timing: Timing,
    /// How many voters there may be.
    pub(super) most: usize,
    /// Whether this node could do a leader's work.
    pub(super) able: bool,
    pub(super) now: Mono,
    pub(super) ballot: Ballot,
    pub(super) holding: Holding,
    /// All members and those that can be reached, once they are known.
    pub(super) members: BTreeSet<NodeId>,
    pub(super) reachable: BTreeSet<NodeId>,
    pub(super) witnesses: BTreeSet<NodeId>,
    pub(super) part: Part,
    pub(super) saver: Saver,
    pub(super) recall: Recall,
    /// What others say to have on their disks, as far as they have said it in this run.
    pub(super) told: BTreeMap<NodeId, Told>,
    pub(super) rng: StdRng,
    pub(super) shown: Role,
    pub(super) out: Vec<Output>,
    /// The rule that a test breaks.
    #[cfg(test)]
    pub(super) broken: Option<Rule>,
}

/// What this node does about leading.
#[derive(Clone, Debug)]
pub(super) enum Part {
    Follower(Follower),
    /// It asks who would vote for it.
    Asking {
        granted: BTreeSet<NodeId>,
        again: Mono,
    },
    /// It asks for votes in its term. Each vote comes with the state that the voter holds.
    Candidate {
        granted: BTreeMap<NodeId, Stamp>,
        again: Mono,
        deadline: Mono,
    },
    Leader(Box<Leader>),
}

/// One that follows, or waits for somebody to follow.
#[derive(Clone, Debug, Default)]
pub(super) struct Follower {
    pub leader: Option<NodeId>,
    /// When the leader was heard last.
    pub heard: Option<Mono>,
    /// Whether the leader's agent is known to be dead.
    pub gone: bool,
    /// When it waits no longer; none before the first input.
    pub deadline: Option<Mono>,
}

impl Election {
    /// Makes the machine of node `me` from what its disk holds. `seed`: where its randomness comes from.
    ///
    /// `registers`: what the newest [`Output::Save`] had, or what a founder or joiner starts with; all of the latter
    /// is taken to be in effect. Empty `ballot`: a joiner; it follows until a leader makes it a voter. A founder's
    /// ballot names itself as the only voter.
    pub fn new(me: NodeId, seed: u64, timing: Timing, mut ballot: Ballot, registers: Registers) -> Self {
        let holding = Holding::of_disk(registers);
        // A register of a term is as good a memory of it as the ballot.
        if holding.stamp().term > ballot.term {
            ballot.term = holding.stamp().term;
            ballot.voted_for = None;
        }
        let durable = Durable { term: ballot.term, voters: ballot.voters.id(), held: holding.stamp() };
        Self {
            me,
            timing,
            most: FORMER_VOTERS,
            able: true,
            now: Mono::default(),
            shown: Role::Follower { term: ballot.term, leader: None },
            ballot,
            holding,
            members: BTreeSet::new(),
            reachable: BTreeSet::new(),
            witnesses: BTreeSet::new(),
            part: Part::Follower(Follower::default()),
            saver: Saver::new(durable),
            recall: Recall::default(),
            told: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            out: Vec::new(),
            #[cfg(test)]
            broken: None,
        }
    }

    /// Takes an input and returns what is to be done, in order.
    pub fn handle(&mut self, now: Mono, input: Input) -> Vec<Output> {
        self.now = self.now.max(now);
        match input {
            Input::Received { from, message } => self.receive(from, message),
            Input::Saved(id) => self.saved(id),
            Input::Gone(peer) => self.gone(peer),
            Input::Members { all, reachable, witnesses, most } => {
                self.witnesses = witnesses;
                self.members = all;
                self.most = most;
                self.told.retain(|node, _| self.members.contains(node));
                self.reachable = reachable;
                self.members_changed();
            }
            Input::Propose { id, key, value } => self.propose(id, key, value),
            Input::Able(able) => self.able = able,
            Input::Resign => self.resign(),
            Input::Begin(generation) => self.begin_generation(generation),
            Input::Tick => {}
        }
        self.pass_time();
        self.finish()
    }

    /// Returns the registers that are in effect as far as this node knows. What it knew before a restart, it knows
    /// after it; what was written and not known to be in effect is not among it.
    pub fn committed(&self) -> &Registers {
        self.holding.committed()
    }

    /// Returns up to which write all is in effect, as far as this node knows in this run.
    pub fn in_effect(&self) -> Stamp {
        self.holding.known()
    }

    /// Returns the newest ballot, saved or being saved.
    pub fn ballot(&self) -> &Ballot {
        &self.ballot
    }

    /// Tells whether this node is a voter.
    pub fn is_voter(&self) -> bool {
        self.votes()
    }

    /// Returns the part this node plays.
    pub fn role(&self) -> Role {
        let leader = match &self.part {
            Part::Leader(leader) if leader.established => return Role::Leader(self.ballot.term),
            Part::Follower(follower) => follower.leader,
            _ => None,
        };
        Role::Follower { term: self.ballot.term, leader }
    }

    fn receive(&mut self, from: NodeId, message: Message) {
        if from == self.me {
            return;
        }
        self.note_told(from, &message);
        match message {
            Message::Recall { held, .. } => return self.on_recall(from, held),
            Message::Recalled { told, registers, .. } => return self.on_recalled(from, told, registers),
            _ => {}
        }
        let (theirs, mine) = (message.term(), self.ballot.term);
        let binding = !matches!(message, Message::PreVote { .. } | Message::PreVoted { .. });
        if theirs < mine {
            return self.tell_newer(from, &message);
        }
        if binding && theirs > mine {
            self.observe(theirs);
        }
        match message {
            Message::PreVote { term, voters } => self.on_pre_vote(from, term, &voters),
            Message::PreVoted { term } => self.on_pre_voted(from, term),
            Message::Vote { term, voters } => self.on_vote(from, term, &voters, mine),
            Message::Voted { term, held, seat } => self.on_voted(from, term, held, seat),
            Message::Beat { term, voters, commit } => self.on_beat(from, term, voters, commit),
            Message::Ack { term, voters, held, seat } => self.on_ack(from, term, voters, held, seat),
            Message::Read { term } => self.on_read(from, term),
            Message::Held { term, registers } => self.on_held(from, term, registers),
            Message::Write { term, after, upto, registers } => self.on_write(from, term, after, upto, registers),
            Message::HandOver { term } => self.on_hand_over(from, term),
            Message::Newer { .. } | Message::Recall { .. } | Message::Recalled { .. } => {}
        }
    }

    /// Answers a question or order of an old term; other answers are of no use to anybody.
    fn tell_newer(&mut self, to: NodeId, message: &Message) {
        let answers = matches!(
            message,
            Message::PreVoted { .. }
                | Message::Voted { .. }
                | Message::Ack { .. }
                | Message::Held { .. }
                | Message::Newer { .. }
        );
        if answers {
            return;
        }
        // Who has been told of the term only may not vote in it any more: a candidate asks instead.
        let asks = matches!(&self.part, Part::Candidate { granted, .. } if !granted.contains_key(&to));
        let term = self.ballot.term;
        let voters = &self.ballot.voters;
        let answer = if asks && voters.members.contains(&to) {
            Message::Vote { term, voters: voters.clone() }
        } else {
            Message::Newer { term }
        };
        self.send(to, answer);
    }

    fn saved(&mut self, id: SaveId) {
        let free = self.saver.saved(id);
        self.out.extend(free);
        self.tally();
        self.advance();
    }

    /// Does what is due at `now`.
    fn pass_time(&mut self) {
        self.ask_what_was_told();
        match &self.part {
            Part::Follower(Follower { deadline: None, .. }) => {
                let deadline = Some(self.now + self.wait(None));
                self.part = Part::Follower(Follower { deadline, ..Follower::default() });
                self.follower_waits();
            }
            Part::Follower(_) => self.follower_waits(),
            Part::Asking { again, .. } if self.now >= *again => self.ask(),
            Part::Candidate { deadline, .. } if self.now >= *deadline => self.ask(),
            Part::Candidate { again, .. } if self.now >= *again => self.ask_for_votes(),
            Part::Leader(_) => self.leader_waits(),
            _ => {}
        }
    }

    /// Shows a new role and begins the save that is due; what waits for it is kept.
    fn finish(&mut self) -> Vec<Output> {
        let role = self.role();
        if role != self.shown {
            self.shown = role;
            self.out.push(Output::Role(role));
        }
        let state = Durable { term: self.ballot.term, voters: self.ballot.voters.id(), held: self.holding.stamp() };
        if let Some((id, ballot, registers)) = self.saver.begin(state) {
            self.out.push(Output::Save {
                id,
                ballot: ballot.then(|| self.ballot.clone()),
                registers: registers.then(|| self.holding.to_disk()),
            });
        }
        std::mem::take(&mut self.out)
    }

    pub(super) fn emit(&mut self, output: Output) {
        self.out.push(output);
    }

    /// Sends a message once what it depends on is durable.
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        if !self.obeys(Rule::SaveFirst) {
            return self.out.push(Output::Send { to, message });
        }
        let free = self.saver.admit(to, message);
        self.out.extend(free);
    }

    /// Sends a message to every other voter.
    pub(super) fn send_to_voters(&mut self, message: &Message) {
        for voter in self.ballot.voters.members.clone() {
            if voter != self.me {
                self.send(voter, message.clone());
            }
        }
    }

    /// Tells whether this node is a voter as far as it knows.
    pub fn votes(&self) -> bool {
        self.is_seated(&self.ballot.voters)
    }

    /// Tells whether this node is a voter of a configuration, and not only one that has lost that voter's memory.
    pub(super) fn is_seated(&self, voters: &Voters) -> bool {
        let own = voters.seat(&self.me) == self.ballot.seat || !self.obeys(Rule::OwnSeat);
        voters.members.contains(&self.me) && own
    }

    /// Tells whether this node is the only voter.
    pub(super) fn is_sole(&self) -> bool {
        self.ballot.voters.only(&self.me) && self.votes()
    }

    /// Draws a seat that nobody has had.
    pub(super) fn draw_seat(&mut self) -> u64 {
        self.rng.random_range(1..u64::MAX)
    }

    /// Returns how long to wait for a beat of `leader`. A sole voter has nobody to wait for.
    pub(super) fn wait(&mut self, leader: Option<&NodeId>) -> Duration {
        if self.is_sole() {
            return Duration::ZERO;
        }
        self.timing.patience + self.unable() + RANK * self.rank(leader) + self.chance()
    }

    /// Returns by how much longer one waits that lets others stand first.
    fn unable(&self) -> Duration {
        if self.able { Duration::ZERO } else { self.timing.patience }
    }

    /// Returns how long to wait when `leader` is known to be dead.
    pub(super) fn wait_gone(&self, leader: &NodeId) -> Duration {
        self.unable() + RANK_GONE * self.rank(Some(leader))
    }

    /// Returns how long to wait for votes when there is another candidate: long enough for slow disks to answer, and for
    /// no two so nearly the same that one tick ends both.
    pub(super) fn wait_for_rival(&self) -> Duration {
        self.timing.patience / 2 + RANK * self.rank(None)
    }

    pub(super) fn chance(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(0..=CHANCE.as_millis() as u64))
    }

    /// Takes part in a newer term, in which nobody is known to lead.
    pub(super) fn observe(&mut self, term: Term) {
        self.ballot.term = term;
        self.ballot.voted_for = None;
        self.saver.ballot_changed();
        if let Part::Follower(follower) = &mut self.part {
            follower.leader = None;
            follower.heard = None;
            follower.gone = false;
        } else if self.obeys(Rule::StepDown) {
            self.step_down();
        }
    }

    fn rank(&self, leader: Option<&NodeId>) -> u32 {
        u32::try_from(self.ballot.voters.rank(&self.me, leader)).unwrap_or(u32::MAX / 1000).min(64)
    }
}
