//! Objects that are unique decisions: Leases, which the voters' quorum registers hold (rules, 5).
//!
//! The store thinks a change to one through, as it would be on what is shown here, and shows what was decided. Deciding is
//! the node's: it has the leader compare what was shown with what is in effect.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::ids::Uid;
use crate::object::{Key, json};
use crate::time::Now;

use super::change::{Change, Committed, DeleteOptions, Precondition, Rejected};
use super::class::{self, Class};
use super::delete::with_propagation;
use super::parts::to_json;
use super::plan::{check_finalizers, check_size};
use super::snapshot::Entry;
use super::state::{Store, entry_of};

/// What a change to such an object comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The object's uid.
    pub uid: Uid,
    /// The namespace it lives in.
    pub home: Option<Uid>,
    /// The object as it is shown; `None` if it is new.
    pub before: Option<Arc<Entry>>,
    /// What is to become of it.
    pub after: After,
}

/// What is to become of an object.
#[derive(Clone, Debug, PartialEq)]
pub enum After {
    /// It is as it was asked for already.
    Same,
    /// It becomes this; without a resourceVersion.
    Object(Value),
    /// It goes.
    Gone,
}

impl Store {
    /// Thinks a change to an object that is a unique decision through. Leaves no trace.
    ///
    /// # Errors
    /// [`Rejected`] says why it cannot be; [`Rejected::Stale`] also while what is in effect is not shown yet.
    pub fn plan_decided(&mut self, now: Now, change: Change) -> Result<Decision, Rejected> {
        self.advance(now);
        match change {
            Change::Create { key, object } => self.create_decided(key, object),
            Change::Update { key, object, when } => self.update_decided(key, object, &when),
            Change::Delete { key, options } => self.delete_decided(&key, &options),
            Change::Remove { key, when } => self.decision(&key, &when, After::Gone),
            Change::Status { key, .. } | Change::Bind { key, .. } => {
                let message = format!("a {} has neither a status nor a node", key.kind.kind);
                Err(Rejected::Forbidden { key, message })
            }
        }
    }

    /// Returns what would be answered to a change that was thought through, were it made and shown now.
    pub fn preview_decided(&self, key: &Key, decision: &Decision) -> Committed {
        let shown = decision.before.as_ref();
        let revision = shown.map_or(self.snapshot.revision(), |entry| entry.revision);
        match (&decision.after, shown) {
            (After::Object(object), _) => Committed { entry: entry_of(key, revision, object.clone()), removed: false },
            (after, Some(entry)) => Committed { entry: Arc::clone(entry), removed: *after == After::Gone },
            (_, None) => unreachable!("only what is made was not there before"),
        }
    }

    /// Sets what is decided of an object, `None` if it is no more. Shown at once, if it differs; before a document
    /// of its name.
    pub fn show_decided(&mut self, now: Now, key: &Key, object: Option<&Value>) {
        self.advance(now);
        match object.filter(|object| uid_of(object).is_some()) {
            Some(object) => self.decided.insert(key.clone(), to_json(object)),
            None => self.decided.remove(key),
        };
        self.reveal_or_follow(key);
    }

    /// Tells whether what is shown at a key is what is decided, and not older.
    pub fn shows_decided(&self, key: &Key) -> bool {
        let shown = self.snapshot.get(key);
        let Some(decided) = self.decided.get(key) else { return shown.is_none() || self.holder(key).is_some() };
        let Some((shown, Ok(mut value))) = shown.map(|entry| (entry, serde_json::from_slice::<Value>(decided))) else {
            return false;
        };
        value["metadata"]["resourceVersion"] = shown.revision.to_string().into();
        json::write(&value) == *shown.json
    }

    /// Tells whether there is a document of that name.
    pub fn has_document(&self, key: &Key) -> bool {
        self.holder(key).is_some()
    }

    /// Returns the uid of the namespace that an object lives in, if that is there and stays.
    pub fn home_of(&self, key: &Key) -> Option<Uid> {
        self.home(key).ok().flatten()
    }

    fn create_decided(&mut self, key: Key, mut object: Value) -> Result<Decision, Rejected> {
        if class::of_object(&key, Some(&object)) == Class::Projection {
            return Err(Rejected::Projection { key });
        }
        let home = self.home(&key)?;
        if self.snapshot.get(&key).is_some() || self.holder(&key).is_some() || self.decided.contains_key(&key) {
            return Err(Rejected::AlreadyExists { key });
        }
        let uid = self.random_uid();
        give(&key, &mut object);
        object["metadata"]["uid"] = uid.to_string().into();
        object["metadata"]["creationTimestamp"] = self.now.wall.to_string().into();
        check(&key, &object)?;
        Ok(Decision { uid, home, before: None, after: After::Object(object) })
    }

