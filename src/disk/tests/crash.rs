//! Every crash: a fixed workload is ended after each of its operations, and after each the plug is pulled in every way that
//! the model of a disk allows. What was acknowledged must be there.

use std::cell::RefCell;
use std::rc::Rc;

use crate::disk::log::Log;
use crate::disk::memory::{MemoryFiles, Tail};
use crate::disk::writer::{Job, Report, State};
use crate::disk::{Files, sealed};
use crate::ids::PersistId;

/// Long enough to span sectors, and to be torn in interesting places.
fn record(n: u64) -> Vec<u8> {
    let mut text = format!("record {n} ").into_bytes();
    text.extend(std::iter::repeat_n(b'a' + (n % 26) as u8, 40 + (n as usize * 37) % 700));
    text
}

/// What tails may look like: nothing, single bytes, sectors, all; and with the first block missing.
fn tails(longest: usize, thorough: bool) -> Vec<Tail> {
    let kept = [0, 1, 4, 11, 12, 13, 100, 511, 512, 513, longest.saturating_sub(1), longest].map(Tail::Kept);
    let holes = [16, 64, 512, 1024].map(Tail::Hole);
    let mut tails: Vec<_> = kept.into_iter().chain(holes).collect();
    if thorough {
        tails.extend((0..longest).map(Tail::Kept));
    }
    tails.retain(|tail| matches!(tail, Tail::Kept(n) | Tail::Hole(n) if *n <= longest));
    tails.dedup();
    tails
}

/// A log's writer, driven by hand: what it has acknowledged, and what was ever handed in.
struct Run {
    acknowledged: u64,
    handed_in: u64,
}

/// Appends in batches of several sizes, rolls segments, rewrites the log twice; after a failure it goes on as the
/// thread does.
fn workload(files: &MemoryFiles) -> Run {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let into = Rc::clone(&seen);
    let Ok((mut log, _)) = Log::open(files.clone()) else { return Run { acknowledged: 0, handed_in: 0 } };
    log.roll_at(1_500);
    let mut writer = State::new(log, move |report| into.borrow_mut().push(report));
    let mut next = 0;
    for batch in 1..=8_u64 {
        let records: Vec<_> = (next + 1..=next + batch % 3 + 1).map(record).collect();
        next += records.len() as u64;
        writer.take(Job::Append { id: PersistId(next), records, urgent: batch != 4 });
        if batch == 3 || batch == 6 {
            // Comes while records wait that are not written.
            writer.take(Job::Compact((1..=next).map(record).collect()));
        }
        for _ in 0..3 {
            writer.flush();
            writer.hurry();
        }
    }
    let acknowledged =
        seen.borrow().iter().filter_map(|r| if let Report::Persisted(id) = r { Some(id.0) } else { None }).max();
    Run { acknowledged: acknowledged.unwrap_or_default(), handed_in: next }
}

/// Opens what is left, twice with a write in between, and compares.
fn check(files: &MemoryFiles, run: &Run, what: &str) {
    let (mut log, recovered) = Log::open(files.clone()).expect("opens");
    for n in 1..=run.acknowledged {
        assert!(recovered.records.contains(&record(n)), "{what}: record {n} of {} is lost", run.acknowledged);
    }
    for found in &recovered.records {
        assert!((1..=run.handed_in).any(|n| record(n) == *found), "{what}: an invented record");
    }
    assert_eq!(recovered.damage, [], "{what}");
    let last = b"written afterwards".to_vec();
    log.append([&last]).and_then(|()| log.sync()).expect("writes");
    files.crash(0);
    let again = Log::open(files.clone()).expect("opens").1;
    assert_eq!(again.damage, [], "{what}, the second time");
    // What was there twice, after a failed sync, may be there once.
    let lost = recovered.records.iter().filter(|record| !again.records.contains(record)).count();
    assert!(lost == 0 && again.records.last() == Some(&last), "{what}: {lost} records that were shown are lost");
}

