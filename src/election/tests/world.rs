//! A cluster of election machines on virtual time: a seed fixes everything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::election::rule::Rule;
use crate::election::{
    Ballot, Election, Generation, Input, Message, Output, ProposalId, Register, Registers, Role, Stamp, Timing,
    Undecided, Voters,
};
use crate::ids::{NodeId, Term};
use crate::time::Mono;

/// How bad the network and the disks are.
#[derive(Clone, Copy)]
pub struct Faults {
    /// Of a hundred messages, how many are lost, and how many come twice.
    pub lost: u32,
    pub doubled: u32,
    /// How long a message and a save take at most, in milliseconds.
    pub delay: u64,
    pub disk: u64,
}

pub const FINE: Faults = Faults { lost: 0, doubled: 0, delay: 2, disk: 5 };
pub const ROUGH: Faults = Faults { lost: 15, doubled: 10, delay: 60, disk: 40 };

#[derive(Debug)]
enum Event {
    Tick,
    Message {
        from: NodeId,
        generation: u64,
        bytes: Vec<u8>,
    },
    /// The disk has the ballot, then the registers, then says so.
    Write {
        ballot: Option<Ballot>,
        registers: Option<Registers>,
        done: Option<crate::election::SaveId>,
    },
}

pub struct Node {
    pub machine: Option<Election>,
    ballot: Ballot,
    registers: Registers,
    /// Which of its runs: events of earlier ones are void.
    run: u64,
    disk_free: u64,
    /// A copy of its disk that somebody has made.
    copy: Option<(Ballot, Registers)>,
}

pub struct World {
    pub now: u64,
    pub nodes: BTreeMap<NodeId, Node>,
    pub members: BTreeSet<NodeId>,
    pub faults: Faults,
    pub cut: BTreeSet<(NodeId, NodeId)>,
    pub rng: StdRng,
    /// All generations that were begun, by number.
    generations: BTreeMap<u64, Generation>,
    pub most: usize,
    pub witnesses: BTreeSet<NodeId>,
    pub broken: Option<Rule>,
    queue: BTreeMap<(u64, u64), (NodeId, u64, Event)>,
    number: u64,
    next_proposal: u64,
    proposals: BTreeMap<u64, (String, Vec<u8>)>,
    /// Who was ever established in a term.
    pub leaders: BTreeMap<Term, NodeId>,
    /// What was ever in effect, by key and stamp, as any node has shown it.
    shown: BTreeMap<(String, Stamp), Vec<u8>>,
    /// The newest stamp of each key of which a proposal was answered with yes.
    pub decided: BTreeMap<String, Stamp>,
    pub count: BTreeMap<&'static str, u64>,
    pub saves: u64,
}

pub fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

pub fn nodes(n: impl IntoIterator<Item = u8>) -> BTreeSet<NodeId> {
    n.into_iter().map(node).collect()
}

impl World {
    /// A founder, node 1, that is not started.
    pub fn new(seed: u64, faults: Faults) -> Self {
        let mut world = Self {
            now: 1000,
            nodes: BTreeMap::new(),
            members: nodes([1]),
            faults,
            cut: BTreeSet::new(),
            rng: StdRng::seed_from_u64(seed),
            generations: BTreeMap::new(),
            most: 3,
            witnesses: BTreeSet::new(),
            broken: None,
            queue: BTreeMap::new(),
            number: 0,
            next_proposal: 0,
            proposals: BTreeMap::new(),
            leaders: BTreeMap::new(),
            shown: BTreeMap::new(),
            decided: BTreeMap::new(),
            count: BTreeMap::new(),
            saves: 0,
        };
        let value = Register { stamp: Stamp { term: Term(1), seq: 1 }, value: b"founder".to_vec() };
        let voters = Voters { term: Term(1), version: 1, members: nodes([1]), ..Voters::default() };
        let ballot = Ballot { term: Term(1), voters, ..Ballot::default() };
        world.add(1, ballot, Registers::from([("member/1".into(), value)]));
        world
    }

