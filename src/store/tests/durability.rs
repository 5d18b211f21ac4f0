//! Crashes, restarts, revisions.

use proptest::prelude::*;

use super::*;
use crate::ids::Revision;

#[test]
fn what_was_answered_is_there_after_a_crash_and_what_was_not_may_be_gone() {
    let mut rig = Rig::new(1);
    rig.create(config_map("kept", json!({"x": "1"})));
    rig.update(config_map("kept", json!({"x": "2"})));
    rig.try_as(Author::Client, create(config_map("lost", json!({})))).unwrap();
    rig.store.take_batch().unwrap();
    let report = rig.crash();
    assert_eq!(report.refused, []);
    assert_eq!(rig.get(&map_key("kept")).unwrap()["data"], json!({"x": "2"}));
    assert_eq!(rig.get(&map_key("lost")), None);
    rig.flush();
    rig.update(config_map("kept", json!({"x": "3"})));
    rig.crash();
    assert_eq!(rig.get(&map_key("kept")).unwrap()["data"], json!({"x": "3"}));
}

#[test]
fn an_idle_store_writes_nothing() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    for _ in 0..100 {
        rig.wait(Duration::from_secs(3_600));
        rig.store.tick(rig.now);
        assert_eq!(rig.store.take_batch(), None);
    }
    rig.create(pod("b"));
    for i in 0..50 {
        rig.create(pod(&format!("c{i}")));
    }
}

#[test]
fn revisions_grow_over_any_number_of_crashes_and_are_never_shown_twice() {
    let mut rig = Rig::new(1);
    let mut highest = Revision(0);
    let mut revisions = std::collections::BTreeMap::new();
    for round in 0..6 {
        rig.create(config_map(&format!("a{round}"), json!({})));
        for entry in rig.store.snapshot().all() {
            let same = revisions.entry(entry.revision).or_insert_with(|| (entry.key.clone(), entry.json.clone()));
            assert_eq!(*same, (entry.key.clone(), entry.json.clone()), "a revision shown twice");
        }
        assert!(rig.store.snapshot().revision() > highest);
        highest = rig.store.snapshot().revision();
        rig.crash();
        assert!(rig.store.snapshot().all().all(|entry| entry.revision > highest));
        let too_old = rig.store.snapshot().events_since(&kinds::CONFIG_MAP, highest).map(|_| ());
        assert!(too_old.is_err(), "a watch from before the crash has to list again");
        if round % 2 == 0 {
            // Twice in a row, with nothing durable in between: the same objects have the same revisions.
            let before: Vec<_> = rig.store.snapshot().all().cloned().collect();
            rig.crash();
            assert_eq!(before, rig.store.snapshot().all().cloned().collect::<Vec<_>>());
        }
        rig.flush();
    }
    assert_eq!(highest.0 & 0xffff, 1, "the node's tag");
}

#[test]
fn a_run_with_an_old_number_writes_as_a_new_one() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    rig.done_as(Author::Kubelet, status(&pod_key("a"), json!({"phase": "Running"}))).unwrap();
    rig.flush();
    for phase in ["Failed", "Unknown"] {
        // The clock that numbers runs went back.
        rig.store = Store::open(config(1, 1), rig.disk.clone(), rig.now).0;
        rig.flush();
        rig.update(
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"x": phase}}}),
        );
        rig.done_as(Author::Kubelet, status(&pod_key("a"), json!({"phase": phase}))).unwrap();
        rig.flush();
        let report = rig.crash();
        assert_eq!(report.refused, []);
        assert_eq!(rig.entry(&pod_key("a")).phase.as_deref(), Some(phase));
        assert_eq!(rig.entry(&Key::cluster(&kinds::NAMESPACE, "shop")).labels["x"], phase);
    }
}

