//! Asks the agent's own API, as the administrator whose kubeconfig is in the data folder.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Talks to the API as the kubeconfig's user.
pub struct Client {
    /// Where the API is.
    pub server: String,
    host: String,
    port: u16,
    connector: TlsConnector,
}

impl Client {
    /// Makes the client of a kubeconfig's first user.
    ///
    /// # Errors
    /// One sentence: it is not understood.
    pub fn of(kubeconfig: &str) -> anyhow::Result<Self> {
        let config: Value = serde_yaml_ng::from_str(kubeconfig).context("the kubeconfig is not understood")?;
        let (cluster, user) = (&config["clusters"][0]["cluster"], &config["users"][0]["user"]);
        let server = text(&cluster["server"]);
        let (host, port) = server
            .strip_prefix("https://")
            .and_then(|s| s.rsplit_once(':'))
            .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
            .ok_or_else(|| anyhow!("the kubeconfig names no server"))?;
        let pem = |value: &Value| STANDARD.decode(text(value)).context("the kubeconfig is damaged");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem(&cluster["certificate-authority-data"])?)?)?;
        let certificate = CertificateDer::from_pem_slice(&pem(&user["client-certificate-data"])?)?;
        let key = PrivateKeyDer::from_pem_slice(&pem(&user["client-key-data"])?)?;
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)?;
        Ok(Self { server, host, port, connector: TlsConnector::from(Arc::new(tls)) })
    }

    /// Asks for a document.
    ///
    /// # Errors
    /// One sentence: nobody answers, or the answer is no success.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        match self.ask(Method::GET, path, Bytes::new()).await? {
            (status, body) if status.is_success() => Ok(serde_json::from_slice(&body)?),
            (status, body) => bail!("{} answers {status} to {path}{}", self.server, reason(&body)),
        }
    }

    /// Replaces a document. Returns whether it was still as its resourceVersion says.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn put(&self, path: &str, document: &Value) -> anyhow::Result<bool> {
        match self.ask(Method::PUT, path, serde_json::to_vec(document)?.into()).await? {
            (StatusCode::CONFLICT, _) => Ok(false),
            (status, _) if status.is_success() => Ok(true),
            (status, body) => bail!("{} answers {status} to {path}{}", self.server, reason(&body)),
        }
    }

    /// Asks for something to be done. Returns what is said of it.
    ///
    /// # Errors
    /// One sentence: nobody answers, or why it is refused.
    pub async fn post(&self, path: &str) -> anyhow::Result<String> {
        let (status, body) = self.ask(Method::POST, path, Bytes::new()).await?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        let message = text(&answer["message"]);
        if status.is_success() { Ok(message) } else { bail!("{message}") }
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> anyhow::Result<(StatusCode, Bytes)> {
        let unreachable = || format!("the agent does not answer at {}", self.server);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.with_context(unreachable)?;
        let name = ServerName::try_from(self.host.clone())?;
        let stream = self.connector.connect(name, stream).await.with_context(unreachable)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = hyper::Request::builder().method(method).uri(path).header("Host", &self.host);
        let request = request.header("Content-Type", "application/json").body(Full::new(body))?;
        let response = sender.send_request(request).await.with_context(unreachable)?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}

/// Reads why, of an answer that is a Status.
fn reason(body: &[u8]) -> String {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    status["message"].as_str().map(|message| format!(": {message}")).unwrap_or_default()
}

/// Waits for what is asked of the agent.
///
/// # Errors
/// Its own, or one sentence if it takes too long.
pub fn wait<T>(asked: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asked = async { tokio::time::timeout(PATIENCE, asked).await };
    runtime.block_on(asked).map_err(|_| anyhow!("the agent did not answer within {PATIENCE:?}"))?
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
