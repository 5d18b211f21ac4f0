//! Whether and when a container that ended is started again: restart policy and crash loop back-off.

use std::time::Duration;

use crate::time::{Backoff, Mono};

/// `spec.restartPolicy`, or what stands in for it on an init container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    Always,
    OnFailure,
    Never,
}

impl Policy {
    /// Reads a pod's policy; Kubernetes' default is Always.
    pub fn of(text: Option<&str>) -> Self {
        match text {
            Some("Never") => Self::Never,
            Some("OnFailure") => Self::OnFailure,
            _ => Self::Always,
        }
    }

    /// Tells whether a container that ended with `code` is started again.
    pub fn restarts(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

const FIRST: Duration = Duration::from_secs(10);
const MAX: Duration = Duration::from_secs(300);
const FORGET: Duration = Duration::from_secs(600);

/// Kubernetes' crash loop back-off: the first restart comes at once, the next ones 10 s, 20 s ... 5 min after the
/// container ended; all is forgotten once it ran for 10 minutes.
#[derive(Clone, Copy, Debug)]
pub(super) struct CrashLoop {
    backoff: Backoff,
    hold: Duration,
    started: Mono,
}

impl Default for CrashLoop {
    fn default() -> Self {
        Self { backoff: Backoff::new(FIRST, MAX, FORGET), hold: Duration::ZERO, started: Mono::default() }
    }
}

impl CrashLoop {
    /// Returns when a container that ended at `end` may start again.
    pub fn next(&self, end: Mono) -> Mono {
        end + self.hold(end)
    }

    /// Returns how long a container that ended at `end` waits.
    pub fn hold(&self, end: Mono) -> Duration {
        if end.since(self.started) > FORGET { Duration::ZERO } else { self.hold }
    }

    /// Notes that the container is started again at `now`.
    pub fn restarted(&mut self, now: Mono) {
        // The hold counts from the next end, not from now: Backoff only does the doubling.
        self.hold = self.backoff.fail(now);
        self.started = now;
    }
}

/// The same for what could not be made at all: images, sandboxes, containers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retry {
    backoff: Backoff,
    at: Option<Mono>,
}

impl Retry {
    /// Makes a retry that waits `first`, then doubles up to `max`.
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self { backoff: Backoff::new(first, max, FORGET), at: None }
    }

    /// As images have it: 10 s to 5 min.
    pub const fn kubernetes() -> Self {
        Self::new(FIRST, MAX)
    }

    /// Counts a failure at `now`.
    pub fn fail(&mut self, now: Mono) {
        self.at = Some(now + self.backoff.fail(now));
    }

    /// Forgets all failures.
    pub fn succeed(&mut self) {
        self.backoff.succeed();
        self.at = None;
    }

    /// Lets the next try come at once; the count stays.
    pub fn hurry(&mut self) {
        self.at = None;
    }

    /// Returns when to try again, if that lies ahead.
    pub fn pending(&self, now: Mono) -> Option<Mono> {
        self.at.filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Mono {
        Mono(Duration::from_secs(secs))
    }

    #[test]
    fn policies_follow_the_exit_code() {
        for (policy, on_zero, on_one) in
            [(Policy::Always, true, true), (Policy::OnFailure, false, true), (Policy::Never, false, false)]
        {
            assert_eq!((policy.restarts(0), policy.restarts(1)), (on_zero, on_one), "{policy:?}");
        }
    }

    #[test]
    fn a_crash_loop_restarts_at_once_then_doubles_to_five_minutes() {
        let mut crash = CrashLoop::default();
        let mut now = at(100);
        for wait in [0, 10, 20, 40, 80, 160, 300, 300] {
            let next = crash.next(now);
            assert_eq!(next, now + Duration::from_secs(wait));
            crash.restarted(next);
            now = next + Duration::from_secs(1);
        }
    }

    #[test]
    fn ten_minutes_of_running_forgive_earlier_crashes() {
        let mut crash = CrashLoop::default();
        for t in [10, 20, 40] {
            crash.restarted(at(t));
        }
        assert_eq!(crash.next(at(640)), at(640) + Duration::from_secs(40));
        assert_eq!(crash.next(at(641)), at(641));
        crash.restarted(at(641));
        assert_eq!(crash.next(at(642)), at(652));
    }
}
