//! Every input that was found to do harm, or was feared to, by name. A new find goes here.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use minicbor::Encoder;
use skein::node::message::{Lane, MAX_FRAME_BYTES};
use skein::store::fuzzing::{self, chunk_of};

use crate::craft::{batch, birth, body, frame, leb, record, signed_leb};
use crate::member::{actor, made_up};
use crate::victim::{MOST, Victim, resident};

/// A frame, its lane, and its name.
type Named = (&'static str, Lane, Vec<u8>);

#[test]
#[ignore = "run by others in a process of its own"]
fn child() {
    let mut victim = Victim::new();
    let mut worst: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for (name, lane, frame) in all() {
        let before = resident();
        (victim.counts.slowest_turn, victim.counts.slowest_decode) = Default::default();
        victim.frame(lane, &frame);
        let (turn, decode) = (victim.counts.slowest_turn, victim.counts.slowest_decode);
        let grown = resident().saturating_sub(before);
        let (count, longest) = worst.entry(name).or_default();
        (*count, *longest) = (*count + 1, (*longest).max(turn).max(decode));
        assert!(turn < MOST && decode < MOST, "{name}");
        assert!(grown < 64 << 10, "{name}: grown by {grown} KiB");
    }
    worst.iter().for_each(|(name, (count, longest))| println!("{name}: {count} inputs, {longest:?} at most"));
    assert!(fuzzing::guarded::<()>(|| panic!("as Automerge does")).is_err(), "and nothing of it on stderr");
    victim.wait(Duration::from_secs(1));
    assert!(victim.node.refused_records() > 10, "{:?}", victim.counts);
    for compact in [false, true] {
        assert_eq!(victim.restart(compact).refused, []);
    }
}

fn all() -> Vec<Named> {
    let mut all: Vec<Named> = Vec::new();
    let mut bulk = |name, frame| all.push((name, Lane::Bulk, frame));
    for (n, (name, chunk)) in chunks().into_iter().enumerate() {
        let n = n as u64;
        bulk(name, batch(10 + n, &[birth(1_000 + n, made_up(n).0, &format!("made-up-{n}"), &chunk)]));
    }
    for (n, (name, record)) in records().into_iter().enumerate() {
        bulk(name, batch(100 + n as u64, &[record]));
    }
    for message in absurd() {
        bulk("an exchange with an absurd count", frame(&[(3, message)]));
    }
    bulk("a batch of the most records", batch(200, &vec![vec![7; 80]; 2_048]));
    bulk("a frame of noise", vec![0xff; 1 << 20]);
    bulk("a frame over the limit", vec![1; MAX_FRAME_BYTES + 1]);
    bulk("nested deep in a field that nobody knows", frame(&[(3, [vec![0x9f; 500_000], vec![0xff]].concat())]));
    let deep = |open: &str| [&[0; 8], open.repeat(100_000).as_bytes()].concat();
    for (lane, kind) in [(Lane::Control, 4), (Lane::Control, 5), (Lane::Control, 6)] {
        all.push(("an ask of deep JSON", lane, frame(&[(kind, deep("["))])));
        all.push(("an ask of deep JSON", lane, frame(&[(kind, deep("{\"a\":"))])));
    }
    for message in absurd() {
        all.push(("an election message with an absurd count", Lane::Control, frame(&[(2, message.clone())])));
        all.push(("a probe with an absurd count", Lane::Control, frame(&[(1, message)])));
    }
    all.push(("records on the lane of heartbeats", Lane::Control, batch(300, &vec![vec![7; 80]; 2_048])));
    all.push(("a hundred thousand small messages", Lane::Control, frame(&vec![(1, vec![0x82, 0x40, 0x40]); 100_000])));
    all
}

/// Messages of every number whose list is said to have 2^63 elements, or a string so many bytes.
fn absurd() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let huge = [0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for kind in 0..12_u8 {
        for step in 0..12_u8 {
            for head in [0x9b, 0x5b, 0xbb] {
                // A message of a list; an exchange's step of a list; a step whose third field is one.
                let list = [&[head][..], &huge].concat();
                all.push([&[0x82, kind, 0x81][..], &list].concat());
                all.push([&[0x82, kind, 0x82, 0x82, 1, 1, 0x82, step, 0x81][..], &list].concat());
                all.push(
                    [&[0x82, kind, 0x82, 0x82, 1, 1, 0x82, step, 0x84, 0x82, 0, 0xf5, 0, 0xf4][..], &list].concat(),
                );
            }
        }
    }
    all
}

fn run(length: u64, value: &[u8]) -> Vec<u8> {
    [&signed_leb(length)[..], value].concat()
}

/// Columns of so many puts of nothing; each key is spelled out.
fn puts(keys: &[String], replaced: Option<u64>) -> Vec<(u8, Vec<u8>)> {
    let count = keys.len() as u64;
    let mut names = signed_literal(count);
    for key in keys {
        names.extend(leb(key.len() as u64));
        names.extend(key.as_bytes());
    }
    let mut columns = vec![
        (0x15, names),
        (0x34, leb(count)),
        (0x42, run(count, &[1])),
        (0x56, run(count, &[0])),
        (0x70, run(count, &[u8::from(replaced.is_some())])),
    ];
    if replaced.is_some() {
        columns.push((0x71, run(count, &[0])));
        columns.push((0x73, run(count, &[1])));
    }
    columns
}

/// The head of a literal run.
fn signed_literal(count: u64) -> Vec<u8> {
    let mut number = -i64::try_from(count).unwrap();
    let mut bytes = Vec::new();
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap();
        number >>= 7;
        if number == -1 && byte & 0x40 != 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}

fn chunks() -> Vec<(&'static str, Vec<u8>)> {
    let me = actor(1);
    const MANY: u64 = 10_000_000;
    let bomb = |head: [u64; 2], columns: &[(u8, Vec<u8>)]| chunk_of(&body(&me, head, columns));
    let columns = |count: u64| {
        vec![
            (0x15, run(count, b"\x01a")),
            (0x34, leb(count)),
            (0x42, run(count, &[1])),
            (0x56, run(count, &[0])),
            (0x70, run(count, &[0])),
        ]
    };
    let keys = |count: usize| (0..count).map(|n| format!("/data/{n:06}")).collect::<Vec<_>>();
    let mut all = vec![
        ("run lengths of ten million operations", bomb([1, 1], &columns(MANY))),
        ("run lengths beyond numbers", bomb([1, 1], &columns(1 << 62))),
        ("one key a thousand times", bomb([1, 1], &columns(1_000))),
        ("a new object that is as dear as may be", bomb([1, 1], &puts(&keys(12_288), None))),
        ("a new object that is too dear", bomb([1, 1], &puts(&keys(12_289), None))),
        ("operations that replace what is not there", bomb([1, 1], &puts(&keys(2_000), Some(1)))),
        ("operations at the end of numbers", bomb([1, u64::MAX], &columns(1))),
        ("operations near the end of numbers", bomb([1, u64::from(u32::MAX) - 1], &columns(1))),
        ("a change at the end of numbers", bomb([u64::MAX, 1], &columns(1))),
        ("columns of nothing", bomb([1, 1], &[])),
        ("a map", bomb([1, 1], &[(0x15, run(1, b"\x01a")), (0x34, vec![1]), (0x42, vec![1, 0]), (0x56, vec![1, 0])])),
    ];
    assert!(all[0].1.len() <= 69, "{} bytes", all[0].1.len());
    let group = vec![(0x70, run(1, &leb(MANY))), (0x71, run(MANY, &[0])), (0x73, run(MANY, &[1]))];
    all.push((
        "one operation with ten million predecessors",
        bomb([1, 1], &[columns(1)[..4].to_vec(), group].concat()),
    ));
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
    (0..1_000).for_each(|_| deflate.write_all(&vec![0; 1 << 20]).unwrap());
    let bomb = deflate.finish().unwrap();
    assert!(bomb.len() < 1_100_000, "{}", bomb.len());
    for (name, kind) in [("a deflate bomb", 2), ("a document of a deflate bomb", 0)] {
        let mut chunk = chunk_of(&bomb);
        chunk[8] = kind;
        all.push((name, chunk));
    }
    let mut spelled = body(&me, [1, 1], &[]);
    spelled.pop();
    spelled.extend([1, 0x15 | 8]);
    spelled.extend(leb(bomb.len() as u64));
    spelled.extend(&bomb);
    all.push(("a column of a deflate bomb", chunk_of(&spelled)));
    all.push(("no chunk", vec![0x85, 0x6f, 0x4a, 0x83]));
    all
}

fn records() -> Vec<(&'static str, Vec<u8>)> {
    let register = |uid: [u8; 16], value: &[u8]| {
        let mut e = Encoder::new(Vec::new());
        e.map(5).unwrap().u8(0).unwrap().bytes(&uid).unwrap().u8(1).unwrap().u8(2).unwrap();
        e.u8(2).unwrap().u64(u64::MAX).unwrap().u8(3).unwrap().u64(u64::MAX).unwrap();
        e.u8(4).unwrap().bytes(value).unwrap();
        e.into_writer()
    };
    // The first of the chunks above that is taken.
    let known = made_up(9).0;
    let deep = |depth: usize| format!("{}{}", "{\"a\":".repeat(depth - 1) + "{", "}".repeat(depth)).into_bytes();
    let told = |fields: u64| {
        let mut e = Encoder::new(Vec::new());
        e.map(3).unwrap().u8(0).unwrap().bytes(&known).unwrap().u8(1).unwrap().u64(u64::MAX).unwrap();
        e.u8(2).unwrap().array(fields).unwrap();
        for n in 0..fields.min(100_000) {
            e.map(2).unwrap().u8(0).unwrap().str(&format!("field/{n}")).unwrap().u8(1).unwrap().bytes(b"1").unwrap();
        }
        e.into_writer()
    };
    let columns =
        vec![(0x15, run(1, b"\x01a")), (0x34, vec![1]), (0x42, vec![1, 1]), (0x56, vec![1, 0]), (0x70, vec![1, 0])];
    let chunk = chunk_of(&body(&actor(1), [1, 1], &columns));
    let mut nested = Encoder::new(Vec::new());
    nested.map(1).unwrap().u8(99).unwrap();
    let nested = [nested.into_writer(), vec![0x81; 1 << 20]].concat();
    vec![
        ("a status that cannot be read again once it is shown", record(1, 2, &register(known, &deep(127)))),
        ("a status of a hundred thousand levels", record(2, 2, &register(known, &deep(100_000)))),
        ("a status of an object that nobody knows", record(3, 2, &register([0xee; 16], b"{}"))),
        ("a hundred thousand fields", record(4, 3, &told(100_000))),
        ("an absurd count of fields", record(5, 3, &told(1 << 62))),
        ("fields nested a million deep that nobody knows", record(6, 1, &nested)),
        ("a name of a megabyte", birth(7, made_up(70).0, &"x".repeat(1 << 20), &chunk)),
        ("a name with a slash", birth(8, made_up(71).0, "../../etc", &chunk)),
        ("a name that is none", birth(9, made_up(72).0, "", &chunk)),
        ("a body that is none", record(10, 1, b"")),
        ("a body of noise", record(11, 2, &[0xff; 4_096])),
        ("a record of the most bytes", record(12, 1, &vec![0; (4 << 20) - 200])),
        ("a kind that nobody knows", record(13, 250, b"\xa0")),
    ]
}
