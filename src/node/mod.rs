//! All pure rooms as one machine: `handle(now, input) -> outputs`. It dispatches, it does not decide.
//!
//! ```text
//! input -> store / kubelet -> settle: visible changes wake controllers, scheduler, kubelet, routing, whose wishes
//!          are committed in turn, until nothing is left to do now -> outputs
//! ```
//!
//! Invariants:
//! * *Read your writes*: a snapshot that shows a write is published before the write is answered.
//! * *Acknowledged is durable*: a request is answered only when its records are on disk.
//! * *No runaway work* (rule 12): a key is reconciled again only on a view that holds all changes of its last
//!   reconcile.
//! * *One decides*: controllers and scheduler run only while this node is the established leader, or the caretaker of a side
//!   that hears none.
//! * *No peer holds up the loop*: records are merged a slice a turn; while [`Node::is_busy`], turns follow each other.
//! * *Durable before told*: peers hear of a write only once it is on this node's disk.

mod epochs;
pub mod io;
pub mod message;

mod accounts;
mod admission;
mod arrivals;
mod bootstrap;
mod caretaking;
mod clock;
mod collecting;
mod duty;
mod granting;
mod health;
mod holding;
mod horizon;
mod leading;
pub mod leases;
mod levels;
mod local;
mod merging;
mod notes;
mod partings;
pub mod partition;
mod peers;
mod placement;
mod recovering;
mod requests;
mod root_ca;
mod shadow;
mod slots;
mod telling;
mod traffic;
mod work;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use ipnet::Ipv4Net;
use sha2::{Digest, Sha256};

use crate::election::{Ballot, Registers};
use crate::ids::{ClusterId, RequestId, Revision, Term};
use crate::kubelet::{self, Kubelet};
use crate::object::kinds;
use crate::routing;
use crate::store::{
    self, Author, Change, Committed, OpenReport, Receipt, Rejected, Snapshot, Store, Ticket, WatchEvent,
};
use crate::time::Now;
use crate::trust::ClusterSettings;
use crate::{election, gossip, membership};

pub use bootstrap::{CARETAKER, LEADER};
pub use io::{Effect, Input, Request};

use crate::gossip::Origin;
use admission::Admissions;
use arrivals::Arrivals;
use caretaking::Caretaking;
use clock::Clock;
use duty::Duty;
use granting::Granting;
use health::Health;
use holding::Holding;
use horizon::Horizons;
use leading::Leading;
use leases::Leases;
use levels::Levels;
use notes::Recorder;
use partings::Partings;
use peers::Peers;
use placement::Placement;
use telling::Telling;
use traffic::Traffic;
use work::{Work, WorkQueue};

/// What a node is told at its start.
pub struct Config {
    /// This node's name in the cluster.
    pub name: String,
    /// The host's address, at which the API is served.
    pub address: Ipv4Addr,
    /// The API's port.
    pub api_port: u16,
    /// The address of the `kubernetes` Service.
    pub api_address: Ipv4Addr,
    /// This node's pod range.
    pub pod_range: Ipv4Net,
    /// The cluster.
    pub cluster: ClusterId,
    /// What is the same for all its members.
    pub settings: ClusterSettings,
    /// Where other members dial this one, on its address.
    pub mesh_port: u16,
    /// The ballot on this node's disk. Its founder's names it alone as voter; a joiner's is empty.
    pub ballot: Ballot,
    /// The registers on this node's disk: the founder's own membership record, or the table that a joiner was given.
    pub registers: Registers,
    /// How long a horizon takes, of which a member may be 30 behind: a day.
    pub horizon: std::time::Duration,
    /// Until when each pod may run that must never run twice, as an earlier run of this node has told its warden.
    pub leases: BTreeMap<crate::ids::Uid, crate::time::Mono>,
    /// Where members may be whose address is not known yet: those of a joiner's token.
    pub seeds: Vec<SocketAddrV4>,
    /// The agent's feature level: [`crate::features::LEVEL`], but for tests of mixed clusters.
    pub level: u32,
    /// Whether it runs no pods and is a member for its vote.
    pub witness: bool,
    /// The certificate of the cluster's authority, PEM, which every namespace shows.
    pub authority: String,
    /// Whether it sees to the roles that every cluster has while it leads; tests of other things do without.
    pub default_roles: bool,
    /// The store's own.
    pub store: store::Config,
    /// The kubelet's own.
    pub kubelet: kubelet::Config,
    /// The routes' own.
    pub routing: routing::Config,
}

