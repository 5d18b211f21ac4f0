//! The mesh: encrypted, authenticated connections between members, over libp2p (TCP, noise, yamux).
//!
//! It knows who is a member and where, keeps a connection to each, carries frames both ways on two lanes, and opens
//! streams on call. What frames say is the node's business. Strangers are let in only to ask for admission; every
//! number of connections, streams, bytes and frames that wait is bounded and named in [`limits`].
//!
//! A connection on which nothing has come for 2 s is closed, and members are redialled every second (rule 14).

//!
//! ```text
//!   send ──> Outbox ──> lane ──┐                                ┌──> lane ──> deliver ──> Event::Frame
//!   call ──> head + stream ────┤ Link ══ TCP, noise, yamux ══ Link ├──> head ──> Event::Call
//!   directory ──> swarm task ──┘  (gate: who gets in)           └──> up, gone ──> Connected, Gone
//! ```
//!
//! One task (`swarm`) owns libp2p's swarm. The [`gate`] decides about connections; a [`handler`] in each connection
//! opens and takes streams; each [`member`] has a session that writes its lanes and says when it comes and goes.
//!
//! Invariants: frames of a member come only between its Connected and its Gone; nothing of a stranger is read but the
//! head of a call; no send ever waits; a slow reader of events holds up its peers' readers and nothing else.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod calls;
mod dial;
mod gate;
mod gather;
mod handler;
mod identity;
mod lanes;
pub mod limits;
mod link;
mod member;
mod queue;
mod swarm;
mod transport;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::gate::Members;
use self::link::Link;
use self::swarm::{Errand, Task};
use crate::handle::{Call, Calls, Stream};
use crate::ids::NodeId;
use crate::node::message::Lane;

/// How a mesh is set up.
pub struct Config {
    /// This node's key.
    pub key: ed25519_dalek::SigningKey,
    /// Where to listen.
    pub listen: SocketAddrV4,
    /// Whether members are looked for on the local network (mDNS).
    pub discover: bool,
}

/// The other members: their names, and where each was last known to be.
pub type Directory = BTreeMap<NodeId, Peer>;

/// One other member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its node's name.
    pub name: String,
    /// Where it may be dialled.
    pub addresses: Vec<SocketAddrV4>,
}

/// Something that happened on the mesh.
pub enum Event {
    /// A member can be sent to.
    Connected {
        /// Which.
        peer: NodeId,
    },
    /// The last connection to a member has ended.
    Gone {
        /// Which.
        peer: NodeId,
        /// Whether it was the far side that ended it (its agent has died or been stopped; its host is there).
        reset: bool,
    },
    /// A member was dialled and its host has refused: it lives, and nobody listens there. May be left out.
    Refused {
        /// Which.
        peer: NodeId,
    },
    /// A member sent a frame.
    Frame {
        /// Which.
        from: NodeId,
        /// On which lane.
        lane: Lane,
        /// What.
        frame: Bytes,
    },
    /// A member calls, or, for [`Call::Join`], a stranger.
    Call {
        /// Who: the connection has proven its key.
        from: NodeId,
        /// What for.
        call: Call,
        /// The stream, behind the call.
        stream: Stream,
    },
}

/// Why the mesh cannot start.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// The port cannot be listened on.
    #[error("port {port} cannot be listened on: {reason}")]
    Listen {
        /// The port.
        port: u16,
        /// Why not.
        reason: String,
    },
}

/// A door to the mesh. Cheap to clone. Implements `handle::Calls`.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
}

/// What the doors and the swarm's task share.
struct Shared {
    me: NodeId,
    roster: ArcSwap<Roster>,
    directory: watch::Sender<Arc<Directory>>,
    errands: mpsc::Sender<Errand>,
}

/// The members as doors see them.
#[derive(Default)]
struct Roster {
    members: Members,
    names: BTreeMap<String, NodeId>,
}

impl Mesh {
    /// Starts a mesh that ends with `shutdown`. Events come in order for each peer.
    ///
    /// # Errors
    /// [`MeshError`].
    pub async fn start(
        config: Config,
        directory: Directory,
        events: mpsc::Sender<Event>,
        shutdown: CancellationToken,
    ) -> Result<Self, MeshError> {
        let directory = Arc::new(directory);
        let (changes, directories) = watch::channel(directory.clone());
        let (errands, requests) = mpsc::channel(limits::ERRANDS);
        let me = NodeId(config.key.verifying_key().to_bytes());
        let shared = Arc::new(Shared { me, roster: ArcSwap::default(), directory: changes, errands });
        let mut task = Task::new(&config, shared.clone(), events, shutdown)?;
        task.set_directory(&directory);
        tokio::spawn(task.run(directories, requests));
        Ok(Self { shared })
    }

    /// Sets who the other members are. Connections to those that are not are closed.
    pub fn set_directory(&self, directory: Arc<Directory>) {
        self.shared.directory.send_replace(directory);
    }

    /// Sends a frame to a member, never waits. Without a connection it is dropped.
    pub fn send(&self, to: NodeId, lane: Lane, frame: Bytes) {
        let length = frame.len();
        let roster = self.shared.roster.load();
        if !roster.members.get(&to).is_some_and(|m| m.outbox.push(lane, frame)) {
            debug!(peer = ?to, ?lane, length, "a frame is dropped");
        }
    }

    /// Calls whoever listens at one of `addresses` and proves to be `expected` (if given), member or not, within
    /// `patience`. Returns whom it reached.
    ///
    /// # Errors
    /// One sentence an address.
    pub async fn call_stranger(
        &self,
        addresses: &[SocketAddrV4],
        expected: Option<NodeId>,
        call: Call,
        patience: Duration,
    ) -> Result<(NodeId, Stream), String> {
        let deadline = Instant::now() + patience;
        if let Some((node, link)) = expected.and_then(|node| Some((node, self.link(node)?)))
            && let Ok(Ok(stream)) = timeout_at(deadline, calls::open(&link, &call)).await
        {
            return Ok((node, stream));
        }
        let mut failures = Vec::new();
        for address in addresses {
            let reached = timeout_at(deadline, self.reach(*address, expected, &call)).await;
            match reached.unwrap_or_else(|_| Err("it does not answer in time".into())) {
                Ok(reached) => return Ok(reached),
                Err(reason) => failures.push(format!("{address}: {reason}")),
            }
        }
        Err(if failures.is_empty() { "there is no address to call".into() } else { failures.join("; ") })
    }

    async fn reach(
        &self,
        address: SocketAddrV4,
        expected: Option<NodeId>,
        call: &Call,
    ) -> Result<(NodeId, Stream), String> {
        let stopping = || "the mesh is shutting down".to_owned();
        let (reached, link) = oneshot::channel();
        let errand = Errand { address, expected, reached };
        self.shared.errands.send(errand).await.map_err(|_| stopping())?;
        let link = link.await.map_err(|_| stopping())??;
        let stream = calls::open(&link, call).await.map_err(|e| format!("it answers and hangs up: {e}"))?;
        Ok((link.node, stream))
    }

    fn link(&self, node: NodeId) -> Option<Arc<Link>> {
        self.shared.roster.load().members.get(&node)?.link()
    }
}

impl Calls for Mesh {
    fn call(&self, node: &str, call: Call) -> BoxFuture<'static, io::Result<Stream>> {
        let id = self.shared.roster.load().names.get(node).copied();
        let link = id.and_then(|id| self.link(id));
        let missing = format!("there is no connection to node {node:?}");
        async move {
            let link = link.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, missing))?;
            calls::open(&link, &call).await
        }
        .boxed()
    }
}
