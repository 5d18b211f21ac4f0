//! How long a Job waits before it tries again: 10 s after the first failure, twice as long after each more, 6 minutes at most.

use std::time::Duration;

use crate::time::Wall;

use super::attempts::{Attempt, State};
use super::left;

const FIRST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(6 * 60);

/// Returns how long to wait still; `None` if a new attempt may be made. Failures count since the last success.
pub fn remaining(attempts: &[Attempt], now: Wall) -> Option<Duration> {
    let of = |state: State| attempts.iter().filter(move |a| a.state == state).map(Attempt::ended);
    let success = of(State::Succeeded).max();
    let failures: Vec<Wall> = of(State::Failed).filter(|at| success.is_none_or(|success| *at > success)).collect();
    let last = failures.iter().max()?;
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(16);
    left(*last + FIRST.saturating_mul(1 << doublings).min(MOST), now)
}
