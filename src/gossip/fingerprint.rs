//! What a node holds, in a few bytes: sums of record ids, of all and of each of 256 parts by an id's first byte.
//!
//! Ids are hashes of signatures, so sums differ when sets do. Who could craft ids whose sums agree would keep its own
//! records from spreading, and only those.

use minicbor::{Decode, Encode};

use crate::store::RecordId;

/// How many parts there are.
pub(super) const PARTS: usize = 256;

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
pub struct Mask(#[cbor(n(0), with = "minicbor::bytes")] [u8; PARTS / 8]);

/// What a list of ids sums up to.
pub(super) fn sums(ids: &[RecordId]) -> (Fingerprint, Buckets) {
    let mut total = 0_u128;
    let mut buckets = [0_u64; PARTS];
    for id in ids {
        let value = u128::from_be_bytes(id.0);
        total = total.wrapping_add(value);
        let bucket = &mut buckets[usize::from(id.0[0])];
        *bucket = bucket.wrapping_add(low(value));
    }
    let fingerprint = Fingerprint { count: ids.len() as u64, high: low(total >> 64), low: low(total) };
    (fingerprint, Buckets(buckets.iter().flat_map(|sum| sum.to_be_bytes()).collect()))
}

fn low(value: u128) -> u64 {
    u64::try_from(value & u128::from(u64::MAX)).expect("64 bits are left")
}

impl Buckets {
    /// Returns the parts whose sums differ. A list of another length differs in all.
    pub fn differing(&self, other: &Self) -> Mask {
        let mut mask = Mask::default();
        for part in 0..PARTS {
            let at = part * 8..part * 8 + 8;
            let same = self.0.get(at.clone()).is_some_and(|sum| other.0.get(at) == Some(sum));
            mask.set(part, !same);
        }
        mask
    }
}

impl Mask {
    /// Puts a part in or takes it out.
    pub fn set(&mut self, part: usize, on: bool) {
        let bit = 1 << (part % 8);
        let byte = &mut self.0[part / 8];
        *byte = if on { *byte | bit } else { *byte & !bit };
    }

    /// Tells whether it is the empty set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Tells whether an id's part is in it.
    pub fn covers(&self, id: &RecordId) -> bool {
        let part = usize::from(id.0[0]);
        self.0[part / 8] & (1 << (part % 8)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(first: u8, last: u8) -> RecordId {
        let mut bytes = [7; 16];
        (bytes[0], bytes[15]) = (first, last);
        RecordId(bytes)
    }

    #[test]
    fn sums_do_not_depend_on_order_and_name_the_part_that_differs() {
        let (one, parts) = sums(&[id(1, 1), id(200, 2), id(255, 3)]);
        let (other, other_parts) = sums(&[id(255, 3), id(1, 1), id(200, 2)]);
        assert_eq!((one, &parts), (other, &other_parts));
        assert!(parts.differing(&other_parts).is_empty());
        let (fewer, fewer_parts) = sums(&[id(1, 1), id(255, 3)]);
        assert_ne!(one, fewer);
        let mask = parts.differing(&fewer_parts);
        assert!(mask.covers(&id(200, 9)) && !mask.covers(&id(1, 1)) && !mask.covers(&id(255, 3)));
    }

    #[test]
    fn sums_of_another_length_differ_in_all_parts() {
        let (_, parts) = sums(&[]);
        let mask = parts.differing(&Buckets(Vec::new()));
        assert!((0..=255).all(|first| mask.covers(&id(first, 0))));
    }
}
