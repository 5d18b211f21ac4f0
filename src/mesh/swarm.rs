//! The one task that owns the swarm: dials, listens, and applies what the rest of the agent asks for.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use libp2p::core::upgrade::Version;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{PeerId, Swarm, mdns};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::dial::{self, Dialer};
use super::gate::{Gate, Members, Reached};
use super::member::Member;
use super::{Config, Directory, Event, MeshError, Roster, Shared, identity, limits, transport};
use crate::ids::NodeId;

/// A call to a stranger.
pub(super) struct Errand {
    pub(super) address: SocketAddrV4,
    pub(super) expected: Option<NodeId>,
    pub(super) reached: Reached,
}

/// All that speaks on connections.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    gate: Gate,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

/// The task's state.
pub(super) struct Task {
    swarm: Swarm<Behaviour>,
    shared: Arc<Shared>,
    dialer: Dialer,
    members: Members,
    events: mpsc::Sender<Event>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Task {
    /// Listens.
    ///
    /// # Errors
    /// The port is taken, or the key is of no use.
    pub(super) fn new(
        config: &Config,
        shared: Arc<Shared>,
        events: mpsc::Sender<Event>,
        shutdown: CancellationToken,
    ) -> Result<Self, MeshError> {
        let failed = |reason: String| MeshError::Listen { port: config.listen.port(), reason };
        // libp2p's listener shares its port with others of this user: another agent there would go unnoticed.
        drop(std::net::TcpListener::bind(config.listen).map_err(|e| failed(e.to_string()))?);
        let key = identity::keypair(&config.key);
        let transport = transport::build(&key).map_err(|e| failed(e.to_string()))?;
        let (tasks, me) = (TaskTracker::new(), PeerId::from(key.public()));
        let gate = Gate::new(shared.me, events.clone(), tasks.clone(), shutdown.clone());
        let behaviour = Behaviour { gate, mdns: Toggle::from(discovery(config, me)) };
        let settings = libp2p::swarm::Config::with_tokio_executor()
            .with_substream_upgrade_protocol_override(Version::V1Lazy)
            .with_max_negotiating_inbound_streams(limits::NEGOTIATING)
            .with_idle_connection_timeout(limits::STRANGER_IDLE);
        let mut swarm = Swarm::new(transport, behaviour, me, settings);
        swarm.listen_on(identity::multiaddr(config.listen)).map_err(|e| failed(e.to_string()))?;
        Ok(Self { swarm, shared, dialer: Dialer::default(), members: Members::new(), events, tasks, shutdown })
    }

    /// Runs until the shutdown.
    pub(super) async fn run(
        mut self,
        mut directory: watch::Receiver<Arc<Directory>>,
        mut errands: mpsc::Receiver<Errand>,
    ) {
        let mut tick = tokio::time::interval(limits::TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Ok(()) = directory.changed() => {
                    let directory = directory.borrow_and_update().clone();
                    self.set_directory(&directory);
                }
                Some(errand) = errands.recv() => self.errand(errand),
                event = self.swarm.select_next_some() => self.note(event),
                _ = tick.tick() => {
                    self.swarm.behaviour_mut().gate.look(Instant::now());
                    self.redial();
                }
            }
        }
        // What waits for a full channel of events ends when its receiver goes: it is not waited for.
        self.tasks.close();
        self.shared.roster.store(Arc::default());
    }

    /// Applies a directory.
    pub(super) fn set_directory(&mut self, directory: &Directory) {
        let mut others = directory.clone();
        others.remove(&self.shared.me);
        let gone: Vec<_> = self.members.keys().filter(|id| !others.contains_key(id)).copied().collect();
        for member in gone.iter().filter_map(|id| self.members.remove(id)) {
            member.removed.cancel();
        }
        for id in others.keys() {
            self.members.entry(*id).or_insert_with(|| {
                let member = Member::new(*id, self.events.clone(), self.shutdown.child_token());
                self.tasks.spawn(member.clone().session());
                member
            });
        }
        let names = others.iter().map(|(id, peer)| (peer.name.clone(), *id)).collect();
        self.shared.roster.store(Arc::new(Roster { members: self.members.clone(), names }));
        self.swarm.behaviour_mut().gate.set_members(self.members.clone());
        self.dialer.set_directory(Arc::new(others));
        self.redial();
    }

    fn redial(&mut self) {
        let members = &self.members;
        let connected = |id| members.get(&id).is_none_or(|m| m.link().is_some());
        for (node, addresses) in self.dialer.due(Instant::now(), connected) {
            let Some(peer) = identity::peer_of(node) else { continue };
            let options = DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(addresses.into_iter().map(identity::multiaddr).collect())
                .allocate_new_port()
                .build();
            let dial = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => self.dialer.dialling(node, dial),
                Err(error) => debug!(?node, %error, "a member cannot be dialled"),
            }
        }
    }

    fn errand(&mut self, errand: Errand) {
        let address = identity::multiaddr(errand.address);
        let options = match errand.expected.map(identity::peer_of) {
            None => DialOpts::unknown_peer_id().address(address).allocate_new_port().build(),
            Some(Some(peer)) => DialOpts::peer_id(peer)
                .condition(PeerCondition::Always)
                .addresses(vec![address])
                .allocate_new_port()
                .build(),
            Some(None) => {
                let _ = errand.reached.send(Err("the expected node's id is no key".into()));
                return;
            }
        };
        // A dial that fails at once is told to the gate like any other.
        self.swarm.behaviour_mut().gate.expect(options.connection_id(), errand.reached);
        if let Err(error) = self.swarm.dial(options) {
            debug!(address = %errand.address, reason = dial::reason(&error), "a stranger cannot be dialled");
        }
    }

    fn note(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { connection_id, .. } => drop(self.dialer.ended(connection_id)),
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                debug!(reason = dial::reason(&error), "a dial has failed");
                let member = self.dialer.ended(connection_id);
                if let Some(peer) = member.filter(|node| self.dialer.is_refused(*node, &error)) {
                    // The next one will be told if this one cannot be.
                    let _ = self.events.try_send(Event::Refused { peer });
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => debug!(%error, "a connection is refused"),
            SwarmEvent::ListenerClosed { reason, .. } => warn!(?reason, "the mesh listens no more"),
            SwarmEvent::ListenerError { error, .. } => debug!(%error, "a connection cannot be accepted"),
            SwarmEvent::Behaviour(BehaviourEvent::Mdns(mdns::Event::Discovered(found))) => {
                for (peer, address) in found {
                    if let (Some(node), Some(at)) = (identity::node_of(&peer), identity::socket_address(&address)) {
                        self.dialer.found(node, at);
                    }
                }
            }
            _ => {}
        }
    }
}

fn discovery(config: &Config, me: PeerId) -> Option<mdns::tokio::Behaviour> {
    if !config.discover {
        return None;
    }
    let made = mdns::tokio::Behaviour::new(mdns::Config::default(), me);
    made.inspect_err(|error| warn!(%error, "members are not looked for on the local network")).ok()
}