/// One node: every room that decides, and the state between them.
pub struct Node {
    name: String,
    address: Ipv4Addr,
    api_port: u16,
    api_address: Ipv4Addr,
    pod_range: Ipv4Net,
    mesh_port: u16,
    witness: bool,
    authority: String,
    default_roles: bool,
    /// The newest term this node knows: stamps what it decides while it leads.
    term: Term,
    store: Store,
    kubelet: Kubelet,
    work: WorkQueue,
    placement: Placement,
    duty: Duty,
    /// Whether the agent is about to stop.
    leaving: bool,
    traffic: Traffic,
    recorder: Recorder,
    leading: Leading,
    caretaking: Caretaking,
    partings: Partings,
    peers: Peers,
    telling: Telling,
    admissions: Admissions,
    arrivals: Arrivals,
    levels: Levels,
    leases: Leases,
    health: Health,
    clock: Clock,
    epochs: epochs::Epochs,
    horizons: Horizons,
    holding: Holding,
    granting: Granting,
    /// This run of this node.
    run: u64,
    /// Who waits for a change to be shown.
    waiting: BTreeMap<Ticket, Waiter>,
    /// Up to where the rooms have seen the store's changes.
    seen: Revision,
    /// Up to where the world has seen them.
    published: Revision,
    /// Answers ready to go out after the next publication.
    answers: Vec<(RequestId, Result<Committed, Rejected>)>,
    /// Effects of this input, in order.
    effects: Vec<Effect>,
    /// When bootstrap objects are next looked after.
    next_upkeep: crate::time::Mono,
}

/// Who waits for a change to be shown.
enum Waiter {
    Request(RequestId),
    Work(Work),
    Binding,
    Nobody,
}

/// How often the rooms may wake each other in one turn; what is left waits for the next input.
const ROUNDS: usize = 16;

impl Node {
    /// Makes a node of the records on its disk.
    pub fn new(config: Config, records: impl IntoIterator<Item = Vec<u8>>, now: Now) -> (Self, OpenReport) {
        let key = config.store.key.clone();
        let (id, run) = (config.store.node, config.store.incarnation);
        let seed = seed(&config.store.seed, run);
        let (store, report) = Store::open(config.store, records, now);
        let mut node = Self {
            name: config.name,
            address: config.address,
            api_port: config.api_port,
            api_address: config.api_address,
            pod_range: config.pod_range,
            mesh_port: config.mesh_port,
            witness: config.witness,
            authority: config.authority,
            default_roles: config.default_roles,
            term: config.ballot.term,
            leading: Leading::new(id, seed, config.ballot, config.registers),
            caretaking: Caretaking::new(now.mono),
            partings: Partings::default(),
            peers: Peers::new(id, seed, config.cluster, config.seeds),
            telling: Telling::new(Origin { node: id, incarnation: run }, seed),
            horizons: Horizons::new(config.horizon),
            admissions: Admissions::new(key, config.settings),
            arrivals: Arrivals::default(),
            levels: Levels::new(config.level),
            leases: Leases::new(run),
            health: Health::default(),
            clock: Clock::default(),
            holding: Holding::new(config.leases),
            granting: Granting::default(),
            run,
            epochs: epochs::Epochs::default(),
            seen: store.snapshot().revision(),
            published: Revision(0),
            store,
            kubelet: Kubelet::new(config.kubelet),
            work: WorkQueue::default(),
            placement: Placement::default(),
            duty: Duty::default(),
            leaving: false,
            traffic: Traffic::new(config.routing),
            recorder: Recorder::default(),
            waiting: BTreeMap::new(),
            answers: Vec::new(),
            effects: Vec::new(),
            next_upkeep: crate::time::Mono::default(),
        };
        node.read_members();
        node.learn_horizon(now);
        node.show_all_leases(now);
        (node, report)
    }

    /// Returns the cluster as it is shown now.
    pub fn snapshot(&self) -> &Snapshot {
        self.store.snapshot()
    }

