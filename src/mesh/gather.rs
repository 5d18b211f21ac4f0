//! Gathers what the muxer writes: it flushes after each of its frames, of 16 KiB at most, and each flush would be a
//! message of its own to encrypt and a call of the kernel. Here flushes wait until the muxer has nothing more to write just
//! now, so that bulk leaves in messages of nearly 64 KiB, and nothing leaves later than it would have to.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::futures::future::Ready;
use libp2p::futures::{AsyncRead, AsyncWrite, future};
use libp2p::yamux;

/// The muxer, over a connection of which flushes are gathered.
#[derive(Clone)]
pub(super) struct Gathering(pub(super) yamux::Config);

impl UpgradeInfo for Gathering {
    type Info = &'static str;
    type InfoIter = std::iter::Once<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Gathering {
    type Output = Gathered<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Gathered<C>>>;

    fn upgrade_inbound(self, io: C, info: Self::Info) -> Self::Future {
        let io = Shared::new(io);
        over(self.0.upgrade_inbound(io.clone(), info), io)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Gathering {
    type Output = Gathered<C>;
    type Error = io::Error;
    type Future = Ready<io::Result<Gathered<C>>>;

    fn upgrade_outbound(self, io: C, info: Self::Info) -> Self::Future {
        let io = Shared::new(io);
        over(self.0.upgrade_outbound(io.clone(), info), io)
    }
}

fn over<C>(muxer: Ready<io::Result<yamux::Muxer<Shared<C>>>>, io: Shared<C>) -> Ready<io::Result<Gathered<C>>> {
    future::ready(muxer.into_inner().map(|muxer| Gathered { muxer, io }))
}

/// A connection that the muxer writes to and [`Gathered`] flushes, both in one task.
pub(super) struct Shared<C>(Arc<Mutex<C>>);

impl<C> Clone for Shared<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Shared<C> {
    fn new(io: C) -> Self {
        Self(Arc::new(Mutex::new(io)))
    }

    fn lock(&self) -> MutexGuard<'_, C> {
        // A connection whose task has panicked is polled no more.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Shared<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_read(cx, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Shared<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.lock()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.lock()).poll_close(cx)
    }
}

/// What ended a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum GatherError {
    /// The muxer says so.
    #[error("{0}")]
    Muxer(#[source] yamux::Error),
    /// What was gathered could not be sent.
    #[error("{0}")]
    Flush(#[source] io::Error),
}

/// A muxer that flushes when it has done what there was to do.
pub(super) struct Gathered<C> {
    muxer: yamux::Muxer<Shared<C>>,
    io: Shared<C>,
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> Gathered<C> {
    /// Lets the muxer work, then flushes. What does not leave now leaves when the connection takes more, of which this
    /// task is told.
    fn work<T>(
        &mut self,
        cx: &mut Context<'_>,
        work: impl FnOnce(Pin<&mut yamux::Muxer<Shared<C>>>, &mut Context<'_>) -> Poll<Result<T, yamux::Error>>,
    ) -> Poll<Result<T, GatherError>> {
        let done = work(Pin::new(&mut self.muxer), cx);
        match Pin::new(&mut *self.io.lock()).poll_flush(cx) {
            Poll::Ready(Err(error)) if done.is_pending() => Poll::Ready(Err(GatherError::Flush(error))),
            _ => done.map_err(GatherError::Muxer),
        }
    }
}

impl<C: AsyncRead + AsyncWrite + Unpin + 'static> StreamMuxer for Gathered<C> {
    type Substream = yamux::Stream;
    type Error = GatherError;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, GatherError>> {
        self.work(cx, StreamMuxer::poll_inbound)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<yamux::Stream, GatherError>> {
        // Makes a stream, and writes nothing.
        Pin::new(&mut self.muxer).poll_outbound(cx).map_err(GatherError::Muxer)
    }

    /// Ends at once. A polite end waits for a peer that may not be there: a full socket to a dead host would hold up the
    /// news of its death until TCP gives up.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), GatherError>> {
        Poll::Ready(Ok(()))
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, GatherError>> {
        self.work(cx, StreamMuxer::poll)
    }
}
