//! Maps and sets of a handful: a sorted list that takes no more room than its elements.
//!
//! An object has one or two registers, one observation, one holder of its name. A `BTreeMap` of one element takes the
//! room of eleven, which a hundred thousand objects cannot afford.

/// A map of few elements, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmallMap<K, V>(Vec<(K, V)>);

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> SmallMap<K, V> {
    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(k, _)| k.cmp(key))
    }

    /// Finds the value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().map(|at| &self.0[at].1)
    }

    /// Finds the value of a key, to change it.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.place(key).ok().map(|at| &mut self.0[at].1)
    }

    /// Sets the value of a key. Returns the value that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                if self.0.len() == self.0.capacity() && self.0.len() < 4 {
                    self.0.reserve_exact(1);
                }
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Takes a key away. Returns the value that it had.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.place(key).ok().map(|at| self.0.remove(at).1)
    }

    /// Tells whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Lists keys and values, in the order of the keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// Lists the keys in their order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// Lists the values in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_small_map_is_a_map() {
        let (mut small, mut map) = (SmallMap::default(), BTreeMap::new());
        for step in 0..200_u32 {
            let key = step.wrapping_mul(2_654_435_761) % 13;
            if step % 3 == 2 {
                assert_eq!(small.remove(&key), map.remove(&key));
            } else {
                assert_eq!(small.insert(key, step), map.insert(key, step));
            }
            assert_eq!(small.get(&key), map.get(&key));
            assert!(small.iter().eq(map.iter()) && small.keys().eq(map.keys()) && small.values().eq(map.values()));
            assert_eq!(small.is_empty(), map.is_empty());
        }
    }

    #[test]
    fn one_element_takes_the_room_of_one() {
        let mut small = SmallMap::default();
        small.insert(1, [0_u8; 100]);
        assert_eq!(small.0.capacity(), 1);
    }
}
