//! What an exchange costs: what differs, not what is held.

use proptest::prelude::*;

use super::world::*;
use crate::gossip::*;

/// Records that nobody ever sends: nothing but their number, where the signature is.
fn stand_ins(count: u32) -> impl Iterator<Item = Arc<[u8]>> {
    (0..count).map(|n| [[7; 64].as_slice(), &n.to_be_bytes()].concat().into())
}

/// Two nodes that hold the same so many records, connected.
fn two_that_hold(count: u32) -> World {
    let mut world = World::new(2, 1);
    for node in &mut world.nodes {
        node.held.index = stand_ins(count).collect();
    }
    world.connect(0, 1);
    world.run(ms(1_000));
    (world.sent, world.bytes) = (BTreeMap::new(), 0);
    world
}

#[test]
fn ten_differences_in_100_000_objects_are_found_in_a_few_rounds_and_50_kilobytes() {
    // Three records each: what is asked, where it runs, how it is.
    let mut world = two_that_hold(300_000);
    for n in 0..10 {
        world.write(n % 2, 1, 1_000);
    }
    let start = world.now;
    world.input(0, Input::Exchange(world.nodes[1].id));
    let took = loop {
        world.run(ms(1));
        if world.agree() {
            break world.now.since(start);
        }
    };
    world.run(ms(10));
    let ids = world.nodes[0].held.index.sum().count;
    println!("10 differences in {ids} records: {} bytes, {took:?} at 1 ms a hop, {:?}", world.bytes, world.sent);
    assert!(world.bytes < 50_000 && took <= ms(10), "{} bytes, {took:?}", world.bytes);
    (world.sent, world.bytes) = (BTreeMap::new(), 0);
    world.input(0, Input::Exchange(world.nodes[1].id));
    world.run(ms(110));
    println!("no difference: {} bytes, {:?}", world.bytes, world.sent);
    assert_eq!(world.sent, [("begin", 1), ("reply", 1), ("ids", 1)].into());
    assert!(world.bytes < 1_000, "{} bytes", world.bytes);
}

#[test]
fn many_differences_cost_a_few_hundred_bytes_each() {
    let mut world = two_that_hold(100_000);
    let records = 1_000;
    let raws: usize = world.write(0, records, 10).iter().map(|record| record.record().raw.len()).sum();
    world.input(1, Input::Exchange(world.nodes[0].id));
    let took = world.settle(ms(2_000));
    let form = (world.bytes - raws) / records;
    println!("1,000 differences in 100,000 records: {took:?}, {form} bytes a difference beside it, {:?}", world.sent);
    assert!(form < 500, "{form} bytes a difference, {:?}", world.sent);
}

#[test]
fn a_newcomer_is_given_all_without_a_search() {
    let mut world = World::new(2, 1);
    world.write(1, 2_000, 10);
    world.connect(0, 1);
    world.settle(ms(1_000));
    world.run(ms(100));
    assert_eq!((world.count("probes"), world.count("want")), (0, 1), "{:?}", world.sent);
    let mut world = World::new(2, 1);
    world.write(0, 2_000, 10);
    world.connect(0, 1);
    world.settle(ms(1_000));
    assert_eq!(world.count("probes"), 0, "{:?}", world.sent);
}

#[test]
fn what_replaces_a_record_while_it_is_looked_for_is_not_missed() {
    // Between each two messages of an exchange.
    for pause in 0..8 {
        let mut world = two_that_hold(5_000);
        let old = world.write(1, 60, 10)[59].id();
        world.nodes[0].exchanged.clear();
        world.input(0, Input::Exchange(world.nodes[1].id));
        world.run(ms(pause));
        if world.nodes[0].held.has(&old) {
            assert!(pause > 5 && world.count("probes") == 2, "{pause} ms");
            continue;
        }
        world.nodes[1].held.remove(&old);
        let new = world.write(1, 1, 10)[0].id();
        while world.nodes[0].exchanged.is_empty() {
            world.run(ms(1));
        }
        assert!(world.nodes[0].held.has(&new) || world.nodes[0].held.has(&old), "replaced after {pause} ms");
    }
}

