//! Containers: started, stopped, removed, and how they ended.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, Mount};

use crate::kubelet::action::{ContainerSpec, Exit, PodEvent, PodRef, labels};

use super::client::Client;
use super::error::Error;
use super::{Engine, blocking, body, mounts, now, wall, worker};

/// A container that did not start: whether it was made, and why.
struct Failed {
    created: bool,
    error: Error,
}

/// How often a name that an earlier try has left taken is tried again, and how long to wait in between.
pub(super) const NAME_TRIES: u32 = 40;
pub(super) const NAME_PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self { created: false, error }
    }
}

impl Engine {
    /// Makes and starts a container, or finds it running, and reports that. One that ends at once is reported to have
    /// started first.
    pub(super) async fn start_container(&self, pod: &PodRef, spec: ContainerSpec) {
        let (name, attempt) = (spec.name.clone(), spec.attempt);
        let started = self.launch(pod, spec).await;
        let (id, found) = match started {
            Ok(started) => started,
            Err(Failed { created, error }) => {
                self.settle(pod);
                self.doubt(&error);
                let message = error.to_string();
                return self.report(pod, PodEvent::ContainerFailed { name, attempt, created, message }).await;
            }
        };
        let started = wall(state_of(&found).started_at.as_deref());
        let image_id = found.image.clone().unwrap_or_default();
        self.report(pod, PodEvent::ContainerStarted { name, attempt, id: id.clone(), image_id, started }).await;
        let died_early = self.settle(pod);
        if died_early || !is_running(&found) {
            self.report_exit(pod, &id).await;
        }
    }

    /// From now on the end of what was started is reported when it comes; returns whether it has come already.
    fn settle(&self, pod: &PodRef) -> bool {
        self.with_pod(pod.uid, |known| {
            known.starting = None;
            std::mem::take(&mut known.died_early)
        })
    }

    async fn launch(&self, pod: &PodRef, spec: ContainerSpec) -> Result<(String, ContainerInspectResponse), Failed> {
        let client = self.client()?;
        let sandbox = self.with_pod(pod.uid, |known| known.sandbox.clone());
        let sandbox = sandbox.ok_or_else(|| Error::Files("the pod has no sandbox".into()))?;
        let mounts = self.mounts(pod, &spec).await?;
        let name = body::container_name(pod, &spec.name, spec.attempt);
        let body = self.found(pod, spec.held, body::container(&self.config.node, pod, &spec, &sandbox, mounts));

        let _permit = self.starts.acquire().await.expect("nobody closes the semaphore");
        let mut tries = NAME_TRIES;
        let made = loop {
            match self.create(&client, pod, &name, body.clone()).await {
                Err(error) if error.is_conflict() && tries > 0 => {
                    if let Some(found) = self.adopt_or_clear(&client, pod, &name, &spec, &sandbox).await? {
                        return Ok(found);
                    }
                    // Docker keeps a name taken before it shows, and after it has removed, the container.
                    tries -= 1;
                    tokio::time::sleep(NAME_PAUSE).await;
                }
                other => break other?,
            }
        };
        let started = self.start(&client, pod, &name, made, body).await;
        let id = started.map_err(|error| Failed { created: true, error })?;
        let found = client.inspect(&id).await?;
        Ok((id, found))
    }

    /// Looks at what has the name of an attempt: the same one, running in this sandbox, is the one that was asked for;
    /// anything else is half-made or over, and goes.
    async fn adopt_or_clear(
        &self,
        client: &Client,
        pod: &PodRef,
        name: &str,
        spec: &ContainerSpec,
        sandbox: &str,
    ) -> Result<Option<(String, ContainerInspectResponse)>, Error> {
        let found = match client.inspect(name).await {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        };
        let joined = found.host_config.as_ref().and_then(|h| h.network_mode.as_deref());
        let same = label_of(&found, labels::HASH) == Some(&spec.hash)
            && label_of(&found, labels::NODE) == Some(&self.config.node)
            && joined.and_then(|mode| mode.strip_prefix("container:")) == Some(sandbox);
        let id = found.id.clone().unwrap_or_else(|| name.to_owned());
        if same && is_running(&found) {
            return Ok(Some((id, found)));
        }
        self.remove(client, pod, &id).await?;
        Ok(None)
    }

