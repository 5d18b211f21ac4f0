//! Jobs and CronJobs (`pkg/apis/batch/validation`).

use serde_json::Value;

use super::field::{Causes, Field, go_selector, same};
use super::{apps, meta, pod, selector};
use crate::object::cron;

/// Most a Job may ask for at once, and most indexes (upstream's bounds).
const MOST_INDEXES: i64 = 100_000;
/// Longest name of a CronJob: its Jobs' names are eleven letters longer.
const LONGEST_CRON_JOB: usize = 52;

/// What a Job may ask for that its controller does not do yet.
const NOT_DONE: [&str; 3] = ["successPolicy", "backoffLimitPerIndex", "maxFailedIndexes"];

/// Says which of what a Job asks for is not done.
pub(super) fn warnings(job: &Value) -> Vec<String> {
    let asked = NOT_DONE.iter().filter(|name| !job["spec"][**name].is_null());
    asked.map(|name| format!("spec.{name} is stored, but nothing acts on it yet")).collect()
}

/// Checks a Job.
pub(super) fn job(root: &Field<'_>, causes: &mut Causes) {
    job_spec(&root.child("spec"), causes);
}

/// Checks a new Job: its selector is given to it, unless it says that it brings its own.
pub(super) fn new_job(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    let field = spec.child("selector");
    if spec.child("manualSelector").is_true() {
        if field.is_set() {
            apps::selects_template(&spec, &field, causes);
        } else {
            causes.required(&field, "");
        }
    } else if field.is_set() && !same(field.value, &Value::Null) {
        causes.invalid_as(&field, &go_selector(field.value), "`selector` not auto-generated");
    }
}

fn job_spec(spec: &Field<'_>, causes: &mut Causes) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        causes.not_negative(&spec.child(name));
    }
    let mode = spec.child("completionMode");
    if mode.is_set() && !["NonIndexed", "Indexed"].contains(&mode.text()) {
        causes.not_supported(&mode, &["NonIndexed", "Indexed"]);
    }
    if mode.text() == "Indexed" {
        let completions = spec.child("completions");
        if !completions.is_set() {
            causes.required(&completions, "when completion mode is Indexed");
        }
        for count in [completions, spec.child("parallelism")] {
            if count.number().is_some_and(|n| n > MOST_INDEXES) {
                let why = format!("must be less than or equal to {MOST_INDEXES} when completion mode is Indexed");
                causes.invalid(&count, &why);
            }
        }
    } else {
        for name in ["backoffLimitPerIndex", "successPolicy"].map(|name| spec.child(name)).iter().filter(|f| f.is_set())
        {
            causes.invalid(name, "requires indexed completion mode");
        }
    }
    failure_policy(spec, causes);
    if spec.child("selector").is_set() {
        selector::label_selector(&spec.child("selector"), causes);
    }
    pod::template(&spec.child("template"), causes);
    let policy = spec.child("template").child("spec").child("restartPolicy");
    if !["OnFailure", "Never"].contains(&policy.text()) {
        causes.required(&policy, "valid values: \"OnFailure\", \"Never\"");
    }
}

fn failure_policy(spec: &Field<'_>, causes: &mut Causes) {
    let policy = spec.child("podFailurePolicy");
    if !policy.is_set() {
        return;
    }
    let restart = spec.child("template").child("spec").child("restartPolicy");
    if restart.text() != "Never" {
        causes.invalid(&restart, "only \"Never\" is supported when podFailurePolicy is specified");
    }
    for rule in policy.child("rules").items() {
        causes.one_of(&rule.child("action"), &["Count", "FailIndex", "FailJob", "Ignore"]);
        let (codes, conditions) = (rule.child("onExitCodes"), rule.child("onPodConditions"));
        if !codes.is_set() && conditions.len() == 0 {
            causes.invalid(&rule, "specifying one of OnExitCodes and OnPodConditions is required");
        } else if codes.is_set() && conditions.len() > 0 {
            causes.invalid(&rule, "specifying both OnExitCodes and OnPodConditions is not supported");
        }
        if codes.is_set() {
            causes.one_of(&codes.child("operator"), &["In", "NotIn"]);
            if codes.child("values").len() == 0 {
                causes.invalid(&codes.child("values"), "at least one value is required");
            }
        }
    }
}

/// Checks what may become of a Job: while it runs hardly anything.
pub(super) fn job_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (new, old) = (new.child("spec"), old.child("spec"));
    let indexed = new.child("completionMode").text() == "Indexed";
    let elastic = indexed && new.child("completions").value == new.child("parallelism").value;
    if !elastic {
        causes.immutable(&new.child("completions"), &old.child("completions"));
    }
    for name in ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
    {
        causes.immutable(&new.child(name), &old.child(name));
    }
    let (mut template, before) = (new.child("template").value.clone(), old.child("template").value);
    if old.child("suspend").is_true() {
        // Where a Job that has not begun shall run may be changed still.
        for path in [
            "/metadata/annotations",
            "/metadata/labels",
            "/spec/affinity",
            "/spec/nodeSelector",
            "/spec/tolerations",
            "/spec/schedulingGates",
        ] {
            let was = before.pointer(path).cloned().unwrap_or(Value::Null);
            match template.pointer_mut(path) {
                Some(now) => *now = was,
                None if !was.is_null() => put(&mut template, path, was),
                None => {}
            }
        }
    }
    let field = Field { value: &template, path: new.child("template").path };
    causes.immutable(&field, &old.child("template"));
}

fn put(object: &mut Value, path: &str, value: Value) {
    if let Some((parent, name)) = path.rsplit_once('/')
        && let Some(Value::Object(parent)) = object.pointer_mut(parent)
    {
        parent.insert(name.to_owned(), value);
    }
}

/// Checks a CronJob.
pub(super) fn cron_job(root: &Field<'_>, causes: &mut Causes) {
    let name = root.child("metadata").child("name");
    if name.text().len() > LONGEST_CRON_JOB {
        causes.invalid(&name, &format!("must be no more than {LONGEST_CRON_JOB} characters"));
    }
    let spec = root.child("spec");
    let schedule = spec.child("schedule");
    if schedule.text().is_empty() {
        causes.required(&schedule, "");
    } else if schedule.text().contains("TZ") {
        causes.invalid(&schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead");
    } else if let Err(why) = cron::Schedule::parse(schedule.text()) {
        causes.invalid(&schedule, &why);
    }
    let zone = spec.child("timeZone");
    if zone.is_set() && zone.text().is_empty() {
        causes.invalid(&zone, "timeZone must be nil or non-empty string");
    }
    for name in ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        causes.not_negative(&spec.child(name));
    }
    causes.one_of(&spec.child("concurrencyPolicy"), &["Allow", "Forbid", "Replace"]);
    let template = spec.child("jobTemplate");
    meta::labels(&template.child("metadata").child("labels"), causes);
    if template.child("spec").child("manualSelector").is_true() {
        causes.not_supported(&template.child("spec").child("manualSelector"), &["nil", "false"]);
    }
    job_spec(&template.child("spec"), causes);
}
