//! Who owns which field of an object (`metadata.managedFields`), and server-side apply, which asks for it.
//!
//! Every write by a client is noted: whoever changes a field owns it. Who applies an object says all that it wants: it
//! owns what it names, and what it named before and no longer names goes, unless somebody else owns that too. To change
//! what another owns is a conflict, unless the other wants the same or it is forced. The model is upstream's.
//!
//! The writes of the cluster's own controllers and kubelets are not noted, which keeps pods small; so nobody conflicts
//! with them.

mod apply;
mod element;
mod entries;
mod merge;
mod place;
mod set;
#[cfg(test)]
mod tests;
mod walk;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::custom::Schema;
use super::kinds::{self, Subresource};
use super::{Key, Kind};
use element::Element;
use entries::{Manager, Managers, Operation};
use place::Place;
use set::FieldSet;
use walk::Comparison;

pub use apply::{Applied, ApplyError, FieldConflict, KUBECTL, LAST_APPLIED, apply};

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct By<'a> {
    /// The manager's name; may be empty.
    pub manager: &'a str,
    /// The subresource that is written; empty for the object itself.
    pub subresource: &'a str,
    /// When.
    pub now: Timestamp,
}

/// Notes in `new`, which is to take the place of `live`, who changed it. `None` is no object: `new` is made. `schema` is that
/// of a kind that users define.
///
/// An object in which nobody is noted yet stays so until somebody applies it, as upstream has it: else it would seem
/// that who changes the first field owns that one and nobody the others.
pub fn note(kind: &'static Kind, schema: Option<&Schema>, live: Option<&Value>, new: &mut Value, by: &By<'_>) {
    // Thousands of these come and go, and hardly anybody applies them: what would be noted of a pod is half as long as
    // the pod. One that is applied has a note from then on.
    if *kind == kinds::EVENT || (*kind == kinds::POD && live.is_none()) {
        return;
    }
    let given = Managers::of(new).or_else(|_| Managers::of(live.unwrap_or(&Value::Null)));
    let mut managers = given.unwrap_or_default();
    if live.is_some() && managers.is_empty() {
        put(new, None);
        return;
    }
    let nothing = json!({});
    let changes = Comparison::of(Place::root(kind, schema), live.unwrap_or(&nothing), new);
    let written = changes.written();
    let api_version = kind.api_version();
    let me = Manager::new(Operation::Update, by.manager, &api_version, by.subresource);
    managers.take(&me, &written.clone().union(&changes.removed));
    let before = managers.get(&me).map(|owned| owned.fields.difference(&changes.removed)).unwrap_or_default();
    let mine = before.union(&ownable(kind, by.subresource, &written));
    managers.set(&me, &api_version, mine, !changes.is_same(), by.now);
    put(new, managers.into_json());
}

/// Sets an object's managed fields, or takes them away.
fn put(object: &mut Value, managed: Option<Value>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    match managed {
        Some(managed) => metadata.insert("managedFields".into(), managed),
        None => metadata.remove("managedFields"),
    };
}

/// Returns of `fields` what a write of that subresource can own: not what names the object, not what is the cluster's to
/// give, and nothing of the part that it does not write.
fn ownable(kind: &Kind, subresource: &str, fields: &FieldSet) -> FieldSet {
    const GIVEN: [&str; 9] = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "generation",
        "managedFields",
        "resourceVersion",
        "deletionTimestamp",
    ];
    let field = |name: &str| Element::Field(name.to_owned());
    let mut given = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        given.insert(&[field(name)]);
    }
    for name in GIVEN {
        given.insert(&[field("metadata"), field(name)]);
    }
    let mut other = FieldSet::default();
    if subresource == "status" {
        other.insert(&[field("metadata")]);
        other.insert(&[field("spec")]);
    } else if kind.has(Subresource::Status) {
        other.insert(&[field("status")]);
    }
    fields.without(&other).difference(&given)
}

/// Names an object as errors of an apply do: `shop/web; apps/v1, Kind=Deployment`.
pub fn named(key: &Key) -> String {
    let place = if key.namespace.is_empty() { String::new() } else { format!("{}/", key.namespace) };
    format!("{place}{}; {}, Kind={}", key.name, key.kind.api_version(), key.kind.kind)
}
