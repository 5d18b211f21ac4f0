//! Counts what a PodDisruptionBudget is about, and says how many pods may be evicted.
//!
//! Evictions that the ledger (`object::disruption`) holds count as done, and the status names them, so that whoever reads it
//! knows which are in its numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::ids::Uid;
use crate::object::{Key, Selector, disruption, kinds};
use crate::store::{Change, Entry, Precondition, Snapshot};
use crate::time::Now;

use super::{Plan, pod};

const ALLOWED: &str = "DisruptionAllowed";

/// Brings the status of the budget at `key` up to date.
pub fn reconcile(view: &Snapshot, key: &Key, now: Now) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    let Some(budget) = entry.typed::<PodDisruptionBudget>() else { return Plan::default() };
    let spec = budget.spec.unwrap_or_default();
    let mut plan = Plan::default();
    let lease = view.get(&disruption::key(key)).map(|lease| lease.value());
    let ledger = lease.map(|lease| disruption::entries(&lease, now.wall)).unwrap_or_default();
    for left in ledger.values().filter_map(|at| disruption::left(at, now.wall)) {
        plan.look_again(Duration::from_micros(left));
    }
    // No selector selects nothing, an empty one everything.
    let selector = spec.selector.as_ref().and_then(|selector| Selector::of_typed(selector).ok());
    let selected = |pod: &&Arc<Entry>| selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels));
    let pods: Vec<&Arc<Entry>> = view.list(&kinds::POD, Some(&key.namespace)).filter(selected).collect();
    let is_healthy = |pod: &&&Arc<Entry>| {
        let counts = !pod.terminating && !pod::finished(pod) && !ledger.contains_key(&pod.key.name);
        counts && pod.typed::<Pod>().is_some_and(|pod| pod::ready_since(&pod).is_some())
    };
    let healthy = number(pods.iter().filter(is_healthy).count());

    let old = entry.value();
    let mut status = match wanted(view, &spec, &pods) {
        Ok((expected, desired)) => {
            let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
            let (value, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
            let condition = condition(&old, value, reason, "", now);
            json!({"currentHealthy": healthy, "desiredHealthy": desired, "expectedPods": expected,
                "disruptionsAllowed": allowed, "conditions": [condition]})
        }
        Err(why) => {
            let mut status = old["status"].clone();
            status["disruptionsAllowed"] = 0.into();
            status["conditions"] = json!([condition(&old, "False", "SyncFailed", &why, now)]);
            status
        }
    };
    status["observedGeneration"] = old["metadata"]["generation"].clone();
    match status.as_object_mut() {
        Some(status) if ledger.is_empty() => drop(status.remove("disruptedPods")),
        _ => status["disruptedPods"] = json!(ledger),
    }
    if status != old["status"] {
        plan.changes.push(Change::Status { key: key.clone(), status, when: Precondition::same(entry) });
    }
    plan
}

/// How many pods there should be, and how many of them healthy.
fn wanted(view: &Snapshot, spec: &PodDisruptionBudgetSpec, pods: &[&Arc<Entry>]) -> Result<(i32, i32), String> {
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let expected = scale(view, pods)?;
            Ok((expected, (expected - share(most, expected)).max(0)))
        }
        (None, Some(IntOrString::Int(least))) => Ok((number(pods.len()), *least)),
        (None, Some(least)) => {
            let expected = scale(view, pods)?;
            Ok((expected, share(least, expected)))
        }
        (None, None) => Ok((number(pods.len()), 0)),
    }
}

/// How many pods the controllers of `pods` ask for together.
fn scale(view: &Snapshot, pods: &[&Arc<Entry>]) -> Result<i32, String> {
    let mut scales: BTreeMap<Uid, i32> = BTreeMap::new();
    for owner in pods.iter().filter_map(|pod| view.by_uid(pod.controller?)) {
        let above = owner.controller.and_then(|uid| view.by_uid(uid));
        let owner = above.filter(|above| *above.key.kind == kinds::DEPLOYMENT).unwrap_or(owner);
        if scales.contains_key(&owner.uid) {
            continue;
        }
        let kind = owner.key.kind;
        if !kind.has(kinds::Subresource::Scale) {
            return Err(format!("{kind} {:?} does not implement the scale subresource", owner.key.name));
        }
        let replicas = owner.value()["spec"]["replicas"].as_i64().unwrap_or(1);
        scales.insert(owner.uid, i32::try_from(replicas).unwrap_or(i32::MAX));
    }
    Ok(scales.values().fold(0, |sum, scale| sum.saturating_add(*scale)))
}

/// A number, or a percentage of `total` rounded up.
fn share(amount: &IntOrString, total: i32) -> i32 {
    match amount {
        IntOrString::Int(number) => *number,
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|n| n.parse::<i64>().ok()).unwrap_or(0);
            i32::try_from((percent * i64::from(total) + 99) / 100).unwrap_or(i32::MAX)
        }
    }
}

/// The condition, with the time of the one before if that says the same.
fn condition(budget: &Value, value: &str, reason: &str, message: &str, now: Now) -> Value {
    let before = budget["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == ALLOWED);
    let since = before.filter(|c| c["status"] == value).map(|c| c["lastTransitionTime"].clone());
    json!({"type": ALLOWED, "status": value, "reason": reason, "message": message,
        "observedGeneration": budget["metadata"]["generation"],
        "lastTransitionTime": since.unwrap_or_else(|| now.wall.to_string().into())})
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
