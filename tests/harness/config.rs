//! How the tests' nodes are told to be.

use std::net::Ipv4Addr;

use ed25519_dalek::SigningKey;
use skein::election::{Ballot, Register, Stamp, Voters};
use skein::ids::{ClusterId, NodeId, Term};
use skein::kubelet::action::DnsSpec;
use skein::time::Wall;
use skein::trust::{ClusterSettings, Issuer, Member};
use skein::{kubelet, node, routing, store};

/// Makes the configuration of the founder `n1` at its `incarnation`th start.
pub fn config(incarnation: u64, seed: [u8; 32]) -> node::Config {
    let key = SigningKey::from_bytes(&[1; 32]);
    let id = NodeId(key.verifying_key().to_bytes());
    let member = Member {
        cluster: ClusterId::founded_by(id),
        id,
        name: "n1".into(),
        tag: 1,
        pod_range: "10.240.0.0/24".parse().expect("a range"),
        joined: Wall(1_700_000_000_000_000),
        token: None,
        by: id,
    };
    let register = Register { stamp: Stamp::default(), value: member.sign(&key) };
    let mut config = config_of(&member, key, incarnation, seed);
    config.ballot.term = Term(incarnation);
    config.ballot.voters = Voters { term: Term(0), version: 1, members: [id].into(), ..Voters::default() };
    config.registers = [(Member::register(&id), register)].into();
    config
}

/// Makes the configuration of any member, which has heard of no ballot and no register yet.
pub fn config_of(member: &Member, key: SigningKey, incarnation: u64, seed: [u8; 32]) -> node::Config {
    let service_range = "10.96.0.0/16".parse().expect("a range");
    let [high, low] = member.tag.to_be_bytes();
    let address = Ipv4Addr::new(192, 0, 2 + high, low);
    let name = member.name.clone();
    node::Config {
        name: name.clone(),
        address,
        api_port: 6443,
        api_address: "10.96.0.1".parse().expect("an address"),
        pod_range: member.pod_range,
        cluster: member.cluster,
        settings: ClusterSettings { pods: "10.240.0.0/12".parse().expect("a range"), services: service_range },
        mesh_port: 7443,
        ballot: Ballot::default(),
        registers: [].into(),
        horizon: std::time::Duration::from_secs(86_400),
        leases: [].into(),
        seeds: Vec::new(),
        level: skein::features::LEVEL,
        witness: false,
        authority: "a certificate".into(),
        default_roles: true,
        store: store::Config {
            node: member.id,
            key: key.clone(),
            tag: member.tag,
            incarnation,
            seed,
            service_range,
            reserved_addresses: Vec::new(),
            node_ports: 30_000..=32_767,
            list_keys: skein::object::schema::list_map_keys,
        },
        kubelet: kubelet::Config {
            node: name.clone(),
            pod_range: member.pod_range,
            host_address: address,
            dns: "10.96.0.10".parse().expect("an address"),
            cluster_domain: "cluster.local".into(),
            upstream_dns: DnsSpec::default(),
            max_pods: 110,
            version: "v1.33.0".into(),
            port: 6443,
            machine: kubelet::Machine::default(),
            issuer: Some(Issuer::new(key)),
        },
        routing: routing::Config { node: name, cluster_domain: "cluster.local".into(), service_range },
    }
}
