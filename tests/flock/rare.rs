//! Rare states: corners of the world in which bugs hide. Each has a name and is counted whenever a run is in it; the
//! gate's seeds must have been in every one of them.
//!
//! They are looked for once a second, and when something happens that makes them: nothing here draws from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use skein::ids::Term;
use skein::node::Node;
use skein::object::{Key, kinds};

use crate::host::Host;
use crate::network::Frame;
use crate::world::World;

/// How soon after its start a crash is early.
const EARLY: Duration = Duration::from_secs(1);
/// Within how much time caretakers of two hosts act at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// From how many microseconds on a clock is wrong.
pub const WRONG: i64 = 15_000_000;
/// How many batches wait for a disk that is behind.
const BEHIND: usize = 5;

/// What must not be zero over a gate's run: a fault that never strikes proves nothing, nor does a corner where nobody was.
pub const NAMES: &[&str] = &[
    "acknowledged while cut off from most",
    "acknowledged while nobody leads",
    "acknowledged writes",
    "agent crashes",
    "all agents down",
    "answered with a refusal",
    "ballots lost",
    "bindings",
    "bindings by caretakers",
    "blackouts",
    "caretaker binds while somebody leads",
    "caretakers on both sides",
    "chain of three",
    "clock wrong and cut off from most",
    "clocks set right",
    "clocks set wrong",
    "connection held by one end only",
    "containers killed",
    "crash right after the start",
    "crash while cut off from most",
    "crash while its docker is down",
    "disk far behind",
    "displaced",
    "docker down under an agent",
    "docker outages",
    "elected while another still leads",
    "elections",
    "frames doubled",
    "frames lost",
    "frames overtaken",
    "host reached by nobody",
    "hosts that refused",
    "hosts without power",
    "joins",
    "killed by the warden",
    "leader by a wrong clock",
    "leader crashes",
    "leader cut off from most",
    "leader on a slow disk",
    "links cut",
    "lost edits told",
    "merges",
    "most agents down",
    "most clocks wrong",
    "node goes by the others' clock",
    "nobody leads",
    "one way cut",
    "partitions",
    "pod on a host without agent",
    "pod to be stopped by a docker that is down",
    "pods dated wrongly",
    "pods deleted",
    "pods lost with their node",
    "same leader in the next term",
    "saves lost",
    "slow disk",
    "split vote",
    "stalls",
    "start while its docker is down",
    "two cuts at once",
    "unsynced records lost",
];

/// What is remembered to know such a state.
#[derive(Default)]
pub struct Rare {
    /// When each host's agent was last started.
    started: BTreeMap<usize, Duration>,
    /// Who was elected last, to which term.
    elected: Option<(usize, Term)>,
    /// Which caretaker bound something last, and when.
    bound: Option<(usize, Duration)>,
    /// The last frame that came each way.
    came: BTreeMap<(usize, usize), u64>,
}

fn leads(host: &Host) -> bool {
    host.node.as_ref().is_some_and(|node| Node::leads(node).is_some())
}

impl World {
    /// Counts the rare states that the world is in now.
    pub fn look_for_rare_states(&mut self) {
        let hosts = &self.hosts;
        let members = hosts.iter().filter(|host| host.member.is_some()).count();
        let running = hosts.iter().filter(|host| host.node.is_some()).count();
        let numbers = 0..hosts.len();
        let open = |a: usize, b: usize| self.network.is_open(a, b);
        let alone = |a: usize| numbers.clone().all(|b| a == b || !open(a, b));
        let chain = |b: usize| {
            let next: Vec<usize> = numbers.clone().filter(|a| *a != b && open(*a, b)).collect();
            next.iter().any(|a| next.iter().any(|c| a < c && !open(*a, *c)))
        };
        let any = |state: &dyn Fn(&Host) -> bool| hosts.iter().any(state);
        let wrong = |host: &Host| host.error(self.now).abs() > WRONG;
        let states = [
            ("all agents down", members > 0 && running == 0),
            ("most agents down", members > 1 && 0 < running && 2 * running < members),
            ("nobody leads", running > 0 && !hosts.iter().any(leads)),
            ("two cuts at once", self.network.cuts() > 1),
            ("chain of three", numbers.clone().any(chain)),
            ("host reached by nobody", numbers.clone().any(alone)),
            ("leader cut off from most", numbers.clone().any(|at| leads(&hosts[at]) && self.is_cut_off(at))),
            ("clock wrong and cut off from most", numbers.clone().any(|at| wrong(&hosts[at]) && self.is_cut_off(at))),
            ("leader by a wrong clock", any(&|host| leads(host) && wrong(host))),
            ("most clocks wrong", 2 * hosts.iter().filter(|host| wrong(host)).count() > hosts.len()),
            ("node goes by the others' clock", any(&goes_by_the_others)),
            ("leader on a slow disk", any(&|host| leads(host) && host.disk.slow)),
            ("docker down under an agent", any(&|host| host.node.is_some() && !host.docker_up)),
            ("disk far behind", any(&|host| host.disk.pending.len() >= BEHIND)),
            ("connection held by one end only", self.network.has_half_open()),
            ("pod on a host without agent", any(&|host| host.node.is_none() && !host.docker.listed().is_empty())),
            ("pod to be stopped by a docker that is down", any(&|host| !host.docker_up && has_pod_to_stop(host))),
        ];
        for (name, _) in states.into_iter().filter(|(_, is)| *is) {
            self.trace.count(name);
        }
    }

