//! Leaves put together again, whatever a merge has left of them.
//!
//! Two sides may have left leaves that no object has: an image without its container, a list that is both one
//! register and keyed. The rules that make an object of any leaves, the same on every node (rules, 18):
//! - a register or scalar wins over what is below its path, an empty map or list gives way to it;
//! - an element lives only while its key fields say what its path says;
//! - elements that the order does not name follow, sorted; an order over nothing is an empty list;
//! - what cannot be read, or is too deep, is not there.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::class;
use super::leaves::{Leaf, Leaves, MAX_DEPTH, Shape, depth, element_id, set_id};
use super::path::{self, Segment};

/// Makes the object of `leaves`.
pub fn inflate(shape: Shape, leaves: &Leaves) -> Value {
    let mut root = Node::default();
    for (path, leaf) in leaves {
        if let Some(segments) = path::parse(path) {
            root.insert(&segments, leaf);
        }
    }
    let mut build = Build { shape, path: Vec::new(), depth: 0 };
    Value::Object(build.map(&root.keys))
}

#[derive(Default)]
struct Node<'a> {
    leaf: Option<&'a Leaf>,
    order: Option<&'a Leaf>,
    keys: BTreeMap<String, Node<'a>>,
    elements: BTreeMap<String, Node<'a>>,
}

impl<'a> Node<'a> {
    fn insert(&mut self, segments: &[Segment], leaf: &'a Leaf) {
        match segments {
            [] => self.leaf = Some(leaf),
            [Segment::Element(id)] if id.is_empty() => self.order = Some(leaf),
            [Segment::Key(key), rest @ ..] => self.keys.entry(key.clone()).or_default().insert(rest, leaf),
            [Segment::Element(id), rest @ ..] => self.elements.entry(id.clone()).or_default().insert(rest, leaf),
        }
    }
}

struct Build {
    shape: Shape,
    path: Vec<String>,
    depth: usize,
}

impl Build {
    fn value(&mut self, node: &Node<'_>) -> Option<Value> {
        let own = node.leaf.and_then(|leaf| self.leaf(leaf));
        if let Some(Value::Object(base)) = &own
            && self.is_atom()
        {
            return Some(Value::Object(self.overlaid(base.clone(), node)));
        }
        match own {
            Some(own) if !is_weak(&own) => Some(own),
            own if node.order.is_some() || node.keys.is_empty() && !node.elements.is_empty() => {
                let items = self.list(node);
                if items.is_empty() && node.order.is_none() { own } else { Some(Value::Array(items)) }
            }
            own => {
                let map = self.map(&node.keys);
                if map.is_empty() { own } else { Some(Value::Object(map)) }
            }
        }
    }

    fn is_atom(&self) -> bool {
        class::atoms(self.shape.kind).iter().any(|atom| atom.path.iter().eq(self.path.iter()))
    }

    fn leaf(&self, leaf: &Leaf) -> Option<Value> {
        Some(match leaf {
            Leaf::Null => Value::Null,
            Leaf::Bool(b) => Value::Bool(*b),
            Leaf::Int(n) => Value::from(*n),
            Leaf::Uint(n) => Value::from(*n),
            Leaf::Float(n) => Value::Number(Number::from_f64(*n)?),
            Leaf::Text(text) => Value::String(text.clone()),
            Leaf::Json(json) => serde_json::from_slice(json).ok().filter(|v| self.depth + depth(v) <= MAX_DEPTH)?,
        })
    }

    fn below(&mut self, key: &str, node: &Node<'_>) -> Option<Value> {
        self.path.push(key.to_owned());
        self.depth += 1;
        let value = self.value(node);
        self.depth -= 1;
        self.path.pop();
        value
    }

    fn map(&mut self, keys: &BTreeMap<String, Node<'_>>) -> Map<String, Value> {
        keys.iter().filter_map(|(key, node)| Some((key.clone(), self.below(key, node)?))).collect()
    }

    fn list(&mut self, node: &Node<'_>) -> Vec<Value> {
        let order: Vec<String> = match node.order {
            Some(Leaf::Json(json)) => serde_json::from_slice(json).unwrap_or_default(),
            _ => Vec::new(),
        };
        let mut left: BTreeMap<&str, &Node<'_>> = node.elements.iter().map(|(id, n)| (&**id, n)).collect();
        let mut items = Vec::new();
        for id in &order {
            items.extend(left.remove(&**id).and_then(|n| self.element(id, n)));
        }
        for (id, n) in left {
            items.extend(self.element(id, n));
        }
        items
    }

    fn element(&mut self, id: &str, node: &Node<'_>) -> Option<Value> {
        self.depth += 1;
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let value = if class::is_set(&path) {
            let said = node.leaf.and_then(|leaf| self.leaf(leaf));
            said.filter(|said| set_id(said).as_deref() == Some(id))
        } else {
            let keys = (self.shape.list_keys)(self.shape.kind, &path);
            let value = Value::Object(self.map(&node.keys));
            keys.is_some_and(|keys| element_id(keys, &value).as_deref() == Some(id)).then_some(value)
        };
        self.depth -= 1;
        value
    }

    /// Lays over an atom what is kept apart from it. What has no place in it any more is not there.
    fn overlaid(&mut self, mut base: Map<String, Value>, node: &Node<'_>) -> Map<String, Value> {
        for (key, below) in &node.keys {
            match base.get_mut(key) {
                Some(Value::Array(items)) if !below.elements.is_empty() => {
                    self.path.push(key.clone());
                    self.overlay_elements(items, below);
                    self.path.pop();
                }
                Some(_) => {}
                None => base.extend(self.below(key, below).map(|value| (key.clone(), value))),
            }
        }
        base
    }

    fn overlay_elements(&mut self, items: &mut [Value], node: &Node<'_>) {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let Some(keys) = (self.shape.list_keys)(self.shape.kind, &path) else { return };
        self.depth += 2;
        for item in items {
            let Some(below) = element_id(keys, item).and_then(|id| node.elements.get(&id)) else { continue };
            let fields = self.map(&below.keys);
            let Value::Object(item) = item else { continue };
            for (field, value) in fields {
                item.entry(field).or_insert(value);
            }
        }
        self.depth -= 2;
    }
}

fn is_weak(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}
