//! What gossip does, one story at a time.

use super::world::*;
use crate::gossip::*;

#[test]
fn what_is_published_is_everywhere_after_one_hop() {
    let mut world = World::flock(4, 1);
    world.sent.clear();
    world.publish(2, 3, 100);
    world.run(ms(1));
    assert_eq!(world.counts(), [3; 4]);
    world.run(ms(2_000));
    assert_eq!(world.sent, [("batches", 3)].into(), "one batch to each, and nothing more");
}

#[test]
fn much_is_published_in_batches_of_bounded_size() {
    let mut world = World::flock(2, 1);
    world.sent.clear();
    world.publish(0, 64, 10);
    world.publish(0, 65, 10);
    world.publish(0, 10, 10_000);
    world.publish(0, 1, 3 << 20);
    world.run(ms(10));
    assert_eq!(world.count("batches"), 1 + 2 + 4 + 1);
    assert!(world.agree());
}

#[test]
fn a_chain_passes_batches_on_within_a_second() {
    for seed in 0..5 {
        let mut world = World::new(3, seed);
        world.connect(0, 1);
        world.connect(1, 2);
        world.run(ms(1_000 + 37 * seed));
        world.sent.clear();
        for _ in 0..5 {
            world.publish(0, 2, 100);
            let took = world.settle(ms(1_000));
            println!("a chain of three: {took:?}");
        }
        assert_eq!(world.count("begin"), 0, "{:?}", world.sent);
    }
}

#[test]
fn a_lost_batch_is_pulled_within_a_second() {
    let mut world = World::flock(3, 1);
    world.sent.clear();
    world.swallow = |_, to, message| to == 2 && matches!(message, Message::Batches { .. });
    world.publish(0, 1, 100);
    world.publish(1, 1, 100);
    world.swallow = |_, _, _| false;
    let took = world.settle(ms(1_000));
    println!("a lost batch: {took:?}");
    // In the middle of others.
    world.swallow = |_, to, message| to == 2 && matches!(message, Message::Batches { .. });
    world.publish(0, 1, 100);
    world.swallow = |_, _, _| false;
    world.publish(0, 1, 100);
    world.settle(ms(1_000));
    assert_eq!(world.count("begin"), 0, "{:?}", world.sent);
    assert!(world.count("pull") <= 3, "{:?}", world.sent);
}

#[test]
fn a_batch_that_is_merely_late_is_not_pulled() {
    let mut world = World::flock(3, 1);
    world.sent.clear();
    world.weather = Weather { jitter: ms(150), ..FAIR };
    for _ in 0..50 {
        world.publish(0, 1, 100);
        world.run(ms(170));
    }
    world.settle(ms(200));
    assert_eq!(world.count("pull"), 0);
}

#[test]
fn a_long_outage_of_batches_is_made_good_by_pulls_in_bounded_messages() {
    let mut world = World::flock(2, 1);
    world.sent.clear();
    world.swallow = |_, _, message| matches!(message, Message::Batches { .. });
    (0..30).for_each(|_| world.publish(0, 1, 30_000));
    world.swallow = |_, _, _| false;
    world.settle(ms(2_000));
    assert!(world.count("batches") > 30 + 3 && world.count("begin") == 0, "{:?}", world.sent);
}

#[test]
fn what_nobody_keeps_any_more_is_exchanged() {
    let mut world = World::flock(2, 1);
    world.swallow = |_, _, message| matches!(message, Message::Batches { .. });
    (0..300).for_each(|_| world.publish(0, 1, 10));
    world.swallow = |_, _, _| false;
    world.sent.clear();
    world.settle(ms(3_000));
    assert!(world.count("lacking") >= 1 && world.count("records") >= 1, "{:?}", world.sent);
    world.run(ms(12_000));
    world.sent.clear();
    world.run(ms(2_000));
    assert_eq!(world.count("pull"), 0, "all is known to be known");
}

#[test]
fn two_that_meet_give_each_other_what_they_lack() {
    let mut world = World::new(2, 1);
    world.write(0, 40, 100);
    world.write(1, 50, 100);
    let began = world.now;
    world.connect(1, 0);
    world.run(ms(20));
    assert_eq!(world.counts(), [90, 90]);
    assert_eq!(world.nodes[0].exchanged, [(began, 1)]);
    assert_eq!(world.nodes[1].exchanged, [(began + ms(1), 0)]);
    assert_eq!((world.count("begin"), world.count("busy")), (1, 0));
}

#[test]
fn one_that_has_nothing_gets_all_in_bounded_frames() {
    let mut world = World::new(2, 1);
    world.write(0, 1_500, 1_000);
    world.write(0, 1, 4_000_000);
    world.connect(0, 1);
    world.settle(ms(100));
    world.run(ms(10));
    assert!(world.count("records") >= 8, "{:?}", world.sent);
    assert_eq!((world.nodes[0].exchanged.len(), world.nodes[1].exchanged.len()), (1, 1));
}

