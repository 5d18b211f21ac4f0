//! What one Service contributes to the routes: its listeners and its names.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::discovery::v1::{Endpoint as SliceEndpoint, EndpointSlice};

use crate::object::Key;

use super::router::Config;
use super::routes::{Backends, Endpoint, Listen, Name, Protocol};

/// Kubernetes' default of `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const AFFINITY_SECONDS: u32 = 10_800;

/// What one Service contributes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Part {
    pub(super) listeners: Vec<(Listen, Arc<Backends>)>,
    pub(super) names: Vec<(String, Arc<Name>)>,
}

/// Projects a Service and its slices.
pub(super) fn part(config: &Config, key: &Key, service: &Service, slices: &[EndpointSlice]) -> Part {
    let Some(spec) = &service.spec else { return Part::default() };
    let view = View { config, key, spec, slices };
    if spec.type_.as_deref() == Some("ExternalName") {
        return Part { listeners: Vec::new(), names: view.alias() };
    }
    match spec.cluster_ip.as_deref() {
        Some("None") => Part { listeners: Vec::new(), names: view.headless() },
        Some(text) => match text.parse() {
            Ok(address) => Part { listeners: view.listeners(address), names: view.virtual_names(address) },
            Err(_) => Part::default(),
        },
        None => Part::default(),
    }
}

/// Returns the key under which an address has its name.
pub(super) fn reverse(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

struct View<'a> {
    config: &'a Config,
    key: &'a Key,
    spec: &'a ServiceSpec,
    slices: &'a [EndpointSlice],
}

impl View<'_> {
    fn ports(&self) -> impl Iterator<Item = (&ServicePort, Protocol)> {
        let ports = self.spec.ports.iter().flatten();
        ports.filter_map(|port| Some((port, protocol(port.protocol.as_deref())?)))
    }

    fn listeners(&self, cluster_ip: Ipv4Addr) -> Vec<(Listen, Arc<Backends>)> {
        let local = |policy: &Option<String>| policy.as_deref() == Some("Local");
        let mut listeners = Vec::new();
        for (port, protocol) in self.ports() {
            let Ok(number) = u16::try_from(port.port) else { continue };
            let listen = Listen::Virtual { protocol, address: SocketAddrV4::new(cluster_ip, number) };
            listeners.push((listen, self.backends(port, protocol, local(&self.spec.internal_traffic_policy))));
            if let Some(port_number) = node_port(port) {
                let listen = Listen::Node { protocol, port: port_number };
                listeners.push((listen, self.backends(port, protocol, local(&self.spec.external_traffic_policy))));
            }
        }
        listeners
    }

    fn backends(&self, port: &ServicePort, protocol: Protocol, local: bool) -> Arc<Backends> {
        let label = port.name.clone().filter(|n| !n.is_empty()).unwrap_or_else(|| port.port.to_string());
        let client_ip = self.spec.session_affinity.as_deref() == Some("ClientIP");
        Arc::new(Backends {
            service: format!("{}/{}:{label}", self.key.namespace, self.key.name),
            endpoints: self.endpoints(port.name.as_deref().unwrap_or_default(), protocol, local),
            affinity_seconds: client_ip.then(|| self.affinity_seconds()),
        })
    }

    fn affinity_seconds(&self) -> u32 {
        let config = self.spec.session_affinity_config.as_ref();
        let seconds = config.and_then(|c| c.client_ip.as_ref()).and_then(|c| c.timeout_seconds);
        seconds.and_then(|s| u32::try_from(s).ok()).unwrap_or(AFFINITY_SECONDS)
    }

    /// The ready endpoints of a port; where none is ready, those that still serve while they terminate (as
    /// kube-proxy does). With `local`, only those of this node.
    fn endpoints(&self, port: &str, protocol: Protocol, local: bool) -> Vec<Endpoint> {
        let node = Some(self.config.node.as_str()).filter(|_| local);
        let all = || {
            let eligible = move |e: &&SliceEndpoint| node.is_none() || e.node_name.as_deref() == node;
            self.slices
                .iter()
                .filter_map(move |s| Some((s, slice_port(s, port, protocol)?)))
                .flat_map(move |(slice, number)| slice.endpoints.iter().filter(eligible).map(move |e| (e, number)))
        };
        let collect = |keep: fn(&SliceEndpoint) -> bool| {
            let mut endpoints: Vec<Endpoint> = all()
                .filter(|(e, _)| keep(e))
                .filter_map(|(e, number)| {
                    let address = SocketAddrV4::new(self.address(e)?, number);
                    Some(Endpoint { address, node: e.node_name.clone() })
                })
                .collect();
            endpoints.sort();
            endpoints.dedup_by_key(|e| e.address);
            endpoints
        };
        let ready = collect(is_ready);
        if ready.is_empty() { collect(serves_terminating) } else { ready }
    }

    /// Only the first address counts, as upstream: the others are not guaranteed to be fungible. What validation
    /// forbids is left out here too (dialled from the host, it would be the host's own), and so are virtual
    /// addresses: a Service whose endpoint is itself would connect to itself for ever.
    fn address(&self, endpoint: &SliceEndpoint) -> Option<Ipv4Addr> {
        let address: Ipv4Addr = endpoint.addresses.first()?.parse().ok()?;
        let special = address.is_loopback() || address.is_unspecified() || address.is_link_local();
        let shared = address.is_multicast() || address.is_broadcast();
        (!special && !shared && !self.config.service_range.contains(&address)).then_some(address)
    }

    fn name(&self) -> String {
        format!("{}.{}.svc.{}", self.key.name, self.key.namespace, self.config.cluster_domain)
    }

    fn alias(&self) -> Vec<(String, Arc<Name>)> {
        let target = self.spec.external_name.as_deref().unwrap_or_default().trim_end_matches('.');
        if target.is_empty() {
            return Vec::new();
        }
        vec![(self.name(), Arc::new(Name::Alias(target.to_ascii_lowercase())))]
    }

    fn virtual_names(&self, cluster_ip: Ipv4Addr) -> Vec<(String, Arc<Name>)> {
        let name = self.name();
        let mut names = vec![
            (name.clone(), Arc::new(Name::Addresses(vec![cluster_ip]))),
            (reverse(cluster_ip), Arc::new(Name::Pointer(name.clone()))),
        ];
        for (port, protocol) in self.ports() {
            let (Some(label), Ok(number)) = (service_label(port, protocol), u16::try_from(port.port)) else { continue };
            names.push((format!("{label}.{name}"), Arc::new(Name::Service(vec![(name.clone(), number)]))));
        }
        names
    }

    /// A headless Service is its ready endpoints; each has a name of its own: its host name, or its address with
    /// dashes.
    fn headless(&self) -> Vec<(String, Arc<Name>)> {
        let name = self.name();
        let mut hosts: Vec<(String, Ipv4Addr)> = Vec::new();
        for endpoint in self.slices.iter().flat_map(|s| &s.endpoints).filter(|e| is_ready(e)) {
            let Some(address) = self.address(endpoint) else { continue };
            hosts.push((host_label(endpoint, address), address));
        }
        hosts.sort();
        hosts.dedup();
        let mut addresses: Vec<_> = hosts.iter().map(|(_, address)| *address).collect();
        addresses.sort();
        addresses.dedup();
        let mut names = vec![(name.clone(), Arc::new(Name::Addresses(addresses)))];
        for same_host in hosts.chunk_by(|a, b| a.0 == b.0) {
            let host = format!("{}.{name}", same_host[0].0);
            for (_, address) in same_host {
                names.push((reverse(*address), Arc::new(Name::Pointer(host.clone()))));
            }
            names.push((host, Arc::new(Name::Addresses(same_host.iter().map(|(_, a)| *a).collect()))));
        }
        for (port, protocol) in self.ports() {
            let Some(label) = service_label(port, protocol) else { continue };
            let targets = self.headless_targets(port.name.as_deref().unwrap_or_default(), protocol, &name);
            names.push((format!("{label}.{name}"), Arc::new(Name::Service(targets))));
        }
        names
    }

    fn headless_targets(&self, port: &str, protocol: Protocol, name: &str) -> Vec<(String, u16)> {
        let slices = self.slices.iter().filter_map(|s| Some((s, slice_port(s, port, protocol)?)));
        let ready = slices.flat_map(|(s, number)| s.endpoints.iter().filter(|e| is_ready(e)).map(move |e| (e, number)));
        let mut targets: Vec<_> = ready
            .filter_map(|(e, number)| Some((format!("{}.{name}", host_label(e, self.address(e)?)), number)))
            .collect();
        targets.sort();
        targets.dedup();
        targets
    }
}

