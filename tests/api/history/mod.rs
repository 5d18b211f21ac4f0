//! The history checker: whatever is killed and whoever is slow, within a node versions never go back and never repeat, a
//! list and the watch from it miss nothing and repeat nothing, bookmarks can be gone on from, and a version that this
//! process has not given is told to list again.
//!
//!     cargo test --test api history                                  the gate's seeds
//!     SKEIN_SEED=42 cargo test --test api history::replay            one of them

mod run;
mod truth;
mod watcher;

use std::collections::BTreeMap;

use run::{Bug, Run};

/// What must have happened in the gate's runs.
const COUNTED: &[&str] = &[
    "bursts",
    "crashes",
    "lines",
    "lists",
    "refused writes",
    "versions from before a crash",
    "versions of another node",
    "watched lists",
    "watches",
    "watches broken off",
    "writes",
];

/// Planted bugs, and the words by which they are caught.
const PLANTED: &[(Bug, &[&str])] = &[
    (Bug::LostEvents, &["something is missed", "an acknowledged write is missed"]),
    (Bug::RepeatedEvents, &["something is repeated", "something is missed or repeated"]),
    (Bug::ForgivenVersions, &["something is missed", "the unknown version"]),
    (Bug::ForgottenCeiling, &["versions go back", "a version is given twice"]),
    (Bug::LatePublication, &["something is missed", "an acknowledged write is missed"]),
];

type Counts = BTreeMap<&'static str, u64>;

async fn run(seed: u64, bug: Option<Bug>) -> Result<Counts, String> {
    let mut run = Run::new(seed, bug).await?;
    run.run(seed % 20 == 19).await?;
    Ok(run.counts)
}

async fn runs(seeds: u64) -> Counts {
    let mut counts = Counts::new();
    for seed in 0..seeds {
        let of_run = run(seed, None).await;
        let of_run = of_run.unwrap_or_else(|broken| {
            panic!("seed {seed}: {broken}\nreplay: SKEIN_SEED={seed} cargo test --test api history::replay")
        });
        of_run.into_iter().for_each(|(what, n)| *counts.entry(what).or_default() += n);
    }
    println!("{seeds} runs: {counts:?}");
    counts
}

#[tokio::test]
async fn forty_histories_with_kills_are_whole() {
    let counts = runs(40).await;
    for what in COUNTED {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "nothing of this kind ever happened: {what}");
    }
}

#[tokio::test]
#[ignore = "long: 1,000 runs"]
async fn long_a_thousand_histories_with_kills_are_whole() {
    let counts = runs(1_000).await;
    assert!(counts["crashes"] > 1_000 && counts["lines"] > 100_000, "{counts:?}");
}

/// The checker has teeth.
#[tokio::test]
async fn a_planted_bug_breaks_a_history() {
    for (bug, words) in PLANTED {
        let mut last = String::new();
        for seed in 0..40 {
            last = run(seed, Some(*bug)).await.err().unwrap_or_default();
            if !last.is_empty() {
                break;
            }
        }
        assert!(words.iter().any(|words| last.starts_with(words)), "{bug:?} is not caught: {last:?}");
    }
}

#[tokio::test]
async fn replay() {
    let Some(seed) = std::env::var("SKEIN_SEED").ok().and_then(|s| s.parse().ok()) else { return };
    println!("{:?}", run(seed, None).await.unwrap_or_else(|broken| panic!("seed {seed}: {broken}")));
}
