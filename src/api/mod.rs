//! The Kubernetes API over HTTPS: discovery, verbs, watch, tables, logs, sessions.
//!
//! Reads come from the newest snapshot, writes go through the door to the node's loop, and a watch is a cursor into
//! the snapshots' history. The room holds no state of the cluster of its own, so that any number of connections
//! agree, and a restart loses nothing.
//!
//! - [`Server`]: TLS and connections; [`Api`]: one request, one answer, also without TLS
//! - a path becomes a [`routes::Route`], a method and a route become a verb
//! - an error is a [`status::Status`] everywhere; HTTP codes are known here and nowhere else in the house

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod admission;
mod audit;
mod auth;
mod authenticate;
mod authorize;
mod body;
mod custom;
mod discovery;
mod dispatch;
mod filter;
mod forward;
mod impersonate;
mod lists;
mod logs;
mod metrics;
mod negotiate;
mod openapi;
mod openapi_v2;
mod params;
mod present;
mod proxied;
mod routes;
mod server;
mod sessions;
mod status;
mod table;
#[cfg(test)]
mod tests;
mod verbs;
mod watch;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::handle::{Containers, Handle};
use crate::ids::Revision;
use crate::time::Wall;

pub use audit::Audit;
pub use authenticate::{Shown, Tokens};
pub use body::MAX_BODY;
pub use discovery::git_version;
pub use dispatch::{Api, REQUEST_TIMEOUT};
pub use server::{Certificate, Server, Tls};

use params::Params;
use status::Status;

/// The API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// A certificate or key is not what it should be.
    #[error("the API's certificates: {0}")]
    Tls(String),
}

/// What the server needs to begin.
#[derive(Debug)]
pub struct Config {
    /// The bound socket.
    pub listener: TcpListener,
    /// Certificates and key.
    pub tls: Tls,
}

/// Serves the API until `shutdown`; returns when requests under way have ended.
///
/// # Errors
/// [`ApiError`] if it cannot begin.
pub async fn serve(
    config: Config,
    handle: Handle,
    containers: Arc<dyn Containers>,
    shutdown: CancellationToken,
) -> Result<(), ApiError> {
    let api = Arc::new(Api::new(handle, containers, shutdown.clone()));
    let server = Server::new(api, &config.tls)?;
    server.run(config.listener, shutdown).await;
    Ok(())
}

fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// Reads the parameter `resourceVersion`.
fn revision(params: &Params) -> Result<Option<Revision>, Status> {
    let Some(text) = params.text("resourceVersion") else { return Ok(None) };
    let bad = |_| {
        let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
        Status::invalid_options("ListOptions", "resourceVersion", format!("Invalid value: {text:?}: {why}"))
    };
    text.parse().map(|n| Some(Revision(n))).map_err(bad)
}
