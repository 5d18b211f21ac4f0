//! A whole node that takes frames of the mad member, and what they cost it.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::time::Duration;

use bytes::Bytes;
use nix::time::{ClockId, clock_gettime};
use skein::election::{Register, Stamp, Voters};
use skein::ids::Term;
use skein::node::message::{Lane, decode_on};
use skein::node::{Effect, Input, Node};
use skein::store::{OpenReport, fuzzing};
use skein::time::{Mono, Now};
use skein::trust::Member;

use crate::config;
use crate::member::{FOUNDER, MAD, id, key, member};

/// What a frame may hold the loop up, or the thread that reads it: the processor's time. Our own code unoptimised takes
/// some four times as long.
pub const MOST: Duration = Duration::from_millis(if cfg!(debug_assertions) { 400 } else { 100 });

/// The node, its disk, and what was counted.
pub struct Victim {
    pub node: Node,
    now: Now,
    disk: File,
    incarnation: u64,
    pub counts: Counts,
}

/// What became of frames.
#[derive(Debug, Default)]
pub struct Counts {
    pub frames: u64,
    pub decoded: u64,
    pub messages: u64,
    pub refused: u64,
    pub persisted: u64,
    pub turns: u64,
    pub restarts: u64,
    pub slowest_decode: Duration,
    pub slowest_turn: Duration,
}

/// How much of a processor this thread has used.
pub fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// How much memory this process has resident, in KiB.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

impl Victim {
    /// Starts a node with an empty disk.
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("skein-hostile-{}", std::process::id()));
        let disk = OpenOptions::new().create_new(true).read(true).append(true).open(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        let now = fuzzing::now();
        let (node, _) = open(1, Vec::new(), now);
        let mut victim = Self { node, now, disk, incarnation: 1, counts: Counts::default() };
        victim.begin();
        victim
    }

    fn begin(&mut self) {
        let effects = self.node.start(self.now);
        self.execute(effects);
        self.turn(Input::Connected(id(MAD)));
    }

    /// Gives the node a frame, on the thread that reads frames and then in its loop.
    pub fn frame(&mut self, lane: Lane, frame: &[u8]) {
        self.counts.frames += 1;
        self.now =
            Now { mono: self.now.mono + Duration::from_millis(1), wall: self.now.wall + Duration::from_millis(1) };
        let before = cpu();
        let decoded = decode_on(lane, &Bytes::copy_from_slice(frame));
        self.counts.slowest_decode = self.counts.slowest_decode.max(cpu() - before);
        if let Ok(messages) = decoded {
            self.counts.decoded += 1;
            self.counts.messages += messages.len() as u64;
            self.turn(Input::Received { from: id(MAD), messages });
            while self.node.is_busy() {
                self.turn(Input::Continue);
            }
        }
        if self.counts.frames.is_multiple_of(100) {
            self.turn(Input::Tick);
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.now = Now { mono: Mono(self.now.mono.0 + time), wall: self.now.wall + time };
        self.turn(Input::Tick);
    }

    fn turn(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            let before = cpu();
            let effects = self.node.handle(self.now, input);
            self.counts.slowest_turn = self.counts.slowest_turn.max(cpu() - before);
            self.counts.turns += 1;
            inputs.extend(self.carry_out(effects));
        }
    }

    fn execute(&mut self, effects: Vec<Effect>) {
        for input in self.carry_out(effects) {
            self.turn(input);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Vec<Input> {
        let mut inputs = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist { id, records, .. } => {
                    self.counts.persisted += records.len() as u64;
                    for record in records {
                        let length = u32::try_from(record.len()).unwrap().to_be_bytes();
                        self.disk.write_all(&[&length[..], &record].concat()).unwrap();
                    }
                    inputs.push(Input::Persisted(id));
                }
                Effect::Save { id, .. } => inputs.push(Input::Saved(id)),
                _ => {}
            }
        }
        inputs
    }

    /// Stops the node and starts it on its disk; with `compact` the disk holds no more than is live.
    pub fn restart(&mut self, compact: bool) -> OpenReport {
        use std::io::{Seek, SeekFrom};
        self.counts.refused += self.node.refused_records();
        self.counts.restarts += 1;
        if compact {
            let records = self.node.records();
            self.disk.set_len(0).unwrap();
            self.counts.persisted -= records.len() as u64;
            self.carry_out(vec![Effect::Persist { id: skein::ids::PersistId::default(), records, urgent: true }]);
        }
        self.disk.seek(SeekFrom::Start(0)).unwrap();
        let mut reader = BufReader::new(&self.disk);
        let (mut records, mut length) = (Vec::new(), [0; 4]);
        while reader.read_exact(&mut length).is_ok() {
            let mut record = vec![0; u32::from_be_bytes(length) as usize];
            reader.read_exact(&mut record).unwrap();
            records.push(record);
        }
        self.incarnation += 1;
        let (node, report) = open(self.incarnation, records, self.now);
        self.node = node;
        self.begin();
        report
    }
}

fn open(incarnation: u64, records: Vec<Vec<u8>>, now: Now) -> (Node, OpenReport) {
    let mut config = config::config(incarnation, [1; 32]);
    // Of two voters one cannot lead: nobody acts on what is written.
    config.ballot.voters =
        Voters { term: Term(0), version: 1, members: [id(FOUNDER), id(MAD)].into(), ..Voters::default() };
    let register = |n| {
        let value = member(n).sign(&key(FOUNDER));
        (Member::register(&id(n)), Register { stamp: Stamp::default(), value })
    };
    config.registers = [register(FOUNDER), register(MAD)].into();
    Node::new(config, records, now)
}
