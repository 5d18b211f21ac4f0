//! Who gets in: members, and a few strangers for a short while. Everything about connections is decided here.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::ConnectionEstablished;
use libp2p::swarm::{
    CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionError, ConnectionId, DialFailure, FromSwarm,
    ListenFailure, NetworkBehaviour, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use super::handler::Handler;
use super::link::Link;
use super::member::Member;
use super::{Event, dial, identity, limits, transport};
use crate::ids::NodeId;

/// The other members.
pub(super) type Members = BTreeMap<NodeId, Arc<Member>>;

/// Where the outcome of a call to a stranger goes.
pub(super) type Reached = oneshot::Sender<Result<Arc<Link>, String>>;

/// The gate.
pub(super) struct Gate {
    me: NodeId,
    members: Members,
    events: mpsc::Sender<Event>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
    /// Connections in their handshake that others have dialled.
    pending: BTreeMap<ConnectionId, Option<IpAddr>>,
    links: BTreeMap<ConnectionId, Arc<Link>>,
    errands: BTreeMap<ConnectionId, Reached>,
    closing: VecDeque<(PeerId, ConnectionId)>,
    waker: Option<Waker>,
    looked: Instant,
}

impl Gate {
    pub(super) fn new(
        me: NodeId,
        events: mpsc::Sender<Event>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            me,
            members: Members::new(),
            events,
            tasks,
            shutdown,
            pending: BTreeMap::new(),
            links: BTreeMap::new(),
            errands: BTreeMap::new(),
            closing: VecDeque::new(),
            waker: None,
            looked: Instant::now(),
        }
    }

    /// Sets who the members are: closes connections of those that were, keeps those of strangers that are now.
    pub(super) fn set_members(&mut self, members: Members) {
        self.members = members;
        for link in self.links.values().cloned().collect::<Vec<_>>() {
            let former = link.member.load_full();
            match (former, self.members.get(&link.node).cloned()) {
                (Some(former), Some(member)) if Arc::ptr_eq(&former, &member) => {}
                (None, None) => {}
                (None, Some(member)) => self.attach(&link, &member),
                (Some(_), _) => self.close(&link, "it is no member any more"),
            }
        }
    }

    /// Lets a dial to a stranger through.
    pub(super) fn expect(&mut self, dial: ConnectionId, reached: Reached) {
        self.errands.insert(dial, reached);
    }

    /// Closes what has been silent or has stayed for too long.
    pub(super) fn look(&mut self, now: Instant) {
        let stalled = now.duration_since(self.looked) > limits::STALL;
        self.looked = now;
        for link in self.links.values().cloned().collect::<Vec<_>>() {
            let member = link.member.load().is_some();
            if stalled {
                link.hear();
            } else if member && link.silent_for() >= limits::SILENCE {
                self.close(&link, "nothing has come for 2 s");
            } else if !member && !link.dialled && now.duration_since(link.since) >= limits::STRANGER_STAY {
                self.close(&link, "a stranger may stay no longer");
            }
        }
        for member in self.members.values().cloned().collect::<Vec<_>>() {
            self.settle(&member, now);
        }
    }

    fn admit_inbound(&self, node: NodeId) -> Result<(), &'static str> {
        let live = || self.links.values().filter(|l| !l.ended.is_cancelled());
        if self.members.contains_key(&node) {
            let same = live().filter(|l| l.node == node).count();
            return if same < limits::OF_ONE_MEMBER { Ok(()) } else { Err("the member has too many connections") };
        }
        let strangers = live().filter(|l| !l.dialled && l.member.load().is_none()).count();
        if strangers < limits::STRANGERS { Ok(()) } else { Err("there is no room for strangers") }
    }

    fn link(&mut self, id: ConnectionId, peer: PeerId, node: NodeId, dialled: bool) -> Handler {
        let (link, opens) = Link::new(id, peer, node, dialled, self.shutdown.child_token());
        self.links.insert(id, link.clone());
        Handler::new(link, opens, self.events.clone(), self.tasks.clone())
    }

    fn established(&mut self, id: ConnectionId) {
        self.pending.remove(&id);
        let Some(link) = self.links.get(&id).cloned() else { return };
        if let Some(member) = self.members.get(&link.node).cloned() {
            self.attach(&link, &member);
        }
        if let Some(reached) = self.errands.remove(&id) {
            let _ = reached.send(Ok(link));
        }
    }

    fn attach(&mut self, link: &Arc<Link>, member: &Arc<Member>) {
        info!(peer = ?member.id, connection = %link.id, dialled = link.dialled, "connected to a member");
        link.hear();
        link.member.store(Some(member.clone()));
        member.attach(link, link.dialled == (self.me < member.id));
    }

    /// Leaves one connection to a member, the one that both sides use. Only the lesser of the two nodes decides, so that
    /// they never close each other's, and only when the far side has had time to end its handshake of the one that
    /// stays: it would stand without any until then.
    fn settle(&mut self, member: &Member, now: Instant) {
        let links = member.links();
        let (true, [others @ .., kept]) = (self.me < member.id, links.as_slice()) else { return };
        if others.iter().chain([kept]).all(|link| now.duration_since(link.since) >= limits::SETTLE) {
            others.iter().for_each(|link| self.close(link, "there is another one"));
        }
    }

    fn close(&mut self, link: &Arc<Link>, why: &str) {
        if link.ended.is_cancelled() {
            return;
        }
        debug!(peer = ?link.node, connection = %link.id, why, "closing a connection");
        self.end(link, false);
        self.closing.push_back((link.peer, link.id));
        self.wake();
    }

    fn end(&self, link: &Link, reset: bool) {
        link.ended.cancel();
        if let Some(member) = link.member.load_full() {
            member.detach(link.id, reset);
        }
    }

    fn closed(&mut self, id: ConnectionId, cause: Option<&ConnectionError>) {
        let Some(link) = self.links.remove(&id) else { return };
        let reset = matches!(cause, Some(ConnectionError::IO(error)) if transport::ended_by_peer(error));
        if link.member.load().is_some() {
            info!(peer = ?link.node, connection = %id, reset, "a connection to a member has ended");
        }
        // No-op if this side closed it: that is told already.
        self.end(&link, reset);
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn denied(why: &'static str) -> ConnectionDenied {
    ConnectionDenied::new(why)
}

fn host_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let host = host_of(remote);
        let same = self.pending.values().filter(|h| **h == host).count();
        if self.pending.len() >= limits::PENDING || same >= limits::PENDING_OF_ONE {
            return Err(denied("too many connections are in their handshake"));
        }
        self.pending.insert(id, host);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        let node = identity::node_of(&peer).ok_or_else(|| denied("its key is no Ed25519 key"))?;
        self.admit_inbound(node).map_err(denied)?;
        Ok(self.link(id, peer, node, false))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        let node = identity::node_of(&peer).ok_or_else(|| denied("its key is no Ed25519 key"))?;
        if !self.members.contains_key(&node) && !self.errands.contains_key(&id) {
            return Err(denied("it is no member any more"));
        }
        Ok(self.link(id, peer, node, true))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { connection_id, .. }) => {
                self.established(connection_id);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, cause, .. }) => {
                self.closed(connection_id, cause);
            }
            FromSwarm::ListenFailure(ListenFailure { connection_id, .. }) => {
                self.pending.remove(&connection_id);
                self.links.remove(&connection_id);
            }
            FromSwarm::DialFailure(DialFailure { connection_id, error, .. }) => {
                self.links.remove(&connection_id);
                if let Some(reached) = self.errands.remove(&connection_id) {
                    let _ = reached.send(Err(dial::reason(error)));
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: Infallible) {
        match event {}
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Infallible, Infallible>> {
        if let Some((peer_id, id)) = self.closing.pop_front() {
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) });
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
