//! What the runtime says about a pod. Events may come twice, late, or for what is long gone: each is checked
//! against what is known before it counts.

use k8s_openapi::api::core::v1::ContainerStateTerminated;

use crate::object::NoteType::{Normal, Warning};
use crate::time::{Now, Wall};

use super::action::{Exit, ImageError, ListedSandbox, PodEvent};
use super::image::{go_duration, invalid_name, never_pull};
use super::pod::{Context, Doing, Worker};
use super::probes::Probes;
use super::slot::{self, Hook, Run, failed_run, mono_of};

/// The exit code of a container that was made but could not be started (containerd's `StartError`).
const START_ERROR: i32 = 128;

impl Worker {
    /// Takes one event.
    pub fn observe(&mut self, cx: &mut Context<'_>, event: PodEvent) {
        self.dirty = true;
        match event {
            PodEvent::SandboxReady(sandbox) => {
                if self.settle(|d| *d == Doing::Sandbox).is_some() {
                    self.sandbox_retry.succeed();
                    self.take_sandbox(cx, Some(&sandbox));
                }
            }
            PodEvent::SandboxFailed { message } => self.sandbox_failed(cx, &message),
            PodEvent::SandboxDied => {
                if self.sandbox.take().is_some() {
                    let message = "Pod sandbox changed, it will be killed and re-created.";
                    self.note(cx, Normal, "SandboxChanged", message);
                }
            }
            PodEvent::ImageReady { image, pulled_in, size, user, .. } => {
                let Some(name) = self.settle_image(&image) else { return };
                let message = match pulled_in.map(go_duration) {
                    Some(t) => {
                        format!(
                            "Successfully pulled image {image:?} in {t} ({t} including waiting). Image size: {size} bytes."
                        )
                    }
                    None => format!("Container image {image:?} already present on machine"),
                };
                self.note_on(cx, &name, Normal, "Pulled", message);
                if let Some(slot) = self.slot_mut(&name) {
                    slot.puller.ready(user);
                }
            }
            PodEvent::ImageFailed { image, kind, message } => self.image_failed(cx, &image, kind, &message),
            PodEvent::ContainerStarted { name, attempt, id, image_id, started } => {
                self.container_started(cx, &name, attempt, &id, image_id, started);
            }
            PodEvent::ContainerFailed { name, attempt, created, message } => {
                self.container_failed(cx, &name, attempt, created, &message);
            }
            PodEvent::ContainerExited { name, id, exit } => self.container_exited(cx, &name, &id, exit),
            PodEvent::ContainerRemoved { id } => self.container_removed(cx, &id),
            PodEvent::VolumesWritten => {
                if let Some(Doing::Volumes(volumes)) = self.settle(|d| matches!(d, Doing::Volumes(_))) {
                    self.volumes.written = Some(volumes);
                    self.sandbox_retry.succeed();
                }
            }
            PodEvent::Probed { id, ok, message } => self.probe_answered(cx, &id, ok, &message),
            PodEvent::PodRemoved => {
                if self.settle(|d| matches!(d, Doing::RemovePod { .. })).is_some() {
                    self.removed(cx);
                }
            }
        }
    }

    /// Notes which sandbox the pod has; what ran in another one is not in it.
    pub fn take_sandbox(&mut self, cx: &mut Context<'_>, sandbox: Option<&ListedSandbox>) {
        let id = |s: Option<&ListedSandbox>| s.map(|s| s.id.clone());
        if sandbox.is_some() && id(sandbox) != id(self.sandbox.as_ref()) {
            self.slots.iter_mut().filter_map(|s| s.run.as_mut()).for_each(|run| run.here = false);
        }
        if let Some(address) = sandbox.and_then(|s| s.address) {
            cx.addresses.hold(address, self.pod.uid);
            self.address = Some(address);
        }
        self.sandbox = sandbox.cloned();
    }

    fn sandbox_failed(&mut self, cx: &mut Context<'_>, message: &str) {
        if self.settle(|d| *d == Doing::Sandbox).is_some() {
            let message = format!("Failed to create pod sandbox: {message}");
            self.note(cx, Warning, "FailedCreatePodSandBox", message);
            self.sandbox_retry.fail(cx.now.mono);
        } else if self.settle(|d| matches!(d, Doing::Volumes(_))).is_some() {
            self.note(cx, Warning, "FailedMount", message);
            self.volumes.stale = true;
            self.sandbox_retry.fail(cx.now.mono);
        }
    }

    /// Ends the wait for an image, and returns for which container it was.
    fn settle_image(&mut self, image: &str) -> Option<String> {
        let doing = self.settle(|d| matches!(d, Doing::Image { image: asked, .. } if asked == image))?;
        let Doing::Image { container, .. } = doing else { return None };
        // The manifest may ask for another one by now.
        let slot = self.slot_mut(&container)?;
        (slot.container.image.as_deref() == Some(image)).then_some(container)
    }

