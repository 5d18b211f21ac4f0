//! Agents of different feature levels in one cluster.

use skein::features::{FIRST, LEVEL};
use skein::object::{Key, kinds};

use crate::stories::pass;
use crate::world::{Plan, World};

/// A world without faults and users, of three hosts with these levels.
fn world(levels: [u32; 3]) -> World {
    let mut world = World::new(0, Plan::default());
    world.storm = false;
    for (host, level) in world.hosts.iter_mut().zip(levels) {
        host.level = level;
    }
    world
}

fn levels(world: &World) -> Vec<Option<u32>> {
    world.hosts.iter().map(|host| host.node.as_ref().map(skein::node::Node::level)).collect()
}

/// Starts a host's agent again as a build of another level.
fn replace(world: &mut World, host: usize, level: u32) {
    world.crash(host).expect("keeps its promises");
    world.hosts[host].level = level;
    pass(world, 30);
}

/// Whether a host shows another as one that does not answer.
fn is_lost(world: &World, seen_from: usize, name: &str) -> bool {
    let node = world.hosts[seen_from].view.get(&Key::cluster(&kinds::NODE, name)).expect("a Node");
    node.value()["spec"]["taints"].to_string().contains("node.kubernetes.io/unreachable")
}

#[test]
fn the_level_rises_when_the_last_member_has_it_and_never_falls() {
    let mut world = world([FIRST; 3]);
    pass(&mut world, 20);
    assert_eq!(levels(&world), [Some(FIRST); 3]);
    replace(&mut world, 1, LEVEL);
    replace(&mut world, 2, LEVEL);
    assert_eq!(levels(&world), [Some(FIRST); 3], "one member is old");
    replace(&mut world, 0, LEVEL);
    assert_eq!(levels(&world), [Some(LEVEL); 3]);
    assert!((0..3).all(|host| !is_lost(&world, 0, &format!("n{}", host + 1))));
    replace(&mut world, 1, FIRST);
    assert!(is_lost(&world, 0, "n2") && is_lost(&world, 2, "n2"), "who is too old is not listened to");
    assert_eq!(world.hosts[0].node.as_ref().map(skein::node::Node::level), Some(LEVEL));
    replace(&mut world, 1, LEVEL);
    assert!(!is_lost(&world, 0, "n2") && !is_lost(&world, 2, "n2"));
}

#[test]
fn a_machine_that_is_too_old_is_refused_in_a_sentence() {
    let mut world = world([LEVEL, FIRST, LEVEL]);
    pass(&mut world, 20);
    assert_eq!(levels(&world), [Some(LEVEL), None, Some(LEVEL)]);
    let sentence = format!("its feature level is {FIRST}, below the cluster's {LEVEL}");
    assert!(world.trace().contains(&sentence), "{}", world.trace());
}
