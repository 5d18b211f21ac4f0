//! The voter set: how a leader changes it, one voter at a time.

use crate::ids::NodeId;

use super::lead::Leader;
use super::machine::{Election, Part};
use super::message::Message;
use super::rule::Rule;
use super::voters::wanted;

impl Election {
    /// Changes the voters by one, if they are not as they should be and all is settled.
    pub(super) fn change_voters(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        if !leader.established || !self.members.contains(&self.me) || !self.is_settled(leader) {
            return;
        }
        if let Some(leaving) = self.leaving(leader) {
            self.ballot.voters.remove(&leaving);
        } else if let Some((coming, seat)) = self.coming(leader) {
            self.ballot.voters.add(coming, seat);
        } else {
            return;
        }
        self.ballot.voters.version += 1;
        self.saver.ballot_changed();
        self.beat();
    }

    /// Tells whether the voters may change: a majority holds exactly this configuration, of this term, and all writes
    /// of this term. Then no majority of an older configuration can elect anybody, and every majority of the next one
    /// has all that is in effect (rule 3).
    fn is_settled(&self, leader: &Leader) -> bool {
        let (term, id) = (self.ballot.term, self.ballot.voters.id());
        let durable = self.saver.durable();
        let own = durable.term == term && durable.voters == id && durable.held == self.holding.stamp();
        let settled = |voter: &NodeId| match self.voter(leader, voter) {
            Some(peer) => peer.voters == id && peer.seq(term) == leader.seq,
            None => *voter == self.me && own,
        };
        own && id.term == term && (!self.obeys(Rule::SettledFirst) || self.ballot.voters.most(settled))
    }

    /// Returns the voter to be removed: one that is no member any more or has left its seat, or one too many, rather one
    /// that cannot be reached. The leader does not remove itself.
    fn leaving(&self, leader: &Leader) -> Option<NodeId> {
        let voters = &self.ballot.voters.members;
        let others = || voters.iter().filter(|voter| **voter != self.me).copied();
        let left = |voter: &NodeId| leader.peers.contains_key(voter) && self.voter(leader, voter).is_none();
        if let Some(gone) = others().find(|voter| !self.members.contains(voter) || left(voter)) {
            return Some(gone);
        }
        if voters.len() <= wanted(self.members.len(), self.most) {
            return None;
        }
        others().max_by_key(|voter| (!self.reachable.contains(voter), *voter))
    }

    /// Returns the member to be added, and its seat: one that can be reached and holds all that a voter holds. To an odd set only if
    /// there is a second one to follow: an even set bears no more losses, and needs one more voter for all it does.
    fn coming(&self, leader: &Leader) -> Option<(NodeId, u64)> {
        let voters = &self.ballot.voters.members;
        if voters.len() >= wanted(self.members.len(), self.most) {
            return None;
        }
        let mut ready = self.reachable.intersection(&self.members).filter(|node| {
            !voters.contains(node) && leader.peers.get(node).is_some_and(|peer| self.is_ready(leader, peer))
        });
        let first = ready.next()?;
        let seat = leader.peers.get(first)?.seat.unwrap_or_default();
        (voters.len().is_multiple_of(2) || ready.next().is_some()).then_some((*first, seat))
    }

    /// Tells whether a member is ready to vote: it has this configuration and the whole set of registers on disk.
    fn is_ready(&self, leader: &Leader, peer: &super::lead::Peer) -> bool {
        peer.voters == self.ballot.voters.id() && peer.seq(self.ballot.term) == leader.seq
    }

    /// A leader that is no member any more leaves its office to another voter, who will then remove it.
    pub(super) fn hand_over(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        if self.members.is_empty() || self.members.contains(&self.me) || !leader.established {
            return;
        }
        let ready = |voter: &&NodeId| {
            self.members.contains(voter) && leader.peers.get(voter).is_some_and(|peer| self.is_ready(leader, peer))
        };
        if let Some(next) = self.ballot.voters.members.iter().find(ready).copied() {
            self.send(next, Message::HandOver { term: self.ballot.term });
        }
    }
}
