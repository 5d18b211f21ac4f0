//! When a condition last changed: its `lastTransitionTime` moves only with its status.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeStatus, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::time::Wall;

/// Status and transition time of each condition.
#[derive(Clone, Debug, Default)]
pub(super) struct Transitions(BTreeMap<String, (String, Time)>);

impl Transitions {
    /// Reads what an earlier agent wrote about a pod.
    pub fn of(status: &PodStatus) -> Self {
        let conditions = status.conditions.iter().flatten();
        let known =
            conditions.filter_map(|c| Some((c.type_.clone(), (c.status.clone(), c.last_transition_time.clone()?))));
        Self(known.collect())
    }

    /// Reads what an earlier agent wrote about the node.
    pub fn of_node(status: &NodeStatus) -> Self {
        let conditions = status.conditions.iter().flatten();
        let known =
            conditions.filter_map(|c| Some((c.type_.clone(), (c.status.clone(), c.last_transition_time.clone()?))));
        Self(known.collect())
    }

    /// Notes a condition's status, and returns since when it is so.
    pub fn since(&mut self, condition: &str, status: &str, now: Wall) -> Time {
        match self.0.get(condition) {
            Some((before, at)) if before == status => at.clone(),
            _ => {
                self.0.insert(condition.to_owned(), (status.to_owned(), now.time()));
                now.time()
            }
        }
    }
}
