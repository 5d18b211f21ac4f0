//! A host, a user who commands, and the record of what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use skein::ids::{RequestId, Revision};
use skein::kubelet::action::ContainerState;
use skein::node::{Effect, Input, Request};
use skein::object::kinds::{self, KINDS};
use skein::object::patch::PatchType;
use skein::object::write::{self, FieldValidation, Part};
use skein::object::{Key, Kind};
use skein::runtime::fake::{Image, Life};
use skein::store::{Change, DeleteOptions, Precondition, Propagation, Snapshot};

use crate::harness::Machine;
use crate::names::Names;
use crate::show;

/// How long the agent has to be up and its namespaces and node to be there before a story begins.
const PROLOGUE: Duration = Duration::from_secs(5);

/// How long a command's consequences are told with it: until those that have a hash in their name have a short one.
const AFTERMATH: Duration = Duration::from_millis(10);

/// A story as far as it has been told.
pub struct Story {
    machine: Machine,
    names: Names,
    /// What was last said of each object.
    said: BTreeMap<Key, String>,
    /// Up to where the agent's changes have been recorded.
    seen: Revision,
    next: RequestId,
    record: Vec<String>,
}

impl Story {
    /// Begins with a node that is ready and has the image `app:1`.
    pub fn begin() -> Self {
        let mut machine = Machine::new();
        machine.docker.set_image("app:1", Image::default());
        machine.run(PROLOGUE);
        let mut story = Self {
            machine,
            names: Names::default(),
            said: BTreeMap::new(),
            seen: Revision(0),
            next: RequestId::default(),
            record: Vec::new(),
        };
        story.hear();
        story.record.clear();
        story
    }

