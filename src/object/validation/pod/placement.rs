//! Where a pod may go: tolerations, affinity, spread, gates.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::object::validation::field::{Causes, Field, quoted};
use crate::object::validation::{meta, names, selector};

/// Checks tolerations.
pub(super) fn tolerations(tolerations: &Field<'_>, causes: &mut Causes) {
    for toleration in tolerations.items() {
        let (key, operator) = (toleration.child("key"), toleration.child("operator"));
        let (effect, value) = (toleration.child("effect"), toleration.child("value"));
        if !key.text().is_empty() {
            causes.invalid_each(&key, names::qualified_name(key.text()));
        } else if operator.text() != "Exists" {
            let why = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            causes.invalid_as(&operator, &quoted(operator.text()), why);
        }
        if toleration.has("tolerationSeconds") && effect.text() != "NoExecute" {
            let why = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            causes.invalid_as(&effect, &quoted(effect.text()), why);
        }
        match operator.text() {
            "" | "Equal" => {
                let faults = names::label_value(value.text());
                if !faults.is_empty() {
                    causes.invalid_as(&operator, &quoted(value.text()), &faults.join(";"));
                }
            }
            "Exists" if !value.text().is_empty() => {
                causes.invalid_as(&operator, &quoted(value.text()), "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            _ => causes.not_supported(&operator, &["Equal", "Exists"]),
        }
        if !effect.text().is_empty() {
            taint_effect(&effect, causes);
        }
    }
}

/// Checks the effect of a taint.
pub(in crate::object::validation) fn taint_effect(effect: &Field<'_>, causes: &mut Causes) {
    causes.one_of(effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
}

/// Checks that no gate is named twice, and that names are well formed.
pub(super) fn gates(gates: &Field<'_>, causes: &mut Causes) {
    let mut used = BTreeSet::new();
    for gate in gates.items() {
        let name = gate.child("name").named(&gate.path);
        causes.invalid_each(&name, names::qualified_name(name.text()));
        if !used.insert(name.text()) {
            causes.duplicate(&name);
        }
    }
}

/// Checks affinity to nodes and to pods.
pub(super) fn affinity(affinity: &Field<'_>, causes: &mut Causes) {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let node = affinity.child("nodeAffinity");
    let required = node.child(REQUIRED);
    if required.is_set() {
        let terms = required.child("nodeSelectorTerms");
        if terms.len() == 0 {
            causes.required(&terms, "must have at least one node selector term");
        }
        terms.items().for_each(|term| node_term(&term, causes));
    }
    for preferred in node.child(PREFERRED).items() {
        weight(&preferred.child("weight"), causes);
        node_term(&preferred.child("preference"), causes);
    }
    for pods in ["podAffinity", "podAntiAffinity"].map(|name| affinity.child(name)) {
        pods.child(REQUIRED).items().for_each(|term| pod_term(&term, causes));
        for preferred in pods.child(PREFERRED).items() {
            weight(&preferred.child("weight"), causes);
            pod_term(&preferred.child("podAffinityTerm"), causes);
        }
    }
}

fn weight(weight: &Field<'_>, causes: &mut Causes) {
    let number = weight.number().unwrap_or_default();
    if !(1..=100).contains(&number) {
        causes.invalid_as(weight, &number.to_string(), "must be in the range 1-100");
    }
}

fn node_term(term: &Field<'_>, causes: &mut Causes) {
    for requirement in term.child("matchExpressions").items() {
        node_requirement(&requirement, causes);
        let key = requirement.child("key");
        causes.invalid_each(&key, names::qualified_name(key.text()));
    }
    for requirement in term.child("matchFields").items() {
        node_requirement(&requirement, causes);
        let key = requirement.child("key");
        if key.text() != "metadata.name" {
            causes.invalid_as(&key, &quoted(key.text()), "not a valid field selector key");
        }
    }
}

fn node_requirement(requirement: &Field<'_>, causes: &mut Causes) {
    let (operator, values) = (requirement.child("operator"), requirement.child("values"));
    match operator.text() {
        "In" | "NotIn" if values.len() == 0 => {
            causes.required(&values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if values.len() > 0 => {
            causes.forbidden(&values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            causes.required(&values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        word => causes.invalid_as(&operator, &quoted(word), "not a valid selector operator"),
    }
}

fn pod_term(term: &Field<'_>, causes: &mut Causes) {
    selector::label_selector(&term.child("labelSelector"), causes);
    selector::label_selector(&term.child("namespaceSelector"), causes);
    for namespace in term.child("namespaces").items() {
        let field = namespace.named(term.child("namespace").path);
        causes.invalid_each(&field, names::dns_label(field.text()));
    }
    let key = term.child("topologyKey");
    if key.text().is_empty() {
        causes.required(&key, "can not be empty");
    }
    meta::label_key(&key, key.text(), causes);
}

/// Checks topology spread constraints.
pub(super) fn spread(constraints: &Field<'_>, causes: &mut Causes) {
    let all: Vec<_> = constraints.items().collect();
    for (i, constraint) in all.iter().enumerate() {
        let (skew, key) = (constraint.child("maxSkew"), constraint.child("topologyKey"));
        if skew.number().unwrap_or_default() <= 0 {
            causes.invalid_as(&skew, &skew.number().unwrap_or_default().to_string(), "must be greater than zero");
        }
        if key.text().is_empty() {
            causes.required(&key, "can not be empty");
        }
        let action = constraint.child("whenUnsatisfiable");
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&action.text()) {
            causes.not_supported(&action, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let same = |other: &Field<'_>| {
            other.child("topologyKey").text() == key.text() && other.child("whenUnsatisfiable").text() == action.text()
        };
        if all[i + 1..].iter().any(same) {
            let pair = Value::from(format!("{{{}, {}}}", key.text(), action.text()));
            let path = constraint.child("{topologyKey, whenUnsatisfiable}").path;
            causes.duplicate(&Field { value: &pair, path });
        }
        let domains = constraint.child("minDomains");
        if let Some(number) = domains.number() {
            if number <= 0 {
                causes.invalid(&domains, "must be greater than zero");
            }
            if action.text() != "DoNotSchedule" {
                let why = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", action.text());
                causes.invalid(&domains, &why);
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"].map(|name| constraint.child(name)) {
            if policy.is_set() && !["Honor", "Ignore"].contains(&policy.text()) {
                causes.not_supported(&policy, &["Honor", "Ignore"]);
            }
        }
        selector::label_selector(&constraint.child("labelSelector"), causes);
    }
}
