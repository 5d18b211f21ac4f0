//! The words between the node and the world: inputs, outputs, requests.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use crate::election::{Ballot, Registers, SaveId};
use crate::ids::{NodeId, PersistId, RequestId, Uid};
use crate::kubelet::action::{Action, Observation};
use crate::routing::Routes;
use crate::store::{Change, Committed, Rejected, Snapshot};
use crate::time::Mono;
use crate::trust::{Admission, Declined, JoinRequest};

use super::message::{Lane, Message};
use super::partition::Partition;

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
    /// A member says something; what one frame carried, in order.
    Received {
        /// Who.
        from: NodeId,
        /// What.
        messages: Vec<Message>,
    },
    /// A member can be sent to from now on.
    Connected(NodeId),
    /// A member cannot be sent to any more.
    Gone {
        /// Which.
        peer: NodeId,
        /// Whether its host is there and ended the connection: its agent has died or been stopped.
        reset: bool,
    },
    /// A member's host refuses connections: it lives, and its agent does not.
    Refused(NodeId),
    /// All saves of ballot and registers up to this one are durable.
    Saved(SaveId),
    /// A stranger asks to be admitted. Answered by exactly one [`Effect::Admit`].
    Join {
        /// Correlates the answer.
        id: RequestId,
        /// Who, and with what.
        request: JoinRequest,
    },
    /// The disk refuses to be written, or takes writes again.
    Disk {
        /// Why; `None`: it takes writes.
        trouble: Option<String>,
    },
    /// This host has another address.
    Address(Ipv4Addr),
    /// A human wants this node to be the first voter of a new generation of the cluster, since most voters are gone for
    /// good. Answered by [`Effect::Recovered`].
    Recover {
        /// Correlates the answer.
        id: RequestId,
        /// Do so even if they are not gone.
        force: bool,
    },
    /// The agent is about to stop: if this node leads, another shall.
    Leave,
    /// Nothing has happened: go on with what the last turn left ([`super::Node::is_busy`]).
    Continue,
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
    /// Who asks, for the object's history.
    pub user: Option<String>,
}

/// Something to do. Executed in order.
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
    /// Write a file into the data folder, before what comes after: what only this node held.
    Displaced {
        /// The file's name.
        name: String,
        /// What is in it.
        text: Vec<u8>,
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
    /// Show what is known of partitions: the last few, the newest last, of which one may last still.
    Partitions(Arc<Vec<Partition>>),
    /// Send traffic there from now on.
    Route(Arc<Routes>),
    /// Have the runtime do something.
    Act(Box<Action>),
    /// Have all containers of a pod killed that still run at its moment; before what comes after. The whole list: other
    /// pods are not to be watched.
    Deadlines(BTreeMap<Uid, Mono>),
    /// Send a frame to a member, now; it may be lost.
    Send {
        /// To whom.
        to: NodeId,
        /// On which lane.
        lane: Lane,
        /// What it carries, in order.
        messages: Vec<Message>,
    },
    /// Make durable what is given, ballot before registers, then say [`Input::Saved`].
    Save {
        /// Which.
        id: SaveId,
        /// The ballot, if it changed.
        ballot: Option<Ballot>,
        /// All registers, if one changed.
        registers: Option<Registers>,
    },
    /// These are the other members from now on, and where each was last known to be: name and mesh addresses.
    Peers(BTreeMap<NodeId, (String, Vec<SocketAddrV4>)>),
    /// Answer one that wanted a new generation of the cluster: what has been done, or why not.
    Recovered {
        /// Which.
        id: RequestId,
        /// What.
        result: Result<String, String>,
    },
    /// Answer one that asked to be admitted.
    Admit {
        /// Which.
        id: RequestId,
        /// What.
        result: Result<Admission, Declined>,
    },
}
