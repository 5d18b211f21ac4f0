//! Objects in the form and view that the client wants.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::ids::Revision;
use crate::object::custom::Version;
use crate::object::write::Rules;
use crate::object::{Kind, json, view};
use crate::store::Entry;
use crate::time::Wall;

use super::custom;
use super::negotiate::{Form, OBJECTS, View, Wanted, negotiate};
use super::params::Params;
use super::status::Status;
use super::table::{self, Include};

/// How objects of one kind are to be shown.
#[derive(Clone, Debug)]
pub struct Lens {
    kind: &'static Kind,
    /// Of a kind that users define: in which version.
    version: Option<Arc<Version>>,
    wanted: Wanted,
    include: Include,
    /// For ages.
    now: Wall,
}

/// What a list says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// The revision at which all items are shown.
    pub revision: Revision,
    /// Where to go on, if there is more.
    pub token: Option<String>,
    /// How many more there are, if that is known.
    pub remaining: Option<usize>,
}

impl Lens {
    /// Reads what the client wants from `Accept` and `includeObject`.
    ///
    /// # Errors
    /// 406 if nothing fits, 400 for a bad `includeObject`.
    pub fn of(kind: &'static Kind, headers: &HeaderMap, params: &Params, now: Wall) -> Result<Self, Status> {
        Ok(Self { kind, version: None, wanted: negotiate(headers, OBJECTS)?, include: Include::parse(params)?, now })
    }

    /// Returns the lens for a version of a kind that users define.
    #[must_use]
    pub fn of_version(self, version: Arc<Version>) -> Self {
        Self { version: Some(version), ..self }
    }

    /// Returns the rules by which objects of the kind are written.
    pub fn rules(&self) -> Rules<'_> {
        self.version.as_deref().map_or_else(|| Rules::from(self.kind), Rules::from)
    }

    /// Tells whether no more objects of the kind are made, since its definition is being deleted.
    pub fn is_closed(&self) -> bool {
        self.version.as_ref().is_some_and(|version| version.terminating)
    }

    /// Returns the plain paths by which objects can be selected besides what all can be.
    pub fn selectable(&self) -> &[String] {
        self.version.as_ref().map_or(&[], |version| &version.selectable)
    }

    /// Parses an object. One of a kind that users define is as it is in the lens's version.
    pub fn value(&self, entry: &Entry) -> Value {
        let mut object = entry.value();
        if let Some(version) = &self.version {
            version.show(&mut object);
        }
        object
    }

    fn row(&self, object: &Value) -> Value {
        match &self.version {
            Some(version) => table::of_cells(self.kind, &custom::row(version, object, self.now), object, self.include),
            None => table::row(self.kind, object, self.include, self.now),
        }
    }

    fn table(&self, meta: &Value, rows: &[Value], columns: bool) -> Value {
        match &self.version {
            Some(version) if columns => table::with_columns(&custom::columns(version), meta, rows),
            _ => table::document(self.kind, meta, rows, columns),
        }
    }

    /// Appends an object as it is kept: of another version, nothing but its name may have to change.
    fn write_version(&self, version: &Version, out: &mut Vec<u8>, entry: &Entry) {
        if version.completes() {
            return out.extend(json::write(&self.value(entry)));
        }
        let (head, kept) = (json::head(self.kind), json::head(entry.key.kind));
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(entry.json.strip_prefix(kept.as_bytes()).unwrap_or_default());
    }

    /// Returns the kind as which objects are shown.
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// Returns how documents are written.
    pub fn form(&self) -> Form {
        self.wanted.form
    }

    /// Answers with one object.
    pub fn object(&self, code: StatusCode, entry: &Entry) -> Response<Body> {
        let mut body = Vec::with_capacity(entry.json.len() + 1);
        self.write_entry(&mut body, entry, true);
        self.respond(code, body)
    }

    /// Answers with a list.
    pub fn list<'a>(&self, meta: &ListMeta, entries: impl Iterator<Item = &'a Entry>) -> Response<Body> {
        let mut body = Vec::new();
        match self.wanted.view {
            View::Table => {
                let rows: Vec<_> = entries.map(|e| self.row(&self.value(e))).collect();
                let meta: Value = serde_json::from_str(&meta.json()).expect("list metadata is JSON");
                body = json::write(&self.table(&meta, &rows, true));
            }
            View::Metadata => {
                write_list_head(&mut body, "PartialObjectMetadataList", "meta.k8s.io/v1", meta);
                write_items(&mut body, entries, |out, e| {
                    out.extend(json::write(&table::partial_metadata(&e.value())));
                });
            }
            View::Whole | View::Aggregated if let Some(version) = &self.version => {
                write_list_head(&mut body, &version.list_kind, &self.kind.api_version(), meta);
                write_items(&mut body, entries, |out, e| self.write_version(version, out, e));
            }
            View::Whole | View::Aggregated if self.kind.is_view() => {
                let kind = format!("{}List", self.kind.kind);
                write_list_head(&mut body, &kind, &self.kind.api_version(), meta);
                let head = json::head(self.kind);
                write_items(&mut body, entries, |out, e| {
                    json::write_item(out, &head, &json::write(&view::show(self.kind, e.value())));
                });
            }
            View::Whole | View::Aggregated => {
                let kind = format!("{}List", self.kind.kind);
                write_list_head(&mut body, &kind, &self.kind.api_version(), meta);
                let head = json::head(self.kind);
                let entries: Vec<&Entry> = entries.collect();
                body.reserve(entries.iter().map(|e| e.json.len() + 1).sum());
                write_items(&mut body, entries.into_iter(), |out, e| json::write_item(out, &head, &e.json));
            }
        }
        self.respond(StatusCode::OK, body)
    }

    /// Appends one object in JSON. `columns` says whether a table describes its columns.
    pub fn write_entry(&self, out: &mut Vec<u8>, entry: &Entry, columns: bool) {
        match &self.version {
            Some(version) if self.wanted.view == View::Whole => self.write_version(version, out, entry),
            None if self.wanted.view == View::Whole && !self.kind.is_view() => out.extend_from_slice(&entry.json),
            _ => self.write_object(out, &self.value(entry), columns),
        }
    }

    /// Appends one object that is not shown as it is.
    pub fn write_object(&self, out: &mut Vec<u8>, object: &Value, columns: bool) {
        out.extend(match self.wanted.view {
            View::Whole if self.kind.is_view() => json::write(&view::show(self.kind, object.clone())),
            View::Whole => json::write(object),
            View::Table => {
                let meta = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
                json::write(&self.table(&meta, &[self.row(object)], columns))
            }
            View::Metadata | View::Aggregated => json::write(&table::partial_metadata(object)),
        });
    }

    /// Notes a later time, for the ages in a watch.
    pub fn set_time(&mut self, now: Wall) {
        self.now = now;
    }

    fn respond(&self, code: StatusCode, body: Vec<u8>) -> Response<Body> {
        document(self.wanted.form, code, body)
    }
}

