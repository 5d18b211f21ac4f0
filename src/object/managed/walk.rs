//! Which paths an object has, and in which paths two objects differ.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::element::{Element, Path};
use super::place::Place;
use super::set::FieldSet;

/// Structs that are always there in upstream's types, so that nobody is said to have made them.
const ALWAYS_THERE: [&str; 8] =
    ["metadata", "spec", "status", "template", "strategy", "updateStrategy", "jobTemplate", "resources"];

/// Returns what an applied object says something of: its leaves, the elements of its lists and maps, and what is empty.
pub fn fields(place: Place<'_>, value: &Value) -> FieldSet {
    let mut out = FieldSet::default();
    let mut put = |element: Element, item: &Value, always: bool| {
        let inner = place.member(&element);
        let inside = fields(inner, item);
        let empty = item.as_object().is_some_and(serde_json::Map::is_empty);
        out.put(element, always || empty || !inner.branches(item), inside);
    };
    match (place, value) {
        (_, Value::Object(members)) if place.branches(value) => {
            let free = place.is_free();
            members.iter().for_each(|(name, item)| put(Element::Field(name.clone()), item, free));
        }
        (_, Value::Array(items)) if place.branches(value) => {
            place.elements(items).into_iter().zip(items).for_each(|(element, item)| put(element, item, true));
        }
        _ => {}
    }
    out
}

/// In what an object differs from what it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What is there now and was not.
    pub added: FieldSet,
    /// What is another value now.
    pub modified: FieldSet,
    /// What is gone.
    pub removed: FieldSet,
}

impl Comparison {
    /// Compares two objects.
    pub fn of(place: Place<'_>, old: &Value, new: &Value) -> Self {
        let mut found = Self::default();
        found.walk(place, &mut Vec::new(), Some(old), Some(new));
        found
    }

    /// Tells whether nothing differs.
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Returns what there is to own of what differs.
    pub fn written(&self) -> FieldSet {
        self.added.clone().union(&self.modified)
    }

    fn walk(&mut self, place: Place<'_>, path: &mut Path, old: Option<&Value>, new: Option<&Value>) {
        let full = |v: Option<&Value>| v.is_some_and(|v| place.branches(v) && !is_empty(v));
        let fits = |v: Option<&Value>| v.is_none_or(|v| place.branches(v));
        if !(full(old) || full(new)) || !(fits(old) && fits(new)) {
            match (old, new) {
                (None, Some(_)) => self.added.insert(path),
                (Some(_), None) => self.removed.insert(path),
                (Some(old), Some(new)) if old != new => self.modified.insert(path),
                _ => {}
            }
            return;
        }
        let (before, after) = (children(place, old), children(place, new));
        let all: BTreeSet<&Element> = before.keys().chain(after.keys()).collect();
        for element in all {
            path.push(element.clone());
            self.walk(place.member(element), path, before.get(element).copied(), after.get(element).copied());
            path.pop();
        }
        match (old, new) {
            (None, _) if !is_always_there(place, path) => self.added.insert(path),
            (_, None) => self.removed.insert(path),
            _ => {}
        }
    }
}

fn is_always_there(place: Place<'_>, path: &[Element]) -> bool {
    let name = match path.last() {
        Some(Element::Field(name)) => name.as_str(),
        _ => return false,
    };
    matches!(place, Place::Struct(_)) && ALWAYS_THERE.contains(&name)
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Returns what is in a value by its element; of equal ones the first.
pub fn children<'a>(place: Place<'_>, value: Option<&'a Value>) -> BTreeMap<Element, &'a Value> {
    let mut found = BTreeMap::new();
    match value {
        Some(Value::Object(members)) => {
            found.extend(members.iter().map(|(name, item)| (Element::Field(name.clone()), item)));
        }
        Some(Value::Array(items)) => {
            for (element, item) in place.elements(items).into_iter().zip(items) {
                found.entry(element).or_insert(item);
            }
        }
        _ => {}
    }
    found
}
