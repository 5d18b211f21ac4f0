//! The one write path: current object -> what the client says -> defaults -> validation -> canonical object.
//!
//! Whoever writes an object comes through here, so that what is stored always has its defaults, is valid, and says
//! the same thing in the same way: writing again what is there changes nothing (rule 19).

mod apply;
mod error;
mod meta;
mod scale;

use serde_json::Value;

use super::decode::{self, Decoded, Target};
use super::kinds::Subresource;
use super::patch::{self, PatchType};
use super::raw::Raw;
use super::{Kind, defaults, kinds, validation, view};
use crate::ids::Revision;

pub use super::decode::FieldValidation;
pub use super::managed::{By, FieldConflict, note};
pub use apply::{APPLY, How, apply};
pub use error::WriteError;
pub use meta::{SUFFIX_LENGTH, suffix};
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

    fn target(self, kind: &Kind) -> Target {
        match self {
            Self::Spec | Self::Status | Self::Approval | Self::EphemeralContainers => Target::of(kind),
            Self::Scale => scale::target(),
        }
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
pub fn create(
    kind: &'static Kind,
    namespace: &str,
    body: &[u8],
    content_type: &str,
    validation: FieldValidation,
    suffix: &str,
) -> Result<Written, WriteError> {
    let decoded = decode::decode(&Target::of(kind), body, content_type, validation)?;
    let object = made(kind.stored(), namespace, view::store(kind, decoded.object), suffix)?;
    let warnings = decoded.warnings.into_iter().chain(kind.warning()).collect();
    Ok(Written { object, warnings, revision: None })
}

/// Makes an object that a controller asks for: it has a name, and nothing unknown in it.
///
/// # Errors
/// [`WriteError`], in upstream's words.
pub fn create_value(kind: &'static Kind, namespace: &str, object: Value) -> Result<Written, WriteError> {
    let target = Target::of(kind);
    let raw = Raw::from(object);
    decode::check_kind(&target, &raw).map_err(WriteError::BadRequest)?;
    let (object, faults) = decode::typed(&target, raw).map_err(WriteError::BadRequest)?;
    let warnings = decode::judged(faults, FieldValidation::Strict).map_err(WriteError::BadRequest)?;
    let object = made(kind, namespace, object, "")?;
    Ok(Written { object, warnings, revision: None })
}

fn made(kind: &'static Kind, namespace: &str, mut object: Value, suffix: &str) -> Result<Value, WriteError> {
    meta::place(kind, namespace, &mut object)?;
    meta::begin(&mut object, suffix)?;
    defaults::apply(kind, &mut object);
    // A Node's status comes with it; everyone else begins with the status that Kubernetes gives.
    if kind.has(Subresource::Status) && *kind != kinds::NODE {
        let status = defaults::initial_status(kind, &object);
        set(&mut object, "status", status);
    }
    let causes = validation::on_create(kind, &object);
    WriteError::invalid(kind, &object, causes)?;
    Ok(object)
}

/// Makes what `current`, which is in its stored form, becomes by a PUT. `kind` may be a view.
///
/// # Errors
/// [`WriteError`], in upstream's words.
pub fn update(
    kind: &'static Kind,
    current: &Value,
    body: &[u8],
    content_type: &str,
    part: Part,
    validation: FieldValidation,
) -> Result<Written, WriteError> {
    let Decoded { object, warnings } = decode::decode(&part.target(kind), body, content_type, validation)?;
    let given = object["metadata"]["resourceVersion"].as_str();
    let revision = meta::revision(kind, &object, given)?;
    if revision.is_none() && *kind == kinds::LEASE {
        return Err(meta::revision_required(kind, &object));
    }
    let object = changed(kind.stored(), current, stored(kind, object, part), part)?;
    Ok(Written { object, warnings, revision })
}

/// Turns what a client sent into the stored form.
fn stored(kind: &'static Kind, object: Value, part: Part) -> Value {
    if part == Part::Scale { object } else { view::store(kind, object) }
}

/// Makes what `current`, which is in its stored form, becomes by a PATCH. `kind` may be a view.
///
/// # Errors
/// [`WriteError`], in upstream's words.
pub fn patch(
    kind: &'static Kind,
    current: &Value,
    patch: &[u8],
    form: PatchType,
    part: Part,
    validation: FieldValidation,
) -> Result<Written, WriteError> {
    let target = part.target(kind);
    let patched = match part {
        Part::Scale => patch::apply(&scale(current), patch, form, target.shape)?,
        _ if kind.is_view() => patch::apply(&view::show(kind, current.clone()), patch, form, target.shape)?,
        Part::Spec | Part::Status | Part::Approval | Part::EphemeralContainers => {
            patch::apply(current, patch, form, target.shape)?
        }
    };
    let refuse = |why: String| WriteError::bad_patch(&patched.shown, &why);
    let raw = Raw::from(patched.value);
    decode::check_kind(&target, &raw).map_err(refuse)?;
    let (object, faults) = decode::typed(&target, raw).map_err(refuse)?;
    let faults = patched.faults.into_iter().chain(faults).collect();
    let warnings = decode::judged(faults, validation).map_err(refuse)?;
    let revision = meta::revision(kind, &object, patched.resource_version.as_deref())?;
    let object = changed(kind.stored(), current, stored(kind, object, part), part)?;
    Ok(Written { object, warnings, revision })
}

/// Makes what `current` becomes when `part` of it is to be as in `new`.
fn changed(kind: &'static Kind, current: &Value, mut new: Value, part: Part) -> Result<Value, WriteError> {
    meta::place(kind, current["metadata"]["namespace"].as_str().unwrap_or_default(), &mut new)?;
    meta::same_object(&new, current)?;
    match part {
        Part::Spec => {
            meta::keep(&mut new, current);
            defaults::carry_over(kind, &mut new, current);
            defaults::apply(kind, &mut new);
            if kind.has(Subresource::Status) {
                set(&mut new, "status", current.get("status").cloned());
            }
            let causes = validation::on_update(kind, &new, current);
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
            defaults::apply(kind, &mut after);
            let causes = validation::on_status(kind, &after, current);
            WriteError::invalid(kind, &after, causes)?;
            Ok(after)
        }
        Part::Scale => {
            let after = scale::apply(current, &new)?;
            let causes = validation::on_update(kind, &after, current);
            WriteError::invalid(kind, &after, causes)?;
            Ok(after)
        }
        Part::EphemeralContainers => {
            let mut after = current.clone();
            let containers = new["spec"].get("ephemeralContainers").cloned();
            if let Some(spec) = after.get_mut("spec") {
                set(spec, "ephemeralContainers", containers);
            }
            defaults::apply(kind, &mut after);
            let causes = validation::on_ephemeral_containers(&after, current);
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
