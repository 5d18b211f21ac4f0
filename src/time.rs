//! Time as a value: pure rooms never read a clock, they are told.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use serde::{Deserialize, Serialize};

/// The moment at which an input arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines and durations; counts through suspend, never steps.
    pub mono: Mono,
    /// For what people read; no safety decision depends on it.
    pub wall: Wall,
}

/// Time since boot, suspend included (CLOCK_BOOTTIME).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub Duration);

impl Mono {
    /// Returns the time that has passed since `earlier`, zero if that lies ahead.
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, d: Duration) -> Mono {
        Mono(self.0 + d)
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    fn sub(self, d: Duration) -> Mono {
        Mono(self.0.saturating_sub(d))
    }
}

/// Wall-clock time in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub i64);

impl Wall {
    /// Makes a wall time of whole seconds since the Unix epoch.
    pub fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Returns milliseconds since the Unix epoch.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Returns Kubernetes' `Time`: whole seconds.
    pub fn time(self) -> Time {
        let secs = self.0.div_euclid(1_000_000);
        Time(k8s_openapi::jiff::Timestamp::from_second(secs).unwrap_or_default())
    }

    /// Returns Kubernetes' `MicroTime`.
    pub fn micro_time(self) -> MicroTime {
        MicroTime(k8s_openapi::jiff::Timestamp::from_microsecond(self.0).unwrap_or_default())
    }

    /// Reads a Kubernetes `Time`.
    pub fn of(time: &Time) -> Self {
        Self(time.0.as_microsecond())
    }
}

impl Add<Duration> for Wall {
    type Output = Wall;
    fn add(self, d: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(d.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC, whole seconds, as `metadata.creationTimestamp` has it.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.time().0)
    }
}

/// Exponential back-off: doubles from `base` to `max`, forgotten after `reset` without a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    reset: Duration,
    failures: u32,
    last: Mono,
}

impl Backoff {
    /// Makes a back-off that has seen no failure.
    pub const fn new(base: Duration, max: Duration, reset: Duration) -> Self {
        Self { base, max, reset, failures: 0, last: Mono(Duration::ZERO) }
    }

    /// Counts a failure at `now` and returns how long to wait from now on.
    pub fn fail(&mut self, now: Mono) -> Duration {
        if self.failures > 0 && now.since(self.last) > self.reset {
            self.failures = 0;
        }
        let wait = self.base.saturating_mul(1 << self.failures.min(20)).min(self.max);
        self.failures = self.failures.saturating_add(1);
        self.last = now;
        wait
    }

    /// Forgets all failures.
    pub fn succeed(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_its_maximum_and_forgets() {
        let s = Duration::from_secs;
        let mut b = Backoff::new(s(10), s(300), s(600));
        let at = |t| Mono(s(t));
        assert_eq!(b.fail(at(1)), s(10));
        assert_eq!(b.fail(at(20)), s(20));
        assert_eq!(b.fail(at(50)), s(40));
        for t in 60..70 {
            b.fail(at(t));
        }
        assert_eq!(b.fail(at(70)), s(300));
        assert_eq!(b.fail(at(1000)), s(10));
    }

    #[test]
    fn wall_prints_as_kubernetes_does() {
        assert_eq!(Wall(1_763_882_730_999_999).to_string(), "2025-11-23T07:25:30Z");
    }
}
