//! The far end: serves other nodes' calls for pods of this one.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::handle::{Call, Stream};

use super::datagrams::{self, Silence};
use super::dial::DIALLED;
use super::relay::reset;
use super::server::{Complaints, Config};
use super::tcp::prepare;
use super::tunnel::tunnel;

/// Serves calls from other nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    room: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Cancelled when what is open has to end.
    cut: CancellationToken,
    complaints: Complaints,
}

impl Exit {
    /// Makes an exit to the pods of `config.own_pods`.
    pub fn new(config: Config) -> Self {
        let (room, tasks) = (Arc::new(Semaphore::new(config.exits)), TaskTracker::new());
        Self(Arc::new(Inner { config, room, tasks, cut: CancellationToken::new(), complaints: Complaints::default() }))
    }

    /// Serves a call in a task of its own. What cannot be served is dropped, by which the caller knows. Calls that
    /// are not for traffic are none of its business and dropped too.
    pub fn serve(&self, call: &Call, stream: Stream) {
        let inner = Arc::clone(&self.0);
        let (is_tcp, address) = match call {
            Call::Tcp(address) => (true, *address),
            Call::Udp(address) => (false, *address),
            Call::Log { .. } | Call::Session(_) | Call::Usage | Call::Sign | Call::Join => return,
        };
        if !inner.config.own_pods.contains(address.ip()) {
            tracing::debug!(%address, "a call for a pod that is not of this node");
            return;
        }
        if inner.tasks.is_closed() {
            return;
        }
        let Ok(permit) = Arc::clone(&inner.room).try_acquire_owned() else {
            let limit = inner.config.exits;
            inner.complaints.say("exits", || tracing::warn!(limit, "too many connections from other nodes"));
            return;
        };
        let tasks = inner.tasks.clone();
        tasks.spawn(async move {
            let served = if is_tcp { inner.tcp(address, stream).await } else { inner.udp(address, stream).await };
            if let Err(error) = served {
                tracing::debug!(%address, %error, "a connection from another node ended early");
            }
            drop(permit);
        });
    }

    /// Waits for `shutdown`, lets connections finish for a while, and cuts off the rest.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
        let Inner { tasks, cut, config, .. } = &*self.0;
        tasks.close();
        if timeout(config.drain, tasks.wait()).await.is_err() {
            cut.cancel();
            tasks.wait().await;
        }
    }
}

impl Inner {
    async fn tcp(&self, address: SocketAddrV4, mut stream: Stream) -> io::Result<()> {
        let mut pod = self.in_time(TcpStream::connect(SocketAddr::V4(address))).await?;
        prepare(&pod);
        self.in_time(say_dialled(&mut stream)).await?;
        tokio::select! {
            ended = tunnel(&mut pod, stream) => ended,
            () = self.cut.cancelled() => {
                reset(&pod);
                Ok(())
            }
        }
    }

    async fn udp(&self, address: SocketAddrV4, mut stream: Stream) -> io::Result<()> {
        let pod = self.in_time(datagrams::connect(address)).await?;
        self.in_time(say_dialled(&mut stream)).await?;
        tokio::select! {
            ended = carry(&pod, stream, self.config.udp_idle) => ended,
            () = self.cut.cancelled() => Ok(()),
        }
    }

    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        timeout(self.config.give_up, work).await?
    }
}

async fn say_dialled(stream: &mut Stream) -> io::Result<()> {
    stream.write_u8(DIALLED).await?;
    stream.flush().await
}

/// Carries datagrams both ways until both sides have been silent for `idle`.
async fn carry(pod: &UdpSocket, stream: Stream, idle: Duration) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let silence = Silence::new(idle);
    let to_pod = async {
        loop {
            let datagram = datagrams::read(&mut reader).await?;
            silence.broken();
            pod.send(&datagram).await?;
        }
    };
    let from_pod = async {
        loop {
            pod.readable().await?;
            if let Some(datagram) = datagrams::receive(pod)? {
                silence.broken();
                datagrams::write(&mut writer, &datagram).await?;
            }
        }
    };
    tokio::select! {
        ended = to_pod => ended,
        ended = from_pod => ended,
        () = silence.lasts() => Ok(()),
    }
}
