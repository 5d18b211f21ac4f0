//! The rules of `MongoLoglessDynamicRaft` (Schultz, Dardik, Tripakis), and the model that tries them in every order.

use stateright::{Model, Property};

use crate::state::{Server, State};

/// A rule that is left out, to see that the check has teeth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// A vote is given in a new term only.
    VoteInNewTerm,
    /// A vote is given only to one whose configuration is not older.
    VoteForNewerConfig,
    /// More than half of the candidate's voters vote for it.
    VotesOfMajority,
    /// Who votes for another leads no more.
    VoterStepsDown,
    /// Who hears of a newer term leads no more.
    NewTermStepsDown,
    /// Only a newer configuration is adopted.
    OnlyNewer,
    /// It changes only when a majority holds exactly it.
    ConfigOnMajority,
    /// It changes only when a majority is in the leader's term.
    TermOnMajority,
    /// Any majority of the old configuration meets any majority of the new one.
    Overlap,
}

/// The rules, and how far they are followed.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub servers: usize,
    /// The greatest term and version; beyond them nothing is looked at.
    pub terms: u8,
    pub versions: u8,
    /// Whether the rules are those of an earlier form, which let one majority hold the configuration and another the term,
    /// and did not ask whether the configuration is of the leader's term.
    pub earlier: bool,
    pub broken: Broken,
}

/// What can happen. Servers are numbered in the order of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A leader changes the voters.
    Reconfig { leader: usize, config: u8 },
    /// One learns another's configuration.
    SendConfig { from: usize, to: usize },
    /// One is elected by these voters.
    BecomeLeader { leader: usize, quorum: u8 },
    /// One learns another's term.
    UpdateTerms { from: usize, to: usize },
}

impl Rules {
    fn obeys(&self, rule: Broken) -> bool {
        self.broken != rule
    }

    fn sets(&self) -> impl Iterator<Item = u8> {
        0..1 << self.servers
    }

    fn may_vote(&self, servers: &[Server], voter: usize, candidate: usize) -> bool {
        let (voter, candidate) = (&servers[voter], &servers[candidate]);
        // Without the first rule a vote is given again in the term in which it was given.
        let again = !self.obeys(Broken::VoteInNewTerm) && voter.term == candidate.term + 1;
        (voter.term <= candidate.term || again)
            && (candidate.config_id() >= voter.config_id() || !self.obeys(Broken::VoteForNewerConfig))
    }

    fn may_lead(&self, servers: &[Server], leader: usize, quorum: u8) -> bool {
        let config = servers[leader].config;
        let majority =
            if self.obeys(Broken::VotesOfMajority) { is_quorum(quorum, config) } else { quorum & !config == 0 };
        majority
            && has(config, leader)
            && has(quorum, leader)
            && each(quorum).all(|voter| self.may_vote(servers, voter, leader))
    }

    /// Tells whether a majority of the leader's voters hold its configuration and are in its term.
    fn is_settled(&self, servers: &[Server], leader: usize) -> bool {
        let own = servers[leader];
        let same_config =
            |server: &Server| server.config_id() == own.config_id() || !self.obeys(Broken::ConfigOnMajority);
        let same_term = |server: &Server| server.term == own.term || !self.obeys(Broken::TermOnMajority);
        let most = |has: &dyn Fn(&Server) -> bool| {
            let holders = (0..servers.len()).filter(|n| has(&servers[*n])).fold(0, |set, n| set | 1 << n);
            is_quorum(holders & own.config, own.config)
        };
        if self.earlier {
            return most(&same_config) && most(&same_term);
        }
        own.config_term == own.term && most(&|server| same_config(server) && same_term(server))
    }

    fn may_change(&self, servers: &[Server], leader: usize, config: u8) -> bool {
        servers[leader].primary
            && has(config, leader)
            && (overlap(servers[leader].config, config) || !self.obeys(Broken::Overlap))
            && self.is_settled(servers, leader)
    }

