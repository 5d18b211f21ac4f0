//! What controllers ask of a node: which taints it has, and what they mean for the pods there.
//!
//! A node that does not answer shows in two taints that nobody wrote (`store::reach`): first it gets no new pods, then
//! its pods count as *lost*, each as soon as its own toleration has run out. A lost pod stays bound and is not deleted
//! for it; it is no replica any more, so that its substitute is made.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PodSpec, Taint};
use serde::Deserialize;

use crate::object::{Key, fit, kinds};
use crate::store::{Entry, RETURNING, Snapshot, UNREACHABLE};
use crate::time::Wall;

/// The effect of taints that end pods.
pub const NO_EXECUTE: &str = "NoExecute";

/// The nodes of some pods, each read once.
#[derive(Debug)]
pub struct Nodes<'a> {
    view: &'a Snapshot,
    now: Wall,
    known: BTreeMap<String, Known>,
}

/// How a node's pods stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The node answers, or its pods are known to be lost: what is known of them is all there is to know.
    Settled,
    /// It does not answer, and may be back any moment; or its object is gone.
    Doubtful,
    /// It answers again, and may hold what the view does not show yet.
    Returning,
}

#[derive(Debug)]
struct Known {
    standing: Standing,
    /// The taint that makes its pods lost.
    lost: Option<Taint>,
}

impl<'a> Nodes<'a> {
    /// Looks at the nodes of `view` as of `now`.
    pub fn new(view: &'a Snapshot, now: Wall) -> Self {
        Self { view, now, known: BTreeMap::new() }
    }

    /// Tells how long until the pod is lost: zero if it is, `None` if nothing says that it will be.
    pub fn until_lost(&mut self, pod: &Entry) -> Option<Duration> {
        let now = self.now;
        let taint = self.known(pod)?.lost.as_ref()?;
        let spec = pod.typed::<Specified>().unwrap_or_default().spec;
        time_left(&spec, taint, now)
    }

    /// Tells whether the pod is lost.
    pub fn is_lost(&mut self, pod: &Entry) -> bool {
        self.until_lost(pod) == Some(Duration::ZERO)
    }

    /// Tells how the pod's node stands. A pod without a node has nothing to be in doubt about.
    pub fn standing(&mut self, pod: &Entry) -> Standing {
        self.known(pod).map_or(Standing::Settled, |known| known.standing)
    }

    /// Tells whether any node of the cluster answers again and may hold what the view does not show yet.
    pub fn is_any_returning(&self) -> bool {
        let is_returning = |node: &std::sync::Arc<Entry>| taints(node).iter().any(|taint| taint.key == RETURNING);
        self.view.list(&kinds::NODE, None).any(is_returning)
    }

    fn known(&mut self, pod: &Entry) -> Option<&Known> {
        let name = pod.node.as_ref()?;
        if !self.known.contains_key(name) {
            let node = self.view.get(&Key::cluster(&kinds::NODE, name.clone()));
            self.known.insert(name.clone(), Known::of(node.map(|e| taints(e)).as_deref()));
        }
        self.known.get(name)
    }
}

impl Known {
    fn of(taints: Option<&[Taint]>) -> Self {
        let Some(taints) = taints else { return Self { standing: Standing::Doubtful, lost: None } };
        let has = |key: &str| taints.iter().any(|t| t.key == key);
        let lost = taints.iter().find(|t| t.key == UNREACHABLE && t.effect == NO_EXECUTE).cloned();
        let standing = match () {
            () if has(RETURNING) => Standing::Returning,
            () if has(UNREACHABLE) && lost.is_none() => Standing::Doubtful,
            () => Standing::Settled,
        };
        Self { standing, lost }
    }
}

/// Lists the taints of a node. Those that are projected are among them.
pub fn taints(node: &Entry) -> Vec<Taint> {
    node.typed::<Tainted>().unwrap_or_default().spec.taints
}

/// Tells whether a taint says how this node sees the other, which nobody asked for.
pub fn is_projected(taint: &Taint) -> bool {
    [UNREACHABLE, RETURNING].contains(&taint.key.as_str())
}

/// Tells how long a pod may stay beside a `NoExecute` taint: zero if its time is up, `None` if for ever. As upstream,
/// the first toleration that covers the taint counts.
pub fn time_left(spec: &PodSpec, taint: &Taint, now: Wall) -> Option<Duration> {
    let Some(toleration) = spec.tolerations.iter().flatten().find(|t| fit::tolerates(t, taint)) else {
        return Some(Duration::ZERO);
    };
    let seconds = Duration::from_secs(u64::try_from(toleration.toleration_seconds?).unwrap_or(0));
    let end = taint.time_added.as_ref().map_or(now, Wall::of) + seconds;
    Some(Duration::from_micros(u64::try_from(end.0.saturating_sub(now.0)).unwrap_or(0)))
}

/// The part of a pod that tolerates.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Specified {
    spec: PodSpec,
}

/// The part of a node that is tainted.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Tainted {
    spec: Taints,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Taints {
    taints: Vec<Taint>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn left(tolerations: &Value, now: i64) -> Option<u64> {
        let spec: PodSpec = serde_json::from_value(json!({"containers": [], "tolerations": tolerations})).unwrap();
        let taint: Taint = serde_json::from_value(
            json!({"key": UNREACHABLE, "effect": NO_EXECUTE, "timeAdded": "1970-01-01T00:01:40Z"}),
        )
        .unwrap();
        time_left(&spec, &taint, Wall::from_secs(now)).map(|d| d.as_secs())
    }

    #[test]
    fn a_pod_stays_beside_a_taint_as_long_as_it_tolerates_it() {
        let table = [
            (json!([]), Some(0)),
            (json!([{"key": "other", "operator": "Exists"}]), Some(0)),
            (json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"}]), Some(0)),
            (json!([{"key": UNREACHABLE, "operator": "Exists"}]), None),
            (json!([{"operator": "Exists"}]), None),
            (json!([{"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": 30}]), Some(20)),
            (json!([{"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": 10}]), Some(0)),
            (json!([{"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": -1}]), Some(0)),
            (
                json!([{"key": UNREACHABLE, "operator": "Exists", "tolerationSeconds": 30}, {"operator": "Exists"}]),
                Some(20),
            ),
        ];
        for (tolerations, expected) in table {
            assert_eq!(left(&tolerations, 110), expected, "{tolerations}");
        }
    }
}
