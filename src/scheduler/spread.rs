//! Topology spread constraints: how evenly pods like this one lie over nodes or zones.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec, TopologySpreadConstraint};

use super::view::{Facts, NodeView, View};
use crate::object::Selector;
use crate::object::fit;

/// The constraints that a node must meet (`DoNotSchedule`), counted.
pub(super) struct Spread<'a>(Vec<Counted<'a>>);

/// One constraint and how many pods like this one each domain has.
struct Counted<'a> {
    key: String,
    max_skew: i64,
    counts: BTreeMap<&'a str, i64>,
    /// The least that any domain has.
    least: i64,
    /// Whether the pod to be placed counts itself.
    own: i64,
}

impl<'a> Spread<'a> {
    /// Counts for the constraints of `pod` that must be met.
    pub(super) fn required(view: &'a View, pod: &Pod) -> Self {
        let counted = constraints(pod, "DoNotSchedule").map(|(spec, c)| Counted::of(view, pod, spec, c));
        Self(counted.collect())
    }

    /// Tells why the pod may not go on `node`, if so.
    pub(super) fn misfit(&self, node: &NodeView) -> Option<&'static str> {
        for constraint in &self.0 {
            let Some(domain) = node.label(&constraint.key) else {
                return Some("node(s) didn't match pod topology spread constraints (missing required label)");
            };
            let count = constraint.counts.get(domain).copied().unwrap_or_default();
            if count + constraint.own - constraint.least > constraint.max_skew {
                return Some("node(s) didn't match pod topology spread constraints");
            }
        }
        None
    }
}

/// Returns, for each node, how many pods like this one its domains have, summed over the constraints that should be
/// met (`ScheduleAnyway`). `None` if the pod has no such constraint.
pub(super) fn preferred(view: &View, pod: &Pod, nodes: &[&NodeView]) -> Option<Vec<i64>> {
    let counted: Vec<_> = constraints(pod, "ScheduleAnyway").map(|(spec, c)| Counted::of(view, pod, spec, c)).collect();
    if counted.is_empty() {
        return None;
    }
    // A node outside the topology is worse than any within.
    let count = |node: &NodeView, c: &Counted<'_>| match node.label(&c.key) {
        Some(domain) => c.counts.get(domain).copied().unwrap_or_default(),
        None => c.counts.values().copied().max().unwrap_or_default() + 1,
    };
    Some(nodes.iter().map(|node| counted.iter().map(|c| count(node, c)).sum()).collect())
}

fn constraints<'p>(pod: &'p Pod, action: &str) -> impl Iterator<Item = (&'p PodSpec, &'p TopologySpreadConstraint)> {
    let spec = pod.spec.as_ref();
    let all = spec.into_iter().flat_map(|s| s.topology_spread_constraints.iter().flatten().map(move |c| (s, c)));
    let action = action.to_owned();
    all.filter(move |(_, c)| c.when_unsatisfiable == action)
}

impl<'a> Counted<'a> {
    fn of(view: &'a View, pod: &Pod, spec: &PodSpec, constraint: &TopologySpreadConstraint) -> Self {
        let own = Facts::of(pod);
        let selector = constraint.label_selector.as_ref().and_then(|s| Selector::of_typed(s).ok());
        let selector = selector.unwrap_or_else(Selector::nothing);
        let same: Vec<_> =
            constraint.match_label_keys.iter().flatten().filter(|k| own.labels.contains_key(*k)).collect();
        let alike = |other: &Facts| {
            other.namespace == own.namespace
                && selector.matches(&other.labels)
                && same.iter().all(|key| other.labels.get(*key) == own.labels.get(*key))
        };
        let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
        for node in view.nodes().filter(|node| counts_in(constraint, spec, node)) {
            if let Some(domain) = node.label(&constraint.topology_key) {
                let count = node.pods.iter().filter(|p| !p.terminating && alike(p)).count();
                *counts.entry(domain).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
            }
        }
        let enough = counts.len() >= usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or_default();
        Self {
            key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            least: if enough { counts.values().copied().min().unwrap_or_default() } else { 0 },
            own: i64::from(alike(&own)),
            counts,
        }
    }
}

/// Whether a node's domain counts at all: by default if the pod could go there but for taints.
fn counts_in(constraint: &TopologySpreadConstraint, spec: &PodSpec, node: &NodeView) -> bool {
    let honors = |policy: &Option<String>, default: bool| policy.as_deref().map_or(default, |p| p == "Honor");
    let fits = !honors(&constraint.node_affinity_policy, true) || fit::matches_node(spec, &node.node);
    let tolerated = || fit::untolerated(spec, &node.node, &["NoSchedule", "NoExecute"]).is_none();
    fits && (!honors(&constraint.node_taints_policy, false) || tolerated())
}