    fn may_adopt(&self, servers: &[Server], from: usize, to: usize) -> bool {
        let (from, to) = (&servers[from], &servers[to]);
        let newer = from.config_id() > to.config_id();
        let other = from.config_id() != to.config_id() && !self.obeys(Broken::OnlyNewer);
        !to.primary && (newer || other)
    }

    fn elect(&self, servers: &mut [Server], leader: usize, quorum: u8) {
        let term = servers[leader].term + 1;
        for voter in each(quorum) {
            servers[voter].term = term;
            if self.obeys(Broken::VoterStepsDown) {
                servers[voter].primary = false;
            }
        }
        servers[leader].term = term;
        servers[leader].primary = true;
        servers[leader].config_term = term;
    }
}

impl Model for Rules {
    type State = State;
    type Action = Action;

    /// All follow, in term 0, with one same configuration of any voters.
    fn init_states(&self) -> Vec<State> {
        let start = |config| vec![Server { version: 1, config, ..Server::default() }; self.servers];
        self.sets().skip(1).map(|config| State::of(&start(config))).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let servers = state.servers(self.servers);
        for one in 0..self.servers {
            let change = self.sets().filter(|config| self.may_change(&servers, one, *config));
            actions.extend(change.map(|config| Action::Reconfig { leader: one, config }));
            let quorums = self.sets().filter(|quorum| self.may_lead(&servers, one, *quorum));
            actions.extend(quorums.map(|quorum| Action::BecomeLeader { leader: one, quorum }));
            for to in (0..self.servers).filter(|to| *to != one) {
                if self.may_adopt(&servers, one, to) {
                    actions.push(Action::SendConfig { from: one, to });
                }
                if servers[one].term > servers[to].term {
                    actions.push(Action::UpdateTerms { from: one, to });
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut servers = state.servers(self.servers);
        match action {
            Action::Reconfig { leader, config } => {
                let server = &mut servers[leader];
                (server.config, server.config_term) = (config, server.term);
                server.version += 1;
            }
            Action::SendConfig { from, to } => {
                let Server { version, config_term, config, .. } = servers[from];
                servers[to] = Server { version, config_term, config, ..servers[to] };
            }
            Action::BecomeLeader { leader, quorum } => self.elect(&mut servers, leader, quorum),
            Action::UpdateTerms { from, to } => {
                servers[to].term = servers[from].term;
                if self.obeys(Broken::NewTermStepsDown) {
                    servers[to].primary = false;
                }
            }
        }
        let within = servers.iter().all(|server| server.term <= self.terms && server.version <= self.versions);
        within.then(|| State::of(&servers))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one leader a term", |rules: &Self, state: &State| {
                let servers = state.servers(rules.servers);
                pairs(&servers).all(|(a, b)| !(a.primary && b.primary && a.term == b.term))
            }),
            Property::always("one configuration a name", |rules: &Self, state: &State| {
                let servers = state.servers(rules.servers);
                pairs(&servers).all(|(a, b)| a.config_id() != b.config_id() || a.config == b.config)
            }),
            Property::sometimes("two terms are led at once", |rules: &Self, state: &State| {
                let servers = state.servers(rules.servers);
                pairs(&servers).any(|(a, b)| a.primary && b.primary)
            }),
        ]
    }
}

fn has(set: u8, server: usize) -> bool {
    set >> server & 1 == 1
}

fn each(set: u8) -> impl Iterator<Item = usize> {
    (0..8).filter(move |server| has(set, *server))
}

fn is_quorum(set: u8, of: u8) -> bool {
    set & !of == 0 && set.count_ones() * 2 > of.count_ones()
}

/// Tells whether any majority of one configuration meets any of another.
fn overlap(a: u8, b: u8) -> bool {
    let quorums = |of: u8| (0..16_u8).filter(move |set| is_quorum(*set, of));
    quorums(a).all(|one| quorums(b).all(|other| one & other != 0))
}

fn pairs(servers: &[Server]) -> impl Iterator<Item = (&Server, &Server)> {
    servers.iter().enumerate().flat_map(|(n, a)| servers[n + 1..].iter().map(move |b| (a, b)))
}
