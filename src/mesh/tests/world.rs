//! Nodes for tests, and a line between two that can be cut.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ids::NodeId;
use crate::mesh::{Config, Directory, Event, Mesh, Peer};
use crate::node::message::Lane;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A node of a test.
pub struct Node {
    pub id: NodeId,
    pub mesh: Mesh,
    pub events: mpsc::Receiver<Event>,
    pub address: SocketAddrV4,
    pub stop: CancellationToken,
    beats: Vec<tokio_util::sync::DropGuard>,
}

/// A heartbeat.
const BEAT: Bytes = Bytes::from_static(b"beat");

/// Returns the key of a node.
pub fn key(n: u8) -> ed25519_dalek::SigningKey {
    ed25519_dalek::SigningKey::from_bytes(&[n; 32])
}

/// Returns the id of a node.
pub fn id(n: u8) -> NodeId {
    NodeId(key(n).verifying_key().to_bytes())
}

/// Returns the numbers of two nodes, that with the lesser id first.
pub fn ordered() -> (u8, u8) {
    if id(1) < id(2) { (1, 2) } else { (2, 1) }
}

/// Returns a free port of loopback.
pub fn free() -> SocketAddrV4 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    match listener.local_addr().unwrap() {
        std::net::SocketAddr::V4(address) => address,
        std::net::SocketAddr::V6(_) => unreachable!("it was bound to IPv4"),
    }
}

/// Returns a directory of these nodes.
pub fn directory(peers: &[(u8, Option<SocketAddrV4>)]) -> Directory {
    let peer = |n: u8, at: Option<SocketAddrV4>| Peer { name: format!("n{n}"), addresses: at.into_iter().collect() };
    peers.iter().map(|(n, at)| (id(*n), peer(*n, *at))).collect()
}

impl Node {
    /// Starts a node.
    pub async fn start(n: u8, address: SocketAddrV4, directory: Directory) -> Self {
        let (events_in, events) = mpsc::channel(1_024);
        let stop = CancellationToken::new();
        let config = Config { key: key(n), listen: address, discover: false };
        let mesh = Mesh::start(config, directory, events_in, stop.clone()).await.unwrap();
        Self { id: id(n), mesh, events, address, stop, beats: Vec::new() }
    }

    /// Waits for the next event that is no heartbeat.
    pub async fn next(&mut self) -> Event {
        loop {
            match timeout(PATIENCE, self.events.recv()).await.expect("an event comes in time").expect("the mesh runs") {
                Event::Frame { frame, .. } if frame == BEAT => {}
                // Hosts refuse whenever a node is not started yet.
                Event::Refused { .. } => {}
                event => return event,
            }
        }
    }

    /// Waits until connected to `peer`.
    pub async fn connected(&mut self, peer: NodeId) {
        match self.next().await {
            Event::Connected { peer: seen } => assert_eq!(seen, peer),
            other => panic!("expected Connected, got {}", name(&other)),
        }
    }

    /// Waits until `peer` is gone; returns whether it ended the connection. Frames before it are passed over.
    pub async fn gone(&mut self, peer: NodeId) -> bool {
        loop {
            match self.next().await {
                Event::Gone { peer: seen, reset } if seen == peer => return reset,
                Event::Frame { .. } => {}
                other => panic!("expected Gone, got {}", name(&other)),
            }
        }
    }

    /// Waits for a frame.
    pub async fn frame(&mut self, from: NodeId) -> Bytes {
        match self.next().await {
            Event::Frame { from: seen, frame, .. } => {
                assert_eq!(seen, from);
                frame
            }
            other => panic!("expected a frame, got {}", name(&other)),
        }
    }

    /// Sends a heartbeat to `to` five times a second, until the token is dropped or cancelled.
    pub fn beat(&self, to: NodeId) -> tokio_util::sync::DropGuard {
        let (mesh, stop) = (self.mesh.clone(), self.stop.child_token());
        let ends = stop.clone();
        tokio::spawn(async move {
            while !ends.is_cancelled() {
                mesh.send(to, Lane::Control, BEAT);
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        stop.drop_guard()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Names an event.
pub fn name(event: &Event) -> String {
    match event {
        Event::Connected { peer } => format!("Connected {peer:?}"),
        Event::Gone { peer, reset } => format!("Gone {peer:?} reset={reset}"),
        Event::Refused { peer } => format!("Refused {peer:?}"),
        Event::Frame { from, frame, .. } => format!("Frame of {} bytes from {from:?}", frame.len()),
        Event::Call { from, call, .. } => format!("Call {call:?} from {from:?}"),
    }
}

/// Starts two nodes that know each other, and waits until both are connected. Only the first dials, so there is one
/// connection. They send each other heartbeats, as nodes do: held up, they would else part for lack of words.
pub async fn pair() -> (Node, Node) {
    let (a, b) = (free(), free());
    let mut one = Node::start(1, a, directory(&[(1, Some(a)), (2, Some(b))])).await;
    let mut two = Node::start(2, b, directory(&[(1, None), (2, Some(b))])).await;
    one.connected(two.id).await;
    two.connected(one.id).await;
    one.beats.push(one.beat(two.id));
    two.beats.push(two.beat(one.id));
    (one, two)
}

/// A line to an address that stops carrying bytes, without a word, when it is cut.
pub struct Line {
    pub address: SocketAddrV4,
    flows: Arc<watch::Sender<bool>>,
}

impl Line {
    /// Lays a line to `to`.
    pub async fn to(to: SocketAddrV4) -> Self {
        let address = free();
        let listener = TcpListener::bind(address).await.unwrap();
        let flows = Arc::new(watch::Sender::new(true));
        let carrying = flows.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let flows = carrying.clone();
                tokio::spawn(async move {
                    if let Ok(far) = TcpStream::connect(to).await {
                        let ((a, b), (c, d)) = (near.into_split(), far.into_split());
                        tokio::join!(carry(a, d, flows.subscribe()), carry(c, b, flows.subscribe()));
                    }
                });
            }
        });
        Self { address, flows }
    }

    /// Cuts or mends the line.
    pub fn set(&self, flows: bool) {
        self.flows.send_replace(flows);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut flows: watch::Receiver<bool>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut bytes = vec![0; 16_384];
    loop {
        let read = from.read(&mut bytes).await.unwrap_or(0);
        if flows.wait_for(|f| *f).await.is_err() || read == 0 || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
