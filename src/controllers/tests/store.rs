//! The store of the cluster in memory: it keeps Kubernetes' rules on writes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::cluster::Cluster;
use crate::ids::{Revision, Uid};
use crate::object::{Key, kinds};
use crate::store::{Change, DeleteOptions, Entry, Propagation, Rejected};

impl Cluster {
    /// Makes a change as the store would.
    #[allow(clippy::result_large_err, reason = "the seam's error, in a test")]
    pub fn apply(&mut self, change: Change) -> Result<(), Rejected> {
        let key = change.key().clone();
        let found = self.truth.get(&key).cloned();
        if let Change::Create { mut object, .. } = change {
            if found.is_some() {
                return Err(Rejected::AlreadyExists { key });
            }
            self.stamp(&key, &mut object);
            self.show(&key, Some(object));
            return Ok(());
        }
        let entry = found.ok_or_else(|| Rejected::NotFound { key: key.clone() })?;
        let when = match &change {
            Change::Delete { options, .. } => options.when,
            Change::Update { when, .. }
            | Change::Status { when, .. }
            | Change::Bind { when, .. }
            | Change::Remove { when, .. } => *when,
            Change::Create { .. } => unreachable!(),
        };
        if let Some(given) = when.uid.filter(|u| *u != entry.uid) {
            return Err(Rejected::UidMismatch { key, given, found: entry.uid });
        }
        if when.revision.is_some_and(|r| r != entry.revision) {
            return Err(Rejected::Stale { key });
        }
        let mut object = entry.value();
        match change {
            Change::Update { object: mut new, .. } => {
                if new["spec"] != object["spec"] {
                    new["metadata"]["generation"] = (object["metadata"]["generation"].as_i64().unwrap() + 1).into();
                }
                new["status"] = object["status"].take();
                self.show_or_remove(&entry, new);
            }
            Change::Status { status, .. } => {
                object["status"] = status;
                self.show(&key, Some(object));
            }
            Change::Bind { node, .. } => {
                object["spec"]["nodeName"] = node.into();
                self.show(&key, Some(object));
            }
            Change::Delete { options, .. } => self.mark(&entry, object, options),
            Change::Remove { .. } => self.show(&key, None),
            Change::Create { .. } => unreachable!(),
        }
        Ok(())
    }

    fn stamp(&mut self, key: &Key, object: &mut Value) {
        self.uids += 1;
        object["metadata"]["uid"] = Uid::derived(&[&self.uids.to_be_bytes()]).to_string().into();
        object["metadata"]["generation"] = 1.into();
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = self.now.wall.to_string().into();
        }
        if key.kind == &kinds::POD && object["status"].is_null() {
            object["status"] = json!({"phase": "Pending"});
        }
    }

    fn mark(&mut self, entry: &Entry, mut object: Value, options: DeleteOptions) {
        let finalizer = match options.propagation {
            Some(Propagation::Foreground) => Some("foregroundDeletion"),
            Some(Propagation::Orphan) => Some("orphan"),
            _ => None,
        };
        let metadata = &mut object["metadata"];
        if metadata["finalizers"].is_null() {
            metadata["finalizers"] = json!([]);
        }
        let finalizers = metadata["finalizers"].as_array_mut().unwrap();
        if let Some(finalizer) = finalizer.filter(|f| !finalizers.iter().any(|g| g == f)) {
            finalizers.push(finalizer.into());
        }
        if metadata["deletionTimestamp"].is_null() {
            metadata["deletionTimestamp"] = self.now.wall.to_string().into();
            metadata["generation"] = (metadata["generation"].as_i64().unwrap() + 1).into();
        }
        let running = entry.key.kind == &kinds::POD && entry.node.is_some();
        let before = metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(30);
        let grace = if running { options.grace_seconds.unwrap_or(30).min(before) } else { 0 };
        metadata["deletionGracePeriodSeconds"] = grace.into();
        self.show_or_remove(entry, object);
    }

    /// Shows an object, or that it is gone if nothing holds it any more. A namespace is held by what is in it.
    pub(super) fn show_or_remove(&mut self, entry: &Entry, object: Value) {
        let metadata = &object["metadata"];
        let held = metadata["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        let over = metadata["deletionGracePeriodSeconds"] == 0 && entry.key.kind != &kinds::NAMESPACE;
        self.show(&entry.key, Some(object).filter(|_| held || !over));
    }

    pub(super) fn show(&mut self, key: &Key, object: Option<Value>) {
        self.revision += 1;
        let revision = Revision(self.revision);
        let entry = object.map(|mut object| {
            object["metadata"]["resourceVersion"] = self.revision.to_string().into();
            Arc::new(Entry::of(key.clone(), revision, &object))
        });
        if self.truth.show(key, entry.clone(), revision).is_some() {
            self.pending.push_back((key.clone(), entry, revision));
        }
        while !self.lags && !self.pending.is_empty() {
            self.catch_up();
        }
    }
}
