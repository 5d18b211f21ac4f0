//! Sides of a cut without a leader: a caretaker keeps running what needs nobody's leave.

use std::time::Duration;

use serde_json::json;
use skein::node::Node;
use skein::object::{Key, kinds, write};
use skein::store::{Change, Precondition};

use crate::stories::{ask, pass, world};
use crate::world::World;

fn deployment(name: &str) -> Key {
    Key::new(&kinds::DEPLOYMENT, "default", name)
}

fn apply(world: &mut World, host: usize, name: &str, replicas: u32) {
    let object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}},
    });
    let written = write::create_value(&kinds::DEPLOYMENT, "default", object).expect("it is valid");
    ask(world, host, Change::Create { key: deployment(name), object: written.object });
}

fn edit(world: &mut World, host: usize, name: &str, edit: impl FnOnce(&mut serde_json::Value)) {
    let entry = world.hosts[host].view.get(&deployment(name)).expect("it is there").clone();
    let mut object = entry.value();
    edit(&mut object);
    ask(world, host, Change::Update { key: deployment(name), object, when: Precondition::default() });
}

/// Takes a host's power, so that nothing answers there.
fn kill(world: &mut World, host: usize) {
    world.lose_power(host).expect("keeps its promises");
    world.keep_down(host);
}

/// How often containers were started in all.
fn started(world: &World) -> usize {
    world.hosts.iter().map(|host| host.docker.starts().len()).sum()
}

fn leader(world: &World) -> usize {
    let leads = |host: &crate::host::Host| host.node.as_ref().and_then(Node::leads).is_some();
    world.hosts.iter().position(leads).expect("somebody leads")
}

