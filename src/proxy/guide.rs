//! What a TCP listener's clients want: an endpoint of a Service, or a certain pod of another node.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::handle::Call;
use crate::routing::Routes;

use super::dial::{Server, call, dial};
use super::server::Shared;
use super::target::{Pick, Target};

/// Where one listener's clients are led.
#[derive(Clone)]
pub(super) enum Guide {
    /// To an endpoint of a Service.
    Service(Arc<Target>),
    /// To the pod that the client dialled: its packets were redirected here on their way to another node.
    Pods(watch::Receiver<Arc<Routes>>),
}

/// A connection that was made for a client.
pub(super) struct Led {
    pub(super) to: SocketAddrV4,
    pub(super) server: Server,
    /// Counts as a connection to the endpoint while it is there.
    _pick: Option<Pick>,
}

impl Guide {
    /// Says for whom it listens, for the log.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Service(target) => target.backends().service.clone(),
            Self::Pods(_) => "pods of other nodes".into(),
        }
    }

    /// Makes the connection that the client wants. `None`: there is none to be had.
    pub(super) async fn lead(&self, client: &TcpStream, from: SocketAddr, shared: &Shared) -> Option<Led> {
        match self {
            Self::Service(target) => {
                let dialled = dial(target, from, shared).await;
                if dialled.is_none() {
                    let service = self.name();
                    shared.complaints.say("endpoints", || tracing::warn!(service, "no endpoint answers"));
                }
                dialled.map(|(pick, server)| Led { to: pick.address, server, _pick: Some(pick) })
            }
            Self::Pods(routes) => match to_pod(client, routes, shared).await {
                Ok(led) => Some(led),
                Err(error) => {
                    tracing::debug!(%from, %error, "no way to a pod of another node");
                    None
                }
            },
        }
    }
}

async fn to_pod(client: &TcpStream, routes: &watch::Receiver<Arc<Routes>>, shared: &Shared) -> io::Result<Led> {
    let wanted = SockRef::from(client).original_dst_v4()?.as_socket_ipv4();
    let nowhere = |what: String| io::Error::new(io::ErrorKind::AddrNotAvailable, what);
    let to = wanted.ok_or_else(|| nowhere("the connection was not redirected".into()))?;
    let node = routes.borrow().node_of(*to.ip()).map(str::to_owned);
    // A pod of this node comes here only while the bridge is away: dialling it would lead here again.
    let other = |node: &String| *node != shared.config.node && !shared.config.own_pods.contains(to.ip());
    let node = node.filter(other).ok_or_else(|| nowhere(format!("{to} is a pod of no other node")))?;
    let stream = timeout(shared.config.give_up, call(&*shared.calls, &node, Call::Tcp(to))).await??;
    Ok(Led { to, server: Server::Far(stream), _pick: None })
}
