//! Many machines on one clock: links of 1 to 20 ms that lose messages, members that die, stall, or are cut off from one
//! another. A stalled member does nothing; what came meanwhile waits, and its clock is the first that it looks at after.

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{TICK, ms};
use crate::ids::NodeId;
use crate::membership::*;

const START: Duration = Duration::from_secs(1_000);

enum Event {
    Arrives { from: usize, message: Message },
    Tick,
    Stalls,
    Wakes,
}

/// How often and how long a member stalls, in milliseconds.
#[derive(Clone, Copy)]
pub struct Stalls {
    pub every: (u64, u64),
    pub long: (u64, u64),
}

struct Member {
    id: NodeId,
    machine: Membership,
    dead: bool,
    /// Since when it does nothing, and what waits.
    stalled: Option<Mono>,
    waiting: Vec<(usize, Message)>,
    stalls: Option<Stalls>,
}

pub struct Flock {
    pub now: Mono,
    members: Vec<Member>,
    places: BTreeMap<NodeId, usize>,
    queue: BTreeMap<(Mono, u64), (usize, Event)>,
    serial: u64,
    random: StdRng,
    /// Of a thousand messages so many are lost.
    lost: u32,
    /// From whom to whom nothing comes.
    pub cut: BTreeSet<(usize, usize)>,
    /// When who came to see whom how.
    pub changes: Vec<(Duration, usize, usize, State)>,
    pub sent: usize,
}

impl Flock {
    pub fn new(count: usize, seed: u64, lost: u32, config: Config) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let now = Mono(START);
        let ids: Vec<NodeId> = (0..count).map(|_| NodeId(random.random())).collect();
        let member = |id: &NodeId| {
            let machine = Membership::new(*id, config, seed);
            Member { id: *id, machine, dead: false, stalled: None, waiting: Vec::new(), stalls: None }
        };
        let mut flock = Self {
            now,
            members: ids.iter().map(member).collect(),
            places: ids.iter().copied().zip(0..).collect(),
            queue: BTreeMap::new(),
            serial: 0,
            random,
            lost,
            cut: BTreeSet::new(),
            changes: Vec::new(),
            sent: 0,
        };
        for at in 0..count {
            let others = ids.iter().filter(|id| **id != ids[at]).copied().collect();
            flock.input(at, Input::Members(others));
            let first = flock.draw((0, 99));
            flock.post(flock.now + first, at, Event::Tick);
        }
        flock
    }

    fn draw(&mut self, (least, most): (u64, u64)) -> Duration {
        ms(self.random.random_range(least..=most))
    }

    fn post(&mut self, when: Mono, at: usize, event: Event) {
        self.serial += 1;
        self.queue.insert((when, self.serial), (at, event));
    }

    pub fn kill(&mut self, at: usize) {
        self.members[at].dead = true;
    }

    /// From now on a member stalls now and then.
    pub fn stalls(&mut self, at: usize, stalls: Stalls) {
        self.members[at].stalls = Some(stalls);
        let wait = self.draw((0, stalls.every.1));
        self.post(self.now + wait, at, Event::Stalls);
    }

    pub fn state(&self, at: usize, of: usize) -> State {
        self.members[at].machine.state(&self.members[of].id)
    }

    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= until) {
            self.now = next.key().0;
            let (at, event) = next.remove();
            if !self.members[at].dead {
                self.happens(at, event);
            }
        }
        self.now = until;
    }

    fn happens(&mut self, at: usize, event: Event) {
        match event {
            Event::Arrives { from, message } if self.members[at].stalled.is_some() => {
                self.members[at].waiting.push((from, message));
            }
            Event::Arrives { from, message } => self.received(at, from, message),
            Event::Tick => {
                if self.members[at].stalled.is_none() {
                    self.input(at, Input::Tick);
                }
                self.post(self.now + TICK, at, Event::Tick);
            }
            Event::Stalls => {
                let Some(stalls) = self.members[at].stalls else { return };
                self.members[at].stalled = Some(self.now);
                let long = self.draw(stalls.long);
                self.post(self.now + long, at, Event::Wakes);
            }
            Event::Wakes => {
                self.members[at].stalled = None;
                self.input(at, Input::Tick);
                for (from, message) in std::mem::take(&mut self.members[at].waiting) {
                    self.received(at, from, message);
                }
                if let Some(stalls) = self.members[at].stalls {
                    let wait = self.draw(stalls.every);
                    self.post(self.now + wait, at, Event::Stalls);
                }
            }
        }
    }

    fn received(&mut self, at: usize, from: usize, message: Message) {
        let from = self.members[from].id;
        self.input(at, Input::Received { from, message });
    }

    fn input(&mut self, at: usize, input: Input) {
        for output in self.members[at].machine.handle(self.now, input) {
            match output {
                Output::Send { to, message } => self.send(at, self.places[&to], &message),
                Output::Changed { peer, state } => {
                    self.changes.push((self.now.0 - START, at, self.places[&peer], state));
                }
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: &Message) {
        self.sent += 1;
        if self.cut.contains(&(from, to)) || self.random.random_ratio(self.lost, 1_000) {
            return;
        }
        let message = Message::of_bytes(&message.to_bytes()).expect("it reads what it writes");
        let hash = (from.min(to) * 7_919 + from.max(to) * 104_729) as u64 % 19_000;
        let arrives = self.now + Duration::from_micros(1_000 + hash);
        self.post(arrives, to, Event::Arrives { from, message });
    }
}
