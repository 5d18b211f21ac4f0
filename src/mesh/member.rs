//! One other member: its connections, what waits for it, and the order of what is told about it.
//!
//! Its session is the one task that says [`Event::Connected`] and [`Event::Gone`]; readers deliver frames between the
//! two only. All of them take turns, so that a member's events come in order.

use std::sync::Arc;

use bytes::Bytes;
use libp2p::swarm::ConnectionId;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Event;
use super::lanes;
use super::limits;
use super::link::Link;
use super::queue::Outbox;
use crate::ids::NodeId;
use crate::node::message::Lane;

/// A member.
pub(super) struct Member {
    pub(super) id: NodeId,
    pub(super) outbox: Outbox,
    /// Ends when it is no member any more.
    pub(super) removed: CancellationToken,
    links: watch::Sender<Links>,
    connected: watch::Sender<bool>,
    turn: Mutex<()>,
    events: mpsc::Sender<Event>,
}

/// The live connections to a member.
#[derive(Default)]
struct Links {
    /// The one to use last: the newest, since a new connection is a sign of life and an old one may be dead; of those
    /// dialled at the same time the preferred one.
    live: Vec<Arc<Link>>,
    /// How often the last connection has ended.
    outages: u64,
    /// Whether it was the far side that ended it the last time.
    reset: bool,
}

impl Member {
    pub(super) fn new(id: NodeId, events: mpsc::Sender<Event>, removed: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            id,
            outbox: Outbox::default(),
            removed,
            links: watch::Sender::default(),
            connected: watch::Sender::default(),
            turn: Mutex::default(),
            events,
        })
    }

    /// Adds a connection; it is the one that is used from now on, unless a preferred one came at the same time.
    /// `preferred`: the lesser of the two nodes has dialled it. So both sides use the same one, and what is open on it
    /// stays when the other is closed.
    pub(super) fn attach(&self, link: &Arc<Link>, preferred: bool) {
        self.links.send_modify(|links| {
            let together = |other: &&Arc<Link>| link.since.duration_since(other.since) < limits::TOGETHER;
            let stays =
                !preferred && links.live.last().filter(together).is_some_and(|last| last.dialled != link.dialled);
            let place = links.live.len() - usize::from(stays);
            links.live.insert(place, link.clone());
        });
    }

    /// Takes a connection away. `reset`: the far side ended it.
    pub(super) fn detach(&self, id: ConnectionId, reset: bool) {
        self.links.send_if_modified(|links| {
            let before = links.live.len();
            links.live.retain(|l| l.id != id);
            if links.live.len() == before {
                return false;
            }
            if links.live.is_empty() {
                links.outages += 1;
                links.reset = reset;
            }
            true
        });
    }

    /// Returns the live connections, the one to use last.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        self.links.borrow().live.clone()
    }

    /// Returns the connection to use.
    pub(super) fn link(&self) -> Option<Arc<Link>> {
        self.links.borrow().live.last().cloned()
    }

    /// Runs the lanes to the member, and says when it comes and goes, until it is removed.
    pub(super) async fn session(self: Arc<Self>) {
        self.removed.run_until_cancelled(self.keep()).await;
        self.gone(false).await;
    }

    async fn keep(&self) {
        let mut links = self.links.subscribe();
        let mut outages = 0;
        loop {
            let (link, seen, reset) = {
                let links = links.borrow_and_update();
                (links.live.last().cloned(), links.outages, links.reset)
            };
            if seen != outages {
                outages = seen;
                self.gone(reset).await;
            }
            let id = link.as_ref().map(|l| l.id);
            let other = links.wait_for(|l| l.outages != outages || l.live.last().map(|l| l.id) != id);
            match link {
                Some(link) => tokio::select! {
                    () = lanes::carry(self, &link) => {}
                    _ = other => {}
                },
                None => drop(other.await),
            }
        }
    }

    /// Says that the member can be sent to, if that is news.
    pub(super) async fn up(&self) {
        let _turn = self.turn.lock().await;
        if *self.connected.borrow() {
            return;
        }
        let Ok(room) = self.events.reserve().await else { return };
        self.outbox.set_open(true);
        room.send(Event::Connected { peer: self.id });
        self.connected.send_replace(true);
    }

    async fn gone(&self, reset: bool) {
        let _turn = self.turn.lock().await;
        if !self.connected.send_replace(false) {
            return;
        }
        self.outbox.set_open(false);
        let _ = self.events.send(Event::Gone { peer: self.id, reset }).await;
    }

    /// Delivers a frame, after [`Event::Connected`]. Returns false if nobody takes frames any more.
    pub(super) async fn deliver(&self, link: &Link, lane: Lane, frame: Bytes) -> bool {
        loop {
            if !*self.connected.borrow() && self.connected.subscribe().wait_for(|c| *c).await.is_err() {
                return false;
            }
            let _held_up = link.hold_up();
            let _turn = self.turn.lock().await;
            if *self.connected.borrow() {
                return self.events.send(Event::Frame { from: self.id, lane, frame }).await.is_ok();
            }
        }
    }
}
