//! What every simulator does with its seeds: runs them all, runs one twice, and plants bugs.

use std::collections::BTreeMap;
use std::fmt::Debug;

/// How many seeds a planted bug has to show itself.
const CHANCES: u64 = 40;

/// What came of one seed's run.
pub struct Outcome {
    /// The promise that was broken, if one was.
    pub kept: Result<(), String>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// How much time passed, added up over the nodes.
    pub node_seconds: f64,
}

/// Runs `gate` seeds, or as many as SKEIN_SEEDS says. `counted` are the kinds of happenings that must not be zero: a fault
/// that never strikes proves nothing.
pub fn all_keep_every_promise(group: &str, gate: u64, counted: &[&str], mut run: impl FnMut(u64) -> Outcome) {
    let seeds = number("SKEIN_SEEDS").unwrap_or(gate);
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut simulated, before) = (0.0, cpu_seconds());
    for seed in 0..seeds {
        let outcome = run(seed);
        if let Err(broken) = outcome.kept {
            panic!("seed {seed}: {broken}\nreplay: SKEIN_SEED={seed} cargo test --test {group} replay -- --nocapture");
        }
        for (what, n) in outcome.counts {
            *counts.entry(what).or_default() += n;
        }
        simulated += outcome.node_seconds;
    }
    let took = cpu_seconds() - before;
    let speed = simulated / took;
    println!("{seeds} seeds, {simulated:.0} node-seconds in {took:.1} CPU-seconds: {speed:.0} a second; {counts:?}");
    for what in counted {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "nothing of this kind ever happened: {what}");
    }
}

/// Runs each of the first `seeds` twice; `run` returns the run's trace.
pub fn each_fixes_everything(seeds: u64, run: impl Fn(u64) -> String) {
    for seed in 0..seeds {
        assert_eq!(run(seed), run(seed), "seed {seed} has two histories");
    }
}

/// The invariants have teeth: with a bug planted, some seed must be caught by the very invariant.
pub fn planted_bugs_are_caught<B: Copy + Debug>(
    planted: &[(B, &str)],
    mut run: impl FnMut(u64, B) -> Result<(), String>,
) {
    for (bug, invariant) in planted {
        let caught = (0..CHANCES).find_map(|seed| run(seed, *bug).err().filter(|broken| broken.starts_with(invariant)));
        assert!(caught.is_some(), "{bug:?} was not caught by {invariant:?}");
        println!("{bug:?}: {}", caught.unwrap_or_default());
    }
}

/// Returns the seed that is to be told in full, if one is.
pub fn replayed() -> Option<u64> {
    number("SKEIN_SEED")
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// How much of a processor this thread has used.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).unwrap_or_default() / 1e9
}
