//! Watches: what happens to the objects of a kind, one JSON object a line.
//!
//! A watch keeps no events of its own. It holds a cursor, a revision, and reads on from there in the newest snapshot;
//! a client that is too slow finds its place forgotten and is told to list again (410). So a thousand idle watches
//! cost a thousand cursors, and no client can make the server remember for it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ids::Revision;
use crate::object::Kind;
use crate::store::{Entry, Snapshot, TooOld, WatchEvent};

use super::filter::Filter;
use super::params::Params;
use super::present::{self, Lens};
use super::status::Status;
use super::{now, revision};

/// How often a watch that allows them gets a bookmark.
pub const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// How long a watch lasts if the client does not say: between this and twice this, so that clients that came together
/// do not come back together.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// Events are sent together up to about so many bytes.
const FRAME: usize = 64 * 1024;

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the objects that are there, each as ADDED.
    Initial,
    /// With what happens from now on.
    Now,
    /// With what happened after a revision.
    After(Revision),
}

/// What a watch is about.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The kind.
    pub kind: &'static Kind,
    /// The namespace; `None` for all.
    pub namespace: Option<String>,
    /// Which objects.
    pub filter: Filter,
}

/// What the client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    start: Start,
    bookmarks: bool,
    /// A bookmark tells when all that was there has been sent.
    mark_initial_end: bool,
    timeout: Option<Duration>,
}

impl Options {
    /// Reads the parameters of a watch.
    ///
    /// # Errors
    /// 400 for a malformed value, 422 for values that contradict each other.
    pub fn parse(params: &Params) -> Result<Self, Status> {
        let invalid = |field, message: &str| Err(Status::invalid_options("ListOptions", field, message));
        let send_initial = params.tristate("sendInitialEvents");
        let matching = params.text("resourceVersionMatch");
        match (send_initial, matching) {
            (Some(_), Some("NotOlderThan")) | (None, None) => {}
            (Some(_), _) => {
                let message = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                return invalid("resourceVersionMatch", message);
            }
            (None, Some(_)) => {
                let message =
                    "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                return invalid("resourceVersionMatch", message);
            }
        }
        let from = revision(params)?.filter(|r| r.0 > 0);
        let start = match (send_initial, from) {
            (Some(true), _) | (None, None) => Start::Initial,
            (_, Some(from)) => Start::After(from),
            (Some(false), None) => Start::Now,
        };
        let bookmarks = params.flag("allowWatchBookmarks");
        let seconds = params.number("timeoutSeconds")?.and_then(|s| u64::try_from(s).ok()).filter(|s| *s > 0);
        Ok(Self {
            start,
            bookmarks,
            mark_initial_end: bookmarks && send_initial == Some(true),
            timeout: seconds.map(Duration::from_secs),
        })
    }

    /// Tells whether the watch begins with a state that must not be older than the asked revision.
    pub fn needs_fresh(&self) -> bool {
        self.start == Start::Initial
    }
}

/// Answers with a watch. It ends at its timeout or with `shutdown`, always between two events.
pub fn watch(
    scope: Scope,
    options: Options,
    lens: Lens,
    snapshots: Receiver<Snapshot>,
    shutdown: CancellationToken,
) -> Response<Body> {
    let watcher = Watcher::new(scope, options, lens, snapshots, shutdown);
    let frames = futures_util::stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.frame().await?;
        Some((Ok::<_, Infallible>(frame), watcher))
    });
    present::with_type(StatusCode::OK, "application/json", Body::from_stream(frames))
}

/// What a line says of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Added,
    Modified,
    Deleted,
}

impl Type {
    fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One line to send.
#[derive(Clone, Debug)]
enum Line {
    Object { kind: Type, entry: Arc<Entry>, revision: Revision },
    Bookmark { revision: Revision, initial_end: bool },
    Error(Status),
}

struct Watcher {
    scope: Scope,
    lens: Lens,
    snapshots: Receiver<Snapshot>,
    shutdown: CancellationToken,
    /// All events up to here are in `pending` or sent.
    cursor: Revision,
    pending: VecDeque<Line>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// Whether a table has described its columns yet.
    described: bool,
    /// No line comes after those pending.
    ended: bool,
}

impl Watcher {
    fn new(
        scope: Scope,
        options: Options,
        lens: Lens,
        mut snapshots: Receiver<Snapshot>,
        shutdown: CancellationToken,
    ) -> Self {
        let snapshot = snapshots.borrow_and_update().clone();
        let begin = Instant::now();
        let mut watcher = Self {
            scope,
            lens,
            snapshots,
            shutdown,
            cursor: snapshot.revision(),
            pending: VecDeque::new(),
            bookmarks: options.bookmarks,
            next_bookmark: begin + BOOKMARK_EVERY,
            deadline: begin + options.timeout.unwrap_or_else(default_timeout),
            described: false,
            ended: false,
        };
        match options.start {
            Start::Initial => watcher.add_initial(&snapshot),
            Start::Now => {}
            Start::After(revision) => {
                watcher.cursor = revision;
                watcher.read(&snapshot);
            }
        }
        if options.mark_initial_end {
            watcher.pending.push_back(Line::Bookmark { revision: snapshot.revision(), initial_end: true });
        }
        watcher
    }

