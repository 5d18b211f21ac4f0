//! The next step of a pod that should run, or that has ended and keeps its logs.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::object::NoteType::{Normal, Warning};
use crate::time::{Mono, Now, Wall};

use super::action::{ContainerSpec, SandboxSpec, Step, VolumeSource, VolumeSpec};
use super::launch::container_spec;
use super::pod::{Context, Doing, Worker};
use super::restart::Policy;
use super::sandbox::sandbox_spec;
use super::slot::{Kill, Next, Revive, Role};
use super::tokens::Mint;
use super::volumes::volumes;

const DEADLINE_EXCEEDED: &str = "Pod was active on the node longer than the specified deadline";

pub(super) type Move = Option<(Doing, Step)>;

impl Worker {
    /// Fails the pod if its `activeDeadlineSeconds` are over.
    pub fn judge(&mut self, cx: &mut Context<'_>) {
        let start = *self.start_time.get_or_insert(cx.now.wall);
        let Some(secs) = self.spec().and_then(|s| s.active_deadline_seconds) else { return };
        if self.over || self.verdict.is_some() || self.has_ended(cx.now) {
            return;
        }
        let end = start + Duration::from_secs(u64::try_from(secs).unwrap_or_default());
        if cx.now.wall >= end {
            self.verdict = Some(("DeadlineExceeded", DEADLINE_EXCEEDED.into()));
            self.note(cx, Normal, "DeadlineExceeded", DEADLINE_EXCEEDED);
        } else {
            self.wake(cx.now.mono + until(end, cx.now));
        }
    }

    /// Returns the step to take now, if there is one.
    pub fn decide(&mut self, cx: &mut Context<'_>) -> Move {
        let pod = Arc::clone(self.object.as_ref()?);
        let spec = pod.spec.as_ref()?;
        if self.over || self.verdict.is_some() || self.has_ended(cx.now) {
            self.condemn_all(cx.now.mono + self.grace(), Revive::ByPolicy);
            return self.kill_next(cx).or_else(|| self.tidy());
        }
        if !self.may_run(cx.now) {
            return self.wait_for_lease(cx);
        }
        if let Some(until) = self.lease {
            self.wake(until);
        }
        if self.sandbox.is_none() {
            // What still runs hangs in the network of a dead sandbox.
            self.condemn_all(cx.now.mono + self.grace(), self.paced());
            return self.kill_next(cx).or_else(|| self.make_sandbox(cx, &pod, spec));
        }
        self.condemn_changed(cx);
        self.kill_next(cx)
            .or_else(|| self.rewrite_volumes(cx, &pod))
            .or_else(|| self.start_next(cx, &pod, spec))
            .or_else(|| self.tidy())
    }

    /// Tells whether the pod's work is over: all containers have ended for good, or an init container has failed
    /// for good. Sidecars do not count.
    pub fn has_ended(&self, now: Now) -> bool {
        let over = |role: Role| {
            let policy = self.policy();
            self.slots.iter().filter(move |s| s.role == role).map(move |s| {
                let code = s.ended().map(|end| end.state.exit_code);
                code.filter(|_| s.next(policy, now.mono) == Next::Never)
            })
        };
        let main: Vec<_> = over(Role::Main).collect();
        over(Role::Init).any(|code| code.is_some_and(|c| c != 0))
            || (!main.is_empty() && main.iter().all(Option::is_some))
    }

    /// Tells whether the init containers are through for the sandbox that the pod has now.
    pub fn initialized(&self) -> bool {
        self.slots.iter().any(|s| s.role == Role::Main && s.run.as_ref().is_some_and(|run| run.here))
            || self.slots.iter().all(|s| match s.role {
                Role::Init => s.completed(),
                Role::Sidecar => s.started(),
                Role::Main | Role::Ephemeral => true,
            })
    }

    /// How a container that had to be stopped comes back: unless the pod asks for no restarts at all.
    pub fn paced(&self) -> Revive {
        if self.policy() == Policy::Never { Revive::ByPolicy } else { Revive::Paced }
    }

    /// Condemns all that runs. Returns whether there was anything that was not condemned before.
    pub(super) fn condemn_all(&mut self, deadline: Mono, revive: Revive) -> bool {
        let mut any = false;
        for slot in &mut self.slots {
            if slot.running().is_some() && slot.kill.is_none() {
                slot.kill = Some(Kill { deadline, revive });
                any = true;
            }
        }
        any
    }

