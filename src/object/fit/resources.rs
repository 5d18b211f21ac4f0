//! What a pod requests.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource;

use super::is_sidecar;
use crate::object::Quantity;

/// Amounts by resource name.
pub type Resources = BTreeMap<String, Quantity>;

/// Reads amounts of a Kubernetes resource list. What is no quantity, which validation prevents, counts as nothing.
pub fn amounts(list: Option<&BTreeMap<String, resource::Quantity>>) -> Resources {
    let list = list.into_iter().flatten();
    list.filter_map(|(name, q)| Some((name.clone(), Quantity::try_from(q).ok()?))).collect()
}

pub(super) fn add(sum: &mut Resources, more: &Resources) {
    for (name, amount) in more {
        *sum.entry(name.clone()).or_default() += *amount;
    }
}

fn raise(most: &mut Resources, other: &Resources) {
    for (name, amount) in other {
        let entry = most.entry(name.clone()).or_default();
        *entry = (*entry).max(*amount);
    }
}

/// Returns what the pod requests of each resource: the sum of its containers and sidecars, or what an init container
/// needs beside the sidecars started before it, whichever is more; plus the overhead.
pub fn requests(spec: &PodSpec) -> Resources {
    requests_with(spec, &|container| stated(container))
}

fn stated(container: &Container) -> Resources {
    amounts(container.resources.as_ref().and_then(|r| r.requests.as_ref()))
}

fn requests_with(spec: &PodSpec, of: &dyn Fn(&Container) -> Resources) -> Resources {
    let (mut sum, mut sidecars, mut most) = (Resources::new(), Resources::new(), Resources::new());
    for container in &spec.containers {
        add(&mut sum, &of(container));
    }
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if is_sidecar(container) {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            raise(&mut most, &sidecars);
        } else {
            let mut beside = sidecars.clone();
            add(&mut beside, &own);
            raise(&mut most, &beside);
        }
    }
    raise(&mut sum, &most);
    add(&mut sum, &amounts(spec.overhead.as_ref()));
    sum
}

/// What a container counts for in scoring if it states no request: thousandths of a core, and bytes.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 << 20;

/// Returns the thousandths of a core and the bytes of memory that the pod counts for in scoring: containers that
/// state no request count for a little, so that many of them do not crowd one node.
pub fn scored_requests(spec: &PodSpec) -> (i64, i64) {
    let of = |container: &Container| {
        let mut own = stated(container);
        own.entry("cpu".into()).or_insert(Quantity::millis(DEFAULT_MILLI_CPU));
        own.entry("memory".into()).or_insert(Quantity::binary(DEFAULT_MEMORY));
        own
    };
    let sum = requests_with(spec, &of);
    let amount = |name: &str| sum.get(name).copied().unwrap_or_default();
    (amount("cpu").milli_value(), amount("memory").value())
}
