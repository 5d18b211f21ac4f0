//! The ids of all records that peers should have, kept in step with the store: found one by one, summed up by range.
//!
//! Ids and records are an ordered map. Over it lies a tree of sums, divided by hex digits as far down as ranges hold
//! many ids: what is below that is summed up when it is asked for. So to put an id in, to take one out and to sum up a
//! range each cost a few steps, however many there are.
//!
//! What the sums are worth: two sets of one sum are one chance in 2^128, whatever a fault brings about. Who *wants* to
//! hide something can: members sign what they like, and some 2^30 tries make a set of records whose ids sum up to those
//! of another set. What that hides is found as soon as anything else differs in the same range, since there ids are
//! compared one by one; so it has to be kept up, and it is signed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::range::{PARTS, Range, Sum, digit};
use super::record::RecordId;

/// A range with more ids than this is divided.
const MOST: u64 = 128;
/// One with fewer than this is not any more.
const FEWEST: u64 = 64;

/// The index.
#[derive(Debug)]
pub struct Index {
    records: BTreeMap<RecordId, Arc<[u8]>>,
    sums: Node,
    removed: Box<[u64; 256]>,
}

/// The sum of a range and, if it holds many ids, its parts.
#[derive(Debug, Default)]
struct Node {
    sum: Sum,
    parts: Option<Box<[Node; PARTS]>>,
}

impl Default for Index {
    fn default() -> Self {
        Self { records: BTreeMap::new(), sums: Node::default(), removed: Box::new([0; 256]) }
    }
}

impl Index {
    /// Puts a record in.
    pub fn insert(&mut self, record: &Arc<[u8]>) {
        let id = RecordId::of(record);
        if self.records.insert(id, Arc::clone(record)).is_none() {
            self.sums.insert(&id, Range::ALL, &self.records);
        }
    }

    /// Takes a record out, if it is in.
    pub fn remove(&mut self, record: &[u8]) {
        let id = RecordId::of(record);
        if self.records.remove(&id).is_some() {
            self.sums.remove(&id);
            let removed = &mut self.removed[usize::from(id.0[0])];
            *removed = removed.wrapping_add(1);
        }
    }

    /// Takes records out, as far as they are in.
    pub fn remove_all<'a>(&mut self, records: impl IntoIterator<Item = &'a Arc<[u8]>>) {
        records.into_iter().for_each(|record| self.remove(record));
    }

    /// Returns a record.
    pub fn get(&self, id: &RecordId) -> Option<&Arc<[u8]>> {
        self.records.get(id)
    }

    /// Lists the ids of a range, in order.
    pub fn ids(&self, range: Range) -> impl Iterator<Item = &RecordId> {
        self.records.range(range.ends()).map(|(id, _)| id)
    }

    /// Sums up all ids.
    pub fn sum(&self) -> Sum {
        self.sums.sum
    }

    /// Sums up each part of a range; of the deepest range, which has none, nothing.
    pub fn sums(&self, range: Range) -> [Sum; PARTS] {
        let mut node = &self.sums;
        for depth in 0..range.depth() {
            match &node.parts {
                Some(parts) => node = &parts[digit(range.ends().start(), depth)],
                None => return self.recount(range),
            }
        }
        match &node.parts {
            Some(parts) => std::array::from_fn(|part| parts[part].sum),
            None => self.recount(range),
        }
    }

    fn recount(&self, range: Range) -> [Sum; PARTS] {
        let mut sums = [Sum::default(); PARTS];
        if range.depth() < Range::DEEPEST {
            self.ids(range).for_each(|id| sums[range.part_of(id)].add(id));
        }
        sums
    }

    /// Tells how many records were taken out so far, by the first byte of their ids.
    pub fn removed(&self) -> &[u64; 256] {
        &self.removed
    }
}

impl FromIterator<Arc<[u8]>> for Index {
    fn from_iter<I: IntoIterator<Item = Arc<[u8]>>>(records: I) -> Self {
        let records: BTreeMap<_, _> = records.into_iter().map(|record| (RecordId::of(&record), record)).collect();
        let mut sums = Node { sum: records.keys().collect(), parts: None };
        sums.divide(Range::ALL, &records);
        Self { records, sums, ..Self::default() }
    }
}

