//! `PodStatus` as kubectl and controllers read it. Written when it differs from what was written last, only then.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP,
    Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::time::Wall;

use super::Output;
use super::pod::{Context, Doing, Worker};
use super::resources::qos_class;
use super::restart::Policy;
use super::slot::{Next, Role, Slot, shown_id};

/// Conditions that the kubelet owns; the others are left as they are.
const OWN: [&str; 5] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"];

/// Why a pod that must never run twice does not run.
const NO_LEASE: &str = "WaitingForRunLease";
const NO_LEASE_MESSAGE: &str =
    "the pod must never run twice (skein.dev/partition: hold), and no leader has allowed this node to run it";

impl Worker {
    /// Shows the pod's status if it is another than before.
    pub fn publish(&mut self, cx: &mut Context<'_>) {
        let Some(pod) = self.object.clone() else { return };
        if self.over || self.teardown.is_some_and(|t| t.finished.is_some()) {
            return;
        }
        let status = self.status(cx, &pod);
        self.over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")) && self.teardown.is_none();
        let Ok(status) = serde_json::to_value(status) else { return };
        if self.shown.as_ref() != Some(&status) {
            self.shown = Some(status.clone());
            self.shown_at = cx.now.mono;
            cx.out.push(Output::Status { key: self.key.clone(), uid: self.pod.uid, status });
        }
    }

    fn status(&mut self, cx: &Context<'_>, pod: &Pod) -> PodStatus {
        let start_time = *self.start_time.get_or_insert(cx.now.wall);
        let (mut init, mut main, mut looking) = (Vec::new(), Vec::new(), Vec::new());
        for i in 0..self.slots.len() {
            let status = self.container_status(cx, i);
            match self.slots[i].role {
                Role::Init | Role::Sidecar => init.push(status),
                Role::Main => main.push(status),
                Role::Ephemeral => looking.push(status),
            }
        }
        let phase = self.phase(cx);
        let seen = self.sandbox.is_some() || self.slots.iter().any(|s| s.run.is_some());
        let pod_ip = match (self.host_network(), self.address) {
            (true, _) => Some(cx.config.host_address.to_string()),
            (false, address) => address.filter(|_| seen).map(|a| a.to_string()),
        };
        let host_ip = cx.config.host_address.to_string();
        PodStatus {
            conditions: Some(self.conditions(cx, pod, phase)),
            container_statuses: Some(main),
            init_container_statuses: Some(init).filter(|list| !list.is_empty()),
            ephemeral_container_statuses: Some(looking).filter(|list| !list.is_empty()),
            host_ip: Some(host_ip.clone()),
            host_ips: Some(vec![HostIP { ip: host_ip }]),
            message: self.verdict.as_ref().map(|(_, message)| message.clone()),
            reason: self.verdict.as_ref().map(|(reason, _)| (*reason).to_owned()),
            phase: Some(phase.into()),
            pod_ips: pod_ip.clone().map(|ip| vec![PodIP { ip }]),
            pod_ip,
            qos_class: pod.spec.as_ref().map(|spec| qos_class(spec).to_owned()),
            start_time: Some(start_time.time()),
            ..PodStatus::default()
        }
    }

