//! One node, its disk, its Docker and its users on one queue of events, ordered by virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein::election::{Ballot, Registers};
use skein::ids::{PersistId, Revision};
use skein::kubelet::action::Step;
use skein::node::{Effect, Input, Node, io::TICK};
use skein::object::kinds;
use skein::runtime::fake::{FakeRuntime, Image, Knobs};
use skein::store::Snapshot;
use skein::time::{Mono, Now, Wall};

use crate::config::config;
use crate::invariants;
use crate::trace::Trace;
use crate::users::{Told, Users};

/// How long faults go on.
const STORM: Duration = Duration::from_secs(120);
/// How long the world has to come to rest afterwards: longer than the longest restart back-off, five minutes.
const CALM: Duration = Duration::from_secs(420);
/// The wall clock at the start.
const WALL: Wall = Wall(1_800_000_000_000_000);

/// What kind of run.
#[derive(Clone, Copy, Default)]
pub struct Plan {
    /// A bug planted on purpose.
    pub bug: Option<Bug>,
    /// Whether the trace is printed as it comes.
    pub print: bool,
}

/// Bugs that the invariants must catch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The disk says that it is done before it is.
    LyingDisk,
    /// Tombstones do not reach the disk.
    LostTombstones,
    /// One in five orders to stop a pod is lost.
    LostRemovals,
    /// A start is handed to Docker under another name once more.
    DoubleStart,
    /// The ceiling of resourceVersions does not reach the disk, and the clock stands still.
    ForgottenCeiling,
}

/// Something that is due.
#[derive(Clone, Copy, Debug)]
enum Due {
    Tick,
    Disk(PersistId),
    User,
    Fault,
    Restart,
    DockerBack,
    FastDisk,
}

/// The simulated machine.
pub struct World {
    plan: Plan,
    random: StdRng,
    now: Duration,
    due: BTreeMap<(Duration, u64), Due>,
    turn: u64,
    node: Option<Node>,
    /// Which start of the agent this is.
    incarnation: u64,
    ballot: Option<Ballot>,
    registers: Option<Registers>,
    /// What the warden was told; it outlives the agent.
    deadlines: BTreeMap<skein::ids::Uid, Mono>,
    disk: Disk,
    docker: FakeRuntime,
    docker_up: bool,
    users: Users,
    /// As last published.
    view: Snapshot,
    /// The highest version ever shown.
    newest: Revision,
    trace: Trace,
    storm: bool,
}

#[derive(Default)]
struct Disk {
    durable: Vec<Vec<u8>>,
    pending: VecDeque<(PersistId, Vec<Vec<u8>>)>,
    slow: bool,
    /// When the last batch will be done: batches are done in order.
    busy_until: Duration,
}

