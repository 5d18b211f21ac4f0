//! Lays an applied object over the one that is there, and takes paths away.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::element::Element;
use super::place::Place;
use super::set::FieldSet;

/// Returns `live` with what `applied` says.
pub fn merge(place: Place<'_>, live: &Value, applied: &Value) -> Value {
    if !(place.branches(live) && place.branches(applied)) {
        return applied.clone();
    }
    match (live, applied) {
        (Value::Object(live), Value::Object(applied)) => {
            let mut out = live.clone();
            for (name, value) in applied {
                let inner = place.member(&Element::Field(name.clone()));
                let merged = live.get(name).map_or_else(|| value.clone(), |live| merge(inner, live, value));
                out.insert(name.clone(), merged);
            }
            Value::Object(out)
        }
        (Value::Array(live), Value::Array(applied)) => Value::Array(list(place, live, applied)),
        _ => applied.clone(),
    }
}

/// Elements that are applied come in the order in which they are, the others stay behind the one they were behind.
fn list(place: Place<'_>, live: &[Value], applied: &[Value]) -> Vec<Value> {
    let (live_elements, elements) = (place.elements(live), place.elements(applied));
    let at: BTreeMap<&Element, usize> = live_elements.iter().enumerate().rev().map(|(at, e)| (e, at)).collect();
    let wanted: BTreeSet<&Element> = elements.iter().collect();
    let mut out = Vec::with_capacity(live.len() + applied.len());
    let mut next = 0;
    let keep = |out: &mut Vec<Value>, from: usize, to: usize| {
        let kept = live_elements[from..to].iter().zip(&live[from..to]).filter(|(e, _)| !wanted.contains(e));
        out.extend(kept.map(|(_, item)| item.clone()));
    };
    for (element, item) in elements.iter().zip(applied) {
        match at.get(element) {
            Some(&there) => {
                if there >= next {
                    keep(&mut out, next, there);
                    next = there + 1;
                }
                out.push(merge(place.member(element), &live[there], item));
            }
            None => out.push(item.clone()),
        }
    }
    keep(&mut out, next, live.len());
    out
}

/// Returns `value` without the paths of `gone` and all that is in them. What is left empty by that goes too: the
/// schema's types do not tell it from what was never there.
pub fn remove(place: Place<'_>, value: &Value, gone: &FieldSet) -> Value {
    match value {
        Value::Object(members) if place.branches(value) => {
            let mut out = Map::new();
            for (name, item) in members {
                let element = Element::Field(name.clone());
                if let Some(left) = remove_from(place, item, &element, gone) {
                    out.insert(name.clone(), left);
                }
            }
            Value::Object(out)
        }
        Value::Array(items) if place.branches(value) => {
            let elements = place.elements(items);
            let left = elements.iter().zip(items).filter_map(|(element, item)| {
                if gone.has(element) { None } else { Some(inside(place, item, element, gone)) }
            });
            Value::Array(left.collect())
        }
        other => other.clone(),
    }
}

fn remove_from(place: Place<'_>, item: &Value, element: &Element, gone: &FieldSet) -> Option<Value> {
    if gone.has(element) {
        return None;
    }
    let left = inside(place, item, element, gone);
    let emptied = match (item, &left) {
        (Value::Object(before), Value::Object(after)) => after.is_empty() && !before.is_empty(),
        (Value::Array(before), Value::Array(after)) => after.is_empty() && !before.is_empty(),
        _ => false,
    };
    (!emptied).then_some(left)
}

fn inside(place: Place<'_>, item: &Value, element: &Element, gone: &FieldSet) -> Value {
    match gone.inside(element) {
        Some(gone) => remove(place.member(element), item, gone),
        None => item.clone(),
    }
}
