//! One container of a pod as the kubelet sees it: what its manifest asks for, its newest run, the run before, and
//! what keeps the next one from starting.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, ContainerStateTerminated};

use crate::time::{Mono, Now, Wall};

use super::action::{ContainerState, Exit, ListedContainer};
use super::image::Puller;
use super::launch;
use super::probes::Probes;
use super::restart::{CrashLoop, Policy, Retry};

/// How a container id reads in a status.
const SCHEME: &str = "docker://";

/// What part a container plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container with restartPolicy Always: runs beside the others, from before until after them.
    Sidecar,
    Main,
    /// Added to look at a running pod: runs once, and counts for nothing.
    Ephemeral,
}

/// Which of the pod spec's lists a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Init,
    Main,
    Ephemeral,
}

/// One container of a pod.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub container: Container,
    pub role: Role,
    pub hash: String,
    /// The newest run that is known of.
    pub run: Option<Run>,
    /// The run before that.
    pub last: Option<Past>,
    pub crash: CrashLoop,
    pub puller: Puller,
    /// Why the container could not be made, and when that is tried again.
    pub problem: Option<(&'static str, String)>,
    pub retry: Retry,
    /// The run must be stopped.
    pub kill: Option<Kill>,
    /// Whether the next start comes whatever the restart policy says of the exit code.
    pub revive: Revive,
    /// Attempt whose back-off was told.
    pub backoff_told: Option<u32>,
    /// Containers to remove before the next start, for they hold its name.
    pub blockers: Vec<String>,
    /// Containers to remove some time.
    pub garbage: Vec<String>,
}

/// One start of a container.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub id: String,
    pub attempt: u32,
    /// Empty if not known.
    pub hash: String,
    pub image: String,
    pub image_id: String,
    pub started: Wall,
    pub end: Option<End>,
    /// Whether it runs, or ran, in the sandbox that the pod has now.
    pub here: bool,
    pub probes: Probes,
    pub post_start: Hook,
    pub pre_stop: Hook,
}

/// How a run ended, and when.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub state: ContainerStateTerminated,
    pub at: Mono,
}

/// A run that is over and replaced.
#[derive(Clone, Debug)]
pub(super) struct Past {
    /// The runtime's id.
    pub id: String,
    pub state: ContainerStateTerminated,
}

/// Why and how a run is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub deadline: Mono,
    pub revive: Revive,
}

/// Whether a container that was stopped on purpose starts again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Revive {
    /// The restart policy decides.
    #[default]
    ByPolicy,
    /// Whatever its exit code, but a crash loop is slowed down.
    Paced,
    /// Now.
    AtOnce,
}

/// How far a lifecycle hook is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Hook {
    #[default]
    Idle,
    /// Over at this time at the latest.
    Until(Mono),
    Done,
}

/// When a container starts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It runs, or has ended for good.
    Never,
    At(Mono),
    Now,
}

impl Slot {
    /// Makes the slot of a container that never ran.
    pub fn new(container: Container, list: List) -> Self {
        let role = match (list, container.restart_policy.as_deref()) {
            (List::Init, Some("Always")) => Role::Sidecar,
            (List::Init, _) => Role::Init,
            (List::Main, _) => Role::Main,
            (List::Ephemeral, _) => Role::Ephemeral,
        };
        Self {
            hash: launch::hash(&container),
            container,
            role,
            run: None,
            last: None,
            crash: CrashLoop::default(),
            puller: Puller::default(),
            problem: None,
            retry: Retry::kubernetes(),
            kill: None,
            revive: Revive::ByPolicy,
            backoff_told: None,
            blockers: Vec::new(),
            garbage: Vec::new(),
        }
    }

    /// Takes the container's part of a changed manifest; another image starts with a clean slate.
    pub fn update(&mut self, container: Container) {
        let hash = launch::hash(&container);
        if hash != self.hash {
            self.hash = hash;
            self.puller = Puller::default();
            self.crash = CrashLoop::default();
            self.retry = Retry::kubernetes();
            self.problem = None;
        }
        self.container = container;
    }

    pub fn name(&self) -> &str {
        &self.container.name
    }

