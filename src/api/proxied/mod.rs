//! The subresources `proxy` of Pods, Services and Nodes: HTTP requests that the API passes on.
//!
//! A pod is reached as by port-forward, so from any node. Of a Service one of the ready endpoints is asked. A node is
//! reached at its address, and only at a port that is named.

mod carry;
mod place;

pub use place::find;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST, LOCATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::object::Key;

use super::status::Status;
use super::{Api, present};

/// What belongs to one connection and not to the message, and what is between the client and us.
const OWN: [HeaderName; 6] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, AUTHORIZATION];

/// Passes a request on. The key's name may name a scheme before and a port after the object: `https:web:443`.
///
/// # Errors
/// 404 without the object, 400 or 503 if it cannot be reached; what it answers is passed back, whatever it is.
pub async fn pass(api: &Api, key: &Key, head: Parts, body: Body) -> Result<Response<Body>, Status> {
    let rest = rest(head.uri.path(), key.kind.namespaced);
    if rest.is_empty() && [Method::GET, Method::HEAD].contains(&head.method) {
        return Ok(to_folder(&head.uri));
    }
    let place = place::find(&api.handle.snapshot(), key)?;
    let failed = |why: &dyn std::fmt::Display| Status::unavailable(format!("error trying to reach service: {why}"));
    let stream = place.connect(&api.containers).await.map_err(|why| failed(&why))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|why| failed(&why))?;
    tokio::spawn(api.shutdown.clone().run_until_cancelled_owned(connection.with_upgrades()));
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("{}{query}", if rest.is_empty() { "/" } else { rest });
    let path = target.parse::<PathAndQuery>().map_err(|why| Status::bad_request(why.to_string()))?;
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from(path);
    *request.headers_mut() = passed_on(&head.headers);
    request.headers_mut().insert(HOST, HeaderValue::from_str(&place.host).map_err(Status::internal)?);
    let upgrade = head.headers.get(UPGRADE).cloned();
    if let Some(wanted) = &upgrade {
        request.headers_mut().insert(UPGRADE, wanted.clone());
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    let response = sender.send_request(request).await.map_err(|why| failed(&why))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(switch(head, response.map(Body::new)));
    }
    let (mut answer, body) = response.into_parts();
    answer.headers = passed_on(&answer.headers);
    Ok(Response::from_parts(answer, Body::new(body)))
}

/// Joins both connections once the client has the answer that its protocol is spoken.
fn switch(head: Parts, response: Response<Body>) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = response.headers().clone();
    let client = hyper::upgrade::on(Request::from_parts(head, ()));
    let server = hyper::upgrade::on(response);
    tokio::spawn(async move {
        if let (Ok(client), Ok(server)) = (client.await, server.await) {
            // Whichever side ends it, the other is told; there is nobody to tell of errors.
            let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
        }
    });
    answer
}

/// Links of a page that is asked for without a slash at its end would lead astray.
fn to_folder(uri: &Uri) -> Response<Body> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = present::with_type(StatusCode::MOVED_PERMANENTLY, "text/plain", Body::empty());
    if let Ok(there) = HeaderValue::from_str(&format!("{}/{query}", uri.path())) {
        response.headers_mut().insert(LOCATION, there);
    }
    response
}

/// Returns what comes after `proxy` in the path, as the client wrote it.
fn rest(path: &str, namespaced: bool) -> &str {
    // /api/v1/namespaces/NAMESPACE/pods/NAME/proxy, /api/v1/nodes/NAME/proxy
    let before = if namespaced { 7 } else { 5 };
    path.match_indices('/').nth(before).map_or("", |(at, _)| &path[at..])
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let own = |name: &HeaderName| OWN.contains(name) || name.as_str().starts_with("impersonate-");
    headers.iter().filter(|(name, _)| !own(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_after_proxy_stays_as_it_is() {
        for (path, namespaced, expected) in [
            ("/api/v1/namespaces/a/pods/web:80/proxy", true, ""),
            ("/api/v1/namespaces/a/pods/web:80/proxy/", true, "/"),
            ("/api/v1/namespaces/a/services/web/proxy/a%2Fb//c/", true, "/a%2Fb//c/"),
            ("/api/v1/nodes/n1:9100/proxy/metrics", false, "/metrics"),
        ] {
            assert_eq!(rest(path, namespaced), expected);
        }
    }

    #[test]
    fn credentials_stay_here() {
        let mut headers = HeaderMap::new();
        for name in ["authorization", "impersonate-user", "connection", "accept"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        assert_eq!(passed_on(&headers).keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
