//! A client that lists once and then watches, and knows what it must see.

use std::collections::BTreeSet;

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use futures_util::{FutureExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use serde_json::Value;
use skein::api::Api;

use super::truth::{Broken, Objects, Truth, name};
use crate::cluster::{admin, version};

/// Which ConfigMaps it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespace(&'static str),
    Label(&'static str),
    Name(&'static str),
}

impl Scope {
    fn path(self) -> String {
        match self {
            Self::All => "/api/v1/configmaps?".into(),
            Self::Namespace(namespace) => format!("/api/v1/namespaces/{namespace}/configmaps?"),
            Self::Label(app) => format!("/api/v1/configmaps?labelSelector=app%3D{app}&"),
            Self::Name(name) => format!("/api/v1/configmaps?fieldSelector=metadata.name%3D{name}&"),
        }
    }

    fn has(self, object: &Value) -> bool {
        let meta = &object["metadata"];
        match self {
            Self::All => true,
            Self::Namespace(namespace) => meta["namespace"] == namespace,
            Self::Label(app) => meta["labels"]["app"] == app,
            Self::Name(name) => meta["name"] == name,
        }
    }

    fn of(self, objects: &Objects) -> Objects {
        objects.iter().filter(|(_, o)| self.has(o)).map(|(n, o)| (n.clone(), o.clone())).collect()
    }
}

/// What becomes of a line on its way from the server to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Whole,
    Lost,
    Twice,
}

/// What a watcher knows.
pub struct Watcher {
    scope: Scope,
    /// What there is, as far as it was told.
    held: Objects,
    /// The version from which it would go on.
    at: u64,
    /// The version of its list.
    base: u64,
    /// Versions that it was told since.
    seen: BTreeSet<u64>,
    /// Whether it must list before it can watch.
    pub unlisted: bool,
    session: Option<Session>,
    /// For how many turns it does not read.
    pub asleep: u32,
}

struct Session {
    stream: BodyDataStream,
    rest: Vec<u8>,
    /// It began at a version that this process has not given.
    must_expire: bool,
    /// So much happened that the server may have forgotten where it is.
    may_expire: bool,
    /// The objects that are there come first, in no order of versions.
    initial: bool,
}

impl Session {
    fn new(stream: BodyDataStream) -> Self {
        Self { stream, rest: Vec::new(), must_expire: false, may_expire: false, initial: false }
    }
}

impl Watcher {
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            held: Objects::new(),
            at: 0,
            base: 0,
            seen: BTreeSet::new(),
            unlisted: true,
            session: None,
            asleep: 0,
        }
    }

    pub fn is_watching(&self) -> bool {
        self.session.is_some()
    }

    /// Ends the watch from the client's side, or with the server.
    pub fn hang_up(&mut self) {
        // Half a list is none.
        self.unlisted |= self.session.take().is_some_and(|session| session.initial);
    }

    /// More has happened than the server remembers.
    pub fn overrun(&mut self) {
        if let Some(session) = &mut self.session {
            session.may_expire = true;
        }
    }

    /// Lists; the list must be what was shown at its version.
    pub async fn list(&mut self, api: &Api, truth: &mut Truth, limit: usize) -> Result<(), Broken> {
        let (mut held, mut at, mut token) = (Objects::new(), None, String::new());
        loop {
            let list = get(api, &format!("{}limit={limit}&continue={token}", self.scope.path())).await?;
            if at.is_some_and(|at| at != version(&list)) {
                return Err(format!("chunks of one list have two versions: {list}"));
            }
            at = Some(version(&list));
            for mut item in list["items"].as_array().cloned().unwrap_or_default() {
                item["apiVersion"] = "v1".into();
                item["kind"] = "ConfigMap".into();
                truth.told(&item)?;
                held.insert(name(&item), item);
            }
            token = list["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                break;
            }
        }
        (self.at, self.base) = (at.unwrap_or_default(), at.unwrap_or_default());
        self.held = held;
        self.seen.clear();
        self.unlisted = false;
        self.must_be(truth, "a list")
    }

    /// Begins to watch from a version.
    pub async fn watch(&mut self, api: &Api, truth: &Truth, from: u64) -> Result<(), Broken> {
        let path = format!("{}watch=true&allowWatchBookmarks=true&resourceVersion={from}", self.scope.path());
        let must_expire = !truth.is_of_this_process(from) || from & 0xffff != truth.newest & 0xffff;
        let session = Session { must_expire, ..Session::new(open(api, &path).await?) };
        self.session = Some(session);
        Ok(())
    }

    /// Begins to watch with all that is there, instead of a list.
    pub async fn watch_list(&mut self, api: &Api) -> Result<(), Broken> {
        let initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        let path = format!("{}watch=true&allowWatchBookmarks=true&{initial}", self.scope.path());
        self.held.clear();
        self.seen.clear();
        self.session = Some(Session { initial: true, ..Session::new(open(api, &path).await?) });
        Ok(())
    }

    /// Returns where it would go on.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Reads all that is there to be read, and compares when there is no more. Returns how many lines there were.
    pub async fn read(&mut self, truth: &mut Truth, mut way: impl FnMut() -> Way) -> Result<u64, Broken> {
        let mut count = 0;
        while let Some(session) = &mut self.session {
            if let Some(end) = session.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = session.rest.drain(..=end).collect();
                let line: Value = serde_json::from_slice(&line).map_err(|e| format!("a line is no JSON: {e}"))?;
                count += 1;
                let is_event = line["type"] != "ERROR" && line["type"] != "BOOKMARK";
                match if is_event { way() } else { Way::Whole } {
                    Way::Lost => continue,
                    Way::Twice => self.take(truth, &line)?,
                    Way::Whole => {}
                }
                self.take(truth, &line)?;
                continue;
            }
            // What is ready is ready: the turn has let everybody run.
            match tokio::task::unconstrained(session.stream.next()).now_or_never() {
                Some(Some(piece)) => session.rest.extend_from_slice(&piece.map_err(|e| e.to_string())?),
                Some(None) if session.must_expire => return Err("an unknown version ends in silence".into()),
                Some(None) => self.hang_up(),
                None => {
                    self.caught_up(truth)?;
                    break;
                }
            }
        }
        Ok(count)
    }

    /// Nothing more comes: it must know all that is shown.
    fn caught_up(&mut self, truth: &Truth) -> Result<(), Broken> {
        let Some(session) = &self.session else { return Ok(()) };
        if session.must_expire {
            return Err(format!("the unknown version {} is accepted", self.at));
        }
        if session.initial {
            return Err("the end of what was there is not told".into());
        }
        let missed = |(version, object): &(&u64, &Value)| self.scope.has(object) && !self.seen.contains(version);
        if let Some((_, object)) = truth.acknowledged.range(self.base + 1..).find(missed) {
            return Err(format!("an acknowledged write is missed by {:?}: {object}", self.scope));
        }
        if self.held != self.scope.of(truth.now()) {
            let (held, now) = (&self.held, self.scope.of(truth.now()));
            return Err(format!("something is missed by {:?}: it has {held:?}, there is {now:?}", self.scope));
        }
        Ok(())
    }

    fn must_be(&self, truth: &Truth, what: &str) -> Result<(), Broken> {
        match truth.at(self.at) {
            Some(shown) if self.scope.of(shown) == self.held => Ok(()),
            Some(shown) => {
                let (held, shown) = (&self.held, self.scope.of(shown));
                Err(format!("{what} of {:?} is not what was shown: {held:?}, not {shown:?}", self.scope))
            }
            None => Err(format!("{what} has the version {}, at which nothing was shown", self.at)),
        }
    }

    fn take(&mut self, truth: &mut Truth, line: &Value) -> Result<(), Broken> {
        let Some(session) = &mut self.session else { return Ok(()) };
        let object = &line["object"];
        if line["type"] == "ERROR" {
            let expired = object["code"] == 410 && (session.must_expire || session.may_expire);
            (self.session, self.unlisted) = (None, true);
            return if expired { Ok(()) } else { Err(format!("a watch ends without a reason: {line}")) };
        }
        if session.must_expire {
            return Err(format!("the unknown version {} is accepted: {line}", self.at));
        }
        let (now, key) = (version(object), name(object));
        if line["type"] == "BOOKMARK" {
            if !object["metadata"]["annotations"]["k8s.io/initial-events-end"].is_null() {
                (session.initial, self.base, self.unlisted) = (false, now, false);
            }
            self.at = now;
            return self.must_be(truth, "a bookmark");
        }
        if !session.initial {
            if now <= self.at {
                return Err(format!("something is repeated after {}: {line}", self.at));
            }
            (self.at, _) = (now, self.seen.insert(now));
        }
        let held = self.held.get(&key).map(|held| &held["metadata"]["uid"]);
        let same = held.is_some_and(|uid| *uid == object["metadata"]["uid"]);
        match line["type"].as_str().unwrap_or_default() {
            "ADDED" if held.is_none() => {}
            "MODIFIED" if same => {}
            "DELETED" if same => {
                self.held.remove(&key);
                return Ok(());
            }
            _ => return Err(format!("something is missed or repeated before {line}, {held:?} was held")),
        }
        truth.is_version(object)?;
        self.held.insert(key, object.clone());
        Ok(())
    }
}

/// Reads a document.
pub async fn get(api: &Api, path: &str) -> Result<Value, Broken> {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = api.answer(request, Some(&admin())).await;
    let code = response.status();
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    let value = serde_json::from_slice(&bytes).map_err(|e| format!("{path} answers no JSON: {e}"))?;
    if code == 200 || code == 404 { Ok(value) } else { Err(format!("{path} answers {value}")) }
}

async fn open(api: &Api, path: &str) -> Result<BodyDataStream, Broken> {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let response = api.answer(request, Some(&admin())).await;
    if response.status() == 200 {
        Ok(response.into_body().into_data_stream())
    } else {
        Err(format!("{path}: no watch"))
    }
}