#[test]
fn no_revision_is_shown_above_a_durable_ceiling() {
    let mut rig = Rig::new(1);
    rig.wait(Duration::from_secs(5 * 3_600));
    rig.create(config_map("a", json!({})));
    let shown = rig.store.snapshot().revision();
    rig.crash();
    let found = rig.store.snapshot().all().map(|entry| entry.revision).min().unwrap();
    assert!(found > shown);
}

#[test]
fn a_store_opened_from_its_live_records_is_the_same() {
    let mut rig = busy();
    let visible = rig.visible();
    let live: Vec<_> = rig.store.records().collect();
    assert!(live.len() < rig.disk.len(), "what is superseded is not live");
    rig.disk = live;
    let report = rig.crash();
    assert_eq!(report.refused, []);
    assert_eq!(rig.visible(), visible);
    rig.flush();
    let live: Vec<_> = rig.store.records().skip(1).collect();
    let disk: std::collections::BTreeSet<_> = rig.disk.iter().collect();
    assert!(live.iter().all(|record| disk.contains(record)), "and so again");
}

#[test]
fn a_log_rewritten_before_anything_is_written_keeps_the_ceiling() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    let shown = rig.store.snapshot().revision();
    rig.crash();
    rig.disk = rig.store.records().collect();
    rig.crash();
    assert!(rig.entry(&pod_key("a")).revision > shown);
}

#[test]
fn live_records_hold_what_is_not_written_yet() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    rig.try_as(Author::Kubelet, status(&pod_key("a"), json!({"phase": "Running"}))).unwrap();
    let early: Vec<_> = rig.store.records().collect();
    let batch = rig.store.take_batch().unwrap();
    assert!(early.contains(&batch.records[0]), "signed alike, whenever");
}

/// A node with some of everything.
fn busy() -> Rig {
    let mut rig = Rig::new(1);
    for name in ["a", "b", "c"] {
        rig.create(pod(name));
        rig.done_as(Author::Leader, bind(&pod_key(name), "n1")).unwrap();
        for phase in ["Pending", "Running"] {
            rig.done_as(Author::Kubelet, status(&pod_key(name), json!({"phase": phase}))).unwrap();
            rig.flush();
        }
    }
    rig.done(delete(&pod_key("b"))).unwrap();
    rig.done(remove(&pod_key("c"))).unwrap();
    rig.create(deployment("web", 1, "a"));
    for replicas in 2..5 {
        rig.update(deployment("web", replicas, "a"));
        rig.done_as(Author::Leader, status(&deployment_key("web"), json!({"replicas": replicas}))).unwrap();
    }
    rig.done(status(&deployment_key("web"), json!({"conditions": [{"type": "a"}, {"type": "b"}]}))).unwrap();
    rig
}

#[test]
fn bad_records_are_named_and_the_rest_is_taken() {
    let rig = busy();
    let visible = rig.visible();
    let (mut opened, mut hidden) = (0, 0);
    for at in 0..rig.disk.len() {
        for damage in [None, Some(0), Some(20), Some(90), Some(150)] {
            let mut disk = rig.disk.clone();
            match damage {
                None => disk[at].truncate(30),
                Some(byte) => {
                    let place = byte % disk[at].len();
                    disk[at][place] ^= 0x10;
                }
            }
            let (store, report) = Store::open(config(1, 9), disk, rig.now);
            opened += 1;
            let shown = store.snapshot().all().count();
            assert!(shown + 2 >= visible.len(), "one record holds at most an object");
            hidden += usize::from(!report.refused.is_empty());
        }
    }
    assert!(hidden > opened / 3);
}

