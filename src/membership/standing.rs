//! What is said of one member of many, and what follows from it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ids::NodeId;
use crate::time::Mono;

use super::message::{MOST_ACCUSERS, Rumour};
use super::{Config, REFUSED, State};

/// How long an accused member has to refute, by how many accuse it: the word of one alone, who may be the one that is
/// ill, counts less than that of many.
const REFUTE: [Duration; MOST_ACCUSERS] =
    [Duration::from_millis(4_000), Duration::from_millis(2_500), Duration::from_millis(1_200)];

/// A member as it is told of.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// How it is, as last told.
    pub state: State,
    incarnation: u64,
    accusers: BTreeSet<NodeId>,
    /// Since when it is accused in this life.
    accused: Option<Mono>,
    /// Since when it is unreachable.
    unreachable: Option<Mono>,
    /// When its host last refused a connection of this node's, in this life.
    refused: Option<Mono>,
    /// When something new was last heard of it.
    news: Option<Mono>,
}

impl Standing {
    /// One that is well.
    pub fn well() -> Self {
        Self {
            state: State::Alive,
            incarnation: 0,
            accusers: BTreeSet::new(),
            accused: None,
            unreachable: None,
            refused: None,
            news: None,
        }
    }

    /// One that this node itself has found silent, or has last been refused by its host.
    pub fn silent(me: NodeId, state: State, since: Mono, refused: Option<Mono>, config: &Config) -> Self {
        let unreachable = (state != State::Alive).then(|| since + config.unreachable);
        Self { state, accusers: [me].into(), accused: Some(since), unreachable, refused, ..Self::well() }
    }

    /// Tells whether nobody accuses it.
    pub fn is_well(&self) -> bool {
        self.accusers.is_empty()
    }

    /// What may be told of it.
    pub fn rumour(&self, about: NodeId) -> Rumour {
        Rumour { about, incarnation: self.incarnation, accusers: self.accusers.iter().copied().collect() }
    }

    /// Tells whether a rumour accuses it in a life that it has left behind.
    pub fn is_stale(&self, rumour: &Rumour) -> bool {
        rumour.incarnation < self.incarnation && !rumour.accusers.is_empty()
    }

    /// Takes a rumour. Returns whether it says something new.
    pub fn hear(&mut self, now: Mono, rumour: &Rumour) -> bool {
        if rumour.incarnation < self.incarnation {
            return false;
        }
        let newer = rumour.incarnation > self.incarnation;
        if newer {
            (self.incarnation, self.accused, self.unreachable) = (rumour.incarnation, None, None);
            self.refused = None;
            self.accusers.clear();
        }
        let before = self.accusers.len();
        for accuser in &rumour.accusers {
            self.add(now, *accuser);
        }
        let new = newer || self.accusers.len() > before;
        if new {
            self.news = Some(now);
        }
        new
    }

    /// Accuses it. Returns whether that is new.
    pub fn accuse(&mut self, now: Mono, accuser: NodeId) -> bool {
        let new = self.add(now, accuser);
        if new {
            self.news = Some(now);
        }
        new
    }

    /// Its host refuses connections.
    pub fn refused(&mut self, now: Mono) {
        self.refused = Some(now);
    }

    fn add(&mut self, now: Mono, accuser: NodeId) -> bool {
        let new = self.accusers.len() < MOST_ACCUSERS && self.accusers.insert(accuser);
        if new {
            self.accused.get_or_insert(now);
        }
        new
    }

    /// Looks at the clock. Returns its state, if it is another now.
    pub fn judge(&mut self, now: Mono, config: &Config) -> Option<State> {
        let count = if config.local_health { self.accusers.len().min(MOST_ACCUSERS) } else { MOST_ACCUSERS };
        let refuses = self.refused.is_some_and(|at| now.since(at) < REFUSED);
        // Nobody is there to refute it.
        let late = self.accused.is_some_and(|since| refuses || now.since(since) >= REFUTE[count.saturating_sub(1)]);
        if late {
            self.unreachable.get_or_insert(now);
        }
        let patience = match self.state {
            State::Alive | State::Unreachable if refuses => config.grace.saturating_sub(config.unreachable),
            _ => config.lost,
        };
        let state = match self.unreachable {
            Some(since) if now.since(since) >= patience => State::Lost,
            Some(_) => State::Unreachable,
            None => State::Alive,
        };
        let before = std::mem::replace(&mut self.state, state);
        (before != state).then_some(state)
    }

    /// Says whether it is to be told of, and how new that is: while it is accused, and for a while when that is over.
    pub fn told(&self, now: Mono, most: Duration) -> Option<Mono> {
        let news = self.news.or(self.accused)?;
        (!self.is_well() || now.since(news) < most).then_some(news)
    }

    /// Takes `missed` out of the account.
    pub fn shift(&mut self, missed: Duration) {
        self.accused = self.accused.map(|since| since + missed);
        self.unreachable = self.unreachable.map(|since| since + missed);
        self.refused = self.refused.map(|at| at + missed);
    }
}
