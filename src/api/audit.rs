//! The audit log: who asked for what, when, and what came of it; one line of JSON a request, as `audit.k8s.io/v1` has it
//! at the level `Metadata`.
//!
//! A thread of its own writes. It gathers lines and writes them every few seconds and never waits for the disk, so a crash
//! may lose the last ones; two files of a bounded size are kept. A disk that takes no writes stops the log, not the API.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

use crate::ids::Uid;
use crate::time::Wall;
use crate::trust::User;

use super::authorize::Asked;

/// The file in the data folder; the one before it has `.1` behind its name.
pub const FILE: &str = "audit.log";

/// How many lines may wait for the writer; what is more is lost, and counted.
const WAITING: usize = 4_096;
/// How many bytes are gathered before they are written.
const GATHERED: usize = 64 * 1024;
/// How long a line may wait to be written.
const PAUSE: Duration = Duration::from_secs(5);
/// The most bytes of a header or path that are told.
const MAX_TEXT: usize = 1_024;

/// What is known of a request as it goes on.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// What it asks for.
    pub asked: Option<Asked>,
    /// Who sends it.
    pub user: Option<User>,
    /// For whom it is sent, if for another.
    pub other: Option<User>,
    /// Which binding allows it.
    pub reason: String,
    /// Whether it may be done.
    pub allowed: bool,
    /// Whether its answer goes on.
    pub long: bool,
}

/// The outside of a request.
pub(super) struct Outside {
    /// When it came.
    pub received: Wall,
    /// Path and query.
    pub uri: String,
    /// The client's name for itself.
    pub agent: String,
    /// Where it came from.
    pub from: Option<SocketAddr>,
}

impl Outside {
    /// Reads it.
    pub fn of(uri: &axum::http::Uri, headers: &HeaderMap, from: Option<SocketAddr>, received: Wall) -> Self {
        let agent = headers.get(header::USER_AGENT).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let uri = uri.path_and_query().map_or("/", |path| path.as_str());
        Self { received, uri: cut(uri), agent: cut(&agent.unwrap_or_default()), from }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

/// Writes what is to be told of a request.
pub(super) fn event(outside: &Outside, trace: &Trace, code: u16, now: Wall) -> String {
    let asked = trace.asked.clone().unwrap_or_default();
    let turn = [outside.received.0.to_be_bytes(), rand::random::<u64>().to_be_bytes()].concat();
    let mut event = json!({
        "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
        "auditID": Uid::derived(&[b"audit", &turn]).to_string(),
        "stage": if trace.long { "ResponseStarted" } else { "ResponseComplete" },
        "requestURI": outside.uri,
        "verb": asked.verb,
        "user": trace.user.as_ref().map_or_else(|| json!({}), user),
        "sourceIPs": outside.from.map(|at| vec![at.ip().to_string()]).unwrap_or_default(),
        "userAgent": outside.agent,
        "responseStatus": {"metadata": {}, "code": code},
        "requestReceivedTimestamp": outside.received.micro_time(),
        "stageTimestamp": now.micro_time(),
    });
    if let Some(other) = &trace.other {
        event["impersonatedUser"] = user(other);
    }
    if asked.path.is_none() && !asked.resource.is_empty() {
        event["objectRef"] = object(&asked);
    }
    if trace.user.is_some() {
        let decision = if trace.allowed { "allow" } else { "forbid" };
        event["annotations"] = json!({
            "authorization.k8s.io/decision": decision,
            "authorization.k8s.io/reason": trace.reason,
        });
    }
    event.to_string()
}

fn user(user: &User) -> Value {
    let mut told = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        told["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        told["extra"] = json!(user.extra);
    }
    told
}

fn object(asked: &Asked) -> Value {
    let members = [
        ("resource", asked.resource),
        ("namespace", &asked.namespace),
        ("name", &asked.name),
        ("apiGroup", asked.group),
        ("apiVersion", asked.version),
        ("subresource", &asked.subresource),
    ];
    let given = members.into_iter().filter(|(_, text)| !text.is_empty());
    given.map(|(name, text)| (name.to_owned(), Value::from(text))).collect::<serde_json::Map<_, _>>().into()
}

/// The log. When it is dropped, what was gathered is written.
#[derive(Debug)]
pub struct Audit {
    lines: Option<SyncSender<String>>,
    lost: AtomicU64,
    writer: Option<JoinHandle<()>>,
}

impl Audit {
    /// Opens the log in a folder. `limit`: the most bytes of each of its two files.
    ///
    /// # Errors
    /// No thread can be had.
    pub fn open(folder: &Path, limit: u64) -> io::Result<Self> {
        let (sender, lines) = sync_channel(WAITING);
        let writer = Writer { path: folder.join(FILE), limit, file: None, gathered: Vec::new(), complained: false };
        let writer = std::thread::Builder::new().name("audit".into()).spawn(move || writer.run(&lines))?;
        Ok(Self { lines: Some(sender), lost: AtomicU64::new(0), writer: Some(writer) })
    }

    /// Hands in a line.
    pub(super) fn write(&self, line: String) {
        let Some(lines) = &self.lines else { return };
        if lines.try_send(line).is_err() && self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the disk is slower than requests come: lines of the audit log are lost");
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            // It panics at nothing, and there is nothing to do about it here.
            writer.join().ok();
        }
    }
}

struct Writer {
    path: PathBuf,
    limit: u64,
    file: Option<(File, u64)>,
    gathered: Vec<u8>,
    complained: bool,
}

impl Writer {
    fn run(mut self, lines: &Receiver<String>) {
        loop {
            match lines.recv_timeout(PAUSE) {
                Ok(line) => {
                    self.gathered.extend(line.as_bytes());
                    self.gathered.push(b'\n');
                    if self.gathered.len() < GATHERED {
                        // The first of a few waits as long as the pause at most: then they go together.
                        self.gather(lines);
                    }
                    self.flush();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.flush(),
            }
        }
    }

    fn gather(&mut self, lines: &Receiver<String>) {
        let end = std::time::Instant::now() + PAUSE;
        while self.gathered.len() < GATHERED {
            let left = end.saturating_duration_since(std::time::Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    self.gathered.extend(line.as_bytes());
                    self.gathered.push(b'\n');
                }
                Err(_) => return,
            }
        }
    }

