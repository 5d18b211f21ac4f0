//! The mesh: encrypted, authenticated connections between members, over libp2p (TCP, noise, yamux).
//!
//! It knows who is a member and where, keeps a connection to each, carries frames both ways on two lanes, and opens
//! streams on call. What frames say is the node's business. Strangers are let in only to ask for admission; every
//! number of connections, streams, bytes and frames that wait is bounded and named in [`limits`].
//!
//! A connection on which nothing has come for 2 s is closed, and members are redialled every second (rule 14).

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::handle::{Call, Stream};
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
    /// A member sent a frame.
    Frame {
        /// Which.
        from: NodeId,
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
pub struct Mesh {}

impl Mesh {
    /// Starts a mesh that ends with `shutdown`. Events come in order for each peer.
    ///
    /// # Errors
    /// [`MeshError`].
    pub async fn start(
        _config: Config,
        _directory: Directory,
        _events: mpsc::Sender<Event>,
        _shutdown: CancellationToken,
    ) -> Result<Self, MeshError> {
        todo!()
    }

    /// Sets who the other members are. Connections to those that are not are closed.
    pub fn set_directory(&self, _directory: Arc<Directory>) {
        todo!()
    }

    /// Sends a frame to a member, never waits. Without a connection it is dropped.
    pub fn send(&self, _to: NodeId, _lane: Lane, _frame: Bytes) {
        todo!()
    }

    /// Calls whoever listens at one of `addresses` and proves to be `expected` (if given), member or not, within
    /// `patience`. Returns whom it reached.
    ///
    /// # Errors
    /// One sentence an address.
    pub async fn call_stranger(
        &self,
        _addresses: &[SocketAddrV4],
        _expected: Option<NodeId>,
        _call: Call,
        _patience: Duration,
    ) -> Result<(NodeId, Stream), String> {
        todo!()
    }
}
