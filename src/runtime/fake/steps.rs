//! What the simulated runtime does with the kubelet's steps: one after the other for each pod.

use std::time::Duration;

use crate::ids::Uid;
use crate::kubelet::action::{
    ContainerSpec, ContainerState, Exit, ImageError, ListedSandbox, Observation, PodEvent, PodRef, ProbeHandler,
    ProbeId, ProbeKind, ProbeSpec, SandboxSpec, Step,
};
use crate::time::Mono;

use super::knobs::{self, Life, strikes};
use super::{Due, FakeRuntime};

const NO_DAEMON: &str = "Cannot connect to the Docker daemon";
/// How soon a step that must succeed is tried again while the daemon is away.
const AGAIN: Duration = Duration::from_secs(1);

impl FakeRuntime {
    /// Begins the first step of a pod's queue.
    pub(super) fn begin(&mut self, uid: Uid) {
        let Some((_, step)) = self.queues.get(&uid).and_then(|q| q.steps.front().cloned()) else {
            self.queues.remove(&uid);
            return;
        };
        let mut hanging = false;
        let at = match &step {
            Step::CreateSandbox(_) | Step::StartContainer(_) if strikes(&mut self.rng, self.knobs.hang) => {
                self.fault("hanging call");
                hanging = true;
                self.wait(self.knobs.hang_for)
            }
            Step::CreateSandbox(_) | Step::StartContainer(_) => self.soon(self.knobs.start),
            Step::PullImage { image, always, never } if !never && (*always || !self.is_local(image)) => {
                self.soon(self.knobs.pull)
            }
            Step::StopContainer { id, grace, .. } => {
                let deaf = self.daemon.container(id).is_some_and(|(_, c)| c.is_running() && c.life == Life::Stubborn);
                let quick = self.soon(self.knobs.quick);
                if deaf { self.wait(*grace) } else { quick }
            }
            Step::RemovePod { grace } => {
                let containers = self.daemon.pods.get(&uid).into_iter().flat_map(|p| &p.containers);
                let deaf = containers.into_iter().any(|c| c.is_running() && c.life == Life::Stubborn);
                let quick = self.soon(self.knobs.quick);
                if deaf { self.wait(*grace) } else { quick }
            }
            _ => self.soon(self.knobs.quick),
        };
        if let (true, Some((pod, step))) = (hanging && self.up, self.first(uid)) {
            // It is done, only nobody will hear of it.
            self.carry_out(&pod, step);
        }
        self.schedule(uid, at, hanging);
    }

    fn first(&self, uid: Uid) -> Option<(PodRef, Step)> {
        self.queues.get(&uid)?.steps.front().cloned()
    }

    fn schedule(&mut self, uid: Uid, at: Mono, hanging: bool) {
        self.at(at, Due::Step(uid));
        let turn = self.turn;
        if let Some(queue) = self.queues.get_mut(&uid) {
            queue.until = Some((at, turn));
            queue.hanging = hanging;
        }
    }

    /// Cuts short what a pod that has to go is waiting for.
    pub(super) fn hurry(&mut self, uid: Uid, grace: Duration) {
        let soonest = match self.under_way(uid) {
            Some(Step::PullImage { .. }) => self.now.mono,
            Some(Step::StopContainer { .. } | Step::RemovePod { .. }) => self.wait(grace),
            _ => return,
        };
        let until = self.queues.get(&uid).and_then(|q| q.until);
        if until.is_some_and(|(at, _)| at > soonest) {
            self.schedule(uid, soonest, false);
        }
    }

