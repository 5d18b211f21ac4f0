//! The runtime of a witness: it is there and runs nothing, so a witness needs no Docker.

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::handle::{LogOptions, LogStream, Logs, Meters, Session, Sessions, Talk};
use crate::kubelet::action::{Action, Observation, RuntimeInfo};

use super::Runtime;

/// Runs no pods.
#[derive(Debug)]
pub struct Nothing;

impl Nothing {
    /// Makes one, and tells at once that it is up and that nothing runs. There must be room in `observations`.
    pub fn new(observations: &mpsc::Sender<Observation>) -> Self {
        // Nobody listens any more only when the agent ends.
        let _ = observations.try_send(Observation::Listed { pods: Vec::new(), info: info() });
        Self
    }
}

fn info() -> RuntimeInfo {
    let kernel = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    RuntimeInfo {
        version: "witness://".into(),
        kernel: kernel.unwrap_or_default(),
        architecture: std::env::consts::ARCH.into(),
        operating_system: "linux".into(),
        cpus: std::thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok()).unwrap_or_default(),
        ..RuntimeInfo::default()
    }
}

impl Runtime for Nothing {
    fn act(&self, action: Action) {
        tracing::debug!(?action, "a witness runs nothing");
    }
}

impl Logs for Nothing {
    fn open(&self, node: &str, _: &str, _: LogOptions) -> BoxFuture<'static, Result<LogStream, String>> {
        let sentence = format!("node {node} is a witness and runs no pods");
        Box::pin(async move { Err(sentence) })
    }
}

impl Meters for Nothing {}

impl Sessions for Nothing {
    fn begin(&self, node: &str, _: Session) -> BoxFuture<'static, Result<Talk, String>> {
        let sentence = format!("node {node} is a witness and runs no pods");
        Box::pin(async move { Err(sentence) })
    }
}