    fn update_decided(&self, key: Key, mut object: Value, when: &Precondition) -> Result<Decision, Rejected> {
        let before = self.shown_decided(&key, when)?.value();
        give(&key, &mut object);
        for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            if let Some(value) = before["metadata"].get(field) {
                object["metadata"][field] = value.clone();
            } else if let Some(meta) = object["metadata"].as_object_mut() {
                meta.remove(field);
            }
        }
        check(&key, &object)?;
        let is_terminating = before["metadata"]["deletionTimestamp"].is_string();
        let held: BTreeSet<String> = finalizers(&before).into_iter().collect();
        let left = finalizers(&object);
        let added = left.iter().filter(|name| !held.contains(*name)).map(|name| format!("{name:?}"));
        let added: Vec<String> = added.collect();
        if is_terminating && !added.is_empty() {
            let value = format!("[]string{{{}}}", added.join(", "));
            let message =
                format!("no new finalizers can be added if the object is being deleted, found new finalizers {value}");
            return Err(Rejected::Invalid { key, field: "metadata.finalizers".into(), value, message });
        }
        let after = if is_terminating && left.is_empty() {
            After::Gone
        } else if json::write(&object) == json::write(&without_revision(before)) {
            After::Same
        } else {
            After::Object(object)
        };
        self.decision(&key, when, after)
    }

    fn delete_decided(&self, key: &Key, options: &DeleteOptions) -> Result<Decision, Rejected> {
        let mut object = without_revision(self.shown_decided(key, &options.when)?.value());
        let before = finalizers(&object);
        let wanted = with_propagation(before.clone(), options.propagation);
        let left: Vec<String> = if object["metadata"]["deletionTimestamp"].is_string() {
            // A change of mind may take a finalizer away, and add none.
            before.iter().filter(|name| wanted.contains(name)).cloned().collect()
        } else {
            let at = self.now.wall.0.div_euclid(1_000_000);
            object["metadata"]["deletionTimestamp"] = crate::time::Wall::from_secs(at).to_string().into();
            object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
            wanted
        };
        let after = if left.is_empty() { After::Gone } else { After::Object(with_finalizers(object, left)) };
        self.decision(key, &options.when, after)
    }

    fn decision(&self, key: &Key, when: &Precondition, after: After) -> Result<Decision, Rejected> {
        let before = self.shown_decided(key, when)?;
        let home = self.home_of(key);
        let same = matches!(&after, After::Object(object)
            if json::write(object) == json::write(&without_revision(before.value())));
        let after = if same { After::Same } else { after };
        Ok(Decision { uid: before.uid, home, before: Some(Arc::clone(before)), after })
    }

    fn shown_decided(&self, key: &Key, when: &Precondition) -> Result<&Arc<Entry>, Rejected> {
        let Some(entry) = self.snapshot.get(key) else {
            let projected = class::of_object(key, None) == Class::Projection;
            let key = key.clone();
            return Err(if projected { Rejected::Projection { key } } else { Rejected::NotFound { key } });
        };
        let pending = self.holder(key).is_some_and(|(_, object)| object.pending > 0);
        self.check(key, entry.uid, pending, when)?;
        // What is to be done to it is thought out on what is shown.
        if pending || !self.shows_decided(key) { Err(Rejected::Stale { key: key.clone() }) } else { Ok(entry) }
    }
}

fn uid_of(object: &Value) -> Option<Uid> {
    object["metadata"]["uid"].as_str()?.parse().ok()
}

/// Names an object as its key does, and takes away what only the store says.
fn give(key: &Key, object: &mut Value) {
    object["apiVersion"] = key.kind.api_version().into();
    object["kind"] = key.kind.kind.into();
    object["metadata"]["name"] = key.name.clone().into();
    object["metadata"]["namespace"] = key.namespace.clone().into();
    if let Some(meta) = object["metadata"].as_object_mut() {
        for field in ["resourceVersion", "generation", "selfLink"] {
            meta.remove(field);
        }
    }
}

fn check(key: &Key, object: &Value) -> Result<(), Rejected> {
    check_size(key, object)?;
    check_finalizers(key, object)
}

fn without_revision(mut object: Value) -> Value {
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("resourceVersion");
    }
    object
}

fn finalizers(object: &Value) -> Vec<String> {
    let names = object["metadata"]["finalizers"].as_array();
    names.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

fn with_finalizers(mut object: Value, names: Vec<String>) -> Value {
    object["metadata"]["finalizers"] = names.into();
    object
}
