//! A node that sleeps past the horizon, while the others delete things and collect the tombstones, comes back: it brings
//! nothing back, and what it alone had written is in its file. Horizons take a second here instead of a day.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use skein::ids::RequestId;
use skein::node::{Input, Request};
use skein::object::{Key, kinds, write};
use skein::store::{Change, DeleteOptions, Horizon, Precondition};

use crate::invariants;
use crate::world::{Plan, World};

/// The scenario.
struct Away {
    world: World,
    asked: u64,
}

fn key(name: &str) -> Key {
    Key::new(&kinds::CONFIG_MAP, "default", name)
}

impl Away {
    fn new(seed: u64) -> Self {
        let plan = Plan { horizon: Some(Duration::from_secs(1)), ..Plan::default() };
        let mut world = World::new(3 * seed, plan);
        // No users and no faults but those below.
        world.storm = false;
        Self { world, asked: 1 << 40 }
    }

    fn run(&mut self, seconds: u64) {
        let end = self.world.now + Duration::from_secs(seconds);
        self.world.run_until(end).expect("keeps its promises");
    }

    fn ask(&mut self, host: usize, change: Change) {
        self.asked += 1;
        let request = Request { change, dry_run: false, user: None };
        self.world.give(host, Input::Request { id: RequestId(self.asked), request }).expect("keeps its promises");
    }

    fn create(&mut self, host: usize, name: &str) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "0"}});
        let written = write::create_value(&kinds::CONFIG_MAP, "default", object).expect("a good object");
        self.ask(host, Change::Create { key: key(name), object: written.object });
    }

    fn change(&mut self, host: usize, name: &str, to: &str) {
        let mut object = self.get(host, name).expect("it is there");
        object["data"]["k"] = to.into();
        self.ask(host, Change::Update { key: key(name), object, when: Precondition::default() });
    }

    fn delete(&mut self, host: usize, name: &str) {
        self.ask(host, Change::Delete { key: key(name), options: DeleteOptions::default() });
    }

    fn get(&self, host: usize, name: &str) -> Option<Value> {
        self.world.hosts[host].view.get(&key(name)).map(|entry| entry.value())
    }

    /// Cuts a host off from the others. Returns the cut.
    fn isolate(&mut self, host: usize) -> u64 {
        let others: Vec<usize> = (0..self.world.hosts.len()).filter(|other| *other != host).collect();
        self.world.network.cut(others.iter().flat_map(|other| [(host, *other), (*other, host)]).collect())
    }

    fn horizon(&self, host: usize) -> Horizon {
        let register = self.world.hosts[host].disk.registers.get("horizon");
        register.and_then(|register| Horizon::of_bytes(&register.value)).unwrap_or_default()
    }
}

#[test]
fn a_node_that_slept_past_the_horizon_brings_nothing_back() {
    for seed in 0..3 {
        sleep_past_the_horizon(seed);
    }
}

fn sleep_past_the_horizon(seed: u64) {
    let mut away = Away::new(seed);
    away.run(20);
    let count = away.world.hosts.len();
    assert!(away.world.hosts.iter().all(|host| host.node.is_some()), "all have joined");
    // The founder leads in the first run.
    let sleeper = usize::try_from(seed).expect("few seeds") % count;
    let awake: Vec<usize> = (0..count).filter(|host| *host != sleeper).collect();
    for n in 0..10 {
        away.create(0, &format!("old-{n}"));
    }
    away.run(10);
    assert!((0..count).all(|host| away.get(host, "old-9").is_some()));

    let cut = away.isolate(sleeper);
    away.run(1);
    away.create(sleeper, "alone");
    away.change(sleeper, "old-0", "changed alone");
    away.delete(sleeper, "old-1");
    away.run(10);
    assert!(away.get(sleeper, "alone").is_some() && away.get(sleeper, "old-1").is_none());
    away.world.kill(sleeper).expect("it dies");
    away.world.network.mend(cut);
    for n in 2..10 {
        away.delete(awake[0], &format!("old-{n}"));
    }
    for n in 0..60 {
        away.create(awake[0], &format!("passing-{n}"));
        away.run(1);
        away.delete(awake[1], &format!("passing-{n}"));
    }
    let horizon = away.horizon(awake[0]);
    assert!(horizon.floor > 5, "horizons have passed without the sleeper: {horizon:?}");

    away.world.start_agent(sleeper).expect("it starts");
    assert!(away.get(sleeper, "old-5").is_some(), "it does not know yet");
    // It dies once more as soon as it knows, and knows it still afterwards.
    while away.horizon(sleeper).floor == 0 {
        let soon = away.world.now + Duration::from_millis(10);
        away.world.run_until(soon).expect("keeps its promises");
    }
    assert!(away.world.hosts[sleeper].displaced.is_empty(), "it has not taken the cluster's state yet");
    away.world.kill(sleeper).expect("it dies");
    away.world.start_agent(sleeper).expect("it starts");
    away.run(30);
    let check = |away: &Away| {
        invariants::same(&away.world.hosts).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        let view = &away.world.hosts[sleeper].view;
        let maps = view.list(&kinds::CONFIG_MAP, Some("default")).map(|entry| entry.key.name.clone());
        let names: BTreeSet<String> = maps.filter(|name| name != skein::store::class::ROOT_CA).collect();
        assert_eq!(names, ["old-0".to_owned(), "old-1".to_owned()].into());
        assert_eq!(away.get(sleeper, "old-0").expect("it is there")["data"]["k"], "0");
    };
    check(&away);
    let files = &away.world.hosts[sleeper].displaced;
    assert_eq!(files.len(), 1, "it rejoins once");
    let list: Value = serde_json::from_slice(&files[0]).expect("it is JSON");
    let kept: BTreeSet<&str> =
        list["items"].as_array().expect("a list").iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
    assert!(kept.contains("alone") && kept.contains("old-0"), "{kept:?}");
    assert_eq!(list["deletedHere"], json!([key("old-1").to_string()]));

    // It is a member like the others again, and its disk has forgotten what it has.
    away.create(sleeper, "fresh");
    away.run(5);
    assert!((0..count).all(|host| away.get(host, "fresh").is_some()));
    away.delete(awake[0], "fresh");
    away.world.kill(sleeper).expect("it dies");
    away.world.start_agent(sleeper).expect("it starts");
    away.run(60);
    check(&away);
    assert_eq!(away.world.hosts[sleeper].displaced.len(), 1);

    // Nor does one come short that has lost its log: to it all is new.
    away.world.kill(sleeper).expect("it dies");
    away.world.hosts[sleeper].disk.durable.clear();
    away.world.hosts[sleeper].newest = skein::ids::Revision(0);
    away.world.start_agent(sleeper).expect("it starts");
    away.run(20);
    check(&away);
    assert_eq!(away.world.hosts[sleeper].displaced.len(), 1, "it held nothing alone");
}