    /// Tells whether a host cannot talk with most hosts, itself counted.
    fn is_cut_off(&self, host: usize) -> bool {
        let count = self.hosts.len();
        let reached = (0..count).filter(|other| *other == host || self.network.is_open(host, *other)).count();
        2 * reached <= count
    }

    /// Notes that an agent was started.
    pub fn note_start(&mut self, host: usize) {
        self.rare.started.insert(host, self.now);
        if !self.hosts[host].docker_up {
            self.trace.count("start while its docker is down");
        }
    }

    /// Notes that an agent is about to die.
    pub fn note_crash(&mut self, host: usize) {
        let early = self.rare.started.get(&host).is_some_and(|at| self.now < *at + EARLY);
        let states = [
            ("leader crashes", leads(&self.hosts[host])),
            ("crash right after the start", early),
            ("crash while cut off from most", self.is_cut_off(host)),
            ("crash while its docker is down", !self.hosts[host].docker_up),
        ];
        for (name, _) in states.into_iter().filter(|(_, is)| *is) {
            self.trace.count(name);
        }
    }

    /// Notes that a host was elected.
    pub fn note_election(&mut self, host: usize, term: Term) {
        let before = self.rare.elected.replace((host, term));
        let others = self.hosts.iter().enumerate().filter(|(at, other)| *at != host && leads(other)).count();
        let states = [
            // Of a term between nobody was elected: the votes were split, or lost.
            ("split vote", before.is_some_and(|(_, last)| term.0 > last.0 + 1)),
            ("same leader in the next term", before.is_some_and(|(last, _)| last == host)),
            ("elected while another still leads", others > 0),
        ];
        for (name, _) in states.into_iter().filter(|(_, is)| *is) {
            self.trace.count(name);
        }
    }

    /// Notes that a caretaker binds a pod.
    pub fn note_caretaker(&mut self, host: usize) {
        let before = self.rare.bound.replace((host, self.now));
        if before.is_some_and(|(other, at)| other != host && self.now < at + AT_ONCE) {
            self.trace.count("caretakers on both sides");
        }
        if self.hosts.iter().any(leads) {
            self.trace.count("caretaker binds while somebody leads");
        }
    }

    /// Notes that a user was answered.
    pub fn note_answer(&mut self, host: usize, acknowledged: bool) {
        let states = [
            ("answered with a refusal", !acknowledged),
            ("acknowledged while nobody leads", acknowledged && !self.hosts.iter().any(leads)),
            ("acknowledged while cut off from most", acknowledged && self.is_cut_off(host)),
        ];
        for (name, _) in states.into_iter().filter(|(_, is)| *is) {
            self.trace.count(name);
        }
    }

    /// Notes that a frame comes, if it does.
    pub fn note_frame(&mut self, frame: &Frame) {
        if !self.network.delivers(frame) {
            return;
        }
        let last = self.rare.came.entry(frame.way).or_default();
        if frame.number < *last {
            self.trace.count("frames overtaken");
        }
        *last = frame.number.max(*last);
    }
}

fn has_pod_to_stop(host: &Host) -> bool {
    host.view.list(&kinds::POD, None).any(|pod| pod.terminating && pod.node.as_deref() == Some(host.name()))
}

/// Tells whether a node shows that its own clock does not count.
pub fn goes_by_the_others(host: &Host) -> bool {
    let node = host.view.get(&Key::cluster(&kinds::NODE, host.name()));
    node.is_some_and(|node| node.json.windows(13).any(|text| text == b"\"ClockSkewed\""))
}
