//! The forms of objects that are served in more than one: what is stored as one kind is shown as another.
//!
//! Both ways lose nothing that a user said: what one form has no field for goes along in annotations, as upstream has it.

mod autoscaling;
mod events;

use serde_json::Value;

use super::{Kind, kinds};

/// Turns an object as it is stored into the form `to`; one of that kind already is left alone.
pub fn show(to: &'static Kind, mut object: Value) -> Value {
    match to {
        _ if !to.is_view() => return object,
        k if std::ptr::eq(k, &kinds::EVENT_V1) => events::show(&mut object),
        _ => autoscaling::show(&mut object),
    }
    named(object, to)
}

/// Turns an object in the form `from` into what is stored.
pub fn store(from: &'static Kind, mut object: Value) -> Value {
    match from {
        _ if !from.is_view() => return object,
        k if std::ptr::eq(k, &kinds::EVENT_V1) => events::store(&mut object),
        _ => autoscaling::store(&mut object),
    }
    named(object, from.stored())
}

fn named(mut object: Value, kind: &Kind) -> Value {
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    object
}

/// Gives a member another name.
fn rename(object: &mut Value, from: &str, to: &str) {
    if let Some(members) = object.as_object_mut()
        && let Some(value) = members.remove(from)
    {
        members.insert(to.to_owned(), value);
    }
}

#[cfg(test)]
mod tests;
