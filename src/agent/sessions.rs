//! Sessions in containers of every node: this one's through Docker, the others' through their agents.
//!
//! On a stream: frames of four bytes of length, big-endian, and so many bytes, of which the first is a kind.

use std::io;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::future::BoxFuture;
use futures_util::{SinkExt, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use crate::handle::{Call, Ended, Frame, PIECE, Session, Sessions, Stream, Talk, talk};

use super::reach::Reach;

const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERROR: u8 = 2;
const ENDED: u8 = 3;
const RESIZE: u8 = 4;
const INPUT_END: u8 = 5;
/// The most bytes of a frame that is believed.
const MAX_FRAME: usize = 64 * 1024;
/// How long another node may take to begin a session.
const PATIENCE: Duration = Duration::from_secs(20);

impl Sessions for Reach {
    fn begin(&self, node: &str, session: Session) -> BoxFuture<'static, Result<Talk, String>> {
        if node == self.node {
            return self.local.begin(node, session);
        }
        let call = self.calls.call(node, Call::Session(session));
        let node = node.to_owned();
        Box::pin(async move {
            let begun = timeout(PATIENCE, async { begin(call.await?).await }).await;
            let silent = || format!("node {node} does not answer");
            begun.map_err(|_| silent())?.map_err(|e| format!("{}: {e}", silent()))?
        })
    }
}

/// Waits until the far side has begun, and carries the session from then on.
async fn begin(stream: Stream) -> io::Result<Result<Talk, String>> {
    let (mut reader, writer) = halves(stream);
    let first = reader.next().await.ok_or(io::ErrorKind::UnexpectedEof)?;
    if let Frame::Ended(Ended::Failed(reason)) = decode(first?)? {
        return Ok(Err(reason));
    }
    let (here, there) = talk();
    tokio::spawn(carry(reader, writer, there));
    Ok(Ok(here))
}

/// Serves a session of this node to another one, until either side has gone.
///
/// # Errors
/// The stream's.
pub async fn serve(local: &dyn crate::handle::Containers, session: Session, stream: Stream) -> io::Result<()> {
    let (reader, mut writer) = halves(stream);
    match local.begin("", session).await {
        Ok(talk) => {
            writer.send(encode(Frame::Output(Bytes::new()))).await?;
            carry(reader, writer, talk).await
        }
        Err(reason) => {
            writer.send(encode(Frame::Ended(Ended::Failed(reason)))).await?;
            SinkExt::<Bytes>::close(&mut writer).await
        }
    }
}

type Reader<T> = FramedRead<tokio::io::ReadHalf<T>, LengthDelimitedCodec>;
type Writer<T> = FramedWrite<tokio::io::WriteHalf<T>, LengthDelimitedCodec>;

fn halves<T: AsyncRead + AsyncWrite>(stream: T) -> (Reader<T>, Writer<T>) {
    let codec = || LengthDelimitedCodec::builder().max_frame_length(MAX_FRAME).new_codec();
    let (reader, writer) = tokio::io::split(stream);
    (FramedRead::new(reader, codec()), FramedWrite::new(writer, codec()))
}

/// Carries what both sides say. When one has gone, so is the other told.
async fn carry<T: AsyncRead + AsyncWrite>(
    mut reader: Reader<T>,
    mut writer: Writer<T>,
    mut talk: Talk,
) -> io::Result<()> {
    let hearing = async {
        while let Some(frame) = reader.next().await {
            // Who hears no more may still have something to say.
            let _ = talk.say.send(decode(frame?)?).await;
        }
        Ok(())
    };
    let saying = async {
        while let Some(frame) = talk.hear.recv().await {
            for part in parts(frame) {
                writer.send(encode(part)).await?;
            }
        }
        SinkExt::<Bytes>::close(&mut writer).await
    };
    tokio::select! {
        done = hearing => done,
        done = saying => done,
    }
}

/// Cuts what is too long for one frame.
fn parts(frame: Frame) -> Vec<Frame> {
    let cut = |bytes: Bytes, make: fn(Bytes) -> Frame| {
        let ends = (0..bytes.len().max(1)).step_by(PIECE);
        ends.map(|at| make(bytes.slice(at..bytes.len().min(at + PIECE)))).collect()
    };
    match frame {
        Frame::Input(bytes) => cut(bytes, Frame::Input),
        Frame::Output(bytes) => cut(bytes, Frame::Output),
        Frame::Error(bytes) => cut(bytes, Frame::Error),
        other => vec![other],
    }
}

fn encode(frame: Frame) -> Bytes {
    let with = |kind: u8, rest: &[u8]| {
        let mut bytes = BytesMut::with_capacity(1 + rest.len());
        bytes.put_u8(kind);
        bytes.put_slice(rest);
        bytes.freeze()
    };
    match frame {
        Frame::Input(bytes) => with(INPUT, &bytes),
        Frame::Output(bytes) => with(OUTPUT, &bytes),
        Frame::Error(bytes) => with(ERROR, &bytes),
        Frame::InputEnd => with(INPUT_END, &[]),
        Frame::Resize(columns, rows) => with(RESIZE, &[columns.to_be_bytes(), rows.to_be_bytes()].concat()),
        Frame::Ended(Ended::Exit(code)) => with(ENDED, &[&[0], code.to_be_bytes().as_slice()].concat()),
        Frame::Ended(Ended::Failed(reason)) => {
            let end = reason.floor_char_boundary(PIECE);
            with(ENDED, &[&[1], &reason.as_bytes()[..end]].concat())
        }
    }
}

