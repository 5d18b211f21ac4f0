//! A scenario's pod: speaks for it to the driver, and waits for what it is told.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::ids::Uid;
use crate::kubelet::action::{
    Action, ContainerSpec, DnsSpec, Exit, ListedPod, ListedSandbox, Observation, PodEvent, PodRef, ProbeHandler,
    ProbeId, ProbeKind, ProbeSpec, ResourceSpec, SandboxSpec, SecuritySpec, Step, VolumeSpec,
};
use crate::time::Wall;

use super::{Behaviour, Driver, PATIENCE};

/// A pod as a scenario knows it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which.
    pub pod: PodRef,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its volumes.
    pub volumes: Vec<VolumeSpec>,
}

/// A scenario's pod: speaks for it to the driver.
pub struct Pod<'a, D: Driver + ?Sized> {
    /// The runtime under test.
    pub driver: &'a mut D,
    /// The pod.
    pub plan: Plan,
}

impl<'a, D: Driver + ?Sized> Pod<'a, D> {
    /// Plans a pod; nothing is done yet.
    pub fn new(driver: &'a mut D, name: &str) -> Self {
        let uid = Uid::derived(&[b"contract", name.as_bytes()]);
        let pod = PodRef { namespace: "contract".into(), name: name.into(), uid };
        let address = driver.address();
        Self { driver, plan: Plan { pod, address, volumes: Vec::new() } }
    }

    /// Goes on with a pod.
    pub fn again(driver: &'a mut D, plan: &Plan) -> Self {
        Self { driver, plan: plan.clone() }
    }

    /// Hands a step to the runtime.
    pub fn act(&mut self, step: Step) {
        self.driver.act(Action { pod: self.plan.pod.clone(), step });
    }

    /// Waits for an observation that `pick` takes.
    ///
    /// # Panics
    /// If none comes.
    pub fn observe<T>(&mut self, what: &str, mut pick: impl FnMut(&Observation) -> Option<T>) -> T {
        let mut passed = Vec::new();
        while let Some(observation) = self.driver.next(PATIENCE) {
            if let Some(found) = pick(&observation) {
                return found;
            }
            passed.push(observation);
        }
        panic!("{}: no {what} came, but {passed:#?}", self.plan.pod.name);
    }

    /// Waits for an event of this pod that `pick` takes.
    ///
    /// # Panics
    /// If none comes.
    pub fn expect<T>(&mut self, what: &str, mut pick: impl FnMut(&PodEvent) -> Option<T>) -> T {
        let pod = self.plan.pod.clone();
        self.observe(what, |o| match o {
            Observation::Pod { pod: p, event } if *p == pod => pick(event),
            _ => None,
        })
    }

    /// Waits for the next list, and returns this pod's entry.
    ///
    /// # Panics
    /// If no list comes, or it does not say what the runtime is.
    pub fn listed(&mut self) -> Option<ListedPod> {
        let uid = self.plan.pod.uid;
        self.observe("Listed", |o| match o {
            Observation::Listed { pods, info } => {
                assert!(!info.version.is_empty() && info.cpus > 0 && info.memory > 0, "{info:?}");
                Some(pods.iter().find(|p| p.pod.uid == uid).cloned())
            }
            _ => None,
        })
    }

    /// Describes the pod's sandbox.
    pub fn sandbox_spec(&self) -> SandboxSpec {
        SandboxSpec {
            hostname: self.plan.pod.name.clone(),
            address: Some(self.plan.address),
            dns: DnsSpec {
                servers: vec!["10.96.0.10".into()],
                searches: vec!["contract.svc.cluster.local".into()],
                options: vec!["ndots:5".into()],
            },
            volumes: self.plan.volumes.clone(),
            host_aliases: vec![],
            held: false,
        }
    }

    /// Makes the sandbox.
    ///
    /// # Panics
    /// If that fails.
    pub fn sandbox(&mut self) -> ListedSandbox {
        let spec = self.sandbox_spec();
        self.sandbox_of(spec)
    }

