//! One request, one answer.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::HOST;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::handle::{Containers, Handle};
use crate::object::custom::{Catalog, is_builtin};
use crate::object::kinds::Subresource;
use crate::object::write::Part;
use crate::object::{Key, Kind, json};
use crate::trust::User;

use super::admission::Hooks;
use super::custom::{self, Customs, Documents};
use super::lists::Lists;
use super::metrics::{self, MEASURED};
use super::negotiate::{DISCOVERY, View, WHOLE, negotiate};
use super::openapi::OpenApi;
use super::openapi_v2;
use super::params::Params;
use super::routes::{self, Route};
use super::sessions::{self, MAX_SESSIONS};
use super::status::Status;
use super::verbs::{delete, evict, read, review, write};
use super::watch::{self, Hub};
use super::{body, discovery, forward, logs, now, present, proxied};

/// How long a request may take until its answer begins; watches and logs go on from there.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What answers requests; knows nothing of connections.
pub struct Api {
    pub(super) handle: Handle,
    pub(super) containers: Arc<dyn Containers>,
    /// Places for sessions.
    pub(super) sessions: Arc<Semaphore>,
    pub(super) lists: Lists,
    openapi: OpenApi,
    pub(super) customs: Customs,
    pub(super) hooks: Hooks,
    documents: Documents,
    pub(super) hub: Arc<Hub>,
    pub(super) shutdown: CancellationToken,
}

/// What a request says besides its path.
pub(super) struct Call {
    pub(super) head: Parts,
    pub(super) params: Params,
    pub(super) body: Body,
    /// The name of who asks.
    pub(super) user: String,
    /// Who asks.
    pub(super) who: User,
}

impl Api {
    /// Makes the API of the node behind `handle`. With `shutdown`, watches and followed logs end.
    ///
    /// # Panics
    /// Outside of a tokio runtime: one task of its own wakes the watches.
    pub fn new(handle: Handle, containers: Arc<dyn Containers>, shutdown: CancellationToken) -> Self {
        Self::with_patience(handle, containers, shutdown, watch::PATIENCE)
    }

    /// Makes one that cuts off a watch which is not read for as long as `patience`.
    pub(super) fn with_patience(
        handle: Handle,
        containers: Arc<dyn Containers>,
        shutdown: CancellationToken,
        patience: Duration,
    ) -> Self {
        let hub = Arc::new(Hub::new(handle.snapshots(), patience));
        tokio::spawn(Arc::clone(&hub).run(shutdown.clone()));
        let sessions = Arc::new(Semaphore::new(MAX_SESSIONS));
        Self {
            handle,
            containers,
            sessions,
            lists: Lists::default(),
            openapi: OpenApi::default(),
            customs: Customs::default(),
            hooks: Hooks::default(),
            documents: Documents::default(),
            hub,
            shutdown,
        }
    }

