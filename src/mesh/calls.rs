//! Calls: a stream with a head that says what it is for (two bytes of length, big-endian, then JSON).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use libp2p::Stream as Raw;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use tracing::debug;

use super::Event;
use super::limits;
use super::link::{Link, Purpose, Slot};
use crate::handle::{Call, Stream};

/// Calls the far side of a connection. The head travels with the stream's negotiation: nothing is waited for.
///
/// # Errors
/// The connection has ended, or has too many calls.
pub(super) async fn open(link: &Arc<Link>, call: &Call) -> io::Result<Stream> {
    let busy = || io::Error::new(io::ErrorKind::QuotaExceeded, "too many calls to this node are open");
    let head = head_of(call)?;
    let slot = link.room_out().ok_or_else(busy)?;
    let mut stream = link.open(Purpose::Call).await?.compat();
    stream.write_all(&head).await?;
    stream.flush().await?;
    Ok(Box::new(Carried { stream, link: link.clone(), _slot: slot }))
}

fn head_of(call: &Call) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(call)?;
    if json.len() > limits::CALL_HEAD {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the head of a call is too long"));
    }
    let length = u16::try_from(json.len()).map_err(io::Error::other)?;
    Ok([length.to_be_bytes().as_slice(), &json].concat())
}

/// Takes a call that comes in, if it is well-formed and allowed to who calls.
pub(super) async fn accept(link: Arc<Link>, slot: Slot, stream: Raw, events: mpsc::Sender<Event>) {
    let from = link.node;
    let mut stream = Carried { stream: stream.compat(), link, _slot: slot };
    let head = tokio::time::timeout(limits::CALL_HEAD_PATIENCE, read_head(&mut stream)).await;
    match head.unwrap_or_else(|late| Err(late.into())) {
        Ok(call) if stream.link.member.load().is_some() || matches!(call, Call::Join) => {
            let stream = Box::new(stream);
            let _ = events.send(Event::Call { from, call, stream }).await;
        }
        Ok(_) => debug!(peer = ?from, "a stranger's call is refused"),
        Err(error) => debug!(peer = ?from, %error, "a call without a proper head is dropped"),
    }
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Call> {
    let length = usize::from(stream.read_u16().await?);
    if length > limits::CALL_HEAD {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of a call is too long"));
    }
    let mut json = vec![0; length];
    stream.read_exact(&mut json).await?;
    Ok(serde_json::from_slice(&json)?)
}

/// The stream of a call: what comes on it is a sign of life of its connection.
struct Carried {
    stream: Compat<Raw>,
    link: Arc<Link>,
    _slot: Slot,
}

impl AsyncRead for Carried {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.link.hear();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn heads_read_back_and_nonsense_is_refused() {
        let call = Call::Tcp("10.240.1.2:80".parse().unwrap());
        assert_eq!(read_head(&mut head_of(&call).unwrap().as_slice()).await.unwrap(), call);
        for bytes in [&[0xff, 0xff, 1][..], &[0, 2, b'{', b'}'], &[0, 9, b'"'], &[]] {
            assert!(read_head(&mut &*bytes).await.is_err());
        }
    }
}