    /// Answers the first step of a pod, and goes on with the next.
    pub(super) fn step_done(&mut self, uid: Uid, turn: u64) {
        let Some(queue) = self.queues.get_mut(&uid).filter(|q| q.until.is_some_and(|(_, t)| t == turn)) else {
            return;
        };
        queue.until = None;
        let (Some((pod, step)), hanging) = (queue.steps.front().cloned(), queue.hanging) else { return };
        let must = matches!(step, Step::StopContainer { .. } | Step::RemoveContainer { .. } | Step::RemovePod { .. });
        if !self.up && must {
            let at = self.wait(AGAIN);
            return self.at(at, Due::Again(uid));
        }
        let cut_short = matches!(step, Step::PullImage { .. }) && self.queues[&uid].steps.len() > 1;
        let events = if hanging {
            self.relist();
            vec![failure(&step, "context deadline exceeded")]
        } else if !self.up && !matches!(step, Step::WriteVolumes(_)) {
            vec![failure(&step, NO_DAEMON)]
        } else if cut_short {
            vec![failure(&step, "the pull was cut short: the pod goes")]
        } else if !must && strikes(&mut self.rng, self.knobs.fail) {
            self.fault("failed step");
            vec![failure(&step, "something went wrong")]
        } else {
            self.carry_out(&pod, step)
        };
        // A pod that goes is told of all the same: it was asked.
        events.into_iter().for_each(|event| self.tell(pod.clone(), event));
        if let Some(queue) = self.queues.get_mut(&uid) {
            queue.steps.pop_front();
        }
        self.begin(uid);
    }

    /// Does a step at once, and returns what there is to tell.
    pub(super) fn carry_out(&mut self, pod: &PodRef, step: Step) -> Vec<PodEvent> {
        match step {
            Step::CreateSandbox(spec) => self.create_sandbox(pod, spec),
            Step::PullImage { image, always, never } => vec![self.pull(image, always, never)],
            Step::StartContainer(spec) => vec![self.start_container(pod, &spec)],
            Step::StopContainer { id, name, .. } => vec![self.stop_container(id, name)],
            Step::RemoveContainer { id } => {
                self.daemon.pod(pod).containers.retain(|c| c.listed.id != id);
                vec![PodEvent::ContainerRemoved { id }]
            }
            Step::WriteVolumes(volumes) => {
                for volume in volumes {
                    let known = &mut self.daemon.pod(pod).volumes;
                    known.retain(|v| v.name != volume.name);
                    known.push(volume);
                }
                self.look_at_files(pod);
                vec![PodEvent::VolumesWritten]
            }
            Step::RemovePod { .. } => self.remove_pod(pod),
            Step::Probe(_) => Vec::new(),
        }
    }

    fn create_sandbox(&mut self, pod: &PodRef, spec: SandboxSpec) -> Vec<PodEvent> {
        let started = self.now.wall;
        let id = knobs::id(&mut self.rng);
        let known = self.daemon.pod(pod);
        known.volumes = spec.volumes;
        if let Some(sandbox) = known.sandbox.clone().filter(|s| s.address == spec.address) {
            return vec![PodEvent::SandboxReady(sandbox)];
        }
        let sandbox = ListedSandbox { id: id.clone(), address: spec.address, started };
        known.sandbox = Some(sandbox.clone());
        // What ran in the old one has no network any more.
        let old: Vec<_> = known.containers.iter().map(|c| c.listed.id.clone()).collect();
        let exits = old.into_iter().filter_map(|id| Some((self.daemon.exit(&id, 137, "", started)?, id)));
        let mut events: Vec<_> =
            exits.map(|((_, name, exit), id)| PodEvent::ContainerExited { name, id, exit }).collect();
        events.push(PodEvent::SandboxReady(sandbox));
        if strikes(&mut self.rng, self.knobs.sandbox_death) {
            let at = self.soon(self.knobs.life);
            self.at(at, Due::SandboxDeath { pod: pod.uid, id });
        }
        events
    }

    fn is_local(&self, image: &str) -> bool {
        self.images.get(image).is_some_and(|i| i.local)
    }