    async fn mounts(&self, pod: &PodRef, spec: &ContainerSpec) -> Result<Vec<Mount>, Error> {
        let (folder, spec) = (self.folder(pod.uid), spec.clone());
        blocking(move || {
            let mut binds = Vec::new();
            for (index, mount) in spec.mounts.iter().enumerate() {
                let mut source = folder.volume(&mount.volume)?;
                if !mount.sub_path.is_empty() {
                    let place = folder.parts(&spec.name).join(index.to_string());
                    mounts::mount_part(&source, &mount.sub_path, &place)?;
                    source = place;
                }
                binds.push(body::bind(&source, &mount.path, mount.read_only));
            }
            let is_free = |path: &str| !path.is_empty() && !spec.mounts.iter().any(|m| m.path == path);
            if is_free("/etc/hosts") {
                binds.push(body::bind(&folder.hosts(), "/etc/hosts", false));
            }
            let message = folder.make_message(&spec.name, spec.attempt)?;
            if is_free(&spec.termination_message_path) {
                binds.push(body::bind(&message, &spec.termination_message_path, false));
            }
            Ok(binds)
        })
        .await
    }

    pub(super) async fn create(
        &self,
        client: &Client,
        pod: &PodRef,
        name: &str,
        mut body: ContainerCreateBody,
    ) -> Result<String, Error> {
        if self.oom_score_floor.load(Ordering::Relaxed) {
            raise_oom_score(&mut body);
        }
        let id = client.create(name, body).await?;
        self.with_pod(pod.uid, |known| known.own.insert(id.clone()));
        Ok(id)
    }

    /// Removes a container for good: that it vanishes is no news.
    pub(super) async fn remove(&self, client: &Client, pod: &PodRef, id: &str) -> Result<(), Error> {
        self.with_pod(pod.uid, |known| known.own.remove(id));
        client.remove(id).await
    }

    /// Starts a container that was made from `body`; returns its id. One that does not start is removed. A daemon
    /// without the right to lower oom scores fails without saying so: then the container is made again with none, and
    /// that is remembered. From now on until the pod is settled the container's end is held back.
    pub(super) async fn start(
        &self,
        client: &Client,
        pod: &PodRef,
        name: &str,
        made: String,
        mut body: ContainerCreateBody,
    ) -> Result<String, Error> {
        let known = self.oom_score_floor.load(Ordering::Relaxed);
        let first = match self.start_or_remove(client, pod, made).await {
            Err(error @ Error::Refused { .. }) if !known && raise_oom_score(&mut body) => error,
            other => return other,
        };
        let again = self.create(client, pod, name, body).await?;
        let id = self.start_or_remove(client, pod, again).await.map_err(|_| first)?;
        self.oom_score_floor.store(true, Ordering::Relaxed);
        tracing::warn!("Docker may not lower oom scores here: pods are not preferred when memory runs out");
        Ok(id)
    }

    async fn start_or_remove(&self, client: &Client, pod: &PodRef, id: String) -> Result<String, Error> {
        self.with_pod(pod.uid, |known| {
            known.starting = Some(id.clone());
            known.died_early = false;
        });
        match client.start(&id).await {
            Ok(()) => Ok(id),
            Err(error) => {
                let _ = self.remove(client, pod, &id).await;
                Err(error)
            }
        }
    }

    /// Stops a container and tells how it ended. Does not return before it has.
    pub(super) async fn stop_container(&self, pod: &PodRef, id: String, name: String, grace: Duration) -> PodEvent {
        worker::persist("stop a container", pod, || async {
            let client = self.client()?;
            let gone = || PodEvent::ContainerExited { name: name.clone(), id: id.clone(), exit: lost() };
            match client.stop(&id, grace).await {
                Err(error) if error.is_missing() => return Ok(gone()),
                other => other?,
            }
            let found = match client.inspect(&id).await {
                Err(error) if error.is_missing() => return Ok(gone()),
                other => other?,
            };
            let exited = self.exit_event(pod, &id, &found).await;
            exited.ok_or_else(|| Error::Nonsense("a container runs after it was stopped".into()))
        })
        .await
    }

