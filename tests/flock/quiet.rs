//! Worlds without users and storms, in which one thing happens that is measured.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use serde_json::{Value, json};
use skein::ids::{RequestId, Uid};
use skein::node::{Input, Node, Request};
use skein::object::{Key, kinds, write};
use skein::runtime::fake::Knobs;
use skein::store::{Change, Entry};

use crate::invariants::kept::is_ready;
use crate::world::{Plan, World};

/// The app that runs.
const APP: &str = "web";

/// Which pods there are, and where.
pub type Pods = BTreeMap<Uid, Option<String>>;

/// A world of so many hosts on which an app with a Service runs, two replicas a host, all ready.
pub fn with_pods(seed: u64, count: usize) -> World {
    let mut world = World::of(seed, Plan::default(), count);
    world.storm = false;
    for host in &mut world.hosts {
        host.docker.tune(Knobs::default());
    }
    pass(&mut world, 15_000);
    let replicas = 2 * count;
    let labels = json!({"app": APP});
    let template = json!({"metadata": {"labels": labels}, "spec": {
        "containers": [{"name": "main", "image": "app:1"}]}});
    let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels}, "template": template});
    make(&mut world, &Key::new(&kinds::DEPLOYMENT, "default", APP), json!({"spec": spec}));
    let spec = json!({"selector": labels, "ports": [{"port": 80}]});
    make(&mut world, &Key::new(&kinds::SERVICE, "default", APP), json!({"spec": spec}));
    wait(&mut world, 30_000, |world| in_full_service(world, 2 * count));
    // All that is left to be told of the start.
    pass(&mut world, 10_000);
    world
}

fn make(world: &mut World, key: &Key, mut object: Value) {
    object["apiVersion"] = key.kind.api_version().into();
    object["kind"] = key.kind.kind.into();
    object["metadata"] = json!({"name": key.name, "namespace": key.namespace});
    let written = write::create_value(key.kind, &key.namespace, object).expect("it is valid");
    let request =
        Request { change: Change::Create { key: key.clone(), object: written.object }, dry_run: false, user: None };
    world.give(0, Input::Request { id: RequestId(1 << 40), request }).expect("keeps its promises");
}

/// Lets time pass, in milliseconds.
pub fn pass(world: &mut World, millis: u64) {
    world.run_until(world.now + Duration::from_millis(millis)).expect("keeps its promises");
}

/// Waits until something is so; returns how long that took.
///
/// # Panics
/// If it is not within so many milliseconds.
pub fn wait(world: &mut World, most: u64, is_so: impl Fn(&World) -> bool) -> Duration {
    let since = world.now;
    while !is_so(world) {
        assert!(world.now < since + Duration::from_millis(most), "not within {most} ms");
        pass(world, 20);
    }
    world.now - since
}

/// Returns how long until something is so for good: for half a minute.
///
/// # Panics
/// If it is not within so many milliseconds.
pub fn wait_for_good(world: &mut World, most: u64, is_so: impl Fn(&World) -> bool) -> Duration {
    let (since, mut last) = (world.now, world.now);
    while world.now < last + Duration::from_secs(30) {
        if !is_so(world) {
            last = world.now;
        }
        assert!(last <= since + Duration::from_millis(most), "not within {most} ms");
        pass(world, 20);
    }
    last - since
}

/// Tells whether every host that is up shows every such host as ready, so many ready replicas on them that really run, and
/// routes to all of these and to nothing else.
pub fn in_full_service(world: &World, replicas: usize) -> bool {
    let containers: BTreeSet<Uid> = world.hosts.iter().flat_map(|host| host.docker.running()).collect();
    let up: Vec<&str> = world.hosts.iter().filter(|host| host.node.is_some()).map(|host| host.name()).collect();
    world.hosts.iter().filter(|host| host.node.is_some()).all(|host| {
        let nodes = host.view.list(&kinds::NODE, None).filter(|node| up.contains(&node.key.name.as_str()));
        let pods: Vec<&Entry> = host.view.list(&kinds::POD, None).filter(|pod| runs(pod, &up)).map(|p| &**p).collect();
        let service = format!("default/{APP}:");
        let mut listeners = host.routes.listeners.values().filter(|to| to.service.starts_with(&service));
        let routed = listeners.next().is_some_and(|to| {
            let reached = |pod: &&Entry| pod.value()["status"]["podIP"].as_str().map(str::to_owned);
            let mut wanted: Vec<String> = pods.iter().filter_map(reached).collect();
            let mut there: Vec<String> = to.endpoints.iter().map(|to| to.address.ip().to_string()).collect();
            wanted.sort();
            there.sort();
            wanted == there
        });
        let real = pods.iter().all(|pod| containers.contains(&pod.uid));
        routed && real && pods.len() == replicas && nodes.filter(|node| is_ready(&node.value())).count() == up.len()
    })
}

fn runs(pod: &Entry, up: &[&str]) -> bool {
    !pod.terminating && pod.node.as_deref().is_some_and(|node| up.contains(&node)) && is_ready(&pod.value())
}

/// Returns which pods a host shows, and where.
pub fn pods(world: &World, host: usize) -> Pods {
    world.hosts[host].view.list(&kinds::POD, None).map(|pod| (pod.uid, pod.node.clone())).collect()
}

/// Cuts a host's power: nobody hears of its end, and what it runs ends with it.
pub fn cut_power(world: &mut World, host: usize) {
    world.isolate(host);
    world.kill(host).expect("keeps its promises");
    world.keep_down(host);
    let machine = &mut world.hosts[host];
    machine.dark = true;
    let now = machine.clock(world.now);
    machine.docker.stop_daemon(now, false);
    machine.docker_up = false;
    // A warden's deadlines do not outlive the kernel.
    machine.deadlines.clear();
}

/// Tells whether all hosts that are up show another as one that does not answer.
pub fn is_unreachable(world: &World, host: usize) -> bool {
    let node = Key::cluster(&kinds::NODE, world.hosts[host].name());
    let dark = |other: &crate::host::Host| {
        let shown = other.view.get(&node).map(|node| node.value()).unwrap_or_default();
        let conditions = shown["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "Unknown"))
    };
    world.hosts.iter().filter(|other| other.node.is_some()).all(dark)
}

/// Draws an order.
pub fn shuffled(world: &mut World) -> Vec<usize> {
    let mut order: Vec<usize> = (0..world.hosts.len()).collect();
    for last in (1..order.len()).rev() {
        order.swap(last, world.random.random_range(0..=last));
    }
    order
}

/// Who leads.
pub fn leader(world: &World) -> Option<usize> {
    world.hosts.iter().position(|host| host.node.as_ref().and_then(Node::leads).is_some())
}

/// Prints how long something took, in a sentence: the middle, the 99th of a hundred, and the worst.
pub fn print(what: &str, times: &mut [Duration]) -> [Duration; 3] {
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    let [median, high, worst] = [at(50), at(99), at(100)];
    println!("{what}, {} times: p50 {median:?}, p99 {high:?}, worst {worst:?}", times.len());
    [median, high, worst]
}
