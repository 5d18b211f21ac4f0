//! Small clusters for this room's tests.

#![allow(clippy::needless_pass_by_value, reason = "so that a test can write json!(...) as an argument")]

use std::sync::Arc;

use serde_json::{Value, json};

use crate::ids::{Revision, Uid};
use crate::object::{Key, kinds};
use crate::store::{Entry, Snapshot, WatchEvent};

/// When every object of these tests was made.
pub(super) const CREATED: &str = "2025-11-23T07:25:30Z";

/// Shows `object` in `view`, as the store would.
pub(super) fn show(view: &mut Snapshot, mut object: Value) -> Arc<WatchEvent> {
    let key = Key::of(&object).expect("a served kind");
    let revision = view.revision().next();
    let meta = &mut object["metadata"];
    if meta["uid"].is_null() {
        meta["uid"] = json!(uid(&key).to_string());
    }
    meta["creationTimestamp"] = json!(CREATED);
    meta["resourceVersion"] = json!(revision.to_string());
    let entry = Arc::new(Entry::of(key.clone(), revision, &object));
    view.show(&key, Some(entry), revision).expect("an event")
}

/// Takes an object out of `view`.
pub(super) fn remove(view: &mut Snapshot, key: &Key) -> Arc<WatchEvent> {
    let revision = view.revision().next();
    view.show(key, None, revision).expect("it was there")
}

/// The uid that [`show`] gives.
pub(super) fn uid(key: &Key) -> Uid {
    Uid::derived(&[key.to_string().as_bytes()])
}

/// Shows all of them.
pub(super) fn view(objects: impl IntoIterator<Item = Value>) -> Snapshot {
    let mut view = Snapshot::starting_at(Revision(1));
    for object in objects {
        show(&mut view, object);
    }
    view
}

/// The key of a Service in namespace `shop`.
pub(super) fn service_key(name: &str) -> Key {
    Key::new(&kinds::SERVICE, "shop", name)
}

/// A namespace.
pub(super) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// A Service in namespace `shop`.
pub(super) fn service(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "shop", "name": name,
        "labels": {"team": "geese"}}, "spec": spec})
}

/// The Service `web` that selects `app: web`: port 80 named `http` to container port 8080.
pub(super) fn web() -> Value {
    service(
        "web",
        json!({"type": "ClusterIP", "clusterIP": "10.96.7.7", "selector": {"app": "web"},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]}),
    )
}

/// A ready pod in namespace `shop` on node `n1`, labelled `app: web`, with container ports `http` 8080/TCP and
/// `dns` 53/UDP.
pub(super) fn pod(name: &str, address: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [
            {"name": "http", "containerPort": 8080}, {"name": "dns", "containerPort": 53, "protocol": "UDP"}]}]},
        "status": {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}})
}

/// The same pod, not ready.
pub(super) fn unready(mut pod: Value) -> Value {
    pod["status"]["conditions"][0]["status"] = json!("False");
    pod
}

/// The same pod, being deleted.
pub(super) fn terminating(mut pod: Value) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!(CREATED);
    pod
}

/// A slice that a user made for a Service in namespace `shop`: `endpoints` are JSON, the port is 8080/TCP `http`.
pub(super) fn slice(name: &str, service: &str, endpoints: Value) -> Value {
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"namespace": "shop", "name": name, "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]})
}
