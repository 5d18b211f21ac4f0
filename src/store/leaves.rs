//! An object taken apart into leaves: path -> scalar, so that edits of different fields merge.
//!
//! Maps are walked into; lists whose elements the schema tells apart by keys are walked into by those keys, with an
//! order of their own; any other list is one leaf, and so is a very large map. An empty map or list is a *weak* leaf: it says that something is
//! there, and gives way to what is in it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::object::Kind;

use super::class::{self, Atom};
use super::path::{push_element, push_key};

/// How deep an object may be. Below the 128 levels at which the JSON parser stops.
pub const MAX_DEPTH: usize = 100;

/// A map of more keys than this is one register.
pub const MAX_KEYS: usize = 2_048;

/// Tells which fields tell apart the elements of the list at a path, which goes through lists and maps without
/// naming the elements. `None` if it has no such keys: `object::schema::list_map_keys`.
pub type ListKeys = fn(&Kind, &[&str]) -> Option<&'static [String]>;

/// What a leaf holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer above the others.
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(String),
    /// A list or map as one register: compact JSON, keys sorted.
    Json(Vec<u8>),
}

/// An object as leaves.
pub type Leaves = BTreeMap<String, Leaf>;

/// What to put (or, with `None`, delete) where.
pub type Delta = Vec<(String, Option<Leaf>)>;

/// What is known of an object's shape.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Its kind.
    pub kind: &'static Kind,
    /// The schema's list keys.
    pub list_keys: ListKeys,
}

/// Takes `object` apart.
pub fn flatten(shape: Shape, object: &Value) -> Leaves {
    let mut walk = Walk { shape, at: String::new(), path: Vec::new(), leaves: Leaves::new() };
    if let Value::Object(map) = object {
        walk.map(map);
    }
    walk.leaves
}

/// Returns what turns `from` into `to`; empty if they are equal.
pub fn diff(from: &Leaves, to: &Leaves) -> Delta {
    let gone = from.keys().filter(|path| !to.contains_key(*path)).map(|path| (path.clone(), None));
    let put = to.iter().filter(|(path, leaf)| from.get(*path) != Some(leaf));
    gone.chain(put.map(|(path, leaf)| (path.clone(), Some(leaf.clone())))).collect()
}

/// Does to `leaves` what `delta` says.
pub fn apply(leaves: &mut Leaves, delta: Delta) {
    for (path, leaf) in delta {
        match leaf {
            Some(leaf) => {
                leaves.insert(path, leaf);
            }
            None => {
                leaves.remove(&path);
            }
        }
    }
}

/// Returns about how many bytes `leaves` take.
pub fn size(leaves: &Leaves) -> usize {
    let value = |leaf: &Leaf| match leaf {
        Leaf::Text(text) => text.len(),
        Leaf::Json(json) => json.len(),
        _ => 8,
    };
    leaves.iter().map(|(path, leaf)| path.len() + value(leaf) + 8).sum()
}

/// Returns how deep `value` is, 0 for a scalar.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Returns the identity of each element of the list at `path`, `None` if the list has no keys there, or holds
/// what they do not tell apart.
pub fn element_ids(shape: Shape, path: &[&str], items: &[Value]) -> Option<Vec<String>> {
    let ids: Vec<String> = if class::is_set(path) {
        items.iter().map(set_id).collect::<Option<_>>()?
    } else {
        let keys = (shape.list_keys)(shape.kind, path)?;
        items.iter().map(|item| element_id(keys, item)).collect::<Option<_>>()?
    };
    let distinct: BTreeSet<&String> = ids.iter().collect();
    (distinct.len() == ids.len()).then_some(ids)
}

/// Returns the identity of a set's element, `None` if it is no string.
pub fn set_id(item: &Value) -> Option<String> {
    item.is_string().then(|| item.to_string())
}

/// Returns the identity of a keyed list's element: the values of its key fields. `None` if it has none of them, or
/// one that is no scalar.
pub fn element_id(keys: &[String], item: &Value) -> Option<String> {
    let map = item.as_object()?;
    if !keys.iter().any(|key| map.contains_key(key)) {
        return None;
    }
    let mut id = String::new();
    for (i, key) in keys.iter().enumerate() {
        if i > 0 {
            id.push(',');
        }
        match map.get(key) {
            // An absent key and a null one differ, so that the element comes back as it was.
            None => {}
            Some(Value::Array(_) | Value::Object(_)) => return None,
            Some(scalar) => id.push_str(&scalar.to_string()),
        }
    }
    Some(id)
}

