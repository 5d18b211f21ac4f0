//! A container's resources in the runtime's units, and the pod's quality-of-service class.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource;

use crate::object::Quantity;

use super::action::ResourceSpec;

/// What the kernel kills last: a Guaranteed pod, one below the kubelet itself (upstream's `guaranteedOOMScoreAdj`).
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1000;

/// What the node has, as far as the runtime told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capacity {
    pub cpus: u32,
    pub memory: u64,
}

/// Reads a quantity in `container`'s limits or requests. One that cannot be parsed, which validation prevents,
/// counts as absent.
pub(super) fn amount(map: Option<&BTreeMap<String, resource::Quantity>>, resource: &str) -> Option<Quantity> {
    map?.get(resource)?.0.parse().ok()
}

/// Returns a container's limit.
pub(super) fn limit(container: &Container, resource: &str) -> Option<Quantity> {
    amount(container.resources.as_ref()?.limits.as_ref(), resource)
}

/// Returns a container's request; what has only a limit requests that (the API's default).
pub(super) fn request(container: &Container, resource: &str) -> Option<Quantity> {
    let asked = amount(container.resources.as_ref()?.requests.as_ref(), resource);
    asked.or_else(|| limit(container, resource))
}

/// Translates a container's resources for the runtime.
pub(super) fn resources(pod: &PodSpec, container: &Container, capacity: Capacity) -> ResourceSpec {
    let cpu = limit(container, "cpu").map(Quantity::milli_value).filter(|m| *m > 0);
    let shares = request(container, "cpu").map_or(0, Quantity::milli_value) * 1024 / 1000;
    ResourceSpec {
        memory_limit: limit(container, "memory").map(Quantity::value).filter(|b| *b > 0),
        nano_cpus: cpu.map(|milli| milli * 1_000_000),
        // 2 is the kernel's least, and what upstream gives to who asks for nothing.
        cpu_shares: Some(shares.clamp(2, 262_144)),
        oom_score_adj: Some(oom_score_adj(qos_class(pod), container, capacity)),
    }
}

/// As upstream's `GetContainerOOMScoreAdjust`: the more of the memory a Burstable container asked for, the later
/// it is killed.
fn oom_score_adj(class: &str, container: &Container, capacity: Capacity) -> i64 {
    match class {
        "Guaranteed" => OOM_GUARANTEED,
        "BestEffort" => OOM_BEST_EFFORT,
        _ => {
            let asked = i128::from(request(container, "memory").map_or(0, Quantity::value));
            let share = 1000 * asked / i128::from(capacity.memory.max(1));
            (1000 - i64::try_from(share).unwrap_or(1000)).clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
        }
    }
}

/// Returns `status.qosClass`: Guaranteed if every container limits cpu and memory and requests as much,
/// BestEffort if none asks for anything.
pub(super) fn qos_class(pod: &PodSpec) -> &'static str {
    let all = || pod.init_containers.iter().flatten().chain(&pod.containers);
    let asks = |c: &Container, r: &str| [limit(c, r), request(c, r)].into_iter().flatten().any(|q| !q.is_zero());
    if !all().any(|c| asks(c, "cpu") || asks(c, "memory")) {
        return "BestEffort";
    }
    let bound = |c: &Container, r: &str| limit(c, r).is_some_and(|l| !l.is_zero() && request(c, r) == Some(l));
    if all().all(|c| bound(c, "cpu") && bound(c, "memory")) { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(resources: &Value) -> PodSpec {
        serde_json::from_value(json!({"containers": [{"name": "web", "resources": resources}]})).unwrap()
    }

    #[test]
    fn qos_classes() {
        let cases = [
            (json!({}), "BestEffort"),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}}),
                "Guaranteed",
            ),
            (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable"),
            (json!({"limits": {"cpu": "1"}}), "Burstable"),
            (json!({"requests": {"memory": "64Mi"}}), "Burstable"),
        ];
        for (resources, class) in cases {
            assert_eq!(qos_class(&pod(&resources)), class, "{resources}");
        }
    }

    #[test]
    fn resources_come_out_in_the_runtimes_units() {
        let spec = pod(&json!({"limits": {"cpu": "250m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}));
        let capacity = Capacity { cpus: 2, memory: 1 << 30 };
        let given = resources(&spec, &spec.containers[0], capacity);
        assert_eq!(given.nano_cpus, Some(250_000_000));
        assert_eq!(given.memory_limit, Some(64 << 20));
        assert_eq!(given.cpu_shares, Some(102));
        assert_eq!(given.oom_score_adj, Some(938));
        let nothing = pod(&json!({}));
        let given = resources(&nothing, &nothing.containers[0], capacity);
        assert_eq!((given.cpu_shares, given.oom_score_adj, given.memory_limit), (Some(2), Some(1000), None));
    }
}