    fn flush(&mut self) {
        if self.gathered.is_empty() {
            return;
        }
        let gathered = std::mem::take(&mut self.gathered);
        match self.append(&gathered) {
            Ok(()) => self.complained = false,
            Err(error) => {
                self.file = None;
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::warn!(path = %self.path.display(), %error, "the audit log cannot be written");
                }
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let full = self.opened()?.1 + length > self.limit;
        if full {
            self.file = None;
            fs::rename(&self.path, self.path.with_extension("log.1"))?;
        }
        let (file, size) = self.opened()?;
        file.write_all(bytes)?;
        *size += length;
        Ok(())
    }

    /// The file and its size.
    fn opened(&mut self) -> io::Result<&mut (File, u64)> {
        match &mut self.file {
            Some(open) => Ok(open),
            none => {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.path)?;
                let size = file.metadata()?.len();
                Ok(none.insert((file, size)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: usize) -> String {
        format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(1_000))
    }

    #[test]
    fn two_files_are_kept_and_nothing_is_lost_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        for run in 0..2 {
            let audit = Audit::open(folder.path(), 200_000).unwrap();
            for n in 0..300 {
                audit.lines.as_ref().unwrap().send(line(run * 300 + n)).unwrap();
            }
            drop(audit);
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let (old, new) = (read("audit.log.1"), read(FILE));
        assert!(old.len() <= 200_000 && new.len() <= 200_000, "{} {}", old.len(), new.len());
        let last: Value = serde_json::from_str(new.lines().last().unwrap()).unwrap();
        assert_eq!(last["n"], 599);
        let count = old.lines().chain(new.lines()).count();
        let first: Value = serde_json::from_str(old.lines().next().unwrap()).unwrap();
        assert_eq!(first["n"], 600 - count, "no gap between them");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_is_gone_stops_the_log_only() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(&folder.path().join("none"), 1_000).unwrap();
        audit.write(line(1));
        drop(audit);
    }

    #[test]
    fn an_event_says_who_asked_for_what_and_what_came_of_it() {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, "kubectl/v1.33".parse().unwrap());
        let uri = "/api/v1/namespaces/shop/pods/web/log?follow=true".parse().unwrap();
        let outside = Outside::of(&uri, &headers, Some("192.0.2.7:5".parse().unwrap()), Wall::from_secs(1));
        let jane = User { name: "jane".into(), groups: vec!["ops".into()], ..User::default() };
        let asked = Asked {
            verb: "get".into(),
            version: "v1",
            resource: "pods",
            subresource: "log".into(),
            namespace: "shop".into(),
            name: "web".into(),
            ..Asked::default()
        };
        let trace = Trace {
            asked: Some(asked),
            user: Some(jane.clone()),
            other: Some(jane),
            reason: "RBAC: why".into(),
            allowed: true,
            long: true,
        };
        let event: Value = serde_json::from_str(&event(&outside, &trace, 200, Wall::from_secs(2))).unwrap();
        assert_eq!((&event["level"], &event["stage"]), (&json!("Metadata"), &json!("ResponseStarted")));
        assert_eq!(event["user"], json!({"username": "jane", "groups": ["ops"]}));
        assert_eq!(event["impersonatedUser"], event["user"]);
        let object = json!({"resource": "pods", "namespace": "shop", "name": "web", "apiVersion": "v1",
            "subresource": "log"});
        assert_eq!(event["objectRef"], object);
        assert_eq!(event["sourceIPs"], json!(["192.0.2.7"]));
        assert_eq!(event["responseStatus"]["code"], 200);
        assert_eq!(event["annotations"]["authorization.k8s.io/reason"], "RBAC: why");
        assert_eq!(event["requestReceivedTimestamp"], "1970-01-01T00:00:01.000000Z");
    }
}