    fn pull(&mut self, image: String, always: bool, never: bool) -> PodEvent {
        let failed =
            |kind, message: &str| PodEvent::ImageFailed { image: image.clone(), kind, message: message.into() };
        let name = image.rsplit_once('/').map_or(image.as_str(), |(_, name)| name);
        if image.contains([' ', '\t']) || image.ends_with(':') || name.chars().any(|c| c.is_ascii_uppercase()) {
            return failed(ImageError::InvalidName, "invalid reference format");
        }
        let known = self.images.get_mut(&image);
        let local = known.as_ref().is_some_and(|i| i.local);
        if !local && never {
            return failed(ImageError::NeverPull, &format!("No such image: {image}"));
        }
        let Some(found) = known else {
            return failed(ImageError::PullFailed, &format!("manifest for {image} not found: manifest unknown"));
        };
        let pulls = (always || !local) && !never;
        if let (true, Some(error)) = (pulls, &found.pull_error) {
            return failed(ImageError::PullFailed, error);
        }
        found.local = true;
        let id = format!("sha256:{image}");
        PodEvent::ImageReady {
            id,
            pulled_in: pulls.then_some(self.knobs.pull.1),
            size: found.size,
            user: found.user.clone(),
            image,
        }
    }

    fn start_container(&mut self, pod: &PodRef, spec: &ContainerSpec) -> PodEvent {
        let (name, attempt) = (spec.name.clone(), spec.attempt);
        let failed = |created, message: &str| {
            let (name, message) = (name.clone(), message.to_owned());
            PodEvent::ContainerFailed { name, attempt, created, message }
        };
        let known = self.daemon.pod(pod);
        if known.sandbox.is_none() {
            return failed(false, "the pod has no sandbox");
        }
        let same = |c: &&mut super::daemon::Container| (&c.listed.name, c.listed.attempt) == (&spec.name, spec.attempt);
        if let Some(found) = known.containers.iter_mut().find(same)
            && let Some(started) = found.started()
        {
            let (id, image_id) = (found.listed.id.clone(), found.listed.image_id.clone());
            return PodEvent::ContainerStarted { name, attempt, id, image_id, started };
        }
        known.containers.retain(|c| (&c.listed.name, c.listed.attempt) != (&spec.name, spec.attempt));
        if spec.mounts.iter().any(|m| m.sub_path.split('/').any(|part| part == "..")) {
            return failed(false, "subPath must not contain '..'");
        }
        let Some(image) = self.images.get(&spec.image).filter(|i| i.local) else {
            return failed(false, &format!("No such image: {}", spec.image));
        };
        let life = image.life.clone();
        if life == Life::Missing {
            return failed(true, "exec: no such file or directory");
        }
        let id = knobs::id(&mut self.rng);
        let started = self.now.wall;
        self.daemon.start(pod, spec, &id, life.clone(), (self.now.mono, started));
        self.live(&id, life);
        self.look_at_files(pod);
        PodEvent::ContainerStarted { name, attempt, id, image_id: format!("sha256:{}", spec.image), started }
    }

    /// Decides how a container that has just started will end.
    fn live(&mut self, id: &str, life: Life) {
        let id = id.to_owned();
        if let Life::Exit { after, code, message } = life {
            let at = self.wait(after);
            self.at(at, Due::Exit { id, code, message });
        } else if strikes(&mut self.rng, self.knobs.crash) {
            self.fault("container crashed");
            let at = self.soon(self.knobs.life);
            self.at(at, Due::Exit { id, code: 1, message: "crashed".into() });
        } else if strikes(&mut self.rng, self.knobs.vanish) {
            let at = self.soon(self.knobs.life);
            self.at(at, Due::Vanish(id));
        }
    }

    /// Ends the containers whose file has come.
    fn look_at_files(&mut self, pod: &PodRef) {
        let pod = self.daemon.pod(pod);
        let come = |c: &&super::daemon::Container| match &c.life {
            Life::AwaitFile { path, content } => {
                c.is_running() && pod.file(&c.mounts, path) == Some(content.as_bytes())
            }
            _ => false,
        };
        let ended: Vec<String> = pod.containers.iter().filter(come).map(|c| c.listed.id.clone()).collect();
        for id in ended {
            let at = self.soon(self.knobs.quick);
            self.at(at, Due::Exit { id, code: 0, message: String::new() });
        }
    }

