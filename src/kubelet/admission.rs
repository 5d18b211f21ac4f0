//! Whether a pod that was bound here may run here: the node looks again, for whoever bound it may not have known all.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};

use crate::ids::Uid;
use crate::object::fit::{self, Misfit, Resources, Usage};
use crate::object::{Key, Quantity, kinds};
use crate::store::Snapshot;

use super::pod::Worker;

/// Why a pod is refused, as upstream words it: reason and message.
pub(super) type Refusal = (&'static str, String);

/// Decides on a pod that has not run here yet, against those that were admitted before it.
pub(super) fn refusal(view: &Snapshot, node: &str, workers: &BTreeMap<Uid, Worker>, pod: &Pod) -> Option<Refusal> {
    let mut node: Node = view.get(&Key::cluster(&kinds::NODE, node))?.typed()?;
    // Taints and cordons, and those that a node has while it is not ready, are the scheduler's business: a pod that is
    // bound is bound.
    node.spec = None;
    let status = node.status.as_mut()?;
    status.conditions = Some(vec![ready()]);
    let allocatable = fit::amounts(status.allocatable.as_ref());
    if allocatable.is_empty() {
        return None;
    }
    let mut usage = Usage::default();
    let taking = workers.values().filter(|w| w.admitted && !w.over && w.verdict.is_none());
    for spec in taking.filter_map(Worker::spec) {
        usage.add(&fit::requests(spec), &fit::host_ports(spec));
    }
    let misfit = fit::misfits(pod, &node, &usage).into_iter().next()?;
    let requested = pod.spec.as_ref().map(fit::requests).unwrap_or_default();
    Some(worded(&misfit, &requested, &usage, &allocatable))
}

fn ready() -> NodeCondition {
    NodeCondition { status: "True".into(), type_: "Ready".into(), ..NodeCondition::default() }
}

fn worded(misfit: &Misfit, requested: &Resources, usage: &Usage, allocatable: &Resources) -> Refusal {
    let predicate = match misfit {
        Misfit::Insufficient(name) => {
            let of = |amounts: &Resources| shown(name, amounts.get(name).copied().unwrap_or(Quantity::ZERO));
            return short(name, of(requested), of(&usage.requested), of(allocatable));
        }
        Misfit::TooManyPods => {
            let used = i64::try_from(usage.pods).unwrap_or(i64::MAX);
            return short("pods", 1, used, allocatable.get("pods").map_or(0, |q| q.value()));
        }
        Misfit::HostPorts => "NodePorts",
        Misfit::Affinity => "NodeAffinity",
        Misfit::Unschedulable => "NodeUnschedulable",
        Misfit::Taint { .. } => "TaintToleration",
    };
    (predicate, format!("Predicate {predicate} failed: {misfit}"))
}

fn short(resource: &str, requested: i64, used: i64, capacity: i64) -> Refusal {
    let numbers = format!("requested: {requested}, used: {used}, capacity: {capacity}");
    let reason = match resource {
        "cpu" => "OutOfcpu",
        "memory" => "OutOfmemory",
        "ephemeral-storage" => "OutOfephemeral-storage",
        "pods" => "OutOfpods",
        _ => "UnexpectedAdmissionError",
    };
    (reason, format!("Node didn't have enough resource: {resource}, {numbers}"))
}

/// An amount as upstream counts it: processors in thousandths.
fn shown(resource: &str, amount: Quantity) -> i64 {
    if resource == "cpu" { amount.milli_value() } else { amount.value() }
}
