//! The controllers' work queue: which keys to reconcile, when, and never before the last plan is shown (rule 12).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::controllers::{self, Controller, Plan};
use crate::object::{Key, write};
use crate::store::{Change, Rejected};
use crate::time::{Backoff, Mono, Now};

use super::caretaking::{self, Office};
use super::{Node, Waiter};

/// One thing to reconcile.
pub(super) type Work = (Controller, Key);

/// How long to wait after a failed change: at first, at most, and when failures are forgotten. Upstream's rate
/// limiter starts at 5 ms; ours need not, since a view that lags is waited for.
const RETRY: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(30), Duration::from_secs(120));

/// Keys that wait for their turn, and keys whose last changes are not shown yet.
#[derive(Default)]
pub(super) struct WorkQueue {
    due: BTreeMap<Work, Mono>,
    busy: BTreeMap<Work, Busy>,
    failures: BTreeMap<Work, Backoff>,
    look_again: bool,
}

struct Busy {
    /// Changes that are not shown yet.
    changes: usize,
    /// When to reconcile again once they are.
    again: Option<Mono>,
}

impl WorkQueue {
    /// Adds keys that are due now.
    pub fn add_all(&mut self, work: impl IntoIterator<Item = Work>, now: Mono) {
        for work in work {
            self.add(work, now);
        }
    }

    fn add(&mut self, work: Work, at: Mono) {
        let slot = match self.busy.get_mut(&work) {
            Some(busy) => busy.again.get_or_insert(at),
            None => self.due.entry(work).or_insert(at),
        };
        *slot = at.min(*slot);
    }

    /// Forgets what is due: another node decides now. What is not shown yet stays known, should this one lead again.
    pub fn rest(&mut self) {
        self.due.clear();
        self.failures.clear();
        self.busy.values_mut().for_each(|busy| busy.again = None);
    }

    /// Asks for everything to be looked at again.
    pub fn look_again(&mut self) {
        self.look_again = true;
    }

    /// Tells, once, whether everything is to be looked at again.
    pub fn must_look_again(&mut self) -> bool {
        std::mem::take(&mut self.look_again)
    }

    /// A change that `work` made is shown now.
    pub fn change_shown(&mut self, work: &Work, now: Mono) {
        let Some(busy) = self.busy.get_mut(work) else { return };
        busy.changes -= 1;
        if busy.changes == 0 {
            let again = self.busy.remove(work).and_then(|b| b.again);
            // The changes woke the key while it was busy, or will not wake it at all.
            self.add(work.clone(), again.unwrap_or(now));
        }
    }

    /// A change that `work` made did not come about after all: it is tried again, not at once.
    pub fn change_failed(&mut self, work: &Work, now: Mono) {
        let again = self.failed(work, now);
        if let Some(busy) = self.busy.get_mut(work) {
            busy.again = Some(busy.again.map_or(again, |at| at.max(again)));
        }
        self.change_shown(work, now);
    }

    fn take_due(&mut self, now: Mono) -> Vec<Work> {
        let due: Vec<_> = self.due.iter().filter(|(_, at)| **at <= now).map(|(work, _)| work.clone()).collect();
        for work in &due {
            self.due.remove(work);
        }
        due
    }

    fn succeeded(&mut self, work: &Work) {
        self.failures.remove(work);
    }

    fn failed(&mut self, work: &Work, now: Mono) -> Mono {
        now + self.failures.entry(work.clone()).or_insert(RETRY).fail(now)
    }
}

impl Node {
    /// Reconciles what is due.
    pub(super) fn run_work(&mut self, now: Now, office: Office) {
        let reconcile = match office {
            Office::Leader => controllers::reconcile,
            Office::Caretaker => controllers::look_after,
        };
        for work in self.work.take_due(now.mono) {
            if work.0 == Controller::ClusterRole && !self.default_roles {
                continue;
            }
            let plan = reconcile(work.0, self.store.snapshot(), &work.1, now);
            self.carry_out(now, office, &work, plan);
        }
    }

    fn carry_out(&mut self, now: Now, office: Office, work: &Work, plan: Plan) {
        let Plan { changes, notes, again } = plan;
        // Busy until all changes are shown, and one more so that it stays busy while they are handed in.
        self.work.busy.insert(work.clone(), Busy { changes: changes.len() + 1, again: again.map(|d| now.mono + d) });
        let quiet = changes.is_empty();
        let mut refused = false;
        for change in changes {
            if let Err((change, why)) = self.carry_out_change(now, office, work, change) {
                tracing::debug!(controller = ?work.0, key = %work.1, about = %change.key(), why, "change refused");
                refused = true;
                let view = self.store.snapshot();
                if let Some(note) = why.and_then(|why| controllers::refused(work.0, view, &work.1, &change, &why)) {
                    self.note(now, &note);
                }
                self.work.change_shown(work, now.mono);
            }
        }
        let retry = refused.then(|| self.work.failed(work, now.mono));
        if !refused {
            self.work.succeeded(work);
            // Notes tell what was done, so they wait for a plan that went through.
            for note in notes {
                self.note(now, &note);
            }
        }
        self.handed_in(now, work, retry, quiet);
    }

    /// Ends the hand-in of a plan: what is not waited for any more may be reconciled again.
    fn handed_in(&mut self, now: Now, work: &Work, retry: Option<Mono>, quiet: bool) {
        let Some(busy) = self.work.busy.get_mut(work) else { return };
        busy.changes -= 1;
        busy.again = [busy.again, retry].into_iter().flatten().min();
        if busy.changes > 0 {
            return;
        }
        let again = self.work.busy.remove(work).and_then(|b| b.again);
        if let Some(at) = again.or((!quiet).then_some(now.mono)) {
            self.work.add(work.clone(), at);
        }
    }

    /// Hands in one change. Refused, it comes back with the reason, if that is worth telling: a view that lags is not.
    fn carry_out_change(
        &mut self,
        now: Now,
        office: Office,
        work: &Work,
        change: Change,
    ) -> Result<(), (Change, Option<String>)> {
        let change = if office == Office::Caretaker { caretaking::signed(change) } else { change };
        tracing::debug!(node = self.name, ?office, controller = ?work.0, key = %work.1, about = %change.key(), "change");
        let complete = complete(change.clone()).map_err(|why| (change.clone(), Some(why)))?;
        let done = self.check_kind(&complete);
        match done.and_then(|()| self.commit(now, office.author(), complete, Waiter::Work(work.clone()))) {
            Ok(()) => Ok(()),
            Err(Rejected::NotFound { .. } | Rejected::Stale { .. }) => Err((change, None)),
            Err(rejected) => Err((change, Some(rejected.to_string()))),
        }
    }
}

/// Sends an object that a controller makes down the one write path (rule 19).
fn complete(change: Change) -> Result<Change, String> {
    match change {
        Change::Create { key, object } => {
            let written = write::create_value(key.kind, &key.namespace, object).map_err(|e| e.to_string())?;
            Ok(Change::Create { key, object: written.object })
        }
        other => Ok(other),
    }
}
