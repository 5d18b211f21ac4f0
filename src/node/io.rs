//! The words between the node and the world: inputs, outputs, requests.

use std::sync::Arc;

use crate::ids::{PersistId, RequestId};
use crate::kubelet::action::{Action, Observation};
use crate::routing::Routes;
use crate::store::{Change, Committed, Rejected, Snapshot};

/// Something that happened.
#[derive(Debug)]
pub enum Input {
    /// An API client asks for something. Answered by exactly one [`Effect::Answer`].
    Request {
        /// Correlates the answer.
        id: RequestId,
        /// What is asked.
        request: Request,
    },
    /// All batches up to this one are durable.
    Persisted(PersistId),
    /// The runtime reports.
    Observed(Observation),
    /// Time has passed. Comes every [`TICK`].
    Tick,
}

/// How often [`Input::Tick`] comes.
pub const TICK: std::time::Duration = std::time::Duration::from_millis(100);

/// What an API client asks of the node. Reads go to the [`Snapshot`] instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The change; an object in it is defaulted and validated.
    pub change: Change,
    /// Do all but keep it: the answer shows what would have been.
    pub dry_run: bool,
}

/// Something to do. Executed in order; one that names a batch in `after` waits until that is durable.
#[derive(Debug)]
pub struct Output {
    /// The batch that must be durable first.
    pub after: Option<PersistId>,
    /// What to do.
    pub effect: Effect,
}

/// What to do.
#[derive(Debug)]
pub enum Effect {
    /// Append records to the log. `urgent`: make them durable now; else within a few seconds will do.
    Persist {
        /// The batch; ids are given in order, and [`Input::Persisted`] comes in order.
        id: PersistId,
        /// The records.
        records: Vec<Vec<u8>>,
        /// Whether somebody waits for it.
        urgent: bool,
    },
    /// Answer an API client.
    Answer {
        /// Which.
        id: RequestId,
        /// What.
        result: Result<Committed, Rejected>,
    },
    /// Show the cluster as it is now. Comes before the answers to the writes it shows.
    Publish(Snapshot),
    /// Send traffic there from now on.
    Route(Arc<Routes>),
    /// Have the runtime do something.
    Act(Box<Action>),
}