/// `_http._tcp`, for a port that has a name.
fn service_label(port: &ServicePort, protocol: Protocol) -> Option<String> {
    let name = port.name.as_deref().filter(|n| !n.is_empty())?;
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    Some(format!("_{name}._{protocol}"))
}

fn host_label(endpoint: &SliceEndpoint, address: Ipv4Addr) -> String {
    let hostname = endpoint.hostname.as_deref().filter(|h| !h.is_empty());
    hostname.map_or_else(|| address.to_string().replace('.', "-"), str::to_ascii_lowercase)
}

fn protocol(text: Option<&str>) -> Option<Protocol> {
    match text.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

fn node_port(port: &ServicePort) -> Option<u16> {
    port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p != 0)
}

/// The number that a slice gives to a Service's port, found by name and protocol.
fn slice_port(slice: &EndpointSlice, name: &str, wanted: Protocol) -> Option<u16> {
    if slice.address_type != "IPv4" {
        return None;
    }
    let fits = |p: &&k8s_openapi::api::discovery::v1::EndpointPort| {
        p.name.as_deref().unwrap_or_default() == name && protocol(p.protocol.as_deref()) == Some(wanted)
    };
    let port = slice.ports.iter().flatten().find(fits)?.port?;
    u16::try_from(port).ok().filter(|p| *p != 0)
}

/// Unknown is to be read as ready (EndpointConditions).
fn is_ready(endpoint: &SliceEndpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}

fn serves_terminating(endpoint: &SliceEndpoint) -> bool {
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    conditions.serving.unwrap_or(true) && conditions.terminating.unwrap_or(false)
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
