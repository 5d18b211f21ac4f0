//! Events: shown and told to peers at once, in memory only, for an hour and no more than so many.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::ids::Uid;
use crate::object::Key;
use crate::time::{Mono, Wall};

use super::change::{Change, Committed, Rejected};
use super::leaves::{MAX_DEPTH, depth};
use super::merge::{MergeError, Merged};
use super::parts::to_json;
use super::plan::MAX_OBJECT_BYTES;
use super::record::{Body, Record};
use super::register::Stamp;
use super::state::{Receipt, Store, entry_of};

/// How long one is kept after it was last written.
pub const KEPT: Duration = Duration::from_secs(3_600);
/// How many are kept, deletions counted.
pub const MOST: usize = 5_000;

/// The ephemeral objects. The newest of one key stands; deletions are remembered as long as objects are.
#[derive(Debug, Default)]
pub struct Ephemerals {
    by_key: BTreeMap<Key, (Ephemeral, (Mono, u64))>,
    by_age: BTreeSet<(Mono, u64, Key)>,
    serial: u64,
}

/// What was said last of a key.
#[derive(Clone, Debug)]
pub struct Ephemeral {
    /// The object's uid.
    pub uid: Uid,
    /// Compact JSON without a resourceVersion; `None` if it was deleted.
    pub object: Option<Arc<[u8]>>,
    /// When, in hybrid time, and by whom.
    pub stamp: Stamp,
}

impl Ephemerals {
    /// Finds one.
    pub fn get(&self, key: &Key) -> Option<(Uid, Value)> {
        let found = self.last(key)?;
        let object = serde_json::from_slice(found.object.as_ref()?).expect("it was serialised here");
        Some((found.uid, object))
    }

    /// Returns what was said last of a key.
    pub fn last(&self, key: &Key) -> Option<&Ephemeral> {
        self.by_key.get(key).map(|(said, _)| said)
    }

    fn put(&mut self, written: Mono, key: Key, said: Ephemeral) {
        self.remove(&key);
        self.serial += 1;
        self.by_age.insert((written, self.serial, key.clone()));
        self.by_key.insert(key, (said, (written, self.serial)));
    }

    fn remove(&mut self, key: &Key) {
        if let Some((_, (written, serial))) = self.by_key.remove(key) {
            self.by_age.remove(&(written, serial, key.clone()));
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
            Passing::Put(object) => self.say_ephemeral(&key, uid, Some(to_json(&object))),
            Passing::Drop => {
                let last = self.snapshot.get(&key).cloned();
                self.say_ephemeral(&key, uid, None);
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

    fn say_ephemeral(&mut self, key: &Key, uid: Uid, object: Option<Arc<[u8]>>) {
        self.clock = self.hybrid_time();
        // What is answered is shown, also if somebody's clock was ahead.
        let known = self.ephemerals.last(key).map_or(0, |last| last.stamp.major);
        let major = self.clock.max(known.saturating_add(1));
        let stamp = Stamp { major, minor: 0, author: self.scribe.node };
        self.ephemerals.put(self.now.mono, key.clone(), Ephemeral { uid, object, stamp });
        self.news.passed(key);
    }

    /// Takes in what a peer says of an ephemeral object.
    pub(super) fn merge_ephemeral(&mut self, record: &Record) -> Result<Merged, MergeError> {
        let Body::Event { uid, key, time, object } = &record.body else { return Ok(Merged::Known) };
        let stamp = Stamp { major: *time, minor: 0, author: record.author };
        let at = Wall(i64::try_from(*time).unwrap_or(i64::MAX));
        let age = Duration::from_micros(u64::try_from(self.now.wall.0.saturating_sub(at.0)).unwrap_or(0));
        if age >= KEPT || self.ephemerals.last(key).is_some_and(|last| last.stamp >= stamp) {
            return Ok(Merged::Known);
        }
        let object = match object {
            Some(place) => {
                let object = read_object(&record.raw[place.clone()]);
                let object = object.map_err(|reason| MergeError::Event { key: key.clone(), reason })?;
                let created = serde_json::from_value(object["metadata"]["creationTimestamp"].clone());
                let created = created.map_or(at, |created| Wall::of(&created));
                Some(to_json(&dressed(key, *uid, created, object)))
            }
            None => None,
        };
        self.pull_clock(*time);
        self.ephemerals.put(self.now.mono - age, key.clone(), Ephemeral { uid: *uid, object, stamp });
        self.expire();
        self.reveal_or_follow(key);
        Ok(Merged::New)
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
                if self.ephemerals.get(&key).is_some() {
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

/// Reads an object of a peer's.
fn read_object(json: &[u8]) -> Result<Value, String> {
    if json.len() > MAX_OBJECT_BYTES {
        return Err(format!("{} bytes", json.len()));
    }
    let object: Value = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    match &object {
        Value::Object(_) if depth(&object) <= MAX_DEPTH => Ok(object),
        Value::Object(_) => Err("nested too deep".into()),
        _ => Err("no object".into()),
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
