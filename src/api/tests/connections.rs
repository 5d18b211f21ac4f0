//! Real sockets on loopback: TLS with and without client certificates, HTTP/1.1 and HTTP/2, and the end.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::api::{Config, Server, Tls, now, serve};
use crate::trust::{ADMINS, Authority};

use super::{Cluster, FakeLogs, MAPS};

const NAME: &str = "kubernetes";

/// A served cluster and its authority.
pub(super) struct Served {
    pub(super) cluster: Cluster,
    address: std::net::SocketAddr,
    authority: Authority,
    server: JoinHandle<()>,
}

/// How a client connects.
#[derive(Clone, Copy)]
struct Client<'a> {
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: &'static [&'static str],
    /// Who signed the client's certificate; `None` for a client without one.
    signed_by: Option<&'a Authority>,
}

async fn served() -> Served {
    serving(Cluster::new().await).await
}

pub(super) async fn serving(cluster: Cluster) -> Served {
    let authority = Authority::new(KeyPair::generate().unwrap(), "skein", now()).unwrap();
    let key = KeyPair::generate().unwrap();
    let chain = authority.server(&key, &[NAME.into()], &["127.0.0.1".parse().unwrap()], now()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = Tls { chain, key: key.serialize_pem(), client_ca: authority.pem().to_owned() };
    let server = Server::new(Arc::clone(&cluster.api), &tls).unwrap();
    let shutdown = cluster.shutdown.clone();
    let server = tokio::spawn(async move { server.run(listener, shutdown).await });
    Served { server, cluster, address, authority }
}

impl Served {
    /// Connects as administrator with HTTP/1.1 and asks for a path; what is answered is the caller's to read.
    pub(super) async fn ask(&self, path: &str) -> TlsStream<TcpStream> {
        let client = Client { alpn: &[], signed_by: Some(&self.authority), ..ANYBODY };
        let mut stream = self.connect(client).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
        tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
        stream
    }

    async fn connect(&self, client: Client<'_>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(client.versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match client.signed_by {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let key = KeyPair::generate().unwrap();
                let pem = authority.client(&key, "admin", &[ADMINS.into()], now()).unwrap();
                let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = client.alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// Sends one request on a connection of its own.
    async fn get(&self, client: Client<'_>, path: &str) -> Response<Incoming> {
        let stream = self.connect(client).await.unwrap();
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let request = Request::get(format!("https://{NAME}{path}")).body(Body::empty()).unwrap();
        if http2 {
            let io = TokioIo::new(stream);
            let (mut send, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            send.send_request(request).await.unwrap()
        } else {
            let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            send.send_request(request).await.unwrap()
        }
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const TLS12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
const ANYBODY: Client<'static> = Client { versions: BOTH, alpn: &["h2", "http/1.1"], signed_by: None };

#[tokio::test]
async fn every_way_to_connect_is_served() {
    let served = served().await;
    for (versions, alpn, version) in [
        (BOTH, &["h2", "http/1.1"][..], axum::http::Version::HTTP_2),
        (BOTH, &["http/1.1"], axum::http::Version::HTTP_11),
        (BOTH, &[], axum::http::Version::HTTP_11),
        (TLS12, &["h2"], axum::http::Version::HTTP_2),
        (TLS12, &[], axum::http::Version::HTTP_11),
    ] {
        let client = Client { versions, alpn, signed_by: Some(&served.authority) };
        let response = served.get(client, MAPS).await;
        assert_eq!((response.status().as_u16(), response.version()), (200, version), "{alpn:?}");
    }
}

#[tokio::test]
async fn only_a_certificate_of_ours_proves_anything() {
    let served = served().await;
    let stranger = Authority::new(KeyPair::generate().unwrap(), "skein", now()).unwrap();
    let expired = Authority::new(KeyPair::generate().unwrap(), "skein", crate::time::Wall(0)).unwrap();
    for (signed_by, code, reason) in
        [(None, 403, "Forbidden"), (Some(&stranger), 401, "Unauthorized"), (Some(&expired), 401, "Unauthorized")]
    {
        let client = Client { signed_by, ..ANYBODY };
        assert_eq!(served.get(client, "/version").await.status(), 200);
        let response = served.get(client, MAPS).await;
        assert_eq!(response.status(), code);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(std::str::from_utf8(&body).unwrap().contains(&format!("\"reason\":\"{reason}\"")));
    }
    let ours = Client { signed_by: Some(&served.authority), ..ANYBODY };
    assert_eq!(served.get(ours, MAPS).await.status(), 200);
}

#[tokio::test]
async fn what_is_no_tls_harms_nobody() {
    let served = served().await;
    for rubbish in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\xff\xff", b""] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, rubbish).await.unwrap();
        drop(stream);
    }
    assert_eq!(served.get(ANYBODY, "/healthz").await.status(), 200);
}

#[tokio::test]
async fn the_server_ends_watches_cleanly_and_then_itself() {
    let served = served().await;
    served.cluster.config_map("a", "x").await;
    for alpn in [&["h2"][..], &[]] {
        let client = Client { alpn, signed_by: Some(&served.authority), ..ANYBODY };
        let mut response = served.get(client, &format!("{MAPS}?watch=true")).await;
        let first = response.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(first.starts_with(b"{\"type\":\"ADDED\""));
        if alpn.is_empty() {
            served.cluster.shutdown.cancel();
            let rest = tokio::time::timeout(Duration::from_secs(5), response.collect()).await.unwrap();
            assert!(rest.expect("ends without a reset").to_bytes().is_empty());
        }
    }
    let ended = tokio::time::timeout(Duration::from_secs(5), served.server).await;
    ended.expect("the server ends soon").unwrap();
    assert!(TcpStream::connect(served.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn broken_certificates_are_one_sentence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tls = Tls { chain: "rubbish".into(), key: "rubbish".into(), client_ca: "rubbish".into() };
    let cluster = Cluster::new().await;
    let served = serve(Config { listener, tls }, cluster.handle.clone(), Arc::new(FakeLogs), cluster.shutdown.clone());
    assert_eq!(served.await.unwrap_err().to_string(), "the API's certificates: no certificate in the PEM text");
}