impl ListMeta {
    fn json(&self) -> String {
        let mut text = format!(r#"{{"resourceVersion":"{}""#, self.revision);
        if let Some(token) = &self.token {
            // The token is base64: nothing in it needs an escape.
            let _ = write!(text, r#","continue":"{token}""#);
        }
        if let Some(remaining) = self.remaining {
            let _ = write!(text, r#","remainingItemCount":{remaining}"#);
        }
        text.push('}');
        text
    }
}

fn write_list_head(out: &mut Vec<u8>, kind: &str, api_version: &str, meta: &ListMeta) {
    let meta = meta.json();
    out.extend(format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{meta},"items":["#).as_bytes());
}

fn write_items<'a>(
    out: &mut Vec<u8>,
    entries: impl Iterator<Item = &'a Entry>,
    mut write: impl FnMut(&mut Vec<u8>, &Entry),
) {
    for (at, entry) in entries.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, entry);
    }
    out.extend(b"]}");
}

/// Answers with a JSON document, turned into YAML where that is wanted.
pub fn document(form: Form, code: StatusCode, mut json: Vec<u8>) -> Response<Body> {
    let (media, body) = match form {
        Form::Json => {
            json.push(b'\n');
            ("application/json", json)
        }
        Form::Yaml => ("application/yaml", yaml(&json)),
    };
    with_type(code, media, body)
}

/// Answers with a value as a JSON document.
pub fn value(value: &Value) -> Response<Body> {
    document(Form::Json, StatusCode::OK, json::write(value))
}

/// Answers with a body of a media type. Nothing here may be kept by a cache in between.
pub fn with_type(code: StatusCode, media: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

fn yaml(json: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(json).expect("our own documents are valid JSON");
    serde_yaml_ng::to_string(&value).expect("JSON is valid YAML").into_bytes()
}