impl Node {
    /// Counts in an id that is among the records already.
    fn insert(&mut self, id: &RecordId, range: Range, records: &BTreeMap<RecordId, Arc<[u8]>>) {
        self.sum.add(id);
        match (&mut self.parts, range.parts()) {
            (Some(parts), Some(ranges)) => {
                let part = range.part_of(id);
                parts[part].insert(id, ranges[part], records);
            }
            _ => self.divide(range, records),
        }
    }

    /// Divides a range that holds many ids.
    fn divide(&mut self, range: Range, records: &BTreeMap<RecordId, Arc<[u8]>>) {
        let Some(ranges) = range.parts().filter(|_| self.sum.count > MOST) else { return };
        let mut parts: Box<[Self; PARTS]> = Box::default();
        for (id, _) in records.range(range.ends()) {
            parts[range.part_of(id)].sum.add(id);
        }
        parts.iter_mut().zip(ranges).for_each(|(part, range)| part.divide(range, records));
        self.parts = Some(parts);
    }

    fn remove(&mut self, id: &RecordId) {
        let (mut node, mut depth) = (self, 0);
        loop {
            node.sum.take(id);
            if node.sum.count < FEWEST {
                node.parts = None;
            }
            let Some(parts) = &mut node.parts else { return };
            node = &mut parts[digit(id, depth)];
            depth += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// A record that is nothing but its number, where the signature is.
    fn record(n: u32) -> Arc<[u8]> {
        let mut bytes = vec![7; 80];
        bytes[76..].copy_from_slice(&n.to_be_bytes());
        bytes.into()
    }

    fn check(index: &Index, ids: &BTreeSet<RecordId>) {
        let all: Sum = ids.iter().collect();
        assert_eq!(index.sum(), all);
        let mut ranges = vec![Range::ALL];
        while let Some(range) = ranges.pop() {
            let within = || ids.range(range.ends());
            assert!(index.ids(range).eq(within()));
            let Some(parts) = range.parts() else { continue };
            let sums = index.sums(range);
            for (part, sum) in parts.iter().zip(sums) {
                assert_eq!(sum, ids.range(part.ends()).collect(), "{range:?}");
                ranges.extend((sum.count > 1 && part.depth() < 5).then_some(*part));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sums_are_those_of_a_recount_whatever_came_and_went(
            first in 0..1_500_u32,
            steps in prop::collection::vec((any::<bool>(), 0..2_000_u32, 1..400_u32), 0..12),
        ) {
            let mut index: Index = (0..first).map(record).collect();
            let mut ids: BTreeSet<_> = (0..first).map(|n| RecordId::of(&record(n))).collect();
            check(&index, &ids);
            for (insert, from, count) in steps {
                for record in (from..from + count).map(record) {
                    let id = RecordId::of(&record);
                    if insert {
                        index.insert(&record);
                        ids.insert(id);
                    } else {
                        index.remove(&record);
                        ids.remove(&id);
                    }
                }
                check(&index, &ids);
            }
        }
    }

    #[test]
    fn it_is_divided_only_where_it_is_full_and_counts_what_goes() {
        let mut index: Index = (0..5_000).map(record).collect();
        assert!(index.sums.parts.is_some());
        (0..4_990).for_each(|n| index.remove(&record(n)));
        index.remove(&record(0));
        assert!(index.sums.parts.is_none());
        assert_eq!(index.removed().iter().sum::<u64>(), 4_990);
        let one = record(4_999);
        assert_eq!((index.get(&RecordId::of(&one)), index.get(&RecordId([0; 16]))), (Some(&one), None));
    }

    #[test]
    fn an_id_costs_few_bytes() {
        // A map's leaf holds 11; chance fills it to two thirds, and what is above adds an eighth.
        let id = (size_of::<RecordId>() + size_of::<Arc<[u8]>>()) * 3 / 2 * 9 / 8;
        let sums = size_of::<Node>() as u64 * 2 / FEWEST;
        println!("an id in the index: about {id} bytes, of sums {sums}");
        assert!(id as u64 + sums <= 64);
    }
}
