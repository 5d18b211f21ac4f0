//! Probes and lifecycle hooks of running containers.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use crate::object::NoteType::{Normal, Warning};
use crate::time::Mono;

use super::action::{ProbeId, ProbeKind, ProbeSpec, Step};
use super::pod::{Context, Worker};
use super::probes::{self, Asked, Verdict};
use super::slot::{Hook, Kill, Revive, Slot};

/// Upstream lets a postStart hook take for ever; a runtime wants a bound.
const POST_START_LIMIT: Duration = Duration::from_secs(3600);

impl Worker {
    /// Sends the probes that are due; while the runtime is away, those that do without it.
    pub fn probe(&mut self, cx: &mut Context<'_>) {
        if self.sandbox.is_none() {
            return;
        }
        for i in 0..self.slots.len() {
            self.await_post_start(cx, i);
            if self.probed(i) {
                self.probe_slot(cx, i);
            }
        }
    }

    fn probed(&self, i: usize) -> bool {
        let slot = &self.slots[i];
        slot.kill.is_none() && slot.running().is_some_and(|run| run.post_start == Hook::Done)
    }

    fn probe_slot(&mut self, cx: &mut Context<'_>, i: usize) {
        let overdue = self.slots[i].running().map(|run| run.probes.overdue(cx.now.mono)).unwrap_or_default();
        for kind in overdue {
            self.probed_as(cx, i, kind, false, "timed out");
        }
        let address = self.reached_at(cx.config);
        let slot = &mut self.slots[i];
        let Some(run) = slot.run.as_mut() else { return };
        let asked = Asked { container: &slot.container, id: &run.id, attempt: run.attempt, address, up: cx.up };
        let questions = run.probes.ask(cx.now.mono, &asked);
        let (due, name) = (run.probes.due(cx.up), slot.container.name.clone());
        for question in questions {
            match question {
                Ok(probe) => self.send(cx, Step::Probe(probe)),
                Err((kind, message)) => {
                    let message = format!("{} probe errored: {message}", word(kind));
                    self.note_on(cx, &name, Warning, "Unhealthy", message);
                }
            }
        }
        if let Some(due) = due.filter(|_| self.probed(i)) {
            self.wake(due);
        }
    }

    /// Takes the answer of a probe or a hook.
    pub fn probe_answered(&mut self, cx: &mut Context<'_>, id: &ProbeId, ok: bool, message: &str) {
        let asked = |s: &Slot| s.name() == id.container && s.running().is_some_and(|run| run.attempt == id.attempt);
        let Some(i) = self.slots.iter().position(asked) else { return };
        self.dirty = true;
        match id.probe {
            ProbeKind::PostStart => self.post_started(cx, i, ok),
            ProbeKind::PreStop => {
                if let Some(run) = self.slots[i].running_mut() {
                    run.pre_stop = Hook::Done;
                }
                if !ok {
                    self.note_on(cx, &id.container, Warning, "FailedPreStopHook", "PreStopHook failed");
                }
            }
            kind => self.probed_as(cx, i, kind, ok, message),
        }
    }

    fn probed_as(&mut self, cx: &mut Context<'_>, i: usize, kind: ProbeKind, ok: bool, message: &str) {
        let name = self.slots[i].name().to_owned();
        let pod_grace = self.grace();
        let Some(run) = self.slots[i].running_mut() else { return };
        let waited_for = run.probes.is_asked(kind);
        let verdict = run.probes.answered(cx.now.mono, kind, ok, cx.up);
        if waited_for && !ok {
            self.note_on(cx, &name, Warning, "Unhealthy", format!("{} probe failed: {message}", word(kind)));
        }
        if let Verdict::Condemned(own) = verdict {
            let grace = own.and_then(|secs| u64::try_from(secs).ok()).map_or(pod_grace, Duration::from_secs);
            let revive = self.paced();
            self.slots[i].kill = Some(Kill { deadline: cx.now.mono + grace, revive });
            self.dirty = true;
            let probe = word(kind).to_lowercase();
            let message = format!("Container {name} failed {probe} probe, will be restarted");
            self.note_on(cx, &name, Normal, "Killing", message);
        }
    }

