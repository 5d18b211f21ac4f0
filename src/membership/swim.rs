//! Clusters of many: each node probes a few members a second, and what it finds is told to all (SWIM, with Lifeguard's
//! local health; see the module's text for what is taken from either).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom, SliceRandom};

use crate::ids::NodeId;
use crate::time::Mono;

use super::message::{MOST_RUMOURS, Message, Rumour};
use super::standing::Standing;
use super::{Config, Output, State};

/// How often some member is probed.
const PERIOD: Duration = Duration::from_millis(100);
/// After a pause of the loop at most so many are probed at once.
const MOST_AT_ONCE: u32 = 4;
/// How long a probe may take until others are asked, and how long they may then take. Each times the health's factor.
const ACK: Duration = Duration::from_millis(300);
const HELP: Duration = Duration::from_millis(600);
/// How many others are asked.
const HELPERS: usize = 3;
/// To how many news is passed on at once; with probes and answers it goes to others.
const FANOUT: usize = 4;
/// How long what has changed is told along with probes and answers.
const TOLD: Duration = Duration::from_secs(10);
/// How ill a node may find itself.
const ILLEST: u32 = 4;

/// The machine of one node for many members.
#[derive(Debug)]
pub(super) struct Swim {
    me: NodeId,
    random: StdRng,
    /// This node's own life, and when it last had to begin another.
    incarnation: u64,
    refuted: Option<Mono>,
    /// How ill this node finds itself: its own probes are given more time.
    illness: u32,
    local_health: bool,
    standings: BTreeMap<NodeId, Standing>,
    /// Who is to be probed, the next one last.
    order: Vec<NodeId>,
    next: Mono,
    trials: Vec<Trial>,
}

/// A probe that is not answered yet.
#[derive(Debug)]
struct Trial {
    peer: NodeId,
    number: u64,
    sent: Mono,
    /// Who is asked, and since when.
    helpers: BTreeSet<NodeId>,
    asked: Option<Mono>,
}

impl Swim {
    /// Knows nobody.
    pub fn new(me: NodeId, seed: u64, local_health: bool) -> Self {
        Self {
            me,
            random: StdRng::seed_from_u64(seed),
            incarnation: 0,
            refuted: None,
            illness: 0,
            local_health,
            standings: BTreeMap::new(),
            order: Vec::new(),
            next: Mono::default(),
            trials: Vec::new(),
        }
    }

    /// Sets who the others are, and what is known of those that are new here.
    pub fn set_members(&mut self, members: BTreeMap<NodeId, Standing>) {
        self.standings.retain(|id, _| members.contains_key(id));
        for (id, standing) in members {
            self.standings.entry(id).or_insert(standing);
        }
        self.trials.retain(|trial| self.standings.contains_key(&trial.peer));
        self.order.clear();
    }

    /// How a member is, if it is one.
    pub fn state(&self, peer: &NodeId) -> Option<State> {
        self.standings.get(peer).map(|standing| standing.state)
    }

    /// Probes who is next, asks others about who does not answer, and looks at the clock for all that are accused.
    /// `number` gives out the numbers of probes.
    pub fn tick(&mut self, now: Mono, config: &Config, mut number: impl FnMut() -> u64) -> Vec<Output> {
        let mut out = Vec::new();
        self.judge_trials(now, &mut out);
        self.next = self.next.max(now - PERIOD * (MOST_AT_ONCE - 1));
        while self.next <= now {
            self.next = self.next + PERIOD;
            let Some(peer) = self.next_peer() else { break };
            let number = number();
            self.trials.push(Trial { peer, number, sent: now, helpers: BTreeSet::new(), asked: None });
            out.push(Output::Send { to: peer, message: Message::Probe(number) });
            out.extend(self.news_for(now, peer));
        }
        for (id, standing) in &mut self.standings {
            out.extend(standing.judge(now, config).map(|state| Output::Changed { peer: *id, state }));
        }
        out
    }

    /// All members in turn, in a new order each round, but those that are being tried.
    fn next_peer(&mut self) -> Option<NodeId> {
        for _ in 0..=self.standings.len() {
            if self.order.is_empty() {
                self.order = self.standings.keys().copied().collect();
                self.order.shuffle(&mut self.random);
            }
            let peer = self.order.pop()?;
            if !self.trials.iter().any(|trial| trial.peer == peer) {
                return Some(peer);
            }
        }
        None
    }

    fn judge_trials(&mut self, now: Mono, out: &mut Vec<Output>) {
        let patience = 1 + self.illness;
        let (mut failed, mut lone) = (Vec::new(), false);
        for mut trial in std::mem::take(&mut self.trials) {
            match trial.asked {
                None if now.since(trial.sent) >= ACK * patience => {
                    trial.helpers = self.some_well(&[trial.peer], HELPERS).into_iter().collect();
                    trial.asked = Some(now);
                    let message = Message::Ask { number: trial.number, about: trial.peer };
                    out.extend(trial.helpers.iter().map(|to| Output::Send { to: *to, message: message.clone() }));
                }
                Some(asked) if now.since(asked) >= HELP * patience => {
                    // Who hears nothing of the helpers either has itself to blame, perhaps.
                    lone |= !trial.helpers.is_empty();
                    failed.push(trial.peer);
                    continue;
                }
                _ => {}
            }
            self.trials.push(trial);
        }
        if lone {
            self.feel_worse();
        }
        for peer in failed {
            self.accuse(now, peer, out);
        }
    }

    /// Draws some that are not accused.
    fn some_well(&mut self, but: &[NodeId], count: usize) -> Vec<NodeId> {
        let well = self.standings.iter().filter(|(id, s)| s.is_well() && !but.contains(id));
        well.map(|(id, _)| *id).sample(&mut self.random, count)
    }

