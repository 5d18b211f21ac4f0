//! Sessions as clients speak them: WebSockets over a connection of their own.

use axum::http::HeaderValue;
use futures_util::SinkExt as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;
use crate::handle::{Ended, Frame, talk};

const PODS: &str = "/api/v1/namespaces/default/pods";
const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";

/// What the pods' processes do: a command says its first argument and its streams, then echoes its input until that
/// ends, and exits with the number that its second argument is; port 80 echoes, at others nobody listens.
pub(super) fn begin(node: &str, session: Session) -> BoxFuture<'static, Result<Talk, String>> {
    let node = node.to_owned();
    Box::pin(async move {
        let (first, code) = match session {
            Session::Exec { command, .. } if command[0] == "missing" => return Err("no such command".to_owned()),
            Session::Exec { command, container, streams } => {
                let said = format!("{} {container} {node} tty={}", command[0], streams.tty);
                (Some(said), command.get(1).and_then(|code| code.parse().ok()))
            }
            Session::Attach { container, .. } => (Some(format!("attached to {container}")), Some(0)),
            Session::Forward { port: 80, .. } => (None, Some(0)),
            Session::Forward { port, .. } => return Err(format!("dial tcp 127.0.0.1:{port}: connection refused")),
        };
        let (here, mut there) = talk();
        tokio::spawn(async move {
            if let Some(said) = first {
                there.say.send(Frame::Output(said.into())).await?;
                there.say.send(Frame::Error("warning".into())).await?;
            }
            while let Some(frame) = there.hear.recv().await {
                match frame {
                    Frame::Input(bytes) => there.say.send(Frame::Output(bytes)).await?,
                    Frame::Resize(columns, rows) => {
                        there.say.send(Frame::Output(format!("{columns}x{rows}").into())).await?;
                    }
                    _ => break,
                }
            }
            // Without a code the node is gone.
            match code {
                Some(code) => there.say.send(Frame::Ended(Ended::Exit(code))).await,
                None => Ok(()),
            }
        });
        Ok(here)
    })
}

/// Makes a pod whose container `c` runs as `run-1` on n2.
async fn with_pod() -> Cluster {
    let cluster = Cluster::new().await;
    let pod = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "web"},
                     "spec": {"nodeName": "n2", "containers": [{"name": "c", "image": "app:1"}]}});
    let (code, made) = cluster.post(PODS, &pod).await;
    assert_eq!(code, 201, "{made}");
    let mut running = made;
    running["status"]["phase"] = json!("Running");
    running["status"]["containerStatuses"] = json!([{
        "name": "c", "image": "app:1", "imageID": "", "ready": true, "restartCount": 0,
        "containerID": "docker://run-1", "state": {"running": {}}}]);
    let (code, answer) = cluster.put(&format!("{PODS}/web/status"), &running).await;
    assert_eq!(code, 200, "{answer}");
    cluster
}

type Socket = WebSocketStream<DuplexStream>;

/// Opens a WebSocket; a refusal is its code and message.
async fn open(cluster: &Cluster, path: &str, protocols: &'static str) -> Result<Socket, (u16, String)> {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let api = Arc::clone(&cluster.api);
    tokio::spawn(async move {
        let service = service_fn(move |request: Request<hyper::body::Incoming>| {
            let api = Arc::clone(&api);
            async move { Ok::<_, std::convert::Infallible>(api.answer(request.map(Body::new), Some(&admin())).await) }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection_with_upgrades(TokioIo::new(server), service).await;
    });
    let mut request = format!("ws://n1{PODS}/{path}").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocols));
    match tokio_tungstenite::client_async(request, client).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(answer)) => {
            let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap_or_default();
            Err((answer.status().as_u16(), body["message"].as_str().unwrap_or_default().to_owned()))
        }
        Err(error) => panic!("{error}"),
    }
}

/// Reads messages until the server closes, as channel and text.
async fn all(socket: &mut Socket) -> Vec<(u8, String)> {
    let mut messages = Vec::new();
    while let Some(message) = socket.next().await {
        match message.expect("the end is a close") {
            Message::Binary(bytes) => messages.push((bytes[0], String::from_utf8_lossy(&bytes[1..]).into_owned())),
            Message::Close(_) => break,
            other => panic!("{other:?}"),
        }
    }
    messages
}

fn say(bytes: &[u8]) -> Message {
    Message::Binary(bytes.to_vec().into())
}

#[tokio::test]
async fn a_command_is_talked_to_until_it_ends() {
    let cluster = with_pod().await;
    let path = "web/exec?command=hello&command=3&stdin=true&stdout=true&stderr=true";
    let mut socket = open(&cluster, path, V5).await.unwrap();
    socket.send(say(b"\x04{\"Width\":80,\"Height\":24}")).await.unwrap();
    socket.send(say(b"\0typed")).await.unwrap();
    // So does the Python client.
    socket.send(Message::Text("\0text".into())).await.unwrap();
    socket.send(say(b"\xff\0")).await.unwrap();
    let mut said = all(&mut socket).await;
    let (channel, status) = said.pop().unwrap();
    let status: Value = serde_json::from_str(&status).unwrap();
    let expected = [(1, "hello run-1 n2 tty=false"), (2, "warning"), (1, "80x24"), (1, "typed"), (1, "text")];
    assert_eq!(said, expected.map(|(channel, text)| (channel, text.to_owned())));
    assert_eq!((channel, &status["reason"]), (3, &json!("NonZeroExitCode")));
    assert_eq!(status["details"]["causes"], json!([{"reason": "ExitCode", "message": "3"}]));
}

