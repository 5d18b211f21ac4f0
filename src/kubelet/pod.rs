//! One pod on this node: what is asked for, what is there, and the one step that is under way between them.
//!
//! ```text
//! volumes resolved -> sandbox -> init containers in order -> containers    (decide.rs)
//!        ^________________|  the sandbox died
//! deleted, or gone from the view: hooks -> stop -> removed -> finished     (teardown.rs)
//! ```
//! Facts come in through `observe.rs`; `status.rs` words them for the API.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use serde_json::Value;

use crate::ids::Revision;
use crate::object::{Key, Note, NoteType, hold, kinds};
use crate::store::{Entry, Snapshot};
use crate::time::{Mono, Now, Wall};

use super::action::{Action, Exit, ListedSandbox, PodRef, Step, VolumeSpec};
use super::address::Addresses;
use super::admission::Refusal;
use super::conditions::Transitions;
use super::ephemeral;
use super::fields::Subject;
use super::resources::Capacity;
use super::restart::{Policy, Retry};
use super::slot::{List, Slot};
use super::teardown::Teardown;
use super::tokens::Tokens;
use super::volumes::references;
use super::{Config, Output};

/// After this time without an answer a step is taken for lost, against the runtime's promise.
const LOST: Duration = Duration::from_secs(600);

/// What a pod may use while it decides.
pub(super) struct Context<'a> {
    pub now: Now,
    /// Whether the runtime answers.
    pub up: bool,
    pub view: &'a Snapshot,
    pub config: &'a Config,
    pub capacity: Capacity,
    pub addresses: &'a mut Addresses,
    pub out: &'a mut Vec<Output>,
}

/// A pod on this node.
#[derive(Debug)]
pub(super) struct Worker {
    pub pod: PodRef,
    pub key: Key,
    /// The object in the view; `None` once it is gone from there.
    pub object: Option<Arc<Pod>>,
    revision: Option<Revision>,
    /// What the configMaps and secrets that it names looked like when they were looked at last.
    references: BTreeMap<Key, Option<Revision>>,
    /// Init containers in order, then containers, then ephemeral ones.
    pub slots: Vec<Slot>,
    pub sandbox: Option<ListedSandbox>,
    pub address: Option<Ipv4Addr>,
    /// Whether the runtime may have something of it.
    pub touched: bool,
    pub under_way: Option<UnderWay>,
    /// A container that ended before the answer that it had started.
    pub early: Option<(String, Exit)>,
    pub volumes: Volumes,
    pub sandbox_retry: Retry,
    pub teardown: Option<Teardown>,
    /// The status in the view when the pod was seen first: what an earlier agent knew.
    pub seed: Option<PodStatus>,
    /// When an agent first saw to the pod.
    pub start_time: Option<Wall>,
    pub transitions: Transitions,
    /// Reason and message for which the pod has failed as a whole.
    pub verdict: Option<(&'static str, String)>,
    /// The pod has ended for good, and its status with it.
    pub over: bool,
    /// Whether the node has found room for it.
    pub admitted: bool,
    /// What it holds, if it must never run twice.
    pub slot: Option<hold::Slot>,
    /// Whether what it holds is known: not of one that only the runtime remembers.
    pub known: bool,
    /// Whether it needs a run-lease for that.
    pub leased: bool,
    /// Until when it may run.
    pub lease: Option<Mono>,
    pub shown: Option<Value>,
    pub shown_at: Mono,
    /// Something changed since the last look.
    pub dirty: bool,
    /// When to look again in any case.
    pub due: Option<Mono>,
}

/// A step that waits for its answer.
#[derive(Clone, Debug)]
pub(super) struct UnderWay {
    pub doing: Doing,
    /// When it is taken for lost.
    until: Mono,
}

/// Which step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Doing {
    Sandbox,
    Image { container: String, image: String },
    Start { container: String, attempt: u32, hash: String },
    Stop { id: String, deadline: Mono },
    RemoveContainer { id: String },
    Volumes(Vec<VolumeSpec>),
    RemovePod { deadline: Mono },
}

/// What is known about the pod's volumes.
#[derive(Debug, Default)]
pub(super) struct Volumes {
    /// As they are on disk; `None` if an earlier agent wrote them.
    pub written: Option<Vec<VolumeSpec>>,
    /// Something that they are made of has changed.
    pub stale: bool,
    /// The tokens in them.
    pub tokens: Tokens,
}

impl Worker {
    /// Makes the worker of a pod of which nothing is known yet.
    pub fn new(pod: PodRef) -> Self {
        Self {
            key: Key::new(&kinds::POD, pod.namespace.as_str(), pod.name.as_str()),
            pod,
            object: None,
            revision: None,
            references: BTreeMap::new(),
            slots: Vec::new(),
            sandbox: None,
            address: None,
            touched: false,
            under_way: None,
            early: None,
            volumes: Volumes::default(),
            sandbox_retry: Retry::new(Duration::from_secs(2), Duration::from_secs(60)),
            teardown: None,
            seed: None,
            start_time: None,
            transitions: Transitions::default(),
            verdict: None,
            over: false,
            admitted: false,
            slot: None,
            known: false,
            leased: false,
            lease: None,
            shown: None,
            shown_at: Mono::default(),
            dirty: true,
            due: None,
        }
    }

