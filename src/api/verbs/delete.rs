//! delete and deletecollection.

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::Value;

use crate::api::filter::Filter;
use crate::api::params::Params;
use crate::api::present::{self, ListMeta};
use crate::api::status::{self, Details, Status};
use crate::api::{Api, body};
use crate::ids::{Revision, Uid};
use crate::object::kinds::NAMESPACE;
use crate::object::{Key, Kind};
use crate::store::{Change, Committed, DeleteOptions, Entry, Precondition, Propagation, Rejected};
use crate::trust::User;

use super::admitted::deleted;
use super::write::{ATTEMPTS, SHOWN_WITHIN, warn};

/// How many deletions of a collection are under way at once, so that they share a write to disk.
const AT_ONCE: usize = 32;

/// Namespaces that stay: the cluster itself lives in them (upstream: the NamespaceLifecycle admission plugin).
const IMMORTAL: &[&str] = &["default", "kube-public", "kube-system"];

/// What the client asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    grace_seconds: Option<i64>,
    propagation: Option<Propagation>,
    /// The old way to say it: its only trace is a 202 where there would be a 200.
    orphan_dependents: Option<bool>,
    uid: Option<String>,
    revision: Option<String>,
    pub(super) dry_run: bool,
}

impl Options {
    /// Reads `DeleteOptions` from the body, or where that is silent from the query.
    ///
    /// # Errors
    /// 400, 415 or 422 for what cannot be read.
    pub fn parse(headers: &HeaderMap, params: &Params, bytes: &[u8]) -> Result<Self, Status> {
        let given = if bytes.is_empty() { Value::Null } else { body::options("DeleteOptions", headers, bytes)? };
        Self::of(&given, params)
    }

    /// As [`Options::parse`], of options that are read already.
    pub(super) fn of(given: &Value, params: &Params) -> Result<Self, Status> {
        if let Some(kind) = given["kind"].as_str().filter(|k| *k != "DeleteOptions") {
            let message = format!("invalid object: expected DeleteOptions, got {kind:?}");
            return Err(Status::bad_request(message));
        }
        let text = |field: &str| match &given[field] {
            Value::String(text) => Some(text.clone()),
            _ => params.text(field).map(str::to_owned),
        };
        let orphan_dependents = given["orphanDependents"].as_bool().or_else(|| params.tristate("orphanDependents"));
        let policy = text("propagationPolicy");
        if orphan_dependents.is_some() && policy.is_some() {
            let message = "Invalid value: orphanDependents and deletionPropagation cannot be both set";
            return Err(Status::invalid_options("DeleteOptions", "propagationPolicy", message));
        }
        let orphan = orphan_dependents.map(|o| if o { Propagation::Orphan } else { Propagation::Background });
        let when = &given["preconditions"];
        Ok(Self {
            grace_seconds: given["gracePeriodSeconds"].as_i64().or(params.number("gracePeriodSeconds")?),
            propagation: policy.as_deref().map(propagation).transpose()?.or(orphan),
            orphan_dependents,
            uid: when["uid"].as_str().map(str::to_owned),
            revision: when["resourceVersion"].as_str().map(str::to_owned),
            dry_run: body::dry_run("DeleteOptions", params, given["dryRun"].as_array().map_or(&[], Vec::as_slice))?,
        })
    }

    /// Checks the client's preconditions against what is there, and turns all into the store's words.
    pub(super) fn against(&self, entry: &Entry) -> Result<DeleteOptions, Status> {
        let mut when = Precondition::default();
        if let Some(uid) = &self.uid {
            if uid.parse::<Uid>() != Ok(entry.uid) {
                let why = format!(
                    "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have \
                     been deleted and then recreated",
                    entry.uid
                );
                return Err(Status::conflict(&entry.key, &why));
            }
            when.uid = Some(entry.uid);
        }
        if let Some(revision) = &self.revision {
            if *revision != entry.revision.to_string() {
                return Err(self.moved(&entry.key, entry.revision));
            }
            when.revision = Some(entry.revision);
        }
        // A negative grace period means one second, as upstream has it.
        let grace_seconds = self.grace_seconds.map(|s| if s < 0 { 1 } else { s });
        Ok(DeleteOptions { when, grace_seconds, propagation: self.propagation })
    }

