//! How nodes are, as this node sees it, projected onto Nodes and their pods (rule 20).
//!
//! | reach | Node | its pods |
//! |---|---|---|
//! | reachable | as its kubelet says | as its kubelet says |
//! | returning | taint [`RETURNING`] NoSchedule: what it holds is not all known yet, nothing is trimmed | as its kubelet says |
//! | unreachable | Ready Unknown, taint [`UNREACHABLE`] NoSchedule | Ready False |
//! | lost | also taint [`UNREACHABLE`] NoExecute | also reason `NodeLost` |
//!
//! Projected taints are no intent: an update that carries them does not store them.

use crate::time::Now;

use super::state::Store;

/// The taint of a node that does not answer, as upstream's node lifecycle controller sets it.
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The taint of a node that answers again, until a full exchange with it is done.
pub const RETURNING: &str = "skein.dev/returning";

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

impl Store {
    /// Sets how a node is; shown at once.
    pub fn set_reach(&mut self, _now: Now, _node: &str, _reach: Reach) {
        todo!()
    }
}
