//! Server-side apply: what is said is merged into what is there, and who said it is noted (`object::managed`).

use serde_json::{Value, json};

use super::{Part, Rules, WriteError, Written, changed, made, meta, set};
use crate::object::decode::{self, FieldValidation};
use crate::object::managed::{self, Applied, ApplyError, By};
use crate::object::raw::Raw;
use crate::object::{Key, Kind, validation, view};

/// The media type of what is applied; JSON is YAML too.
pub const APPLY: &str = "application/apply-patch+yaml";

/// How an object is applied.
#[derive(Clone, Copy, Debug)]
pub struct How<'a> {
    /// Which part of it.
    pub part: Part,
    /// What becomes of fields that come twice.
    pub validation: FieldValidation,
    /// Who applies it.
    pub by: By<'a>,
    /// Whether to take over the fields that others own.
    pub force: bool,
}

/// Makes what is at `key` after `body` is applied to it; `current` is `None` if nothing is there.
///
/// # Errors
/// [`WriteError`], in upstream's words.
pub fn apply<'a>(
    rules: impl Into<Rules<'a>>,
    key: &Key,
    current: Option<&Value>,
    body: &[u8],
    how: How<'_>,
) -> Result<Written, WriteError> {
    let rules = rules.into();
    let (config, mut warnings) = read(rules, key, body, how)?;
    let mut config = if how.part == Part::Scale { config } else { view::store(key.kind, config) };
    if current.is_none() {
        warnings.extend(key.kind.warning());
    }
    let (key, rules) = (&key.stored(), rules.stored());
    let given = config["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    let revision = meta::revision(key.kind, &config, given.as_deref())?;
    let name = json!({"apiVersion": key.kind.api_version(), "kind": key.kind.kind,
        "metadata": {"name": key.name, "namespace": key.namespace}});
    let live = current.unwrap_or(&name);
    if config["metadata"]["name"].as_str().unwrap_or_default().is_empty() {
        config["metadata"]["name"] = key.name.clone().into();
    }
    if let (None, Some(uid)) = (current, config["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty())) {
        let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
        return Err(WriteError::Conflict(why));
    }
    meta::place(key.kind, &key.namespace, &mut config)?;
    meta::same_object(&config, live)?;
    if current.is_none() && revision.is_some() {
        return Err(WriteError::BadRequest("resourceVersion should not be set on objects to be created".into()));
    }
    let said = config.clone();
    let config = of_part(rules, config, how.part);

    let applied = managed::apply(key.kind, rules.schema(), live, current.is_none(), &config, &how.by, how.force);
    let Applied { mut object, managed } = applied.map_err(|e| refused(key, e))?;
    if how.by.manager == managed::KUBECTL && how.part == Part::Spec {
        renew_last_applied(&mut object, said);
    }
    let mut object = match current {
        // A Scale was turned into the object's own words.
        Some(current) => {
            let part = if how.part == Part::Scale { Part::Spec } else { how.part };
            changed(rules, current, object, part)?
        }
        None => made(rules, &key.namespace, object, "")?,
    };
    warnings.extend(validation::warnings(key.kind, &object));
    if let Some(metadata) = object.get_mut("metadata") {
        set(metadata, "managedFields", managed);
    }
    Ok(Written { object, warnings, revision })
}

/// Where an object says what `kubectl apply` without `--server-side` said last, it says from now on what this apply
/// says: who goes back to that is not to find fields to remove that are long another's.
fn renew_last_applied(object: &mut Value, mut said: Value) {
    /// As long as annotations may be.
    const MAX: usize = 256 * 1024;
    let Some(annotations) = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut) else { return };
    if annotations.contains_key(managed::LAST_APPLIED) {
        if let Some(own) = said["metadata"].get_mut("annotations").and_then(Value::as_object_mut) {
            own.remove(managed::LAST_APPLIED);
        }
        let text = format!("{said}\n");
        if text.len() > MAX {
            annotations.remove(managed::LAST_APPLIED);
        } else {
            annotations.insert(managed::LAST_APPLIED.into(), text.into());
        }
    }
}

fn read(rules: Rules<'_>, key: &Key, body: &[u8], how: How<'_>) -> Result<(Value, Vec<String>), WriteError> {
    let malformed = |why: String| WriteError::BadRequest(format!("error decoding YAML: {why}"));
    let raw = if body.first() == Some(&b'{') { Raw::json(body).or_else(|_| Raw::yaml(body)) } else { Raw::yaml(body) };
    let raw = raw.map_err(malformed)?;
    let target = rules.target(how.part);
    for name in ["kind", "apiVersion"] {
        if raw.member(name).and_then(Raw::as_str).unwrap_or_default().is_empty() {
            return Err(WriteError::BadRequest(format!("Object '{name}' is missing in the applied configuration")));
        }
    }
    decode::check_kind(&target, &raw).map_err(WriteError::BadRequest)?;
    let refuse = |why: String| {
        WriteError::BadRequest(format!("failed to create typed patch object ({}): {why}", managed::named(key)))
    };
    let duplicates = raw.duplicates();
    let (mut object, faults) = rules.typed(how.part, raw).map_err(refuse)?;
    let unknown = |fault: &String| fault.strip_prefix("unknown field \"").map(|f| f.trim_end_matches('"').to_owned());
    if let Some(field) = faults.iter().find_map(unknown) {
        return Err(refuse(format!(".{field}: field not declared in schema")));
    }
    let warnings = decode::judged(duplicates, how.validation).map_err(WriteError::BadRequest)?;
    if object["metadata"].get("managedFields").is_some() {
        return Err(WriteError::BadRequest("metadata.managedFields must be nil".into()));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    Ok((object, warnings))
}

/// Leaves of what is applied the part that the request can write, and nothing that is the cluster's to give.
fn of_part(rules: Rules<'_>, mut config: Value, part: Part) -> Value {
    let kind = rules.kind();
    if part == Part::Scale {
        config = rules.of_scale(&config);
    }
    if let Some(metadata) = config.get_mut("metadata").and_then(Value::as_object_mut) {
        meta::SYSTEM.iter().for_each(|name| drop(metadata.remove(*name)));
    }
    match part {
        Part::Spec if kind.has(crate::object::kinds::Subresource::Status) => set(&mut config, "status", None),
        Part::Status | Part::Approval => {
            let status = config.get("status").cloned();
            config = bare(kind, &config);
            set(&mut config, "status", status);
        }
        Part::EphemeralContainers => {
            let containers = config["spec"]["ephemeralContainers"].take();
            config = bare(kind, &config);
            config["spec"] = json!({"ephemeralContainers": containers});
        }
        Part::Spec | Part::Scale => {}
    }
    config
}

/// Returns which object is meant, and nothing else of it.
fn bare(kind: &Kind, config: &Value) -> Value {
    let name = |field: &str| config["metadata"][field].clone();
    let mut metadata = json!({"name": name("name"), "namespace": name("namespace")});
    if !kind.namespaced {
        set(&mut metadata, "namespace", None);
    }
    json!({"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": metadata})
}

fn refused(key: &Key, error: ApplyError) -> WriteError {
    match error {
        ApplyError::Malformed(why) => {
            WriteError::BadRequest(format!("failed to create typed patch object ({}): {why}", managed::named(key)))
        }
        ApplyError::Conflicts(ref conflicts) => {
            WriteError::FieldConflicts { message: error.to_string(), conflicts: conflicts.clone() }
        }
    }
}