    fn condemn_changed(&mut self, cx: &mut Context<'_>) {
        let deadline = cx.now.mono + self.grace();
        for i in 0..self.slots.len() {
            let slot = &mut self.slots[i];
            let other = slot.running().is_some_and(|run| !run.hash.is_empty() && run.hash != slot.hash);
            if other && slot.kill.is_none() {
                slot.kill = Some(Kill { deadline, revive: Revive::AtOnce });
                let name = slot.name().to_owned();
                let message = format!("Container {name} definition changed, will be restarted");
                self.note_on(cx, &name, Normal, "Killing", message);
            }
        }
    }

    /// Stops the next condemned container, those that started last first.
    pub(super) fn kill_next(&mut self, cx: &mut Context<'_>) -> Move {
        for i in (0..self.slots.len()).rev() {
            let Some(deadline) = self.slots[i].kill.as_ref().map(|kill| kill.deadline) else { continue };
            if self.slots[i].running().is_some() && self.pre_stop(cx, i, deadline) {
                return self.stop(cx, i, deadline);
            }
        }
        None
    }

    /// Stops a container by `deadline`.
    pub fn stop(&self, cx: &Context<'_>, slot: usize, deadline: Mono) -> Move {
        let run = self.slots[slot].running()?;
        let grace = deadline.since(cx.now.mono).max(Duration::from_secs(1));
        let (id, name) = (run.id.clone(), self.slots[slot].name().to_owned());
        Some((Doing::Stop { id: id.clone(), deadline }, Step::StopContainer { id, name, grace }))
    }

    fn make_sandbox(&mut self, cx: &mut Context<'_>, pod: &Pod, spec: &PodSpec) -> Move {
        if let Some(at) = self.sandbox_retry.pending(cx.now.mono) {
            self.wake(at);
            return None;
        }
        let volumes = self.resolve_volumes(cx, pod)?;
        if !self.host_network() && self.address.is_none() {
            self.address = cx.addresses.give(self.pod.uid);
            if self.address.is_none() {
                let message = format!("Failed to create pod sandbox: no free address in {}", cx.config.pod_range);
                self.note(cx, Warning, "FailedCreatePodSandBox", message);
                self.sandbox_retry.fail(cx.now.mono);
                return self.make_sandbox(cx, pod, spec);
            }
        }
        self.volumes.written = Some(volumes.clone());
        let address = self.address.filter(|_| !self.host_network());
        let made = sandbox_spec(cx.config, pod, spec, address, volumes);
        Some((Doing::Sandbox, Step::CreateSandbox(SandboxSpec { held: self.slot.is_some(), ..made })))
    }

    /// Resolves the pod's volumes; what is missing is told, and tried again later or when it appears.
    fn resolve_volumes(&mut self, cx: &mut Context<'_>, pod: &Pod) -> Option<Vec<VolumeSpec>> {
        let subject = self.subject(cx, pod);
        let (issuer, node) = (cx.config.issuer.as_ref(), cx.config.node.as_str());
        let mut mint = Mint { issuer, node, now: cx.now, tokens: &mut self.volumes.tokens };
        match volumes(cx.view, &subject, &mut mint) {
            Ok(volumes) => {
                self.volumes.stale = false;
                Some(volumes)
            }
            Err(message) => {
                self.note(cx, Warning, "FailedMount", message);
                self.sandbox_retry.fail(cx.now.mono);
                if let Some(at) = self.sandbox_retry.pending(cx.now.mono) {
                    self.wake(at);
                }
                None
            }
        }
    }

    fn rewrite_volumes(&mut self, cx: &mut Context<'_>, pod: &Pod) -> Move {
        if let Some(at) = self.volumes.tokens.due() {
            self.volumes.stale |= at <= cx.now.mono;
            self.wake(at.max(cx.now.mono));
        }
        if !self.volumes.stale {
            return None;
        }
        if let Some(at) = self.sandbox_retry.pending(cx.now.mono) {
            self.wake(at);
            return None;
        }
        let volumes = self.resolve_volumes(cx, pod)?;
        if self.volumes.written.as_ref() == Some(&volumes) {
            return None;
        }
        let is_files = |v: &&VolumeSpec| matches!(v.source, VolumeSource::Files(_));
        let files: Vec<VolumeSpec> = volumes.iter().filter(is_files).cloned().collect();
        if files.is_empty() {
            return None;
        }
        Some((Doing::Volumes(volumes), Step::WriteVolumes(files)))
    }

