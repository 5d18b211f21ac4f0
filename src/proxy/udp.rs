//! UDP: a flow for each client, which ends when both sides have been silent for a while.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::datagrams::{self, DATAGRAM, Silence};
use super::flow::{Answers, Far, Near, Way, is_sent};
use super::server::Shared;
use super::target::{Pick, Target};

/// How long to wait after an error of the listening socket.
const PAUSE: Duration = Duration::from_millis(10);
/// How many datagrams of one client may wait for another node; beyond, they are lost, as UDP may.
const WAITING: usize = 64;

/// Forwards datagrams until `stop`.
pub(super) async fn serve(socket: UdpSocket, target: Arc<Target>, shared: Arc<Shared>, stop: CancellationToken) {
    let mut listener =
        Listener { socket: Arc::new(socket), target, shared, flows: BTreeMap::new(), tasks: JoinSet::new(), next: 0 };
    let mut buffer = vec![0; DATAGRAM];
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(ended) = listener.tasks.join_next() => {
                // A task that was aborted has been replaced already.
                if let Ok(ended) = ended {
                    listener.ended(ended).await;
                }
            }
            received = listener.socket.recv_from(&mut buffer) => match received {
                Ok((length, client)) => listener.forward(client, &buffer[..length], Vec::new()).await,
                Err(error) => {
                    tracing::debug!(%error, "receiving failed");
                    sleep(PAUSE).await;
                }
            },
        }
    }
}

struct Listener {
    socket: Arc<UdpSocket>,
    target: Arc<Target>,
    shared: Arc<Shared>,
    flows: BTreeMap<SocketAddr, Flow>,
    /// The tasks that carry answers back; dropping them ends them.
    tasks: JoinSet<Ended>,
    next: u64,
}

struct Flow {
    number: u64,
    address: SocketAddrV4,
    way: Way,
    silence: Arc<Silence>,
    task: AbortHandle,
    _permit: OwnedSemaphorePermit,
}

/// What a flow that has ended leaves behind.
struct Ended {
    client: SocketAddr,
    number: u64,
    /// Datagrams that wait for another endpoint, because this one was never reached.
    undelivered: Vec<Vec<u8>>,
    /// Endpoints that will not do for them.
    tried: Vec<SocketAddrV4>,
}

impl Listener {
    /// Sends a client's datagram on: in its flow, or in a new one if there is none or its endpoint went away.
    async fn forward(&mut self, client: SocketAddr, datagram: &[u8], mut tried: Vec<SocketAddrV4>) {
        if let Some(flow) = self.flows.get(&client) {
            if !self.is_listed(flow.address) {
                self.end(client);
            } else if flow.way.send(datagram) {
                return flow.silence.broken();
            } else {
                // A way to another node is closed when its flow has just ended, which is no failure.
                if let Way::Near(_) = flow.way {
                    // What came before was answered by `port unreachable`.
                    self.target.failed(flow.address);
                    tried.push(flow.address);
                }
                self.end(client);
            }
        }
        while let Some(pick) = self.target.pick(client, &tried) {
            tried.push(pick.address);
            let Some(permit) = self.room() else { return };
            if self.shared.far(&pick).is_some() {
                return self.begin_far(client, datagram, pick, tried, permit);
            }
            match datagrams::connect(pick.address).await {
                Ok(server) if is_sent(&server.send(datagram).await) => {
                    return self.begin_near(client, server, pick, permit);
                }
                _ => pick.failed(),
            }
        }
    }

    fn is_listed(&self, address: SocketAddrV4) -> bool {
        self.target.backends().endpoints.iter().any(|e| e.address == address)
    }

    /// Room for one more flow; where there is none, the one of this listener that was silent longest gives way.
    fn room(&mut self) -> Option<OwnedSemaphorePermit> {
        if let Some(permit) = self.shared.flow() {
            return Some(permit);
        }
        let service = &self.target.backends().service;
        self.shared.complaints.say("flows", || tracing::warn!(service, "too many UDP flows: the oldest gives way"));
        let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.silence.since());
        let client = oldest.map(|(client, _)| *client)?;
        self.end(client);
        self.shared.flow()
    }

    fn begin_near(&mut self, client: SocketAddr, server: UdpSocket, pick: Pick, permit: OwnedSemaphorePermit) {
        let (address, server, answers) = (pick.address, Arc::new(server), self.answers(client, pick));
        let silence = Arc::clone(&answers.silence);
        let near = Near { server: Arc::clone(&server), answers };
        let number = self.number();
        let task = self.tasks.spawn(async move {
            near.carry().await;
            Ended { client, number, undelivered: Vec::new(), tried: Vec::new() }
        });
        let flow = Flow { number, address, way: Way::Near(server), silence, task, _permit: permit };
        self.flows.insert(client, flow);
    }

    fn begin_far(
        &mut self,
        client: SocketAddr,
        datagram: &[u8],
        pick: Pick,
        tried: Vec<SocketAddrV4>,
        permit: OwnedSemaphorePermit,
    ) {
        let (inbox_in, inbox) = mpsc::channel(WAITING);
        let way = Way::Far(inbox_in);
        way.send(datagram);
        let (address, answers) = (pick.address, self.answers(client, pick));
        let silence = Arc::clone(&answers.silence);
        let far = Far { shared: Arc::clone(&self.shared), inbox, answers };
        let number = self.number();
        let task = self.tasks.spawn(async move {
            let undelivered = far.carry().await;
            Ended { client, number, undelivered, tried }
        });
        self.flows.insert(client, Flow { number, address, way, silence, task, _permit: permit });
    }

    fn answers(&self, client: SocketAddr, pick: Pick) -> Answers {
        let silence = Arc::new(Silence::new(self.shared.config.udp_idle));
        Answers { client, listener: Arc::clone(&self.socket), silence, pick }
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn end(&mut self, client: SocketAddr) {
        if let Some(flow) = self.flows.remove(&client) {
            flow.task.abort();
        }
    }

    async fn ended(&mut self, ended: Ended) {
        let Ended { client, number, undelivered, tried } = ended;
        if self.flows.get(&client).is_some_and(|flow| flow.number == number) {
            self.flows.remove(&client);
        }
        for datagram in undelivered {
            self.forward(client, &datagram, tried.clone()).await;
        }
    }
}
