//! Which node a pod goes on: filter -> score -> pick.
//!
//! The room decides from a [`View`] of the cluster and nothing else: the same view and pod give the same node
//! everywhere. It never evicts a pod to make room (there is no preemption), and it never looks at a pod that names
//! another scheduler or waits behind a scheduling gate. Order and words of the filters are upstream's.

mod affinity;
mod queue;
mod score;
mod spread;
mod unschedulable;
mod view;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use sha2::{Digest, Sha256};

use crate::object::fit;

pub use queue::{is_waiting, waiting};
pub use unschedulable::Unschedulable;
pub use view::View;

use affinity::Affinity;
use spread::Spread;
use view::NodeView;

/// The one scheduler that there is.
pub const NAME: &str = "default-scheduler";

/// Chooses a node for `pod`. To place several pods in one pass, tell the view of each choice with [`View::assume`].
///
/// # Errors
/// [`Unschedulable`] says how many nodes there are and why each will not do.
pub fn schedule(view: &View, pod: &Pod) -> Result<String, Unschedulable> {
    let nodes = feasible(view, pod)?;
    let scores = score::scores(view, pod, &nodes);
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let best = nodes.iter().zip(scores).max_by_key(|(node, score)| (*score, tie_break(uid, &node.name)));
    Ok(best.map(|(node, _)| node.name.clone()).expect("there is a feasible node"))
}

/// The nodes that would do; at least one.
fn feasible<'a>(view: &'a View, pod: &Pod) -> Result<Vec<&'a NodeView>, Unschedulable> {
    let spread = Spread::required(view, pod);
    let affinity = Affinity::required(view, pod);
    let (mut nodes, mut reasons) = (Vec::new(), BTreeMap::<String, usize>::new());
    for node in view.nodes() {
        let misfits = fit::misfits(pod, &node.node, &node.usage);
        let why = if misfits.is_empty() {
            let misfit = spread.misfit(node).or_else(|| affinity.misfit(node));
            misfit.map_or_else(|| view.crowding(node, pod), |why| vec![why.to_owned()])
        } else {
            misfits.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        if why.is_empty() {
            nodes.push(node);
        }
        for reason in why {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    if nodes.is_empty() { Err(Unschedulable { nodes: view.nodes().count(), reasons }) } else { Ok(nodes) }
}

/// Among equals, each pod has its own favourite, the same everywhere.
fn tie_break(uid: &str, node: &str) -> [u8; 32] {
    Sha256::new().chain_update(uid).chain_update([0]).chain_update(node).finalize().into()
}

#[cfg(test)]
mod tests;
