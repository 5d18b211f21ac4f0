//! Hostile bytes: what a buggy or hostile member, a broken disk or a bad client may give, through the real receive path.
//!
//! `mutants` are frames of a member that writes well, mutated before they are signed; `named` is every input that was
//! ever found to do harm; `corpora` replays what fuzzing has found. All but the corpora run in a process of their own
//! whose memory is bounded, so that an exit, a hang or a hoard is seen.

#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

#[path = "../harness/config.rs"]
mod config;
mod corpora;
mod craft;
mod member;
mod mutants;
mod named;
mod victim;

use std::path::PathBuf;
use std::process::Command;

/// How much address space a process of these tests may have, in KiB.
const ADDRESS_SPACE: usize = 1 << 20;

/// Runs one of this binary's ignored tests in a process of its own, and prints what it says.
fn in_a_bounded_process(test: &str, frames: usize) {
    let me = std::env::current_exe().unwrap();
    let command = format!("ulimit -v {ADDRESS_SPACE} && exec {} {test} --exact --ignored --nocapture", me.display());
    let told = [("FRAMES", &*frames.to_string()), ("RUST_BACKTRACE", "1")];
    let output = Command::new("sh").args(["-c", &command]).envs(told).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{out}");
    assert!(output.status.success() && out.contains("1 passed"), "{test}: {}\n{err}", output.status);
    // What Automerge panics at is refused like anything else: it fills no log, and costs no backtrace.
    assert_eq!(err, "", "nothing is said about it");
}

/// How many frames the parent wants.
fn frames() -> usize {
    std::env::var("FRAMES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000)
}

/// Where the fuzz targets' corpora are.
fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target)
}

#[test]
fn thirty_thousand_mutated_frames_do_no_harm() {
    in_a_bounded_process("mutants::child", 30_000);
}

#[test]
#[ignore = "long: a million frames"]
fn long_a_million_mutated_frames_do_no_harm() {
    in_a_bounded_process("mutants::child", 1_000_000);
}

#[test]
fn mutants_of_every_corpus_do_no_harm() {
    in_a_bounded_process("corpora::child", 300);
}

#[test]
#[ignore = "long: four million mutants"]
fn long_millions_of_mutants_of_every_corpus_do_no_harm() {
    in_a_bounded_process("corpora::child", 200_000);
}

#[test]
fn what_once_did_harm_does_none() {
    in_a_bounded_process("named::child", 0);
}
