//! TCP: accept, pick, dial, copy.

use std::io;
use std::net::{Shutdown, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use nix::errno::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::relay::{relay, reset};
use super::server::Shared;
use super::target::{Pick, Target};

/// How long to wait when the process or the machine is out of files or memory.
const SHORTAGE: Duration = Duration::from_millis(100);
/// A peer that is silent for so long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How often it is asked, and after how many questions it is taken for gone.
const KEEPALIVE_PROBES: (Duration, u32) = (Duration::from_secs(10), 3);

/// Accepts connections until `stop`; those accepted go on.
pub(super) async fn serve(listener: TcpListener, target: Arc<Target>, shared: Arc<Shared>, stop: CancellationToken) {
    let work = async {
        loop {
            let (client, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    accept_failed(&error, &target, &shared).await;
                    continue;
                }
            };
            // At the limit the others wait in the kernel's queue.
            let Some(permit) = shared.connection(&target).await else { return };
            let (target, inner) = (Arc::clone(&target), Arc::clone(&shared));
            shared.tasks.spawn(async move {
                tokio::select! {
                    () = connection(&client, from, &target, &inner) => {}
                    () = inner.cut.cancelled() => reset(&client),
                }
                drop(permit);
            });
        }
    };
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
    // Closing alone would leave it listening while a child process that is just being started has a copy of it.
    let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
}

/// Errors of accept(2) concern one connection, which is gone, except those that speak of a shortage.
async fn accept_failed(error: &io::Error, target: &Target, shared: &Shared) {
    if is_shortage(error) {
        let service = &target.backends().service;
        shared.complaints.say("shortage", || tracing::warn!(service, %error, "cannot accept connections just now"));
        sleep(SHORTAGE).await;
    }
}

fn is_shortage(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM))
}

async fn connection(client: &TcpStream, from: SocketAddr, target: &Arc<Target>, shared: &Shared) {
    let Some((pick, server)) = dial(target, from, shared).await else {
        let service = &target.backends().service;
        shared.complaints.say("endpoints", || tracing::warn!(service, "no endpoint answers"));
        return reset(client);
    };
    for stream in [client, &server] {
        // Neither can fail on an open connection, and neither is worth losing one over.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive());
    }
    if let Err(error) = relay(client, &server).await {
        tracing::debug!(%from, to = %pick.address, %error, "connection ended early");
    }
}

fn keepalive() -> TcpKeepalive {
    let (interval, retries) = KEEPALIVE_PROBES;
    TcpKeepalive::new().with_time(KEEPALIVE).with_interval(interval).with_retries(retries)
}

/// Dials endpoints until one answers. The next is tried as soon as one refuses; one that is silent for
/// `config.patience` gets a rival. `None` when all have refused or `config.give_up` has passed.
async fn dial(target: &Arc<Target>, from: SocketAddr, shared: &Shared) -> Option<(Pick, TcpStream)> {
    let give_up = Instant::now() + shared.config.give_up;
    let mut tried: Vec<SocketAddrV4> = Vec::new();
    let mut attempts = FuturesUnordered::new();
    loop {
        let next = target.pick(from, &tried);
        let mut until = give_up;
        if let Some(pick) = next {
            tried.push(pick.address);
            attempts.push(attempt(pick));
            until = until.min(Instant::now() + shared.config.patience);
        }
        tokio::select! {
            biased;
            answered = attempts.next() => match answered? {
                (pick, Ok(server)) => {
                    pick.succeeded();
                    return Some((pick, server));
                }
                (pick, Err(error)) => refused(&pick, &error),
            },
            () = sleep_until(until) => match tried.last() {
                Some(silent) if until < give_up => target.failed(*silent),
                _ => return None,
            },
        }
    }
}

async fn attempt(pick: Pick) -> (Pick, io::Result<TcpStream>) {
    let stream = TcpStream::connect(SocketAddr::V4(pick.address)).await;
    (pick, stream)
}

fn refused(pick: &Pick, error: &io::Error) {
    tracing::debug!(endpoint = %pick.address, %error, "dial failed");
    // A shortage of our own says nothing about the endpoint.
    if !is_shortage(error) && error.kind() != io::ErrorKind::AddrNotAvailable {
        pick.failed();
    }
}
