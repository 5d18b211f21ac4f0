//! Service account tokens: JSON web tokens that say which ServiceAccount asks, signed by the member that issued them.
//!
//! Every member signs with its own key, which every other knows from its membership record: no secret is shared, no
//! node must be asked, and a token is checked by any node alone. One algorithm is taken, `EdDSA` over Ed25519, and the
//! header's `kid` is the member's id, which is its public key; so nothing in a token chooses how it is checked. What is
//! signed begins with `eyJ`, as nothing else does that a member signs, so no signature does for two purposes.
//!
//! That the ServiceAccount, and the pod that a token is bound to, still exist is for others to check: they see the
//! cluster's state.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::ids::{NodeId, Uid};
use crate::time::Wall;

use super::User;
use super::user::AUTHENTICATED;

/// Who issues tokens, and the audience of a token that names none: the API.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Where the keys are.
pub const KEYS_PATH: &str = "/openid/v1/jwks";
/// The shortest life that a token is given.
pub const SHORTEST: Duration = Duration::from_secs(600);
/// The life of a token for which none is asked.
pub const LIFETIME: Duration = Duration::from_secs(3600);
/// The longest life, as upstream's default for its own tokens: a year.
pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// A text longer than this is no token of ours.
const MAX_TEXT: usize = 16 * 1024;
const ALGORITHM: &str = "EdDSA";

/// An object that a token is bound to: it is worth nothing once that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// For whom it is.
    #[serde(rename = "aud")]
    pub audiences: Vec<String>,
    /// Until when, in seconds; none for a token that lives as long as its Secret.
    #[serde(rename = "exp", skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
    /// When it was issued, in seconds.
    #[serde(rename = "iat")]
    pub issued: i64,
    #[serde(rename = "iss")]
    issuer: String,
    /// Its own id.
    #[serde(rename = "jti")]
    pub id: String,
    /// The rest, in Kubernetes' words.
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
    #[serde(rename = "nbf")]
    not_before: i64,
    #[serde(rename = "sub")]
    subject: String,
}

/// The part of the claims that is Kubernetes' own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    /// The ServiceAccount's namespace.
    pub namespace: String,
    /// The node of the pod that it is bound to, or that it is bound to itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<Bound>,
    /// The pod that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Bound>,
    /// The Secret that it is bound to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Bound>,
    /// The ServiceAccount.
    pub serviceaccount: Bound,
}

/// Why a text is no token of this cluster, or not a good one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJwt {
    /// Not of the form, or of another algorithm.
    #[error("not a token of this cluster")]
    Foreign,
    /// Signed by nobody who may.
    #[error("the token is signed by no member of this cluster")]
    Stranger,
    /// Not signed by whom it names.
    #[error("the token's signature is wrong")]
    Forged,
    /// Too late.
    #[error("service account token has expired")]
    Expired,
    /// Too early.
    #[error("service account token is not valid yet")]
    Early,
}

impl Claims {
    /// Makes the claims of a token that `issuer` gives to a ServiceAccount now. `life`: none for ever, which only a token
    /// that is bound to a Secret should have.
    pub fn new(
        issuer: NodeId,
        kubernetes: Kubernetes,
        audiences: Vec<String>,
        now: Wall,
        life: Option<Duration>,
    ) -> Self {
        let issued = now.0.div_euclid(1_000_000);
        let seconds = |life: Duration| i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
        let subject = format!("system:serviceaccount:{}:{}", kubernetes.namespace, kubernetes.serviceaccount.name);
        let bound = [&kubernetes.pod, &kubernetes.secret, &kubernetes.node].into_iter().flatten();
        let bound: String = bound.map(|bound| bound.uid.as_str()).collect();
        let moment = now.0.to_be_bytes();
        let seed =
            [&issuer.0, &moment[..], subject.as_bytes(), bound.as_bytes(), audiences.join(" ").as_bytes()].concat();
        Self {
            expires: life.map(|life| issued.saturating_add(seconds(life))),
            issued,
            issuer: ISSUER.to_owned(),
            id: Uid::derived(&[b"token", &seed]).to_string(),
            not_before: issued,
            subject,
            audiences,
            kubernetes,
        }
    }

