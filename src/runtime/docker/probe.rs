//! Probes: one try each, in Kubernetes' words (which are Go's).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::kubelet::action::{Observation, PodEvent, PodRef, ProbeHandler, ProbeKind, ProbeSpec};

use super::error::{Error, reason};
use super::{Engine, probe_http};

/// The kubelet keeps so much of what a probe's command says (pkg/probe/exec).
const OUTPUT_LIMIT: usize = 10 * 1024;

/// Tries a probe once and reports.
pub async fn run(engine: Arc<Engine>, pod: PodRef, spec: ProbeSpec) {
    let hook = matches!(spec.id.probe, ProbeKind::PostStart | ProbeKind::PreStop);
    let (ok, message) = match try_once(&engine, &spec).await {
        Ok(message) => (true, message),
        // It says nothing about the container. The daemon's absence, or a list, is on its way and settles it.
        Err(Failure::Daemon(error)) if !hook => return engine.doubt(&error),
        Err(failure) => (false, failure.to_string()),
    };
    // Beside the order of other reports: a probe says nothing that a list could contradict.
    let event = PodEvent::Probed { id: spec.id, ok, message };
    engine.reporter.send(Observation::Pod { pod, event }).await;
}

/// Why a probe did not succeed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// So said the container, or its silence.
    #[error("{0}")]
    Container(String),
    /// The daemon went away, or hangs, before it could be asked.
    #[error("{0}")]
    Daemon(Error),
}

async fn try_once(engine: &Engine, spec: &ProbeSpec) -> Result<String, Failure> {
    let asked = match &spec.handler {
        ProbeHandler::Http { https, host, port, path, headers } => {
            let url = probe_http::Url { https: *https, host: host.clone(), port: *port, path: path.clone() };
            probe_http::get(url, headers, spec.timeout).await
        }
        ProbeHandler::Tcp { host, port } => tcp(host, *port, spec.timeout).await,
        ProbeHandler::Exec { command } => return exec(engine, &spec.container, command, spec.timeout).await,
    };
    asked.map_err(Failure::Container)
}

async fn tcp(host: &str, port: u16, limit: Duration) -> Result<String, String> {
    match timeout(limit, dial(host, port)).await {
        Ok(dialled) => dialled.map(|_| String::new()),
        Err(_) => Err(format!("dial tcp {}: i/o timeout", joined(host, port))),
    }
}

async fn exec(engine: &Engine, container: &str, command: &[String], limit: Duration) -> Result<String, Failure> {
    let client = engine.client().map_err(Failure::Daemon)?;
    match timeout(limit, client.exec(container, command, OUTPUT_LIMIT)).await {
        Ok(Ok((code, output))) => {
            let output = String::from_utf8_lossy(&output).into_owned();
            if code == 0 { Ok(output) } else { Err(Failure::Container(output)) }
        }
        Ok(Err(error)) if error.is_doubtful() => Err(Failure::Daemon(error)),
        Ok(Err(error)) => Err(Failure::Container(error.to_string())),
        Err(_) => {
            let message = format!("command timed out: {:?} timed out after {limit:?}", command.join(" "));
            Err(Failure::Container(message))
        }
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
    use super::super::{Config, Docker};
    use super::*;
    use crate::ids::Uid;
    use crate::kubelet::action::ProbeId;
    use tokio::net::TcpListener;
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

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

    #[tokio::test]
    async fn ports_are_asked_without_a_daemon_and_commands_are_not_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (out, mut told) = mpsc::channel(4);
        let config = Config {
            socket: "/nonexistent/docker.sock".into(),
            folder: "unused".into(),
            node: "n1".into(),
            bridge: "none".into(),
            pod_range: "10.240.1.0/24".parse().unwrap(),
            cluster_range: "10.240.0.0/16".parse().unwrap(),
            service_range: "10.96.0.0/16".parse().unwrap(),
        };
        let docker = Docker::new(config, out, CancellationToken::new());
        let pod = PodRef { namespace: "default".into(), name: "web".into(), uid: Uid([1; 16]) };
        let mut try_it = async |probe, handler| {
            let id = ProbeId { container: "web".into(), attempt: 0, probe };
            let spec = ProbeSpec { id, container: "c1".into(), handler, timeout: SOON };
            run(docker.engine.clone(), pod.clone(), spec).await;
            match told.try_recv().ok()? {
                Observation::Pod { event: PodEvent::Probed { ok, .. }, .. } => Some(ok),
                other => panic!("{other:?}"),
            }
        };
        let tcp = ProbeHandler::Tcp { host: "127.0.0.1".into(), port };
        let exec = ProbeHandler::Exec { command: vec!["ok".into()] };
        assert_eq!(try_it(ProbeKind::Readiness, tcp.clone()).await, Some(true));
        assert_eq!(try_it(ProbeKind::Liveness, exec.clone()).await, None, "nobody could be asked");
        assert_eq!(try_it(ProbeKind::PreStop, exec).await, Some(false), "a hook is not tried again");
        drop(listener);
        assert_eq!(try_it(ProbeKind::Readiness, tcp).await, Some(false));
    }

    #[test]
    fn hosts_and_ports_are_joined_as_go_does() {
        assert_eq!(joined("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(joined("::1", 80), "[::1]:80");
        assert_eq!(joined("[::1]", 80), "[::1]:80");
    }
}