    fn stop_container(&mut self, id: String, name: String) -> PodEvent {
        let deaf = self.daemon.container(&id).is_some_and(|(_, c)| c.life == Life::Stubborn);
        let code = if deaf { 137 } else { 0 };
        let exit = match self.daemon.exit(&id, code, "", self.now.wall) {
            Some((_, _, exit)) => exit,
            None => match self.daemon.container(&id).map(|(_, c)| c.listed.state.clone()) {
                Some(ContainerState::Exited(exit)) => exit,
                _ => Exit { code: 137, finished: self.now.wall, ..Exit::default() },
            },
        };
        PodEvent::ContainerExited { name, id, exit }
    }

    fn remove_pod(&mut self, pod: &PodRef) -> Vec<PodEvent> {
        let containers = self.daemon.pods.get(&pod.uid).map(|p| p.containers.clone()).unwrap_or_default();
        let running = containers.into_iter().filter(super::daemon::Container::is_running);
        let mut events: Vec<_> = running.map(|c| self.stop_container(c.listed.id, c.listed.name)).collect();
        self.daemon.pods.remove(&pod.uid);
        events.push(PodEvent::PodRemoved);
        events
    }

    /// Answers a probe.
    pub(super) fn probed(&mut self, pod: PodRef, probe: ProbeSpec) {
        if !self.up && matches!(probe.handler, ProbeHandler::Exec { .. }) {
            return self.not_run(pod, probe.id);
        }
        let container = self.daemon.container(&probe.container).map(|(_, c)| c.clone());
        let running = container.filter(super::daemon::Container::is_running);
        let healthy = |image: &str| self.images.get(image).is_none_or(|i| i.healthy);
        let port = match &probe.handler {
            ProbeHandler::Http { port, .. } | ProbeHandler::Tcp { port, .. } => Some(*port),
            ProbeHandler::Exec { .. } => None,
        };
        let listens = running.as_ref().is_some_and(|c| match c.life {
            Life::Serve { port: own } => port.is_none_or(|p| p == own),
            _ => true,
        });
        let status = match (&probe.handler, running.as_ref().map(|c| (&c.life, healthy(&c.image)))) {
            (ProbeHandler::Http { path, .. }, Some((Life::Serve { .. }, true))) if path != "/ok" => 404,
            (_, Some((_, true))) => 200,
            _ => 500,
        };
        let (ok, message) = match &probe.handler {
            ProbeHandler::Http { host, port, path, .. } if !listens => {
                let refused = format!("dial tcp {host}:{port}: connect: connection refused");
                (false, format!("Get \"http://{host}:{port}{path}\": {refused}"))
            }
            ProbeHandler::Http { .. } if status != 200 => {
                (false, format!("HTTP probe failed with statuscode: {status}"))
            }
            ProbeHandler::Tcp { host, port } if !listens || status != 200 => {
                (false, format!("dial tcp {host}:{port}: connect: connection refused"))
            }
            ProbeHandler::Exec { .. } if status != 200 || running.is_none() => (false, "exit status 1".into()),
            _ => (true, String::new()),
        };
        let event = PodEvent::Probed { id: probe.id, ok, message };
        self.ready.push_back(Observation::Pod { pod, event });
    }

    /// A command cannot be run without the daemon: that says nothing about the container, but a hook has failed.
    fn not_run(&mut self, pod: PodRef, id: ProbeId) {
        if matches!(id.probe, ProbeKind::PostStart | ProbeKind::PreStop) {
            let event = PodEvent::Probed { id, ok: false, message: NO_DAEMON.into() };
            self.ready.push_back(Observation::Pod { pod, event });
        }
    }
}

/// The answer to a step that was not done.
fn failure(step: &Step, message: &str) -> PodEvent {
    let message = message.to_owned();
    match step {
        Step::PullImage { image, .. } => {
            PodEvent::ImageFailed { image: image.clone(), kind: ImageError::PullFailed, message }
        }
        Step::StartContainer(spec) => {
            PodEvent::ContainerFailed { name: spec.name.clone(), attempt: spec.attempt, created: false, message }
        }
        _ => PodEvent::SandboxFailed { message },
    }
}
