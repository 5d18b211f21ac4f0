//! `pods/exec` and `pods/attach` over WebSockets, as client-go's `remotecommand` speaks: a message is one byte that names
//! a channel, then content.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts as _;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::Response;
use axum::http::request::Parts;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::handle::{Ended, Frame, Session, Streams, Talk};
use crate::object::Key;

use super::Api;
use super::logs::{bare_id, container};
use super::params::Params;
use super::status::Status;

/// How many sessions may be open at a node's API; as many again those of other nodes.
pub const MAX_SESSIONS: usize = 256;
/// The most bytes of a message; client-go sends 32 KiB and one.
const MAX_MESSAGE: usize = 4 << 20;

/// The forms that are spoken, the preferred one first. They differ in that a client of the first can end its input.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

/// Answers `GET` and `POST .../pods/NAME/exec`.
///
/// # Errors
/// 404 without the pod or a running container; 400 if the request is no such session; 503 if there are too many. What
/// goes wrong later is told in the session.
pub async fn exec(api: &Api, key: &Key, params: &Params, head: Parts) -> Result<Response<Body>, Status> {
    let command: Vec<String> = params.all("command").map(str::to_owned).collect();
    if command.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let streams = streams(params)?;
    open(api, key, params, head, |container| Session::Exec { container, command, streams }).await
}

/// Answers `GET` and `POST .../pods/NAME/attach`.
///
/// # Errors
/// As [`exec`].
pub async fn attach(api: &Api, key: &Key, params: &Params, head: Parts) -> Result<Response<Body>, Status> {
    let streams = streams(params)?;
    open(api, key, params, head, |container| Session::Attach { container, streams }).await
}

fn streams(params: &Params) -> Result<Streams, Status> {
    let tty = params.flag("tty");
    let streams = Streams {
        stdin: params.flag("stdin"),
        stdout: params.flag("stdout"),
        // A terminal has one output.
        stderr: params.flag("stderr") && !tty,
        tty,
    };
    let none = !streams.stdin && !streams.stdout && !params.flag("stderr");
    if none { Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr")) } else { Ok(streams) }
}

async fn open(
    api: &Api,
    key: &Key,
    params: &Params,
    head: Parts,
    session: impl FnOnce(String) -> Session,
) -> Result<Response<Body>, Status> {
    // kubectl asks again in a form that is not spoken here if it is refused, and shows what it is told then: so what is
    // wrong with the pod comes first, and what goes wrong later is told within the session.
    let (node, container) = place(api, key, params.text("container"))?;
    let permit = room(api)?;
    let socket = upgrade(head, &PROTOCOLS).await?;
    let (shutdown, containers, session) = (api.shutdown.clone(), Arc::clone(&api.containers), session(container));
    Ok(socket.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).on_upgrade(async move |socket| {
        let session = async {
            match containers.begin(&node, session).await {
                Ok(talk) => converse(socket, talk, &node).await,
                Err(why) => end(socket.split().0, &Ended::Failed(why)).await,
            }
        };
        shutdown.run_until_cancelled(session).await;
        drop(permit);
    }))
}

/// Takes a place among the sessions.
///
/// # Errors
/// 503 if all are taken.
pub(super) fn room(api: &Api) -> Result<OwnedSemaphorePermit, Status> {
    let busy = |_| Status::unavailable(format!("this node has {MAX_SESSIONS} sessions already"));
    Arc::clone(&api.sessions).try_acquire_owned().map_err(busy)
}

/// Finds the node of a pod and the id of a container that runs: the one that is named, or the only one.
///
/// # Errors
/// 404 without the pod or if the container does not run; 400 if it is not the pod's.
pub(super) fn place(api: &Api, key: &Key, named: Option<&str>) -> Result<(String, String), Status> {
    let pod = api.handle.snapshot().get(key).ok_or_else(|| Status::not_found(key))?.value();
    let name = container(&pod, named)?;
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", key.name)));
    }
    let id = running(&pod, Some(&name)).ok_or_else(|| Status {
        code: 404,
        ..Status::bad_request(format!("unable to upgrade connection: container not found ({name:?})"))
    })?;
    Ok((node.to_owned(), id))
}

/// Returns the id of a container that runs; of any, if none is named.
pub(super) fn running(pod: &Value, name: Option<&str>) -> Option<String> {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let statuses = lists.iter().filter_map(|list| pod["status"][list].as_array()).flatten();
    let mut matching =
        statuses.filter(|s| name.is_none_or(|name| s["name"] == name) && s["state"]["running"].is_object());
    bare_id(&matching.next()?["containerID"])
}

