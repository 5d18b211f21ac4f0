//! Filling in what is not said. Upstream's types cannot tell an empty text or a zero from an absent one, so these
//! count as absent where upstream's field is no pointer.

use serde_json::{Map, Value};

use crate::object::Quantity;

/// A JSON object under our hands.
pub(super) type Members = Map<String, Value>;

/// Opens a member that is an object.
pub(super) fn open<'a>(members: &'a mut Members, name: &str) -> Option<&'a mut Members> {
    members.get_mut(name).and_then(Value::as_object_mut)
}

/// Opens a member that is an object, making an empty one if it is absent.
pub(super) fn open_or_make<'a>(members: &'a mut Members, name: &str) -> Option<&'a mut Members> {
    fill(members, name, Map::new());
    open(members, name)
}

/// Opens the items of a list that are objects.
pub(super) fn each<'a>(members: &'a mut Members, name: &str) -> impl Iterator<Item = &'a mut Members> {
    members.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Sets a member that is absent or null.
pub(super) fn fill(members: &mut Members, name: &str, value: impl Into<Value>) {
    if members.get(name).is_none_or(Value::is_null) {
        members.insert(name.to_owned(), value.into());
    }
}

/// Sets a text that is absent or empty.
pub(super) fn fill_text(members: &mut Members, name: &str, text: &str) {
    if text_of(members, name).is_empty() && !is_odd(members, name, Value::is_string) {
        members.insert(name.to_owned(), text.into());
    }
}

/// Sets a number that is absent or zero.
pub(super) fn fill_number(members: &mut Members, name: &str, number: i64) {
    if members.get(name).and_then(Value::as_i64).unwrap_or_default() == 0 && !is_odd(members, name, Value::is_number) {
        members.insert(name.to_owned(), number.into());
    }
}

/// Tells whether a member is there but of another type, which is not ours to mend.
fn is_odd(members: &Members, name: &str, right: fn(&Value) -> bool) -> bool {
    members.get(name).is_some_and(|v| !v.is_null() && !right(v))
}

/// Reads a text; empty if there is none.
pub(super) fn text_of<'a>(members: &'a Members, name: &str) -> &'a str {
    members.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Writes quantities in their canonical form, resources rounded up to thousandths, as upstream keeps them.
pub(super) fn resources(members: &mut Members, name: &str) {
    for value in open(members, name).into_iter().flat_map(Map::values_mut) {
        canonical(value, Quantity::rounded_to_millis);
    }
}

/// Writes a quantity in its canonical form.
pub(super) fn quantity(members: &mut Members, name: &str) {
    if let Some(value) = members.get_mut(name) {
        canonical(value, |q| q);
    }
}

/// Upstream's canonical form may have another one when it is read again (`687.5Ki` becomes `704000` becomes `704k`):
/// the last is taken, so that defaulting twice is defaulting once.
fn canonical(value: &mut Value, round: fn(Quantity) -> Quantity) {
    if let Ok(quantity) = Quantity::of(value) {
        let canonical = round(quantity).to_string();
        *value = canonical.parse::<Quantity>().map_or(canonical, |q| q.to_string()).into();
    }
}
