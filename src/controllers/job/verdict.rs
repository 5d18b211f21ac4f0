//! Whether a Job is over, how it ended, and the conditions that say so.
//!
//! A Job that is decided first says so (`SuccessCriteriaMet`, `FailureTarget`), then ends what still runs and counts it, and
//! then is `Complete` or `Failed`.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};

use crate::object::NoteType;
use crate::time::{Now, Wall};

use super::attempts::{Attempt, State};
use super::{Sync, left, policy};

/// Whether the Job waits to be let run.
pub const SUSPENDED: &str = "Suspended";
const SUCCESS: &str = "SuccessCriteriaMet";
const FAILURE: &str = "FailureTarget";
const COMPLETE: &str = "Complete";
const FAILED: &str = "Failed";
const REACHED: (&str, &str) = ("CompletionsReached", "Reached expected number of succeeded pods");

/// What is to become of a Job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Going,
    Succeeded,
    Failed {
        reason: String,
        message: String,
    },
}

fn failed(reason: &str, message: &str) -> Verdict {
    Verdict::Failed { reason: reason.into(), message: message.into() }
}

/// Judges the Job; `failures` attempts have failed. What was decided stays.
pub fn of(sync: &mut Sync<'_>, failures: i32) -> Verdict {
    if is_true(&sync.status, SUCCESS) {
        return Verdict::Succeeded;
    }
    if let Some(target) = find(&sync.status, FAILURE).filter(|c| c.status == "True") {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        return Verdict::Failed { reason: text(&target.reason), message: text(&target.message) };
    }
    let spec = sync.spec;
    if let Some(why) = sync.attempts.iter().find_map(|a| policy::fails_job(spec, a)) {
        return failed("PodFailurePolicy", &why);
    }
    let limit = spec.backoff_limit.unwrap_or(6);
    if failures > limit || too_many_restarts(sync, limit) {
        return failed("BackoffLimitExceeded", "Job has reached the specified backoff limit");
    }
    if is_late(sync) {
        return failed("DeadlineExceeded", "Job was active longer than specified deadline");
    }
    let active = sync.attempts.iter().any(|a| a.state == State::Active);
    let enough = match spec.completions {
        Some(wanted) => sync.succeeded() >= wanted,
        None => sync.succeeded() > 0,
    };
    if enough && !active { Verdict::Succeeded } else { Verdict::Going }
}

/// Containers that are started again in their pods count as attempts too.
fn too_many_restarts(sync: &Sync<'_>, limit: i32) -> bool {
    let template = sync.spec.template.spec.as_ref();
    if template.and_then(|pod| pod.restart_policy.as_deref()) != Some("OnFailure") {
        return false;
    }
    let active = sync.attempts.iter().filter(|a| a.state == State::Active);
    let restarts: i32 = active.flat_map(Attempt::containers).map(|c| c.restart_count).sum();
    if limit == 0 { restarts > 0 } else { restarts >= limit }
}

fn is_late(sync: &mut Sync<'_>) -> bool {
    let seconds = sync.spec.active_deadline_seconds.and_then(|s| u64::try_from(s).ok());
    let start = sync.status.start_time.as_ref().map(Wall::of);
    let (Some(seconds), Some(start), false) = (seconds, start, sync.is_suspended()) else { return false };
    match left(start + Duration::from_secs(seconds), sync.now.wall) {
        Some(left) => {
            sync.plan.look_again(left);
            false
        }
        None => true,
    }
}

/// Writes the verdict down, and once nothing runs and all is counted, the end.
pub fn conclude(sync: &mut Sync<'_>, verdict: &Verdict) {
    let now = sync.now;
    let (target, end, reason, message) = match verdict {
        Verdict::Going => return,
        Verdict::Succeeded => (SUCCESS, COMPLETE, REACHED.0.to_owned(), REACHED.1.to_owned()),
        Verdict::Failed { reason, message } => (FAILURE, FAILED, reason.clone(), message.clone()),
    };
    set(&mut sync.status, target, "True", &reason, &message, now);
    if sync.attempts.iter().any(|a| a.is_running() || a.is_ending()) || !sync.is_all_counted() {
        return;
    }
    set(&mut sync.status, end, "True", &reason, &message, now);
    if end == COMPLETE {
        sync.status.completion_time = Some(now.wall.time());
        sync.tell(NoteType::Normal, "Completed", "Job completed".into());
    } else {
        let reason = match reason.as_str() {
            "DeadlineExceeded" => "DeadlineExceeded",
            "PodFailurePolicy" => "PodFailurePolicy",
            _ => "BackoffLimitExceeded",
        };
        sync.tell(NoteType::Warning, reason, message);
    }
}

/// Tells whether a Job is over.
pub fn is_over(status: &JobStatus) -> bool {
    is_true(status, COMPLETE) || is_true(status, FAILED)
}

/// Returns when it was.
pub fn ended(status: &JobStatus) -> Option<Wall> {
    let end = [COMPLETE, FAILED].into_iter().find_map(|name| find(status, name).filter(|c| c.status == "True"))?;
    end.last_transition_time.as_ref().map(Wall::of)
}

/// Tells whether a condition holds.
pub fn is_true(status: &JobStatus, name: &str) -> bool {
    find(status, name).is_some_and(|c| c.status == "True")
}

fn find<'a>(status: &'a JobStatus, name: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|c| c.type_ == name)
}

/// Sets a condition; one that says the same stays as it is.
pub fn set(status: &mut JobStatus, name: &str, value: &str, reason: &str, message: &str, now: Now) {
    if find(status, name).is_some_and(|c| c.status == value && c.reason.as_deref() == Some(reason)) {
        return;
    }
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|c| c.type_ != name);
    conditions.push(JobCondition {
        type_: name.into(),
        status: value.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(now.wall.time()),
        last_transition_time: Some(now.wall.time()),
    });
}
