//! Frames mutated before they are signed, as a buggy member's would be.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein::node::message::Lane;
use skein::store::fuzzing;
use skein::store::record::{Body, Record};

use crate::craft::{batch, chunk, envelope, sign, with_chunk};
use crate::member;
use crate::victim::{MOST, Victim, resident};

/// After so many frames the node is stopped and started again, and the mad member begins another run.
const RUN: usize = 10_000;
/// How much memory may grow after the first frames, in KiB.
const GROWTH: u64 = 64 << 10;

/// How far mutants have come.
#[derive(Debug, Default)]
struct Stages {
    frames: u64,
    /// Signed rightly and of a known kind: a decoder behind the signature sees what was mutated.
    reached: u64,
    changes: u64,
    /// Changes that Automerge is given to apply.
    scanned: u64,
    /// Mutated after signing.
    broken: u64,
}

#[test]
#[ignore = "run by others in a process of its own"]
fn child() {
    let frames = crate::frames();
    let (mut random, mut stages) = (StdRng::seed_from_u64(11), Stages::default());
    let (mut victim, mut base) = (Victim::new(), Vec::new());
    let mut floor = 0;
    for n in 0..frames {
        if n % RUN == 0 {
            // Every other time the log is as it was written, with all that was taken out of objects since.
            if n > 0 {
                victim.restart((n / RUN).is_multiple_of(2));
            }
            base = member::records(1 + (n / RUN) as u64);
            let half = base.len() / 2;
            base[..half].iter().for_each(|record| victim.frame(Lane::Bulk, &batch(1, std::slice::from_ref(record))));
        }
        if n == RUN.min(frames / 2) {
            floor = resident();
        }
        let frame = mutant(&base, n as u64 + 2, &mut random, &mut stages);
        victim.frame(Lane::Bulk, &frame);
    }
    let grown = resident().saturating_sub(floor);
    let report = victim.restart(true);
    println!("{stages:?}\n{:?}\ngrown by {grown} KiB to {} KiB", victim.counts, resident());
    println!("{} objects live", report.objects);
    assert_eq!(report.refused, [], "what lives is taken at the next start");
    assert!(stages.reached * 2 >= stages.frames, "at least half reach a decoder");
    assert!(stages.scanned * 50 >= stages.changes, "some are good enough to be applied");
    assert!(victim.counts.slowest_turn < MOST && victim.counts.slowest_decode < MOST);
    assert!(grown < GROWTH);
}

fn mutant(base: &[Vec<u8>], number: u64, random: &mut StdRng, stages: &mut Stages) -> Vec<u8> {
    let pick = |random: &mut StdRng| &base[random.random_range(0..base.len())];
    let change = |random: &mut StdRng| loop {
        let record = pick(random);
        if let Some(chunk) = chunk(record) {
            return (record, chunk);
        }
    };
    stages.frames += 1;
    let record = match random.random_range(0..20) {
        0 => pick(random).clone(),
        1..8 => {
            let (record, chunk) = change(random);
            let mut body = fuzzing::body_of(chunk).to_vec();
            flip(&mut body, random);
            with_chunk(record, &fuzzing::chunk_of(&body))
        }
        8..11 => {
            let (record, chunk) = change(random);
            let mut body = fuzzing::body_of(chunk).to_vec();
            cut_and_paste(&mut body, random);
            with_chunk(record, &fuzzing::chunk_of(&body))
        }
        11 => {
            let (record, (_, chunk)) = (change(random).0, change(random));
            with_chunk(record, chunk)
        }
        12..17 => {
            let mut envelope = envelope(pick(random)).to_vec();
            flip(&mut envelope, random);
            sign(&envelope)
        }
        17 => {
            let mut envelope = envelope(pick(random)).to_vec();
            cut_and_paste(&mut envelope, random);
            sign(&envelope)
        }
        _ => {
            stages.broken += 1;
            let mut frame = batch(number, std::slice::from_ref(pick(random)));
            flip(&mut frame, random);
            return frame;
        }
    };
    if let Ok(read) = Record::read(&*record) {
        stages.reached += 1;
        if let Body::Change { chunk, .. } = read.body {
            stages.changes += 1;
            stages.scanned += u64::from(fuzzing::is_readable(&record[chunk]));
        }
    }
    batch(number, &[record])
}

/// Changes a few bytes.
pub fn flip(bytes: &mut [u8], random: &mut StdRng) {
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..bytes.len());
        bytes[at] = match random.random_range(0..4) {
            0 => bytes[at].wrapping_add(1),
            1 => bytes[at] ^ (1 << random.random_range(0..8)),
            2 => [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            _ => random.random(),
        };
    }
}

/// Takes out a piece, doubles one or puts in noise.
pub fn cut_and_paste(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let at = random.random_range(0..bytes.len());
    let end = (at + random.random_range(1..12)).min(bytes.len());
    match random.random_range(0..4) {
        0 => drop(bytes.drain(at..end)),
        1 => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
        2 => {
            let noise: Vec<u8> = (at..end).map(|_| random.random()).collect();
            bytes.splice(at..end, noise);
        }
        _ => bytes.truncate(at.max(1)),
    }
}

/// Messages about leading.
pub fn elections() -> Vec<Vec<u8>> {
    use skein::election::{Message, Register, Registers, Stamp, Voters, VotersId};
    use skein::ids::Term;
    let voters = Voters {
        term: Term(3),
        version: 4,
        members: [member::id(1), member::id(2)].into(),
        seats: [(member::id(2), 5)].into(),
        generation: 1 << 24,
    };
    let (term, held) = (Term(7), Stamp { term: Term(2), seq: 8 });
    let registers = Registers::from([("key".to_owned(), Register { stamp: held, value: b"value".to_vec() })]);
    let all = [
        Message::PreVote { term, voters: voters.clone() },
        Message::Vote { term, voters: voters.clone() },
        Message::Voted { term, held, seat: 5 },
        Message::Beat { term, voters, commit: 8 },
        Message::Ack { term, voters: VotersId { term, version: 1 }, held, seat: 5 },
        Message::Held { term, registers: registers.clone() },
        Message::Write { term, after: 0, upto: 8, registers },
        Message::HandOver { term },
    ];
    all.iter().map(Message::to_bytes).collect()
}
