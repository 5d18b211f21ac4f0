//! The leader's part: compares what a node has shown with what is in effect, and has it decided.

use crate::election::{self, ProposalId, Stamp, Undecided};
use crate::ids::NodeId;
use crate::time::Now;

use super::super::Node;
use super::super::message::Message;
use super::record::{self, LeaseWrite, MAX_LEASES, Refusal, version_of};

/// How many writes may wait for others to the same Leases.
const QUEUE: usize = 1_024;
/// How many of a member's asks are remembered.
const REMEMBERED: usize = 1_024;

/// Who asks for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// This node, with that number.
    Here(u64),
    /// Another member.
    There(NodeId, u64),
    /// The leader itself, which moves or tidies; it looks again later.
    Nobody,
}

impl Node {
    /// Another member asks for a write.
    pub(in crate::node) fn lease_asked(&mut self, now: Now, from: NodeId, id: u64, write: LeaseWrite) {
        let taken = self.leases.taken.entry(from).or_default();
        if !taken.insert(id) {
            return;
        }
        if taken.len() > REMEMBERED {
            taken.pop_first();
        }
        self.decide_lease(now, Asker::There(from, id), write);
    }

    /// Has a write decided, after those to the same Lease that are under way.
    pub(super) fn decide_lease(&mut self, now: Now, asker: Asker, write: LeaseWrite) {
        if !self.leading.is_leader() {
            return self.answer_lease(now, asker, Err(Refusal::NotLeader));
        }
        if !write.is_sound() {
            return self.answer_lease(now, asker, Err(Refusal::Malformed));
        }
        if !self.leases.deciding.contains_key(&write.register) {
            return self.propose_lease(now, asker, write);
        }
        if self.leases.queue.len() >= QUEUE {
            return self.answer_lease(now, asker, Err(Refusal::NotLeader));
        }
        self.leases.queue.push_back((asker, write));
    }

    fn propose_lease(&mut self, now: Now, asker: Asker, write: LeaseWrite) {
        let LeaseWrite { register: key, expected, record } = write;
        let registers = self.leading.registers();
        // All that was ever decided is in effect here: this node has taken over, and nothing else of it is under way.
        let is = registers.get(&key).and_then(|register| version_of(&register.value));
        if is != expected {
            return self.answer_lease(now, asker, Err(Refusal::Stale));
        }
        let value = record.unwrap_or_default();
        if !value.is_empty() && record::taken(registers, &key) + record::size(&key, value.len()) > MAX_LEASES {
            return self.answer_lease(now, asker, Err(Refusal::NoRoom));
        }
        let id = self.leading.number();
        self.leases.deciding.insert(key.clone(), (id, asker));
        self.elect(now, election::Input::Propose { id, key, value });
    }

    /// The election says what became of a proposal.
    pub(in crate::node) fn lease_decided(&mut self, now: Now, id: ProposalId, result: Result<(), Undecided>) {
        let found = self.leases.deciding.iter().find(|(_, (deciding, _))| *deciding == id);
        let Some((key, asker)) = found.map(|(key, (_, asker))| (key.clone(), *asker)) else { return };
        self.leases.deciding.remove(&key);
        let stamp = self.leading.registers().get(&key).map(|register| register.stamp).unwrap_or_default();
        let answer = match result {
            Ok(()) => Ok(stamp),
            Err(Undecided::NotLeader) => Err(Refusal::NotLeader),
            Err(Undecided::Lost) => Err(Refusal::Unknown),
            Err(Undecided::OutOfBounds) => Err(Refusal::NoRoom),
        };
        self.answer_lease(now, asker, answer);
        while !self.leases.deciding.contains_key(&key) {
            let Some(next) = self.leases.queue.iter().position(|(_, write)| write.register == key) else { break };
            let Some((asker, write)) = self.leases.queue.remove(next) else { break };
            self.decide_lease(now, asker, write);
        }
    }

    /// This node leads no more: what waits was not done.
    pub(in crate::node) fn no_lease_can_be_decided(&mut self, now: Now) {
        for (asker, _) in std::mem::take(&mut self.leases.queue) {
            self.answer_lease(now, asker, Err(Refusal::NotLeader));
        }
    }

    fn answer_lease(&mut self, now: Now, asker: Asker, answer: Result<Stamp, Refusal>) {
        match asker {
            Asker::Here(id) => self.lease_answered(now, self.store.node_id(), id, answer),
            Asker::There(to, id) => self.telling.say(to, Message::LeaseAnswer { id, answer }),
            Asker::Nobody => {}
        }
    }
}
