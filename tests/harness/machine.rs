//! The real node with a disk in memory and a fake Docker, on virtual time that moves only when told to.

use std::time::Duration;

use skein::disk::registry::Ledger;
use skein::disk::writer::COMPACT_BYTES;
use skein::disk::{Log, MemoryFiles, Registry};
use skein::election::{Ballot, Registers};
use skein::ids::PersistId;
use skein::node::{Effect, Input, Node, io::TICK};
use skein::runtime::fake::{FakeRuntime, Knobs};
use skein::store::Snapshot;
use skein::store::record::{Body, Record};
use skein::time::{Mono, Now, Wall};

use super::config::config;

/// The wall clock at the start.
const WALL: Wall = Wall(1_800_000_000_000_000);
/// How long a write that somebody waits for is on its way to the disk.
const URGENT: Duration = Duration::from_millis(2);
/// How long any other may be.
const LAZY: Duration = Duration::from_secs(2);

/// A host: its clock, its disk, its Docker, and the agent that runs on it or does not.
pub struct Machine {
    /// What the agent drives; tests break it.
    pub docker: FakeRuntime,
    /// A planted bug: ceilings of versions do not reach the disk, and the wall clock stands still.
    pub forgets_ceilings: bool,
    /// Its disk.
    pub files: MemoryFiles,
    /// Where the registers are written, for the sake of counting.
    pub votes: MemoryFiles,
    ledger: Ledger,
    now: Duration,
    next_tick: Duration,
    incarnation: u64,
    /// What the agent has saved: durable at once.
    ballot: Option<Ballot>,
    registers: Option<Registers>,
    agent: Option<Agent>,
    told: Vec<(Duration, Effect)>,
}

/// All that dies with the process.
struct Agent {
    node: Node,
    log: Log<MemoryFiles>,
    /// The last batch appended but not synced, and when it will be.
    unsynced: Option<(PersistId, Duration)>,
    /// The log's size that calls for a rewrite.
    limit: u64,
}

/// What happens next.
enum Next {
    Synced(PersistId),
    Docker,
    Tick,
}

impl Machine {
    /// Makes a host with an empty disk, and starts the agent.
    pub fn new() -> Self {
        let mut machine = Self {
            docker: FakeRuntime::new(1, Knobs::default()),
            forgets_ceilings: false,
            files: MemoryFiles::default(),
            votes: MemoryFiles::default(),
            ledger: Ledger::default(),
            now: Duration::ZERO,
            next_tick: TICK,
            incarnation: 0,
            ballot: None,
            registers: None,
            agent: None,
            told: Vec::new(),
        };
        machine.start();
        machine
    }

    /// Returns this moment.
    pub fn clock(&self) -> Now {
        let wall = if self.forgets_ceilings { WALL } else { WALL + self.now };
        Now { mono: Mono(self.now), wall }
    }

    /// Returns the cluster as the agent shows it; nothing without an agent.
    pub fn view(&self) -> Snapshot {
        self.agent.as_ref().map(|agent| agent.node.snapshot().clone()).unwrap_or_default()
    }

    /// Hands the agent an input, if there is one.
    pub fn give(&mut self, input: Input) {
        let now = self.clock();
        let Some(agent) = &mut self.agent else { return };
        let outputs = agent.node.handle(now, input);
        self.execute(outputs.into_iter());
    }

    /// Lets the next thing happen that happens within `limit`; `false` if there was none and `limit` has passed.
    pub fn step(&mut self, limit: Duration) -> bool {
        let (at, next) = self.next();
        if at > limit {
            self.now = limit;
            return false;
        }
        self.now = at;
        match next {
            Next::Synced(id) => self.synced(id),
            Next::Docker => {
                for observation in self.docker.poll(self.clock()) {
                    self.give(Input::Observed(observation));
                }
            }
            Next::Tick => {
                self.next_tick = at + TICK;
                self.give(Input::Tick);
            }
        }
        true
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        while self.step(limit) {}
    }

    /// Takes what the agent told the world since it was last asked, oldest first.
    pub fn take_told(&mut self) -> Vec<(Duration, Effect)> {
        std::mem::take(&mut self.told)
    }

    /// Kills the agent and pulls the plug of its disk: what was not synced is lost but for `torn` bytes.
    pub fn crash(&mut self, torn: usize) {
        self.agent = None;
        self.files.crash(torn);
        self.docker.kill_agent(self.clock());
    }

    /// Starts the agent on what the disk holds.
    pub fn start(&mut self) {
        let now = self.clock();
        self.incarnation += 1;
        let (log, recovered) = Log::open(self.files.clone()).expect("memory can be read");
        assert_eq!(recovered.damage, []);
        let seed = [u8::try_from(self.incarnation).expect("few starts"); 32];
        let mut config = config(self.incarnation, seed);
        config.ballot = self.ballot.clone().unwrap_or(config.ballot);
        config.registers = self.registers.clone().unwrap_or(config.registers);
        let (mut node, report) = Node::new(config, recovered.records, now);
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        let outputs = node.start(now);
        self.agent = Some(Agent { node, log, unsynced: None, limit: COMPACT_BYTES });
        self.docker.restart_agent(now);
        self.execute(outputs.into_iter());
    }

    fn next(&self) -> (Duration, Next) {
        let mut next = (self.next_tick, Next::Tick);
        if let Some(at) = self.docker.next_due().map(|at| at.0.max(self.now)).filter(|at| *at <= next.0) {
            next = (at, Next::Docker);
        }
        let unsynced = self.agent.as_ref().and_then(|agent| agent.unsynced);
        if let Some((id, at)) = unsynced.filter(|(_, at)| *at <= next.0) {
            next = (at, Next::Synced(id));
        }
        next
    }

    fn synced(&mut self, id: PersistId) {
        let Some(agent) = &mut self.agent else { return };
        agent.log.sync().expect("memory can be written");
        // As the writer's thread does.
        if agent.log.bytes() > agent.limit {
            agent.log.compact(&agent.node.records()).expect("memory can be written");
            agent.limit = COMPACT_BYTES.max(agent.log.bytes() * 4);
        }
        agent.unsynced = None;
        self.give(Input::Persisted(id));
    }

    fn execute(&mut self, effects: impl Iterator<Item = Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist { id, records, urgent } => self.append(id, &records, urgent),
                Effect::Act(action) => self.docker.act(self.clock(), *action),
                Effect::Save { id, ballot, registers } => {
                    self.ballot = ballot.or(self.ballot.take());
                    if let Some(registers) = registers {
                        let voters = self.ballot.as_ref().map(|ballot| ballot.voters.clone()).unwrap_or_default();
                        let registry = Registry { voters, registers };
                        self.ledger.save(&mut self.votes, &registry).expect("memory can be written");
                        self.registers = Some(registry.registers);
                    }
                    self.give(Input::Saved(id));
                }
                told => self.told.push((self.now, told)),
            }
        }
    }

    fn append(&mut self, id: PersistId, records: &[Vec<u8>], urgent: bool) {
        let Some(agent) = &mut self.agent else { return };
        let forgotten = |record: &&Vec<u8>| self.forgets_ceilings && is_ceiling(record);
        let records: Vec<_> = records.iter().filter(|record| !forgotten(record)).collect();
        agent.log.append(records).expect("memory can be written");
        let at = self.now + if urgent { URGENT } else { LAZY };
        let at = agent.unsynced.map_or(at, |(_, earlier)| at.min(earlier));
        agent.unsynced = Some((id, at));
    }
}

fn is_ceiling(record: &[u8]) -> bool {
    matches!(Record::read(record).map(|record| record.body), Ok(Body::Ceiling { .. }))
}
