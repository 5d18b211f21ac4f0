//! Three nodes and all that they have ever said to each other.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use stateright::{Model, Property};

use crate::election::Message;
use crate::election::rule::Rule;
use crate::election::tests::world::node;
use crate::ids::NodeId;

use super::local::{Event, Local};

/// How many nodes there are.
const NODES: u8 = 3;

/// How far is looked, and what may happen.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// How many of the nodes vote at first, and how many are members.
    pub voters: u8,
    pub members: u8,
    /// How many terms there may be after the first.
    pub elections: u8,
    /// The greatest version of the configuration.
    pub versions: u8,
    /// How many crashes there may be.
    pub crashes: u8,
    /// Whether a node asks who would vote for it before it campaigns; if not, they would always.
    pub asks: bool,
    /// Whether anything may happen while a save is on its way, a crash among it; if not, a save is done at once.
    pub slow: bool,
    pub broken: Option<Rule>,
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Harm {
    TwoLeaders,
    TwoValues,
    DecisionLost,
    WentBack,
}

/// What each is called when it is looked for.
pub const HARMS: [(&str, Harm); 4] = [
    ("one leader a term", Harm::TwoLeaders),
    ("one value of a decision", Harm::TwoValues),
    ("a leader has what was decided", Harm::DecisionLost),
    ("what is in effect stays", Harm::WentBack),
];

/// A state: numbers of what is remembered in [`Memory`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    nodes: [u32; NODES as usize],
    /// All that was ever sent, in order: it may arrive at any time and as often as you like, or never. Only what
    /// is of an older term than the one on its receiver's disk is left out: it could do no more than be answered with
    /// the newer term, and that is an event of its own.
    sent: Vec<u32>,
    /// Who has led each term, from 1; 0: nobody.
    leaders: [u8; 8],
    /// What the register has said in effect; 0: nothing.
    value: u8,
    crashes: u8,
    harm: Option<Harm>,
}

/// An action: the node, from 0, and what happens to it.
pub type Action = (u8, Event);

/// The model.
pub struct Cluster {
    bounds: Bounds,
    memory: RwLock<Memory>,
}

/// All nodes' states and messages that have been met, and what comes of what.
#[derive(Default)]
struct Memory {
    locals: Vec<Arc<Local>>,
    /// The terms that the nodes in those states are in, and those on their disks.
    terms: Vec<(u8, u8)>,
    local_numbers: BTreeMap<String, u32>,
    messages: Vec<(NodeId, NodeId, Message)>,
    message_numbers: BTreeMap<(NodeId, NodeId, Vec<u8>), u32>,
    steps: BTreeMap<(u32, Event), Option<Arc<Outcome>>>,
}

/// What comes of a step.
struct Outcome {
    local: u32,
    sent: Vec<u32>,
    shown: Vec<u8>,
    /// The term it leads.
    leads: Option<u8>,
    /// What a new leader knows of the register.
    established: Option<Option<u8>>,
    regressed: bool,
    within: bool,
}

impl Cluster {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, memory: RwLock::default() }
    }

    /// Returns how many states of one node, messages and steps were met.
    pub fn sizes(&self) -> [usize; 3] {
        let memory = self.memory.read().expect("no thread panics with it");
        [memory.locals.len(), memory.messages.len(), memory.steps.len()]
    }

    fn term_of(&self, state: &State, n: u8) -> u8 {
        self.memory.read().expect("no thread panics with it").terms[state.nodes[usize::from(n)] as usize].0
    }

    /// Drops messages that are too old for their receivers.
    fn forget_old(&self, state: &mut State) {
        let memory = self.memory.read().expect("no thread panics with it");
        let nodes = state.nodes;
        state.sent.retain(|number| {
            let (_, to, message) = &memory.messages[*number as usize];
            let (_, on_disk) = memory.terms[nodes[usize::from(to.0[0] - 1)] as usize];
            message.term().0 >= u64::from(on_disk)
        });
    }

    fn outcome(&self, local: u32, event: Event) -> Option<Arc<Outcome>> {
        if let Some(known) = self.memory.read().expect("no thread panics with it").steps.get(&(local, event)) {
            return known.clone();
        }
        let mut memory = self.memory.write().expect("no thread panics with it");
        let outcome = memory.compute(local, event, &self.bounds).map(Arc::new);
        memory.steps.insert((local, event), outcome.clone());
        outcome
    }
}

