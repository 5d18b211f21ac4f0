//! The three ways to change an object by saying only what is different.
//!
//! A patch is read with the same care as a body (bounded depth, duplicate fields reported) and gives raw JSON; that
//! it still is an object of its kind is for [`super::decode::typed`] to say.

mod json;
mod merge;
mod order;
mod strategic;
#[cfg(test)]
mod tests;

use serde_json::Value;

use super::raw::{Raw, media_type};
use super::schema::Struct;

/// The form of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902: a list of operations.
    Json,
    /// RFC 7386: members are set, null removes, lists are replaced.
    Merge,
    /// Kubernetes' own: as a merge patch, but lists are merged as the schema says.
    Strategic,
}

impl PatchType {
    /// Finds the form that a `Content-Type` names.
    pub fn of(content_type: &str) -> Option<Self> {
        match &*media_type(content_type) {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            _ => None,
        }
    }
}

/// A patched object.
#[derive(Clone, Debug, PartialEq)]
pub struct Patched {
    /// The object after, not yet checked against its schema.
    pub value: Value,
    /// Faults of the patch itself, for strict validation: `duplicate field "spec.replicas"`.
    pub faults: Vec<String>,
    /// The resourceVersion that the patch itself sets, if it does: the client wants the object to be at it.
    pub resource_version: Option<String>,
    /// The patch (JSON patch and merge patch: the object after) as upstream shows it in messages.
    pub shown: String,
}

/// Why a patch cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPatch {
    /// It is no patch of its form.
    #[error("{0}")]
    Malformed(String),
    /// It does not fit the object: a test fails, a path is not there.
    #[error("{0}")]
    Unfit(String),
    /// It has too many operations, or would make the object too large.
    #[error("{0}")]
    TooLarge(String),
}

/// Applies `patch` to `current`, an object of the shape `shape`.
///
/// # Errors
/// [`BadPatch`], in upstream's words.
pub fn apply(current: &Value, patch: &[u8], form: PatchType, shape: &'static Struct) -> Result<Patched, BadPatch> {
    match form {
        PatchType::Json => json::apply(current, patch),
        PatchType::Merge => {
            let raw = object(patch).map_err(|why| BadPatch::Malformed(format!("error decoding patch: {why}")))?;
            let (faults, patch) = (raw.duplicates(), raw.into_value());
            let resource_version = set_version(&patch);
            let value = merge::merge(current.clone(), patch);
            Ok(Patched { shown: value.to_string(), value, faults, resource_version })
        }
        PatchType::Strategic => {
            let raw = object(patch).map_err(BadPatch::Malformed)?;
            let (faults, patch) = (raw.duplicates(), raw.into_value());
            let (resource_version, shown) = (set_version(&patch), go_value(&patch));
            let value = strategic::apply(current.clone(), patch, shape)?;
            Ok(Patched { value, faults, resource_version, shown })
        }
    }
}

fn object(patch: &[u8]) -> Result<Raw, String> {
    match Raw::json(patch)? {
        raw @ Raw::Object(_) => Ok(raw),
        _ => Err("json: cannot unmarshal into Go value of type map[string]interface {}".into()),
    }
}

fn set_version(patch: &Value) -> Option<String> {
    patch["metadata"]["resourceVersion"].as_str().map(str::to_owned)
}

/// Writes a value as Go's `%+v` does, which is how upstream shows a strategic merge patch: `map[spec:map[replicas:3]]`.
fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".into(),
        Value::String(s) => s.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(go_value).collect::<Vec<_>>().join(" ")),
        Value::Object(members) => {
            let members: Vec<_> = members.iter().map(|(name, v)| format!("{name}:{}", go_value(v))).collect();
            format!("map[{}]", members.join(" "))
        }
        other => other.to_string(),
    }
}
