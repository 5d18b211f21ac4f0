//! Stores that exchange records in any order come to the same.

use proptest::prelude::*;

use super::super::record::Record;
use super::*;

/// Two nodes with the same namespaces.
pub fn pair() -> (Rig, Rig) {
    let (a, mut b) = (Rig::new(1), Rig::bare(2));
    b.take_all(&a);
    (a, b)
}

pub fn exchange(a: &mut Rig, b: &mut Rig) {
    for _ in 0..2 {
        b.take_all(a);
        a.take_all(b);
    }
    assert_eq!(a.visible(), b.visible());
}

#[test]
fn replicas_edited_here_and_image_edited_there_both_survive() {
    let (mut a, mut b) = pair();
    a.create(deployment("web", 1, "a"));
    b.take_all(&a);
    a.update(deployment("web", 5, "a"));
    b.update(deployment("web", 1, "b"));
    exchange(&mut a, &mut b);
    let merged = a.get(&deployment_key("web")).unwrap();
    assert_eq!(merged["spec"]["replicas"], 5);
    assert_eq!(merged["spec"]["template"]["spec"]["containers"][0]["image"], "b");
    assert_eq!(merged["metadata"]["generation"], 3, "above both");
    b.crash();
    assert_eq!(a.visible(), b.visible());
}

#[test]
fn both_of_two_ports_live() {
    let (mut a, mut b) = pair();
    let service = |ports: Value| {
        json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "dns", "namespace": "shop"}, "spec": {"ports": ports}})
    };
    let port = |n: u16, protocol: &str| json!({"port": n, "protocol": protocol, "name": format!("{}-{n}", protocol.to_lowercase())});
    a.create(service(json!([port(80, "TCP")])));
    b.take_all(&a);
    a.update(service(json!([port(80, "TCP"), port(53, "UDP")])));
    b.update(service(json!([port(80, "TCP"), port(53, "TCP")])));
    exchange(&mut a, &mut b);
    let merged = a.get(&Key::new(&kinds::SERVICE, "shop", "dns")).unwrap();
    assert_eq!(merged["spec"]["ports"].as_array().unwrap().len(), 3);
}

#[test]
fn a_deleted_object_stays_deleted_whatever_was_done_to_it() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({"k": "1"})));
    b.take_all(&a);
    a.done(delete(&map_key("x"))).unwrap();
    b.update(config_map("x", json!({"k": "2"})));
    exchange(&mut a, &mut b);
    assert_eq!(a.get(&map_key("x")), None);
    b.crash();
    assert_eq!(b.get(&map_key("x")), None);
}

#[test]
fn of_two_objects_of_one_name_the_older_stays() {
    let (mut a, mut b) = pair();
    b.wait(Duration::from_secs(1));
    let older = a.create(config_map("x", json!({"k": "a"})));
    let younger = b.create(config_map("x", json!({"k": "b"})));
    let from = b.store.snapshot().revision();
    exchange(&mut a, &mut b);
    assert_eq!(b.get(&map_key("x")).unwrap()["metadata"]["uid"], older["metadata"]["uid"]);
    let events: Vec<_> = b.store.snapshot().events_since(&kinds::CONFIG_MAP, from).unwrap().collect();
    assert_eq!(events.len(), 2, "one goes, the other comes");
    assert!(events[0].new.is_none() && events[1].old.is_none());
    let hidden: crate::ids::Uid = younger["metadata"]["uid"].as_str().unwrap().parse().unwrap();
    assert!(b.store.objects.contains_key(&hidden), "kept for its user");
    assert_eq!(b.update(config_map("x", json!({"k": "c"})))["metadata"]["uid"], older["metadata"]["uid"]);
    exchange(&mut a, &mut b);
    a.crash();
    b.crash();
    assert_eq!(a.visible(), b.visible());
}

#[test]
fn namespaces_and_replica_sets_made_on_two_sides_are_one() {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    let owned = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"pod-template-hash": "1"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "controller": true,
                "uid": crate::ids::Uid([4; 16])}]},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}}})
    };
    a.create(owned("x"));
    b.create(owned("x"));
    exchange(&mut a, &mut b);
    assert_eq!(a.store.snapshot().list(&kinds::REPLICA_SET, None).count(), 1);
    assert_eq!(a.store.objects.values().filter(|o| *o.working.birth.key.kind == kinds::REPLICA_SET).count(), 1);
    let namespaces =
        |rig: &Rig| rig.store.objects.values().filter(|o| *o.working.birth.key.kind == kinds::NAMESPACE).count();
    assert_eq!((namespaces(&a), namespaces(&b)), (2, 2));
}

