//! Requests' bodies: their size, their form, and the options that may come in body or query.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use super::params::Params;
use super::status::Status;
use crate::object::decode;
use crate::object::protobuf::{self, Envelope};
use crate::object::raw::Raw;

/// How many bytes a body may have, as upstream limits it.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// Reads a body.
///
/// # Errors
/// 413 if it is longer than [`MAX_BODY`], 400 if it ends before its time.
pub async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Status> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|n| n > MAX_BODY) {
        return Err(Status::too_large(MAX_BODY));
    }
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(e) if e.is::<LengthLimitError>() => Err(Status::too_large(MAX_BODY)),
        Err(e) => Err(Status::bad_request(format!("the body could not be read: {e}"))),
    }
}

/// Returns the media type of the body without its parameters, lower-case; empty if it is not named.
pub fn media_type(headers: &HeaderMap) -> String {
    let text = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads options: JSON (also if the client does not name the type), YAML or protobuf of meta/v1's `kind`; bounded in
/// depth and size.
///
/// # Errors
/// 415 for another form, 400 for a malformed one.
pub fn options(kind: &str, headers: &HeaderMap, bytes: &[u8]) -> Result<Value, Status> {
    let malformed = |e: &dyn std::fmt::Display| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type Object): {e}"))
    };
    match media_type(headers).as_str() {
        "" | "application/json" => Raw::json(bytes).map(Raw::into_value).map_err(|e| malformed(&e)),
        "application/yaml" => Raw::yaml(bytes).map(Raw::into_value).map_err(|e| malformed(&e)),
        protobuf::MEDIA_TYPE => message(kind, bytes).map(Raw::into_value).map_err(|e| malformed(&e)),
        _ => Err(Status::unsupported_media_type(decode::UNKNOWN_FORMAT)),
    }
}

/// Clients tag options with the version of the group they go to, so that only the kind says what they are.
fn message(kind: &str, bytes: &[u8]) -> Result<Raw, String> {
    let envelope = Envelope::open(bytes)?;
    if envelope.kind != kind {
        return Ok(envelope.type_meta());
    }
    envelope.read(&format!("io.k8s.apimachinery.pkg.apis.meta.v1.{kind}"))
}

/// Reads `dryRun`, of the query and of a body's options.
///
/// # Errors
/// 422 for anything but `All`; `kind` names the options it stands in.
pub fn dry_run(kind: &'static str, params: &Params, in_body: &[Value]) -> Result<bool, Status> {
    let in_body = in_body.iter().map(|v| v.as_str().unwrap_or_default());
    let all: Vec<&str> = params.all("dryRun").filter(|v| !v.is_empty()).chain(in_body).collect();
    match all.iter().find(|v| **v != "All") {
        Some(other) => {
            let message = format!("Unsupported value: {other:?}: supported values: \"All\"");
            Err(Status::invalid_options(kind, "dryRun", message))
        }
        None => Ok(!all.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn headers(media: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, media.parse().unwrap());
        headers
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_announced_or_not() {
        let long = || Body::from(vec![b' '; MAX_BODY + 1]);
        let mut announced = HeaderMap::new();
        announced.insert(CONTENT_LENGTH, (MAX_BODY + 1).into());
        for headers in [HeaderMap::new(), announced] {
            let status = read(&headers, long()).await.unwrap_err();
            assert_eq!(status.code, 413);
            assert_eq!(status.message, "Request entity too large: limit is 3145728");
        }
        assert_eq!(read(&HeaderMap::new(), Body::from(vec![b' '; MAX_BODY])).await.unwrap().len(), MAX_BODY);
    }

    #[test]
    fn json_and_yaml_are_read_and_nothing_else() {
        assert_eq!(options("DeleteOptions", &HeaderMap::new(), b"{\"a\":1}").unwrap(), json!({"a": 1}));
        assert_eq!(
            options("DeleteOptions", &headers("Application/JSON; charset=utf-8"), b"{\"a\":1}").unwrap(),
            json!({"a": 1})
        );
        assert_eq!(options("DeleteOptions", &headers("application/yaml"), b"a: 1").unwrap(), json!({"a": 1}));
        assert_eq!(
            options("DeleteOptions", &headers("application/vnd.kubernetes.protobuf"), b"k8s").unwrap_err().code,
            400
        );
        assert_eq!(options("DeleteOptions", &headers("text/plain"), b"{}").unwrap_err().code, 415);
        assert_eq!(options("DeleteOptions", &headers("application/json"), b"{").unwrap_err().code, 400);
    }

    #[test]
    fn dry_run_is_all_or_nothing() {
        let read = |query: &str, body: &[Value]| dry_run("DeleteOptions", &Params::parse(query), body);
        assert!(!read("", &[]).unwrap());
        assert!(read("dryRun=All", &[]).unwrap());
        assert!(read("", &[json!("All")]).unwrap());
        assert_eq!(read("dryRun=Some", &[]).unwrap_err().code, 422);
    }
}
