//! Probes: one try each, in Kubernetes' words (which are Go's).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::kubelet::action::{Observation, PodEvent, PodRef, ProbeHandler, ProbeSpec};

use super::error::reason;
use super::{Engine, probe_http};

/// The kubelet keeps so much of what a probe's command says (pkg/probe/exec).
const OUTPUT_LIMIT: usize = 10 * 1024;

/// Tries a probe once and reports.
pub async fn run(engine: Arc<Engine>, pod: PodRef, spec: ProbeSpec) {
    let (ok, message) = match try_once(&engine, &spec).await {
        Ok(message) => (true, message),
        Err(message) => (false, message),
    };
    // Beside the order of other reports: a probe says nothing that a list could contradict.
    let event = PodEvent::Probed { id: spec.id, ok, message };
    engine.reporter.send(Observation::Pod { pod, event }).await;
}

async fn try_once(engine: &Engine, spec: &ProbeSpec) -> Result<String, String> {
    match &spec.handler {
        ProbeHandler::Http { https, host, port, path, headers } => {
            let url = probe_http::Url { https: *https, host: host.clone(), port: *port, path: path.clone() };
            probe_http::get(url, headers, spec.timeout).await
        }
        ProbeHandler::Tcp { host, port } => tcp(host, *port, spec.timeout).await,
        ProbeHandler::Exec { command } => exec(engine, &spec.container, command, spec.timeout).await,
    }
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Result<String, String> {
    match timeout(limit, dial(host, port)).await {
        Ok(dialled) => dialled.map(|_| String::new()),
        Err(_) => Err(format!("dial tcp {}: i/o timeout", joined(host, port))),
    }
}

async fn exec(engine: &Engine, container: &str, command: &[String], limit: Duration) -> Result<String, String> {
    let client = engine.client().map_err(|e| e.to_string())?;
    match timeout(limit, client.exec(container, command, OUTPUT_LIMIT)).await {
        Ok(Ok((code, output))) => {
            let output = String::from_utf8_lossy(&output).into_owned();
            if code == 0 { Ok(output) } else { Err(output) }
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("command timed out: {:?} timed out after {limit:?}", command.join(" "))),
    }
}

/// Opens a connection; fails in Go's words.
pub async fn dial(host: &str, port: u16) -> Result<TcpStream, String> {
    let to = joined(host, port);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let addresses = lookup_host((bare, port)).await.map_err(|_| format!("dial tcp: lookup {host}: no such host"))?;
    let mut last = format!("dial tcp: lookup {host}: no such host");
    for address in addresses {
        match connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("dial tcp {to}: connect: {}", reason(&error)),
        }
    }
    Err(last)
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Host and port as Go joins them: brackets around IPv6.
pub fn joined(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn tcp_says_whether_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(tcp("127.0.0.1", port, SOON).await, Ok(String::new()));
        drop(listener);
        let refused = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
        assert_eq!(tcp("127.0.0.1", port, SOON).await, Err(refused));
        assert_eq!(
            tcp("no.such.host.invalid", 1, SOON).await,
            Err("dial tcp: lookup no.such.host.invalid: no such host".into())
        );
    }

    #[test]
    fn hosts_and_ports_are_joined_as_go_does() {
        assert_eq!(joined("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(joined("::1", 80), "[::1]:80");
        assert_eq!(joined("[::1]", 80), "[::1]:80");
    }
}
