//! Containers' logs, as the daemon keeps them.

use std::sync::Arc;

use bollard::query_parameters::{LogsOptions, LogsOptionsBuilder};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt, stream};

use crate::handle::{LogOptions, LogStream};
use crate::kubelet::action::labels;

use super::Engine;
use super::container::label_of;

/// Opens the log of a container of ours.
pub fn open(
    engine: Arc<Engine>,
    container: String,
    options: LogOptions,
) -> BoxFuture<'static, Result<LogStream, String>> {
    Box::pin(async move {
        let client = engine.client().map_err(|e| e.to_string())?;
        let found = client.inspect(&container).await.map_err(|e| e.to_string())?;
        if label_of(&found, labels::NODE) != Some(&engine.config.node) {
            return Err(format!("No such container: {container}"));
        }
        let pieces = client.logs(&container, query(options)).map(|piece| piece.map_err(|e| e.to_string()));
        Ok(limited(pieces, options.limit_bytes).boxed())
    })
}

fn query(options: LogOptions) -> LogsOptions {
    let tail = options.tail_lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    let since = options.since.map_or(0, |s| i32::try_from(s.max(0)).unwrap_or(i32::MAX));
    LogsOptionsBuilder::default()
        .stdout(true)
        .stderr(true)
        .follow(options.follow)
        .timestamps(options.timestamps)
        .since(since)
        .tail(&tail)
        .build()
}

/// Ends a log after so many bytes.
fn limited<S>(pieces: S, limit: Option<u64>) -> impl Stream<Item = Result<Bytes, String>> + Send
where
    S: Stream<Item = Result<Bytes, String>> + Send + Unpin,
{
    stream::unfold((pieces, limit), |(mut pieces, limit)| async move {
        if limit == Some(0) {
            return None;
        }
        let piece = match pieces.next().await? {
            Ok(piece) => piece,
            Err(error) => return Some((Err(error), (pieces, Some(0)))),
        };
        let room = limit.map_or(usize::MAX, |left| usize::try_from(left).unwrap_or(usize::MAX));
        let piece = piece.slice(..piece.len().min(room));
        let left = limit.map(|left| left.saturating_sub(piece.len() as u64));
        Some((Ok(piece), (pieces, left)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(pieces: &[Result<&'static str, &str>], limit: Option<u64>) -> Vec<Result<String, String>> {
        let pieces = pieces.iter().map(|p| p.map(|t| Bytes::from_static(t.as_bytes())).map_err(str::to_owned));
        let read = limited(stream::iter(pieces.collect::<Vec<_>>()), limit).boxed();
        read.map(|p| p.map(|b| String::from_utf8(b.to_vec()).unwrap())).collect().await
    }

    fn ok(text: &str) -> Result<String, String> {
        Ok(text.into())
    }

    #[tokio::test]
    async fn a_limit_cuts_within_a_piece() {
        let pieces = [Ok("hello\n"), Ok("goose\n")];
        assert_eq!(read(&pieces, None).await, [ok("hello\n"), ok("goose\n")]);
        assert_eq!(read(&pieces, Some(8)).await, [ok("hello\n"), ok("go")]);
        assert_eq!(read(&pieces, Some(0)).await, []);
    }

    #[tokio::test]
    async fn an_error_ends_a_log() {
        let pieces = [Ok("hello\n"), Err("gone"), Ok("never\n")];
        assert_eq!(read(&pieces, None).await, [ok("hello\n"), Err("gone".into())]);
    }

    #[test]
    fn options_reach_docker() {
        let options = LogOptions {
            follow: true,
            tail_lines: Some(3),
            since: Some(1 << 40),
            timestamps: true,
            ..LogOptions::default()
        };
        let query = query(options);
        assert_eq!((query.follow, query.tail.as_str(), query.since, query.timestamps), (true, "3", i32::MAX, true));
    }
}
