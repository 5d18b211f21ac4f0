//! Rolls out a Deployment's pod template by scaling ReplicaSets, one per template: upstream's algorithm, one step a
//! reconcile.
//!
//! A step scales the newest set up as far as `maxSurge` allows, or else the older ones down as far as
//! `maxUnavailable` allows, and says in the status how far things are. The next step follows when the ReplicaSets'
//! statuses show what the last one did. Where upstream trusts those statuses, which lag, this controller also looks
//! at the pods in the view, so that the bounds hold at every moment: pods that count never exceed
//! `replicas + maxSurge`, and available ones are not taken below `replicas - maxUnavailable`.
//!
//! Lost pods (`super::node`) do not count here either, so that a rollout goes on without the node that is cut off. Only
//! the strategy Recreate waits for them, as upstream does: they may still run, and it promises that nothing old runs
//! beside what is new. Their node's return, the deletion of its Node or a deletion by force ends the wait.
//!
//! A rollback is a rollout whose template is an old set's: that set becomes the newest again.

mod clean_up;
mod conditions;
mod progress;
mod recreate;
mod revision;
mod rollout;
mod scale;
mod set;
mod wanted;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus};
use serde_json::Value;

use crate::object::{Key, NoteType, hold, kinds};
use crate::store::{Change, Entry, Precondition, Snapshot};
use crate::time::Now;

use super::node::Nodes;
use super::{Plan, edit, note, open, owner};
use conditions::{PROGRESSING, condition, set_condition};
use set::Set;
use wanted::Wanted;

/// Who says what this controller has to say.
pub const COMPONENT: &str = "deployment-controller";

/// Brings the ReplicaSets of the Deployment at `key` one step closer to what it asks for.
pub fn reconcile(view: &Snapshot, key: &Key, now: Now) -> Plan {
    reconcile_with(view, key, now, false)
}

/// As [`reconcile`], on a side that hears no leader: what needs a rollout waits.
pub fn look_after(view: &Snapshot, key: &Key, now: Now) -> Plan {
    reconcile_with(view, key, now, true)
}

fn reconcile_with(view: &Snapshot, key: &Key, now: Now, leaderless: bool) -> Plan {
    let Some(entry) = view.get(key) else { return Plan::default() };
    let Some(deployment) = entry.typed::<Deployment>() else { return Plan::default() };
    let Some(spec) = &deployment.spec else { return Plan::default() };
    let Some(selector) = owner::selector(&spec.selector) else { return Plan::default() };
    let claimed = owner::claim(view, entry, &selector, &kinds::REPLICA_SET, |_| true);
    if !claimed.changes.is_empty() {
        // An adopted set is edited once the view shows it as adopted: two edits of one object cannot both be made
        // on condition that it is unchanged.
        return Plan { changes: claimed.changes, ..Plan::default() };
    }
    let mut nodes = Nodes::new(view, now.wall);
    let sets = claimed.objects.iter().filter_map(|e| Set::of(view, &mut nodes, e)).collect();
    let mut wanted = Wanted::of(spec);
    if hold::is_hold(deployment.metadata.annotations.as_ref()) {
        wanted.never_twice();
    }
    let mut step = Step::new(view, now, entry, wanted, sets, deployment.status.unwrap_or_default());
    step.holds = leaderless && step.needs_a_rollout();
    step.run()
}

/// One step of one Deployment: what was read, and what the plan has come to so far.
struct Step<'a> {
    view: &'a Snapshot,
    now: Now,
    entry: &'a Arc<Entry>,
    wanted: Wanted,
    /// All sets, in name order; a planned one comes last.
    sets: Vec<Set>,
    /// Which of them is the current template's.
    newest: Option<usize>,
    /// The name that the current template's set has or will have, and the template's hash.
    name: String,
    hash: String,
    /// The Deployment, as it shall be (but for its status).
    object: Value,
    edited: bool,
    /// Whether its rollout has to wait for a leader.
    holds: bool,
    /// The status as it is.
    before: DeploymentStatus,
    /// The same, with what happened in this step entered into its conditions.
    status: DeploymentStatus,
    plan: Plan,
}

impl<'a> Step<'a> {
    fn new(
        view: &'a Snapshot,
        now: Now,
        entry: &'a Arc<Entry>,
        wanted: Wanted,
        sets: Vec<Set>,
        status: DeploymentStatus,
    ) -> Self {
        let object = entry.value();
        let template = &object["spec"]["template"];
        let hash = revision::hash(template, status.collision_count.unwrap_or(0));
        let name = revision::set_name(&entry.key.name, &hash);
        let newest = revision::newest(&sets, template, &name);
        let (before, plan) = (status.clone(), Plan::default());
        let (edited, holds) = (false, false);
        Self { view, now, entry, wanted, sets, newest, name, hash, object, edited, holds, before, status, plan }
    }

