//! Strategic merge patch: a merge patch that knows from the schema which lists to merge and by which key, and takes
//! directives (`$patch`, `$retainKeys`, `$setElementOrder/x`, `$deleteFromPrimitiveList/x`) for the rest.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::BadPatch;
use super::order::{Key, Places, arrange, identity};
use crate::object::schema::{Field, Struct};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

type Members = Map<String, Value>;

/// Applies `patch` to `original`, both of the shape `shape`.
pub(super) fn apply(original: Value, patch: Value, shape: &'static Struct) -> Result<Value, BadPatch> {
    match (original, patch) {
        (Value::Object(original), Value::Object(patch)) => Ok(Value::Object(merge(original, patch, Some(shape))?)),
        _ => Err(bad("Invalid JSON document")),
    }
}

fn merge(mut original: Members, mut patch: Members, shape: Option<&'static Struct>) -> Result<Members, BadPatch> {
    match patch.remove(PATCH).as_ref().map(Value::as_str) {
        None | Some(Some("merge")) => {}
        Some(Some("replace")) => return Ok(patch.into_iter().filter_map(|(n, v)| Some((n, plain(v)?))).collect()),
        Some(Some("delete")) => return Ok(Members::new()),
        Some(_) => return Err(bad(unknown(&Value::Object(patch)))),
    }
    if let Some(keys) = patch.remove(RETAIN_KEYS) {
        retain(&mut original, &patch, &keys)?;
    }
    ordered_lists(&mut original, &mut patch, shape)?;
    for (name, change) in patch {
        if let Some(name) = name.strip_prefix(DELETE) {
            delete_scalars(&mut original, name, &change)?;
            continue;
        }
        let before = if change.is_null() { None } else { original.remove(&name) };
        let field = shape.and_then(|s| s.field(&name));
        let after = match (before, change) {
            (_, Value::Null) => None,
            (Some(Value::Object(before)), Value::Object(change)) if !field.is_some_and(|f| f.replace) => {
                let inner = field.and_then(|f| f.shape.inner_struct());
                Some(Value::Object(merge(before, change, inner)?))
            }
            (Some(Value::Array(before)), Value::Array(change)) => {
                Some(Value::Array(merge_list(&before, change, field, &name)?))
            }
            (_, change) => plain(change),
        };
        match after {
            Some(value) => original.insert(name, value),
            None => original.remove(&name),
        };
    }
    Ok(original)
}

/// `$retainKeys`: what it does not name goes, and the patch may set nothing else.
fn retain(original: &mut Members, patch: &Members, keys: &Value) -> Result<(), BadPatch> {
    let invalid = || bad("invalid patch format of retainKeys");
    let keys = keys.as_array().ok_or_else(invalid)?;
    let named = |name: &str| keys.iter().any(|k| k == name);
    let is_list_directive = |name: &str| name.starts_with(DELETE) || name.starts_with(SET_ORDER);
    if patch.iter().any(|(name, v)| !v.is_null() && !is_list_directive(name) && !named(name)) {
        return Err(invalid());
    }
    original.retain(|name, _| named(name));
    Ok(())
}

/// `$setElementOrder/x`: merges the list `x` and puts it in the order given.
fn ordered_lists(original: &mut Members, patch: &mut Members, shape: Option<&'static Struct>) -> Result<(), BadPatch> {
    let directives: Vec<String> = patch.keys().filter(|name| name.starts_with(SET_ORDER)).cloned().collect();
    for directive in directives {
        let name = &directive[SET_ORDER.len()..];
        let wanted = list(patch.remove(&directive))
            .ok_or_else(|| bad(format!("invalid patch format of setElementOrder list: {directive}")))?;
        if patch.get(name).is_some_and(Value::is_null) {
            continue;
        }
        let field = shape.and_then(|s| s.field(name));
        let key = field.and_then(|f| f.merge_key.as_deref());
        let wrong = |what: &str| bad(format!("{name} in the {what} is not a list"));
        let before = original.get(name).map(|v| v.as_array().cloned().ok_or_else(|| wrong("object"))).transpose()?;
        let change = patch.get(name).map(|v| v.as_array().cloned().ok_or_else(|| wrong("patch"))).transpose()?;
        for item in wanted.iter().chain(before.iter().flatten()) {
            require_key(item, key)?;
        }
        let (merged, live) = match (before, change) {
            (None, None) => continue,
            (Some(before), None) => (before.clone(), before),
            (before, Some(change)) => {
                check_order(&change, &wanted, key)?;
                let live = before.as_deref().map(|before| live_order(before, &change, key)).unwrap_or_default();
                match before {
                    Some(before) => (merge_list(&before, change, field, name)?, live),
                    None => (plain_items(change), live),
                }
            }
        };
        for item in &merged {
            require_key(item, key)?;
        }
        let arranged = arrange(merged, &wanted, &live, key);
        original.insert(name.to_owned(), Value::Array(arranged));
        patch.remove(name);
    }
    Ok(())
}

/// Returns the order of the live list: what the patch adds takes the places that its deletions free. So it is upstream,
/// which deletes and appends in place.
fn live_order(before: &[Value], change: &[Value], key: Key<'_>) -> Vec<Value> {
    let (gone, new): (Vec<_>, Vec<_>) = change.iter().cloned().partition(|item| item.get(PATCH).is_some());
    let gone = Places::of(&gone, key);
    let mut live: Vec<Value> = before.iter().filter(|item| gone.find(item).is_none()).cloned().collect();
    let kept = Places::of(&live, key);
    let freed = before.len() - live.len();
    live.extend(new.into_iter().filter(|item| kept.find(item).is_none()).take(freed));
    live
}