fn decode(bytes: BytesMut) -> io::Result<Frame> {
    let bytes = bytes.freeze();
    let nonsense = || io::Error::new(io::ErrorKind::InvalidData, "a frame of a session that makes no sense");
    let (kind, rest) = (*bytes.first().ok_or_else(nonsense)?, bytes.slice(1..));
    let number = |at: usize| rest.get(at..at + 2).and_then(|n| n.try_into().ok()).map(u16::from_be_bytes);
    Ok(match (kind, rest.first()) {
        (INPUT, _) => Frame::Input(rest),
        (OUTPUT, _) => Frame::Output(rest),
        (ERROR, _) => Frame::Error(rest),
        (INPUT_END, _) => Frame::InputEnd,
        (RESIZE, _) => Frame::Resize(number(0).ok_or_else(nonsense)?, number(2).ok_or_else(nonsense)?),
        (ENDED, Some(0)) => {
            let code = rest[1..].try_into().map_err(|_| nonsense())?;
            Frame::Ended(Ended::Exit(i64::from_be_bytes(code)))
        }
        (ENDED, Some(_)) => Frame::Ended(Ended::Failed(String::from_utf8_lossy(&rest[1..]).into_owned())),
        _ => return Err(nonsense()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::handle::{Calls, LogOptions, LogStream, Logs, Meters};

    /// A node whose commands answer what they hear, and end with the input.
    struct Echo;

    impl Logs for Echo {
        fn open(&self, _: &str, _: &str, _: LogOptions) -> BoxFuture<'static, Result<LogStream, String>> {
            Box::pin(async { Err("sessions only".to_owned()) })
        }
    }

    impl Meters for Echo {}

    impl Sessions for Echo {
        fn begin(&self, _: &str, session: Session) -> BoxFuture<'static, Result<Talk, String>> {
            Box::pin(async move {
                if session == forward(81) {
                    return Err("connection refused".into());
                }
                let (here, mut there) = talk();
                tokio::spawn(async move {
                    while let Some(frame) = there.hear.recv().await {
                        let answer = match frame {
                            Frame::Input(bytes) if bytes == "vanish" => return,
                            Frame::Input(bytes) => Frame::Output(bytes),
                            Frame::Resize(columns, rows) => Frame::Error(format!("{columns}x{rows}").into()),
                            _ => Frame::Ended(Ended::Exit(-3)),
                        };
                        let _ = there.say.send(answer).await;
                    }
                });
                Ok(here)
            })
        }
    }

    /// A way to one other node, n2.
    struct Wire;

    impl Calls for Wire {
        fn call(&self, node: &str, call: Call) -> BoxFuture<'static, io::Result<Stream>> {
            let known = node == "n2";
            Box::pin(async move {
                let Call::Session(session) = call else { return Err(io::ErrorKind::Unsupported.into()) };
                if !known {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                let (here, there) = tokio::io::duplex(1024);
                tokio::spawn(async move { serve(&Echo, session, Box::new(there)).await });
                Ok(Box::new(here) as Stream)
            })
        }
    }

    fn forward(port: u16) -> Session {
        Session::Forward { container: "c".into(), port }
    }

    async fn begin_on(node: &str, port: u16) -> Result<Talk, String> {
        let reach = Reach { node: "n1".into(), local: Arc::new(Echo), calls: Arc::new(Wire) };
        reach.begin(node, forward(port)).await
    }

    #[tokio::test]
    async fn sessions_are_carried_whole_and_in_order() {
        for node in ["n1", "n2"] {
            let mut talk = begin_on(node, 80).await.unwrap();
            let big = Bytes::from(vec![7; 3 * PIECE + 1]);
            talk.say.send(Frame::Input(big.clone())).await.unwrap();
            talk.say.send(Frame::Resize(80, 24)).await.unwrap();
            talk.say.send(Frame::InputEnd).await.unwrap();
            let (mut out, mut rest) = (BytesMut::new(), Vec::new());
            while let Some(frame) = talk.hear.recv().await {
                match frame {
                    Frame::Output(bytes) => out.extend_from_slice(&bytes),
                    Frame::Ended(ended) => {
                        rest.push(Frame::Ended(ended));
                        break;
                    }
                    other => rest.push(other),
                }
            }
            assert_eq!(out, big);
            assert_eq!(rest, [Frame::Error("80x24".into()), Frame::Ended(Ended::Exit(-3))], "{node}");
        }
    }

    #[tokio::test]
    async fn what_cannot_begin_says_why() {
        for node in ["n1", "n2"] {
            assert_eq!(begin_on(node, 81).await.err().as_deref(), Some("connection refused"));
        }
        assert!(begin_on("n3", 80).await.unwrap_err().contains("node n3 does not answer"));
    }

    #[tokio::test]
    async fn a_side_that_has_gone_ends_the_session() {
        let mut talk = begin_on("n2", 80).await.unwrap();
        talk.say.send(Frame::Input("vanish".into())).await.unwrap();
        let end = timeout(Duration::from_secs(5), talk.hear.recv()).await;
        assert_eq!(end.expect("in time"), None, "cut off: no word on how it ended");
    }

    #[test]
    fn nonsense_is_an_error() {
        for bytes in [&b""[..], &[9], &[RESIZE, 0, 80], &[ENDED], &[ENDED, 0, 1]] {
            assert!(decode(BytesMut::from(bytes)).is_err(), "{bytes:?}");
        }
    }
}