    /// Returns all live records, for the log's compaction.
    pub fn records(&self) -> Vec<Vec<u8>> {
        self.store.records().collect()
    }

    /// Begins: wakes every room with what the store holds.
    pub fn start(&mut self, now: Now) -> Vec<Effect> {
        self.say_whether_able(now);
        self.members_changed(now);
        self.elect(now, election::Input::Tick);
        self.upkeep(now);
        self.traffic.start(self.store.snapshot());
        self.show_root_cas(now);
        self.begin_holding(now);
        self.wake_kubelet(now, kubelet::Input::Changed);
        self.settle(now);
        self.outputs(now)
    }

    /// Takes an input and returns what is to be done, in order.
    pub fn handle(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let now = self.agreed_time(now);
        match input {
            Input::Request { id, request } => self.request(now, id, request),
            Input::Persisted(id) => {
                for (ticket, committed) in self.store.persisted(id) {
                    self.shown(now, ticket, committed);
                }
                self.tell_what_waited(now, id);
                self.note_durable(now, id);
            }
            Input::Received { from, messages } => self.received(now, from, messages),
            Input::Connected(peer) => self.connected(now, peer),
            Input::Gone { peer, reset } => self.gone(now, peer, reset),
            Input::Refused(peer) => self.watch_peers(now, membership::Input::Refused(peer)),
            Input::Saved(id) => self.elect(now, election::Input::Saved(id)),
            Input::Join { id, request } => self.asked_to_admit(now, admission::Asker::Here(id), request),
            Input::Address(address) => self.moved(now, address),
            Input::Observed(observation) => self.wake_kubelet(now, kubelet::Input::Observed(observation)),
            Input::Tick => self.tick(now),
            Input::Disk { trouble } => self.disk_changed(now, trouble),
            Input::Leave => self.leave(now),
            Input::Recover { id, force } => self.recover(now, id, force),
            Input::Continue => {}
        }
        self.merge_arrivals(now);
        self.settle(now);
        self.outputs(now)
    }

    fn tick(&mut self, now: Now) {
        self.store.tick(now);
        // An exchange that brought nothing has no batch whose end would be the moment.
        self.finish_exchanges(now);
        self.elect(now, election::Input::Tick);
        self.watch_peers(now, membership::Input::Tick);
        self.gossip(now, gossip::Input::Tick);
        self.give_up_on_answers(now);
        self.look_after_duty(now);
        self.give_up_on_leases(now);
        self.keep_leases(now);
        self.raise_level(now);
        self.doubt_connections(now);
        self.take_care(now);
        self.look_at_partings(now);
        self.keep_granting(now);
        self.ask_for_leases(now);
        self.put_in_order(now);
        self.cut_histories(now);
        if now.mono >= self.next_upkeep {
            self.upkeep(now);
        }
        self.collect_tombstones(now);
        self.wake_kubelet(now, kubelet::Input::Tick);
    }

    /// Lets the rooms react to visible changes, and to each other, until all is quiet.
    fn settle(&mut self, now: Now) {
        for _ in 0..ROUNDS {
            let events = self.fresh_events();
            self.dispatch(now, &events);
            if let Some(office) = self.decides()
                && !self.must_learn_first(now)
                && !self.is_too_old()
                && self.check_disk().is_ok()
            {
                self.place_pods(now, office);
                self.run_work(now, office);
            }
            self.tell_losses(now);
            self.refresh_traffic(now);
            if self.store.snapshot().revision() == self.seen {
                break;
            }
        }
    }

    /// Returns what was shown since the last look, oldest first.
    fn fresh_events(&mut self) -> Vec<Arc<WatchEvent>> {
        let view = self.store.snapshot();
        if view.revision() == self.seen {
            return Vec::new();
        }
        let mut events = Vec::new();
        for kind in view.kinds() {
            match view.events_since(kind, self.seen) {
                Ok(fresh) => events.extend(fresh.cloned()),
                // More happened at once than the history holds: look at everything of this kind again.
                Err(_) => self.work.look_again(),
            }
        }
        events.sort_by_key(|e| e.revision);
        self.seen = view.revision();
        events
    }

