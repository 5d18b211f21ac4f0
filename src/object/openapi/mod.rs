//! OpenAPI v3: a document for each group version, which kubectl needs before it sends anything (to see that
//! `fieldValidation` is understood) and for `explain`.
//!
//! The schemas are upstream's text, copied as it is; the paths are made from the table of kinds. Documents are made
//! when they are asked for and not kept: the largest has 0.5 MB and takes about 10 ms. Who serves them caches them,
//! packed.

mod custom;
mod parameters;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::kinds::{self, SERVED};
use super::schema;

pub use custom::custom_document;

/// Returns every served group version, the core group's first.
pub fn group_versions() -> BTreeSet<(&'static str, &'static str)> {
    kinds::group_versions().into_iter().collect()
}

/// Makes the index of `/openapi/v3`: where each group version's document is. The hash in its URL is that of its
/// text, so that clients may keep it for ever.
///
/// `document` returns the text of each; it is asked once for every group version.
pub fn index<T: AsRef<[u8]>>(mut document: impl FnMut(&'static str, &'static str) -> T) -> Value {
    let mut paths = Map::new();
    for (group, version) in group_versions() {
        let hash = hex::encode_upper(Sha256::digest(document(group, version)));
        let root = root(group, version);
        paths.insert(root.clone(), json!({"serverRelativeURL": format!("/openapi/v3/{root}?hash={hash}")}));
    }
    json!({"paths": paths})
}

/// Makes the document of a group version, as compact JSON; `None` if it is not served.
pub fn document(group: &str, version: &str) -> Option<String> {
    if !group_versions().contains(&(group, version)) {
        return None;
    }
    let kinds = SERVED.iter().filter(|kind| (kind.group, kind.version) == (group, version));
    let paths: Map<String, Value> = kinds.flat_map(|kind| paths::of(kind, kind.definition)).collect();
    let paths = Value::Object(paths).to_string();
    let info = json!({"title": "Kubernetes", "version": schema::VERSION});
    let mut document = format!(r#"{{"openapi":"3.0.0","info":{info},"paths":{paths},"components":{{"schemas":{{"#);
    write_schemas(&mut document, &paths);
    document.push_str("}}}");
    Some(document)
}

/// `api/v1`, `apis/apps/v1`.
fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// Writes every schema that `paths` refers to, and those that they refer to, as members of an object.
fn write_schemas(document: &mut String, paths: &str) {
    let text = schema::text();
    let definitions = text.definitions();
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = schema::references(paths).collect();
    while let Some(name) = open.pop() {
        if let Some(json) = definitions.get(name)
            && found.insert(name)
        {
            open.extend(schema::references(json));
        }
    }
    for (i, name) in found.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(document, "{comma}\"{name}\":{}", definitions[name]).expect("a String takes all");
    }
}
