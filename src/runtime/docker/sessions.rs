//! Sessions: commands in containers, containers' own terminals, and ports of pods.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
use tokio_util::codec::FramedRead;

use crate::handle::{Ended, Frame, PIECE, Session, Streams, Talk, talk};
use crate::kubelet::action::labels;

use super::Engine;
use super::client::Client;
use super::container::{is_running, label_of};
use super::error::{Error, reason};
use super::hijack::Output;
use super::network;

/// How long the daemon may take to know how a command ended whose output has ended.
const ENDING: Duration = Duration::from_secs(5);
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// How long a port may take to answer.
const DIAL: Duration = Duration::from_secs(10);

/// Begins a session with a container of ours.
pub fn begin(engine: Arc<Engine>, session: Session) -> BoxFuture<'static, Result<Talk, String>> {
    Box::pin(async move {
        match session {
            Session::Exec { container, command, streams } => exec(&engine, &container, command, streams).await,
            Session::Attach { container, streams } => attach(&engine, container, streams).await,
            Session::Forward { container, port } => forward(&engine, &container, port).await,
        }
        .map_err(|error| error.to_string())
    })
}

/// Finds a running container of ours; returns the number of its first process.
async fn running(engine: &Engine, container: &str) -> Result<(Client, u32), Error> {
    let client = engine.client()?;
    let found = client.inspect(container).await?;
    if label_of(&found, labels::NODE) != Some(&engine.config.node) {
        return Err(Error::Refused { status: 404, message: format!("No such container: {container}") });
    }
    let pid = found.state.as_ref().and_then(|s| s.pid).and_then(|pid| u32::try_from(pid).ok());
    match pid {
        Some(pid) if is_running(&found) && pid != 0 => Ok((client, pid)),
        _ => Err(Error::Refused { status: 409, message: format!("container {container} is not running") }),
    }
}

impl Engine {
    /// Carries a session, as long as the agent runs.
    fn spawn(&self, session: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.tasks.spawn(async move { shutdown.run_until_cancelled(session).await });
    }
}

async fn exec(engine: &Arc<Engine>, container: &str, command: Vec<String>, streams: Streams) -> Result<Talk, Error> {
    let (client, _) = running(engine, container).await?;
    let id = client.prepare(container, command, streams).await?;
    let stream = client.run_prepared(&id, streams.tty).await?;
    let (here, there) = talk();
    engine.spawn(converse(stream, streams, there, Process::Command(client, id)));
    Ok(here)
}

/// What runs in a session.
enum Process {
    /// A command, by its id.
    Command(Client, String),
    /// A container's first process; `once`: its input may end.
    First { client: Client, container: String, once: bool },
}

impl Process {
    async fn resize(&self, columns: u16, rows: u16) {
        let done = match self {
            Self::Command(client, id) => client.resize_command(id, columns, rows).await,
            Self::First { client, container, .. } => client.resize(container, columns, rows).await,
        };
        // One that has just ended has no terminal any more.
        if let Err(error) = done {
            tracing::debug!(%error, "a terminal is not resized");
        }
    }

    /// Tells how it ended, once its output has. Who attaches learns from the pod's status how its first process did.
    async fn ended(&self) -> Ended {
        let Self::Command(client, id) = self else { return Ended::Exit(0) };
        let asked = tokio::time::timeout(ENDING, async {
            loop {
                match client.exit_code(id).await {
                    Ok(Some(code)) => return Ended::Exit(code),
                    Ok(None) => tokio::time::sleep(ASK_AGAIN).await,
                    Err(error) => return Ended::Failed(error.to_string()),
                }
            }
        });
        asked.await.unwrap_or_else(|_| Ended::Failed("the output ended, and the command runs on".into()))
    }
}

