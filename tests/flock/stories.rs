//! What stories of a few hosts begin and go on with.

use std::time::Duration;

use skein::ids::RequestId;
use skein::node::{Input, Request};
use skein::store::Change;

use crate::world::{Plan, World};

/// A world without faults and users, of so many hosts, all up.
pub fn world(hosts: usize) -> World {
    let mut world = World::of(1, Plan::default(), hosts);
    world.storm = false;
    pass(&mut world, 20);
    assert!(world.hosts.iter().all(|host| host.node.is_some()));
    world
}

/// Lets so many seconds pass.
pub fn pass(world: &mut World, seconds: u64) {
    world.run_until(world.now + Duration::from_secs(seconds)).expect("keeps its promises");
}

/// Asks a host for a change, whatever it answers.
pub fn ask(world: &mut World, host: usize, change: Change) {
    let request = Request { change, dry_run: false, user: None };
    world.give(host, Input::Request { id: RequestId(1 << 40), request }).expect("keeps its promises");
}
