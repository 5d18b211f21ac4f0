//! Pods that must never run twice (`object::hold`): they run only while this node has a *run-lease* for them (rule 7).
//!
//! Nothing of such a pod is started without one. When it lapses, what runs is stopped; should this program be too late, or
//! not there at all, the warden (`agent::warden`) has killed it by then.

use std::collections::BTreeMap;

use crate::ids::Uid;
use crate::object::NoteType;
use crate::object::hold::{self, Slot};
use crate::time::{Mono, Now};

use super::decide::Move;
use super::pod::{Context, Worker};
use super::slot::Revive;
use super::teardown::LEAST;
use super::{Kubelet, Runtime};

/// What a pod that must never run twice holds here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The slot.
    pub slot: Slot,
    /// The pod.
    pub pod: Uid,
    /// Whether something of it may be running, or may be about to.
    pub there: bool,
}

/// All that a node has, or waits to start, of pods that must never run twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// One for each pod.
    pub claims: Vec<Claim>,
    /// Whether nothing else runs here: not so while pods are being ended of which nobody knows any more what they hold.
    pub complete: bool,
}

impl Kubelet {
    /// Sets until when each pod may run that must never run twice. Until this is called they are like any other. Shown
    /// with the next input.
    pub fn set_leases(&mut self, now: Now, leases: BTreeMap<Uid, Mono>) {
        self.leases = Some(leases);
        self.apply_leases(now);
    }

    /// Lets pods that must never run twice run like any other. Shown with the next input.
    pub fn need_no_leases(&mut self, now: Now) {
        self.leases = None;
        for worker in self.workers.values_mut().filter(|worker| worker.leased) {
            (worker.leased, worker.lease, worker.dirty) = (false, None, true);
            self.due = Some(now.mono);
        }
    }

    /// Tells every pod its lease.
    pub(super) fn apply_leases(&mut self, now: Now) {
        let Some(leases) = &self.leases else { return };
        for worker in self.workers.values_mut().filter(|worker| worker.slot.is_some()) {
            worker.set_lease(now, leases.get(&worker.pod.uid).copied());
            let due = if worker.dirty { Some(now.mono) } else { worker.due };
            self.due = [self.due, due].into_iter().flatten().min();
        }
    }

    /// Tells whether it is known what runs on this node.
    pub fn has_looked(&self) -> bool {
        self.early.is_none() && self.runtime != Runtime::Unknown
    }

    /// Returns what this node holds of slots; `None` before it knows what runs.
    pub fn claims(&self) -> Option<Claims> {
        if !self.has_looked() {
            return None;
        }
        let claims = self.workers.values().filter_map(Worker::claim).collect();
        let complete = self.workers.values().all(|worker| worker.object.is_some() || worker.known);
        Some(Claims { claims, complete })
    }

    /// Returns until when each pod that must never run twice may run; the beginning of time for one without a lease.
    pub fn deadlines(&self) -> BTreeMap<Uid, Mono> {
        let held = self.workers.values().filter(|worker| worker.slot.is_some() && worker.leased);
        held.map(|worker| (worker.pod.uid, worker.lease.unwrap_or_default())).collect()
    }
}

impl Worker {
    /// Reads what the pod holds; that never changes.
    pub(super) fn learn_slot(&mut self, pod: &serde_json::Value) {
        self.known = true;
        self.slot = self.slot.take().or_else(|| hold::slot(pod));
    }

    fn claim(&self) -> Option<Claim> {
        let slot = self.slot.clone()?;
        let there = (self.touched || self.under_way.is_some()) && !self.over;
        let wanted = self.object.is_some() && self.teardown.is_none() && !self.over && self.verdict.is_none();
        (there || wanted).then_some(Claim { slot, pod: self.pod.uid, there })
    }

    fn set_lease(&mut self, now: Now, lease: Option<Mono>) {
        let before = self.may_run(now);
        (self.leased, self.lease) = (true, lease);
        self.dirty |= self.may_run(now) != before;
        if let Some(until) = lease.filter(|until| *until > now.mono) {
            self.wake(until);
        }
    }

    /// Tells whether the pod may run now.
    pub(super) fn may_run(&self, now: Now) -> bool {
        self.slot.is_none() || !self.leased || self.lease.is_some_and(|until| now.mono < until)
    }

    /// Stops what runs without a lease, and starts nothing.
    pub(super) fn wait_for_lease(&mut self, cx: &mut Context<'_>) -> Move {
        if self.condemn_all(cx.now.mono + LEAST, Revive::AtOnce) {
            self.note(
                cx,
                NoteType::Warning,
                "RunLeaseLost",
                "The run-lease is over: no leader has renewed it; stopping",
            );
        }
        self.kill_next(cx)
    }
}
