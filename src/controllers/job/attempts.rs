//! The pods of a Job, each an attempt to do its work.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::controllers::node::Nodes;
use crate::controllers::{Plan, edit, pod};
use crate::store::Entry;
use crate::time::Wall;

use super::TRACKING;

/// The annotation and label with an indexed pod's index.
pub const INDEX: &str = "batch.kubernetes.io/job-completion-index";

/// How an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It runs, or will.
    Active,
    /// Its node is lost: nothing is known of it.
    Lost,
    /// It is being ended, and is replaced when that is done.
    Ending,
    Succeeded,
    Failed,
}

/// A pod of a Job.
#[derive(Debug)]
pub struct Attempt {
    pub entry: Arc<Entry>,
    pub pod: Pod,
    pub state: State,
    /// Whether it carries the finalizer.
    pub tracked: bool,
    /// Whether its node is lost.
    lost: bool,
}

impl Attempt {
    /// Looks at a pod, and asks `plan` for another look when its node will be lost.
    pub fn of(entry: Arc<Entry>, spec: &JobSpec, nodes: &mut Nodes<'_>, plan: &mut Plan) -> Self {
        let left = if pod::finished(&entry) { None } else { nodes.until_lost(&entry) };
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            plan.look_again(left);
        }
        let lost = left.is_some_and(|left| left.is_zero());
        let object = entry.value();
        let waits = spec.pod_replacement_policy.as_deref() == Some("Failed");
        let is_ended = object["metadata"]["deletionGracePeriodSeconds"] == 0 || entry.node.is_none();
        let state = match entry.phase.as_deref() {
            Some("Succeeded") => State::Succeeded,
            Some("Failed") => State::Failed,
            _ if entry.terminating && waits && !is_ended => State::Ending,
            // Whoever is deleted fails: there may never be a word on how it ended.
            _ if entry.terminating => State::Failed,
            _ if lost => State::Lost,
            _ => State::Active,
        };
        Self {
            tracked: edit::has_finalizer(&object, TRACKING),
            pod: entry.typed().unwrap_or_default(),
            state,
            lost,
            entry,
        }
    }

    pub fn is_ready(&self) -> bool {
        pod::ready_since(&self.pod).is_some()
    }

    /// Tells whether it has neither ended nor been told to.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Active | State::Lost)
    }

    /// Tells whether it is about to end, on a node that can say so.
    pub fn is_ending(&self) -> bool {
        self.entry.terminating && !pod::finished(&self.entry) && !self.lost
    }

    /// Returns its index, if it is one of the Job's.
    pub fn index_of(&self, spec: &JobSpec) -> Option<i32> {
        let index: i32 = self.pod.metadata.annotations.as_ref()?.get(INDEX)?.parse().ok()?;
        (0..spec.completions.unwrap_or_default()).contains(&index).then_some(index)
    }

    /// Returns the statuses of its containers, those that prepare first.
    pub fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        let status = self.pod.status.as_ref();
        let lists = status.map(|s| [&s.init_container_statuses, &s.container_statuses]);
        lists.into_iter().flatten().flatten().flatten()
    }

    /// Returns when it ended, as well as that is known.
    pub fn ended(&self) -> Wall {
        let terminated = self.containers().filter_map(|c| c.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
        let metadata = &self.pod.metadata;
        // The timestamp of a deletion is when its grace is over.
        let grace = metadata.deletion_grace_period_seconds.unwrap_or(0);
        let deleted = metadata.deletion_timestamp.as_ref().map(|at| Wall(Wall::of(at).0 - Wall::from_secs(grace).0));
        let created = metadata.creation_timestamp.as_ref().map(Wall::of);
        terminated.map(Wall::of).max().or(deleted).or(created).unwrap_or(Wall(0))
    }
}
