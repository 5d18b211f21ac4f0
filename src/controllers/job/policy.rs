//! What a pod's failure means to its Job, if that says more than that it counts.

use k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyRule};

use super::attempts::{Attempt, State};

/// Tells whether a failure does not count.
pub fn is_ignored(spec: &JobSpec, attempt: &Attempt) -> bool {
    rule(spec, attempt).is_some_and(|(_, rule)| rule.action == "Ignore")
}

/// Says why the Job fails with this attempt, if a rule wants that.
pub fn fails_job(spec: &JobSpec, attempt: &Attempt) -> Option<String> {
    let (at, rule) = rule(spec, attempt).filter(|(_, rule)| rule.action == "FailJob")?;
    let pod = format!("{}/{}", attempt.entry.key.namespace, attempt.entry.key.name);
    Some(match exit_code(attempt, rule) {
        Some((container, code)) => {
            format!(
                "Container {container} for pod {pod} failed with exit code {code} matching FailJob rule at index {at}"
            )
        }
        None => format!("Pod {pod} has condition {} matching FailJob rule at index {at}", condition(attempt, rule)?),
    })
}

/// Finds the first rule that fits.
fn rule<'a>(spec: &'a JobSpec, attempt: &Attempt) -> Option<(usize, &'a PodFailurePolicyRule)> {
    let rules = &spec.pod_failure_policy.as_ref().filter(|_| attempt.state == State::Failed)?.rules;
    rules.iter().enumerate().find(|(_, rule)| exit_code(attempt, rule).is_some() || condition(attempt, rule).is_some())
}

fn exit_code<'a>(attempt: &'a Attempt, rule: &PodFailurePolicyRule) -> Option<(&'a str, i32)> {
    let wanted = rule.on_exit_codes.as_ref()?;
    attempt.containers().find_map(|container| {
        let code = container.state.as_ref()?.terminated.as_ref()?.exit_code;
        let is_meant = wanted.container_name.as_ref().is_none_or(|name| *name == container.name);
        let fits = wanted.values.contains(&code) == (wanted.operator == "In");
        (is_meant && code != 0 && fits).then_some((container.name.as_str(), code))
    })
}

fn condition(attempt: &Attempt, rule: &PodFailurePolicyRule) -> Option<String> {
    let patterns = rule.on_pod_conditions.as_ref()?;
    let conditions = attempt.pod.status.as_ref()?.conditions.as_ref()?;
    let fits = |wanted: &str, status: &str| conditions.iter().any(|c| c.type_ == wanted && c.status == status);
    let found = patterns.iter().find(|pattern| fits(&pattern.type_, &pattern.status))?;
    Some(found.type_.clone())
}
