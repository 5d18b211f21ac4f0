//! Leaders that leave, because they do not work or are about to stop; and voters that are gone for good.

use std::time::Duration;

use serde_json::json;
use skein::features::LEVEL;
use skein::ids::RequestId;
use skein::node::{Input, Node, Request};
use skein::object::{Key, kinds, write};
use skein::store::Change;

use crate::world::{Plan, World};

/// A world without faults and users, of so many hosts of a level, which have had the time to become voters.
fn world(count: usize, level: u32) -> World {
    let mut world = World::of(0, Plan::default(), count);
    world.storm = false;
    for host in &mut world.hosts {
        host.level = level;
    }
    pass(&mut world, 30_000);
    world
}

fn pass(world: &mut World, millis: u64) {
    world.run_until(world.now + Duration::from_millis(millis)).expect("keeps its promises");
}

fn leader(world: &World) -> Option<usize> {
    world.hosts.iter().position(|host| host.node.as_ref().is_some_and(|node| node.leads().is_some()))
}

/// Tells which hosts vote, as the leader's disk has it.
fn voters(world: &World) -> Vec<usize> {
    let members = &world.hosts[leader(world).expect("one leads")].disk.ballot.voters.members;
    (0..world.hosts.len()).filter(|host| members.contains(&world.hosts[*host].id())).collect()
}

fn term(world: &World) -> Option<skein::ids::Term> {
    world.hosts.iter().filter_map(|host| host.node.as_ref()?.leads()).max()
}

/// Has a user of a host make a pod.
fn make_pod(world: &mut World, host: usize) -> Key {
    let key = Key::new(&kinds::POD, "default", "wanted");
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "wanted"},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    });
    let object = write::create_value(key.kind, &key.namespace, manifest).expect("a good manifest").object;
    let change = Change::Create { key: key.clone(), object };
    let request = Request { change, dry_run: false, user: None };
    world.give(host, Input::Request { id: RequestId(u64::MAX), request }).expect("keeps its promises");
    key
}

#[test]
fn a_leader_whose_disk_hangs_leaves_its_office_to_one_that_works() {
    let mut world = world(3, LEVEL);
    let before = leader(&world).expect("one leads");
    world.hosts[before].disk.full = true;
    let other = (before + 1) % 3;
    let pod = make_pod(&mut world, other);
    pass(&mut world, 4_000);
    assert_eq!(leader(&world), Some(before), "it is given its time");
    pass(&mut world, 8_000);
    assert!(leader(&world).is_some_and(|now| now != before), "another leads");
    let entry = world.hosts[other].view.get(&pod).expect("the pod is there");
    assert!(entry.node.is_some(), "the pod is placed");
}

#[test]
fn a_leader_that_is_about_to_stop_is_followed_at_once() {
    let mut world = world(3, LEVEL);
    let before = leader(&world).expect("one leads");
    assert!(world.hosts[before].node.as_ref().is_some_and(Node::is_in_office));
    world.give(before, Input::Leave).expect("keeps its promises");
    pass(&mut world, 300);
    assert!(leader(&world).is_some_and(|now| now != before), "another leads");
    assert!(!world.hosts[before].node.as_ref().is_some_and(Node::is_in_office));
}

#[test]
fn a_leader_on_a_full_disk_leaves_its_office_and_takes_none_over() {
    let mut world = world(3, LEVEL);
    let before = leader(&world).expect("one leads");
    world.fill_disk(before, true).expect("keeps its promises");
    pass(&mut world, 10_000);
    let next = leader(&world).expect("one leads");
    assert_ne!(next, before);
    // The third is the only one that can take over from it.
    world.give(next, Input::Leave).expect("keeps its promises");
    pass(&mut world, 2_500);
    assert!(leader(&world).is_some_and(|now| now != before && now != next), "{:?}", leader(&world));
}

#[test]
fn where_every_disk_is_full_one_leads_all_the_same() {
    let mut world = world(3, LEVEL);
    for host in 0..3 {
        world.fill_disk(host, true).expect("keeps its promises");
    }
    pass(&mut world, 10_000);
    let before = term(&world);
    pass(&mut world, 30_000);
    assert!(before.is_some() && term(&world) == before, "nobody can take over from it");
}

#[test]
fn five_vote_once_all_builds_know_that() {
    let mut world = world(5, 3);
    assert_eq!(voters(&world).len(), 3);
    for host in 0..5 {
        world.crash(host).expect("keeps its promises");
        world.hosts[host].level = LEVEL;
        pass(&mut world, 15_000);
        assert_eq!(voters(&world).len(), if host == 4 { 5 } else { 3 });
    }
    let before = (term(&world), voters(&world));
    pass(&mut world, 60_000);
    assert_eq!((term(&world), voters(&world)), before);
}

#[test]
fn a_voter_that_is_gone_for_good_is_replaced_and_raises_no_term_when_it_comes_back() {
    let mut world = world(5, 3);
    let lead = leader(&world).expect("one leads");
    let before = (term(&world), voters(&world));
    let gone = before.1.iter().copied().find(|host| *host != lead).expect("three vote");
    world.crash(gone).expect("keeps its promises");
    world.keep_down(gone);
    pass(&mut world, 150_000);
    let now = voters(&world);
    assert!(now.len() == 3 && !now.contains(&gone), "{now:?}");
    world.bring_back(gone).expect("keeps its promises");
    pass(&mut world, 60_000);
    assert_eq!((term(&world), voters(&world)), (before.0, now));
}