/// Pulls the plug in every way.
fn every_crash(files: &MemoryFiles, run: &Run, what: &str, thorough: bool) -> usize {
    let mut crashes = 0;
    let names = files.unsynced_names().min(8) as u32;
    for mask in 0..1_u64 << names {
        for tail in tails(files.longest_tail(), thorough) {
            let left = files.copy();
            left.crash_with(mask, |_| tail);
            check(&left, run, &format!("{what}, names {mask:b}, {tail:?}"));
            crashes += 1;
        }
    }
    // The process alone is killed: the kernel keeps all.
    let left = files.copy();
    left.repair();
    check(&left, run, &format!("{what}, killed"));
    crashes + 1
}

fn operations() -> u64 {
    let files = MemoryFiles::default();
    let run = workload(&files);
    assert!(run.acknowledged == run.handed_in, "{} of {}", run.acknowledged, run.handed_in);
    files.operations()
}

/// Ends the workload after each operation, without or with one that fails on the way.
fn after_every_operation(failing: &[Option<u64>], step: usize, thorough: bool) -> usize {
    let (all, mut crashes) = (operations(), 0);
    for fails in failing {
        for life in (fails.map_or(0, |f| f + 1)..=all + 6).step_by(step) {
            let files = MemoryFiles::default();
            fails.iter().for_each(|number| files.fail_at(*number));
            files.die_at(life);
            let run = workload(&files);
            crashes += every_crash(&files, &run, &format!("operation {fails:?} fails, the end after {life}"), thorough);
        }
    }
    crashes
}

#[test]
fn what_was_acknowledged_survives_a_crash_after_every_operation() {
    println!("{} crashes", after_every_operation(&[None], 1, false));
}

#[test]
fn it_does_when_a_write_or_a_sync_has_failed_before() {
    let failing: Vec<_> = (0..operations()).step_by(3).map(Some).collect();
    println!("{} crashes", after_every_operation(&failing, 7, false));
}

#[test]
#[ignore = "long: every operation fails, every byte may be the last"]
fn long_every_crash_after_every_failure() {
    println!("{} crashes", after_every_operation(&[None], 1, true));
    let failing: Vec<_> = (0..operations()).map(Some).collect();
    println!("{} crashes", after_every_operation(&failing, 1, false));
}

/// Writes the ballot and the registers as the clerk does; returns the last pair that was acknowledged, and the last tried.
fn votes(files: &MemoryFiles) -> (u64, u64) {
    let mut files = files.clone();
    let mut acknowledged = 0;
    for n in 1..=4_u64 {
        for _ in 0..2 {
            let both = sealed::write(&mut files, "vote", &n).and_then(|()| sealed::write(&mut files, "registers", &n));
            if both.is_ok() {
                acknowledged = n;
                break;
            }
        }
        if acknowledged != n {
            return (acknowledged, n);
        }
    }
    (acknowledged, 4)
}

#[test]
fn ballot_and_registers_survive_a_crash_after_every_operation() {
    let whole = MemoryFiles::default();
    votes(&whole);
    let all = whole.operations();
    let mut crashes = 0;
    for fails in (0..all).map(Some).chain([None]) {
        for life in 0..=all + 6 {
            let files = MemoryFiles::default();
            fails.iter().for_each(|number| files.fail_at(*number));
            files.die_at(life);
            let (acknowledged, tried) = votes(&files);
            for mask in 0..1_u64 << files.unsynced_names().min(8) {
                for tail in [Tail::Kept(0), Tail::Kept(9), Tail::Kept(1 << 20), Tail::Hole(16)] {
                    let left = files.copy();
                    left.crash_with(mask, |_| tail);
                    let read = |name: &str| sealed::read::<u64>(&left, name).expect("is whole").unwrap_or_default();
                    let (vote, registers) = (read("vote"), read("registers"));
                    let what = format!("{fails:?} fails, the end after {life}, names {mask:b}, {tail:?}");
                    assert!(
                        (acknowledged..=tried).contains(&vote),
                        "{what}: vote {vote}, not {acknowledged}..={tried}"
                    );
                    assert!((acknowledged..=vote).contains(&registers), "{what}: registers {registers}, vote {vote}");
                    assert!(left.list().expect("lists").len() <= 4, "{what}: litter");
                    crashes += 1;
                }
            }
        }
    }
    println!("{crashes} crashes");
}