    fn run(mut self) -> Plan {
        self.sync_newest();
        let status = if self.entry.terminating {
            self.counted()
        } else {
            self.note_pause();
            if self.wanted.paused || self.holds || self.resized() {
                self.scale();
                if self.wanted.paused {
                    self.clean_up();
                }
                self.counted()
            } else if self.wanted.rolling {
                self.roll();
                self.progressed()
            } else {
                self.recreate();
                self.progressed()
            }
        };
        self.finish(status)
    }

    /// Whether pods of an older template are to be replaced, and nobody has said that this may be done without a leader.
    fn needs_a_rollout(&self) -> bool {
        let under_way = self.newest.is_none() && !self.sets.is_empty() || !self.active_older().is_empty();
        let may_run = edit::annotation(&self.object, hold::PARTITION) == Some(hold::RUN);
        under_way && !may_run
    }

    /// Brings the annotations of an existing newest set, and with them the Deployment's revision, up to date.
    fn sync_newest(&mut self) {
        let Some(newest) = self.newest else { return };
        let older = self.last_revision();
        let set = &mut self.sets[newest];
        revision::annotate(set, &self.object, older);
        set.set_min_ready(self.wanted.min_ready_seconds);
        self.adopt_revision(newest);
        if self.wanted.deadline.is_some() && condition(&self.status, PROGRESSING).is_none() {
            let message = format!("Found new replica set {:?}", self.sets[newest].name);
            set_condition(&mut self.status, PROGRESSING, "True", "FoundNewReplicaSet", message, self.now);
        }
    }

    /// The highest revision among the older sets.
    fn last_revision(&self) -> i64 {
        self.older().filter_map(|i| self.sets[i].revision()).max().unwrap_or(0)
    }

    fn adopt_revision(&mut self, newest: usize) {
        if let Some(revision) = edit::annotation(&self.sets[newest].object, revision::REVISION) {
            self.edited |= edit::annotate(&mut self.object, revision::REVISION, revision);
        }
    }

    /// Returns the current template's set; plans it if there is none. `None` if it cannot be made now.
    fn ensure_newest(&mut self) -> Option<usize> {
        if self.newest.is_some() {
            return self.newest;
        }
        if !open(self.view, &self.entry.key.namespace) {
            return None;
        }
        let key = Key::new(&kinds::REPLICA_SET, self.entry.key.namespace.clone(), self.name.clone());
        if self.view.get(&key).is_some() {
            // It is none of this Deployment's, or it would be the newest. The next step hashes with the new count.
            self.status.collision_count = Some(self.status.collision_count.unwrap_or(0).saturating_add(1));
            return None;
        }
        let mut set = revision::new_set(self.entry, &self.object, &self.wanted, &self.name, &self.hash);
        revision::annotate(&mut set, &self.object, self.last_revision());
        let newest = self.sets.len();
        self.sets.push(set);
        self.newest = Some(newest);
        let replicas = self.newest_size(newest);
        self.resize(newest, replicas);
        self.adopt_revision(newest);
        if self.wanted.deadline.is_some() {
            let message = format!("Created new replica set {:?}", self.name);
            set_condition(&mut self.status, PROGRESSING, "True", "NewReplicaSetCreated", message, self.now);
        }
        Some(newest)
    }

    /// Indices of all sets but the newest.
    fn older(&self) -> impl Iterator<Item = usize> + use<> {
        let newest = self.newest;
        (0..self.sets.len()).filter(move |i| Some(*i) != newest)
    }

    /// Indices of the older sets that ask for pods, oldest first.
    fn active_older(&self) -> Vec<usize> {
        let mut older: Vec<usize> = self.older().filter(|i| self.sets[*i].active()).collect();
        older.sort_by_key(|i| (self.sets[*i].created, self.sets[*i].name.clone()));
        older
    }

    /// Scales a set and tells the user; remembers for which size of the Deployment even if the count stays.
    fn resize(&mut self, index: usize, replicas: i32) {
        let set = &mut self.sets[index];
        let before = set.replicas;
        set.resize(replicas, &self.wanted);
        if before != replicas {
            let way = if before < replicas { "up" } else { "down" };
            let message = format!("Scaled {way} replica set {} from {before} to {replicas}", set.name);
            self.plan.notes.push(note(self.entry, NoteType::Normal, COMPONENT, "ScalingReplicaSet", message));
        }
    }

    /// Turns what the step has come to into changes.
    fn finish(mut self, status: DeploymentStatus) -> Plan {
        self.plan.changes.extend(self.sets.into_iter().filter_map(Set::change));
        if self.edited {
            self.plan.changes.push(edit::update(self.entry, self.object));
        }
        if status != self.before {
            let status = serde_json::to_value(status).expect("a status serialises");
            let when = Precondition::same(self.entry);
            self.plan.changes.push(Change::Status { key: self.entry.key.clone(), status, when });
        }
        self.plan
    }
}
