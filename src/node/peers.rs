//! The other members: who they are, where they are, how they are, and what that means for Nodes and pods.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::gossip;
use crate::ids::{ClusterId, NodeId, PersistId};
use crate::membership::{self, Membership, Output, State};
use crate::object::kinds;
use crate::store::Reach;
use crate::time::{Mono, Now};
use crate::trust::member::MAX_MEMBER_BYTES;
use crate::trust::{Member, Members, SignedMember};

use super::message::Message;
use super::{Effect, Node};

/// The annotation that says where a node's mesh can be dialled.
pub(super) const MESH_ADDRESS: &str = "skein.dev/mesh-address";

/// How many membership records are taken from others before a leader has told them.
const MOST_HEARD: usize = 256;

/// How often an exchange that has not come about is asked for again.
const EXCHANGE_AGAIN: std::time::Duration = std::time::Duration::from_secs(3);

/// What is known of the other members.
pub(super) struct Peers {
    pub cluster: ClusterId,
    seeds: Vec<SocketAddrV4>,
    pub members: Members,
    /// Records that another member has told and the registers here do not hold yet.
    heard: BTreeSet<SignedMember>,
    membership: Membership,
    standings: BTreeMap<NodeId, Standing>,
    /// As last told to the mesh.
    directory: BTreeMap<NodeId, (String, Vec<SocketAddrV4>)>,
}

/// How far one member has come back.
#[derive(Default)]
struct Standing {
    /// When it last began to answer.
    answers_since: Mono,
    /// When it last ceased to answer.
    silent_since: Mono,
    /// When a connection was made after it ceased to answer, for a while: records may come before it is known to be alive.
    connected: Option<Mono>,
    /// Whether it has said anything in this run of this node.
    heard: bool,
    /// When the last exchange began of which all is shown.
    exchanged: Option<Mono>,
    /// An exchange that is shown when this batch is durable.
    arriving: Option<(PersistId, Mono)>,
    /// When an exchange was last asked for.
    asked: Option<Mono>,
}

impl Peers {
    pub fn new(me: NodeId, seed: u64, cluster: ClusterId, seeds: Vec<SocketAddrV4>) -> Self {
        Self {
            cluster,
            seeds,
            members: Members::default(),
            heard: BTreeSet::new(),
            membership: Membership::new(me, membership::Config::default(), seed),
            standings: BTreeMap::new(),
            directory: BTreeMap::new(),
        }
    }

    /// Tells whether a member answers.
    pub fn answers(&self, peer: &NodeId) -> bool {
        self.membership.state(peer) == State::Alive
    }

    /// Lists the members that are here: those that answer, and this node.
    pub fn here(&self, me: NodeId) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.id == me || self.answers(&member.id))
    }

    /// Tells whether all that a member held at one time in this run is shown here.
    pub fn has_exchanged(&self, peer: &NodeId) -> bool {
        self.standings.get(peer).is_some_and(|standing| standing.exchanged.is_some())
    }

    /// Tells whether all is shown that a member held when it last began to answer.
    pub fn was_heard_out(&self, peer: &NodeId) -> bool {
        self.standings.get(peer).is_some_and(|standing| standing.exchanged >= Some(standing.answers_since))
    }

    /// Returns a member's name.
    pub fn name_of(&self, id: &NodeId) -> String {
        self.members.get(id).map_or_else(|| id.to_string(), |member| member.name.clone())
    }

    /// Notes that a member has said that it is alive.
    pub fn has_said_something(&mut self, peer: &NodeId) {
        if let Some(standing) = self.standings.get_mut(peer) {
            standing.heard = true;
        }
    }

    /// Tells whether a member has answered in this run of this node.
    pub fn was_heard(&self, peer: &NodeId) -> bool {
        self.standings.get(peer).is_some_and(|standing| standing.heard)
    }

    /// Tells since when a member does not answer, if it does not.
    pub fn silent_since(&self, peer: &NodeId) -> Option<Mono> {
        self.standings.get(peer).filter(|_| !self.answers(peer)).map(|standing| standing.silent_since)
    }

    /// Says how a member is for one who decides since `office`, or for a node that does not. With `patience` it is not lost yet.
    fn reach(&self, peer: &NodeId, office: Option<Mono>, patience: bool) -> Reach {
        match self.membership.state(peer) {
            State::Unreachable | State::Lost if self.standings.get(peer).is_some_and(|s| s.connected.is_some()) => {
                Reach::Returning
            }
            State::Lost if patience => Reach::Unreachable,
            State::Lost => Reach::Lost,
            State::Unreachable => Reach::Unreachable,
            State::Alive => {
                let Some(office) = office else { return Reach::Reachable };
                let settled =
                    self.standings.get(peer).is_some_and(|s| s.exchanged >= Some(s.answers_since.max(office)));
                if settled { Reach::Reachable } else { Reach::Returning }
            }
        }
    }
}

