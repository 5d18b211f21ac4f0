//! Defaults of what says who may and what is admitted: RBAC, webhooks, admission policies, autoscalers, limits.

use serde_json::{Map, Value, json};

use super::fill::{Members, each, fill, fill_text, open, open_or_make, resources, text_of};

const RBAC: &str = "rbac.authorization.k8s.io";

/// A RoleBinding or ClusterRoleBinding: groups of the API that everybody means.
pub(super) fn binding(object: &mut Value) {
    let Some(binding) = object.as_object_mut() else { return };
    if let Some(role) = open(binding, "roleRef") {
        fill_text(role, "apiGroup", RBAC);
    }
    for subject in each(binding, "subjects") {
        if matches!(text_of(subject, "kind"), "User" | "Group") {
            fill_text(subject, "apiGroup", RBAC);
        }
    }
}

/// A Mutating- or ValidatingWebhookConfiguration.
pub(super) fn webhooks(object: &mut Value, mutating: bool) {
    for hook in object.as_object_mut().into_iter().flat_map(|o| each(o, "webhooks")) {
        fill_text(hook, "failurePolicy", "Fail");
        fill(hook, "timeoutSeconds", 10);
        matching(hook);
        if mutating {
            fill_text(hook, "reinvocationPolicy", "Never");
        }
        if let Some(service) = open(hook, "clientConfig").and_then(|config| open(config, "service")) {
            fill(service, "port", 443);
        }
        each(hook, "rules").for_each(|rule| fill_text(rule, "scope", "*"));
    }
}

/// A ValidatingAdmissionPolicy, or its binding.
pub(super) fn admission(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open(o, "spec")) else { return };
    for name in ["matchConstraints", "matchResources"] {
        if let Some(resources) = open(spec, name) {
            matching(resources);
            for list in ["resourceRules", "excludeResourceRules"] {
                each(resources, list).for_each(|rule| fill_text(rule, "scope", "*"));
            }
        }
    }
}

/// Only the policy, not its binding, says what a failure means.
pub(super) fn admission_policy(object: &mut Value) {
    if let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) {
        fill_text(spec, "failurePolicy", "Fail");
    }
    admission(object);
}

fn matching(of: &mut Members) {
    fill_text(of, "matchPolicy", "Equivalent");
    fill(of, "namespaceSelector", Map::new());
    fill(of, "objectSelector", Map::new());
}

/// A HorizontalPodAutoscaler, in the version that is stored.
pub(super) fn autoscaler(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    fill(spec, "minReplicas", 1);
    if spec.get("metrics").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        spec.insert("metrics".into(), json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]));
    }
    let Some(behavior) = open(spec, "behavior") else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let (up, down) = (json!([pods, percent]), json!([percent]));
    if let Some(rules) = open_or_make(behavior, "scaleUp") {
        fill(rules, "stabilizationWindowSeconds", 0);
        fill_text(rules, "selectPolicy", "Max");
        fill(rules, "policies", up);
    }
    if let Some(rules) = open_or_make(behavior, "scaleDown") {
        fill_text(rules, "selectPolicy", "Max");
        fill(rules, "policies", down);
    }
}

/// A LimitRange: what is not said of containers follows from what is.
pub(super) fn limit_range(object: &mut Value) {
    let Some(spec) = object.as_object_mut().and_then(|o| open_or_make(o, "spec")) else { return };
    for item in each(spec, "limits") {
        for list in ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"] {
            resources(item, list);
        }
        if text_of(item, "type") != "Container" {
            continue;
        }
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let given = item.get(from).and_then(Value::as_object).cloned().unwrap_or_default();
            if let Some(to) = open_or_make(item, to).filter(|_| !given.is_empty()) {
                given.into_iter().for_each(|(name, amount)| fill(to, &name, amount));
            }
        }
        item.retain(|name, value| {
            !name.starts_with("default") || value.as_object().is_none_or(|list| !list.is_empty())
        });
    }
}

/// A PriorityClass.
pub(super) fn priority_class(object: &mut Value) {
    if let Some(class) = object.as_object_mut() {
        fill_text(class, "preemptionPolicy", "PreemptLowerPriority");
    }
}

/// A ResourceQuota: its amounts in their canonical form.
pub(super) fn quota(object: &mut Value) {
    for part in ["spec", "status"] {
        if let Some(part) = object.as_object_mut().and_then(|o| open(o, part)) {
            resources(part, "hard");
            resources(part, "used");
        }
    }
}
