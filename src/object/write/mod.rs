//! The one write path: current object -> what the client says -> defaults -> validation -> canonical object.
//!
//! Whoever writes an object comes through here, so that what is stored always has its defaults, is valid, and says
//! the same thing in the same way: writing again what is there changes nothing (rule 19).

mod apply;
mod error;
mod meta;
mod rules;
mod scale;

use serde_json::Value;

use super::decode::{self, BadBody, Decoded};
use super::kinds::Subresource;
use super::managed;
use super::patch::{self, PatchType};
use super::raw::Raw;
use super::{Kind, kinds, validation, view};
use crate::ids::Revision;

pub use super::decode::FieldValidation;
pub use super::managed::{By, FieldConflict};
pub use apply::{APPLY, How, apply};
pub use error::WriteError;
pub use meta::{SUFFIX_LENGTH, suffix};
pub use rules::{Rules, to_store};
pub use scale::scale;

#[cfg(test)]
mod tests;

/// Which part of an object a request writes; the rest stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All but the status.
    Spec,
    /// The status alone (`/status`).
    Status,
    /// The conditions of the status alone, as who decides about a request sees them (`/approval`).
    Approval,
    /// The replica count alone, as an autoscaling/v1 Scale (`/scale`).
    Scale,
    /// A Pod's ephemeral containers alone (`/ephemeralcontainers`).
    EphemeralContainers,
}

impl Part {
    /// Returns the subresource's name as managed fields have it; empty for the object itself.
    pub fn subresource(self) -> &'static str {
        match self {
            Self::Spec => "",
            Self::Status => "status",
            Self::Approval => "approval",
            Self::Scale => "scale",
            Self::EphemeralContainers => "ephemeralcontainers",
        }
    }

    /// Tells whether nothing but the status is written.
    pub fn is_status(self) -> bool {
        matches!(self, Self::Status | Self::Approval)
    }
}

/// An object as it is to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The whole object after, also when only a part was written.
    pub object: Value,
    /// What the client is to be warned of.
    pub warnings: Vec<String>,
    /// The revision at which the client says the object is; the write must fail if it is not.
    pub revision: Option<Revision>,
}

/// Makes the object that a POST asks for, as it is stored. `kind` may be a view. `suffix` ends the name of one that has only a `generateName`: five
/// characters from [`suffix`].
///
/// # Errors
/// [`WriteError`], in upstream's words.
pub fn create<'a>(
    rules: impl Into<Rules<'a>>,
    namespace: &str,
    body: &[u8],
    content_type: &str,
    validation: FieldValidation,
    suffix: &str,
) -> Result<Written, WriteError> {
    let rules = rules.into();
    let kind = rules.kind();
    let decoded = decoded(rules, Part::Spec, body, content_type, validation)?;
    let object = made(rules.stored(), namespace, view::store(kind, decoded.object), suffix)?;
    let warnings =
        decoded.warnings.into_iter().chain(kind.warning()).chain(validation::warnings(kind, &object)).collect();
    Ok(Written { object, warnings, revision: None })
}

/// Makes an object that a controller asks for: it has a name, and nothing unknown in it.
///
/// # Errors
/// [`WriteError`], in upstream's words.
pub fn create_value(kind: &'static Kind, namespace: &str, object: Value) -> Result<Written, WriteError> {
    let rules = Rules::from(kind);
    let raw = Raw::from(object);
    decode::check_kind(&rules.target(Part::Spec), &raw).map_err(WriteError::BadRequest)?;
    let (object, faults) = rules.typed(Part::Spec, raw).map_err(WriteError::BadRequest)?;
    let warnings = decode::judged(faults, FieldValidation::Strict).map_err(WriteError::BadRequest)?;
    let object = made(rules, namespace, object, "")?;
    Ok(Written { object, warnings, revision: None })
}

/// Reads a body.
fn decoded(
    rules: Rules<'_>,
    part: Part,
    body: &[u8],
    content_type: &str,
    validation: FieldValidation,
) -> Result<Decoded, BadBody> {
    decode::decode_by(&rules.target(part), body, content_type, validation, |raw| rules.typed(part, raw))
}

/// Notes in `new` who changed it; see [`managed::note`].
pub fn note<'a>(rules: impl Into<Rules<'a>>, live: Option<&Value>, new: &mut Value, by: &By<'_>) {
    let rules = rules.into().stored();
    managed::note(rules.kind(), rules.schema(), live, new, by);
}

fn made(rules: Rules<'_>, namespace: &str, mut object: Value, suffix: &str) -> Result<Value, WriteError> {
    let kind = rules.kind();
    meta::place(kind, namespace, &mut object)?;
    meta::begin(&mut object, suffix)?;
    rules.complete(&mut object);
    rules.begin_status(&mut object);
    let causes = rules.on_create(&object);
    WriteError::invalid(kind, &object, causes)?;
    Ok(object)
}