    fn moved(&self, key: &Key, found: Revision) -> Status {
        let given = self.revision.as_deref().unwrap_or_default();
        let why = format!(
            "the ResourceVersion in the precondition ({given}) does not match the ResourceVersion in record ({found}). \
             The object might have been modified"
        );
        Status::conflict(key, &why)
    }
}

fn propagation(text: &str) -> Result<Propagation, Status> {
    match text {
        "Orphan" => Ok(Propagation::Orphan),
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        other => {
            let supported = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
            let message = format!("Unsupported value: {other:?}: {supported}");
            Err(Status::invalid_options("DeleteOptions", "propagationPolicy", message))
        }
    }
}

/// Deletes one object.
///
/// # Errors
/// 403 for a namespace that must stay, 404 if it is not there, 409 if it is not as the client assumed.
pub async fn delete(
    api: &Api,
    key: &Key,
    headers: &HeaderMap,
    params: &Params,
    bytes: &[u8],
    who: &User,
) -> Result<Response<Body>, Status> {
    let lens = api.lens(key.kind, headers, params)?;
    let options = Options::parse(headers, params, bytes)?;
    let (committed, warnings) = commit(api, &key.stored(), &options, who).await?;
    if committed.removed && !key.kind.is_shown_when_deleted {
        let details = Details { uid: committed.entry.uid.to_string(), ..Details::of(key) };
        return Ok(warn(present::document(lens.form(), StatusCode::OK, status::success(&details)), &warnings));
    }
    let waits = !committed.removed && options.orphan_dependents == Some(false);
    let code = if waits { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok(warn(lens.object(code, &committed.entry), &warnings))
}

/// Deletes all objects of a kind that match; answers with their list.
///
/// # Errors
/// The first that cannot be deleted ends it; those before it are deleted.
pub async fn collection(
    api: &Api,
    kind: &'static Kind,
    namespace: Option<&str>,
    headers: &HeaderMap,
    params: &Params,
    bytes: &[u8],
    who: &User,
) -> Result<Response<Body>, Status> {
    let lens = api.lens(kind, headers, params)?;
    let options = Options::parse(headers, params, bytes)?;
    let filter = Filter::with(kind, lens.selectable(), params)?;
    let snapshot = api.handle.snapshot();
    let entries: Vec<_> = snapshot.list(kind.stored(), namespace).filter(|e| filter.matches(e)).cloned().collect();
    let keys: Vec<Key> = entries.iter().map(|e| Key { kind: kind.stored(), ..e.key.clone() }).collect();
    let deletions: Vec<_> = keys.iter().map(|key| commit_if_there(api, key, &options, who)).collect();
    let deleted: Vec<_> = futures_util::stream::iter(deletions).buffered(AT_ONCE).try_collect().await?;
    let meta = ListMeta { revision: api.handle.snapshot().revision(), ..ListMeta::default() };
    Ok(lens.list(&meta, deleted.iter().flatten().map(|c| &*c.entry)))
}

/// What is gone meanwhile is deleted enough.
async fn commit_if_there(api: &Api, key: &Key, options: &Options, who: &User) -> Result<Option<Committed>, Status> {
    match commit(api, key, options, who).await {
        Err(status) if status.code == 404 => Ok(None),
        other => other.map(|(committed, _)| Some(committed)),
    }
}

/// Deletes what is shown, and looks again if something came between.
pub(super) async fn commit(
    api: &Api,
    key: &Key,
    options: &Options,
    who: &User,
) -> Result<(Committed, Vec<String>), Status> {
    if key.kind == &NAMESPACE && IMMORTAL.contains(&key.name.as_str()) {
        return Err(Status::forbidden(key, "this namespace may not be deleted"));
    }
    let mut snapshots = api.handle.snapshots();
    for _ in 0..ATTEMPTS {
        let snapshot = snapshots.borrow_and_update().clone();
        let entry = snapshot.get(key).ok_or_else(|| Status::not_found(key))?;
        let change = Change::Delete { key: key.clone(), options: options.against(entry)? };
        let warnings = deleted(api, key, who, options.dry_run, &entry.value()).await?;
        match api.handle.commit(change, options.dry_run).await {
            // Another change, perhaps another deletion, is accepted and not shown yet.
            Err(Rejected::Stale { .. }) => drop(tokio::time::timeout(SHOWN_WITHIN, snapshots.changed()).await),
            other => return other.map(|committed| (committed, warnings)).map_err(Status::from),
        }
    }
    Err(Status::modified(key))
}
