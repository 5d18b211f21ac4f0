//! What time it is: by this node's wall clock, unless that disagrees with the members' clocks, whose median counts then.
//!
//! Members tell each other the time with whatever is said about being alive. Of each is kept at what moment of this node's
//! monotonic clock its wall clock was at zero, so that it is seen at once when this node's own wall clock is set. A
//! disagreement needs two others at least: of two clocks nobody can say which is wrong.
//!
//! Nothing safe depends on any of this (see [`crate::time`]): a wrong clock dates objects wrongly, which decides who is the
//! elder of two pods, and lets deadlines that people gave in wall time pass early or late.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::ids::NodeId;
use crate::kubelet;
use crate::time::{Mono, Now, Wall};

use super::Node;
use super::message::Message;

/// By how many microseconds a clock must be wrong to be flagged: far more than a message takes.
const WRONG: i64 = 10_000_000;
/// Below this it is right again.
const RIGHT: i64 = 5_000_000;
/// A step of this node's own clock that is looked at, in microseconds.
const STEP: i64 = 1_000_000;
/// How many tellings of a member are kept, one a [`SPACE`] at most. The quickest one counts: a node that was held up reads
/// many late, all at once.
const KEPT: usize = 16;
/// What comes so soon after another is the same telling, and what was told is not looked at more often.
const SPACE: Duration = Duration::from_secs(1);
/// How many others must have told theirs.
const ENOUGH: usize = 2;
/// What a member told longer ago than this counts no more: its clock, or this one, may have been put right since.
const FORGOTTEN: Duration = Duration::from_secs(3_600);
/// How often it is looked at even if nobody tells anything.
const LOOK: Duration = Duration::from_secs(60);

/// The clocks of the members, as far as this node knows.
#[derive(Default)]
pub(super) struct Clock {
    /// At what wall time each clock would say that this node's monotonic clock was at zero, in microseconds.
    told: BTreeMap<NodeId, Told>,
    /// The same of this node's own clock, as last looked at.
    own: i64,
    /// When it was last looked at.
    looked: Mono,
    /// When it is looked at again, whatever happens.
    next_look: Mono,
    /// How far this node's clock is ahead of the others', if it is wrong; else zero. In microseconds.
    ahead: i64,
    /// As last shown.
    shown: i64,
}

/// What one member has told.
#[derive(Default)]
struct Told {
    /// When it came, and what the clock would have said at zero.
    zeros: VecDeque<(Mono, i64)>,
    last: Mono,
}

impl Clock {
    /// Notes what a member's clock says now.
    fn heard(&mut self, from: NodeId, wall: Wall, now: Now) {
        let told = self.told.entry(from).or_default();
        let zero = zero(now, wall);
        match told.zeros.back_mut() {
            Some((at, quickest)) if now.mono.since(*at) < SPACE => *quickest = zero.max(*quickest),
            _ => told.zeros.push_back((now.mono, zero)),
        }
        if told.zeros.len() > KEPT {
            told.zeros.pop_front();
        }
        told.last = now.mono;
        self.next_look = self.next_look.min(Mono(self.looked.0.saturating_add(SPACE)));
    }

    /// Returns the time that counts. Takes what this node's own clocks say.
    fn agreed(&mut self, now: Now) -> Now {
        let own = zero(now, now.wall);
        if now.mono >= self.next_look || own.saturating_sub(self.own).saturating_abs() >= STEP {
            self.own = own;
            self.looked = now.mono;
            self.next_look = Mono(now.mono.0.saturating_add(LOOK));
            self.told.retain(|_, told| now.mono.since(told.last) < FORGOTTEN);
            let ahead = self.disagreement();
            let limit = if self.ahead == 0 { WRONG } else { RIGHT };
            self.ahead = if ahead.saturating_abs() >= limit { ahead } else { 0 };
        }
        Now { wall: Wall(now.wall.0.saturating_sub(self.ahead)), ..now }
    }

    /// How far this node's clock is from the median of all, its own among them.
    fn disagreement(&self) -> i64 {
        if self.told.len() < ENOUGH {
            return 0;
        }
        let quickest = self.told.values().filter_map(|told| told.zeros.iter().map(|(_, zero)| *zero).max());
        let mut all: Vec<i64> = quickest.chain([self.own]).collect();
        all.sort_unstable();
        // Between the two in the middle of an even number nobody is wrong.
        let (low, high) = (all[(all.len() - 1) / 2], all[all.len() / 2]);
        self.own.saturating_sub(self.own.clamp(low, high))
    }

    /// Returns what is to be shown of this node's clock, if that is new.
    fn news(&mut self) -> Option<Option<String>> {
        let moved = self.ahead.saturating_sub(self.shown).saturating_abs();
        if (self.ahead == 0) == (self.shown == 0) && moved < WRONG {
            return None;
        }
        self.shown = self.ahead;
        Some((self.ahead != 0).then(|| complaint(self.ahead)))
    }
}

/// Returns what a clock said when the monotonic one was at zero.
fn zero(now: Now, wall: Wall) -> i64 {
    wall.0.saturating_sub(i64::try_from(now.mono.0.as_micros()).unwrap_or(i64::MAX))
}