    /// Removes a container and what it left. Does not return before it has succeeded.
    pub(super) async fn remove_container(&self, pod: &PodRef, id: String) -> PodEvent {
        worker::persist("remove a container", pod, || async {
            let client = self.client()?;
            if let Ok(found) = client.inspect(&id).await {
                let (folder, attempt) = (self.folder(pod.uid), attempt_of(&found));
                let name = label_of(&found, labels::CONTAINER_NAME).unwrap_or_default().to_owned();
                blocking(move || {
                    folder.forget_message(&name, attempt);
                    Ok(())
                })
                .await?;
            }
            self.remove(&client, pod, &id).await
        })
        .await;
        PodEvent::ContainerRemoved { id }
    }

    /// Looks how a container ended, and reports it.
    pub(super) async fn report_exit(&self, pod: &PodRef, id: &str) {
        let found = match self.client() {
            Ok(client) => client.inspect(id).await,
            Err(error) => Err(error),
        };
        match found {
            Ok(found) => {
                if let Some(event) = self.exit_event(pod, id, &found).await {
                    self.report(pod, event).await;
                }
            }
            // Removed by somebody, or the daemon is gone: a list will say what is there.
            Err(_) => self.doubtful.store(true, Ordering::Relaxed),
        }
    }

    /// Tells how a container ended; `None` while it runs.
    pub(super) async fn exit_event(
        &self,
        pod: &PodRef,
        id: &str,
        found: &ContainerInspectResponse,
    ) -> Option<PodEvent> {
        if is_running(found) {
            return None;
        }
        let name = label_of(found, labels::CONTAINER_NAME)?.to_owned();
        let exit = self.exit(pod, found).await;
        self.with_pod(pod.uid, |known| known.ended.insert(id.to_owned()));
        Some(PodEvent::ContainerExited { name, id: id.to_owned(), exit })
    }

    pub(super) async fn exit(&self, pod: &PodRef, found: &ContainerInspectResponse) -> Exit {
        let (folder, attempt) = (self.folder(pod.uid), attempt_of(found));
        let name = label_of(found, labels::CONTAINER_NAME).unwrap_or_default().to_owned();
        let message = blocking(move || Ok(folder.read_message(&name, attempt))).await.unwrap_or_default();
        let state = state_of(found);
        let started = wall(state.started_at.as_deref());
        Exit {
            code: state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(-1),
            oom: state.oom_killed.unwrap_or_default(),
            started,
            // Docker notes the start of a short run after its end.
            finished: wall(state.finished_at.as_deref()).max(started),
            message: if message.is_empty() { state.error.unwrap_or_default() } else { message },
        }
    }
}

/// Takes a lowered oom score out; returns whether there was one.
fn raise_oom_score(body: &mut ContainerCreateBody) -> bool {
    let score = body.host_config.as_mut().map(|host| &mut host.oom_score_adj);
    score.is_some_and(|score| score.take_if(|s| *s < 0).is_some())
}

/// How a container ended that is not there any more.
fn lost() -> Exit {
    let message = "The container could not be located when it was stopped".into();
    Exit { code: 137, finished: now(), message, ..Exit::default() }
}

pub(super) fn is_running(found: &ContainerInspectResponse) -> bool {
    found.state.as_ref().and_then(|s| s.running).unwrap_or_default()
}

pub(super) fn state_of(found: &ContainerInspectResponse) -> bollard::models::ContainerState {
    found.state.clone().unwrap_or_default()
}

pub(super) fn label_of<'a>(found: &'a ContainerInspectResponse, name: &str) -> Option<&'a str> {
    found.config.as_ref()?.labels.as_ref()?.get(name).map(String::as_str)
}

pub(super) fn attempt_of(found: &ContainerInspectResponse) -> u32 {
    label_of(found, labels::ATTEMPT).and_then(|a| a.parse().ok()).unwrap_or_default()
}
