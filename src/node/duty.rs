//! Whether this node does what a leader is for: one that leads, answers and gets nothing done keeps all others from doing it.
//!
//! What counts is what comes of it: a pod that fits on a node is on one soon. If it is not, and no other pod was placed
//! meanwhile either, another voter is asked to lead. So is one if the disk takes no writes: what a node cannot keep it
//! does not show, so the pods that such a leader leaves undone may be pods that it does not see.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use crate::election;
use crate::ids::PersistId;
use crate::object::{Key, kinds};
use crate::scheduler::{self, View};
use crate::store::Snapshot;
use crate::time::{Mono, Now};

use super::Node;
use super::placement::waits;

/// For how long a pod that fits may be without a node while none is placed, and the disk keep nothing.
const IDLE: Duration = Duration::from_secs(5);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How many pods that wait are looked at: they may be thousands, and most of them fit nowhere.
const FEW: usize = 16;

/// What this node has left undone.
#[derive(Default)]
pub(super) struct Duty {
    next: Mono,
    /// The last batch that the disk has, and since when no other came after it though one waits.
    waits: Option<(PersistId, Mono)>,
    /// Whether the disk does not do its work.
    hindered: bool,
    /// When another was last asked to lead because of that.
    asked: Option<Mono>,
    /// A pod that fits and has no node, and since when nothing was placed.
    undone: Option<(Key, Mono)>,
}

impl Duty {
    /// A pod was placed, or this node leads no more.
    pub fn done(&mut self) {
        self.undone = None;
    }

    /// Notes the last batch that the disk has if another waits. Returns whether that has just become too long.
    fn watch_disk(&mut self, now: Mono, waits: Option<PersistId>) -> bool {
        self.waits = match (waits, self.waits) {
            (Some(last), Some((known, since))) if last == known => Some((known, since)),
            (Some(last), _) => Some((last, now)),
            (None, _) => None,
        };
        let hindered = self.waits.is_some_and(|(_, since)| now.since(since) >= IDLE);
        std::mem::replace(&mut self.hindered, hindered) != hindered
    }

    /// Takes the pods that could be placed. Returns the one that shows that this node does not work.
    fn judge(&mut self, now: Mono, fitting: &[Key]) -> Option<Key> {
        let same = self.undone.take().filter(|(key, _)| fitting.contains(key));
        let (key, since) = same.or_else(|| Some((fitting.first()?.clone(), now)))?;
        let idle = now.since(since) >= IDLE;
        // If nobody takes over, it is asked again after as long.
        self.undone = Some((key.clone(), if idle { now } else { since }));
        idle.then_some(key)
    }
}

impl Node {
    /// Tells whether others wait for this node to hand over its office, and could have it.
    pub fn is_in_office(&self) -> bool {
        self.leads().is_some() && !self.leading.is_sole()
    }

    /// The agent is about to stop: another voter shall lead before it does.
    pub(super) fn leave(&mut self, now: Now) {
        self.leaving = true;
        self.elect(now, election::Input::Resign);
    }

    /// Leaves the office to another voter if this node does not get its work done.
    pub(super) fn look_after_duty(&mut self, now: Now) {
        if self.leaving {
            self.elect(now, election::Input::Resign);
        }
        if now.mono < self.duty.next {
            return;
        }
        self.duty.next = now.mono + LOOK;
        let waits = self.check_disk().is_err() || self.telling.durable < self.telling.taken;
        if self.duty.watch_disk(now.mono, waits.then_some(self.telling.durable)) {
            self.say_whether_able(now);
        }
        if !self.leading.is_leader() {
            return self.duty.done();
        }
        if self.duty.hindered {
            return self.leave_for_the_disk(now);
        }
        if self.must_learn_first(now) {
            return self.duty.done();
        }
        let fitting = fitting(self.store.snapshot());
        if let Some(pod) = self.duty.judge(now.mono, &fitting) {
            tracing::warn!(%pod, "a pod that fits is not placed: another node shall lead");
            self.elect(now, election::Input::Resign);
        }
    }

    /// Says whether this node could lead as well as any: a witness leads only where no other does.
    pub(super) fn say_whether_able(&mut self, now: Now) {
        let able = !self.duty.hindered && !self.witness;
        self.elect(now, election::Input::Able(able));
    }

    fn leave_for_the_disk(&mut self, now: Now) {
        if self.is_in_office() && self.duty.asked.is_none_or(|asked| now.mono.since(asked) >= IDLE) {
            self.duty.asked = Some(now.mono);
            tracing::warn!("the disk takes no writes: another node shall lead");
            self.elect(now, election::Input::Resign);
        }
    }
}

/// Lists pods that have no node and fit on one.
fn fitting(snapshot: &Snapshot) -> Vec<Key> {
    let waiting: Vec<_> = snapshot.list(&kinds::POD, None).filter(|pod| waits(pod)).take(FEW).collect();
    if waiting.is_empty() {
        return Vec::new();
    }
    let view = View::default().refreshed(snapshot);
    let fits = |pod: &Pod| scheduler::is_waiting(pod) && scheduler::schedule(&view, pod).is_ok();
    waiting
        .into_iter()
        .filter(|entry| entry.typed::<Pod>().is_some_and(|pod| fits(&pod)))
        .map(|e| e.key.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    fn pod(name: &str) -> Key {
        Key::new(&kinds::POD, "default", name)
    }

    #[test]
    fn five_idle_seconds_are_too_many() {
        let mut duty = Duty::default();
        assert_eq!(duty.judge(at(10), &[]), None);
        for second in 11..16 {
            assert_eq!(duty.judge(at(second), &[pod("a"), pod("b")]), None);
        }
        assert_eq!(duty.judge(at(16), &[pod("a")]), Some(pod("a")));
        assert_eq!(duty.judge(at(17), &[pod("a")]), None, "it waits for what comes of it");
    }

    #[test]
    fn a_disk_may_take_its_time_but_not_stand_still() {
        let mut duty = Duty::default();
        for second in 0..20 {
            assert!(!duty.watch_disk(at(second), Some(PersistId(second / 4))), "it goes on");
        }
        assert!(!duty.watch_disk(at(20), Some(PersistId(5))) && !duty.watch_disk(at(24), Some(PersistId(5))));
        assert!(duty.watch_disk(at(25), Some(PersistId(5))) && duty.hindered);
        assert!(!duty.watch_disk(at(26), Some(PersistId(5))), "it is told once");
        assert!(duty.watch_disk(at(27), None) && !duty.hindered);
    }

    #[test]
    fn one_that_places_pods_works() {
        let mut duty = Duty::default();
        for second in 10..30 {
            assert_eq!(duty.judge(at(second), &[pod("a")]), None);
            if second % 4 == 0 {
                duty.done();
            }
        }
    }

    #[test]
    fn a_pod_that_is_placed_at_last_is_no_reproach() {
        let mut duty = Duty::default();
        for second in 10..30 {
            assert_eq!(duty.judge(at(second), &[pod(&format!("pod-{}", second / 4))]), None);
        }
    }
}
