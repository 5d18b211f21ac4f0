//! One other member: the probes that it has not answered yet.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Mono;

use super::State;

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
}

impl Peer {
    /// One that has just answered and is first probed at `next`.
    pub fn new(next: Mono) -> Self {
        Self { state: State::Alive, next, waiting: VecDeque::new(), silent_since: None }
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
        }
    }

    /// Returns for how long it has not answered.
    pub fn silence(&self, now: Mono) -> Duration {
        self.silent_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Takes `missed` out of the account: it passed without this node being there.
    pub fn shift(&mut self, missed: Duration) {
        self.next = self.next + missed;
        self.silent_since = self.silent_since.map(|since| since + missed);
        for (_, sent) in &mut self.waiting {
            *sent = *sent + missed;
        }
    }
}
