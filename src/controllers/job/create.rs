//! How many attempts there should be, which are too many, and what new ones look like.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::controllers::{BURST, edit, names, open, owner};
use crate::object::{Key, NoteType, kinds};
use crate::store::{Change, Entry};

use super::attempts::{Attempt, INDEX, State};
use super::{Sync, TRACKING, backoff};

/// Longest name a pod gets (its host name has to fit a DNS label), and the part that is drawn.
const LONGEST: usize = 63;
const DRAWN: usize = 5;
/// The variable that tells an indexed pod its index.
const VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// Makes what is missing and stops what is too much.
pub fn manage(sync: &mut Sync<'_>) {
    let surplus = surplus(sync);
    if !surplus.is_empty() {
        surplus.iter().take(BURST).for_each(|pod| sync.stop(pod));
        return;
    }
    let active = sync.attempts.iter().filter(|a| a.state == State::Active).count();
    // With the policy `Failed` what is being ended keeps its place until it has.
    let ending = sync.attempts.iter().filter(|a| a.state == State::Ending).count();
    let missing = wanted(sync, active).saturating_sub(active + ending).min(BURST);
    if missing == 0 || !open(sync.view, &sync.entry.key.namespace) {
        return;
    }
    if let Some(wait) = backoff::remaining(&sync.attempts, sync.now.wall) {
        return sync.plan.look_again(wait);
    }
    let free: Vec<Option<i32>> =
        if sync.is_indexed() { free_indexes(sync).take(missing).map(Some).collect() } else { vec![None; missing] };
    let object = sync.entry.value();
    let mut named = BTreeSet::new();
    for index in free {
        let key = free_key(sync, index, &named);
        sync.tell(NoteType::Normal, "SuccessfulCreate", format!("Created pod: {}", key.name));
        let pod = pod(&object["spec"]["template"], sync.entry, &key, index);
        sync.plan.changes.push(Change::Create { key: key.clone(), object: pod });
        named.insert(key);
    }
}

/// How many attempts should be active.
fn wanted(sync: &Sync<'_>, active: usize) -> usize {
    let parallelism = usize::try_from(sync.spec.parallelism.unwrap_or(1)).unwrap_or(0);
    let succeeded = sync.succeeded();
    match sync.spec.completions {
        Some(completions) => usize::try_from(completions - succeeded).unwrap_or(0).min(parallelism),
        // Once one of a work queue has succeeded no new ones are made.
        None if succeeded > 0 => active.min(parallelism),
        None => parallelism,
    }
}

/// The active attempts that are too many: those whose index is done or another's, then the least advanced.
fn surplus(sync: &Sync<'_>) -> Vec<Arc<Entry>> {
    let mut order: Vec<&Attempt> = sync.attempts.iter().filter(|a| a.state == State::Active).collect();
    let age = |a: &Attempt| (a.pod.metadata.creation_timestamp.clone().map(|t| t.0), a.entry.uid);
    order.sort_by_key(|a| (!a.is_ready(), a.entry.node.is_none(), age(a)));
    let (mut kept, mut surplus, mut held) = (0, Vec::new(), BTreeSet::new());
    let wanted = wanted(sync, order.len());
    for attempt in order {
        let index = attempt.index_of(sync.spec);
        let fits =
            !sync.is_indexed() || index.is_some_and(|index| !sync.completed.contains(&index) && held.insert(index));
        if fits && kept < wanted {
            kept += 1;
        } else {
            surplus.push(Arc::clone(&attempt.entry));
        }
    }
    surplus
}

/// The indexes that are not done and that nobody works on, smallest first.
fn free_indexes(sync: &Sync<'_>) -> impl Iterator<Item = i32> {
    let works = |a: &&Attempt| matches!(a.state, State::Active | State::Ending);
    let held: BTreeSet<i32> = sync.attempts.iter().filter(works).filter_map(|a| a.index_of(sync.spec)).collect();
    let completed = &sync.completed;
    let all = 0..sync.spec.completions.unwrap_or_default();
    all.filter(move |index| !held.contains(index) && !completed.contains(index))
}

fn pod(template: &Value, job: &Entry, key: &Key, index: Option<i32>) -> Value {
    let mut metadata = json!({
        "name": key.name,
        "generateName": prefix(job, index),
        "namespace": key.namespace,
        "labels": edit::map(&template["metadata"]["labels"]),
        "annotations": edit::map(&template["metadata"]["annotations"]),
        "finalizers": [TRACKING],
        "ownerReferences": [owner::reference(job)],
    });
    for finalizer in template["metadata"]["finalizers"].as_array().into_iter().flatten() {
        metadata["finalizers"].as_array_mut().expect("it was made a list").push(finalizer.clone());
    }
    let mut spec = template["spec"].clone();
    if let Some(index) = index {
        let text = index.to_string();
        (metadata["annotations"][INDEX], metadata["labels"][INDEX]) = (text.clone().into(), text.into());
        if spec["hostname"].as_str().unwrap_or_default().is_empty() {
            spec["hostname"] = prefix(job, Some(index)).trim_end_matches('-').into();
        }
        for list in ["initContainers", "containers"] {
            spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().for_each(tell_index);
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}

/// Gives a container the variable with the index, unless it has one of that name.
fn tell_index(container: &mut Value) {
    let source = json!({"fieldRef": {"apiVersion": "v1", "fieldPath": format!("metadata.labels['{INDEX}']")}});
    let variable = json!({"name": VARIABLE, "valueFrom": source});
    match container["env"].as_array_mut() {
        Some(env) if env.iter().any(|v| v["name"] == VARIABLE) => {}
        Some(env) => env.push(variable),
        None => container["env"] = json!([variable]),
    }
}

fn prefix(job: &Entry, index: Option<i32>) -> String {
    let name = &job.key.name;
    index.map_or_else(|| format!("{name}-"), |index| format!("{name}-{index}-"))
}

/// Finds a name that nothing in the view has, nor another pod of this plan. See the ReplicaSets' on what it is drawn from.
fn free_key(sync: &Sync<'_>, index: Option<i32>, named: &BTreeSet<Key>) -> Key {
    let base: String = prefix(sync.entry, index).chars().take(LONGEST - DRAWN).collect();
    let draw = |attempt: u64| {
        let mut hash = Sha256::new();
        hash.update(sync.entry.uid.0);
        hash.update(sync.view.revision().0.to_be_bytes());
        hash.update((named.len() as u64).to_be_bytes());
        hash.update(attempt.to_be_bytes());
        names::letters(&hash.finalize(), DRAWN)
    };
    (0_u64..)
        .map(|attempt| Key::new(&kinds::POD, sync.entry.key.namespace.clone(), format!("{base}{}", draw(attempt))))
        .find(|key| sync.view.get(key).is_none() && !named.contains(key))
        .expect("there are more names than pods")
}
