//! resourceVersions: max(last + 1, milliseconds since 2025) x 65,536 + this node's tag, never one twice.
//!
//! A ceiling is durable before any revision above it is shown. After a restart numbers go on above it. The objects
//! found at the start are numbered from there in key order, which is the same after a crash that followed at once:
//! anything else waits for the first batch, which carries a new ceiling.

use crate::ids::Revision;
use crate::time::Wall;

/// How many numbers a reservation holds: as many as an hour has milliseconds.
pub const BLOCK: u64 = 3_600_000;

/// What time may not take of a reservation, so that a burst of changes always finds numbers.
const SPARE: u64 = BLOCK / 4;

/// 2025-01-01T00:00:00Z in milliseconds since the Unix epoch.
const EPOCH_MILLIS: i64 = 1_735_689_600_000;

/// Gives out revisions.
#[derive(Debug)]
pub struct Revisions {
    tag: u16,
    last: u64,
    /// The highest number that may be shown.
    ceiling: u64,
    /// The highest number that was asked of the disk.
    asked: u64,
}

impl Revisions {
    /// Goes on above `ceiling`, the highest found on disk.
    pub fn new(tag: u16, ceiling: u64) -> Self {
        let last = ceiling.max(1);
        Self { tag, last, ceiling: 0, asked: 0 }
    }

    /// Returns the newest one given.
    pub fn last(&self) -> Revision {
        Revision((self.last << 16) | u64::from(self.tag))
    }

    /// Numbers an object found at the start.
    pub fn found(&mut self) -> Revision {
        self.last += 1;
        self.last()
    }

    /// Tells whether [`Revisions::next`] has `count` more to give.
    pub fn has(&self, count: u64) -> bool {
        self.ceiling.saturating_sub(self.last) >= count
    }

    /// Gives a new one. Time moves it forward as far as the ceiling allows.
    ///
    /// # Panics
    /// If there is none; ask [`Revisions::has`] first.
    pub fn next(&mut self, now: Wall) -> Revision {
        assert!(self.has(1), "a revision above the ceiling would be shown");
        self.last = (self.last + 1).max(millis(now).min(self.ceiling.saturating_sub(SPARE)));
        self.last()
    }

    /// Returns the ceiling to ask the disk for so that `count` more can be given, `None` while there is enough.
    pub fn wanted(&mut self, now: Wall, count: u64) -> Option<u64> {
        if self.asked.saturating_sub(self.last) >= BLOCK / 2 + count {
            return None;
        }
        self.asked = self.last.max(millis(now)) + BLOCK + count;
        Some(self.asked)
    }

    /// The disk has it.
    pub fn reserved(&mut self, ceiling: u64) {
        self.ceiling = self.ceiling.max(ceiling);
    }
}

fn millis(now: Wall) -> u64 {
    u64::try_from(now.millis() - EPOCH_MILLIS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Wall {
        Wall((EPOCH_MILLIS + millis) * 1_000)
    }

    #[test]
    fn revisions_follow_time_within_the_ceiling_and_always_grow() {
        let mut r = Revisions::new(7, 0);
        assert!(!r.has(1));
        let ceiling = r.wanted(at(5_000), 0).unwrap();
        assert_eq!(ceiling, 5_000 + BLOCK);
        r.reserved(ceiling);
        assert_eq!(r.next(at(5_000)), Revision((5_000 << 16) | 7));
        assert_eq!(r.next(at(5_000)), Revision((5_001 << 16) | 7));
        assert_eq!(r.next(at(1)), Revision((5_002 << 16) | 7));
        let leap = ceiling - SPARE;
        assert_eq!(r.next(at(i64::from(u32::MAX))), Revision((leap << 16) | 7));
        assert_eq!(r.next(at(i64::from(u32::MAX))), Revision(((leap + 1) << 16) | 7));
        assert!(r.has(SPARE - 1) && !r.has(SPARE));
    }

    #[test]
    fn a_ceiling_is_asked_for_only_when_half_is_used() {
        let mut r = Revisions::new(0, 0);
        let ceiling = r.wanted(at(10), 0).unwrap();
        r.reserved(ceiling);
        r.next(at(10));
        assert_eq!(r.wanted(at(10), 5), None);
        r.next(at(10 + BLOCK as i64 / 2 + 1));
        assert!(r.wanted(at(10 + BLOCK as i64 / 2), 0).is_some());
    }

    #[test]
    fn a_restart_goes_on_above_the_ceiling() {
        let mut r = Revisions::new(1, 9_000_000);
        assert_eq!(r.found(), Revision((9_000_001 << 16) | 1));
        assert!(r.wanted(at(10), 0).unwrap() > 9_000_001);
    }
}
