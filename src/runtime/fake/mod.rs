//! A simulated runtime: a synchronous state machine on virtual time, for the simulator and for tests.
//!
//! It holds a Docker of its own that outlives the agent ([`FakeRuntime::restart_agent`]), and can fail, hang, lie, lose
//! containers, repeat itself and go away ([`Knobs`]). The same seed and the same calls give the same observations. It
//! passes the contract that the Docker runtime passes.

mod daemon;
mod knobs;
mod outages;
mod steps;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::ids::Uid;
use crate::kubelet::action::{Action, Observation, PodEvent, PodRef, ProbeSpec, RuntimeInfo, Step};
use crate::time::{Mono, Now, Wall};

pub use daemon::Start;
pub use knobs::{Faults, Image, Knobs, Latency, Life};

use daemon::Daemon;
use knobs::strikes;

/// A simulated runtime.
#[derive(Debug)]
pub struct FakeRuntime {
    knobs: Knobs,
    rng: StdRng,
    images: BTreeMap<String, Image>,
    daemon: Daemon,
    up: bool,
    /// Whether there is an agent.
    heard: bool,
    /// Steps under way and to come, of this life of the agent.
    queues: BTreeMap<Uid, Queue>,
    /// What will happen, in order of time.
    due: BTreeMap<(Mono, u64), Due>,
    turn: u64,
    /// What to tell, in order.
    ready: VecDeque<Observation>,
    faults: Faults,
    now: Now,
}

/// The steps of one pod; the first is under way.
#[derive(Debug, Default)]
struct Queue {
    steps: VecDeque<(PodRef, Step)>,
    /// When the first one is done, and the turn that says so: an earlier one was overtaken.
    until: Option<(Mono, u64)>,
    /// The first one is done, but its answer will be a failure.
    hanging: bool,
}

/// What happens at some time.
#[derive(Debug)]
enum Due {
    /// The first step of a pod is done.
    Step(Uid),
    Probe(PodRef, ProbeSpec),
    /// Tell something late, or again.
    Tell(Observation),
    /// The daemon is reached: tell all that is there.
    List,
    /// The daemon was found to be gone.
    Lost,
    /// A container ends by itself.
    Exit {
        id: String,
        code: i32,
        message: String,
    },
    /// A container is taken away.
    Vanish(String),
    /// A sandbox dies.
    SandboxDeath {
        pod: Uid,
        id: String,
    },
    /// The daemon was down; what it told to wait is tried again.
    Again(Uid),
}

impl Due {
    /// Tells whether it is the agent's doing, and gone with it.
    fn is_agents(&self) -> bool {
        !matches!(self, Self::Exit { .. } | Self::Vanish(_) | Self::SandboxDeath { .. })
    }
}

impl FakeRuntime {
    /// Makes a runtime with an empty Docker, which is reached soon.
    pub fn new(seed: u64, knobs: Knobs) -> Self {
        let mut fake = Self {
            knobs,
            rng: StdRng::seed_from_u64(seed),
            images: BTreeMap::new(),
            daemon: Daemon::default(),
            up: true,
            heard: true,
            queues: BTreeMap::new(),
            due: BTreeMap::new(),
            turn: 0,
            ready: VecDeque::new(),
            faults: Faults::new(),
            now: Now::default(),
        };
        fake.at(Mono::default(), Due::List);
        fake
    }

    /// Says how an image behaves from now on; containers that run already stay as they are, but for their health.
    pub fn set_image(&mut self, reference: impl Into<String>, image: Image) {
        self.images.insert(reference.into(), image);
    }

    /// Says whether probes of an image's containers succeed.
    pub fn set_healthy(&mut self, reference: &str, healthy: bool) {
        if let Some(image) = self.images.get_mut(reference) {
            image.healthy = healthy;
        }
    }

    /// Behaves otherwise from now on.
    pub fn tune(&mut self, knobs: Knobs) {
        self.knobs = knobs;
    }

    /// Takes an action.
    pub fn act(&mut self, now: Now, action: Action) {
        self.now = now;
        let Action { pod, step } = action;
        if let Step::Probe(probe) = step {
            let at = self.soon(self.knobs.quick);
            return self.at(at, Due::Probe(pod, probe));
        }
        let uid = pod.uid;
        if let Step::RemovePod { grace } = step {
            self.hurry(uid, grace);
        }
        let queue = self.queues.entry(uid).or_default();
        queue.steps.push_back((pod, step));
        if queue.steps.len() == 1 {
            self.begin(uid);
        }
    }

    /// Returns what is to be told by now.
    pub fn poll(&mut self, now: Now) -> Vec<Observation> {
        while let Some(((at, turn), due)) = self.due.pop_first() {
            if at > now.mono {
                self.due.insert((at, turn), due);
                break;
            }
            let ago = i64::try_from(now.mono.since(at).as_micros()).unwrap_or(i64::MAX);
            self.now = Now { mono: at, wall: Wall(now.wall.0.saturating_sub(ago)) };
            self.happen(due, turn);
        }
        self.now = now;
        let told: Vec<Observation> = self.ready.drain(..).collect();
        told.iter().for_each(|observation| self.remember(observation));
        told
    }

