//! The one door to the node's loop: a bounded mailbox in, a watchable Snapshot and Routes out.

mod session;
mod usage;

use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot, watch};

use crate::node::Request;
use crate::node::partition::Partition;
use crate::routing::Routes;
use crate::store::{Change, Committed, Rejected, Snapshot};

pub use session::{Ended, Frame, PIECE, Session, Sessions, Streams, Talk, talk};
pub use usage::{Amounts, ContainerUsage, Meters, Usage};

/// How many requests may wait for the loop before callers wait to hand theirs in.
pub const MAILBOX: usize = 256;

/// What answers a request.
pub type Answer = Result<Committed, Rejected>;

/// A request and where its answer goes.
pub type Letter = (Request, oneshot::Sender<Answer>);

/// Whether to recover by force, and where the answer goes.
pub type Recovery = (bool, oneshot::Sender<Result<String, String>>);

/// A door to the node's loop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Letter>,
    recoveries: mpsc::Sender<Recovery>,
    snapshot: watch::Receiver<Snapshot>,
    routes: watch::Receiver<Arc<Routes>>,
    partitions: watch::Receiver<Arc<Vec<Partition>>>,
}

/// The loop's side of the door.
#[derive(Debug)]
pub struct Door {
    /// Requests come out here.
    pub requests: mpsc::Receiver<Letter>,
    /// Who wants a new generation of the cluster.
    pub recoveries: mpsc::Receiver<Recovery>,
    /// Snapshots go in here.
    pub snapshot: watch::Sender<Snapshot>,
    /// Routes go in here.
    pub routes: watch::Sender<Arc<Routes>>,
    /// What is known of partitions goes in here.
    pub partitions: watch::Sender<Arc<Vec<Partition>>>,
}

/// Makes a door that shows `snapshot` first.
pub fn door(snapshot: Snapshot) -> (Handle, Door) {
    let (requests_in, requests) = mpsc::channel(MAILBOX);
    let (recoveries_in, recoveries) = mpsc::channel(1);
    let (snapshot_in, snapshot) = watch::channel(snapshot);
    let (routes_in, routes) = watch::channel(Arc::default());
    let (partitions_in, partitions) = watch::channel(Arc::default());
    let handle = Handle { requests: requests_in, recoveries: recoveries_in, snapshot, routes, partitions };
    (handle, Door { requests, recoveries, snapshot: snapshot_in, routes: routes_in, partitions: partitions_in })
}

impl Handle {
    /// Returns the cluster as it is shown now.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.borrow().clone()
    }

    /// Returns a receiver that wakes with every new snapshot.
    pub fn snapshots(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.clone()
    }

    /// Returns a receiver that wakes with every new set of routes.
    pub fn routes(&self) -> watch::Receiver<Arc<Routes>> {
        self.routes.clone()
    }

    /// Returns what is known of partitions: the last few, the newest last.
    pub fn partitions(&self) -> Arc<Vec<Partition>> {
        self.partitions.borrow().clone()
    }

    /// Makes a change and waits until it is durable and shown.
    ///
    /// # Errors
    /// [`Rejected`] says why not; [`Rejected::Stale`] means that reading again and retrying may succeed.
    pub async fn commit(&self, change: Change, dry_run: bool) -> Answer {
        self.ask(Request { change, dry_run, user: None }).await
    }

    /// Makes a change that `user` asks for, whose name goes into the object's history.
    ///
    /// # Errors
    /// As [`Handle::commit`].
    pub async fn commit_for(&self, user: &str, change: Change, dry_run: bool) -> Answer {
        self.ask(Request { change, dry_run, user: Some(user.to_owned()) }).await
    }

    /// Makes this node the first voter of a new generation of the cluster. Returns what has been done and what is given up.
    ///
    /// # Errors
    /// One sentence: it would do harm (`force` overrules that), or cannot be done.
    pub async fn recover(&self, force: bool) -> Result<String, String> {
        let stopping = |_| "the agent is shutting down".to_owned();
        let (answer_in, answer) = oneshot::channel();
        self.recoveries.send((force, answer_in)).await.map_err(|error| stopping(error.to_string()))?;
        answer.await.map_err(|error| stopping(error.to_string()))?
    }

    async fn ask(&self, request: Request) -> Answer {
        let stopping = || Rejected::Unavailable { message: "the agent is shutting down".into() };
        let (answer_in, answer) = oneshot::channel();
        self.requests.send((request, answer_in)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

/// Reads containers' logs, wherever the container is.
pub trait Logs: Send + Sync {
    /// Opens the log of a container on a node.
    ///
    /// # Errors
    /// One sentence: the container or its log is not there, or the node or its runtime does not answer.
    fn open(&self, node: &str, container: &str, options: LogOptions) -> BoxFuture<'static, Result<LogStream, String>>;
}

/// Reaches into containers, wherever they run.
pub trait Containers: Logs + Sessions + Meters {}

impl<T: Logs + Sessions + Meters> Containers for T {}

/// A stream of bytes both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream to something on another node.
pub type Stream = Box<dyn Duplex>;

/// Opens streams to other members' agents. The mesh lends it to proxy, logs and others.
pub trait Calls: Send + Sync {
    /// Calls the agent of a node. The stream says nothing about what is called: the far agent sends its first byte
    /// when it has it (rule 24).
    ///
    /// # Errors
    /// The node is no member, or there is no connection to it just now.
    fn call(&self, node: &str, call: Call) -> BoxFuture<'static, std::io::Result<Stream>>;
}

/// For what one agent calls another. The first frame of every stream, as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Call {
    /// Bytes to and from a pod's TCP port. The far agent sends one byte, 0x01, after its dial succeeded, and closes the
    /// stream if it did not; then both sides send pieces, each with its length before it (two bytes, big-endian). Length
    /// 0 says that the sender has finished; a stream that ends without it was reset.
    Tcp(SocketAddrV4),
    /// Datagrams to and from a pod's UDP port, each with its length before it (two bytes, big-endian), after the
    /// same first byte.
    Udp(SocketAddrV4),
    /// A container's log. Frames: four bytes of length, big-endian, then so many bytes, of which the first is 0 (a piece
    /// follows) or 1 (an error follows, in one sentence, and ends it).
    Log {
        /// The container's id.
        container: String,
        /// Which part.
        options: LogOptions,
    },
    /// A session in a container or with a port of a pod. Frames both ways: four bytes of length, big-endian, then so many
    /// bytes, of which the first is the frame's kind. The far agent's first frame comes when it has begun, if need be
    /// an output without content.
    Session(Session),
    /// What the node and its containers use. One JSON document back: a [`Usage`] or a sentence why not.
    Usage,
    /// A certificate is asked for, by a member that does not hold the authority's key. One JSON document each way.
    Sign,
    /// A stranger asks to be admitted; the one call that is open to strangers. One JSON document each way, cut at
    /// 64 KiB.
    Join,
}

/// Pieces of a log; an error ends it.
pub type LogStream = BoxStream<'static, Result<Bytes, String>>;

/// Which part of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// Go on with what is written from now on.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Only lines written at or after this time, in seconds since the Unix epoch.
    pub since: Option<i64>,
    /// Begin each line with its time in RFC 3339.
    pub timestamps: bool,
    /// At most so many bytes.
    pub limit_bytes: Option<u64>,
}
