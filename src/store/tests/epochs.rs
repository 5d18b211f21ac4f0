//! Histories begin anew: nothing is lost by it, and all nodes come to the same.

use std::collections::BTreeSet;

use super::super::document::{Actor, Document};
use super::super::epoch::{Clock, Decision, MOST_EPOCHS, Serial};
use super::super::leaves::Leaf;
use super::super::record::{Body, Draft, Record, RecordId, Scribe};
use super::merge::pair;
use super::*;

/// Gives `b` what it lacks of what `a` holds, in order.
pub fn give(a: &Rig, b: &mut Rig) {
    let has: BTreeSet<RecordId> = b.store.record_ids().into_iter().collect();
    let lacks = a.store.record_ids().into_iter().filter(|id| !has.contains(id)).collect();
    for record in a.store.records_of(&lacks) {
        let _ = b.merge(&record);
    }
    b.flush();
}

/// Lets all give each other what they hold until nothing changes.
pub fn converge(rigs: &mut [Rig]) {
    loop {
        let before: Vec<_> = rigs.iter().map(ids).collect();
        for a in 0..rigs.len() {
            for b in 0..rigs.len() {
                if let Ok([one, other]) = rigs.get_disjoint_mut([a, b]) {
                    give(one, other);
                }
            }
        }
        if rigs.iter().map(ids).collect::<Vec<_>>() == before {
            return;
        }
    }
}

/// What a store tells peers that it holds.
pub fn ids(rig: &Rig) -> BTreeSet<RecordId> {
    rig.store.record_ids().into_iter().collect()
}

pub fn same(rigs: &[Rig]) {
    for rig in &rigs[1..] {
        assert_eq!(rig.visible(), rigs[0].visible());
        assert_eq!(ids(rig), ids(&rigs[0]));
    }
}

/// Cuts an object's history as it is now.
pub fn cut(rig: &mut Rig, name: &str) -> bool {
    cut_of(rig, &map_key(name))
}

fn cut_of(rig: &mut Rig, key: &Key) -> bool {
    let uid = rig.entry(key).uid;
    let at = Overgrown::of(uid, &rig.store.objects[&uid]).unwrap();
    let done = rig.store.cut(rig.now, at);
    rig.flush();
    done
}

pub fn set(rig: &mut Rig, name: &str, key: &str, value: &str) {
    let mut object = rig.get(&map_key(name)).unwrap();
    object["data"][key] = value.into();
    rig.update(object);
}

fn data(rig: &Rig, name: &str) -> Value {
    rig.get(&map_key(name)).unwrap()["data"].clone()
}

fn epoch(rig: &Rig, name: &str) -> u64 {
    let uid = rig.entry(&map_key(name)).uid;
    rig.store.objects[&uid].epoch.as_ref().map_or(1, |epoch| epoch.name.number)
}

fn bytes(rig: &Rig) -> usize {
    rig.store.records().map(|record| record.len()).sum()
}

#[test]
fn a_long_history_is_cut_and_nobody_sees_it() {
    let (mut a, mut b) = pair();
    a.create(deployment("web", 1, "v0"));
    for n in 1..=100 {
        a.update(deployment("web", n, &format!("v{n}")));
    }
    b.take_all(&a);
    let (before, long) = (a.entry(&deployment_key("web")).clone(), bytes(&a));
    let at = a.store.overgrown(8);
    assert_eq!(at.len(), 1);
    assert!(a.store.cut(a.now, at[0]));
    assert!(!a.store.cut(a.now, at[0]), "its epoch has begun");
    a.flush();
    assert_eq!(*a.entry(&deployment_key("web")), before, "also its resourceVersion");
    assert_eq!(a.store.overgrown(8), []);
    give(&a, &mut b);
    assert_eq!(b.visible(), a.visible());
    assert_eq!(ids(&b), ids(&a));
    // The former document goes when the next epoch begins.
    for n in 1..=100 {
        b.update(deployment("web", n, "w"));
    }
    let at = b.store.overgrown(8);
    assert!(b.store.cut(b.now, at[0]));
    for n in 101..=110 {
        b.update(deployment("web", n, "w"));
    }
    let mut nodes = [a, b];
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(nodes[0].get(&deployment_key("web")).unwrap()["metadata"]["generation"], 211);
    for node in &mut nodes {
        assert_eq!(node.crash(), OpenReport { refused: vec![], ..node.crash() });
    }
    same(&nodes);
    assert!(bytes(&nodes[0]) < long * 3 / 2, "{} of {long}", bytes(&nodes[0]));
}

