//! Errors as clients see them: `Status` objects in upstream's words, with an HTTP code.
//!
//! The only place that knows HTTP codes for what other rooms call by name.

mod refused;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::object::{Key, Kind};

/// An answer that says why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The HTTP code.
    pub code: u16,
    /// CamelCase, what programs branch on.
    pub reason: &'static str,
    /// One sentence for people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<Details>>,
}

/// What a [`Status`] is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The API group.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub group: &'static str,
    /// The plural name; for an invalid object the kind.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: &'static str,
    /// The object's uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// One for each field at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// What is wrong, for programs, as `FieldValueInvalid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// What is wrong, for people.
    pub message: String,
    /// Where, as `spec.ports[0].port`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Details {
    /// Names an object by its resource, as most errors do.
    pub fn of(key: &Key) -> Self {
        Self { name: key.name.clone(), group: key.kind.group, kind: key.kind.plural, ..Self::default() }
    }

    /// Names an object by its kind, as validation errors do.
    pub fn of_kind(kind: &Kind, name: &str) -> Self {
        Self { name: name.to_owned(), group: kind.group, kind: kind.kind, ..Self::default() }
    }
}

impl Status {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: None }
    }

    fn about(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401: who is asking?
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403: understood and refused.
    pub fn forbidden(key: &Key, message: &str) -> Self {
        let text = format!("{} {:?} is forbidden: {message}", key.kind, key.name);
        Self::new(403, "Forbidden", text).about(Details::of(key))
    }

    /// 403: who asks has no right to it.
    pub fn may_not(message: String, details: Details) -> Self {
        Self::new(403, "Forbidden", message).about(details)
    }

    /// 405: the definition of the kind is on its way out.
    pub fn terminating_definition(verb: &str) -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            format!("{verb} not allowed while custom resource definition is terminating"),
        )
    }

    /// What an admission webhook says that refuses. `reason` counts if it is one of upstream's.
    pub fn refused_by_webhook(code: u16, reason: &str, message: String) -> Self {
        const REASONS: [&str; 17] = [
            "AlreadyExists",
            "BadRequest",
            "Conflict",
            "Expired",
            "Forbidden",
            "Gone",
            "InternalError",
            "Invalid",
            "MethodNotAllowed",
            "NotAcceptable",
            "NotFound",
            "RequestEntityTooLarge",
            "ServiceUnavailable",
            "Timeout",
            "TooManyRequests",
            "Unauthorized",
            "UnsupportedMediaType",
        ];
        Self::new(code, REASONS.into_iter().find(|known| *known == reason).unwrap_or_default(), message)
    }

    /// 500, in words that are whole already.
    pub fn internal_error(message: String) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// 409: refused as things are.
    pub fn not_now(why: String) -> Self {
        Self::new(409, "Conflict", why)
    }

    /// 404: no such object.
    pub fn not_found(key: &Key) -> Self {
        Self::new(404, "NotFound", format!("{} {:?} not found", key.kind, key.name)).about(Details::of(key))
    }

    /// 404: no such path.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").about(Details::default())
    }

    /// 405: the path is served, but not with this method.
    pub fn method_not_allowed() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
            .about(Details::default())
    }

    /// 406: the client takes nothing that is served here.
    pub fn not_acceptable() -> Self {
        let message = "only the following media types are accepted: application/json, application/yaml";
        Self::new(406, "NotAcceptable", message)
    }

    /// 409: the name is taken.
    pub fn already_exists(key: &Key) -> Self {
        Self::new(409, "AlreadyExists", format!("{} {:?} already exists", key.kind, key.name)).about(Details::of(key))
    }

    /// 409: what the client assumed does not hold.
    pub fn conflict(key: &Key, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {:?}: {why}", key.kind, key.name);
        Self::new(409, "Conflict", message).about(Details::of(key))
    }

    /// 409: the object was changed since the client read it.
    pub fn modified(key: &Key) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(key, why)
    }

    /// 409: others own fields that an apply would change.
    pub fn field_conflicts(message: String, causes: Vec<Cause>) -> Self {
        Self::new(409, "Conflict", message).about(Details { causes, ..Details::default() })
    }

    /// 410: what was asked for is forgotten; list again.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413: a body over the limit, which is in bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    /// 415: a body in a form that is not read here.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 422: what `details` names by its kind breaks the rules, at its causes.
    pub fn invalid(details: Details) -> Self {
        let text =
            |c: &Cause| if c.field.is_empty() { c.message.clone() } else { format!("{}: {}", c.field, c.message) };
        let texts: Vec<_> = details.causes.iter().map(text).collect();
        let errors = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let dot = if details.group.is_empty() { "" } else { "." };
        let (kind, group, name) = (details.kind, details.group, &details.name);
        Self::new(422, "Invalid", format!("{kind}{dot}{group} {name:?} is invalid: {errors}")).about(details)
    }

    /// 422: the options of a request (`ListOptions`, `CreateOptions` ...) contradict each other.
    pub fn invalid_options(kind: &'static str, field: &str, message: impl Into<String>) -> Self {
        let cause = Cause { reason: "FieldValueInvalid".into(), message: message.into(), field: field.into() };
        Self::invalid(Details { group: "meta.k8s.io", kind, causes: vec![cause], ..Details::default() })
    }

    /// 422: an option that must be given is not.
    pub fn missing_option(kind: &'static str, field: &str, message: &str) -> Self {
        let cause = Cause { reason: "FieldValueRequired".into(), message: message.into(), field: field.into() };
        Self::invalid(Details { group: "meta.k8s.io", kind, causes: vec![cause], ..Details::default() })
    }

    /// 422: a patch that is well-formed and does not fit the object.
    pub fn unprocessable(why: String) -> Self {
        let cause = Cause { reason: "UnexpectedServerResponse".into(), message: why, field: "patch".into() };
        let details = Details { causes: vec![cause], ..Details::default() };
        Self::new(422, "Invalid", "the server rejected our request due to an error in our request").about(details)
    }

    /// 413: a patch that asks for too much.
    pub fn patch_too_large(message: String) -> Self {
        Self::new(413, "RequestEntityTooLarge", message)
    }

    /// 429: not now, and why.
    pub fn too_many_requests(message: &str, cause: &str, why: String) -> Self {
        let cause = Cause { reason: cause.to_owned(), message: why, field: String::new() };
        Self::new(429, "TooManyRequests", message).about(Details { causes: vec![cause], ..Details::default() })
    }

    /// 500: what is asked for cannot be done here, ever.
    pub fn not_supported(message: &str) -> Self {
        Self::new(500, "InternalError", message)
    }

    /// 500: our own fault, or that of what we rely on.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let details = Details {
            causes: vec![Cause { reason: String::new(), message: message.to_string(), field: String::new() }],
            ..Details::default()
        };
        Self::new(500, "InternalError", format!("Internal error occurred: {message}")).about(details)
    }

    /// 503: not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504: it took too long.
    pub fn timeout(message: &str) -> Self {
        let details = Details { retry_after_seconds: Some(1), ..Details::default() };
        Self::new(504, "Timeout", format!("Timeout: {message}")).about(details)
    }

    /// 504: a revision from the future was asked for.
    pub fn too_large_revision(asked: u64, current: u64) -> Self {
        let mut status = Self::timeout(&format!("Too large resource version: {asked}, current: {current}"));
        let message = "Too large resource version".into();
        let cause = Cause { reason: "ResourceVersionTooLarge".into(), message, field: String::new() };
        status.details.get_or_insert_default().causes.push(cause);
        status
    }

    /// Writes the document: compact, members in upstream's order, no newline.
    pub fn json(&self) -> Vec<u8> {
        document(&Document {
            status: "Failure",
            message: &self.message,
            reason: self.reason,
            details: self.details.as_deref(),
            code: self.code,
            ..Document::default()
        })
    }

    /// Makes the answer.
    pub fn response(&self) -> Response<Body> {
        let mut body = self.json();
        body.push(b'\n');
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.details.as_ref().and_then(|d| d.retry_after_seconds) {
            headers.insert(HeaderName::from_static("retry-after"), HeaderValue::from(seconds));
        }
        response
    }
}

