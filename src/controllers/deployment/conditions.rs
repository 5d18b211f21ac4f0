//! The conditions of a Deployment's status.

use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus};

use crate::time::Now;

/// Whether as many pods are available as must be.
pub const AVAILABLE: &str = "Available";
/// Whether the rollout goes on, is done, or is stuck.
pub const PROGRESSING: &str = "Progressing";
/// Set while a ReplicaSet cannot make its pods.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

/// Finds a condition.
pub fn condition<'a>(status: &'a DeploymentStatus, name: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == name)
}

/// Tells whether a condition is there for this reason.
pub fn has_reason(status: &DeploymentStatus, name: &str, reason: &str) -> bool {
    condition(status, name).is_some_and(|c| c.reason.as_deref() == Some(reason))
}

/// Sets a condition. One of the same status and reason stays as it is; one of the same status keeps its transition
/// time.
pub fn set_condition(
    status: &mut DeploymentStatus,
    name: &str,
    value: &str,
    reason: &str,
    message: impl Into<String>,
    now: Now,
) {
    let new = new(name, value, reason, message.into(), now);
    if condition(status, name).is_none_or(|c| c.status != value || c.reason.as_deref() != Some(reason)) {
        put(status, new);
    }
}

/// Sets a condition even if one of the same status and reason is there: it shows that there was news.
pub fn renew_condition(
    status: &mut DeploymentStatus,
    name: &str,
    value: &str,
    reason: &str,
    message: impl Into<String>,
    now: Now,
) {
    put(status, new(name, value, reason, message.into(), now));
}

/// Replaces or adds a condition as it is, except that the transition time stays if the status does.
pub fn put(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = condition(status, &new.type_).filter(|c| c.status == new.status) {
        new.last_transition_time.clone_from(&old.last_transition_time);
    }
    remove(status, &new.type_.clone());
    status.conditions.get_or_insert_default().push(new);
}

/// Takes a condition away.
pub fn remove(status: &mut DeploymentStatus, name: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|c| c.type_ != name);
    }
    status.conditions.take_if(|c| c.is_empty());
}

fn new(name: &str, value: &str, reason: &str, message: String, now: Now) -> DeploymentCondition {
    DeploymentCondition {
        last_transition_time: Some(now.wall.time()),
        last_update_time: Some(now.wall.time()),
        message: Some(message),
        reason: Some(reason.to_owned()),
        status: value.to_owned(),
        type_: name.to_owned(),
    }
}
