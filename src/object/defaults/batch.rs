//! Defaults of Jobs and CronJobs (`pkg/apis/batch/v1/defaults.go`), and the labels by which a Job knows its pods.

use serde_json::{Map, Value};

use super::fill::{Members, each, fill, fill_text, open, open_or_make};
use super::pod;
use crate::ids::Uid;

/// The labels of a Job's pods: the Job's uid and name. The short forms are older.
pub const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
/// See [`CONTROLLER_UID`].
pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
const OLD_CONTROLLER_UID: &str = "controller-uid";
const OLD_JOB_NAME: &str = "job-name";

/// Fills in a Job.
pub(super) fn job(object: &mut Value) {
    let Some(job) = object.as_object_mut() else { return };
    let Some(spec) = open_or_make(job, "spec") else { return };
    if absent(spec, "completions") && absent(spec, "parallelism") {
        fill(spec, "completions", 1);
    }
    fill(spec, "parallelism", 1);
    let limit = if absent(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    fill(spec, "backoffLimit", limit);
    fill_text(spec, "completionMode", "NonIndexed");
    fill(spec, "suspend", false);
    fill(spec, "manualSelector", false);
    let replace = if absent(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    fill_text(spec, "podReplacementPolicy", replace);
    failure_policy(spec);
    pod::template(spec);
    let labels = template_labels(spec);
    take_labels(job, labels);
}

/// Fills in a CronJob; its Jobs are filled in when they are made.
pub(super) fn cron_job(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    fill_text(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", false);
    fill(spec, "successfulJobsHistoryLimit", 3);
    fill(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = open_or_make(spec, "jobTemplate").and_then(|template| open_or_make(template, "spec")) {
        failure_policy(job);
        pod::template(job);
    }
}

/// Gives a new Job, whose uid is known now, the selector and labels that are its own. What the user said stays; with a
/// manual selector nothing is done.
pub fn name_pods(job: &mut Map<String, Value>, name: &str, uid: Uid) {
    let Some(spec) = open(job, "spec") else { return };
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    let own = [CONTROLLER_UID, OLD_CONTROLLER_UID].map(|label| (label, uid.to_string()));
    let named = [JOB_NAME, OLD_JOB_NAME].map(|label| (label, name.to_owned()));
    let labels = open_or_make(spec, "template")
        .and_then(|template| open_or_make(template, "metadata"))
        .and_then(|metadata| open_or_make(metadata, "labels"));
    if let Some(labels) = labels {
        for (label, value) in own.into_iter().chain(named) {
            fill_text(labels, label, &value);
        }
    }
    if let Some(labels) = open_or_make(spec, "selector").and_then(|selector| open_or_make(selector, "matchLabels")) {
        fill_text(labels, CONTROLLER_UID, &uid.to_string());
    }
    let labels = template_labels(spec);
    take_labels(job, labels);
}

/// A Job, or what else has a template, that has no labels takes those of the template.
pub(super) fn take_labels(object: &mut Members, labels: Option<Value>) {
    if let Some(labels) = labels
        && let Some(meta) = open_or_make(object, "metadata")
        && open(meta, "labels").is_none_or(|labels| labels.is_empty())
    {
        meta.insert("labels".into(), labels);
    }
}

/// Returns the labels of a spec's pod template, if there are any.
pub(super) fn template_labels(spec: &Members) -> Option<Value> {
    let labels = spec.get("template")?.get("metadata")?.get("labels")?;
    labels.as_object().filter(|labels| !labels.is_empty())?;
    Some(labels.clone())
}

fn failure_policy(spec: &mut Members) {
    for rule in open(spec, "podFailurePolicy").into_iter().flat_map(|policy| each(policy, "rules")) {
        each(rule, "onPodConditions").for_each(|pattern| fill_text(pattern, "status", "True"));
    }
}

fn absent(members: &Members, name: &str) -> bool {
    members.get(name).is_none_or(Value::is_null)
}
