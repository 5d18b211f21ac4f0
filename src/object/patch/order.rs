//! The order of a merged list: what the patch names comes in the patch's order, what only the server has stays where
//! it was as far as that goes. Upstream's rule: `$setElementOrder` before the patch list before the live list.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value;

/// By what the elements of a list are told apart: a member of objects, or (`None`) the scalars themselves.
pub(super) type Key<'a> = Option<&'a str>;

/// Returns what tells `item` apart.
pub(super) fn identity<'a>(item: &'a Value, key: Key<'_>) -> Option<&'a Value> {
    match key {
        None => Some(item),
        Some(key) => item.as_object()?.get(key),
    }
}

/// Where the elements of a list are, by what tells them apart; of equal ones the first. A patch may hold a hundred
/// thousand elements, so nothing may look for each of them from one end.
pub(super) struct Places<'a> {
    key: Key<'a>,
    places: BTreeMap<String, usize>,
}

impl<'a> Places<'a> {
    pub(super) fn of(list: &[Value], key: Key<'a>) -> Self {
        let mut places = BTreeMap::new();
        for (at, item) in list.iter().enumerate() {
            if let Some(id) = identity(item, key) {
                places.entry(id.to_string()).or_insert(at);
            }
        }
        Self { key, places }
    }

    /// Finds the place of the element that is told apart as `item` is.
    pub(super) fn find(&self, item: &Value) -> Option<usize> {
        self.places.get(&identity(item, self.key)?.to_string()).copied()
    }
}

/// Puts `merged` in order: elements of `wanted` as they are there, the others interleaved as `live` had them.
pub(super) fn arrange(merged: Vec<Value>, wanted: &[Value], live: &[Value], key: Key<'_>) -> Vec<Value> {
    let (wanted, live) = (Places::of(wanted, key), Places::of(live, key));
    let (mut named, mut others): (Vec<_>, Vec<_>) = merged.into_iter().partition(|item| wanted.find(item).is_some());
    sort(&mut named, &wanted);
    sort(&mut others, &live);
    interleave(others, named, &live)
}

fn sort(items: &mut [Value], order: &Places<'_>) {
    // What is new goes last.
    items.sort_by_cached_key(|item| order.find(item).unwrap_or(usize::MAX));
}

/// Inserts each of `left` into `right` before the first element that comes after it in `order`.
fn interleave(left: Vec<Value>, right: Vec<Value>, order: &Places<'_>) -> Vec<Value> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        let first = match (order.find(l), order.find(r)) {
            (Some(l), Some(r)) => l.cmp(&r),
            _ => Ordering::Greater,
        };
        out.extend(if first == Ordering::Less { left.next() } else { right.next() });
    }
    out.extend(right);
    out.extend(left);
    out
}