#[test]
fn what_a_disk_has_lost_comes_back_from_a_peer() {
    let mut rig = busy();
    let mut peer = Rig::bare(2);
    peer.take_all(&rig);
    let (visible, disk) = (rig.visible(), rig.disk.clone());
    for at in 0..disk.len() {
        // One record, or it and the next: as a damaged sector takes them.
        for width in [1, 2] {
            rig.disk = disk.clone();
            rig.disk.drain(at..(at + width).min(disk.len()));
            rig.crash();
            rig.take_all(&peer);
            assert_eq!(rig.visible(), visible, "without {width} records from {at} on");
            let report = rig.crash();
            assert_eq!(report.refused, [], "without {width} records from {at} on, at the start after");
            assert_eq!(rig.visible(), visible);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Create(u8),
    Update(u8, u8),
    Delete(u8),
    Bind(u8),
    See(u8, u8),
    Take,
    Persist,
    Crash,
}

fn any_op() -> impl Strategy<Value = Op> {
    let name = || 0..4_u8;
    prop_oneof![
        3 => name().prop_map(Op::Create),
        3 => (name(), any::<u8>()).prop_map(|(n, v)| Op::Update(n, v)),
        2 => name().prop_map(Op::Delete),
        1 => name().prop_map(Op::Bind),
        2 => (name(), any::<u8>()).prop_map(|(n, v)| Op::See(n, v)),
        3 => Just(Op::Take),
        3 => Just(Op::Persist),
        1 => Just(Op::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever was shown as durable before a crash is there after it, unless it was lazily kept; every ticket is
    /// answered once.
    #[test]
    fn any_crash_keeps_what_was_acknowledged(ops in prop::collection::vec(any_op(), 1..60)) {
        let mut rig = Rig::new(1);
        let mut open = std::collections::BTreeSet::new();
        let mut revision = rig.store.snapshot().revision();
        for op in ops {
            rig.wait(Duration::from_millis(700));
            let key = |n: u8| pod_key(&format!("p{n}"));
            let receipt = match op {
                Op::Create(n) => rig.try_as(Author::Client, create(pod(&format!("p{n}")))),
                Op::Update(n, v) => {
                    let mut object = pod(&format!("p{n}"));
                    object["metadata"]["labels"] = json!({"v": v.to_string()});
                    rig.try_as(Author::Client, update(object))
                }
                Op::Delete(n) => rig.try_as(Author::Client, delete(&key(n))),
                Op::Bind(n) => rig.try_as(Author::Leader, bind(&key(n), "n1")),
                Op::See(n, v) => rig.try_as(Author::Kubelet, status(&key(n), json!({"phase": "Running", "v": v}))),
                Op::Take => {
                    if rig.flying.is_none() {
                        rig.flying = rig.store.take_batch();
                    }
                    continue;
                }
                Op::Persist => {
                    if let Some(batch) = rig.flying.take() {
                        rig.disk.extend(batch.records);
                        for (ticket, committed) in rig.store.persisted(batch.id) {
                            prop_assert!(open.remove(&ticket));
                            prop_assert!(committed.entry.revision <= rig.store.snapshot().revision());
                        }
                    }
                    continue;
                }
                Op::Crash => {
                    let before = acknowledged(&rig);
                    let report = rig.crash();
                    prop_assert_eq!(&report.refused, &[]);
                    prop_assert_eq!(before, acknowledged(&rig));
                    open.clear();
                    rig.flush();
                    continue;
                }
            };
            if let Ok(Receipt::Pending(ticket)) = receipt {
                prop_assert!(open.insert(ticket));
            }
            let now = rig.store.snapshot().revision();
            prop_assert!(now >= revision);
            revision = now;
        }
        for (ticket, _) in rig.flush() {
            prop_assert!(open.remove(&ticket));
        }
        prop_assert!(open.is_empty(), "tickets without an answer: {:?}", open);
        prop_assert!(rig.store.objects.values().all(|object| object.pending == 0));
        prop_assert!(rig.store.steps.is_empty());
    }
}

/// What is visible but for lazily kept status.
fn acknowledged(rig: &Rig) -> Vec<Value> {
    let mut visible = rig.visible();
    for object in &mut visible {
        object["status"] = Value::Null;
    }
    visible
}
