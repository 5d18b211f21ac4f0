//! HTTP probes: one GET, as the kubelet's prober makes it (pkg/probe/http).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};

use super::probe::{dial, joined};

/// Go's client gives up after so many.
const REDIRECTS: usize = 10;
const AGENT: &str = "kube-probe/1.33";

/// What to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether by TLS.
    pub https: bool,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", joined(&self.host, self.port), self.target())
    }
}

impl Url {
    fn target(&self) -> String {
        if self.path.starts_with('/') { self.path.clone() } else { format!("/{}", self.path) }
    }

    /// Where a redirect leads; `None` if it is to another host, or to nowhere.
    fn follow(&self, location: &str) -> Option<Self> {
        let path = |path: &str| Some(Self { path: path.into(), ..self.clone() });
        if location.starts_with("//") {
            return self.follow(&format!("{}:{location}", if self.https { "https" } else { "http" }));
        }
        if location.starts_with('/') {
            return path(location);
        }
        let uri: Uri = location.parse().ok()?;
        let Some(host) = uri.host().filter(|_| uri.scheme().is_some()) else {
            let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            return path(&format!("{folder}/{location}"));
        };
        let https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        let target = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        let same = host.eq_ignore_ascii_case(&self.host);
        same.then(|| Self { https, host: self.host.clone(), port, path: target })
    }
}

/// Gets `url`; succeeds with a status from 200 to 399. Redirects are followed on the same host; one to another host is
/// a success, as in Kubernetes.
pub async fn get(url: Url, headers: &[(String, String)], limit: Duration) -> Result<String, String> {
    let asked = url.clone();
    match tokio::time::timeout(limit, get_following(url, headers)).await {
        Ok(result) => result,
        Err(_) => {
            Err(format!("Get \"{asked}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"))
        }
    }
}

async fn get_following(mut url: Url, headers: &[(String, String)]) -> Result<String, String> {
    for _ in 0..REDIRECTS {
        let answer = get_once(&url, headers).await.map_err(|e| format!("Get \"{url}\": {e}"))?;
        let status = answer.status();
        let redirects = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
        let location = answer.headers().get(LOCATION).and_then(|l| l.to_str().ok()).filter(|_| redirects);
        match location.map(|l| url.follow(l)) {
            Some(Some(next)) => url = next,
            Some(None) => return Ok(format!("Probe terminated redirects, Response body: {status}")),
            None => return judge(status),
        }
    }
    Err(format!("Get \"{url}\": stopped after {REDIRECTS} redirects"))
}

fn judge(status: StatusCode) -> Result<String, String> {
    if (200..400).contains(&status.as_u16()) {
        return Ok(String::new());
    }
    Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
}

async fn get_once(url: &Url, headers: &[(String, String)]) -> Result<Response<hyper::body::Incoming>, String> {
    let request = request(url, headers)?;
    let stream = dial(&url.host, url.port).await?;
    if !url.https {
        return send(stream, request).await;
    }
    let name = ServerName::try_from(url.host.clone()).map_err(|e| e.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls()?));
    send(connector.connect(name, stream).await.map_err(|e| e.to_string())?, request).await
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<hyper::body::Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let said = |error: hyper::Error| if error.is_incomplete_message() { "EOF".into() } else { error.to_string() };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    // The answer's head is all that counts: both sides end with this function.
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        answer = &mut answer => answer.map_err(said),
        ended = &mut connection => match ended {
            Ok(()) => answer.await.map_err(said),
            Err(error) => Err(said(error)),
        },
    }
}

fn request(url: &Url, headers: &[(String, String)]) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::get(url.target()).body(Empty::new()).map_err(|e| e.to_string())?;
    let map = request.headers_mut();
    for (name, value) in headers {
        let name =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("invalid header field name {name:?}"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("invalid header field value for {name:?}"))?;
        map.append(name, value);
    }
    let host = HeaderValue::from_str(&joined(&url.host, url.port)).map_err(|e| e.to_string())?;
    map.entry(HOST).or_insert(host);
    map.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
    map.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    map.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

fn tls() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unchecked(provider)))
        .with_no_client_auth();
    Ok(config)
}

