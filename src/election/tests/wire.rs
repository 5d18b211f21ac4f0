//! How messages are written.

use proptest::prelude::*;

use super::world::{node, nodes};
use crate::election::{MAX_VALUE, Message, Register, Registers, Stamp, Told, Voters, VotersId};
use crate::ids::Term;

fn samples() -> Vec<Message> {
    let seats = [(node(2), 77)].into();
    let voters = Voters { term: Term(3), version: 4, members: nodes([1, 2, 3]), seats, generation: 1 << 24 };
    let held = Stamp { term: Term(2), seq: 8 };
    let registers = Registers::from([("key".to_owned(), Register { stamp: held, value: b"value".to_vec() })]);
    let term = Term(7);
    vec![
        Message::PreVote { term, voters: voters.clone() },
        Message::PreVoted { term },
        Message::Vote { term, voters: voters.clone() },
        Message::Voted { term, held, seat: 5 },
        Message::Beat { term, voters, commit: 8 },
        Message::Ack { term, voters: VotersId { term, version: 1 }, held, seat: 5 },
        Message::Read { term },
        Message::Held { term, registers: registers.clone() },
        Message::Write { term, after: 0, upto: 8, registers: registers.clone() },
        Message::Newer { term },
        Message::HandOver { term },
        Message::Recall { term, held },
        Message::Recalled { term, told: None, registers: registers.clone() },
        Message::Recalled {
            term,
            told: Some(Told { seat: 5, term, voters: VotersId { term, version: 1 }, held }),
            registers: Registers::new(),
        },
    ]
}

#[test]
fn messages_read_back() {
    for message in samples() {
        assert_eq!(Message::of_bytes(&message.to_bytes()), Ok(message));
    }
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let value = vec![0; MAX_VALUE + 1];
    let registers = Registers::from([("key".to_owned(), Register { stamp: Stamp::default(), value })]);
    for message in [Message::Newer { term: Term(u64::MAX) }, Message::Held { term: Term(1), registers }] {
        assert!(Message::of_bytes(&message.to_bytes()).is_err());
    }
}

#[test]
fn unknown_fields_are_skipped() {
    // [0x82: variant and fields, 9: Newer, {0: 5, 77: "new"}]
    let bytes = [0x82, 9, 0xa2, 0, 5, 0x18, 77, 0x63, b'n', b'e', b'w'];
    assert_eq!(Message::of_bytes(&bytes), Ok(Message::Newer { term: Term(5) }));
}

#[test]
fn what_the_release_before_says_has_seat_nought() {
    // Voted { term: 5, held: (2, 8) } and Beat with voters { term: 3, version: 4, members: [] }, as it wrote them.
    let voted = [0x82, 3, 0xa2, 0, 5, 1, 0xa2, 0, 2, 1, 8];
    let held = Stamp { term: Term(2), seq: 8 };
    assert_eq!(Message::of_bytes(&voted), Ok(Message::Voted { term: Term(5), held, seat: 0 }));
    let beat = [0x82, 4, 0xa3, 0, 5, 1, 0xa3, 0, 3, 1, 4, 2, 0x80, 2, 9];
    let voters = Voters { term: Term(3), version: 4, ..Voters::default() };
    assert_eq!(Message::of_bytes(&beat), Ok(Message::Beat { term: Term(5), voters, commit: 9 }));
}

proptest! {
    #[test]
    fn mutated_bytes_do_not_panic(which in 0..14usize, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = samples()[which].to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Message::of_bytes(&bytes);
    }
}
