//! Networks that lose messages and nodes that stand still for a moment move no pod.

use std::time::Duration;

use rand::RngExt;

use crate::quiet::{Pods, pass, pods, with_pods};
use crate::world::World;

/// How long a node must have been silent before its pods may be replaced.
const LOST: Duration = Duration::from_secs(7);

/// Which pods were there at the start.
fn same_everywhere(world: &World, before: &Pods) {
    for host in 0..world.hosts.len() {
        assert_eq!(pods(world, host), *before, "as n{} shows it after {:?}", host + 1, world.now);
    }
}

/// Loses one frame in twenty for so many seconds.
fn lossy(seed: u64, seconds: u64) {
    let mut world = with_pods(seed, 5);
    let before = pods(&world, 0);
    world.network.loss = 50;
    let end = world.now + Duration::from_secs(seconds);
    while world.now < end {
        pass(&mut world, 10_000);
        same_everywhere(&world, &before);
    }
    println!("5 nodes, {seconds} s at 5 % loss: no pod moved");
}

#[test]
fn one_frame_in_twenty_lost_moves_no_pod() {
    lossy(1, 200);
}

#[test]
#[ignore = "long: a day"]
fn long_one_frame_in_twenty_lost_moves_no_pod_in_a_day() {
    lossy(1, 86_400);
}

/// One of five nodes stands still again and again, for so many milliseconds at most.
fn stalling(seed: u64, longest: u64, seconds: u64) {
    let mut world = with_pods(seed, 5);
    let before = pods(&world, 0);
    let at = (seed as usize) % world.hosts.len();
    let end = world.now + Duration::from_secs(seconds);
    while world.now < end {
        let time = Duration::from_millis(world.random.random_range(100..longest));
        world.stall(at, time);
        let pause = world.random.random_range(10..1_000);
        pass(&mut world, u64::try_from(time.as_millis()).expect("short") + pause);
        if world.hosts[at].longest_silence < LOST {
            same_everywhere(&world, &before);
        }
        for host in 0..world.hosts.len() {
            let moved = pods(&world, host);
            let stays = |(uid, node): (&_, &Option<String>)| {
                *node == Some(world.hosts[at].name().to_owned()) || moved.get(uid) == Some(node)
            };
            assert!(before.iter().all(stays), "n{} never stood still, and has lost a pod", host + 1);
        }
    }
    let silent = world.hosts[at].longest_silence;
    println!(
        "5 nodes, one stalls to {longest} ms for {seconds} s, silent for {silent:?} at most: no other's pod moved"
    );
}

#[test]
fn a_node_that_stands_still_for_a_moment_moves_no_pod() {
    stalling(1, 1_500, 100);
    stalling(2, 5_000, 100);
}

#[test]
#[ignore = "long: an hour, twenty times"]
fn long_a_node_that_stands_still_for_a_moment_moves_no_pod() {
    for seed in 0..10 {
        stalling(seed, 1_500, 3_600);
        stalling(seed, 5_000, 3_600);
    }
}
