//! The store's refusals in upstream's words.

use crate::object::{Key, kinds};
use crate::store::{Rejected, TooOld};

use super::{Cause, Details, Status};

impl From<TooOld> for Status {
    fn from(e: TooOld) -> Self {
        Self::expired(e.to_string())
    }
}

impl From<Rejected> for Status {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::NotFound { key } => Self::not_found(&key),
            Rejected::AlreadyExists { key } => Self::already_exists(&key),
            Rejected::Stale { key } => Self::modified(&key),
            Rejected::UidMismatch { key, given, found } => Self::conflict(
                &key,
                &format!("Precondition failed: UID in precondition: {given}, UID in object meta: {found}"),
            ),
            Rejected::Projection { key } => {
                let message = format!("{} {:?} is computed by the cluster and cannot be written", key.kind, key.name);
                Self::new(405, "MethodNotAllowed", message).about(Details::of(&key))
            }
            Rejected::NoNamespace { namespace, .. } => Self::not_found(&Key::cluster(&kinds::NAMESPACE, namespace)),
            Rejected::NamespaceTerminating { key, namespace } => terminating(&key, &namespace),
            Rejected::Invalid { key, field, value, message } => {
                let shown = if value.parse::<f64>().is_ok() { value } else { format!("{value:?}") };
                let cause = Cause {
                    reason: "FieldValueInvalid".into(),
                    message: format!("Invalid value: {shown}: {message}"),
                    field,
                };
                let details = Details { causes: vec![cause], ..Details::of_kind(key.kind, &key.name) };
                Self::invalid(details)
            }
            Rejected::Forbidden { key, message } => Self::forbidden(&key, &message),
            Rejected::NotYet { key, message } | Rejected::NoLeader { key, message } => {
                later(Self::unavailable(message), &key)
            }
            Rejected::Unknown { key, message } => later(Self::timeout(&message), &key),
            Rejected::NoRoom { key, message } => {
                Self::new(507, "InsufficientStorage", message).about(Details::of(&key))
            }
            Rejected::Unavailable { message } => Self::unavailable(message),
        }
    }
}

/// Names the object, and when it is worth another try.
fn later(status: Status, key: &Key) -> Status {
    status.about(Details { retry_after_seconds: Some(1), ..Details::of(key) })
}

fn terminating(key: &Key, namespace: &str) -> Status {
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = Status::forbidden(key, &why);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Revision, Uid};

    fn web() -> Key {
        Key::new(&kinds::DEPLOYMENT, "shop", "web")
    }

    #[test]
    fn every_refusal_has_upstreams_code_reason_and_words() {
        let (a, b) = (Uid([1; 16]), Uid([2; 16]));
        let stale = "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; \
                     please apply your changes to the latest version and try again";
        let pod = Key::new(&kinds::POD, "shop", "p");
        let service = Key::new(&kinds::SERVICE, "shop", "s");
        let cases = [
            (Rejected::NotFound { key: web() }, 404, "NotFound", "deployments.apps \"web\" not found".to_owned()),
            (Rejected::AlreadyExists { key: pod.clone() }, 409, "AlreadyExists", "pods \"p\" already exists".into()),
            (Rejected::Stale { key: web() }, 409, "Conflict", stale.into()),
            (
                Rejected::UidMismatch { key: pod.clone(), given: a, found: b },
                409,
                "Conflict",
                format!(
                    "Operation cannot be fulfilled on pods \"p\": Precondition failed: UID in precondition: {a}, \
                     UID in object meta: {b}"
                ),
            ),
            (
                Rejected::NoNamespace { key: pod.clone(), namespace: "shop".into() },
                404,
                "NotFound",
                "namespaces \"shop\" not found".into(),
            ),
            (
                Rejected::NamespaceTerminating { key: pod.clone(), namespace: "shop".into() },
                403,
                "Forbidden",
                "pods \"p\" is forbidden: unable to create new content in namespace shop because it is being \
                 terminated"
                    .into(),
            ),
            (
                Rejected::Invalid {
                    key: service,
                    field: "spec.ports[0].nodePort".into(),
                    value: "30080".into(),
                    message: "provided port is already allocated".into(),
                },
                422,
                "Invalid",
                "Service \"s\" is invalid: spec.ports[0].nodePort: Invalid value: 30080: provided port is already \
                 allocated"
                    .into(),
            ),
            (
                Rejected::Forbidden { key: pod.clone(), message: "no".into() },
                403,
                "Forbidden",
                "pods \"p\" is forbidden: no".into(),
            ),
            (
                Rejected::NoLeader { key: pod.clone(), message: "nobody leads".into() },
                503,
                "ServiceUnavailable",
                "nobody leads".into(),
            ),
            (
                Rejected::Unknown { key: pod.clone(), message: "no answer".into() },
                504,
                "Timeout",
                "Timeout: no answer".into(),
            ),
            (Rejected::NoRoom { key: pod.clone(), message: "full".into() }, 507, "InsufficientStorage", "full".into()),
            (Rejected::Unavailable { message: "stopping".into() }, 503, "ServiceUnavailable", "stopping".into()),
            (
                Rejected::Projection { key: pod },
                405,
                "MethodNotAllowed",
                "pods \"p\" is computed by the cluster and cannot be written".into(),
            ),
        ];
        for (rejected, code, reason, message) in cases {
            let status = Status::from(rejected.clone());
            assert_eq!((status.code, status.reason, status.message), (code, reason, message), "{rejected:?}");
        }
    }

    #[test]
    fn a_watch_that_is_too_far_behind_is_expired() {
        let status = Status::from(TooOld { asked: Revision(3), oldest: Revision(9) });
        assert_eq!((status.code, status.reason), (410, "Expired"));
        assert_eq!(status.message, "too old resource version: 3 (9)");
    }
}
