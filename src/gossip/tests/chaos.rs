//! Chance: loss, delay, repetition, reorder, cuts and restarts; then all heals and all must agree.

use rand::RngExt;

use super::world::*;
use crate::gossip::Numbers;

#[derive(Debug, Default)]
struct Faults {
    cuts: usize,
    restarts: usize,
    writes: usize,
}

fn storm(seed: u64) -> (World, Faults) {
    let mut world = World::flock(3 + u8::try_from(seed % 3).unwrap(), seed);
    let mut faults = Faults::default();
    world.weather = Weather { lost: 100, twice: 50, delay: ms(1), jitter: ms(60) };
    for _ in 0..60 {
        let at = world.random.random_range(0..world.nodes.len());
        let other = world.random.random_range(0..world.nodes.len());
        match world.random.random_range(0..10) {
            0 if at != other => {
                world.cut(at, other);
                faults.cuts += 1;
            }
            1 | 2 if at != other => world.connect(at, other),
            3 if world.random.random_ratio(1, 4) => {
                world.restart(at);
                faults.restarts += 1;
            }
            _ => {
                let count = world.random.random_range(1..4);
                world.publish(at, count, 50);
                faults.writes += count;
            }
        }
        let pause = world.random.random_range(0..400);
        world.run(ms(pause));
    }
    (world, faults)
}

/// What a node has of all origins that have told something in their present run.
fn numbers(world: &World, at: usize) -> Numbers {
    let numbers = world.nodes[at].gossip.numbers().iter();
    numbers.filter(|(_, (_, number))| *number > 0).map(|(node, number)| (*node, *number)).collect()
}

#[test]
fn all_agree_after_a_storm() {
    let (mut worst, mut sum, mut pulls, mut exchanges) = (ms(0), Faults::default(), 0, 0);
    for seed in 0..25 {
        let (mut world, faults) = storm(seed);
        for (a, b) in world.pairs() {
            world.connect(a, b);
        }
        // Still bad weather.
        let took = world.settle(ms(40_000));
        worst = worst.max(took);
        world.weather = FAIR;
        world.run(ms(20_000));
        let numbers: Vec<_> = (0..world.nodes.len()).map(|at| numbers(&world, at)).collect();
        assert!(numbers.iter().all(|of| *of == numbers[0]), "seed {seed}: {numbers:?}");
        pulls += world.count("pull");
        world.sent.clear();
        world.run(ms(5_000));
        assert_eq!(world.count("pull"), 0, "seed {seed}: quiet again");
        sum.cuts += faults.cuts;
        sum.restarts += faults.restarts;
        sum.writes += faults.writes;
        exchanges += world.nodes.iter().map(|node| node.exchanged.len()).sum::<usize>();
    }
    println!("{sum:?}, {exchanges} exchanges, {pulls} pulls; worst heal {worst:?}");
    assert!(sum.cuts > 0 && sum.restarts > 0 && exchanges > 0 && pulls > 0);
}

#[test]
fn the_same_seed_makes_the_same_story() {
    let tell = |seed| {
        let (world, _) = storm(seed);
        (world.sent.clone(), world.bytes, world.counts())
    };
    assert_eq!(tell(7), tell(7));
    assert_ne!(tell(7), tell(8));
}
