//! Bytes that are no message, and messages that no honest peer sends.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::world::*;
use crate::gossip::message::{FRAME_BYTES, FRAME_RECORDS};
use crate::gossip::*;

/// One of each message that two nodes say to each other while they differ.
fn messages() -> Vec<Message> {
    let mut world = World::new(2, 3);
    world.write(0, 3, 30);
    world.write(1, 3, 30);
    let mut said: Vec<Message> = Vec::new();
    let [zero, one] = [0, 1].map(|at: usize| std::mem::take(&mut world.nodes[at].held));
    let ids = [world.nodes[0].id, world.nodes[1].id];
    let mut queue = vec![(0, Input::Connected(ids[1])), (1, Input::Connected(ids[0]))];
    queue.push((0, Input::Publish(world.write(0, 2, 40))));
    while !queue.is_empty() {
        let (at, input) = queue.remove(0);
        let outputs = world.nodes[at].gossip.handle(world.now, input, if at == 0 { &zero } else { &one });
        for output in outputs {
            if let Output::Send { message, .. } = output {
                let message = Message::of_bytes(&message.to_bytes()).unwrap();
                said.push(message.clone());
                queue.push((1 - at, Input::Received { from: ids[at], message }));
            }
        }
    }
    let origin = Origin { node: ids[0], incarnation: 1 };
    said.push(Message::Pull { origin, numbers: vec![1, 2, 3] });
    said.push(Message::Lacking { origin });
    let kinds: BTreeSet<_> = said.iter().map(kind).collect();
    assert!(kinds.len() >= 9, "{kinds:?}");
    said
}

#[test]
fn every_message_survives_the_wire() {
    for message in messages() {
        let bytes = message.to_bytes();
        assert_eq!(Message::of_bytes(&bytes).unwrap().to_bytes(), bytes, "{}", kind(&message));
    }
}

#[test]
fn mutated_bytes_neither_panic_nor_stop_a_node() {
    let mut random = StdRng::seed_from_u64(5);
    let mut world = World::flock(3, 1);
    let (mut refused, mut read) = (0, 0);
    for message in messages() {
        let bytes = message.to_bytes();
        for _ in 0..120 {
            let mut bytes = bytes.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
            bytes.truncate(random.random_range(bytes.len() / 2..bytes.len() * 3).min(bytes.len()));
            match Message::of_bytes(&bytes) {
                Ok(message) => {
                    read += 1;
                    let from = world.nodes[random.random_range(0..2)].id;
                    let node = &mut world.nodes[2];
                    node.gossip.handle(world.now, Input::Received { from, message }, &node.held);
                }
                Err(_) => refused += 1,
            }
            if let Ok(numbers) = numbers_of_bytes(&bytes) {
                let from = world.nodes[0].id;
                world.input(2, Input::Heard { from, numbers });
            }
        }
        world.input(2, Input::Tick);
    }
    println!("{refused} refused, {read} read");
    assert!(refused > 100 && read > 100);
    world.publish(0, 1, 10);
    world.publish(2, 1, 10);
    world.settle(ms(40_000));
}

#[test]
fn a_liar_about_numbers_costs_little() {
    let mut world = World::flock(3, 1);
    world.sent.clear();
    let liar = world.nodes[0].id;
    let victim = world.nodes[1].id;
    for n in 0..600_u64 {
        let made_up = (0..40_u8).map(|k| (NodeId([k; 32]), (n, u64::MAX - u64::from(k))));
        let numbers = made_up.chain([(victim, (1, u64::MAX))]).collect();
        world.input(2, Input::Heard { from: liar, numbers });
        world.run(TICK);
    }
    assert!(world.nodes[2].gossip.numbers().len() <= 17);
    assert!(world.count("begin") < 60, "a minute of lies: {:?}", world.sent);
    world.publish(1, 1, 10);
    world.run(ms(5));
    assert!(world.agree());
}

#[test]
fn exchanges_begun_without_end_are_not_all_answered() {
    let mut world = World::flock(2, 1);
    let from = world.nodes[0].id;
    let held = Held::default();
    let mut answers = 0;
    for number in 1..=1_000 {
        let session = message::SessionId { incarnation: 7, number };
        let step = message::Step::Begin { fingerprint: Default::default(), numbers: Numbers::new() };
        let input = Input::Received { from, message: Message::Exchange { session, step } };
        world.now = world.now + Duration::from_millis(1);
        answers += world.nodes[1].gossip.handle(world.now, input, &held).len();
    }
    assert!(answers <= 50, "{answers} in a second");
}

#[test]
fn messages_that_are_too_large_are_refused() {
    let mut world = World::new(1, 1);
    let origin = Origin { node: world.nodes[0].id, incarnation: 1 };
    let raw: Arc<[u8]> = Arc::clone(&world.write(0, 1, 10)[0].record().raw);
    let of = |count: usize, raw: &Arc<[u8]>| {
        let records = Records::Raw(vec![Arc::clone(raw); count].into());
        let message = Message::Batches { origin, batches: vec![Batch { number: 1, records }] };
        Message::of_bytes(&message.to_bytes())
    };
    assert!(of(10, &raw).is_ok());
    assert!(of(FRAME_RECORDS + 1, &raw).is_err());
    let large: Arc<[u8]> = vec![0; FRAME_BYTES].into();
    assert!(of(2, &large).is_err());
    assert!(of(1, &large).is_ok(), "one record may be larger; this one is not signed and left out");
    assert!(Message::of_bytes(&vec![0; 6 << 20]).is_err());
    let many: Numbers = (0..65).map(|n| (NodeId([n; 32]), (1, 1))).collect();
    assert!(numbers_of_bytes(&numbers_to_bytes(&many)).is_err());
}

#[test]
fn absurd_counts_are_refused_by_name() {
    let session = message::SessionId { incarnation: 1, number: 1 };
    let part = message::Part { number: 0, last: true };
    let refusal = |step| {
        let bytes = Message::Exchange { session, step }.to_bytes();
        Message::of_bytes(&bytes).map_or_else(|error| error.to_string(), |_| "read".into())
    };
    let probe = |n: u64| fingerprint::Probe { range: Range::new(n << 40, 6).unwrap(), sums: [0; PARTS] };
    let probes = |count| Step::Probes { rest: false, probes: (0..count).map(probe).collect() };
    assert_eq!(refusal(probes(1_792)), "read");
    assert!(refusal(probes(20_000)).contains("20000 ranges are probed, at most 1792 may be"));
    let ranges = |count| Step::Listed { part, rest: false, ranges: vec![Range::ALL; count], ids: Vec::new() };
    assert_eq!(refusal(ranges(1_024)), "read");
    assert!(refusal(ranges(1_025)).contains("1025 ranges are listed, at most 1024 may be"));
    let ids = |count| Step::Want { part, ids: vec![RecordId([0; 16]); count] };
    assert_eq!(refusal(ids(16_384)), "read");
    assert!(refusal(ids(16_385)).contains("16385 ids are listed, at most 16384 may be"));
    // A range with digits that no id has.
    let mut bytes = Message::Exchange { session, step: ranges(1) }.to_bytes();
    let depth = bytes.windows(9).position(|bytes| bytes == [0; 9]).unwrap() + 8;
    bytes[depth] = 17;
    assert!(Message::of_bytes(&bytes).unwrap_err().to_string().contains("not a range"));
}
