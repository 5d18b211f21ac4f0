//! The simulator: a node on virtual time, with a disk that loses what was not synced, a Docker that lies, and users
//! who do not wait. A seed fixes everything.
//!
//!     cargo test --test sim                       the gate's seeds
//!     SKEIN_SEEDS=1000 cargo test --test sim      more of them
//!     SKEIN_SEED=42 cargo test --test sim replay -- --nocapture
//!
//! Each run has a stormy phase with faults, then all faults stop and the world must come to rest as its users want it.

#![allow(clippy::disallowed_methods, reason = "the simulator's own speed is measured by a clock")]

#[path = "../harness/config.rs"]
mod config;
mod invariants;
mod trace;
mod users;
mod world;

use std::collections::BTreeMap;

use world::{Plan, World};

/// Kinds of happenings that must not be zero over a gate's run: a fault that never strikes proves nothing.
const COUNTED: &[&str] = &[
    "agent crashes",
    "unsynced records lost",
    "docker outages",
    "containers killed",
    "slow disk",
    "acknowledged writes",
    "bindings",
    "pods deleted",
    "restarts",
];

/// How many seeds the gate runs.
const SEEDS: u64 = 60;

fn seeds() -> u64 {
    std::env::var("SKEIN_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SEEDS)
}

#[test]
fn every_seed_keeps_every_promise() {
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut simulated, started) = (0.0, std::time::Instant::now());
    for seed in 0..seeds() {
        let mut world = World::new(seed, Plan::default());
        if let Err(broken) = world.run() {
            panic!("seed {seed}: {broken}\nreplay: SKEIN_SEED={seed} cargo test --test sim replay -- --nocapture");
        }
        for (what, n) in world.counts() {
            *counts.entry(what).or_default() += n;
        }
        simulated += world.elapsed().as_secs_f64();
    }
    let took = started.elapsed().as_secs_f64();
    println!(
        "{} seeds, {simulated:.0} node-seconds in {took:.1} s: {:.0} a second; {counts:?}",
        seeds(),
        simulated / took
    );
    for what in COUNTED {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "nothing of this kind ever happened: {what}");
    }
}

#[test]
fn a_seed_fixes_everything() {
    for seed in 0..5 {
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
        let caught = (0..40).find_map(|seed| {
            let mut world = World::new(seed, Plan { bug: Some(*bug), ..Plan::default() });
            world.run().err().filter(|broken| broken.starts_with(invariant))
        });
        assert!(caught.is_some(), "{bug:?} was not caught by {invariant:?}");
    }
}

#[test]
fn replay() {
    let Some(seed) = std::env::var("SKEIN_SEED").ok().and_then(|s| s.parse().ok()) else { return };
    let mut world = World::new(seed, Plan { print: true, ..Plan::default() });
    world.run().unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
}
