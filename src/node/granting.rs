//! Run-leases, as the leader gives them: of all pods of a slot one may run, and which one is a unique decision (rules 3, 7, 8).
//!
//! A quorum register a slot names the pod and its node, its *holder*. The holder is given leases as it asks. A slot gets
//! another holder only when nothing of the former can be running:
//! - its node has said that it runs nothing of it, or
//! - no lease of it is in force: the last one given in this term of office has ended, and this leader has been in office
//!   for longer than a lease, so that those of the leaders before have ended too, or
//! - the user has said that its node is down (the taint `node.kubernetes.io/out-of-service`).
//!
//! That leaders before have given none for longer rests on this: a lease ends no later than [`RUN_LEASE`] after a moment
//! at which a majority of the voters, asked for it, vouched that they had not voted in a newer term. Any later leader was
//! elected after that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::election::{self, ProposalId, Registers};
use crate::features::Feature;
use crate::ids::{NodeId, Term, Uid};
use crate::object::hold::{self, Slot};
use crate::object::kinds;
use crate::time::{Mono, Now};

use super::Node;
use super::holding::RUN_LEASE;
use super::message::{Held, Leased, Message};

/// Begins the registers that name holders.
pub(super) const REGISTERS: &str = "slot/";
/// How often voters are asked to vouch while leases are asked for.
const VOUCH: Duration = Duration::from_secs(1);
/// Clocks of two machines may drift apart by a twentieth.
const DRIFT: u32 = 20;
/// How often registers of pods that are gone are looked for.
const TIDY: Duration = Duration::from_secs(10);
/// Says that a node is down for good, or at least that its pods do not run (upstream's non-graceful node shutdown).
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Who may run a slot's pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Holder {
    #[cbor(n(0), with = "minicbor::bytes")]
    pod: [u8; 16],
    #[cbor(n(1), with = "minicbor::bytes")]
    node: [u8; 32],
}

impl Holder {
    fn new(pod: Uid, node: NodeId) -> Self {
        Self { pod: pod.0, node: node.0 }
    }

    /// The pod.
    pub fn pod(&self) -> Uid {
        Uid(self.pod)
    }

    /// Its node.
    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }
}

/// Reads the holder that a register names, if it names one.
fn holder(key: &str, value: &[u8]) -> Option<Holder> {
    key.strip_prefix(REGISTERS).and_then(|_| minicbor::decode(value).ok())
}

/// Lists the slots that have a holder.
pub(super) fn holders(registers: &Registers) -> impl Iterator<Item = (Slot, Holder)> + '_ {
    let own = registers.range(REGISTERS.to_owned()..).take_while(|(key, _)| key.starts_with(REGISTERS));
    own.filter_map(|(key, register)| Some((Slot(key[REGISTERS.len()..].to_owned()), holder(key, &register.value)?)))
}

/// What a leader knows of slots. All of it is of this term of office.
#[derive(Debug, Default)]
pub(super) struct Granting {
    /// What each node has said last, and in which of its runs.
    said: BTreeMap<NodeId, (u64, Held)>,
    /// Until when the last lease given to a slot's holder is in force.
    granted: BTreeMap<Slot, Mono>,
    /// When each voter was asked that has vouched since.
    vouched: BTreeMap<NodeId, Mono>,
    /// When to ask voters next.
    next: Mono,
    /// When to look for registers that nobody needs any more.
    tidy: Mono,
    /// Holders that are being decided.
    deciding: BTreeMap<ProposalId, Slot>,
}

impl Granting {
    /// Takes what a node says, unless it has said something later.
    fn hear(&mut self, from: NodeId, run: u64, held: Held) -> bool {
        let last = self.said.get(&from).map(|(run, held)| (*run, held.number));
        let newer = last.is_none_or(|last| (run, held.number) > last);
        if newer {
            self.said.insert(from, (run, held));
        }
        newer
    }

