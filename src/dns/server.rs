//! The DNS server: packets in, packets out.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::routing::Routes;

use super::reply::{Outcome, Reply, decide};
use super::upstream::{ForwardError, Forwarder, Upstreams};

/// The largest query over UDP.
const DATAGRAM: usize = 4_096;
/// How long to wait after an error of a listening socket.
const PAUSE: Duration = Duration::from_millis(20);

/// What the server is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster's domain: lower-case, without the last dot.
    pub domain: String,
    /// Who knows all other names.
    pub upstreams: Upstreams,
    /// How long each of those may take.
    pub patience: Duration,
    /// How many questions may be open with them; beyond, clients are told to ask again.
    pub forwards: usize,
    /// How many clients may be connected over TCP; beyond, they wait.
    pub connections: usize,
    /// How long a client may be silent over TCP.
    pub idle: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            domain: "cluster.local".into(),
            upstreams: Upstreams::File("/etc/resolv.conf".into()),
            patience: Duration::from_millis(1_500),
            forwards: 512,
            connections: 128,
            idle: Duration::from_secs(10),
        }
    }
}

/// Answers names.
#[derive(Debug)]
pub struct Server {
    config: Config,
    routes: watch::Receiver<Arc<Routes>>,
}

impl Server {
    /// Makes a server that answers from `routes` as they are when it is asked.
    pub fn new(config: Config, routes: watch::Receiver<Arc<Routes>>) -> Self {
        Self { config, routes }
    }

    /// Answers what arrives at the two sockets until `shutdown`; returns when both are closed.
    pub async fn run(self, udp: UdpSocket, tcp: TcpListener, shutdown: CancellationToken) {
        let own = udp.local_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |address| address.ip());
        let Config { upstreams, patience, forwards, .. } = self.config.clone();
        let forwarder = Forwarder::new(upstreams, own, patience, forwards);
        let worker = Arc::new(Worker { config: self.config, routes: self.routes, forwarder });
        tokio::join!(serve_udp(&worker, udp, &shutdown), serve_tcp(&worker, tcp, &shutdown));
    }
}

async fn serve_udp(worker: &Arc<Worker>, socket: UdpSocket, shutdown: &CancellationToken) {
    let socket = Arc::new(socket);
    let mut waiting = JoinSet::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            Some(_) = waiting.join_next() => continue,
            // Those that wait hold the socket.
            () = shutdown.cancelled() => return waiting.shutdown().await,
        };
        let Ok((length, client)) = received else {
            sleep(PAUSE).await;
            continue;
        };
        let packet = &buffer[..length];
        match worker.decide(packet, false) {
            Outcome::Ignore => {}
            Outcome::Send(reply) => send(&socket, client, reply.encode()).await,
            outcome => {
                let (worker, socket, packet) = (Arc::clone(worker), Arc::clone(&socket), packet.to_vec());
                waiting.spawn(async move {
                    let answer = worker.finish(outcome, &packet, false).await;
                    send(&socket, client, answer).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, client: SocketAddr, packet: Option<Vec<u8>>) {
    if let Some(packet) = packet
        && let Err(error) = socket.send_to(&packet, client).await
    {
        tracing::debug!(%client, %error, "answer not sent");
    }
}

async fn serve_tcp(worker: &Arc<Worker>, listener: TcpListener, shutdown: &CancellationToken) {
    let room = Arc::new(Semaphore::new(worker.config.connections));
    let mut clients = JoinSet::new();
    loop {
        while clients.try_join_next().is_some() {}
        let accepted = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&room).acquire_owned().await.ok();
            listener.accept().await.map(|(stream, _)| (stream, permit))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.cancelled() => return clients.shutdown().await,
        };
        let Ok((stream, permit)) = accepted else {
            sleep(PAUSE).await;
            continue;
        };
        let worker = Arc::clone(worker);
        clients.spawn(async move {
            // It ends when the client has hung up or is silent, which is as it should be.
            let _ = worker.converse(stream).await;
            drop(permit);
        });
    }
}

#[derive(Debug)]
struct Worker {
    config: Config,
    routes: watch::Receiver<Arc<Routes>>,
    forwarder: Forwarder,
}

impl Worker {
    fn decide(&self, packet: &[u8], stream: bool) -> Outcome {
        let routes = Arc::clone(&self.routes.borrow());
        decide(&routes, &self.config.domain, packet, stream)
    }

    /// Does what has been decided and returns the answer.
    async fn finish(&self, outcome: Outcome, packet: &[u8], stream: bool) -> Option<Vec<u8>> {
        match outcome {
            Outcome::Ignore => None,
            Outcome::Send(reply) => reply.encode(),
            Outcome::Forward { question, refusal } => match self.forwarder.forward(packet, &question, stream).await {
                Ok(answer) => Some(answer),
                Err(error) => give_up(*refusal, &question, &error),
            },
            Outcome::Complete { reply, target } => match self.forwarder.resolve(&target).await {
                Ok(found) => reply.completed(found).encode(),
                Err(error) => give_up(*reply, &target, &error),
            },
        }
    }

    /// Answers one client's queries, one after the other (RFC 7766).
    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        loop {
            let length = timeout(self.config.idle, stream.read_u16()).await??;
            let mut packet = vec![0; usize::from(length)];
            timeout(self.config.idle, stream.read_exact(&mut packet)).await??;
            let outcome = self.decide(&packet, true);
            let Some(answer) = self.finish(outcome, &packet, true).await else { return Ok(()) };
            let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
            let framed = [&length.to_be_bytes(), answer.as_slice()].concat();
            timeout(self.config.idle, stream.write_all(&framed)).await??;
        }
    }
}

fn give_up(reply: Reply, question: &Query, error: &ForwardError) -> Option<Vec<u8>> {
    tracing::debug!(name = %question.name(), %error, "not answered");
    reply.failed(ResponseCode::ServFail).encode()
}
