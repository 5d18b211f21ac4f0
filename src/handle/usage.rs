//! What nodes and containers use just now.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::time::Wall;

/// Measures nodes and their containers.
pub trait Meters: Send + Sync {
    /// Measures a node and what runs on it. It takes a second or more if nobody has asked for minutes, since use is what
    /// lies between two looks.
    ///
    /// # Errors
    /// One sentence: the node or its runtime does not answer, or measures nothing.
    fn usage(&self, node: &str) -> BoxFuture<'static, Result<Usage, String>> {
        let sentence = format!("node {node} measures nothing");
        Box::pin(async move { Err(sentence) })
    }
}

/// What a node used, on average over a window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// When the window ended.
    pub at: Wall,
    /// How long it was.
    pub window: Duration,
    /// What the machine used.
    pub node: Amounts,
    /// What each container that runs used.
    pub containers: Vec<ContainerUsage>,
}

/// What a container used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerUsage {
    /// Its pod's namespace.
    pub namespace: String,
    /// Its pod.
    pub pod: String,
    /// Its name in the pod.
    pub name: String,
    /// What it used.
    pub amounts: Amounts,
}

/// Processor and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Billionths of a core.
    pub nano_cores: u64,
    /// Bytes that cannot be taken back at once: without the page cache that nobody has used for a while.
    pub bytes: u64,
}
