//! How nodes are, as this node sees it, projected onto Nodes and their pods (rule 20).
//!
//! | reach | Node | its pods |
//! |---|---|---|
//! | reachable | as its kubelet says | as its kubelet says |
//! | returning | taint [`RETURNING`] NoSchedule: what it holds is not all known yet, nothing is trimmed | as its kubelet says |
//! | unreachable | Ready and the like Unknown, taint [`UNREACHABLE`] NoSchedule | Ready False |
//! | lost | also taint [`UNREACHABLE`] NoExecute | also reason `NodeLost` |
//!
//! Pods that have ended stay as they are. Projected taints and conditions are no intent: a write that carries them back
//! does not store them. A user's own taint of the same key and effect stands in for the projected one.

use serde_json::{Map, Value, json};

use crate::object::{Key, kinds};
use crate::time::{Now, Wall};

use super::state::Store;

/// The taint of a node that does not answer, as upstream's node lifecycle controller sets it.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The taint of a node that answers again, until a full exchange with it is done.
pub const RETURNING: &str = "skein.dev/returning";

/// The conditions of a Node that are not known once it does not answer.
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// How a node is, as this node sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// It answers.
    #[default]
    Reachable,
    /// It answers again, or for the first time under this leader; no full exchange with it is done yet.
    Returning,
    /// It has not answered for a short while.
    Unreachable,
    /// It has not answered for so long that its pods are to be replaced.
    Lost,
}

/// How a node is that is not just reachable, and since when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    reach: Reach,
    /// Since when it is so.
    since: Wall,
    /// Since when it does not answer, if it does not.
    dark: Wall,
}

impl Sight {
    fn next(last: Option<&Self>, reach: Reach, now: Wall) -> Self {
        let was_dark = last.filter(|last| last.is_dark());
        Self { reach, since: now, dark: was_dark.map_or(now, |last| last.dark) }
    }

    fn is_dark(&self) -> bool {
        self.reach >= Reach::Unreachable
    }

    fn taints(&self) -> Vec<Value> {
        let taint =
            |key: &str, effect: &str, at: Wall| json!({"key": key, "effect": effect, "timeAdded": at.to_string()});
        match self.reach {
            Reach::Reachable => Vec::new(),
            Reach::Returning => vec![taint(RETURNING, "NoSchedule", self.since)],
            Reach::Unreachable => vec![taint(UNREACHABLE, "NoSchedule", self.dark)],
            Reach::Lost => {
                vec![taint(UNREACHABLE, "NoSchedule", self.dark), taint(UNREACHABLE, "NoExecute", self.since)]
            }
        }
    }
}

impl Store {
    /// Sets how a node is; shown at once, on its Node and on the pods bound to it, now and later. A node of which
    /// nothing was said is reachable.
    pub fn set_reach(&mut self, now: Now, node: &str, reach: Reach) {
        self.advance(now);
        let last = self.sights.get(node);
        if last.map_or(Reach::Reachable, |last| last.reach) == reach {
            return;
        }
        let next = Sight::next(last, reach, now.wall);
        if reach == Reach::Reachable {
            self.sights.remove(node);
        } else {
            self.sights.insert(node.to_owned(), next);
        }
        let pods: Vec<Key> = self.snapshot.on_node(node).map(|entry| entry.key.clone()).collect();
        self.reveal_or_follow(&Key::cluster(&kinds::NODE, node));
        for pod in pods {
            self.reveal_or_follow(&pod);
        }
    }

    /// Projects onto an object how its node is.
    pub(super) fn projected(&self, key: &Key, mut object: Value) -> Value {
        if self.sights.is_empty() {
            return object;
        }
        if *key.kind == kinds::NODE {
            if let Some(sight) = self.sights.get(&key.name) {
                project_node(sight, &mut object);
            }
        } else if *key.kind == kinds::POD
            && let Some(node) = object["spec"]["nodeName"].as_str().map(str::to_owned)
            && let Some(sight) = self.sights.get(&node).filter(|sight| sight.is_dark())
        {
            project_pod(sight, &node, &key.name, &mut object);
        }
        object
    }
}

fn project_node(sight: &Sight, object: &mut Value) {
    let own = object["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let place = |taint: &Value| (taint["key"].clone(), taint["effect"].clone());
    let mut taints = sight.taints();
    taints.retain(|taint| own.iter().all(|known| place(known) != place(taint)));
    let all: Vec<Value> = own.into_iter().chain(taints).collect();
    if !all.is_empty() {
        map_of(object, "spec").insert("taints".into(), all.into());
    }
    if !sight.is_dark() {
        return;
    }
    let created = object["metadata"]["creationTimestamp"].clone();
    let conditions = conditions_of(map_of(object, "status"));
    for name in CONDITIONS {
        let Some(condition) = conditions.iter_mut().find(|c| c["type"] == name) else {
            conditions.push(json!({
                "type": name, "status": "Unknown", "reason": "NodeStatusNeverUpdated",
                "message": "Kubelet never posted node status.",
                "lastHeartbeatTime": created, "lastTransitionTime": sight.dark.to_string(),
            }));
            continue;
        };
        if condition["status"] != "Unknown" {
            condition["status"] = "Unknown".into();
            condition["reason"] = "NodeStatusUnknown".into();
            condition["message"] = "Kubelet stopped posting node status.".into();
            condition["lastTransitionTime"] = sight.dark.to_string().into();
        }
    }
}

fn project_pod(sight: &Sight, node: &str, pod: &str, object: &mut Value) {
    // What has ended is as it is, wherever its node went.
    if matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        return;
    }
    let status = map_of(object, "status");
    if let Some(Value::Array(conditions)) = status.get_mut("conditions") {
        let ready = conditions.iter_mut().find(|c| c["type"] == "Ready" && c["status"] != "False");
        if let Some(ready) = ready {
            ready["status"] = "False".into();
            ready["lastTransitionTime"] = sight.dark.to_string().into();
        }
    }
    if sight.reach == Reach::Lost {
        let message = format!("Node {node} which was running pod {pod} is unresponsive");
        status.insert("reason".into(), "NodeLost".into());
        status.insert("message".into(), message.into());
    }
}

/// Finds a part of an object, which is made if it is not there or is no map.
fn map_of<'a>(object: &'a mut Value, part: &str) -> &'a mut Map<String, Value> {
    let part = &mut object[part];
    if !part.is_object() {
        *part = json!({});
    }
    part.as_object_mut().expect("it was made one")
}

fn conditions_of(status: &mut Map<String, Value>) -> &mut Vec<Value> {
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    conditions.as_array_mut().expect("it was made one")
}

/// Takes projected taints out of what is asked of a Node: those of our keys that say when they were added, which no
/// user's do.
pub(super) fn strip_taints(intent: &mut Map<String, Value>) {
    let Some(Value::Object(spec)) = intent.get_mut("spec") else { return };
    let Some(Value::Array(taints)) = spec.get_mut("taints") else { return };
    let before = taints.len();
    taints.retain(|taint| {
        let ours = matches!(taint["key"].as_str(), Some(UNREACHABLE | RETURNING));
        !ours || taint["timeAdded"].is_null()
    });
    if taints.is_empty() && before > 0 {
        spec.remove("taints");
    }
}
