//! When exchanges begin, and with whom; at most one at a time with a peer, and a few in all.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::ids::NodeId;
use crate::time::{Backoff, Mono};

use super::message::{Message, SessionId, Step};
use super::session::{Context, Outcome, Session};
use super::{Origin, Output, first_bytes};

/// The most exchanges at a time.
const AT_A_TIME: usize = 4;
/// The most peers that are remembered: connected ones always are.
const PEERS: usize = 64;
/// How often an exchange is made with somebody, and by how much more at random.
const PERIOD: Duration = Duration::from_secs(15);
const PERIOD_SPREAD: Duration = Duration::from_secs(15);
/// How soon one may follow another with the same peer, on the beginner's side.
const SPACING: Duration = Duration::from_millis(100);
/// How soon a peer may begin one again: its spacing, less what the way may take off it.
const MIN_SPACING: Duration = Duration::from_millis(20);
/// How long to wait for one that is busy, and by how much more at random.
const BUSY: Duration = Duration::from_millis(200);

/// All exchanges of one node.
#[derive(Debug)]
pub(super) struct Exchanges {
    me: Origin,
    random: StdRng,
    /// How many this node has begun.
    begun: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// When the next is due.
    next: Option<Mono>,
    /// With whom the last was that was due.
    last: Option<NodeId>,
}

/// One peer.
#[derive(Debug)]
struct Peer {
    connected: bool,
    wish: Option<Wish>,
    session: Option<Session>,
    /// The newest that it began; older ones are late.
    newest: SessionId,
    /// When it last began one, and when this node did.
    they_began: Option<Mono>,
    we_began: Option<Mono>,
    failures: Backoff,
    /// Gaps may ask for an exchange from then on, and how much later each time.
    gaps_from: Mono,
    gaps: Backoff,
}

/// An exchange that is asked for.
#[derive(Clone, Copy, Debug)]
struct Wish {
    /// When; one that began before does not fulfil it.
    asked: Mono,
    /// When it may begin.
    from: Mono,
}

impl Default for Peer {
    fn default() -> Self {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        Self {
            connected: false,
            wish: None,
            session: None,
            newest: SessionId::default(),
            they_began: None,
            we_began: None,
            failures: Backoff::new(ms(200), s(10), s(60)),
            gaps_from: Mono::default(),
            gaps: Backoff::new(s(1), s(30), s(60)),
        }
    }
}

impl Peer {
    /// Wants an exchange that begins from `asked` on, not before `from`; an earlier wish is not put off.
    fn wish(&mut self, asked: Mono, from: Mono) {
        let from = self.wish.map_or(from, |wish| wish.from.min(from));
        self.wish = Some(Wish { asked, from });
    }

    /// Has an exchange begin again, not before `from`.
    fn again(&mut self, asked: Mono, from: Mono) {
        self.wish = Some(Wish { asked: self.wish.map_or(asked, |wish| wish.asked.max(asked)), from });
    }
}

impl Exchanges {
    /// Of a run.
    pub fn new(me: Origin, seed: u64) -> Self {
        let random = StdRng::seed_from_u64(seed ^ first_bytes(me.node));
        Self { me, random, begun: 0, peers: BTreeMap::new(), next: None, last: None }
    }

    /// Notes that a peer is connected: of the two the smaller one begins.
    pub fn connected(&mut self, peer: NodeId, cx: &mut Context<'_>) {
        self.forget_some();
        let state = self.peers.entry(peer).or_default();
        state.connected = true;
        state.session = None;
        state.failures.succeed();
        if self.me.node < peer {
            state.again(cx.now, cx.now);
        }
        self.begin_wished(cx);
    }

