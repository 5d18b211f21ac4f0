//! Reads the clocks, so that nobody else has to.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::time::{Mono, Now, Wall};

/// Returns this moment: boot time, which counts through suspend, and wall time.
pub fn now() -> Now {
    Now { mono: Mono(read(ClockId::CLOCK_BOOTTIME)), wall: wall() }
}

fn wall() -> Wall {
    Wall(i64::try_from(read(ClockId::CLOCK_REALTIME).as_micros()).unwrap_or(i64::MAX))
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}
