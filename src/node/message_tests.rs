//! Frames there and back, of newer versions, and broken.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::ids::{NodeId, Term};
use crate::store::record::{Draft, Scribe};
use crate::store::{MAX_RECORD_BYTES, PARTS, Range, RecordId, Sum, Verified};
use crate::time::Mono;
use crate::trust::ClusterSettings;

use super::*;

struct Nothing;

impl gossip::Holdings for Nothing {
    fn sum(&self) -> Sum {
        Sum::default()
    }

    fn sums(&self, _: Range) -> [Sum; PARTS] {
        Default::default()
    }

    fn ids(&self, _: Range) -> Vec<RecordId> {
        Vec::new()
    }

    fn has(&self, _: &RecordId) -> bool {
        false
    }

    fn removed(&self) -> &[u64; 256] {
        &[0; 256]
    }

    fn records(&self, _: &BTreeSet<RecordId>) -> Vec<Arc<[u8]>> {
        Vec::new()
    }
}

/// What a node says that publishes records of so many bytes each.
fn published(count: usize, bytes: usize) -> Vec<Message> {
    let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let me = NodeId(key.verifying_key().to_bytes());
    let mut scribe = Scribe::new(me, 1, key);
    let value: Option<Arc<[u8]>> = Some(vec![7; bytes].into());
    let fields = [("field".to_owned(), value)];
    let mut record = || Verified::read(scribe.write(Draft::Told(crate::ids::Uid([1; 16]), 1, &fields))).unwrap();
    let mut machine = gossip::Gossip::new(gossip::Origin { node: me, incarnation: 1 }, 1);
    let peer = NodeId([255; 32]);
    let now = Mono::default();
    machine.handle(now, gossip::Input::Connected(peer), &Nothing);
    let publish = gossip::Input::Publish((0..count).map(|_| record()).collect());
    let outputs = machine.handle(now, publish, &Nothing);
    let said = outputs.into_iter().filter_map(|output| match output {
        gossip::Output::Send { message, .. } => Some(Message::Gossip(message)),
        _ => None,
    });
    said.collect()
}

fn one_of_each() -> Vec<Message> {
    let numbers = [(NodeId([3; 32]), (1, 9))].into();
    let request = JoinRequest { token: "SK1abc".into(), id: NodeId([5; 32]), name: "n2".into(), level: 1 };
    let settings =
        ClusterSettings { pods: "10.240.0.0/12".parse().unwrap(), services: "10.96.0.0/16".parse().unwrap() };
    let admission = Admission { member: vec![1, 2], members: vec![vec![1, 2], vec![3]], settings };
    let mut messages = published(1, 10);
    messages.extend([
        Message::Membership(membership::Message::Probe(7), numbers),
        Message::Election(election::Message::Newer { term: Term(3) }),
        Message::ElectionOf(1 << 24, election::Message::Newer { term: Term(3) }),
        Message::Recovery(vec![1, 2, 3]),
        Message::Standing {
            said: Said { standing: Standing { acked: 9, floor: 8, cleared: 7 }, blank: true },
            ask: true,
        },
        Message::Ask { id: u64::MAX, ask: Ask::Join(request) },
        Message::Answer { id: 1, answer: Ok(admission) },
        Message::Answer { id: 2, answer: Err(Declined::for_good("the token is spent")) },
        Message::Held {
            run: 3,
            held: Held { number: 7, complete: true, slots: vec![(Slot("d/0".into()), Uid([4; 16]))] },
        },
        Message::Leased {
            term: Term(5),
            run: 3,
            number: 7,
            leased: vec![Leased { slot: Slot("d/0".into()), pod: Uid([4; 16]), millis: 14_900 }],
        },
        Message::Clock(Wall(-1_800_000_000_000_001)),
        Message::Vouch { term: Term(5), at: 1_234_567 },
        Message::Vouched { term: Term(5), at: 1_234_567 },
    ]);
    messages
}

#[test]
fn messages_come_back_in_order() {
    let messages = one_of_each();
    let read = decode(&encode(&messages)).unwrap();
    // What was read says the same when it is written.
    assert_eq!(encode(&read), encode(&messages));
    let said: Vec<_> = read[1..].iter().map(|m| format!("{m:?}")).collect();
    let meant: Vec<_> = messages[1..].iter().map(|m| format!("{m:?}")).collect();
    assert_eq!(said, meant);
    assert_eq!(decode(&encode(&[])).unwrap().len(), 0);
}

#[test]
fn what_travels_on_a_lane_is_read_from_it_and_from_no_other() {
    for message in one_of_each() {
        let frame = encode(std::slice::from_ref(&message));
        let other = if message.lane() == Lane::Bulk { Lane::Control } else { Lane::Bulk };
        assert_eq!(decode_on(message.lane(), &frame).unwrap().len(), 1, "{message:?}");
        assert_eq!(decode_on(other, &frame).unwrap().len(), 0, "{message:?}");
    }
}

#[test]
fn what_a_newer_node_says_is_passed_over() {
    let mut parts: Vec<_> = one_of_each().iter().map(Message::to_bytes).collect();
    parts.insert(1, (77, b"new".to_vec()));
    // A kind that is known, with something in it that is not.
    parts.insert(3, (GOSSIP, vec![0x82, 0x18, 99, 0xa0]));
    assert_eq!(decode(&frame(&parts)).unwrap().len(), parts.len() - 2);
}

#[test]
fn frames_of_another_version_or_size_are_refused() {
    let mut other = encode(&one_of_each());
    other[0] = 2;
    let sentence = decode(&other).unwrap_err().to_string();
    assert_eq!(sentence, "malformed frame: version 2, this node speaks version 1");
    assert!(decode(&vec![1; MAX_FRAME_BYTES + 1]).is_err());
    assert!(decode(&[]).is_err());
}

#[test]
fn much_goes_into_several_frames_and_the_largest_record_into_one() {
    let mut messages = published(100, 30_000);
    messages.extend(published(1, MAX_RECORD_BYTES - 1_000));
    messages.extend(one_of_each());
    let frames = frames(&messages);
    assert!(frames.len() > 5, "{} frames", frames.len());
    assert!(frames.iter().all(|frame| frame.len() <= MAX_FRAME_BYTES));
    let read: Vec<Message> = frames.iter().flat_map(|frame| decode(frame).unwrap()).collect();
    assert_eq!(encode(&read), encode(&messages));
    assert_eq!(super::frames(&[]).len(), 0);
}

#[test]
fn broken_frames_do_not_panic() {
    let frame = encode(&one_of_each());
    let mut random = StdRng::seed_from_u64(1);
    let mut refused = 0;
    for _ in 0..2_000 {
        let mut frame = frame.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..frame.len());
            frame[at] = random.random();
        }
        frame.truncate(random.random_range(frame.len() / 2..frame.len() * 2).min(frame.len()));
        refused += usize::from(decode(&frame).is_err());
    }
    assert!(refused > 100);
    // A list that claims to be endless.
    assert!(decode(&[1, 0x9b, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
}
