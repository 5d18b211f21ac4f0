//! One question to one webhook: HTTPS to a Service, through any of its ready pods wherever they run, or to a URL.

use std::fmt::Display;
use std::sync::Arc;

use axum::http::header::{ACCEPT, CONTENT_TYPE, HOST};
use axum::http::{HeaderValue, Method, Request, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::api::proxied::find;
use crate::api::{Api, MAX_BODY};
use crate::handle::Stream;
use crate::object::Key;
use crate::object::kinds::SERVICE;

use super::hooks::{Hook, Place};

/// Where a question goes.
struct Target {
    /// The host, as its certificate has it.
    host: String,
    port: u16,
    /// Path and query.
    path: String,
}

/// Asks a webhook and returns what it answers.
///
/// # Errors
/// One sentence, as upstream has it after `failed calling webhook "name": `.
pub async fn call(api: &Api, hook: &Hook, review: &Value) -> Result<Vec<u8>, String> {
    let target = target(hook)?;
    let url = format!("https://{}:{}{}", target.host, target.port, target.path);
    let failed = |why: &dyn Display| format!("failed to call webhook: Post {url:?}: {why}");
    match tokio::time::timeout(hook.timeout, post(api, hook, &target, review)).await {
        Ok(answer) => answer.map_err(|why| failed(&why)),
        Err(_) => Err(failed(&"context deadline exceeded")),
    }
}

fn target(hook: &Hook) -> Result<Target, String> {
    let timeout = format!("timeout={}s", hook.timeout.as_secs());
    match &hook.at {
        Place::Service { namespace, name, port, path } => {
            let path = if path.starts_with('/') { path.clone() } else { format!("/{path}") };
            Ok(Target { host: format!("{name}.{namespace}.svc"), port: *port, path: format!("{path}?{timeout}") })
        }
        Place::Url(url) => {
            let uri: Uri = url.parse().map_err(|e| format!("failed to call webhook: {e}"))?;
            let host = uri.host().ok_or("failed to call webhook: the URL names no host")?;
            let join = if uri.query().is_some() { "&" } else { "?" };
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            Ok(Target {
                host: host.to_owned(),
                port: uri.port_u16().unwrap_or(443),
                path: format!("{path}{join}{timeout}"),
            })
        }
    }
}

async fn post(api: &Api, hook: &Hook, target: &Target, review: &Value) -> Result<Vec<u8>, String> {
    let text = |e: &dyn Display| e.to_string();
    let stream = connect(api, hook, target).await?;
    let name = ServerName::try_from(target.host.trim_matches(['[', ']']).to_owned()).map_err(|e| text(&e))?;
    let tls = TlsConnector::from(Arc::new(trusting(&hook.authorities)?));
    let stream = tls.connect(name, stream).await.map_err(|e| format!("tls: failed to verify certificate: {e}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(|e| text(&e))?;
    let connection = tokio::spawn(api.shutdown.clone().run_until_cancelled_owned(connection));
    let mut request = Request::new(Full::new(Bytes::from(review.to_string())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.parse().map_err(|e: axum::http::uri::InvalidUri| text(&e))?;
    let json = HeaderValue::from_static("application/json");
    request.headers_mut().insert(CONTENT_TYPE, json.clone());
    request.headers_mut().insert(ACCEPT, json);
    let host = HeaderValue::from_str(&format!("{}:{}", target.host, target.port)).map_err(|e| text(&e))?;
    request.headers_mut().insert(HOST, host);
    let response = sender.send_request(request).await.map_err(|e| text(&e))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|e| text(&e));
    connection.abort();
    let body = body?.to_bytes().to_vec();
    if !status.is_success() {
        let shown: String = String::from_utf8_lossy(&body).trim().chars().take(256).collect();
        return Err(format!("the server answered {status}: {shown}"));
    }
    Ok(body)
}

async fn connect(api: &Api, hook: &Hook, target: &Target) -> Result<Stream, String> {
    match &hook.at {
        Place::Service { namespace, name, port, .. } => {
            let service = Key::new(&SERVICE, &**namespace, &**name);
            if api.handle.snapshot().get(&service).is_none() {
                return Err(format!("service {name:?} not found"));
            }
            let key = Key::new(&SERVICE, &**namespace, format!("{name}:{port}"));
            let place = find(&api.handle.snapshot(), &key).map_err(|status| status.message)?;
            place.connect(&api.containers).await
        }
        Place::Url(_) => {
            let host = target.host.trim_matches(['[', ']']);
            let stream = TcpStream::connect((host, target.port)).await;
            Ok(Box::new(stream.map_err(|e| format!("dial tcp {}:{}: connect: {e}", target.host, target.port))?))
        }
    }
}

/// Believes what these authorities have signed.
fn trusting(authorities: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities) {
        let certificate = certificate.map_err(|e| format!("caBundle: {e}"))?;
        roots.add(certificate).map_err(|e| format!("caBundle: {e}"))?;
    }
    if roots.is_empty() {
        return Err(
            "tls: failed to verify certificate: x509: certificate signed by unknown authority: caBundle is empty"
                .into(),
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::hooks::Configured;
    use super::*;

    #[test]
    fn a_target_is_named_as_its_certificate_is() {
        let hook = |config: Value| {
            let object = json!({"name": "a", "timeoutSeconds": 5, "clientConfig": config});
            Configured::hook(&object).unwrap()
        };
        let service =
            target(&hook(json!({"service": {"namespace": "n", "name": "s", "path": "mutate", "port": 8443}}))).unwrap();
        assert_eq!((&*service.host, service.port, &*service.path), ("s.n.svc", 8443, "/mutate?timeout=5s"));
        let url = target(&hook(json!({"url": "https://example.com:9443/a?b=c"}))).unwrap();
        assert_eq!((&*url.host, url.port, &*url.path), ("example.com", 9443, "/a?b=c&timeout=5s"));
    }
}
