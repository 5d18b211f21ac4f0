//! The simulator of a cluster: three or five nodes on virtual time, the network between them, disks that lose what was
//! not synced, Dockers that lie, and users on all nodes. A seed fixes everything.
//!
//!     cargo test --test flock                       the gate's seeds
//!     SKEIN_SEEDS=1000 cargo test --test flock      more of them
//!     SKEIN_SEED=42 cargo test --test flock replay -- --nocapture
//!
//! Each run founds a cluster, joins the others, and has a stormy phase with faults; then all faults stop, and all nodes
//! must come to show the same, as their users want it.

mod away;
mod caretakers;
#[path = "../harness/config.rs"]
mod config;
mod disks;
mod epochs;
mod faults;
mod heals;
mod holding;
mod host;
mod invariants;
mod leases;
mod ledger;
mod levels;
mod network;
mod offices;
mod power;
mod quiet;
mod rare;
mod recovery;
#[path = "../harness/seeds.rs"]
mod seeds;
mod steady;
mod stories;
#[path = "../sim/trace.rs"]
mod trace;
#[path = "../sim/users.rs"]
mod users;
mod witness;
mod world;

use seeds::Outcome;
use world::{Plan, World};

/// How many seeds the gate runs.
const SEEDS: u64 = 200;

#[test]
fn every_seed_keeps_every_promise() {
    let mut slowest = 0.0_f64;
    seeds::all_keep_every_promise("flock", SEEDS, rare::NAMES, |seed| {
        let mut world = World::new(seed, Plan::default());
        let kept = world.run();
        slowest = slowest.max(world.calm_seconds());
        Outcome { kept, counts: world.counts(), node_seconds: world.node_seconds() }
    });
    println!("at rest after {slowest:.0} s of calm at the latest");
}

fn history(seed: u64) -> String {
    let mut world = World::new(seed, Plan::default());
    world.run().expect("keeps its promises");
    world.trace()
}

#[test]
fn a_seed_fixes_everything() {
    seeds::each_fixes_everything(2, history);
}

#[test]
#[ignore = "long: a hundred seeds twice"]
fn long_a_hundred_seeds_fix_everything() {
    seeds::each_fixes_everything(100, history);
}

#[test]
fn every_invariant_catches_its_planted_bug() {
    let run = |seed, bug| World::new(seed, Plan { bug: Some(bug), ..Plan::default() }).run();
    seeds::planted_bugs_are_caught(invariants::PLANTED, run);
}

#[test]
fn replay() {
    let Some(seed) = seeds::replayed() else { return };
    // What the nodes log goes between the lines of the history.
    tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_ansi(false).without_time().init();
    let mut world = World::new(seed, Plan { print: true, ..Plan::default() });
    world.run().unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
}
