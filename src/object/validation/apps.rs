//! Workloads: Deployments and ReplicaSets (`apis/apps/validation`).

use serde_json::Value;

use super::field::{Causes, Field, go_map, go_selector, quoted};
use super::{meta, names, pod, selector};
use crate::object::Selector;
use crate::object::selector::BadSelector;

/// Checks a Deployment.
pub(super) fn deployment(root: &Field<'_>, causes: &mut Causes) {
    meta::partition(root, causes);
    let spec = root.child("spec");
    causes.not_negative(&spec.child("replicas"));
    selector_and_template(&spec, "deployment", causes);
    strategy(&spec.child("strategy"), causes);
    let ready = spec.child("minReadySeconds");
    causes.not_negative(&ready);
    causes.not_negative(&spec.child("revisionHistoryLimit"));
    let deadline = spec.child("progressDeadlineSeconds");
    causes.not_negative(&deadline);
    if deadline.number().is_some_and(|seconds| seconds <= ready.number().unwrap_or_default()) {
        causes.invalid(&deadline, "must be greater than minReadySeconds");
    }
}

/// Checks a ReplicaSet.
pub(super) fn replica_set(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    causes.not_negative(&spec.child("replicas"));
    causes.not_negative(&spec.child("minReadySeconds"));
    selector_and_template(&spec, "deployment", causes);
}

/// What a workload selects never changes: its pods would be orphaned.
pub(super) fn selector_is_immutable(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (new, old) = (new.child("spec").child("selector"), old.child("spec").child("selector"));
    if !super::field::same(new.value, old.value) {
        causes.invalid_as(&new, &go_selector(new.value), "field is immutable");
    }
}

fn selector_and_template(spec: &Field<'_>, kind: &str, causes: &mut Causes) {
    let field = spec.child("selector");
    if field.is_set() {
        selector::label_selector(&field, causes);
        if field.child("matchLabels").len() + field.child("matchExpressions").len() == 0 {
            causes.invalid_as(&field, &go_selector(field.value), &format!("empty selector is invalid for {kind}"));
        }
    } else {
        causes.required(&field, "");
    }
    template(&spec.child("template"), &field, Selector::of_object(field.value), causes);
}

/// Checks a DaemonSet.
pub(super) fn daemon_set(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    selector_and_template(&spec, "daemonset", causes);
    causes.not_negative(&spec.child("minReadySeconds"));
    causes.not_negative(&spec.child("revisionHistoryLimit"));
    let kind = spec.child("updateStrategy").child("type");
    if !["RollingUpdate", "OnDelete"].contains(&kind.text()) {
        causes.not_supported(&kind.named("spec.updateStrategy"), &["RollingUpdate", "OnDelete"]);
    }
}

/// Checks a StatefulSet.
pub(super) fn stateful_set(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    causes.one_of(&spec.child("podManagementPolicy"), &["OrderedReady", "Parallel"]);
    causes.one_of(&spec.child("updateStrategy").child("type"), &["OnDelete", "RollingUpdate"]);
    for name in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        causes.not_negative(&spec.child(name));
    }
    selector_and_template(&spec, "statefulset", causes);
}

/// Of a StatefulSet what its pods are bound to stays.
pub(super) fn stateful_set_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    const MAY: [&str; 7] = [
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let rest = |root: &Field<'_>| {
        let mut spec = root.child("spec").value.clone();
        if let Some(spec) = spec.as_object_mut() {
            spec.retain(|name, _| !MAY.contains(&name.as_str()));
        }
        spec
    };
    if !super::field::same(&rest(new), &rest(old)) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', \
                   'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and \
                   'minReadySeconds' are forbidden";
        causes.forbidden(&new.child("spec"), why);
    }
}

/// Checks a ReplicationController.
pub(super) fn replication_controller(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    causes.not_negative(&spec.child("replicas"));
    causes.not_negative(&spec.child("minReadySeconds"));
    let (own, template) = (spec.child("selector"), spec.child("template"));
    if own.len() == 0 {
        causes.required(&own, "");
    }
    if !template.is_set() {
        return causes.required(&template, "");
    }
    let labels = template.child("metadata").child("labels");
    if own.entries().any(|(key, value)| labels.value[key] != *value.value) {
        causes.invalid_as(&labels, &go_map(labels.value), "`selector` does not match template `labels`");
    }
    pod::template(&template, causes);
}

/// Checks that a selector that the user brings selects what the template makes.
pub(super) fn selects_template(spec: &Field<'_>, field: &Field<'_>, causes: &mut Causes) {
    let labels = spec.child("template").child("metadata").child("labels");
    let map = labels.entries().map(|(key, value)| (key.to_owned(), value.text().to_owned())).collect();
    if Selector::of_object(field.value).is_ok_and(|selector| !selector.matches(&map)) {
        causes.invalid_as(&labels, &go_map(labels.value), "`selector` does not match template `labels`");
    }
}