#[test]
fn what_every_node_makes_for_itself_is_one() {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    let node = |label: &str| {
        json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n1", "labels": {(label): "x"}, "annotations": {"skein.dev/node-id": "00ff"}}})
    };
    let service = |port: u64| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kubernetes", "namespace": "default"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}})
    };
    let account = || {
        json!({"apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "default", "namespace": "default"}})
    };
    for (rig, label) in [(&mut a, "a"), (&mut b, "b")] {
        rig.create(node(label));
        rig.create(service(443));
        rig.create(account());
    }
    exchange(&mut a, &mut b);
    for kind in [&kinds::NODE, &kinds::SERVICE, &kinds::SERVICE_ACCOUNT] {
        let held = |rig: &Rig| rig.store.objects.values().filter(|o| o.working.birth.key.kind == kind).count();
        assert_eq!((held(&a), held(&b)), (1, 1), "{kind}");
    }
    let merged = a.get(&Key::cluster(&kinds::NODE, "n1")).unwrap();
    assert_eq!(merged["metadata"]["labels"], json!({"a": "x", "b": "x"}));
    // A node that comes back after its object was deleted gets a new one, the same on both sides again.
    a.done(remove(&Key::cluster(&kinds::NODE, "n1"))).unwrap();
    exchange(&mut a, &mut b);
    a.create(node("a"));
    b.create(node("b"));
    exchange(&mut a, &mut b);
    let again = b.get(&Key::cluster(&kinds::NODE, "n1")).unwrap();
    assert_ne!(again["metadata"]["uid"], merged["metadata"]["uid"]);
    assert_eq!(again["metadata"]["labels"], json!({"a": "x", "b": "x"}));
}

#[test]
fn marks_that_add_nothing_are_kept_by_nobody() {
    let (mut a, mut b) = pair();
    a.create(pod("p"));
    a.done_as(Author::Leader, bind(&pod_key("p"), "n1")).unwrap();
    b.take_all(&a);
    let within = |seconds| {
        let options = DeleteOptions { grace_seconds: Some(seconds), ..DeleteOptions::default() };
        Change::Delete { key: pod_key("p"), options }
    };
    a.done(within(5)).unwrap();
    b.done(within(20)).unwrap();
    exchange(&mut a, &mut b);
    let ids = |rig: &Rig| rig.store.record_ids().into_iter().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(ids(&a), ids(&b));
    b.crash();
    assert_eq!(ids(&a), ids(&b));
}

/// ConfigMap x with finalizers.
fn held_by(finalizers: &[&str]) -> Value {
    let mut object = config_map("x", json!({}));
    object["metadata"]["finalizers"] = json!(finalizers);
    object
}

#[test]
fn finalizers_taken_away_on_two_sides_end_the_object() {
    let (mut a, mut b) = pair();
    a.create(held_by(&["x/a", "x/b"]));
    a.done(delete(&map_key("x"))).unwrap();
    b.take_all(&a);
    a.update(held_by(&["x/b"]));
    b.update(held_by(&["x/a"]));
    exchange(&mut a, &mut b);
    a.store.put_in_order(a.now, Term(1));
    exchange(&mut a, &mut b);
    assert_eq!((a.get(&map_key("x")), b.get(&map_key("x"))), (None, None));
}

#[test]
fn a_deletion_that_comes_before_the_finalizer_it_names_does_not_end_the_object() {
    let (mut a, mut b) = pair();
    a.create(held_by(&[]));
    a.update(held_by(&["x/a"]));
    a.done(delete(&map_key("x"))).unwrap();
    let [.., birth, finalizer, mark] = &a.disk[..] else { panic!("three records") };
    for record in [birth, mark] {
        b.merge(record).unwrap();
    }
    b.flush();
    assert!(b.get(&map_key("x")).is_some());
    b.crash();
    assert!(b.get(&map_key("x")).is_some(), "nor does it at the next start");
    b.merge(finalizer).unwrap();
    b.flush();
    b.store.put_in_order(b.now, Term(1));
    exchange(&mut a, &mut b);
    assert_eq!(a.get(&map_key("x")).unwrap()["metadata"]["finalizers"], json!(["x/a"]));
}

#[test]
fn a_finalizer_added_while_another_side_deletes_does_not_hold() {
    let (mut a, mut b) = pair();
    a.create(held_by(&["x/a"]));
    b.take_all(&a);
    a.done(delete(&map_key("x"))).unwrap();
    b.update(held_by(&["x/a", "x/b"]));
    exchange(&mut a, &mut b);
    assert_eq!(a.get(&map_key("x")).unwrap()["metadata"]["finalizers"], json!(["x/a"]));
    a.update(held_by(&[]));
    exchange(&mut a, &mut b);
    assert_eq!(a.get(&map_key("x")), None);
}

#[test]
fn two_deletions_keep_the_finalizers_that_both_saw() {
    let (mut a, mut b) = pair();
    a.create(held_by(&["x/a", "x/b"]));
    b.take_all(&a);
    b.update(held_by(&["x/a", "x/b", "x/c"]));
    for rig in [&mut a, &mut b] {
        rig.done(delete(&map_key("x"))).unwrap();
    }
    exchange(&mut a, &mut b);
    assert_eq!(a.get(&map_key("x")).unwrap()["metadata"]["finalizers"], json!(["x/a", "x/b"]));
}

#[test]
fn an_object_deleted_on_two_sides_has_one_tombstone() {
    let (mut a, mut b) = pair();
    a.create(config_map("x", json!({})));
    b.take_all(&a);
    for rig in [&mut a, &mut b] {
        rig.done(delete(&map_key("x"))).unwrap();
    }
    exchange(&mut a, &mut b);
    let live = |rig: &Rig| rig.store.records().skip(1).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(live(&a), live(&b));
    a.crash();
    assert_eq!(live(&a), live(&b));
}

#[test]
fn what_two_sides_made_as_one_is_as_old_as_the_older() {
    let (mut a, mut b) = (Rig::bare(1), Rig::bare(2));
    a.create(namespace("extra"));
    b.wait(Duration::from_secs(60));
    b.create(namespace("extra"));
    exchange(&mut a, &mut b);
    let key = Key::cluster(&kinds::NAMESPACE, "extra");
    assert_eq!(b.get(&key).unwrap()["metadata"]["creationTimestamp"], "2025-11-23T12:13:20Z");
}

#[test]
fn a_turn_counts_what_is_gone_also_if_only_its_tombstone_came() {
    let (mut a, mut b) = (Rig::bare(1), Rig::bare(2));
    let key = Key::cluster(&kinds::NAMESPACE, "extra");
    let mut uids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        a.create(namespace("extra"));
        uids.insert(a.entry(&key).uid);
        a.done(remove(&key)).unwrap();
    }
    for record in a.store.records() {
        b.merge(&record).unwrap();
    }
    b.flush();
    b.create(namespace("extra"));
    uids.insert(b.entry(&key).uid);
    assert_eq!(uids.len(), 3);
}

