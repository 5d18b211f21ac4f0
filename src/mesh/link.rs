//! One connection, as the rest of the mesh holds it: streams are opened here, and signs of life are noted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use libp2p::swarm::ConnectionId;
use libp2p::{PeerId, Stream, StreamProtocol};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::limits;
use super::member::Member;
use crate::ids::NodeId;
use crate::node::message::Lane;

/// What a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Frames, from the opener to the accepter.
    Lane(Lane),
    /// A call.
    Call,
}

impl Purpose {
    pub(super) const ALL: [Self; 3] = [Self::Lane(Lane::Control), Self::Lane(Lane::Bulk), Self::Call];

    pub(super) fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(match self {
            Self::Lane(Lane::Control) => "/skein/control/1",
            Self::Lane(Lane::Bulk) => "/skein/bulk/1",
            Self::Call => "/skein/call/1",
        })
    }

    pub(super) fn of(protocol: &StreamProtocol) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.protocol() == *protocol)
    }
}

/// A request to the connection's handler for a stream.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) purpose: Purpose,
    pub(super) answer: oneshot::Sender<io::Result<Stream>>,
}

/// A connection.
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) peer: PeerId,
    pub(super) node: NodeId,
    /// Whether this side dialled.
    pub(super) dialled: bool,
    pub(super) since: Instant,
    /// The member whose connection this is; none for a stranger's.
    pub(super) member: ArcSwapOption<Member>,
    /// Ends with the connection; whatever belongs to it ends then.
    pub(super) ended: CancellationToken,
    opens: mpsc::Sender<Open>,
    /// When something last came, in milliseconds after `since`.
    heard: AtomicU64,
    /// How many readers wait for this node's own loop: their silence is not the peer's.
    held_up: AtomicUsize,
    calls_in: Arc<AtomicUsize>,
    calls_out: Arc<AtomicUsize>,
}

impl Link {
    /// Makes the link of a connection, and where its handler gets requests for streams.
    pub(super) fn new(
        id: ConnectionId,
        peer: PeerId,
        node: NodeId,
        dialled: bool,
        ended: CancellationToken,
    ) -> (Arc<Self>, mpsc::Receiver<Open>) {
        let (opens, requests) = mpsc::channel(limits::OPENS);
        let link = Self {
            id,
            peer,
            node,
            dialled,
            since: Instant::now(),
            member: ArcSwapOption::empty(),
            ended,
            opens,
            heard: AtomicU64::new(0),
            held_up: AtomicUsize::new(0),
            calls_in: Arc::default(),
            calls_out: Arc::default(),
        };
        (Arc::new(link), requests)
    }

    /// Opens a stream. Its first bytes travel with its negotiation: nothing is waited for.
    pub(super) async fn open(&self, purpose: Purpose) -> io::Result<Stream> {
        let (answer, stream) = oneshot::channel();
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let opened = async {
            self.opens.send(Open { purpose, answer }).await.map_err(|_| gone())?;
            stream.await.map_err(|_| gone())?
        };
        tokio::select! {
            opened = tokio::time::timeout(limits::OPEN_PATIENCE, opened) => opened.map_err(io::Error::from)?,
            () = self.ended.cancelled() => Err(gone()),
        }
    }

    /// Notes that something came.
    pub(super) fn hear(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    /// Returns for how long nothing has come through the peer's fault.
    pub(super) fn silent_for(&self) -> Duration {
        if self.held_up.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.since.elapsed().saturating_sub(Duration::from_millis(self.heard.load(Ordering::Relaxed)))
    }

    /// Marks a reader as waiting for this node, until the mark is dropped.
    pub(super) fn hold_up(&self) -> HeldUp<'_> {
        self.held_up.fetch_add(1, Ordering::Relaxed);
        HeldUp(self)
    }

    /// Takes room for a call that comes in.
    pub(super) fn room_in(&self) -> Option<Slot> {
        let bound = if self.member.load().is_some() { limits::CALLS } else { limits::STRANGER_CALLS };
        Slot::take(&self.calls_in, bound)
    }

    /// Takes room for a call that goes out.
    pub(super) fn room_out(&self) -> Option<Slot> {
        Slot::take(&self.calls_out, limits::CALLS)
    }
}

/// A reader waits; see [`Link::hold_up`].
pub(super) struct HeldUp<'a>(&'a Link);

impl Drop for HeldUp<'_> {
    fn drop(&mut self) {
        self.0.hear();
        self.0.held_up.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for one call, given back when dropped.
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slot {
    fn take(taken: &Arc<AtomicUsize>, bound: usize) -> Option<Self> {
        let more = |n: usize| (n < bound).then_some(n + 1);
        taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok().map(|_| Self(taken.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