#[test]
fn an_exchange_of_few_differences_lists_only_their_parts() {
    let mut world = World::new(2, 1);
    world.write(0, 3_000, 20);
    world.connect(0, 1);
    world.run(ms(100));
    world.write(0, 2, 20);
    world.bytes = 0;
    world.input(0, Input::Exchange(world.nodes[1].id));
    world.run(ms(20));
    assert!(world.agree());
    println!("2 differences in 3,000 records: {} bytes", world.bytes);
    assert!(world.bytes < 5_000, "{} bytes", world.bytes);
}

#[test]
fn both_may_begin_at_once_and_one_exchange_serves_both() {
    let mut world = World::flock(2, 1);
    world.write(0, 1, 100);
    world.write(1, 1, 100);
    world.run(ms(200));
    world.sent.clear();
    world.nodes.iter_mut().for_each(|node| node.exchanged.clear());
    world.input(1, Input::Exchange(world.nodes[0].id));
    world.input(0, Input::Exchange(world.nodes[1].id));
    world.run(ms(300));
    assert!(world.agree());
    assert_eq!((world.nodes[0].exchanged.len(), world.nodes[1].exchanged.len()), (1, 1));
    assert_eq!(world.count("reply"), 1, "{:?}", world.sent);
}

#[test]
fn an_exchange_asked_for_before_the_connection_begins_with_it() {
    let mut world = World::new(2, 1);
    world.write(0, 1, 100);
    // The larger one, which does not begin by itself; and the smaller one's words are lost.
    world.input(1, Input::Exchange(world.nodes[0].id));
    world.run(ms(500));
    assert_eq!(world.count("begin"), 0);
    world.swallow = |from, _, message| from == 0 && kind(message) == "begin";
    world.connect(0, 1);
    world.run(ms(50));
    world.swallow = |_, _, _| false;
    world.settle(ms(5_000));
}