#[test]
fn two_deletions_of_a_pod_make_the_quicker_one() {
    let (mut a, mut b) = pair();
    a.create(pod("p"));
    a.done_as(Author::Leader, bind(&pod_key("p"), "n1")).unwrap();
    b.take_all(&a);
    let quick = DeleteOptions { grace_seconds: Some(5), ..DeleteOptions::default() };
    a.done(delete(&pod_key("p"))).unwrap();
    b.done(Change::Delete { key: pod_key("p"), options: quick }).unwrap();
    exchange(&mut a, &mut b);
    let meta = a.get(&pod_key("p")).unwrap()["metadata"].clone();
    assert_eq!(
        (&meta["deletionTimestamp"], &meta["deletionGracePeriodSeconds"]),
        (&json!("2025-11-23T12:13:25Z"), &json!(5))
    );
    a.crash();
    assert_eq!(a.visible(), b.visible());
}

#[test]
fn conditions_told_on_two_sides_both_stay() {
    let (mut a, mut b) = pair();
    a.create(pod("p"));
    b.take_all(&a);
    let gate = |name: &str| status(&pod_key("p"), json!({"conditions": [{"type": name, "status": "True"}]}));
    a.done(gate("x/a")).unwrap();
    b.done(gate("x/b")).unwrap();
    exchange(&mut a, &mut b);
    assert_eq!(a.get(&pod_key("p")).unwrap()["status"]["conditions"].as_array().unwrap().len(), 2);
}