#[test]
fn a_node_that_has_nothing_needs_only_the_decision() {
    let mut a = Rig::new(1);
    a.create(config_map("x", json!({"k": "1"})));
    for n in 0..9 {
        set(&mut a, "x", "k", &n.to_string());
    }
    assert!(cut(&mut a, "x"));
    set(&mut a, "x", "l", "after");
    let mut b = Rig::bare(2);
    give(&a, &mut b);
    assert_eq!(data(&b, "x"), json!({"k": "8", "l": "after"}));
    set(&mut b, "x", "m", "there");
    let mut nodes = [a, b];
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(nodes[0].store.waiting(), 0);
}

#[test]
fn late_changes_are_taken_over_alike_whatever_the_order() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1", "gone": "1"})));
    let mut c = Rig::bare(3);
    b.take_all(&a);
    c.take_all(&a);
    // Not known where the cut is decided: a chain of changes, one of them of two writers.
    set(&mut b, "x", "b", "1");
    set(&mut b, "x", "b", "2");
    give(&b, &mut c);
    set(&mut c, "x", "b", "3");
    let mut object = c.get(&map_key("x")).unwrap();
    object["data"].as_object_mut().unwrap().remove("gone");
    c.update(object);
    set(&mut a, "x", "k", "2");
    assert!(cut(&mut a, "x"));
    set(&mut a, "x", "a", "after");
    // One hears of the epoch last, one gets it in the wrong order.
    let mut d = Rig::bare(4);
    let records: Vec<_> = [&c, &a].iter().flat_map(|r| r.store.records_of(&ids(r))).collect();
    for record in records.iter().rev().chain(&records) {
        let _ = d.merge(record);
    }
    d.flush();
    let mut nodes = [a, b, c, d];
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(data(&nodes[0], "x"), json!({"a": "after", "b": "3", "k": "2"}));
    for node in &mut nodes {
        assert_eq!(node.crash().refused, []);
        set(node, "x", &format!("own-{}", node.n), "1");
    }
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(data(&nodes[3], "x").as_object().unwrap().len(), 7);
}

#[test]
fn of_two_decisions_one_stands_and_the_changes_of_the_other_are_late() {
    for seed in 0..8 {
        let (mut a, mut b) = pair();
        a.create(config_map("x", json!({"k": "1"})));
        b.take_all(&a);
        let mut c = Rig::bare(3);
        c.take_all(&a);
        // Each side knows what the other does not, decides, and goes on.
        set(&mut a, "x", "a", &seed.to_string());
        set(&mut b, "x", "b", &seed.to_string());
        assert!(cut(&mut a, "x") && cut(&mut b, "x"));
        set(&mut a, "x", "a2", "1");
        set(&mut b, "x", "b2", "1");
        give(&b, &mut c);
        set(&mut c, "x", "c", "1");
        let mut nodes = [a, b, c];
        converge(&mut nodes);
        same(&nodes);
        let all = json!({"a": seed.to_string(), "b": seed.to_string(), "a2": "1", "b2": "1", "c": "1", "k": "1"});
        assert_eq!(data(&nodes[0], "x"), all);
        nodes.iter_mut().for_each(|node| assert_eq!(node.crash().refused, []));
        same(&nodes);
    }
}

#[test]
fn who_was_away_for_several_epochs_loses_nothing_and_undoes_nothing() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "0"})));
    b.take_all(&a);
    set(&mut b, "x", "mine", "1");
    set(&mut b, "x", "mine", "2");
    for n in 1..=5 {
        set(&mut a, "x", "k", &n.to_string());
        assert!(cut(&mut a, "x"));
    }
    let mut nodes = [a, b];
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(data(&nodes[1], "x"), json!({"k": "5", "mine": "2"}));
    assert_eq!(epoch(&nodes[1], "x"), 6);
}