#[test]
fn a_beginning_that_is_quicker_than_the_news_of_the_connection_is_made_good() {
    let mut world = World::new(2, 1);
    world.write(0, 1, 100);
    let (small, large) = (world.nodes[0].id, world.nodes[1].id);
    let held = Held::default();
    let outputs = world.nodes[0].gossip.handle(world.now, Input::Connected(large), &held);
    let [Output::Send { message, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    let early = Input::Received { from: small, message: message.clone() };
    assert!(world.nodes[1].gossip.handle(world.now, early, &held).is_empty());
    world.connect(0, 1);
    let took = world.settle(ms(200));
    println!("{took:?}");
}

#[test]
fn an_exchange_asked_for_during_one_is_made_after_it() {
    let mut world = World::new(2, 1);
    world.connect(0, 1);
    world.run(ms(2));
    let asked = world.now;
    world.input(0, Input::Exchange(world.nodes[1].id));
    world.run(ms(300));
    let began: Vec<bool> = world.nodes[0].exchanged.iter().map(|(began, _)| *began >= asked).collect();
    assert_eq!(began, [false, true]);
}

#[test]
fn an_exchange_that_lost_a_message_begins_again() {
    for lost in ["begin", "reply", "ids", "want", "records", "ack"] {
        let mut world = World::new(2, 1);
        world.write(0, 10, 100);
        world.write(1, 10, 100);
        world.swallow = match lost {
            "begin" => |_, _, message| kind(message) == "begin",
            "reply" => |_, _, message| kind(message) == "reply",
            "ids" => |_, _, message| kind(message) == "ids",
            "want" => |_, _, message| kind(message) == "want",
            "records" => |_, _, message| kind(message) == "records",
            _ => |_, _, message| kind(message) == "ack",
        };
        world.connect(0, 1);
        world.run(ms(50));
        world.swallow = |_, _, _| false;
        let took = world.settle(ms(4_500));
        println!("{lost} lost: {took:?}");
        world.run(ms(5_000));
        assert!(world.nodes.iter().all(|node| !node.exchanged.is_empty()), "{lost} lost");
    }
}

#[test]
fn a_newcomer_among_many_is_served_though_few_exchanges_go_at_a_time() {
    let mut world = World::flock(8, 1);
    world.publish(0, 20, 100);
    world.run(ms(100));
    world.restart(7);
    world.nodes[7].held = Held::default();
    world.weather = Weather { delay: ms(20), ..FAIR };
    (0..7).for_each(|other| world.connect(other, 7));
    world.run(ms(2_500));
    let with: BTreeSet<usize> = world.nodes[7].exchanged.iter().map(|(_, peer)| *peer).collect();
    assert_eq!(with.len(), 7, "exchanged with all: {with:?}");
    assert!(world.agree() && world.count("busy") > 0);
}

#[test]
fn a_restarted_node_counts_anew_and_its_batches_are_taken() {
    let mut world = World::flock(3, 1);
    (0..20).for_each(|_| world.publish(0, 1, 10));
    world.run(ms(10));
    world.restart(0);
    world.publish(0, 1, 10);
    world.connect(0, 1);
    world.connect(0, 2);
    world.run(ms(300));
    assert!(world.agree());
    world.sent.clear();
    world.publish(0, 1, 10);
    world.run(ms(1));
    assert!(world.agree());
    world.run(ms(1_000));
    assert_eq!(world.nodes[2].gossip.numbers()[&world.nodes[0].id], (2, 2));
    assert_eq!(world.count("begin"), 0, "{:?}", world.sent);
}

#[test]
fn a_wanted_record_that_is_gone_makes_for_another_exchange() {
    let mut world = World::new(2, 1);
    world.write(0, 3, 100);
    world.connect(0, 1);
    // Begin, Reply, Ids are on their way; then a register is replaced.
    world.run(ms(2));
    let gone = world.nodes[0].held.ids()[0];
    world.nodes[0].held.remove(&gone);
    world.write(0, 1, 100);
    world.run(ms(20));
    assert_eq!(world.nodes[1].exchanged, [], "what the peer held is not all here");
    world.run(ms(300));
    assert_eq!(world.nodes[1].exchanged.len(), 1);
    assert!(world.agree());
}

#[test]
fn a_quiet_flock_compares_fingerprints_and_no_more() {
    let mut world = World::flock(3, 1);
    (0..3).for_each(|at| world.publish(at, 200, 100));
    world.run(ms(20_000));
    (world.sent, world.bytes) = (BTreeMap::new(), 0);
    world.run(ms(600_000));
    let rounds = world.count("begin");
    // Each of three every 15 to 30 s.
    assert!((60..=120).contains(&rounds), "{:?}", world.sent);
    assert_eq!(world.sent, [("begin", rounds), ("reply", rounds), ("ids", rounds)].into());
    println!("idle: {} bytes a second a node, numbers in probes included", world.bytes / 600 / 3);
    println!("idle: {:?} in 600 s", world.sent);
}

#[test]
fn an_exchange_vouches_only_for_what_can_be_durable() {
    let mut world = World::new(3, 1);
    world.connect(0, 1);
    world.run(ms(1_000));
    world.publish(0, 1, 100);
    world.run(ms(10));
    // What 1 was told is on its way to its disk: not among its holdings yet.
    let held = std::mem::take(&mut world.nodes[1].held);
    world.connect(1, 2);
    world.run(ms(100));
    assert_eq!(world.counts()[2], 0);
    world.nodes[1].held = held;
    world.settle(ms(1_000));
}

#[test]
fn what_is_not_signed_rightly_is_left_out_and_not_passed_on() {
    let mut world = World::flock(2, 1);
    let origin = Origin { node: world.nodes[0].id, incarnation: 1 };
    let good: Vec<Arc<[u8]>> = world.write(0, 2, 10).iter().map(|r| Arc::clone(&r.record().raw)).collect();
    let mut bad = good[1].to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let raws: Arc<[Arc<[u8]>]> = [Arc::clone(&good[0]), bad.into()].into();
    let batches = vec![Batch { number: 1, records: Records::Raw(raws) }];
    let message = Message::of_bytes(&Message::Batches { origin, batches }.to_bytes()).unwrap();
    let input = Input::Received { from: origin.node, message };
    let held = Held::default();
    let node = &mut world.nodes[1];
    let outputs = node.gossip.handle(world.now, input, &held);
    assert!(matches!(&outputs[..], [Output::Deliver { records, .. }] if records.len() == 1));
    assert_eq!(node.gossip.numbers()[&origin.node], (1, 1), "it has come, and is not asked for again");
    let pull = Input::Received { from: origin.node, message: Message::Pull { origin, numbers: vec![1] } };
    let answer = node.gossip.handle(world.now, pull, &held);
    assert!(matches!(&answer[..], [Output::Send { message: Message::Lacking { .. }, .. }]));
}

#[test]
fn frames_of_strangers_and_of_other_exchanges_do_nothing() {
    let mut world = World::flock(2, 1);
    let peer = world.nodes[0].id;
    let held = Held::default();
    let session = message::SessionId { incarnation: 9, number: 9 };
    let part = message::Part { number: 0, last: true };
    let steps = [
        Step::Busy {},
        Step::Ack { number: 0 },
        Step::Want { part, ids: vec![RecordId([0; 16])] },
        Step::Records { part, gone: false, records: Records::Verified { records: Vec::new(), left_out: 0 } },
    ];
    for step in steps {
        let input = Input::Received { from: peer, message: Message::Exchange { session, step } };
        assert!(world.nodes[1].gossip.handle(world.now, input, &held).is_empty());
    }
    let begin = Step::Begin { fingerprint: Default::default(), numbers: Numbers::new() };
    let message = Message::Exchange { session, step: begin };
    let stranger = Input::Received { from: NodeId([9; 32]), message: message.clone() };
    assert!(world.nodes[1].gossip.handle(world.now, stranger, &held).is_empty());
    let member = Input::Received { from: peer, message };
    assert_eq!(world.nodes[1].gossip.handle(world.now, member.clone(), &held).len(), 1);
    world.now = world.now + ms(5_000);
    assert!(world.nodes[1].gossip.handle(world.now, Input::Tick, &held).len() <= 1);
    let late = world.nodes[1].gossip.handle(world.now + ms(5_000), member, &held);
    assert!(late.is_empty(), "one that was begun before is late: {late:?}");
}
