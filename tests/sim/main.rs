//! The simulator: a node on virtual time, with a disk that loses what was not synced, a Docker that lies, and users
//! who do not wait. A seed fixes everything.
//!
//!     cargo test --test sim                       the gate's seeds
//!     SKEIN_SEEDS=1000 cargo test --test sim      more of them
//!     SKEIN_SEED=42 cargo test --test sim replay -- --nocapture
//!
//! Each run has a stormy phase with faults, then all faults stop and the world must come to rest as its users want it.

#[path = "../harness/config.rs"]
mod config;
mod invariants;
#[path = "../harness/seeds.rs"]
mod seeds;
mod trace;
mod users;
mod world;

use seeds::Outcome;
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

#[test]
fn every_seed_keeps_every_promise() {
    seeds::all_keep_every_promise("sim", SEEDS, COUNTED, |seed| {
        let mut world = World::new(seed, Plan::default());
        let kept = world.run();
        Outcome { kept, counts: world.counts(), node_seconds: world.elapsed().as_secs_f64() }
    });
}

#[test]
fn a_seed_fixes_everything() {
    seeds::each_fixes_everything(5, |seed| {
        let mut world = World::new(seed, Plan::default());
        world.run().expect("keeps its promises");
        world.trace()
    });
}

#[test]
fn every_invariant_catches_its_planted_bug() {
    let run = |seed, bug| World::new(seed, Plan { bug: Some(bug), ..Plan::default() }).run();
    seeds::planted_bugs_are_caught(invariants::PLANTED, run);
}

#[test]
fn replay() {
    let Some(seed) = seeds::replayed() else { return };
    let mut world = World::new(seed, Plan { print: true, ..Plan::default() });
    world.run().unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
}