    fn start_next(&mut self, cx: &mut Context<'_>, pod: &Pod, spec: &PodSpec) -> Move {
        // Who looks at a pod may want to see why it does not start.
        for i in 0..self.slots.len() {
            if self.slots[i].role != Role::Ephemeral || self.slots[i].run.is_some() {
                continue;
            }
            let step = self.start(cx, i, pod, spec);
            if step.is_some() {
                return step;
            }
        }
        let initialized = self.initialized();
        for i in 0..self.slots.len() {
            let slot = &self.slots[i];
            let passed = match slot.role {
                Role::Init => initialized || slot.completed(),
                Role::Sidecar => slot.running().is_some() && (initialized || slot.started()),
                Role::Main => slot.running().is_some(),
                Role::Ephemeral => true,
            };
            if passed {
                continue;
            }
            let step = self.start(cx, i, pod, spec);
            if step.is_some() {
                return step;
            }
            // Init containers are waited for one by one; the others do not wait for each other.
            if !initialized && self.slots[i].role != Role::Main {
                return None;
            }
        }
        None
    }

    fn start(&mut self, cx: &mut Context<'_>, i: usize, pod: &Pod, spec: &PodSpec) -> Move {
        match self.slots[i].next(self.policy(), cx.now.mono) {
            Next::Never => return None,
            Next::At(at) => {
                self.wake(at);
                self.tell_crash_loop(cx, i);
                return None;
            }
            Next::Now => {}
        }
        let slot = &self.slots[i];
        if let Some(id) = slot.blockers.first() {
            return Some((Doing::RemoveContainer { id: id.clone() }, Step::RemoveContainer { id: id.clone() }));
        }
        if !slot.puller.is_ready() {
            return self.fetch(cx, i);
        }
        let (name, attempt) = (slot.name().to_owned(), slot.next_attempt());
        let user = slot.puller.user();
        let built = self.processes(pod, slot).and_then(|processes| {
            let built = container_spec(cx.view, &self.subject(cx, pod), spec, &slot.container, attempt, user)?;
            Ok(ContainerSpec { held: self.slot.is_some(), processes, ..built })
        });
        match built {
            Ok(spec) => {
                let doing = Doing::Start { container: name, attempt, hash: spec.hash.clone() };
                Some((doing, Step::StartContainer(spec)))
            }
            Err(message) => {
                self.note_on(cx, &name, Warning, "Failed", format!("Error: {message}"));
                let slot = &mut self.slots[i];
                slot.problem = Some(("CreateContainerConfigError", message));
                slot.retry.fail(cx.now.mono);
                // The image may be what has to change.
                slot.puller.forget();
                if let Some(at) = slot.retry.pending(cx.now.mono) {
                    self.wake(at);
                }
                None
            }
        }
    }

    fn fetch(&mut self, cx: &mut Context<'_>, i: usize) -> Move {
        let slot = &mut self.slots[i];
        let name = slot.name().to_owned();
        if let Some(at) = slot.puller.pending(cx.now.mono) {
            let told = slot.puller.tell_back_off(&slot.container, cx.now.mono);
            let image = slot.container.image.clone().unwrap_or_default();
            self.wake(at);
            if told {
                self.note_on(cx, &name, Normal, "BackOff", format!("Back-off pulling image {image:?}"));
                self.note_on(cx, &name, Warning, "Failed", "Error: ImagePullBackOff");
            }
            return None;
        }
        let step = slot.puller.step(&slot.container, cx.now.mono)?;
        let Step::PullImage { image, never, .. } = &step else { return None };
        let image = image.clone();
        if !never {
            self.note_on(cx, &name, Normal, "Pulling", format!("Pulling image {image:?}"));
        }
        Some((Doing::Image { container: name, image }, step))
    }

    /// Tells once per run that it waits in a crash loop.
    fn tell_crash_loop(&mut self, cx: &mut Context<'_>, i: usize) {
        let slot = &mut self.slots[i];
        let attempt = slot.run.as_ref().map(|run| run.attempt);
        if attempt.is_none() || slot.retry.pending(cx.now.mono).is_some() || slot.backoff_told == attempt {
            return;
        }
        slot.backoff_told = attempt;
        let name = slot.name().to_owned();
        let message = format!("Back-off restarting failed container {name} in pod {}", self.full_name());
        self.note_on(cx, &name, Warning, "BackOff", message);
    }

    /// Returns `web-abc_default(uid)`, as upstream words a pod in messages.
    pub fn full_name(&self) -> String {
        format!("{}_{}({})", self.pod.name, self.pod.namespace, self.pod.uid)
    }

    fn tidy(&self) -> Move {
        let id = self.slots.iter().find_map(|s| s.garbage.first().or(s.blockers.first()))?.clone();
        Some((Doing::RemoveContainer { id: id.clone() }, Step::RemoveContainer { id }))
    }
}

fn until(at: Wall, now: Now) -> Duration {
    Duration::from_micros(u64::try_from(at.0.saturating_sub(now.wall.0)).unwrap_or_default())
}
