//! New pods: their slots, their names, and what goes into them.

use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1::ReplicaSet;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::ids::Uid;
use crate::object::hold::{HOLD, PARTITION, SLOT, SLOT_OF, is_hold};
use crate::object::{Key, NoteType, kinds};
use crate::store::{Change, Entry, Snapshot};

use super::{COMPONENT, Plan, Replica};
use crate::controllers::{edit, names, note, owner, pod as pods};

/// Longest name a pod gets from `generateName` (its host name has to fit a DNS label), and the part that is drawn.
const LONGEST: usize = 63;
const DRAWN: usize = 5;

/// Plans `count` new pods for the ReplicaSet that `set` shows. They get the slots of `lost` pods first, then the smallest
/// that are free. `holder`: whose slots they hold, if they must never run twice.
pub fn missing(
    plan: &mut Plan,
    view: &Snapshot,
    set: &Entry,
    holder: Option<Uid>,
    replicas: &[Replica],
    lost: &[Replica],
    count: usize,
) {
    let object = set.value();
    let mut taken: BTreeSet<usize> = replicas.iter().filter_map(slot).collect();
    if let Some(deployment) = holder {
        taken.extend(taken_by_siblings(view, deployment, set.uid));
    }
    let orphaned: BTreeSet<usize> = lost.iter().filter_map(slot).filter(|s| !taken.contains(s)).collect();
    let fresh = (0..).filter(|s| !taken.contains(s) && !orphaned.contains(s));
    let mut named = BTreeSet::new();
    for free in orphaned.iter().copied().chain(fresh).take(count) {
        let key = free_key(view, set, free, &named);
        plan.notes.push(note(
            set,
            NoteType::Normal,
            COMPONENT,
            "SuccessfulCreate",
            format!("Created pod: {}", key.name),
        ));
        plan.changes.push(Change::Create {
            object: pod(&object["spec"]["template"], set, &key, free, holder),
            key: key.clone(),
        });
        named.insert(key);
    }
}

/// Returns whose slots a set's pods hold, if they must never run twice: its Deployment's, or its own.
pub fn holder(entry: &Entry, set: &ReplicaSet) -> Option<Uid> {
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref()?.metadata.as_ref());
    let asks = [Some(&set.metadata), template].into_iter().flatten().any(|meta| is_hold(meta.annotations.as_ref()));
    asks.then(|| entry.controller.unwrap_or(entry.uid))
}

/// Counts the slots that replicas have; one that was adopted has one of its own.
pub fn slots(replicas: &[Replica]) -> usize {
    let numbered: BTreeSet<usize> = replicas.iter().filter_map(slot).collect();
    numbered.len() + replicas.iter().filter(|replica| slot(replica).is_none()).count()
}

/// Reads a pod's slot. `None` for one that was adopted.
pub fn slot(replica: &Replica) -> Option<usize> {
    replica.pod.metadata.annotations.as_ref()?.get(SLOT)?.parse().ok()
}

/// The slots that pods of a Deployment's other sets have: during a rollout the new pods take those that old ones give up.
fn taken_by_siblings(view: &Snapshot, deployment: Uid, set: Uid) -> impl Iterator<Item = usize> {
    let sets = view.controlled_by(deployment, &kinds::REPLICA_SET).filter(move |sibling| sibling.uid != set);
    let pods = sets.flat_map(|set| view.controlled_by(set.uid, &kinds::POD)).filter(|pod| pods::active(pod));
    pods.filter_map(|pod| edit::annotation(&pod.value(), SLOT)?.parse().ok())
}

/// Builds the pod at `key` from the template. `holder`: whose slot it holds, if it must never run twice.
fn pod(template: &Value, set: &Entry, key: &Key, slot: usize, holder: Option<Uid>) -> Value {
    let mut metadata = json!({
        "name": key.name,
        "generateName": prefix(set),
        "namespace": key.namespace,
        "labels": edit::map(&template["metadata"]["labels"]),
        "annotations": edit::map(&template["metadata"]["annotations"]),
        "ownerReferences": [owner::reference(set)],
    });
    metadata["annotations"][SLOT] = slot.to_string().into();
    if let Some(holder) = holder {
        metadata["annotations"][PARTITION] = HOLD.into();
        metadata["annotations"][SLOT_OF] = holder.to_string().into();
    }
    if let Some(finalizers) = template["metadata"].get("finalizers") {
        metadata["finalizers"] = finalizers.clone();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
}

fn prefix(set: &Entry) -> String {
    format!("{}-", set.key.name)
}

/// Finds a name for a pod that nothing in the view has, nor another pod of this plan.
///
/// The view's revision is part of what the letters are drawn from: it never comes again, not even on another node,
/// so neither does the name of a pod that is long gone, nor can two sides of a cut cluster make up the same one.
fn free_key(view: &Snapshot, set: &Entry, slot: usize, named: &BTreeSet<Key>) -> Key {
    let base: String = prefix(set).chars().take(LONGEST - DRAWN).collect();
    (0_u64..)
        .map(|attempt| {
            let letters = draw(&[set.uid.0.as_slice(), &(slot as u64).to_be_bytes()], view.revision().0, attempt);
            Key::new(&kinds::POD, set.key.namespace.clone(), format!("{base}{letters}"))
        })
        .find(|key| view.get(key).is_none() && !named.contains(key))
        .expect("there are more names than pods")
}

fn draw(parts: &[&[u8]], revision: u64, attempt: u64) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hash.update(revision.to_be_bytes());
    hash.update(attempt.to_be_bytes());
    names::letters(&hash.finalize(), DRAWN)
}
