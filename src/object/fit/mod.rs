//! Whether a pod fits a node: the predicates that the scheduler filters with and a kubelet can check again. The
//! order and the words are upstream's (`pkg/scheduler/framework/plugins`).

mod affinity;
mod resources;
mod taints;

use std::collections::BTreeSet;
use std::fmt;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, Taint};

use super::Quantity;

pub use affinity::{matches_node, preference};
pub use resources::{Resources, amounts, requests, scored_requests};
pub use taints::{tolerates, untolerated};

/// What is taken on a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// How many pods there are.
    pub pods: usize,
    /// The sum of what they request.
    pub requested: Resources,
    /// The host's ports they hold.
    pub host_ports: BTreeSet<HostPort>,
}

impl Usage {
    /// Counts a pod in.
    pub fn add(&mut self, requests: &Resources, ports: &BTreeSet<HostPort>) {
        self.pods += 1;
        resources::add(&mut self.requested, requests);
        self.host_ports.extend(ports.iter().cloned());
    }
}

/// A port of the host that a container holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Its number.
    pub port: i32,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The address it is held at; `0.0.0.0` for all.
    pub ip: String,
}

impl HostPort {
    /// Tells whether the two cannot be held at once.
    fn clashes(&self, other: &Self) -> bool {
        const ALL: &str = "0.0.0.0";
        (self.port, &self.protocol) == (other.port, &other.protocol)
            && (self.ip == other.ip || self.ip == ALL || other.ip == ALL)
    }
}

/// Returns the host's ports that a pod's containers ask for.
pub fn host_ports(spec: &PodSpec) -> BTreeSet<HostPort> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(|c| is_sidecar(c)));
    let ports = containers.flat_map(|c| c.ports.iter().flatten());
    let held = ports.filter_map(|p| {
        let or = |text: &Option<String>, default: &str| {
            text.clone().filter(|t| !t.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        let port = p.host_port.filter(|port| *port != 0)?;
        Some(HostPort { port, protocol: or(&p.protocol, "TCP"), ip: or(&p.host_ip, "0.0.0.0") })
    });
    held.collect()
}

/// An init container that stays beside the others.
fn is_sidecar(container: &k8s_openapi::api::core::v1::Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Why a pod does not fit a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Misfit {
    /// The node is cordoned.
    Unschedulable,
    /// A taint that the pod does not tolerate.
    Taint {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// The pod's node selector or affinity asks for another.
    Affinity,
    /// A port of the host is held already.
    HostPorts,
    /// The node has as many pods as it takes.
    TooManyPods,
    /// There is not enough left of a resource.
    Insufficient(String),
}

/// The reason as upstream counts it: `Insufficient cpu`, `node(s) had untolerated taint {key: value}`.
impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::Taint { key, value } => write!(f, "node(s) had untolerated taint {{{key}: {value}}}"),
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::HostPorts => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
        }
    }
}

/// Tells why `pod` does not fit `node`, of which `usage` is taken. Empty if it fits. As upstream, only the first
/// predicate that fails is told, which may have several reasons.
pub fn misfits(pod: &Pod, node: &Node, usage: &Usage) -> Vec<Misfit> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    if is_unschedulable(spec, node) {
        return vec![Misfit::Unschedulable];
    }
    if let Some(Taint { key, value, .. }) = untolerated(spec, node, &["NoSchedule", "NoExecute"]) {
        return vec![Misfit::Taint { key, value: value.unwrap_or_default() }];
    }
    if !matches_node(spec, node) {
        return vec![Misfit::Affinity];
    }
    if host_ports(spec).iter().any(|port| usage.host_ports.iter().any(|held| held.clashes(port))) {
        return vec![Misfit::HostPorts];
    }
    shortages(&requests(spec), node, usage)
}

fn is_unschedulable(spec: &PodSpec, node: &Node) -> bool {
    let cordoned = node.spec.as_ref().and_then(|s| s.unschedulable).unwrap_or_default();
    let taint =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    cordoned && !spec.tolerations.iter().flatten().any(|t| tolerates(t, &taint))
}

fn shortages(requested: &Resources, node: &Node, usage: &Usage) -> Vec<Misfit> {
    let allocatable = amounts(node.status.as_ref().and_then(|s| s.allocatable.as_ref()));
    let mut short = Vec::new();
    let most = allocatable.get("pods").map_or(0, |q| q.value());
    if i64::try_from(usage.pods).is_ok_and(|pods| pods >= most) {
        short.push(Misfit::TooManyPods);
    }
    for (name, amount) in requested.iter().filter(|(_, amount)| !amount.is_zero()) {
        let mut left = allocatable.get(name).copied().unwrap_or_default();
        left -= usage.requested.get(name).copied().unwrap_or(Quantity::ZERO);
        if *amount > left {
            short.push(Misfit::Insufficient(name.clone()));
        }
    }
    short
}

#[cfg(test)]
mod tests;
