//! Runs pods: one worker task a pod carries out actions and reports observations.
//!
//! A runtime does what the kubelet says and tells it what it sees; it decides nothing about what should run. Whatever
//! a daemon does (stop, hang, lie, come back with everything dead) is normal input and becomes an observation.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use crate::kubelet::action::Action;

pub mod contract;
pub mod docker;
pub mod fake;

pub use docker::Docker;
pub use fake::FakeRuntime;

/// Something that runs pods. Observations come by the channel given at its construction.
pub trait Runtime: Send + Sync {
    /// Queues an action and returns at once. Steps of one pod are carried out in the order given, except probes, which
    /// run beside.
    fn act(&self, action: Action);
}
