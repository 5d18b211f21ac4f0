//! The daemon's API as far as we need it: every call has a limit and a sorted error.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStatsResponse, ContainerSummary, EventMessage,
    ImageInspect, SystemInfo,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    LogsOptions, RemoveContainerOptionsBuilder, ResizeContainerTTYOptionsBuilder, StatsOptionsBuilder,
    StopContainerOptionsBuilder,
};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use tokio::net::UnixStream;

use crate::handle::Streams;

use super::error::Error;
use super::hijack;

/// Whatever only looks something up.
const LOOK: Duration = Duration::from_secs(10);
/// Whatever makes or starts something: tens of starts may be in front of it on a small machine.
const MAKE: Duration = Duration::from_secs(120);
/// An image pull that shows no progress for so long has failed.
const PULL_IDLE: Duration = Duration::from_secs(300);

/// A connection to the daemon. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    docker: bollard::Docker,
    socket: String,
}

impl Client {
    /// Connects to the daemon and agrees on the API version.
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let name = socket.display().to_string();
        // Limits are ours, call by call; the library's own would cut long stops.
        let day = 24 * 60 * 60;
        let docker = bollard::Docker::connect_with_unix(&name, day, bollard::API_DEFAULT_VERSION)
            .map_err(|e| Error::sort(&name, e))?;
        let docker = match tokio::time::timeout(LOOK, docker.negotiate_version()).await {
            Ok(docker) => docker.map_err(|e| Error::sort(&name, e))?,
            Err(_) => {
                let reason = format!("no answer within {} s", LOOK.as_secs());
                return Err(Error::Unreachable { socket: name, reason });
            }
        };
        Ok(Self { docker, socket: name })
    }

    /// Fails unless the daemon answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.call("answer", LOOK, self.docker.ping()).await.map(drop)
    }

    /// Says what the daemon is.
    pub async fn info(&self) -> Result<SystemInfo, Error> {
        self.call("describe itself", LOOK, self.docker.info()).await
    }

    /// Follows `actions` of containers that carry `label`, those since `since` (seconds) included. The stream never
    /// ends well.
    pub fn events(
        &self,
        label: &str,
        actions: &[&str],
        since: &str,
    ) -> BoxStream<'static, Result<EventMessage, Error>> {
        let filters = HashMap::from([("type", vec!["container"]), ("label", vec![label]), ("event", actions.to_vec())]);
        let options = EventsOptionsBuilder::default().since(since).filters(&filters).build();
        let socket = self.socket.clone();
        self.docker.events(Some(options)).map(move |event| event.map_err(|e| Error::sort(&socket, e))).boxed()
    }

    /// Lists containers, running or not, that carry all of `labels` (`key=value`).
    pub async fn list(&self, labels: &[String]) -> Result<Vec<ContainerSummary>, Error> {
        let filters = HashMap::from([("label", labels.to_vec())]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        self.call("list containers", LOOK, self.docker.list_containers(Some(options))).await
    }

    /// Describes a container, by id or name.
    pub async fn inspect(&self, container: &str) -> Result<ContainerInspectResponse, Error> {
        self.call("describe a container", LOOK, self.docker.inspect_container(container, None)).await
    }

    /// Returns what a container has used up to now.
    pub async fn stats(&self, id: &str) -> Result<ContainerStatsResponse, Error> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut stats = self.docker.stats(id, Some(options));
        let first = async { stats.next().await.transpose().map(Option::unwrap_or_default) };
        self.call("measure a container", LOOK, first).await
    }

    /// Makes a container and returns its id.
    pub async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<String, Error> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let made = self.call("make a container", MAKE, self.docker.create_container(Some(options), body)).await?;
        Ok(made.id)
    }

    /// Starts a container.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        self.call("start a container", MAKE, self.docker.start_container(id, None)).await
    }

    /// Asks a container to stop by its image's stop signal and kills it after `grace`. One that does not run is fine.
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<(), Error> {
        let seconds = i32::try_from(grace.as_millis().div_ceil(1_000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        self.call("stop a container", grace.saturating_add(MAKE), self.docker.stop_container(id, Some(options))).await
    }

    /// Removes a container with its anonymous volumes, running or not. One that is gone is fine.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.call("remove a container", MAKE, self.docker.remove_container(id, Some(options))).await {
            Err(error) if error.is_missing() => Ok(()),
            // Somebody else is at it: it is gone when it is gone.
            Err(error) if error.is_conflict() => self.await_removal(id, error).await,
            other => other,
        }
    }

    async fn await_removal(&self, id: &str, error: Error) -> Result<(), Error> {
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            match self.inspect(id).await {
                Err(error) if error.is_missing() => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Err(error)
    }

    /// Describes an image.
    pub async fn image(&self, reference: &str) -> Result<ImageInspect, Error> {
        self.call("describe an image", LOOK, self.docker.inspect_image(reference)).await
    }

    /// Pulls an image; `reference` has a tag or a digest.
    pub async fn pull(&self, reference: &str) -> Result<(), Error> {
        let options = CreateImageOptionsBuilder::default().from_image(reference).build();
        self.drain(self.docker.create_image(Some(options), None, None)).await
    }

    /// Makes an image of a root file system in a tar archive.
    pub async fn import(&self, repository: &str, tag: &str, archive: Vec<u8>) -> Result<(), Error> {
        let options = CreateImageOptionsBuilder::default().from_src("-").repo(repository).tag(tag).build();
        self.drain(self.docker.create_image(Some(options), Some(bollard::body_full(archive.into())), None)).await
    }

    /// Reads progress until there is none: an image is there only when the stream has ended without an error.
    async fn drain<T>(&self, stream: impl Stream<Item = Result<T, bollard::errors::Error>>) -> Result<(), Error> {
        let mut stream = std::pin::pin!(stream);
        loop {
            match tokio::time::timeout(PULL_IDLE, stream.next()).await {
                Ok(None) => return Ok(()),
                Ok(Some(Ok(_))) => {}
                Ok(Some(Err(error))) => return Err(Error::sort(&self.socket, error)),
                Err(_) => return Err(Error::Late { what: "go on with an image", limit: PULL_IDLE }),
            }
        }
    }

    /// Opens a container's log.
    pub fn logs(&self, id: &str, options: LogsOptions) -> BoxStream<'static, Result<bytes::Bytes, Error>> {
        let socket = self.socket.clone();
        let pieces = self.docker.logs(id, Some(options));
        pieces.map(move |piece| piece.map(|p| p.into_bytes()).map_err(|e| Error::sort(&socket, e))).boxed()
    }

    /// Runs a command in a container; returns its exit code and at most `most` bytes of what it wrote.
    pub async fn exec(&self, container: &str, command: &[String], most: usize) -> Result<(i64, Vec<u8>), Error> {
        use bollard::exec::{CreateExecOptions, StartExecResults};
        let options = CreateExecOptions {
            cmd: Some(command.to_vec()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..Default::default()
        };
        let exec = self.call("prepare a command", LOOK, self.docker.create_exec(container, options)).await?;
        let started = self.call("run a command", MAKE, self.docker.start_exec(&exec.id, None)).await?;
        let mut written = Vec::new();
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(piece) = output.next().await {
                let piece = piece.map_err(|e| Error::sort(&self.socket, e))?.into_bytes();
                let room = most.saturating_sub(written.len());
                written.extend_from_slice(&piece[..piece.len().min(room)]);
            }
        }
        let ended = self.call("tell how a command ended", LOOK, self.docker.inspect_exec(&exec.id)).await?;
        let code = ended.exit_code.ok_or_else(|| Error::Nonsense("a command ended without an exit code".into()))?;
        Ok((code, written))
    }

    /// Prepares a command in a container, with these streams; returns its id.
    pub async fn prepare(&self, container: &str, command: Vec<String>, streams: Streams) -> Result<String, Error> {
        let options = bollard::exec::CreateExecOptions {
            cmd: Some(command),
            attach_stdin: Some(streams.stdin),
            attach_stdout: Some(streams.stdout),
            attach_stderr: Some(streams.stderr),
            tty: Some(streams.tty),
            ..Default::default()
        };
        Ok(self.call("prepare a command", LOOK, self.docker.create_exec(container, options)).await?.id)
    }

    /// Starts a prepared command; the stream is its input and output.
    pub async fn run_prepared(&self, id: &str, tty: bool) -> Result<UnixStream, Error> {
        let body = serde_json::json!({"Detach": false, "Tty": tty}).to_string();
        self.hijack("run a command", &format!("/exec/{id}/start"), body).await
    }

    /// Connects to a container's first process.
    pub async fn attach(&self, container: &str, streams: Streams) -> Result<UnixStream, Error> {
        let Streams { stdin, stdout, stderr, .. } = streams;
        let path =
            format!("/containers/{container}/attach?stream=1&stdin={stdin}&stdout={stdout}&stderr={stderr}&logs=0");
        self.hijack("attach", &path, String::new()).await
    }

    async fn hijack(&self, what: &'static str, path: &str, body: String) -> Result<UnixStream, Error> {
        match tokio::time::timeout(MAKE, hijack::open(&self.socket, path, body)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Late { what, limit: MAKE }),
        }
    }

    /// Tells how a command ended; `None` while it runs.
    pub async fn exit_code(&self, id: &str) -> Result<Option<i64>, Error> {
        let found = self.call("tell how a command ended", LOOK, self.docker.inspect_exec(id)).await?;
        Ok(found.exit_code)
    }

    /// Sets the size of a command's terminal, in characters.
    pub async fn resize_command(&self, id: &str, columns: u16, rows: u16) -> Result<(), Error> {
        let size = bollard::exec::ResizeExecOptions { height: rows, width: columns };
        self.call("resize a terminal", LOOK, self.docker.resize_exec(id, size)).await
    }

    /// Sets the size of the terminal of a container's first process, in characters.
    pub async fn resize(&self, container: &str, columns: u16, rows: u16) -> Result<(), Error> {
        let size = ResizeContainerTTYOptionsBuilder::default().h(rows.into()).w(columns.into()).build();
        self.call("resize a terminal", LOOK, self.docker.resize_container_tty(container, size)).await
    }

    async fn call<T>(
        &self,
        what: &'static str,
        limit: Duration,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result.map_err(|e| Error::sort(&self.socket, e)),
            Err(_) => Err(Error::Late { what, limit }),
        }
    }
}