    /// Notes that a peer is not connected any more. What was asked for stays asked for.
    pub fn gone(&mut self, peer: NodeId) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.connected = false;
            state.session = None;
        }
    }

    /// Lets go of all exchanges under way; those that this node began begin again.
    pub fn interrupt(&mut self) {
        for state in self.peers.values_mut() {
            if let Some(session) = state.session.take_if(|session| session.mine) {
                state.again(session.began, session.began);
            }
            state.session = None;
        }
    }

    /// Wants an exchange now, or as soon as the peer is connected.
    pub fn ask(&mut self, peer: NodeId, cx: &mut Context<'_>) {
        self.forget_some();
        self.peers.entry(peer).or_default().wish(cx.now, cx.now);
        self.begin_wished(cx);
    }

    /// Wants an exchange because of a gap that nobody fills: later and later if it does not help.
    pub fn gap(&mut self, now: Mono, peer: NodeId) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.session.is_none() && state.wish.is_none() {
            let from = state.gaps_from.max(now);
            state.wish(now, from);
            state.gaps_from = from + state.gaps.fail(from);
        }
    }

    /// Tells whether an exchange with a peer goes on or is about to begin.
    pub fn is_busy(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_some_and(|state| state.session.is_some() || state.wish.is_some())
    }

    /// Gives up what is stuck and begins what is due.
    pub fn tick(&mut self, cx: &mut Context<'_>) {
        for state in self.peers.values_mut() {
            if state.session.take_if(|session| session.is_stuck(cx.now)).is_some_and(|s| s.outcome().is_none()) {
                let wait = state.failures.fail(cx.now) + spread(&mut self.random, BUSY);
                state.again(cx.now, cx.now + wait);
            }
        }
        self.periodic(cx.now);
        self.begin_wished(cx);
    }

    fn periodic(&mut self, now: Mono) {
        let next = *self.next.get_or_insert_with(|| now + PERIOD + spread(&mut self.random, PERIOD_SPREAD));
        if now < next {
            return;
        }
        self.next = Some(now + PERIOD + spread(&mut self.random, PERIOD_SPREAD));
        let connected = || self.peers.iter().filter(|(_, state)| state.connected).map(|(peer, _)| *peer);
        let after = connected().find(|peer| self.last.is_none_or(|last| *peer > last));
        self.last = after.or_else(|| connected().next());
        if let Some(state) = self.last.and_then(|peer| self.peers.get_mut(&peer)) {
            state.wish(now, now);
        }
    }

    fn begin_wished(&mut self, cx: &mut Context<'_>) {
        let mut running = self.running();
        for (peer, state) in &mut self.peers {
            let due = state.wish.is_some_and(|wish| wish.from <= cx.now);
            let spaced = state.we_began.is_none_or(|at| cx.now.since(at) >= SPACING);
            if running == AT_A_TIME || !due || !spaced || !state.connected || state.session.is_some() {
                continue;
            }
            running += 1;
            self.begun += 1;
            let id = SessionId { incarnation: self.me.incarnation, number: self.begun };
            state.we_began = Some(cx.now);
            state.session = Some(Session::begin(id, *peer, cx));
        }
    }

    fn running(&self) -> usize {
        self.peers.values().filter(|state| state.session.is_some()).count()
    }

    /// Takes a step of a connected peer.
    pub fn received(&mut self, from: NodeId, id: SessionId, step: Step, cx: &mut Context<'_>) {
        if let Step::Begin { fingerprint, numbers } = step {
            if self.admits(from, id, cx)
                && let Some(state) = self.peers.get_mut(&from)
            {
                state.newest = id;
                state.they_began = Some(cx.now);
                state.session = Some(Session::answer(id, from, fingerprint, numbers, cx));
            }
            return;
        }
        let Some(state) = self.peers.get_mut(&from) else { return };
        let Some(session) = state.session.as_mut().filter(|session| session.id == id) else { return };
        if matches!(step, Step::Busy {}) {
            if session.mine && session.is_fresh() {
                state.session = None;
                let wait = BUSY + spread(&mut self.random, BUSY);
                state.again(cx.now, cx.now + wait);
            }
            return;
        }
        let before = session.outcome();
        session.step(from, step, cx);
        if let (None, Some(outcome)) = (before, session.outcome()) {
            let (began, told) = (session.began, std::mem::take(&mut session.told));
            match outcome {
                Outcome::Complete => {
                    state.failures.succeed();
                    state.wish = state.wish.filter(|wish| wish.asked > began);
                    cx.learnt.push(told);
                    cx.out.push(Output::Exchanged { peer: from, began });
                }
                Outcome::Partial => state.again(cx.now, cx.now),
            }
        }
        state.session.take_if(|session| session.is_over());
    }

    /// Tells whether a peer may begin an exchange now; if not, answers what is to be answered.
    fn admits(&mut self, from: NodeId, id: SessionId, cx: &mut Context<'_>) -> bool {
        let running = self.running();
        let Some(state) = self.peers.get_mut(&from) else { return false };
        let too_soon = state.they_began.is_some_and(|at| cx.now.since(at) < MIN_SPACING);
        let repeated = state.session.as_ref().is_some_and(|s| !s.mine && s.id == id && s.is_fresh());
        if !state.connected || too_soon || (id <= state.newest && !repeated) {
            return false;
        }
        let busy = match &state.session {
            // Both have begun: the smaller one's stands, and is said again should it have been lost.
            Some(session) if session.mine && session.is_fresh() && self.me.node < from => {
                session.say_again(from, cx);
                return false;
            }
            Some(session) => session.mine && !session.is_fresh() && session.outcome().is_none(),
            None => running >= AT_A_TIME,
        };
        if busy {
            let message = Message::Exchange { session: id, step: Step::Busy {} };
            cx.out.push(Output::Send { to: from, message });
        }
        !busy
    }

    /// Forgets peers that are not connected, should there be many.
    fn forget_some(&mut self) {
        if self.peers.len() >= PEERS {
            self.peers.retain(|_, state| state.connected);
        }
    }
}

/// Draws a time shorter than `most`.
fn spread(random: &mut StdRng, most: Duration) -> Duration {
    most.mul_f64(random.random_range(0.0..1.0))
}
