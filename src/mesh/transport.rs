//! TCP, noise, yamux: how bytes get from one node to another.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{PeerId, Transport, noise, tcp, yamux};

use super::limits;

/// Builds the transport.
///
/// # Errors
/// The key cannot sign.
pub(super) fn build(key: &Keypair) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let mut streams = yamux::Config::default();
    streams.set_max_num_streams(limits::STREAMS);
    let transport = tcp::tokio::Transport::new(tcp::Config::new().nodelay(true))
        .map(|stream, _| tuned(stream))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(streams)
        .timeout(limits::DIAL_PATIENCE)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(Abrupt(muxer))))
        .boxed();
    Ok(transport)
}

/// Sets what libp2p does not: a failure only costs speed.
fn tuned(stream: tcp::tokio::TcpStream) -> tcp::tokio::TcpStream {
    let _ = stream.0.set_nodelay(true);
    let _ = socket2::SockRef::from(&stream.0).set_tcp_notsent_lowat(limits::UNSENT);
    stream
}

/// A muxer that ends at once when it is closed. A polite end waits for a peer that may not be there: a full socket to a
/// dead host would hold up the news of its death until TCP gives up.
struct Abrupt<M>(M);

impl<M: StreamMuxer + Unpin> StreamMuxer for Abrupt<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.0).poll_inbound(cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.0).poll_outbound(cx)
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
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
