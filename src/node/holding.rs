//! Pods of this node that must never run twice: asks the leader for run-leases, and says until when each may run (rule 7).
//!
//! A node tells the leader all that it holds, or waits to start, of slots: what it does not name it does not run. A lease
//! counts from when the node asked, and the node gives it up after [`SHARE`] of it, so that nothing runs any more when the
//! leader takes it for ended.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::features::Feature;
use crate::ids::{Term, Uid};
use crate::kubelet::{Claim, Claims};
use crate::object::hold::Slot;
use crate::time::{Mono, Now};

use super::granting;
use super::message::{Held, Leased, Message};
use super::{Effect, Node};

/// For how long a lease is given at most.
pub(super) const RUN_LEASE: Duration = Duration::from_secs(15);
/// Which part of a lease a node uses: two thirds.
const SHARE: (u32, u32) = (2, 3);
/// How often leases are asked for anew.
const RENEWAL: Duration = Duration::from_secs(1);
/// How often they are asked for while one is missing.
const SOON: Duration = Duration::from_millis(300);
/// How many asks are remembered: an answer to an older one comes too late to be of use.
const ASKS: usize = 16;

/// The leases of this node's pods.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// Numbers what is asked.
    number: u64,
    /// When each of the last was asked.
    asked: BTreeMap<u64, Mono>,
    /// The pod for which each slot is asked, and the first ask that named it.
    wanted: BTreeMap<Slot, (Uid, u64)>,
    /// Until when each pod may run.
    leases: BTreeMap<Uid, Mono>,
    /// When to ask next.
    next: Mono,
    /// Whether leases are needed in this cluster, as far as the kubelet knows.
    begun: bool,
    /// As last told to the world.
    told: BTreeMap<Uid, Mono>,
}

impl Holding {
    /// Makes that of a node whose pods have leases from an earlier run.
    pub fn new(leases: BTreeMap<Uid, Mono>) -> Self {
        Self { leases, ..Self::default() }
    }

    /// Numbers an ask for these claims and returns it. For each slot one pod is asked for: the one that may be running.
    fn ask(&mut self, now: Mono, claims: &Claims) -> Held {
        self.number += 1;
        self.asked.insert(self.number, now);
        while self.asked.len() > ASKS {
            self.asked.pop_first();
        }
        let mut chosen: BTreeMap<&Slot, &Claim> = BTreeMap::new();
        let mut crowded = false;
        for claim in &claims.claims {
            match chosen.get(&claim.slot) {
                Some(other) if other.there || !claim.there => crowded |= claim.there,
                _ => drop(chosen.insert(&claim.slot, claim)),
            }
        }
        let before = std::mem::take(&mut self.wanted);
        let since = |slot: &Slot, pod: Uid| match before.get(slot) {
            Some((known, number)) if *known == pod => *number,
            _ => self.number,
        };
        self.wanted = chosen.into_iter().map(|(s, c)| (s.clone(), (c.pod, since(s, c.pod)))).collect();
        let wanted = &self.wanted;
        self.leases.retain(|pod, _| wanted.values().any(|(wanted, _)| wanted == pod));
        Held {
            number: self.number,
            complete: claims.complete && !crowded,
            slots: self.wanted.iter().map(|(slot, (pod, _))| (slot.clone(), *pod)).collect(),
        }
    }

    /// Takes leases given for an ask. Returns whether any is new or longer.
    fn take(&mut self, number: u64, leased: &[Leased]) -> bool {
        let Some(asked) = self.asked.get(&number).copied() else { return false };
        let mut changed = false;
        for Leased { slot, pod, millis } in leased {
            // Given for an ask before it was last dropped: the leader may have concluded from that that nothing runs.
            let known = self.wanted.get(slot).is_some_and(|(wanted, first)| wanted == pod && *first <= number);
            if !known {
                continue;
            }
            let time = Duration::from_millis(*millis).min(RUN_LEASE) * SHARE.0 / SHARE.1;
            let until = self.leases.entry(*pod).or_default();
            changed |= asked + time > *until;
            *until = (*until).max(asked + time);
        }
        changed
    }

    /// Tells whether a slot is asked for whose pod may not run.
    fn lacks(&self, now: Mono) -> bool {
        self.wanted.values().any(|(pod, _)| self.leases.get(pod).is_none_or(|until| *until <= now))
    }
}

impl Node {
    /// Tells the leader what this node holds, if it is time to.
    pub(super) fn ask_for_leases(&mut self, now: Now) {
        self.begin_holding(now);
        if !self.holding.begun || now.mono < self.holding.next {
            return;
        }
        let Some(claims) = self.kubelet.claims() else { return };
        let idle = claims.claims.is_empty() && self.holding.wanted.is_empty();
        let before = self.holding.leases.len();
        let held = self.holding.ask(now.mono, &claims);
        if self.holding.leases.len() != before {
            self.leases_changed(now);
        }
        let pause = if self.holding.lacks(now.mono) { SOON } else { RENEWAL };
        self.holding.next = now.mono + pause;
        if idle && !self.must_tell_that_it_is_idle() {
            return;
        }
        let me = self.store.node_id();
        match self.leading.leader(me) {
            Some(leader) if leader == me => self.asked_for_leases(now, me, self.run, held),
            Some(leader) => self.telling.say(leader, Message::Held { run: self.run, held }),
            None => {}
        }
    }

    /// From the level on that knows of leases, nothing that must never run twice runs without one; nor on a node that has
    /// heard no leader yet, and so does not know the level. That may turn out to be an older one.
    pub(super) fn begin_holding(&mut self, now: Now) {
        let unknown = Feature::RunLeases.is_in(self.levels.own) && !self.leading.has_heard();
        let begun = unknown || self.may_use(Feature::RunLeases);
        if begun == self.holding.begun {
            return;
        }
        self.holding.begun = begun;
        if begun {
            self.kubelet.set_leases(now, self.holding.leases.clone());
        } else {
            self.kubelet.need_no_leases(now);
        }
    }

    /// Something was bound to this node, or has ended here: no need to wait for the next renewal.
    pub(super) fn ask_for_leases_soon(&mut self) {
        self.holding.next = Mono::default();
    }

    /// The leader gives leases. One that has been succeeded gives none any more (rule 1).
    pub(super) fn leased(&mut self, now: Now, term: Term, run: u64, number: u64, leased: &[Leased]) {
        if term < self.leading.term() || run != self.run {
            return;
        }
        if self.holding.take(number, leased) {
            self.leases_changed(now);
        }
    }

    fn leases_changed(&mut self, now: Now) {
        self.kubelet.set_leases(now, self.holding.leases.clone());
        self.wake_kubelet(now, crate::kubelet::Input::Tick);
    }

    /// Tells the world until when each pod may run, if that is new: before anything is started that needs it.
    pub(super) fn deadlines(&mut self) -> Option<Effect> {
        // Before it is known what runs here, what an earlier run has told stands.
        if !self.holding.begun || !self.kubelet.has_looked() {
            return None;
        }
        let deadlines = self.kubelet.deadlines();
        (self.holding.told != deadlines).then(|| {
            self.holding.told = deadlines.clone();
            Effect::Deadlines(deadlines)
        })
    }

    /// A node that holds nothing says so all the same while the leader may wait to hear it.
    fn must_tell_that_it_is_idle(&self) -> bool {
        let me = self.store.node_id();
        granting::holders(self.leading.registers()).any(|(_, holder)| holder.node() == me)
    }
}

#[cfg(test)]
#[path = "holding_tests.rs"]
mod tests;
