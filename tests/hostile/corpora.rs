//! The fuzz targets' corpora, replayed. `UPDATE=1 cargo test --test hostile corpora` writes the seeds anew.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use minicbor::Encoder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein::disk::{Files as _, Log, MemoryFiles};
use skein::fuzzing::{TARGETS, run};
use skein::node::message::{Lane, Message, decode_on};
use skein::store::fuzzing;

use crate::craft::{batch, chunk, envelope, frame};
use crate::member::{self, FOUNDER, key, member};
use crate::victim::MOST;
use crate::{corpus, mutants};

#[test]
fn every_target_takes_its_corpus() {
    let mut counted = BTreeMap::new();
    for (target, _) in TARGETS {
        for entry in fs::read_dir(corpus(target)).unwrap() {
            run(target, &fs::read(entry.unwrap().path()).unwrap());
            *counted.entry(target).or_insert(0) += 1;
        }
    }
    println!("{counted:?}");
    assert_eq!(counted.len(), TARGETS.len(), "every target has seeds");
}

/// Gives every target mutants of its corpus, each made of one or two of its inputs: what a fuzzer does that cannot see
/// which way they take. Run by others in a process of its own.
#[test]
#[ignore = "run by others in a process of its own"]
fn child() {
    let each = crate::frames();
    for (n, (target, _)) in TARGETS.iter().enumerate() {
        let mut random = StdRng::seed_from_u64(n as u64);
        let mut paths: Vec<_> = fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let inputs: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).filter(|i| !i.is_empty()).collect();
        let mut slowest = Duration::ZERO;
        for number in 0..each {
            let mutant = mutant(&inputs, &mut random);
            let before = crate::victim::cpu();
            if std::panic::catch_unwind(|| run(target, &mutant)).is_err() {
                panic!("{target}, mutant {number}: {}", hex::encode(&mutant));
            }
            let took = crate::victim::cpu() - before;
            assert!(took < 2 * MOST, "{target}, mutant {number} took {took:?}: {}", hex::encode(&mutant));
            slowest = slowest.max(took);
        }
        println!("{target}: {each} mutants of {} inputs, {slowest:?} at most", inputs.len());
    }
}

fn mutant(inputs: &[Vec<u8>], random: &mut StdRng) -> Vec<u8> {
    let pick = |random: &mut StdRng| &inputs[random.random_range(0..inputs.len())];
    let mut bytes = pick(random).clone();
    if random.random_bool(0.2) {
        let other = pick(random);
        let (at, from) = (random.random_range(0..=bytes.len()), random.random_range(0..=other.len()));
        bytes.truncate(at);
        bytes.extend_from_slice(&other[from..]);
    }
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            bytes.push(random.random());
        }
        match random.random_range(0..3) {
            0 => mutants::cut_and_paste(&mut bytes, random),
            _ => mutants::flip(&mut bytes, random),
        }
    }
    bytes
}

#[test]
fn every_target_is_built_by_cargo_fuzz() {
    let manifest = fs::read_to_string(corpus("").join("../Cargo.toml")).unwrap();
    for (target, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{target}\"")), "{target}");
        let source = fs::read_to_string(corpus("").join(format!("../fuzz_targets/{target}.rs"))).unwrap();
        assert!(source.contains(&format!("run(\"{target}\"")), "{target}");
    }
}

#[test]
fn seeds_are_as_committed_or_are_written() {
    if std::env::var_os("UPDATE").is_none() {
        return;
    }
    for (target, seeds) in seeds() {
        let folder = corpus(target);
        fs::create_dir_all(&folder).unwrap();
        for (n, seed) in seeds.into_iter().enumerate() {
            assert!(target != "journal" || skein::disk::registry::fuzz(&seed) > 0, "a journal that is read");
            fs::write(folder.join(format!("seed{n:02}")), seed).unwrap();
        }
    }
}

fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let records = member::records(1);
    let of_kind = |kind: usize| {
        let body = |record: &&Vec<u8>| skein::store::record::Record::read(&record[..]).unwrap().body;
        let wanted = |record: &&Vec<u8>| {
            let name = format!("{:?}", body(record));
            name.starts_with(["Change", "Register", "Told", "Mark", "Event"][kind])
        };
        records.iter().filter(wanted).take(3).cloned().collect::<Vec<_>>()
    };
    let some: Vec<Vec<u8>> = (0..5).flat_map(of_kind).collect();
    let frames: Vec<Vec<u8>> = some.iter().map(|record| batch(1, std::slice::from_ref(record))).collect();
    let gossip: Vec<Vec<u8>> = frames.iter().map(|frame| inner(frame)).collect();
    let lengthy = |records: &[Vec<u8>]| -> Vec<u8> {
        let of = |record: &Vec<u8>| {
            [&u16::try_from(envelope(record).len()).unwrap().to_be_bytes()[..], envelope(record)].concat()
        };
        records.iter().flat_map(of).collect()
    };
    let ours: Vec<Vec<u8>> = fuzzing::base().1;
    let text = |texts: &[&str]| texts.iter().map(|t| t.as_bytes().to_vec()).collect::<Vec<_>>();
    let election = mutants::elections();
    vec![
        ("frame", [frames.clone(), election.iter().map(|m| frame(&[(2, m.clone())])).collect()].concat()),
        ("gossip", gossip),
        ("numbers", vec![skein::gossip::numbers_to_bytes(&[(member::id(1), (1, 7)), (member::id(2), (3, 9))].into())]),
        (
            "membership",
            vec![skein::membership::Message::Probe(7).to_bytes(), skein::membership::Message::Ack(7).to_bytes()],
        ),
        ("election", election),
        ("record", some.clone()),
        (
            "change",
            ours.iter()
                .chain(&some)
                .filter_map(|b| chunk(b).or(Some(b)))
                .map(|c| fuzzing::body_of(c).to_vec())
                .collect(),
        ),
        ("merge", vec![lengthy(&records[..12]), lengthy(&some)]),
        ("member", vec![member(2).sign(&key(FOUNDER))]),
        ("token", text(&["skein1.AAAA", "sk1", ""])),
        ("certificate", vec![vec![0x30, 0x82, 0x01, 0x00]]),
        ("log", vec![log(&some), log(&some[..1])]),
        (
            "sealed",
            text(&[
                "\u{1}{\"incarnation\":3,\"ballot\":null}",
                "\u{2}{\"voters\":{},\"registers\":{}}",
                "\u{3}{\"key\":\"00\",\"cluster\":\"00\"}",
            ]),
        ),
        ("journal", vec![journal(&[("a", 0, 0, "abcdef"), ("a", 1, 2, "x")]), journal(&[("b", 5, u64::MAX, "")])]),
        ("json", text(&[POD_JSON, "\u{3}{\"a\":[1,2.5,-3,1e999,\"\\ud800\"]}", "\u{7}[[[[[[[[[[[[[[[["])),
        ("yaml", text(&[POD_YAML, "\u{3}a: &a [x,x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n", "\u{5}? [a]\n: !!binary aGk=\n"])),
        ("patch", text(PATCHES)),
        (
            "selector",
            text(&[
                "app=web,tier!=db,x in (a,b),!y",
                "status.phase=Running,metadata.name!=x",
                "{\"matchLabels\":{\"a\":\"b\"},\"matchExpressions\":[{\"key\":\"a\",\"operator\":\"In\",\"values\":[\"b\"]}]}",
            ]),
        ),
        ("quantity", text(&["100m", "1.5Gi", "1e30", "-0.000001n", "9223372036854775808", "+.5E"])),
        ("call", text(&["\"Join\"", "{\"Tcp\":\"10.240.1.2:80\"}"])),
    ]
}

const POD_JSON: &str = "\u{0}{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"metadata\":{\"name\":\"p\"},\"spec\":{\"containers\":[{\"name\":\"a\",\"image\":\"b\"}]}}";
const POD_YAML: &str =
    "\u{20}apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: p\ndata:\n  a: \"1\"\n  b: |\n    text\n";
const PATCHES: &[&str] = &[
    "\u{0}[{\"op\":\"replace\",\"path\":\"/spec/replicas\",\"value\":3},{\"op\":\"move\",\"from\":\"/metadata/labels\",\"path\":\"/metadata/annotations\"}]",
    "\u{1}{\"spec\":{\"replicas\":3,\"template\":null},\"metadata\":{\"labels\":{\"a\":\"b\"}}}",
    "\u{2}{\"spec\":{\"template\":{\"spec\":{\"$setElementOrder/containers\":[{\"name\":\"web\"}],\"containers\":[{\"$patch\":\"delete\",\"name\":\"web\"}]}}}}",
    "\u{2}{\"metadata\":{\"$deleteFromPrimitiveList/finalizers\":[\"a.b/c\"],\"$retainKeys\":[\"name\"]}}",
];

/// The saves of a journal of registers, one edit each: which key, how much of head and tail stays, what is between.
fn journal(saves: &[(&str, u64, u64, &str)]) -> Vec<u8> {
    let save = |(key, head, tail, middle): &(&str, u64, u64, &str)| {
        let mut e = Encoder::new(Vec::new());
        e.map(1).unwrap().u8(0).unwrap().array(1).unwrap().map(5).unwrap().u8(0).unwrap().str(key).unwrap();
        e.u8(1).unwrap().map(2).unwrap().u8(0).unwrap().u64(3).unwrap().u8(1).unwrap().u64(7).unwrap();
        e.u8(2).unwrap().u64(*head).unwrap().u8(3).unwrap().u64(*tail).unwrap();
        e.u8(4).unwrap().bytes(middle.as_bytes()).unwrap();
        let payload = e.into_writer();
        [&u16::try_from(payload.len()).unwrap().to_le_bytes()[..], &payload].concat()
    };
    saves.iter().flat_map(save).collect()
}

/// The gossip message in a frame.
fn inner(frame: &[u8]) -> Vec<u8> {
    match &decode_on(Lane::Bulk, frame).unwrap()[..] {
        [Message::Gossip(message)] => message.to_bytes(),
        other => panic!("{other:?}"),
    }
}

fn log(records: &[Vec<u8>]) -> Vec<u8> {
    let files = MemoryFiles::default();
    let (mut log, _) = Log::open(files.clone()).unwrap();
    log.append(records).unwrap();
    log.sync().unwrap();
    files.read(&files.list().unwrap()[0]).unwrap()
}
