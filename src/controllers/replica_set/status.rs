//! A ReplicaSet's status: counts of the pods that the view shows.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};

use crate::store::{Change, Entry, Precondition};
use crate::time::Now;

use super::{Plan, Replica, pod};

/// Plans the new status if it differs, and another look when the next pod becomes available by mere waiting.
pub fn count(plan: &mut Plan, entry: &Entry, set: &ReplicaSet, replicas: &[Replica], now: Now) {
    let spec = set.spec.as_ref();
    let min_ready = spec.and_then(|s| s.min_ready_seconds).and_then(|s| u64::try_from(s).ok()).unwrap_or(0);
    let waits: Vec<Duration> = replicas
        .iter()
        .filter_map(|r| pod::until_available(&r.pod, Duration::from_secs(min_ready), now.wall))
        .collect();
    if let Some(next) = waits.iter().copied().filter(|w| !w.is_zero()).min() {
        plan.look_again(next);
    }

    let labels = spec.and_then(|s| s.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let labelled = |r: &&Replica| labels.into_iter().flatten().all(|(k, v)| r.entry.labels.get(k) == Some(v));
    let status = ReplicaSetStatus {
        replicas: number(replicas.len()),
        fully_labeled_replicas: some(replicas.iter().filter(labelled).count()),
        ready_replicas: some(waits.len()),
        available_replicas: some(waits.iter().filter(|w| w.is_zero()).count()),
        observed_generation: set.metadata.generation,
        conditions: set.status.as_ref().and_then(|s| s.conditions.clone()),
        terminating_replicas: None,
    };
    if set.status.as_ref() != Some(&status) {
        let status = serde_json::to_value(status).expect("a status serialises");
        plan.changes.push(Change::Status { key: entry.key.clone(), status, when: Precondition::same(entry) });
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Kubernetes leaves zeros out.
fn some(count: usize) -> Option<i32> {
    Some(number(count)).filter(|n| *n != 0)
}
