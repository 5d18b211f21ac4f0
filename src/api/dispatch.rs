//! One request, one answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
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
use crate::trust::{User, service_account};

use super::admission::Hooks;
use super::audit::{self, Audit, Outside, Trace};
use super::authenticate::{self, Shown, Tokens};
use super::authorize::{Asked, Indexed};
use super::custom::{self, Customs, Documents};
use super::impersonate;
use super::lists::Lists;
use super::metrics::{self, MEASURED};
use super::negotiate::{DISCOVERY, View, WHOLE, negotiate};
use super::openapi::OpenApi;
use super::openapi_v2;
use super::params::Params;
use super::routes::{self, Route};
use super::sessions::{self, MAX_SESSIONS};
use super::status::Status;
use super::verbs::{delete, evict, read, review, token, write};
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
    /// What signs and checks service account tokens.
    pub(super) tokens: Option<Tokens>,
    audit: Option<Audit>,
    /// The rules as they were read last.
    pub(super) rules: ArcSwapOption<Indexed>,
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
            tokens: None,
            audit: None,
            rules: ArcSwapOption::empty(),
        }
    }

    /// Has service account tokens signed and believed.
    #[must_use]
    pub fn with_tokens(mut self, tokens: Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Has requests told in a log.
    #[must_use]
    pub fn with_audit(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Answers a request of `user`, or of anybody.
    pub async fn answer(&self, request: Request<Body>, user: Option<&User>) -> Response<Body> {
        self.answer_to(request, &user.map_or(Shown::Nothing, |user| Shown::Proven(user.clone()))).await
    }

    /// Answers a request on a connection whose client has shown something, or nothing. Its address may be among the
    /// request's extensions.
    pub async fn answer_to(&self, request: Request<Body>, shown: &Shown) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let from = request.extensions().get::<SocketAddr>().copied();
        let outside = self.audit.as_ref().map(|_| Outside::of(request.uri(), request.headers(), from, now()));
        let mut trace = Trace::default();
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, self.route(request, shown, &mut trace)).await;
        let late = || Status::timeout("request did not complete within the allotted timeout");
        let answer = answer.unwrap_or_else(|_| Err(late())).unwrap_or_else(|status| status.response());
        let (code, user) = (answer.status().as_u16(), trace.user.as_ref().map_or("", |user| &user.name));
        tracing::debug!(%method, path, user, code, "request");
        if let (Some(audit), Some(outside), Some(_)) = (&self.audit, &outside, &trace.asked) {
            audit.write(audit::event(outside, &trace, code, now()));
        }
        answer
    }

    async fn route(&self, request: Request<Body>, shown: &Shown, trace: &mut Trace) -> Result<Response<Body>, Status> {
        let (mut head, body) = request.into_parts();
        let params = Params::parse(head.uri.query().unwrap_or_default());
        let path = head.uri.path().to_owned();
        let route = routes::parse(&path).or_else(|| routes::parse_custom(&path, &self.customs().catalog));
        // Whoever looks after the host must be answered, whatever becomes of roles; nobody is told of that.
        let open = matches!(route, Some(Route::Health(_) | Route::Version));
        let who = if open {
            User::anonymous()
        } else {
            let asked = Asked::of(route.as_ref(), &head.method, &path, &params);
            trace.long = asked.verb == "watch" || matches!(&route, Some(Route::Sub(_, sub)) if goes_on(*sub, &params));
            let admitted = self.admit(&asked, &head, shown, trace);
            trace.asked = Some(asked);
            admitted?
        };
        // What is passed on to a pod must not carry credentials with it.
        impersonate::forget(&mut head.headers);
        let call = Call { head, params, body, user: who.name.clone(), who };
        let kind = route.as_ref().and_then(custom::kind_of);
        let answer = self.dispatch(route.ok_or_else(Status::no_such_path)?, call).await?;
        Ok(self.warn_of_version(kind, answer))
    }

    async fn dispatch(&self, route: Route, call: Call) -> Result<Response<Body>, Status> {
        match route {
            Route::Collection { kind, namespace } => self.collection(kind, namespace, call).await,
            Route::Object(key) => self.object(key, call).await,
            Route::Sub(key, subresource) => self.subresource(key, subresource, call).await,
            Route::Review(review, namespace) if call.head.method == Method::POST => {
                review::create(self, review, namespace, call).await
            }
            Route::Review(..) => Err(Status::method_not_allowed()),
            Route::Recover if call.head.method == Method::POST => self.recover(&call.params).await,
            Route::Recover => Err(Status::method_not_allowed()),
            _ if call.head.method != Method::GET => Err(Status::method_not_allowed()),
            Route::Health(name) => Ok(health(name, &call.params)),
            Route::Partitions => Ok(present::value(&serde_json::json!({"partitions": *self.handle.partitions()}))),
            Route::Version => Ok(present::value(&discovery::version())),
            Route::OpenIdConfiguration => Ok(present::value(&service_account::discovery())),
            Route::OpenIdKeys => {
                let signers = self.tokens.as_ref().map(Tokens::signers).unwrap_or_default();
                let keys = json::write(&service_account::keys(signers.iter()));
                Ok(present::with_type(StatusCode::OK, "application/jwk-set+json", keys))
            }
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

    /// Tells who asks, for whom, and that they may.
    fn admit(&self, asked: &Asked, head: &Parts, shown: &Shown, trace: &mut Trace) -> Result<User, Status> {
        let view = self.handle.snapshot();
        let user = authenticate::user(shown, &head.headers, self.tokens.as_ref(), &view, now())?;
        trace.user = Some(user.clone());
        let user = match impersonate::wanted(&head.headers)? {
            None => user,
            Some(other) => {
                let other = self.impersonate(&user, other)?;
                trace.other = Some(other.clone());
                other
            }
        };
        trace.reason = self.authorize(&user, asked)?;
        trace.allowed = true;
        Ok(user)
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
            (Subresource::Token, &Method::POST) => token::create(self, &key, call).await,
            _ => Err(Status::method_not_allowed()),
        }
    }
}

/// Whether the answer to a request for a part of an object goes on after it has begun.
fn goes_on(subresource: Subresource, params: &Params) -> bool {
    match subresource {
        Subresource::Log => params.flag("follow"),
        Subresource::Exec | Subresource::Attach | Subresource::PortForward => true,
        _ => false,
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
