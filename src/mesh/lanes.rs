//! Frames on a stream: four bytes of length, big-endian, then so many bytes. The opener writes, the accepter reads.
//!
//! The accepter first sends one byte, which says that it holds the opener for a member and reads. Only then is the lane
//! up: a stream that negotiates says nothing about who reads it.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use libp2p::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};
use tracing::debug;

use super::limits;
use super::link::{Link, Purpose};
use super::member::Member;
use super::queue::longest;
use crate::node::message::Lane;

/// What the accepter of a lane sends first.
const ACCEPTED: u8 = 1;

/// Keeps both lanes to a member open on a connection and writes what waits. Does not end.
pub(super) async fn carry(member: &Member, link: &Link) {
    tokio::join!(keep(member, link, Lane::Control), keep(member, link, Lane::Bulk));
}

async fn keep(member: &Member, link: &Link, lane: Lane) {
    loop {
        if let Err(error) = write(member, link, lane).await {
            debug!(peer = ?member.id, ?lane, %error, "a lane has ended");
        }
        tokio::time::sleep(limits::LANE_REOPEN).await;
    }
}

async fn write(member: &Member, link: &Link, lane: Lane) -> io::Result<()> {
    let mut stream = link.open(Purpose::Lane(lane)).await?.compat();
    let accepted = tokio::time::timeout(limits::OPEN_PATIENCE, stream.read_u8()).await??;
    if accepted != ACCEPTED {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the far side does not accept the lane"));
    }
    if lane == Lane::Control {
        member.up().await;
    }
    let mut buffer = BytesMut::new();
    loop {
        tokio::select! {
            () = member.outbox.ready(lane) => write_waiting(member, lane, &mut stream, &mut buffer).await?,
            // Nothing ever comes back on a lane but its end.
            _ = stream.read_u8() => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

async fn write_waiting(
    member: &Member,
    lane: Lane,
    stream: &mut Compat<Stream>,
    buffer: &mut BytesMut,
) -> io::Result<()> {
    while let Some(frame) = member.outbox.pop(lane) {
        // The outbox keeps no frame that is longer than a lane's.
        buffer.put_u32(u32::try_from(frame.len()).unwrap_or(u32::MAX));
        if frame.len() < limits::WRITE_BUFFER {
            buffer.extend_from_slice(&frame);
        }
        if buffer.len() >= limits::WRITE_BUFFER || frame.len() >= limits::WRITE_BUFFER {
            stream.write_all(buffer).await?;
            buffer.clear();
        }
        if frame.len() >= limits::WRITE_BUFFER {
            stream.write_all(&frame).await?;
        }
    }
    stream.write_all(buffer).await?;
    buffer.clear();
    stream.flush().await
}

/// Reads a lane that a member has opened, until it ends or the peer breaks the rules.
pub(super) async fn read(member: &Member, link: &Link, lane: Lane, stream: Stream) {
    if let Err(error) = read_all(member, link, lane, stream.compat()).await {
        debug!(peer = ?member.id, ?lane, %error, "a lane from a peer has ended");
    }
}

async fn read_all(member: &Member, link: &Link, lane: Lane, mut stream: Compat<Stream>) -> io::Result<()> {
    stream.write_u8(ACCEPTED).await?;
    stream.flush().await?;
    loop {
        let frame = read_frame(&mut stream, longest(lane), || link.hear()).await?;
        if !member.deliver(link, lane, frame).await {
            return Ok(());
        }
    }
}

/// Reads one frame. Memory grows with what comes, not with what the length promises.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin), longest: usize, heard: impl Fn()) -> io::Result<Bytes> {
    let length = stream.read_u32().await? as usize;
    heard();
    if length > longest {
        let what = format!("a frame of {length} bytes, at most {longest} are allowed");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let mut frame = BytesMut::with_capacity(length.min(limits::WRITE_BUFFER));
    let mut rest = stream.take(length as u64);
    while frame.len() < length {
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        heard();
    }
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_frame_over_the_cap_is_not_read() {
        let mut long: &[u8] = &[0, 0, 0, 5, 1, 2, 3, 4, 5];
        let error = read_frame(&mut long, 4, || ()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn frames_are_read_one_by_one_and_a_cut_one_is_an_error() {
        let mut bytes: &[u8] = &[0, 0, 0, 2, 1, 2, 0, 0, 0, 0, 0, 0, 0, 3, 9];
        assert_eq!(read_frame(&mut bytes, 9, || ()).await.unwrap().as_ref(), [1, 2]);
        assert!(read_frame(&mut bytes, 9, || ()).await.unwrap().is_empty());
        assert_eq!(read_frame(&mut bytes, 9, || ()).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
