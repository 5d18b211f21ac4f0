//! Which objects of a kind a list or watch is about.

use crate::object::Kind;
use crate::object::selector::{FieldSelector, Selector};
use crate::store::Entry;

use super::params::Params;
use super::status::Status;

/// A label selector and a field selector.
#[derive(Clone, Debug)]
pub struct Filter {
    labels: Selector,
    fields: FieldSelector,
}

impl Filter {
    /// Reads `labelSelector` and `fieldSelector`.
    ///
    /// # Errors
    /// 400 if one is malformed or names a field by which the kind cannot be selected.
    pub fn parse(kind: &'static Kind, params: &Params) -> Result<Self, Status> {
        Self::with(kind, &[], params)
    }

    /// As [`Filter::parse`]; `selectable` are the plain paths by which the kind can be selected besides.
    ///
    /// # Errors
    /// As [`Filter::parse`].
    pub fn with(kind: &'static Kind, selectable: &[String], params: &Params) -> Result<Self, Status> {
        let labels = params.text("labelSelector").unwrap_or_default();
        let fields = params.text("fieldSelector").unwrap_or_default();
        Ok(Self {
            labels: labels.parse::<Selector>().map_err(|e| Status::bad_request(e.to_string()))?,
            fields: FieldSelector::with(kind, selectable, fields).map_err(|e| Status::bad_request(e.to_string()))?,
        })
    }

    /// Tells whether every object matches.
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Tells whether the object matches. Parses it only if what the entry knows does not decide already.
    pub fn matches(&self, entry: &Entry) -> bool {
        let asked = |label: &str, has: &str| self.fields.required(label).is_none_or(|wanted| wanted == has);
        self.labels.matches(&entry.labels)
            && (self.fields.is_everything()
                || asked("metadata.name", &entry.key.name)
                    && asked("metadata.namespace", &entry.key.namespace)
                    && asked("spec.nodeName", entry.node.as_deref().unwrap_or_default())
                    && self.fields.matches(&entry.value()))
    }
}
