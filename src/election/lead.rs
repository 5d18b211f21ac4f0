//! Leading: taking over, beating, writing registers, and stepping down when no majority answers.

use std::collections::BTreeMap;

use crate::ids::{NodeId, Term};
use crate::time::Mono;

use super::machine::{Election, Part};
use super::message::Message;
use super::register::{MAX_ALL, MAX_VALUE, OVERHEAD, Register, Registers, Stamp, is_key, newest, size};
use super::rule::Rule;
use super::voters::VotersId;
use super::{Output, ProposalId, Undecided};

/// One that leads its term.
#[derive(Clone, Debug)]
pub(super) struct Leader {
    /// Whether it has taken over: what it decides from now on stands on all that was decided before.
    pub established: bool,
    /// Its last write of the take-over; 0 while it still reads.
    base: u64,
    /// Its last write.
    pub seq: u64,
    /// Up to which write all is in effect.
    commit: u64,
    /// Writes that are not in effect yet, by number.
    writes: BTreeMap<u64, Write>,
    /// What is known of the others.
    pub peers: BTreeMap<NodeId, Peer>,
    pub next_beat: Mono,
    /// Whom it has asked to lead in its place, and when first.
    pub asked: Option<(NodeId, Mono)>,
}

/// A write on its way, and the proposal that it came from.
#[derive(Clone, Debug)]
struct Write {
    key: String,
    register: Register,
    proposal: Option<ProposalId>,
}

/// What a leader knows of a member.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// When it answered last.
    pub heard: Mono,
    /// Its seat, once it has said it.
    pub seat: Option<u64>,
    /// The configuration that it has on disk.
    pub voters: VotersId,
    /// The state that it has on disk, said in this term.
    pub held: Option<Stamp>,
    /// Up to which write it was sent since the last beat.
    sent: u64,
}

impl Peer {
    /// Makes one that is new: it counts as if it had just answered.
    fn new(now: Mono) -> Self {
        Self { heard: now, seat: None, voters: VotersId::default(), held: None, sent: 0 }
    }

    /// Returns up to which write of a term it has all on disk.
    pub fn seq(&self, term: Term) -> u64 {
        self.held.filter(|held| held.term == term).map_or(0, |held| held.seq)
    }
}

impl Leader {
    /// Lists the proposals that are not decided.
    pub fn proposals(&self) -> Vec<ProposalId> {
        self.writes.values().filter_map(|write| write.proposal).collect()
    }
}

impl Election {
    /// Has won: restamps the configuration, tells everybody, and takes over.
    pub(super) fn lead(&mut self, granted: &BTreeMap<NodeId, Stamp>) {
        self.ballot.voters.term = self.ballot.term;
        self.saver.ballot_changed();
        self.part = Part::Leader(Box::new(Leader {
            established: false,
            base: 0,
            seq: 0,
            commit: 0,
            writes: BTreeMap::new(),
            peers: BTreeMap::new(),
            next_beat: self.now,
            asked: None,
        }));
        self.meet_peers();
        if let Part::Leader(leader) = &mut self.part {
            for (voter, held) in granted {
                if let Some(peer) = leader.peers.get_mut(voter) {
                    peer.held = Some(*held);
                    peer.seat = Some(self.ballot.voters.seat(voter));
                }
            }
        }
        self.leader_waits();
        self.take_over();
        self.advance();
    }