#[test]
fn what_counts_already_is_not_taken_again() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    set(&mut a, "x", "k", "2");
    b.take_all(&a);
    let old = b.disk.clone();
    assert!(cut(&mut a, "x"));
    set(&mut a, "x", "k", "3");
    for record in &old {
        assert_eq!(a.merge(record), Ok(Merged::Known));
    }
    assert_eq!(data(&a, "x")["k"], "3");
}

#[test]
fn a_wrong_decision_is_refused_and_does_not_last() {
    let (mut a, mut b) = pair();
    let mut c = Rig::bare(3);
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    let uid = a.entry(&map_key("x")).uid;
    // A member says that the first epoch ended otherwise than it did.
    let head = a.store.objects[&uid].changes[0].serial();
    let record = lie(&a, "x", 7, head, head);
    assert!(matches!(a.merge(&record), Err(MergeError::Epoch { number: 7, .. })));
    // Who has nothing cannot know; who has is asked to put it right.
    assert_eq!(c.merge(&record), Ok(Merged::New));
    c.flush();
    assert_eq!(data(&c, "x")["k"], "lie");
    let at = a.store.misled();
    assert!(at.len() == 1 && at[0].uid == uid);
    assert!(a.store.cut(a.now, at[0]) && a.store.misled().is_empty());
    a.flush();
    let mut nodes = [a, b, c];
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(data(&nodes[2], "x")["k"], "1");
    assert_eq!(epoch(&nodes[2], "x"), 8);
}

/// A member's decision about an object of `rig`: it counts up to `last`, and says that `k` was "lie" then.
fn lie(rig: &Rig, name: &str, number: u64, head: Serial, last: Serial) -> std::sync::Arc<[u8]> {
    let uid = rig.entry(&map_key(name)).uid;
    let object = &rig.store.objects[&uid];
    let former = object.epoch.as_ref().map(|epoch| epoch.name.hash);
    let mut clock = Clock::default();
    clock.raise(head, 0);
    clock.raise(last, 0);
    let delta = vec![("/data/k".to_owned(), Some(Leaf::Text("lie".into())))];
    let chunk = Document::default().write_once(&Actor::of_birth(uid, number, &[head]), delta).chunk;
    let decision = Decision { number, former, heads: vec![head], clock, generation: 1, chunk: 0..0 };
    let mut scribe = Scribe::new(config(9, 1).node, 1, config(9, 1).key);
    scribe.write(Draft::Epoch(uid, &object.working.birth, &decision, &chunk))
}

#[test]
fn who_is_misquoted_puts_a_decision_right_that_nobody_can_check() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    set(&mut b, "x", "b", "1");
    give(&b, &mut a);
    // It counts all that `a` will ever write, and begins at something that was never written.
    let mut never = a.store.objects[&a.entry(&map_key("x")).uid].changes[0].serial();
    let nobody = Serial { author: config(9, 1).node, incarnation: 1, seq: 1_000 };
    never.seq = u64::MAX;
    let record = lie(&a, "x", 2, nobody, never);
    assert_eq!(b.merge(&record), Ok(Merged::New));
    b.flush();
    assert_eq!(data(&b, "x")["k"], "lie");
    set(&mut b, "x", "c", "in the wrong epoch");
    assert!(matches!(a.merge(&record), Err(MergeError::Epoch { .. })));
    let at = a.store.misled();
    assert!(a.store.cut(a.now, at[0]));
    a.flush();
    set(&mut a, "x", "a", "1");
    let mut nodes = [a, b];
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(data(&nodes[1], "x"), json!({"a": "1", "b": "1", "c": "in the wrong epoch", "k": "1"}));
    nodes.iter_mut().for_each(|node| assert_eq!(node.crash().refused, []));
    same(&nodes);
}

#[test]
fn the_last_epoch_of_all_stands_and_can_be_written_to() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    let head = a.store.objects[&a.entry(&map_key("x")).uid].changes[0].serial();
    let record = lie(&a, "x", MOST_EPOCHS, head, head);
    assert_eq!((a.merge(&record), b.merge(&record)), (Ok(Merged::New), Ok(Merged::New)));
    a.flush();
    b.flush();
    assert!(!cut(&mut a, "x"), "there is none after it");
    set(&mut a, "x", "k", "right again");
    assert!(matches!(a.merge(&lie(&b, "x", MOST_EPOCHS + 1, head, head)), Err(MergeError::Document { .. })));
    let mut nodes = [a, b];
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(data(&nodes[1], "x"), json!({"k": "right again"}));
}

