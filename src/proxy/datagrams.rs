//! Datagrams: the sockets they leave by, and how they travel through a stream: each with its length before it.

use std::cell::RefCell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::target::now;

/// The largest datagram, and more.
pub(super) const DATAGRAM: usize = 65_536;

thread_local! {
    /// One buffer a thread serves all flows, because nothing waits while it is in use.
    pub(super) static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM]);
}

/// Makes a socket that sends to `address` and hears nobody else.
pub(super) async fn connect(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(SocketAddr::V4(address)).await?;
    Ok(socket)
}

/// Takes one datagram that has come; `None` if none has.
pub(super) fn receive(socket: &UdpSocket) -> io::Result<Option<Vec<u8>>> {
    BUFFER.with_borrow_mut(|buffer| match socket.try_recv(buffer) {
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(e) => Err(e),
    })
}

/// Reads one datagram from a stream.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut datagram = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut datagram).await?;
    Ok(datagram)
}

/// Writes one datagram to a stream.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), datagram: &[u8]) -> io::Result<()> {
    let length = u16::try_from(datagram.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes(), datagram].concat()).await?;
    stream.flush().await
}

/// Tells how long a flow has been silent.
#[derive(Debug)]
pub(super) struct Silence {
    /// When somebody was last heard, in milliseconds since boot.
    heard: AtomicU64,
    idle: Duration,
}

impl Silence {
    pub(super) fn new(idle: Duration) -> Self {
        Self { heard: AtomicU64::new(millis()), idle }
    }

    /// Takes note that somebody was heard.
    pub(super) fn broken(&self) {
        self.heard.store(millis(), Ordering::Relaxed);
    }

    /// When somebody was last heard, in milliseconds since boot.
    pub(super) fn since(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Returns when the flow has been silent for as long as it may.
    pub(super) async fn lasts(&self) {
        loop {
            let silent = Duration::from_millis(millis().saturating_sub(self.since()));
            match self.idle.checked_sub(silent) {
                None | Some(Duration::ZERO) => return,
                Some(left) => sleep(left).await,
            }
        }
    }
}

fn millis() -> u64 {
    u64::try_from(now().0.as_millis()).unwrap_or(u64::MAX)
}
