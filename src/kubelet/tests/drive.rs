//! Runs a kubelet and a simulated runtime against a view, on virtual time, as the node would.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kubelet::action::{Action, Observation, Step};
use crate::kubelet::{Input, Kubelet, Output};
use crate::object::{Key, Note, kinds};
use crate::runtime::fake::{FakeRuntime, Image, Knobs};
use crate::store::Snapshot;
use crate::time::Now;

use super::world;

const TICK: Duration = Duration::from_millis(100);

/// A node with nothing but a kubelet.
pub struct Drive {
    pub kubelet: Kubelet,
    pub fake: FakeRuntime,
    pub view: Snapshot,
    pub time: Duration,
    next_tick: Duration,
    pub notes: Vec<(Duration, Note)>,
    pub actions: Vec<(Duration, Action)>,
    /// Statuses written: pod's name and status.
    pub statuses: Vec<(String, Value)>,
    pub node: Vec<Value>,
    pub finished: Vec<String>,
    /// The agent is dead: nobody listens.
    pub dead: bool,
    saved: BTreeMap<Key, Value>,
}

impl Drive {
    pub fn new() -> Self {
        Self::lying(1, Knobs::default())
    }

    pub fn lying(seed: u64, knobs: Knobs) -> Self {
        let mut fake = FakeRuntime::new(seed, knobs);
        fake.set_image("web:1", Image::default());
        fake.set_image("web:2", Image::default());
        let mut drive = Self {
            kubelet: Kubelet::new(world::config()),
            fake,
            view: world::view(&[]),
            time: Duration::ZERO,
            next_tick: TICK,
            notes: Vec::new(),
            actions: Vec::new(),
            statuses: Vec::new(),
            node: Vec::new(),
            finished: Vec::new(),
            dead: false,
            saved: BTreeMap::new(),
        };
        drive.give(Input::Changed);
        drive
    }

    pub fn now(&self) -> Now {
        world::moment(self.time)
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.time + time;
        while self.time < end {
            let due = self.fake.next_due().map(|at| at.since(world::at(0).mono));
            let next = due.unwrap_or(end).max(self.time).min(self.next_tick).min(end);
            self.time = next;
            self.observe();
            if self.time >= self.next_tick {
                self.next_tick = self.time + TICK;
                self.give(Input::Tick);
            }
        }
    }

    pub fn secs(&mut self, secs: u64) {
        self.run(Duration::from_secs(secs));
    }

    fn observe(&mut self) {
        for observation in self.fake.poll(self.now()) {
            self.give(Input::Observed(observation));
        }
    }

    /// Hands the kubelet something the fake did not say.
    pub fn say(&mut self, observation: Observation) {
        self.give(Input::Observed(observation));
    }

    fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            if self.dead {
                return;
            }
            let now = self.now();
            for output in self.kubelet.handle(now, &self.view, input) {
                if self.take(output) {
                    inputs.push(Input::Changed);
                }
            }
        }
    }

    /// Does what the node would do; returns whether the view is another now.
    fn take(&mut self, output: Output) -> bool {
        match output {
            Output::Act(action) => {
                self.actions.push((self.time, action.clone()));
                self.fake.act(self.now(), action);
                false
            }
            Output::Note(note) => {
                self.notes.push((self.time, note));
                false
            }
            Output::NodeStatus(status) => {
                self.node.push(status);
                false
            }
            Output::Status { key, uid, status } => {
                let Some(mut object) = self.object(&key).filter(|_| self.view.by_uid(uid).is_some()) else {
                    return false;
                };
                self.statuses.push((key.name, status.clone()));
                object["status"] = status;
                world::show(&mut self.view, object);
                true
            }
            Output::Finished { key, uid } => {
                assert!(self.view.by_uid(uid).is_some(), "{key} is finished and not there");
                self.finished.push(key.name.clone());
                self.take_away(&key);
                true
            }
        }
    }

    fn object(&self, key: &Key) -> Option<Value> {
        self.view.get(key).map(|e| e.value())
    }

    fn take_away(&mut self, key: &Key) {
        let revision = self.view.revision().next();
        self.view.show(key, None, revision);
    }

    /// Shows an object.
    pub fn apply(&mut self, object: Value) {
        world::show(&mut self.view, object);
        self.give(Input::Changed);
    }

    /// Shows a pod of this node with `spec`.
    pub fn pod(&mut self, name: &str, mut spec: Value) {
        spec["nodeName"] = json!("n1");
        self.apply(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"namespace": "default", "name": name, "creationTimestamp": self.now().wall.to_string()},
            "spec": spec}));
    }

    /// Changes a pod.
    pub fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.object(&key(name)).expect("the pod is there");
        change(&mut object);
        self.apply(object);
    }

    /// Deletes a pod as a client does.
    pub fn delete(&mut self, name: &str, grace: u64) {
        let end = self.now().wall + Duration::from_secs(grace);
        self.edit(name, |pod| {
            pod["metadata"]["deletionTimestamp"] = json!(end.to_string());
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        });
    }

    /// Deletes a pod by force.
    pub fn force(&mut self, name: &str) {
        self.take_away(&key(name));
        self.give(Input::Changed);
    }

    pub fn status(&self, name: &str) -> Value {
        self.object(&key(name)).expect("the pod is there")["status"].clone()
    }

    /// The status of a pod's first container.
    pub fn container(&self, name: &str) -> Value {
        self.status(name)["containerStatuses"][0].clone()
    }

    pub fn condition(&self, name: &str, condition: &str) -> Value {
        let status = self.status(name);
        let all = status["conditions"].as_array().expect("conditions");
        all.iter().find(|c| c["type"] == condition).cloned().expect("the condition is there")
    }

    pub fn id(&self, name: &str) -> String {
        let id = self.container(name)["containerID"].clone();
        id.as_str().expect("a container").trim_start_matches("docker://").to_owned()
    }

    /// Reasons and messages of all notes on a pod.
    pub fn told(&self, name: &str) -> Vec<String> {
        let own = self.notes.iter().filter(|(_, n)| n.regarding.name == name);
        own.map(|(_, n)| format!("{}: {}", n.reason, n.message)).collect()
    }

    pub fn count(&self, name: &str, reason: &str) -> usize {
        self.notes.iter().filter(|(_, n)| n.regarding.name == name && n.reason == reason).count()
    }

    /// Actions that change something: all but probes.
    pub fn steps(&self) -> Vec<&Step> {
        self.actions.iter().map(|(_, a)| &a.step).filter(|s| !matches!(s, Step::Probe(_))).collect()
    }

    /// Kills the agent, and starts a new one `pause` later.
    pub fn crash(&mut self, pause: Duration) {
        self.die();
        self.run(pause);
        self.dead = false;
        self.kubelet = Kubelet::new(world::config());
        self.fake.restart_agent(self.now());
        self.forget();
        self.give(Input::Changed);
    }

    /// Kills the agent.
    pub fn die(&mut self) {
        if !self.dead {
            self.dead = true;
            self.fake.kill_agent(self.now());
        }
    }

    /// Puts the statuses of all pods on the disk.
    pub fn save(&mut self) {
        let pods = self.view.on_node("n1").map(|e| (e.key.clone(), e.value()["status"].clone()));
        self.saved = pods.collect();
    }

    /// Loses the statuses that were written since the last save, as a crash may.
    pub fn lose(&mut self) {
        let keys: Vec<Key> = self.view.on_node("n1").map(|e| e.key.clone()).collect();
        for key in keys {
            let Some(mut object) = self.object(&key) else { continue };
            object["status"] = self.saved.get(&key).cloned().unwrap_or_default();
            world::show(&mut self.view, object);
        }
    }

    /// Forgets what was done and told so far.
    pub fn forget(&mut self) {
        self.actions.clear();
        self.notes.clear();
        self.statuses.clear();
        self.node.clear();
    }

    /// When containers of a pod were started, in seconds from the first start.
    pub fn starts(&self) -> Vec<u64> {
        let starts = self.fake.starts();
        starts.iter().map(|s| s.at.since(starts[0].at).as_secs()).collect()
    }
}

pub fn key(name: &str) -> Key {
    Key::new(&kinds::POD, "default", name)
}

/// The spec of a pod with one container.
pub fn web() -> Value {
    json!({"containers": [{"name": "web", "image": "web:1"}]})
}
