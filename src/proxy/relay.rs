//! Copies between two connections until both sides have finished.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;

use socket2::SockRef;
use tokio::net::TcpStream;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// Copies both ways. A side that has finished sending is told on to the other, which may go on (half-close); a
/// connection that is reset resets the other.
pub(super) async fn relay(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    let copied = tokio::try_join!(one_way(client, server), one_way(server, client));
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
    /// There is nothing to read just now.
    Nothing,
    /// The sender has finished.
    End,
    /// This is left, and the receiver takes no more just now.
    Rest(Vec<u8>),
}

async fn one_way(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    loop {
        match copy_some(from, to)? {
            // Going on at once would starve the other connections of this thread while both ends are fast.
            Copied::Whole => tokio::task::consume_budget().await,
            Copied::Nothing => from.readable().await?,
            Copied::End => return finish(to),
            Copied::Rest(rest) => write_all(to, &rest).await?,
        }
    }
}

fn copy_some(from: &TcpStream, to: &TcpStream) -> io::Result<Copied> {
    BUFFER.with_borrow_mut(|buffer| {
        let length = match from.try_read(buffer) {
            Ok(0) => return Ok(Copied::End),
            Ok(length) => length,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(Copied::Nothing),
            Err(e) => return Err(e),
        };
        let mut written = 0;
        while written < length {
            match to.try_write(&buffer[written..length]) {
                Ok(more) => written += more,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Copied::Rest(buffer[written..length].to_vec()));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(Copied::Whole)
    })
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
