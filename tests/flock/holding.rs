//! Pods that must never run twice: through cuts, stalls, crashes and changes of leader.

use std::time::Duration;

use serde_json::json;
use skein::election::{Ballot, Stamp};
use skein::ids::Uid;
use skein::node::Node;
use skein::object::{Key, hold, kinds, write};
use skein::store::{Change, DeleteOptions, Precondition};

use crate::quiet;
use crate::stories::{ask, pass};
use crate::world::{Plan, World};

/// A world without faults and users, of so many hosts, all up, with a Deployment `db` that holds.
fn world(hosts: usize, replicas: u32) -> World {
    let mut world = World::of(1, Plan::default(), hosts);
    world.storm = false;
    pass(&mut world, 20);
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "db", "namespace": "default", "annotations": {hold::PARTITION: hold::HOLD}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "db"}}, "template": {
            "metadata": {"labels": {"app": "db"}}, "spec": {
                "terminationGracePeriodSeconds": 2, "containers": [{"name": "main", "image": "app:1"}]}}},
    });
    let written = write::create_value(&kinds::DEPLOYMENT, "default", object).expect("it is valid");
    ask(&mut world, 0, Change::Create { key: db(), object: written.object });
    pass(&mut world, 20);
    assert_eq!(running(&world).len(), replicas as usize);
    world
}

fn db() -> Key {
    Key::new(&kinds::DEPLOYMENT, "default", "db")
}

fn pass_for(world: &mut World, time: Duration) {
    world.run_until(world.now + time).expect("keeps its promises");
}

fn leader(world: &World) -> usize {
    let leads = |host: &crate::host::Host| host.node.as_ref().and_then(Node::leads).is_some();
    world.hosts.iter().position(leads).expect("somebody leads")
}

/// What runs, and where.
fn running(world: &World) -> Vec<(Uid, usize)> {
    let hosts = world.hosts.iter().enumerate();
    let mut found: Vec<_> = hosts.flat_map(|(i, host)| host.docker.running().map(move |pod| (pod, i))).collect();
    found.sort_unstable();
    found
}

/// How often containers were started in all.
fn starts(world: &World) -> usize {
    world.hosts.iter().map(|host| host.docker.starts().len()).sum()
}

/// A host that runs a pod and does not lead.
fn follower_with_a_pod(world: &World) -> usize {
    let leader = leader(world);
    running(world)
        .iter()
        .map(|(_, host)| *host)
        .find(|host| *host != leader)
        .expect("there are more pods than one host takes")
}

fn edit(world: &mut World, host: usize, edit: impl FnOnce(&mut serde_json::Value)) {
    let mut object = world.hosts[host].view.get(&db()).expect("it is there").value();
    edit(&mut object);
    ask(world, host, Change::Update { key: db(), object, when: Precondition::default() });
}

#[test]
fn a_side_that_is_cut_off_stops_before_the_other_one_starts() {
    let mut world = world(3, 3);
    let alone = follower_with_a_pod(&world);
    let there = running(&world).iter().filter(|(_, host)| *host == alone).count();
    world.isolate(alone);
    pass(&mut world, 6);
    assert_eq!(running(&world).len(), 3, "a short cut costs nothing");
    pass_for(&mut world, Duration::from_millis(5_500));
    assert_eq!(running(&world).len(), 3 - there, "two thirds of a lease later nothing runs there any more");
    pass(&mut world, 10);
    let now = running(&world);
    assert_eq!(now.len(), 3, "all run again");
    assert!(now.iter().all(|(_, host)| *host != alone));
    world.heal();
    pass(&mut world, 30);
    assert_eq!(running(&world), now, "who runs goes on running");
}

/// Seed 41 with clocks that go wrong: a node had joined and crashed before it heard the leader. It came back on a side without
/// one, took the cluster's level for the first, in which nothing needs a lease, and started what ran elsewhere.
#[test]
fn a_node_that_has_heard_no_leader_yet_starts_nothing_that_must_never_run_twice() {
    let mut world = world(5, 1);
    let [(pod, there)] = running(&world)[..] else { panic!("one replica") };
    let beside = (there + 1) % 5;
    for host in (0..5).filter(|host| *host != beside) {
        quiet::cut_power(&mut world, host);
    }
    let disk = &mut world.hosts[there].disk;
    disk.ballot = Ballot { seat: 7, ..Ballot::default() };
    disk.registers.retain(|key, _| key.starts_with("member/"));
    disk.registers.values_mut().for_each(|register| register.stamp = Stamp::default());
    world.heal();
    let boot = |world: &mut World, host: usize| {
        world.docker_back(host);
        world.bring_back(host).expect("keeps its promises");
    };
    boot(&mut world, there);
    pass(&mut world, 30);
    let node = world.hosts[there].view.by_uid(pod).and_then(|pod| pod.node.clone());
    assert_eq!(node.as_deref(), Some(world.hosts[there].name()), "it is bound there");
    assert_eq!(running(&world), []);
    (0..5).filter(|host| ![there, beside].contains(host)).for_each(|host| boot(&mut world, host));
    pass(&mut world, 40);
    assert_eq!(running(&world).len(), 1, "with a leader it has a lease");
}

