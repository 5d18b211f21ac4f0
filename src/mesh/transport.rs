//! TCP, noise, yamux: how bytes get from one node to another.

use std::io;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::futures::io::BufReader;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, tcp, yamux};

use super::gather::Gathering;
use super::limits;

/// Builds the transport.
///
/// # Errors
/// The key cannot sign.
pub(super) fn build(key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    keep_memory();
    let mut streams = yamux::Config::default();
    streams.set_max_num_streams(limits::STREAMS);
    let transport = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        // Further out an error is known by its source alone.
        .map_err(Unreached)
        // The codec reads 8 KiB at a time, each of which would be a call of the kernel.
        .map(|stream, _| BufReader::with_capacity(limits::READ_BUFFER, tuned(stream)))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(Gathering(streams))
        .timeout(limits::DIAL_PATIENCE)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    Ok(transport)
}

/// Why a host cannot be dialled.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreached(#[source] io::Error);

/// Makes the allocator keep what is freed for the next frame. At first glibc gives more than 128 KiB back to the kernel at
/// once, and with frames of 64 KiB that costs a seventh of all CPU time of bulk traffic. It learns from the largest block
/// that is given back.
fn keep_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(limits::KEPT)));
}

/// Sets what libp2p does not: a failure only costs speed.
fn tuned(stream: tcp::tokio::TcpStream) -> tcp::tokio::TcpStream {
    let _ = stream.0.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream.0).set_tcp_notsent_lowat(limits::UNSENT);
    stream
}

/// Returns whether an error of a connection says that the far side ended it, and not that the network lost it.
pub(super) fn ended_by_peer(error: &io::Error) -> bool {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(lost_by_network) {
            return false;
        }
        next = error.source();
    }
    true
}

fn lost_by_network(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut};
    matches!(error.kind(), TimedOut | HostUnreachable | NetworkUnreachable | NetworkDown | AddrNotAvailable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_the_peer_is_told_from_a_loss_by_the_network() {
        let wrapped = |kind: io::ErrorKind| io::Error::other(io::Error::other(io::Error::from(kind)));
        assert!(ended_by_peer(&io::Error::from(io::ErrorKind::ConnectionReset)));
        assert!(ended_by_peer(&wrapped(io::ErrorKind::UnexpectedEof)));
        assert!(ended_by_peer(&io::Error::other("connection is closed")));
        assert!(!ended_by_peer(&io::Error::from(io::ErrorKind::TimedOut)));
    }
}
