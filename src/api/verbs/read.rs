//! get, list and watch, all from a snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};

use crate::api::filter::Filter;
use crate::api::lists::Token;
use crate::api::negotiate::{WHOLE, negotiate};
use crate::api::params::Params;
use crate::api::present::{self, Lens, ListMeta};
use crate::api::status::Status;
use crate::api::watch::{self, Options, Scope};
use crate::api::{Api, revision};
use crate::ids::Revision;
use crate::object::{Key, Kind, json};
use crate::store::{Entry, Snapshot};

/// How long a read waits for a revision that is not shown yet.
const FRESH_WITHIN: Duration = Duration::from_secs(3);

/// Answers with one object.
///
/// # Errors
/// 404 if it is not there.
pub async fn get(api: &Api, key: &Key, headers: &HeaderMap, params: &Params) -> Result<Response<Body>, Status> {
    let lens = api.lens(key.kind, headers, params)?;
    let snapshot = fresh(api, revision(params)?).await?;
    let entry = snapshot.get(&key.stored()).ok_or_else(|| Status::not_found(key))?;
    Ok(lens.object(StatusCode::OK, entry))
}

/// Answers with an object's replica count, as a Scale.
///
/// # Errors
/// 404 if the object is not there.
pub fn scale(api: &Api, key: &Key, headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let form = negotiate(headers, WHOLE)?.form;
    let lens = api.lens(key.kind, &HeaderMap::new(), &Params::default())?;
    let snapshot = api.handle.snapshot();
    let entry = snapshot.get(key).ok_or_else(|| Status::not_found(key))?;
    Ok(present::document(form, StatusCode::OK, json::write(&lens.rules().scale(&lens.value(entry)))))
}

/// Answers with a list, or with a watch if that is asked for.
///
/// # Errors
/// 400 and 422 for parameters that make no sense, 410 if the asked revision is forgotten.
pub async fn collection(
    api: &Api,
    kind: &'static Kind,
    namespace: Option<String>,
    headers: &HeaderMap,
    params: &Params,
) -> Result<Response<Body>, Status> {
    let lens = api.lens(kind, headers, params)?;
    let scope = Scope { kind: kind.stored(), namespace, filter: Filter::with(kind, lens.selectable(), params)? };
    if params.flag("watch") {
        let options = Options::parse(params)?;
        if options.needs_fresh() {
            fresh(api, revision(params)?).await?;
        }
        return Ok(watch::watch(&api.hub, scope, options, lens, api.shutdown.clone()));
    }
    list(api, &scope, lens, params).await
}

async fn list(api: &Api, scope: &Scope, lens: Lens, params: &Params) -> Result<Response<Body>, Status> {
    let limit = params.number("limit")?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let token = params.text("continue").map(Token::parse).transpose()?;
    let snapshot = match &token {
        Some(token) => continued(api, token, params)?,
        None => asked(api, params).await?,
    };
    let last = token.map(|t| t.last(scope.kind));
    let chunk = chunk(&snapshot, scope, last.as_ref(), limit);
    if chunk.meta.token.is_some() {
        api.lists.keep(&snapshot, Instant::now());
    }
    Ok(lens.list(&chunk.meta, chunk.entries.iter().map(|e| &**e)))
}

/// Some items of a list, and where it goes on.
struct Chunk {
    entries: Vec<Arc<Entry>>,
    meta: ListMeta,
}

fn chunk(snapshot: &Snapshot, scope: &Scope, last: Option<&Key>, limit: Option<usize>) -> Chunk {
    let all = snapshot.list(scope.kind, scope.namespace.as_deref());
    let mut rest = all.skip_while(|e| last.is_some_and(|last| e.key <= *last)).filter(|e| scope.filter.matches(e));
    let entries: Vec<_> = rest.by_ref().take(limit.unwrap_or(usize::MAX)).cloned().collect();
    // With a selector upstream does not count; and to look for one more is enough.
    let remaining = if scope.filter.is_everything() { rest.count() } else { usize::from(rest.next().is_some()) };
    let mut meta = ListMeta { revision: snapshot.revision(), ..ListMeta::default() };
    if remaining > 0 {
        meta.token = entries.last().map(|e| Token::new(snapshot.revision(), &e.key).text());
        meta.remaining = scope.filter.is_everything().then_some(remaining);
    }
    Chunk { entries, meta }
}

/// The snapshot of the list that is to go on.
fn continued(api: &Api, token: &Token, params: &Params) -> Result<Snapshot, Status> {
    if revision(params)?.is_some_and(|r| r.0 > 0) {
        return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
    }
    let current = api.handle.snapshot();
    if current.revision() == token.revision() {
        return Ok(current);
    }
    let gone = "The provided continue parameter is too old to display a consistent list result. You must start a new \
                list without the continue parameter.";
    api.lists.find(token.revision(), Instant::now()).ok_or_else(|| Status::expired(gone))
}

/// The snapshot that `resourceVersion` and `resourceVersionMatch` ask for.
async fn asked(api: &Api, params: &Params) -> Result<Snapshot, Status> {
    let invalid = |message: &str| Err(Status::invalid_options("ListOptions", "resourceVersionMatch", message));
    let asked = revision(params)?;
    match (params.text("resourceVersionMatch"), asked) {
        (Some(_), None) => invalid("Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"),
        (Some("Exact"), Some(Revision(0))) => {
            invalid("Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        (Some("Exact"), Some(revision)) => exact(api, revision),
        (None | Some("NotOlderThan"), asked) => fresh(api, asked).await,
        (Some(other), _) => {
            let supported = "supported values: \"Exact\", \"NotOlderThan\", \"\"";
            invalid(&format!("Unsupported value: {other:?}: {supported}"))
        }
    }
}

fn exact(api: &Api, revision: Revision) -> Result<Snapshot, Status> {
    let current = api.handle.snapshot();
    if current.revision() == revision {
        return Ok(current);
    }
    let gone = || Status::expired("The resourceVersion for the provided list is too old.");
    api.lists.find(revision, Instant::now()).ok_or_else(gone)
}

/// A snapshot that is at least as new as `asked`, waiting a little for it. Another node's number says nothing of what
/// this one has: whoever brings one reads anew.
async fn fresh(api: &Api, asked: Option<Revision>) -> Result<Snapshot, Status> {
    let asked = asked.unwrap_or_default();
    let mut snapshots = api.handle.snapshots();
    if asked.0 > 0 && asked.tag() != snapshots.borrow().revision().tag() {
        return Err(Status::expired(format!("resource version {asked} is another node's")));
    }
    let shown = tokio::time::timeout(FRESH_WITHIN, snapshots.wait_for(|s| s.revision() >= asked)).await;
    match shown {
        Ok(Ok(snapshot)) => return Ok(snapshot.clone()),
        Ok(Err(_)) => return Err(Status::unavailable("the agent is shutting down")),
        Err(_) => {}
    }
    Err(Status::too_large_revision(asked.0, api.handle.snapshot().revision().0))
}
