//! Budgets, roles, autoscalers and classes (`pkg/apis/{policy,rbac,autoscaling,scheduling,node}/validation`).

use serde_json::Value;

use super::field::{Causes, Field, quoted, same};
use super::{apps, names, selector};

/// Checks a PodDisruptionBudget.
pub(super) fn budget(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    let (least, most) = (spec.child("minAvailable"), spec.child("maxUnavailable"));
    if least.is_set() && most.is_set() {
        causes.invalid_as(&spec, &spec.value.to_string(), "minAvailable and maxUnavailable cannot be both set");
    }
    for amount in [&least, &most] {
        apps::number_or_percent(amount, causes);
        if names::percent_value(amount.text()).is_some_and(|percent| percent > 100) {
            causes.invalid(amount, "must not be greater than 100%");
        }
    }
    let unhealthy = spec.child("unhealthyPodEvictionPolicy");
    if unhealthy.is_set() && !["AlwaysAllow", "IfHealthyBudget"].contains(&unhealthy.text()) {
        causes.not_supported(&unhealthy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
    selector::label_selector(&spec.child("selector"), causes);
}

/// Checks a Role or ClusterRole.
pub(super) fn role(root: &Field<'_>, namespaced: bool, causes: &mut Causes) {
    for rule in root.child("rules").items() {
        if rule.child("verbs").len() == 0 {
            causes.required(&rule.child("verbs"), "verbs must contain at least one value");
        }
        let urls = rule.child("nonResourceURLs");
        if urls.len() > 0 {
            if namespaced {
                causes.invalid(&urls, "namespaced rules cannot apply to non-resource URLs");
            }
            if rule.child("apiGroups").len() + rule.child("resources").len() + rule.child("resourceNames").len() > 0 {
                causes.invalid(&urls, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if rule.child("apiGroups").len() == 0 {
            causes.required(&rule.child("apiGroups"), "resource rules must supply at least one api group");
        }
        if rule.child("resources").len() == 0 {
            causes.required(&rule.child("resources"), "resource rules must supply at least one resource");
        }
    }
    for term in root.child("aggregationRule").child("clusterRoleSelectors").items() {
        selector::label_selector(&term, causes);
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// Checks a RoleBinding or ClusterRoleBinding.
pub(super) fn binding(root: &Field<'_>, namespaced: bool, causes: &mut Causes) {
    let role = root.child("roleRef");
    if role.child("apiGroup").text() != RBAC {
        causes.not_supported(&role.child("apiGroup"), &[RBAC]);
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&role.child("kind").text()) {
        causes.not_supported(&role.child("kind"), kinds);
    }
    let name = role.child("name");
    if name.text().is_empty() {
        causes.required(&name, "");
    } else {
        causes.invalid_each(&name, names::path_segment(name.text()));
    }
    for subject in root.child("subjects").items() {
        let (name, group) = (subject.child("name"), subject.child("apiGroup"));
        if name.text().is_empty() {
            causes.required(&name, "");
        }
        match subject.child("kind").text() {
            "ServiceAccount" => {
                if !name.text().is_empty() {
                    causes.invalid_each(&name, names::dns_subdomain(name.text()));
                }
                if !group.text().is_empty() {
                    causes.not_supported(&group, &[""]);
                }
                if subject.child("namespace").text().is_empty() {
                    causes.required(&subject.child("namespace"), "");
                }
            }
            "User" | "Group" if group.text() == RBAC => {}
            "User" | "Group" => causes.not_supported(&group, &[RBAC]),
            _ => causes.not_supported(&subject.child("kind"), &["ServiceAccount", "User", "Group"]),
        }
    }
}

/// A binding is to one role for ever: who may bind one role may not be let change it into another.
pub(super) fn binding_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (now, was) = (new.child("roleRef"), old.child("roleRef"));
    if !same(now.value, was.value) {
        let text = |name: &str| quoted(now.child(name).text());
        let shown =
            format!("rbac.RoleRef{{APIGroup:{}, Kind:{}, Name:{}}}", text("apiGroup"), text("kind"), text("name"));
        causes.invalid_as(&now, &shown, "cannot change roleRef");
    }
}

/// Checks a HorizontalPodAutoscaler.
pub(super) fn autoscaler(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    let (least, most) = (spec.child("minReplicas"), spec.child("maxReplicas"));
    if least.number().is_some_and(|n| n < 1) {
        causes.invalid(&least, "must be greater than or equal to 1");
    }
    if most.number().unwrap_or_default() < 1 {
        let shown = most.number().unwrap_or_default().to_string();
        causes.invalid_as(&most, &shown, "must be greater than 0");
    } else if least.number().is_some_and(|n| most.number().is_some_and(|most| most < n)) {
        causes.invalid(&most, "must be greater than or equal to `minReplicas`");
    }
    let target = spec.child("scaleTargetRef");
    for name in ["kind", "name"].map(|name| target.child(name)) {
        if name.text().is_empty() {
            causes.required(&name, "");
        } else {
            causes.invalid_each(&name, names::path_segment(name.text()));
        }
    }
    for metric in spec.child("metrics").items() {
        let sorts = ["ContainerResource", "External", "Object", "Pods", "Resource"];
        causes.one_of(&metric.child("type"), &sorts);
        let mut letters = metric.child("type").text().chars();
        let member: String = letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect();
        if sorts.contains(&metric.child("type").text()) && !metric.has(&member) {
            causes.required(&metric.child(&member), "must populate information for the given metric source");
        }
    }
}

/// Checks a PriorityClass.
pub(super) fn priority_class(root: &Field<'_>, causes: &mut Causes) {
    const HIGHEST: i64 = 1_000_000_000;
    let (name, value) = (root.child("metadata").child("name"), root.child("value"));
    if name.text().starts_with("system-") && !["system-cluster-critical", "system-node-critical"].contains(&name.text())
    {
        let why = "priority class names with 'system-' prefix are reserved for system use only. error: ";
        causes.forbidden(&name, &format!("{why}{} is not a known system priority class", name.text()));
    } else if !name.text().starts_with("system-") && value.number().is_some_and(|n| n > HIGHEST) {
        let why = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        causes.forbidden(&value, &why);
    }
    let policy = root.child("preemptionPolicy");
    if policy.is_set() {
        causes.one_of(&policy, &["PreemptLowerPriority", "Never"]);
    }
}

/// Checks what may become of a PriorityClass.
pub(super) fn priority_class_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    if new.child("value").value != old.child("value").value {
        causes.forbidden(&new.child("value"), "may not be changed in an update.");
    }
    causes.immutable(&new.child("preemptionPolicy"), &old.child("preemptionPolicy"));
}

/// Checks a CertificateSigningRequest.
pub(super) fn signing_request(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    if spec.child("usages").len() == 0 {
        causes.required(&spec.child("usages"), "");
    }
    let signer = spec.child("signerName");
    if signer.text().is_empty() {
        causes.required(&signer, "");
    } else if signer.text().split_once('/').is_none_or(|(domain, path)| !domain.contains('.') || path.is_empty()) {
        causes.invalid(&signer, "must be a fully qualified domain and path of the form \"example.com/signer-name\"");
    }
    let duration = spec.child("expirationSeconds");
    if duration.number().is_some_and(|n| n < 600) {
        causes.invalid(&duration, "may not specify a duration less than 600 seconds (10 minutes)");
    }
    if spec.child("request").text().is_empty() {
        causes.invalid_as(&spec.child("request"), "\"\"", "PEM block type must be CERTIFICATE REQUEST");
    }
}

/// Who has been let in or turned away by `/approval` stays so: a status does not change it.
pub(super) fn decisions_stay(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let of = |root: &Field<'_>, kind: &str| -> Vec<Value> {
        let conditions = root.child("status").child("conditions");
        conditions.items().filter(|c| c.child("type").text() == kind).map(|c| c.value.clone()).collect()
    };
    let conditions = new.child("status").child("conditions");
    for kind in ["Approved", "Denied"] {
        let (now, was) = (of(new, kind), of(old, kind));
        if !was.is_empty() && now.is_empty() {
            causes.forbidden(&conditions, &format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    if !of(new, "Approved").is_empty() && !of(new, "Denied").is_empty() {
        causes.invalid(&conditions, "Approved and Denied conditions are mutually exclusive");
    }
}
