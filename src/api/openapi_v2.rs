//! OpenAPI v2: a document without schemas.
//!
//! kubectl asks for it when the v3 documents do not describe the kind it sends: a `v1` `List`, or a kind that is not
//! served. It skips its own validation of what the document does not define, and goes on: the items of a list are
//! validated here one by one, as all objects are, and of an unknown kind it says that it has no match. Without a
//! document it fails with neither.

use axum::body::Body;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Response, StatusCode};
use serde_json::json;

use crate::object::json;

use super::discovery;
use super::negotiate::{WHOLE, negotiate};
use super::present;
use super::status::Status;

/// The form that client-go asks for.
const ASKED: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// How it is named in the answer: an `@` makes it no media type, and client-go refuses it.
const ANSWERED: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const TITLE: &str = "Kubernetes";

/// Answers with the document.
///
/// # Errors
/// 406 if the client takes neither JSON nor gnostic's protobuf.
pub fn document(headers: &HeaderMap) -> Result<Response<Body>, Status> {
    let version = discovery::version();
    let version = version["gitVersion"].as_str().unwrap_or_default();
    let mut accepts = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    if accepts.any(|a| a.contains(ASKED) || a.contains(ANSWERED)) {
        return Ok(present::with_type(StatusCode::OK, ANSWERED, protobuf(version)));
    }
    negotiate(headers, WHOLE)?;
    let text = json!({"swagger": "2.0", "info": {"title": TITLE, "version": version}, "paths": {}});
    Ok(present::with_type(StatusCode::OK, "application/json", json::write(&text)))
}

/// `openapi.v2.Document` of gnostic: swagger = 1, info = 2 (title = 1, version = 2), paths = 8.
fn protobuf(version: &str) -> Vec<u8> {
    let info = [field(1, TITLE.as_bytes()), field(2, version.as_bytes())].concat();
    [field(1, b"2.0"), field(2, &info), field(8, b"")].concat()
}

/// A length-delimited field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|l| *l < 0x80).expect("title and version are short");
    [&[number << 3 | 2, length], content].concat()
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;
    use http_body_util::BodyExt as _;

    use super::*;

    async fn answer(accept: &str) -> (String, Vec<u8>) {
        let headers = HeaderMap::from_iter([(ACCEPT, accept.parse().unwrap())]);
        let response = document(&headers).unwrap();
        let form = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
        (form, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn client_go_gets_protobuf_and_others_json() {
        let (form, bytes) = answer(ASKED).await;
        assert_eq!((form.as_str(), &bytes[..5]), (ANSWERED, &b"\x0a\x032.0"[..]));
        assert_eq!(&bytes[bytes.len() - 2..], b"\x42\0", "an empty `paths`");
        assert_eq!(usize::from(bytes[6]), bytes.len() - 9, "`info` is all between");
        let (form, bytes) = answer("application/json").await;
        assert_eq!(form, "application/json");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&bytes).unwrap()["swagger"], "2.0");
        let headers = HeaderMap::from_iter([(ACCEPT, "text/html".parse().unwrap())]);
        assert_eq!(document(&headers).unwrap_err().code, 406);
    }
}
