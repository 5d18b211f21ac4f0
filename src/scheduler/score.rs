//! How good each feasible node is. Every aspect gives 0 to 100 and has a weight, as upstream's plugins have.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodSpec, Taint};

use super::affinity;
use super::spread;
use super::view::{Facts, NodeView, View};
use crate::object::Quantity;
use crate::object::fit;

const BEST: i64 = 100;

/// Weights of upstream's default profile.
const LEAST_ALLOCATED: i64 = 1;
const NODE_PREFERENCE: i64 = 2;
const POD_PREFERENCE: i64 = 2;
const SPREAD: i64 = 2;
const TAINTS: i64 = 3;

/// Scores the nodes, in their order.
pub(super) fn scores(view: &View, pod: &Pod, nodes: &[&NodeView]) -> Vec<i64> {
    let Some(spec) = &pod.spec else { return vec![0; nodes.len()] };
    let each = |score: &dyn Fn(&NodeView) -> i64| nodes.iter().map(|node| score(node)).collect::<Vec<_>>();
    let requested = fit::scored_requests(spec);
    let aspects = [
        (LEAST_ALLOCATED, each(&|node| least_allocated(node, requested))),
        (NODE_PREFERENCE, more_is_better(&each(&|node| fit::preference(spec, &node.node)))),
        (POD_PREFERENCE, more_is_better(&affinity::preferences(view, pod, nodes))),
        (SPREAD, spread_out(view, pod, nodes)),
        (TAINTS, less_is_better(&each(&|node| avoided_taints(spec, node)))),
    ];
    (0..nodes.len()).map(|i| aspects.iter().map(|(weight, scores)| weight * scores[i]).sum()).collect()
}

/// Scales from the least to the most; all the same is nothing.
fn more_is_better(counts: &[i64]) -> Vec<i64> {
    let (least, most) = bounds(counts);
    counts.iter().map(|n| if most == least { 0 } else { (n - least) * BEST / (most - least) }).collect()
}

/// Scales so that none is best.
fn less_is_better(counts: &[i64]) -> Vec<i64> {
    let (_, most) = bounds(counts);
    counts.iter().map(|n| if most == 0 { BEST } else { (most - n) * BEST / most }).collect()
}

fn bounds(counts: &[i64]) -> (i64, i64) {
    (counts.iter().copied().min().unwrap_or_default(), counts.iter().copied().max().unwrap_or_default())
}

/// How much would be left free, processor and memory alike.
fn least_allocated(node: &NodeView, (cpu, memory): (i64, i64)) -> i64 {
    let allocatable = fit::amounts(node.node.status.as_ref().and_then(|s| s.allocatable.as_ref()));
    let of = |name: &str| allocatable.get(name).copied().unwrap_or(Quantity::ZERO);
    let free = |all: i64, taken: i64| {
        if all <= 0 || taken >= all {
            return 0;
        }
        i64::try_from(i128::from(all - taken) * i128::from(BEST) / i128::from(all)).unwrap_or_default()
    };
    let cpu = free(of("cpu").milli_value(), node.scored.0.saturating_add(cpu));
    let memory = free(of("memory").value(), node.scored.1.saturating_add(memory));
    i64::midpoint(cpu, memory)
}

/// How many taints the pod does not tolerate that only ask to be avoided.
fn avoided_taints(spec: &PodSpec, node: &NodeView) -> i64 {
    let soft = |t: &&Taint| {
        t.effect == "PreferNoSchedule" && !spec.tolerations.iter().flatten().any(|own| fit::tolerates(own, t))
    };
    let taints = node.node.spec.as_ref().and_then(|s| s.taints.as_ref()).into_iter().flatten();
    i64::try_from(taints.filter(soft).count()).unwrap_or(i64::MAX)
}

/// The pod's own constraints if it has any, else away from its siblings: pods of the same controller, or of the same
/// Service if it has none. As upstream, a Service's other pods do not count for one that has a controller: in a rollout
/// the old pods would else push the new ones together.
fn spread_out(view: &View, pod: &Pod, nodes: &[&NodeView]) -> Vec<i64> {
    match spread::preferred(view, pod, nodes) {
        Some(counts) => less_is_better(&counts),
        None => apart_from_siblings(view, pod, nodes),
    }
}

/// Zones count twice as much as nodes, as in upstream's SelectorSpread.
fn apart_from_siblings(view: &View, pod: &Pod, nodes: &[&NodeView]) -> Vec<i64> {
    let own = Facts::of(pod);
    let services = view.services_of(&own.namespace, &own.labels);
    let is_sibling = |other: &Facts| {
        let related = match own.controller {
            Some(_) => other.controller == own.controller,
            None => services.iter().any(|s| s.matches(&other.labels)),
        };
        related && other.namespace == own.namespace && !other.terminating
    };
    let siblings = |node: &NodeView| node.pods.iter().filter(|p| is_sibling(p)).count();
    let counts: Vec<i64> = nodes.iter().map(|n| i64::try_from(siblings(n)).unwrap_or(i64::MAX)).collect();
    let by_node = less_is_better(&counts);
    let mut zones: BTreeMap<&str, i64> = BTreeMap::new();
    for (node, count) in nodes.iter().zip(&counts) {
        if let Some(zone) = node.label(ZONE) {
            *zones.entry(zone).or_default() += count;
        }
    }
    let most = zones.values().copied().max().unwrap_or_default();
    let in_zone = |node: &NodeView| node.label(ZONE).map(|zone| zones[zone]);
    let scored = nodes.iter().zip(by_node).map(|(node, score)| match in_zone(node) {
        Some(count) if most > 0 => (score + 2 * ((most - count) * BEST / most)) / 3,
        _ => score,
    });
    scored.collect()
}

const ZONE: &str = "topology.kubernetes.io/zone";
