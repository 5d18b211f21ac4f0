//! The end of a pod: hooks, stop in order, remove all that is left of it, let go of the object.

use std::time::Duration;

use crate::object::NoteType::Normal;
use crate::time::{Mono, Now, Wall};

use super::Output;
use super::action::Step;
use super::pod::{Context, Doing, Worker};
use super::slot::{Hook, Role};

/// What containers get at least: enough to be asked before they are killed.
pub(super) const LEAST: Duration = Duration::from_secs(1);
/// What is left for containers whose preStop hook took it all (upstream's `minimumGracePeriodInSeconds`).
const AFTER_HOOK: Duration = Duration::from_secs(2);
/// When the end of a pod is told again, should its object stay.
const REMIND: Duration = Duration::from_secs(30);

/// How far the end of a pod is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Teardown {
    /// When containers that still run are killed.
    deadline: Mono,
    told: bool,
    /// Since when nothing is left.
    pub finished: Option<Mono>,
}

impl Worker {
    /// Begins to end the pod, or lets it end sooner. `first`: an earlier agent may have begun.
    pub fn begin_teardown(&mut self, now: Now, first: bool) {
        let deadline = now.mono + self.time_left(now, first).max(LEAST);
        match &mut self.teardown {
            Some(teardown) if teardown.deadline <= deadline => {}
            Some(teardown) => {
                teardown.deadline = deadline;
                self.dirty = true;
            }
            None => {
                self.teardown = Some(Teardown { deadline, told: false, finished: None });
                self.dirty = true;
            }
        }
    }

    fn time_left(&self, now: Now, first: bool) -> Duration {
        let Some(pod) = &self.object else { return LEAST };
        let grace = pod.metadata.deletion_grace_period_seconds.and_then(|s| u64::try_from(s).ok());
        let grace = grace.map_or(self.grace(), Duration::from_secs);
        match &pod.metadata.deletion_timestamp {
            // Only then does the clock of whoever deleted the pod count.
            Some(end) if first => {
                let left = u64::try_from(Wall::of(end).0.saturating_sub(now.wall.0)).unwrap_or_default();
                grace.min(Duration::from_micros(left))
            }
            _ => grace,
        }
    }

    /// Takes the next step towards the pod's end.
    pub fn take_down(&mut self, cx: &mut Context<'_>) {
        let Some(teardown) = self.teardown else { return };
        if let Some(finished) = teardown.finished {
            return self.remind(cx, finished);
        }
        if !self.touched && self.under_way.is_none() {
            return self.finish(cx);
        }
        self.tell_stopping(cx);
        let forced = self.object.is_none();
        let wait = match self.under_way.as_ref().map(|u| &u.doing) {
            None | Some(Doing::Image { .. }) => false,
            Some(Doing::Stop { deadline, .. }) => !forced && *deadline <= teardown.deadline,
            Some(Doing::RemovePod { deadline }) => *deadline <= teardown.deadline,
            Some(_) => true,
        };
        // Hooks run beside whatever is under way.
        let hooked = self.slots.iter().any(|s| s.running().is_some_and(|r| r.pre_stop != Hook::Idle));
        let settled = forced || self.pre_stops(cx, teardown.deadline);
        if wait || !settled {
            return;
        }
        if !forced && self.under_way.is_none() && self.stop_before_sidecars(cx, teardown.deadline) {
            return;
        }
        let least = if hooked { AFTER_HOOK } else { LEAST };
        let grace = teardown.deadline.since(cx.now.mono).max(least);
        let doing = Doing::RemovePod { deadline: teardown.deadline };
        self.begin(cx, doing, Step::RemovePod { grace });
    }

    fn pre_stops(&mut self, cx: &mut Context<'_>, deadline: Mono) -> bool {
        let mut settled = true;
        for i in 0..self.slots.len() {
            if self.slots[i].running().is_some() {
                settled &= self.pre_stop(cx, i, deadline);
            }
        }
        settled
    }

    /// Stops the next container that a sidecar has to outlive.
    fn stop_before_sidecars(&mut self, cx: &mut Context<'_>, deadline: Mono) -> bool {
        let running = |role: Role| self.slots.iter().rposition(move |s| s.role == role && s.running().is_some());
        let (Some(_), Some(main)) = (running(Role::Sidecar), running(Role::Main)) else { return false };
        let Some((doing, step)) = self.stop(cx, main, deadline) else { return false };
        self.begin(cx, doing, step);
        true
    }

    fn tell_stopping(&mut self, cx: &mut Context<'_>) {
        let Some(teardown) = self.teardown.as_mut().filter(|t| !t.told) else { return };
        teardown.told = true;
        let running = self.slots.iter().filter(|s| s.running().is_some());
        for name in running.map(|s| s.name().to_owned()).collect::<Vec<_>>() {
            self.note_on(cx, &name, Normal, "Killing", format!("Stopping container {name}"));
        }
    }

    fn finish(&mut self, cx: &mut Context<'_>) {
        self.publish(cx);
        if let Some(teardown) = &mut self.teardown {
            teardown.finished = Some(cx.now.mono);
        }
        self.tell_finished(cx);
    }

    fn tell_finished(&mut self, cx: &mut Context<'_>) {
        if self.object.is_some() {
            cx.out.push(Output::Finished { key: self.key.clone(), uid: self.pod.uid });
            self.wake(cx.now.mono + REMIND);
        }
    }

    /// Tells the end of the pod again if its object is still there, unless finalizers hold it.
    fn remind(&mut self, cx: &mut Context<'_>, finished: Mono) {
        let held = self.object.as_ref().is_some_and(|p| p.metadata.finalizers.as_ref().is_some_and(|f| !f.is_empty()));
        if held {
            return;
        }
        if cx.now.mono < finished + REMIND {
            return self.wake(finished + REMIND);
        }
        if let Some(teardown) = &mut self.teardown {
            teardown.finished = Some(cx.now.mono);
        }
        self.tell_finished(cx);
    }
}
