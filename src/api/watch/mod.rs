//! Watches: what happens to the objects of a kind, one JSON object a line.
//!
//! A watch keeps no events of its own. It holds a cursor, a revision, and reads on from there in the newest snapshot;
//! a client that is too slow finds its place forgotten and is told to list again (410). So a thousand idle watches
//! cost a thousand cursors, and no client can make the server remember for it.
//!
//! ```text
//! snapshot -> hub: whose scope is it in? -> wakes those watchers -> each reads on from its cursor, writes lines
//! ```
//!
//! [`hub`] looks at each event once for all watchers and wakes those it concerns; [`watcher`] is the state of one;
//! [`lines`] says what an event is to a scope.

mod hub;
mod lines;
mod watcher;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ids::Revision;
use crate::object::Kind;

use super::filter::Filter;
use super::params::Params;
use super::present::{self, Lens};
use super::status::Status;
use super::{now, revision};

pub use hub::Hub;
use lines::Line;
use watcher::{Next, Watcher};

/// How often a watch that allows them gets a bookmark.
pub const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// How long a watch lasts if the client does not say: between this and twice this, so that clients that came together
/// do not come back together.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How long a watcher may leave unread what waits for it before it is cut off.
pub const PATIENCE: Duration = Duration::from_secs(30);

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
    bookmark_every: Duration,
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
            bookmark_every: BOOKMARK_EVERY,
        })
    }

    /// Has bookmarks sent so often.
    #[cfg(test)]
    pub fn with_bookmarks_every(self, bookmark_every: Duration) -> Self {
        Self { bookmark_every, ..self }
    }

    /// Tells whether the watch begins with a state that must not be older than the asked revision.
    pub fn needs_fresh(&self) -> bool {
        self.start == Start::Initial
    }
}

/// Answers with a watch. It ends at its timeout or with `shutdown`, always between two events.
pub fn watch(hub: &Hub, scope: Scope, options: Options, lens: Lens, shutdown: CancellationToken) -> Response<Body> {
    let reader = Reader::new(hub, scope, options, lens, shutdown);
    let frames = futures_util::stream::unfold(reader, |mut reader| async move {
        let frame = reader.frame().await?;
        Some((Ok::<_, Infallible>(frame), reader))
    });
    present::with_type(StatusCode::OK, "application/json", Body::from_stream(frames))
}

/// The client's side of a watch: takes lines as fast as they can be sent.
struct Reader {
    watcher: Arc<Watcher>,
    lens: Lens,
    shutdown: CancellationToken,
    bookmarks: bool,
    bookmark_every: Duration,
    next_bookmark: Instant,
    deadline: Instant,
    /// Whether a table has described its columns yet.
    described: bool,
}

impl Reader {
    fn new(hub: &Hub, scope: Scope, options: Options, lens: Lens, shutdown: CancellationToken) -> Self {
        let begin = Instant::now();
        Self {
            watcher: hub.admit(scope, options.start, options.mark_initial_end),
            lens,
            shutdown,
            bookmarks: options.bookmarks,
            bookmark_every: options.bookmark_every,
            next_bookmark: begin + options.bookmark_every,
            deadline: begin + options.timeout.unwrap_or_else(default_timeout),
            described: false,
        }
    }

    /// Waits for the next lines. `None` at the end.
    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            let mut frame = Vec::new();
            self.lens.set_time(now());
            while frame.len() < FRAME {
                match self.watcher.next() {
                    Next::Line(line) => self.write(&mut frame, &line),
                    Next::Nothing => break,
                    Next::End if frame.is_empty() => return None,
                    Next::End => break,
                }
            }
            if !frame.is_empty() {
                return Some(frame.into());
            }
            self.wait().await;
        }
    }

    async fn wait(&mut self) {
        let next = if self.bookmarks { self.deadline.min(self.next_bookmark) } else { self.deadline };
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => self.watcher.end(),
            () = self.watcher.woken() => {}
            () = tokio::time::sleep_until(next) => {
                if self.bookmarks {
                    self.next_bookmark = Instant::now() + self.bookmark_every;
                    self.watcher.bookmark();
                }
                if Instant::now() >= self.deadline {
                    self.watcher.end();
                }
            }
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, line: &Line) {
        line.write(out, &self.lens, !self.described);
        self.described = true;
    }
}

fn default_timeout() -> Duration {
    let spread = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    DEFAULT_TIMEOUT + DEFAULT_TIMEOUT.mul_f64(f64::from(spread) / 1e9)
}
