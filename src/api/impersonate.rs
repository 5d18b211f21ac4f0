//! Acting for somebody else: who may, and as whom.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};

use crate::trust::User;
use crate::trust::user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};

use super::Api;
use super::authorize::{Asked, refused};
use super::params::decode;
use super::status::Status;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// Reads whom a request acts for. `None` if it is for who sends it.
///
/// # Errors
/// 400 if groups or other things are named without a user.
pub fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()).collect()
    };
    let first = |name: &str| values(name).into_iter().next().unwrap_or_default();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.insert(decode(key).to_lowercase(), values(name.as_str()));
        }
    }
    let user = User { name: first(USER), uid: first(UID), groups: values(GROUP), extra };
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user == User::default() {
        return Ok(None);
    }
    Err(Status::bad_request("requested groups, a uid or extras without impersonating a user"))
}

/// Takes out of a request what says who sends it, and for whom.
pub fn forget(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    let names: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

impl Api {
    /// Checks that `user` may act for `other`, and returns who then asks.
    ///
    /// # Errors
    /// 403, in upstream's words.
    pub(super) fn impersonate(&self, user: &User, mut other: User) -> Result<User, Status> {
        for asked in rights(&other) {
            let decision = self.decide(user, &asked.attributes());
            if !decision.allowed {
                return Err(refused(user, &asked, &decision.reason));
            }
        }
        if other.groups.is_empty()
            && let Some((namespace, _)) = service_account(&other.name)
        {
            other.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
        }
        let group = if other.name == ANONYMOUS { UNAUTHENTICATED } else { AUTHENTICATED };
        let known = |group: &String| group == AUTHENTICATED || group == UNAUTHENTICATED;
        if !other.groups.iter().any(known) {
            other.groups.push(group.to_owned());
        }
        Ok(other)
    }
}

/// The rights that acting for a user takes: one for each thing that is claimed.
fn rights(other: &User) -> Vec<Asked> {
    let on = |group: &'static str, resource: &'static str, subresource: &str, namespace: &str, name: &str| Asked {
        verb: "impersonate".into(),
        group,
        version: "v1",
        resource,
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        path: None,
    };
    let mut all = vec![match service_account(&other.name) {
        Some((namespace, name)) => on("", "serviceaccounts", "", namespace, name),
        None => on("", "users", "", "", &other.name),
    }];
    all.extend(other.groups.iter().map(|group| on("", "groups", "", "", group)));
    for (key, values) in &other.extra {
        all.extend(values.iter().map(|value| on(AUTHENTICATION, "userextras", key, "", value)));
    }
    if !other.uid.is_empty() {
        all.push(on(AUTHENTICATION, "uids", "", "", &other.uid));
    }
    all
}

/// Reads `system:serviceaccount:NAMESPACE:NAME`.
fn service_account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}