#[test]
fn a_record_that_is_refused_makes_no_difference() {
    let mut world = two_that_hold(1_000);
    let bad = world.write(0, 1, 10)[0].id();
    world.refuse(1, bad);
    let exchange = |world: &mut World, from: usize| {
        world.run(ms(1_000));
        world.sent.clear();
        world.input(from, Input::Exchange(world.nodes[1 - from].id));
        world.run(ms(100));
        world.sent.clone()
    };
    let quiet = [("begin", 1), ("reply", 1), ("ids", 1)].into();
    assert_eq!(exchange(&mut world, 0), quiet);
    assert_eq!(exchange(&mut world, 1), quiet);
    assert!(!world.nodes[1].held.has(&bad));
    // Others are exchanged as ever, and it is neither asked for nor missed.
    world.write(0, 200, 10);
    world.write(1, 200, 10);
    assert_eq!(exchange(&mut world, 0)["want"], 1);
    assert_eq!((exchange(&mut world, 0), world.counts()), (quiet.clone(), vec![401, 400]));
    // It goes where it came from: it is forgotten, and both are equal again.
    world.nodes[0].held.remove(&bad);
    exchange(&mut world, 0);
    assert_eq!(exchange(&mut world, 0), quiet);
    // A third one lacks it: who refuses it cannot give it, and is not waited for.
    world.refuse(1, bad);
    world.nodes[0].exchanged.clear();
    exchange(&mut world, 1);
    exchange(&mut world, 0);
    assert_eq!(world.nodes[0].exchanged.len(), 2);
    assert_eq!(exchange(&mut world, 1), quiet);
    // Taken after all, it counts once.
    let late = world.write(0, 1, 10);
    world.refuse(1, late[0].id());
    let now = world.now;
    world.nodes[1].held.insert(now, &late[0].record().raw);
    assert_eq!(exchange(&mut world, 0), quiet);
}

#[test]
fn ranges_that_overlap_are_not_taken_for_a_list() {
    let mut world = two_that_hold(1_000);
    let session = message::SessionId { incarnation: 9, number: 9 };
    let begin = Step::Begin { fingerprint: Default::default(), numbers: Numbers::new() };
    let part = message::Part { number: 0, last: true };
    let ranges = vec![Range::ALL; 500];
    let from = world.nodes[0].id;
    for (step, answers) in [(begin, 1), (Step::Listed { part, rest: false, ranges, ids: Vec::new() }, 0)] {
        let input = Input::Received { from, message: Message::Exchange { session, step } };
        let node = &mut world.nodes[1];
        assert_eq!(node.gossip.handle(world.now, input, &node.held).len(), answers);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_exchange_finds_what_a_full_comparison_finds(
        common in prop_oneof![Just(0), 0..500_u32, 3_000..12_000_u32],
        only in (0..60_usize, 0..60_usize),
        beginner in 0..2_usize,
        gone in prop::collection::vec((0..2_usize, any::<u32>()), 0..3),
    ) {
        let mut world = two_that_hold(common);
        world.write(0, only.0, 10);
        world.write(1, only.1, 10);
        let sets = [0, 1].map(|at: usize| world.nodes[at].held.ids().into_iter().collect::<BTreeSet<_>>());
        let mut union: BTreeSet<_> = sets[0].union(&sets[1]).copied().collect();
        world.input(beginner, Input::Exchange(world.nodes[1 - beginner].id));
        // What both hold may go on both sides while they compare.
        for (at, n) in gone.iter().filter(|_| common > 0) {
            world.run(ms(1));
            let id = RecordId::of(&stand_ins(common).nth((n % common) as usize).unwrap());
            if world.nodes.iter().all(|node| node.held.has(&id)) {
                world.nodes[*at].held.remove(&id);
                world.nodes[1 - at].held.remove(&id);
                union.remove(&id);
            }
        }
        world.run(ms(300));
        for node in &world.nodes {
            prop_assert_eq!(node.held.ids().into_iter().collect::<BTreeSet<_>>(), union.clone());
        }
    }
}