/// Writes the `Status` that tells of a success, as for a deletion.
pub fn success(details: &Details) -> Vec<u8> {
    document(&Document { status: "Success", details: Some(details), ..Document::default() })
}

/// Writes the `Status` that tells that something was made of which there is nothing to show, with its newline.
pub fn created() -> Vec<u8> {
    let mut text = document(&Document { status: "Success", code: 201, ..Document::default() });
    text.push(b'\n');
    text
}

/// The members of a Status in the order of upstream's text; the generated type writes another order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Details>,
    #[serde(skip_serializing_if = "is_zero")]
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

impl Default for Document<'_> {
    fn default() -> Self {
        Self {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "",
            message: "",
            reason: "",
            details: None,
            code: 0,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

fn document(document: &Document<'_>) -> Vec<u8> {
    serde_json::to_vec(document).expect("a Status is plain data")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::kinds;

    fn web() -> Key {
        Key::new(&kinds::DEPLOYMENT, "shop", "web")
    }

    fn text(status: &Status) -> String {
        String::from_utf8(status.json()).unwrap()
    }

    #[test]
    fn members_come_in_upstreams_order() {
        assert_eq!(
            text(&Status::not_found(&web())),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"web\" not found","reason":"NotFound","details":{"name":"web","group":"apps","kind":"deployments"},"code":404}"#
        );
        assert_eq!(
            text(&Status::unauthorized()),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#
        );
        let details = Details { uid: "u".into(), ..Details::of(&web()) };
        assert_eq!(
            String::from_utf8(success(&details)).unwrap(),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"web","group":"apps","kind":"deployments","uid":"u"}}"#
        );
    }

    #[test]
    fn several_causes_are_listed_in_brackets() {
        let cause = |field: &str| Cause { reason: "x".into(), message: "Required value".into(), field: field.into() };
        let details = Details { causes: vec![cause("a"), cause("b")], ..Details::of_kind(&kinds::DEPLOYMENT, "web") };
        let status = Status::invalid(details);
        assert_eq!(status.message, "Deployment.apps \"web\" is invalid: [a: Required value, b: Required value]");
    }

    #[test]
    fn an_answer_says_when_to_come_back() {
        let response = Status::too_large_revision(9, 3).response();
        assert_eq!(response.status(), 504);
        assert_eq!(response.headers()["retry-after"], "1");
    }
}
