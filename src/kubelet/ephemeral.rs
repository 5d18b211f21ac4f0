//! Ephemeral containers: those that somebody adds to a running pod to look at it (`kubectl debug`).
//!
//! They start as soon as there is a sandbox, run once, and count neither for the pod's phase nor for its readiness.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

use super::pod::Worker;
use super::slot::{Role, Slot};

/// Returns an ephemeral container as a container: it has the same fields but for whom it looks at.
pub(super) fn as_container(ephemeral: &EphemeralContainer) -> Option<Container> {
    serde_json::from_value(serde_json::to_value(ephemeral).ok()?).ok()
}

impl Worker {
    /// Returns the runtime's id of the container whose processes a slot's container is to see, if it is to see any.
    ///
    /// # Errors
    /// That container does not run.
    pub(super) fn processes(&self, pod: &Pod, slot: &Slot) -> Result<Option<String>, String> {
        if slot.role != Role::Ephemeral {
            return Ok(None);
        }
        let all = pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten());
        let target = all.filter(|c| c.name == slot.name()).find_map(|c| c.target_container_name.clone());
        let Some(target) = target.filter(|name| !name.is_empty()) else { return Ok(None) };
        let run = self.slots.iter().find(|s| s.name() == target).and_then(Slot::running);
        run.map(|run| Some(run.id.clone())).ok_or_else(|| format!("unable to find target container {target}"))
    }
}
