//! What a node holds, in a few bytes: sums of record ids, of all, of each of 256 parts by an id's first byte, and of
//! the parts of any range. What the sums are worth says [`crate::store::Index`].

use minicbor::{Decode, Encode};

use crate::store::{PARTS, Range, Sum};

use super::Holdings;

/// How many parts there are that are compared first.
pub(super) const BUCKETS: usize = 256;

/// Of all that is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Fingerprint {
    /// How many records.
    #[n(0)]
    pub count: u64,
    /// The sum of their ids, high and low half.
    #[n(1)]
    pub high: u64,
    /// See `high`.
    #[n(2)]
    pub low: u64,
}

/// The sums of all parts, each of the ids' last 8 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Buckets(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>);

/// A set of parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Mask(#[cbor(n(0), with = "minicbor::bytes")] [u8; BUCKETS / 8]);

/// The sums of a range's parts, each of the ids' last 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The range.
    pub range: Range,
    /// Its parts' sums.
    pub sums: [u64; PARTS],
}

/// A range that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Which.
    pub range: Range,
    /// How many ids this side holds of it.
    pub count: u64,
    /// Whether the other side seems to hold none.
    pub lacking: bool,
}

impl Fingerprint {
    /// Sums up all that is held.
    pub fn of(holdings: &dyn Holdings) -> Self {
        let sum = holdings.sum();
        Self { count: sum.count, high: low(sum.total >> 64), low: low(sum.total) }
    }
}

impl Buckets {
    /// Sums up the parts of what is held.
    pub fn of(holdings: &dyn Holdings) -> Self {
        Self(sums(holdings).flat_map(|(_, sum)| low(sum.total).to_be_bytes()).collect())
    }

    /// Returns the parts that differ from what is held now. A list of another length differs in all.
    pub(super) fn differing(&self, holdings: &dyn Holdings) -> Vec<Difference> {
        let (theirs, _) = self.0.as_chunks::<8>();
        let whole = self.0.len() == BUCKETS * 8;
        let differing = sums(holdings).enumerate().filter_map(|(part, (range, sum))| {
            let theirs = theirs.get(part).filter(|_| whole).map(|sum| u64::from_be_bytes(*sum));
            difference(range, sum, theirs)
        });
        differing.collect()
    }
}

impl Probe {
    /// Sums up the parts of a range.
    pub fn of(range: Range, holdings: &dyn Holdings) -> Self {
        Self { range, sums: holdings.sums(range).map(|sum| low(sum.total)) }
    }

    /// Returns the parts that differ from what is held now.
    pub(super) fn differing(&self, holdings: &dyn Holdings) -> impl Iterator<Item = Difference> {
        let sums = holdings.sums(self.range).into_iter().zip(self.sums);
        let parts = self.range.parts().into_iter().flatten().zip(sums);
        parts.filter_map(|(part, (ours, theirs))| difference(part, ours, Some(theirs)))
    }
}

/// Compares sums of a range; of the other side's nothing may be known.
fn difference(range: Range, ours: Sum, theirs: Option<u64>) -> Option<Difference> {
    let differs = theirs != Some(low(ours.total));
    differs.then_some(Difference { range, count: ours.count, lacking: theirs == Some(0) })
}

/// Sums up the parts that are compared first.
fn sums(holdings: &dyn Holdings) -> impl Iterator<Item = (Range, Sum)> {
    let halves = Range::ALL.parts().into_iter().flatten();
    halves.flat_map(|half| half.parts().into_iter().flatten().zip(holdings.sums(half)))
}

fn low(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).expect("64 bits are left")
}

impl Mask {
    /// Of parts that are compared first; `None` if others are among the ranges.
    pub fn of(ranges: &[Range]) -> Option<Self> {
        let mut mask = Self::default();
        for range in ranges {
            let part = usize::from(range.path().to_be_bytes()[0]);
            mask.0[part / 8] |= 1 << (part % 8);
            (range.depth() == 2).then_some(())?;
        }
        Some(mask)
    }

    /// Returns the parts.
    pub fn ranges(self) -> Vec<Range> {
        let set = |part: &u8| self.0[usize::from(part / 8)] & (1 << (part % 8)) != 0;
        (0..=255).filter(set).filter_map(|part| Range::new(u64::from(part) << 56, 2)).collect()
    }
}

/// Returns which of the parts that are compared first a range lies in.
pub(super) fn bucket(range: Range) -> usize {
    usize::from(range.path().to_be_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::super::tests::world::Held;
    use super::*;
    use crate::store::RecordId;

    /// Records whose ids begin with these bytes.
    fn held(firsts: &[u8]) -> Held {
        let mut held = Held::default();
        for first in firsts {
            let record =
                |n: u32| -> std::sync::Arc<[u8]> { [[*first; 76].as_slice(), &n.to_be_bytes()].concat().into() };
            let record = (0..).map(record).find(|record| RecordId::of(record).0[0] == *first).unwrap();
            held.insert(crate::time::Mono::default(), &record);
        }
        held
    }

    #[test]
    fn sums_do_not_depend_on_order_and_name_the_part_that_differs() {
        let (one, other) = (held(&[1, 200, 255]), held(&[255, 200, 1]));
        assert_eq!((Fingerprint::of(&one), Buckets::of(&one)), (Fingerprint::of(&other), Buckets::of(&other)));
        assert!(Buckets::of(&one).differing(&other).is_empty());
        let fewer = held(&[1, 255]);
        assert_ne!(Fingerprint::of(&one), Fingerprint::of(&fewer));
        let part = Range::new(200 << 56, 2).unwrap();
        let differing = |count, lacking| vec![Difference { range: part, count, lacking }];
        assert_eq!(Buckets::of(&one).differing(&fewer), differing(0, false));
        assert_eq!(Buckets::of(&fewer).differing(&one), differing(1, true));
        assert_eq!(Mask::of(&[part]).unwrap().ranges(), [part]);
        let found: Vec<Range> = Probe::of(part, &one).differing(&fewer).map(|found| found.range).collect();
        assert_eq!(found.iter().map(|found| found.whole()).collect::<Vec<_>>(), [Some(part)]);
        assert_eq!(Mask::of(&[part, found[0]]), None);
    }

    #[test]
    fn sums_of_another_length_differ_in_all_parts() {
        let none = held(&[]);
        for length in [0, 8, 2_047, 2_049, 4_096] {
            assert_eq!(Buckets(vec![0; length]).differing(&none).len(), 256, "{length} bytes");
        }
        assert!(Buckets(vec![0; 2_048]).differing(&none).is_empty());
    }
}