    /// Returns whom the token proves.
    pub fn user(&self) -> User {
        let Kubernetes { namespace, node, pod, serviceaccount, .. } = &self.kubernetes;
        let mut extra = BTreeMap::new();
        let mut add = |name: &str, value: String| {
            extra.insert(format!("authentication.kubernetes.io/{name}"), vec![value]);
        };
        add("credential-id", format!("JTI={}", self.id));
        for (what, bound) in [("node", node), ("pod", pod)] {
            if let Some(bound) = bound {
                add(&format!("{what}-name"), bound.name.clone());
                add(&format!("{what}-uid"), bound.uid.clone());
            }
        }
        User {
            name: self.subject.clone(),
            uid: serviceaccount.uid.clone(),
            groups: vec![
                "system:serviceaccounts".into(),
                format!("system:serviceaccounts:{namespace}"),
                AUTHENTICATED.into(),
            ],
            extra,
        }
    }

    /// Tells whether the token is for one of these audiences.
    pub fn is_for(&self, audiences: &[String]) -> bool {
        self.audiences.iter().any(|own| audiences.contains(own))
    }
}

/// What signs tokens: a member with its key. Cheap to clone.
#[derive(Clone)]
pub struct Issuer(SigningKey);

impl Issuer {
    /// Makes the issuer of the member whose key this is.
    pub fn new(key: SigningKey) -> Self {
        Self(key)
    }

    /// Returns the member.
    pub fn id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Writes and signs a token.
    pub fn sign(&self, claims: &Claims) -> String {
        let header = json!({"alg": ALGORITHM, "kid": self.id().to_string(), "typ": "JWT"});
        let payload = serde_json::to_vec(claims).expect("claims are plain data");
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.0.sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

impl PartialEq for Issuer {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Issuer {}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Issuer").field(&self.id()).finish()
    }
}

/// Reads a token that a member has signed and that is valid now. `is_member` says who is one.
///
/// # Errors
/// [`BadJwt`]; it never repeats the text.
pub fn read(token: &str, is_member: impl Fn(&NodeId) -> bool, now: Wall) -> Result<Claims, BadJwt> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(BadJwt::Foreign);
    };
    if token.len() > MAX_TEXT {
        return Err(BadJwt::Foreign);
    }
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| BadJwt::Foreign);
    let member = signer(&bytes(header)?)?;
    if !is_member(&member) {
        return Err(BadJwt::Stranger);
    }
    let key = VerifyingKey::from_bytes(&member.0).map_err(|_| BadJwt::Stranger)?;
    let proof = Signature::from_slice(&bytes(signature)?).map_err(|_| BadJwt::Foreign)?;
    let signed = &token[..header.len() + 1 + payload.len()];
    key.verify_strict(signed.as_bytes(), &proof).map_err(|_| BadJwt::Forged)?;
    let claims: Claims = serde_json::from_slice(&bytes(payload)?).map_err(|_| BadJwt::Foreign)?;
    if claims.issuer != ISSUER {
        return Err(BadJwt::Foreign);
    }
    let (now, leeway) = (now.0.div_euclid(1_000_000), i64::try_from(LEEWAY.as_secs()).unwrap_or_default());
    if claims.expires.is_some_and(|expires| now > expires.saturating_add(leeway)) {
        return Err(BadJwt::Expired);
    }
    if claims.expires.is_none() && claims.kubernetes.secret.is_none() {
        return Err(BadJwt::Expired);
    }
    if claims.not_before > now.saturating_add(leeway) {
        return Err(BadJwt::Early);
    }
    Ok(claims)
}

/// Reads who signed, from a token's header.
fn signer(header: &[u8]) -> Result<NodeId, BadJwt> {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
        kid: NodeId,
    }
    let header: Header = serde_json::from_slice(header).map_err(|_| BadJwt::Foreign)?;
    if header.alg == ALGORITHM { Ok(header.kid) } else { Err(BadJwt::Foreign) }
}

/// Tells whether a text has the form of a token, good or not.
pub fn looks_like_one(text: &str) -> bool {
    text.len() <= MAX_TEXT && text.split('.').count() == 3
}

/// Returns the members' keys as a JSON web key set.
pub fn keys<'a>(members: impl Iterator<Item = &'a NodeId>) -> Value {
    let key = |id: &NodeId| {
        let (kid, x) = (id.to_string(), URL_SAFE_NO_PAD.encode(id.0));
        json!({"use": "sig", "kty": "OKP", "kid": kid, "crv": "Ed25519", "alg": ALGORITHM, "x": x})
    };
    json!({"keys": members.map(key).collect::<Vec<_>>()})
}