fn template(template: &Field<'_>, field: &Field<'_>, selector: Result<Selector, BadSelector>, causes: &mut Causes) {
    let Ok(selector) = selector else {
        return causes.invalid_as(field, &go_selector(field.value), "invalid label selector");
    };
    let labels = template.child("metadata").child("labels");
    let map = labels.entries().map(|(key, value)| (key.to_owned(), value.text().to_owned())).collect();
    if !selector.is_everything() && !selector.matches(&map) {
        causes.invalid_as(&labels, &go_map(labels.value), "`selector` does not match template `labels`");
    }
    meta::partition(template, causes);
    pod::template(template, causes);
    let spec = template.child("spec");
    let policy = spec.child("restartPolicy");
    if policy.text() != "Always" {
        causes.not_supported(&policy, &["Always"]);
    }
    if spec.has("activeDeadlineSeconds") {
        let why = "activeDeadlineSeconds in ReplicaSet is not Supported";
        causes.forbidden(&spec.child("activeDeadlineSeconds"), why);
    }
}

fn strategy(strategy: &Field<'_>, causes: &mut Causes) {
    let rolling = strategy.child("rollingUpdate");
    match strategy.child("type").text() {
        "Recreate" if rolling.is_set() => {
            causes.forbidden(&rolling, "may not be specified when strategy `type` is 'Recreate'");
        }
        "Recreate" => {}
        "RollingUpdate" if !rolling.is_set() => {
            causes.required(&rolling, "this should be defaulted and never be nil");
        }
        "RollingUpdate" => rolling_update(&rolling, causes),
        _ => causes.not_supported(&strategy.child("type").named(&strategy.path), &["Recreate", "RollingUpdate"]),
    }
}

fn rolling_update(rolling: &Field<'_>, causes: &mut Causes) {
    let (unavailable, surge) = (rolling.child("maxUnavailable"), rolling.child("maxSurge"));
    number_or_percent(&unavailable, causes);
    number_or_percent(&surge, causes);
    if amount(&unavailable) == 0 && amount(&surge) == 0 {
        causes.invalid_as(&unavailable, &shown(&unavailable), "may not be 0 when `maxSurge` is 0");
    }
    if names::percent_value(unavailable.text()).is_some_and(|percent| percent > 100) {
        causes.invalid_as(&unavailable, &shown(&unavailable), "must not be greater than 100%");
    }
}

pub(super) fn number_or_percent(field: &Field<'_>, causes: &mut Causes) {
    if field.value.is_string() {
        for fault in names::percent(field.text()) {
            causes.invalid_as(field, &shown(field), &fault);
        }
    } else {
        causes.not_negative(field);
    }
}

/// Reads `3` as 3 and `30%` as 30; what is neither is 0, as upstream has it.
fn amount(field: &Field<'_>) -> i64 {
    match field.value {
        Value::String(text) => names::percent_value(text).or_else(|| text.parse().ok()).unwrap_or_default(),
        _ => field.number().unwrap_or_default(),
    }
}

/// Writes a number or percentage as Go's `%#v` of an IntOrString does.
fn shown(field: &Field<'_>) -> String {
    let (kind, number, text) = match field.value {
        Value::String(text) => (1, 0, text.as_str()),
        _ => (0, field.number().unwrap_or_default(), ""),
    };
    format!("intstr.IntOrString{{Type:{kind}, IntVal:{number}, StrVal:{}}}", quoted(text))
}

/// Checks the status of a Deployment.
pub(super) fn deployment_status(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (status, before) = (new.child("status"), old.child("status"));
    let counts = [
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
    ];
    counts_of_replicas(&status, &counts, &["updatedReplicas"], causes);
    let (now, was) = (status.child("collisionCount"), before.child("collisionCount"));
    causes.not_negative(&now);
    if was.number().is_some_and(|was| now.number().is_none_or(|now| now < was)) {
        let shown = now.number().unwrap_or_default().to_string();
        causes.invalid_as(&now, &shown, "cannot be decremented");
    }
}

/// Checks the status of a ReplicaSet.
pub(super) fn replica_set_status(new: &Field<'_>, causes: &mut Causes) {
    let counts = ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
    counts_of_replicas(&new.child("status"), &counts, &["fullyLabeledReplicas"], causes);
}

