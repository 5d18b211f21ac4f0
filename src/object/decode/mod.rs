//! Reads what clients send, as strictly as they ask, and says what is wrong in upstream's words.
//!
//! What comes out has the schema's types everywhere: unknown fields, nulls and empty optional lists and maps are
//! gone, times, quantities and bytes are in their canonical form. So an object means the same however it was
//! written, and typed readers can rely on its shape.

mod scalar;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::protobuf::{self, Envelope};
use super::raw::{self, Raw, media_type};
use super::schema::{self, Field, Shape, Struct};
use super::{Kind, kinds};

/// What becomes of fields that are unknown or come twice (`fieldValidation`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// The request is refused.
    #[default]
    Strict,
    /// They are dropped, and the client is warned.
    Warn,
    /// They are dropped.
    Ignore,
}

/// What is said of a body in another format than these.
pub const UNKNOWN_FORMAT: &str = "the body of the request was in an unknown format - accepted media types include: \
    application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// A body that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// The object; its apiVersion and kind are those that were asked for.
    pub object: Value,
    /// What the client is to be warned of: `unknown field "spec.x"`.
    pub warnings: Vec<String>,
}

/// A body that was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// Its contents are wrong.
    #[error("{0}")]
    Content(String),
    /// It is in a format that is not read.
    #[error("{0}")]
    MediaType(String),
}

/// What a body is expected to be.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// API group; empty for core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Its fields.
    pub shape: &'static Struct,
}

impl Target {
    /// The target that is an object of `kind`.
    pub fn of(kind: &Kind) -> Self {
        Self { group: kind.group, version: kind.version, kind: kind.kind, shape: schema::of(kind) }
    }

    /// Returns `group/version`, or the version alone for core.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    fn refuse_as(&self, kind: &str, version: &str, why: &str) -> String {
        format!("{kind} in version {version:?} cannot be handled as a {}: {why}", self.kind)
    }
}

/// Reads an object. A body without apiVersion or kind is taken for what is expected.
///
/// # Errors
/// [`BadBody::MediaType`] for anything but JSON, YAML and protobuf, [`BadBody::Content`] with upstream's message for the rest.
pub fn decode(
    target: &Target,
    body: &[u8],
    content_type: &str,
    validation: FieldValidation,
) -> Result<Decoded, BadBody> {
    decode_by(target, body, content_type, validation, |raw| typed(target, raw))
}

/// As [`decode`], but `typed` says what the fields are: of a kind that users define, its definition.
///
/// # Errors
/// As [`decode`].
pub fn decode_by(
    target: &Target,
    body: &[u8],
    content_type: &str,
    validation: FieldValidation,
    typed: impl Fn(Raw) -> Result<(Value, Vec<String>), String>,
) -> Result<Decoded, BadBody> {
    let raw = read(target, body, content_type)?;
    check_kind(target, &raw).map_err(BadBody::Content)?;
    let refuse = |why: String| BadBody::Content(target.refuse_as(target.kind, target.version, &why));
    let (object, faults) = typed(raw).map_err(refuse)?;
    let warnings = judged(faults, validation).map_err(refuse)?;
    Ok(Decoded { object, warnings })
}

/// Decides about `faults` (unknown and duplicate fields): which to warn of.
///
/// # Errors
/// All of them in one text if validation is strict.
pub fn judged(faults: Vec<String>, validation: FieldValidation) -> Result<Vec<String>, String> {
    match validation {
        FieldValidation::Strict if !faults.is_empty() => Err(format!("strict decoding error: {}", faults.join(", "))),
        FieldValidation::Strict | FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(faults),
    }
}

