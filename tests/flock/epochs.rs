//! Long histories are cut by the leader, while members write on; and a quiet cluster cuts nothing.

use std::time::Duration;

use serde_json::{Value, json};
use skein::features::LEVEL;
use skein::ids::RequestId;
use skein::node::{Input, Request};
use skein::object::{Key, kinds};
use skein::store::record::{Body, Record};
use skein::store::{Change, Precondition};

use crate::world::{Plan, World};

fn pass(world: &mut World, time: Duration) {
    world.run_until(world.now + time).expect("keeps its promises");
}

fn key() -> Key {
    Key::new(&kinds::CONFIG_MAP, "default", "busy")
}

fn ask(world: &mut World, host: usize, number: u64, change: Change) {
    let request = Request { change, dry_run: false, user: None };
    world.give(host, Input::Request { id: RequestId((1 << 40) + number), request }).expect("keeps its promises");
}

/// What a host holds of the object: how many changes, and of which epoch.
fn held(world: &World, host: usize) -> (usize, u64) {
    let uid = world.hosts[host].view.get(&key()).expect("the object").uid;
    let node = world.hosts[host].node.as_ref().expect("its agent");
    let records = node.records().into_iter().filter_map(|raw| Record::read(raw).ok());
    let (mut changes, mut epoch) = (0, 1);
    for record in records.filter(|record| record.body.uid() == Some(uid)) {
        match record.body {
            Body::Change { .. } => changes += 1,
            Body::Epoch { decision, .. } => epoch = epoch.max(decision.number),
            _ => {}
        }
    }
    (changes, epoch)
}

fn data(world: &World, host: usize) -> Value {
    world.hosts[host].view.get(&key()).expect("the object").value()["data"].clone()
}

#[test]
fn a_long_history_is_cut_and_a_quiet_cluster_cuts_nothing() {
    let mut world = World::new(0, Plan::default());
    world.storm = false;
    world.hosts.iter_mut().for_each(|host| host.level = LEVEL);
    pass(&mut world, Duration::from_secs(20));
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "busy", "namespace": "default"},
        "data": {"n0": "-", "n1": "-", "n2": "-"}});
    ask(&mut world, 0, 0, Change::Create { key: key(), object });
    pass(&mut world, Duration::from_secs(2));
    for n in 1..=300_u64 {
        let host = usize::try_from(n % 3).expect("a host");
        let mut object = world.hosts[host].view.get(&key()).expect("the object").value();
        object["data"][format!("n{host}")] = n.to_string().into();
        ask(&mut world, host, n, Change::Update { key: key(), object, when: Precondition::default() });
        pass(&mut world, Duration::from_millis(500));
    }
    pass(&mut world, Duration::from_secs(150));
    for host in 0..3 {
        let (changes, epoch) = held(&world, host);
        assert!(epoch > 2 && changes < 200, "n{}: {changes} changes in epoch {epoch}", host + 1);
        assert_eq!(data(&world, host), json!({"n0": "300", "n1": "298", "n2": "299"}));
    }
    let before: Vec<_> = (0..3).map(|host| held(&world, host)).collect();
    pass(&mut world, Duration::from_secs(300));
    assert_eq!((0..3).map(|host| held(&world, host)).collect::<Vec<_>>(), before);
    // Whoever starts again has the same.
    world.crash(1).expect("keeps its promises");
    pass(&mut world, Duration::from_secs(30));
    assert_eq!(data(&world, 1), data(&world, 0));
}
