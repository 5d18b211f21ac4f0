//! An object as a flat map of paths to scalars, and back (design, section 3).
//!
//! A path is made of segments, each preceded by `/`. An element of a keyed list is a segment that begins with `[` and
//! holds the element's keys as a JSON array; the list's order is a register of its own at `LIST/#order`. What has
//! no finer structure is one register: its JSON text.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::object::Kind;

use super::class;

/// Paths to registers: JSON texts.
pub type Leaves = BTreeMap<String, String>;

/// Tells the keys of a keyed list's elements (`x-kubernetes-list-map-keys`), given its kind and the path of its
/// field, list elements left out.
pub type ListKeys = fn(&Kind, &[&str]) -> Option<&'static [String]>;

const ORDER: &str = "#order";

/// Takes an object apart.
pub fn take_apart(kind: &Kind, keys: ListKeys, object: &Value) -> Leaves {
    let mut walk = Walk { kind, keys, fields: Vec::new(), out: Leaves::new() };
    if let Value::Object(map) = object {
        walk.map("", map);
    }
    walk.out
}

struct Walk<'a> {
    kind: &'a Kind,
    keys: ListKeys,
    fields: Vec<&'a str>,
    out: Leaves,
}

impl<'a> Walk<'a> {
    fn map(&mut self, path: &str, map: &'a Map<String, Value>) {
        for (field, value) in map {
            self.fields.push(field);
            self.value(&format!("{path}/{}", escape(field)), value);
            self.fields.pop();
        }
    }

    fn value(&mut self, path: &str, value: &'a Value) {
        match value {
            Value::Object(map) if !map.is_empty() && !class::is_register(self.kind, &self.fields) => {
                self.map(path, map);
            }
            Value::Array(list) if !list.is_empty() && !class::is_register(self.kind, &self.fields) => {
                match (self.keys)(self.kind, &self.fields).and_then(|keys| keyed(list, keys)) {
                    Some(elements) => self.list(path, elements),
                    None => self.leaf(path, value),
                }
            }
            _ => self.leaf(path, value),
        }
    }

    fn list(&mut self, path: &str, elements: Vec<(String, &'a Map<String, Value>)>) {
        let order: Vec<_> = elements.iter().map(|(segment, _)| segment.as_str()).collect();
        let order = serde_json::to_string(&order).expect("texts serialise");
        self.out.insert(format!("{path}/{ORDER}"), order);
        for (segment, element) in elements {
            self.map(&format!("{path}/{segment}"), element);
        }
    }

    fn leaf(&mut self, path: &str, value: &Value) {
        self.out.insert(path.to_owned(), value.to_string());
    }
}

/// Pairs a list's elements with their segments. `None` if one lacks a key or two have the same: then the list is one
/// register.
fn keyed<'a>(list: &'a [Value], keys: &[String]) -> Option<Vec<(String, &'a Map<String, Value>)>> {
    let mut seen = std::collections::BTreeSet::new();
    let mut elements = Vec::with_capacity(list.len());
    for element in list {
        let map = element.as_object()?;
        let names: Vec<&Value> = keys.iter().filter_map(|k| map.get(k)).collect();
        if names.len() != keys.len() || names.iter().any(|n| n.is_array() || n.is_object()) {
            return None;
        }
        let segment = plain(&serde_json::to_string(&names).expect("scalars serialise"));
        let segment = format!("[{segment}");
        if !seen.insert(segment.clone()) {
            return None;
        }
        elements.push((segment, map));
    }
    Some(elements)
}

/// Escapes a segment: `/` ends one, `[` and `#` begin special ones.
fn escape(segment: &str) -> String {
    let plain = plain(segment);
    if plain.starts_with(['[', '#']) { format!("~2{plain}") } else { plain }
}

