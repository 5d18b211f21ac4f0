//! Ends pods that do not tolerate a `NoExecute` taint that somebody gave their node.
//!
//! Taints that are projected (`store::reach`) end no pod: what a node that does not answer runs is lost at most, and
//! its ReplicaSet sees to that. Upstream also tells the pod by a condition `DisruptionTarget`; a pod's status is its
//! node's here.

use k8s_openapi::api::core::v1::{Pod, PodSpec, Taint};
use serde_json::Value;

use crate::object::{Key, NoteType};
use crate::store::{Change, DeleteOptions, Entry, Precondition, Snapshot};
use crate::time::{Now, Wall};

use super::node::{self, NO_EXECUTE};
use super::{BURST, Plan, edit, note};

/// Who says what this controller has to say.
const COMPONENT: &str = "taint-eviction-controller";

/// Looks after the pods of the node at `key`.
pub fn reconcile(view: &Snapshot, key: &Key, now: Now) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    let taints: Vec<Taint> = node::taints(entry).into_iter().filter(ends_pods).collect();
    let mut plan = Plan::default();
    if taints.is_empty() {
        return plan;
    }
    if taints.iter().any(|t| t.time_added.is_none()) {
        plan.changes.push(edit::update(entry, timed(entry.value(), now.wall)));
    }
    for pod in view.on_node(&key.name).filter(|e| !e.terminating) {
        let spec = pod.typed::<Pod>().and_then(|p| p.spec).unwrap_or_default();
        match time_left(&spec, &taints, now.wall) {
            Some(left) if !left.is_zero() => plan.look_again(left),
            Some(_) if plan.changes.len() < BURST => evict(&mut plan, pod),
            _ => {}
        }
    }
    plan
}

fn ends_pods(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && !node::is_projected(taint)
}

/// Writes down since when the taints are there: a pod's patience counts from then, whoever leads by then.
fn timed(mut node: Value, now: Wall) -> Value {
    for taint in node["spec"]["taints"].as_array_mut().into_iter().flatten() {
        let ends = serde_json::from_value(taint.clone()).is_ok_and(|t| ends_pods(&t));
        if ends && taint["timeAdded"].is_null() {
            taint["timeAdded"] = now.to_string().into();
        }
    }
    node
}

/// How long the pod may stay beside all of them.
fn time_left(spec: &PodSpec, taints: &[Taint], now: Wall) -> Option<std::time::Duration> {
    taints.iter().filter_map(|taint| node::time_left(spec, taint, now)).min()
}

fn evict(plan: &mut Plan, pod: &Entry) {
    let options = DeleteOptions { when: Precondition::same(pod), ..DeleteOptions::default() };
    plan.changes.push(Change::Delete { key: pod.key.clone(), options });
    let message = format!("Marking for deletion Pod {}/{}", pod.key.namespace, pod.key.name);
    plan.notes.push(note(pod, NoteType::Normal, COMPONENT, "TaintManagerEviction", message));
}
