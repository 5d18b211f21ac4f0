//! Runs pods: one worker task a pod carries out actions and reports observations.
//!
//! A runtime does what the kubelet says and tells it what it sees; it decides nothing about what should run. Whatever
//! a daemon does (stop, hang, lie, come back with everything dead) is normal input and becomes an observation.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::ids::Uid;
use crate::kubelet::action::Action;

pub mod contract;
pub mod docker;
pub mod fake;
mod nothing;

pub use docker::Docker;
pub use fake::FakeRuntime;
pub use nothing::Nothing;

/// Returns where the cgroup of a pod is that must never run twice, below the root of a hierarchy: with Docker's cgroupfs
/// driver, and with its systemd driver (in whose names a dash is a step down).
pub fn cgroup_parents(pod: Uid) -> [String; 2] {
    let plain = pod.to_string();
    [format!("skein/{plain}"), format!("skein.slice/skein-{}.slice", plain.replace('-', "_"))]
}

/// Something that runs pods. Observations come by the channel given at its construction.
pub trait Runtime: Send + Sync {
    /// Queues an action and returns at once. Steps of one pod are carried out in the order given, except probes, which
    /// run beside.
    fn act(&self, action: Action);
}
