//! One other member: the probes that it has not answered yet.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::ids::NodeId;
use crate::time::Mono;

use super::State;

/// After so long without an answer others are asked, so often, and what they say counts for so long.
const ASK_AFTER: Duration = Duration::from_millis(1_500);
const ASK_AGAIN: Duration = Duration::from_secs(1);
const VOUCHED: Duration = Duration::from_millis(3_500);
/// So many others must reach it for it not to be lost.
const VOUCHERS: usize = 2;
/// How many probes wait for an answer; an answer to an older one does not count any more.
const MOST_WAITING: usize = 32;

/// A member as seen from here.
#[derive(Debug)]
pub(super) struct Peer {
    /// How it is, as last told.
    pub state: State,
    /// When it is probed next.
    next: Mono,
    /// Numbers of probes without an answer, and when they were sent, oldest first.
    waiting: VecDeque<(u64, Mono)>,
    /// When the first of all probes since the last answer was sent.
    silent_since: Option<Mono>,
    /// When its host last refused a connection, since the last answer.
    refused: Option<Mono>,
    /// When others were last asked about it, and the numbers of that and of the time before.
    asked: Option<Mono>,
    asks: [u64; 2],
    /// Who said that it answers, and when.
    vouchers: BTreeMap<NodeId, Mono>,
}

impl Peer {
    /// One that has just answered and is first probed at `next`.
    pub fn new(next: Mono) -> Self {
        let (waiting, vouchers) = (VecDeque::new(), BTreeMap::new());
        let (silent_since, refused) = (None, None);
        Self { state: State::Alive, next, waiting, silent_since, refused, asked: None, asks: [0; 2], vouchers }
    }

    /// Tells whether it is time for a probe, and if so sets the time of the next.
    pub fn is_due(&mut self, now: Mono, period: Duration) -> bool {
        if now < self.next {
            return false;
        }
        // Late by less than a period: the next one is in time again, and probes stay spread.
        let due = if now.since(self.next) < period { self.next } else { now };
        self.next = due + period;
        true
    }

    /// Notes a probe.
    pub fn probed(&mut self, now: Mono, number: u64) {
        if self.waiting.len() == MOST_WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back((number, now));
        self.silent_since.get_or_insert(now);
    }

    /// Notes an answer. One to no probe that waits says nothing.
    pub fn answered(&mut self, number: u64) {
        if self.waiting.iter().any(|(waiting, _)| *waiting == number) {
            self.waiting.retain(|(waiting, _)| *waiting > number);
            self.silent_since = self.waiting.front().map(|(_, sent)| *sent);
            self.refused = None;
        }
    }

    /// Its host refuses connections.
    pub fn refused(&mut self, now: Mono) {
        self.refused = Some(now);
    }

    /// When its host last refused a connection, if it has not answered since.
    pub fn refusal(&self) -> Option<Mono> {
        self.refused
    }

    /// Returns for how long it has not answered.
    pub fn silence(&self, now: Mono) -> Duration {
        self.silent_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Since when it has not answered.
    pub fn silent_since(&self) -> Option<Mono> {
        self.silent_since
    }

    /// Tells whether it is time to ask others about it.
    pub fn is_to_be_asked_about(&self, now: Mono) -> bool {
        self.silence(now) >= ASK_AFTER && self.asked.is_none_or(|asked| now.since(asked) >= ASK_AGAIN)
    }

    /// Notes that others are asked.
    pub fn asked(&mut self, now: Mono, number: u64) {
        self.asked = Some(now);
        self.asks = [number, self.asks[0]];
        self.vouchers.retain(|_, at| now.since(*at) < VOUCHED);
    }

    /// Tells whether this is the number of one of the last asks about it.
    pub fn is_asked(&self, number: u64) -> bool {
        number != 0 && self.asks.contains(&number)
    }

    /// Notes that somebody reaches it.
    pub fn vouched(&mut self, voucher: NodeId, now: Mono) {
        self.vouchers.insert(voucher, now);
    }

    /// Tells whether enough others reach it.
    pub fn is_vouched_for(&self, now: Mono) -> bool {
        self.vouchers.values().filter(|at| now.since(**at) < VOUCHED).count() >= VOUCHERS
    }

    /// Takes `missed` out of the account: it passed without this node being there.
    pub fn shift(&mut self, missed: Duration) {
        self.next = self.next + missed;
        self.silent_since = self.silent_since.map(|since| since + missed);
        self.refused = self.refused.map(|at| at + missed);
        for (_, sent) in &mut self.waiting {
            *sent = *sent + missed;
        }
        self.vouchers.values_mut().for_each(|at| *at = *at + missed);
    }
}
