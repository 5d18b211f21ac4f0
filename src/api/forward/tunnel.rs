//! A port-forward session of kubectl: each connection is two streams, one for its bytes and one for its error.

use std::collections::BTreeMap;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::stream::SplitStream;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Target;
use super::spdy::{self, Reader, Said, Writer};
use crate::handle::Frame;

/// How many frames wait for the client before a pod waits.
const WAITING: usize = 16;
/// How many streams a session may have at once; two a connection.
const MAX_STREAMS: usize = 2_048;

/// Serves until the client has gone.
pub async fn serve(socket: WebSocket, target: &Target) {
    let (mut sink, stream) = socket.split();
    let (out, mut frames) = mpsc::channel::<Bytes>(WAITING);
    let telling = async {
        while let Some(frame) = frames.recv().await {
            if sink.send(Message::Binary(frame)).await.is_err() {
                return;
            }
        }
    };
    let session = Session { target, out, errors: BTreeMap::new(), inputs: BTreeMap::new(), tasks: JoinSet::new() };
    tokio::select! {
        () = session.listen(stream) => {}
        () = telling => {}
    }
}

struct Session<'a> {
    target: &'a Target,
    out: mpsc::Sender<Bytes>,
    /// The streams for errors that wait for their connection, by what both name.
    errors: BTreeMap<String, u32>,
    /// Where the bytes of a stream go.
    inputs: BTreeMap<u32, mpsc::Sender<Frame>>,
    /// One a connection; they end with the session.
    tasks: JoinSet<u32>,
}

impl Session<'_> {
    async fn listen(mut self, mut stream: SplitStream<WebSocket>) {
        let (mut reader, mut writer) = (Reader::new(), Writer::new());
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(bytes) => reader.push(&bytes),
                Message::Close(_) => return,
                Message::Text(_) | Message::Ping(_) | Message::Pong(_) => continue,
            }
            loop {
                let said = match reader.next() {
                    Ok(Some(said)) => said,
                    Ok(None) => break,
                    Err(error) => return tracing::debug!(pod = %self.target.pod, %error, "port-forward ended"),
                };
                if !self.hear(said, &mut writer).await {
                    return;
                }
            }
        }
    }

    /// Returns whether the session goes on.
    async fn hear(&mut self, said: Said, writer: &mut Writer) -> bool {
        while let Some(Ok(ended)) = self.tasks.try_join_next() {
            self.inputs.remove(&ended);
        }
        match said {
            Said::Open { stream, headers, .. } => {
                if self.errors.len() + self.inputs.len() >= MAX_STREAMS {
                    return false;
                }
                let sent = self.out.send(writer.reply(stream)).await.is_ok();
                let text = |name: &str| headers.get(name).map_or("", String::as_str);
                let request = format!("{}/{}", text("requestid"), text("port"));
                match text("streamtype") {
                    "error" => drop(self.errors.insert(request, stream)),
                    "data" => {
                        let error = self.errors.remove(&request);
                        self.connect(stream, error, text("port"));
                    }
                    _ => return false,
                }
                sent
            }
            Said::Data { stream, bytes, fin } => {
                // Of streams for errors only the end is heard.
                if let Some(input) = self.inputs.get(&stream) {
                    if !bytes.is_empty() {
                        let _ = input.send(Frame::Input(bytes)).await;
                    }
                    if fin {
                        let _ = input.send(Frame::InputEnd).await;
                    }
                }
                true
            }
            Said::Reset(stream) => {
                self.inputs.remove(&stream);
                true
            }
            Said::Ping(id) => self.out.send(spdy::pong(id)).await.is_ok(),
            Said::Away => false,
        }
    }

    fn connect(&mut self, stream: u32, error: Option<u32>, port: &str) {
        let (say, told) = mpsc::channel(WAITING);
        self.inputs.insert(stream, say);
        let (target, out, port) = (self.target.clone(), self.out.clone(), port.to_owned());
        self.tasks.spawn(async move {
            let failed = match port.parse() {
                Ok(port) => target.carry(port, told, &out, |bytes| spdy::data(stream, bytes, false)).await.err(),
                Err(_) => Some(format!("unable to parse {port:?} as a port")),
            };
            let _ = out.send(spdy::data(stream, &[], true)).await;
            // The client waits for the end of the stream for errors too.
            if let Some(error) = error {
                let _ = out.send(spdy::data(error, failed.unwrap_or_default().as_bytes(), true)).await;
            }
            stream
        });
    }
}
