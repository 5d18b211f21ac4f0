//! Two nodes and a witness: either node may be lost.

use std::time::Duration;

use serde_json::json;
use skein::ids::RequestId;
use skein::node::{Input, Node, Request};
use skein::object::{Key, kinds, write};
use skein::store::Change;

use crate::world::{Plan, World};

const WITNESS: usize = 1;

fn pass(world: &mut World, seconds: u64) {
    world.run_until(world.now + Duration::from_secs(seconds)).expect("keeps its promises");
}

/// Three hosts, of which one is a witness.
fn world() -> World {
    let mut world = World::of(6, Plan::default(), 3);
    world.storm = false;
    world.hosts[WITNESS].witness = true;
    pass(&mut world, 20);
    world
}

fn ask(world: &mut World, host: usize, change: Change) {
    let request = Request { change, dry_run: false, user: None };
    world.give(host, Input::Request { id: RequestId(1 << 40), request }).expect("keeps its promises");
}

/// Applies a Deployment whose pods tolerate every taint.
fn apply(world: &mut World, host: usize, name: &str, replicas: u32) {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {
                "tolerations": [{"operator": "Exists", "effect": "NoSchedule"}],
                "containers": [{"name": "main", "image": "app:1"}]}}},
    });
    let written = write::create_value(&kinds::DEPLOYMENT, "default", object).expect("it is valid");
    ask(world, host, Change::Create { key: Key::new(&kinds::DEPLOYMENT, "default", name), object: written.object });
}

fn is_ready(value: &serde_json::Value) -> bool {
    let conditions = value["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// On which nodes the ready pods of an app are, as a host shows it.
fn places(world: &World, host: usize, app: &str) -> Vec<String> {
    let pods = world.hosts[host].view.list(&kinds::POD, None);
    let ready = pods.filter(|pod| pod.labels.get("app").is_some_and(|value| value == app) && is_ready(&pod.value()));
    let mut nodes: Vec<String> = ready.filter_map(|pod| pod.node.clone()).collect();
    nodes.sort();
    nodes
}

fn leader(world: &World) -> Option<usize> {
    world.hosts.iter().position(|host| host.node.as_ref().is_some_and(|node| node.leads().is_some()))
}

#[test]
fn a_witness_is_ready_and_votes_and_runs_nothing() {
    let mut world = world();
    let name = world.hosts[WITNESS].name().to_owned();
    let node = world.hosts[0].view.get(&Key::cluster(&kinds::NODE, name.as_str())).expect("it has a Node").value();
    assert!(is_ready(&node), "{node}");
    assert_eq!(node["metadata"]["labels"]["node-role.kubernetes.io/witness"], "");
    assert_eq!(node["spec"]["taints"][0], json!({"key": "skein.dev/witness", "effect": "NoSchedule"}));
    let lead = leader(&world).expect("one leads");
    assert_eq!(world.hosts[lead].disk.ballot.voters.members.len(), 3);
    apply(&mut world, WITNESS, "web", 4);
    pass(&mut world, 60);
    assert_eq!(places(&world, 0, "web"), ["n1", "n1", "n3", "n3"]);
}

#[test]
fn with_a_witness_either_of_two_nodes_may_be_lost() {
    for lost in [0, 2] {
        let mut world = world();
        let left = 2 - lost;
        apply(&mut world, left, "web", 2);
        pass(&mut world, 10);
        world.crash(lost).expect("keeps its promises");
        world.keep_down(lost);
        pass(&mut world, 3);
        assert_eq!(leader(&world), Some(left), "the witness lets the other node lead");
        pass(&mut world, 60);
        let name = world.hosts[left].name().to_owned();
        assert_eq!(places(&world, WITNESS, "web"), [&*name, &*name]);
        assert!(!world.hosts[left].node.as_ref().is_some_and(Node::is_caretaker));
        apply(&mut world, left, "new", 2);
        pass(&mut world, 60);
        assert_eq!(places(&world, left, "new").len(), 2, "it schedules");
        world.bring_back(lost).expect("keeps its promises");
        pass(&mut world, 60);
        assert_eq!(places(&world, lost, "web").len(), 2);
    }
}
