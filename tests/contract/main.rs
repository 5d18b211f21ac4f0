//! The Docker runtime against the contract, on a real dockerd in a network namespace of its own.
//!
//! Needs root, dockerd and a static busybox. The outer test makes the place and runs the inner one there, since a
//! process changes its namespace best before it has threads.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod driver;
mod images;
mod liar;
mod network;
mod place;
mod pods;
mod speed;

use std::time::Instant;

use skein::runtime::contract::{SCENARIOS, Scenario};

use driver::DockerDriver;
use place::Place;

/// A scenario for Docker alone.
type Play = fn(&mut DockerDriver);

#[test]
fn docker_passes_the_contract() {
    Place::new().run("the_contract_inside");
}

#[test]
fn docker_connects_and_equips_pods() {
    Place::new().run("pods_inside");
}

/// Not a part of the gate: other work on the machine decides the figures.
#[test]
#[ignore = "a measurement: run it on a quiet machine"]
fn a_pod_starts_about_as_fast_as_by_hand() {
    Place::new().run("speed_inside");
}

#[test]
#[ignore = "run by docker_passes_the_contract"]
fn the_contract_inside() {
    run(SCENARIOS, |driver, scenario| scenario(driver));
}

#[test]
#[ignore = "run by docker_connects_and_equips_pods"]
fn pods_inside() {
    run(&[network::SCENARIOS, pods::SCENARIOS, images::SCENARIOS, liar::SCENARIOS].concat(), |driver, scenario| {
        scenario(driver);
    });
}

#[test]
#[ignore = "run by a_pod_starts_about_as_fast_as_by_hand"]
fn speed_inside() {
    run(&[("speed", speed::compare as Play)], |driver, scenario| scenario(driver));
}

/// Runs scenarios one after the other on one daemon. `SCENARIO=word` runs those whose name has it.
fn run<S: Copy>(scenarios: &[(&str, S)], play: impl Fn(&mut DockerDriver, S)) {
    let only = std::env::var("SCENARIO").unwrap_or_default();
    let mut driver = DockerDriver::new();
    let mut played = 0;
    for (name, scenario) in scenarios.iter().filter(|(name, _)| name.contains(&only)) {
        let began = Instant::now();
        eprintln!("{name} ...");
        play(&mut driver, *scenario);
        eprintln!("{name} ok, {} ms", began.elapsed().as_millis());
        played += 1;
    }
    assert!(played > 0, "no scenario has {only:?} in its name");
    assert_eq!(driver.leftovers(), Vec::<String>::new(), "something was left behind");
}

// The suite's scenarios take any driver; this says that ours is one.
const _: fn(Scenario, &mut DockerDriver) = |scenario, driver| scenario(driver);