/// Makes the answer to a request that wants a WebSocket in one of these forms.
///
/// # Errors
/// 400 if it does not.
pub(super) async fn upgrade(mut head: Parts, protocols: &[&'static str]) -> Result<WebSocketUpgrade, Status> {
    let socket = WebSocketUpgrade::from_request_parts(&mut head, &()).await;
    let socket = socket.map_err(|_| Status::bad_request("Upgrade request required"))?;
    let socket = socket.protocols(protocols.iter().copied());
    if socket.selected_protocol().is_none() {
        let message = format!("the client and the server have no protocol in common; offered are {protocols:?}");
        return Err(Status::bad_request(message));
    }
    Ok(socket)
}

/// Carries what is said, until either side has gone.
async fn converse(socket: WebSocket, talk: Talk, node: &str) {
    let (sink, stream) = socket.split();
    tokio::select! {
        () = listen(stream, talk.say) => {}
        () = tell(sink, talk.hear, node) => {}
    }
}

async fn listen(mut stream: SplitStream<WebSocket>, say: mpsc::Sender<Frame>) {
    while let Some(Ok(message)) = stream.next().await {
        let frame = match message {
            Message::Binary(bytes) => frame_of(&bytes),
            // The Python client sends input as text.
            Message::Text(text) => frame_of(&Bytes::from(text)),
            Message::Close(_) => return,
            Message::Ping(_) | Message::Pong(_) => None,
        };
        if let Some(frame) = frame {
            // What nobody hears any more is no end of the session: what was said last is still on its way to the client.
            let _ = say.send(frame).await;
        }
    }
}

fn frame_of(message: &Bytes) -> Option<Frame> {
    let rest = message.get(1..)?;
    match message[0] {
        STDIN => Some(Frame::Input(message.slice(1..))),
        RESIZE => {
            let size: Value = serde_json::from_slice(rest).ok()?;
            let side = |name: &str| size[name].as_u64().and_then(|n| u16::try_from(n).ok());
            Some(Frame::Resize(side("Width")?, side("Height")?))
        }
        CLOSE if rest == [STDIN] => Some(Frame::InputEnd),
        _ => None,
    }
}

async fn tell(mut sink: SplitSink<WebSocket, Message>, mut hear: mpsc::Receiver<Frame>, node: &str) {
    let ended = loop {
        let (channel, bytes) = match hear.recv().await {
            Some(Frame::Output(bytes)) => (STDOUT, bytes),
            Some(Frame::Error(bytes)) => (STDERR, bytes),
            Some(Frame::Ended(ended)) => break ended,
            Some(Frame::Input(_) | Frame::InputEnd | Frame::Resize(..)) => continue,
            None => break Ended::Failed(format!("the connection to node {node} was lost")),
        };
        if sink.send(message(channel, &bytes)).await.is_err() {
            return;
        }
    };
    end(sink, &ended).await;
}

/// Tells how a session ended, and closes it.
async fn end(mut sink: SplitSink<WebSocket, Message>, ended: &Ended) {
    let status = status_of(ended).to_string();
    if sink.send(message(STATUS, status.as_bytes())).await.is_ok() {
        let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
        let _ = sink.send(Message::Close(Some(close))).await;
    }
}

/// Makes a message on a channel.
pub(super) fn message(channel: u8, bytes: &[u8]) -> Message {
    let mut whole = BytesMut::with_capacity(1 + bytes.len());
    whole.put_u8(channel);
    whole.put_slice(bytes);
    Message::Binary(whole.freeze())
}

/// How a process ended, as the kubelet says it (`remotecommand`).
fn status_of(ended: &Ended) -> Value {
    match ended {
        Ended::Exit(0) => json!({"metadata": {}, "status": "Success"}),
        Ended::Exit(code) => json!({
            "metadata": {}, "status": "Failure",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Ended::Failed(why) => json!({
            "metadata": {}, "status": "Failure",
            "message": format!("Internal error occurred: error executing command in container: {why}"),
            "reason": "InternalError",
            "details": {"causes": [{"message": why}]},
            "code": 500,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_by_their_channel() {
        let read = |bytes: &'static [u8]| frame_of(&Bytes::from_static(bytes));
        assert_eq!(read(b"\0ls\n"), Some(Frame::Input("ls\n".into())));
        assert_eq!(read(b"\x04{\"Width\":80,\"Height\":24}"), Some(Frame::Resize(80, 24)));
        assert_eq!(read(b"\xff\0"), Some(Frame::InputEnd));
        for nonsense in [&b""[..], b"\x04", b"\x04{\"Width\":-1}", b"\xff\x01", b"\x07x", b"\x01out"] {
            assert_eq!(frame_of(&Bytes::from_static(nonsense)), None, "{nonsense:?}");
        }
    }

    #[test]
    fn at_least_one_stream_is_wanted() {
        let read = |query: &str| streams(&Params::parse(query));
        assert!(read("tty=true").is_err());
        let tty = read("stdin=true&stdout=true&stderr=true&tty=true").unwrap();
        assert_eq!(tty, Streams { stdin: true, stdout: true, stderr: false, tty: true });
    }

    #[test]
    fn an_exit_code_is_told_as_clients_read_it() {
        assert_eq!(status_of(&Ended::Exit(0))["status"], "Success");
        let failure = status_of(&Ended::Exit(3));
        assert_eq!(
            (&failure["reason"], &failure["details"]["causes"][0]["message"]),
            (&json!("NonZeroExitCode"), &json!("3"))
        );
    }
}
