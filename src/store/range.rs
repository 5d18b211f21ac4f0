//! Ranges of record ids, and what the ids of a range sum up to.

use std::ops::RangeInclusive;

use super::record::RecordId;

/// How many parts a range is divided into.
pub const PARTS: usize = 16;

/// All ids that begin with the same hex digits. The widest has none of them: all ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The digits, from the top; 0 behind them.
    path: u64,
    depth: u8,
}

/// What a set of ids sums up to. Sums of sets differ when the sets do, but for one case in 2^128.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many.
    pub count: u64,
    /// The sum of all of them, as numbers modulo 2^128.
    pub total: u128,
}

impl Range {
    /// All ids.
    pub const ALL: Self = Self { path: 0, depth: 0 };
    /// The most digits of a range.
    pub const DEEPEST: u8 = 16;

    /// Makes the range of the first `depth` digits of `path`; `None` if there are more digits, or too many.
    pub fn new(path: u64, depth: u8) -> Option<Self> {
        let behind = u64::MAX.checked_shr(4 * u32::from(depth)).unwrap_or(0);
        (depth <= Self::DEEPEST && path & behind == 0).then_some(Self { path, depth })
    }

    /// Returns its digits, from the top.
    pub fn path(self) -> u64 {
        self.path
    }

    /// Returns how many digits it has.
    pub fn depth(self) -> u8 {
        self.depth
    }

    /// Returns its parts, in order; `None` of the deepest.
    pub fn parts(self) -> Option<[Self; PARTS]> {
        let shift = 60_u32.checked_sub(4 * u32::from(self.depth))?;
        let mut digit = 0;
        Some([(); PARTS].map(|()| {
            let part = Self { path: self.path | digit << shift, depth: self.depth + 1 };
            digit += 1;
            part
        }))
    }

    /// Returns the range that it is a part of; `None` of all ids.
    pub fn whole(self) -> Option<Self> {
        let depth = self.depth.checked_sub(1)?;
        let behind = u64::MAX.checked_shr(4 * u32::from(depth)).unwrap_or(0);
        Some(Self { path: self.path & !behind, depth })
    }

    /// Returns the least and the greatest id of it.
    pub fn ends(self) -> RangeInclusive<RecordId> {
        let behind = u64::MAX.checked_shr(4 * u32::from(self.depth)).unwrap_or(0);
        let end = |high: u64, low: u64| RecordId((u128::from(high) << 64 | u128::from(low)).to_be_bytes());
        end(self.path, 0)..=end(self.path | behind, u64::MAX)
    }

    /// Returns which of its parts an id of it belongs to.
    pub(super) fn part_of(self, id: &RecordId) -> usize {
        digit(id, self.depth)
    }
}

/// Returns a hex digit of an id, counted from 0.
pub(super) fn digit(id: &RecordId, at: u8) -> usize {
    let byte = id.0.get(usize::from(at / 2)).copied().unwrap_or(0);
    usize::from(if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
}

impl Sum {
    /// Counts an id in.
    pub fn add(&mut self, id: &RecordId) {
        self.count += 1;
        self.total = self.total.wrapping_add(u128::from_be_bytes(id.0));
    }

    /// Takes an id out that was counted in.
    pub fn take(&mut self, id: &RecordId) {
        self.count = self.count.saturating_sub(1);
        self.total = self.total.wrapping_sub(u128::from_be_bytes(id.0));
    }
}

impl<'a> FromIterator<&'a RecordId> for Sum {
    fn from_iter<I: IntoIterator<Item = &'a RecordId>>(ids: I) -> Self {
        let mut sum = Self::default();
        ids.into_iter().for_each(|id| sum.add(id));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_its_parts_hold_and_no_more() {
        let mut range = Range::ALL;
        assert_eq!((range.whole(), range.ends()), (None, RecordId([0; 16])..=RecordId([255; 16])));
        for depth in 1..=Range::DEEPEST {
            let parts = range.parts().unwrap();
            assert_eq!(parts[0].ends().start(), range.ends().start());
            assert_eq!(parts[15].ends().end(), range.ends().end());
            for (part, next) in parts.iter().zip(&parts[1..]) {
                let end = u128::from_be_bytes(part.ends().end().0);
                assert_eq!(u128::from_be_bytes(next.ends().start().0), end + 1);
            }
            assert!(parts.iter().enumerate().all(|(n, part)| range.part_of(part.ends().start()) == n));
            assert!(parts.iter().all(|part| part.whole() == Some(range) && part.depth() == depth));
            range = parts[usize::from(depth) % 16];
        }
        assert_eq!(range.parts(), None);
    }

    #[test]
    fn only_ranges_that_can_be_are_made() {
        assert_eq!(Range::new(0, 0), Some(Range::ALL));
        assert_eq!(Range::new(1 << 60, 0), None, "a digit more");
        assert_eq!(Range::new(1 << 60, 1), Some(Range::ALL.parts().unwrap()[1]));
        assert!(Range::new(u64::MAX, 16).is_some() && Range::new(0, 17).is_none() && Range::new(0, 255).is_none());
    }
}
