//! Registers that are let go of, and what is saved when.

use super::world::{FINE, World, nodes};
use crate::election::{Register, Registers, Stamp, settle, settled};
use crate::ids::Term;

const KEY: &str = "lease/a";

/// Three voters, of which all but those have seen a register come and go.
fn let_go(seed: u64, absent: Option<u8>) -> (World, u8) {
    let mut world = World::settled(seed, FINE, 3);
    world.run(2000);
    let leader = world.leader().expect("somebody leads");
    world.propose(leader, KEY);
    world.run(500);
    if let Some(absent) = absent.filter(|absent| *absent != leader) {
        world.crash(absent);
    }
    world.let_go(leader, KEY);
    world.run(500);
    assert_eq!(world.machine(leader).committed()[KEY].value, b"");
    (world, leader)
}

#[test]
fn what_was_let_go_of_is_forgotten_by_the_next_leader_and_never_comes_back() {
    for seed in 0..30 {
        let absent = u8::try_from(seed % 4).expect("small");
        let (mut world, leader) = let_go(seed, (1..=3).contains(&absent).then_some(absent));
        world.crash(leader);
        for n in (1..=3).filter(|n| *n != leader) {
            if !world.is_up(n) {
                world.start(n);
            }
        }
        assert!(world.run_until(20_000, |world| world.leader().is_some_and(|next| next != leader)));
        // Whatever was on whose disk by then.
        for n in (1..=3).filter(|n| *n != leader) {
            world.run(seed * 7 % 60);
            world.crash(n);
            world.start(n);
        }
        world.start(leader);
        world.run(4000);
        let leads = world.leader().expect("somebody leads");
        world.propose(leads, "another");
        world.run(2000);
        for n in 1..=3 {
            let committed = world.machine(n).committed();
            assert!(committed.get(KEY).is_none_or(|register| register.value.is_empty()), "seed {seed}, node {n}");
            assert!(committed.contains_key("another"), "seed {seed}, node {n}");
        }
        // The next take-over forgets also what a restart had to keep.
        world.isolate(&nodes([leads]));
        assert!(world.run_until(60_000, |world| world.leader().is_some_and(|next| next != leads)));
        world.cut.clear();
        world.run(4000);
        assert!((1..=3).all(|n| !world.machine(n).committed().contains_key(KEY)), "seed {seed}");
    }
}

#[test]
fn a_register_that_says_something_else_takes_one_save_and_is_there_after_a_crash() {
    let mut world = World::new(5, FINE);
    world.start(1);
    world.run(100);
    world.propose(1, KEY);
    world.run(100);
    let saves = world.saves;
    let last = (0..10).map(|_| {
        let id = world.propose(1, KEY);
        world.run(100);
        id
    });
    let last = last.last().expect("ten");
    assert_eq!(world.saves - saves, 10);
    world.crash(1);
    world.start(1);
    world.run(100);
    assert_eq!(world.machine(1).committed()[KEY].value, last.to_string().into_bytes());
    assert_eq!(world.leading(), [(Term(3), 1)]);
}

#[test]
fn a_journal_can_say_what_is_known_in_a_word() {
    let register = |seq: u64| Register { stamp: Stamp { term: Term(3), seq }, value: vec![1] };
    let registers = |all: &[(&str, u64)]| -> Registers {
        all.iter().map(|(key, seq)| ((*key).to_owned(), register(*seq))).collect()
    };
    let mut disk = registers(&[("a", 1), ("~", 2), ("~a", 3), ("~b", 4)]);
    let now = registers(&[("a", 3), ("~", 2), ("~b", 4)]);
    let known = settled(&disk, &now).expect("something is");
    assert_eq!(known, Stamp { term: Term(3), seq: 3 });
    settle(&mut disk, known);
    assert_eq!(disk, now, "the take-over stays where it is");
    assert_eq!(settled(&now, &now), None);
}
