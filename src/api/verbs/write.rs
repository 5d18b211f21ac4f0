//! create, update and patch: read what is there, compute what shall be, commit it if nothing came between.

use std::fmt::Write as _;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use jiff::Timestamp;
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde_json::Value;

use super::admitted::{Request, shown_options};
use crate::api::dispatch::Call;
use crate::api::params::Params;
use crate::api::present::{self, Lens};
use crate::api::status::{Cause, Details, Status};
use crate::api::{Api, body, now};
use crate::object::patch::PatchType;
use crate::object::write::{self, By, FieldValidation, Part, Rules, WriteError, Written};
use crate::object::{Key, Kind, json, validation};
use crate::store::{Change, Committed, Precondition, Rejected};

/// How often a write is computed anew because the object was changed meanwhile.
pub(super) const ATTEMPTS: usize = 20;

/// How long a stale write waits for the change that made it so to be shown.
pub(super) const SHOWN_WITHIN: Duration = Duration::from_secs(1);

/// How long a new object waits for the cluster's feature level.
const LEVEL_WITHIN: Duration = Duration::from_secs(3);

/// How often a generated name is drawn anew because it is taken.
const NAMES: usize = 8;

/// The most bytes of a field manager's name.
const MAX_MANAGER: usize = 128;

/// The options that all writes share.
pub(in crate::api) struct Options {
    pub(super) dry_run: bool,
    pub(super) validation: FieldValidation,
    /// Who writes, for the object's managed fields.
    manager: String,
}

impl Options {
    pub(super) fn parse(kind: &'static str, headers: &HeaderMap, params: &Params) -> Result<Self, Status> {
        let validation = match params.text("fieldValidation") {
            None | Some("Warn") => FieldValidation::Warn,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some(other) => {
                let supported = "supported values: \"Ignore\", \"Strict\", \"Warn\"";
                let message = format!("Unsupported value: {other:?}: {supported}");
                return Err(Status::invalid_options(kind, "fieldValidation", message));
            }
        };
        let manager = match params.text("fieldManager") {
            Some(name) if name.len() > MAX_MANAGER => {
                let message = format!("Invalid value: {name:?}: may not be more than {MAX_MANAGER} bytes");
                return Err(Status::invalid_options(kind, "fieldManager", message));
            }
            Some(name) if name.chars().any(char::is_control) => {
                let message = format!("Invalid value: {name:?}: should only contain printable characters");
                return Err(Status::invalid_options(kind, "fieldManager", message));
            }
            Some(name) => name.to_owned(),
            None => user_agent(headers),
        };
        Ok(Self { dry_run: body::dry_run(kind, params, &[])?, validation, manager })
    }

    pub(super) fn by(&self, part: Part) -> By<'_> {
        let now = Timestamp::from_microsecond(now().0).unwrap_or_default();
        By { manager: &self.manager, subresource: part.subresource(), now }
    }
}

/// Returns the start of a client's name for itself, who is the manager if it names none.
fn user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    agent.split('/').next().unwrap_or_default().chars().take(MAX_MANAGER).collect()
}

/// Makes an object.
///
/// # Errors
/// What is wrong with the body, or why the store refuses.
pub async fn create(api: &Api, kind: &'static Kind, namespace: &str, call: Call) -> Result<Response<Body>, Status> {
    let (headers, params) = (&call.head.headers, &call.params);
    let lens = api.lens(kind, headers, params)?;
    open(&lens)?;
    let options = Options::parse("CreateOptions", headers, params)?;
    let bytes = body::read(headers, call.body).await?;
    let media = body::media_type(headers);
    let shown_options = shown_options("CreateOptions", options.dry_run, params.text("fieldManager"));
    let request = Request { api, lens: &lens, who: &call.who, options: &options, shown_options: &shown_options };
    for attempt in 1.. {
        let suffix = write::suffix(SysRng.try_next_u64().map_err(Status::internal)?);
        let mut written = request.created(namespace, &bytes, &media, &suffix).await?;
        let name = written.object["metadata"]["name"].as_str().unwrap_or_default();
        let generated = attempt < NAMES && name.ends_with(&suffix);
        let key = Key::new(kind.stored(), namespace, name);
        api.may_grant(&call.who, &key, None, &written.object)?;
        write::to_store(kind, &mut written.object);
        let change = Change::Create { key, object: written.object };
        match commit_new(api, &call.user, change, options.dry_run).await {
            Err(Rejected::AlreadyExists { .. }) if generated => {}
            answer => return Ok(warn(lens.object(StatusCode::CREATED, &answer?.entry), &written.warnings)),
        }
    }
    unreachable!("the last attempt returns")
}

/// Makes an object once all members can read it: a cluster that has just begun does not know its feature level for a moment.
pub(super) async fn commit_new(api: &Api, user: &str, change: Change, dry_run: bool) -> Result<Committed, Rejected> {
    let begun = tokio::time::Instant::now();
    loop {
        match api.handle.commit_for(user, change.clone(), dry_run).await {
            Err(Rejected::NotYet { .. }) if begun.elapsed() < LEVEL_WITHIN => {
                tokio::time::sleep(LEVEL_WITHIN / 30).await;
            }
            answer => return answer,
        }
    }
}