    /// Returns what is known of a voter, unless the member of that name has left its seat: such a one counts for nothing.
    pub(super) fn voter<'a>(&self, leader: &'a Leader, voter: &NodeId) -> Option<&'a Peer> {
        let seated = |peer: &&Peer| {
            peer.seat.is_none_or(|seat| seat == self.ballot.voters.seat(voter)) || !self.obeys(Rule::OwnSeat)
        };
        leader.peers.get(voter).filter(seated)
    }

    /// Keeps a record of each member and voter, and of nobody else.
    fn meet_peers(&mut self) {
        let Part::Leader(leader) = &mut self.part else { return };
        let all = self.members.union(&self.ballot.voters.members).copied().filter(|node| *node != self.me);
        let mut old = std::mem::take(&mut leader.peers);
        leader.peers = all.map(|node| (node, old.remove(&node).unwrap_or_else(|| Peer::new(self.now)))).collect();
    }

    pub(super) fn members_changed(&mut self) {
        self.meet_peers();
        self.advance();
    }

    /// Re-stamps the newest state among a majority in its own term, once it has it. Until then asks for it.
    fn take_over(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        if leader.base > 0 {
            return;
        }
        let mine = self.holding.stamp();
        let read = |voter: &NodeId| {
            *voter == self.me || self.voter(leader, voter).and_then(|peer| peer.held).is_some_and(|held| held <= mine)
        };
        if self.obeys(Rule::ReadMajority) && !self.ballot.voters.most(read) {
            let newer = |peer: &Peer| peer.held.is_some_and(|held| held > mine);
            let holders: Vec<_> = leader.peers.iter().filter(|(_, p)| newer(p)).map(|(node, _)| *node).collect();
            for holder in holders {
                self.send(holder, Message::Read { term: self.ballot.term });
            }
            return;
        }
        let writes = self.holding.restamp(self.ballot.term);
        self.saver.registers_changed();
        let Part::Leader(leader) = &mut self.part else { return };
        leader.base = writes.len() as u64;
        leader.seq = leader.base;
        leader.writes =
            (1..).zip(writes).map(|(seq, (key, register))| (seq, Write { key, register, proposal: None })).collect();
        let answering: Vec<NodeId> =
            leader.peers.iter().filter(|(_, peer)| peer.held.is_some()).map(|(node, _)| *node).collect();
        for node in answering {
            self.supply(node);
        }
    }

    pub(super) fn on_read(&mut self, from: NodeId, term: Term) {
        if term == self.ballot.term && self.holding.stamp().term < term && !matches!(self.part, Part::Leader(_)) {
            self.send(from, Message::Held { term, registers: self.holding.all().clone() });
        }
    }

    pub(super) fn on_held(&mut self, from: NodeId, term: Term, registers: Registers) {
        let Part::Leader(leader) = &self.part else { return };
        let stamp = newest(&registers);
        let asked = leader.base == 0 && leader.peers.contains_key(&from) && self.ballot.voters.members.contains(&from);
        if term != self.ballot.term || !asked || stamp.term >= term || stamp <= self.holding.stamp() {
            return;
        }
        self.holding.replace(registers);
        self.saver.registers_changed();
        self.take_over();
        self.advance();
    }

    /// Learns what a voter held when it voted.
    pub(super) fn note_held(&mut self, from: NodeId, held: Stamp) {
        let Part::Leader(leader) = &mut self.part else { return };
        if let Some(peer) = leader.peers.get_mut(&from) {
            peer.seat = Some(self.ballot.voters.seat(&from));
            peer.held = peer.held.max(Some(held));
            self.take_over();
        }
    }

    pub(super) fn on_ack(&mut self, from: NodeId, term: Term, voters: VotersId, held: Stamp, seat: u64) {
        let Part::Leader(leader) = &mut self.part else { return };
        let newest = Stamp { term, seq: leader.seq };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        if term != self.ballot.term || held > newest {
            return;
        }
        if peer.seat.replace(seat).is_some_and(|former| former != seat) {
            // What it had on its disk under the former seat may be lost.
            *peer = Peer { seat: Some(seat), ..Peer::new(self.now) };
        }
        peer.heard = self.now;
        peer.voters = peer.voters.max(voters);
        peer.held = peer.held.max(Some(held));
        self.take_over();
        self.supply(from);
        self.advance();
    }

    /// Sends a member the writes that it lacks, unless they are on their way.
    fn supply(&mut self, node: NodeId) {
        let term = self.ballot.term;
        let Part::Leader(leader) = &mut self.part else { return };
        let Some(peer) = leader.peers.get_mut(&node) else { return };
        let after = peer.seq(term).max(peer.sent);
        if after >= leader.seq {
            return;
        }
        peer.sent = leader.seq;
        let write = Message::Write { term, after, upto: leader.seq, registers: self.holding.after(after) };
        self.send(node, write);
    }

    pub(super) fn propose(&mut self, id: ProposalId, key: String, value: Vec<u8>) {
        if let Err(undecided) = self.check_proposal(&key, &value) {
            return self.emit(Output::Decided { id, result: Err(undecided) });
        }
        let Part::Leader(leader) = &mut self.part else { return };
        leader.seq += 1;
        let register = Register { stamp: Stamp { term: self.ballot.term, seq: leader.seq }, value };
        self.holding.extend(Registers::from([(key.clone(), register.clone())]));
        self.saver.registers_changed();
        leader.writes.insert(leader.seq, Write { key, register, proposal: Some(id) });
        let before = leader.seq - 1;
        let ready = |peer: &Peer| before > 0 && peer.sent.max(peer.seq(self.ballot.term)) == before;
        let ready: Vec<NodeId> = leader.peers.iter().filter(|(_, peer)| ready(peer)).map(|(node, _)| *node).collect();
        for node in ready {
            self.supply(node);
        }
        self.advance();
    }

    fn check_proposal(&self, key: &str, value: &[u8]) -> Result<(), Undecided> {
        match &self.part {
            Part::Leader(leader) if leader.established => {}
            _ => return Err(Undecided::NotLeader),
        }
        let fits = value.len() <= MAX_VALUE && size(self.holding.all()) + OVERHEAD + key.len() + value.len() <= MAX_ALL;
        if is_key(key) && fits { Ok(()) } else { Err(Undecided::OutOfBounds) }
    }

    /// Does what has become possible: puts writes in effect, takes office, changes the voters.
    pub(super) fn advance(&mut self) {
        let term = self.ballot.term;
        let own = if self.obeys(Rule::OwnDisk) { self.saver.durable().held } else { self.holding.stamp() };
        let own = if own.term == term { own.seq } else { 0 };
        let Part::Leader(leader) = &self.part else { return };
        let seq = |voter: &NodeId| match self.voter(leader, voter) {
            Some(peer) if self.obeys(Rule::AcksOfTerm) => peer.seq(term),
            Some(peer) => peer.held.unwrap_or_default().seq,
            None if *voter == self.me => own,
            None => 0,
        };
        let reached = if self.obeys(Rule::WriteMajority) { self.ballot.voters.reached(seq) } else { own };
        if reached > leader.commit {
            self.put_in_effect(reached);
        }
        self.change_voters();
    }

    /// Puts the writes up to `seq` in effect, answers for them, and tells everybody.
    fn put_in_effect(&mut self, seq: u64) {
        let Part::Leader(leader) = &mut self.part else { return };
        leader.commit = seq;
        let later = leader.writes.split_off(&(seq + 1));
        let writes = std::mem::replace(&mut leader.writes, later);
        if !leader.established && seq >= leader.base {
            leader.established = true;
        }
        let known = Stamp { term: self.ballot.term, seq };
        let in_order = writes.values().map(|write| (&*write.key, &write.register));
        let learnt = self.holding.put_in_effect(known, in_order);
        self.show_learnt(learnt);
        for id in writes.into_values().filter_map(|write| write.proposal) {
            self.emit(Output::Decided { id, result: Ok(()) });
        }
        self.beat();
    }

    /// Tells every member that it leads.
    pub(super) fn beat(&mut self) {
        let Part::Leader(leader) = &self.part else { return };
        let beat = Message::Beat { term: self.ballot.term, voters: self.ballot.voters.clone(), commit: leader.commit };
        let peers: Vec<NodeId> = leader.peers.keys().copied().collect();
        for node in peers {
            self.send(node, beat.clone());
        }
    }

    /// Beats when it is time to, and steps down when no majority has answered for twice as long as its followers are patient:
    /// they know sooner than it does that it is dead, and a busy machine shall not cost an office.
    pub(super) fn leader_waits(&mut self) {
        let patience = self.timing.patience * 2;
        let Part::Leader(leader) = &self.part else { return };
        let heard = |voter: &NodeId| {
            *voter == self.me || self.voter(leader, voter).is_some_and(|peer| self.now.since(peer.heard) <= patience)
        };
        if !self.ballot.voters.most(heard) {
            return self.step_down();
        }
        if self.now < leader.next_beat {
            return;
        }
        let Part::Leader(leader) = &mut self.part else { return };
        leader.next_beat = self.now + self.timing.beat;
        for peer in leader.peers.values_mut() {
            // What was sent and not answered may be lost: the answer to this beat shows it.
            peer.sent = 0;
        }
        self.beat();
        self.take_over();
        self.hand_over();
        self.change_voters();
    }
}
