//! Following: beats, writes, and noticing that nobody leads.

use crate::ids::{NodeId, Term};

use super::machine::{Election, Follower, Part};
use super::message::Message;
use super::register::{Learnt, Registers, newest};
use super::rule::Rule;
use super::voters::Voters;
use super::{Output, Undecided};

impl Election {
    /// Follows nobody from now on. Proposals that are not decided are lost.
    pub(super) fn step_down(&mut self) {
        let deadline = Some(self.now + self.wait(None));
        let was = std::mem::replace(&mut self.part, Part::Follower(Follower { deadline, ..Follower::default() }));
        if let Part::Leader(leader) = was {
            for id in leader.proposals() {
                self.emit(Output::Decided { id, result: Err(Undecided::Lost) });
            }
        }
    }

    /// Hears the leader of the term. Returns whether it is one to follow.
    fn hear(&mut self, leader: NodeId, term: Term) -> bool {
        let other = match &self.part {
            Part::Leader(_) => true,
            Part::Follower(follower) => follower.leader.is_some_and(|known| known != leader),
            _ => false,
        };
        if other || term != self.ballot.term {
            // Two leaders of one term there are not: one of them lies, and the first is as good as the second.
            return false;
        }
        let deadline = Some(self.now + self.wait(Some(&leader)));
        self.part = Part::Follower(Follower { leader: Some(leader), heard: Some(self.now), gone: false, deadline });
        true
    }

    pub(super) fn on_beat(&mut self, from: NodeId, term: Term, voters: Voters, commit: u64) {
        if !voters.members.contains(&from) || voters.term != term || !self.hear(from, term) {
            return;
        }
        self.learn(commit);
        // Not before it has the registers that were in effect when these voters were chosen, their membership records
        // among them: else it might start again with voters whom it takes for strangers.
        let informed = commit == 0 || self.holding.seq(term) >= commit;
        if informed && voters.id() > self.ballot.voters.id() {
            self.ballot.voters = voters;
            self.saver.ballot_changed();
        }
        self.ack(from);
    }

    /// Takes writes without a gap, the first of a term as a whole set.
    pub(super) fn on_write(&mut self, from: NodeId, term: Term, after: u64, upto: u64, registers: Registers) {
        let numbered = |seq: u64| seq > after && seq <= upto;
        let sound = registers.values().all(|register| register.stamp.term == term && numbered(register.stamp.seq));
        if !sound || newest(&registers).seq != upto || !self.hear(from, term) {
            return;
        }
        let mine = self.holding.seq(term);
        if after == 0 && mine == 0 {
            self.holding.replace(registers);
            self.saver.registers_changed();
        } else if mine > 0 && after <= mine && upto > mine {
            self.holding.extend(registers);
            self.saver.registers_changed();
        }
        self.ack(from);
    }

    /// Learns which of the leader's writes are in effect.
    fn learn(&mut self, commit: u64) {
        let own = self.holding.seq(self.ballot.term) > 0 || !self.obeys(Rule::OwnState);
        if commit == 0 || !own {
            return;
        }
        if let Some(learnt) = self.holding.learn(commit) {
            self.show_learnt(learnt);
        }
    }

    /// Tells what is in effect now and was not before. A register that only says something else is not worth a save of
    /// its own: its last value is on disk already, if not that it is in effect.
    pub(super) fn show_learnt(&mut self, Learnt { new, is_first }: Learnt) {
        if is_first || new.is_empty() {
            self.saver.registers_changed();
        } else {
            self.saver.knowledge_changed();
        }
        if !new.is_empty() {
            self.emit(Output::Committed(new));
        }
    }

    fn ack(&mut self, leader: NodeId) {
        let (term, seat) = (self.ballot.term, self.ballot.seat);
        let ack = Message::Ack { term, voters: self.ballot.voters.id(), held: self.holding.stamp(), seat };
        self.send(leader, ack);
    }

    /// The leader's agent is dead: the next one need not wait until its patience ends.
    pub(super) fn gone(&mut self, peer: NodeId) {
        let soon = self.now + self.wait_gone(&peer);
        if let Part::Follower(follower) = &mut self.part
            && follower.leader == Some(peer)
            && !follower.gone
        {
            follower.gone = true;
            follower.deadline = follower.deadline.map(|deadline| deadline.min(soon));
        }
    }

    /// Waits no longer than it should: a voter asks for votes, another just knows no leader any more.
    pub(super) fn follower_waits(&mut self) {
        let Part::Follower(follower) = &self.part else { return };
        if follower.deadline.is_some_and(|deadline| self.now < deadline) {
            return;
        }
        match self.votes() {
            true if self.has_recalled() => self.ask(),
            true => {}
            false => self.step_down(),
        }
    }

    /// Tells whether it has heard a leader so lately that there is no need of another: a little less long ago than would
    /// make it ask for votes itself, so that who has waited long enough is not refused for a beat that came last.
    pub(super) fn is_led(&self) -> bool {
        match &self.part {
            Part::Leader(_) => true,
            Part::Follower(Follower { heard: Some(heard), gone: false, .. }) => {
                self.now.since(*heard) < self.timing.patience * 3 / 4
            }
            _ => false,
        }
    }
}