fn plain(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

fn unescape(segment: &str) -> String {
    segment.strip_prefix("~2").unwrap_or(segment).replace("~1", "/").replace("~0", "~")
}

/// Puts an object together, repairing what a merge may have left: an element of which its keys did not survive goes,
/// a list in register form wins over stray elements, and elements that the order does not name follow, sorted.
pub fn put_together(kind: &Kind, keys: ListKeys, leaves: &Leaves) -> Value {
    let mut root = Tree::default();
    for (path, text) in leaves {
        if let Ok(value) = serde_json::from_str(text) {
            root.insert(path, value);
        }
    }
    root.value(kind, keys, &mut Vec::new()).unwrap_or_else(|| Value::Object(Map::new()))
}

#[derive(Default)]
struct Tree {
    register: Option<Value>,
    children: BTreeMap<String, Tree>,
}

impl Tree {
    fn insert(&mut self, path: &str, value: Value) {
        let mut tree = self;
        for segment in path.split('/').skip(1) {
            tree = tree.children.entry(segment.to_owned()).or_default();
        }
        tree.register = Some(value);
    }

    fn value(&self, kind: &Kind, keys: ListKeys, fields: &mut Vec<String>) -> Option<Value> {
        let empty_container = |v: &Value| *v == Value::Object(Map::new());
        if let Some(register) = &self.register
            && (self.children.is_empty() || !empty_container(register))
        {
            return Some(register.clone());
        }
        if self.children.contains_key(ORDER) || self.children.keys().any(|k| k.starts_with('[')) {
            return Some(self.list(kind, keys, fields));
        }
        let map = self.map(kind, keys, fields);
        (!map.is_empty()).then_some(Value::Object(map))
    }

    fn map(&self, kind: &Kind, keys: ListKeys, fields: &mut Vec<String>) -> Map<String, Value> {
        let mut map = Map::new();
        for (segment, child) in &self.children {
            fields.push(unescape(segment));
            if let Some(value) = child.value(kind, keys, fields) {
                map.insert(unescape(segment), value);
            }
            fields.pop();
        }
        map
    }

    fn list(&self, kind: &Kind, keys: ListKeys, fields: &mut Vec<String>) -> Value {
        let order: Vec<String> =
            self.children.get(ORDER).and_then(|o| serde_json::from_value(o.register.clone()?).ok()).unwrap_or_default();
        let path: Vec<&str> = fields.iter().map(String::as_str).collect();
        let names = keys(kind, &path).unwrap_or_default();
        let rest = self.children.keys().filter(|k| k.starts_with('[') && !order.contains(k));
        let mut list = Vec::new();
        for segment in order.iter().chain(rest) {
            let Some(child) = self.children.get(segment) else { continue };
            let element = child.map(kind, keys, fields);
            if names.iter().all(|name| element.contains_key(name)) {
                list.push(Value::Object(element));
            }
        }
        Value::Array(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::kinds;
    use serde_json::json;

    fn keys(_: &Kind, path: &[&str]) -> Option<&'static [String]> {
        static NAME: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| vec!["name".into()]);
        static PORT: std::sync::LazyLock<Vec<String>> =
            std::sync::LazyLock::new(|| vec!["port".into(), "protocol".into()]);
        match path.last() {
            Some(&"containers") => Some(&NAME),
            Some(&"ports") => Some(&PORT),
            _ => None,
        }
    }

    fn round(object: &Value) -> Value {
        put_together(&kinds::DEPLOYMENT, keys, &take_apart(&kinds::DEPLOYMENT, keys, object))
    }

    #[test]
    fn every_object_survives_the_round_trip() {
        let objects = [
            json!({"metadata": {"name": "x", "labels": {}, "annotations": {"a/b~c": "1", "[odd]": "2", "#order": "3"}}}),
            json!({"spec": {"containers": [{"name": "b", "image": "i"}, {"name": "a", "args": []}], "empty": null}}),
            json!({"spec": {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}}),
            json!({"spec": {"ports": [{"port": 53}, {"port": 54}]}}),
            json!({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
            json!({"spec": {"containers": []}, "x": [[], {}, [1, 2]], "n": 1.5, "": {"": ""}}),
            json!({}),
        ];
        for object in objects {
            assert_eq!(round(&object), object);
        }
    }

    #[test]
    fn an_element_without_its_keys_goes() {
        let whole = json!({"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}});
        let mut leaves = take_apart(&kinds::DEPLOYMENT, keys, &whole);
        leaves.retain(|path, _| !(path.contains("[[\"b\"]") && path.ends_with("/name")));
        let left = put_together(&kinds::DEPLOYMENT, keys, &leaves);
        assert_eq!(left, json!({"spec": {"containers": [{"name": "a", "image": "1"}]}}));
    }

    #[test]
    fn a_register_wins_over_stray_elements_and_unordered_ones_follow() {
        let mut leaves = take_apart(&kinds::DEPLOYMENT, keys, &json!({"spec": {"containers": [{"name": "a"}]}}));
        leaves.insert("/spec/containers/[[\"0\"]/name".into(), "\"0\"".into());
        let both = put_together(&kinds::DEPLOYMENT, keys, &leaves);
        assert_eq!(both, json!({"spec": {"containers": [{"name": "a"}, {"name": "0"}]}}));
        leaves.insert("/spec/containers".into(), "[]".into());
        assert_eq!(put_together(&kinds::DEPLOYMENT, keys, &leaves), json!({"spec": {"containers": []}}));
    }
}