    /// Answers a request of `user`, or of anybody.
    pub async fn answer(&self, request: Request<Body>, user: Option<&User>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.route(request, user)).await;
        let late = || Status::timeout("request did not complete within the allotted timeout");
        let answer = answer.unwrap_or_else(|_| Err(late())).unwrap_or_else(|status| status.response());
        let user = user.map_or("system:anonymous", |u| &u.name);
        tracing::debug!(%method, path, user, code = answer.status().as_u16(), "request");
        answer
    }

    async fn route(&self, request: Request<Body>, user: Option<&User>) -> Result<Response<Body>, Status> {
        let (head, body) = request.into_parts();
        let params = Params::parse(head.uri.query().unwrap_or_default());
        let path = head.uri.path();
        let route = routes::parse(path).or_else(|| routes::parse_custom(path, &self.customs().catalog));
        let open = matches!(route, Some(Route::Health(_) | Route::Version));
        // Until there are rules about who may do what, whoever holds a certificate of ours may do everything.
        if user.is_none() && !open {
            return Err(Status::unauthorized());
        }
        // To ignore these would be to do as administrator what was asked for as somebody else.
        if let Some(name) = head.headers.get("impersonate-user") {
            return Err(Status::no_impersonation(&String::from_utf8_lossy(name.as_bytes())));
        }
        let (who, is_admin) = (user, user.is_some_and(User::is_admin));
        let asker = user.cloned().unwrap_or_else(|| User { name: String::new(), groups: Vec::new() });
        let call = Call { head, params, body, user: asker.name.clone(), who: asker };
        let kind = route.as_ref().and_then(custom::kind_of);
        let answer = self.dispatch(route.ok_or_else(Status::no_such_path)?, call, who, is_admin).await?;
        Ok(self.warn_of_version(kind, answer))
    }

    async fn dispatch(
        &self,
        route: Route,
        call: Call,
        who: Option<&User>,
        is_admin: bool,
    ) -> Result<Response<Body>, Status> {
        match route {
            Route::Collection { kind, namespace } => self.collection(kind, namespace, call).await,
            Route::Object(key) => self.object(key, call).await,
            Route::Sub(key, subresource) => self.subresource(key, subresource, call).await,
            Route::Review(review, namespace) if call.head.method == Method::POST => {
                review::create(who.ok_or_else(Status::unauthorized)?, review, namespace, call).await
            }
            Route::Review(..) => Err(Status::method_not_allowed()),
            Route::Recover if !is_admin => Err(Status::admins_only()),
            Route::Recover if call.head.method == Method::POST => self.recover(&call.params).await,
            Route::Recover => Err(Status::method_not_allowed()),
            _ if call.head.method != Method::GET => Err(Status::method_not_allowed()),
            Route::Health(name) => Ok(health(name, &call.params)),
            Route::Partitions => Ok(present::value(&serde_json::json!({"partitions": *self.handle.partitions()}))),
            Route::Version => Ok(present::value(&discovery::version())),
            Route::OpenApiV2 => openapi_v2::document(&call.head.headers),
            Route::OpenApiIndex => self.openapi.index(&call.head.headers, &self.customs().catalog).await,
            Route::OpenApiDocument { group, version } if !is_builtin(group) => {
                let customs = self.customs();
                let document = self.documents.get(&self.handle, &customs.catalog, group, version)?;
                document.answer(&call.head.headers, &call.params)
            }
            Route::OpenApiDocument { group, version } => {
                self.openapi.document(group, version, &call.head.headers, &call.params).await
            }
            other => discover(&other, &call.head, &self.customs().catalog),
        }
    }

    async fn recover(&self, params: &Params) -> Result<Response<Body>, Status> {
        let force = params.flag("force");
        let done = self.handle.recover(force).await.map_err(Status::not_now)?;
        Ok(present::value(&serde_json::json!({"message": done})))
    }

    async fn collection(
        &self,
        kind: &'static Kind,
        namespace: Option<String>,
        call: Call,
    ) -> Result<Response<Body>, Status> {
        if MEASURED.contains(&kind) {
            return metrics::metrics(self, kind, namespace.as_deref(), None, &call.head, &call.params).await;
        }
        // The objects of all namespaces can be listed together, but not written.
        let writable = kind.namespaced == namespace.is_some();
        match call.head.method {
            Method::GET => read::collection(self, kind, namespace, &call.head.headers, &call.params).await,
            Method::POST if writable => write::create(self, kind, &namespace.unwrap_or_default(), call).await,
            Method::DELETE if writable && discovery::verbs(kind).contains(&"deletecollection") => {
                let bytes = body::read(&call.head.headers, call.body).await?;
                let (headers, params) = (&call.head.headers, &call.params);
                delete::collection(self, kind, namespace.as_deref(), headers, params, &bytes, &call.who).await
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    async fn object(&self, key: Key, call: Call) -> Result<Response<Body>, Status> {
        if MEASURED.contains(&key.kind) {
            let namespace = key.kind.namespaced.then_some(&*key.namespace);
            return metrics::metrics(self, key.kind, namespace, Some(&key.name), &call.head, &call.params).await;
        }
        match call.head.method {
            Method::GET => read::get(self, &key, &call.head.headers, &call.params).await,
            Method::PUT | Method::PATCH => write::change(self, &key, Part::Spec, call).await,
            Method::DELETE => {
                let bytes = body::read(&call.head.headers, call.body).await?;
                delete::delete(self, &key, &call.head.headers, &call.params, &bytes, &call.who).await
            }
            _ => Err(Status::method_not_allowed()),
        }
    }

    async fn subresource(&self, key: Key, subresource: Subresource, call: Call) -> Result<Response<Body>, Status> {
        match (subresource, &call.head.method) {
            (Subresource::Proxy, _) => proxied::pass(self, &key, call.head, call.body).await,
            (Subresource::Status | Subresource::Approval | Subresource::EphemeralContainers, &Method::GET) => {
                read::get(self, &key, &call.head.headers, &call.params).await
            }
            (Subresource::EphemeralContainers, &Method::PUT | &Method::PATCH) => {
                write::change(self, &key, Part::EphemeralContainers, call).await
            }
            (Subresource::Status, &Method::PUT | &Method::PATCH) => write::change(self, &key, Part::Status, call).await,
            (Subresource::Eviction, &Method::POST) => evict::evict(self, &key, call).await,
            (Subresource::Approval, &Method::PUT | &Method::PATCH) => {
                write::change(self, &key, Part::Approval, call).await
            }
            (Subresource::Scale, &Method::GET) => read::scale(self, &key, &call.head.headers),
            (Subresource::Scale, &Method::PUT | &Method::PATCH) => write::change(self, &key, Part::Scale, call).await,
            (Subresource::Log, &Method::GET) => logs::log(self, &key, &call.params, now()).await,
            // Old clients ask by POST.
            (Subresource::Exec, &Method::GET | &Method::POST) => {
                sessions::exec(self, &key, &call.params, call.head).await
            }
            (Subresource::Attach, &Method::GET | &Method::POST) => {
                sessions::attach(self, &key, &call.params, call.head).await
            }
            (Subresource::PortForward, &Method::GET | &Method::POST) => {
                forward::forward(self, &key, &call.params, call.head).await
            }
            _ => Err(Status::method_not_allowed()),
        }
    }
}

fn discover(route: &Route, head: &Parts, customs: &Catalog) -> Result<Response<Body>, Status> {
    let aggregates = matches!(route, Route::CoreVersions | Route::Groups);
    let wanted = negotiate(&head.headers, if aggregates { DISCOVERY } else { WHOLE })?;
    let value: Value = match route {
        Route::CoreVersions | Route::Groups if wanted.view == View::Aggregated => {
            let is_core = *route == Route::CoreVersions;
            let mut value = discovery::aggregated(is_core);
            if !is_core {
                custom::add_to_aggregated(&mut value, customs);
            }
            return Ok(aggregated(&value));
        }
        Route::CoreVersions => {
            let host = head.headers.get(HOST).and_then(|h| h.to_str().ok());
            discovery::core_versions(host.or(head.uri.authority().map(|a| a.as_str())).unwrap_or_default())
        }
        Route::Groups => with(discovery::groups(), |value| custom::add_to_groups(value, customs)),
        Route::Group(group) => custom::group(customs, group).unwrap_or_else(|| discovery::group(group)),
        Route::Resources { group, version } => {
            custom::resources(customs, group, version).unwrap_or_else(|| discovery::resources(group, version))
        }
        _ => with(discovery::root(), |value| custom::add_to_root(value, customs)),
    };
    let mut response = present::document(wanted.form, StatusCode::OK, json::write(&value));
    if aggregates {
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    }
    Ok(response)
}

fn with(mut value: Value, edit: impl FnOnce(&mut Value)) -> Value {
    edit(&mut value);
    value
}

/// The answer names what it is, or clients read it as the plain form.
fn aggregated(value: &Value) -> Response<Body> {
    const MEDIA: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut text = json::write(value);
    text.push(b'\n');
    let mut response = present::with_type(StatusCode::OK, MEDIA, text);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

/// The node's loop takes and shows; a process that answers at all is healthy.
fn health(name: &str, params: &Params) -> Response<Body> {
    let text = if params.tristate("verbose").is_some() {
        format!("[+]ping ok\n[+]snapshot ok\n{name} check passed\n")
    } else {
        "ok".to_owned()
    };
    present::with_type(StatusCode::OK, "text/plain; charset=utf-8", text)
}