    fn dispatch(&mut self, now: Now, events: &[Arc<WatchEvent>]) {
        let decides = self.decides().is_some();
        if self.work.must_look_again() {
            if decides {
                self.look_at_everything(now);
            }
            self.traffic.start(self.store.snapshot());
            self.show_root_cas(now);
        }
        for event in events {
            self.caretaking.notice(event, now.mono);
            self.partings.notice(event);
            if decides {
                self.work.add_all(crate::controllers::affected(event, self.store.snapshot()), now.mono);
                self.placement.notice(event);
            }
            self.traffic.notice(event, self.store.snapshot());
            self.recorder.notice(event);
            if event.key().kind == &kinds::NAMESPACE {
                self.show_root_ca(now, event.key());
            }
        }
        if events.iter().any(|e| e.key().kind == &kinds::NODE) {
            self.refresh_directory();
            self.tell_election(now);
        }
        if events.iter().any(|e| local::concerns(e, &self.name)) {
            self.ask_for_leases_soon();
            self.wake_kubelet(now, kubelet::Input::Changed);
        }
    }

    /// Commits a change of our own. `waiter` is told when it is shown.
    fn commit(&mut self, now: Now, author: Author, change: Change, waiter: Waiter) -> Result<(), Rejected> {
        self.commit_for(now, author, None, change, waiter)
    }

    /// Commits a change that a user asks for.
    fn commit_for(
        &mut self,
        now: Now,
        author: Author,
        user: Option<String>,
        change: Change,
        waiter: Waiter,
    ) -> Result<(), Rejected> {
        self.check_kind(&change)?;
        if self.is_decided(change.key()) {
            return self.ask_for_lease(now, change, waiter);
        }
        let change = self.with_credentials(now, change)?;
        self.commit_document(now, author, user, change, waiter)
    }

    /// Commits a change to an object that the store decides on.
    fn commit_document(
        &mut self,
        now: Now,
        author: Author,
        user: Option<String>,
        change: Change,
        waiter: Waiter,
    ) -> Result<(), Rejected> {
        let term = if author == Author::Caretaker { Term(self.caretaking.round()) } else { self.term };
        match self.store.commit_for(now, author, user, term, change)? {
            Receipt::Pending(ticket) => {
                self.waiting.insert(ticket, waiter);
            }
            Receipt::Unchanged(committed) | Receipt::Shown(committed) => self.tell(now, waiter, committed),
        }
        Ok(())
    }

    fn shown(&mut self, now: Now, ticket: Ticket, committed: Committed) {
        if let Some(waiter) = self.waiting.remove(&ticket) {
            self.tell(now, waiter, committed);
        }
    }

    fn tell(&mut self, now: Now, waiter: Waiter, committed: Committed) {
        match waiter {
            Waiter::Request(id) => self.answers.push((id, Ok(committed))),
            Waiter::Work(work) => self.work.change_shown(&work, now.mono),
            Waiter::Binding => {
                self.placement.binding_shown();
                self.duty.done();
            }
            Waiter::Nobody => {}
        }
    }

    /// Gathers the outputs of this turn: what must be written, what is shown, answers, then the rest.
    fn outputs(&mut self, now: Now) -> Vec<Effect> {
        self.answer_leases(now);
        self.tell_news(now);
        self.say_standing_to_all(now, false);
        let mut effects = self.horizons.take_displaced();
        if let Some(batch) = self.store.take_batch() {
            self.telling.taken = batch.id;
            effects.push(Effect::Persist { id: batch.id, records: batch.records, urgent: batch.urgent });
        }
        let view = self.store.snapshot();
        if view.revision() != self.published {
            self.published = view.revision();
            effects.push(Effect::Publish(view.clone()));
        }
        effects.extend(self.deadlines());
        effects.extend(self.answers.drain(..).map(|(id, result)| Effect::Answer { id, result }));
        effects.append(&mut self.effects);
        effects.extend(self.telling.frames());
        effects
    }
}

/// Draws the number from which this run's timing comes.
fn seed(seed: &[u8; 32], run: u64) -> u64 {
    let digest = Sha256::new_with_prefix(b"timing").chain_update(seed).chain_update(run.to_be_bytes()).finalize();
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(bytes)
}