    /// The event's field path: `spec.containers{web}`.
    pub fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.name())
    }

    /// The policy that holds for this container.
    pub fn policy(&self, pod: Policy) -> Policy {
        match self.role {
            Role::Main => pod,
            Role::Sidecar => Policy::Always,
            Role::Ephemeral => Policy::Never,
            Role::Init if pod == Policy::Never => Policy::Never,
            Role::Init => Policy::OnFailure,
        }
    }

    /// Returns the run if it is alive.
    pub fn running(&self) -> Option<&Run> {
        self.run.as_ref().filter(|run| run.end.is_none())
    }

    /// The same, to change it.
    pub fn running_mut(&mut self) -> Option<&mut Run> {
        self.run.as_mut().filter(|run| run.end.is_none())
    }

    /// Returns how the newest run ended, if it did.
    pub fn ended(&self) -> Option<&End> {
        self.run.as_ref()?.end.as_ref()
    }

    /// Tells whether an init container has done its work for the sandbox that the pod has now.
    pub fn completed(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.here) && self.ended().is_some_and(|end| end.state.exit_code == 0)
    }

    /// Tells whether the container has started as far as its startup probe and its hook are concerned.
    pub fn started(&self) -> bool {
        self.running().is_some_and(|run| run.probes.started && run.post_start == Hook::Done)
    }

    /// Tells whether the container may get traffic.
    pub fn ready(&self) -> bool {
        self.started() && self.running().is_some_and(|run| run.probes.ready)
    }

    /// The attempt of the next start.
    pub fn next_attempt(&self) -> u32 {
        self.run.as_ref().map_or(0, |run| run.attempt + 1)
    }

    /// Returns when the container starts next as far as policy and back-offs go.
    pub fn next(&self, pod: Policy, now: Mono) -> Next {
        let next = match &self.run {
            None => Next::Now,
            Some(Run { end: None, .. }) => Next::Never,
            Some(_) if self.role == Role::Ephemeral => Next::Never,
            Some(Run { end: Some(end), here, .. }) => {
                let again = self.role == Role::Init && !here;
                let at = self.crash.next(end.at);
                let by_policy = self.policy(pod).restarts(end.state.exit_code);
                match (by_policy || again, self.revive) {
                    (_, Revive::AtOnce) => Next::Now,
                    (false, Revive::ByPolicy) => Next::Never,
                    _ if at > now => Next::At(at),
                    _ => Next::Now,
                }
            }
        };
        match self.retry.pending(now) {
            Some(at) if next != Next::Never => Next::At(at),
            _ => next,
        }
    }

    /// Notes that a run has begun.
    pub fn begin(&mut self, run: Run, now: Now) {
        if let Some(old) = self.run.take() {
            self.crash.restarted(now.mono);
            let state = old.end.map(|end| end.state).unwrap_or_default();
            if let Some(older) = self.last.replace(Past { id: old.id, state }) {
                self.discard(older.id);
            }
        }
        self.run = Some(run);
        self.kill = None;
        self.revive = Revive::ByPolicy;
        self.problem = None;
        self.retry.succeed();
        self.puller.forget();
    }

    /// Notes that the newest run has ended.
    pub fn end(&mut self, state: ContainerStateTerminated, at: Mono) {
        let revive = self.kill.take().map(|kill| kill.revive).unwrap_or_default();
        if let Some(run) = self.running_mut() {
            run.end = Some(End { state, at });
            self.revive = revive;
        }
    }

    /// Lets go of a container, if it was made at all.
    pub fn discard(&mut self, id: String) {
        if !id.is_empty() && !self.garbage.contains(&id) {
            self.garbage.push(id);
        }
    }

    /// Forgets a container that is gone from the runtime.
    pub fn removed(&mut self, id: &str) {
        self.garbage.retain(|g| g != id);
        self.blockers.retain(|b| b != id);
    }

    /// Brings the slot in line with all that the runtime has of it, oldest first.
    pub fn adopt(&mut self, listed: &[&ListedContainer], here: bool, now: Now) {
        self.blockers = ids(listed.iter().filter(|c| c.state == ContainerState::Created));
        let mut runs: Vec<&ListedContainer> =
            listed.iter().copied().filter(|c| c.state != ContainerState::Created).collect();
        runs.sort_by_key(|c| c.attempt);
        // A newer run than any that is left is gone, and its attempt is used up.
        let known = self.run.as_ref().map(|run| run.attempt);
        let newest = runs.pop_if(|c| known.is_none_or(|attempt| c.attempt >= attempt));
        match newest {
            Some(newest) => self.adopt_run(newest, here, now),
            None if self.running().is_some() => self.end(vanished(self.run.as_ref()), now.mono),
            None => {}
        }
        if let Some(previous) = runs.pop()
            && let ContainerState::Exited(exit) = &previous.state
        {
            self.last = Some(Past { id: previous.id.clone(), state: terminated(exit, &previous.id) });
        }
        self.garbage = ids(runs.iter());
    }

    fn adopt_run(&mut self, listed: &ListedContainer, here: bool, now: Now) {
        let same = self.run.as_ref().is_some_and(|run| run.id == listed.id);
        let alive = matches!(listed.state, ContainerState::Running { .. });
        // One that was said to have ended, and lives, is taken anew: a list is the runtime's own word.
        if !same || (alive && self.running().is_none()) {
            self.run = Some(run_of(listed, &self.container, here, now));
            self.kill = None;
        }
        if let (ContainerState::Exited(exit), true) = (&listed.state, self.running().is_some()) {
            self.end(terminated(exit, &listed.id), mono_of(exit.finished, now));
        }
    }
}

