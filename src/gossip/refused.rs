//! Records that this node knows and does not take: they count as held when it compares with others, so that two that
//! differ in nothing else are quiet.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::store::{PARTS, Range, RecordId, Sum};

use super::Holdings;

/// The most that are remembered; of more the oldest are asked for again.
const MOST: usize = 1_024;

/// The ids of such records.
#[derive(Debug, Default)]
pub(super) struct Refused {
    ids: BTreeSet<RecordId>,
    /// The same, oldest first.
    order: VecDeque<RecordId>,
}

impl Refused {
    /// Remembers one.
    pub fn add(&mut self, id: RecordId) {
        if !self.ids.insert(id) {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    /// Forgets some.
    pub fn forget(&mut self, ids: &BTreeSet<RecordId>) {
        if !ids.is_empty() {
            self.ids.retain(|id| !ids.contains(id));
            self.order.retain(|id| !ids.contains(id));
        }
    }
}

/// What is held, and what is known and refused.
pub(super) struct Known<'a> {
    pub holdings: &'a dyn Holdings,
    pub refused: &'a Refused,
}

impl Known<'_> {
    /// Lists what is refused of a range.
    pub fn refused(&self, range: Range) -> impl Iterator<Item = &RecordId> {
        // What was refused once may have been taken since.
        self.refused.ids.range(range.ends()).filter(|id| !self.holdings.has(id))
    }

    /// Counts those of `ids` that are held.
    pub fn count_held(&self, ids: &BTreeSet<RecordId>) -> usize {
        ids.len() - ids.iter().filter(|id| self.refused.ids.contains(*id) && !self.holdings.has(id)).count()
    }
}

impl Holdings for Known<'_> {
    fn sum(&self) -> Sum {
        let mut sum = self.holdings.sum();
        self.refused(Range::ALL).for_each(|id| sum.add(id));
        sum
    }

    fn sums(&self, range: Range) -> [Sum; PARTS] {
        let mut sums = self.holdings.sums(range);
        for (sum, part) in sums.iter_mut().zip(range.parts().into_iter().flatten()) {
            self.refused(part).for_each(|id| sum.add(id));
        }
        sums
    }

    fn ids(&self, range: Range) -> Vec<RecordId> {
        let mut ids = self.holdings.ids(range);
        ids.extend(self.refused(range));
        ids
    }

    fn has(&self, id: &RecordId) -> bool {
        self.holdings.has(id) || self.refused.ids.contains(id)
    }

    fn removed(&self) -> &[u64; 256] {
        self.holdings.removed()
    }

    fn records(&self, ids: &BTreeSet<RecordId>) -> Vec<Arc<[u8]>> {
        self.holdings.records(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_remembered() {
        let id = |n: usize| {
            let mut bytes = [0; 16];
            bytes[8..].copy_from_slice(&n.to_be_bytes());
            RecordId(bytes)
        };
        let mut refused = Refused::default();
        (0..2 * MOST).chain(0..2 * MOST).for_each(|n| refused.add(id(n)));
        assert!(refused.ids.len() == MOST && refused.order.len() == MOST);
        assert!(refused.ids.iter().eq((MOST..2 * MOST).map(id).collect::<Vec<_>>().iter()));
        refused.forget(&refused.ids.clone());
        assert!(refused.ids.is_empty() && refused.order.is_empty());
    }
}
