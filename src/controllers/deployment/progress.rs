//! A Deployment's status: counts, and whether the rollout gets on (`kubectl rollout status` reads nothing else).

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};

use crate::time::Wall;

use super::Step;
use super::conditions::{
    AVAILABLE, PROGRESSING, REPLICA_FAILURE, condition, has_reason, put, remove, renew_condition, set_condition,
};
use super::set::{Set, sum};

const DONE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

impl Step<'_> {
    /// Enters a pause, or its end, into the conditions, so that time spent paused is not taken for a lack of
    /// progress. A rollout that was given up already stays so.
    pub fn note_pause(&mut self) {
        if self.wanted.deadline.is_none() || has_reason(&self.status, PROGRESSING, TIMED_OUT) {
            return;
        }
        let was_paused = has_reason(&self.status, PROGRESSING, PAUSED);
        let (reason, message) = match (was_paused, self.wanted.paused) {
            (false, true) => (PAUSED, "Deployment is paused"),
            (true, false) => ("DeploymentResumed", "Deployment is resumed"),
            _ => return,
        };
        set_condition(&mut self.status, PROGRESSING, "Unknown", reason, message, self.now);
    }

    /// Returns the status with counts as the view shows them.
    pub fn counted(&self) -> DeploymentStatus {
        let available = sum(&self.sets, |s| s.reported_available);
        let mut status = DeploymentStatus {
            observed_generation: self.object["metadata"]["generation"].as_i64(),
            replicas: some(sum(&self.sets, |s| s.actual)),
            updated_replicas: some(self.newest.map_or(0, |i| self.sets[i].actual)),
            ready_replicas: some(sum(&self.sets, |s| s.ready)),
            available_replicas: some(available),
            unavailable_replicas: some((sum(&self.sets, |s| s.replicas) - available).max(0)),
            ..self.status.clone()
        };
        let (value, reason, message) = if available >= self.wanted.fewest_available() {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        set_condition(&mut status, AVAILABLE, value, reason, message, self.now);
        status
    }

    /// The same, and how the rollout gets on. Plans another look for when the deadline passes.
    pub fn progressed(&mut self) -> DeploymentStatus {
        let mut status = self.counted();
        match self.wanted.deadline {
            None => remove(&mut status, PROGRESSING),
            // A finished rollout stays finished, whatever its pods do later.
            Some(_) if status.replicas == status.updated_replicas && has_reason(&status, PROGRESSING, DONE) => {}
            Some(deadline) => self.judge(&mut status, deadline),
        }
        match self.failure() {
            Some(failure) if condition(&status, REPLICA_FAILURE) != Some(&failure) => put(&mut status, failure),
            Some(_) => {}
            None => remove(&mut status, REPLICA_FAILURE),
        }
        status
    }

    fn judge(&mut self, status: &mut DeploymentStatus, deadline: Duration) {
        let what = match self.newest {
            Some(newest) => format!("ReplicaSet {:?}", self.sets[newest].name),
            None => format!("Deployment {:?}", self.entry.key.name),
        };
        if self.complete(status) {
            let message = format!("{what} has successfully progressed.");
            set_condition(status, PROGRESSING, "True", DONE, message, self.now);
        } else if progressing(&self.before, status) {
            let message = format!("{what} is progressing.");
            renew_condition(status, PROGRESSING, "True", "ReplicaSetUpdated", message, self.now);
        } else if due(status, deadline).is_some_and(|due| due < self.now.wall) {
            let message = format!("{what} has timed out progressing.");
            set_condition(status, PROGRESSING, "False", TIMED_OUT, message, self.now);
        }
        if let Some(due) = due(status, deadline) {
            let left = u64::try_from(due.0.saturating_sub(self.now.wall.0)).unwrap_or(0);
            // A second more: conditions keep whole seconds.
            self.plan.look_again(Duration::from_micros(left) + Duration::from_secs(1));
        }
    }

    /// Tells whether the status that the view shows is that of a finished rollout.
    pub fn was_complete(&self) -> bool {
        self.complete(&self.before)
    }

    fn complete(&self, status: &DeploymentStatus) -> bool {
        let all = some(self.wanted.replicas);
        let counts = [status.updated_replicas, status.replicas, status.available_replicas];
        counts.iter().all(|n| n.filter(|n| *n != 0) == all)
            && status.observed_generation >= self.object["metadata"]["generation"].as_i64()
    }

    /// What keeps a set from making pods, the newest one's first.
    fn failure(&self) -> Option<DeploymentCondition> {
        let newest = self.newest.and_then(|i| self.sets[i].failure.as_ref());
        let failure = newest.or_else(|| self.sets.iter().find_map(|s: &Set| s.failure.as_ref()))?;
        Some(DeploymentCondition {
            last_transition_time: failure.last_transition_time.clone(),
            last_update_time: failure.last_transition_time.clone(),
            message: failure.message.clone(),
            reason: failure.reason.clone(),
            status: failure.status.clone(),
            type_: failure.type_.clone(),
        })
    }
}

/// Tells whether there are more new pods, fewer old ones, or more that work than before.
fn progressing(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let n = |count: Option<i32>| count.unwrap_or(0);
    let old = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(after.updated_replicas) > n(before.updated_replicas)
        || old(after) < old(before)
        || n(after.ready_replicas) > n(before.ready_replicas)
        || n(after.available_replicas) > n(before.available_replicas)
}

/// When the rollout is given up; `None` if it is finished or given up already.
fn due(status: &DeploymentStatus, deadline: Duration) -> Option<Wall> {
    let progress = condition(status, PROGRESSING)?;
    match progress.reason.as_deref() {
        Some(DONE | TIMED_OUT) => None,
        _ => Some(progress.last_update_time.as_ref().map(Wall::of).unwrap_or_default() + deadline),
    }
}

/// Kubernetes leaves zeros out.
fn some(count: i32) -> Option<i32> {
    Some(count).filter(|n| *n != 0)
}
