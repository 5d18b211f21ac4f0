//! A few nodes on one clock. Every message goes over the wire form and back. Always checked: `Exchanged` is true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::gossip::message::Step;
use crate::gossip::*;
use crate::ids::Uid;
use crate::store::record::{Draft, Scribe};
use crate::store::{Index, PARTS, Range, Sum};

pub const TICK: Duration = Duration::from_millis(100);
const PROBE: Duration = Duration::from_millis(400);

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a node holds, and since when.
#[derive(Default)]
pub struct Held {
    pub index: Index,
    since: BTreeMap<RecordId, Mono>,
    refused: BTreeSet<RecordId>,
}

impl Held {
    pub fn insert(&mut self, now: Mono, raw: &Arc<[u8]>) {
        self.since.entry(RecordId::of(raw)).or_insert(now);
        self.index.insert(raw);
    }

    pub fn remove(&mut self, id: &RecordId) {
        let raw = Arc::clone(self.index.get(id).unwrap());
        self.index.remove(&raw);
        self.since.remove(id);
    }

    pub fn ids(&self) -> Vec<RecordId> {
        self.index.ids(Range::ALL).copied().collect()
    }
}

impl Holdings for Held {
    fn sum(&self) -> Sum {
        self.index.sum()
    }

    fn sums(&self, range: Range) -> [Sum; PARTS] {
        self.index.sums(range)
    }

    fn ids(&self, range: Range) -> Vec<RecordId> {
        self.index.ids(range).copied().collect()
    }

    fn has(&self, id: &RecordId) -> bool {
        self.index.get(id).is_some()
    }

    fn removed(&self) -> &[u64; 256] {
        self.index.removed()
    }

    fn records(&self, ids: &BTreeSet<RecordId>) -> Vec<Arc<[u8]>> {
        ids.iter().filter_map(|id| self.index.get(id)).map(Arc::clone).collect()
    }
}

pub struct Node {
    pub id: NodeId,
    pub gossip: Gossip,
    pub held: Held,
    pub scribe: Scribe,
    pub incarnation: u64,
    /// With whom exchanges were done.
    pub exchanged: Vec<(Mono, usize)>,
    key: SigningKey,
}

/// How links treat messages.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Of a thousand messages so many are lost, and so many come twice.
    pub lost: u32,
    pub twice: u32,
    pub delay: Duration,
    /// By how much more at random.
    pub jitter: Duration,
}

pub const FAIR: Weather = Weather { lost: 0, twice: 0, delay: Duration::from_millis(1), jitter: Duration::ZERO };

enum Event {
    Message(usize, usize, Vec<u8>),
    Numbers(usize, usize, Vec<u8>),
}

pub struct World {
    pub now: Mono,
    pub nodes: Vec<Node>,
    pub weather: Weather,
    pub random: StdRng,
    /// Connected pairs, smaller first, and the connection's number.
    links: BTreeMap<(usize, usize), u64>,
    queue: BTreeMap<(Mono, u64), (u64, Event)>,
    serial: u64,
    next_tick: Mono,
    next_probe: Mono,
    /// Messages sent by kind, and bytes of all of them.
    pub sent: BTreeMap<&'static str, usize>,
    pub bytes: usize,
    /// What is lost whatever the weather.
    pub swallow: fn(usize, usize, &Message) -> bool,
}

impl World {
    /// Nodes whose ids grow with their index, not connected.
    pub fn new(count: u8, seed: u64) -> Self {
        let mut keys: Vec<_> = (1..=count).map(|n| SigningKey::from_bytes(&[n; 32])).collect();
        keys.sort_by_key(|key| key.verifying_key().to_bytes());
        let now = Mono(Duration::from_secs(50));
        let node = |key: SigningKey| {
            let id = NodeId(key.verifying_key().to_bytes());
            Node {
                id,
                gossip: Gossip::new(Origin { node: id, incarnation: 1 }, seed),
                held: Held::default(),
                scribe: Scribe::new(id, 1, key.clone()),
                incarnation: 1,
                exchanged: Vec::new(),
                key,
            }
        };
        Self {
            now,
            nodes: keys.into_iter().map(node).collect(),
            weather: FAIR,
            random: StdRng::seed_from_u64(seed),
            links: BTreeMap::new(),
            queue: BTreeMap::new(),
            serial: 0,
            next_tick: now,
            next_probe: now,
            sent: BTreeMap::new(),
            bytes: 0,
            swallow: |_, _, _| false,
        }
    }