    /// Upstream's `getPhase`. A pod has not ended as long as something of it runs, or may be about to: what a start
    /// under way comes to is known when it is answered.
    fn phase(&self, cx: &Context<'_>) -> &'static str {
        let starting = matches!(self.under_way.as_ref().map(|u| &u.doing), Some(Doing::Start { .. }));
        let running = starting || self.slots.iter().any(|s| s.running().is_some());
        let mains = || self.slots.iter().filter(|s| s.role == Role::Main);
        let ran = mains().any(|s| s.run.is_some());
        let failed = |s: &Slot| s.ended().is_some_and(|end| end.state.exit_code != 0);
        if !running {
            if self.verdict.is_some() {
                return "Failed";
            }
            let leaving = self.teardown.is_some() && ran;
            if leaving || self.has_ended(cx.now) {
                let unfinished = |s: &Slot| s.ended().is_none() || failed(s);
                return if mains().any(unfinished) { "Failed" } else { "Succeeded" };
            }
        }
        // One container that waits for its first start keeps the pod Pending.
        if self.initialized() && mains().all(|s| s.run.is_some()) { "Running" } else { "Pending" }
    }

    fn container_status(&mut self, cx: &Context<'_>, i: usize) -> ContainerStatus {
        let policy = self.policy();
        let stops = self.over || self.verdict.is_some() || self.teardown.is_some() || self.has_ended(cx.now);
        let has_init = self.slots.iter().any(|s| matches!(s.role, Role::Init | Role::Sidecar));
        let leaving = self.teardown.is_some();
        let pod = self.full_name();
        let unleased = !self.may_run(cx.now);
        let slot = &self.slots[i];
        let waits = if unleased && slot.running().is_none() {
            Some((wait_state(NO_LEASE, Some(NO_LEASE_MESSAGE.into())), None))
        } else {
            waiting(slot, policy, &pod, cx, has_init)
        };
        let (waiting, until) = match waits {
            Some((waiting, until)) if !(stops && slot.run.is_some()) => (Some(waiting), until),
            _ => (None, None),
        };
        let run = slot.run.as_ref();
        let past = slot.last.as_ref().map(|past| past.state.clone());
        let (state, last) = match (run.map(|r| (r, r.end.as_ref())), waiting) {
            (Some((run, None)), _) => (running(run.started), past),
            (Some((_, Some(end))), Some(waiting)) => (waiting, Some(end.state.clone())),
            (Some((_, Some(end))), None) => (ended(end.state.clone()), past),
            (None, waiting) => (waiting.unwrap_or_else(|| idle(has_init)), past),
        };
        let started = slot.started();
        let status = ContainerStatus {
            container_id: run.map(|r| r.id.as_str()).filter(|id| !id.is_empty()).map(shown_id),
            image: shown_image(slot),
            image_id: run.map(|r| r.image_id.clone()).unwrap_or_default(),
            last_state: Some(last.map(ended).unwrap_or_default()),
            name: slot.name().to_owned(),
            ready: !leaving
                && match slot.role {
                    Role::Init => slot.completed(),
                    Role::Sidecar | Role::Main => slot.ready(),
                    Role::Ephemeral => false,
                },
            restart_count: i32::try_from(run.map_or(0, |r| r.attempt)).unwrap_or(i32::MAX),
            started: Some(started),
            state: Some(state),
            ..ContainerStatus::default()
        };
        if let Some(until) = until {
            self.wake(until);
        }
        status
    }

    fn conditions(&mut self, cx: &Context<'_>, pod: &Pod, phase: &str) -> Vec<PodCondition> {
        let ended = match phase {
            "Succeeded" => Some("PodCompleted"),
            "Failed" => Some("PodFailed"),
            _ => None,
        };
        let initialized = self.initialized_problem(phase);
        let unready = ended.map(|reason| (reason.to_owned(), None)).or_else(|| self.unready());
        let gates = unready.clone().or_else(|| closed_gate(pod));
        let sandbox = self.sandbox.is_some();
        let since_bound = pod.metadata.creation_timestamp.clone();
        let known = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let scheduled = known.clone().find(|c| c.type_ == "PodScheduled" && c.status == "True").cloned();
        let mut out = vec![
            self.condition(cx, OWN[0], sandbox, None),
            match initialized {
                Some(Ok(reason)) => self.condition(cx, OWN[1], true, Some((reason, None))),
                Some(Err(problem)) => self.condition(cx, OWN[1], false, Some(problem)),
                None => self.condition(cx, OWN[1], true, None),
            },
            self.condition(cx, OWN[2], gates.is_none(), gates),
            self.condition(cx, OWN[3], unready.is_none(), unready),
            scheduled.unwrap_or_else(|| PodCondition {
                last_transition_time: since_bound.or_else(|| Some(cx.now.wall.time())),
                status: "True".into(),
                type_: OWN[4].into(),
                ..PodCondition::default()
            }),
        ];
        out.extend(known.filter(|c| !OWN.contains(&c.type_.as_str())).cloned());
        out
    }

    fn condition(
        &mut self,
        cx: &Context<'_>,
        name: &str,
        ok: bool,
        why: Option<(String, Option<String>)>,
    ) -> PodCondition {
        let status = if ok { "True" } else { "False" };
        let since: Time = self.transitions.since(name, status, cx.now.wall);
        let (reason, message) = why.map_or((None, None), |(reason, message)| (Some(reason), message));
        PodCondition {
            last_transition_time: Some(since),
            message,
            reason,
            status: status.into(),
            type_: name.into(),
            ..PodCondition::default()
        }
    }

    /// Why the pod is not initialized, or with which reason it is.
    fn initialized_problem(&self, phase: &str) -> Option<Result<String, (String, Option<String>)>> {
        if phase == "Succeeded" {
            return Some(Ok("PodCompleted".into()));
        }
        if self.initialized() {
            return None;
        }
        let incomplete = self.slots.iter().filter(|s| match s.role {
            Role::Init => !s.completed(),
            Role::Sidecar => !s.started(),
            Role::Main | Role::Ephemeral => false,
        });
        let message = format!("containers with incomplete status: {}", names(incomplete));
        Some(Err(("ContainersNotInitialized".into(), Some(message))))
    }

    fn unready(&self) -> Option<(String, Option<String>)> {
        let leaving = self.teardown.is_some();
        let counts = |s: &&Slot| matches!(s.role, Role::Sidecar | Role::Main);
        let unready = || self.slots.iter().filter(counts).filter(move |s| leaving || !s.ready());
        unready().next()?;
        let message = format!("containers with unready status: {}", names(unready()));
        Some(("ContainersNotReady".into(), Some(message)))
    }
}

fn names<'a>(slots: impl Iterator<Item = &'a Slot>) -> String {
    format!("[{}]", slots.map(Slot::name).collect::<Vec<_>>().join(" "))
}

