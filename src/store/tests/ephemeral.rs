//! Events.

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
