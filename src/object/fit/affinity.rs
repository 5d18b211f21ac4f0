//! Node selectors and node affinity.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Tells whether the node is one that the pod's `nodeSelector` and required affinity ask for.
pub fn matches_node(spec: &PodSpec, node: &Node) -> bool {
    let labels = labels_of(node);
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = node_affinity(spec).and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    // Terms are alternatives, and one that says nothing matches nothing.
    selected && required.is_none_or(|r| r.node_selector_terms.iter().any(|t| !is_empty(t) && matches(t, node)))
}

/// Returns the sum of the weights of the preferences that the node meets.
pub fn preference(spec: &PodSpec, node: &Node) -> i64 {
    let preferred = node_affinity(spec).and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let met = preferred.into_iter().flatten().filter(|p| !is_empty(&p.preference) && matches(&p.preference, node));
    met.map(|p| i64::from(p.weight)).sum()
}

fn node_affinity(spec: &PodSpec) -> Option<&NodeAffinity> {
    spec.affinity.as_ref()?.node_affinity.as_ref()
}

fn labels_of(node: &Node) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    node.metadata.labels.as_ref().unwrap_or(&NONE)
}

fn is_empty(term: &NodeSelectorTerm) -> bool {
    let none = |list: &Option<Vec<_>>| list.as_ref().is_none_or(Vec::is_empty);
    none(&term.match_expressions) && none(&term.match_fields)
}

fn matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    let labels = labels_of(node);
    let name = node.metadata.name.as_ref();
    term.match_expressions.iter().flatten().all(|r| meets(r, labels.get(&r.key)))
        && term.match_fields.iter().flatten().all(|r| r.key == "metadata.name" && meets(r, name))
}

fn meets(requirement: &NodeSelectorRequirement, value: Option<&String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let compared = || Some((value?.parse::<i64>().ok()?, values.first()?.parse::<i64>().ok()?));
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|v| values.contains(v)),
        "NotIn" => value.is_none_or(|v| !values.contains(v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compared().is_some_and(|(label, bound)| label > bound),
        "Lt" => compared().is_some_and(|(label, bound)| label < bound),
        _ => false,
    }
}
