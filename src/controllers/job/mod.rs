//! Runs a Job's pods to completion: as many at once as asked for, until enough have succeeded or too many have failed.
//!
//! What has ended must be counted once, and its pod may be deleted at any time. So every pod carries the finalizer
//! [`TRACKING`], as upstream's do, and is counted in three steps, each on a view that shows the one before:
//!
//! 1. the status names the pod's uid among those that are not counted yet;
//! 2. the pod loses its finalizer;
//! 3. the status counts it, and names it no more.
//!
//! A pod of a lost node is no attempt of which anything is known: it is replaced, and counted if its node is back and says
//! how it ended. A pod that outlives its Job is let go of by `pod_garbage`.
//!
//! Not here: success policies and limits for each index; a Job that asks for them is warned of.

mod attempts;
mod backoff;
mod create;
mod indexes;
mod policy;
mod verdict;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus, UncountedTerminatedPods};

use crate::object::{Key, NoteType, kinds};
use crate::store::{Change, DeleteOptions, Entry, Precondition, Propagation, Snapshot};
use crate::time::{Now, Wall};

use super::node::Nodes;
use super::{BURST, Plan, edit, note, owner};

use attempts::{Attempt, State};
use verdict::Verdict;

/// Who says what this controller has to say.
pub const COMPONENT: &str = "job-controller";
/// The finalizer of a pod that is not counted yet.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// The value of `managedBy` that means this controller.
const OURSELVES: &str = "kubernetes.io/job-controller";

/// A Job under reconciliation.
struct Sync<'a> {
    view: &'a Snapshot,
    entry: &'a Arc<Entry>,
    spec: &'a JobSpec,
    now: Now,
    attempts: Vec<Attempt>,
    /// As it is to become.
    status: JobStatus,
    /// Indexes that have succeeded; empty unless the Job is indexed.
    completed: BTreeSet<i32>,
    plan: Plan,
}

/// Brings the pods of the Job at `key` closer to what it asks for.
pub fn reconcile(view: &Snapshot, key: &Key, now: Now) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    let Some(job) = entry.typed::<Job>() else { return Plan::default() };
    let Some(spec) = &job.spec else { return Plan::default() };
    let Some(selector) = spec.selector.as_ref().and_then(owner::selector) else { return Plan::default() };
    if spec.managed_by.as_ref().is_some_and(|by| by != OURSELVES) {
        return Plan::default();
    }
    let claimed = owner::claim(view, entry, &selector, &kinds::POD, |_| true);
    let mut nodes = Nodes::new(view, now.wall);
    let mut plan = Plan { changes: claimed.changes, ..Plan::default() };
    let attempts = claimed.objects.into_iter().map(|pod| Attempt::of(pod, spec, &mut nodes, &mut plan)).collect();
    let status = job.status.clone().unwrap_or_default();
    let completed = indexes::read(status.completed_indexes.as_deref().unwrap_or_default());
    let mut sync = Sync { view, entry, spec, now, attempts, status, completed, plan };
    if verdict::is_over(&sync.status) {
        sync.clean_up();
    } else if entry.terminating {
        sync.release_all();
    } else {
        sync.advance();
        sync.write_status(&job);
    }
    sync.plan
}

