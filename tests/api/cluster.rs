//! The node's loop behind its door, and clients of the API in front of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use skein::api::Api;
use skein::handle::{Answer, Door, LogOptions, LogStream, Logs, Meters, Session, Sessions, Talk, door};
use skein::ids::RequestId;
use skein::node::{Effect, Input};
use skein::runtime::fake::Image;
use skein::trust::{ADMINS, User};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::Machine;

/// How much virtual time passes in a millisecond.
const PACE: Duration = Duration::from_millis(50);
/// How long a test waits for something to become so.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster of one node and its API.
pub struct Cluster {
    /// The API of the agent that runs now.
    pub api: Arc<Api>,
    machine: Arc<Mutex<Machine>>,
    driver: JoinHandle<()>,
}

/// Containers that say nothing.
pub struct NoLogs;

impl Logs for NoLogs {
    fn open(&self, _: &str, container: &str, _: LogOptions) -> BoxFuture<'static, Result<LogStream, String>> {
        futures_util::future::ready(Err(format!("{container} says nothing"))).boxed()
    }
}

impl Meters for NoLogs {}

impl Sessions for NoLogs {
    fn begin(&self, _: &str, _: Session) -> BoxFuture<'static, Result<Talk, String>> {
        Box::pin(async { Err("no sessions here".to_owned()) })
    }
}

impl Cluster {
    /// Starts a cluster that has the image `app:1` and waits until its namespaces are there and its node is ready.
    pub async fn new() -> Self {
        let mut machine = Machine::new();
        machine.docker.set_image("app:1", Image::default());
        let machine = Arc::new(Mutex::new(machine));
        let (api, driver) = serve(&machine);
        let cluster = Self { api, machine, driver };
        cluster.until("/api/v1/nodes/n1", |node| condition(node, "Ready") == "True").await;
        cluster
    }

    /// Looks at the host itself. Time stands still meanwhile.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().expect("nobody panics with it")
    }

    /// Kills the agent, loses all that was not synced but `torn` bytes of it, and starts it anew.
    pub async fn crash(&mut self, torn: usize) {
        self.driver.abort();
        // It holds requests that must die unanswered.
        (&mut self.driver).await.ok();
        self.machine().crash(torn);
        self.machine().start();
        (self.api, self.driver) = serve(&self.machine);
    }

    /// Sends a request as administrator.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.api.answer(request, Some(&admin())).await
    }

    /// Sends a body of some media type; returns code and document.
    pub async fn send(&self, method: Method, path: &str, media: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header("content-type", media);
        let response = self.answer(request.body(body).expect("a request")).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
        (code, serde_json::from_slice(&bytes).expect("a JSON document"))
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::GET, path, "", &Value::Null).await
    }

    /// Creates.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::POST, path, "application/json", body).await
    }

    /// Replaces.
    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::PUT, path, "application/json", body).await
    }

    /// Patches; `form` is `merge`, `json` or `strategic-merge`.
    pub async fn patch(&self, form: &str, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::PATCH, path, &format!("application/{form}-patch+json"), body).await
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.send(Method::DELETE, path, "application/json", &Value::Null).await
    }

    /// Creates what must be accepted, and returns it.
    pub async fn create(&self, path: &str, body: &Value) -> Value {
        let (code, made) = self.post(path, body).await;
        assert_eq!(code, 201, "{path}: {made}");
        made
    }

    /// Reads again and again until it is so, and returns what was read.
    pub async fn until(&self, path: &str, so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let found = async {
            loop {
                last = self.get(path).await.1;
                if so(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        assert!(found.is_ok(), "{path} never became so: {last}");
        last
    }

    /// Waits until there is nothing at a path.
    pub async fn until_gone(&self, path: &str) {
        self.until(path, |answer| answer["code"] == 404).await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Who may do everything.
pub fn admin() -> User {
    User { name: "admin".into(), groups: vec![ADMINS.into()], ..User::default() }
}

/// Returns the status of a condition.
pub fn condition<'a>(object: &'a Value, name: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|c| c["type"] == name);
    found.and_then(|c| c["status"].as_str()).unwrap_or_default()
}

/// Returns the revision that an object is at.
pub fn version(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().expect("a version");
    text.parse().expect("a number")
}

/// A Deployment of the image `app:1`.
pub fn deployment(name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec()},
        },
    })
}

/// What a pod of the image `app:1` asks for.
pub fn pod_spec() -> Value {
    json!({"containers": [{"name": "main", "image": "app:1", "imagePullPolicy": "IfNotPresent"}]})
}

fn serve(machine: &Arc<Mutex<Machine>>) -> (Arc<Api>, JoinHandle<()>) {
    let view = machine.lock().expect("nobody panics with it").view();
    let (handle, door) = door(view);
    let api = Arc::new(Api::new(handle, Arc::new(NoLogs), CancellationToken::new()));
    (api, tokio::spawn(drive(door, Arc::clone(machine))))
}

/// Does what the agent's driver does.
async fn drive(mut door: Door, machine: Arc<Mutex<Machine>>) {
    let mut waiting: BTreeMap<RequestId, oneshot::Sender<Answer>> = BTreeMap::new();
    let mut next = RequestId::default();
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let letter = tokio::select! {
            letter = door.requests.recv() => letter,
            _ = tick.tick() => None,
        };
        let mut machine = machine.lock().expect("nobody panics with it");
        match letter {
            Some((request, answer)) => {
                next = next.next();
                waiting.insert(next, answer);
                machine.give(Input::Request { id: next, request });
            }
            None => machine.run(PACE),
        }
        for (_, effect) in machine.take_told() {
            match effect {
                Effect::Publish(snapshot) => drop(door.snapshot.send_replace(snapshot)),
                Effect::Route(routes) => drop(door.routes.send_replace(routes)),
                Effect::Answer { id, result } => drop(waiting.remove(&id).map(|answer| answer.send(result))),
                Effect::Persist { .. } | Effect::Save { .. } | Effect::Act(_) => {
                    unreachable!("the machine keeps those")
                }
                Effect::Send { .. }
                | Effect::Deadlines(_)
                | Effect::Displaced { .. }
                | Effect::Partitions(_)
                | Effect::Peers(_)
                | Effect::Admit { .. }
                | Effect::Recovered { .. } => {}
            }
        }
    }
}
