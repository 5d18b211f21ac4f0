//! `pods/portforward` over WebSockets, in the two forms that clients speak: kubectl's, in which the messages carry a
//! stream of SPDY frames ([`tunnel`]), and the channels of other clients ([`channels`]).

mod channels;
mod dictionary;
mod spdy;
mod tunnel;

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use axum::http::request::Parts;
use tokio::sync::mpsc;

use crate::handle::{Containers, Ended, Frame, Session, Talk};
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
    containers: Arc<dyn Containers>,
    pod: Key,
    uid: String,
    node: String,
    container: String,
}

impl Target {
    /// Connects to a port, and carries what is said until the pod has ended it or the client has given it up. What the
    /// pod says goes to `out`, as `wrap` makes it.
    ///
    /// # Errors
    /// One sentence for the client: nobody listens there, or the connection was cut off.
    async fn carry<T>(
        &self,
        port: u16,
        mut told: mpsc::Receiver<Frame>,
        out: &mpsc::Sender<T>,
        wrap: impl Fn(&[u8]) -> T,
    ) -> Result<(), String> {
        let session = Session::Forward { container: self.container.clone(), port };
        let begun = self.containers.begin(&self.node, session).await;
        let Talk { say, mut hear } = begun.map_err(|why| self.failed(port, &why))?;
        let up = async {
            while let Some(frame) = told.recv().await {
                if say.send(frame).await.is_err() {
                    // The pod has ended it; what it said last is on its way.
                    std::future::pending::<()>().await;
                }
            }
        };
        let down = async {
            loop {
                let bytes = match hear.recv().await {
                    Some(Frame::Output(bytes)) => bytes,
                    Some(Frame::Ended(Ended::Exit(_))) => return Ok(()),
                    Some(Frame::Ended(Ended::Failed(why))) => return Err(self.failed(port, &why)),
                    Some(_) => continue,
                    None => {
                        return Err(self.failed(port, &format!("the connection to node {} was lost", self.node)));
                    }
                };
                if out.send(wrap(&bytes)).await.is_err() {
                    return Ok(());
                }
            }
        };
        tokio::select! {
            () = up => Ok(()),
            done = down => done,
        }
    }

    /// Says in the kubelet's words that a port failed.
    fn failed(&self, port: u16, why: &str) -> String {
        format!("error forwarding port {port} to pod {}, uid {}: {why}", self.pod.name, self.uid)
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