#[test]
fn what_a_change_claims_to_build_on_must_be_so() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    let uid = a.entry(&map_key("x")).uid;
    let mut scribe = Scribe::new(config(9, 1).node, 1, config(9, 1).key);
    let mut document = a.store.document(uid);
    let delta = vec![("/data/z".to_owned(), Some(Leaf::Text("z".into())))];
    let written = document.write(&Actor::new(scribe.node, 1), delta).unwrap();
    let first = a.store.objects[&uid].changes[0].serial();
    let sign = |scribe: &mut Scribe, parents: &[Serial]| {
        let chunk = &written.chunk;
        scribe.write(Draft::Change { uid, birth: None, spec: false, chunk, base: None, parents: Some(parents) })
    };
    let nobody = Serial { seq: first.seq + 1_000, ..first };
    for claim in [&[nobody][..], &[], &[first, nobody]] {
        assert!(matches!(a.merge(&sign(&mut scribe, claim)), Ok(Merged::Waiting { .. })));
    }
    assert_eq!(a.merge(&sign(&mut scribe, &[first])), Ok(Merged::New));
    a.flush();
    // Signed again by another, it is the same change: both records are kept, on every node.
    let mut other = Scribe::new(config(8, 1).node, 1, config(8, 1).key);
    let again = sign(&mut other, &[first]);
    assert_eq!((b.merge(&again), a.merge(&again)), (Ok(Merged::New), Ok(Merged::New)));
    assert_eq!(a.merge(&again), Ok(Merged::Known));
    a.flush();
    b.flush();
    set(&mut b, "x", "own", "1");
    let mut nodes = [a, b];
    converge(&mut nodes);
    same(&nodes);
    assert!(cut(&mut nodes[0], "x"));
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(data(&nodes[1], "x"), json!({"k": "1", "own": "1", "z": "z"}));
}

#[test]
fn nothing_takes_the_place_of_what_an_epoch_begins_with() {
    let mut a = Rig::new(1);
    a.create(config_map("x", json!({"k": "1"})));
    assert!(cut(&mut a, "x"));
    let uid = a.entry(&map_key("x")).uid;
    let (epoch, birth) = (a.store.objects[&uid].epoch.clone().unwrap(), a.store.objects[&uid].working.birth.clone());
    let mut scribe = Scribe::new(config(9, 1).node, 1, config(9, 1).key);
    let head = &epoch.decision.heads;
    let delta = || vec![("/data/k".to_owned(), Some(Leaf::Text("bad".into())))];
    let root = Document::default().write(&epoch.chunk.actor(), delta()).unwrap().chunk;
    let beside = Document::of(std::slice::from_ref(&epoch.chunk)).write(&epoch.chunk.actor(), delta()).unwrap().chunk;
    for (birth, chunk) in [(Some(&*birth), root), (None, beside)] {
        let (base, parents) = (Some(epoch.name), Some(&head[..]));
        let record = scribe.write(Draft::Change { uid, birth, spec: false, chunk: &chunk, base, parents });
        assert!(a.merge(&record).is_err() || a.store.waiting() > 0);
    }
    assert_eq!(data(&a, "x")["k"], "1");
    assert_eq!(a.crash().refused, []);
}

