//! Which ReplicaSet is the newest template's, and the numbering of revisions that `kubectl rollout history` and
//! `undo` read.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::store::Entry;

use super::super::{edit, names, owner};
use super::set::{DESIRED, MAX, Set};
use super::wanted::Wanted;

/// The number of a rollout, on ReplicaSets and on the Deployment.
pub const REVISION: &str = "deployment.kubernetes.io/revision";
/// Former numbers of a ReplicaSet that was rolled back to, oldest first, separated by commas.
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Longest history in characters; the oldest numbers go first.
const HISTORY_LIMIT: usize = 2_000;
/// The label by which ReplicaSets of one Deployment tell their pods apart.
pub const HASH: &str = "pod-template-hash";
/// Annotations of the Deployment that its ReplicaSets do not take over.
const NOT_COPIED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];
/// Longest name of a ReplicaSet.
const LONGEST: usize = 253;

/// Hashes a pod template. `collisions` counts the names that turned out to be taken.
///
/// Ten letters of 27: that two templates of one Deployment share them is out of the question.
pub fn hash(template: &Value, collisions: i32) -> String {
    let mut digest = Sha256::new();
    digest.update(plain(template).to_string());
    digest.update(collisions.to_be_bytes());
    names::letters(&digest.finalize(), 10)
}

/// A template without what makes no difference: its hash label, nulls, empty lists.
fn plain(template: &Value) -> Value {
    let mut plain = template.clone();
    if let Some(labels) = plain["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    prune(&mut plain);
    plain
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, v| !v.is_null() && v.as_array().is_none_or(|a| !a.is_empty()));
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}

/// Finds the set of the Deployment's current template: the oldest that has the same one, else the one that was made
/// for it (its name says so) and edited by hand since.
pub fn newest(sets: &[Set], template: &Value, name: &str) -> Option<usize> {
    let template = plain(template);
    let same = (0..sets.len()).filter(|i| plain(&sets[*i].object["spec"]["template"]) == template);
    same.min_by_key(|i| (sets[*i].created, &sets[*i].name)).or_else(|| sets.iter().position(|s| s.name == name))
}

/// The name of the set of a template with this hash.
pub fn set_name(deployment: &str, hash: &str) -> String {
    let kept: String = deployment.chars().take(LONGEST - 1 - hash.len()).collect();
    format!("{kept}-{hash}")
}

/// Builds the ReplicaSet of the Deployment's current template, with no replicas yet.
pub fn new_set(entry: &Entry, deployment: &Value, wanted: &Wanted, name: &str, hash: &str) -> Set {
    let mut template = deployment["spec"]["template"].clone();
    template["metadata"]["labels"][HASH] = hash.into();
    let mut selector = deployment["spec"]["selector"].clone();
    selector["matchLabels"][HASH] = hash.into();
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": name,
            "namespace": entry.key.namespace,
            "labels": template["metadata"]["labels"],
            "annotations": {},
            "ownerReferences": [owner::reference(entry)],
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
    });
    if wanted.min_ready_seconds != 0 {
        object["spec"]["minReadySeconds"] = wanted.min_ready_seconds.into();
    }
    Set::planned(name.to_owned(), object)
}

/// Brings the newest set's annotations up to date: those of the Deployment (`kubernetes.io/change-cause` among
/// them), and a revision above all `older` ones. A set that had one below is being rolled back to, and keeps it in
/// its history.
pub fn annotate(set: &mut Set, deployment: &Value, older: i64) {
    for (name, value) in edit::map(&deployment["metadata"]["annotations"]) {
        if let Some(value) = value.as_str()
            && !NOT_COPIED.contains(&name.as_str())
        {
            set.annotate(&name, value);
        }
    }
    let Some(before) = set.revision() else { return };
    let next = older.saturating_add(1);
    if before >= next {
        return;
    }
    if let Some(before) = edit::annotation(&set.object, REVISION) {
        let history = edit::annotation(&set.object, HISTORY).unwrap_or_default();
        let history = appended(history, before);
        set.annotate(HISTORY, &history);
    }
    set.annotate(REVISION, &next.to_string());
}

fn appended(history: &str, revision: &str) -> String {
    let mut kept = history;
    while !kept.is_empty() && kept.len() + 1 + revision.len() > HISTORY_LIMIT {
        kept = kept.split_once(',').map_or("", |(_, rest)| rest);
    }
    if kept.is_empty() { revision.to_owned() } else { format!("{kept},{revision}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_ignores_what_makes_no_difference() {
        let one =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "a"}]}});
        let same = json!({"metadata": {"creationTimestamp": null, "labels": {"app": "web", HASH: "abc"}},
            "spec": {"containers": [{"name": "c", "image": "a", "env": []}]}});
        let other =
            json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "b"}]}});
        assert_eq!(hash(&one, 0), hash(&same, 0));
        assert_ne!(hash(&one, 0), hash(&other, 0));
        assert_ne!(hash(&one, 0), hash(&one, 1));
    }

    #[test]
    fn an_empty_object_does_make_a_difference() {
        let term = |t: Value| json!({"spec": {"term": t}});
        assert_ne!(hash(&term(json!({"namespaceSelector": {}})), 0), hash(&term(json!({})), 0));
    }

    #[test]
    fn history_grows_and_forgets_the_oldest() {
        assert_eq!(appended("", "1"), "1");
        assert_eq!(appended("1,3", "5"), "1,3,5");
        let full = vec!["12"; 667].join(",");
        assert_eq!(full.len(), HISTORY_LIMIT);
        let next = appended(&full, "345");
        assert!(next.len() <= HISTORY_LIMIT && next.ends_with("12,345"), "{}", next.len());
    }

    #[test]
    fn long_names_leave_room_for_the_hash() {
        assert_eq!(set_name("web", "abcdefghij"), "web-abcdefghij");
        assert_eq!(set_name(&"x".repeat(253), "abcdefghij").len(), LONGEST);
    }
}