/// A probe asks whether a server answers, not who it is: Kubernetes checks no certificates here.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_secs(5);

    /// Serves each answer to one connection, and returns what the clients sent.
    async fn serve(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = Vec::new();
                while !text.ends_with(b"\r\n\r\n") {
                    text.push(stream.read_u8().await.unwrap());
                }
                asked.push(String::from_utf8(text).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (port, task)
    }

    fn url(port: u16, path: &str) -> Url {
        Url { https: false, host: "127.0.0.1".into(), port, path: path.into() }
    }

    fn status(code: u16, more: &str) -> String {
        format!("HTTP/1.1 {code} X\r\n{more}Content-Length: 0\r\n\r\n")
    }

    #[tokio::test]
    async fn the_status_decides() {
        for (code, expected) in [
            (200, Ok(String::new())),
            (399, Ok(String::new())),
            (400, Err("HTTP probe failed with statuscode: 400".into())),
            (503, Err("HTTP probe failed with statuscode: 503".to_string())),
        ] {
            let (port, _) = serve(vec![status(code, "")]).await;
            assert_eq!(get(url(port, "/"), &[], SOON).await, expected, "{code}");
        }
    }

    #[tokio::test]
    async fn headers_are_the_kubelets_and_the_users() {
        let (port, asked) = serve(vec![status(200, "")]).await;
        let headers = [("X-Goose".to_string(), "honk".to_string()), ("Host".into(), "shop.example".into())];
        get(url(port, "ready?now=1"), &headers, SOON).await.unwrap();
        let asked = asked.await.unwrap().remove(0).to_lowercase();
        assert!(asked.starts_with("get /ready?now=1 http/1.1\r\n"), "{asked}");
        for line in
            ["x-goose: honk\r\n", "host: shop.example\r\n", "user-agent: kube-probe/1.33\r\n", "accept: */*\r\n"]
        {
            assert!(asked.contains(line), "{line} in {asked}");
        }
        let bad = [("X Y".to_string(), "z".to_string())];
        let said = get(url(port, "/"), &bad, SOON).await;
        assert!(said.is_err_and(|e| e.contains("invalid header field name")));
    }

    #[tokio::test]
    async fn redirects_are_followed_on_the_same_host_only() {
        let (port, asked) = serve(vec![status(302, "Location: /there\r\n"), status(404, "")]).await;
        let said = get(url(port, "/"), &[], SOON).await;
        assert_eq!(said, Err("HTTP probe failed with statuscode: 404".into()));
        assert!(asked.await.unwrap()[1].starts_with("GET /there "));

        let (port, _) = serve(vec![status(301, "Location: http://elsewhere.invalid/\r\n")]).await;
        assert!(get(url(port, "/"), &[], SOON).await.is_ok());

        let (port, _) = serve(vec![status(302, "Location: /\r\n"); 10]).await;
        assert!(get(url(port, "/"), &[], SOON).await.is_err_and(|e| e.ends_with("stopped after 10 redirects")));
    }

    #[test]
    fn locations_are_read_as_browsers_do() {
        let from = url(80, "/a/b");
        assert_eq!(from.follow("c").map(|u| u.path).as_deref(), Some("/a/c"));
        assert_eq!(from.follow("/c?d").map(|u| u.path).as_deref(), Some("/c?d"));
        let tls = from.follow("https://127.0.0.1/x").unwrap();
        assert_eq!(tls.to_string(), "https://127.0.0.1:443/x");
        assert_eq!(from.follow("http://10.0.0.1/x"), None);
        assert_eq!(from.follow("//10.0.0.1/x"), None);
    }

    #[tokio::test]
    async fn failures_are_told_in_gos_words() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = get(url(port, "/slow"), &[], Duration::from_millis(100)).await.unwrap_err();
        let expected = format!(
            "Get \"http://127.0.0.1:{port}/slow\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        );
        assert_eq!(said, expected);
        drop(listener);
        let said = get(url(port, "/"), &[], SOON).await.unwrap_err();
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(said, format!("Get \"http://127.0.0.1:{port}/\": {refused}"));
        let (port, _) = serve(vec![String::new()]).await;
        assert_eq!(get(url(port, "/"), &[], SOON).await, Err(format!("Get \"http://127.0.0.1:{port}/\": EOF")));
    }

    #[tokio::test]
    async fn a_certificate_nobody_signed_is_fine() {
        let key = rcgen::generate_simple_self_signed(vec!["goose".into()]).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![key.cert.der().clone()],
                rustls_pki_types::PrivateKeyDer::try_from(key.key_pair.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await.unwrap();
            stream.write_all(status(204, "").as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            let _ = stream.read_u8().await;
        });
        let url = Url { https: true, ..url(port, "/") };
        assert_eq!(get(url, &[], SOON).await, Ok(String::new()));
    }
}
