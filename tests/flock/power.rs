//! Hosts that lose their power: one, and all at once.

use std::time::Duration;

use rand::RngExt;

use crate::quiet::{
    cut_power, in_full_service, is_unreachable, leader, pass, print, shuffled, wait, wait_for_good, with_pods,
};
use crate::world::Due;

/// From the last boot to full service.
const SERVICE: Duration = Duration::from_secs(15);
/// From a power cut to all replicas running elsewhere, of 99 in a hundred.
const REPLACED: Duration = Duration::from_secs(10);

/// All hosts lose their power and boot in some order, some at once and some late. Returns how long full service took from
/// the last boot.
fn power_cycle(seed: u64, count: usize) -> Duration {
    let mut world = with_pods(seed, count);
    for host in 0..count {
        cut_power(&mut world, host);
    }
    pass(&mut world, 5_000);
    world.heal();
    let longest = [1, 3_000, 30_000][seed as usize % 3];
    for host in shuffled(&mut world) {
        let pause = world.random.random_range(0..longest);
        pass(&mut world, pause);
        let docker = world.pause(0, 3_000);
        world.at(docker, Due::DockerBack(host));
        world.bring_back(host).expect("keeps its promises");
    }
    wait_for_good(&mut world, 60_000, |world| in_full_service(world, 2 * count))
}

fn power_cycles(count: usize, seeds: u64) {
    let mut times: Vec<Duration> = (0..seeds).map(|seed| power_cycle(seed, count)).collect();
    let [_, _, worst] = print(&format!("{count} nodes, last boot to full service"), &mut times);
    assert!(worst <= SERVICE);
}

#[test]
fn all_that_are_powered_up_at_once_are_in_full_service_soon() {
    power_cycles(3, 3);
    power_cycles(5, 3);
}

#[test]
#[ignore = "long: fifty orders"]
fn long_all_that_are_powered_up_at_once_are_in_full_service_soon() {
    power_cycles(3, 50);
    power_cycles(5, 50);
}

/// One host loses its power. Returns how long until all others show it, and until all replicas run elsewhere.
fn power_cut(seed: u64, count: usize) -> (Duration, Duration) {
    let mut world = with_pods(seed, count);
    let phase = world.pause(0, 1_000);
    pass(&mut world, u64::try_from(phase.as_millis()).expect("short"));
    // The leader every other time.
    let led = leader(&world).filter(|_| seed.is_multiple_of(2));
    let host = led.unwrap_or((seed / 2) as usize % count);
    let since = world.now;
    cut_power(&mut world, host);
    wait(&mut world, 30_000, |world| is_unreachable(world, host));
    let seen = world.now - since;
    wait(&mut world, 60_000, |world| in_full_service(world, 2 * count));
    (seen, world.now - since)
}

fn power_cuts(seeds: u64) {
    for count in [2, 3, 5] {
        let times: Vec<(Duration, Duration)> = (0..seeds).map(|seed| power_cut(seed, count)).collect();
        let mut seen: Vec<Duration> = times.iter().map(|(seen, _)| *seen).collect();
        let [_, seen, _] = print(&format!("{count} nodes, power cut to unreachable everywhere"), &mut seen);
        let mut replaced: Vec<Duration> = times.iter().map(|(_, replaced)| *replaced).collect();
        let [_, replaced, _] = print(&format!("{count} nodes, power cut to all replicas elsewhere"), &mut replaced);
        assert!(seen <= Duration::from_secs(3) && replaced <= REPLACED);
    }
}

#[test]
fn what_a_dead_host_ran_runs_elsewhere_soon() {
    power_cuts(2);
}

#[test]
#[ignore = "long: two hundred seeds a size"]
fn long_what_a_dead_host_ran_runs_elsewhere_soon() {
    power_cuts(200);
}