/// How many pods of an app a host shows as ready, on which of the hosts.
fn ready(world: &World, host: usize, app: &str) -> Vec<String> {
    let pods = world.hosts[host].view.list(&kinds::POD, None);
    let is_ready = |value: &serde_json::Value| {
        let conditions = value["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
    };
    let mine = pods.filter(|pod| pod.labels.get("app").is_some_and(|value| value == app) && is_ready(&pod.value()));
    let mut nodes: Vec<String> = mine.filter_map(|pod| pod.node.clone()).collect();
    nodes.sort();
    nodes
}

fn counted(world: &World, host: usize, app: &str) -> serde_json::Value {
    world.hosts[host].view.get(&deployment(app)).expect("it is there").value()["status"]["readyReplicas"].clone()
}

#[test]
fn of_two_nodes_either_goes_on_alone() {
    for survivor in [0, 1] {
        let mut world = world(2);
        apply(&mut world, 0, "web", 2);
        pass(&mut world, 10);
        assert_eq!(ready(&world, 0, "web"), ["n1", "n2"]);
        kill(&mut world, 1 - survivor);
        pass(&mut world, 20);
        let name = format!("n{}", survivor + 1);
        assert_eq!(ready(&world, survivor, "web"), [&*name, &*name], "what the other ran is replaced");
        apply(&mut world, survivor, "new", 3);
        edit(&mut world, survivor, "web", |object| object["spec"]["replicas"] = 4.into());
        pass(&mut world, 10);
        assert_eq!(ready(&world, survivor, "new").len(), 3, "it takes work");
        assert_eq!(ready(&world, survivor, "web").len(), 4, "and scales");
        assert_eq!(counted(&world, survivor, "web"), 4);

        world.bring_back(1 - survivor).expect("keeps its promises");
        pass(&mut world, 30);
        for host in [0, 1] {
            assert_eq!((ready(&world, host, "web").len(), ready(&world, host, "new").len()), (4, 3));
            assert_eq!((counted(&world, host, "web"), counted(&world, host, "new")), (4.into(), 3.into()));
        }
    }
}

#[test]
fn a_dead_agent_on_a_living_host_has_thirty_seconds() {
    for hosts in [2, 3] {
        let mut world = world(hosts);
        let all = u32::try_from(hosts).expect("few");
        apply(&mut world, 0, "web", all);
        pass(&mut world, 10);
        let dead = (leader(&world) + 1) % hosts;
        let other = (dead + 1) % hosts;
        let before = started(&world);
        for seconds in [25, 40] {
            world.crash(dead).expect("keeps its promises");
            world.keep_down(dead);
            pass(&mut world, 3);
            assert_eq!(ready(&world, other, "web").len(), hosts - 1, "it is out of routing at once");
            pass(&mut world, seconds - 3);
            let replaced = ready(&world, other, "web").len() == hosts;
            assert_eq!(replaced, seconds == 40, "after {seconds} s of {hosts}");
            assert_eq!(started(&world) > before, replaced);
            world.bring_back(dead).expect("keeps its promises");
            pass(&mut world, 30);
            assert_eq!(ready(&world, other, "web").len(), hosts);
        }
    }
}

#[test]
fn a_small_side_takes_what_is_new_at_once_and_over_what_is_lost_late() {
    let mut world = world(3);
    apply(&mut world, 0, "web", 3);
    pass(&mut world, 10);
    let alone = (leader(&world) + 1) % 3;
    let name = format!("n{}", alone + 1);
    world.isolate(alone);
    pass(&mut world, 15);
    apply(&mut world, alone, "new", 2);
    pass(&mut world, 10);
    assert_eq!(ready(&world, alone, "new"), [&*name, &*name]);
    assert_eq!(ready(&world, alone, "web"), [&*name], "the others may well be alive");
    pass(&mut world, 50);
    assert_eq!(ready(&world, alone, "web"), [&*name, &*name, &*name]);
    world.heal();
    pass(&mut world, 30);
    for host in 0..3 {
        assert_eq!((ready(&world, host, "web").len(), ready(&world, host, "new").len()), (3, 2), "on n{}", host + 1);
    }
}

#[test]
fn a_caretaker_decides_nothing_more_once_it_follows_a_leader() {
    let mut world = world(3);
    let left = leader(&world);
    let gone = [(left + 1) % 3, (left + 2) % 3];
    gone.iter().for_each(|host| kill(&mut world, *host));
    pass(&mut world, 20);
    // They find each other first, and elect one of them.
    world.isolate(left);
    gone.iter().for_each(|host| world.bring_back(*host).expect("keeps its promises"));
    pass(&mut world, 4);
    world.heal();
    let lease = Key::new(&kinds::LEASE, "kube-node-lease", skein::node::LEADER);
    for _ in 0..200 {
        world.run_until(world.now + Duration::from_millis(10)).expect("keeps its promises");
        let follows = world.hosts[left].view.get(&lease).is_some();
        let decides = world.hosts[left].node.as_ref().is_some_and(Node::is_caretaker);
        assert_ne!(follows, decides, "else it replaces what the leader stops");
    }
}

#[test]
fn a_rollout_waits_for_a_leader_unless_told_otherwise() {
    for (told, moves) in [(false, false), (true, true)] {
        let mut world = world(2);
        apply(&mut world, 0, "web", 2);
        pass(&mut world, 10);
        let survivor = 1 - leader(&world);
        kill(&mut world, 1 - survivor);
        pass(&mut world, 20);
        edit(&mut world, survivor, "web", |object| {
            if told {
                object["metadata"]["annotations"]["skein.dev/partition"] = "run".into();
            }
            object["spec"]["template"]["metadata"]["labels"]["tier"] = "gold".into();
        });
        pass(&mut world, 20);
        let pods = world.hosts[survivor].view.list(&kinds::POD, None).filter(|pod| pod.labels.contains_key("tier"));
        assert_eq!(pods.count() > 0, moves);
        assert_eq!(ready(&world, survivor, "web").len(), 2);
    }
}

#[test]
fn nothing_is_bound_that_a_leader_may_have_bound() {
    let mut world = world(3);
    let alone = (leader(&world) + 1) % 3;
    let pod = |name: &str| {
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "main", "image": "app:1"}]}});
        let written = write::create_value(&kinds::POD, "default", object).expect("it is valid");
        Change::Create { key: Key::new(&kinds::POD, "default", name), object: written.object }
    };
    world.isolate(alone);
    ask(&mut world, alone, pod("early"));
    pass(&mut world, 15);
    ask(&mut world, alone, pod("late"));
    pass(&mut world, 5);
    let node = |world: &World, name: &str| {
        world.hosts[alone].view.get(&Key::new(&kinds::POD, "default", name)).expect("it is there").node.clone()
    };
    assert_eq!(node(&world, "early"), None, "it may have reached the leader");
    assert_eq!(node(&world, "late"), Some(format!("n{}", alone + 1)));
    world.heal();
    pass(&mut world, 20);
    assert!(node(&world, "early").is_some());
    assert_eq!(node(&world, "late"), Some(format!("n{}", alone + 1)), "it stays where it runs");
}
