//! One worker task a pod: takes the pod's steps in order, and lives as long as there are any.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ids::Uid;
use crate::kubelet::action::{Action, ImageError, PodEvent, PodRef, Step};

use super::error::Error;
use super::{Engine, blocking, images, lock, probe};

/// What is known of a pod between its steps.
#[derive(Debug, Default)]
pub struct Pod {
    /// Steps to come. The kubelet never has more than one under way, so this stays short.
    queue: VecDeque<Action>,
    /// A worker is at it.
    pub busy: bool,
    /// It is on its way out: what dies is no news.
    pub removing: bool,
    /// Nothing is left of it.
    gone: bool,
    /// Containers that we know of: made by us, or listed. Others that appear, and any that vanish, are news.
    pub own: BTreeSet<String>,
    /// Containers whose end was reported.
    pub ended: BTreeSet<String>,
    /// The running sandbox.
    pub sandbox: Option<String>,
    /// The container or sandbox that is being started: its end is told after its start.
    pub starting: Option<String>,
    /// What is being started has died meanwhile.
    pub died_early: bool,
    /// Cuts a pull short.
    pulling: Option<CancellationToken>,
}

impl Pod {
    /// Nothing is left of it, but there may be steps to come.
    fn forget(&mut self) {
        let queue = std::mem::take(&mut self.queue);
        *self = Self { queue, busy: self.busy, gone: true, ..Self::default() };
    }
}

/// Queues an action and makes sure that somebody carries it out.
pub fn act(engine: &Arc<Engine>, action: Action) {
    if engine.shutdown.is_cancelled() {
        return;
    }
    let Action { pod, step } = action;
    if let Step::Probe(spec) = step {
        let task = probe::run(engine.clone(), pod, spec);
        spawn(engine, task);
        return;
    }
    let uid = pod.uid;
    let start = engine.with_pod(uid, |known| {
        if let (Step::RemovePod { .. }, Some(pull)) = (&step, &known.pulling) {
            pull.cancel();
        }
        known.queue.push_back(Action { pod, step });
        !std::mem::replace(&mut known.busy, true)
    });
    if start {
        spawn(engine, work(engine.clone(), uid));
    }
}

fn spawn(engine: &Arc<Engine>, task: impl Future<Output = ()> + Send + 'static) {
    let shutdown = engine.shutdown.clone();
    let until_shutdown = async move { shutdown.run_until_cancelled(task).await };
    engine.tasks.spawn_on(until_shutdown, &engine.executor);
}

async fn work(engine: Arc<Engine>, uid: Uid) {
    while let Some(Action { pod, step }) = next(&engine, uid) {
        tracing::debug!(pod = %format_args!("{}/{}", pod.namespace, pod.name), ?step, "carry out");
        perform(&engine, &pod, step).await;
    }
}

/// Takes the next step, or ends the worker's turn.
fn next(engine: &Engine, uid: Uid) -> Option<Action> {
    let mut pods = lock(&engine.pods);
    let pod = pods.get_mut(&uid)?;
    let action = pod.queue.pop_front();
    if action.is_none() {
        pod.busy = false;
        if pod.gone {
            pods.remove(&uid);
        }
    }
    action
}

async fn perform(engine: &Engine, pod: &PodRef, step: Step) {
    engine.with_pod(pod.uid, |known| known.gone = false);
    let event = match step {
        Step::CreateSandbox(spec) => engine.create_sandbox(pod, spec).await,
        Step::PullImage { image, always, never } => pull(engine, pod.uid, image, always, never).await,
        Step::StartContainer(spec) => return engine.start_container(pod, spec).await,
        Step::StopContainer { id, name, grace } => engine.stop_container(pod, id, name, grace).await,
        Step::RemoveContainer { id } => engine.remove_container(pod, id).await,
        Step::WriteVolumes(volumes) => {
            let folder = engine.folder(pod.uid);
            match blocking(move || folder.write_volumes(&volumes)).await {
                Ok(()) => PodEvent::VolumesWritten,
                Err(error) => PodEvent::SandboxFailed { message: error.to_string() },
            }
        }
        Step::RemovePod { grace } => {
            engine.remove_pod(pod, grace).await;
            engine.with_pod(pod.uid, Pod::forget);
            PodEvent::PodRemoved
        }
        // Probes run beside: `act` never queues one.
        Step::Probe(_) => return,
    };
    engine.report(pod, event).await;
}

async fn pull(engine: &Engine, uid: Uid, image: String, always: bool, never: bool) -> PodEvent {
    let cut = CancellationToken::new();
    engine.with_pod(uid, |known| known.pulling = Some(cut.clone()));
    let event = cut.run_until_cancelled(images::ensure(engine.client(), &image, always, never)).await;
    engine.with_pod(uid, |known| known.pulling = None);
    event.unwrap_or_else(|| {
        let message = "the pull was cut short: the pod goes".into();
        PodEvent::ImageFailed { image, kind: ImageError::PullFailed, message }
    })
}

/// Tries until it succeeds: for what has to be done in the end, whatever the daemon does meanwhile.
pub async fn persist<T, F>(what: &str, pod: &PodRef, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, Error>>,
{
    const LONGEST: Duration = Duration::from_secs(10);
    let mut wait = Duration::from_millis(250);
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => tracing::warn!(pod = %pod.name, namespace = %pod.namespace, %error, "cannot {what} yet"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST);
    }
}