    /// Tells whether a node has said that it runs nothing of a holder's pod.
    fn has_ended(&self, slot: &Slot, holder: Holder) -> bool {
        self.said.get(&holder.node()).is_some_and(|(_, held)| held.complete && !held.names(slot, holder.pod()))
    }

    /// Tells whether no lease of a slot can be in force for a leader in office since then.
    fn has_expired(&self, slot: &Slot, since: Mono, now: Mono) -> bool {
        let margin = RUN_LEASE / DRIFT;
        let last = self.granted.get(slot).copied().unwrap_or_default();
        now >= since + RUN_LEASE + margin && now >= last + margin
    }
}

impl Node {
    /// A node says what it holds and asks for leases; answered if this node leads.
    pub(super) fn asked_for_leases(&mut self, now: Now, from: NodeId, run: u64, held: Held) {
        if !self.leading.is_leader() || !self.may_use(Feature::RunLeases) {
            return;
        }
        if self.granting.hear(from, run, held) {
            self.give_slots(now, from);
            self.give_leases(now, from);
        }
    }

    /// Names holders for what a node asks for that is free.
    fn give_slots(&mut self, now: Now, node: NodeId) {
        let Some((_, held)) = self.granting.said.get(&node) else { return };
        for (slot, pod) in held.slots.clone() {
            let wanted = Holder::new(pod, node);
            let deciding = self.granting.deciding.values().any(|known| *known == slot);
            if self.holder_of(&slot) != Some(wanted)
                && !deciding
                && self.is_bound(&slot, wanted)
                && self.is_free(now, &slot)
            {
                self.decide_holder(now, slot, minicbor::to_vec(wanted).expect("a vector takes any number of bytes"));
            }
        }
    }

    fn decide_holder(&mut self, now: Now, slot: Slot, value: Vec<u8>) {
        let id = self.leading.number();
        let key = format!("{REGISTERS}{slot}");
        self.granting.deciding.insert(id, slot);
        self.elect(now, election::Input::Propose { id, key, value });
    }

    /// A proposal has ended.
    pub(super) fn holder_decided(&mut self, now: Now, id: ProposalId, result: Result<(), election::Undecided>) {
        let Some(slot) = self.granting.deciding.remove(&id) else { return };
        if result.is_ok()
            && let Some(holder) = self.holder_of(&slot)
        {
            // What the former holder was given has ended; the new one has nothing yet.
            self.granting.granted.remove(&slot);
            self.give_leases(now, holder.node());
        }
    }

    fn holder_of(&self, slot: &Slot) -> Option<Holder> {
        let key = format!("{REGISTERS}{slot}");
        self.leading.registers().get(&key).and_then(|register| holder(&key, &register.value))
    }

    /// Tells whether a slot may get another holder than it has.
    fn is_free(&self, now: Now, slot: &Slot) -> bool {
        let (Some(holder), Some(since)) = (self.holder_of(slot), self.leading.since()) else {
            return self.leading.is_leader();
        };
        self.granting.has_ended(slot, holder)
            || self.granting.has_expired(slot, since, now.mono)
            || self.is_out_of_service(&holder.node())
    }

    /// Tells whether the view shows a pod of this slot on that node, not on its way out.
    fn is_bound(&self, slot: &Slot, wanted: Holder) -> bool {
        let name = self.peers.name_of(&wanted.node());
        self.store.snapshot().by_uid(wanted.pod()).is_some_and(|pod| {
            pod.key.kind == &kinds::POD
                && pod.node.as_ref() == Some(&name)
                && !pod.terminating
                && hold::slot(&pod.value()).as_ref() == Some(slot)
        })
    }

    fn is_out_of_service(&self, node: &NodeId) -> bool {
        let key = crate::object::Key::cluster(&kinds::NODE, self.peers.name_of(node));
        let taints = self.store.snapshot().get(&key).map(|node| node.value()["spec"]["taints"].take());
        taints.is_some_and(|t| t.as_array().into_iter().flatten().any(|taint| taint["key"] == OUT_OF_SERVICE))
    }

