//! What clusters write to their disks, and what they do when one takes no writes.

use std::time::Duration;

use serde_json::json;
use skein::ids::RequestId;
use skein::node::{Input, Node, Request};
use skein::object::{Key, kinds};
use skein::store::Change;

use crate::world::{Plan, World};

/// How much may wait for a disk that refuses, in bytes: the node's bound, and what may come in one frame.
const MOST_WAITING: usize = (16 << 20) + (5 << 20);
/// How large the objects are that are written meanwhile.
const LARGE: usize = 200_000;

fn pass(world: &mut World, time: Duration) {
    world.run_until(world.now + time).expect("keeps its promises");
}

fn writes(world: &World) -> u64 {
    world.counts().get("disk writes").copied().unwrap_or_default()
}

#[test]
fn an_idle_cluster_writes_nothing() {
    for seed in [3, 4] {
        let mut world = World::new(seed, Plan::default());
        world.run().expect("keeps its promises");
        pass(&mut world, Duration::from_secs(120));
        let before = writes(&world);
        assert!(before > 100, "it counts");
        pass(&mut world, Duration::from_secs(900));
        assert_eq!(writes(&world) - before, 0, "seed {seed}: writes in a quarter of an hour");
    }
}

#[test]
fn what_waits_for_a_full_disk_is_bounded_and_all_is_there_in_the_end() {
    let mut world = World::new(0, Plan::default());
    world.storm = false;
    pass(&mut world, Duration::from_secs(30));
    world.fill_disk(2, true).expect("keeps its promises");
    let key = |n: u64| Key::new(&kinds::CONFIG_MAP, "default", format!("large-{n}"));
    let mut most = 0;
    for n in 0..150 {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": key(n).name, "namespace": "default"},
            "data": {"text": n.to_string().repeat(LARGE / n.to_string().len())}});
        let change = Change::Create { key: key(n), object };
        let request = Request { change, dry_run: false, user: None };
        world.give(0, Input::Request { id: RequestId(1_000_000 + n), request }).expect("keeps its promises");
        pass(&mut world, Duration::from_millis(200));
        most = most.max(world.hosts[2].node.as_ref().map_or(0, Node::unsaved_bytes));
    }
    pass(&mut world, Duration::from_secs(60));
    let there =
        |world: &World, host: usize| (0..150).filter(|n| world.hosts[host].view.get(&key(*n)).is_some()).count();
    assert_eq!((there(&world, 0), there(&world, 1), there(&world, 2)), (150, 150, 0));
    assert!((MOST_WAITING / 2..MOST_WAITING).contains(&most), "{most} bytes waited at most");
    world.fill_disk(2, false).expect("keeps its promises");
    pass(&mut world, Duration::from_secs(20));
    assert_eq!(there(&world, 2), 150);
    assert_eq!(world.hosts[2].node.as_ref().map(Node::unsaved_bytes), Some(0));
}
