//! Who leads: drives the election, and begins and ends this node's own term of office.

use std::collections::BTreeSet;

use crate::election::{
    Ballot, Election, FORMER_VOTERS, Input, MOST_VOTERS, Output, ProposalId, Registers, Role, Stamp, Timing, Voters,
};
use crate::features::{self, Feature};
use crate::ids::{NodeId, RequestId, Term};
use crate::time::{Mono, Now, Wall};
use crate::trust::SignedMember;
use crate::trust::member::REGISTERS;

use super::granting::Granting;
use super::leases::record::REGISTERS as LEASES;
use super::{Effect, Node};

/// The election, and since when this node leads.
pub(super) struct Leading {
    pub(super) election: Election,
    /// Who waits for this node to lead the generation that it has begun, and what it is told then.
    pub(super) recovering: Option<(RequestId, String)>,
    /// When this node's term of office began, while it lasts.
    since: Option<Mono>,
    /// The newest term, and when this node heard of it.
    noticed: (Term, Wall),
    proposals: u64,
}

impl Leading {
    pub fn new(me: NodeId, seed: u64, ballot: Ballot, registers: Registers) -> Self {
        let election = Election::new(me, seed, Timing::default(), ballot, registers);
        Self { election, recovering: None, since: None, noticed: (Term(0), Wall(0)), proposals: 0 }
    }

    /// Tells whether this node may decide.
    pub fn is_leader(&self) -> bool {
        self.since.is_some()
    }

    /// Returns when this node's term of office began.
    pub fn since(&self) -> Option<Mono> {
        self.since
    }

    /// Tells whether nobody else votes.
    pub fn is_sole(&self) -> bool {
        self.election.ballot().voters.members.len() == 1
    }

    /// Returns who leads, as far as this node knows.
    pub fn leader(&self, me: NodeId) -> Option<NodeId> {
        match self.election.role() {
            Role::Leader(_) => Some(me),
            Role::Follower { leader, .. } => leader,
        }
    }

    /// Notes the newest term. Returns when this node heard of it: for people to read.
    pub fn noticed(&mut self, term: Term, now: Wall) -> Wall {
        if self.noticed.0 != term {
            self.noticed = (term, now);
        }
        self.noticed.1
    }

    /// Numbers the next proposal; [`Node::decided`] hears of it.
    pub fn number(&mut self) -> ProposalId {
        self.proposals += 1;
        ProposalId(self.proposals)
    }

    /// Tells whether this node knows what a leader has decided, in this run or an earlier one. Who has just joined has what it
    /// was admitted with, and who has lost its registers what its identity says.
    pub fn has_heard(&self) -> bool {
        self.registers().values().any(|register| register.stamp != Stamp::default())
    }

    /// Lists the membership records that are in effect.
    pub fn member_records(&self) -> impl Iterator<Item = &SignedMember> {
        let members = self.registers().iter().filter(|(key, _)| key.starts_with(REGISTERS));
        members.map(|(_, register)| &register.value)
    }

    /// Returns up to which write all is in effect, as far as this node knows.
    pub fn in_effect(&self) -> Stamp {
        self.election.in_effect()
    }

    /// Returns the newest term this node takes part in.
    pub fn term(&self) -> Term {
        self.election.ballot().term
    }

    /// Returns the voters, as far as this node knows.
    pub fn voters(&self) -> &Voters {
        &self.election.ballot().voters
    }

    /// Tells whether this node is a voter that has voted in no newer term than this one.
    pub fn vouches_for(&self, term: Term) -> bool {
        self.term() == term && self.election.is_voter()
    }

    /// Returns the registers that are in effect.
    pub fn registers(&self) -> &Registers {
        self.election.committed()
    }
}

impl Node {
    /// Returns the term in which this node leads and may decide, if it does.
    pub fn leads(&self) -> Option<Term> {
        match self.leading.election.role() {
            Role::Leader(term) => Some(term),
            Role::Follower { .. } => None,
        }
    }

    /// Hands the election an input and does what it says.
    pub(super) fn elect(&mut self, now: Now, input: Input) {
        for output in self.leading.election.handle(now.mono, input) {
            match output {
                Output::Send { to, message } => self.say_of_leading(to, message),
                Output::Save { id, ballot, registers } => {
                    self.effects.push(Effect::Save { id, ballot, registers });
                }
                Output::Role(role) => self.role_changed(now, role),
                Output::Unseated => tracing::warn!(
                    "this node has told other members more than its disk knows: it was given an older copy of its files, \
                     and is no voter until a leader makes it one"
                ),
                Output::Committed(new) => self.in_effect_now(now, &new),
                Output::Decided { id, result } => {
                    self.rise_decided(id);
                    self.horizon_decided(id, result);
                    self.lease_decided(now, id, result);
                    self.holder_decided(now, id, result);
                    self.decided(now, id, result);
                }
            }
        }
    }

    /// Lets the rooms see what is in effect now.
    fn in_effect_now(&mut self, now: Now, new: &Registers) {
        self.show_leases(now, new);
        if new.keys().all(|key| key.starts_with(LEASES)) {
            // A Lease is renewed all the time, and says nothing about members and horizons.
            return;
        }
        if self.read_members() {
            self.members_changed(now);
        } else if new.contains_key(features::REGISTER) {
            self.tell_election(now);
        }
        self.horizons.unlearned = true;
    }

    fn role_changed(&mut self, now: Now, role: Role) {
        match role {
            Role::Leader(term) => self.take_office(now, term),
            Role::Follower { term, leader } => {
                self.term = self.term.max(term);
                if self.leading.since.take().is_some() {
                    tracing::info!(term = term.0, "leads no more");
                    self.leave_office(now);
                }
                if let Some(leader) = leader {
                    let name = self.peers.name_of(&leader);
                    tracing::info!(term = term.0, leader = name, "follows");
                    self.follow(now);
                }
            }
        }
        self.show_leader(now);
    }

    fn take_office(&mut self, now: Now, term: Term) {
        tracing::info!(term = term.0, "elected");
        self.recovered();
        self.term = self.term.max(term);
        self.leading.since = Some(now.mono);
        self.caretaking.give_up();
        self.granting = Granting::default();
        self.begin_collecting(now);
        self.look_at_everything(now);
        // Nothing that a member holds is known for sure until an exchange with it under this leader.
        self.refresh_reaches(now);
    }

    pub(super) fn leave_office(&mut self, now: Now) {
        self.work.rest();
        self.placement.rest();
        self.refresh_reaches(now);
        self.nobody_can_be_admitted();
        self.no_lease_can_be_decided(now);
        self.granting = Granting::default();
    }

    /// Wakes controllers and scheduler with all there is.
    pub(super) fn look_at_everything(&mut self, now: Now) {
        self.work.add_all(crate::controllers::all(self.store.snapshot()), now.mono);
        self.placement.start(self.store.snapshot());
    }

    /// Tells the election who is a member and who answers.
    pub(super) fn tell_election(&mut self, now: Now) {
        let me = self.store.node_id();
        let all: BTreeSet<NodeId> = self.peers.members.iter().map(|m| m.id).collect();
        let reachable = all.iter().filter(|id| **id == me || self.peers.answers(id)).copied().collect();
        let most = if self.may_use(Feature::FiveVoters) { MOST_VOTERS } else { FORMER_VOTERS };
        let witnesses = self.witnesses();
        self.elect(now, Input::Members { all, reachable, witnesses, most });
    }
}