/// Reads a body of any structure.
///
/// # Errors
/// As [`decode`].
fn read(target: &Target, body: &[u8], content_type: &str) -> Result<Raw, BadBody> {
    let unrecognized = |why: String| {
        let summary = summary(body);
        BadBody::Content(format!(
            "the object provided is unrecognized (must be of type {}): {why} ({summary})",
            target.kind
        ))
    };
    let raw = match &*media_type(content_type) {
        "" | "application/json" => {
            Raw::json(body).map_err(|e| unrecognized(format!("couldn't get version/kind; json parse error: {e}")))?
        }
        "application/yaml" | "application/x-yaml" | "text/yaml" => {
            Raw::yaml(body).map_err(|e| unrecognized(format!("error converting YAML to JSON: yaml: {e}")))?
        }
        protobuf::MEDIA_TYPE if &*target.shape.name != kinds::CUSTOM => message(target, body).map_err(unrecognized)?,
        _ => return Err(BadBody::MediaType(UNKNOWN_FORMAT.into())),
    };
    match raw {
        Raw::Object(_) => Ok(raw),
        other => Err(unrecognized(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct",
            scalar::go_value(&other)
        ))),
    }
}

/// Reads a body of protobuf. One of another kind is not read further than that.
fn message(target: &Target, body: &[u8]) -> Result<Raw, String> {
    let envelope = Envelope::open(body)?;
    if !envelope.kind.is_empty() && envelope.kind != target.kind {
        return Ok(envelope.type_meta());
    }
    envelope.read(&target.shape.name)
}

/// The start of a body, as upstream shows it in messages: as text if it looks like JSON, else in hexadecimal.
fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let start = &body[..body.len().min(SHOWN)];
    let text = match body.first() {
        None => return "<empty>".into(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => hex::encode(start),
    };
    if body.len() > SHOWN { format!("{text} ...") } else { text }
}

/// Gives `raw` the types of `target`, whose apiVersion and kind it takes on; also returns the faults (unknown and
/// duplicate fields) that were found on the way.
///
/// # Errors
/// Go's message, if a value has a wrong type.
pub fn typed(target: &Target, raw: Raw) -> Result<(Value, Vec<String>), String> {
    let mut walk = Walk::default();
    let mut object = walk.structure(raw, target.shape)?;
    object.insert("apiVersion".into(), target.api_version().into());
    object.insert("kind".into(), target.kind.into());
    Ok((Value::Object(object), walk.faults))
}

/// Checks that `raw` is of the kind that is expected, or does not say.
///
/// # Errors
/// Upstream's message.
pub fn check_kind(target: &Target, raw: &Raw) -> Result<(), String> {
    let text = |name| raw.member(name).and_then(Raw::as_str).filter(|text| !text.is_empty());
    let expected = target.api_version();
    let api_version = text("apiVersion").unwrap_or(&expected);
    let kind = text("kind").unwrap_or(target.kind);
    if kind != target.kind {
        let version = api_version.rsplit('/').next().unwrap_or(api_version);
        let why = match kinds::by_api_version(api_version, kind) {
            Some(_) => format!(
                "converting ({version}.{kind}) to ({}.{}): unknown conversion",
                internal_package(target.group),
                target.kind
            ),
            None => format!("no kind {kind:?} is registered for version {api_version:?} in scheme"),
        };
        return Err(target.refuse_as(kind, version, &why));
    }
    if api_version != expected {
        return Err(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        ));
    }
    Ok(())
}

/// The Go package of a group's internal types.
fn internal_package(group: &str) -> &str {
    if group.is_empty() { "core" } else { group.split('.').next().unwrap_or(group) }
}

/// A walk through a document along its schema.
#[derive(Default)]
struct Walk {
    /// Where it is, as `spec.containers[0].image`.
    path: String,
    /// The same as Go's JSON decoder has it: fields only.
    fields: Vec<String>,
    /// The struct whose field it is in.
    context: &'static str,
    faults: Vec<String>,
}

