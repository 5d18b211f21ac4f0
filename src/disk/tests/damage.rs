//! Every damage: each byte of a small log flipped, each of its files cut off everywhere and taken away.

use crate::disk::log::{Log, Recovered};
use crate::disk::memory::MemoryFiles;
use crate::disk::{Files, sealed};

fn record(n: usize) -> Vec<u8> {
    format!("record {n} {}", "y".repeat(20 + n * 13 % 90)).into_bytes()
}

/// A log of several segments from three runs, one of them rewritten; and how many records each file holds.
fn log() -> (MemoryFiles, usize) {
    let files = MemoryFiles::default();
    let mut next = 0;
    for run in 0..3 {
        let (mut log, _) = Log::open(files.clone()).expect("opens");
        log.roll_at(400);
        for _ in 0..6 {
            let batch = [record(next), record(next + 1)];
            next += 2;
            log.append(&batch).and_then(|()| log.sync()).expect("writes");
        }
        if run == 0 {
            log.compact(&(0..next).map(record).collect::<Vec<_>>()).expect("compacts");
        }
    }
    (files, next)
}

fn open(files: &MemoryFiles) -> Recovered {
    Log::open(files.clone()).expect("opens").1
}

fn segments(files: &MemoryFiles) -> Vec<(String, usize)> {
    let names = files.list().expect("lists");
    names.into_iter().map(|name| (name.clone(), files.read(&name).expect("reads").len())).collect()
}

/// All records that were read are real, and if any is missing somebody is told.
fn is_sound(found: &Recovered, all: usize, what: &str) -> usize {
    assert!(found.records.iter().all(|r| (0..all).any(|n| record(n) == *r)), "{what}: an invented record");
    let lost = (0..all).filter(|n| !found.records.contains(&record(*n))).count();
    assert!(lost == 0 || !found.damage.is_empty(), "{what}: {lost} records are lost and nobody is told");
    lost
}

#[test]
fn every_flipped_byte_costs_at_most_its_record_and_is_told() {
    let (pristine, all) = log();
    assert_eq!(open(&pristine).damage, []);
    for (name, length) in segments(&pristine) {
        for offset in 0..length {
            let files = pristine.copy();
            assert!(files.damage(&name, offset));
            let lost = is_sound(&open(&files), all, &format!("{name} at {offset}"));
            assert!(lost <= 1, "{name} at {offset}: {lost} records are lost");
        }
    }
}

#[test]
fn every_truncation_is_told_but_one_that_looks_like_a_power_cut() {
    let (pristine, all) = log();
    let last = segments(&pristine).pop().expect("there is one").0;
    for (name, length) in segments(&pristine) {
        for keep in 0..length {
            let files = pristine.copy();
            assert!(files.truncate(&name, keep));
            let found = open(&files);
            if name != last {
                is_sound(&found, all, &format!("{name} cut to {keep}"));
            }
            // What was told is told once more at the next start, also when it was written to meanwhile.
            let (mut log, _) = Log::open(files.clone()).expect("opens");
            log.append([&record(0)]).and_then(|()| log.sync()).expect("writes");
            assert!(open(&files).records.len() > found.records.len());
        }
    }
}

#[test]
fn a_segment_that_is_gone_is_told() {
    let (pristine, all) = log();
    let mut names = segments(&pristine);
    names.pop();
    let (count, mut told) = (names.len(), 0);
    for (name, _) in names {
        let mut files = pristine.copy();
        files.remove(&name).expect("was there");
        let found = open(&files);
        // What each run wrote last the next one has written once more.
        if is_sound(&found, all, &name) > 0 {
            assert!(found.damage.iter().any(|d| d.what.contains("missing")), "{found:?}");
            told += 1;
        }
    }
    assert!(told + 2 >= count && told > 2, "{told} of {count}");
}

#[test]
fn what_a_rewrite_has_left_behind_is_not_read_again() {
    let mut files = MemoryFiles::default();
    let (mut log, _) = Log::open(files.clone()).expect("opens");
    log.append([&record(1)]).and_then(|()| log.sync()).expect("writes");
    let dead = files.read("000000000001.log").expect("is there");
    log.compact([&record(2)]).expect("compacts");
    files.append("000000000001.log", &dead).expect("writes");
    assert_eq!(open(&files).records, [record(2)]);
    assert_eq!(files.list().expect("lists"), ["000000000002.log"]);
}

#[test]
fn a_log_of_the_release_before_is_read() {
    let mut files = MemoryFiles::default();
    let mut bytes = b"SKEINLG1".to_vec();
    for n in 0..3 {
        let (payload, mut hasher) = (record(n), crc32fast::Hasher::new());
        let length = (payload.len() as u32).to_le_bytes();
        hasher.update(&length);
        hasher.update(&payload);
        bytes.extend([0xf1, b'S', b'K', 0x1f]);
        bytes.extend(length);
        bytes.extend(hasher.finalize().to_le_bytes());
        bytes.extend(payload);
    }
    files.append("000000000001.log", &bytes).expect("writes");
    let found = open(&files);
    assert_eq!((found.records, found.damage), ((0..3).map(record).collect(), Vec::new()));
    files.damage("000000000001.log", 60);
    assert_eq!(open(&files).damage.len(), 1);
}

#[test]
fn every_damage_of_a_small_file_is_noticed() {
    let mut files = MemoryFiles::default();
    sealed::write(&mut files, "vote", &"hello").expect("writes");
    let length = files.read("vote").expect("is there").len();
    for keep in 0..length {
        let cut = files.copy();
        cut.truncate("vote", keep);
        assert!(sealed::read::<String>(&cut, "vote").is_err(), "cut to {keep}");
        let flipped = files.copy();
        flipped.damage("vote", keep);
        assert!(sealed::read::<String>(&flipped, "vote").is_err(), "flipped at {keep}");
    }
}
