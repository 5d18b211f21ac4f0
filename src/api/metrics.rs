//! The group metrics.k8s.io: what nodes and pods use, for `kubectl top` and autoscalers.
//!
//! Nothing of it is stored. Whoever asks has every node that is concerned measure itself; one that does not answer is left
//! out, as upstream leaves out what was not scraped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::handle::{Amounts, Usage};
use crate::object::kinds::{KIND, NODE, POD};
use crate::object::{Key, Kind, json as text};
use crate::store::Entry;

use super::filter::Filter;
use super::negotiate::{OBJECTS, View, negotiate};
use super::params::Params;
use super::present;
use super::status::Status;
use super::table::{self, Include};
use super::{Api, now};

/// What a node uses.
pub static NODE_METRICS: Kind = Kind {
    group: "metrics.k8s.io",
    version: "v1beta1",
    kind: "NodeMetrics",
    plural: "nodes",
    singular: "",
    namespaced: false,
    ..KIND
};

/// What a pod's containers use.
pub static POD_METRICS: Kind = Kind { kind: "PodMetrics", plural: "pods", namespaced: true, ..NODE_METRICS };

/// The kinds of the group. They can be got and listed, nothing else.
pub static MEASURED: [&Kind; 2] = [&NODE_METRICS, &POD_METRICS];

/// Finds one by its place in a URL.
pub fn by_plural(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    MEASURED.iter().copied().find(|k| (k.group, k.version, k.plural) == (group, version, plural))
}

/// Answers with one, or with those that are asked for.
///
/// # Errors
/// 404 for one that is not there or was not measured, 400 for a bad selector.
pub async fn metrics(
    api: &Api,
    kind: &'static Kind,
    namespace: Option<&str>,
    name: Option<&str>,
    head: &Parts,
    params: &Params,
) -> Result<Response<Body>, Status> {
    if head.method != Method::GET || params.flag("watch") {
        return Err(Status::method_not_allowed());
    }
    let wanted = negotiate(&head.headers, OBJECTS)?;
    let include = Include::parse(params)?;
    let filter = Filter::parse(kind, params)?;
    let of = if *kind == NODE_METRICS { &NODE } else { &POD };
    let snapshot = api.handle.snapshot();
    let named = |entry: &&Arc<Entry>| name.is_none_or(|name| entry.key.name == name);
    let entries: Vec<_> = snapshot.list(of, namespace).filter(named).filter(|e| filter.matches(e)).cloned().collect();
    let nodes =
        entries.iter().filter_map(|entry| if *of == NODE { Some(entry.key.name.clone()) } else { entry.node.clone() });
    let usages = measured(api, nodes.filter(|node| !node.is_empty()).collect()).await;
    let objects: Vec<Value> = entries.iter().filter_map(|entry| object(kind, entry, &usages)).collect();
    let document = match (name, objects.first(), wanted.view) {
        (Some(name), None, _) => return Err(Status::not_found(&Key::new(kind, namespace.unwrap_or_default(), name))),
        (_, _, View::Table) => {
            let rows: Vec<Value> = objects.iter().map(|o| table::row(kind, o, include, now())).collect();
            table::document(kind, &json!({}), &rows, true)
        }
        (Some(_), Some(object), View::Metadata) => table::partial_metadata(object),
        (Some(_), Some(object), _) => object.clone(),
        (None, _, View::Metadata) => {
            let items: Vec<Value> = objects.iter().map(table::partial_metadata).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items})
        }
        (None, ..) => {
            json!({"kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(), "metadata": {}, "items": objects})
        }
    };
    Ok(present::document(wanted.form, StatusCode::OK, text::write(&document)))
}

/// Has nodes measure themselves, all at the same time.
async fn measured(api: &Api, nodes: BTreeSet<String>) -> BTreeMap<String, Usage> {
    let asked = nodes.into_iter().map(|node| async move {
        match api.containers.usage(&node).await {
            Ok(usage) => Some((node, usage)),
            Err(error) => {
                tracing::debug!(node, error, "not measured");
                None
            }
        }
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Makes the metrics of a node or pod; `None` if it was not measured.
fn object(kind: &'static Kind, entry: &Entry, usages: &BTreeMap<String, Usage>) -> Option<Value> {
    let name = &entry.key.name;
    let usage = if *kind == NODE_METRICS { usages.get(&**name) } else { usages.get(entry.node.as_deref()?) }?;
    let mut metadata = json!({"name": name, "creationTimestamp": usage.at.time()});
    if kind.namespaced {
        metadata["namespace"] = json!(entry.key.namespace);
    }
    if !entry.labels.is_empty() {
        metadata["labels"] = json!(*entry.labels);
    }
    let mut object = json!({
        "kind": kind.kind,
        "apiVersion": kind.api_version(),
        "metadata": metadata,
        "timestamp": usage.at.time(),
        "window": format!("{:.3}s", usage.window.as_secs_f64()),
    });
    if *kind == NODE_METRICS {
        object["usage"] = amounts(usage.node);
        return Some(object);
    }
    let own = usage.containers.iter().filter(|c| (&*c.namespace, &*c.pod) == (&*entry.key.namespace, &**name));
    let containers: Vec<Value> = own.map(|c| json!({"name": c.name, "usage": amounts(c.amounts)})).collect();
    object["containers"] = json!(containers);
    (!containers.is_empty()).then_some(object)
}

/// Writes amounts as upstream does: `1234567n` and `1234Ki`.
fn amounts(amounts: Amounts) -> Value {
    json!({"cpu": format!("{}n", amounts.nano_cores), "memory": format!("{}Ki", amounts.bytes / 1024)})
}
