//! Kinds that users define: which of them are served is read off the newest snapshot, so they are there as soon as their
//! definition is, on each node.

mod discovery;
mod openapi;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::body::Body;
use axum::http::{HeaderMap, Response};
use serde_json::Value;

use crate::handle::Handle;
use crate::ids::{Revision, Uid};
use crate::object::custom::{Catalog, Definition};
use crate::object::kinds::{CUSTOM_RESOURCE_DEFINITION, Kind};

use super::params::Params;
use super::present::Lens;
use super::routes::Route;
use super::status::Status;
use super::verbs::write::warn;
use super::{Api, now};

pub use discovery::{add_to_aggregated, add_to_groups, add_to_root, group, resources};
pub use openapi::Documents;
pub use table::{columns, row};

/// What is served, as it was read last.
#[derive(Debug, Default)]
pub struct Customs(ArcSwapOption<Read>);

/// The catalog of a moment.
#[derive(Debug, Default)]
pub struct Read {
    /// The last change of a definition that it knows of.
    revision: Revision,
    /// What is served.
    pub catalog: Catalog,
    /// Every definition, served or not: what has not changed is not read again.
    definitions: BTreeMap<Uid, (Revision, Arc<Definition>)>,
}

impl Customs {
    /// Returns what is served now.
    pub fn now(&self, handle: &Handle) -> Arc<Read> {
        let snapshot = handle.snapshot();
        let revision = snapshot.last_change(&CUSTOM_RESOURCE_DEFINITION);
        let before = self.0.load_full();
        if let Some(read) = before.as_ref().filter(|read| read.revision == revision) {
            return Arc::clone(read);
        }
        let mut definitions = BTreeMap::new();
        for entry in snapshot.list(&CUSTOM_RESOURCE_DEFINITION, None) {
            let known = before.as_ref().and_then(|read| read.definitions.get(&entry.uid));
            let read = match known.filter(|(at, _)| *at == entry.revision) {
                Some((_, definition)) => Some(Arc::clone(definition)),
                None => Definition::of(&entry.value()).map(Arc::new),
            };
            definitions.extend(read.map(|definition| (entry.uid, (entry.revision, definition))));
        }
        let catalog = Catalog::of(definitions.values().map(|(_, definition)| Arc::clone(definition)));
        let read = Arc::new(Read { revision, catalog, definitions });
        self.0.store(Some(Arc::clone(&read)));
        read
    }
}

impl Api {
    /// Returns what is served of users' kinds.
    pub(super) fn customs(&self) -> Arc<Read> {
        self.customs.now(&self.handle)
    }

    /// Reads what the client wants to see of a kind.
    ///
    /// # Errors
    /// As [`Lens::of`]; 404 for a kind whose definition has just gone.
    pub(super) fn lens(&self, kind: &'static Kind, headers: &HeaderMap, params: &Params) -> Result<Lens, Status> {
        let lens = Lens::of(kind, headers, params, now())?;
        if !kind.is_custom() {
            return Ok(lens);
        }
        let version = self.customs().catalog.version(kind).cloned();
        Ok(lens.of_version(version.ok_or_else(Status::no_such_path)?))
    }

    /// Warns users of a version that is on its way out.
    pub(super) fn warn_of_version(&self, kind: Option<&Kind>, response: Response<Body>) -> Response<Body> {
        let Some(kind) = kind.filter(|kind| kind.is_custom()) else { return response };
        let version = self.customs().catalog.version(kind).cloned();
        let warning = version.and_then(|version| version.warning.clone());
        warn(response, warning.as_slice())
    }
}

/// Returns the kind that a route is about.
pub fn kind_of(route: &Route) -> Option<&'static Kind> {
    match route {
        Route::Collection { kind, .. } => Some(kind),
        Route::Object(key) | Route::Sub(key, _) => Some(key.kind),
        _ => None,
    }
}

/// Puts list items of another document behind those of this one.
fn append(document: &mut Value, member: &str, more: impl IntoIterator<Item = Value>) {
    if let Some(items) = document[member].as_array_mut() {
        items.extend(more);
    }
}
