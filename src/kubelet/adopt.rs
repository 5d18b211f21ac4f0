//! Adoption: a pod is brought in line with what the runtime lists, and with what an earlier agent wrote about it.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus};

use crate::time::{Now, Wall};

use super::action::{ListedContainer, ListedPod};
use super::pod::{Context, Worker};
use super::probes::Probes;
use super::slot::{self, End, Past, Run, Slot, failed_run, mono_of};

impl Worker {
    /// Brings the pod in line with all that the runtime has of it.
    pub fn adopt(&mut self, cx: &mut Context<'_>, listed: Option<&ListedPod>) {
        self.dirty = true;
        self.touched |= listed.is_some();
        let here = listed.is_some_and(|l| l.sandbox.is_some());
        self.take_sandbox(cx, listed.and_then(|l| l.sandbox.as_ref()));
        let containers: &[ListedContainer] = listed.map_or(&[], |l| &l.containers);
        for slot in &mut self.slots {
            let own: Vec<&ListedContainer> = containers.iter().filter(|c| c.name == slot.container.name).collect();
            slot.adopt(&own, here, cx.now);
            if let Some(run) = slot.running_mut() {
                run.probes.forget_asked();
            }
        }
        if let Some(seed) = self.seed.take() {
            self.recall(cx, &seed);
        }
    }

    /// Fills in, once, what only the status that an earlier agent left tells.
    fn recall(&mut self, cx: &Context<'_>, seed: &PodStatus) {
        self.start_time = seed.start_time.as_ref().map(Wall::of);
        // Files of it may be on the disk even if nothing runs.
        self.touched |= seed.start_time.is_some();
        let lists = [&seed.container_statuses, &seed.init_container_statuses, &seed.ephemeral_container_statuses];
        for status in lists.into_iter().flatten().flatten() {
            if let Some(slot) = self.slot_mut(&status.name) {
                recall_slot(slot, status, cx.now);
            }
        }
    }
}

fn recall_slot(slot: &mut Slot, status: &ContainerStatus, now: Now) {
    let shown = status.container_id.as_deref().unwrap_or_default();
    let id = slot::raw_id(shown).to_owned();
    let attempt = u32::try_from(status.restart_count).unwrap_or_default();
    match slot.run.as_mut() {
        Some(run) if run.id == id && run.end.is_none() => {
            let (started, ready) = (status.started.unwrap_or(false), status.ready);
            run.probes = Probes::begin(&slot.container, mono_of(run.started, now), started, ready);
        }
        Some(run) if run.attempt >= attempt => {}
        _ if id.is_empty() && !has_ended(status) => {}
        // The status tells of a run that the runtime has nothing of any more.
        older => {
            let older = older.and_then(|run| Some(Past { id: run.id.clone(), state: run.end.as_ref()?.state.clone() }));
            if let Some(older) = older
                && let Some(oldest) = slot.last.replace(older)
            {
                slot.discard(oldest.id);
            }
            slot.run = Some(lost_run(slot, status, id, attempt, now));
        }
    }
    let last = status.last_state.as_ref().and_then(|s| s.terminated.clone());
    if let (None, Some(state)) = (&slot.last, last)
        && state.container_id.as_deref().unwrap_or_default() != shown
    {
        let id = state.container_id.as_deref().map(slot::raw_id).unwrap_or_default().to_owned();
        slot.last = Some(Past { id, state });
    }
}

/// Whether a status tells of an end, if only of a run that could not even start.
fn has_ended(status: &ContainerStatus) -> bool {
    let ended = |state: &Option<ContainerState>| state.as_ref().is_some_and(|s| s.terminated.is_some());
    ended(&status.state) || ended(&status.last_state)
}

fn lost_run(slot: &Slot, status: &ContainerStatus, id: String, attempt: u32, now: Now) -> Run {
    let state = ended_as(status);
    let at = state.finished_at.as_ref().map_or(now.mono, |t| mono_of(Wall::of(t), now));
    Run {
        id,
        here: false,
        image_id: status.image_id.clone(),
        end: Some(End { state, at }),
        ..failed_run(&slot.container, attempt, String::new(), now)
    }
}

/// How a run ended of which only a status is left.
fn ended_as(status: &ContainerStatus) -> ContainerStateTerminated {
    let of = |state: &Option<ContainerState>| state.as_ref().and_then(|s| s.terminated.clone());
    let known = of(&status.state).or_else(|| {
        let waiting = status.state.as_ref().is_some_and(|s| s.waiting.is_some());
        of(&status.last_state).filter(|_| waiting)
    });
    known.unwrap_or_else(|| ContainerStateTerminated {
        container_id: status.container_id.clone(),
        started_at: status.state.as_ref().and_then(|s| s.running.as_ref()?.started_at.clone()),
        ..slot::vanished(None)
    })
}
