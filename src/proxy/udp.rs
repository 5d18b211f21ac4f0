//! UDP: a flow for each client, which ends when both sides have been silent for a while.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::server::Shared;
use super::target::{Pick, Target, now};

/// The largest datagram.
const DATAGRAM: usize = 65_536;
/// How long to wait after an error of the listening socket.
const PAUSE: Duration = Duration::from_millis(10);

thread_local! {
    /// One buffer a thread serves all flows, because nothing waits while it is in use.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; DATAGRAM]);
}

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
                if let Ok((client, number)) = ended {
                    listener.forget(client, number);
                }
            }
            received = listener.socket.recv_from(&mut buffer) => match received {
                Ok((length, client)) => listener.forward(client, &buffer[..length]).await,
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
    tasks: JoinSet<(SocketAddr, u64)>,
    next: u64,
}

struct Flow {
    number: u64,
    address: SocketAddrV4,
    server: Arc<UdpSocket>,
    /// When the client was last heard, in milliseconds since boot.
    heard: Arc<AtomicU64>,
    task: AbortHandle,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// Sends a client's datagram on: in its flow, or in a new one if there is none or its endpoint went away.
    async fn forward(&mut self, client: SocketAddr, datagram: &[u8]) {
        let mut tried = Vec::new();
        if let Some(flow) = self.flows.get(&client) {
            if !self.is_listed(flow.address) {
                self.end(client);
            } else if is_sent(flow.server.try_send(datagram)) {
                return flow.heard.store(millis(), Ordering::Relaxed);
            } else {
                // What came before was answered by `port unreachable`.
                self.target.failed(flow.address);
                tried.push(flow.address);
                self.end(client);
            }
        }
        while let Some(pick) = self.target.pick(client, &tried) {
            tried.push(pick.address);
            let Some(permit) = self.room() else { return };
            match connect(pick.address).await {
                Ok(server) if is_sent(server.send(datagram).await) => return self.begin(client, server, pick, permit),
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
        let oldest = self.flows.iter().min_by_key(|(_, flow)| flow.heard.load(Ordering::Relaxed));
        let client = oldest.map(|(client, _)| *client)?;
        self.end(client);
        self.shared.flow()
    }

    fn begin(&mut self, client: SocketAddr, server: UdpSocket, pick: Pick, permit: OwnedSemaphorePermit) {
        self.next += 1;
        let (number, address) = (self.next, pick.address);
        let (server, heard) = (Arc::new(server), Arc::new(AtomicU64::new(millis())));
        let answers = Answers {
            client,
            listener: Arc::clone(&self.socket),
            server: Arc::clone(&server),
            heard: Arc::clone(&heard),
            idle: self.shared.config.udp_idle,
            pick,
        };
        let task = self.tasks.spawn(async move {
            answers.carry().await;
            (client, number)
        });
        self.flows.insert(client, Flow { number, address, server, heard, task, _permit: permit });
    }

    fn end(&mut self, client: SocketAddr) {
        if let Some(flow) = self.flows.remove(&client) {
            flow.task.abort();
        }
    }

    fn forget(&mut self, client: SocketAddr, number: u64) {
        if self.flows.get(&client).is_some_and(|flow| flow.number == number) {
            self.flows.remove(&client);
        }
    }
}

/// Carries an endpoint's answers back to the client.
struct Answers {
    client: SocketAddr,
    listener: Arc<UdpSocket>,
    server: Arc<UdpSocket>,
    heard: Arc<AtomicU64>,
    idle: Duration,
    pick: Pick,
}

impl Answers {
    async fn carry(&self) {
        loop {
            match timeout(self.idle, self.server.readable()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return,
                Err(_) if millis().saturating_sub(self.heard.load(Ordering::Relaxed)) < as_millis(self.idle) => {
                    continue;
                }
                Err(_) => return,
            }
            loop {
                match self.carry_one() {
                    Ok(None) => self.pick.succeeded(),
                    // The client may have gone; that is not an error of the flow.
                    Ok(Some(waiting)) => drop(self.listener.send_to(&waiting, self.client).await),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return self.pick.failed(),
                }
                tokio::task::consume_budget().await;
            }
        }
    }

    /// Carries one datagram; returns it if it has to wait until the listening socket takes more.
    fn carry_one(&self) -> io::Result<Option<Vec<u8>>> {
        BUFFER.with_borrow_mut(|buffer| {
            let length = self.server.try_recv(buffer)?;
            match self.listener.try_send_to(&buffer[..length], self.client) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Some(buffer[..length].to_vec())),
                _ => Ok(None),
            }
        })
    }
}

async fn connect(address: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(SocketAddr::V4(address)).await?;
    Ok(socket)
}

/// A full queue loses the datagram, as UDP may; any other error means that the endpoint is not there.
fn is_sent(sent: io::Result<usize>) -> bool {
    match sent {
        Ok(_) => true,
        Err(e) => e.kind() == io::ErrorKind::WouldBlock,
    }
}

fn millis() -> u64 {
    as_millis(now().0)
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