    /// Obeys a command and returns what came of it.
    ///
    /// ```text
    /// create MANIFEST                  makes an object
    /// patch KIND NAMESPACE NAME PATCH  strategic merge; NAMESPACE is `-` for what is in none
    /// delete KIND NAMESPACE NAME [grace=SECONDS] [orphan|foreground]
    /// wait TIME                        lets time pass: 500ms, 10s, 5m
    /// show KIND [NAMESPACE]            what is there
    /// crash                            kills the agent; what was not synced is lost
    /// start                            starts it again
    /// docker: image NAME [exits AFTER CODE | stubborn | missing | absent | PULL ERROR...]
    /// docker: sick NAME, docker: well NAME     probes of the image's containers fail, or succeed again
    /// docker: kill POD                 the pod's container, with signal 9
    /// docker: down [live-restore], docker: up
    /// docker: ps                       what runs
    /// ```
    pub fn tell(&mut self, command: &str, body: &str) -> Vec<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["create"] => self.create(body),
            ["patch", kind, namespace, name] => self.patch(&self.key(kind, namespace, name), body),
            ["delete", kind, namespace, name, how @ ..] => self.delete(&self.key(kind, namespace, name), how),
            ["wait", time] => self.wait(duration(time)),
            ["show", kind] => self.show(kind_of(kind), None),
            ["show", kind, namespace] => self.show(kind_of(kind), Some(namespace)),
            ["crash"] => self.machine.crash(0),
            ["start"] => self.start(),
            ["docker:", rest @ ..] => self.docker(rest),
            _ => panic!("no such command: {command}"),
        }
        std::mem::take(&mut self.record).into_iter().map(|line| self.names.short(&line)).collect()
    }

    fn key(&self, kind: &str, namespace: &str, name: &str) -> Key {
        let namespace = if namespace == "-" { "" } else { namespace };
        Key::new(kind_of(kind), namespace, self.names.real(name))
    }

    // -- the user ---------------------------------------------------------------------------------------------

    fn create(&mut self, body: &str) {
        let object: Value = serde_yaml_ng::from_str(body).unwrap_or_else(|error| panic!("{error}\n{body}"));
        let named = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let kind = kinds::by_api_version(&named("apiVersion"), &named("kind")).expect("a kind that is served");
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        let namespace = if kind.namespaced { namespace.to_owned() } else { String::new() };
        match write::create_value(kind, &namespace, object) {
            Ok(written) => {
                let name = written.object["metadata"]["name"].as_str().expect("a name");
                self.ask(Change::Create { key: Key::new(kind, namespace, name), object: written.object });
            }
            Err(error) => self.record.push(format!("refused: {error:?}")),
        }
    }

    fn patch(&mut self, key: &Key, body: &str) {
        let view = self.machine.view();
        let Some(entry) = view.get(key) else { return self.record.push(format!("{key} not found")) };
        let patch: Value = serde_yaml_ng::from_str(body).unwrap_or_else(|error| panic!("{error}\n{body}"));
        let (patch, form) = (patch.to_string(), PatchType::Strategic);
        let strict = FieldValidation::Strict;
        match write::patch(key.kind, &entry.value(), patch.as_bytes(), form, Part::Spec, strict) {
            Ok(written) => {
                let when = Precondition::unchanged(entry);
                self.ask(Change::Update { key: key.clone(), object: written.object, when });
            }
            Err(error) => self.record.push(format!("refused: {error:?}")),
        }
    }

    fn delete(&mut self, key: &Key, how: &[&str]) {
        let mut options = DeleteOptions::default();
        for word in how {
            match (*word, word.strip_prefix("grace=")) {
                (_, Some(seconds)) => options.grace_seconds = seconds.parse().ok(),
                ("orphan", _) => options.propagation = Some(Propagation::Orphan),
                ("foreground", _) => options.propagation = Some(Propagation::Foreground),
                (other, _) => panic!("no such way to delete: {other}"),
            }
        }
        self.ask(Change::Delete { key: key.clone(), options });
    }

    /// Asks the agent, and goes on until a little after it has answered.
    fn ask(&mut self, change: Change) {
        self.next = self.next.next();
        let answers = self.record.len();
        self.machine.give(Input::Request { id: self.next, request: Request { change, dry_run: false, user: None } });
        let limit = self.machine.clock().mono.0 + Duration::from_secs(1);
        self.hear();
        while !self.record[answers..].iter().any(|line| line.starts_with("answer: ")) {
            if !self.machine.step(limit) {
                return self.record.push("answer: none".into());
            }
            self.hear();
        }
        self.wait(AFTERMATH);
    }

    fn wait(&mut self, time: Duration) {
        let limit = self.machine.clock().mono.0 + time;
        while self.machine.step(limit) {
            self.hear();
        }
    }

    fn show(&mut self, kind: &'static Kind, namespace: Option<&str>) {
        let view = self.machine.view();
        let shown = |entry| if *kind == kinds::EVENT { Some(show::event(entry)) } else { show::line(entry) };
        let mut lines: Vec<_> = view.list(kind, namespace).filter_map(|entry| shown(entry)).collect();
        lines = lines.into_iter().map(|line| self.names.short(&line)).collect();
        lines.sort();
        self.record.extend(lines);
    }

    // -- the host ---------------------------------------------------------------------------------------------

    fn start(&mut self) {
        self.machine.start();
        // The new agent's history begins with what the disk held; that was told before.
        self.seen = Revision(0);
        self.hear();
    }

    fn docker(&mut self, words: &[&str]) {
        let now = self.machine.clock();
        let docker = &mut self.machine.docker;
        match words {
            ["image", name, how @ ..] => docker.set_image(*name, image(how)),
            ["sick", name] => docker.set_healthy(name, false),
            ["well", name] => docker.set_healthy(name, true),
            ["kill", pod] => {
                let id = running(&self.machine, &self.names.real(pod)).unwrap_or_else(|| panic!("{pod} does not run"));
                self.machine.docker.kill(now, &id);
            }
            ["down"] => docker.stop_daemon(now, false),
            ["down", "live-restore"] => docker.stop_daemon(now, true),
            ["up"] => docker.start_daemon(now),
            ["ps"] => self.ps(),
            _ => panic!("no such thing to do to Docker: {words:?}"),
        }
    }

    fn ps(&mut self) {
        for pod in self.machine.docker.listed() {
            for container in &pod.containers {
                let state = match &container.state {
                    ContainerState::Running { started } => {
                        format!("runs since {:.3}", self.since_the_start(started.0))
                    }
                    ContainerState::Exited(exit) => format!("exited {}", exit.code),
                    other => format!("{other:?}"),
                };
                let (pod, image) = (&pod.pod, &container.image);
                self.record
                    .push(format!("{}/{} {image} attempt {}: {state}", pod.name, container.name, container.attempt));
            }
        }
        self.record.sort_by_key(|line| self.names.short(line));
    }

    /// Turns a wall time into seconds of the story.
    #[allow(clippy::cast_precision_loss, reason = "a story is short")]
    fn since_the_start(&self, wall: i64) -> f64 {
        let now = self.machine.clock();
        now.mono.0.as_secs_f64() - (now.wall.0 - wall) as f64 / 1e6
    }

    // -- the record -------------------------------------------------------------------------------------------

    /// Writes down what the agent told the world.
    fn hear(&mut self) {
        for (at, effect) in self.machine.take_told() {
            match effect {
                Effect::Publish(view) => self.changes(at, &view),
                Effect::Answer { result: Ok(_), .. } => self.record.push("answer: done".into()),
                Effect::Answer { result: Err(rejected), .. } => self.record.push(format!("answer: {rejected}")),
                _ => {}
            }
        }
    }

    fn changes(&mut self, at: Duration, view: &Snapshot) {
        let mut events = Vec::new();
        for kind in KINDS {
            match view.events_since(kind, self.seen) {
                Ok(fresh) => events.extend(fresh.cloned()),
                // A new agent: its history is the present.
                Err(_) => return self.compare(at, view),
            }
        }
        events.sort_by_key(|event| event.revision);
        self.seen = view.revision();
        for event in events {
            match &event.new {
                Some(entry) if *entry.key.kind == kinds::EVENT => self.say(at, &show::event(entry)),
                Some(entry) => {
                    self.names.notice(entry);
                    let Some(line) = show::line(entry) else { continue };
                    if self.said.insert(entry.key.clone(), line.clone()).as_ref() != Some(&line) {
                        self.say(at, &line);
                    }
                }
                None => {
                    if self.said.remove(event.key()).is_some()
                        && let Some(old) = &event.old
                    {
                        self.say(at, &format!("{}: gone", show::title(old)));
                    }
                }
            }
        }
    }

    /// Records how the cluster differs from what was last said of it.
    fn compare(&mut self, at: Duration, view: &Snapshot) {
        self.seen = view.revision();
        let mut before = std::mem::take(&mut self.said);
        for entry in view.all() {
            self.names.notice(entry);
            let Some(line) = show::line(entry) else { continue };
            if before.remove(&entry.key).as_ref() != Some(&line) {
                self.say(at, &line);
            }
            self.said.insert(entry.key.clone(), line);
        }
        for key in before.keys() {
            self.say(at, &format!("{key}: gone"));
        }
    }

    fn say(&mut self, at: Duration, line: &str) {
        self.record.push(format!("{:8.3} {line}", at.as_secs_f64()));
    }
}

