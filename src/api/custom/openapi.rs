//! OpenAPI documents of users' kinds: one a group version, made when it is asked for, the last few kept packed.

use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::api::openapi::Document;
use crate::api::status::Status;
use crate::handle::Handle;
use crate::object::custom::Catalog;
use crate::object::kinds::CUSTOM_RESOURCE_DEFINITION;
use crate::object::{Key, openapi};

/// How many documents are kept: clients ask for those of a few kinds, again and again.
const KEPT: usize = 16;

/// Documents that were made, the oldest first.
#[derive(Debug, Default)]
pub struct Documents(Mutex<Vec<Document>>);

/// Names a document by what it is made of: the definitions, each as it is now, and this build.
fn hash(catalog: &Catalog, group: &str, version: &str) -> String {
    let mut hasher = Sha256::new();
    hasher.update(format!("{}\n{group}/{version}\n", env!("CARGO_PKG_VERSION")));
    for (definition, _) in catalog.in_version(group, version) {
        hasher.update(format!("{} {}\n", definition.name, definition.stamp));
    }
    hex::encode_upper(hasher.finalize())
}

impl Documents {
    /// Adds the documents to the index.
    pub fn add_to_index(index: &mut Value, catalog: &Catalog) {
        for (group, versions) in catalog.groups() {
            for version in versions {
                let (root, hash) = (format!("apis/{group}/{version}"), hash(catalog, group, version));
                index["paths"][&root] = json!({"serverRelativeURL": format!("/openapi/v3/{root}?hash={hash}")});
            }
        }
    }

    /// Returns a group version's document.
    ///
    /// # Errors
    /// 404 if none of users' kinds is served there.
    pub fn get(&self, handle: &Handle, catalog: &Catalog, group: &str, version: &str) -> Result<Document, Status> {
        let name = hash(catalog, group, version);
        let kept = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = kept().iter().find(|document| document.hash() == name) {
            return Ok(document.clone());
        }
        let snapshot = handle.snapshot();
        let schema = |crd: &str| {
            let entry = snapshot.get(&Key::cluster(&CUSTOM_RESOURCE_DEFINITION, crd))?;
            let mut object = entry.value();
            let versions = object["spec"]["versions"].as_array_mut()?;
            let found = versions.iter_mut().find(|v| v["name"] == version)?;
            Some(found["schema"]["openAPIV3Schema"].take())
        };
        let kinds: Vec<_> = catalog
            .in_version(group, version)
            .map(|(definition, version)| {
                (version.kind, definition.list_kind.as_str(), schema(&definition.name).unwrap_or(Value::Null))
            })
            .collect();
        if kinds.is_empty() {
            return Err(Status::no_such_path());
        }
        let document = Document::pack(&openapi::custom_document(&kinds), name)?;
        let mut kept = kept();
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push(document.clone());
        Ok(document)
    }
}