#[test]
fn what_a_late_change_and_a_counted_one_make_together_is_valid() {
    let two = json!([{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]);
    let with = |keep: &str| {
        let mut object = deployment("web", 1, "x");
        let mut containers = two.as_array().unwrap().clone();
        containers.retain(|container| keep.contains(container["name"].as_str().unwrap()));
        object["spec"]["template"]["spec"]["containers"] = containers.into();
        object
    };
    let (mut a, mut b) = pair();
    a.create(with("ab"));
    b.take_all(&a);
    a.update(with("a"));
    assert!(cut_of(&mut a, &deployment_key("web")));
    b.update(with("b"));
    let mut nodes = [a, b];
    converge(&mut nodes);
    same(&nodes);
    let shown = nodes[0].get(&deployment_key("web")).unwrap();
    assert_eq!(shown["spec"]["template"]["spec"]["containers"].as_array().map(Vec::len), Some(1));
    nodes.iter_mut().for_each(|node| assert_eq!(node.crash().refused, []));
    same(&nodes);
}

#[test]
fn what_was_refused_in_one_epoch_is_looked_at_again_in_the_next() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    let uid = a.entry(&map_key("x")).uid;
    // One actor says two things under one number: in the first epoch one of them goes.
    let mut scribe = Scribe::new(config(9, 1).node, 1, config(9, 1).key);
    let first = a.store.objects[&uid].changes[0].serial();
    let two: Vec<_> = ["one", "two"]
        .map(|text| {
            let delta = vec![("/data/z".to_owned(), Some(Leaf::Text(text.into())))];
            let chunk = b.store.document(uid).write(&Actor::new(scribe.node, 1), delta).unwrap().chunk;
            let parents = Some(&[first][..]);
            scribe.write(Draft::Change { uid, birth: None, spec: false, chunk: &chunk, base: None, parents })
        })
        .into();
    two.iter().for_each(|record| drop(a.merge(record)));
    assert_eq!(a.store.refused_ids().count(), 1);
    assert!(cut(&mut b, "x"));
    for record in two.iter().rev() {
        assert_eq!(b.merge(record), Ok(Merged::New));
    }
    b.flush();
    a.flush();
    let mut nodes = [a, b];
    converge(&mut nodes);
    same(&nodes);
}

/// Loses what was not durable, at every point of a cut and of what follows it.
#[test]
fn a_crash_at_any_write_leaves_the_old_history_or_the_new_one() {
    let life = |stop: usize| {
        let mut a = Rig::new(1);
        a.create(config_map("x", json!({"k": "0"})));
        let mut b = Rig::bare(2);
        b.take_all(&a);
        set(&mut b, "x", "late", "1");
        let mut written = 0;
        let mut acknowledged = "0".to_owned();
        for n in 1..=3 {
            for step in 0..3 {
                match step {
                    0 => drop(a.store.commit(a.now, Author::Client, Term(1), update(with_k(&a, n)))),
                    1 => {
                        let uid = a.entry(&map_key("x")).uid;
                        let at = Overgrown::of(uid, &a.store.objects[&uid]).unwrap();
                        a.store.cut(a.now, at);
                    }
                    _ => b.disk.clone().iter().for_each(|record| drop(a.merge(record))),
                }
                while let Some(batch) = a.store.take_batch() {
                    for record in batch.records {
                        if written == stop {
                            // Part of a batch may have come to the disk.
                            assert_eq!(a.crash().refused, []);
                            return (a, b, acknowledged, true);
                        }
                        written += 1;
                        a.disk.push(record);
                    }
                    a.store.persisted(batch.id);
                }
                if step == 0 {
                    acknowledged = n.to_string();
                }
            }
        }
        (a, b, acknowledged, false)
    };
    for stop in 0.. {
        let (a, b, acknowledged, crashed) = life(stop);
        let shown: u64 = data(&a, "x")["k"].as_str().unwrap().parse().unwrap();
        assert!(shown >= acknowledged.parse().unwrap(), "{shown} at {stop}");
        let mut nodes = [a, b];
        converge(&mut nodes);
        same(&nodes);
        assert_eq!(data(&nodes[0], "x")["late"], "1");
        if !crashed {
            return assert!(stop > 6);
        }
    }
}

fn with_k(rig: &Rig, n: u64) -> Value {
    let mut object = rig.get(&map_key("x")).unwrap();
    object["data"]["k"] = n.to_string().into();
    object
}

#[test]
fn what_is_told_of_a_history_begins_with_its_epoch() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    set(&mut b, "x", "late", "1");
    assert!(a.store.history(&map_key("x")).unwrap()[0].birth);
    assert!(cut(&mut a, "x"));
    assert_eq!(a.store.history(&map_key("x")).unwrap(), []);
    set(&mut a, "x", "k", "2");
    give(&b, &mut a);
    let told: Vec<_> = a.store.history(&map_key("x")).unwrap();
    let fields: Vec<_> = told.iter().map(|edit| (edit.birth, edit.fields[0].field(), edit.fields[0].was())).collect();
    assert_eq!(fields, [(false, "data.k".into(), Some(json!("1"))), (false, "data.late".into(), None)]);
    // A late change keeps its name.
    let before = b.store.history(&map_key("x")).unwrap();
    assert_eq!(before.last().unwrap().name(), told[1].name());
}

