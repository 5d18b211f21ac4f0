//! What a pod may learn about itself: `fieldRef` and `resourceFieldRef`, in variables and in files.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use crate::object::Quantity;

use super::resources::{Capacity, limit, request};

/// A pod and what this node knows about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub pod: &'a Pod,
    pub node: &'a str,
    /// The pod's address, once it has one.
    pub pod_ip: Option<Ipv4Addr>,
    pub host_ip: Ipv4Addr,
    pub capacity: Capacity,
}

impl Subject<'_> {
    /// Returns the value of a field of the pod.
    ///
    /// # Errors
    /// The field is not one of those that Kubernetes offers.
    pub fn field(&self, path: &str) -> Result<String, String> {
        let meta = &self.pod.metadata;
        let text = |t: &Option<String>| t.clone().unwrap_or_default();
        if let Some((map, key)) = subscript(path) {
            let entries = match map {
                "metadata.labels" => meta.labels.as_ref(),
                "metadata.annotations" => meta.annotations.as_ref(),
                _ => return Err(format!("fieldPath {path:?} does not support subscript")),
            };
            return Ok(entries.and_then(|m| m.get(key)).cloned().unwrap_or_default());
        }
        let spec = self.pod.spec.as_ref();
        Ok(match path {
            "metadata.name" => text(&meta.name),
            "metadata.namespace" => text(&meta.namespace),
            "metadata.uid" => text(&meta.uid),
            "metadata.labels" => lines(meta.labels.as_ref()),
            "metadata.annotations" => lines(meta.annotations.as_ref()),
            "spec.nodeName" => self.node.to_owned(),
            "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
            "status.podIP" | "status.podIPs" => self.pod_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            "status.hostIP" | "status.hostIPs" => self.host_ip.to_string(),
            _ => return Err(format!("unsupported fieldPath: {path}")),
        })
    }

    /// Returns a limit or request of `container`, or of the container that `selector` names, in units of its
    /// divisor, rounded up. A limit that is not set is what the node has.
    ///
    /// # Errors
    /// The resource is not one of those that Kubernetes offers, or there is no such container.
    pub fn resource(&self, selector: &ResourceFieldSelector, container: Option<&Container>) -> Result<String, String> {
        let named = |name: &str| {
            let spec = self.pod.spec.as_ref()?;
            spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name)
        };
        let container = match &selector.container_name {
            Some(name) => named(name).ok_or_else(|| format!("container {name} not found"))?,
            None => container.ok_or("resourceFieldRef names no container")?,
        };
        let divisor: Option<Quantity> = selector.divisor.as_ref().and_then(|d| d.0.parse().ok());
        let divisor = divisor.filter(|d| !d.is_zero()).unwrap_or(Quantity::units(1));
        let memory = || Quantity::units(i64::try_from(self.capacity.memory).unwrap_or(i64::MAX));
        let (amount, cpu) = match selector.resource.as_str() {
            "limits.cpu" => (limit(container, "cpu").unwrap_or(Quantity::units(self.capacity.cpus.into())), true),
            "limits.memory" => (limit(container, "memory").unwrap_or_else(memory), false),
            "requests.cpu" => (request(container, "cpu").unwrap_or(Quantity::ZERO), true),
            "requests.memory" => (request(container, "memory").unwrap_or(Quantity::ZERO), false),
            "limits.ephemeral-storage" => (limit(container, "ephemeral-storage").unwrap_or(Quantity::ZERO), false),
            "requests.ephemeral-storage" => (request(container, "ephemeral-storage").unwrap_or(Quantity::ZERO), false),
            other => return Err(format!("unsupported container resource : {other}")),
        };
        let of = |q: Quantity| if cpu { q.milli_value() } else { q.value() };
        let (amount, divisor) = (of(amount), of(divisor).max(1));
        Ok((amount / divisor + i64::from(amount % divisor > 0)).to_string())
    }
}

/// Splits `metadata.labels['app']` into the map and the key.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// A map as a file shows it: sorted lines of `key="value"` (upstream's `fieldpath.FormatMap`).
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(cases: &[(Value, Result<&str, &str>)]) {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "labels": {"app": "web", "tier": "a\"b"}},
            "spec": {"serviceAccountName": "default", "containers": [{"name": "web", "resources":
                {"limits": {"memory": "64Mi"}, "requests": {"cpu": "250m"}}}]},
        }))
        .unwrap();
        let capacity = Capacity { cpus: 4, memory: 1 << 30 };
        let ip = "10.0.0.7".parse().unwrap();
        let subject =
            Subject { pod: &pod, node: "n1", pod_ip: Some(ip), host_ip: "192.0.2.1".parse().unwrap(), capacity };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        for (path, expected) in cases {
            let found = match path.as_str() {
                Some(path) => subject.field(path),
                None => subject.resource(&serde_json::from_value(path.clone()).unwrap(), Some(container)),
            };
            assert_eq!(found.as_deref().map_err(String::as_str), *expected, "{path}");
        }
    }

    #[test]
    fn fields_of_the_pod() {
        check(&[
            (json!("metadata.name"), Ok("web")),
            (json!("metadata.labels['app']"), Ok("web")),
            (json!("metadata.labels['nope']"), Ok("")),
            (json!("metadata.labels"), Ok("app=\"web\"\ntier=\"a\\\"b\"")),
            (json!("spec.nodeName"), Ok("n1")),
            (json!("status.podIP"), Ok("10.0.0.7")),
            (json!("status.hostIP"), Ok("192.0.2.1")),
            (json!("spec.potato"), Err("unsupported fieldPath: spec.potato")),
        ]);
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        check(&[
            (json!({"resource": "limits.memory"}), Ok("67108864")),
            (json!({"resource": "limits.memory", "divisor": "1Mi"}), Ok("64")),
            (json!({"resource": "requests.cpu"}), Ok("1")),
            (json!({"resource": "requests.cpu", "divisor": "1m"}), Ok("250")),
            (json!({"resource": "limits.cpu"}), Ok("4")),
            (json!({"resource": "requests.memory"}), Ok("67108864")),
            (json!({"resource": "requests.ephemeral-storage"}), Ok("0")),
            (json!({"resource": "limits.cpu", "containerName": "x"}), Err("container x not found")),
        ]);
    }
}