#[test]
fn a_record_is_taken_once_and_waits_for_what_it_builds_on() {
    let (mut a, mut b) = pair();
    let known = a.disk.len();
    a.create(deployment("web", 1, "a"));
    a.update(deployment("web", 2, "a"));
    a.update(deployment("web", 3, "a"));
    a.done_as(Author::Leader, status(&deployment_key("web"), json!({"replicas": 3}))).unwrap();
    let records = a.disk[known..].to_vec();
    for record in records.iter().skip(1).rev() {
        assert!(matches!(b.merge(record), Ok(Merged::Waiting { .. })));
        assert!(matches!(b.merge(record), Ok(Merged::Waiting { .. })));
    }
    assert_eq!(b.store.waiting(), 3);
    assert_eq!(b.store.take_batch(), None, "what waits is not kept");
    assert_eq!(b.merge(&records[0]), Ok(Merged::New));
    assert_eq!(b.store.waiting(), 0);
    for record in &records {
        assert_eq!(b.merge(record), Ok(Merged::Known));
    }
    b.flush();
    assert_eq!(a.visible(), b.visible());
    b.crash();
    assert_eq!(a.visible(), b.visible());
}

#[test]
fn merged_records_are_shown_when_durable() {
    let (mut a, mut b) = pair();
    let known = a.disk.len();
    a.create(config_map("x", json!({})));
    b.merge(&a.disk[known]).unwrap();
    assert_eq!(b.get(&map_key("x")), None);
    b.flush();
    assert!(b.get(&map_key("x")).is_some());
}

#[test]
fn forged_and_damaged_records_are_refused() {
    let (a, mut b) = pair();
    for record in &a.disk {
        for at in (0..record.len()).step_by(7) {
            let mut bad = record.clone();
            bad[at] ^= 1;
            assert!(Verified::read(bad).is_err());
        }
    }
    // Signed by a member, but not what it says it is: a namespace's first change with another's body.
    let forged = Record::read(a.disk[1].clone()).unwrap();
    assert!(forged.verify().is_ok());
    assert_eq!(b.merge(&forged.raw), Ok(Merged::Known));
}

#[test]
fn an_empty_store_takes_the_live_records_of_another() {
    let (mut a, mut b) = pair();
    a.create(deployment("web", 1, "a"));
    b.take_all(&a);
    b.update(deployment("web", 2, "b"));
    a.take_all(&b);
    let mut c = Rig::bare(3);
    let mut live: Vec<_> = a.store.records().collect();
    live.reverse();
    for record in live {
        c.merge(&record).unwrap();
    }
    c.flush();
    assert_eq!(a.visible(), c.visible());
}

#[derive(Clone, Debug)]
pub enum Op {
    Create(u8),
    Replicas(u8, u8),
    Image(u8, u8),
    Finalizers(u8, u8),
    Delete(u8),
    Status(u8, u8),
    Tell(u8, u8),
    Pod(u8),
    Bind(u8, u8),
    See(u8, u8),
    DeletePod(u8, i64),
    RemovePod(u8),
    Namespace,
    EndNamespace,
}

pub fn any_op() -> impl Strategy<Value = Op> {
    let n = || 0..3_u8;
    prop_oneof![
        3 => n().prop_map(Op::Create),
        2 => (n(), any::<u8>()).prop_map(|(n, v)| Op::Replicas(n, v)),
        2 => (n(), any::<u8>()).prop_map(|(n, v)| Op::Image(n, v)),
        2 => (n(), 0..4_u8).prop_map(|(n, v)| Op::Finalizers(n, v)),
        1 => n().prop_map(Op::Delete),
        1 => (n(), any::<u8>()).prop_map(|(n, v)| Op::Status(n, v)),
        1 => (n(), 0..8_u8).prop_map(|(n, v)| Op::Tell(n, v)),
        2 => n().prop_map(Op::Pod),
        1 => (n(), 0..2_u8).prop_map(|(n, v)| Op::Bind(n, v)),
        1 => (n(), any::<u8>()).prop_map(|(n, v)| Op::See(n, v)),
        1 => (n(), 0..40_i64).prop_map(|(n, v)| Op::DeletePod(n, v)),
        1 => n().prop_map(Op::RemovePod),
        1 => Just(Op::Namespace),
        1 => Just(Op::EndNamespace),
    ]
}

