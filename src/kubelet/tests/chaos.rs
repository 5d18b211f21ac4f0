//! A Docker that lies and an agent that dies: whatever happens, no container runs twice, and all is well in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::kubelet::action::{ContainerState, ListedContainer, Step};
use crate::runtime::fake::{Image, Knobs, Latency};

use super::drive::Drive;

fn spec(init: bool) -> serde_json::Value {
    let mut spec = json!({"terminationGracePeriodSeconds": 3, "containers": [
        {"name": "web", "image": "web:1"}, {"name": "far", "image": "far:1"}]});
    if init {
        spec["initContainers"] = json!([{"name": "proxy", "image": "web:2", "restartPolicy": "Always"}]);
    }
    spec
}

/// Plays a story of `seed`; returns how often each fault was worked.
fn play(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut rng = StdRng::seed_from_u64(seed);
    // More crashes and repetitions than ever: late news of a dead run must not hit its successor.
    let late = Latency(Duration::from_millis(100), Duration::from_secs(20));
    let mut drive = Drive::lying(seed, Knobs { crash: 150, vanish: 50, echo: 400, late, ..Knobs::lying() });
    drive.fake.set_image("far:1", Image { local: false, ..Image::default() });
    let mut alive = Vec::new();
    let (mut down, mut lost) = (false, false);
    for n in 0..40 {
        match rng.random_range(0..10) {
            0..3 => {
                let name = format!("pod-{n}");
                drive.pod(&name, spec(n % 2 == 0));
                alive.push(name);
            }
            3 if !alive.is_empty() => {
                let name = alive.remove(rng.random_range(0..alive.len()));
                if drive.view.get(&super::drive::key(&name)).is_some() {
                    drive.delete(&name, 3);
                }
            }
            4 if !alive.is_empty() => {
                let name = alive.remove(rng.random_range(0..alive.len()));
                drive.force(&name);
            }
            5 => {
                drive.die();
                if rng.random_bool(0.3) {
                    drive.lose();
                    lost = true;
                }
                drive.crash(Duration::from_millis(rng.random_range(0..5_000)));
            }
            6 if !down => {
                drive.fake.stop_daemon(drive.now(), rng.random_bool(0.5));
                down = true;
            }
            7 if down => {
                drive.fake.start_daemon(drive.now());
                down = false;
            }
            _ => drive.save(),
        }
        drive.run(Duration::from_millis(rng.random_range(0..10_000)));
        addresses_are_unique(&drive);
    }
    heal(&mut drive);
    assert_eq!(drive.fake.overlaps(), [""; 0], "seed {seed}");
    // What was told only in a status that is lost may be done again.
    assert!(lost || drive.fake.repeats().is_empty(), "seed {seed}: {:?}", drive.fake.repeats());
    all_is_well(&mut drive, &alive, seed);
    drive.fake.faults().clone()
}

fn addresses_are_unique(drive: &Drive) {
    let listed = drive.fake.listed();
    let mut addresses: Vec<_> = listed.iter().filter_map(|p| p.sandbox.as_ref()?.address).collect();
    let all = addresses.len();
    addresses.sort();
    addresses.dedup();
    assert_eq!(addresses.len(), all, "an address was given twice: {listed:?}");
}

fn heal(drive: &mut Drive) {
    drive.fake.start_daemon(drive.now());
    drive.fake.tune(Knobs::default());
    // Long enough for what dies late, hangs, and the longest pauses.
    drive.secs(1_500);
}

fn all_is_well(drive: &mut Drive, alive: &[String], seed: u64) {
    for name in alive {
        let status = drive.status(name);
        assert_eq!(status["phase"], "Running", "seed {seed} {name}: {status:#}");
        assert_eq!(drive.condition(name, "Ready")["status"], "True", "seed {seed} {name}: {status:#}");
    }
    for pod in drive.fake.listed() {
        assert!(pod.sandbox.is_some(), "seed {seed}: {pod:#?}");
        let statuses = drive.status(&pod.pod.name);
        for status in ["containerStatuses", "initContainerStatuses"].map(|list| statuses[list].as_array().cloned()) {
            for status in status.into_iter().flatten() {
                let shown = status["containerID"].as_str().unwrap_or_default().trim_start_matches("docker://");
                let alive = |c: &ListedContainer| matches!(c.state, ContainerState::Running { .. });
                let found = pod.containers.iter().find(|c| c.id == shown && alive(c));
                assert!(found.is_some(), "seed {seed}: {status:#} is not there: {pod:#?}");
            }
        }
    }
    let mut listed: Vec<String> = drive.fake.listed().into_iter().map(|p| p.pod.name).collect();
    let mut expected = alive.to_vec();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected, "seed {seed}: nothing more and nothing less runs than asked for");
    drive.forget();
    drive.secs(600);
    let steps: Vec<&Step> = drive.steps();
    assert_eq!((steps.len(), drive.statuses.len()), (0, 0), "seed {seed}: not quiet: {steps:?}");
}

#[test]
fn whatever_happens_all_is_well_in_the_end() {
    let mut faults = BTreeMap::new();
    for seed in 0..60 {
        for (fault, times) in play(seed) {
            *faults.entry(fault).or_insert(0) += times;
        }
    }
    for fault in [
        "agent crash",
        "daemon down",
        "failed step",
        "hanging call",
        "container crashed",
        "container vanished",
        "sandbox died",
        "repeated report",
    ] {
        assert!(faults.get(fault).is_some_and(|times| *times > 0), "{fault} never happened: {faults:?}");
    }
}

#[test]
fn the_same_seed_takes_the_same_course() {
    let course = |seed| {
        let mut drive = Drive::lying(seed, Knobs::lying());
        for n in 0..5 {
            drive.pod(&format!("pod-{n}"), spec(true));
            drive.secs(20);
        }
        drive.crash(Duration::from_secs(1));
        drive.secs(60);
        (drive.actions, drive.statuses, drive.notes)
    };
    assert_eq!(course(3), course(3));
}