fn list(value: Option<Value>) -> Option<Vec<Value>> {
    match value {
        Some(Value::Array(items)) => Some(items),
        _ => None,
    }
}

/// Elements that the patch sets must be in the order that it asks for.
fn check_order(change: &[Value], wanted: &[Value], key: Key<'_>) -> Result<(), BadPatch> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut rest = wanted.iter();
    for item in change.iter().filter(|item| item.get(PATCH).is_none()) {
        let id = require_key(item, key)?;
        if !rest.any(|other| identity(other, key) == Some(id)) {
            return Err(bad(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                super::go_value(&Value::Array(change.to_vec())),
                super::go_value(&Value::Array(wanted.to_vec()))
            )));
        }
    }
    Ok(())
}

/// Merges the list `name`. Without a strategy in the schema, the patch's list takes its place.
fn merge_list(
    original: &[Value],
    patch: Vec<Value>,
    field: Option<&'static Field>,
    name: &str,
) -> Result<Vec<Value>, BadPatch> {
    let Some(field) = field.filter(|f| f.merge) else { return Ok(plain_items(patch)) };
    let objects = patch.iter().chain(original).filter(|item| item.is_object()).count();
    if objects != 0 && objects != patch.len() + original.len() {
        return Err(unfit(format!("list element types are not identical: {name}")));
    }
    if patch.iter().any(Value::is_array) {
        return Err(unfit("lists of lists are not supported"));
    }
    match &field.merge_key {
        None if objects > 0 => Err(unfit(format!("cannot merge lists without merge key for {name}"))),
        None => Ok(merge_scalars(original, &patch)),
        Some(key) => merge_objects(original, patch, field, key),
    }
}

fn merge_scalars(original: &[Value], patch: &[Value]) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let both = original.iter().chain(patch);
    let merged = both.filter(|item| seen.insert(item.to_string())).cloned().collect();
    arrange(merged, patch, original, None)
}

fn merge_objects(
    original: &[Value],
    patch: Vec<Value>,
    field: &'static Field,
    key: &str,
) -> Result<Vec<Value>, BadPatch> {
    let key = Some(key);
    let (mut changes, mut gone) = (Vec::new(), Vec::new());
    let mut replace = false;
    for item in patch {
        match item.get(PATCH).map(Value::as_str) {
            None | Some(Some("merge")) => changes.push(item),
            Some(Some("replace")) => replace = true,
            Some(Some("delete")) => {
                require_key(&item, key)?;
                gone.push(item);
            }
            Some(_) => return Err(bad(unknown(&item))),
        }
    }
    if replace {
        return Ok(plain_items(changes));
    }
    let gone = Places::of(&gone, key);
    let mut merged: Vec<Value> = original.iter().filter(|item| gone.find(item).is_none()).cloned().collect();
    let live = merged.clone();
    let places = Places::of(&live, key);
    for change in &changes {
        require_key(change, key)?;
        let Some(at) = places.find(change) else {
            merged.extend(plain(change.clone()));
            continue;
        };
        let inner = field.shape.inner_struct();
        merged[at] = match (std::mem::take(&mut merged[at]), change.clone()) {
            (Value::Object(before), Value::Object(change)) => Value::Object(merge(before, change, inner)?),
            (_, change) => change,
        };
    }
    Ok(arrange(merged, &changes, &live, key))
}

/// `$deleteFromPrimitiveList/x`: takes scalars out of the list `x`.
fn delete_scalars(original: &mut Members, name: &str, gone: &Value) -> Result<(), BadPatch> {
    let gone = gone.as_array().ok_or_else(|| bad("invalid patch format of primitive list"))?;
    let gone = Places::of(gone, None);
    if let Some(Value::Array(items)) = original.get_mut(name) {
        items.retain(|item| gone.find(item).is_none());
    }
    Ok(())
}

fn require_key<'a>(item: &'a Value, key: Key<'_>) -> Result<&'a Value, BadPatch> {
    identity(item, key).ok_or_else(|| {
        let key = key.unwrap_or_default();
        unfit(format!("map: {} does not contain declared merge key: {key}", super::go_value(item)))
    })
}

/// Returns what a patch says where there is nothing to merge with: no directives, no nulls. `None` for what is to be
/// deleted. Upstream leaves some directives in, or loses what one of them stands beside.
fn plain(value: Value) -> Option<Value> {
    match value {
        Value::Null => None,
        Value::Object(mut members) => match members.remove(PATCH).as_ref().map(Value::as_str) {
            None | Some(Some("merge" | "replace")) => Some(Value::Object(
                members
                    .into_iter()
                    .filter(|(name, _)| !is_directive(name))
                    .filter_map(|(name, v)| Some((name, plain(v)?)))
                    .collect(),
            )),
            Some(_) => None,
        },
        Value::Array(items) => Some(Value::Array(plain_items(items))),
        other => Some(other),
    }
}

/// In a list, an element that holds a directive stands for the directive alone.
fn plain_items(items: Vec<Value>) -> Vec<Value> {
    let is_item = |item: &Value| item.get(PATCH).is_none_or(|directive| directive == "merge");
    items.into_iter().filter(is_item).filter_map(plain).collect()
}

fn is_directive(name: &str) -> bool {
    name == RETAIN_KEYS || name.starts_with(SET_ORDER) || name.starts_with(DELETE)
}

fn unknown(map: &Value) -> String {
    format!("unknown patch type in map: {map}")
}

fn bad(why: impl Into<String>) -> BadPatch {
    BadPatch::Malformed(why.into())
}

fn unfit(why: impl Into<String>) -> BadPatch {
    BadPatch::Unfit(why.into())
}
