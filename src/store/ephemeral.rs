//! Events: shown at once, in memory only, for an hour and no more than so many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ids::Uid;
use crate::object::Key;
use crate::time::{Mono, Wall};

use super::change::{Change, Committed, Rejected};
use super::parts::to_json;
use super::state::{Receipt, Store, entry_of};

/// How long one is kept after it was last written.
pub const KEPT: Duration = Duration::from_secs(3_600);
/// How many are kept.
pub const MOST: usize = 5_000;

/// The ephemeral objects.
#[derive(Debug, Default)]
pub struct Ephemerals {
    by_key: BTreeMap<Key, Ephemeral>,
    by_age: BTreeSet<(Mono, u64, Key)>,
    serial: u64,
}

#[derive(Debug)]
struct Ephemeral {
    uid: Uid,
    /// Compact JSON without a resourceVersion.
    object: Arc<[u8]>,
    age: (Mono, u64),
}

impl Ephemerals {
    /// Finds one.
    pub fn get(&self, key: &Key) -> Option<(Uid, Value)> {
        let found = self.by_key.get(key)?;
        Some((found.uid, serde_json::from_slice(&found.object).expect("it was serialised here")))
    }

    fn put(&mut self, now: Mono, key: Key, uid: Uid, object: &Value) {
        self.remove(&key);
        self.serial += 1;
        self.by_age.insert((now, self.serial, key.clone()));
        self.by_key.insert(key, Ephemeral { uid, object: to_json(object), age: (now, self.serial) });
    }

    fn remove(&mut self, key: &Key) {
        if let Some(old) = self.by_key.remove(key) {
            self.by_age.remove(&(old.age.0, old.age.1, key.clone()));
        }
    }

    /// Takes out one that is too old, or one too many.
    fn pop(&mut self, now: Mono) -> Option<Key> {
        let (written, _, key) = self.by_age.first()?;
        if now.since(*written) < KEPT && self.by_key.len() <= MOST {
            return None;
        }
        let key = key.clone();
        self.remove(&key);
        Some(key)
    }
}

/// What to do about an ephemeral object.
enum Passing {
    Same,
    Put(Value),
    Drop,
}

impl Store {
    pub(super) fn commit_ephemeral(&mut self, fresh: Uid, change: Change) -> Result<Receipt, Rejected> {
        let (key, uid, passing) = self.plan_ephemeral(fresh, change)?;
        match passing {
            Passing::Same => {
                let entry = self.snapshot.get(&key).cloned();
                let entry = entry.ok_or_else(|| Rejected::NotFound { key: key.clone() })?;
                return Ok(Receipt::Unchanged(Committed { entry, removed: false }));
            }
            Passing::Put(object) => self.ephemerals.put(self.now.mono, key.clone(), uid, &object),
            Passing::Drop => {
                let last = self.snapshot.get(&key).cloned();
                self.ephemerals.remove(&key);
                self.reveal_or_follow(&key);
                let entry = last.ok_or(Rejected::NotFound { key })?;
                return Ok(Receipt::Shown(Committed { entry, removed: true }));
            }
        }
        self.expire();
        if !self.revisions.has(2) {
            let (_, value) = self.ephemerals.get(&key).ok_or_else(|| Rejected::NotFound { key: key.clone() })?;
            let entry = entry_of(&key, self.snapshot.revision(), value);
            return Ok(self.follow_passing(&key, entry));
        }
        self.reveal(&key);
        let entry = self.snapshot.get(&key).cloned().ok_or(Rejected::NotFound { key })?;
        Ok(Receipt::Shown(Committed { entry, removed: false }))
    }

    pub(super) fn dry_run_ephemeral(&self, fresh: Uid, change: Change) -> Result<Committed, Rejected> {
        let (key, _, passing) = self.plan_ephemeral(fresh, change)?;
        let old = self.snapshot.get(&key);
        let entry = match passing {
            Passing::Put(object) => {
                let revision = old.map_or(self.snapshot.revision(), |entry| entry.revision);
                return Ok(Committed { entry: entry_of(&key, revision, object), removed: false });
            }
            Passing::Same | Passing::Drop => old.cloned().ok_or(Rejected::NotFound { key })?,
        };
        Ok(Committed { entry, removed: matches!(passing, Passing::Drop) })
    }

    fn plan_ephemeral(&self, fresh: Uid, change: Change) -> Result<(Key, Uid, Passing), Rejected> {
        let not_found = |key: &Key| Rejected::NotFound { key: key.clone() };
        match change {
            Change::Create { key, object } => {
                self.home(&key)?;
                if self.ephemerals.by_key.contains_key(&key) {
                    return Err(Rejected::AlreadyExists { key });
                }
                super::plan::check_size(&key, &object)?;
                let object = dressed(&key, fresh, self.now.wall, object);
                Ok((key, fresh, Passing::Put(object)))
            }
            Change::Update { key, object, when } => {
                let (uid, old) = self.ephemerals.get(&key).ok_or_else(|| not_found(&key))?;
                self.check(&key, uid, false, &when)?;
                super::plan::check_size(&key, &object)?;
                let mut object = dressed(&key, uid, self.now.wall, object);
                object["metadata"]["creationTimestamp"] = old["metadata"]["creationTimestamp"].clone();
                let passing = if object == old { Passing::Same } else { Passing::Put(object) };
                Ok((key, uid, passing))
            }
            Change::Delete { key, options } => {
                let (uid, _) = self.ephemerals.get(&key).ok_or_else(|| not_found(&key))?;
                self.check(&key, uid, false, &options.when)?;
                Ok((key, uid, Passing::Drop))
            }
            Change::Remove { key, when } => {
                let (uid, _) = self.ephemerals.get(&key).ok_or_else(|| not_found(&key))?;
                self.check(&key, uid, false, &when)?;
                Ok((key, uid, Passing::Drop))
            }
            Change::Status { key, .. } | Change::Bind { key, .. } => {
                Err(Rejected::Forbidden { message: format!("{} have no status", key.kind), key })
            }
        }
    }

    /// Lets go of ephemeral objects that are too old or too many. To be called with every tick.
    pub fn tick(&mut self, now: crate::time::Now) {
        self.advance(now);
        self.expire();
    }

    fn expire(&mut self) {
        while let Some(key) = self.ephemerals.pop(self.now.mono) {
            self.reveal_or_follow(&key);
        }
    }
}

/// Gives an object what the store gives.
fn dressed(key: &Key, uid: Uid, created: Wall, mut object: Value) -> Value {
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if let Value::Object(meta) = &mut object["metadata"] {
        meta.remove("resourceVersion");
        meta.insert("name".into(), key.name.clone().into());
        meta.insert("namespace".into(), key.namespace.clone().into());
        meta.insert("uid".into(), uid.to_string().into());
        meta.insert("creationTimestamp".into(), created.to_string().into());
    }
    object["apiVersion"] = key.kind.api_version().into();
    object["kind"] = key.kind.kind.into();
    object
}
