//! No original is needlessly dead: a leader does not delete a pod that is ready while a younger one in the same slot
//! lives on, unless a third one, older still, holds the slot. Which is older nodes know by the dates on them alone: a pod that
//! was dated by a wrong clock is left out.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use skein::ids::NodeId;
use skein::object::kinds;
use skein::store::{Entry, Snapshot};

use crate::ledger::Ledger;

pub const NAME: &str = "the older healthy pod is kept";

/// The annotation of a pod that says which replica it is.
const SLOT: &str = "skein.dev/slot";

/// Checks what `me`, who leads, showed before and shows now.
pub fn check(now: Duration, ledger: &Ledger, me: NodeId, before: &Snapshot, after: &Snapshot) -> Result<(), String> {
    for old in before.list(&kinds::POD, None).filter(|pod| !pod.terminating) {
        let new = after.get(&old.key).filter(|new| new.uid == old.uid);
        if new.is_some_and(|new| Arc::ptr_eq(new, old) || !new.terminating) || ledger.unwanted.contains(&old.uid) {
            continue;
        }
        if !ledger.marked.get(&old.uid).is_some_and(|who| who.contains(&me)) {
            continue;
        }
        let Some(set) = old.controller.filter(|set| after.by_uid(*set).is_some_and(|set| !set.terminating)) else {
            continue;
        };
        let value = old.value();
        // What came to be ready just now was not when it was decided.
        let ripe = ledger.ready.get(&old.uid).is_some_and(|since| now > *since + Duration::from_secs(1));
        if !ripe || !is_ready(&value) || ledger.misdated.contains(&old.uid) {
            continue;
        }
        let slot = |pod: &Value| pod["metadata"]["annotations"][SLOT].clone();
        let shares = |pod: &&Arc<Entry>| !pod.terminating && slot(&pod.value()) == slot(&value);
        let siblings: Vec<_> = after.controlled_by(set, &kinds::POD).filter(shares).collect();
        let age = born(ledger, old);
        let elder = siblings.iter().any(|pod| born(ledger, pod) <= age && is_ready(&pod.value()));
        // One that is lost does not count for the leader, so it is none that another goes for.
        let counts = |pod: &Arc<Entry>| !crate::world::is_lost(pod) && !ledger.misdated.contains(&pod.uid);
        let younger = siblings.iter().find(|pod| born(ledger, pod) > age + Duration::from_secs(2) && counts(pod));
        if let (false, Some(younger)) = (elder, younger) {
            return Err(format!("{NAME}: {} on {:?} goes, {} stays", old.key, old.node, younger.key));
        }
    }
    Ok(())
}

/// Tells whether a pod is shown as ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

fn born(ledger: &Ledger, pod: &Entry) -> Duration {
    ledger.born.get(&pod.uid).copied().unwrap_or_default()
}
