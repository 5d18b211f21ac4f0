//! One run: a node that is killed, users who write, watchers who read; all drawn from a seed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use serde_json::{Value, json};
use skein::api::Api;
use skein::handle::{Answer, Door, door};
use skein::ids::RequestId;
use skein::node::{Effect, Input};
use skein::store::snapshot::HISTORY_PER_KIND;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::truth::{Broken, Truth};
use super::watcher::{Scope, Watcher, Way, get};
use crate::cluster::{NoLogs, admin, version};
use crate::harness::Machine;

/// How many things happen in a run.
const STEPS: u32 = 220;
/// How often everybody else may run before a turn is over: more than a request takes hops.
const HOPS: u32 = 24;

const SCOPES: [Scope; 6] = [
    Scope::All,
    Scope::All,
    Scope::Namespace("default"),
    Scope::Namespace("kube-public"),
    Scope::Label("x"),
    Scope::Name("c1"),
];

/// Bugs that the checker must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// One in fifty events does not arrive.
    LostEvents,
    /// One in fifty events arrives twice.
    RepeatedEvents,
    /// A watch from before a crash goes on from what is shown now.
    ForgivenVersions,
    /// The ceiling of versions does not reach the disk, and the clock stands still.
    ForgottenCeiling,
    /// A snapshot is published of which a write was left out until the next one.
    LatePublication,
}

/// What a user's request came to: the method, and code and document of the answer.
type Outcome = (Method, bool, u16, Value);

pub struct Run {
    random: StdRng,
    bug: Option<Bug>,
    machine: Machine,
    api: Arc<Api>,
    door: Door,
    waiting: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    next: RequestId,
    truth: Truth,
    watchers: Vec<Watcher>,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    /// What happened how often.
    pub counts: BTreeMap<&'static str, u64>,
}

impl Run {
    /// Starts a node and lets it make its namespaces.
    pub async fn new(seed: u64, bug: Option<Bug>) -> Result<Self, Broken> {
        let mut machine = Machine::new();
        machine.forgets_ceilings = bug == Some(Bug::ForgottenCeiling);
        machine.run(Duration::from_secs(1));
        machine.take_told();
        let (handle, door) = door(machine.view());
        let mut run = Self {
            random: StdRng::seed_from_u64(seed),
            bug,
            api: Arc::new(Api::new(handle, Arc::new(NoLogs), CancellationToken::new())),
            door,
            waiting: BTreeMap::new(),
            next: RequestId::default(),
            truth: Truth::default(),
            watchers: SCOPES.map(Watcher::new).into(),
            outcomes: Arc::default(),
            counts: BTreeMap::new(),
            machine,
        };
        run.truth.restarted(&run.machine.view())?;
        Ok(run)
    }

    /// Runs it; `burst`: more happens at once than a watch may be behind.
    pub async fn run(&mut self, burst: bool) -> Result<(), Broken> {
        for step in 0..STEPS {
            match self.random.random_range(0..100) {
                0..42 => self.write(),
                42..70 => {
                    let most = if self.random.random_bool(0.1) { 400_000 } else { 5_000 };
                    self.machine.run(Duration::from_micros(self.random.random_range(0..most)));
                }
                70..92 => self.wake_a_watcher().await?,
                92..98 => self.read().await?,
                _ => self.crash()?,
            }
            if burst && step == STEPS / 2 {
                self.burst().await?;
            }
            self.turn().await?;
            self.read_watchers().await?;
        }
        // All that is under way ends, all who sleep wake up, and everybody agrees.
        for watcher in &mut self.watchers {
            watcher.asleep = 0;
        }
        for _ in 0..3 {
            self.machine.run(Duration::from_millis(50));
            self.turn().await?;
        }
        self.read_watchers().await
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Lets everybody run until they wait for the disk or the clock.
    async fn turn(&mut self) -> Result<(), Broken> {
        for _ in 0..HOPS {
            tokio::task::yield_now().await;
            while let Ok((request, answer)) = self.door.requests.try_recv() {
                self.next = self.next.next();
                self.waiting.insert(self.next, answer);
                self.machine.give(Input::Request { id: self.next, request });
            }
            self.execute()?;
        }
        self.hear()
    }

    fn execute(&mut self) -> Result<(), Broken> {
        for (_, effect) in self.machine.take_told() {
            match effect {
                Effect::Publish(view) => {
                    self.truth.published(&view)?;
                    if self.bug != Some(Bug::LatePublication) || self.random.random_bool(0.95) {
                        self.door.snapshot.send_replace(view);
                    }
                }
                Effect::Answer { id, result } => drop(self.waiting.remove(&id).map(|answer| answer.send(result))),
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the answers of writes.
    fn hear(&mut self) -> Result<(), Broken> {
        let outcomes = std::mem::take(&mut *self.outcomes.lock().expect("nobody panics with it"));
        for (method, foreign, code, answer) in outcomes {
            match code {
                200 | 201 if foreign => return Err(format!("another node's version is taken for ours: {answer}")),
                200 | 201 => self.count("writes"),
                404 | 409 => self.count("refused writes"),
                _ => return Err(format!("{method} answers {code}: {answer}")),
            }
            if code < 300 && method != Method::DELETE {
                self.truth.told(&answer)?;
                self.truth.acknowledged.insert(version(&answer), answer);
            }
        }
        Ok(())
    }

    /// A user writes, and does not wait for the answer.
    fn write(&mut self) {
        let namespace = if self.random.random_bool(0.7) { "default" } else { "kube-public" };
        let (which, n) = (self.random.random_range(0..4), self.random.random_range(0..1_000));
        let app = ["x", "x", "y"][self.random.random_range(0..3)];
        let all = format!("/api/v1/namespaces/{namespace}/configmaps");
        let one = format!("{all}/c{which}");
        let mut body = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"n": n.to_string()},
            "metadata": {"name": format!("c{which}"), "labels": {"app": app}}});
        let known = self.truth.now().get(&format!("{namespace}/c{which}")).map(version);
        let mut foreign = false;
        let (method, path) = match (self.random.random_range(0..10), known) {
            (0..=2, Some(_)) => (Method::PATCH, one),
            (3..=5, Some(known)) => {
                foreign = self.random.random_bool(0.2);
                body["metadata"]["resourceVersion"] = (known ^ u64::from(foreign) << 3).to_string().into();
                (Method::PUT, one)
            }
            (6..=8, Some(_)) => {
                body = Value::Null;
                (Method::DELETE, one)
            }
            _ => (Method::POST, all),
        };
        self.send(method, &path, &body, foreign);
    }

    fn send(&self, method: Method, path: &str, body: &Value, foreign: bool) {
        let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method.clone()).uri(path).header("content-type", media);
        let request = request.body(body).expect("a request");
        let (api, outcomes) = (Arc::clone(&self.api), Arc::clone(&self.outcomes));
        tokio::spawn(async move {
            let response = api.answer(request, Some(&admin())).await;
            let code = response.status().as_u16();
            let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
            let answer = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            // What dies with the process is not answered.
            if code != 503 {
                outcomes.lock().expect("nobody panics with it").push((method, foreign, code, answer));
            }
        });
    }

