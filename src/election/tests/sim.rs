//! Random runs: faults while it grows and decides, then a heal; the rest is invariants.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::RngExt;

use super::world::{FINE, ROUGH, World, node};
use crate::election::rule::Rule;

/// One run: up to five members, random faults, then all is well again for a while.
fn run(seed: u64, broken: Option<Rule>) -> World {
    let mut world = World::new(seed, ROUGH);
    world.broken = broken;
    world.most = if seed.is_multiple_of(3) { 5 } else { 3 };
    world.start(1);
    let forgets = match broken {
        Some(Rule::OwnSeat | Rule::RecallFirst) => true,
        Some(_) => false,
        None => seed.is_multiple_of(2),
    };
    for _ in 0..120 {
        act(&mut world, forgets);
        let pause = world.rng.random_range(1..150);
        world.run(pause);
    }
    heal(&mut world);
    world
}

/// Lets something happen. `forgets`: disks may lose what they have held.
fn act(world: &mut World, forgets: bool) {
    let members = world.nodes.len() as u8;
    let any = world.rng.random_range(1..=members);
    match world.rng.random_range(0..100) {
        0..6 if members < 5 => {
            world.join(members + 1);
        }
        0..14 if world.is_up(any) => {
            world.crash(any);
            *world.count.entry("crashes").or_default() += 1;
        }
        14..40 if !world.is_up(any) => world.start(any),
        40..46 => {
            let side = (1..=members).filter(|n| (*n + any) % 2 == 0).map(node).collect();
            world.isolate(&side);
            *world.count.entry("cuts").or_default() += 1;
        }
        46..52 => world.cut.clear(),
        52..56 if forgets && world.can_spare(any) => {
            let all = world.rng.random_range(0..2) == 0;
            world.lose_ballot(any, all);
            world.start(any);
        }
        56..60 if forgets => world.copy(any),
        60..64 if forgets && world.can_spare(any) && world.leader_knows(any) => restore(world, any),
        52..90 if world.is_up(any) => {
            let at = if world.rng.random_range(0..4) == 0 { any } else { world.leader().unwrap_or(any) };
            let key = format!("key/{}", world.rng.random_range(0..3));
            world.propose(at, &key);
        }
        _ => {}
    }
}

/// Gives a voter an older disk. What the others cannot tell it in time it cannot know: so they can.
fn restore(world: &mut World, n: u8) {
    world.cut.clear();
    world.faults = FINE;
    world.restore(n);
    world.start(n);
    world.run(200);
    world.faults = ROUGH;
}

fn heal(world: &mut World) {
    world.faults = FINE;
    world.cut.clear();
    let members = world.nodes.len() as u8;
    for n in 1..=members {
        if !world.is_up(n) {
            world.start(n);
        }
    }
    world.run(6000);
    let leading = world.leading();
    assert_eq!(leading.len(), 1, "exactly one leads");
    let leader = leading[0].1;
    let voters = &world.machine(leader).ballot().voters;
    assert_eq!(voters.members.len(), crate::election::voters::wanted(usize::from(members), world.most), "voters");
    for n in 1..=members {
        assert_eq!(world.machine(n).committed(), world.machine(leader).committed(), "of node {n}");
        assert_eq!(&world.machine(n).ballot().voters, voters, "of node {n}");
    }
    let saves = world.saves;
    world.run(2000);
    assert_eq!(world.saves, saves, "who has nothing to do saves nothing");
}

#[test]
fn random_faults_break_nothing() {
    let mut total = std::collections::BTreeMap::<&str, u64>::new();
    for seed in 0..200 {
        let outcome = catch_unwind(AssertUnwindSafe(|| run(seed, None)));
        let world = outcome.unwrap_or_else(|_| panic!("seed {seed}"));
        for (what, count) in &world.count {
            *total.entry(what).or_default() += count;
        }
    }
    println!("{total:?}");
    for what in ["ballots lost", "disks restored", "unseated"] {
        assert!(total.get(what).is_some_and(|n| *n > 0), "no {what}: {total:?}");
    }
    for what in ["lost", "sent", "doubled", "unreached", "crashes", "cuts", "leaders", "decided", "undecided"] {
        assert!(total.get(what).is_some_and(|n| *n > 0), "no {what}: {total:?}");
    }
}

#[test]
fn a_broken_rule_is_caught() {
    let rules = [
        Rule::VoteOnce,
        Rule::SaveFirst,
        Rule::ReadMajority,
        Rule::WriteMajority,
        Rule::SettledFirst,
        Rule::OwnSeat,
        Rule::RecallFirst,
    ];
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let caught = |rule: Rule| {
        (3_000..6_000).find_map(|seed| {
            let cause = catch_unwind(AssertUnwindSafe(|| run(seed, Some(rule)))).err()?;
            Some((seed, cause.downcast_ref::<String>().cloned().unwrap_or_default()))
        })
    };
    let caught: Vec<_> = rules.into_iter().map(|rule| (rule, caught(rule))).collect();
    std::panic::set_hook(hook);
    let missed: Vec<_> = caught.iter().filter(|(_, by)| by.is_none()).collect();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}