    fn add_initial(&mut self, snapshot: &Snapshot) {
        let there = snapshot.list(self.scope.kind, self.scope.namespace.as_deref());
        let there = there.filter(|e| self.scope.filter.matches(e));
        let lines = there.map(|e| Line::Object { kind: Type::Added, entry: Arc::clone(e), revision: e.revision });
        self.pending.extend(lines);
    }

    /// Takes in what happened between the cursor and `snapshot`.
    fn read(&mut self, snapshot: &Snapshot) {
        match lines(&self.scope, snapshot, self.cursor) {
            Ok(lines) => {
                self.pending.extend(lines);
                self.cursor = snapshot.revision();
            }
            Err(too_old) => {
                self.pending.push_back(Line::Error(too_old.into()));
                self.ended = true;
            }
        }
    }

    /// Waits for the next lines. `None` at the end.
    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if !self.pending.is_empty() {
                return Some(self.write());
            }
            if self.ended {
                return None;
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => self.ended = true,
            () = tokio::time::sleep_until(self.deadline) => {
                self.ended = true;
                self.bookmark();
            }
            () = tokio::time::sleep_until(self.next_bookmark) => self.bookmark(),
            changed = self.snapshots.changed() => match changed {
                Ok(()) => {
                    let snapshot = self.snapshots.borrow_and_update().clone();
                    self.read(&snapshot);
                }
                Err(_) => self.ended = true,
            },
        }
    }

    fn bookmark(&mut self) {
        self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
        if self.bookmarks {
            self.pending.push_back(Line::Bookmark { revision: self.cursor, initial_end: false });
        }
    }

    /// Writes pending lines, as many as go together.
    fn write(&mut self) -> Bytes {
        let mut frame = Vec::new();
        self.lens = self.lens.at(now());
        while let Some(line) = self.pending.pop_front() {
            self.write_line(&mut frame, &line);
            if frame.len() >= FRAME {
                break;
            }
        }
        frame.into()
    }

    fn write_line(&mut self, out: &mut Vec<u8>, line: &Line) {
        let word = match line {
            Line::Object { kind, .. } => kind.word(),
            Line::Bookmark { .. } => "BOOKMARK",
            Line::Error(_) => "ERROR",
        };
        out.extend(format!(r#"{{"type":"{word}","object":"#).as_bytes());
        match line {
            Line::Object { entry, revision, .. } if entry.revision == *revision => {
                self.lens.write_object(out, &entry.json, !self.described);
            }
            Line::Object { entry, revision, .. } => {
                self.lens.write_object(out, &at_revision(entry, *revision), !self.described);
            }
            Line::Bookmark { revision, initial_end } => {
                let object = bookmark(self.scope.kind, *revision, *initial_end);
                self.lens.write_object(out, object.to_string().as_bytes(), !self.described);
            }
            Line::Error(status) => out.extend(status.json()),
        }
        self.described = true;
        out.extend(b"}\n");
    }
}

/// What happened to the objects in `scope` after `cursor`: an object that comes to match is added, one that ceases to
/// is deleted.
fn lines(scope: &Scope, snapshot: &Snapshot, cursor: Revision) -> Result<Vec<Line>, TooOld> {
    if cursor > snapshot.revision() {
        // Another node's number, or one from before a restored disk: nothing is known about what lies between.
        return Err(TooOld { asked: cursor, oldest: snapshot.revision() });
    }
    let events = snapshot.events_since(scope.kind, cursor)?;
    let here = |e: &&Arc<WatchEvent>| scope.namespace.as_ref().is_none_or(|n| *n == e.key().namespace);
    Ok(events.filter(here).flat_map(|event| step(&scope.filter, event)).collect())
}

fn step(filter: &Filter, event: &WatchEvent) -> Vec<Line> {
    let matching = |side: &Option<Arc<Entry>>| side.clone().filter(|e| filter.matches(e));
    let line = |kind, entry| Line::Object { kind, entry, revision: event.revision };
    match (matching(&event.old), matching(&event.new)) {
        (None, None) => Vec::new(),
        (None, Some(new)) => vec![line(Type::Added, new)],
        (Some(old), None) => vec![line(Type::Deleted, old)],
        // Another object has taken the name.
        (Some(old), Some(new)) if old.uid != new.uid => vec![line(Type::Deleted, old), line(Type::Added, new)],
        (Some(_), Some(new)) => vec![line(Type::Modified, new)],
    }
}

/// The object as it was last, but with the revision at which it went: clients go on watching from there.
fn at_revision(entry: &Entry, revision: Revision) -> Vec<u8> {
    let mut object = entry.value();
    object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
    object.to_string().into_bytes()
}

/// An object of nothing but a revision: all before it has been sent.
fn bookmark(kind: &Kind, revision: Revision, initial_end: bool) -> Value {
    let mut metadata = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
    if initial_end {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata})
}

fn default_timeout() -> Duration {
    let spread = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    DEFAULT_TIMEOUT + DEFAULT_TIMEOUT.mul_f64(f64::from(spread) / 1e9)
}
