//! All hosts and the network on one queue of events, ordered by virtual time.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein::election::SaveId;
use skein::gossip;
use skein::ids::{PersistId, RequestId, Uid};
use skein::kubelet::action::{Action, ContainerSpec, Step};
use skein::node::message::Message;
use skein::node::{Effect, Input, Node, Request, io::TICK};
use skein::object::{hold, kinds};
use skein::runtime::fake::{FakeRuntime, Image, Knobs};
use skein::store::record::{Body, Draft, Record, Scribe};
use skein::store::{Change, DeleteOptions, Slot, Snapshot, displaced};
use skein::trust::token::TokenId;
use skein::trust::{Admission, Declined, JoinRequest, Token};

use crate::host::Host;
use crate::invariants;
use crate::ledger::{Ledger, Seen};
use crate::network::{self, Frame, LOOK, Network};
use crate::rare::Rare;
use crate::trace::Trace;
use crate::users::Told;

/// How long faults go on.
const STORM: Duration = Duration::from_secs(45);
/// How long the world has to come to rest afterwards: longer than the longest restart back-off, five minutes.
const CALM: Duration = Duration::from_secs(420);
/// How long a world with a planted bug has.
const SHORT_CALM: Duration = Duration::from_secs(60);
/// How often wardens look.
const WARDENS: Duration = Duration::from_millis(200);
/// How often it is looked whether the world is at rest; it must be twice in turn.
const REST: Duration = Duration::from_secs(5);

/// How many messages are kept as they were read.
const READ: usize = 256;

/// What kind of run.
#[derive(Clone, Copy, Default)]
pub struct Plan {
    /// A bug planted on purpose.
    pub bug: Option<Bug>,
    /// How long a horizon takes, if not a day.
    pub horizon: Option<Duration>,
    /// Whether the trace is printed as it comes.
    pub print: bool,
}

/// Bugs that the invariants must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Ballots do not reach the disk.
    ForgottenBallots,
    /// Something else writes bindings to the leader's disk.
    SecondScheduler,
    /// No records reach one node.
    DeafNode,
    /// One in five orders to stop a pod is lost.
    LostRemovals,
    /// The wall clocks go backwards from start to start of an agent, and nobody hears of the others' clocks.
    WrongClock,
    /// Tombstones do not reach the disk.
    LostTombstones,
    /// An agent starts on what its disk held long ago.
    OldDisk,
    /// The disk says that it is done before it is.
    LyingDisk,
    /// A start is handed to Docker under another name once more.
    DoubleStart,
    /// Somebody deletes the copies of what gave its name away.
    TidyUser,
    /// The wardens kill nothing.
    SleepingWarden,
}

/// Something that is due.
pub enum Due {
    Tick(usize),
    Disk(usize, u64, PersistId),
    Saved(usize, u64, SaveId),
    Frame(Box<Frame>),
    Links,
    /// A stalled agent goes on.
    Wake(usize),
    Wardens,
    Look,
    User,
    Fault,
    /// A host's wall clock is set.
    Clock,
    Join(usize),
    Restart(usize),
    DockerBack(usize),
    FastDisk(usize),
    Mend(u64),
    CleanAir,
}

/// The simulated cluster.
pub struct World {
    pub plan: Plan,
    pub random: StdRng,
    pub now: Duration,
    due: BTreeMap<(Duration, u64), Due>,
    turn: u64,
    pub hosts: Vec<Host>,
    pub network: Network,
    ledger: Ledger,
    /// Requests to make something that are not answered yet.
    ledger_makes: std::collections::BTreeSet<(usize, RequestId)>,
    pub trace: Trace,
    pub rare: Rare,
    pub storm: bool,
    /// The longest pause between two faults, in milliseconds.
    pub respite: u64,
    /// What was answered to requests from [`OURS`] on.
    pub heard: Vec<(usize, RequestId, Result<skein::store::Committed, skein::store::Rejected>)>,
    /// Whether users do nothing, while faults go on.
    pub idle: bool,
    /// What the clocks do, if they go wrong: drawn by itself, so that all else is as with good clocks.
    pub clocks: Option<StdRng>,
    /// What was read of late.
    heard_already: BTreeMap<Vec<u8>, gossip::Message>,
    /// A planted bug: what members ask the leader about Leases always fits what is there.
    pub agreeable: bool,
}