    /// Makes a sandbox as described.
    ///
    /// # Panics
    /// If that fails.
    pub fn sandbox_of(&mut self, spec: SandboxSpec) -> ListedSandbox {
        self.act(Step::CreateSandbox(spec));
        let result = self.expect("SandboxReady", |e| match e {
            PodEvent::SandboxReady(sandbox) => Some(Ok(sandbox.clone())),
            PodEvent::SandboxFailed { message } => Some(Err(message.clone())),
            _ => None,
        });
        result.unwrap_or_else(|message| panic!("{}: the sandbox failed: {message}", self.plan.pod.name))
    }

    /// Describes a container.
    pub fn container(&mut self, name: &str, attempt: u32, behaviour: &Behaviour) -> ContainerSpec {
        let program = self.driver.program(behaviour);
        ContainerSpec {
            name: name.into(),
            attempt,
            hash: format!("hash-{name}"),
            image: program.image,
            command: program.command,
            args: vec![],
            working_dir: None,
            env: vec![],
            mounts: vec![],
            resources: ResourceSpec::default(),
            security: SecuritySpec::default(),
            stdin: false,
            stdin_once: false,
            tty: false,
            termination_message_path: "/dev/termination-log".into(),
            held: false,
            processes: None,
        }
    }

    /// Starts a container; returns its id and since when it runs.
    ///
    /// # Panics
    /// If that fails.
    pub fn start(&mut self, name: &str, attempt: u32, behaviour: &Behaviour) -> (String, Wall) {
        let spec = self.container(name, attempt, behaviour);
        self.start_spec(spec)
    }

    /// Starts a container as described.
    ///
    /// # Panics
    /// If that fails.
    pub fn start_spec(&mut self, spec: ContainerSpec) -> (String, Wall) {
        let (name, attempt) = (spec.name.clone(), spec.attempt);
        self.act(Step::StartContainer(spec));
        let result = self.expect("ContainerStarted", |e| match e {
            PodEvent::ContainerStarted { name: n, attempt: a, id, started, .. } if *n == name && *a == attempt => {
                Some(Ok((id.clone(), *started)))
            }
            PodEvent::ContainerFailed { name: n, message, .. } if *n == name => Some(Err(message.clone())),
            _ => None,
        });
        result.unwrap_or_else(|message| panic!("{}/{name}: did not start: {message}", self.plan.pod.name))
    }

    /// Starts a container that cannot start; returns whether it could be made, and the words.
    ///
    /// # Panics
    /// If it starts.
    pub fn fails_to_start(&mut self, spec: ContainerSpec) -> (bool, String) {
        let name = spec.name.clone();
        self.act(Step::StartContainer(spec));
        let (created, message) = self.expect("ContainerFailed", |e| match e {
            PodEvent::ContainerFailed { name: n, created, message, .. } if *n == name => {
                Some((*created, message.clone()))
            }
            PodEvent::ContainerStarted { name: n, .. } if *n == name => panic!("{n} started"),
            _ => None,
        });
        assert!(!message.is_empty(), "{name} fails without a word");
        (created, message)
    }

    /// Waits until a container has ended.
    ///
    /// # Panics
    /// If it does not.
    pub fn exited(&mut self, id: &str) -> Exit {
        self.expect("ContainerExited", |e| match e {
            PodEvent::ContainerExited { id: i, exit, .. } if i == id => Some(exit.clone()),
            _ => None,
        })
    }

    /// Probes a container once; returns whether that succeeded, and the words.
    pub fn probe(&mut self, container: &str, handler: ProbeHandler, timeout: Duration) -> (bool, String) {
        let id = ProbeId { container: "web".into(), attempt: 0, probe: ProbeKind::Readiness };
        self.act(Step::Probe(ProbeSpec { id: id.clone(), container: container.into(), handler, timeout }));
        self.expect("Probed", |e| match e {
            PodEvent::Probed { id: i, ok, message } if *i == id => Some((*ok, message.clone())),
            _ => None,
        })
    }

    /// Removes the pod.
    ///
    /// # Panics
    /// If that is not answered.
    pub fn remove(&mut self) {
        self.act(Step::RemovePod { grace: Duration::from_secs(5) });
        self.expect("PodRemoved", |e| (*e == PodEvent::PodRemoved).then_some(()));
    }
}