impl World {
    /// Makes a world of a seed.
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let knobs = if random.random_bool(0.5) { Knobs::lying() } else { Knobs::default() };
        let mut docker = FakeRuntime::new(random.random(), knobs);
        docker.set_image("app:1", Image::default());
        let mut world = Self {
            plan,
            random,
            now: Duration::ZERO,
            due: BTreeMap::new(),
            turn: 0,
            node: None,
            incarnation: 0,
            ballot: None,
            registers: None,
            deadlines: BTreeMap::new(),
            disk: Disk::default(),
            docker,
            docker_up: true,
            users: Users::default(),
            view: Snapshot::default(),
            newest: Revision(0),
            trace: Trace::new(plan.print),
            storm: true,
        };
        world.start_agent();
        world.at(TICK, Due::Tick);
        world.at(Duration::from_secs(1), Due::User);
        world.at(Duration::from_secs(3), Due::Fault);
        world
    }

    /// Runs storm and calm.
    ///
    /// # Errors
    /// The name of the broken invariant, and how.
    pub fn run(&mut self) -> Result<(), String> {
        self.run_until(STORM)?;
        self.calm_down();
        self.run_until(STORM + CALM)?;
        invariants::at_rest(&self.view, &self.users, &self.docker)
    }

    /// Returns how often things happened.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = self.trace.counts().clone();
        let restarts = self.docker.starts().iter().filter(|s| s.attempt > 0).count() as u64;
        counts.insert("restarts", restarts);
        counts
    }

    /// Returns how much time was simulated.
    pub fn elapsed(&self) -> Duration {
        self.now
    }

    /// Returns the history.
    pub fn trace(&self) -> String {
        self.trace.text()
    }

    fn run_until(&mut self, end: Duration) -> Result<(), String> {
        while let ControlFlow::Continue(()) = self.step(end)? {}
        self.now = end;
        Ok(())
    }

    /// Lets the next thing happen.
    fn step(&mut self, end: Duration) -> Result<ControlFlow<()>, String> {
        let docker = self.docker.next_due().map(|m| m.0.max(self.now));
        let other = self.due.keys().next().map(|(at, _)| *at);
        let next = [docker, other].into_iter().flatten().min().unwrap_or(end);
        if next >= end {
            return Ok(ControlFlow::Break(()));
        }
        self.now = next;
        if docker == Some(next) {
            for observation in self.docker.poll(self.clock()) {
                self.trace.line(self.now, format!("docker: {observation:?}"));
                self.give(Input::Observed(observation))?;
            }
        } else if let Some((_, due)) = self.due.pop_first() {
            self.happen(due)?;
        }
        invariants::always(&self.docker)?;
        Ok(ControlFlow::Continue(()))
    }

    fn happen(&mut self, due: Due) -> Result<(), String> {
        match due {
            Due::Tick => {
                self.at(TICK, Due::Tick);
                self.give(Input::Tick)
            }
            Due::Disk(id) => self.disk_done(id),
            Due::User => self.user(),
            Due::Fault => {
                self.fault();
                Ok(())
            }
            Due::Restart => {
                self.start_agent();
                Ok(())
            }
            Due::DockerBack => {
                self.docker_back();
                Ok(())
            }
            Due::FastDisk => {
                self.disk.slow = false;
                Ok(())
            }
        }
    }

    fn clock(&self) -> Now {
        let wall = if self.plan.bug == Some(Bug::ForgottenCeiling) { WALL } else { WALL + self.now };
        Now { mono: Mono(self.now), wall }
    }

    fn at(&mut self, delay: Duration, due: Due) {
        self.turn += 1;
        self.due.insert((self.now + delay, self.turn), due);
    }

    fn give(&mut self, input: Input) -> Result<(), String> {
        let now = self.clock();
        let Some(node) = &mut self.node else { return Ok(()) };
        let outputs = node.handle(now, input);
        self.execute(outputs)
    }

    fn execute(&mut self, effects: Vec<Effect>) -> Result<(), String> {
        for effect in effects {
            match effect {
                Effect::Persist { id, records, urgent } => self.persist(id, records, urgent),
                Effect::Publish(view) => self.publish(view)?,
                Effect::Answer { id, result } => {
                    if let Some(told) = self.users.told(id, &result) {
                        self.trace.line(self.now, format!("answer {id}: {}", result.is_ok()));
                        if matches!(told, Told::Acknowledged) {
                            self.trace.count("acknowledged writes");
                        }
                    }
                }
                Effect::Displaced { .. } => return Err("alone: a sole member is never too old".into()),
                Effect::Deadlines(deadlines) => self.deadlines = deadlines,
                Effect::Route(_)
                | Effect::Send { .. }
                | Effect::Partitions(_)
                | Effect::Peers(_)
                | Effect::Admit { .. }
                | Effect::Recovered { .. } => {}
                Effect::Save { id, ballot, registers } => {
                    // Files of their own, durable before the next thing happens.
                    self.ballot = ballot.or(self.ballot.take());
                    self.registers = registers.or(self.registers.take());
                    self.give(Input::Saved(id))?;
                }
                Effect::Act(action) => {
                    self.trace.line(self.now, format!("act {action:?}"));
                    self.act(*action);
                }
            }
        }
        Ok(())
    }

    fn act(&mut self, action: skein::kubelet::action::Action) {
        let lost = matches!(action.step, Step::RemovePod { .. }) && self.random.random_bool(0.2);
        if self.plan.bug == Some(Bug::LostRemovals) && lost {
            return;
        }
        let now = self.clock();
        if let (Some(Bug::DoubleStart), Step::StartContainer(spec)) = (self.plan.bug, &action.step) {
            let mut twin = action.clone();
            twin.step = Step::StartContainer(skein::kubelet::action::ContainerSpec {
                attempt: spec.attempt + 1,
                ..spec.clone()
            });
            self.docker.act(now, action.clone());
            return self.docker.act(now, twin);
        }
        self.docker.act(now, action);
    }

    fn publish(&mut self, view: Snapshot) -> Result<(), String> {
        for key in view.list(&kinds::POD, None).filter(|p| p.node.is_some()) {
            if self.view.get(&key.key).is_none_or(|old| old.node.is_none()) {
                self.trace.count("bindings");
            }
        }
        invariants::on_publish(&view, &self.users, self.newest)?;
        self.newest = view.revision();
        self.view = view;
        Ok(())
    }

    // -- the disk ---------------------------------------------------------------------------------------------

    fn persist(&mut self, id: PersistId, records: Vec<Vec<u8>>, urgent: bool) {
        let base = if urgent { 200..3_000 } else { 100_000..2_000_000 };
        let slow = if self.disk.slow { self.random.random_range(0..3_000_000) } else { 0 };
        let done = self.now + Duration::from_micros(self.random.random_range(base) + slow);
        let done = if urgent { done } else { done.max(self.disk.busy_until) };
        self.disk.busy_until = self.disk.busy_until.max(done);
        self.disk.pending.push_back((id, records));
        self.at(done - self.now, Due::Disk(id));
    }

    fn disk_done(&mut self, id: PersistId) -> Result<(), String> {
        if !self.disk.pending.iter().any(|(pending, _)| *pending == id) {
            return Ok(());
        }
        let late = self.plan.bug == Some(Bug::LyingDisk);
        while self.disk.pending.front().is_some_and(|(pending, _)| *pending <= id) {
            let Some((_, records)) = self.disk.pending.pop_front() else { break };
            if !(late && self.random.random_bool(0.1)) {
                self.disk.durable.extend(records.into_iter().filter(|r| !self.plan.loses(r)));
            }
        }
        self.give(Input::Persisted(id))
    }

    // -- users ------------------------------------------------------------------------------------------------

    fn user(&mut self) -> Result<(), String> {
        if !self.storm {
            return Ok(());
        }
        let pause = Duration::from_millis(self.random.random_range(50..2_500));
        self.at(pause, Due::User);
        if self.node.is_none() {
            return Ok(());
        }
        let deletes = self.random.random_bool(0.15);
        let asked = if deletes {
            self.users.delete_pod(&mut self.random, &self.view)
        } else {
            self.users.act(&mut self.random, &self.view)
        };
        let Some((id, request, what)) = asked else { return Ok(()) };
        if deletes {
            self.trace.count("pods deleted");
        }
        self.trace.line(self.now, format!("{id} {what}"));
        self.give(Input::Request { id, request })
    }

    // -- faults -----------------------------------------------------------------------------------------------

    fn fault(&mut self) {
        if !self.storm {
            return;
        }
        let pause = Duration::from_millis(self.random.random_range(500..15_000));
        self.at(pause, Due::Fault);
        match self.random.random_range(0..6) {
            0 | 1 => self.crash(),
            2 => self.stop_docker(),
            3 | 4 => self.kill_container(),
            _ => {
                self.trace.count("slow disk");
                self.disk.slow = true;
                let pause = Duration::from_millis(self.random.random_range(100..20_000));
                self.at(pause, Due::FastDisk);
            }
        }
    }

    fn crash(&mut self) {
        if self.node.take().is_none() {
            return;
        }
        self.trace.count("agent crashes");
        self.trace.line(self.now, "agent crashes");
        // Some of what was written but not synced has reached the disk all the same, in order.
        let kept = self.random.random_range(0..=self.disk.pending.len());
        for (index, (_, records)) in std::mem::take(&mut self.disk.pending).into_iter().enumerate() {
            if index < kept {
                self.disk.durable.extend(records.into_iter().filter(|r| !self.plan.loses(r)));
            } else {
                self.trace.count("unsynced records lost");
            }
        }
        self.disk.busy_until = self.now;
        self.users.agent_died();
        self.docker.kill_agent(self.clock());
        let pause = Duration::from_millis(self.random.random_range(10..20_000));
        self.at(pause, Due::Restart);
    }

    fn start_agent(&mut self) {
        if self.node.is_some() {
            return;
        }
        self.incarnation += 1;
        self.trace.line(self.now, format!("agent starts, incarnation {}", self.incarnation));
        let now = self.clock();
        let mut config = config(self.incarnation, self.random.random());
        config.leases = self.deadlines.clone();
        config.ballot = self.ballot.clone().unwrap_or(config.ballot);
        config.registers = self.registers.clone().unwrap_or(config.registers);
        let (mut node, report) = Node::new(config, self.disk.durable.clone(), now);
        // A disk that lies loses parents of what it keeps; the store names those.
        assert!(self.plan.bug.is_some() || report.refused.is_empty(), "{:?}", report.refused);
        let outputs = node.start(now);
        self.view = node.snapshot().clone();
        self.node = Some(node);
        self.docker.restart_agent(now);
        if let Err(broken) = self.execute(outputs) {
            self.trace.line(self.now, broken);
        }
    }

    fn stop_docker(&mut self) {
        if !self.docker_up {
            return;
        }
        self.trace.count("docker outages");
        self.docker_up = false;
        let live_restore = self.random.random_bool(0.5);
        self.trace.line(self.now, format!("docker stops, live-restore {live_restore}"));
        self.docker.stop_daemon(self.clock(), live_restore);
        let pause = Duration::from_millis(self.random.random_range(100..30_000));
        self.at(pause, Due::DockerBack);
    }

    fn docker_back(&mut self) {
        if !self.docker_up {
            self.docker_up = true;
            self.trace.line(self.now, "docker is back");
            self.docker.start_daemon(self.clock());
        }
    }

    fn kill_container(&mut self) {
        let ids: Vec<_> = self.docker.listed().iter().flat_map(|p| p.containers.iter().map(|c| c.id.clone())).collect();
        if ids.is_empty() {
            return;
        }
        let id = &ids[self.random.random_range(0..ids.len())];
        self.trace.count("containers killed");
        self.trace.line(self.now, format!("container {id} is killed"));
        let now = self.clock();
        self.docker.kill(now, id);
    }

    /// Ends all faults.
    fn calm_down(&mut self) {
        self.trace.line(self.now, "-- calm --");
        self.storm = false;
        self.disk.slow = false;
        self.docker.tune(Knobs::default());
        self.docker_back();
        self.start_agent();
    }
}

impl Plan {
    /// Whether a planted bug keeps a record from the disk.
    fn loses(&self, record: &[u8]) -> bool {
        use skein::store::record::{Body, Record};
        matches!(
            (self.bug, Record::read(record.to_vec()).map(|r| r.body)),
            (Some(Bug::LostTombstones), Ok(Body::Tombstone { .. }))
                | (Some(Bug::ForgottenCeiling), Ok(Body::Ceiling { .. }))
        )
    }
}
