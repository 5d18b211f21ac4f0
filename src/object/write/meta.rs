//! The metadata that is the cluster's to give and not a client's to take.

use serde_json::{Map, Value};

use super::error::{WriteError, invalid_value};
use crate::ids::Revision;
use crate::object::Kind;
use crate::object::validation::{Cause, CauseReason};

/// What the store gives an object; a client's values of these do not count.
pub(super) const SYSTEM: [&str; 7] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// How long a [`suffix`] is.
pub const SUFFIX_LENGTH: usize = 5;

/// Makes the end of a generated name from the caller's randomness, of letters and digits that spell no words
/// (`k8s.io/apimachinery/pkg/util/rand`).
pub fn suffix(mut random: u64) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let base = LETTERS.len() as u64;
    let mut letter = || {
        let at = random % base;
        random /= base;
        char::from(LETTERS[usize::try_from(at).expect("smaller than the alphabet")])
    };
    (0..SUFFIX_LENGTH).map(|_| letter()).collect()
}

fn metadata(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let meta = object.as_object_mut()?.entry("metadata").or_insert_with(|| Map::new().into());
    meta.as_object_mut()
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object["metadata"][name].as_str().unwrap_or_default()
}

/// Puts an object where the request is for.
pub(super) fn place(kind: &Kind, namespace: &str, object: &mut Value) -> Result<(), WriteError> {
    let given = text(object, "namespace").to_owned();
    let Some(meta) = metadata(object) else { return Ok(()) };
    if !kind.namespaced {
        meta.remove("namespace");
    } else if given.is_empty() {
        meta.insert("namespace".into(), namespace.into());
    } else if given != namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(WriteError::BadRequest(why.into()));
    }
    Ok(())
}

/// Prepares the metadata of a new object, and its name if it has only a `generateName`.
pub(super) fn begin(object: &mut Value, suffix: &str) -> Result<(), WriteError> {
    /// So that the whole fits a label: upstream's bound.
    const MAX_BASE: usize = 63 - SUFFIX_LENGTH;
    if !matches!(text(object, "resourceVersion"), "" | "0") {
        return Err(WriteError::BadRequest("resourceVersion should not be set on objects to be created".into()));
    }
    let (name, base) = (text(object, "name").to_owned(), text(object, "generateName").to_owned());
    let Some(meta) = metadata(object) else { return Ok(()) };
    for field in SYSTEM {
        meta.remove(field);
    }
    meta.remove("managedFields");
    if name.is_empty() && !base.is_empty() && !suffix.is_empty() {
        let base: String = base.chars().take(MAX_BASE).collect();
        meta.insert("name".into(), format!("{base}{suffix}").into());
    }
    Ok(())
}

/// Keeps what the cluster has given `current`.
pub(super) fn keep(new: &mut Value, current: &Value) {
    let Some(meta) = metadata(new) else { return };
    for field in SYSTEM {
        match current["metadata"].get(field) {
            Some(value) => meta.insert(field.into(), value.clone()),
            None => meta.remove(field),
        };
    }
    // Left out means as it was; a list of nothing means away with it.
    match (meta.get("managedFields").and_then(Value::as_array), current["metadata"].get("managedFields")) {
        (None, Some(before)) => {
            meta.insert("managedFields".into(), before.clone());
        }
        (Some(fields), _) if fields.iter().all(|f| f.as_object().is_none_or(Map::is_empty)) => {
            meta.remove("managedFields");
        }
        _ => {}
    }
}

/// Checks that a client means the object that is there.
pub(super) fn same_object(new: &Value, current: &Value) -> Result<(), WriteError> {
    let (name, expected) = (text(new, "name"), text(current, "name"));
    if name.is_empty() {
        return Err(WriteError::BadRequest(format!(
            "the name of the object ({expected} based on URL) was undeterminable: name must be provided"
        )));
    }
    if name != expected {
        return Err(WriteError::BadRequest(format!(
            "the name of the object ({name}) does not match the name on the URL ({expected})"
        )));
    }
    let (uid, found) = (text(new, "uid"), text(current, "uid"));
    if !uid.is_empty() && uid != found {
        return Err(WriteError::Conflict(format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {found}"
        )));
    }
    Ok(())
}

/// Reads the resourceVersion that a client says the object is at; none and 0 say nothing.
pub(super) fn revision(kind: &Kind, object: &Value, given: Option<&str>) -> Result<Option<Revision>, WriteError> {
    let given = given.unwrap_or_default();
    match given.parse() {
        _ if given.is_empty() => Ok(None),
        Ok(0) => Ok(None),
        Ok(revision) => Ok(Some(Revision(revision))),
        Err(_) => {
            let why = format!("strconv.ParseUint: parsing {given:?}: invalid syntax");
            let cause = invalid_value("metadata.resourceVersion", given, &why);
            Err(invalid_metadata(kind, object, cause))
        }
    }
}

/// Refuses a PUT without resourceVersion, for kinds that must not be overwritten unseen.
pub(super) fn revision_required(kind: &Kind, object: &Value) -> WriteError {
    let message = "Invalid value: 0: must be specified for an update".into();
    let cause = Cause { reason: CauseReason::FieldValueInvalid, field: "metadata.resourceVersion".into(), message };
    invalid_metadata(kind, object, cause)
}

fn invalid_metadata(kind: &Kind, object: &Value, cause: Cause) -> WriteError {
    let name = text(object, "name").to_owned();
    WriteError::Invalid { group: kind.group, kind: kind.kind, name, causes: vec![cause] }
}
