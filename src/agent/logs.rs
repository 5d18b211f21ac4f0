//! Containers' logs of every node: this one's from Docker, the others' through their agents.
//!
//! On a stream: frames of four bytes of length, big-endian, and so many bytes, of which the first is [`PIECE`] or
//! [`ERROR`]. The first frame comes when the log is open, if need be without content.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::handle::{Call, Containers, LogOptions, LogStream, Logs, Stream};

use super::reach::Reach;

const PIECE: u8 = 0;
const ERROR: u8 = 1;
/// The most bytes of a frame that is believed.
const MAX_FRAME: usize = 1 << 20;
/// The most bytes of a piece that is sent in one frame.
const MAX_PIECE: usize = 64 * 1024;
/// How long another node may take to open a log.
const PATIENCE: Duration = Duration::from_secs(10);

impl Logs for Reach {
    fn open(&self, node: &str, container: &str, options: LogOptions) -> BoxFuture<'static, Result<LogStream, String>> {
        if node == self.node {
            return self.local.open(node, container, options);
        }
        let call = self.calls.call(node, Call::Log { container: container.to_owned(), options });
        let node = node.to_owned();
        Box::pin(async move {
            let opened = timeout(PATIENCE, async { receive(call.await?).await }).await;
            let silent = || format!("node {node} does not answer");
            opened.map_err(|_| silent())?.map_err(|e| format!("{}: {e}", silent()))?
        })
    }
}

/// Reads a log from a stream, as far as knowing that it is open.
async fn receive(mut stream: Stream) -> io::Result<Result<LogStream, String>> {
    let first = match read(&mut stream).await? {
        Some(Ok(piece)) => piece,
        Some(Err(error)) => return Ok(Err(error)),
        None => return Err(io::ErrorKind::UnexpectedEof.into()),
    };
    let rest = stream::unfold(Some(stream), |stream| async move {
        let mut stream = stream?;
        match read(&mut stream).await {
            Ok(Some(Ok(piece))) => Some((Ok(piece), Some(stream))),
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => None,
            Err(error) => Some((Err(error.to_string()), None)),
        }
    });
    let first = stream::iter((!first.is_empty()).then_some(Ok(first)));
    Ok(Ok(first.chain(rest).boxed()))
}

/// Reads a frame; `None` at the end.
async fn read(stream: &mut Stream) -> io::Result<Option<Result<Bytes, String>>> {
    let length = match stream.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length == 0 || length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let kind = stream.read_u8().await?;
    let mut bytes = vec![0; length - 1];
    stream.read_exact(&mut bytes).await?;
    match kind {
        PIECE => Ok(Some(Ok(bytes.into()))),
        _ => Ok(Some(Err(String::from_utf8_lossy(&bytes).into_owned()))),
    }
}

/// Serves a log of this node to another one, until it ends or nobody reads any more.
///
/// # Errors
/// The stream's.
pub async fn serve(local: &dyn Containers, container: &str, options: LogOptions, mut stream: Stream) -> io::Result<()> {
    let mut log = match local.open("", container, options).await {
        Ok(log) => log,
        Err(error) => return write(&mut stream, ERROR, error.as_bytes()).await,
    };
    write(&mut stream, PIECE, &[]).await?;
    let mut gone = [0; 1];
    loop {
        let piece = tokio::select! {
            piece = log.next() => piece,
            // The caller says nothing more: its end of the stream is closed when it has gone away.
            _ = stream.read(&mut gone) => return Ok(()),
        };
        match piece {
            Some(Ok(piece)) => {
                for part in piece.chunks(MAX_PIECE) {
                    write(&mut stream, PIECE, part).await?;
                }
            }
            Some(Err(error)) => return write(&mut stream, ERROR, error.as_bytes()).await,
            None => return stream.shutdown().await,
        }
    }
}

async fn write(stream: &mut Stream, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let bytes = &bytes[..bytes.len().min(MAX_PIECE)];
    let length = u32::try_from(bytes.len() + 1).expect("a piece is no longer than MAX_PIECE");
    stream.write_all(&[&length.to_be_bytes(), [kind].as_slice(), bytes].concat()).await?;
    stream.flush().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::handle::{Calls, Meters, Session, Sessions, Talk};

    /// A node whose logs are what the container's name says.
    struct Echo;

    impl Logs for Echo {
        fn open(&self, node: &str, container: &str, _: LogOptions) -> BoxFuture<'static, Result<LogStream, String>> {
            let (node, text) = (node.to_owned(), container.to_owned());
            Box::pin(async move {
                match text.as_str() {
                    "missing" => Err("No such container: missing".to_owned()),
                    "breaks" => Ok(stream::iter([Ok("begin".into()), Err("it broke".to_owned())]).boxed()),
                    "silent" => Ok(stream::pending().boxed()),
                    "long" => Ok(stream::iter([Ok(Bytes::from(vec![b'x'; 3 * MAX_PIECE + 1]))]).boxed()),
                    _ => Ok(stream::iter([Ok(format!("{text} of {node}").into())]).boxed()),
                }
            })
        }
    }

    impl Meters for Echo {}

    impl Sessions for Echo {
        fn begin(&self, _: &str, _: Session) -> BoxFuture<'static, Result<Talk, String>> {
            Box::pin(async { Err("logs only".to_owned()) })
        }
    }

    /// A way to one other node, n2.
    struct Wire;

    impl Calls for Wire {
        fn call(&self, node: &str, call: Call) -> BoxFuture<'static, io::Result<Stream>> {
            let known = node == "n2";
            Box::pin(async move {
                let Call::Log { container, options } = call else { return Err(io::ErrorKind::Unsupported.into()) };
                if !known {
                    return Err(io::ErrorKind::NotConnected.into());
                }
                let (here, there) = tokio::io::duplex(1024);
                tokio::spawn(async move { serve(&Echo, &container, options, Box::new(there)).await });
                Ok(Box::new(here) as Stream)
            })
        }
    }

    async fn open(node: &str, container: &str) -> Result<LogStream, String> {
        let logs = Reach { node: "n1".into(), local: Arc::new(Echo), calls: Arc::new(Wire) };
        logs.open(node, container, LogOptions::default()).await
    }

    async fn all(node: &str, container: &str) -> (usize, String, Option<String>) {
        let pieces: Vec<_> = open(node, container).await.expect("opens").collect().await;
        let text: Vec<u8> = pieces.iter().flatten().flat_map(|b| b.to_vec()).collect();
        let error = pieces.iter().find_map(|p| p.clone().err());
        (text.len(), String::from_utf8_lossy(&text[..text.len().min(20)]).into_owned(), error)
    }

    #[tokio::test]
    async fn logs_are_read_here_or_there() {
        assert_eq!(all("n1", "app").await, (9, "app of n1".into(), None));
        assert_eq!(all("n2", "app").await, (7, "app of ".into(), None));
        assert_eq!(all("n2", "long").await.0, 3 * MAX_PIECE + 1);
    }

    #[tokio::test]
    async fn what_goes_wrong_is_told() {
        assert_eq!(open("n2", "missing").await.err().as_deref(), Some("No such container: missing"));
        assert_eq!(all("n2", "breaks").await, (5, "begin".into(), Some("it broke".into())));
        assert!(open("n3", "app").await.err().unwrap().contains("n3"));
    }

    #[tokio::test]
    async fn a_log_that_says_nothing_yet_is_open_at_once() {
        let opened = timeout(Duration::from_secs(5), open("n2", "silent")).await;
        assert!(opened.expect("in time").is_ok());
    }
}