    /// Runs the postStart hook of a container that has just started.
    pub fn post_start(&mut self, cx: &mut Context<'_>, i: usize) {
        let hook = self.slots[i].container.lifecycle.as_ref().and_then(|l| l.post_start.clone());
        let state = match hook {
            Some(hook) => self.launch(cx, i, ProbeKind::PostStart, &hook, cx.now.mono + POST_START_LIMIT),
            None => Some(Hook::Done),
        };
        match (state, self.slots[i].running_mut()) {
            (Some(state), Some(run)) => run.post_start = state,
            (None, _) => self.post_started(cx, i, false),
            _ => {}
        }
    }

    /// Forgets the probes that a runtime which went away will not answer.
    pub fn forget_commands(&mut self) {
        self.slots.iter_mut().filter_map(Slot::running_mut).for_each(|run| run.probes.forget_commands());
    }

    fn await_post_start(&mut self, cx: &mut Context<'_>, i: usize) {
        let Some(Hook::Until(at)) = self.slots[i].running().map(|run| run.post_start) else { return };
        if at <= cx.now.mono {
            // Only sleeping ends by itself; a command that takes that long is taken for done.
            self.post_started(cx, i, true);
        } else {
            self.wake(at);
        }
    }

    fn post_started(&mut self, cx: &mut Context<'_>, i: usize, ok: bool) {
        let deadline = cx.now.mono + self.grace();
        let slot = &mut self.slots[i];
        let name = slot.name().to_owned();
        let Some(run) = slot.running_mut() else { return };
        run.post_start = Hook::Done;
        if !ok {
            slot.kill = Some(Kill { deadline, revive: Revive::ByPolicy });
            self.dirty = true;
            self.note_on(cx, &name, Warning, "FailedPostStartHook", "PostStartHook failed");
        }
    }

    /// Sees to it that the preStop hook of a container runs; returns whether it is over, or there is none.
    pub fn pre_stop(&mut self, cx: &mut Context<'_>, i: usize, deadline: Mono) -> bool {
        let Some(hook) = self.slots[i].container.lifecycle.as_ref().and_then(|l| l.pre_stop.clone()) else {
            return true;
        };
        let mut state = self.slots[i].running().map_or(Hook::Done, |run| run.pre_stop);
        if state == Hook::Idle {
            let launched = self.launch(cx, i, ProbeKind::PreStop, &hook, deadline);
            if launched.is_none() {
                let name = self.slots[i].name().to_owned();
                self.note_on(cx, &name, Warning, "FailedPreStopHook", "PreStopHook failed");
            }
            state = launched.unwrap_or(Hook::Done);
        }
        if let Hook::Until(at) = state {
            // The deadline may have moved since the hook was launched.
            let at = at.min(deadline);
            state = if at <= cx.now.mono { Hook::Done } else { state };
            self.wake(at);
        }
        if let Some(run) = self.slots[i].running_mut() {
            run.pre_stop = state;
        }
        state == Hook::Done
    }

    /// Begins a hook that must be over by `limit`. `None` if it cannot even be asked for.
    fn launch(
        &self,
        cx: &mut Context<'_>,
        i: usize,
        kind: ProbeKind,
        hook: &LifecycleHandler,
        limit: Mono,
    ) -> Option<Hook> {
        if let Some(sleep) = &hook.sleep {
            let time = Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or_default());
            return Some(Hook::Until(limit.min(cx.now.mono + time)));
        }
        let slot = &self.slots[i];
        let run = slot.running()?;
        let address = self.reached_at(cx.config);
        let handler = probes::ask(
            hook.exec.as_ref(),
            hook.http_get.as_ref(),
            None,
            &slot.container,
            address,
            "kube-lifecycle/1.33",
        );
        let id = ProbeId { container: slot.name().to_owned(), attempt: run.attempt, probe: kind };
        let timeout = limit.since(cx.now.mono);
        let probe = ProbeSpec { id, container: run.id.clone(), handler: handler.ok()?, timeout };
        self.send(cx, Step::Probe(probe));
        Some(Hook::Until(limit))
    }
}

fn word(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Readiness => "Readiness",
        ProbeKind::PostStart => "PostStart",
        ProbeKind::PreStop => "PreStop",
    }
}
