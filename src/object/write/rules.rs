//! By which rules an object is written: those of a kind of the table, or those that a definition makes.

use serde_json::{Value, json};

use super::error::WriteError;
use super::{Part, scale, set};
use crate::object::custom::{self, Schema, Version};
use crate::object::decode::{self, Target};
use crate::object::kinds::{self, Subresource};
use crate::object::raw::Raw;
use crate::object::validation::{self, Cause};
use crate::object::{Kind, defaults};

/// By which rules an object is written: those of a kind of the table, or those of a version of a kind that users define.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    kind: &'static Kind,
    version: Option<&'a Version>,
    /// Whether it is left to somebody else to judge what is made.
    lenient: bool,
}

impl From<&'static Kind> for Rules<'_> {
    fn from(kind: &'static Kind) -> Self {
        Self { kind, version: None, lenient: false }
    }
}

impl<'a> From<&'a Version> for Rules<'a> {
    fn from(version: &'a Version) -> Self {
        Self { kind: version.kind, version: Some(version), lenient: false }
    }
}

impl<'a> Rules<'a> {
    /// Returns rules that do not judge what is made: it will be written once more.
    #[must_use]
    pub fn lenient(self) -> Self {
        Self { lenient: true, ..self }
    }

    /// Returns the kind.
    pub fn kind(self) -> &'static Kind {
        self.kind
    }

    /// Returns the rules of what is stored, if that is in another form.
    pub(super) fn stored(self) -> Self {
        Self { kind: self.kind.stored(), ..self }
    }

    /// Returns a definition's schema.
    pub(super) fn schema(self) -> Option<&'a Schema> {
        self.version.map(|version| &version.schema)
    }

    pub(super) fn target(self, part: Part) -> Target {
        match part {
            Part::Spec | Part::Status | Part::Approval | Part::EphemeralContainers => Target::of(self.kind()),
            Part::Scale => scale::target(),
        }
    }

    /// Gives what a client sent the types of `part`; also returns the faults.
    pub(super) fn typed(self, part: Part, raw: Raw) -> Result<(Value, Vec<String>), String> {
        match self.version {
            Some(version) if part != Part::Scale => typed(version, raw),
            _ => decode::typed(&self.target(part), raw),
        }
    }

    /// Returns the Scale of an object.
    pub fn scale(self, object: &Value) -> Value {
        self.version.map_or_else(|| scale::scale(object), |version| version.scale(object))
    }

    /// Returns `current` with the replica count of a Scale.
    pub(super) fn scaled(self, current: &Value, new: &Value) -> Result<Value, WriteError> {
        let Some(version) = self.version else { return scale::apply(current, new) };
        let replicas = scale::replicas(current, new)?;
        let mut after = current.clone();
        let path = version.scale.as_ref().map_or("", |scale| &scale.wanted);
        if path.is_empty() || !custom::put(&mut after, path, replicas.into()) {
            return Err(WriteError::BadRequest("the object has no replicas".into()));
        }
        Ok(after)
    }

    /// Returns what a Scale that is applied says of the object.
    pub(super) fn of_scale(self, given: &Value) -> Value {
        let Some(version) = self.version else { return scale::as_object(self.kind(), given) };
        let kind = version.kind;
        let name = |field: &str| given["metadata"][field].clone();
        let mut object = json!({"apiVersion": kind.api_version(), "kind": kind.kind,
            "metadata": {"name": name("name"), "namespace": name("namespace")}});
        let path = version.scale.as_ref().map_or("", |scale| &scale.wanted);
        custom::put(&mut object, path, given["spec"]["replicas"].as_i64().unwrap_or_default().into());
        object
    }

    pub(super) fn complete(self, object: &mut Value) {
        match self.version {
            None => defaults::apply(self.kind, object),
            Some(version) => version.complete(object),
        }
    }

    pub(super) fn carry_over(self, new: &mut Value, current: &Value) {
        if self.version.is_none() {
            defaults::carry_over(self.kind, new, current);
        }
    }

    /// The status that a new object begins with, if it is not the client's to say.
    pub(super) fn begin_status(self, object: &mut Value) {
        let kind = self.kind();
        // A Node's status comes with it; everyone else begins with the status that Kubernetes gives.
        if kind.has(Subresource::Status) && *kind != kinds::NODE {
            let status = if kind.is_custom() { None } else { defaults::initial_status(kind, object) };
            set(object, "status", status);
        }
    }

    pub(super) fn on_create(self, object: &Value) -> Vec<Cause> {
        if self.lenient {
            return Vec::new();
        }
        let mut causes = validation::on_create(self.kind(), object);
        causes.extend(validation::on_birth(self.kind(), object));
        if let Some(version) = self.version {
            causes.extend(custom::validate(object, &version.schema));
            causes.extend(replicas(version, object));
        }
        causes
    }

    pub(super) fn on_update(self, new: &Value, old: &Value) -> Vec<Cause> {
        if self.lenient {
            return Vec::new();
        }
        let mut causes = validation::on_update(self.kind(), new, old);
        if let Some(version) = self.version {
            causes.extend(newly_wrong(version, new, old));
            causes.extend(replicas(version, new));
        }
        causes
    }

    pub(super) fn on_ephemeral_containers(self, new: &Value, old: &Value) -> Vec<Cause> {
        if self.lenient { Vec::new() } else { validation::on_ephemeral_containers(new, old) }
    }

    pub(super) fn on_status(self, new: &Value, old: &Value) -> Vec<Cause> {
        if self.lenient {
            return Vec::new();
        }
        let mut causes = validation::on_status(self.kind(), new, old);
        if let Some(version) = self.version {
            causes.extend(newly_wrong(version, new, old));
        }
        causes
    }
}