#[tokio::test]
async fn input_that_nobody_reads_any_more_costs_no_output() {
    let cluster = with_pod().await;
    let mut socket = open(&cluster, "web/exec?command=hello&command=0&stdin=1&stdout=1", V5).await.unwrap();
    // More than fits into the connection: the answer waits there until it is read.
    let big = [&[0][..], &vec![b'x'; 500_000]].concat();
    socket.send(say(&big)).await.unwrap();
    socket.send(say(b"\xff\0")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    socket.send(say(b"\0late")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let said = all(&mut socket).await;
    assert_eq!(said.iter().filter(|(channel, _)| *channel == 1).map(|(_, text)| text.len()).max(), Some(500_000));
    assert!(said.last().is_some_and(|(channel, status)| *channel == 3 && status.contains("Success")));
}

#[tokio::test]
async fn a_session_that_is_cut_off_says_so() {
    let cluster = with_pod().await;
    let mut socket = open(&cluster, "web/exec?command=hello&stdin=1&stdout=1", V5).await.unwrap();
    socket.send(say(b"\xff\0")).await.unwrap();
    let (channel, status) = all(&mut socket).await.pop().unwrap();
    assert_eq!(channel, 3);
    assert!(status.contains("the connection to node n2 was lost"), "{status}");
    let mut socket = open(&cluster, "web/exec?command=missing&stdout=1", V4).await.unwrap();
    let (_, status) = all(&mut socket).await.pop().unwrap();
    assert!(
        status.contains("Internal error occurred: error executing command in container: no such command"),
        "{status}"
    );
}

#[tokio::test]
async fn what_is_no_session_is_refused_in_a_sentence() {
    let cluster = with_pod().await;
    for (path, protocol, code, words) in [
        ("web/exec?stdout=1", V5, 400, "at least one command"),
        ("web/exec?command=ls", V5, 400, "at least 1 of stdin, stdout, stderr"),
        ("web/exec?command=ls&stdout=1&container=x", V5, 400, "container x is not valid for pod web"),
        ("none/exec?command=ls&stdout=1", V5, 404, "pods \"none\" not found"),
        ("web/exec?command=ls&stdout=1", "v1.other", 400, "no protocol in common"),
        ("none/portforward?ports=80", V4, 404, "pods \"none\" not found"),
        ("web/portforward?ports=http", V4, 400, "unable to parse \"http\" as a port"),
    ] {
        let refused = open(&cluster, path, protocol).await.expect_err(path);
        assert_eq!(refused.0, code, "{path}: {}", refused.1);
        assert!(refused.1.contains(words), "{path}: {}", refused.1);
    }
    let (code, answer) = cluster.get(&format!("{PODS}/web/exec?command=ls&stdout=1")).await;
    assert_eq!((code, &answer["message"]), (400, &json!("Upgrade request required")));
}

#[tokio::test]
async fn a_container_that_does_not_run_has_no_sessions() {
    let cluster = with_pod().await;
    let (_, mut pod) = cluster.get(&format!("{PODS}/web")).await;
    pod["status"]["containerStatuses"][0]["state"] = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    assert_eq!(cluster.put(&format!("{PODS}/web/status"), &pod).await.0, 200);
    let refused = open(&cluster, "web/attach?stdout=1", V5).await.err().unwrap();
    assert_eq!(refused, (404, "unable to upgrade connection: container not found (\"c\")".into()));
    let refused = open(&cluster, "web/portforward?ports=80", V4).await.err().unwrap();
    assert!(refused.1.starts_with("unable to forward port because pod is not running"), "{}", refused.1);
}

#[tokio::test]
async fn ports_have_channels_each() {
    let cluster = with_pod().await;
    let mut socket =
        open(&cluster, "web/portforward?ports=80,81", "v5.channel.k8s.io, v4.channel.k8s.io").await.unwrap();
    socket.send(say(b"\0ping")).await.unwrap();
    let mut said = Vec::new();
    while said.len() < 6 {
        let Some(Ok(Message::Binary(bytes))) = socket.next().await else { panic!("closed: {said:?}") };
        said.push(bytes.to_vec());
    }
    for port in [80_u8, 81] {
        let first = (port - 80) * 2;
        assert!(said.contains(&vec![first, port, 0]) && said.contains(&vec![first + 1, port, 0]), "{said:?}");
    }
    assert!(said.contains(&b"\0ping".to_vec()));
    let failed = said.iter().find(|m| m[0] == 3 && m.len() > 3).expect("port 81 fails");
    assert!(String::from_utf8_lossy(failed).contains("error forwarding port 81 to pod web"), "{said:?}");
}
