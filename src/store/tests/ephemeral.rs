//! Events.

use super::super::record::{Draft, Scribe};
use super::*;

fn event(name: &str, count: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": "shop"}, "count": count,
        "involvedObject": {}})
}

fn key(name: &str) -> Key {
    Key::new(&kinds::EVENT, "shop", name)
}

#[test]
fn events_are_shown_at_once_and_never_written() {
    let mut rig = Rig::new(1);
    let before = rig.disk.len();
    let Ok(Receipt::Shown(made)) = rig.try_as(Author::Kubelet, create(event("e", 1))) else { panic!() };
    rig.wait(Duration::from_secs(5));
    let Ok(Receipt::Shown(next)) = rig.try_as(Author::Leader, update(event("e", 2))) else { panic!() };
    let (made, next) = (made.entry.value(), next.entry.value());
    assert_eq!(next["count"], 2);
    assert_eq!(next["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(next["metadata"]["creationTimestamp"], made["metadata"]["creationTimestamp"]);
    assert_ne!(next["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"]);
    assert!(matches!(rig.try_as(Author::Leader, update(event("e", 2))), Ok(Receipt::Unchanged(_))));
    assert!(matches!(rig.try_as(Author::Client, create(event("e", 2))), Err(Rejected::AlreadyExists { .. })));
    rig.flush();
    assert_eq!(rig.disk.len(), before);
    let Ok(Receipt::Shown(gone)) = rig.try_as(Author::Client, delete(&key("e"))) else { panic!() };
    assert!(gone.removed);
    assert_eq!(rig.get(&key("e")), None);
}

/// What a node tells at once.
fn told(rig: &mut Rig) -> Vec<Verified> {
    rig.store.take_news().into_iter().filter(|news| news.after.is_none()).flat_map(|news| news.records).collect()
}

fn tell(rig: &mut Rig, records: &[Verified]) {
    for record in records {
        rig.store.merge(rig.now, record.clone()).unwrap();
    }
}

#[test]
fn events_are_told_once_and_shown_by_peers_alike() {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    told(&mut a);
    told(&mut b);
    a.try_as(Author::Kubelet, create(event("e", 1))).unwrap();
    a.try_as(Author::Kubelet, update(event("e", 2))).unwrap();
    let first = told(&mut a);
    assert_eq!(first.len(), 1, "the newest only");
    assert!(told(&mut a).is_empty());
    a.wait(Duration::from_secs(2));
    a.try_as(Author::Kubelet, update(event("e", 3))).unwrap();
    let second = told(&mut a);
    b.wait(Duration::from_secs(2));
    tell(&mut b, &second);
    assert_eq!(b.store.merge(b.now, first[0].clone()).unwrap(), Merged::Known);
    let same = |value: Option<Value>| {
        let mut value = value.unwrap();
        value["metadata"]["resourceVersion"].take();
        value
    };
    assert_eq!(same(a.get(&key("e"))), same(b.get(&key("e"))));
    assert!(told(&mut b).is_empty(), "what peers said is no news");
    let event_ids: Vec<RecordId> = first.iter().chain(&second).map(Verified::id).collect();
    assert!(b.store.record_ids().iter().all(|id| !event_ids.contains(id)));
    b.flush();
    assert!(b.disk.iter().all(|raw| !event_ids.contains(&RecordId::of(raw))));
    // The other goes on with it.
    b.try_as(Author::Kubelet, update(event("e", 4))).unwrap();
    let third = told(&mut b);
    tell(&mut a, &third);
    assert_eq!(a.get(&key("e")).unwrap()["count"], 4);
}

#[test]
fn a_deleted_event_stays_deleted_everywhere() {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    told(&mut a);
    told(&mut b);
    a.try_as(Author::Kubelet, create(event("e", 1))).unwrap();
    let made = told(&mut a);
    tell(&mut b, &made);
    b.try_as(Author::Client, delete(&key("e"))).unwrap();
    let deleted = told(&mut b);
    tell(&mut a, &deleted);
    assert_eq!((a.get(&key("e")), b.get(&key("e"))), (None, None));
    assert_eq!(b.store.merge(b.now, made[0].clone()).unwrap(), Merged::Known);
    a.try_as(Author::Kubelet, create(event("e", 1))).unwrap();
    tell(&mut b, &told(&mut a));
    assert!(b.get(&key("e")).is_some(), "made again");
}

#[test]
fn what_peers_say_is_bounded_too() {
    let (mut a, mut b) = (Rig::new(1), Rig::new(2));
    told(&mut a);
    for i in 0..5_003 {
        a.try_as(Author::Kubelet, create(event(&format!("e{i:04}"), 1))).unwrap();
        if i % 1_000 == 0 {
            tell(&mut b, &told(&mut a));
        }
    }
    tell(&mut b, &told(&mut a));
    assert_eq!(b.store.snapshot().list(&kinds::EVENT, None).count(), 5_000);
    a.try_as(Author::Kubelet, update(event("e4000", 2))).unwrap();
    let late = told(&mut a);
    b.wait(Duration::from_secs(3_601));
    b.store.tick(b.now);
    assert_eq!(b.store.snapshot().list(&kinds::EVENT, None).count(), 0);
    assert_eq!(b.store.merge(b.now, late[0].clone()).unwrap(), Merged::Known, "too old");
}

#[test]
fn a_peers_event_that_cannot_be_one_is_refused_or_made_readable() {
    let mut rig = Rig::new(1);
    let mad = config(2, 1);
    let mut scribe = Scribe::new(mad.node, 1, mad.key);
    let time = u64::try_from(rig.now.wall.0).unwrap();
    let (uid, key) = (crate::ids::Uid([3; 16]), key("e"));
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(120), "]".repeat(120));
    for json in ["", "7", "[]", &deep] {
        let raw = scribe.write(Draft::Event(uid, &key, time, Some(json.as_bytes())));
        let refused = rig.store.merge(rig.now, Verified::read(raw).unwrap());
        assert!(matches!(refused, Err(MergeError::Event { .. })), "{json}");
    }
    let odd = json!({"metadata": 3, "count": "x"}).to_string();
    let raw = scribe.write(Draft::Event(uid, &key, u64::MAX, Some(odd.as_bytes())));
    rig.merge(&raw).unwrap();
    assert_eq!(rig.get(&key).unwrap()["metadata"]["name"], "e");
    assert!(rig.entry(&key).typed::<k8s_openapi::api::core::v1::Event>().is_none());
    let raw = scribe.write(Draft::Event(uid, &map_key("x"), time, Some(b"{}")));
    assert!(rig.merge(&raw).is_err(), "only what lives in memory");
    rig.try_as(Author::Client, update(event("e", 5))).unwrap();
    assert_eq!(rig.get(&key).unwrap()["count"], 5);
}

#[test]
fn events_go_after_an_hour_without_news() {
    let mut rig = Rig::new(1);
    rig.try_as(Author::Kubelet, create(event("old", 1))).unwrap();
    rig.try_as(Author::Kubelet, create(event("kept", 1))).unwrap();
    rig.wait(Duration::from_secs(3_000));
    rig.try_as(Author::Kubelet, update(event("kept", 2))).unwrap();
    rig.wait(Duration::from_secs(601));
    rig.store.tick(rig.now);
    assert_eq!(rig.get(&key("old")), None);
    assert!(rig.get(&key("kept")).is_some());
}

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let mut rig = Rig::new(1);
    for i in 0..5_003 {
        rig.try_as(Author::Kubelet, create(event(&format!("e{i}"), 1))).unwrap();
    }
    assert_eq!(rig.store.snapshot().list(&kinds::EVENT, None).count(), 5_000);
    assert!(rig.get(&key("e2")).is_none() && rig.get(&key("e3")).is_some());
}

#[test]
fn an_event_before_the_first_ceiling_is_shown_with_it() {
    let (store, _) = Store::open(config(1, 1), Rig::new(1).disk, start());
    let mut rig = Rig { store, now: start(), n: 1, disk: Vec::new(), flying: None };
    let Ok(Receipt::Pending(ticket)) = rig.try_as(Author::Kubelet, create(event("e", 1))) else { panic!() };
    assert_eq!(rig.get(&key("e")), None);
    let answers = rig.flush();
    assert_eq!(answers[0].0, ticket);
    assert_eq!(answers[0].1.entry.value()["count"], 1);
}
