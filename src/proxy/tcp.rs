//! TCP: accept, be led, copy.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::dial::{Server, is_shortage};
use super::guide::Guide;
use super::relay::{relay, reset};
use super::server::Shared;
use super::tunnel::tunnel;

/// How long to wait when the process or the machine is out of files or memory.
const SHORTAGE: Duration = Duration::from_millis(100);
/// A peer that is silent for so long is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How often it is asked, and after how many questions it is taken for gone.
const KEEPALIVE_PROBES: (Duration, u32) = (Duration::from_secs(10), 3);

/// Accepts connections until `stop`; those accepted go on.
pub(super) async fn serve(listener: TcpListener, guide: Guide, shared: Arc<Shared>, stop: CancellationToken) {
    // What is accepted inherits it, which spares each connection five calls of the kernel.
    prepare(&listener);
    let work = async {
        loop {
            let (mut client, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    accept_failed(&error, &guide, &shared).await;
                    continue;
                }
            };
            // At the limit the others wait in the kernel's queue.
            let Some(permit) = shared.connection(|| guide.name()).await else { return };
            let (guide, inner) = (guide.clone(), Arc::clone(&shared));
            shared.tasks.spawn(async move {
                tokio::select! {
                    () = connection(&mut client, from, &guide, &inner) => {}
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
async fn accept_failed(error: &io::Error, guide: &Guide, shared: &Shared) {
    if is_shortage(error) {
        let service = guide.name();
        shared.complaints.say("shortage", || tracing::warn!(service, %error, "cannot accept connections just now"));
        sleep(SHORTAGE).await;
    }
}

async fn connection(client: &mut TcpStream, from: SocketAddr, guide: &Guide, shared: &Shared) {
    let Some(led) = guide.lead(client, from, shared).await else { return reset(client) };
    let carried = match led.server {
        Server::Near(mut server) => {
            prepare(&server);
            relay(client, &mut server).await
        }
        Server::Far(stream) => tunnel(client, stream).await,
    };
    if let Err(error) = carried {
        tracing::debug!(%from, to = %led.to, %error, "connection ended early");
    }
}

/// Sets a socket up for being copied from and to.
pub(super) fn prepare(socket: &impl AsFd) {
    // Neither can fail on an open socket, and neither is worth losing a connection over.
    let socket = SockRef::from(socket);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_tcp_keepalive(&keepalive());
}

fn keepalive() -> TcpKeepalive {
    let (interval, retries) = KEEPALIVE_PROBES;
    TcpKeepalive::new().with_time(KEEPALIVE).with_interval(interval).with_retries(retries)
}
