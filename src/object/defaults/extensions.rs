//! Defaults of kinds that extend the API.

use serde_json::{Value, json};

use super::fill::{fill, fill_text, open, open_or_make, text_of};
use crate::object::custom::CLEANUP;

/// The names that follow from others, no conversion, and the finalizer by which its objects go before it.
pub(super) fn custom_resource_definition(object: &mut Value) {
    let Some(crd) = object.as_object_mut() else { return };
    if let Some(spec) = open(crd, "spec") {
        fill(spec, "conversion", json!({"strategy": "None"}));
        if let Some(names) = open(spec, "names") {
            let kind = text_of(names, "kind").to_owned();
            if !kind.is_empty() {
                fill_text(names, "singular", &kind.to_lowercase());
                fill_text(names, "listKind", &format!("{kind}List"));
            }
        }
    }
    let Some(meta) = open_or_make(crd, "metadata") else { return };
    // One on its way out has lost it for good.
    if !meta.contains_key("deletionTimestamp") {
        fill(meta, "finalizers", json!([]));
        if let Some(finalizers) = meta.get_mut("finalizers").and_then(Value::as_array_mut)
            && !finalizers.iter().any(|f| f == CLEANUP)
        {
            finalizers.push(CLEANUP.into());
        }
    }
}