    /// Looks at the pod's entry in the view.
    pub fn look(&mut self, now: Now, view: &Snapshot, entry: &Entry) {
        if self.revision != Some(entry.revision) {
            self.revision = Some(entry.revision);
            if !self.known {
                self.learn_slot(&entry.value());
            }
            if let Some(pod) = entry.typed::<Pod>() {
                self.take(now, view, pod);
            }
        }
        let mut changed = false;
        for (key, revision) in &mut self.references {
            let found = view.get(key).map(|e| e.revision);
            changed |= std::mem::replace(revision, found) != found;
        }
        if changed {
            self.dirty = true;
            self.volumes.stale = true;
            self.sandbox_retry.hurry();
            // What could not be made for lack of one of these is worth a try at once.
            self.slots.iter_mut().filter(|s| s.problem.is_some()).for_each(|s| s.retry.hurry());
        }
    }

    fn take(&mut self, now: Now, view: &Snapshot, pod: Pod) {
        let first = self.object.is_none();
        let status = pod.status.clone().unwrap_or_default();
        if first {
            self.seed(status.clone());
        }
        self.check_shown(now, &status);
        let before = self.object.take();
        let same = before.as_ref().is_some_and(|old| old.spec == pod.spec && same_metadata(old, &pod));
        if !same {
            self.dirty = true;
            self.volumes.stale = true;
            self.arrange(pod.spec.as_ref());
            self.references =
                references(&pod).into_iter().map(|k| (k.clone(), view.get(&k).map(|e| e.revision))).collect();
        }
        let conditions = |p: &Pod| p.status.as_ref().and_then(|s| s.conditions.clone());
        self.dirty |= before.is_some_and(|old| conditions(&old) != conditions(&pod));
        let terminating = pod.metadata.deletion_timestamp.is_some();
        self.object = Some(Arc::new(pod));
        if terminating {
            self.begin_teardown(now, first);
        } else {
            self.teardown = None;
        }
    }

    fn seed(&mut self, status: PodStatus) {
        self.transitions = Transitions::of(&status);
        if status.phase.is_some() {
            self.shown = serde_json::to_value(&status).ok();
        }
        self.over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        self.seed = Some(status);
    }

    /// Writes the status again if the view, long after, still shows another: a write may get lost.
    fn check_shown(&mut self, now: Now, status: &PodStatus) {
        const SETTLED: Duration = Duration::from_secs(10);
        let settled = now.mono.since(self.shown_at) > SETTLED;
        if self.shown_at != Mono::default() && settled && serde_json::to_value(status).ok() != self.shown {
            self.shown = None;
            self.dirty = true;
        }
    }

    /// Makes the slots fit the manifest.
    fn arrange(&mut self, spec: Option<&PodSpec>) {
        let Some(spec) = spec else { return };
        let init = spec.init_containers.iter().flatten().map(|c| (c.clone(), List::Init));
        let main = spec.containers.iter().map(|c| (c.clone(), List::Main));
        let looking = spec.ephemeral_containers.iter().flatten().filter_map(ephemeral::as_container);
        let all = init.chain(main).chain(looking.map(|c| (c, List::Ephemeral)));
        let mut old = std::mem::take(&mut self.slots);
        for (container, list) in all {
            let known = old.iter().position(|s| s.name() == container.name).map(|i| old.remove(i));
            let mut slot = known.unwrap_or_else(|| Slot::new(container.clone(), list));
            slot.update(container);
            self.slots.push(slot);
        }
    }

    /// Notes that the pod is gone from the view.
    pub fn lose(&mut self, now: Now) {
        if self.object.is_some() || self.teardown.is_none() {
            self.object = None;
            self.revision = None;
            self.dirty = true;
            self.begin_teardown(now, false);
        }
    }

    /// Tells whether the worker has nothing left to do, for ever.
    pub fn is_done(&self) -> bool {
        self.object.is_none() && !self.touched && self.under_way.is_none()
    }

    pub fn spec(&self) -> Option<&PodSpec> {
        self.object.as_ref()?.spec.as_ref()
    }

    /// The pod's restart policy.
    pub fn policy(&self) -> Policy {
        Policy::of(self.spec().and_then(|s| s.restart_policy.as_deref()))
    }

    pub fn host_network(&self) -> bool {
        self.spec().and_then(|s| s.host_network).unwrap_or(false)
    }

    /// How long its containers may take to stop.
    pub fn grace(&self) -> Duration {
        let secs = self.spec().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        Duration::from_secs(u64::try_from(secs).unwrap_or(1).max(1))
    }