    /// All connected, exchanged and quiet.
    pub fn flock(count: u8, seed: u64) -> Self {
        let mut world = Self::new(count, seed);
        for (a, b) in world.pairs() {
            world.connect(a, b);
        }
        world.run(ms(500));
        world
    }

    pub fn pairs(&self) -> Vec<(usize, usize)> {
        (0..self.nodes.len()).flat_map(|a| (a + 1..self.nodes.len()).map(move |b| (a, b))).collect()
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        self.serial += 1;
        if self.links.insert((a.min(b), a.max(b)), self.serial).is_none() {
            self.input(a, Input::Connected(self.nodes[b].id));
            self.input(b, Input::Connected(self.nodes[a].id));
        }
    }

    pub fn cut(&mut self, a: usize, b: usize) {
        if self.links.remove(&(a.min(b), a.max(b))).is_some() {
            self.input(a, Input::Gone(self.nodes[b].id));
            self.input(b, Input::Gone(self.nodes[a].id));
        }
    }

    /// Kills a node and starts it again from its disk.
    pub fn restart(&mut self, at: usize) {
        for other in 0..self.nodes.len() {
            if other != at {
                self.cut(at, other);
            }
        }
        let node = &mut self.nodes[at];
        node.incarnation += 1;
        let me = Origin { node: node.id, incarnation: node.incarnation };
        node.gossip = Gossip::new(me, node.incarnation);
        node.scribe = Scribe::new(node.id, node.incarnation, node.key.clone());
    }

    /// Writes records at a node, told to nobody.
    pub fn write(&mut self, at: usize, count: usize, bytes: usize) -> Vec<Verified> {
        let now = self.now;
        let node = &mut self.nodes[at];
        let write = |_| {
            let value: Arc<[u8]> = vec![7; bytes].into();
            let fields = [("field".to_owned(), Some(value))];
            let raw = node.scribe.write(Draft::Told(Uid::derived(&[b"object"]), 1, &fields));
            node.held.insert(now, &raw);
            Verified::read(raw).unwrap()
        };
        (0..count).map(write).collect()
    }

    /// Writes records at a node and tells them to all.
    pub fn publish(&mut self, at: usize, count: usize, bytes: usize) {
        let records = self.write(at, count, bytes);
        self.input(at, Input::Publish(records));
    }

    /// Has a node refuse a record.
    pub fn refuse(&mut self, at: usize, id: RecordId) {
        self.nodes[at].held.refused.insert(id);
        self.input(at, Input::Refused(id));
    }

    pub fn input(&mut self, at: usize, input: Input) {
        let node = &mut self.nodes[at];
        let outputs = node.gossip.handle(self.now, input, &node.held);
        for output in outputs {
            self.output(at, output);
        }
    }

    fn output(&mut self, at: usize, output: Output) {
        match output {
            Output::Send { to, message } => {
                let to = self.index(to);
                *self.sent.entry(kind(&message)).or_default() += 1;
                let bytes = message.to_bytes();
                self.bytes += bytes.len();
                if !(self.swallow)(at, to, &message) {
                    self.post(at, to, || Event::Message(at, to, bytes.clone()));
                }
            }
            Output::Deliver { records, .. } => {
                for record in records {
                    self.nodes[at].held.insert(self.now, &record.record().raw);
                }
            }
            Output::Exchanged { peer, began } => {
                let peer = self.index(peer);
                let missing = self.missing(at, peer, began);
                assert_eq!(missing, 0, "{at} exchanged with {peer} since {began:?} and lacks {missing}");
                self.nodes[at].exchanged.push((began, peer));
            }
        }
    }