/// Returns the document that tells others where the keys are.
pub fn discovery() -> Value {
    json!({
        "issuer": ISSUER,
        "jwks_uri": format!("{ISSUER}{KEYS_PATH}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall(1_763_882_730_000_000);

    fn issuer(seed: u8) -> Issuer {
        Issuer::new(SigningKey::from_bytes(&[seed; 32]))
    }

    fn claims(life: Option<Duration>) -> Claims {
        let bound = |name: &str| Bound { name: name.into(), uid: format!("{name}-uid") };
        let kubernetes = Kubernetes {
            namespace: "shop".into(),
            node: Some(bound("n1")),
            pod: Some(bound("web")),
            secret: None,
            serviceaccount: bound("robot"),
        };
        Claims::new(issuer(7).id(), kubernetes, vec![ISSUER.into()], NOW, life)
    }

    fn later(seconds: u64) -> Wall {
        NOW + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_read_back_by_whoever_knows_the_member() {
        let token = issuer(7).sign(&claims(Some(LIFETIME)));
        let read = read(&token, |id| *id == issuer(7).id(), NOW).unwrap();
        assert_eq!(read, claims(Some(LIFETIME)));
        let user = read.user();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:shop:robot", "robot-uid"));
        assert_eq!(user.groups, ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"]);
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["web"]);
    }

    #[test]
    fn claims_are_upstreams() {
        let claims = serde_json::to_value(claims(Some(LIFETIME))).unwrap();
        let seconds = NOW.0 / 1_000_000;
        assert_eq!(
            claims,
            json!({
                "aud": [ISSUER], "exp": seconds + 3600, "iat": seconds, "nbf": seconds, "iss": ISSUER,
                "jti": claims["jti"], "sub": "system:serviceaccount:shop:robot",
                "kubernetes.io": {
                    "namespace": "shop", "node": {"name": "n1", "uid": "n1-uid"},
                    "pod": {"name": "web", "uid": "web-uid"},
                    "serviceaccount": {"name": "robot", "uid": "robot-uid"},
                },
            })
        );
    }

    #[test]
    fn strangers_forgers_and_late_comers_are_refused() {
        let token = issuer(7).sign(&claims(Some(LIFETIME)));
        assert_eq!(read(&token, |_| false, NOW), Err(BadJwt::Stranger));
        assert_eq!(read(&token, |_| true, later(3661)), Err(BadJwt::Expired));
        assert!(read(&token, |_| true, later(3659)).is_ok());
        assert_eq!(read(&token, |_| true, Wall(NOW.0 - 61_000_000)), Err(BadJwt::Early));
        assert_eq!(read(&issuer(7).sign(&claims(None)), |_| true, NOW), Err(BadJwt::Expired));
        // Another member's signature under the first one's name.
        let other = issuer(8).sign(&claims(Some(LIFETIME)));
        let (head, rest) = (token.split_once('.').unwrap().0, other.split_once('.').unwrap().1);
        assert_eq!(read(&format!("{head}.{rest}"), |_| true, NOW), Err(BadJwt::Forged));
    }

    #[test]
    fn the_header_cannot_choose_how_it_is_checked() {
        let token = issuer(7).sign(&claims(Some(LIFETIME)));
        let rest = token.split_once('.').unwrap().1;
        let payload = rest.split_once('.').unwrap().0;
        for alg in ["none", "HS256", "ES256", "eddsa"] {
            let header = json!({"alg": alg, "kid": issuer(7).id().to_string()}).to_string();
            let head = URL_SAFE_NO_PAD.encode(header);
            assert_eq!(read(&format!("{head}.{rest}"), |_| true, NOW), Err(BadJwt::Foreign), "{alg}");
            assert_eq!(read(&format!("{head}.{payload}."), |_| true, NOW), Err(BadJwt::Foreign), "{alg}");
        }
    }

    #[test]
    fn no_changed_character_is_accepted() {
        let token = issuer(7).sign(&claims(Some(LIFETIME)));
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let text = String::from_utf8(bytes).unwrap();
            assert!(read(&text, |id| *id == issuer(7).id(), NOW).is_err(), "byte {at}");
        }
        for text in ["", ".", "..", "a.b.c", "eyJ", &"a".repeat(MAX_TEXT * 2)] {
            assert!(read(text, |_| true, NOW).is_err(), "{text:.20}");
        }
    }

    #[test]
    fn keys_are_those_of_the_members() {
        let id = issuer(7).id();
        let keys = keys([&id].into_iter());
        assert_eq!(keys["keys"][0]["kid"], id.to_string());
        assert_eq!(keys["keys"][0]["x"], URL_SAFE_NO_PAD.encode(id.0));
    }
}
