//! What a Deployment asks for, in plain numbers.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DeploymentSpec, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// A value of `progressDeadlineSeconds` or `revisionHistoryLimit` that means "none" (upstream: MaxInt32).
const NONE: i32 = i32::MAX;

/// The numbers of a Deployment's spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `spec.replicas`.
    pub replicas: i32,
    /// Whether the strategy is RollingUpdate; else it is Recreate.
    pub rolling: bool,
    /// How many pods there may be above `replicas`; 0 for Recreate.
    pub surge: i32,
    /// How many of `replicas` may be unavailable; 0 for Recreate, at most `replicas`.
    pub unavailable: i32,
    /// `spec.minReadySeconds`.
    pub min_ready_seconds: i32,
    /// `spec.paused`.
    pub paused: bool,
    /// For how long a rollout may make no progress.
    pub deadline: Option<Duration>,
    /// How many old ReplicaSets are kept for rollbacks.
    pub history: Option<usize>,
}

impl Wanted {
    /// Reads `spec`; what it leaves out has upstream's default.
    pub fn of(spec: &DeploymentSpec) -> Self {
        let replicas = spec.replicas.unwrap_or(1).max(0);
        let strategy = spec.strategy.as_ref();
        let rolling = strategy.and_then(|s| s.type_.as_deref()) != Some("Recreate");
        let fences = strategy.and_then(|s| s.rolling_update.as_ref());
        let (surge, unavailable) = if rolling { fenceposts(fences, replicas) } else { (0, 0) };
        Self {
            replicas,
            rolling,
            surge,
            unavailable: unavailable.min(replicas),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
            paused: spec.paused.unwrap_or(false),
            deadline: limit(spec.progress_deadline_seconds, 600).map(|s| Duration::from_secs(u64::from(s))),
            history: limit(spec.revision_history_limit, 10).and_then(|n| usize::try_from(n).ok()),
        }
    }

    /// Takes no pod beyond `replicas`, and gives one up where none may be unavailable: of pods that must never run twice the
    /// new one starts only where an old one has ended.
    pub fn never_twice(&mut self) {
        if self.rolling {
            self.surge = 0;
            self.unavailable = self.unavailable.max(1).min(self.replicas);
        }
    }

    /// The most pods there may be at a time.
    pub fn most(&self) -> i32 {
        self.replicas.saturating_add(self.surge)
    }

    /// The fewest pods that must be available.
    pub fn fewest_available(&self) -> i32 {
        self.replicas - self.unavailable
    }
}

fn limit(value: Option<i32>, default: u32) -> Option<u32> {
    match value {
        Some(NONE) => None,
        Some(n) => u32::try_from(n).ok(),
        None => Some(default),
    }
}

/// Resolves maxSurge and maxUnavailable as upstream does: a percentage of surge is rounded up, one of unavailable
/// down, and should both come to 0 then one may be unavailable, for else nothing could ever move.
fn fenceposts(rolling: Option<&RollingUpdateDeployment>, replicas: i32) -> (i32, i32) {
    let quarter = IntOrString::String("25%".to_owned());
    let surge = rolling.and_then(|r| r.max_surge.as_ref()).unwrap_or(&quarter);
    let unavailable = rolling.and_then(|r| r.max_unavailable.as_ref()).unwrap_or(&quarter);
    let (surge, unavailable) = (share(surge, replicas, 99), share(unavailable, replicas, 0));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A number, or a percentage of `replicas` to which `round` hundredths are added. What validation should have
/// refused counts as 0.
fn share(value: &IntOrString, replicas: i32, round: i64) -> i32 {
    match value {
        IntOrString::Int(n) => (*n).max(0),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
            let share = (i64::from(percent) * i64::from(replicas) + round) / 100;
            i32::try_from(share).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn wanted(spec: &Value) -> Wanted {
        let mut full = json!({"selector": {}, "template": {}});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Wanted::of(&serde_json::from_value(full).unwrap())
    }

    #[test]
    fn surge_rounds_up_and_unavailable_down() {
        let cases = [
            (4, json!("25%"), json!("25%"), (1, 1)),
            (3, json!("25%"), json!("25%"), (1, 0)),
            (10, json!("25%"), json!("25%"), (3, 2)),
            (1, json!("25%"), json!("25%"), (1, 0)),
            (5, json!(2), json!("50%"), (2, 2)),
            (5, json!("0%"), json!("10%"), (0, 1)),
            (5, json!(0), json!(0), (0, 1)),
            (3, json!("100%"), json!(7), (3, 3)),
            (0, json!("25%"), json!("25%"), (0, 0)),
        ];
        for (replicas, surge, unavailable, expected) in cases {
            let w = wanted(&json!({"replicas": replicas, "strategy": {"type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}));
            assert_eq!((w.surge, w.unavailable), expected, "{replicas} {surge} {unavailable}");
        }
    }

    #[test]
    fn recreate_has_no_room_either_way() {
        let w = wanted(&json!({"replicas": 4, "strategy": {"type": "Recreate"}}));
        assert_eq!((w.rolling, w.surge, w.unavailable), (false, 0, 0));
    }

    #[test]
    fn what_must_never_run_twice_has_no_surge() {
        for (replicas, unavailable) in [(0, 0), (1, 1), (10, 2)] {
            let mut w = wanted(&json!({"replicas": replicas}));
            w.never_twice();
            assert_eq!((w.surge, w.unavailable), (0, unavailable), "{replicas}");
        }
        let mut w = wanted(&json!({"replicas": 4, "strategy": {"type": "Recreate"}}));
        w.never_twice();
        assert_eq!((w.surge, w.unavailable), (0, 0));
    }

    #[test]
    fn what_is_left_out_has_upstreams_default() {
        let w = wanted(&json!({}));
        assert_eq!((w.replicas, w.rolling, w.surge, w.unavailable), (1, true, 1, 0));
        assert_eq!((w.deadline, w.history), (Some(Duration::from_secs(600)), Some(10)));
        let w = wanted(&json!({"progressDeadlineSeconds": i32::MAX, "revisionHistoryLimit": 0}));
        assert_eq!((w.deadline, w.history), (None, Some(0)));
    }
}