impl Node {
    /// Reads the table of members out of the registers. Returns whether it has changed.
    pub(super) fn read_members(&mut self) -> bool {
        let decided: BTreeSet<&SignedMember> = self.leading.member_records().collect();
        self.peers.heard.retain(|raw| !decided.contains(raw));
        let records = decided.into_iter().chain(&self.peers.heard);
        let members = Members::of(self.peers.cluster, records.map(Vec::as_slice));
        let changed = members != self.peers.members;
        self.peers.members = members;
        changed
    }

    /// Tells a peer who the members are: it may have been away when one joined that leads now, and would not hear of it
    /// from somebody whom it does not know.
    pub(super) fn tell_members(&mut self, to: NodeId) {
        let records = self.leading.member_records().cloned().collect();
        self.telling.say(to, Message::Members(records));
    }

    /// Takes membership records that another member knows to be in effect. Each proves itself by its chain of signatures.
    pub(super) fn hear_of_members(&mut self, now: Now, records: Vec<SignedMember>) {
        let known: BTreeSet<&SignedMember> = self.leading.member_records().collect();
        let new: Vec<SignedMember> = records.into_iter().filter(|raw| !known.contains(raw)).collect();
        let room = MOST_HEARD.saturating_sub(self.peers.heard.len());
        self.peers.heard.extend(new.into_iter().filter(|raw| raw.len() <= MAX_MEMBER_BYTES).take(room));
        if !self.peers.heard.is_empty() && self.read_members() {
            self.members_changed(now);
        }
    }

    /// Tells every room who the members are.
    pub(super) fn members_changed(&mut self, now: Now) {
        let me = self.store.node_id();
        let others: BTreeSet<NodeId> = self.peers.members.iter().map(|m| m.id).filter(|id| *id != me).collect();
        self.peers.standings.retain(|id, _| others.contains(id));
        self.partings.retain(&others);
        for id in &others {
            self.peers
                .standings
                .entry(*id)
                .or_insert_with(|| Standing { answers_since: now.mono, ..Standing::default() });
        }
        for id in others.iter().filter(|id| self.peers.answers(id)).copied().collect::<Vec<_>>() {
            self.tell_members(id);
        }
        self.forget_clocks(&others);
        self.watch_peers(now, membership::Input::Members(others));
        self.refresh_directory();
        self.tell_election(now);
        self.refresh_reaches(now);
    }