#[test]
fn a_tombstone_beats_a_decision() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    assert!(cut(&mut a, "x"));
    b.done(delete(&map_key("x"))).unwrap();
    let mut nodes = [a, b];
    converge(&mut nodes);
    same(&nodes);
    assert_eq!(nodes[0].get(&map_key("x")), None);
}

#[test]
fn a_decision_survives_a_crash_at_any_record() {
    let mut a = Rig::new(1);
    a.create(config_map("x", json!({"k": "1"})));
    set(&mut a, "x", "k", "2");
    let before = a.disk.len();
    assert!(cut(&mut a, "x"));
    set(&mut a, "x", "k", "3");
    let disk = a.disk.clone();
    for end in before..=disk.len() {
        a.disk = disk[..end].to_vec();
        assert_eq!(a.crash().refused, []);
        assert_eq!(data(&a, "x")["k"], if end == disk.len() { "3" } else { "2" });
    }
}

#[test]
fn changes_of_an_older_version_go_on_being_read() {
    // The fields that today's records have and theirs have not.
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    let uid = b.entry(&map_key("x")).uid;
    set(&mut b, "x", "l", "1");
    for kept in &mut b.store.objects.get_mut(&uid).unwrap().changes {
        kept.record = without_parents(&config(b.n, 1), &kept.record);
        let Ok(Body::Change { chunk, parents: None, .. }) = Record::read(kept.record.clone()).map(|r| r.body) else {
            panic!("an old record");
        };
        kept.chunk = chunk;
    }
    let late: Vec<_> = b.store.objects[&uid].changes.iter().map(|kept| kept.record.clone()).collect();
    let mut c = Rig::new(3);
    for record in &late {
        assert_eq!(c.merge(record), Ok(Merged::New));
    }
    c.flush();
    assert_eq!(data(&c, "x"), json!({"k": "1", "l": "1"}));
    assert!(cut(&mut c, "x"), "and cut");
    // Of a late one it cannot be told what it builds on.
    assert!(cut(&mut a, "x"));
    assert!(matches!(a.merge(&late[1]), Err(MergeError::TooLate { .. })));
    assert!(a.store.take_notes().iter().any(|note| note.reason == "ChangeTooLate" && note.uid == uid));
}

/// Writes a change record as the first version did: without fields 8 and 9.
fn without_parents(config: &Config, record: &[u8]) -> std::sync::Arc<[u8]> {
    use ed25519_dalek::Signer;
    use minicbor::data::Type;
    let strip = |body: &[u8]| {
        let mut from = minicbor::Decoder::new(body);
        let mut to = minicbor::Encoder::new(Vec::new());
        let indefinite = from.map().unwrap().is_none();
        to.begin_map().unwrap();
        while !(indefinite && from.datatype().unwrap() == Type::Break) && from.position() < body.len() {
            let start = from.position();
            let number = from.u8().unwrap();
            from.skip().unwrap();
            if number < 8 {
                to.writer_mut().extend(&body[start..from.position()]);
            }
        }
        to.end().unwrap();
        to.into_writer()
    };
    let read = Record::read(record.to_vec()).unwrap();
    let mut from = minicbor::Decoder::new(record);
    let mut to = minicbor::Encoder::new(Vec::new());
    let fields = from.map().unwrap().unwrap();
    to.map(fields).unwrap();
    for _ in 0..fields {
        let number = from.u8().unwrap();
        to.u8(number).unwrap();
        let start = from.position();
        if number == 6 {
            to.bytes(&strip(from.bytes().unwrap())).unwrap();
        } else if number == 1 {
            from.skip().unwrap();
            to.bytes(&config.node.0).unwrap();
        } else {
            from.skip().unwrap();
            to.writer_mut().extend(&record[start..from.position()]);
        }
    }
    let mut bytes = to.into_writer();
    let signature = config.key.sign(&[b"skein record 1\0".as_slice(), &bytes].concat());
    bytes.extend(signature.to_bytes());
    assert!(matches!(read.body, Body::Change { .. }));
    bytes.into()
}