/// Why a readiness gate keeps the pod from being ready.
fn closed_gate(pod: &Pod) -> Option<(String, Option<String>)> {
    let gates = pod.spec.iter().flat_map(|s| s.readiness_gates.iter().flatten());
    let status = |name: &str| {
        let mut known = pod.status.iter().flat_map(|s| s.conditions.iter().flatten());
        known.find(|c| c.type_ == name).map(|c| c.status.clone())
    };
    let closed = gates.filter_map(|gate| {
        let name = &gate.condition_type;
        match status(name) {
            Some(status) if status == "True" => None,
            Some(status) => Some(format!("the status of pod readiness gate {name:?} is not \"True\", but {status}")),
            None => Some(format!("corresponding condition of pod readiness gate {name:?} does not exist.")),
        }
    });
    let closed: Vec<String> = closed.collect();
    (!closed.is_empty()).then(|| ("ReadinessGatesNotReady".into(), Some(closed.join(", "))))
}

/// Returns what keeps a container from its next start, and when that changes by itself. `None` if it runs, has
/// ended for good, or is about to start again.
fn waiting(
    slot: &Slot,
    policy: Policy,
    pod: &str,
    cx: &Context<'_>,
    has_init: bool,
) -> Option<(ContainerState, Option<crate::time::Mono>)> {
    if slot.running().is_some() {
        return None;
    }
    if let (Some(end), Next::At(_), None) =
        (slot.ended(), slot.next(policy, cx.now.mono), slot.retry.pending(cx.now.mono))
    {
        let wait = super::image::go_duration(slot.crash.hold(end.at));
        let message = format!("back-off {wait} restarting failed container={} pod={pod}", slot.name());
        return Some((wait_state("CrashLoopBackOff", Some(message)), None));
    }
    if slot.next(policy, cx.now.mono) == Next::Never {
        return None;
    }
    if let Some((reason, message, until)) = slot.puller.waiting(&slot.container, cx.now.mono) {
        return Some((wait_state(reason, Some(message)), until));
    }
    if let Some((reason, message)) = &slot.problem {
        return Some((wait_state(reason, Some(message.clone())), None));
    }
    slot.run.is_none().then(|| (idle(has_init), None))
}

fn idle(has_init: bool) -> ContainerState {
    wait_state(if has_init { "PodInitializing" } else { "ContainerCreating" }, None)
}

fn wait_state(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = Some(ContainerStateWaiting { message, reason: Some(reason.to_owned()) });
    ContainerState { waiting, ..ContainerState::default() }
}

fn running(started: Wall) -> ContainerState {
    let running = Some(ContainerStateRunning { started_at: Some(started.time()) });
    ContainerState { running, ..ContainerState::default() }
}

fn ended(state: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(state), ..ContainerState::default() }
}

/// The image that the run was made from, which is not the manifest's while another one is on its way.
fn shown_image(slot: &Slot) -> String {
    let of_run = slot.run.as_ref().map(|run| run.image.clone()).filter(|image| !image.is_empty());
    of_run.or_else(|| slot.container.image.clone()).unwrap_or_default()
}
