//! What a node tells of a partition: who was apart, what each side did, what merged and what was displaced.

use serde_json::{Value, json};
use skein::node::Node;
use skein::node::partition::Partition;
use skein::object::{Key, kinds, write};
use skein::store::{Change, DeleteOptions, Precondition};

use crate::stories::{ask, pass, world};
use crate::world::World;

fn map(name: &str) -> Key {
    Key::new(&kinds::CONFIG_MAP, "default", name)
}

fn create(world: &mut World, host: usize, key: Key, mut object: Value) {
    (object["apiVersion"], object["kind"]) = (key.kind.api_version().into(), key.kind.kind.into());
    object["metadata"] = json!({"name": key.name, "namespace": "default"});
    let written = write::create_value(key.kind, "default", object).expect("it is valid");
    ask(world, host, Change::Create { key, object: written.object });
}

fn edit(world: &mut World, host: usize, key: &Key, edit: impl FnOnce(&mut Value)) {
    let mut object = world.hosts[host].view.get(key).expect("it is there").value();
    edit(&mut object);
    ask(world, host, Change::Update { key: key.clone(), object, when: Precondition::default() });
}

/// Cuts some hosts off from all others.
fn split(world: &mut World, one: &[usize]) {
    let others = (0..world.hosts.len()).filter(|host| !one.contains(host));
    let ways = others.flat_map(|other| one.iter().flat_map(move |host| [(*host, other), (other, *host)]));
    world.network.cut(ways.collect());
}

fn told(world: &World, host: usize) -> &Partition {
    world.hosts[host].partitions.last().expect("it tells of one")
}

/// Who tells of a heal in an Event, as a host shows it.
fn speakers(world: &World, host: usize) -> Vec<String> {
    let events = world.hosts[host].view.list(&kinds::EVENT, Some("default")).map(|event| event.value());
    let healed = events.filter(|event| event["reason"] == "PartitionHealed");
    healed.filter_map(|event| Some(event["involvedObject"]["name"].as_str()?.to_owned())).collect()
}

#[test]
fn each_side_tells_what_both_have_done() {
    let mut world = world(4);
    create(&mut world, 0, map("shared"), json!({"data": {"k": "0"}}));
    create(&mut world, 0, map("old"), json!({}));
    let web = Key::new(&kinds::DEPLOYMENT, "default", "web");
    create(
        &mut world,
        0,
        web,
        json!({"spec": {"replicas": 4, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}}}),
    );
    pass(&mut world, 15);
    assert!((0..4).all(|host| world.hosts[host].partitions.is_empty()));

    split(&mut world, &[2, 3]);
    pass(&mut world, 15);
    for (host, value) in [(0, "one"), (2, "two")] {
        create(&mut world, host, map("twice"), json!({"data": {"from": value}}));
        create(&mut world, host, map(&format!("only-{value}")), json!({}));
        edit(&mut world, host, &map("shared"), |object| object["data"]["k"] = value.into());
        pass(&mut world, 1);
    }
    ask(&mut world, 2, Change::Delete { key: map("old"), options: DeleteOptions::default() });
    pass(&mut world, 20);
    let lasting = told(&world, 3);
    assert_eq!((lasting.healed.as_deref(), &*lasting.there), (None, &["n1".to_owned(), "n2".to_owned()][..]));
    assert_eq!(
        (lasting.done_here.made, lasting.done_here.changed, lasting.done_here.deleted),
        (2, 1, 1),
        "{lasting:?}"
    );
    assert_eq!(lasting.done_there.made, 0);

    world.heal();
    pass(&mut world, 30);
    for host in 0..4 {
        let healed = told(&world, host);
        assert!(healed.settled && (35..50).contains(&healed.seconds), "{healed:?}");
        let [here, there] = if host < 2 { [["n1", "n2"], ["n3", "n4"]] } else { [["n3", "n4"], ["n1", "n2"]] };
        assert_eq!(
            (&healed.here[..], &healed.there[..]),
            (&here.map(str::to_owned)[..], &there.map(str::to_owned)[..])
        );
        let (one, two) = match host {
            0 | 1 => (&healed.done_here, &healed.done_there),
            _ => (&healed.done_there, &healed.done_here),
        };
        assert_eq!((one.made, one.changed, one.deleted), (2, 1, 0), "{healed:?}");
        assert_eq!((two.made, two.changed, two.deleted), (2, 1, 1), "{healed:?}");
        assert_eq!(healed.both.first, ["configmap default/shared"]);
        assert_eq!(
            (healed.displaced.count, &*healed.displaced.first),
            (1, &["configmap default/twice".to_owned()][..])
        );
        assert_eq!((healed.dropped.count, &*healed.dropped.first), (1, &["configmap default/shared".to_owned()][..]));
        let surplus = healed.pods.made_here[0] + healed.pods.made_there[0];
        assert!(surplus > 0 && healed.pods.made_here[1] + healed.pods.made_there[1] > 0, "{healed:?}");
        assert_eq!(healed.pods.stopped.count, surplus, "each pod made for one that lived is stopped: {healed:?}");
        assert_eq!(speakers(&world, host).len(), 2, "one of each side");
    }
}

#[test]
fn a_short_silence_is_not_told_and_a_long_one_is_by_whoever_saw_it() {
    let mut world = world(3);
    let leads = |host: &crate::host::Host| host.node.as_ref().and_then(Node::leads).is_some();
    let alone = (world.hosts.iter().position(leads).expect("somebody leads") + 1) % 3;
    world.isolate(alone);
    pass(&mut world, 5);
    world.heal();
    pass(&mut world, 20);
    assert!((0..3).all(|host| world.hosts[host].partitions.is_empty()), "nothing has come of it");
    for round in 1..=10 {
        world.isolate(alone);
        pass(&mut world, 12);
        world.heal();
        pass(&mut world, 20);
        for host in 0..3 {
            assert_eq!(world.hosts[host].partitions.len(), round.min(8), "the last few");
            assert!(told(&world, host).settled);
        }
    }
}
