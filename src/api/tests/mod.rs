//! The API over a node's loop that does only what these tests look at. The real node's are in `tests/`.

mod access;
mod apply;
mod bodies;
mod connections;
mod fake;
mod lists;
mod metrics;
mod objects;
mod reviews;
mod sessions;
mod slow;
mod watches;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response};
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::handle::{Handle, LogOptions, LogStream, Logs, Meters, Session, Sessions, Talk, Usage, door};
use crate::trust::{ADMINS, Issuer, User};

use super::{Api, Tokens};

/// An API and the loop behind it.
struct Cluster {
    api: Arc<Api>,
    handle: Handle,
    shutdown: CancellationToken,
}

/// Logs that tell what was asked for.
struct FakeLogs;

impl Logs for FakeLogs {
    fn open(&self, _node: &str, container: &str, options: LogOptions) -> BoxFuture<'static, Result<LogStream, String>> {
        let first = Ok(Bytes::from(format!("{container} {:?}\n", options.tail_lines)));
        let first = futures_util::stream::iter([first]);
        let stream = if options.follow { first.chain(futures_util::stream::pending()).boxed() } else { first.boxed() };
        futures_util::future::ready(Ok(stream)).boxed()
    }
}

impl Meters for FakeLogs {
    fn usage(&self, node: &str) -> BoxFuture<'static, Result<Usage, String>> {
        futures_util::future::ready(metrics::usage(node)).boxed()
    }
}

impl Sessions for FakeLogs {
    fn begin(&self, node: &str, session: Session) -> BoxFuture<'static, Result<Talk, String>> {
        sessions::begin(node, session)
    }
}

/// The member whose API it is.
fn issuer() -> Issuer {
    Issuer::new(SigningKey::from_bytes(&[7; 32]))
}

fn admin() -> User {
    User { name: "admin".into(), groups: vec![ADMINS.into()], ..User::default() }
}

impl Cluster {
    /// Makes a cluster with the namespace `default`.
    async fn new() -> Self {
        Self::with_patience(super::watch::PATIENCE).await
    }

    /// Makes one that cuts off watches which are not read for so long.
    async fn with_patience(patience: Duration) -> Self {
        let (handle, door) = door(fake::empty());
        tokio::spawn(fake::run(door));
        let shutdown = CancellationToken::new();
        let api = Api::with_patience(handle.clone(), Arc::new(FakeLogs), shutdown.clone(), patience);
        let api = Arc::new(api.with_tokens(Tokens { issuer: issuer(), members: Arc::new(BTreeSet::new) }));
        let cluster = Self { api, handle, shutdown };
        let namespace = json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}});
        assert_eq!(cluster.post("/api/v1/namespaces", &namespace).await.0, 201);
        cluster
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        self.api.answer(request, Some(&admin())).await
    }

    /// Sends a request as a user of a certificate, or as nobody; returns code and document, of a watch the code alone.
    async fn ask_as(&self, user: Option<&User>, request: Request<Body>) -> (u16, Value) {
        let endless = request.uri().query().is_some_and(|query| query.contains("watch"));
        let response = self.api.answer(request, user).await;
        let code = response.status().as_u16();
        let plain = response.headers().get("content-type").is_some_and(|media| media == "application/json");
        if !plain || endless && code == 200 {
            return (code, Value::Null);
        }
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Sends a request with headers and returns code and text.
    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.answer(request.body(Body::from(body.to_owned())).unwrap()).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn json(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let (code, text) = self.send(method, path, headers, body).await;
        (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.json(Method::GET, path, &[], "").await
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.json(Method::POST, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.json(Method::PUT, path, &[("content-type", "application/json")], &body.to_string()).await
    }

    /// Patches; `form` is `merge`, `json` or `strategic-merge`.
    async fn patch(&self, form: &str, path: &str, body: &Value) -> (u16, Value) {
        let media = format!("application/{}+json", if form == "json" { "json-patch" } else { form });
        let media = media.replace("merge+json", "merge-patch+json");
        self.json(Method::PATCH, path, &[("content-type", &media)], &body.to_string()).await
    }

    async fn delete(&self, path: &str, options: &Value) -> (u16, Value) {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.json(Method::DELETE, path, &[("content-type", "application/json")], &body).await
    }

    /// Makes a ConfigMap in `default`, labelled `app: LABEL`.
    async fn config_map(&self, name: &str, label: &str) -> Value {
        let (code, made) = self.post(MAPS, &config_map(name, label)).await;
        assert_eq!(code, 201, "{made}");
        made
    }
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn config_map(name: &str, label: &str) -> Value {
    json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": {"app": label}},
        "data": {"k": "v"}})
}

fn pod_spec() -> Value {
    json!({"containers": [{"name": "web", "image": "nginx:1"}]})
}

fn deployment(name: &str) -> Value {
    json!({
        "kind": "Deployment",
        "apiVersion": "apps/v1",
        "metadata": {"name": name},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec()},
        },
    })
}

fn pod(name: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name}, "spec": pod_spec()})
}