impl Sync<'_> {
    fn is_indexed(&self) -> bool {
        self.spec.completion_mode.as_deref() == Some("Indexed")
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    fn advance(&mut self) {
        let failed_before = self.count();
        let verdict = verdict::of(self, failed_before);
        match &verdict {
            Verdict::Going => {
                self.follow_suspension();
                if self.is_suspended() {
                    self.stop_all();
                } else {
                    create::manage(self);
                }
            }
            Verdict::Succeeded | Verdict::Failed { .. } => self.delete_running(),
        }
        self.tell_numbers(&verdict);
        verdict::conclude(self, &verdict);
    }

    /// Counts what has ended. Returns how many attempts have failed, those included that are not in the status yet.
    fn count(&mut self) -> i32 {
        let known = self.status.uncounted_terminated_pods.take().unwrap_or_default();
        let tracked: BTreeSet<String> =
            self.attempts.iter().filter(|a| a.tracked).map(|a| a.entry.uid.to_string()).collect();
        let (succeeded, done) = apart(known.succeeded, &tracked);
        *self.status.succeeded.get_or_insert_default() += number(done);
        let (failed, done) = apart(known.failed, &tracked);
        *self.status.failed.get_or_insert_default() += number(done);
        let (mut succeeded, mut failed) = (succeeded, failed);
        let (indexed, before) = (self.is_indexed(), self.completed.clone());
        let mut free = Vec::new();
        for attempt in self.attempts.iter().filter(|a| a.tracked) {
            let uid = attempt.entry.uid.to_string();
            if succeeded.contains(&uid) || failed.contains(&uid) {
                free.push(Arc::clone(&attempt.entry));
                continue;
            }
            match attempt.state {
                State::Succeeded if indexed => match attempt.index_of(self.spec) {
                    Some(index) if !before.contains(&index) => drop(self.completed.insert(index)),
                    _ => free.push(Arc::clone(&attempt.entry)),
                },
                State::Succeeded if succeeded.len() < BURST => succeeded.push(uid),
                State::Failed if policy::is_ignored(self.spec, attempt) => free.push(Arc::clone(&attempt.entry)),
                State::Failed if failed.len() < BURST => failed.push(uid),
                _ => {}
            }
        }
        free.iter().for_each(|pod| self.release(pod));
        let failures = self.status.failed.unwrap_or_default() + number(failed.len());
        let some = |uids: Vec<String>| Some(uids).filter(|uids| !uids.is_empty());
        let uncounted = UncountedTerminatedPods { succeeded: some(succeeded), failed: some(failed) };
        self.status.uncounted_terminated_pods = Some(uncounted);
        failures
    }

    /// How many have succeeded, those included that are not in the status yet.
    fn succeeded(&self) -> i32 {
        if self.is_indexed() {
            return number(self.completed.len());
        }
        let uncounted = self.status.uncounted_terminated_pods.as_ref().and_then(|u| u.succeeded.as_ref());
        self.status.succeeded.unwrap_or_default() + number(uncounted.map_or(0, Vec::len))
    }

    fn is_all_counted(&self) -> bool {
        let uncounted = self.status.uncounted_terminated_pods.as_ref();
        uncounted.is_none_or(|u| u.succeeded.is_none() && u.failed.is_none())
            && !self.attempts.iter().any(|a| a.tracked && matches!(a.state, State::Succeeded | State::Failed))
    }

    /// Takes the finalizer of a pod that is counted, or is none of ours to count.
    fn release(&mut self, pod: &Entry) {
        if self.plan.changes.len() < BURST {
            self.plan.changes.push(released(pod));
        }
    }

    fn release_all(&mut self) {
        let tracked: Vec<_> = self.attempts.iter().filter(|a| a.tracked).map(|a| Arc::clone(&a.entry)).collect();
        tracked.iter().for_each(|pod| self.release(pod));
    }

    /// Deletes what runs when the Job is decided. It counts as failed, unless it succeeds after all.
    fn delete_running(&mut self) {
        let running: Vec<_> = self.attempts.iter().filter(|a| a.is_running()).map(|a| Arc::clone(&a.entry)).collect();
        running.iter().take(BURST).for_each(|pod| self.delete(pod));
    }

    /// Deletes what runs while the Job is suspended. It does not count.
    fn stop_all(&mut self) {
        let running: Vec<_> = self.attempts.iter().filter(|a| a.is_running()).map(|a| Arc::clone(&a.entry)).collect();
        running.iter().take(BURST).for_each(|pod| self.stop(pod));
    }

    /// Deletes a pod that does not count, because it is our wish and no failure of its own.
    fn stop(&mut self, pod: &Entry) {
        if edit::has_finalizer(&pod.value(), TRACKING) {
            self.plan.changes.push(released(pod));
        }
        self.delete(pod);
    }

    fn delete(&mut self, pod: &Entry) {
        let options = DeleteOptions { when: Precondition::same(pod), ..DeleteOptions::default() };
        self.plan.changes.push(Change::Delete { key: pod.key.clone(), options });
        self.tell(NoteType::Normal, "SuccessfulDelete", format!("Deleted pod: {}", pod.key.name));
    }

    fn tell(&mut self, kind: NoteType, reason: &'static str, message: String) {
        self.plan.notes.push(note(self.entry, kind, COMPONENT, reason, message));
    }

    /// The clock of a Job stands while it is suspended, and starts anew.
    fn follow_suspension(&mut self) {
        let was = verdict::is_true(&self.status, verdict::SUSPENDED);
        match (self.is_suspended(), was) {
            (true, false) => {
                verdict::set(&mut self.status, verdict::SUSPENDED, "True", "JobSuspended", "Job suspended", self.now);
                self.status.start_time = None;
                self.tell(NoteType::Normal, "Suspended", "Job suspended".into());
            }
            (false, true) => {
                verdict::set(&mut self.status, verdict::SUSPENDED, "False", "JobResumed", "Job resumed", self.now);
                self.status.start_time = Some(self.now.wall.time());
                self.tell(NoteType::Normal, "Resumed", "Job resumed".into());
            }
            (false, false) if self.status.start_time.is_none() => {
                self.status.start_time = Some(self.now.wall.time());
                if let Some(seconds) = self.spec.active_deadline_seconds.and_then(|s| u64::try_from(s).ok()) {
                    self.plan.look_again(Duration::from_secs(seconds));
                }
            }
            _ => {}
        }
    }

    fn tell_numbers(&mut self, verdict: &Verdict) {
        let count = |of: &dyn Fn(&&Attempt) -> bool| number(self.attempts.iter().filter(of).count());
        let going = *verdict == Verdict::Going;
        let active = if going { count(&|a| a.state == State::Active) } else { 0 };
        let ready = if going { count(&|a| a.state == State::Active && a.is_ready()) } else { 0 };
        let terminating = count(&|a| a.is_ending());
        self.status.active = Some(active).filter(|n| *n > 0);
        (self.status.ready, self.status.terminating) = (Some(ready), Some(terminating));
        if self.is_indexed() {
            self.status.succeeded = Some(number(self.completed.len()));
            self.status.completed_indexes = Some(indexes::write(&self.completed)).filter(|text| !text.is_empty());
        }
        for total in [&mut self.status.succeeded, &mut self.status.failed] {
            *total = total.filter(|n| *n > 0);
        }
    }

    fn write_status(&mut self, job: &Job) {
        if job.status.as_ref() != Some(&self.status) {
            let status = serde_json::to_value(&self.status).expect("a status serialises");
            let when = Precondition::same(self.entry);
            self.plan.changes.push(Change::Status { key: self.entry.key.clone(), status, when });
        }
    }

    /// Lets go of the pods of a Job that is over, and of the Job when its time is up.
    fn clean_up(&mut self) {
        self.release_all();
        let Some(ttl) = self.spec.ttl_seconds_after_finished.and_then(|s| u64::try_from(s).ok()) else { return };
        if self.entry.terminating {
            return;
        }
        let Some(end) = verdict::ended(&self.status) else { return };
        match left(end + Duration::from_secs(ttl), self.now.wall) {
            Some(left) => self.plan.look_again(left),
            None => {
                let when = Precondition::same(self.entry);
                let propagation = Some(Propagation::Foreground);
                let options = DeleteOptions { when, propagation, ..DeleteOptions::default() };
                self.plan.changes.push(Change::Delete { key: self.entry.key.clone(), options });
            }
        }
    }
}