fn running(machine: &Machine, pod: &str) -> Option<String> {
    let listed = machine.docker.listed();
    let found = listed.iter().find(|p| p.pod.name == pod)?;
    let runs = |state: &ContainerState| matches!(state, ContainerState::Running { .. });
    found.containers.iter().find(|c| runs(&c.state)).map(|c| c.id.clone())
}

fn image(how: &[&str]) -> Image {
    match how {
        [] => Image::default(),
        ["exits", after, code] => {
            let code = code.parse().expect("an exit code");
            let life = Life::Exit { after: duration(after), code, message: String::new() };
            Image { life, ..Image::default() }
        }
        ["stubborn"] => Image { life: Life::Stubborn, ..Image::default() },
        ["missing"] => Image { life: Life::Missing, ..Image::default() },
        ["absent"] => Image { local: false, ..Image::default() },
        error => Image { local: false, pull_error: Some(error.join(" ")), ..Image::default() },
    }
}

fn kind_of(plural: &str) -> &'static Kind {
    KINDS.iter().find(|kind| kind.plural == plural).unwrap_or_else(|| panic!("no such kind: {plural}"))
}

fn duration(text: &str) -> Duration {
    let split = text.find(|c: char| !c.is_ascii_digit()).expect("a unit");
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().expect("a number");
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        _ => panic!("no such unit of time: {unit}"),
    }
}