    fn accuse(&mut self, now: Mono, peer: NodeId, out: &mut Vec<Output>) {
        let me = self.me;
        if self.standings.get_mut(&peer).is_some_and(|standing| standing.accuse(now, me)) {
            self.pass_on(peer, &[], out);
        }
    }

    /// A probe of ours is answered. Returns whether it was.
    pub fn answered(&mut self, from: NodeId, number: u64) -> bool {
        let before = self.trials.len();
        self.trials.retain(|trial| trial.number != number || trial.peer != from);
        let answered = self.trials.len() < before;
        if answered {
            self.illness = self.illness.saturating_sub(1);
        }
        answered
    }

    /// A member's host refuses connections. One that nobody accuses yet is not unreachable because of that: it may have
    /// gone to another address. Returns its state, if it is another now.
    pub fn refused(&mut self, now: Mono, peer: NodeId, config: &Config) -> Option<Output> {
        let standing = self.standings.get_mut(&peer)?;
        standing.refused(now);
        standing.judge(now, config).map(|state| Output::Changed { peer, state })
    }

    /// A helper says what it found.
    pub fn told(&mut self, now: Mono, from: NodeId, number: u64, answers: bool, out: &mut Vec<Output>) {
        let Some(at) = self.trials.iter().position(|trial| trial.number == number) else { return };
        if !self.trials[at].helpers.remove(&from) {
            return;
        }
        let all_told = self.trials[at].helpers.is_empty();
        if answers {
            self.trials.swap_remove(at);
        } else if all_told {
            let trial = self.trials.swap_remove(at);
            self.accuse(now, trial.peer, out);
        }
    }

    /// Takes what a member says of others, and of this node. Who is behind the times is told.
    pub fn heard(&mut self, now: Mono, from: NodeId, rumours: Vec<Rumour>, config: &Config) -> Vec<Output> {
        let (mut out, mut stale) = (Vec::new(), Vec::new());
        for rumour in rumours {
            let about = rumour.about;
            if about == self.me {
                self.refute(now, from, &rumour, &mut out);
                continue;
            }
            let Some(standing) = self.standings.get_mut(&about) else { continue };
            if standing.is_stale(&rumour) {
                stale.push(standing.rumour(about));
            } else if standing.hear(now, &rumour) {
                out.extend(standing.judge(now, config).map(|state| Output::Changed { peer: about, state }));
                self.pass_on(about, &[from], &mut out);
            }
        }
        if !stale.is_empty() {
            out.push(Output::Send { to: from, message: Message::News(stale) });
        }
        out
    }

    /// Says that this node is alive, in a life of its own that nobody has accused.
    fn refute(&mut self, now: Mono, from: NodeId, rumour: &Rumour, out: &mut Vec<Output>) {
        let accused = !rumour.accusers.is_empty();
        if rumour.incarnation >= self.incarnation && accused {
            self.incarnation = rumour.incarnation.saturating_add(1);
            self.refuted = Some(now);
            self.feel_worse();
            let to = self.some_well(&[from], FANOUT);
            out.extend(to.into_iter().map(|to| self.said(to, vec![self.own()])));
        } else if rumour.incarnation > self.incarnation {
            // Said in a former run.
            self.incarnation = rumour.incarnation;
        }
        if accused {
            out.push(self.said(from, vec![self.own()]));
        }
    }

    fn feel_worse(&mut self) {
        if self.local_health {
            self.illness = (self.illness + 1).min(ILLEST);
        }
    }

    fn own(&self) -> Rumour {
        Rumour { about: self.me, incarnation: self.incarnation, accusers: Vec::new() }
    }

    fn pass_on(&mut self, about: NodeId, but: &[NodeId], out: &mut Vec<Output>) {
        let Some(rumour) = self.standings.get(&about).map(|standing| standing.rumour(about)) else { return };
        let mut to = self.some_well(but, FANOUT);
        // Whom it concerns can best say that it is not so.
        if self.local_health && !rumour.accusers.is_empty() {
            to.push(about);
        }
        out.extend(to.into_iter().map(|to| self.said(to, vec![rumour.clone()])));
    }

    fn said(&self, to: NodeId, rumours: Vec<Rumour>) -> Output {
        Output::Send { to, message: Message::News(rumours) }
    }

    /// What a member is told along with a probe or an answer, if there is anything: first what is said of itself, then
    /// what is newest.
    pub fn news_for(&self, now: Mono, to: NodeId) -> Option<Output> {
        let standings = self.standings.iter();
        let mut news: Vec<_> = standings.filter_map(|(id, s)| s.told(now, TOLD).map(|at| (at, *id, s))).collect();
        news.sort_by_key(|(at, id, _)| (self.local_health && *id != to, std::cmp::Reverse(*at), *id));
        let own = self.refuted.filter(|at| now.since(*at) < TOLD).map(|_| self.own());
        let rest = news.iter().map(|(_, id, standing)| standing.rumour(*id));
        let rumours: Vec<Rumour> = own.into_iter().chain(rest).take(MOST_RUMOURS).collect();
        (!rumours.is_empty()).then(|| self.said(to, rumours))
    }

    /// Takes `missed` out of the account: it passed without this node being there, which is then not well.
    pub fn shift(&mut self, missed: Duration) {
        self.feel_worse();
        for trial in &mut self.trials {
            trial.sent = trial.sent + missed;
            trial.asked = trial.asked.map(|asked| asked + missed);
        }
        self.standings.values_mut().for_each(|standing| standing.shift(missed));
    }
}
