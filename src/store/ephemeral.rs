//! Objects that live in memory only: Events (1 h, at most 5,000).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use crate::ids::Uid;
use crate::object::Key;
use crate::time::{Mono, Now};

use super::change::{Committed, Rejected};
use super::{Change, Entry, Store};

/// How long one lives after it was last written, as upstream keeps Events.
const LIFE: Duration = Duration::from_secs(3600);
/// How many there are at most; the oldest go first.
const MOST: usize = 5_000;

/// When each goes.
#[derive(Debug, Default)]
pub struct Ephemeral {
    expiry: BTreeMap<Key, Mono>,
    order: BTreeSet<(Mono, Key)>,
}

impl Ephemeral {
    fn keep(&mut self, key: &Key, until: Mono) {
        self.forget(key);
        self.expiry.insert(key.clone(), until);
        self.order.insert((until, key.clone()));
    }

    fn forget(&mut self, key: &Key) {
        if let Some(old) = self.expiry.remove(key) {
            self.order.remove(&(old, key.clone()));
        }
    }

    fn overdue(&self, now: Mono) -> Option<Key> {
        let (at, key) = self.order.first()?;
        (*at <= now || self.order.len() > MOST).then(|| key.clone())
    }
}

impl Store {
    /// Carries out a change of an ephemeral object at once.
    pub(super) fn commit_ephemeral(&mut self, now: Now, change: Change) -> Result<Committed, Rejected> {
        let key = change.key().clone();
        let present = self.snapshot.get(&key).cloned();
        let uid = present.as_ref().map_or_else(|| self.fresh_uid(), |e| e.uid);
        match self.plan_ephemeral(now, uid, change)? {
            None => {
                let entry = present.ok_or(Rejected::NotFound { key: key.clone() })?;
                self.ephemeral.forget(&key);
                self.show_entry(&key, |_| None);
                Ok(Committed { entry, removed: true })
            }
            Some(object) => {
                self.ephemeral.keep(&key, now.mono + LIFE);
                let shown = self.show_value(&key, object);
                self.expire_ephemeral(now);
                Ok(Committed { entry: shown, removed: false })
            }
        }
    }

    /// Returns what an ephemeral object is after a change; `None`: gone.
    pub(super) fn plan_ephemeral(&self, now: Now, uid: Uid, change: Change) -> Result<Option<Value>, Rejected> {
        let present = self.snapshot.get(change.key());
        let missing = |key: &Key| Rejected::NotFound { key: key.clone() };
        match change {
            Change::Create { key, .. } if present.is_some() => Err(Rejected::AlreadyExists { key }),
            Change::Create { key, mut object } => {
                self.check_namespace(&key)?;
                object["metadata"]["uid"] = uid.to_string().into();
                object["metadata"]["creationTimestamp"] = now.wall.to_string().into();
                Ok(Some(object))
            }
            Change::Update { key, mut object, when } => {
                let entry = present.ok_or_else(|| missing(&key))?;
                self.check(&key, entry.uid, when)?;
                let old = entry.value();
                for field in ["uid", "creationTimestamp"] {
                    object["metadata"][field] = old["metadata"][field].clone();
                }
                Ok(Some(object))
            }
            Change::Delete { key, options: super::DeleteOptions { when, .. } } | Change::Remove { key, when } => {
                let entry = present.ok_or_else(|| missing(&key))?;
                self.check(&key, entry.uid, when).map(|()| None)
            }
            Change::Status { key, .. } | Change::Bind { key, .. } => {
                Err(Rejected::Forbidden { key, message: "it has no status".into() })
            }
        }
    }

    pub(super) fn expire_ephemeral(&mut self, now: Now) {
        while let Some(key) = self.ephemeral.overdue(now.mono) {
            self.ephemeral.forget(&key);
            self.show_entry(&key, |_| None);
        }
    }

    /// Returns the entry of a change that would be made, for a dry run.
    pub(super) fn ephemeral_entry(&self, key: &Key, object: &Value) -> Entry {
        Entry::of(key.clone(), self.revisions.last(), object)
    }
}
