//! How the tests' node is told to be.

use ed25519_dalek::SigningKey;
use skein::election::{Ballot, Register, Stamp, Voters};
use skein::ids::{ClusterId, NodeId, Term};
use skein::kubelet::action::DnsSpec;
use skein::time::Wall;
use skein::trust::{ClusterSettings, Member};
use skein::{kubelet, node, routing, store};

/// Makes the configuration of a node `n1` at its `incarnation`th start.
pub fn config(incarnation: u64, seed: [u8; 32]) -> node::Config {
    let pod_range = "10.240.0.0/24".parse().expect("a range");
    let service_range = "10.96.0.0/16".parse().expect("a range");
    let key = SigningKey::from_bytes(&[1; 32]);
    let id = NodeId(key.verifying_key().to_bytes());
    let voters = Voters { term: Term(0), version: 1, members: [id].into() };
    let member = Member {
        cluster: ClusterId::founded_by(id),
        id,
        name: "n1".into(),
        tag: 1,
        pod_range,
        joined: Wall(1_700_000_000_000_000),
        token: None,
        by: id,
    };
    let register = Register { stamp: Stamp::default(), value: member.sign(&key) };
    node::Config {
        name: "n1".into(),
        address: "192.0.2.1".parse().expect("an address"),
        api_port: 6443,
        api_address: "10.96.0.1".parse().expect("an address"),
        pod_range,
        cluster: ClusterId::founded_by(id),
        settings: ClusterSettings { pods: "10.240.0.0/12".parse().expect("a range"), services: service_range },
        mesh_port: 7443,
        ballot: Ballot { term: Term(incarnation), voted_for: None, voters },
        registers: [(Member::register(&id), register)].into(),
        seeds: Vec::new(),
        store: store::Config {
            node: id,
            key,
            tag: 1,
            incarnation,
            seed,
            service_range,
            reserved_addresses: Vec::new(),
            node_ports: 30_000..=32_767,
            list_keys: skein::object::schema::list_map_keys,
        },
        kubelet: kubelet::Config {
            node: "n1".into(),
            pod_range,
            host_address: "192.0.2.1".parse().expect("an address"),
            dns: "10.96.0.10".parse().expect("an address"),
            cluster_domain: "cluster.local".into(),
            upstream_dns: DnsSpec::default(),
            max_pods: 110,
            version: "v1.33.0".into(),
            port: 6443,
            machine: kubelet::Machine::default(),
        },
        routing: routing::Config { node: "n1".into(), cluster_domain: "cluster.local".into(), service_range },
    }
}
