//! Copies between two connections until both sides have finished.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::poll_fn;
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Copies both ways. A side that has finished sending is told on to the other, which may go on (half-close); a
/// connection that is reset resets the other.
pub(super) async fn relay(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    let ((mut from_client, to_client), (mut from_server, to_server)) = (client.split(), server.split());
    let copied = tokio::try_join!(one_way(&mut from_client, &to_server), one_way(&mut from_server, &to_client));
    if copied.is_err() {
        reset(client);
        reset(server);
    }
    copied.map(|_| ())
}

/// Makes closing `stream` a reset, by which the peer knows that it did not end well.
pub(super) fn reset(stream: &TcpStream) {
    // Fails only on a connection that is gone already.
    let _ = stream.set_zero_linger();
}

thread_local! {
    /// One buffer a thread serves all connections, because nothing waits while it is in use.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; CHUNK]);
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

async fn one_way(from: &mut ReadHalf<'_>, to: &WriteHalf<'_>) -> io::Result<()> {
    loop {
        // Reading takes of the task's budget, so that two fast ends do not starve the others of this thread.
        match poll_fn(|cx| copy_some(cx, from, to)).await? {
            Copied::Whole => {}
            Copied::End => return finish(to.as_ref()),
            Copied::Rest(rest) => write_all(to.as_ref(), &rest).await?,
        }
    }
}

fn copy_some(cx: &mut Context<'_>, from: &mut ReadHalf<'_>, to: &WriteHalf<'_>) -> Poll<io::Result<Copied>> {
    BUFFER.with_borrow_mut(|buffer| {
        // Unlike `try_read`, this knows by a short read that nothing is left, and does not ask the kernel again.
        let mut space = ReadBuf::new(buffer);
        ready!(Pin::new(from).poll_read(cx, &mut space))?;
        let read = space.filled();
        Poll::Ready(match read {
            [] => Ok(Copied::End),
            _ => write_some(to.as_ref(), read),
        })
    })
}

/// Writes what the receiver takes at once.
fn write_some(to: &TcpStream, mut rest: &[u8]) -> io::Result<Copied> {
    while !rest.is_empty() {
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Copied::Rest(rest.to_vec())),
            Err(e) => return Err(e),
        }
    }
    Ok(Copied::Whole)
}

pub(super) async fn write_all(to: &TcpStream, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match to.try_write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Tells the receiver that no more will come.
pub(super) fn finish(to: &TcpStream) -> io::Result<()> {
    match SockRef::from(to).shutdown(Shutdown::Write) {
        // It has closed meanwhile: there is nobody to tell.
        Err(e) if e.kind() == io::ErrorKind::NotConnected => Ok(()),
        other => other,
    }
}
