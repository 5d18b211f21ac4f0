//! Asking others whether a member answers them, and finding out for others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ids::NodeId;
use crate::time::Mono;

use super::Output;
use super::message::Message;

/// How long a member is given to answer when it is probed for somebody else.
const PATIENCE: Duration = Duration::from_millis(300);
/// The most probes that are under way for others.
const MOST: usize = 256;

/// Probes for others.
#[derive(Debug, Default)]
pub(super) struct Relays {
    waiting: BTreeMap<u64, Relay>,
}

/// One of them.
#[derive(Debug)]
struct Relay {
    about: NodeId,
    asker: NodeId,
    number: u64,
    since: Mono,
}

impl Relays {
    /// Probes `about` for `asker`; `probe` is the number of the probe. Too many at once are passed over.
    pub fn ask(&mut self, now: Mono, asker: NodeId, number: u64, about: NodeId, probe: u64) -> Option<Output> {
        if self.waiting.len() >= MOST {
            return None;
        }
        self.waiting.insert(probe, Relay { about, asker, number, since: now });
        Some(Output::Send { to: about, message: Message::Probe(probe) })
    }

    /// Takes an answer. Returns what the asker is told, if it is one to such a probe.
    pub fn answered(&mut self, from: NodeId, probe: u64) -> Option<Output> {
        if self.waiting.get(&probe).is_none_or(|relay| relay.about != from) {
            return None;
        }
        self.waiting.remove(&probe).map(|relay| relay.told(true))
    }

    /// Tells askers of whom nothing was heard.
    pub fn tick(&mut self, now: Mono) -> Vec<Output> {
        let late: BTreeSet<u64> = self
            .waiting
            .iter()
            .filter(|(_, relay)| now.since(relay.since) >= PATIENCE)
            .map(|(probe, _)| *probe)
            .collect();
        late.iter().filter_map(|probe| self.waiting.remove(probe)).map(|relay| relay.told(false)).collect()
    }

    /// Takes `missed` out of the account: it passed without this node being there.
    pub fn shift(&mut self, missed: Duration) {
        self.waiting.values_mut().for_each(|relay| relay.since = relay.since + missed);
    }
}

impl Relay {
    fn told(&self, answers: bool) -> Output {
        Output::Send { to: self.asker, message: Message::Told { number: self.number, answers } }
    }
}