pub fn act(rig: &mut Rig, op: &Op) {
    let web = |n: &u8| deployment_key(&format!("w{n}"));
    let p = |n: &u8| pod_key(&format!("p{n}"));
    let edited = |rig: &Rig, n: &u8, edit: &dyn Fn(&mut Value)| {
        let mut object = rig.get(&web(n))?;
        edit(&mut object);
        Some(update(object))
    };
    let extra = Key::cluster(&kinds::NAMESPACE, "extra");
    let (author, change) = match op {
        Op::Create(n) => (Author::Client, Some(create(deployment(&format!("w{n}"), 1, "a")))),
        Op::Replicas(n, v) => (Author::Client, edited(rig, n, &|o| o["spec"]["replicas"] = (*v).into())),
        Op::Image(n, v) => (
            Author::Client,
            edited(rig, n, &|o| {
                let name = format!("c{}", v % 4);
                let list = o["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap();
                match list.iter().position(|c| c["name"] == *name) {
                    Some(at) if v % 3 == 0 => drop(list.remove(at)),
                    Some(at) => list[at]["image"] = v.to_string().into(),
                    None => list.insert(usize::from(*v) % (list.len() + 1), json!({"name": name, "image": "new"})),
                }
            }),
        ),
        Op::Finalizers(n, v) => {
            let names: Vec<String> = (0..*v).map(|i| format!("x/{i}")).collect();
            (Author::Client, edited(rig, n, &|o| o["metadata"]["finalizers"] = json!(names)))
        }
        Op::Delete(n) => (Author::Client, Some(delete(&web(n)))),
        Op::Status(n, v) => (Author::Leader, Some(status(&web(n), json!({"replicas": v})))),
        Op::Tell(n, v) => {
            let name = format!("t{}", v / 2);
            (Author::Client, Some(status(&p(n), json!({"conditions": [{"type": name, "status": v}]}))))
        }
        Op::Pod(n) => (Author::Client, Some(create(pod(&format!("p{n}"))))),
        Op::Bind(n, v) => (Author::Leader, Some(bind(&p(n), &format!("n{v}")))),
        Op::See(n, v) => (Author::Kubelet, Some(status(&p(n), json!({"phase": "Running", "v": v})))),
        Op::DeletePod(n, v) => {
            let options = DeleteOptions { grace_seconds: Some(*v), ..DeleteOptions::default() };
            (Author::Client, Some(Change::Delete { key: p(n), options }))
        }
        Op::RemovePod(n) => (Author::Kubelet, Some(remove(&p(n)))),
        Op::Namespace => (Author::Client, Some(create(namespace("extra")))),
        Op::EndNamespace => (Author::Leader, Some(remove(&extra))),
    };
    if let Some(change) = change {
        // Refusals are part of it.
        drop(rig.done_as(author, change));
    }
    rig.flush();
}

/// Hands a node the records of all others, in an order of `seed`'s, some of them twice, now and then crashing it.
fn deliver(rigs: &mut [Rig], to: usize, seed: u64) {
    let mut records: Vec<Vec<u8>> =
        rigs.iter().enumerate().filter(|(i, _)| *i != to).flat_map(|(_, rig)| rig.disk.clone()).collect();
    let mut state = seed | 1;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    };
    for i in (1..records.len()).rev() {
        records.swap(i, random() % (i + 1));
    }
    for record in records {
        rigs[to].merge(&record).unwrap();
        if random() % 3 == 0 {
            rigs[to].merge(&record).unwrap();
        }
        if random() % 7 == 0 {
            rigs[to].flush();
        }
    }
    rigs[to].flush();
    assert_eq!(rigs[to].store.waiting(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stores_converge(
        rounds in prop::collection::vec(prop::collection::vec((0..3_usize, any_op()), 1..12), 1..4),
        seeds in prop::collection::vec(any::<u64>(), 12),
    ) {
        let mut rigs = [Rig::new(1), Rig::new(2), Rig::new(3)];
        let mut seeds = seeds.into_iter().cycle();
        for ops in &rounds {
            for (at, op) in ops {
                rigs[*at].wait(Duration::from_millis(300));
                act(&mut rigs[*at], op);
            }
            // One of them hears of it before the next round, in any order.
            let seed = seeds.next().unwrap();
            deliver(&mut rigs, usize::try_from(seed % 3).unwrap(), seed);
        }
        // Until nobody has anything new to say.
        for _ in 0..20 {
            let before: Vec<usize> = rigs.iter().map(|rig| rig.disk.len()).collect();
            for to in 0..3 {
                deliver(&mut rigs, to, seeds.next().unwrap());
            }
            if before == rigs.iter().map(|rig| rig.disk.len()).collect::<Vec<_>>() {
                break;
            }
        }
        for rig in &rigs[1..] {
            prop_assert_eq!(rigs[0].visible(), rig.visible());
        }
        let live = |rig: &Rig| rig.store.records().skip(1).collect::<std::collections::BTreeSet<_>>();
        prop_assert_eq!(live(&rigs[0]), live(&rigs[1]));
        for rig in &mut rigs {
            let visible = rig.visible();
            let report = rig.crash();
            prop_assert_eq!(&report.refused, &[]);
            prop_assert_eq!(&rig.visible(), &visible);
            rig.disk = rig.store.records().collect();
            rig.crash();
            prop_assert_eq!(rig.visible(), visible);
        }
    }
}