/// What was wrong before the schema came to say so may stay, as long as it is not touched.
fn newly_wrong(version: &Version, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = custom::validate(new, &version.schema);
    if !causes.is_empty() {
        let before = custom::validate(old, &version.schema);
        causes.retain(|cause| !before.contains(cause));
    }
    causes
}

/// A negative replica count is refused wherever it is.
fn replicas(version: &Version, object: &Value) -> Option<Cause> {
    let path = &version.scale.as_ref()?.wanted;
    let count = custom::at(object, path).as_i64().filter(|count| *count < 0)?;
    let message = format!("Invalid value: {count}: should be a non-negative integer");
    let reason = validation::CauseReason::FieldValueInvalid;
    Some(Cause { reason, field: path.trim_start_matches('.').to_owned(), message })
}

/// Reads an object of a kind that users define: its metadata as any object's, the rest as the schema says.
fn typed(version: &Version, raw: Raw) -> Result<(Value, Vec<String>), String> {
    let is_known = |name: &String| ["apiVersion", "kind", "metadata"].contains(&name.as_str());
    let members = match raw {
        Raw::Object(members) => members,
        other => return decode::typed(&Target::of(version.kind), other),
    };
    let (known, rest): (Vec<_>, Vec<_>) = members.into_iter().partition(|(name, _)| is_known(name));
    let (mut object, mut faults) = decode::typed(&Target::of(version.kind), Raw::Object(known))?;
    let rest = Raw::Object(rest);
    faults.extend(rest.duplicates());
    if let (Some(members), Value::Object(rest)) = (object.as_object_mut(), rest.into_value()) {
        members.extend(rest);
    }
    faults.extend(custom::prune(&mut object, &version.schema));
    custom::whole_numbers(&mut object, &version.schema);
    Ok((object, faults))
}

/// Leaves of a written object what is to be stored: of a kind that users define, a status that is written apart is not part
/// of it, and one that is not there any more is taken away.
pub fn to_store(kind: &Kind, object: &mut Value) {
    if !kind.is_custom() {
        return;
    }
    if kind.has(Subresource::Status) {
        set(object, "status", None);
    } else if object.get("status").is_none() {
        set(object, "status", Some(Value::Null));
    }
}