/// The change that lets a pod go.
pub fn released(pod: &Entry) -> Change {
    let mut object = pod.value();
    edit::unfinalize(&mut object, TRACKING);
    edit::update(pod, object)
}

/// Tells whether a pod waits to be counted by a Job that is gone for good.
pub fn is_forgotten(view: &Snapshot, pod: &Entry) -> bool {
    // Every pod of a Job has the label; most pods have not, and are not parsed.
    pod.labels.contains_key(crate::object::defaults::JOB_NAME)
        && pod.controller.is_none_or(|uid| view.by_uid(uid).is_none() && (view.is_buried(uid) || view.is_complete()))
        && edit::has_finalizer(&pod.value(), TRACKING)
}

/// How long until `then`; `None` if it has come.
fn left(then: Wall, now: Wall) -> Option<Duration> {
    u64::try_from(then.0.saturating_sub(now.0)).ok().filter(|left| *left > 0).map(Duration::from_micros)
}

/// Tells the uids of pods that still carry their finalizer from the number of the others.
fn apart(uids: Option<Vec<String>>, tracked: &BTreeSet<String>) -> (Vec<String>, usize) {
    let uids = uids.unwrap_or_default();
    let all = uids.len();
    let kept: Vec<String> = uids.into_iter().filter(|uid| tracked.contains(uid)).collect();
    let done = all - kept.len();
    (kept, done)
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
