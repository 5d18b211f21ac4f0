//! Who is asking: a certificate that the connection has proven, a token that the request carries, or nobody.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::ids::NodeId;
use crate::object::Key;
use crate::object::kinds::{NODE, POD, SECRET, SERVICE_ACCOUNT};
use crate::store::Snapshot;
use crate::time::Wall;
use crate::trust::service_account::{self, Bound, Claims, ISSUER};
use crate::trust::{Issuer, User};

use super::status::Status;

/// What a client has shown when its connection was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// No certificate.
    Nothing,
    /// One that proves nothing here.
    Worthless,
    /// Who it is.
    Proven(User),
}

/// What signs service account tokens, and whose are believed. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    /// This member.
    pub issuer: Issuer,
    /// Lists the other members.
    pub members: Arc<dyn Fn() -> BTreeSet<NodeId> + Send + Sync>,
}

impl Tokens {
    /// Reads a token and checks that what it is bound to is still there.
    ///
    /// # Errors
    /// One sentence, for the log and for `TokenReview`.
    pub fn check(&self, token: &str, view: &Snapshot, now: Wall) -> Result<Claims, String> {
        let is_member = |id: &NodeId| *id == self.issuer.id() || (self.members)().contains(id);
        let claims = service_account::read(token, is_member, now).map_err(|bad| bad.to_string())?;
        lives(view, &claims)?;
        Ok(claims)
    }

    /// Returns every member's id, this one's too.
    pub fn signers(&self) -> BTreeSet<NodeId> {
        let mut all = (self.members)();
        all.insert(self.issuer.id());
        all
    }
}

/// Checks that the ServiceAccount and what the token is bound to are still there: a token dies with them.
fn lives(view: &Snapshot, claims: &Claims) -> Result<(), String> {
    let kubernetes = &claims.kubernetes;
    let is = |key: Key, bound: &Bound| match view.get(&key) {
        Some(entry) if entry.uid.to_string() == bound.uid => Ok(()),
        Some(entry) => Err(format!("{key} UID ({}) does not match claim ({})", entry.uid, bound.uid)),
        None => Err(format!("service account token has been invalidated: {key} is gone")),
    };
    let home = kubernetes.namespace.as_str();
    let within = |kind, bound: &Bound| Key::new(kind, home, bound.name.as_str());
    is(within(&SERVICE_ACCOUNT, &kubernetes.serviceaccount), &kubernetes.serviceaccount)?;
    if let Some(pod) = &kubernetes.pod {
        is(within(&POD, pod), pod)?;
    }
    if let Some(secret) = &kubernetes.secret {
        is(within(&SECRET, secret), secret)?;
    }
    if let (Some(node), None) = (&kubernetes.node, &kubernetes.pod) {
        is(Key::cluster(&NODE, node.name.as_str()), node)?;
    }
    Ok(())
}

/// Tells who sends a request. A certificate that proves somebody counts before a token.
///
/// # Errors
/// 401 if what was shown proves nobody. Who shows nothing is `system:anonymous`.
pub fn user(
    shown: &Shown,
    headers: &HeaderMap,
    tokens: Option<&Tokens>,
    view: &Snapshot,
    now: Wall,
) -> Result<User, Status> {
    if let Shown::Proven(user) = shown {
        return Ok(user.clone().authenticated());
    }
    if let Some(token) = bearer(headers) {
        let checked = tokens.ok_or_else(|| "no tokens are believed here".to_owned());
        let claims = checked.and_then(|tokens| tokens.check(token, view, now)).map_err(|why| {
            tracing::debug!(why, "token refused");
            Status::unauthorized()
        })?;
        if !claims.is_for(&[ISSUER.to_owned()]) {
            return Err(Status::unauthorized());
        }
        return Ok(claims.user());
    }
    if *shown == Shown::Worthless { Err(Status::unauthorized()) } else { Ok(User::anonymous()) }
}

/// Reads `Authorization: Bearer ...`. Another scheme proves nothing and is passed over, as upstream does.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|token| !token.is_empty())
}