    /// Counts what `of` held at a time and `at` does not hold now.
    fn missing(&self, at: usize, of: usize, then: Mono) -> usize {
        let held = self.nodes[of].held.since.iter().filter(|(_, since)| **since <= then);
        let known = |id| self.nodes[at].held.has(id) || self.nodes[at].held.refused.contains(id);
        held.filter(|(id, _)| !known(id)).count()
    }

    fn post(&mut self, from: usize, to: usize, event: impl Fn() -> Event) {
        let Some(link) = self.links.get(&(from.min(to), from.max(to))).copied() else { return };
        let Weather { lost, twice, delay, jitter } = self.weather;
        let copies = 1 + usize::from(self.random.random_ratio(twice, 1_000));
        for _ in 0..copies {
            if self.random.random_ratio(lost, 1_000) {
                continue;
            }
            self.serial += 1;
            let at = self.now + delay + jitter.mul_f64(self.random.random_range(0.0..1.0));
            self.queue.insert((at, self.serial), (link, event()));
        }
    }

    fn index(&self, id: NodeId) -> usize {
        self.nodes.iter().position(|node| node.id == id).expect("it is one of them")
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let next = self.queue.keys().next().map_or(until, |(at, _)| *at);
            let step = next.min(self.next_tick).min(until);
            self.now = step.max(self.now);
            if step == self.next_tick {
                self.next_tick = step + TICK;
                self.tick();
            } else if next <= until && !self.queue.is_empty() {
                self.deliver();
            }
            if self.now >= until && self.queue.keys().next().is_none_or(|(at, _)| *at > until) {
                return;
            }
        }
    }

    fn tick(&mut self) {
        for at in 0..self.nodes.len() {
            self.input(at, Input::Tick);
        }
        if self.now >= self.next_probe {
            self.next_probe = self.now + PROBE;
            for (a, b) in self.links.keys().copied().collect::<Vec<_>>() {
                for (from, to) in [(a, b), (b, a)] {
                    let numbers = numbers_to_bytes(self.nodes[from].gossip.numbers());
                    self.bytes += numbers.len();
                    self.post(from, to, || Event::Numbers(from, to, numbers.clone()));
                }
            }
        }
    }

    fn deliver(&mut self) {
        let Some((_, (link, event))) = self.queue.pop_first() else { return };
        let (Event::Message(from, to, bytes) | Event::Numbers(from, to, bytes)) = &event;
        if self.links.get(&(*from.min(to), *from.max(to))) != Some(&link) {
            return;
        }
        let id = self.nodes[*from].id;
        let input = match event {
            Event::Message(..) => Input::Received { from: id, message: Message::of_bytes(bytes).unwrap() },
            Event::Numbers(..) => Input::Heard { from: id, numbers: numbers_of_bytes(bytes).unwrap() },
        };
        self.input(*to, input);
    }

    /// Runs until all hold the same, at most for `most`. Returns how long it took.
    pub fn settle(&mut self, most: Duration) -> Duration {
        let start = self.now;
        while !self.agree() {
            assert!(self.now.since(start) < most, "not the same after {most:?}: {:?}", self.counts());
            self.run(ms(10));
        }
        self.now.since(start)
    }

    pub fn agree(&self) -> bool {
        let first = self.nodes[0].held.ids();
        self.nodes.iter().all(|node| node.held.ids() == first)
    }

    pub fn counts(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.held.since.len()).collect()
    }

    pub fn count(&self, kind: &str) -> usize {
        self.sent.get(kind).copied().unwrap_or(0)
    }
}

pub fn kind(message: &Message) -> &'static str {
    match message {
        Message::Batches { .. } => "batches",
        Message::Pull { .. } => "pull",
        Message::Lacking { .. } => "lacking",
        Message::Exchange { step, .. } => match step {
            Step::Begin { .. } => "begin",
            Step::Reply { .. } => "reply",
            Step::Busy { .. } => "busy",
            Step::Ids { .. } => "ids",
            Step::Probes { .. } => "probes",
            Step::Listed { .. } => "listed",
            Step::Want { .. } => "want",
            Step::Records { .. } => "records",
            Step::Ack { .. } => "ack",
        },
    }
}
