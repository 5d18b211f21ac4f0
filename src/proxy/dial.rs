//! Dialling endpoints: those of this node over TCP, those of others through the mesh.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nix::errno::Errno;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::handle::{Call, Calls, Stream};

use super::server::Shared;
use super::target::{Pick, Target};

/// What the far agent sends when its dial succeeded.
pub(super) const DIALLED: u8 = 1;

/// A connection to an endpoint.
pub(super) enum Server {
    /// To a pod of this node, or to something outside of the cluster.
    Near(TcpStream),
    /// To a pod of another node, by its agent.
    Far(Stream),
}

/// Dials endpoints until one answers. The next is tried as soon as one refuses or its node is not connected; one
/// that is silent for `config.patience` gets a rival. `None` when all have refused or `config.give_up` has passed.
pub(super) async fn dial(target: &Arc<Target>, from: SocketAddr, shared: &Shared) -> Option<(Pick, Server)> {
    let give_up = Instant::now() + shared.config.give_up;
    let mut tried: Vec<SocketAddrV4> = Vec::new();
    let mut attempts = FuturesUnordered::new();
    loop {
        let next = target.pick(from, &tried);
        let mut until = give_up;
        if let Some(pick) = next {
            tried.push(pick.address);
            attempts.push(attempt(pick, shared));
            until = until.min(Instant::now() + shared.config.patience);
        }
        tokio::select! {
            biased;
            answered = attempts.next() => match answered? {
                (pick, Ok(server)) => {
                    pick.succeeded();
                    return Some((pick, server));
                }
                (pick, Err(error)) => refused(&pick, &error),
            },
            () = sleep_until(until) => match tried.last() {
                Some(silent) if until < give_up => target.failed(*silent),
                _ => return None,
            },
        }
    }
}

async fn attempt(pick: Pick, shared: &Shared) -> (Pick, io::Result<Server>) {
    let server = match shared.far(&pick) {
        Some(node) => call(&*shared.calls, node, Call::Tcp(pick.address)).await.map(Server::Far),
        None => TcpStream::connect(SocketAddr::V4(pick.address)).await.map(Server::Near),
    };
    (pick, server)
}

/// Calls another node's agent and waits until it says that its dial succeeded (rules, 24).
pub(super) async fn call(calls: &dyn Calls, node: &str, call: Call) -> io::Result<Stream> {
    let mut stream = calls.call(node, call).await?;
    match stream.read_u8().await {
        Ok(DIALLED) => Ok(stream),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the other node's agent speaks another language")),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            Err(io::Error::new(io::ErrorKind::ConnectionRefused, "the other node's agent did not reach the pod"))
        }
        Err(e) => Err(e),
    }
}

fn refused(pick: &Pick, error: &io::Error) {
    tracing::debug!(endpoint = %pick.address, node = pick.node, %error, "dial failed");
    // A shortage of our own says nothing about the endpoint.
    if !is_shortage(error) && error.kind() != io::ErrorKind::AddrNotAvailable {
        pick.failed();
    }
}

/// Whether the process or the machine is out of files or memory.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}