async fn attach(engine: &Arc<Engine>, container: String, mut streams: Streams) -> Result<Talk, Error> {
    let (client, _) = running(engine, &container).await?;
    // What it has was decided when it was made.
    let made = client.inspect(&container).await?.config.unwrap_or_default();
    streams.tty = made.tty.unwrap_or_default();
    streams.stdin &= made.open_stdin.unwrap_or_default();
    let once = made.stdin_once.unwrap_or_default();
    let stream = client.attach(&container, streams).await?;
    let (here, there) = talk();
    engine.spawn(converse(stream, streams, there, Process::First { client, container, once }));
    Ok(here)
}

/// Carries what is said between a process and the other side, until the process has said all or the other side has gone.
async fn converse(stream: UnixStream, streams: Streams, talk: Talk, process: Process) {
    let Talk { say, hear } = talk;
    let (reader, writer) = stream.into_split();
    let telling = async {
        let mut output = FramedRead::with_capacity(reader, Output { tty: streams.tty, left: (0, 0) }, PIECE);
        while let Some(frame) = output.next().await {
            match frame {
                Ok(frame) => say.send(frame).await.map_err(|_| ())?,
                Err(error) => return say.send(Frame::Ended(Ended::Failed(reason(&error)))).await.map_err(|_| ()),
            }
        }
        say.send(Frame::Ended(process.ended().await)).await.map_err(|_| ())
    };
    tokio::select! {
        _ = telling => {}
        () = feed(streams.stdin.then_some(writer), hear, &process) => {}
    }
}

/// Hands on what the other side says, until it has gone.
async fn feed(mut input: Option<OwnedWriteHalf>, mut hear: mpsc::Receiver<Frame>, process: &Process) {
    while let Some(frame) = hear.recv().await {
        match frame {
            Frame::Input(bytes) => {
                // A process that does not read any more is no error: its output goes on.
                if let Some(open) = &mut input
                    && open.write_all(&bytes).await.is_err()
                {
                    input = None;
                }
            }
            // Where input goes on after whoever attaches now, the daemon takes its end here for the end of all.
            Frame::InputEnd if matches!(process, Process::First { once: false, .. }) => {}
            Frame::InputEnd => {
                if let Some(mut open) = input.take() {
                    let _ = open.shutdown().await;
                }
            }
            Frame::Resize(columns, rows) => process.resize(columns, rows).await,
            Frame::Output(_) | Frame::Error(_) | Frame::Ended(_) => {}
        }
    }
}

async fn forward(engine: &Arc<Engine>, container: &str, port: u16) -> Result<Talk, Error> {
    let (client, pid) = running(engine, container).await?;
    let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    let namespace = network::namespace_to_dial(pid)?;
    // The process that was found still is the container's, so the namespace is its own.
    if running(engine, container).await?.1 != pid {
        return Err(Error::Refused { status: 409, message: format!("container {container} is not running") });
    }
    drop(client);
    let dialled = tokio::time::timeout(DIAL, network::dial_within(namespace, at)).await;
    let failed = |why: String| Error::Refused { status: 502, message: format!("dial tcp {at}: {why}") };
    let stream = dialled.map_err(|_| failed("i/o timeout".into()))?.map_err(|e| failed(reason(&e)))?;
    let (here, there) = talk();
    engine.spawn(async move {
        let say = there.say.clone();
        let done = relay(stream, there).await;
        let ended = done.map_or_else(|error| Ended::Failed(reason(&error)), |()| Ended::Exit(0));
        let _ = say.send(Frame::Ended(ended)).await;
    });
    Ok(here)
}

/// Carries a connection until both sides have finished, or the other side has gone.
async fn relay(stream: TcpStream, talk: Talk) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Talk { say, mut hear } = talk;
    let (mut reader, mut writer) = stream.into_split();
    let up = async {
        while let Some(frame) = hear.recv().await {
            match frame {
                Frame::Input(bytes) => writer.write_all(&bytes).await?,
                Frame::InputEnd => writer.shutdown().await?,
                _ => {}
            }
        }
        Ok(())
    };
    let down = async {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE);
            if reader.read_buf(&mut piece).await? == 0 {
                return Ok(());
            }
            if say.send(Frame::Output(Bytes::from(piece))).await.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        done = up => done,
        done = down => done,
    }
}