/// Replaces (PUT) or patches (PATCH) an object or a part of it.
///
/// # Errors
/// 404 if it is not there, 409 if it is not as the client assumed, 415 for a form that is not read, and what is wrong
/// with the body.
pub async fn change(api: &Api, key: &Key, part: Part, call: Call) -> Result<Response<Body>, Status> {
    let (headers, params) = (&call.head.headers, &call.params);
    let media = body::media_type(headers);
    if call.head.method == Method::PATCH && media == write::APPLY {
        return super::apply::apply(api, key, part, call).await;
    }
    let form = if call.head.method == Method::PATCH { Some(patch_type(&media)?) } else { None };
    let lens = api.lens(key.kind, headers, params)?;
    let options = Options::parse(if form.is_some() { "PatchOptions" } else { "UpdateOptions" }, headers, params)?;
    if form.is_some() && params.tristate("force").is_some() {
        let message = "Forbidden: may not be specified for non-apply patch";
        return Err(Status::invalid_options("PatchOptions", "force", message));
    }
    let bytes = body::read(headers, call.body).await?;
    let compute = |rules: Rules<'_>, current: &Value| match form {
        Some(form) => write::patch(rules, current, &bytes, form, part, options.validation),
        None => write::update(rules, current, &bytes, &media, part, options.validation),
    };
    let kind = if form.is_some() { "PatchOptions" } else { "UpdateOptions" };
    let shown_options = shown_options(kind, options.dry_run, params.text("fieldManager"));
    let request = Request { api, lens: &lens, who: &call.who, options: &options, shown_options: &shown_options };
    let (committed, warnings) = modify(&request, key, part, compute).await?;
    Ok(warn(shown(&lens, part, StatusCode::OK, &committed), &warnings))
}

/// Answers a write of a part with what that part is.
pub(super) fn shown(lens: &Lens, part: Part, code: StatusCode, committed: &Committed) -> Response<Body> {
    match part {
        Part::Spec | Part::Status | Part::Approval | Part::EphemeralContainers => lens.object(code, &committed.entry),
        Part::Scale => {
            present::document(lens.form(), code, json::write(&lens.rules().scale(&lens.value(&committed.entry))))
        }
    }
}

/// Refuses to make objects of a kind whose definition is being deleted.
pub(super) fn open(lens: &Lens) -> Result<(), Status> {
    if lens.is_closed() { Err(Status::terminating_definition("create")) } else { Ok(()) }
}

fn patch_type(media: &str) -> Result<PatchType, Status> {
    PatchType::of(media).ok_or_else(|| {
        Status::unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
             application/apply-patch+yaml",
        )
    })
}

/// Changes an object by computing it anew from what is shown, until nothing comes between. A client that names a
/// revision is told when it is not the object's; one that does not never notices.
async fn modify(
    request: &Request<'_>,
    key: &Key,
    part: Part,
    compute: impl Fn(Rules<'_>, &Value) -> Result<Written, WriteError>,
) -> Result<(Committed, Vec<String>), Status> {
    let Request { api, lens, who, options, .. } = request;
    let mut snapshots = api.handle.snapshots();
    for _ in 0..ATTEMPTS {
        let snapshot = snapshots.borrow_and_update().clone();
        let entry = snapshot.get(&key.stored()).ok_or_else(|| Status::not_found(key))?;
        let before = lens.value(entry);
        let written = request.changed(key, part, &before, &compute).await?;
        api.may_grant(who, key, Some(&before), &written.object)?;
        if written.revision.is_some_and(|r| r != entry.revision) {
            break;
        }
        let (key, mut object, when) = (key.stored(), written.object, Precondition::unchanged(entry));
        let change = match part {
            Part::Spec | Part::Scale | Part::EphemeralContainers => {
                write::to_store(key.kind, &mut object);
                Change::Update { key, object, when }
            }
            Part::Status | Part::Approval => Change::Status { key, status: object["status"].take(), when },
        };
        match api.handle.commit_for(&who.name, change, options.dry_run).await {
            Ok(committed) => return Ok((committed, written.warnings)),
            // What came between may be accepted but not durable yet, hence not shown: wait for it, if only for a
            // while. Then the object is looked at again.
            Err(Rejected::Stale { .. }) => drop(tokio::time::timeout(SHOWN_WITHIN, snapshots.changed()).await),
            Err(other) => return Err(other.into()),
        }
    }
    Err(Status::modified(key))
}

pub(super) fn refused(error: WriteError, key: &Key) -> Status {
    match error {
        WriteError::BadRequest(message) => Status::bad_request(message),
        WriteError::UnsupportedMediaType(message) => Status::unsupported_media_type(message),
        WriteError::Invalid { group, kind, name, causes } => {
            let cause =
                |c: validation::Cause| Cause { reason: c.reason.as_str().into(), message: c.message, field: c.field };
            let causes = causes.into_iter().map(cause).collect();
            Status::invalid(Details { name, group, kind, causes, ..Details::default() })
        }
        WriteError::Unprocessable(why) => Status::unprocessable(why),
        WriteError::Conflict(why) => Status::conflict(key, &why),
        WriteError::FieldConflicts { message, conflicts } => {
            let cause = |c: write::FieldConflict| Cause {
                reason: "FieldManagerConflict".into(),
                message: format!("conflict with {}", c.manager),
                field: c.field,
            };
            Status::field_conflicts(message, conflicts.into_iter().map(cause).collect())
        }
        WriteError::TooLarge(message) => Status::patch_too_large(message),
    }
}

/// Adds `Warning` headers. Anything but a well-formed quoted string makes clients drop them silently.
pub(in crate::api) fn warn(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        let mut text = String::from("299 - \"");
        for c in warning.chars() {
            match c {
                '"' | '\\' => drop(write!(text, "\\{c}")),
                c if c.is_control() => text.push(' '),
                c => text.push(c),
            }
        }
        text.push('"');
        if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted() {
        let response = warn(Response::new(Body::empty()), &["unknown field \"spec.x\"".into(), "a\nb\\".into()]);
        let all: Vec<_> = response.headers().get_all(header::WARNING).iter().map(|v| v.to_str().unwrap()).collect();
        assert_eq!(all, [r#"299 - "unknown field \"spec.x\"""#, r#"299 - "a b\\""#]);
    }
}
