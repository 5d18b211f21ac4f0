//! Connections to the daemon that become a process's input and output.
//!
//! The client library makes them too, but tells a terminal's bytes from its own frames by their first byte, and so breaks
//! on what a terminal may say.

use bytes::{Buf as _, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio_util::codec::Decoder;

use super::error::{Error, reason};
use crate::handle::Frame;

/// The most bytes of a frame of the daemon's that are held until it is whole.
const HELD: usize = 1 << 20;

/// Asks the daemon for a stream; returns the connection once it is one.
pub async fn open(socket: &str, path: &str, body: String) -> Result<UnixStream, Error> {
    let broken = |why: String| Error::Unreachable { socket: socket.to_owned(), reason: why };
    let stream = UnixStream::connect(socket).await.map_err(|e| broken(reason(&e)))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| broken(e.to_string()))?;
    let driving = tokio::spawn(connection.with_upgrades());
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, "docker")
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "tcp")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| Error::Nonsense(e.to_string()))?;
    let answer = sender.send_request(request).await.map_err(|e| broken(e.to_string()))?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|e| broken(e.to_string()))?.to_bytes();
        driving.abort();
        let message = serde_json::from_slice::<serde_json::Value>(&body).ok();
        let message = message.and_then(|m| m["message"].as_str().map(str::to_owned));
        return Err(Error::Refused {
            status,
            message: message.unwrap_or_else(|| String::from_utf8_lossy(&body).into_owned()),
        });
    }
    let upgraded = hyper::upgrade::on(answer).await.map_err(|e| broken(e.to_string()))?;
    let parts = upgraded.downcast::<TokioIo<UnixStream>>().map_err(|_| broken("no stream of ours".into()))?;
    if !parts.read_buf.is_empty() {
        return Err(Error::Nonsense("output before the answer was read".into()));
    }
    Ok(parts.io.into_inner())
}

/// Reads what a process says: plain from a terminal, else in frames of eight bytes of head (the stream's number, three
/// bytes of nothing, the length), as they come in.
pub struct Output {
    /// It has a terminal.
    pub tty: bool,
    /// Of the frame that is being read: its stream's number, and how much of it is left.
    pub left: (u8, usize),
}

impl Decoder for Output {
    type Item = Frame;
    type Error = std::io::Error;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, Self::Error> {
        if self.tty {
            return Ok((!bytes.is_empty()).then(|| Frame::Output(bytes.split().freeze())));
        }
        loop {
            if self.left.1 == 0 {
                let Some(head) = bytes.first_chunk::<8>() else { return Ok(None) };
                let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
                self.left = (head[0], length);
                bytes.advance(8);
                continue;
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            let piece = bytes.split_to(bytes.len().min(self.left.1).min(HELD)).freeze();
            self.left.1 -= piece.len();
            return Ok(Some(if self.left.0 == 2 { Frame::Error(piece) } else { Frame::Output(piece) }));
        }
    }

    fn decode_eof(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, Self::Error> {
        // What is left is half a head: the daemon died in the middle.
        let frame = self.decode(bytes)?;
        if frame.is_none() {
            bytes.clear();
        }
        Ok(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(tty: bool, pieces: &[&[u8]]) -> Vec<Frame> {
        let (mut output, mut bytes, mut frames) = (Output { tty, left: (0, 0) }, BytesMut::new(), Vec::new());
        for piece in pieces {
            bytes.extend_from_slice(piece);
            while let Some(frame) = output.decode(&mut bytes).unwrap() {
                frames.push(frame);
            }
        }
        while let Some(frame) = output.decode_eof(&mut bytes).unwrap() {
            frames.push(frame);
        }
        frames
    }

    #[test]
    fn streams_are_told_apart_wherever_the_pieces_end() {
        let whole = b"\x01\0\0\0\0\0\0\x03out\x02\0\0\0\0\0\0\x04fail\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01!";
        for at in 0..whole.len() {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            for frame in read(false, &[&whole[..at], &whole[at..]]) {
                match frame {
                    Frame::Output(piece) => out.extend_from_slice(&piece),
                    Frame::Error(piece) => err.extend_from_slice(&piece),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!((out.as_slice(), err.as_slice()), (&b"out!"[..], &b"fail"[..]));
        }
    }

    #[test]
    fn a_terminal_may_say_anything() {
        let said = b"\x01\0\0\0\0\0\0\x03not a head";
        assert_eq!(read(true, &[said]), [Frame::Output(Bytes::from_static(said))]);
    }

    #[test]
    fn half_a_head_at_the_end_is_nothing() {
        assert_eq!(read(false, &[b"\x01\0\0"]), []);
    }
}
