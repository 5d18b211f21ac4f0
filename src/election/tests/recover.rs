//! Generations: what becomes of a cluster of which most voters are gone for good.

use super::world::{FINE, World, nodes};

/// Five members, of whom three vote; two of those are gone. Returns the voter that is left.
fn crippled(seed: u64) -> (World, u8, [u8; 2]) {
    let mut world = World::settled(seed, FINE, 3);
    world.run(2000);
    for n in 4..=5 {
        assert!(world.join(n));
    }
    world.run(1000);
    let leader = world.leader().expect("one leads");
    world.propose(leader, "key");
    world.run(500);
    let left = 1 + (seed % 3) as u8;
    let gone: Vec<u8> = (1..=3).filter(|n| *n != left).collect();
    gone.iter().for_each(|n| world.crash(*n));
    world.run(3000);
    assert_eq!(world.leader(), None, "seed {seed}");
    (world, left, gone.try_into().expect("two are gone"))
}

#[test]
fn one_that_is_left_leads_and_others_become_voters() {
    for seed in 0..30 {
        let (mut world, left, gone) = crippled(seed);
        world.recover(left);
        assert!(world.run_until(world.now + 1000, |world| world.leader() == Some(left)), "seed {seed}");
        assert!(world.machine(left).committed().contains_key("key"), "it keeps what it has");
        world.run(3000);
        assert_eq!(world.machine(left).ballot().voters.members, nodes([left, 4, 5]));
        // Who comes back follows, is no voter, and changes nothing.
        let before = world.leading();
        gone.iter().for_each(|n| world.start(*n));
        world.run(5000);
        assert_eq!(world.leading(), before, "seed {seed}");
        for n in 1..=5 {
            let machine = world.machine(n);
            assert_eq!(machine.generation(), world.machine(left).generation(), "node {n}");
            assert_eq!(machine.ballot().voters.members, nodes([left, 4, 5]), "node {n}");
            assert_eq!(machine.committed(), world.machine(left).committed(), "node {n}");
        }
        // The new voters bear a loss as any do, and a start anew.
        world.crash(left);
        assert!(world.run_until(world.now + 3000, |world| world.leader().is_some()), "seed {seed}");
        world.start(left);
        world.run(3000);
        assert_eq!(world.leading().len(), 1);
    }
}

#[test]
fn a_majority_that_was_only_cut_off_gives_way() {
    for seed in 0..30 {
        let mut world = World::settled(seed, FINE, 5);
        world.run(2000);
        let others: Vec<u8> = (1..=5).filter(|n| Some(*n) != world.leader()).collect();
        let left = others[seed as usize % 4];
        world.isolate(&nodes([left]));
        world.run(2000);
        let theirs = world.leader().expect("the others have a leader");
        world.propose(theirs, "lost");
        world.run(500);
        world.recover(left);
        world.run(2000);
        assert_eq!(world.leading().len(), 2, "each side has its own");
        world.cut.clear();
        world.run(5000);
        let leading = world.leading();
        assert!(leading.len() == 1 && leading[0].1 == left, "seed {seed}: {leading:?}");
        for n in 1..=5 {
            assert_eq!(world.machine(n).generation(), world.machine(left).generation(), "node {n}");
            assert!(!world.machine(n).committed().contains_key("lost"), "node {n}");
        }
        assert_eq!(world.machine(left).ballot().voters.members, nodes(1..=5));
    }
}

#[test]
fn of_two_recoveries_one_stands() {
    for seed in 0..30 {
        let (mut world, left, gone) = crippled(seed);
        world.isolate(&nodes([4]));
        world.recover(left);
        world.run(1000);
        world.recover(4);
        world.run(1000);
        assert_eq!(world.leading().len(), 2);
        world.cut.clear();
        gone.iter().for_each(|n| world.start(*n));
        world.run(5000);
        assert_eq!(world.leading().len(), 1, "seed {seed}");
        let newest = world.newest_generation();
        assert!((1..=5).all(|n| world.machine(n).generation() == newest), "seed {seed}");
    }
}

#[test]
fn a_generation_outlives_a_crash_and_is_entered_once() {
    let (mut world, left, _) = crippled(1);
    world.recover(left);
    world.run(1000);
    let generation = world.machine(left).generation();
    for _ in 0..5 {
        world.crash(left);
        world.start(left);
        world.run(1000);
        world.begin_again(left);
        world.run(1000);
        assert_eq!((world.machine(left).generation(), world.leading().len()), (generation, 1));
    }
    assert!(generation > 0 && world.machine(left).committed().contains_key(crate::election::RECOVERY));
    assert_eq!(world.machine(4).ballot().voters.members, nodes([left, 4, 5]));
}
