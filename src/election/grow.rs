//! The voter set: how a leader changes it, one voter at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::NodeId;
use crate::time::Mono;

use super::lead::Leader;
use super::machine::{Election, Part};
use super::message::Message;
use super::rule::Rule;
use super::voters::wanted;

/// For how long a voter may be silent before another member takes its place: a node that is only started anew, or
/// moved, shall find its vote where it was.
const ABSENT: Duration = Duration::from_secs(120);
/// For how long one that is asked to lead may take, until another is.
const OTHER: Duration = Duration::from_secs(1);

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

    /// Returns the voter to be removed: one that is no member any more or has left its seat; or one too many, rather one
    /// that cannot be reached; or one that has long been silent, or should rather not vote, if another can take its
    /// place. The leader does not remove itself.
    fn leaving(&self, leader: &Leader) -> Option<NodeId> {
        let voters = &self.ballot.voters.members;
        let others = || voters.iter().filter(|voter| **voter != self.me).copied();
        let left = |voter: &NodeId| leader.peers.contains_key(voter) && self.voter(leader, voter).is_none();
        if let Some(gone) = others().find(|voter| !self.members.contains(voter) || left(voter)) {
            return Some(gone);
        }
        let wanted = wanted(self.members.len(), self.most);
        if voters.len() > wanted {
            let rather = |voter: &NodeId| (!self.reachable.contains(voter), self.is_second_choice(voter), *voter);
            return others().max_by_key(rather);
        }
        let is_absent = |voter: &NodeId| {
            !self.reachable.contains(voter)
                && leader.peers.get(voter).is_some_and(|peer| self.now.since(peer.heard) >= ABSENT)
        };
        if voters.len() < wanted {
            return None;
        }
        let absent = others().find(is_absent).filter(|_| self.ready(leader).next().is_some());
        let is_better = |node: &NodeId| !self.is_second_choice(node);
        absent.or_else(|| others().rfind(|voter| !is_better(voter) && self.ready(leader).any(is_better)))
    }

    /// Lists the members that could be made voters: they can be reached and hold all that a voter holds.
    fn ready<'a>(&'a self, leader: &'a Leader) -> impl Iterator<Item = &'a NodeId> {
        let is_ready = |node: &&NodeId| {
            !self.ballot.voters.members.contains(*node)
                && leader.peers.get(*node).is_some_and(|peer| self.is_ready(leader, peer))
        };
        self.reachable.intersection(&self.members).filter(is_ready)
    }

    /// Returns the member to be added, and its seat: one that can be reached and holds all that a voter holds. To an odd set only if
    /// there is a second one to follow: an even set bears no more losses, and needs one more voter for all it does.
    fn coming(&self, leader: &Leader) -> Option<(NodeId, u64)> {
        let voters = &self.ballot.voters.members;
        if voters.len() >= wanted(self.members.len(), self.most) {
            return None;
        }
        let ready: Vec<&NodeId> = self.ready(leader).collect();
        let first = *ready.iter().min_by_key(|node| (self.is_second_choice(node), **node))?;
        let seat = leader.peers.get(first)?.seat.unwrap_or_default();
        (voters.len().is_multiple_of(2) || ready.len() > 1).then_some((*first, seat))
    }

    /// Tells whether others should rather vote: a witness is there to make the number odd where that of the others is even.
    fn is_second_choice(&self, node: &NodeId) -> bool {
        let others = self.members.difference(&self.witnesses).count();
        self.witnesses.contains(node) != others.is_multiple_of(2)
    }

    /// Tells whether a member is ready to vote: it has this configuration and the whole set of registers on disk.
    fn is_ready(&self, leader: &Leader, peer: &super::lead::Peer) -> bool {
        peer.voters == self.ballot.voters.id() && peer.seq(self.ballot.term) == leader.seq
    }

    /// A leader that is no member any more leaves its office to another voter, who will then remove it.
    pub(super) fn hand_over(&mut self) {
        if !self.members.is_empty() && !self.members.contains(&self.me) {
            self.resign();
        }
    }

    /// Asks another voter that has all this leader has to lead from now on: the one that was heard last, and if that does
    /// not do it, each in turn.
    pub(super) fn resign(&mut self) {
        let (now, term) = (self.now, self.ballot.term);
        let Part::Leader(leader) = &self.part else { return };
        let heard = |voter: &NodeId| {
            let peer = leader.peers.get(voter).filter(|peer| self.is_ready(leader, peer))?;
            self.members.contains(voter).then_some((*voter, peer.heard))
        };
        let ready: BTreeMap<NodeId, Mono> = self.ballot.voters.members.iter().filter_map(heard).collect();
        let next = match leader.asked {
            Some((last, at)) if ready.contains_key(&last) && now.since(at) < OTHER => Some(last),
            Some((last, _)) => ready.keys().find(|voter| **voter > last).or_else(|| ready.keys().next()).copied(),
            None => ready.iter().max_by_key(|(_, heard)| **heard).map(|(voter, _)| *voter),
        };
        let Some(next) = next.filter(|_| leader.established) else { return };
        if let Part::Leader(leader) = &mut self.part
            && leader.asked.is_none_or(|(last, at)| last != next || now.since(at) >= OTHER)
        {
            leader.asked = Some((next, now));
        }
        self.send(next, Message::HandOver { term });
    }
}
