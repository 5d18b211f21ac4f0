//! Connections: TLS, HTTP/1.1 and HTTP/2 on one port, and how they end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::Verifier;
use super::{Api, ApiError};

/// How long a client may take over the TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to send a request's head, or let an HTTP/1.1 connection idle; as upstream.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

/// How many connections there may be; more wait in the listener's queue. File descriptors are shared with the rest of
/// the agent.
pub const MAX_CONNECTIONS: usize = 4096;

/// How many headers a request may have.
pub const MAX_HEADERS: usize = 100;

/// How many bytes of headers an HTTP/2 request may have; HTTP/1.1 is bounded by its read buffer.
pub const MAX_HEADER_BYTES: u32 = 64 * 1024;

/// How many requests may be under way on one HTTP/2 connection.
pub const MAX_STREAMS: u32 = 100;

/// How often an idle connection is asked whether its client lives, and how long the answer may take. Upstream's
/// clients do the same in the other direction.
pub const KEEPALIVE: Duration = Duration::from_secs(30);

/// How long what was sent may wait for a client that does not read before the connection is closed.
pub const UNREAD: Duration = Duration::from_secs(60);

/// How much of an answer is held for a client that is slow to take it, in bytes a connection or stream. The rest is
/// made when it is taken.
pub const HELD: usize = 128 * 1024;

/// How long requests under way may take to end when the server stops.
pub const DRAIN: Duration = Duration::from_secs(10);

/// How long to wait when the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// How the server proves who it is, and whom it believes. All in PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The server's certificate, then what leads to its authority.
    pub chain: String,
    /// The server's key.
    pub key: String,
    /// The authority whose client certificates are believed.
    pub client_ca: String,
}

/// The server's certificate, which can be replaced while it serves. Cheap to clone. Without one, handshakes fail.
#[derive(Clone, Debug, Default)]
pub struct Certificate(Arc<ArcSwapOption<CertifiedKey>>);

impl Certificate {
    /// Shows this certificate (and what leads to its authority) from the next handshake on. Both in PEM.
    ///
    /// # Errors
    /// [`ApiError::Tls`] if they are not what they should be, or do not belong together.
    pub fn set(&self, chain: &str, key: &str) -> Result<(), ApiError> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(tls_error)?;
        let provider = rustls::crypto::ring::default_provider();
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(tls_error)?;
        self.0.store(Some(Arc::new(certified)));
        Ok(())
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// A server on a socket.
pub struct Server {
    api: Arc<Api>,
    acceptor: TlsAcceptor,
    verifier: Arc<Verifier>,
    connections: auto::Builder<TokioExecutor>,
}

impl Server {
    /// Makes a server of `api`.
    ///
    /// # Errors
    /// [`ApiError::Tls`] if certificates or key are not what they should be.
    pub fn new(api: Arc<Api>, tls: &Tls) -> Result<Self, ApiError> {
        let certificate = Certificate::default();
        certificate.set(&tls.chain, &tls.key)?;
        Self::with(api, certificate, &tls.client_ca)
    }

    /// Makes a server of `api` that shows whatever `certificate` holds at the time. `client_ca`: the authority, in PEM,
    /// whose client certificates are believed.
    ///
    /// # Errors
    /// [`ApiError::Tls`] if the authority's certificate is not what it should be.
    pub fn with(api: Arc<Api>, certificate: Certificate, client_ca: &str) -> Result<Self, ApiError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Arc::new(Verifier::new(&certificates(client_ca)?, Arc::clone(&provider))?);
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(tls_error)?
            .with_client_cert_verifier(Arc::clone(&verifier) as Arc<dyn ClientCertVerifier>)
            .with_cert_resolver(Arc::new(certificate));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { api, acceptor: TlsAcceptor::from(Arc::new(config)), verifier, connections: connections() })
    }

    /// Serves what `listener` accepts until `shutdown`, then lets requests under way end within [`DRAIN`].
    pub async fn run(self, listener: TcpListener, shutdown: CancellationToken) {
        let server = Arc::new(self);
        let tasks = TaskTracker::new();
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let accept = async || {
            let permit = Arc::clone(&room).acquire_owned().await.expect("the semaphore is never closed");
            listener.accept().await.map(|(stream, _)| (stream, permit))
        };
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = accept() => accepted,
            };
            match accepted {
                Ok((stream, permit)) => {
                    let connection = Arc::clone(&server).connection(stream, shutdown.clone());
                    tasks.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of file descriptors, mostly: accepting again at once would spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(NO_ROOM).await;
                }
            }
        }
        drop(listener);
        tasks.close();
        tasks.wait().await;
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, shutdown: CancellationToken) {
        keep_alive(&stream);
        let from = stream.peer_addr().ok();
        let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream));
        let stream = tokio::select! {
            () = shutdown.cancelled() => return,
            done = handshake => match done {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
                Err(_) => return tracing::debug!("TLS handshake took too long"),
            },
        };
        let shown = Arc::new(self.verifier.shown(stream.get_ref().1.peer_certificates()));
        let service = service_fn(|mut request: Request<Incoming>| {
            if let Some(from) = from {
                request.extensions_mut().insert(from);
            }
            let (api, shown) = (Arc::clone(&self.api), Arc::clone(&shown));
            // In a box, which goes with the answer: else each of thousands of watches keeps room for all that answering took.
            async move { Ok::<_, Infallible>(Box::pin(api.answer_to(request.map(Body::new), &shown)).await) }
        });
        let connection = self.connections.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(DRAIN, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return tracing::warn!("a request was still under way at the end"),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "connection ended");
        }
    }
}

fn connections() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(HELD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_send_buf_size(HELD)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE);
    builder
}

/// Watches may be silent for an hour; a client whose machine is gone must be noticed all the same, and one that does not
/// read must not be waited for.
fn keep_alive(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    let socket = SockRef::from(stream);
    let set = socket.set_tcp_keepalive(&keepalive).and_then(|()| socket.set_tcp_user_timeout(Some(UNREAD)));
    let set = set.and_then(|()| stream.set_nodelay(true));
    if let Err(error) = set {
        tracing::debug!(%error, "cannot set socket options");
    }
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, ApiError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(tls_error)?;
    if all.is_empty() { Err(ApiError::Tls("no certificate in the PEM text".into())) } else { Ok(all) }
}

fn tls_error(error: impl std::fmt::Display) -> ApiError {
    ApiError::Tls(error.to_string())
}
