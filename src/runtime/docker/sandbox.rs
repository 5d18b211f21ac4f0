//! Sandboxes: made, found again, removed with all that is in them.

use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum};
use futures_util::future::join_all;

use crate::kubelet::action::{ListedSandbox, PodEvent, PodRef, SandboxSpec, labels};

use super::client::Client;
use super::container::{NAME_PAUSE, NAME_TRIES};
use super::container::{is_running, label_of, state_of};
use super::error::Error;
use super::{Engine, blocking, body, images, wall, worker};

impl Engine {
    /// Makes a pod's sandbox, or finds it.
    pub(super) async fn create_sandbox(&self, pod: &PodRef, spec: SandboxSpec) -> PodEvent {
        match self.make_sandbox(pod, spec).await {
            Ok(sandbox) => PodEvent::SandboxReady(sandbox),
            Err(error) => {
                self.doubt(&error);
                PodEvent::SandboxFailed { message: error.to_string() }
            }
        }
    }

    async fn make_sandbox(&self, pod: &PodRef, spec: SandboxSpec) -> Result<ListedSandbox, Error> {
        let client = self.client()?;
        let (folder, files) = (self.folder(pod.uid), spec.clone());
        let labels = self.labels_of(pod);
        let (prepared, there) = tokio::join!(blocking(move || folder.prepare(&files)), client.list(&labels));
        prepared?;
        if let Some(found) = self.find_or_clear(&client, pod, &spec, there?).await? {
            return Ok(found);
        }
        if spec.address.is_some() {
            self.ensure_network().await?;
        }
        let id = self.launch_sandbox(&client, pod, &spec).await?;
        let connected = self.connect_sandbox(&client, pod, &spec, &id).await;
        let result = self.with_pod(pod.uid, |known| {
            known.starting = None;
            if std::mem::take(&mut known.died_early) {
                return Err(Error::Nonsense("the sandbox died as soon as it was made".into()));
            }
            known.sandbox = connected.is_ok().then(|| id.clone());
            connected
        });
        if result.is_err() {
            // A half-made one would be taken away by the next try as well; sooner is tidier.
            let _ = self.remove(&client, pod, &id).await;
        }
        result
    }

    /// Returns the pod's sandbox if it is alive and complete; else takes away what is left of it, and stops what still
    /// runs in it without a network.
    async fn find_or_clear(
        &self,
        client: &Client,
        pod: &PodRef,
        spec: &SandboxSpec,
        there: Vec<ContainerSummary>,
    ) -> Result<Option<ListedSandbox>, Error> {
        if there.is_empty() {
            return Ok(None);
        }
        let (sandboxes, containers): (Vec<_>, Vec<_>) = there.into_iter().partition(is_sandbox);
        for id in sandboxes.into_iter().filter_map(|s| s.id) {
            // Not by the list's word: Docker's lists lag behind its events.
            match client.inspect(&id).await {
                Ok(found) if self.is_complete(pod, spec, &found).await? => {
                    self.with_pod(pod.uid, |known| known.sandbox = Some(id.clone()));
                    let started = wall(state_of(&found).started_at.as_deref());
                    return Ok(Some(ListedSandbox { id, address: spec.address, started }));
                }
                Err(error) if !error.is_missing() => return Err(error),
                _ => {}
            }
            // What dies now is no news: it is dead to the kubelet already.
            self.with_pod(pod.uid, |known| known.sandbox = None);
            self.remove(client, pod, &id).await?;
        }
        let orphans = containers.iter().filter(|c| seems_to_run(c)).filter_map(|c| c.id.as_deref());
        join_all(orphans.map(|id| client.stop(id, Duration::ZERO))).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(None)
    }

    async fn is_complete(
        &self,
        pod: &PodRef,
        spec: &SandboxSpec,
        found: &ContainerInspectResponse,
    ) -> Result<bool, Error> {
        let address = spec.address.map(|a| a.to_string());
        if !is_running(found) || label_of(found, labels::ADDRESS) != address.as_deref() {
            return Ok(false);
        }
        Ok(address.is_none() || self.network.ports().await?.has(pod.uid))
    }

