//! What is there of ours, put together from containers' labels.

use std::collections::BTreeMap;

use bollard::models::{ContainerInspectResponse, ContainerSummaryStateEnum};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::ids::Uid;
use crate::kubelet::action::{ContainerState, ListedContainer, ListedPod, ListedSandbox, PodRef, labels};

use super::client::Client;
use super::container::{attempt_of, is_running, label_of, state_of};
use super::error::Error;
use super::{Engine, body, wall};

/// How many containers are looked at at once.
const LOOKS: usize = 8;

/// Whether a container runs, as lists and events tell it: enough to see that an event was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Made, never started.
    Created,
    /// It runs.
    Running,
    /// It has ended.
    Exited,
}

/// The phases of all our containers by id.
pub type Phases = BTreeMap<String, Phase>;

impl Engine {
    /// Lists the phases of our containers: cheap, one call.
    pub(super) async fn phases(&self, client: &Client) -> Result<Phases, Error> {
        use ContainerSummaryStateEnum as State;
        let phase = |state| match state {
            Some(State::CREATED) => Phase::Created,
            Some(State::EXITED | State::DEAD | State::REMOVING) => Phase::Exited,
            _ => Phase::Running,
        };
        let listed = client.list(&[body::node_label(&self.config.node)]).await?;
        Ok(listed.into_iter().filter_map(|c| Some((c.id?, phase(c.state)))).collect())
    }

    /// Lists our pods in full.
    pub(super) async fn pods(&self, client: &Client, ids: Vec<String>) -> Result<Vec<ListedPod>, Error> {
        let looks = stream::iter(ids).map(|id| async move {
            match client.inspect(&id).await {
                // Gone since it was listed.
                Err(error) if error.is_missing() => Ok(None),
                other => other.map(Some),
            }
        });
        let found: Vec<_> = looks.buffered(LOOKS).try_collect().await?;
        let mut found: Vec<_> = found.into_iter().flatten().collect();
        found.sort_by_key(|c| wall(c.created.as_deref()));

        let mut pods: BTreeMap<Uid, ListedPod> = BTreeMap::new();
        for container in found {
            let Some(pod) = pod_of(&container) else {
                tracing::warn!(id = container.id, "a container carries our label but names no pod");
                continue;
            };
            let empty = ListedPod { pod: pod.clone(), sandbox: None, containers: Vec::new() };
            let entry = pods.entry(pod.uid).or_insert(empty);
            if label_of(&container, labels::TYPE) == Some(body::SANDBOX) {
                entry.sandbox = sandbox_of(&container).or(entry.sandbox.take());
            } else {
                entry.containers.extend(self.listed(&pod, &container).await);
            }
        }
        let mut pods: Vec<_> = pods.into_values().collect();
        self.drop_unplugged(&mut pods).await;
        Ok(pods)
    }

    async fn listed(&self, pod: &PodRef, found: &ContainerInspectResponse) -> Option<ListedContainer> {
        use bollard::models::ContainerStateStatusEnum as Status;
        let state = state_of(found);
        let state = if is_running(found) {
            ContainerState::Running { started: wall(state.started_at.as_deref()) }
        } else if state.status == Some(Status::CREATED) {
            ContainerState::Created
        } else {
            ContainerState::Exited(self.exit(pod, found).await)
        };
        Some(ListedContainer {
            id: found.id.clone()?,
            name: label_of(found, labels::CONTAINER_NAME)?.to_owned(),
            attempt: attempt_of(found),
            hash: label_of(found, labels::HASH).unwrap_or_default().to_owned(),
            image: found.config.as_ref().and_then(|c| c.image.clone()).unwrap_or_default(),
            image_id: found.image.clone().unwrap_or_default(),
            state,
        })
    }

    /// A sandbox whose network was never finished, or is gone, is as good as dead: the kubelet has it made again.
    async fn drop_unplugged(&self, pods: &mut [ListedPod]) {
        let with_address = |pod: &ListedPod| pod.sandbox.as_ref().is_some_and(|s| s.address.is_some());
        let uids: Vec<Uid> = pods.iter().filter(|p| with_address(p)).map(|p| p.pod.uid).collect();
        if uids.is_empty() {
            return;
        }
        let mended = self.network.mend(&uids).await;
        let ports = match (mended, self.network.ports().await) {
            (Ok(()), Ok(ports)) => ports,
            // What cannot be looked at is left alone.
            (Err(error), _) | (_, Err(error)) => return tracing::warn!(%error, "cannot look at the pods' network"),
        };
        for pod in pods.iter_mut().filter(|p| with_address(p)) {
            if !ports.has(pod.pod.uid) {
                pod.sandbox = None;
            }
        }
    }
}

fn sandbox_of(found: &ContainerInspectResponse) -> Option<ListedSandbox> {
    if !is_running(found) {
        return None;
    }
    let address = label_of(found, labels::ADDRESS).and_then(|a| a.parse().ok());
    let started = wall(state_of(found).started_at.as_deref());
    Some(ListedSandbox { id: found.id.clone()?, address, started })
}

fn pod_of(found: &ContainerInspectResponse) -> Option<PodRef> {
    pod_from(|name| label_of(found, name))
}

/// Reads which pod a container belongs to from its labels.
pub fn pod_from<'a>(label: impl Fn(&str) -> Option<&'a str>) -> Option<PodRef> {
    Some(PodRef {
        namespace: label(labels::POD_NAMESPACE)?.to_owned(),
        name: label(labels::POD_NAME)?.to_owned(),
        uid: label(labels::POD_UID)?.parse().ok()?,
    })
}