    fn image_failed(&mut self, cx: &mut Context<'_>, image: &str, kind: ImageError, message: &str) {
        let Some(name) = self.settle_image(image) else { return };
        let Some(slot) = self.slots.iter_mut().find(|s| s.name() == name) else { return };
        if !slot.puller.failed(&slot.container, kind, message.to_owned(), cx.now.mono) {
            return;
        }
        let (reason, text, error) = match kind {
            ImageError::InvalidName => ("InspectFailed", invalid_name(image, message), "InvalidImageName"),
            ImageError::NeverPull => ("ErrImageNeverPull", never_pull(image), "ErrImageNeverPull"),
            ImageError::PullFailed => ("Failed", format!("Failed to pull image {image:?}: {message}"), "ErrImagePull"),
        };
        self.note_on(cx, &name, Warning, reason, text);
        self.note_on(cx, &name, Warning, "Failed", format!("Error: {error}"));
    }

    fn container_started(
        &mut self,
        cx: &mut Context<'_>,
        name: &str,
        attempt: u32,
        id: &str,
        image_id: String,
        started: Wall,
    ) {
        let asked =
            |d: &Doing| matches!(d, Doing::Start { container, attempt: a, .. } if container == name && *a == attempt);
        let settled = self.settle(asked);
        let early = self.early.take_if(|(early, _)| *early == id);
        let Some(i) = self.slots.iter().position(|s| s.name() == name) else { return };
        let slot = &mut self.slots[i];
        let known = slot.run.as_ref().is_some_and(|run| run.attempt >= attempt);
        if known || (settled.is_none() && self.sandbox.is_none()) {
            return;
        }
        let hash = match settled {
            Some(Doing::Start { hash, .. }) => hash,
            _ => slot.hash.clone(),
        };
        let since = mono_of(started, cx.now);
        let run = Run {
            id: id.to_owned(),
            attempt,
            hash,
            image: slot.container.image.clone().unwrap_or_default(),
            image_id,
            started,
            end: None,
            here: true,
            probes: Probes::begin(&slot.container, since, false, false),
            post_start: Hook::Idle,
            pre_stop: Hook::Idle,
        };
        slot.begin(run, cx.now);
        self.note_on(cx, name, Normal, "Created", format!("Created container: {name}"));
        self.note_on(cx, name, Normal, "Started", format!("Started container {name}"));
        match early {
            Some((_, exit)) => self.container_exited(cx, name, id, exit),
            None => self.post_start(cx, i),
        }
    }

    fn container_failed(&mut self, cx: &mut Context<'_>, name: &str, attempt: u32, created: bool, message: &str) {
        let asked =
            |d: &Doing| matches!(d, Doing::Start { container, attempt: a, .. } if container == name && *a == attempt);
        if self.settle(asked).is_none() {
            return;
        }
        let Some(slot) = self.slots.iter_mut().find(|s| s.name() == name) else { return };
        if slot.run.as_ref().is_some_and(|run| run.attempt >= attempt) {
            // It did start, as a list said since.
            return;
        }
        if created {
            let state = start_error(message, cx.now);
            let container = slot.container.clone();
            slot.begin(failed_run(&container, attempt, slot.hash.clone(), cx.now), cx.now);
            slot.end(state, cx.now.mono);
            slot.problem = Some(("RunContainerError", message.to_owned()));
            self.note_on(cx, name, Normal, "Created", format!("Created container: {name}"));
        } else {
            slot.problem = Some(("CreateContainerError", message.to_owned()));
            slot.retry.fail(cx.now.mono);
            slot.puller.forget();
        }
        self.note_on(cx, name, Warning, "Failed", format!("Error: {message}"));
    }

    fn container_exited(&mut self, cx: &mut Context<'_>, name: &str, id: &str, exit: Exit) {
        self.settle(|d| matches!(d, Doing::Stop { id: stopped, .. } if stopped == id));
        let starting = self
            .under_way
            .as_ref()
            .is_some_and(|u| matches!(&u.doing, Doing::Start { container, .. } if container == name));
        let Some(slot) = self.slot_mut(name) else { return };
        if slot.running().is_some_and(|run| run.id == id) {
            slot.end(slot::terminated(&exit, id), cx.now.mono);
        } else if starting && slot.run.as_ref().is_none_or(|run| run.id != id) {
            self.early = Some((id.to_owned(), exit));
        }
    }

    fn container_removed(&mut self, cx: &mut Context<'_>, id: &str) {
        self.settle(|d| matches!(d, Doing::RemoveContainer { id: removed } if removed == id));
        self.settle(|d| matches!(d, Doing::Stop { id: stopped, .. } if stopped == id));
        for slot in &mut self.slots {
            slot.removed(id);
            if slot.running().is_some_and(|run| run.id == id) {
                // Somebody else did.
                slot.end(slot::vanished(slot.run.as_ref()), cx.now.mono);
            }
        }
    }

    fn removed(&mut self, cx: &mut Context<'_>) {
        cx.addresses.release(self.pod.uid);
        self.sandbox = None;
        self.address = None;
        self.touched = false;
        self.early = None;
        self.volumes.written = None;
        for slot in &mut self.slots {
            slot.adopt(&[], false, cx.now);
        }
    }
}

fn start_error(message: &str, now: Now) -> ContainerStateTerminated {
    ContainerStateTerminated {
        exit_code: START_ERROR,
        finished_at: Some(now.wall.time()),
        message: Some(message.to_owned()),
        reason: Some("StartError".into()),
        started_at: Some(Wall::default().time()),
        ..ContainerStateTerminated::default()
    }
}
