//! May they? Every route says what it asks for; who asks must have the right to it.

use std::sync::Arc;

use axum::http::Method;
use serde_json::Value;

use crate::authorization::escalation::{self, Refused};
use crate::authorization::{Attributes, Decision, Rules, Versions};
use crate::object::Key;
use crate::object::kinds::{CLUSTER_ROLE, NAMESPACE, ROLE, Subresource};
use crate::trust::User;

use super::Api;
use super::params::Params;
use super::routes::{Route, subresource_name};
use super::status::{Details, Status};

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `get`, `list`, `create`; for a path the method in small letters.
    pub verb: String,
    /// API group; empty for core.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The resource's plural name.
    pub resource: &'static str,
    /// The part of it.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// A path that is no resource.
    pub path: Option<String>,
}

impl Asked {
    /// Reads what a request asks for. What is served nowhere is a path.
    pub fn of(route: Option<&Route>, method: &Method, path: &str, params: &Params) -> Self {
        match route {
            Some(Route::Collection { kind, namespace }) => Self {
                verb: collection_verb(method, params).to_owned(),
                name: named(params),
                namespace: namespace.clone().unwrap_or_default(),
                ..Self::on(kind.group, kind.version, kind.plural)
            },
            Some(Route::Object(key)) => Self::of_key(object_verb(method), key),
            Some(Route::Sub(key, subresource)) => Self {
                subresource: subresource_name(*subresource).to_owned(),
                ..Self::of_key(object_verb(method), key)
            },
            Some(Route::Review(review, namespace)) => Self {
                verb: object_verb(method).to_owned(),
                namespace: namespace.clone().unwrap_or_default(),
                ..Self::on(review.group, review.version, review.plural)
            },
            // Each is named, so that whoever adds a route says here what it asks for.
            None
            | Some(
                Route::Root
                | Route::Health(_)
                | Route::Version
                | Route::Recover
                | Route::Partitions
                | Route::OpenIdConfiguration
                | Route::OpenIdKeys
                | Route::CoreVersions
                | Route::Groups
                | Route::Group(_)
                | Route::Resources { .. }
                | Route::OpenApiV2
                | Route::OpenApiIndex
                | Route::OpenApiDocument { .. },
            ) => Self { verb: method.as_str().to_lowercase(), path: Some(path.to_owned()), ..Self::default() },
        }
    }

    fn on(group: &'static str, version: &'static str, resource: &'static str) -> Self {
        Self { group, version, resource, ..Self::default() }
    }

    /// What is asked of one object.
    pub fn of_key(verb: &str, key: &Key) -> Self {
        // Upstream counts a namespace as being within itself, so that a Role in it can be about it.
        let namespace = if *key.kind == NAMESPACE { &key.name } else { &key.namespace };
        Self {
            verb: verb.to_owned(),
            namespace: namespace.clone(),
            name: key.name.clone(),
            ..Self::on(key.kind.group, key.kind.version, key.kind.plural)
        }
    }

    /// As the rules read it.
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes {
            verb: &self.verb,
            group: self.group,
            resource: self.resource,
            subresource: &self.subresource,
            namespace: &self.namespace,
            name: &self.name,
            path: self.path.as_deref(),
        }
    }
}

fn collection_verb(method: &Method, params: &Params) -> &'static str {
    match *method {
        Method::GET | Method::HEAD if params.flag("watch") => "watch",
        Method::GET | Method::HEAD => "list",
        Method::DELETE => "deletecollection",
        _ => object_verb(method),
    }
}

fn object_verb(method: &Method) -> &'static str {
    match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        // No rule names such a verb, so only who may do everything is told that it is not allowed here.
        _ => "",
    }
}

/// A list of one name is a list of that object: who may see one may watch it.
fn named(params: &Params) -> String {
    let selector = params.text("fieldSelector").unwrap_or_default();
    let name = selector.split(',').find_map(|one| one.strip_prefix("metadata.name="));
    name.map(|name| name.trim_start_matches('=').to_owned()).unwrap_or_default()
}

/// The rules, and of which versions.
pub(super) type Indexed = (Versions, Rules);

impl Api {
    /// Returns the rules as they are shown now, read anew only if roles or bindings have changed.
    pub(super) fn rules(&self) -> Arc<Indexed> {
        let view = self.handle.snapshot();
        let versions = Versions::of(&view);
        if let Some(known) = self.rules.load_full().filter(|known| known.0 == versions) {
            return known;
        }
        let read = Arc::new((versions, Rules::of(&view)));
        self.rules.store(Some(Arc::clone(&read)));
        read
    }

    /// Answers whether `user` may do what is asked.
    pub(super) fn decide(&self, user: &User, asked: &Attributes<'_>) -> Decision {
        // Most requests are an administrator's or a component's: no index for them.
        if user.is_admin() {
            return Decision { allowed: true, reason: String::new() };
        }
        self.rules().1.decide(user, asked)
    }

    /// Checks that `user` may do what is asked. Returns why.
    ///
    /// # Errors
    /// 403, in upstream's words.
    pub(super) fn authorize(&self, user: &User, asked: &Asked) -> Result<String, Status> {
        let attributes = asked.attributes();
        let mut decision = self.decide(user, &attributes);
        if !decision.allowed && is_session(asked) {
            // Upstream's clients ask by GET or by POST for the same thing; either right will do.
            let other = Attributes { verb: "create", ..attributes };
            let second = self.decide(user, &other);
            if second.allowed {
                decision = second;
            }
        }
        if decision.allowed { Ok(decision.reason) } else { Err(refused(user, asked, &decision.reason)) }
    }

    /// Checks that `user` does not give away rights by writing `after` where `before` was.
    ///
    /// # Errors
    /// 403; 404 if a role is bound that is not there.
    pub(super) fn may_grant(
        &self,
        user: &User,
        key: &Key,
        before: Option<&Value>,
        after: &Value,
    ) -> Result<(), Status> {
        if user.is_admin() || key.kind.group != ROLE.group {
            return Ok(());
        }
        escalation::check(&self.rules().1, user, key, before, after).map_err(|why| match why {
            Refused::Escalation(text) => Status::forbidden(key, &text),
            Refused::NoRole { resource, name } if resource == ROLE.plural => {
                Status::not_found(&Key::new(&ROLE, key.namespace.as_str(), name))
            }
            Refused::NoRole { name, .. } => Status::not_found(&Key::cluster(&CLUSTER_ROLE, name)),
        })
    }
}

fn is_session(asked: &Asked) -> bool {
    let sessions = [Subresource::Exec, Subresource::Attach, Subresource::PortForward].map(subresource_name);
    asked.resource == "pods" && asked.verb == "get" && sessions.contains(&asked.subresource.as_str())
}

/// Says that it may not be done.
pub(super) fn refused(user: &User, asked: &Asked, reason: &str) -> Status {
    let attributes = asked.attributes();
    let mut text = attributes.refusal(&user.name);
    if !reason.is_empty() {
        text = format!("{text}: {reason}");
    }
    if asked.path.is_some() {
        return Status::may_not(format!("forbidden: {text}"), Details::default());
    }
    let dot = if asked.group.is_empty() { "" } else { "." };
    let mut what = format!("{}{dot}{}", asked.resource, asked.group);
    if !asked.name.is_empty() {
        what = format!("{what} {:?}", asked.name);
    }
    let details = Details { name: asked.name.clone(), group: asked.group, kind: asked.resource, ..Details::default() };
    Status::may_not(format!("{what} is forbidden: {text}"), details)
}