fn counts_of_replicas(status: &Field<'_>, counts: &[&str], parts: &[&str], causes: &mut Causes) {
    for name in counts {
        causes.not_negative(&status.child(name));
    }
    let count = |name: &str| status.child(name).number().unwrap_or_default();
    for name in parts.iter().chain(&["readyReplicas", "availableReplicas"]) {
        if count(name) > count("replicas") {
            causes.invalid(&status.child(name), "cannot be greater than status.replicas");
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        causes.invalid(&status.child("availableReplicas"), "cannot be greater than readyReplicas");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::object::validation::{on_create, on_status, on_update};
    use crate::object::{defaults, kinds};

    fn web(change: impl FnOnce(&mut Value)) -> Value {
        let mut web = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]}}}});
        change(&mut web);
        defaults::apply(&kinds::DEPLOYMENT, &mut web);
        web
    }

    fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
        on_create(&kinds::DEPLOYMENT, &web(change)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_sound_deployment_passes() {
        assert_eq!(faults(|_| {}), [""; 0]);
        assert_eq!(faults(|w| w["spec"]["strategy"] = json!({"type": "Recreate"})), [""; 0]);
        let all = json!({"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "100%"}});
        assert_eq!(faults(|w| w["spec"]["strategy"] = all), [""; 0]);
        assert_eq!(on_create(&kinds::REPLICA_SET, &web(|_| {})), []);
    }

    #[test]
    fn faults_are_named_in_upstreams_words() {
        type Change = fn(&mut Value);
        let table: [(Change, &[&str]); 12] = [
            (
                |w| w["spec"]["replicas"] = json!(-1),
                &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
            ),
            (
                |w| w["spec"]["selector"] = Value::Null,
                &[
                    "spec.selector: Required value",
                    "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"web\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                |w| w["spec"]["selector"] = json!({}),
                &[
                    "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string(nil), MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: empty selector is invalid for deployment",
                ],
            ),
            (
                |w| w["spec"]["selector"]["matchLabels"]["app"] = json!("api"),
                &[
                    "spec.template.metadata.labels: Invalid value: map[string]string{\"app\":\"web\"}: `selector` does not match template `labels`",
                ],
            ),
            (
                |w| w["spec"]["template"]["metadata"] = Value::Null,
                &[
                    "spec.template.metadata.labels: Invalid value: map[string]string(nil): `selector` does not match template `labels`",
                ],
            ),
            (
                |w| w["spec"]["strategy"] = json!({"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}),
                &[
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}: may not be 0 when `maxSurge` is 0",
                ],
            ),
            (
                |w| w["spec"]["strategy"] = json!({"rollingUpdate": {"maxUnavailable": "101%"}}),
                &[
                    "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:\"101%\"}: must not be greater than 100%",
                ],
            ),
            (
                |w| w["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": "some"}}),
                &[
                    "spec.strategy.rollingUpdate.maxSurge: Invalid value: intstr.IntOrString{Type:1, IntVal:0, StrVal:\"some\"}: a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
                ],
            ),
            (
                |w| w["spec"]["strategy"] = json!({"type": "Recreate", "rollingUpdate": {}}),
                &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
            ),
            (
                |w| w["spec"]["template"]["spec"]["restartPolicy"] = json!("Never"),
                &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
            ),
            (
                |w| w["spec"]["minReadySeconds"] = json!(600),
                &["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
            ),
            (
                |w| w["spec"]["template"]["spec"]["containers"] = json!([{"name": "web"}]),
                &["spec.template.spec.containers[0].image: Required value"],
            ),
        ];
        for (change, words) in table {
            assert_eq!(faults(change), words);
        }
    }

    #[test]
    fn the_selector_is_immutable() {
        let old = web(|_| {});
        assert_eq!(on_update(&kinds::DEPLOYMENT, &web(|w| w["spec"]["replicas"] = json!(5)), &old), []);
        let new = web(|w| {
            w["spec"]["selector"]["matchLabels"]["tier"] = json!("front");
            w["spec"]["template"]["metadata"]["labels"]["tier"] = json!("front");
        });
        let words: Vec<_> = on_update(&kinds::DEPLOYMENT, &new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            [
                "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{\"app\":\"web\", \"tier\":\"front\"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: field is immutable"
            ]
        );
    }

    #[test]
    fn status_counts_must_agree() {
        let old = web(|_| {});
        let mut new = old.clone();
        new["status"] = json!({"replicas": 3, "readyReplicas": 3, "availableReplicas": 2, "updatedReplicas": 3});
        assert_eq!(on_status(&kinds::DEPLOYMENT, &new, &old), []);
        new["status"]["readyReplicas"] = json!(4);
        let words: Vec<_> = on_status(&kinds::DEPLOYMENT, &new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(words, ["status.readyReplicas: Invalid value: 4: cannot be greater than status.replicas"]);
    }
}
