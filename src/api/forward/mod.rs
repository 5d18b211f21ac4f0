//! `pods/portforward` over WebSockets, in the two forms that clients speak: kubectl's, in which the messages carry a
//! stream of SPDY frames ([`tunnel`]), and the channels of other clients ([`channels`]).

mod channels;
mod dictionary;
mod spdy;
mod tunnel;

use axum::body::Body;
use axum::http::Response;
use axum::http::request::Parts;

use crate::handle::{Session, Talk};
use crate::object::Key;

use super::Api;
use super::params::Params;
use super::sessions::{room, running, upgrade};
use super::status::Status;

const SPDY: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";

/// The most bytes of a message.
const MAX_MESSAGE: usize = 4 << 20;

/// Answers `GET` and `POST .../pods/NAME/portforward`.
///
/// # Errors
/// 404 without the pod; 400 if it does not run or the request is no such session; 503 if there are too many.
pub async fn forward(api: &Api, key: &Key, params: &Params, head: Parts) -> Result<Response<Body>, Status> {
    let target = target(api, key)?;
    let permit = room(api)?;
    let socket = upgrade(head, &[SPDY, CHANNELS]).await?;
    let spdy = socket.selected_protocol().is_some_and(|protocol| protocol == SPDY);
    let ports = if spdy { Vec::new() } else { channels::ports(params)? };
    let shutdown = api.shutdown.clone();
    Ok(socket.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE).on_upgrade(async move |socket| {
        let session = async {
            if spdy { tunnel::serve(socket, &target).await } else { channels::serve(socket, &target, ports).await }
        };
        shutdown.run_until_cancelled(session).await;
        drop(permit);
    }))
}

/// A pod whose ports are wanted.
#[derive(Clone)]
struct Target {
    containers: std::sync::Arc<dyn crate::handle::Containers>,
    pod: Key,
    uid: String,
    node: String,
    container: String,
}

impl Target {
    /// Connects to a port.
    async fn open(&self, port: u16) -> Result<Talk, String> {
        let session = Session::Forward { container: self.container.clone(), port };
        self.containers.begin(&self.node, session).await.map_err(|why| self.failed(port, &why))
    }

    /// Says in the kubelet's words that a port failed.
    fn failed(&self, port: u16, why: &str) -> String {
        format!("error forwarding port {port} to pod {}, uid {}: {why}", self.pod.name, self.uid)
    }

    /// Says that the connection was cut off on the way.
    fn lost(&self, port: u16) -> String {
        self.failed(port, &format!("the connection to node {} was lost", self.node))
    }
}

fn target(api: &Api, key: &Key) -> Result<Target, Status> {
    let pod = api.handle.snapshot().get(key).ok_or_else(|| Status::not_found(key))?.value();
    let text = |at: &str| pod.pointer(at).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
    let node = text("/spec/nodeName");
    if node.is_empty() {
        return Err(Status::bad_request(format!("pod {} does not have a host assigned", key.name)));
    }
    let phase = text("/status/phase");
    let not_running =
        || Status::bad_request(format!("unable to forward port because pod is not running. Current status={phase}"));
    let container = running(&pod, None).ok_or_else(not_running)?;
    Ok(Target { containers: api.containers.clone(), pod: key.clone(), uid: text("/metadata/uid"), node, container })
}
