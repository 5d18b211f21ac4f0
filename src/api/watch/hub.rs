//! Looks at what happens once for all watchers and wakes those it concerns.
//!
//! A thousand watchers that all woke at each of five hundred writes a second would keep a core busy to find that nothing
//! concerns them. Here one task tries each event on each watcher's scope, some hundred nanoseconds each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio_util::sync::CancellationToken;

use crate::ids::Revision;
use crate::object::Kind;
use crate::store::Snapshot;

use super::watcher::Watcher;
use super::{Scope, Start};

/// Watchers by what they watch.
type Watchers = BTreeMap<&'static Kind, Vec<Weak<Watcher>>>;

/// All watches of an API.
pub struct Hub {
    snapshots: Receiver<Snapshot>,
    watchers: Mutex<Watchers>,
    patience: Duration,
}

impl Hub {
    /// Makes a hub that cuts off who reads nothing for as long as `patience`.
    pub fn new(snapshots: Receiver<Snapshot>, patience: Duration) -> Self {
        Self { snapshots, watchers: Mutex::default(), patience }
    }

    /// Begins a watch.
    pub fn admit(&self, scope: Scope, start: Start, mark_initial_end: bool) -> Arc<Watcher> {
        let kind = scope.kind;
        let watcher = Arc::new(Watcher::new(scope, start, mark_initial_end, self.snapshots.clone()));
        let mut watchers = self.watchers();
        let of_kind = watchers.entry(kind).or_default();
        if of_kind.len() == of_kind.capacity() {
            // Before it takes more room, what is gone makes some.
            of_kind.retain(|watcher| watcher.strong_count() > 0);
        }
        of_kind.push(Arc::downgrade(&watcher));
        watcher
    }

    /// Wakes watchers until `shutdown` or the last snapshot.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut snapshots = self.snapshots.clone();
        let mut seen = snapshots.borrow_and_update().revision();
        let mut rounds = tokio::time::interval(self.patience / 4);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = rounds.tick() => self.cut_off(),
                changed = snapshots.changed() => {
                    if changed.is_err() {
                        return self.each(|watcher| watcher.end());
                    }
                    let snapshot = snapshots.borrow_and_update().clone();
                    self.tell(&snapshot, seen);
                    seen = snapshot.revision();
                }
            }
        }
    }

    fn tell(&self, snapshot: &Snapshot, seen: Revision) {
        for (kind, watchers) in &mut *self.watchers() {
            let events = snapshot.events_since(kind, seen).ok().map(Iterator::collect::<Vec<_>>);
            if events.as_ref().is_some_and(Vec::is_empty) {
                continue;
            }
            watchers.retain(|watcher| {
                let Some(watcher) = watcher.upgrade() else { return false };
                let events = events.as_ref().map(|events| events.iter().map(|event| &***event));
                watcher.notice(events, snapshot.revision());
                true
            });
        }
    }

    fn cut_off(&self) {
        self.each(|watcher| {
            if watcher.cut_off(self.patience) {
                tracing::info!(kind = %watcher.scope.kind, "a watch that is not read is cut off");
            }
        });
    }

    fn each(&self, mut act: impl FnMut(&Watcher)) {
        for watchers in self.watchers().values_mut() {
            watchers.retain(|watcher| watcher.upgrade().inspect(|watcher| act(watcher)).is_some());
        }
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns all watches that there are.
    #[cfg(test)]
    pub fn all(&self) -> Vec<Arc<Watcher>> {
        self.watchers().values().flatten().filter_map(Weak::upgrade).collect()
    }
}
