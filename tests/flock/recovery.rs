//! Most voters are gone for good, and a human makes one that is left go on.

use std::time::Duration;

use serde_json::json;
use skein::ids::RequestId;
use skein::node::{Input, Node, Request};
use skein::object::{Key, kinds, write};
use skein::store::{Change, Precondition};

use crate::world::{Plan, World};

fn pass(world: &mut World, seconds: u64) {
    world.run_until(world.now + Duration::from_secs(seconds)).expect("keeps its promises");
}

fn leaders(world: &World) -> Vec<usize> {
    let leads = |host: &usize| world.hosts[*host].node.as_ref().and_then(Node::leads).is_some();
    (0..world.hosts.len()).filter(leads).collect()
}

fn generations(world: &World) -> Vec<u64> {
    world.hosts.iter().filter_map(|host| host.node.as_ref().map(Node::generation)).collect()
}

fn ask(world: &mut World, host: usize, change: Change) {
    let request = Request { change, dry_run: false, user: None };
    world.give(host, Input::Request { id: RequestId(1 << 40), request }).expect("keeps its promises");
}

fn web() -> Key {
    Key::new(&kinds::DEPLOYMENT, "default", "web")
}

fn apply(world: &mut World, host: usize, replicas: u32) {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}},
    });
    match world.hosts[host].view.get(&web()).cloned() {
        None => {
            let written = write::create_value(&kinds::DEPLOYMENT, "default", object).expect("it is valid");
            ask(world, host, Change::Create { key: web(), object: written.object });
        }
        Some(entry) => {
            let mut object = entry.value();
            object["spec"]["replicas"] = replicas.into();
            ask(world, host, Change::Update { key: web(), object, when: Precondition::default() });
        }
    }
}

fn ready(world: &World, host: usize) -> serde_json::Value {
    world.hosts[host].view.get(&web()).expect("it is there").value()["status"]["readyReplicas"].clone()
}

fn recover(world: &mut World, host: usize, force: bool) {
    world.give(host, Input::Recover { id: RequestId(7), force }).expect("keeps its promises");
}

/// Takes so many voters away that nobody leads.
fn lose<const N: usize>(world: &mut World, gone: [usize; N]) {
    for host in gone {
        world.crash(host).expect("keeps its promises");
        world.keep_down(host);
    }
    pass(world, 15);
    assert_eq!(leaders(world), [0; 0]);
}

/// Which hosts vote, as the leader's disk has it.
fn voters(world: &World) -> Vec<usize> {
    let members = &world.hosts[leaders(world)[0]].disk.ballot.voters.members;
    (0..world.hosts.len()).filter(|host| members.contains(&world.hosts[*host].id())).collect()
}

#[test]
fn one_that_is_left_goes_on_and_who_comes_back_follows() {
    let mut world = World::of(2, Plan::default(), 4);
    world.storm = false;
    pass(&mut world, 20);
    let voters = voters(&world);
    let (left, gone) = (voters[0], [voters[1], voters[2]]);
    let learner = (0..4).find(|host| !voters.contains(host)).expect("one does not vote");
    apply(&mut world, left, 2);
    pass(&mut world, 10);
    recover(&mut world, left, false);
    assert!(world.trace().contains("they elect a leader without help"), "{}", world.trace());
    lose(&mut world, gone);
    recover(&mut world, learner, false);
    assert!(world.trace().contains("does not vote and may know less than a voter"));
    recover(&mut world, left, false);
    pass(&mut world, 5);
    assert_eq!((leaders(&world), generations(&world)), (vec![left], vec![1, 1]));
    assert!(world.trace().contains("leads generation 1 of the cluster"));
    apply(&mut world, learner, 5);
    pass(&mut world, 30);
    assert_eq!(ready(&world, left), 5, "what those ran who are gone is replaced");

    world.bring_back(gone[0]).expect("keeps its promises");
    pass(&mut world, 30);
    assert_eq!((leaders(&world), generations(&world)), (vec![left], vec![1; 3]));
    // Now three vote, and one of them may be lost.
    world.crash(left).expect("keeps its promises");
    world.keep_down(left);
    pass(&mut world, 10);
    assert_eq!(leaders(&world).len(), 1);
    world.bring_back(gone[1]).expect("keeps its promises");
    world.bring_back(left).expect("keeps its promises");
    pass(&mut world, 60);
    assert_eq!((leaders(&world).len(), generations(&world)), (1, vec![1; 4]));
    assert!((0..4).all(|host| ready(&world, host) == 5));
}

#[test]
fn of_five_voters_two_go_on_without_the_others() {
    let mut world = World::of(3, Plan::default(), 5);
    world.storm = false;
    pass(&mut world, 20);
    assert_eq!(voters(&world).len(), 5);
    apply(&mut world, 0, 3);
    pass(&mut world, 10);
    lose(&mut world, [0, 2, 4]);
    recover(&mut world, 3, false);
    pass(&mut world, 5);
    assert_eq!((leaders(&world), generations(&world)), (vec![3], vec![1, 1]));
    apply(&mut world, 1, 4);
    pass(&mut world, 30);
    assert_eq!(ready(&world, 1), 4);
    for host in [0, 2, 4] {
        world.bring_back(host).expect("keeps its promises");
    }
    pass(&mut world, 60);
    assert_eq!((voters(&world).len(), generations(&world)), (5, vec![1; 5]));
    assert!((0..5).all(|host| ready(&world, host) == 4));
}

#[test]
fn by_force_a_cluster_with_a_majority_is_recovered_too() {
    let mut world = World::of(4, Plan::default(), 3);
    world.storm = false;
    pass(&mut world, 20);
    let other = (leaders(&world)[0] + 1) % 3;
    recover(&mut world, other, true);
    pass(&mut world, 20);
    assert_eq!((leaders(&world), voters(&world).len(), generations(&world)), (vec![other], 3, vec![1; 3]));
}

#[test]
fn an_older_build_would_not_understand_it() {
    let mut world = World::of(5, Plan::default(), 3);
    world.storm = false;
    world.hosts.iter_mut().for_each(|host| host.level = 3);
    pass(&mut world, 20);
    lose(&mut world, [1, 2]);
    recover(&mut world, 0, true);
    pass(&mut world, 5);
    assert!(world.trace().contains("recovering needs 4 in all members"));
    assert_eq!((leaders(&world), generations(&world)), (vec![], vec![0]));
}
