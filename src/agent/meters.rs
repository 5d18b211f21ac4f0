//! What nodes use: this one is measured by its runtime, the others by their agents.
//!
//! On a stream: one JSON document, then its end.

use std::io;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::handle::{Call, Containers, Meters, Stream, Usage};

use super::reach::Reach;

/// How long another node may take: a window of a second, and a slow runtime.
const PATIENCE: Duration = Duration::from_secs(8);
/// The longest document that is believed, in bytes: thousands of containers.
const MOST: u64 = 1 << 20;

impl Meters for Reach {
    fn usage(&self, node: &str) -> BoxFuture<'static, Result<Usage, String>> {
        if node == self.node {
            return self.local.usage(node);
        }
        let call = self.calls.call(node, Call::Usage);
        let node = node.to_owned();
        Box::pin(async move {
            let heard = timeout(PATIENCE, async { receive(call.await?).await }).await;
            let silent = || format!("node {node} does not answer");
            heard.map_err(|_| silent())?.map_err(|e| format!("{}: {e}", silent()))?
        })
    }
}

async fn receive(stream: Stream) -> io::Result<Result<Usage, String>> {
    let mut text = Vec::new();
    stream.take(MOST).read_to_end(&mut text).await?;
    Ok(serde_json::from_slice(&text)?)
}

/// Tells another node what this one uses.
///
/// # Errors
/// The stream's.
pub async fn serve(local: &dyn Containers, mut stream: Stream) -> io::Result<()> {
    let measured = local.usage("").await;
    stream.write_all(&serde_json::to_vec(&measured)?).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handle::{Amounts, LogOptions, LogStream, Logs, Session, Sessions, Talk};

    /// A node that uses half a core.
    struct Half;

    impl Logs for Half {
        fn open(&self, _: &str, _: &str, _: LogOptions) -> BoxFuture<'static, Result<LogStream, String>> {
            Box::pin(async { Err("meters only".to_owned()) })
        }
    }

    impl Sessions for Half {
        fn begin(&self, _: &str, _: Session) -> BoxFuture<'static, Result<Talk, String>> {
            Box::pin(async { Err("meters only".to_owned()) })
        }
    }

    impl Meters for Half {
        fn usage(&self, _: &str) -> BoxFuture<'static, Result<Usage, String>> {
            let node = Amounts { nano_cores: 500_000_000, bytes: 1 };
            Box::pin(async move { Ok(Usage { node, window: Duration::from_millis(1500), ..Usage::default() }) })
        }
    }

    #[tokio::test]
    async fn what_a_node_uses_reaches_another() {
        let (here, there) = tokio::io::duplex(64);
        let serving = tokio::spawn(async move { serve(&Half, Box::new(there)).await });
        assert_eq!(receive(Box::new(here)).await.unwrap(), Half.usage("").await);
        serving.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn nonsense_is_an_error() {
        let (here, mut there) = tokio::io::duplex(64);
        there.write_all(b"{\"Ok\":7}").await.unwrap();
        drop(there);
        assert!(receive(Box::new(here)).await.is_err());
    }
}
