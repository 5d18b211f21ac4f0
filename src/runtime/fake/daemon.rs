//! The simulated Docker itself: what is there, whoever looks. It outlives the agent.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::Uid;
use crate::kubelet::action::{
    ContainerSpec, ContainerState, Exit, ListedContainer, ListedPod, ListedSandbox, MountSpec, PodRef, VolumeSource,
    VolumeSpec,
};
use crate::time::{Mono, Wall};

use super::knobs::Life;

/// What the daemon holds.
#[derive(Debug, Default)]
pub(super) struct Daemon {
    pub pods: BTreeMap<Uid, Pod>,
    /// Every start of a container there ever was.
    pub starts: Vec<Start>,
    /// Containers that were started while an earlier run of them was alive.
    pub overlaps: Vec<String>,
    /// Attempts that an agent was told of, and that were started again.
    pub repeats: Vec<String>,
    /// Attempts that an agent was told of.
    pub told: BTreeSet<(Uid, String, u32)>,
}

/// One start of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The pod.
    pub pod: Uid,
    /// The container's name in the pod.
    pub container: String,
    /// Its attempt.
    pub attempt: u32,
    /// When.
    pub at: Mono,
}

/// What there is of a pod.
#[derive(Debug)]
pub(super) struct Pod {
    pub pod: PodRef,
    pub sandbox: Option<ListedSandbox>,
    pub containers: Vec<Container>,
    pub volumes: Vec<VolumeSpec>,
}

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub listed: ListedContainer,
    pub life: Life,
    /// The image reference that probes look up.
    pub image: String,
    pub mounts: Vec<MountSpec>,
}

impl Container {
    pub fn started(&self) -> Option<Wall> {
        match self.listed.state {
            ContainerState::Running { started } => Some(started),
            _ => None,
        }
    }

    pub fn is_running(&self) -> bool {
        self.started().is_some()
    }
}

impl Daemon {
    pub fn pod(&mut self, pod: &PodRef) -> &mut Pod {
        let empty = || Pod { pod: pod.clone(), sandbox: None, containers: Vec::new(), volumes: Vec::new() };
        self.pods.entry(pod.uid).or_insert_with(empty)
    }

    pub fn container(&mut self, id: &str) -> Option<(&PodRef, &mut Container)> {
        self.pods.values_mut().find_map(|pod| {
            let container = pod.containers.iter_mut().find(|c| c.listed.id == id)?;
            Some((&pod.pod, container))
        })
    }

    /// Makes and starts a container, and keeps the book on it.
    pub fn start(&mut self, pod: &PodRef, spec: &ContainerSpec, id: &str, life: Life, now: (Mono, Wall)) {
        let (at, started) = now;
        let start = Start { pod: pod.uid, container: spec.name.clone(), attempt: spec.attempt, at };
        let full = format!("{}/{} {} attempt {}", pod.namespace, pod.name, spec.name, spec.attempt);
        if self.told.contains(&(pod.uid, spec.name.clone(), spec.attempt)) {
            self.repeats.push(format!("{full} started again"));
        }
        self.starts.push(start);
        let containers = &mut self.pod(pod).containers;
        let beside = containers.iter().find(|c| c.listed.name == spec.name && c.is_running()).map(|c| c.listed.attempt);
        containers.push(Container {
            listed: ListedContainer {
                id: id.to_owned(),
                name: spec.name.clone(),
                attempt: spec.attempt,
                hash: spec.hash.clone(),
                image: spec.image.clone(),
                image_id: format!("sha256:{}", spec.image),
                state: ContainerState::Running { started },
            },
            life,
            image: spec.image.clone(),
            mounts: spec.mounts.clone(),
        });
        if let Some(other) = beside {
            self.overlaps.push(format!("{full} started beside attempt {other}"));
        }
    }

    /// Ends a container, if it runs; returns how it ended.
    pub fn exit(&mut self, id: &str, code: i32, message: &str, finished: Wall) -> Option<(PodRef, String, Exit)> {
        let (pod, container) = self.container(id)?;
        let started = container.started()?;
        let exit = Exit { code, oom: false, started, finished, message: message.to_owned() };
        container.listed.state = ContainerState::Exited(exit.clone());
        Some((pod.clone(), container.listed.name.clone(), exit))
    }

    /// Lists all that is there.
    pub fn list(&self) -> Vec<ListedPod> {
        let listed = |p: &Pod| ListedPod {
            pod: p.pod.clone(),
            sandbox: p.sandbox.clone(),
            containers: p.containers.iter().map(|c| c.listed.clone()).collect(),
        };
        self.pods.values().filter(|p| p.sandbox.is_some() || !p.containers.is_empty()).map(listed).collect()
    }
}

impl Pod {
    /// Returns what a container finds in a file.
    pub fn file(&self, mounts: &[MountSpec], path: &str) -> Option<&[u8]> {
        mounts.iter().find_map(|mount| {
            let rest = path.strip_prefix(&mount.path)?.trim_start_matches('/');
            let parts = [mount.sub_path.as_str(), rest];
            let inside = parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("/");
            let volume = self.volumes.iter().find(|v| v.name == mount.volume)?;
            let VolumeSource::Files(files) = &volume.source else { return None };
            files.iter().find(|f| f.path == inside).map(|f| f.bytes.as_slice())
        })
    }
}
