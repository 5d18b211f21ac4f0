//! Which pods wait for a node, and in which order.

use std::cmp::Reverse;

use k8s_openapi::api::core::v1::Pod;

use crate::object::kinds;
use crate::store::Snapshot;
use crate::time::Wall;

/// Tells whether this scheduler is to find a node for `pod` now.
pub fn is_waiting(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    spec.node_name.as_deref().unwrap_or_default().is_empty()
        && spec.scheduler_name.as_deref().is_none_or(|name| name == super::NAME)
        && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
        && pod.metadata.deletion_timestamp.is_none()
        && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Lists the pods that wait, the most important first, then the oldest.
pub fn waiting(snapshot: &Snapshot) -> Vec<Pod> {
    let unbound = snapshot.list(&kinds::POD, None).filter(|entry| entry.node.is_none() && !entry.terminating);
    let mut pods: Vec<Pod> = unbound.filter_map(|entry| entry.typed()).filter(is_waiting).collect();
    pods.sort_by_cached_key(|pod| {
        let meta = &pod.metadata;
        let created = meta.creation_timestamp.as_ref().map(Wall::of).unwrap_or_default();
        let priority = pod.spec.as_ref().and_then(|s| s.priority).unwrap_or_default();
        (Reverse(priority), created, meta.namespace.clone(), meta.name.clone())
    });
    pods
}
