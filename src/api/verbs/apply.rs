//! Server-side apply: changes what is there, or makes what is not.

use axum::body::Body;
use axum::http::{Response, StatusCode};

use super::admitted::{Request, shown_options};
use super::write::{ATTEMPTS, Options, SHOWN_WITHIN, commit_new, open, shown, warn};
use crate::api::authorize::Asked;
use crate::api::dispatch::Call;
use crate::api::status::Status;
use crate::api::{Api, body};
use crate::object::Key;
use crate::object::write::{self, How, Part, Written};
use crate::store::{Change, Committed, Entry, Precondition, Rejected};

/// Applies an object or a part of it.
///
/// # Errors
/// 409 with a cause for each field that another manager owns, 404 for a part of what is not there, 422 if nobody says
/// who applies, and what is wrong with the body.
pub async fn apply(api: &Api, key: &Key, part: Part, call: Call) -> Result<Response<Body>, Status> {
    let (headers, params) = (&call.head.headers, &call.params);
    let lens = api.lens(key.kind, headers, params)?;
    let options = Options::parse("PatchOptions", headers, params)?;
    if params.text("fieldManager").is_none() {
        let message = "Required value: is required for apply patch";
        return Err(Status::missing_option("PatchOptions", "fieldManager", message));
    }
    let how = How { part, validation: options.validation, by: options.by(part), force: params.flag("force") };
    let bytes = body::read(headers, call.body).await?;
    let shown_options = shown_options("PatchOptions", options.dry_run, params.text("fieldManager"));
    let request = Request { api, lens: &lens, who: &call.who, options: &options, shown_options: &shown_options };
    let mut snapshots = api.handle.snapshots();
    for _ in 0..ATTEMPTS {
        let snapshot = snapshots.borrow_and_update().clone();
        let entry = snapshot.get(&key.stored());
        if entry.is_none() && part != Part::Spec {
            return Err(Status::not_found(key));
        }
        let current = entry.map(|entry| lens.value(entry));
        if current.is_none() {
            open(&lens)?;
            // What is patched into being is created.
            api.authorize(&call.who, &Asked::of_key("create", key))?;
        }
        let written = request.applied(key, current.as_ref(), &bytes, how).await?;
        api.may_grant(&call.who, key, current.as_ref(), &written.object)?;
        if let (Some(entry), Some(revision)) = (entry, written.revision)
            && revision != entry.revision
        {
            break;
        }
        let code = if entry.is_some() { StatusCode::OK } else { StatusCode::CREATED };
        let warnings = written.warnings.clone();
        match commit(api, &call.user, key, part, entry.map(|e| &**e), written, options.dry_run).await {
            Ok(committed) => return Ok(warn(shown(&lens, part, code, &committed), &warnings)),
            // Somebody else changed, or made, or deleted it: what is shown then is looked at.
            Err(Rejected::Stale { .. } | Rejected::AlreadyExists { .. }) => {
                drop(tokio::time::timeout(SHOWN_WITHIN, snapshots.changed()).await);
            }
            Err(other) => return Err(other.into()),
        }
    }
    Err(Status::modified(key))
}

async fn commit(
    api: &Api,
    user: &str,
    key: &Key,
    part: Part,
    entry: Option<&Entry>,
    written: Written,
    dry_run: bool,
) -> Result<Committed, Rejected> {
    let (key, mut object) = (key.stored(), written.object);
    let status = object["status"].clone();
    write::to_store(key.kind, &mut object);
    let Some(entry) = entry else {
        return commit_new(api, user, Change::Create { key, object }, dry_run).await;
    };
    let when = Precondition::unchanged(entry);
    if !part.is_status() {
        return api.handle.commit_for(user, Change::Update { key, object, when }, dry_run).await;
    }
    // A status is a register of its own: who owns what of it is noted in the metadata by a second change.
    let change = Change::Status { key: key.clone(), status, when };
    let committed = api.handle.commit_for(user, change, dry_run).await?;
    let mut after = committed.entry.value();
    write::to_store(key.kind, &mut after);
    if dry_run || after["metadata"].get("managedFields") == object["metadata"].get("managedFields") {
        return Ok(committed);
    }
    after["metadata"]["managedFields"] = object["metadata"]["managedFields"].take();
    let when = Precondition::same(&committed.entry);
    api.handle.commit_for(user, Change::Update { key, object: after, when }, false).await
}