    async fn launch_sandbox(&self, client: &Client, pod: &PodRef, spec: &SandboxSpec) -> Result<String, Error> {
        let name = body::sandbox_name(pod);
        let body = self.found(pod, spec.held, body::sandbox(&self.config.node, pod, spec, &images::pause()));
        let _permit = self.starts.acquire().await.expect("nobody closes the semaphore");
        let mut tries = NAME_TRIES;
        let made = loop {
            match self.create(client, pod, &name, body.clone()).await {
                Err(error) if error.is_missing() && tries == NAME_TRIES => {
                    images::import_pause(client).await?;
                    tries -= 1;
                }
                // Not listed by its labels, so it is nobody's: a create that was cut off.
                Err(error) if error.is_conflict() && tries > 0 => {
                    client.remove(&name).await?;
                    tries -= 1;
                    tokio::time::sleep(NAME_PAUSE).await;
                }
                other => break other?,
            }
        };
        self.start(client, pod, &name, made, body).await
    }

    async fn connect_sandbox(
        &self,
        client: &Client,
        pod: &PodRef,
        spec: &SandboxSpec,
        id: &str,
    ) -> Result<ListedSandbox, Error> {
        let state = client.inspect(id).await?.state.unwrap_or_default();
        if let Some(address) = spec.address {
            let pid = state.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
            self.network.plug(pod.uid, pid, address).await?;
        }
        let started = wall(state.started_at.as_deref());
        Ok(ListedSandbox { id: id.to_owned(), address: spec.address, started })
    }

    /// Stops and removes all that is left of a pod. Does not return before it has succeeded.
    pub(super) async fn remove_pod(&self, pod: &PodRef, grace: Duration) {
        self.with_pod(pod.uid, |known| known.removing = true);
        worker::persist("remove a pod", pod, || self.try_remove_pod(pod, grace)).await;
    }

    async fn try_remove_pod(&self, pod: &PodRef, grace: Duration) -> Result<(), Error> {
        let client = self.client()?;
        let (sandboxes, containers): (Vec<_>, Vec<_>) =
            client.list(&self.labels_of(pod)).await?.into_iter().partition(is_sandbox);
        let running = containers.iter().filter(|c| seems_to_run(c));
        join_all(running.map(|container| self.stop_and_report(&client, pod, container, grace))).await;
        for group in [containers, sandboxes] {
            let ids = group.iter().filter_map(|c| c.id.as_deref());
            join_all(ids.map(|id| client.remove(id))).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        self.network.unplug(pod.uid).await?;
        let folder = self.folder(pod.uid);
        blocking(move || folder.delete()).await
    }

    /// Stops a container of a pod that goes. If that fails it is killed when it is removed.
    async fn stop_and_report(&self, client: &Client, pod: &PodRef, container: &ContainerSummary, grace: Duration) {
        let Some(id) = container.id.as_deref() else { return };
        if client.stop(id, grace).await.is_ok()
            && let Ok(found) = client.inspect(id).await
            && let Some(event) = self.exit_event(pod, id, &found).await
        {
            self.report(pod, event).await;
        }
    }

    pub(super) fn labels_of(&self, pod: &PodRef) -> [String; 2] {
        [body::node_label(&self.config.node), body::pod_label(pod)]
    }
}

fn label<'a>(container: &'a ContainerSummary, name: &str) -> Option<&'a str> {
    container.labels.as_ref()?.get(name).map(String::as_str)
}

fn is_sandbox(container: &ContainerSummary) -> bool {
    label(container, labels::TYPE) == Some(body::SANDBOX)
}

fn seems_to_run(container: &ContainerSummary) -> bool {
    use ContainerSummaryStateEnum as State;
    matches!(container.state, Some(State::RUNNING | State::PAUSED | State::RESTARTING | State::STOPPING))
}
