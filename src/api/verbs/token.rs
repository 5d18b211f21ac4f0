//! `serviceaccounts/token`: a token for whoever may ask for it.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::review::read;
use super::write::{Options, warn};
use crate::api::dispatch::Call;
use crate::api::negotiate::{WHOLE, negotiate};
use crate::api::status::{Cause, Details, Status};
use crate::api::{Api, now, present};
use crate::object::decode::Target;
use crate::object::kinds::{NODE, POD, SECRET};
use crate::object::{Key, Kind, json as text, schema};
use crate::store::{Entry, Snapshot};
use crate::time::Wall;
use crate::trust::service_account::{Bound, Claims, ISSUER, Kubernetes, LIFETIME, LONGEST, SHORTEST};

const GROUP: &str = "authentication.k8s.io";
const KIND: &str = "TokenRequest";

/// Makes a token for the ServiceAccount at `key`.
///
/// # Errors
/// 404 without the account, or what the token shall be bound to; 422 for a life that is too short; 503 if this API makes
/// no tokens.
pub async fn create(api: &Api, key: &Key, call: Call) -> Result<Response<Body>, Status> {
    let form = negotiate(&call.head.headers, WHOLE)?.form;
    let options = Options::parse("CreateOptions", &call.head.headers, &call.params)?;
    let shape = schema::definition("io.k8s.api.authentication.v1.TokenRequest").expect("it is in the schema");
    let target = Target { group: GROUP, version: "v1", kind: KIND, shape };
    let decoded = read(&target, &options, call).await?;
    let (view, now) = (api.handle.snapshot(), now());
    let account = view.get(key).ok_or_else(|| Status::not_found(key))?;
    let mut object = decoded.object;
    let life = life(&object["spec"]["expirationSeconds"], key)?;
    let tokens = api.tokens.as_ref().ok_or_else(|| Status::unavailable("this API makes no tokens"))?;
    let kubernetes = bound(&view, account, &object["spec"]["boundObjectRef"])?;
    let audiences = audiences(&object["spec"]["audiences"]);
    let claims = Claims::new(tokens.issuer.id(), kubernetes, audiences.clone(), now, Some(life));
    object["metadata"] =
        json!({"name": key.name, "namespace": key.namespace, "creationTimestamp": time(now.0.div_euclid(1_000_000))});
    object["spec"]["audiences"] = json!(audiences);
    object["spec"]["expirationSeconds"] = json!(life.as_secs());
    let expires = time(claims.expires.unwrap_or_default());
    object["status"] = json!({"token": tokens.issuer.sign(&claims), "expirationTimestamp": expires});
    Ok(warn(present::document(form, StatusCode::CREATED, text::write(&object)), &decoded.warnings))
}

fn time(seconds: i64) -> Value {
    serde_json::to_value(Wall::from_secs(seconds).time()).expect("a time is plain data")
}

/// Whom a token is for: the API, unless others are named.
pub(super) fn audiences(given: &Value) -> Vec<String> {
    let given = given.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let given: Vec<String> = given.collect();
    if given.is_empty() { vec![ISSUER.to_owned()] } else { given }
}

fn life(asked: &Value, key: &Key) -> Result<Duration, Status> {
    let Some(seconds) = asked.as_i64() else { return Ok(LIFETIME) };
    let invalid = |why: &str| {
        let message = format!("Invalid value: {seconds}: {why}");
        let field = "spec.expirationSeconds".into();
        let causes = vec![Cause { reason: "FieldValueInvalid".into(), message, field }];
        Status::invalid(Details { name: key.name.clone(), group: GROUP, kind: KIND, causes, ..Details::default() })
    };
    let life = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    if life < SHORTEST {
        return Err(invalid("may not specify a duration less than 10 minutes"));
    }
    if seconds > 1 << 32 {
        return Err(invalid("may not specify a duration larger than 2^32 seconds"));
    }
    Ok(life.min(LONGEST))
}

/// Reads what the token shall be bound to, and writes who it is for.
fn bound(view: &Snapshot, account: &Entry, reference: &Value) -> Result<Kubernetes, Status> {
    let of = |entry: &Entry| Bound { name: entry.key.name.clone(), uid: entry.uid.to_string() };
    let mut kubernetes = Kubernetes {
        namespace: account.key.namespace.clone(),
        node: None,
        pod: None,
        secret: None,
        serviceaccount: of(account),
    };
    if !reference.is_object() {
        return Ok(kubernetes);
    }
    let kind = reference["kind"].as_str().unwrap_or_default();
    let find = |kind: &'static Kind, namespace: &str| found(view, kind, namespace, reference);
    match kind {
        "Pod" => {
            let pod = find(&POD, &account.key.namespace)?;
            let object = pod.value();
            if object["spec"]["serviceAccountName"] != account.key.name.as_str() {
                let name = &account.key.name;
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {name:?} to pod running with different serviceaccount name."
                )));
            }
            let node = object["spec"]["nodeName"].as_str().and_then(|name| view.get(&Key::cluster(&NODE, name)));
            (kubernetes.pod, kubernetes.node) = (Some(of(pod)), node.map(|node| of(node)));
        }
        "Secret" => kubernetes.secret = Some(of(find(&SECRET, &account.key.namespace)?)),
        "Node" => kubernetes.node = Some(of(find(&NODE, "")?)),
        other => {
            let why = format!("cannot bind token to object of type {other}: must be one of Node, Pod, Secret");
            return Err(Status::bad_request(why));
        }
    }
    Ok(kubernetes)
}

fn found<'a>(view: &'a Snapshot, kind: &'static Kind, namespace: &str, reference: &Value) -> Result<&'a Entry, Status> {
    let key = Key::new(kind, namespace, reference["name"].as_str().unwrap_or_default());
    let entry = view.get(&key).ok_or_else(|| Status::not_found(&key))?;
    match reference["uid"].as_str() {
        Some(uid) if !uid.is_empty() && uid != entry.uid.to_string() => {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
                 been deleted and then recreated"
            );
            Err(Status::conflict(&key, &why))
        }
        _ => Ok(entry),
    }
}
