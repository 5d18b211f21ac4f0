//! What controllers ask of a pod.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodCondition};

use crate::store::Entry;
use crate::time::Wall;

/// Tells whether the pod has run its course: Succeeded or Failed.
pub fn finished(entry: &Entry) -> bool {
    matches!(entry.phase.as_deref(), Some("Succeeded" | "Failed"))
}

/// Tells whether the pod counts as a replica: neither finished nor on its way out.
pub fn active(entry: &Entry) -> bool {
    !entry.terminating && !finished(entry)
}

/// Returns since when the pod is ready; the epoch if it does not say.
pub fn ready_since(pod: &Pod) -> Option<Wall> {
    let condition = condition(pod, "Ready").filter(|c| c.status == "True")?;
    Some(condition.last_transition_time.as_ref().map_or(Wall(0), Wall::of))
}

/// Tells how long until the pod has been ready for `min_ready`: zero if it is available, `None` if it is not ready.
pub fn until_available(pod: &Pod, min_ready: Duration, now: Wall) -> Option<Duration> {
    let at = ready_since(pod)? + min_ready;
    let micros = u64::try_from(at.0.saturating_sub(now.0)).unwrap_or(0);
    Some(if min_ready.is_zero() { Duration::ZERO } else { Duration::from_micros(micros) })
}

fn condition<'a>(pod: &'a Pod, name: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|c| c.type_ == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(ready: &str, since: &str) -> Pod {
        serde_json::from_value(json!({"status": {"conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": ready, "lastTransitionTime": since}]}}))
        .unwrap()
    }

    #[test]
    fn a_pod_is_available_once_it_was_ready_long_enough() {
        let s = Duration::from_secs;
        let pod = pod("True", "1970-01-01T00:01:40Z");
        let at = |secs| until_available(&pod, s(10), Wall::from_secs(secs));
        assert_eq!(at(100), Some(s(10)));
        assert_eq!(at(109), Some(s(1)));
        assert_eq!(at(110), Some(s(0)));
        assert_eq!(until_available(&pod, s(0), Wall::from_secs(0)), Some(s(0)));
    }

    #[test]
    fn a_pod_that_is_not_ready_is_not_available() {
        assert_eq!(until_available(&pod("False", "1970-01-01T00:01:40Z"), Duration::ZERO, Wall::from_secs(200)), None);
        assert_eq!(until_available(&Pod::default(), Duration::ZERO, Wall::from_secs(200)), None);
    }
}
