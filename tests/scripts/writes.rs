//! How much the real node writes to its disk: records, frames and rewrites of the log, on virtual time.

use std::time::Duration;

use serde_json::{Value, json};
use skein::ids::RequestId;
use skein::node::{Effect, Input, Request};
use skein::object::{Key, kinds, write};
use skein::runtime::fake::Image;
use skein::store::{Change, Precondition, Rejected};

use crate::harness::Machine;

const DAY: f64 = 86_400.0;

/// A settled node whose user asks for things.
struct Bench {
    machine: Machine,
    next: RequestId,
}

impl Bench {
    fn new() -> Self {
        let mut machine = Machine::new();
        for image in ["app:1", "app:2"] {
            machine.docker.set_image(image, Image::default());
        }
        machine.run(Duration::from_secs(10));
        Self { machine, next: RequestId(1) }
    }

    fn ask(&mut self, change: Change) {
        self.next = self.next.next();
        self.machine.give(Input::Request { id: self.next, request: Request { change, dry_run: false, user: None } });
    }

    fn create(&mut self, key: &Key, object: Value) {
        let written = write::create_value(key.kind, &key.namespace, object).expect("it is valid");
        self.ask(Change::Create { key: key.clone(), object: written.object });
        self.machine.run(Duration::from_millis(100));
        assert!(self.machine.view().get(key).is_some(), "{key} is there");
    }

    fn update(&mut self, key: &Key, how: impl FnOnce(&mut Value)) {
        let entry = self.machine.view().get(key).cloned().expect("it is there");
        let mut object = entry.value();
        how(&mut object);
        self.ask(Change::Update { key: key.clone(), object, when: Precondition::unchanged(&entry) });
    }

    /// Runs something and returns how many bytes were written meanwhile.
    fn written(&mut self, what: impl FnOnce(&mut Self)) -> u64 {
        let written = |bench: &Self| bench.machine.files.written() + bench.machine.votes.written();
        let before = written(self);
        what(self);
        written(self) - before
    }

    fn ready(&self, image: &str) -> usize {
        let pods = self.machine.view();
        let is = |pod: &Value| {
            let conditions = pod["status"]["conditions"].as_array();
            let ready = conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True");
            pod["spec"]["containers"][0]["image"] == image && ready && pod["metadata"]["deletionTimestamp"].is_null()
        };
        pods.list(&kinds::POD, None).filter(|entry| is(&entry.value())).count()
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..600 {
            if done(self) {
                return;
            }
            self.machine.run(Duration::from_secs(1));
        }
        panic!("waited in vain: {what}; ready: {} and {}", self.ready("app:1"), self.ready("app:2"));
    }
}

fn deployment(replicas: u64) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "app:1"}]},
            },
        },
    })
}

#[test]
fn while_the_disk_refuses_writes_are_refused_and_the_node_says_so() {
    let mut bench = Bench::new();
    let answers = |bench: &mut Bench| -> Vec<Result<(), Rejected>> {
        let told = bench.machine.take_told().into_iter();
        told.filter_map(|(_, effect)| match effect {
            Effect::Answer { result, .. } => Some(result.map(drop)),
            _ => None,
        })
        .collect()
    };
    let map = |name: &str| {
        let object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}});
        Change::Create { key: Key::new(&kinds::CONFIG_MAP, "default", name), object }
    };
    let pressure = |bench: &Bench| {
        let node = bench.machine.view().get(&Key::cluster(&kinds::NODE, "n1")).expect("it is there").value();
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|c| c["type"] == "DiskPressure").map(|c| c["status"].clone())
    };
    assert_eq!(pressure(&bench), Some("False".into()));
    answers(&mut bench);
    // One is on its way when the trouble begins, one comes later.
    bench.ask(map("on-its-way"));
    bench.machine.give(Input::Disk { trouble: Some("it is full".into()) });
    bench.ask(map("later"));
    let refused = answers(&mut bench);
    let full = |r: &Result<(), Rejected>| matches!(r, Err(Rejected::Unavailable { message }) if message.contains("it is full"));
    assert!(refused.len() == 2 && refused.iter().all(full), "{refused:?}");
    assert_eq!(pressure(&bench), Some("True".into()));
    bench.machine.give(Input::Disk { trouble: None });
    bench.ask(map("afterwards"));
    bench.machine.run(Duration::from_secs(3));
    assert_eq!(answers(&mut bench).len(), 1);
    assert_eq!(pressure(&bench), Some("False".into()));
    let there = |name: &str| bench.machine.view().get(&Key::new(&kinds::CONFIG_MAP, "default", name)).is_some();
    assert!(there("afterwards") && there("on-its-way") && !there("later"));
}

#[test]
fn an_idle_node_with_pods_writes_nothing() {
    let mut bench = Bench::new();
    bench.create(&Key::new(&kinds::DEPLOYMENT, "default", "web"), deployment(10));
    bench.run_until("10 pods", |bench| bench.ready("app:1") == 10);
    bench.machine.run(Duration::from_secs(60));
    let written = bench.written(|bench| bench.machine.run(Duration::from_secs(600)));
    assert_eq!(written, 0, "bytes in ten minutes");
}

#[test]
fn a_rolling_update_writes_little_for_each_pod() {
    rolling_update(20);
}

#[test]
#[ignore = "long: 100 pods"]
fn long_a_rolling_update_of_a_hundred_pods_writes_under_5_mb() {
    rolling_update(100);
}

/// At most 50 kB a pod, which makes 5 MB for 100.
fn rolling_update(pods: usize) {
    let mut bench = Bench::new();
    let key = Key::new(&kinds::DEPLOYMENT, "default", "web");
    bench.create(&key, deployment(pods as u64));
    bench.run_until("all pods", |bench| bench.ready("app:1") == pods);
    let written = bench.written(|bench| {
        bench.update(&key, |object| object["spec"]["template"]["spec"]["containers"][0]["image"] = "app:2".into());
        bench.run_until("the update", |bench| bench.ready("app:2") == pods && bench.ready("app:1") == 0);
        bench.machine.run(Duration::from_secs(60));
    });
    println!("rolling update of {pods} pods: {written} bytes, {} a pod", written / pods as u64);
    assert!(written < 50_000 * pods as u64, "{written} bytes");
}

#[test]
fn a_lease_renewed_every_two_seconds_writes_little() {
    assert!(renew(300) < 10e6);
}

#[test]
#[ignore = "long: a day of renewals"]
fn long_a_lease_renewed_for_a_day_writes_under_10_mb() {
    assert!(renew(43_200) < 10e6);
}

/// Returns how many bytes a day of renewals writes.
fn renew(times: u32) -> f64 {
    let mut bench = Bench::new();
    let key = Key::new(&kinds::LEASE, "default", "operator");
    let lease = |n: u32| format!("2027-01-15T{:02}:{:02}:{:02}.{:06}Z", n / 1_800 % 24, n / 30 % 60, n * 2 % 60, n);
    bench.create(
        &key,
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": "operator", "namespace": "default"},
            "spec": {"holderIdentity": "operator-7d4b9c6f5-x2x4v", "leaseDurationSeconds": 15, "renewTime": lease(0)},
        }),
    );
    let written = bench.written(|bench| {
        for n in 1..=times {
            bench.update(&key, |object| object["spec"]["renewTime"] = lease(n).into());
            bench.machine.run(Duration::from_secs(2));
        }
    });
    let each = written as f64 / f64::from(times);
    let day = each * DAY / 2.0;
    println!("a Lease renewed {times} times: {each:.0} bytes each, {:.1} MB a day", day / 1e6);
    day
}