    /// Where probes find the pod.
    pub fn reached_at(&self, config: &Config) -> Ipv4Addr {
        if self.host_network() { config.host_address } else { self.address.unwrap_or(config.host_address) }
    }

    pub fn slot_mut(&mut self, name: &str) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|s| s.name() == name)
    }

    /// Takes the node's word on whether there is room for the pod. One that has begun here already is not asked.
    pub fn admit(&mut self, cx: &mut Context<'_>, refusal: Option<Refusal>) {
        let begun = self.touched || self.slots.iter().any(|s| s.run.is_some());
        match refusal.filter(|_| !begun) {
            None => self.admitted = true,
            Some((reason, message)) => {
                self.verdict = Some((reason, format!("Pod was rejected: {message}")));
                self.note(cx, NoteType::Warning, reason, message);
            }
        }
    }

    /// Decides and does what is due, and shows how things are.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        self.dirty = false;
        self.due = None;
        if self.under_way.as_ref().is_some_and(|u| u.until <= cx.now.mono) {
            self.under_way = None;
        }
        if self.teardown.is_some() {
            self.take_down(cx);
        } else {
            self.judge(cx);
            if self.under_way.is_none()
                && let Some((doing, step)) = self.decide(cx)
            {
                self.begin(cx, doing, step);
            }
            self.probe(cx);
        }
        self.publish(cx);
        if let Some(under_way) = &self.under_way {
            self.wake(under_way.until);
        }
    }

    /// Tells whether something of it runs, as far as is known, that is to go on running. Nothing does before the
    /// runtime has listed what is there.
    pub fn is_alive(&self) -> bool {
        self.teardown.is_none() && self.sandbox.is_some() && self.slots.iter().any(|s| s.running().is_some())
    }

    /// Looks after the pod while the runtime is away: probes that do without it go on, and what they say is shown. The
    /// list that comes when it is back has the rest looked at again.
    pub fn watch(&mut self, cx: &mut Context<'_>) {
        self.dirty = false;
        self.due = None;
        self.probe(cx);
        self.publish(cx);
    }

    /// Sends a step to the runtime.
    pub fn begin(&mut self, cx: &mut Context<'_>, doing: Doing, step: Step) {
        let patience = match &step {
            Step::StopContainer { grace, .. } | Step::RemovePod { grace } => *grace + LOST,
            // Nobody knows how long a download takes.
            Step::PullImage { .. } => LOST * 36,
            _ => LOST,
        };
        self.touched |= matches!(step, Step::CreateSandbox(_));
        self.under_way = Some(UnderWay { doing, until: cx.now.mono + patience });
        self.send(cx, step);
    }

    pub fn send(&self, cx: &mut Context<'_>, step: Step) {
        cx.out.push(Output::Act(Action { pod: self.pod.clone(), step }));
    }

    /// Tells whether the step under way is `doing`, and if so ends it.
    pub fn settle(&mut self, is: impl Fn(&Doing) -> bool) -> Option<Doing> {
        let under_way = self.under_way.take_if(|u| is(&u.doing))?;
        self.dirty = true;
        Some(under_way.doing)
    }

    /// Asks to be looked at again at `at`, or earlier.
    pub fn wake(&mut self, at: Mono) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Tells the user something about the pod.
    pub fn note(&self, cx: &mut Context<'_>, kind: NoteType, reason: &'static str, message: impl Into<String>) {
        self.tell(cx, String::new(), kind, reason, message.into());
    }

    /// Tells the user something about a container.
    pub fn note_on(
        &self,
        cx: &mut Context<'_>,
        container: &str,
        kind: NoteType,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let slot = self.slots.iter().find(|s| s.name() == container);
        self.tell(cx, slot.map(Slot::field_path).unwrap_or_default(), kind, reason, message.into());
    }

    fn tell(&self, cx: &mut Context<'_>, field_path: String, kind: NoteType, reason: &'static str, message: String) {
        let regarding = self.key.clone();
        let uid = self.pod.uid;
        cx.out.push(Output::Note(Note { regarding, uid, field_path, kind, reason, message, component: "kubelet" }));
    }

    /// Returns the pod as environment and volumes see it.
    pub fn subject<'a>(&self, cx: &Context<'a>, pod: &'a Pod) -> Subject<'a> {
        Subject {
            pod,
            node: &cx.config.node,
            pod_ip: Some(self.reached_at(cx.config)).filter(|_| self.sandbox.is_some()),
            host_ip: cx.config.host_address,
            capacity: cx.capacity,
        }
    }
}

/// Tells whether two versions of a pod are the same in what its volumes and its end depend on.
fn same_metadata(a: &Pod, b: &Pod) -> bool {
    let (a, b) = (&a.metadata, &b.metadata);
    a.labels == b.labels
        && a.annotations == b.annotations
        && a.deletion_timestamp == b.deletion_timestamp
        && a.deletion_grace_period_seconds == b.deletion_grace_period_seconds
}