    /// A cluster that has `voters` from the start, all of them started.
    pub fn settled(seed: u64, faults: Faults, voters: u8) -> Self {
        let mut world = Self::new(seed, faults);
        world.members = nodes(1..=voters);
        world.most = usize::from(voters).max(3);
        let voters_ = Voters { term: Term(1), version: 9, members: world.members.clone(), ..Voters::default() };
        let ballot = Ballot { term: Term(1), voters: voters_, ..Ballot::default() };
        let registers = world.nodes[&node(1)].registers.clone();
        for n in 1..=voters {
            world.add(n, ballot.clone(), registers.clone());
            world.start(n);
        }
        world
    }

    pub fn add(&mut self, n: u8, ballot: Ballot, registers: Registers) {
        self.nodes.insert(node(n), Node { machine: None, ballot, registers, run: 0, disk_free: 0, copy: None });
    }

    pub fn start(&mut self, n: u8) {
        let seed = self.rng.random_range(0..u64::MAX);
        let broken = self.broken;
        let at = self.nodes.get_mut(&node(n)).unwrap();
        at.run += 1;
        let mut machine = Election::new(node(n), seed, Timing::default(), at.ballot.clone(), at.registers.clone());
        machine.broken = broken;
        at.machine = Some(machine);
        self.tell_members(n);
        self.input(node(n), Input::Tick);
        // No two agents tick together.
        let phase = self.rng.random_range(1..=100);
        self.later(n, phase, Event::Tick);
    }

    pub fn crash(&mut self, n: u8) {
        self.nodes.get_mut(&node(n)).unwrap().machine = None;
    }

    /// Says who is a member to a node.
    pub fn tell_members(&mut self, n: u8) {
        let reachable = self.members.iter().filter(|peer| self.reaches(&node(n), peer)).copied().collect();
        self.input(
            node(n),
            Input::Members { all: self.members.clone(), reachable, witnesses: self.witnesses.clone(), most: self.most },
        );
    }

    fn reaches(&self, from: &NodeId, to: &NodeId) -> bool {
        let up = self.nodes.get(to).is_some_and(|n| n.machine.is_some());
        up && !self.cut.contains(&(*from, *to)) && !self.cut.contains(&(*to, *from))
    }

    fn later(&mut self, n: u8, delay: u64, event: Event) {
        let run = self.nodes[&node(n)].run;
        self.number += 1;
        self.queue.insert((self.now + delay, self.number), (node(n), run, event));
    }

    /// Runs for so many milliseconds.
    pub fn run(&mut self, millis: u64) {
        let until = self.now + millis;
        self.run_until(until, |_| false);
        self.now = until;
    }

