//! How each room is told to be, from the agent's settings and the node's identity.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::config::{Config, DOMAIN, NODE_PORTS};
use crate::features;
use crate::runtime::docker;
use crate::{api, dns, kubelet, node, proxy, routing, store};

use super::genesis::Genesis;
use super::warden::Board;
use super::{checks, machine};
use crate::trust::Issuer;

/// Upstream's default for a node.
const MAX_PODS: u32 = 110;
/// How often the horizon advances, if there is something to collect.
const HORIZON: std::time::Duration = std::time::Duration::from_secs(86_400);

/// `seeds`: where members may be whose address is not known.
pub(super) fn node_config(
    config: &Config,
    genesis: &Genesis,
    address: Ipv4Addr,
    seeds: Vec<SocketAddrV4>,
) -> node::Config {
    let store = store::Config {
        node: genesis.node_id(),
        key: genesis.key.clone(),
        tag: genesis.identity.tag,
        incarnation: genesis.vote.incarnation,
        seed: rand::random(),
        service_range: config.services,
        reserved_addresses: vec![config.dns_address(), config.api_address()],
        node_ports: NODE_PORTS.0..=NODE_PORTS.1,
        list_keys: crate::object::schema::list_map_keys,
    };
    let kubelet = kubelet::Config {
        node: config.node_name.clone(),
        pod_range: genesis.identity.pod_range,
        host_address: address,
        dns: config.dns_address(),
        cluster_domain: DOMAIN.into(),
        upstream_dns: machine::resolv_conf(),
        max_pods: if genesis.identity.witness { 0 } else { MAX_PODS },
        version: api::git_version(),
        port: config.api_port,
        machine: machine::names(),
        issuer: Some(Issuer::new(genesis.key.clone())),
    };
    node::Config {
        name: config.node_name.clone(),
        address,
        api_port: config.api_port,
        api_address: config.api_address(),
        pod_range: genesis.identity.pod_range,
        cluster: genesis.cluster,
        settings: genesis.settings.clone(),
        mesh_port: config.mesh_port,
        ballot: genesis.vote.ballot.clone().unwrap_or_default(),
        registers: genesis.registers.clone(),
        horizon: HORIZON,
        leases: Board::new(&config.data).read(),
        seeds,
        level: features::LEVEL,
        witness: genesis.identity.witness,
        authority: genesis.identity.authority.clone(),
        default_roles: true,
        store,
        kubelet,
        routing: routing::Config {
            node: config.node_name.clone(),
            cluster_domain: DOMAIN.into(),
            service_range: config.services,
        },
    }
}

/// A short name for what this node has on its host: several agents may share one.
fn tag(genesis: &Genesis) -> String {
    hex::encode(&genesis.node_id().0[..4])
}

pub(super) fn docker_config(config: &Config, genesis: &Genesis) -> docker::Config {
    docker::Config {
        socket: config.docker.clone(),
        folder: config.data.clone(),
        node: hex::encode(genesis.node_id().0),
        bridge: format!("{}b{}", checks::OUR_LINKS, tag(genesis)),
        pod_range: genesis.identity.pod_range,
        cluster_range: config.pods,
        service_range: config.services,
    }
}

/// The proxy's network namespace.
pub(super) fn namespace_config(config: &Config, genesis: &Genesis) -> proxy::NamespaceConfig {
    proxy::NamespaceConfig {
        link: format!("{}v{}", checks::OUR_LINKS, tag(genesis)),
        network: link_network(genesis),
        service_range: config.services,
        pods: config.pods,
        own_pods: genesis.identity.pod_range,
    }
}

pub(super) fn proxy_config(config: &Config, genesis: &Genesis) -> proxy::Config {
    proxy::Config {
        node: config.node_name.clone(),
        pods: config.pods,
        own_pods: genesis.identity.pod_range,
        ..proxy::Config::default()
    }
}

pub(super) fn dns_config() -> dns::Config {
    dns::Config { domain: DOMAIN.into(), ..dns::Config::default() }
}

/// A /30 out of 169.254.0.0/16 for the link to the proxy's namespace, by the node's key: agents that share a host
/// take different ones.
fn link_network(genesis: &Genesis) -> ipnet::Ipv4Net {
    let id = genesis.node_id().0;
    let third = 64 + id[4] % 128;
    ipnet::Ipv4Net::new(Ipv4Addr::new(169, 254, third, id[5] & 0xfc), 30).expect("30 is a prefix length")
}