fn complaint(ahead: i64) -> String {
    let seconds = Duration::from_micros(ahead.unsigned_abs()).as_secs();
    let by = match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    format!("its clock is {by} {side} the other members' clocks, whose median it uses")
}

impl Node {
    /// Returns the time that counts for this node, and shows it if its own clock does not.
    pub(super) fn agreed_time(&mut self, now: Now) -> Now {
        let now = self.clock.agreed(now);
        if let Some(trouble) = self.clock.news() {
            match &trouble {
                Some(trouble) => tracing::warn!("this node: {trouble}"),
                None => tracing::info!("this node's clock agrees with the other members' again"),
            }
            self.kubelet.set_clock(trouble);
            self.wake_kubelet(now, kubelet::Input::Changed);
        }
        now
    }

    /// Tells a member what this node's own clock says.
    pub(super) fn tell_time(&mut self, now: Now, to: NodeId) {
        self.telling.say(to, Message::Clock(Wall(now.wall.0.saturating_add(self.clock.ahead))));
    }

    /// Hears what a member's clock says.
    pub(super) fn told_time(&mut self, now: Now, from: NodeId, wall: Wall) {
        self.clock.heard(from, wall, now);
    }

    /// Forgets the clocks of those who are no members.
    pub(super) fn forget_clocks(&mut self, others: &BTreeSet<NodeId>) {
        self.clock.told.retain(|id, _| others.contains(id));
        self.clock.next_look = Mono::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    /// What a clock says `seconds` after the start that is `ahead` microseconds.
    fn at(seconds: u64, ahead: i64) -> Now {
        let mono = Mono(Duration::from_secs(seconds));
        Now { mono, wall: Wall(1_800_000_000_000_000 + i64::try_from(seconds).unwrap() * 1_000_000 + ahead) }
    }

    fn told(others: &[i64]) -> Clock {
        let mut clock = Clock::default();
        for (number, ahead) in (2..).zip(others) {
            clock.heard(NodeId([number; 32]), at(10, *ahead).wall, at(10, 0));
        }
        clock
    }

    #[test]
    fn a_clock_that_is_wrong_gives_way_to_the_median_and_counts_again_when_it_is_set() {
        let mut clock = told(&[0, 2_000_000]);
        assert_eq!(clock.agreed(at(11, 0)), at(11, 0));
        assert_eq!(clock.news(), None);
        assert_eq!(clock.agreed(at(12, HOUR)), at(12, 2_000_000), "seen at once");
        let shown = clock.news().flatten().unwrap();
        assert_eq!(shown, "its clock is 59 min ahead of the other members' clocks, whose median it uses");
        assert_eq!(clock.news(), None, "said once");
        assert_eq!(clock.agreed(at(13, -3 * 24 * HOUR)), at(13, 0));
        assert!(clock.news().flatten().unwrap().contains("3 days behind"));
        assert_eq!(clock.agreed(at(14, 1_000_000)), at(14, 1_000_000));
        assert_eq!(clock.news(), Some(None));
    }

    #[test]
    fn two_clocks_agree_to_differ_and_so_does_an_even_split() {
        assert_eq!(told(&[HOUR]).agreed(at(11, 0)), at(11, 0));
        assert_eq!(told(&[0, HOUR, HOUR]).agreed(at(11, 0)), at(11, 0));
        assert_eq!(told(&[HOUR, HOUR, HOUR]).agreed(at(11, 0)), at(11, HOUR));
        assert_eq!(told(&[0, HOUR]).agreed(at(11, 0)), at(11, 0), "one wrong clock misleads nobody");
    }

    #[test]
    fn a_node_that_was_held_up_blames_no_clock() {
        let mut clock = told(&[0, 0]);
        assert_eq!(clock.agreed(at(11, 0)), at(11, 0));
        // What was said once a second is all read half a minute late.
        for seconds in 12..26 {
            for number in [2, 3] {
                clock.heard(NodeId([number; 32]), at(seconds, 0).wall, at(42, 0));
                assert_eq!(clock.agreed(at(42, 0)), at(42, 0));
            }
        }
    }

    #[test]
    fn a_node_that_is_alone_goes_by_its_own_clock_after_an_hour() {
        let mut clock = told(&[0, 0]);
        assert_eq!(clock.agreed(at(3_600, HOUR)), at(3_600, 0));
        assert_eq!(clock.agreed(at(3_680, HOUR)), at(3_680, HOUR));
    }

    #[test]
    fn absurd_clocks_do_no_harm() {
        let mut clock = Clock::default();
        for (number, wall) in [(2, i64::MAX), (3, i64::MIN), (4, i64::MIN)] {
            clock.heard(NodeId([number; 32]), Wall(wall), at(10, 0));
        }
        clock.agreed(at(11, 0));
        clock.agreed(Now { mono: Mono(Duration::MAX), wall: Wall(i64::MIN) });
        clock.agreed(Now { mono: Mono(Duration::ZERO), wall: Wall(i64::MAX) });
        clock.news();
    }
}