impl Walk {
    fn structure(&mut self, raw: Raw, shape: &'static Struct) -> Result<Map<String, Value>, String> {
        let members = match raw {
            Raw::Object(members) => members,
            Raw::Null => Vec::new(),
            other => return Err(self.mismatch(&scalar::go_value(&other), shape.go_name())),
        };
        let base = self.path.len();
        let mut seen = BTreeSet::new();
        let mut out = Map::new();
        for (name, value) in members {
            raw::push_name(&mut self.path, &name);
            match shape.field(&name) {
                None => raw::report(&mut self.faults, "unknown field", &self.path),
                Some(field) => {
                    if !seen.insert(name.clone()) {
                        raw::report(&mut self.faults, "duplicate field", &self.path);
                    }
                    let outer = std::mem::replace(&mut self.context, shape.short_name());
                    self.fields.push(name.clone());
                    match self.field(value, field, &name)? {
                        Some(value) => out.insert(name, value),
                        None => out.remove(&name),
                    };
                    self.fields.pop();
                    self.context = outer;
                }
            }
            self.path.truncate(base);
        }
        Ok(out)
    }

    /// Reads a field's value; `None` if it is as good as absent.
    fn field(&mut self, raw: Raw, field: &'static Field, name: &str) -> Result<Option<Value>, String> {
        if raw == Raw::Null {
            return Ok(None);
        }
        let value = self.value(raw, &field.shape)?;
        // Upstream leaves out optional fields that are empty. An empty managedFields is a client's wish.
        let empty = match &value {
            Value::Array(items) => items.is_empty(),
            Value::Object(members) => members.is_empty() && matches!(field.shape, Shape::Map(_)),
            _ => false,
        };
        Ok((!empty || field.required || name == "managedFields").then_some(value))
    }

    fn value(&mut self, raw: Raw, shape: &'static Shape) -> Result<Value, String> {
        match shape {
            Shape::Struct(id) => self.structure(raw, id.get()).map(Value::Object),
            Shape::Opaque => Ok(raw.into_value()),
            Shape::List(inner) => self.list(raw, shape, inner),
            Shape::Map(inner) => self.map(raw, shape, inner),
            _ => scalar::read(raw, shape).map_err(|bad| match bad {
                scalar::Bad::Type(found) => self.mismatch(&found, &shape.go_type()),
                scalar::Bad::Value(why) => why,
            }),
        }
    }

    fn list(&mut self, raw: Raw, shape: &Shape, inner: &'static Shape) -> Result<Value, String> {
        let items = match raw {
            Raw::List(items) => items,
            other => return Err(self.mismatch(&scalar::go_value(&other), &shape.go_type())),
        };
        let base = self.path.len();
        let mut out = Vec::with_capacity(items.len());
        for (i, item) in items.into_iter().enumerate() {
            raw::push_index(&mut self.path, i);
            out.push(self.element(item, inner)?);
            self.path.truncate(base);
        }
        Ok(Value::Array(out))
    }

    fn map(&mut self, raw: Raw, shape: &Shape, inner: &'static Shape) -> Result<Value, String> {
        let members = match raw {
            Raw::Object(members) => members,
            other => return Err(self.mismatch(&scalar::go_value(&other), &shape.go_type())),
        };
        let base = self.path.len();
        let mut out = Map::new();
        for (name, value) in members {
            raw::push_name(&mut self.path, &name);
            let value = self.element(value, inner)?;
            if out.insert(name, value).is_some() {
                raw::report(&mut self.faults, "duplicate field", &self.path);
            }
            self.path.truncate(base);
        }
        Ok(Value::Object(out))
    }

    /// Reads an element of a list or map: a null there is the type's zero value, as in Go.
    fn element(&mut self, raw: Raw, shape: &'static Shape) -> Result<Value, String> {
        if raw == Raw::Null { Ok(scalar::zero(shape)) } else { self.value(raw, shape) }
    }

    /// Words a wrong type as Go's JSON decoder does.
    fn mismatch(&self, found: &str, expected: &str) -> String {
        if self.fields.is_empty() {
            return format!("json: cannot unmarshal {found} into Go value of type {expected}");
        }
        let fields = self.fields.join(".");
        format!("json: cannot unmarshal {found} into Go struct field {}.{fields} of type {expected}", self.context)
    }
}
