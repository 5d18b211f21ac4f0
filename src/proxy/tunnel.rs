//! Copies between a connection and a stream of the mesh until both sides have finished.
//!
//! A stream of the mesh ends in the same way whether its sender has finished, was reset or lost its node. So bytes
//! travel in pieces, each with its length before it (two bytes, big-endian), and a piece of length 0 says that the sender
//! has finished (half-close). A stream that ends without it was cut off, and the connection is reset: nobody takes half
//! an answer for a whole one.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::poll_fn;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf as NearReader;

use crate::handle::Stream;

use super::relay::{finish, reset, write_all};

/// How much is read at once, header included.
const CHUNK: usize = 64 * 1024;
/// The length before a piece.
const HEADER: usize = 2;
/// A piece that says that no more will come.
const END: [u8; HEADER] = [0; HEADER];

thread_local! {
    /// One buffer a thread serves all connections, because nothing waits while it is in use.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
}

/// Copies both ways. Dropping it, like an error, cuts the stream, and the far agent resets its connection.
pub(super) async fn tunnel(near: &mut TcpStream, far: Stream) -> io::Result<()> {
    let (mut from_near, to_near) = near.split();
    let (reader, writer) = split(far);
    let copied = tokio::try_join!(outward(&mut from_near, writer), inward(reader, to_near.as_ref()));
    if copied.is_err() {
        reset(near);
    }
    copied.map(|_| ())
}

/// What became of one try to copy.
enum Copied {
    /// All that was read has been written.
    Whole,
    /// The sender has finished.
    End,
    /// This is left, and the receiver takes no more just now.
    Rest(Vec<u8>),
}

async fn outward(near: &mut NearReader<'_>, mut far: WriteHalf<Stream>) -> io::Result<()> {
    loop {
        // Reading takes of the task's budget, so that two fast ends do not starve the others of this thread.
        match poll_fn(|cx| send_some(cx, near, &mut far)).await? {
            Copied::Whole => {}
            Copied::End => {
                far.write_all(&END).await?;
                return far.shutdown().await;
            }
            Copied::Rest(rest) => far.write_all(&rest).await?,
        }
    }
}

fn send_some(cx: &mut Context<'_>, near: &mut NearReader<'_>, far: &mut WriteHalf<Stream>) -> Poll<io::Result<Copied>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut space = ReadBuf::new(&mut buffer[HEADER..]);
        let Poll::Ready(read) = Pin::new(near).poll_read(cx, &mut space) else {
            // Nothing more for now: what the stream holds has to go. If it cannot just now, it wakes this task again.
            let flushed = Pin::new(far).poll_flush(cx);
            return if let Poll::Ready(Err(e)) = flushed { Poll::Ready(Err(e)) } else { Poll::Pending };
        };
        read?;
        let length = space.filled().len();
        if length == 0 {
            return Poll::Ready(Ok(Copied::End));
        }
        let header = u16::try_from(length).expect("a piece and its header fit the buffer of 64 KiB");
        buffer[..HEADER].copy_from_slice(&header.to_be_bytes());
        let mut rest = &buffer[..HEADER + length];
        while !rest.is_empty() {
            match Pin::new(&mut *far).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => rest = &rest[written..],
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return Poll::Ready(Ok(Copied::Rest(rest.to_vec()))),
            }
        }
        Poll::Ready(Ok(Copied::Whole))
    })
}

async fn inward(mut far: ReadHalf<Stream>, near: &TcpStream) -> io::Result<()> {
    let mut pieces = Pieces::default();
    loop {
        match poll_fn(|cx| receive_some(cx, &mut far, &mut pieces, near)).await? {
            Copied::Rest(rest) => write_all(near, &rest).await?,
            _ => tokio::task::consume_budget().await,
        }
        if pieces.ended {
            return finish(near);
        }
    }
}

fn receive_some(
    cx: &mut Context<'_>,
    far: &mut ReadHalf<Stream>,
    pieces: &mut Pieces,
    near: &TcpStream,
) -> Poll<io::Result<Copied>> {
    BUFFER.with_borrow_mut(|buffer| {
        let mut space = ReadBuf::new(buffer);
        ready!(Pin::new(far).poll_read(cx, &mut space))?;
        let read = space.filled().len();
        if read == 0 {
            let what = "the stream from the other node was cut off";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, what)));
        }
        let length = pieces.unpack(&mut buffer[..read]);
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            match near.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Poll::Ready(Ok(Copied::Rest(rest.to_vec()))),
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Ready(Ok(Copied::Whole))
    })
}

/// Where in the pieces the reader is.
#[derive(Debug, Default)]
struct Pieces {
    /// What is still to come of this piece.
    left: usize,
    /// The first byte of a header that came in two.
    half: Option<u8>,
    /// The last piece has come; what follows is not looked at.
    ended: bool,
}

impl Pieces {
    /// Moves the bytes of all pieces in `buffer` to its front and returns how many they are.
    fn unpack(&mut self, buffer: &mut [u8]) -> usize {
        let (mut read, mut written) = (0, 0);
        while read < buffer.len() && !self.ended {
            if self.left == 0 {
                let byte = buffer[read];
                read += 1;
                match self.half.take() {
                    None => self.half = Some(byte),
                    Some(first) => {
                        self.left = usize::from(u16::from_be_bytes([first, byte]));
                        self.ended = self.left == 0;
                    }
                }
                continue;
            }
            let length = self.left.min(buffer.len() - read);
            buffer.copy_within(read..read + length, written);
            (read, written) = (read + length, written + length);
            self.left -= length;
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack_in(step: usize, packed: &[u8]) -> (Vec<u8>, bool) {
        let (mut pieces, mut whole) = (Pieces::default(), Vec::new());
        for part in packed.chunks(step) {
            let mut part = part.to_vec();
            let length = pieces.unpack(&mut part);
            whole.extend(&part[..length]);
        }
        (whole, pieces.ended)
    }

    #[test]
    fn pieces_are_put_together_however_they_are_cut() {
        let packed = [&[0, 3][..], b"abc", &[0, 1], b"d", &[1, 0], &[b'x'; 256], &[0, 0], b"late"].concat();
        let expected = [b"abcd".as_slice(), &[b'x'; 256]].concat();
        for step in 1..packed.len() {
            assert_eq!(unpack_in(step, &packed), (expected.clone(), true), "in steps of {step}");
        }
        assert_eq!(unpack_in(2, &packed[..6]), (b"abc".to_vec(), false));
    }
}