/// Requests from this on are a story's own, and their answers are kept for it.
pub const OURS: u64 = 1 << 50;

impl World {
    /// Makes a world of a seed. Of every other one the clocks go wrong.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut world = Self::of(seed, plan, if seed % 3 == 2 { 5 } else { 3 });
        if seed % 2 == 1 && plan.bug.is_none() {
            world.let_clocks_go_wrong(seed);
        }
        world
    }

    /// Makes a world of so many hosts.
    pub fn of(seed: u64, plan: Plan, count: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let hosts = (0..count).map(|index| {
            let knobs = if random.random_bool(0.5) { Knobs::lying() } else { Knobs::default() };
            let mut docker = FakeRuntime::new(random.random(), knobs);
            docker.set_image("app:1", Image::default());
            Host::new(index, docker)
        });
        let hosts: Vec<Host> = hosts.collect();
        let mut world = Self {
            plan,
            random,
            now: Duration::ZERO,
            due: BTreeMap::new(),
            turn: 0,
            hosts,
            network: Network::default(),
            ledger: Ledger::default(),
            ledger_makes: std::collections::BTreeSet::new(),
            trace: Trace::new(plan.print),
            rare: Rare::default(),
            storm: true,
            respite: if seed % 4 == 3 { 1_500 } else { 5_000 },
            heard: Vec::new(),
            idle: false,
            clocks: None,
            heard_already: BTreeMap::new(),
            agreeable: false,
        };
        world.hosts[0].found();
        world.begin();
        world
    }

    fn begin(&mut self) {
        for index in 0..self.hosts.len() {
            let phase = self.pause(0, 100);
            self.at(phase, Due::Tick(index));
            let pause = self.pause(200, 4_000);
            self.at(pause, if index == 0 { Due::Restart(0) } else { Due::Join(index) });
        }
        self.at(LOOK, Due::Links);
        self.at(WARDENS, Due::Wardens);
        self.at(Duration::from_secs(1), Due::Look);
        self.at(Duration::from_secs(2), Due::User);
        self.at(Duration::from_secs(4), Due::Fault);
    }

    /// Runs storm and calm.
    ///
    /// # Errors
    /// The name of the broken invariant, and how.
    pub fn run(&mut self) -> Result<(), String> {
        self.run_until(STORM)?;
        self.calm_down()?;
        let patience = if self.plan.bug.is_some() { SHORT_CALM } else { CALM };
        let mut rests = 0;
        loop {
            self.run_until(self.now + REST)?;
            match invariants::at_rest(self.now, &self.hosts, &self.ledger) {
                Ok(()) if rests == 1 => break,
                Ok(()) => rests += 1,
                Err(broken) if self.now >= STORM + patience => return Err(broken),
                Err(broken) => {
                    rests = 0;
                    self.line(format!("not at rest: {broken}"));
                }
            }
        }
        let counts = format!("{:?}", self.counts());
        self.line(counts);
        Ok(())
    }

    /// Returns how often things happened.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.trace.counts().clone()
    }

    /// Returns how much time was simulated, times the nodes.
    pub fn node_seconds(&self) -> f64 {
        self.now.as_secs_f64() * self.hosts.len() as f64
    }

    /// Returns how long the calm was.
    pub fn calm_seconds(&self) -> f64 {
        self.now.saturating_sub(STORM).as_secs_f64()
    }

    /// Returns the history.
    pub fn trace(&self) -> String {
        self.trace.text()
    }

    /// Adds a line to the history.
    pub fn line(&mut self, text: impl AsRef<str>) {
        self.trace.line(self.now, text);
    }

    /// Lets happen what is due until then.
    ///
    /// # Errors
    /// The name of the broken invariant, and how.
    pub fn run_until(&mut self, end: Duration) -> Result<(), String> {
        while let ControlFlow::Continue(()) = self.step(end)? {}
        self.now = end;
        Ok(())
    }

    /// Lets the next thing happen.
    fn step(&mut self, end: Duration) -> Result<ControlFlow<()>, String> {
        let dockers =
            self.hosts.iter().enumerate().filter_map(|(i, h)| Some((h.moment(h.docker.next_due()?).max(self.now), i)));
        let docker = dockers.min();
        let other = self.due.keys().next().map(|(at, _)| *at);
        let next = [docker.map(|(at, _)| at), other].into_iter().flatten().min().unwrap_or(end);
        if next >= end {
            return Ok(ControlFlow::Break(()));
        }
        self.now = next;
        if let Some((_, index)) = docker.filter(|(at, _)| *at == next) {
            let host = &mut self.hosts[index];
            let clock = host.clock(next);
            for observation in host.docker.poll(clock) {
                self.line(format!("docker {index}: {observation:?}"));
                self.give(index, Input::Observed(observation))?;
            }
            self.look_at_leases(index);
            invariants::always(&self.hosts[index])?;
            invariants::twice::check(&self.hosts, &self.ledger)?;
        } else if let Some((_, due)) = self.due.pop_first() {
            self.happen(due)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    fn happen(&mut self, due: Due) -> Result<(), String> {
        match due {
            Due::Tick(host) => {
                self.at(TICK, Due::Tick(host));
                return self.give(host, Input::Tick);
            }
            Due::Disk(host, incarnation, id) => return self.disk_done(host, incarnation, id),
            Due::Saved(host, incarnation, id) => return self.saved(host, incarnation, id),
            Due::Frame(frame) => return self.arrive(*frame),
            Due::Links => return self.look_after_links(),
            Due::Wake(host) => return self.wake(host),
            Due::Wardens => {
                self.at(WARDENS, Due::Wardens);
                (0..self.hosts.len()).for_each(|host| self.look_at_leases(host));
            }
            Due::Look => {
                self.at(Duration::from_secs(1), Due::Look);
                self.look_for_rare_states();
                return if self.plan.horizon.is_some() {
                    // A node that slept too long may take back its deletions.
                    Ok(())
                } else {
                    invariants::now_and_then(&self.hosts, &self.ledger)
                };
            }
            Due::User => return self.user(),
            Due::Fault => return self.fault(),
            Due::Clock => self.set_a_clock(),
            Due::Join(host) => return self.ask_to_join(host),
            Due::Restart(host) => return self.start_agent(host),
            Due::DockerBack(host) => self.docker_back(host),
            Due::FastDisk(host) => self.hosts[host].disk.slow = false,
            Due::Mend(cut) => {
                if self.network.mend(cut) {
                    self.line(format!("cut {cut} is mended"));
                }
            }
            Due::CleanAir => (self.network.loss, self.network.twice) = (0, 0),
        }
        Ok(())
    }

    /// Has something happen later.
    pub fn at(&mut self, delay: Duration, due: Due) {
        self.turn += 1;
        self.due.insert((self.now + delay, self.turn), due);
    }

    /// Hands a host's agent an input, if it runs.
    ///
    /// # Errors
    /// The name of the broken invariant, and how.
    pub fn give(&mut self, index: usize, input: Input) -> Result<(), String> {
        let host = &mut self.hosts[index];
        let now = host.clock(self.now);
        let Some(node) = &mut host.node else { return Ok(()) };
        if let Some(meanwhile) = &mut host.stalled {
            // A timer does not count how often it was missed.
            if !matches!(input, Input::Tick) {
                meanwhile.push(input);
            }
            return Ok(());
        }
        let effects = node.handle(now, input);
        self.execute(index, effects)
    }

    /// Stops an agent in its tracks; what happens meanwhile it is told afterwards.
    pub fn stall(&mut self, index: usize, time: Duration) {
        if self.hosts[index].node.is_some() && self.hosts[index].stalled.is_none() {
            self.trace.count("stalls");
            self.line(format!("n{} is stalled for {time:?}", index + 1));
            self.hosts[index].stalled = Some(Vec::new());
            self.at(time, Due::Wake(index));
        }
    }

    /// A stalled agent goes on.
    pub fn wake(&mut self, index: usize) -> Result<(), String> {
        let meanwhile = self.hosts[index].stalled.take().into_iter().flatten();
        for input in meanwhile.collect::<Vec<_>>() {
            self.give(index, input)?;
        }
        Ok(())
    }

    /// The wardens look: what runs without a lease is killed.
    fn look_at_leases(&mut self, index: usize) {
        if self.plan.bug == Some(Bug::SleepingWarden) {
            return;
        }
        let host = &mut self.hosts[index];
        let now = host.clock(self.now);
        let over = |pod: &Uid| host.deadlines.get(pod).is_some_and(|until| *until <= now.mono);
        let pods: Vec<Uid> = host.docker.running().filter(over).collect();
        for pod in pods {
            self.trace.count("killed by the warden");
            self.trace.line(self.now, format!("n{}: the lease of {pod} is over", index + 1));
            self.hosts[index].docker.kill_pod(now, pod);
        }
    }

    fn execute(&mut self, index: usize, effects: Vec<Effect>) -> Result<(), String> {
        let host = &self.hosts[index];
        let leads = host.node.as_ref().and_then(Node::leads);
        if let Some(term) = leads
            && invariants::leads(&mut self.ledger, index, host, term)?
        {
            self.trace.count("elections");
            self.note_election(index, term);
            self.line(format!("{} leads term {term}", self.hosts[index].name()));
        }
        for effect in effects {
            match effect {
                Effect::Persist { id, records, urgent } => self.persist(index, id, records, urgent),
                Effect::Publish(view) => self.publish(index, view, leads.is_some())?,
                Effect::Answer { id, result } if id.0 >= OURS => self.heard.push((index, id, result)),
                Effect::Answer { id, result } => {
                    if let (true, Ok(committed)) = (self.ledger_makes.remove(&(index, id)), &result) {
                        let entry = &committed.entry;
                        self.ledger.made.insert(entry.uid, entry.key.clone());
                    }
                    let host = &mut self.hosts[index];
                    let told = host.users.told(id, &result).or_else(|| host.crowd.told(id, &result));
                    if let Some(told) = told {
                        self.line(format!("n{} answers {id}: {}", index + 1, result.is_ok()));
                        self.note_answer(index, result.is_ok());
                        if matches!(told, Told::Acknowledged) {
                            self.trace.count("acknowledged writes");
                        }
                    }
                }
                Effect::Displaced { text, .. } => self.hosts[index].displaced.push(text),
                Effect::Deadlines(deadlines) => self.hosts[index].deadlines = deadlines,
                Effect::Route(routes) => self.hosts[index].routes = routes,
                Effect::Partitions(partitions) => self.hosts[index].partitions = partitions.to_vec(),
                Effect::Act(action) => {
                    self.line(format!("act {index}: {action:?}"));
                    self.act(index, *action);
                }
                Effect::Send { to, messages, .. } => self.send(index, to, messages),
                Effect::Save { id, ballot, registers } => self.save(index, id, ballot, registers),
                Effect::Peers(peers) => self.hosts[index].peers = peers.into_keys().collect(),
                Effect::Admit { id, result } => self.admitted(id, result)?,
                Effect::Recovered { result, .. } => self.line(format!("n{} recovers: {result:?}", index + 1)),
            }
        }
        Ok(())
    }

    fn act(&mut self, index: usize, action: Action) {
        let lost = matches!(action.step, Step::RemovePod { .. }) && self.random.random_bool(0.2);
        if self.plan.bug == Some(Bug::LostRemovals) && lost {
            return;
        }
        let host = &mut self.hosts[index];
        let now = host.clock(self.now);
        if let (Some(Bug::DoubleStart), Step::StartContainer(spec)) = (self.plan.bug, &action.step) {
            let mut twin = action.clone();
            twin.step = Step::StartContainer(ContainerSpec { attempt: spec.attempt + 1, ..spec.clone() });
            host.docker.act(now, action.clone());
            return host.docker.act(now, twin);
        }
        host.docker.act(now, action);
    }

    fn publish(&mut self, index: usize, view: Snapshot, leads: bool) -> Result<(), String> {
        for pod in view.list(&kinds::POD, None) {
            if !self.ledger.born.contains_key(&pod.uid)
                && let Some(slot) = hold::slot(&pod.value())
            {
                self.ledger.slots.insert(pod.uid, slot);
            }
            if !self.ledger.born.contains_key(&pod.uid) && self.ledger.bear(self.now, pod) {
                self.trace.count("pods dated wrongly");
                if self.plan.bug == Some(Bug::WrongClock) {
                    self.ledger.misdated.clear();
                }
            }
            let known = self.hosts[index].view.get(&pod.key).is_some_and(|known| std::sync::Arc::ptr_eq(known, pod));
            if !known && invariants::kept::is_ready(&pod.value()) {
                self.ledger.ready.entry(pod.uid).or_insert(self.now);
            } else if !known {
                self.ledger.ready.remove(&pod.uid);
            }
        }
        let host = &mut self.hosts[index];
        if leads {
            let lost = |pod: &&std::sync::Arc<skein::store::Entry>| {
                let known = host.view.get(&pod.key);
                known.is_none_or(|known| !std::sync::Arc::ptr_eq(known, pod)) && is_lost(pod)
            };
            for _ in view.list(&kinds::POD, None).filter(lost) {
                self.trace.count("pods lost with their node");
            }
        }
        let fresh = view.events_since(&kinds::EVENT, host.newest).into_iter().flatten();
        for _ in fresh.filter(|event| event.old.is_none() && event.new.as_ref().is_some_and(|e| tells_of_a_loss(e))) {
            self.trace.count("lost edits told");
        }
        if view.revision() < host.newest {
            return Err(format!("versions grow: {} shows {} after {}", host.name(), view.revision(), host.newest));
        }
        invariants::on_publish(self.now, host, &self.ledger, &view, leads)
            .map_err(|b| format!("{b}, on n{}", index + 1))?;
        host.newest = view.revision();
        host.view = view;
        Ok(())
    }

    // -- the disk ---------------------------------------------------------------------------------------------

    fn persist(&mut self, index: usize, id: PersistId, records: Vec<Vec<u8>>, urgent: bool) {
        let me = self.hosts[index].id();
        for record in &records {
            match self.ledger.written(me, record) {
                Seen::Binding(uid, stamp) => {
                    self.trace.count("bindings");
                    if self.plan.bug == Some(Bug::SecondScheduler) {
                        let host = &mut self.hosts[index];
                        let scribe = Scribe::new(me, host.incarnation, host.key.clone());
                        let draft = Draft::Register(uid, Slot::Binding, (stamp.0, stamp.1 + 1), br#"{"node":"n0"}"#);
                        host.disk.durable.push(scribe.write_as(u64::MAX / 2, draft).to_vec());
                    }
                }
                Seen::CaretakerBinding => {
                    self.trace.count("bindings by caretakers");
                    self.note_caretaker(index);
                }
                Seen::Displaced => self.trace.count("displaced"),
                Seen::Merged => self.trace.count("merges"),
                Seen::Nothing => {}
            }
        }
        self.trace.count("disk writes");
        let delay = self.disk_delay(index, urgent);
        let host = &mut self.hosts[index];
        if host.disk.full {
            return host.disk.pending.push_back((id, records));
        }
        let done = self.now + delay;
        let done = if urgent { done } else { done.max(host.disk.busy_until) };
        host.disk.busy_until = host.disk.busy_until.max(done);
        host.disk.pending.push_back((id, records));
        let incarnation = host.incarnation;
        self.at(done - self.now, Due::Disk(index, incarnation, id));
    }

    fn disk_delay(&mut self, index: usize, urgent: bool) -> Duration {
        let base = if urgent { 200..3_000 } else { 100_000..2_000_000 };
        let slow = if self.hosts[index].disk.slow { self.random.random_range(0..3_000_000) } else { 0 };
        Duration::from_micros(self.random.random_range(base) + slow)
    }

    /// Lets a host's log take no writes, or take them again.
    ///
    /// # Errors
    /// The name of the broken invariant, and how.
    pub fn fill_disk(&mut self, index: usize, full: bool) -> Result<(), String> {
        self.hosts[index].disk.full = full;
        if let (false, Some((id, _))) = (full, self.hosts[index].disk.pending.back()) {
            self.disk_done(index, self.hosts[index].incarnation, *id)?;
        }
        self.give(index, Input::Disk { trouble: full.then(|| "it is full".to_owned()) })
    }

    fn disk_done(&mut self, index: usize, incarnation: u64, id: PersistId) -> Result<(), String> {
        let host = &mut self.hosts[index];
        if host.incarnation != incarnation || !host.disk.pending.iter().any(|(pending, _)| *pending == id) {
            return Ok(());
        }
        while host.disk.pending.front().is_some_and(|(pending, _)| *pending <= id) {
            let Some((_, records)) = host.disk.pending.pop_front() else { break };
            self.ledger.durable(index, records.iter());
            if self.plan.bug != Some(Bug::LyingDisk) || self.random.random_bool(0.9) {
                host.disk.durable.extend(records.into_iter().filter(|r| !self.plan.loses(r)));
            }
        }
        self.give(index, Input::Persisted(id))
    }

    fn save(
        &mut self,
        index: usize,
        id: SaveId,
        ballot: Option<skein::election::Ballot>,
        registers: Option<skein::election::Registers>,
    ) {
        self.trace.count("disk writes");
        let delay = self.disk_delay(index, true);
        let host = &mut self.hosts[index];
        let done = (self.now + delay).max(host.disk.saving_until);
        host.disk.saving_until = done;
        host.disk.saving.push_back((id, ballot, registers));
        let incarnation = host.incarnation;
        self.at(done - self.now, Due::Saved(index, incarnation, id));
    }

    fn saved(&mut self, index: usize, incarnation: u64, id: SaveId) -> Result<(), String> {
        let host = &mut self.hosts[index];
        if host.incarnation != incarnation {
            return Ok(());
        }
        while host.disk.saving.front().is_some_and(|(saving, _, _)| *saving <= id) {
            let Some((_, ballot, registers)) = host.disk.saving.pop_front() else { break };
            let ballot = ballot.filter(|_| self.plan.bug != Some(Bug::ForgottenBallots));
            host.disk.keep(ballot, registers);
        }
        self.give(index, Input::Saved(id))
    }

    // -- the network ------------------------------------------------------------------------------------------

    fn send(&mut self, index: usize, to: skein::ids::NodeId, mut messages: Vec<Message>) {
        let Some(to) = self.hosts.iter().position(|host| host.id() == to) else { return };
        if self.plan.bug == Some(Bug::DeafNode) && to == 1 {
            messages.retain(|message| !matches!(message, Message::Gossip(_)));
        }
        if self.plan.bug == Some(Bug::WrongClock) {
            messages.retain(|message| !matches!(message, Message::Clock(_)));
        }
        if self.hosts[index].level == skein::features::FIRST {
            // Builds of the first level know nothing of levels.
            messages.retain(|message| !matches!(message, Message::Level(_)));
        }
        let Some(connection) = self.network.connection((index, to)) else { return };
        let host = &mut self.hosts[index];
        host.longest_silence = host.longest_silence.max(self.now - host.said);
        host.said = self.now;
        let frame = Frame { way: (index, to), connection, number: self.turn, messages };
        if self.random.random_range(0..1_000) < self.network.loss {
            self.trace.count("frames lost");
            return;
        }
        if self.random.random_range(0..1_000) < self.network.twice {
            self.trace.count("frames doubled");
            let delay = Duration::from_micros(self.random.random_range(200..20_000));
            self.at(delay, Due::Frame(Box::new(frame.clone())));
        }
        let delay = Duration::from_micros(self.random.random_range(200..20_000));
        self.at(delay, Due::Frame(Box::new(frame)));
    }

    fn arrive(&mut self, mut frame: Frame) -> Result<(), String> {
        self.note_frame(&frame);
        if !self.network.delivers(&frame) {
            return Ok(());
        }
        for message in &mut frame.messages {
            if let (true, Message::LeaseAsk { write, .. }) = (self.agreeable, &mut *message) {
                crate::leases::agree(write, &self.hosts[frame.way.1].disk.registers);
            }
            if let Message::Gossip(message) = message {
                *message = self.read(message)?;
            }
        }
        let from = self.hosts[frame.way.0].id();
        self.give(frame.way.1, Input::Received { from, messages: frame.messages })
    }

    /// Reads what somebody says about records as the mesh reads it: what is in it is verified then. That is most of the work,
    /// so what several are told is read once.
    fn read(&mut self, said: &gossip::Message) -> Result<gossip::Message, String> {
        let bytes = said.to_bytes();
        if let Some(known) = self.heard_already.get(&bytes) {
            return Ok(known.clone());
        }
        let message = gossip::Message::of_bytes(&bytes).map_err(|error| error.to_string())?;
        if self.heard_already.len() >= READ {
            self.heard_already.clear();
        }
        self.heard_already.insert(bytes, message.clone());
        Ok(message)
    }

    fn look_after_links(&mut self) -> Result<(), String> {
        self.at(LOOK, Due::Links);
        let hosts = &self.hosts;
        let knows = |a: usize, b: usize| hosts[a].node.is_some() && hosts[a].peers.contains(&hosts[b].id());
        let wanted = |(a, b)| knows(a, b) && knows(b, a);
        let changes = self.network.look(self.now, &mut self.random, hosts.len(), wanted);
        self.connections(changes)?;
        self.refuse()
    }

    /// Hosts whose agent is dead refuse those that dial it; one without power says nothing.
    fn refuse(&mut self) -> Result<(), String> {
        let hosts = &self.hosts;
        let dead = |b: &usize| hosts[*b].node.is_none() && !hosts[*b].dark;
        let ways = (0..hosts.len()).filter(dead).flat_map(|b| (0..hosts.len()).map(move |a| (a, b)));
        let ways: Vec<_> = ways.filter(|(a, b)| hosts[*a].peers.contains(&hosts[*b].id())).collect();
        for (a, b) in ways {
            if self.network.refuses(self.now, (a, b)) {
                self.trace.count("hosts that refused");
                self.give(a, Input::Refused(self.hosts[b].id()))?;
            }
        }
        Ok(())
    }

    /// Tells agents what became of their connections.
    pub fn connections(&mut self, changes: Vec<network::Change>) -> Result<(), String> {
        for change in changes {
            self.line(format!("{change:?}"));
            match change {
                network::Change::Connected((host, peer)) => self.give(host, Input::Connected(self.hosts[peer].id()))?,
                network::Change::Gone((host, peer), reset) => {
                    self.give(host, Input::Gone { peer: self.hosts[peer].id(), reset })?;
                }
            }
        }
        Ok(())
    }

    // -- users and agents -------------------------------------------------------------------------------------

    fn user(&mut self) -> Result<(), String> {
        if self.plan.bug == Some(Bug::TidyUser) {
            self.tidy_up()?;
        }
        if !self.storm || self.idle {
            return Ok(());
        }
        let pause = self.pause(50, 1_500);
        self.at(pause, Due::User);
        let index = self.random.random_range(0..self.hosts.len());
        let host = &mut self.hosts[index];
        if host.node.is_none() {
            return Ok(());
        }
        let deletes = self.random.random_bool(0.1);
        let users = if self.random.random_bool(0.3) { &mut host.crowd } else { &mut host.users };
        let asked = if deletes {
            users.delete_pod(&mut self.random, &host.view)
        } else {
            users.act(&mut self.random, &host.view)
        };
        let Some((id, request, what)) = asked else { return Ok(()) };
        match &request.change {
            Change::Create { .. } => drop(self.ledger_makes.insert((index, id))),
            Change::Delete { options, .. } => self.ledger.asked_to_go.extend(options.when.uid),
            _ => {}
        }
        if let (true, Change::Delete { key, .. }) = (deletes, &request.change) {
            self.trace.count("pods deleted");
            self.ledger.unwanted.extend(host.view.get(key).map(|pod| pod.uid));
        }
        self.line(format!("n{} {id} {what}", index + 1));
        self.give(index, Input::Request { id, request })
    }

    /// Deletes a copy of what gave its name away.
    fn tidy_up(&mut self) -> Result<(), String> {
        let Some(index) = self.hosts.iter().position(|host| host.node.is_some()) else { return Ok(()) };
        let mut entries = self.hosts[index].view.list(&kinds::CONFIG_MAP, None);
        let copy = entries.find(|entry| entry.labels.contains_key(displaced::LABEL)).map(|copy| copy.key.clone());
        drop(entries);
        let Some(key) = copy else { return Ok(()) };
        let change = Change::Delete { key, options: DeleteOptions::default() };
        let request = Request { change, dry_run: false, user: None };
        self.give(index, Input::Request { id: RequestId(u64::MAX), request })
    }

    fn ask_to_join(&mut self, index: usize) -> Result<(), String> {
        if self.hosts[index].member.is_some() {
            return Ok(());
        }
        self.at(Duration::from_secs(2), Due::Join(index));
        let members: Vec<usize> = (0..self.hosts.len()).filter(|i| self.hosts[*i].node.is_some()).collect();
        if members.is_empty() {
            return Ok(());
        }
        let door = members[self.random.random_range(0..members.len())];
        let (host, issuer) = (&self.hosts[door], &self.hosts[0]);
        let number = u8::try_from(index).expect("few hosts");
        let token = Token {
            cluster: host.cluster().expect("it is a member"),
            issuer: issuer.id(),
            id: TokenId([number; 16]),
            expires: skein::time::Wall(i64::MAX / 2),
            addresses: Vec::new(),
        };
        let request = JoinRequest {
            token: token.text(&issuer.key),
            id: self.hosts[index].id(),
            name: format!("n{}", index + 1),
            level: self.hosts[index].level,
        };
        self.line(format!("n{} asks {} to join", index + 1, host.name()));
        self.give(door, Input::Join { id: RequestId(index as u64), request })
    }

    fn admitted(&mut self, id: RequestId, result: Result<Admission, Declined>) -> Result<(), String> {
        let index = usize::try_from(id.0).expect("few hosts");
        if self.hosts[index].member.is_some() {
            return Ok(());
        }
        match result {
            Err(declined) => {
                self.line(format!("n{} is refused: {}", index + 1, declined.reason));
                Ok(())
            }
            Ok(admission) => {
                self.trace.count("joins");
                self.line(format!("n{} joins", index + 1));
                self.hosts[index].join(&admission);
                self.start_agent(index)
            }
        }
    }

    /// Starts an agent on what its disk holds, if it is a member and none runs.
    pub fn start_agent(&mut self, index: usize) -> Result<(), String> {
        let seed = self.random.random();
        let host = &mut self.hosts[index];
        if host.node.is_some() || host.member.is_none() || host.kept_down {
            return Ok(());
        }
        host.dark = false;
        if self.plan.bug == Some(Bug::WrongClock) {
            host.ahead -= 3_600_000_000;
        }
        if self.plan.bug == Some(Bug::OldDisk) {
            let half = host.disk.durable.len() / 2;
            host.disk.durable.truncate(half);
        }
        let mut config = host.config(seed);
        config.horizon = self.plan.horizon.unwrap_or(config.horizon);
        let now = host.clock(self.now);
        let (mut node, report) = Node::new(config, host.disk.durable.clone(), now);
        // A disk that lies loses parents of what it keeps; the store names those.
        assert!(self.plan.bug.is_some() || report.refused.is_empty(), "{:?}", report.refused);
        let effects = node.start(now);
        host.view = node.snapshot().clone();
        host.node = Some(node);
        host.docker.restart_agent(now);
        let incarnation = host.incarnation;
        self.note_start(index);
        self.line(format!("n{} starts, incarnation {incarnation}", index + 1));
        self.execute(index, effects)
    }
}

impl Plan {
    /// Whether a planted bug keeps a record from the disk.
    pub fn loses(&self, record: &[u8]) -> bool {
        self.bug == Some(Bug::LostTombstones)
            && matches!(Record::read(record).map(|r| r.body), Ok(Body::Tombstone { .. }))
    }
}

fn tells_of_a_loss(event: &skein::store::Entry) -> bool {
    event.value()["reason"] == "MergeConflict"
}

/// Tells whether a pod is shown as lost with its node.
pub fn is_lost(pod: &skein::store::Entry) -> bool {
    pod.json.windows(10).any(|text| text == b"\"NodeLost\"")
}
