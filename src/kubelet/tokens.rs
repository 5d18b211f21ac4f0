//! The service account tokens of a pod's volumes: made by this node with its own key, and made anew in time.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};

use crate::object::{Key, kinds};
use crate::store::{Entry, Snapshot};
use crate::time::{Mono, Now};
use crate::trust::Issuer;
use crate::trust::service_account::{Bound, Claims, ISSUER, Kubernetes, LIFETIME, SHORTEST};

/// A token that is at most this old is kept, however long it lives.
const OLDEST: Duration = Duration::from_secs(24 * 3600);

/// What a token is for, and how long it lives, in seconds: sources that ask for the same share it.
type Wanted = (String, u64);

/// The tokens of one pod.
#[derive(Debug, Default)]
pub(super) struct Tokens(BTreeMap<Wanted, Token>);

#[derive(Debug)]
struct Token {
    text: String,
    /// The uid of the account that it is of.
    account: String,
    renew: Mono,
}

impl Tokens {
    /// Returns when the first of them is to be made anew.
    pub fn due(&self) -> Option<Mono> {
        self.0.values().map(|token| token.renew).min()
    }
}

/// What makes tokens.
pub(super) struct Mint<'a> {
    pub issuer: Option<&'a Issuer>,
    pub node: &'a str,
    pub now: Now,
    pub tokens: &'a mut Tokens,
}

impl Mint<'_> {
    /// Returns the token that a volume asks for: the one it has, or a new one in time.
    ///
    /// # Errors
    /// The pod's ServiceAccount is not there, or this node makes no tokens.
    pub fn token(
        &mut self,
        view: &Snapshot,
        pod: &Pod,
        wanted: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let issuer = self.issuer.ok_or("this node makes no service account tokens")?;
        let account = account(view, pod)?;
        let uid = account.uid.to_string();
        let audience = wanted.audience.clone().filter(|a| !a.is_empty()).unwrap_or_else(|| ISSUER.to_owned());
        let life = wanted.expiration_seconds.and_then(|s| u64::try_from(s).ok()).map_or(LIFETIME, Duration::from_secs);
        let life = life.max(SHORTEST);
        let key = (audience.clone(), life.as_secs());
        if let Some(known) = self.tokens.0.get(&key)
            && known.account == uid
            && self.now.mono < known.renew
        {
            return Ok(known.text.clone());
        }
        let of = |entry: &Entry| Bound { name: entry.key.name.clone(), uid: entry.uid.to_string() };
        let meta = &pod.metadata;
        let kubernetes = Kubernetes {
            namespace: account.key.namespace.clone(),
            node: view.get(&Key::cluster(&kinds::NODE, self.node)).map(|node| of(node)),
            pod: Some(Bound { name: meta.name.clone().unwrap_or_default(), uid: meta.uid.clone().unwrap_or_default() }),
            secret: None,
            serviceaccount: of(account),
        };
        let claims = Claims::new(issuer.id(), kubernetes, vec![audience], self.now.wall, Some(life));
        let text = issuer.sign(&claims);
        let renew = self.now.mono + (life * 4 / 5).min(OLDEST);
        self.tokens.0.insert(key, Token { text: text.clone(), account: uid, renew });
        Ok(text)
    }
}

/// Returns the key of a pod's ServiceAccount.
pub(super) fn account_key(pod: &Pod) -> Key {
    let spec = pod.spec.as_ref();
    let name = spec.and_then(|spec| spec.service_account_name.as_deref()).filter(|name| !name.is_empty());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Key::new(&kinds::SERVICE_ACCOUNT, namespace, name.unwrap_or("default"))
}

fn account<'a>(view: &'a Snapshot, pod: &Pod) -> Result<&'a Entry, String> {
    let key = account_key(pod);
    let found = view.get(&key).map(|entry| &**entry);
    found.ok_or_else(|| format!("failed to fetch token: serviceaccounts {:?} not found", key.name))
}