    /// Answers a node with leases for what it holds.
    fn give_leases(&mut self, now: Now, node: NodeId) {
        let Some(term) = self.leads() else { return };
        let until = self.vouched_until(now);
        let Some((run, held)) = self.granting.said.get(&node) else { return };
        let (run, number) = (*run, held.number);
        let mine = |(slot, pod): &(Slot, Uid)| {
            let deciding = self.granting.deciding.values().any(|known| known == slot);
            !deciding && self.holder_of(slot) == Some(Holder::new(*pod, node))
        };
        let slots: Vec<(Slot, Uid)> = held.slots.iter().filter(|claim| mine(claim)).cloned().collect();
        if slots.is_empty() || until <= now.mono {
            return;
        }
        let millis = u64::try_from(until.since(now.mono).as_millis()).unwrap_or_default();
        let leased: Vec<Leased> = slots.into_iter().map(|(slot, pod)| Leased { slot, pod, millis }).collect();
        for Leased { slot, .. } in &leased {
            let last = self.granting.granted.entry(slot.clone()).or_default();
            *last = (*last).max(until);
        }
        if node == self.store.node_id() {
            self.leased(now, term, run, number, &leased);
        } else {
            self.telling.say(node, Message::Leased { term, run, number, leased });
        }
    }

    /// Returns until when leases may be given: a lease's time after a majority was last asked, and vouched.
    fn vouched_until(&self, now: Now) -> Mono {
        let me = self.store.node_id();
        let asked = |voter: &NodeId| {
            let other = self.granting.vouched.get(voter).copied();
            if *voter == me { now.mono } else { other.unwrap_or_default() }
        };
        match self.leading.voters().reached(asked) {
            Mono(Duration::ZERO) => Mono::default(),
            at => at + RUN_LEASE,
        }
    }

    /// Asks the voters to vouch while anybody asks for leases; forgets holders whose pods are gone.
    pub(super) fn keep_granting(&mut self, now: Now) {
        let Some(term) = self.leads() else { return };
        let asked = self.granting.said.values().any(|(_, held)| !held.slots.is_empty());
        if asked && now.mono >= self.granting.next {
            self.granting.next = now.mono + VOUCH;
            let me = self.store.node_id();
            let at = u64::try_from(now.mono.0.as_micros()).unwrap_or(u64::MAX);
            let voters: Vec<NodeId> = self.leading.voters().members.iter().filter(|v| **v != me).copied().collect();
            for voter in voters {
                self.telling.say(voter, Message::Vouch { term, at });
            }
        }
        if now.mono >= self.granting.tidy {
            self.granting.tidy = now.mono + TIDY;
            self.forget_holders(now);
        }
    }

    /// Frees the slots whose pods are gone from the view and of which nothing can run.
    fn forget_holders(&mut self, now: Now) {
        let deciding: BTreeSet<&Slot> = self.granting.deciding.values().collect();
        let view = self.store.snapshot();
        let slots = holders(self.leading.registers()).filter_map(|(slot, holder)| {
            let gone = view.by_uid(holder.pod()).is_none() && !deciding.contains(&slot);
            (gone && self.is_free(now, &slot)).then_some(slot)
        });
        for slot in slots.collect::<Vec<_>>() {
            self.decide_holder(now, slot, Vec::new());
        }
    }

    /// The leader of a term asks whether this node has voted in a newer one.
    pub(super) fn asked_to_vouch(&mut self, from: NodeId, term: Term, at: u64) {
        if self.leading.vouches_for(term) {
            self.telling.say(from, Message::Vouched { term, at });
        }
    }

    /// A voter vouches.
    pub(super) fn vouched(&mut self, now: Now, from: NodeId, term: Term, at: u64) {
        let at = Mono(Duration::from_micros(at));
        if self.leads() != Some(term) || at > now.mono {
            return;
        }
        let last = self.granting.vouched.entry(from).or_default();
        *last = (*last).max(at);
    }
}

#[cfg(test)]
#[path = "granting_tests.rs"]
mod tests;
