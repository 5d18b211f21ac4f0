//! The servers that know all other names.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// For how long the list of servers is believed: machines move between networks.
const FRESH: Duration = Duration::from_secs(5);
/// As many servers as the C library would ask.
const SERVERS_MAX: usize = 3;
/// The largest answer over UDP that is taken.
const DATAGRAM: usize = 4_096;
/// How many equal questions may be open at once. More means that they come back from where they are sent.
const EQUAL_MAX: usize = 64;
/// What a question of our own says of the answer it takes.
const PAYLOAD: u16 = 1_232;

/// Where to find the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstreams {
    /// These.
    Fixed(Vec<SocketAddr>),
    /// The `nameserver` lines of a file in the form of resolv.conf(5), read again as it changes.
    File(PathBuf),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ForwardError {
    #[error("no server is configured for names outside the cluster")]
    NoServer,
    #[error("too many questions are waiting for servers outside the cluster")]
    Busy,
    #[error("the question comes back from the servers it is sent to")]
    Loop,
    #[error("server {0} does not answer: {1}")]
    Silent(SocketAddr, io::Error),
}

/// Asks servers elsewhere.
#[derive(Debug)]
pub(super) struct Forwarder {
    upstreams: Upstreams,
    /// The address at which we answer ourselves.
    own: IpAddr,
    patience: Duration,
    room: Semaphore,
    known: tokio::sync::Mutex<Option<(Instant, Arc<[SocketAddr]>)>>,
    /// The server that answered last, as a place in the list.
    preferred: AtomicUsize,
    open: Mutex<BTreeMap<String, usize>>,
}

impl Forwarder {
    /// Makes a forwarder that waits `patience` for each server and has at most `room` questions open.
    pub(super) fn new(upstreams: Upstreams, own: IpAddr, patience: Duration, room: usize) -> Self {
        Self {
            upstreams,
            own,
            patience,
            room: Semaphore::new(room),
            known: tokio::sync::Mutex::new(None),
            preferred: AtomicUsize::new(0),
            open: Mutex::default(),
        }
    }

    /// Sends a query on as it is and returns the answer as it is, but for the id.
    pub(super) async fn forward(&self, packet: &[u8], question: &Query, stream: bool) -> Result<Vec<u8>, ForwardError> {
        let _room = self.room.try_acquire().map_err(|_| ForwardError::Busy)?;
        let _open = self.enter(question)?;
        let servers = self.servers().await;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut outcome = Err(ForwardError::NoServer);
        for place in (0..servers.len()).map(|i| (first + i) % servers.len()) {
            let server = servers[place];
            match self.ask(server, packet, question, stream).await {
                // Another one may do better.
                Ok(answer) if has_given_up(&answer) => outcome = Ok(answer),
                Ok(answer) => {
                    self.preferred.store(place, Ordering::Relaxed);
                    outcome = Ok(answer);
                    break;
                }
                Err(error) if outcome.is_err() => outcome = Err(ForwardError::Silent(server, error)),
                Err(_) => {}
            }
        }
        let mut answer = outcome?;
        answer[..2].copy_from_slice(&packet[..2]);
        Ok(answer)
    }

    /// Asks a question of our own; if the answer is cut off, once more over TCP.
    pub(super) async fn resolve(&self, question: &Query) -> Result<Message, ForwardError> {
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(question.clone());
        let mut edns = Edns::new();
        edns.set_max_payload(PAYLOAD);
        query.set_edns(edns);
        let unreadable = |e: String| ForwardError::Silent((Ipv4Addr::UNSPECIFIED, 0).into(), io::Error::other(e));
        let packet = query.to_vec().map_err(|e| unreadable(e.to_string()))?;
        for stream in [false, true] {
            let answer = self.forward(&packet, question, stream).await?;
            let answer = Message::from_vec(&answer).map_err(|e| unreadable(e.to_string()))?;
            if stream || !answer.metadata.truncation {
                return Ok(answer);
            }
        }
        Err(ForwardError::NoServer)
    }

    /// Counts a question as open until the guard is dropped.
    fn enter(&self, question: &Query) -> Result<impl Drop + '_, ForwardError> {
        let key = format!("{} {}", question.name().to_ascii().to_ascii_lowercase(), question.query_type());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(key.clone()).or_default();
        if *count >= EQUAL_MAX {
            return Err(ForwardError::Loop);
        }
        *count += 1;
        Ok(Open { open: &self.open, key })
    }

    async fn servers(&self) -> Arc<[SocketAddr]> {
        let file = match &self.upstreams {
            Upstreams::Fixed(servers) => return servers.iter().copied().filter(|s| s.ip() != self.own).collect(),
            Upstreams::File(path) => path,
        };
        let mut known = self.known.lock().await;
        if let Some((read, servers)) = &*known
            && read.elapsed() < FRESH
        {
            return Arc::clone(servers);
        }
        let text = tokio::fs::read_to_string(file).await.unwrap_or_default();
        let servers: Arc<[SocketAddr]> = nameservers(&text).filter(|s| s.ip() != self.own).take(SERVERS_MAX).collect();
        *known = Some((Instant::now(), Arc::clone(&servers)));
        servers
    }

    async fn ask(&self, server: SocketAddr, packet: &[u8], question: &Query, stream: bool) -> io::Result<Vec<u8>> {
        let mut query = packet.to_vec();
        // An id and a port of our own that nobody can guess.
        query[..2].copy_from_slice(&rand::random::<[u8; 2]>());
        let exchange = async {
            if stream { over_tcp(server, &query, question).await } else { over_udp(server, &query, question).await }
        };
        timeout(self.patience, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

struct Open<'a> {
    open: &'a Mutex<BTreeMap<String, usize>>,
    key: String,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.key);
            }
        }
    }
}

async fn over_udp(server: SocketAddr, query: &[u8], question: &Query) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if answers(&buffer[..length], query, question) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn over_tcp(server: SocketAddr, query: &[u8], question: &Query) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    if answers(&answer, query, question) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Tells whether a packet answers a query: the same id and the same question.
fn answers(packet: &[u8], query: &[u8], question: &Query) -> bool {
    const HEADER: usize = 12;
    let is_answer = packet.len() >= HEADER && packet[..2] == query[..2] && packet[2] & 0x80 != 0;
    // The question comes first in both, and names in it are never abbreviated. A server that failed may leave it out.
    let asked = question.name().iter().map(|label| label.len() + 1).sum::<usize>() + 1 + 4;
    let own = query.get(HEADER..HEADER + asked);
    let theirs = packet.get(HEADER..HEADER + asked);
    let is_same = own.zip(theirs).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b));
    let is_bare = packet.len() == HEADER && has_given_up(packet);
    is_answer && (is_same || is_bare)
}

/// Tells whether a server says that it cannot answer, which another might.
fn has_given_up(packet: &[u8]) -> bool {
    let code = packet.get(3).map_or(0, |flags| u16::from(flags & 0x0f));
    [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp].iter().any(|c| u16::from(*c) == code)
}

/// Reads the servers from the text of a resolv.conf(5).
fn nameservers(text: &str) -> impl Iterator<Item = SocketAddr> + '_ {
    let words = text.lines().map(str::split_whitespace);
    words.filter_map(|mut line| {
        (line.next()? == "nameserver").then_some(())?;
        let address: IpAddr = line.next()?.parse().ok()?;
        Some(SocketAddr::new(address, 53))
    })
}

#[cfg(test)]
#[path = "upstream_tests.rs"]
mod tests;