    /// Keeps the book on which attempts the agent has been told of.
    fn remember(&mut self, observation: &Observation) {
        match observation {
            Observation::Pod { pod, event: PodEvent::ContainerStarted { name, attempt, .. } } => {
                self.daemon.told.insert((pod.uid, name.clone(), *attempt));
            }
            Observation::Listed { pods, .. } => {
                for (uid, c) in pods.iter().flat_map(|p| p.containers.iter().map(|c| (p.pod.uid, c))) {
                    self.daemon.told.insert((uid, c.name.clone(), c.attempt));
                }
            }
            _ => {}
        }
    }

    /// Returns when [`poll`](Self::poll) has something to do next.
    pub fn next_due(&self) -> Option<Mono> {
        if !self.ready.is_empty() {
            return Some(self.now.mono);
        }
        self.due.keys().next().map(|(at, _)| *at)
    }

    /// Returns every start of a container there ever was, oldest first.
    pub fn starts(&self) -> &[Start] {
        &self.daemon.starts
    }

    /// Returns the containers that were started while an earlier run of them was alive, which must never happen.
    pub fn overlaps(&self) -> &[String] {
        &self.daemon.overlaps
    }

    /// Returns the attempts that were started again though an agent had been told of them. That must not happen either
    /// as long as no status that an agent wrote gets lost.
    pub fn repeats(&self) -> &[String] {
        &self.daemon.repeats
    }

    /// Returns how often each fault was worked.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Returns what is there, as a list would say it.
    pub fn listed(&self) -> Vec<crate::kubelet::action::ListedPod> {
        self.daemon.list()
    }

    /// What the runtime says it is.
    fn info() -> RuntimeInfo {
        RuntimeInfo {
            version: "docker://27.1.0".into(),
            os_image: "Debian GNU/Linux 12 (bookworm)".into(),
            kernel: "6.1.0".into(),
            architecture: "amd64".into(),
            operating_system: "linux".into(),
            cpus: 4,
            memory: 8 << 30,
        }
    }

    fn happen(&mut self, due: Due, turn: u64) {
        match due {
            Due::Step(uid) => self.step_done(uid, turn),
            Due::Again(uid) => self.begin(uid),
            Due::Probe(pod, probe) => self.probed(pod, probe),
            Due::Tell(observation) => self.ready.push_back(observation),
            Due::Exit { id, code, message } => self.exits(&id, code, &message),
            Due::Vanish(id) => {
                self.fault("container vanished");
                self.vanishes(&id);
            }
            Due::SandboxDeath { pod, id } => {
                self.fault("sandbox died");
                self.sandbox_dies(pod, &id);
            }
            Due::List if self.up && self.heard => {
                self.ready.push_back(Observation::Listed { pods: self.daemon.list(), info: Self::info() });
            }
            Due::Lost if !self.up && self.heard => {
                let message = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock".into();
                self.ready.push_back(Observation::Down { message });
            }
            Due::List | Due::Lost => {}
        }
    }

    /// Has a list told soon: something happened that no event tells.
    fn relist(&mut self) {
        let at = self.soon(self.knobs.quick);
        self.at(at, Due::List);
    }

    /// Tells what happened unasked, if the daemon is there to say so.
    fn tell_unasked(&mut self, pod: PodRef, event: PodEvent) {
        // A pod on its way out is not talked about.
        if self.up && self.heard && !matches!(self.under_way(pod.uid), Some(Step::RemovePod { .. })) {
            self.tell(pod, event);
        }
    }

    fn under_way(&self, uid: Uid) -> Option<&Step> {
        self.queues.get(&uid)?.steps.front().map(|(_, step)| step)
    }

    fn tell(&mut self, pod: PodRef, event: PodEvent) {
        let repeatable = matches!(
            event,
            PodEvent::ContainerExited { .. } | PodEvent::ContainerStarted { .. } | PodEvent::ContainerRemoved { .. }
        );
        let observation = Observation::Pod { pod, event };
        if repeatable && strikes(&mut self.rng, self.knobs.echo) {
            self.fault("repeated report");
            let at = self.soon(self.knobs.late);
            self.at(at, Due::Tell(observation.clone()));
        }
        self.ready.push_back(observation);
    }

    fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    /// Draws a moment to come.
    fn soon(&mut self, latency: Latency) -> Mono {
        self.now.mono + latency.draw(&mut self.rng)
    }

    fn at(&mut self, at: Mono, due: Due) {
        self.turn += 1;
        self.due.insert((at, self.turn), due);
    }

    fn wait(&self, latency: Duration) -> Mono {
        self.now.mono + latency
    }
}

#[cfg(test)]
mod tests;