    /// Runs until `done` or the time is over. Returns whether it was done.
    pub fn run_until(&mut self, until: u64, done: impl Fn(&Self) -> bool) -> bool {
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), (to, run, event)) = entry.remove_entry();
            self.now = self.now.max(at);
            self.step(to, run, event);
            if done(self) {
                return true;
            }
        }
        self.now = until;
        done(self)
    }

    fn step(&mut self, to: NodeId, run: u64, event: Event) {
        let node = &self.nodes[&to];
        let up = node.machine.is_some();
        match event {
            _ if !up => {}
            Event::Message { from, generation, .. }
                if generation != self.nodes[&to].machine.as_ref().unwrap().generation() =>
            {
                self.prove(from, to);
            }
            Event::Message { from, bytes, .. } => {
                let message = Message::of_bytes(&bytes).unwrap();
                self.input(to, Input::Received { from, message });
            }
            _ if node.run != run => {}
            Event::Tick => {
                self.later(to.0[0], 100, Event::Tick);
                self.tell_members(to.0[0]);
                self.input(to, Input::Tick);
            }
            Event::Write { ballot, registers, done } => {
                let node = self.nodes.get_mut(&to).unwrap();
                node.ballot = ballot.unwrap_or_else(|| node.ballot.clone());
                node.registers = registers.unwrap_or_else(|| node.registers.clone());
                if let Some(id) = done {
                    self.input(to, Input::Saved(id));
                }
            }
        }
    }

    pub fn input(&mut self, to: NodeId, input: Input) {
        let now = Mono(Duration::from_millis(self.now));
        let Some(machine) = self.nodes.get_mut(&to).unwrap().machine.as_mut() else { return };
        let before = if matches!(input, Input::Begin(_)) { Registers::new() } else { machine.committed().clone() };
        let outputs = machine.handle(now, input);
        for (key, register) in before {
            let after = machine.committed().get(&key);
            assert!(after.is_none_or(|after| after.stamp >= register.stamp), "{key} went back");
        }
        for output in outputs {
            self.execute(to, output);
        }
    }

    fn execute(&mut self, from: NodeId, output: Output) {
        match output {
            Output::Send { to, message } => self.deliver(from, to, &message),
            Output::Save { id, ballot, registers } => {
                self.saves += 1;
                let first = self.rng.random_range(0..=self.faults.disk);
                let second = first + self.rng.random_range(0..=self.faults.disk);
                let at = self.nodes.get_mut(&from).unwrap();
                let free = at.disk_free.max(self.now) - self.now;
                at.disk_free = self.now + free + second;
                self.later(from.0[0], free + first, Event::Write { ballot, registers: None, done: None });
                self.later(from.0[0], free + second, Event::Write { ballot: None, registers, done: Some(id) });
            }
            Output::Role(Role::Leader(term)) => {
                *self.count.entry("leaders").or_default() += 1;
                let other = self.leaders.insert(term, from);
                assert!(other.is_none_or(|other| other == from), "two leaders of term {term}");
                self.check_leader(from);
            }
            Output::Role(Role::Follower { .. }) => {}
            Output::Unseated => *self.count.entry("unseated").or_default() += 1,
            Output::Committed(new) => {
                for (key, register) in new {
                    let was = self.shown.insert((key.clone(), register.stamp), register.value.clone());
                    assert!(was.is_none_or(|was| was == register.value), "{key} has two values of one stamp");
                }
            }
            Output::Decided { id, result } => self.decided(from, id, result),
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, message: &Message) {
        if !self.nodes.contains_key(&to) || !self.reaches(&from, &to) {
            *self.count.entry("unreached").or_default() += 1;
            return;
        }
        let times = match self.rng.random_range(0..100) {
            dice if dice < self.faults.lost => 0,
            dice if dice < self.faults.lost + self.faults.doubled => 2,
            _ => 1,
        };
        let generation = self.nodes[&from].machine.as_ref().unwrap().generation();
        *self.count.entry(["lost", "sent", "doubled"][times]).or_default() += 1;
        for _ in 0..times {
            let delay = self.rng.random_range(1..=self.faults.delay.max(1));
            self.later(to.0[0], delay, Event::Message { from, generation, bytes: message.to_bytes() });
        }
    }

    /// A new leader has all that was ever answered with yes, or something newer of the same key.
    fn check_leader(&self, leader: NodeId) {
        let machine = self.nodes[&leader].machine.as_ref().unwrap();
        for (key, stamp) in &self.decided {
            let has = machine.holding.all().get(key);
            let value = has.map(|register| &register.value);
            let same = value == self.value_of(key, *stamp).as_ref();
            let newer = has.is_some_and(|register| self.written_after(key, &register.value, *stamp));
            assert!(same || newer, "a leader lost {key}: {stamp:?}, has {has:?}");
        }
    }

    fn value_of(&self, key: &str, stamp: Stamp) -> Option<Vec<u8>> {
        self.shown.get(&(key.to_owned(), stamp)).cloned()
    }

    /// Values are unique and begin with the number of their proposal; a later one of its key has a greater number only
    /// if it was proposed later, which is all that can be asked here.
    fn written_after(&self, key: &str, value: &[u8], stamp: Stamp) -> bool {
        let number = |value: &[u8]| String::from_utf8_lossy(value).parse::<u64>().unwrap_or(0);
        self.value_of(key, stamp).is_some_and(|decided| number(value) > number(&decided))
    }

    fn decided(&mut self, by: NodeId, id: ProposalId, result: Result<(), Undecided>) {
        let (key, value) = self.proposals.remove(&id.0).expect("answered once");
        match result {
            Ok(()) => {
                *self.count.entry("decided").or_default() += 1;
                let machine = self.nodes[&by].machine.as_ref().unwrap();
                let register = machine.committed().get(&key).expect("what is decided is in effect").clone();
                self.shown.insert((key.clone(), register.stamp), register.value.clone());
                let number = |value: &[u8]| String::from_utf8_lossy(value).parse::<u64>().unwrap_or(0);
                assert!(number(&register.value) >= number(&value), "{key}: an earlier write stands");
                if value.is_empty() {
                    // That it is no more is what the next leader must know, and it may know it by having nothing.
                    self.decided.remove(&key);
                    return;
                }
                let newest = self.decided.entry(key).or_default();
                *newest = (*newest).max(register.stamp);
            }
            Err(_) => *self.count.entry("undecided").or_default() += 1,
        }
    }

    /// Proposes at a node; values are the numbers of the proposals.
    pub fn propose(&mut self, n: u8, key: &str) -> u64 {
        self.propose_value(n, key, |id| id.to_string().into_bytes())
    }

    /// Lets go of a register.
    pub fn let_go(&mut self, n: u8, key: &str) -> u64 {
        self.propose_value(n, key, |_| Vec::new())
    }

    fn propose_value(&mut self, n: u8, key: &str, value: impl FnOnce(u64) -> Vec<u8>) -> u64 {
        self.next_proposal += 1;
        let id = self.next_proposal;
        let value = value(id);
        self.proposals.insert(id, (key.to_owned(), value.clone()));
        let up = self.nodes[&node(n)].machine.is_some();
        assert!(up, "one proposes at nodes that run");
        self.input(node(n), Input::Propose { id: ProposalId(id), key: key.to_owned(), value });
        id
    }

    /// A human begins a new generation at a node. What it does not know is given up.
    pub fn recover(&mut self, n: u8) {
        let machine = self.machine(n);
        let (known, term) = (machine.generation(), machine.next_generations_term(u64::from(n) << 10));
        let number = ((known >> 24) + 1) << 24 | u64::from(n);
        let generation = Generation { number, term, first: node(n), proof: vec![n] };
        self.generations.insert(number, generation.clone());
        self.decided.clear();
        self.shown.clear();
        self.input(node(n), Input::Begin(generation));
    }

    /// Tells a node once more of the generation that it is in.
    pub fn begin_again(&mut self, n: u8) {
        let generation = self.generations[&self.machine(n).generation()].clone();
        self.input(node(n), Input::Begin(generation));
    }

    pub fn newest_generation(&self) -> u64 {
        self.generations.keys().next_back().copied().unwrap_or_default()
    }

    /// Two of different generations have met: the newer is proven to the one that is behind.
    fn prove(&mut self, a: NodeId, b: NodeId) {
        let of = |n: &NodeId| self.nodes[n].machine.as_ref().map(Election::generation);
        let (Some(first), Some(second)) = (of(&a), of(&b)) else { return };
        let behind = if first < second { a } else { b };
        if first != second && self.reaches(&a, &b) {
            let generation = self.generations[&first.max(second)].clone();
            self.input(behind, Input::Begin(generation));
        }
    }

    /// The established leaders, newest term last.
    pub fn leading(&self) -> Vec<(Term, u8)> {
        let mut leading: Vec<_> = self
            .nodes
            .iter()
            .filter_map(|(id, node)| match node.machine.as_ref()?.role() {
                Role::Leader(term) => Some((term, id.0[0])),
                Role::Follower { .. } => None,
            })
            .collect();
        leading.sort_unstable();
        leading
    }

    /// Tells whether one leads that a majority of the voters can hear and answer.
    pub fn leads_majority(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        self.machine(leader).ballot().voters.most(|voter| *voter == node(leader) || self.reaches(&node(leader), voter))
    }

    pub fn leader(&self) -> Option<u8> {
        self.leading().last().map(|(_, n)| *n)
    }

    pub fn machine(&self, n: u8) -> &Election {
        self.nodes[&node(n)].machine.as_ref().unwrap()
    }

    pub fn is_up(&self, n: u8) -> bool {
        self.nodes[&node(n)].machine.is_some()
    }

    /// Lets a new member join: the leader decides its record, and gives it what is in effect.
    pub fn join(&mut self, n: u8) -> bool {
        let Some(leader) = self.leader() else { return false };
        self.propose(leader, &format!("member/{n}"));
        let registers = self.machine(leader).committed().clone();
        self.add(n, Ballot::default(), registers);
        self.members.insert(node(n));
        self.start(n);
        true
    }

    /// Copies a node's disk, for [`World::restore`].
    pub fn copy(&mut self, n: u8) {
        let at = self.nodes.get_mut(&node(n)).unwrap();
        at.copy = Some((at.ballot.clone(), at.registers.clone()));
    }

    /// Crashes a node and gives it back the copy of its disk, if there is one.
    pub fn restore(&mut self, n: u8) {
        self.crash(n);
        let at = self.nodes.get_mut(&node(n)).unwrap();
        if let Some((ballot, registers)) = at.copy.clone() {
            (at.ballot, at.registers) = (ballot, registers);
            *self.count.entry("disks restored").or_default() += 1;
        }
    }

    /// Crashes a node and takes its ballot, as its agent does when the file is damaged; `all`: its registers too.
    pub fn lose_ballot(&mut self, n: u8, all: bool) {
        self.crash(n);
        let seat = self.rng.random_range(1..u64::MAX);
        let at = self.nodes.get_mut(&node(n)).unwrap();
        at.ballot = Ballot { term: Term(0), voted_for: None, voters: at.ballot.voters.clone(), seat };
        at.copy = None;
        if all {
            at.registers.clear();
        }
        *self.count.entry("ballots lost").or_default() += 1;
    }

    /// Tells whether the cluster can bear that a node's disk forgets: three voters or more have all the same
    /// configuration on disk, and nobody's seat is lost.
    pub fn can_spare(&self, n: u8) -> bool {
        let Some(leader) = self.leader().filter(|leader| *leader != n) else { return false };
        let voters = &self.machine(leader).ballot().voters;
        let sound =
            |id: &NodeId| self.nodes[id].ballot.voters == *voters && self.nodes[id].ballot.seat == voters.seat(id);
        voters.members.len() >= 3 && voters.members.contains(&node(n)) && voters.members.iter().all(sound)
    }

    /// Tells whether the leader knows all that a node has promised.
    pub fn leader_knows(&self, n: u8) -> bool {
        let Some(leader) = self.leader() else { return false };
        let (at, told) = (&self.nodes[&node(n)], self.machine(leader).told.get(&node(n)));
        let held = crate::election::register::Holding::of_disk(at.registers.clone()).stamp();
        told.is_some_and(|told| {
            (told.seat, told.term, told.voters, told.held)
                == (at.ballot.seat, at.ballot.term, at.ballot.voters.id(), held)
        })
    }

    /// Cuts `side` off from all others, both ways.
    pub fn isolate(&mut self, side: &BTreeSet<NodeId>) {
        for a in self.nodes.keys() {
            for b in self.nodes.keys() {
                if side.contains(a) != side.contains(b) {
                    self.cut.insert((*a, *b));
                }
            }
        }
    }
}