    /// A user reads one object.
    async fn read(&mut self) -> Result<(), Broken> {
        let which = self.random.random_range(0..4);
        let object = get(&self.api, &format!("/api/v1/namespaces/default/configmaps/c{which}")).await?;
        if object["kind"] == "ConfigMap" { self.truth.told(&object) } else { Ok(()) }
    }

    async fn wake_a_watcher(&mut self) -> Result<(), Broken> {
        let which = self.random.random_range(0..self.watchers.len());
        let (choice, limit) = (self.random.random_range(0..10), self.random.random_range(0..4));
        if self.watchers[which].is_watching() {
            match choice {
                0..4 => {
                    self.count("watches broken off");
                    self.watchers[which].hang_up();
                }
                4..7 => self.watchers[which].asleep = self.random.random_range(1..30),
                _ => {}
            }
            return Ok(());
        }
        if self.watchers[which].unlisted && choice < 3 {
            self.count("watched lists");
            return self.watchers[which].watch_list(&self.api).await;
        }
        if self.watchers[which].unlisted {
            self.count("lists");
            return self.watchers[which].list(&self.api, &mut self.truth, limit).await;
        }
        let mut from = self.watchers[which].at();
        if choice == 0 {
            // Moved here from another node.
            self.count("versions of another node");
            from ^= 8;
        } else if self.truth.is_of_this_process(from) {
            self.count("watches");
        } else {
            self.count("versions from before a crash");
            if self.bug == Some(Bug::ForgivenVersions) {
                from = self.truth.newest;
            }
        }
        self.watchers[which].watch(&self.api, &self.truth, from).await
    }

    async fn read_watchers(&mut self) -> Result<(), Broken> {
        for at in 0..self.watchers.len() {
            if self.watchers[at].asleep > 0 {
                self.watchers[at].asleep -= 1;
                continue;
            }
            let (random, bug) = (&mut self.random, self.bug);
            let lines = self.watchers[at].read(&mut self.truth, || match bug {
                Some(Bug::LostEvents) if random.random_ratio(1, 50) => Way::Lost,
                Some(Bug::RepeatedEvents) if random.random_ratio(1, 50) => Way::Twice,
                _ => Way::Whole,
            });
            *self.counts.entry("lines").or_default() += lines.await?;
        }
        Ok(())
    }

    /// More happens than the history of a kind holds.
    async fn burst(&mut self) -> Result<(), Broken> {
        let path = "/api/v1/namespaces/default/configmaps";
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "burst"}});
        self.send(Method::POST, path, &body, false);
        self.machine.run(Duration::from_millis(5));
        for round in 0..=HISTORY_PER_KIND {
            let body = json!({"data": {"round": round.to_string()}});
            self.send(Method::PATCH, &format!("{path}/burst"), &body, false);
            if round % 16 == 0 {
                self.turn().await?;
                self.machine.run(Duration::from_millis(5));
            }
        }
        for _ in 0..200 {
            self.machine.run(Duration::from_millis(5));
            self.turn().await?;
        }
        self.count("bursts");
        for watcher in &mut self.watchers {
            watcher.overrun();
        }
        Ok(())
    }

    /// Kills the agent; what was not synced is lost. It starts again.
    fn crash(&mut self) -> Result<(), Broken> {
        self.count("crashes");
        let times = if self.random.random_bool(0.2) { 2 } else { 1 };
        for _ in 0..times {
            self.machine.crash(self.random.next_u32() as usize % 40);
            self.machine.start();
            self.machine.take_told();
        }
        self.waiting.clear();
        // Answers that were sent and not heard were heard all the same.
        self.hear()?;
        for watcher in &mut self.watchers {
            watcher.hang_up();
        }
        let (handle, door) = door(self.machine.view());
        self.api = Arc::new(Api::new(handle, Arc::new(NoLogs), CancellationToken::new()));
        self.door = door;
        self.truth.restarted(&self.machine.view())
    }
}
