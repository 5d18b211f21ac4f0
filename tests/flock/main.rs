//! The simulator of a cluster: three or five nodes on virtual time, the network between them, disks that lose what was
//! not synced, Dockers that lie, and users on all nodes. A seed fixes everything.
//!
//!     cargo test --test flock                       the gate's seeds
//!     SKEIN_SEEDS=1000 cargo test --test flock      more of them
//!     SKEIN_SEED=42 cargo test --test flock replay -- --nocapture
//!
//! Each run founds a cluster, joins the others, and has a stormy phase with faults; then all faults stop, and all nodes
//! must come to show the same, as their users want it.

#[path = "../harness/config.rs"]
mod config;
mod faults;
mod host;
mod invariants;
mod ledger;
mod levels;
mod network;
#[path = "../sim/trace.rs"]
mod trace;
#[path = "../sim/users.rs"]
mod users;
mod world;

use std::collections::BTreeMap;

use world::{Plan, World};

/// How many seeds the gate runs.
const SEEDS: u64 = 200;
/// How many seeds a planted bug has to show itself.
const CHANCES: u64 = 40;

/// Kinds of happenings that must not be zero over a gate's run: a fault that never strikes proves nothing.
const COUNTED: &[&str] = &[
    "acknowledged writes",
    "agent crashes",
    "ballots lost",
    "bindings",
    "blackouts",
    "containers killed",
    "displaced",
    "docker outages",
    "elections",
    "frames doubled",
    "frames lost",
    "joins",
    "lost edits told",
    "links cut",
    "merges",
    "one way cut",
    "partitions",
    "pods deleted",
    "pods lost with their node",
    "saves lost",
    "slow disk",
    "unsynced records lost",
];

/// How much of a processor this thread has used.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() / 1e9
}

fn seeds() -> u64 {
    std::env::var("SKEIN_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SEEDS)
}

#[test]
fn every_seed_keeps_every_promise() {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut simulated, mut slowest, before) = (0.0, 0.0_f64, cpu_seconds());
    for seed in 0..seeds() {
        let mut world = World::new(seed, Plan::default());
        if let Err(broken) = world.run() {
            panic!("seed {seed}: {broken}\nreplay: SKEIN_SEED={seed} cargo test --test flock replay -- --nocapture");
        }
        for (what, n) in world.counts() {
            *counts.entry(what).or_default() += n;
        }
        simulated += world.node_seconds();
        slowest = slowest.max(world.calm_seconds());
    }
    let took = cpu_seconds() - before;
    println!(
        "{} seeds, {simulated:.0} node-seconds in {took:.1} CPU-seconds: {:.0} a second; at rest after {slowest:.0} s of calm at \
         the latest; {counts:?}",
        seeds(),
        simulated / took
    );
    for what in COUNTED {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "nothing of this kind ever happened: {what}");
    }
}

#[test]
fn a_seed_fixes_everything() {
    for seed in 0..2 {
        let run = || {
            let mut world = World::new(seed, Plan::default());
            world.run().expect("keeps its promises");
            world.trace()
        };
        assert_eq!(run(), run(), "seed {seed} has two histories");
    }
}

/// The invariants have teeth: with a bug planted, some seed must be caught by the very invariant.
#[test]
fn every_invariant_catches_its_planted_bug() {
    for (bug, invariant) in invariants::PLANTED {
        let caught = (0..CHANCES).find_map(|seed| {
            let mut world = World::new(seed, Plan { bug: Some(*bug), ..Plan::default() });
            world.run().err().filter(|broken| broken.starts_with(invariant))
        });
        assert!(caught.is_some(), "{bug:?} was not caught by {invariant:?}");
        println!("{bug:?}: {}", caught.unwrap_or_default());
    }
}

#[test]
fn replay() {
    let Some(seed) = std::env::var("SKEIN_SEED").ok().and_then(|s| s.parse().ok()) else { return };
    // What the nodes log goes between the lines of the history.
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).without_time().init();
    let mut world = World::new(seed, Plan { print: true, ..Plan::default() });
    world.run().unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
}
