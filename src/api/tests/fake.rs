//! A loop that commits at once and keeps nothing.

#![allow(clippy::result_large_err, reason = "the answer is the door's")]

use std::sync::Arc;

use serde_json::Value;

use crate::handle::{Answer, Door};
use crate::ids::{Revision, Uid};
use crate::node::Request;
use crate::object::Key;
use crate::object::kinds::NAMESPACE;
use crate::store::{Change, Committed, Entry, Precondition, Rejected, Snapshot};

pub fn empty() -> Snapshot {
    Snapshot::starting_at(Revision(100 << 16))
}

/// Takes requests until every handle is gone.
pub async fn run(mut door: Door) {
    let mut shown = empty();
    let mut recoveries = door.recoveries;
    tokio::spawn(async move {
        while let Some((_, answer)) = recoveries.recv().await {
            drop(answer.send(Ok("recovered".into())));
        }
    });
    while let Some((request, answer)) = door.requests.recv().await {
        let mut next = shown.clone();
        let result = apply(&mut next, &request);
        let shows = matches!(result, Ok(_) | Err(Rejected::Stale { .. }));
        if shows && !request.dry_run && next.revision() > shown.revision() {
            shown = next;
            door.snapshot.send_replace(shown.clone());
        }
        // Whoever asked may have gone away.
        drop(answer.send(result));
    }
}

fn apply(snapshot: &mut Snapshot, request: &Request) -> Answer {
    let key = request.change.key().clone();
    let found = || snapshot.get(&key).cloned().ok_or_else(|| Rejected::NotFound { key: key.clone() });
    match &request.change {
        Change::Create { object, .. } => {
            if snapshot.get(&key).is_some() {
                return Err(Rejected::AlreadyExists { key });
            }
            if key.kind.namespaced && snapshot.get(&Key::cluster(&NAMESPACE, &*key.namespace)).is_none() {
                return Err(Rejected::NoNamespace { namespace: key.namespace.clone(), key });
            }
            let mut object = object.clone();
            let turn = snapshot.revision().0.to_be_bytes();
            object["metadata"]["uid"] = Uid::derived(&[&turn]).to_string().into();
            object["metadata"]["creationTimestamp"] = "2025-11-23T07:25:30Z".into();
            Ok(show(snapshot, &key, object))
        }
        Change::Update { object, when, .. } => {
            holds(&*found()?, when)?;
            Ok(show(snapshot, &key, object.clone()))
        }
        Change::Status { status, when, .. } => {
            let entry = found()?;
            holds(&entry, when)?;
            let mut object = entry.value();
            object["status"] = status.clone();
            Ok(show(snapshot, &key, object))
        }
        Change::Bind { node, when, .. } => {
            let entry = found()?;
            holds(&entry, when)?;
            let mut object = entry.value();
            object["spec"]["nodeName"] = node.clone().into();
            Ok(show(snapshot, &key, object))
        }
        Change::Delete { options, .. } => {
            let entry = found()?;
            holds(&entry, &options.when)?;
            let mut object = entry.value();
            if object["metadata"]["annotations"]["unsettled"].is_string() {
                // A change that was accepted before and is shown only now.
                object["metadata"]["annotations"] = Value::Null;
                show(snapshot, &key, object);
                return Err(Rejected::Stale { key });
            }
            if object["metadata"]["finalizers"].as_array().is_some_and(|f| !f.is_empty()) {
                object["metadata"]["deletionTimestamp"] = "2025-11-23T07:26:30Z".into();
                return Ok(show(snapshot, &key, object));
            }
            Ok(remove(snapshot, &entry))
        }
        Change::Remove { .. } => Ok(remove(snapshot, &*found()?)),
    }
}

fn holds(entry: &Entry, when: &Precondition) -> Result<(), Rejected> {
    let key = entry.key.clone();
    if let Some(given) = when.uid.filter(|uid| *uid != entry.uid) {
        return Err(Rejected::UidMismatch { key, given, found: entry.uid });
    }
    if when.revision.is_some_and(|r| r != entry.revision) {
        return Err(Rejected::Stale { key });
    }
    Ok(())
}

fn show(snapshot: &mut Snapshot, key: &Key, mut object: Value) -> Committed {
    if let Some(entry) = snapshot.get(key).filter(|e| e.value() == object) {
        return Committed { entry: Arc::clone(entry), removed: false };
    }
    let revision = Revision(snapshot.revision().0 + (10 << 16));
    object["metadata"]["resourceVersion"] = revision.to_string().into();
    let entry = Arc::new(Entry::of(key.clone(), revision, &object));
    snapshot.show(key, Some(Arc::clone(&entry)), revision);
    Committed { entry, removed: false }
}

fn remove(snapshot: &mut Snapshot, entry: &Entry) -> Committed {
    let revision = Revision(snapshot.revision().0 + (10 << 16));
    snapshot.show(&entry.key, None, revision);
    Committed { entry: Arc::new(entry.clone()), removed: true }
}