impl Memory {
    fn compute(&mut self, local: u32, event: Event, bounds: &Bounds) -> Option<Outcome> {
        let message = match event {
            Event::Hears(number) => {
                self.messages.get(number as usize).map(|(from, _, message)| (*from, message.clone()))
            }
            _ => None,
        };
        let (next, step) = self.locals[local as usize].copy().step(event, message, bounds)?;
        let me = next.me();
        let leads = next.leader().map(|_| next.term());
        let within = next.term() <= bounds.elections + 1 && next.version() <= bounds.versions;
        let established = step.established.then(|| next.value());
        let sent = step.sent.into_iter().filter_map(|(to, message)| self.message_number(me, to, message)).collect();
        let next = self.local_number(next);
        let outcome =
            Outcome { local: next, sent, shown: step.shown, leads, established, regressed: step.regressed, within };
        (outcome.within && (outcome.local != local || !outcome.sent.is_empty() || outcome.regressed)).then_some(outcome)
    }

    fn local_number(&mut self, local: Local) -> u32 {
        let name = format!("{local:?}");
        if let Some(number) = self.local_numbers.get(&name) {
            return *number;
        }
        let number = u32::try_from(self.locals.len()).expect("fewer than four thousand million states of one node");
        self.local_numbers.insert(name, number);
        self.terms.push((local.term(), local.disk_term()));
        self.locals.push(Arc::new(local));
        number
    }

    /// Returns the number of a message, unless nobody would hear it.
    fn message_number(&mut self, from: NodeId, to: NodeId, message: Message) -> Option<u32> {
        if to == from || to > node(NODES) {
            return None;
        }
        let key = (from, to, message.to_bytes());
        if let Some(number) = self.message_numbers.get(&key) {
            return Some(*number);
        }
        let number = u32::try_from(self.messages.len()).expect("fewer than four thousand million messages");
        self.message_numbers.insert(key, number);
        self.messages.push((from, to, message));
        Some(number)
    }
}

impl State {
    /// Takes a step of a node into account.
    fn apply(&mut self, n: u8, outcome: &Outcome) {
        self.nodes[usize::from(n)] = outcome.local;
        for message in &outcome.sent {
            if let Err(at) = self.sent.binary_search(message) {
                self.sent.insert(at, *message);
            }
        }
        if let Some(term) = outcome.leads {
            let known = &mut self.leaders[usize::from(term)];
            if *known != 0 && *known != n + 1 {
                self.harm = Some(Harm::TwoLeaders);
            }
            *known = n + 1;
        }
        for value in &outcome.shown {
            if self.value != 0 && self.value != *value {
                self.harm = Some(Harm::TwoValues);
            }
            self.value = *value;
        }
        if outcome.established.is_some_and(|known| self.value != 0 && known != Some(self.value)) {
            self.harm = self.harm.or(Some(Harm::DecisionLost));
        }
        if outcome.regressed {
            self.harm = self.harm.or(Some(Harm::WentBack));
        }
    }
}

impl Model for Cluster {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut memory = self.memory.write().expect("no thread panics with it");
        let nodes = [1, 2, 3].map(|n| memory.local_number(Local::new(n, &self.bounds)));
        vec![State { nodes, sent: Vec::new(), leaders: [0; 8], value: 0, crashes: 0, harm: None }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.harm.is_some() {
            return;
        }
        for n in 0..NODES {
            actions.extend((0..NODES).filter(|other| *other != n).map(|other| (n, Event::Learns(other))));
            actions.extend([Event::Saved, Event::Timeout, Event::Beat, Event::Propose].map(|event| (n, event)));
            if state.crashes < self.bounds.crashes {
                actions.extend((0..3).map(|part| (n, Event::Crash(part))));
            }
        }
        let memory = self.memory.read().expect("no thread panics with it");
        let to = |number: u32| memory.messages[number as usize].1.0[0] - 1;
        actions.extend(state.sent.iter().map(|number| (to(*number), Event::Hears(*number))));
    }

    fn next_state(&self, state: &State, (n, event): Action) -> Option<State> {
        let event = match event {
            Event::Learns(from) => Event::Learns(self.term_of(state, from)),
            event => event,
        };
        let outcome = self.outcome(state.nodes[usize::from(n)], event)?;
        let mut next = state.clone();
        next.apply(n, &outcome);
        self.forget_old(&mut next);
        next.crashes += u8::from(matches!(event, Event::Crash(_)));
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(HARMS[0].0, |_, state: &State| state.harm != Some(HARMS[0].1)),
            Property::always(HARMS[1].0, |_, state: &State| state.harm != Some(HARMS[1].1)),
            Property::always(HARMS[2].0, |_, state: &State| state.harm != Some(HARMS[2].1)),
            Property::always(HARMS[3].0, |_, state: &State| state.harm != Some(HARMS[3].1)),
            Property::sometimes("something is decided", |_, state: &State| state.value != 0),
        ]
    }
}