struct Walk<'a> {
    shape: Shape,
    /// The encoded path.
    at: String,
    /// The schema's path: keys only.
    path: Vec<&'a str>,
    leaves: Leaves,
}

impl<'a> Walk<'a> {
    fn value(&mut self, value: &'a Value) {
        match value {
            Value::Object(map) => match class::atoms(self.shape.kind).iter().find(|atom| atom.path == self.path) {
                Some(atom) => self.atom(atom, map),
                // So many would be dear to apply one by one; then the last to write any of them writes all.
                None if map.is_empty() || map.len() > MAX_KEYS => self.leaf(json_leaf(value)),
                None => self.map(map),
            },
            Value::Array(items) if !items.is_empty() => match element_ids(self.shape, &self.path, items) {
                Some(ids) => self.keyed(&ids, items),
                None => self.leaf(json_leaf(value)),
            },
            value => self.leaf(scalar_leaf(value)),
        }
    }

    fn leaf(&mut self, leaf: Leaf) {
        self.leaves.insert(self.at.clone(), leaf);
    }

    fn map(&mut self, map: &'a Map<String, Value>) {
        for (key, value) in map {
            self.below(key, |walk| walk.value(value));
        }
    }

    fn below(&mut self, key: &'a str, then: impl FnOnce(&mut Self)) {
        let length = self.at.len();
        push_key(&mut self.at, key);
        self.path.push(key);
        then(self);
        self.path.pop();
        self.at.truncate(length);
    }

    fn element(&mut self, id: &str, then: impl FnOnce(&mut Self)) {
        let length = self.at.len();
        push_element(&mut self.at, id);
        then(self);
        self.at.truncate(length);
    }

    fn keyed(&mut self, ids: &[String], items: &'a [Value]) {
        self.element("", |walk| walk.leaf(Leaf::Json(to_json(&ids))));
        for (id, item) in ids.iter().zip(items) {
            self.element(id, |walk| match item {
                Value::Object(map) => walk.map(map),
                scalar => walk.leaf(scalar_leaf(scalar)),
            });
        }
    }

    fn atom(&mut self, atom: &Atom, map: &'a Map<String, Value>) {
        let mut rest = map.clone();
        for pattern in atom.except {
            match pattern {
                [list, "*", field] => self.except_in_list(&mut rest, map, list, field),
                [field] => {
                    if let (Some((key, value)), Some(_)) = (map.get_key_value(*field), rest.remove(*field)) {
                        self.below(key, |walk| walk.value(value));
                    }
                }
                _ => {}
            }
        }
        self.leaf(Leaf::Json(to_json(&rest)));
    }

    fn except_in_list(&mut self, rest: &mut Map<String, Value>, map: &'a Map<String, Value>, list: &str, field: &str) {
        let Some((list_key, Value::Array(items))) = map.get_key_value(list) else { return };
        let Some(Value::Array(left)) = rest.get_mut(list) else { return };
        self.below(list_key, |walk| {
            let Some(ids) = element_ids(walk.shape, &walk.path, items) else { return };
            for ((id, item), left) in ids.iter().zip(items).zip(left) {
                let Some((key, value)) = item.as_object().and_then(|m| m.get_key_value(field)) else { continue };
                walk.element(id, |walk| walk.below(key, |walk| walk.value(value)));
                if let Value::Object(left) = left {
                    left.remove(field);
                }
            }
        });
    }
}

fn scalar_leaf(value: &Value) -> Leaf {
    match value {
        Value::Null => Leaf::Null,
        Value::Bool(b) => Leaf::Bool(*b),
        Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(int), _, _) => Leaf::Int(int),
            (None, Some(uint), _) => Leaf::Uint(uint),
            (None, None, Some(float)) => Leaf::Float(float),
            (None, None, None) => json_leaf(value),
        },
        Value::String(text) => Leaf::Text(text.clone()),
        compound => json_leaf(compound),
    }
}

fn json_leaf(value: &Value) -> Leaf {
    Leaf::Json(to_json(value))
}

fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("a JSON value serialises")
}