    /// Tells the mesh where the others are, if that is new.
    pub(super) fn refresh_directory(&mut self) {
        let mut places: BTreeMap<String, SocketAddrV4> = BTreeMap::new();
        for node in self.store.snapshot().list(&kinds::NODE, None) {
            let value = node.value();
            let address = value["metadata"]["annotations"][MESH_ADDRESS].as_str().and_then(|a| a.parse().ok());
            places.extend(address.map(|address| (node.key.name.clone(), address)));
        }
        let me = self.store.node_id();
        let peer = |member: &Member| {
            let known = places.get(&member.name).map(|address| vec![*address]);
            (member.id, (member.name.clone(), known.unwrap_or_else(|| self.peers.seeds.clone())))
        };
        let directory: BTreeMap<_, _> = self.peers.members.iter().filter(|m| m.id != me).map(peer).collect();
        if directory != self.peers.directory {
            self.peers.directory = directory.clone();
            // Somebody new has no lease yet.
            self.next_upkeep = Mono::default();
            self.effects.push(Effect::Peers(directory));
        }
    }

    /// Hands the watch over who is alive an input and does what it says.
    pub(super) fn watch_peers(&mut self, now: Now, input: membership::Input) {
        let mut changed = false;
        for output in self.peers.membership.handle(now.mono, input) {
            match output {
                Output::Send { to, message } => {
                    let numbers = self.telling.numbers();
                    self.telling.say(to, Message::Membership(message, numbers));
                    self.telling.say(to, Message::Level(self.levels.own));
                    self.tell_time(now, to);
                    self.telling.say(to, Message::Beat(self.caretaking.newest_beat()));
                }
                Output::Changed { peer, state } => {
                    changed = true;
                    self.peer_changed(now, peer, state);
                }
            }
        }
        if changed {
            self.tell_election(now);
            self.refresh_reaches(now);
        }
        if self.decides().is_some() {
            self.ask_for_exchanges(now);
        }
    }

    fn peer_changed(&mut self, now: Now, peer: NodeId, state: State) {
        tracing::info!(node = self.peers.name_of(&peer), ?state, "a member");
        if let (State::Alive, Some(standing)) = (state, self.peers.standings.get_mut(&peer)) {
            standing.answers_since = now.mono;
            standing.asked = None;
            self.exchange(now, peer);
        }
        if let (State::Unreachable, Some(standing)) = (state, self.peers.standings.get_mut(&peer)) {
            standing.silent_since = now.mono;
            standing.connected = None;
        }
        match state {
            State::Alive => self.partings.back(now, &peer),
            State::Unreachable => self.partings.silent(now, peer, self.peers.name_of(&peer)),
            State::Lost => self.note_lost(now, peer),
        }
    }

    /// Notes that there is a connection, or none any more.
    pub(super) fn set_connected(&mut self, now: Now, peer: NodeId, connected: Option<Mono>) {
        if let Some(standing) = self.peers.standings.get_mut(&peer) {
            standing.connected = connected;
            self.refresh_reaches(now);
        }
    }

    /// Who is connected and does not answer is as it was.
    pub(super) fn doubt_connections(&mut self, now: Now) {
        let is_old = |at: &mut Mono| now.mono.since(*at) >= EXCHANGE_AGAIN;
        let old = self.peers.standings.values_mut().filter_map(|s| s.connected.take_if(is_old)).count();
        if old > 0 {
            self.refresh_reaches(now);
        }
    }

    /// A connection has ended.
    pub(super) fn gone(&mut self, now: Now, peer: NodeId, reset: bool) {
        self.set_connected(now, peer, None);
        self.not_connected(peer);
        self.gossip(now, gossip::Input::Gone(peer));
        if reset {
            self.elect(now, crate::election::Input::Gone(peer));
        }
    }

    /// All that `peer` held when the exchange began is merged; it is shown when it is durable.
    pub(super) fn exchanged(&mut self, peer: NodeId, began: Mono) {
        // What was merged goes with the batch that is taken at the end of this turn, if there is anything.
        let batch = PersistId(self.telling.taken.0 + 1);
        if let Some(standing) = self.peers.standings.get_mut(&peer) {
            standing.arriving = Some((batch, began));
        }
    }

    /// A batch is durable: exchanges that waited for it are done.
    pub(super) fn note_durable(&mut self, now: Now, id: PersistId) {
        self.telling.durable = id;
        self.finish_exchanges(now);
    }