fn ids<'a>(containers: impl Iterator<Item = &'a &'a ListedContainer>) -> Vec<String> {
    containers.map(|c| c.id.clone()).collect()
}

fn run_of(listed: &ListedContainer, container: &Container, here: bool, now: Now) -> Run {
    let started = match &listed.state {
        ContainerState::Running { started } => *started,
        ContainerState::Exited(exit) => exit.started,
        ContainerState::Created => Wall::default(),
    };
    Run {
        id: listed.id.clone(),
        attempt: listed.attempt,
        hash: listed.hash.clone(),
        image: listed.image.clone(),
        image_id: listed.image_id.clone(),
        started,
        end: None,
        here,
        probes: Probes::begin(container, mono_of(started, now), false, false),
        post_start: Hook::Done,
        pre_stop: Hook::Idle,
    }
}

/// Estimates when a wall-clock time in the past was.
pub(super) fn mono_of(wall: Wall, now: Now) -> Mono {
    let ago = u64::try_from(now.wall.0.saturating_sub(wall.0)).unwrap_or_default();
    now.mono - Duration::from_micros(ago)
}

/// Returns an id as a status shows it.
pub(super) fn shown_id(id: &str) -> String {
    format!("{SCHEME}{id}")
}

/// Returns the runtime's id of one that a status shows.
pub(super) fn raw_id(shown: &str) -> &str {
    shown.split_once("://").map_or(shown, |(_, id)| id)
}

/// Words an exit as a status does.
pub(super) fn terminated(exit: &Exit, id: &str) -> ContainerStateTerminated {
    let reason = match (exit.oom, exit.code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    };
    ContainerStateTerminated {
        container_id: Some(shown_id(id)),
        exit_code: exit.code,
        finished_at: Some(exit.finished.time()),
        message: Some(exit.message.clone()).filter(|m| !m.is_empty()),
        reason: Some(reason.into()),
        signal: None,
        started_at: Some(exit.started.time()),
    }
}

/// Words the end of a run of which nothing is left (upstream's `ContainerStatusUnknown`).
pub(super) fn vanished(run: Option<&Run>) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: run.map(|run| shown_id(&run.id)),
        exit_code: 137,
        message: Some("The container could not be located when the pod was terminated".into()),
        reason: Some("ContainerStatusUnknown".into()),
        ..ContainerStateTerminated::default()
    }
}

/// A run that never came to life.
pub(super) fn failed_run(container: &Container, attempt: u32, hash: String, now: Now) -> Run {
    Run {
        id: String::new(),
        attempt,
        hash,
        image: container.image.clone().unwrap_or_default(),
        image_id: String::new(),
        started: now.wall,
        end: None,
        here: true,
        probes: Probes::default(),
        post_start: Hook::Done,
        pre_stop: Hook::Done,
    }
}