#[test]
fn a_cut_shorter_than_a_lease_moves_nothing() {
    let mut world = world(3, 3);
    let (before, started) = (running(&world), starts(&world));
    world.isolate(follower_with_a_pod(&world));
    // Two thirds of a lease, less the pause between renewals and the time to be connected again.
    pass(&mut world, 6);
    world.heal();
    pass(&mut world, 30);
    assert_eq!((running(&world), starts(&world)), (before, started));
}

#[test]
fn a_stalled_agent_does_not_keep_its_pods_running() {
    let mut world = world(3, 3);
    let stalled = follower_with_a_pod(&world);
    world.stall(stalled, Duration::from_secs(60));
    pass(&mut world, 30);
    let now = running(&world);
    assert!(now.len() == 3 && now.iter().all(|(_, host)| *host != stalled), "{now:?}");
    pass(&mut world, 60);
    assert_eq!(running(&world), now);
}

#[test]
fn a_leader_that_was_stalled_gives_nothing_that_its_successor_may_give() {
    let mut world = world(3, 3);
    let former = leader(&world);
    world.stall(former, Duration::from_secs(40));
    pass(&mut world, 90);
    assert_ne!(leader(&world), former);
    assert_eq!(running(&world).len(), 3);
}

#[test]
fn a_change_of_leader_and_a_quick_restart_disturb_nobody() {
    let mut world = world(3, 3);
    let (before, started) = (running(&world), starts(&world));
    for _ in 0..3 {
        let host = leader(&world);
        world.crash(host).expect("keeps its promises");
        world.keep_down(host);
        pass(&mut world, 2);
        world.bring_back(host).expect("keeps its promises");
        pass(&mut world, 15);
    }
    assert_eq!((running(&world), starts(&world)), (before, started));
}

#[test]
fn a_dead_agents_pods_are_stopped_and_replaced() {
    let mut world = world(3, 3);
    let dead = follower_with_a_pod(&world);
    world.crash(dead).expect("keeps its promises");
    world.keep_down(dead);
    pass(&mut world, 20);
    assert!(running(&world).iter().all(|(_, host)| *host != dead), "without a lease nothing runs there");
    // Its host is there, so it is given time.
    pass(&mut world, 25);
    let now = running(&world);
    assert!(now.len() == 3 && now.iter().all(|(_, host)| *host != dead), "{now:?}");
    world.bring_back(dead).expect("keeps its promises");
    pass(&mut world, 30);
    assert_eq!(running(&world), now);
}

#[test]
fn without_a_majority_nothing_that_holds_runs_anywhere() {
    let mut world = world(3, 3);
    for host in 0..3 {
        world.isolate(host);
    }
    pass(&mut world, 30);
    assert_eq!(running(&world), []);
    world.heal();
    pass(&mut world, 40);
    assert_eq!(running(&world).len(), 3);
}

#[test]
fn a_rollout_goes_from_slot_to_slot() {
    let mut world = world(3, 3);
    let before = running(&world);
    edit(&mut world, 0, |object| object["spec"]["template"]["metadata"]["labels"]["tier"] = "gold".into());
    pass(&mut world, 60);
    let now = running(&world);
    assert_eq!(now.len(), 3);
    assert!(now.iter().all(|pod| !before.contains(pod)), "all are new");
    assert_eq!(world.hosts[0].view.get(&db()).expect("it is there").value()["status"]["updatedReplicas"], 3);
}

#[test]
fn a_pod_of_its_own_waits_for_the_end_of_the_one_before() {
    let mut world = world(3, 1);
    let key = Key::new(&kinds::POD, "default", "only");
    let create = || {
        let object = json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "only", "namespace": "default", "annotations": {hold::PARTITION: hold::HOLD}},
            "spec": {"containers": [{"name": "main", "image": "app:1"}]}});
        let written = write::create_value(&kinds::POD, "default", object).expect("it is valid");
        Change::Create { key: Key::new(&kinds::POD, "default", "only"), object: written.object }
    };
    ask(&mut world, 0, create());
    pass(&mut world, 10);
    let node = world.hosts[0].view.get(&key).expect("it is there").node.clone().expect("it is bound");
    let home = world.hosts.iter().position(|host| host.name() == node).expect("a host");
    let elsewhere = (home + 1) % 3;
    world.isolate(home);
    pass(&mut world, 3);
    let force = DeleteOptions { grace_seconds: Some(0), ..DeleteOptions::default() };
    ask(&mut world, elsewhere, Change::Delete { key: key.clone(), options: force });
    ask(&mut world, elsewhere, create());
    pass(&mut world, 30);
    let uid = world.hosts[elsewhere].view.get(&key).expect("it is there again").uid;
    assert!(running(&world).iter().any(|(pod, host)| *pod == uid && *host != home), "it runs once the first cannot");
}
