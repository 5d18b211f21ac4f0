//! resourceVersions: never twice, never back, whatever crashes (design, section 3).

use crate::ids::Revision;
use crate::time::Wall;

/// Milliseconds from the Unix epoch to the start of 2025.
const EPOCH: i64 = 1_735_689_600_000;
/// How many numbers a node's tag takes.
const TAGS: u64 = 1 << 16;
/// How far ahead a ceiling is reserved, in steps of one millisecond: about an hour.
const BLOCK: u64 = 3_600_000;

/// Gives revisions, and says when a new ceiling has to be made durable.
#[derive(Debug)]
pub struct Revisions {
    tag: u16,
    last: u64,
    /// No step above this one may be shown yet.
    ceiling: u64,
    /// The ceiling that waits for the disk.
    asked: u64,
}

impl Revisions {
    /// Goes on above `ceiling`, the highest that was ever made durable.
    pub fn new(tag: u16, ceiling: Revision, wall: Wall) -> Self {
        let last = (ceiling.0 / TAGS).max(step(wall));
        // Everything is loaded before the first revision is shown, so the first block may be used at once only
        // after it is durable; `wanted` asks for it right away.
        Self { tag, last, ceiling: ceiling.0 / TAGS, asked: 0 }
    }

    /// Returns the newest revision given, or the floor that the first one will be above.
    pub fn last(&self) -> Revision {
        Revision(self.last * TAGS + u64::from(self.tag))
    }

    /// Returns the next revision.
    pub fn next(&mut self, wall: Wall) -> Revision {
        self.last = (self.last + 1).max(step(wall));
        self.last()
    }

    /// Returns a ceiling to make durable now, if the one that is runs out.
    pub fn wanted(&mut self, wall: Wall) -> Option<Revision> {
        let now = self.last.max(step(wall));
        if now + BLOCK / 2 < self.asked.max(self.ceiling) {
            return None;
        }
        self.asked = now + BLOCK;
        Some(Revision(self.asked * TAGS))
    }

    /// Returns the highest ceiling that was asked for or is durable.
    pub fn asked(&self) -> Revision {
        Revision(self.asked.max(self.ceiling) * TAGS)
    }

    /// A ceiling is durable.
    pub fn reserved(&mut self, ceiling: Revision) {
        self.ceiling = self.ceiling.max(ceiling.0 / TAGS);
    }
}

fn step(wall: Wall) -> u64 {
    u64::try_from(wall.millis() - EPOCH).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WALL: Wall = Wall(1_800_000_000_000_000);

    #[test]
    fn revisions_grow_though_the_clock_goes_back() {
        let mut revisions = Revisions::new(1, Revision(0), WALL);
        let first = revisions.next(WALL);
        let second = revisions.next(Wall::from_secs(0));
        assert!(second > first);
        assert_eq!(first.0 % TAGS, 1);
    }

    #[test]
    fn a_restart_goes_on_above_the_ceiling() {
        let mut before = Revisions::new(1, Revision(0), WALL);
        let ceiling = before.wanted(WALL).expect("a first ceiling");
        assert_eq!(before.wanted(WALL), None);
        let shown: Vec<_> = (0..1000).map(|_| before.next(WALL)).collect();
        let mut after = Revisions::new(1, ceiling, WALL);
        assert!(after.next(WALL) > *shown.last().unwrap());
        assert!(shown.iter().all(|r| *r < ceiling));
    }
}