/// Makes what `current`, which is in its stored form, becomes by a PUT. `kind` may be a view.
///
/// # Errors
/// [`WriteError`], in upstream's words.
pub fn update<'a>(
    rules: impl Into<Rules<'a>>,
    current: &Value,
    body: &[u8],
    content_type: &str,
    part: Part,
    validation: FieldValidation,
) -> Result<Written, WriteError> {
    let rules = rules.into();
    let kind = rules.kind();
    let Decoded { object, warnings } = decoded(rules, part, body, content_type, validation)?;
    let given = object["metadata"]["resourceVersion"].as_str();
    let revision = meta::revision(kind, &object, given)?;
    if revision.is_none() && *kind == kinds::LEASE {
        return Err(meta::revision_required(kind, &object));
    }
    let object = changed(rules.stored(), current, stored(kind, object, part), part)?;
    let warnings = warnings.into_iter().chain(validation::warnings(kind, &object)).collect();
    Ok(Written { object, warnings, revision })
}

/// Turns what a client sent into the stored form.
fn stored(kind: &'static Kind, object: Value, part: Part) -> Value {
    if part == Part::Scale { object } else { view::store(kind, object) }
}

/// What is said of a strategic merge patch of an object of a kind that users define: its lists have no strategies.
const NOT_STRATEGIC: &str = "the body of the request was in an unknown format - accepted media types include: \
    application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// Makes what `current`, which is in its stored form, becomes by a PATCH. `kind` may be a view.
///
/// # Errors
/// [`WriteError`], in upstream's words.
pub fn patch<'a>(
    rules: impl Into<Rules<'a>>,
    current: &Value,
    patch: &[u8],
    form: PatchType,
    part: Part,
    validation: FieldValidation,
) -> Result<Written, WriteError> {
    let rules = rules.into();
    let kind = rules.kind();
    if kind.is_custom() && form == PatchType::Strategic {
        return Err(WriteError::UnsupportedMediaType(NOT_STRATEGIC.into()));
    }
    let target = rules.target(part);
    let patched = match part {
        Part::Scale => patch::apply(&rules.scale(current), patch, form, target.shape)?,
        _ if kind.is_view() => patch::apply(&view::show(kind, current.clone()), patch, form, target.shape)?,
        Part::Spec | Part::Status | Part::Approval | Part::EphemeralContainers => {
            patch::apply(current, patch, form, target.shape)?
        }
    };
    let refuse = |why: String| WriteError::bad_patch(&patched.shown, &why);
    let raw = Raw::from(patched.value);
    decode::check_kind(&target, &raw).map_err(refuse)?;
    let (object, faults) = rules.typed(part, raw).map_err(refuse)?;
    let faults = patched.faults.into_iter().chain(faults).collect();
    let warnings = decode::judged(faults, validation).map_err(refuse)?;
    let revision = meta::revision(kind, &object, patched.resource_version.as_deref())?;
    let object = changed(rules.stored(), current, stored(kind, object, part), part)?;
    let warnings = warnings.into_iter().chain(validation::warnings(kind, &object)).collect();
    Ok(Written { object, warnings, revision })
}

/// Makes what `current` becomes when `part` of it is to be as in `new`.
fn changed(rules: Rules<'_>, current: &Value, mut new: Value, part: Part) -> Result<Value, WriteError> {
    let kind = rules.kind();
    meta::place(kind, current["metadata"]["namespace"].as_str().unwrap_or_default(), &mut new)?;
    meta::same_object(&new, current)?;
    match part {
        Part::Spec => {
            meta::keep(&mut new, current);
            rules.carry_over(&mut new, current);
            rules.complete(&mut new);
            if kind.has(Subresource::Status) {
                set(&mut new, "status", current.get("status").cloned());
            }
            let causes = rules.on_update(&new, current);
            WriteError::invalid(kind, &new, causes)?;
            Ok(new)
        }
        Part::Status | Part::Approval => {
            let mut after = current.clone();
            if part == Part::Status {
                set(&mut after, "status", new.get("status").cloned());
            } else {
                after["status"]["conditions"] = new["status"]["conditions"].clone();
            }
            rules.complete(&mut after);
            let causes = rules.on_status(&after, current);
            WriteError::invalid(kind, &after, causes)?;
            Ok(after)
        }
        Part::Scale => {
            let after = rules.scaled(current, &new)?;
            let causes = rules.on_update(&after, current);
            WriteError::invalid(kind, &after, causes)?;
            Ok(after)
        }
        Part::EphemeralContainers => {
            let mut after = current.clone();
            let containers = new["spec"].get("ephemeralContainers").cloned();
            if let Some(spec) = after.get_mut("spec") {
                set(spec, "ephemeralContainers", containers);
            }
            rules.complete(&mut after);
            let causes = rules.on_ephemeral_containers(&after, current);
            WriteError::invalid(kind, &after, causes)?;
            Ok(after)
        }
    }
}

/// Sets a member of an object, or takes it away.
fn set(object: &mut Value, name: &str, value: Option<Value>) {
    let Some(members) = object.as_object_mut() else { return };
    match value {
        Some(value) => members.insert(name.to_owned(), value),
        None => members.remove(name),
    };
}