    /// Counts exchanges of which all is shown. One that brought nothing has no batch to wait for.
    pub(super) fn finish_exchanges(&mut self, now: Now) {
        let (taken, durable) = (self.telling.taken, self.telling.durable);
        let mut finished = false;
        for standing in self.peers.standings.values_mut() {
            if let Some((batch, began)) = standing.arriving
                && (durable >= batch || taken < batch && durable == taken)
            {
                standing.arriving = None;
                standing.exchanged = standing.exchanged.max(Some(began));
                finished = true;
            }
        }
        if finished {
            self.refresh_reaches(now);
            self.note_exchanges(now);
        }
    }

    /// A leader must know what every member holds before it takes anything away.
    fn ask_for_exchanges(&mut self, now: Now) {
        let office = self.in_office_since();
        let due = |standing: &Standing| standing.asked.is_none_or(|asked| now.mono.since(asked) >= EXCHANGE_AGAIN);
        let returning = |id: &NodeId| self.peers.reach(id, office, false) == Reach::Returning;
        let wanted: Vec<NodeId> =
            self.peers.standings.iter().filter(|(id, s)| due(s) && returning(id)).map(|(id, _)| *id).collect();
        for peer in wanted {
            self.exchange(now, peer);
        }
    }

    /// Tells whether a member answers again with which no exchange is done yet.
    pub(super) fn is_anyone_returning(&self) -> bool {
        let office = self.in_office_since();
        self.peers.standings.keys().any(|peer| self.peers.reach(peer, office, false) == Reach::Returning)
    }

    /// Lists the members that answer and with which no exchange was finished that began after `since`.
    pub(super) fn unheard_since(&self, since: Mono) -> Vec<NodeId> {
        let standings = self.peers.standings.iter().filter(|(id, _)| self.peers.answers(id));
        standings.filter(|(_, standing)| standing.exchanged < Some(since)).map(|(id, _)| *id).collect()
    }

    /// Begins an exchange with a member, unless one was asked for just now.
    pub(super) fn exchange_soon(&mut self, now: Now, peer: NodeId) {
        let asked = self.peers.standings.get(&peer).and_then(|standing| standing.asked);
        if asked.is_none_or(|asked| now.mono.since(asked) >= EXCHANGE_AGAIN) {
            self.exchange(now, peer);
        }
    }

    /// Begins an exchange with a member.
    pub(super) fn exchange(&mut self, now: Now, peer: NodeId) {
        if let Some(standing) = self.peers.standings.get_mut(&peer) {
            standing.asked = Some(now.mono);
        }
        self.gossip(now, gossip::Input::Exchange(peer));
    }

    /// Tells whether this node knows, since it leads, what a majority of the members holds.
    pub(super) fn knows_most(&self) -> bool {
        let office = self.leading.since();
        let known = self.peers.standings.values().filter(|s| s.exchanged.is_some() && s.exchanged >= office).count();
        (known + 1) * 2 > self.peers.standings.len() + 1
    }

    /// Projects how members are onto their Nodes and pods.
    pub(super) fn refresh_reaches(&mut self, now: Now) {
        let (office, many) = (self.in_office_since(), self.sees_half());
        let reaches: Vec<(String, Reach)> = self
            .peers
            .standings
            .keys()
            .map(|id| (self.peers.name_of(id), self.peers.reach(id, office, self.must_be_patient_with(now, id, many))))
            .collect();
        for (name, reach) in reaches {
            self.store.set_reach(now, &name, reach);
        }
    }

    /// This host has another address.
    pub(super) fn moved(&mut self, now: Now, address: Ipv4Addr) {
        tracing::info!(%address, "this host has another address");
        self.address = address;
        self.kubelet.set_host_address(address);
        self.upkeep(now);
        self.traffic.start(self.store.snapshot());
        self.wake_kubelet(now, crate::kubelet::Input::Changed);
    }
}
