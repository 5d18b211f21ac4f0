//! One host: its key, its agent or none, its disk, its Docker, its users.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use skein::election::{Ballot, Register, Registers, SaveId, Stamp};
use skein::ids::{ClusterId, NodeId, PersistId, RequestId, Revision, Uid};
use skein::node::partition::Partition;
use skein::node::{self, Input, Node};
use skein::routing::Routes;
use skein::runtime::fake::FakeRuntime;
use skein::store::Snapshot;
use skein::time::{Mono, Now, Wall};
use skein::trust::{Admission, Member};

use crate::config;
use crate::users::Users;

/// The wall clock at the start.
pub const WALL: Wall = Wall(1_800_000_000_000_000);

/// A host, on which an agent runs or does not.
pub struct Host {
    pub key: SigningKey,
    /// Who it is, once it is a member.
    pub member: Option<Member>,
    pub node: Option<Node>,
    /// Which start of the agent this is.
    pub incarnation: u64,
    pub disk: Disk,
    pub docker: FakeRuntime,
    pub docker_up: bool,
    /// Users whose objects nobody writes but they, here.
    pub users: Users,
    /// Users whose objects are written everywhere.
    pub crowd: Users,
    /// As last published.
    pub view: Snapshot,
    /// The highest version ever shown.
    pub newest: Revision,
    /// What its proxy was told.
    pub routes: Arc<Routes>,
    /// To whom the mesh is to connect.
    pub peers: BTreeSet<NodeId>,
    /// What it alone had held when it came back too late.
    pub displaced: Vec<Vec<u8>>,
    /// What it tells of partitions.
    pub partitions: Vec<Partition>,
    /// How much its wall clock was set ahead, in microseconds.
    pub ahead: i64,
    /// How much faster its clocks go than time does, the monotonic one and the wall clock, in millionths.
    pub drift: (i64, i64),
    /// The feature level of the agent's next start.
    pub level: u32,
    /// What its warden was told: it outlives the agent.
    pub deadlines: BTreeMap<Uid, Mono>,
    /// While its agent is stalled: what happens meanwhile.
    pub stalled: Option<Vec<Input>>,
    /// When it last said something to anybody, and its longest silence.
    pub said: Duration,
    pub longest_silence: Duration,
    /// Whether it runs no pods.
    pub witness: bool,
    /// Whether it has no power, so that nothing answers there.
    pub dark: bool,
    /// Whether it stays down, whatever was to start it.
    pub kept_down: bool,
}

/// What outlives the agent.
#[derive(Default)]
pub struct Disk {
    pub durable: Vec<Vec<u8>>,
    pub pending: VecDeque<(PersistId, Vec<Vec<u8>>)>,
    pub ballot: Ballot,
    pub registers: Registers,
    pub saving: VecDeque<(SaveId, Option<Ballot>, Option<Registers>)>,
    pub slow: bool,
    /// Whether the log takes no writes.
    pub full: bool,
    /// When the last batch will be done: batches are done in order.
    pub busy_until: Duration,
    /// When the last save will be done.
    pub saving_until: Duration,
}

impl Disk {
    /// Writes a save into its files.
    pub fn keep(&mut self, ballot: Option<Ballot>, registers: Option<Registers>) {
        if let Some(ballot) = ballot {
            self.ballot = ballot;
        }
        if let Some(registers) = registers {
            self.registers = registers;
        }
    }
}

impl Host {
    /// Makes the `index`th host, with nothing on its disk.
    pub fn new(index: usize, docker: FakeRuntime) -> Self {
        let number = u8::try_from(index + 1).expect("few hosts");
        Self {
            key: SigningKey::from_bytes(&[number; 32]),
            member: None,
            node: None,
            incarnation: 0,
            disk: Disk::default(),
            docker,
            docker_up: true,
            users: Users { home: format!("n{number}-"), ..Users::default() },
            crowd: Users { home: "all-".into(), next: RequestId(1 << 32), ..Users::default() },
            view: Snapshot::default(),
            newest: Revision(0),
            routes: Arc::default(),
            peers: BTreeSet::new(),
            displaced: Vec::new(),
            partitions: Vec::new(),
            ahead: 0,
            drift: (0, 0),
            level: skein::features::LEVEL,
            deadlines: BTreeMap::new(),
            stalled: None,
            said: Duration::ZERO,
            longest_silence: Duration::ZERO,
            witness: false,
            dark: false,
            kept_down: false,
        }
    }

    /// Returns its key's name.
    pub fn id(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }

    /// Returns its name in the cluster.
    pub fn name(&self) -> &str {
        self.member.as_ref().map_or("", |member| &member.name)
    }

    /// Returns the time as this host sees it.
    pub fn clock(&self, now: Duration) -> Now {
        let drift = |millionths: i64| i64::try_from(now.as_micros()).expect("no long ages") * millionths / 1_000_000;
        let (mono, wall) = (drift(self.drift.0), drift(self.drift.1));
        let faster = Duration::from_micros(mono.unsigned_abs());
        let mono = if mono < 0 { now.saturating_sub(faster) } else { now + faster };
        Now { mono: Mono(mono), wall: Wall((WALL + now).0 + wall + self.ahead) }
    }

    /// Returns how much its wall clock is ahead now, in microseconds.
    pub fn error(&self, now: Duration) -> i64 {
        self.clock(now).wall.0 - (WALL + now).0
    }

    /// Returns when its monotonic clock shows that, or just after.
    pub fn moment(&self, mono: Mono) -> Duration {
        if self.drift.0 == 0 {
            return mono.0;
        }
        let rate = u128::try_from(1_000_000 + self.drift.0).expect("no clock goes backwards");
        let nanos = mono.0.as_nanos() * 1_000_000 / rate;
        Duration::from_nanos(u64::try_from(nanos).expect("no long ages")) + Duration::from_micros(2)
    }

    /// Makes it the founder of a cluster.
    pub fn found(&mut self) {
        let config = config::config(1, [0; 32]);
        let record = config.registers.values().next().map(|register| register.value.clone());
        self.member = record.and_then(|raw| Member::read(&raw).ok());
        self.disk.keep(Some(config.ballot), Some(config.registers));
    }

    /// Makes it a member of a cluster.
    pub fn join(&mut self, admission: &Admission) {
        self.member = Member::read(&admission.member).ok();
        let register = |raw: &Vec<u8>| {
            let member = Member::read(raw).expect("the leader admits with good records");
            (Member::register(&member.id), Register { stamp: Stamp::default(), value: raw.clone() })
        };
        self.disk.keep(None, Some(admission.members.iter().map(register).collect()));
    }

    /// Says how the agent's next start is configured.
    pub fn config(&mut self, seed: [u8; 32]) -> node::Config {
        self.incarnation += 1;
        let member = self.member.as_ref().expect("it is a member");
        let mut config = config::config_of(member, self.key.clone(), self.incarnation, seed);
        config.level = self.level;
        // Stories here are about other objects than the roles that a new leader makes.
        config.default_roles = false;
        config.witness = self.witness;
        if self.witness {
            config.kubelet.max_pods = 0;
        }
        config.ballot = self.disk.ballot.clone();
        config.registers = self.disk.registers.clone();
        config.leases = self.deadlines.clone();
        config
    }

    /// Returns the cluster it is in.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.member.as_ref().map(|member| member.cluster)
    }
}
