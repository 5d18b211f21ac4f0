//! Voting: asking first (pre-vote), then campaigning, and granting.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{NodeId, Term};

use super::machine::{AGAIN, Election, Follower, Part, WAY};
use super::message::Message;
use super::register::Stamp;
use super::rule::Rule;
use super::voters::Voters;

impl Election {
    /// Asks who would vote for this node; no term is raised before a majority would.
    pub(super) fn ask(&mut self) {
        if self.is_sole() {
            return self.campaign();
        }
        let again = self.now + AGAIN + self.chance();
        self.part = Part::Asking { granted: BTreeSet::from([self.me]), again };
        let question = Message::PreVote { term: self.ballot.term.next(), voters: self.ballot.voters.clone() };
        self.send_to_voters(&question);
    }

    pub(super) fn on_pre_vote(&mut self, from: NodeId, term: Term, voters: &Voters) {
        if term == self.ballot.term {
            // It would be a vote in a term that has begun.
            self.send(from, Message::Newer { term });
        } else if self.may_vote(&from, voters) && !self.is_led() {
            self.give_way();
            self.send(from, Message::PreVoted { term });
        }
    }

    /// Does not stand at the same moment as one that it would vote for.
    fn give_way(&mut self) {
        let later = self.now + WAY;
        match &mut self.part {
            Part::Asking { again, .. } => *again = later.max(*again),
            Part::Follower(Follower { deadline: Some(deadline), .. }) => *deadline = later.max(*deadline),
            _ => {}
        }
    }

    pub(super) fn on_pre_voted(&mut self, from: NodeId, term: Term) {
        let Part::Asking { granted, .. } = &mut self.part else { return };
        if term != self.ballot.term.next() {
            return;
        }
        granted.insert(from);
        if self.ballot.voters.most(|voter| granted.contains(voter)) {
            self.campaign();
        }
    }

    /// Begins a term and votes for itself in it; asks for votes once that is durable.
    pub(super) fn campaign(&mut self) {
        self.ballot.term = self.ballot.term.next();
        self.ballot.voted_for = Some(self.me);
        self.saver.ballot_changed();
        let deadline = self.now + self.wait(None).max(self.timing.patience);
        self.part = Part::Candidate { granted: BTreeMap::new(), again: self.now, deadline };
        self.ask_for_votes();
    }

    /// Asks those voters that have not answered.
    pub(super) fn ask_for_votes(&mut self) {
        let Part::Candidate { granted, again, .. } = &mut self.part else { return };
        *again = self.now + AGAIN;
        let silent: Vec<NodeId> =
            self.ballot.voters.members.iter().filter(|v| **v != self.me && !granted.contains_key(v)).copied().collect();
        for voter in silent {
            let question = Message::Vote { term: self.ballot.term, voters: self.ballot.voters.clone() };
            self.send(voter, question);
        }
    }

    /// Judges a request for a vote; `before`: the term in which this node took part before it came.
    ///
    /// A vote is given only in a new term; the one that was given is said again, since the answer may have been lost.
    pub(super) fn on_vote(&mut self, from: NodeId, term: Term, voters: &Voters, before: Term) {
        let again = self.ballot.voted_for == Some(from);
        if term == before {
            self.meet_rival();
        }
        let fresh = term > before || !self.obeys(Rule::VoteOnce);
        if term != self.ballot.term || !(again || fresh) || !self.may_vote(&from, voters) {
            return;
        }
        let Part::Follower(Follower { .. }) = &self.part else { return };
        if !again {
            self.ballot.voted_for = Some(from);
            self.saver.ballot_changed();
            self.step_down();
        }
        self.send(from, Message::Voted { term, held: self.holding.stamp(), seat: self.ballot.seat });
    }

    /// Another stands in the same term: if neither has a majority soon, it is not worth waiting for as long as for a leader.
    fn meet_rival(&mut self) {
        let soon = self.now + self.wait_for_rival();
        if let Part::Candidate { deadline, .. } = &mut self.part {
            *deadline = soon.min(*deadline);
        }
    }

    /// Tells whether a candidate could have this node's vote: both are voters of its configuration, which is not older.
    ///
    /// It is the candidate's configuration that counts: a voter that was just added may not have heard of it, and
    /// where there are two, the other could not lead without it. Who knows no configuration at all is new here, or has
    /// lost its ballot and must not vote twice.
    fn may_vote(&self, candidate: &NodeId, voters: &Voters) -> bool {
        !self.ballot.voters.members.is_empty()
            && (voters.id() >= self.ballot.voters.id() || !self.obeys(Rule::NewerVoters))
            && voters.members.contains(candidate)
            && self.is_seated(voters)
            && self.has_recalled()
    }

    pub(super) fn on_voted(&mut self, from: NodeId, term: Term, held: Stamp, seat: u64) {
        let seated = seat == self.ballot.voters.seat(&from) || !self.obeys(Rule::OwnSeat);
        if term != self.ballot.term || held.term >= term || !seated {
            return;
        }
        match &mut self.part {
            Part::Candidate { granted, .. } => {
                granted.insert(from, held);
                self.tally();
            }
            // A late vote tells what its voter holds: it may be the one that the take-over waits for.
            Part::Leader(_) => self.note_held(from, held),
            _ => {}
        }
    }

    /// Leads if a majority has voted for it, its own durable vote counted.
    pub(super) fn tally(&mut self) {
        let Part::Candidate { granted, .. } = &self.part else { return };
        let own = self.saver.durable().term == self.ballot.term || !self.obeys(Rule::SaveFirst);
        let has = |voter: &NodeId| granted.contains_key(voter) || (own && *voter == self.me);
        if self.ballot.voters.most(has) || (own && !self.obeys(Rule::VoteMajority)) {
            let granted = granted.clone();
            self.lead(&granted);
        }
    }

    /// The leader asks this node to follow it in office: without asking first, for all others still hear the leader.
    pub(super) fn on_hand_over(&mut self, from: NodeId, term: Term) {
        let led = matches!(&self.part, Part::Follower(follower) if follower.leader == Some(from));
        if led && self.able && term == self.ballot.term && self.votes() && self.has_recalled() {
            self.campaign();
        }
    }
}
