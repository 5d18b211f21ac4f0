//! Who this node is, and for whom it voted: small sealed files that no backup holds (rule 22).

use std::net::SocketAddrV4;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::election::{Ballot, Registers, Voters};
use crate::ids::Term;

/// The name of the identity file.
pub const IDENTITY: &str = "identity";
/// The name of the vote file.
pub const VOTE: &str = "vote";
/// The name of the file with the quorum registers.
pub const REGISTERS: &str = "registers";
/// The name of its copy, written after it: small, and not to be had from anywhere else where one node is all.
pub const REGISTERS_COPY: &str = "registers-copy";
/// The names of what changed in them since: see [`super::registry`].
pub const REGISTERS_LOG: &str = "registers-log";
/// The name of its copy.
pub const REGISTERS_LOG_COPY: &str = "registers-log-copy";
/// The name of the file of one that is about to join.
pub const JOINING: &str = "joining";

/// Who this node is. Holds secrets: never logged, no Debug.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    /// The node's Ed25519 seed, hexadecimal.
    pub key: String,
    /// The node's name in the cluster.
    pub name: String,
    /// The cluster's id: the hash of its genesis key, hexadecimal.
    pub cluster: String,
    /// This member's tag in the low bits of resourceVersions.
    pub tag: u16,
    /// The node's pod range.
    pub pod_range: Ipv4Net,
    /// The cluster's service range.
    pub service_range: Ipv4Net,
    /// The range of all pods; `None` in a file of a release that knew clusters of one node only.
    #[serde(default)]
    pub pods: Option<Ipv4Net>,
    /// The certificate authority's key, PEM, on those members that sign for others.
    #[serde(default)]
    pub authority_key: Option<String>,
    /// The certificate authority's certificate, PEM.
    pub authority: String,
    /// This member's signed record, then its signer's, up to the founder's, hexadecimal. Empty as `pods` is.
    #[serde(default)]
    pub chain: Vec<String>,
    /// Whether it runs no pods, and is a member for its vote.
    #[serde(default)]
    pub witness: bool,
    /// Where the members were that this node has joined by.
    #[serde(default)]
    pub seeds: Vec<SocketAddrV4>,
}

/// What a voter must not forget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// How often this node has started: stamps its observations and names its actors.
    pub incarnation: u64,
    /// The ballot; `None` in a file of a release that knew clusters of one node only.
    #[serde(default)]
    pub ballot: Option<Ballot>,
    /// The newest term, in such a file.
    #[serde(default, skip_serializing)]
    pub term: Term,
}

/// What voters have decided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// The ballot's voters once more: if the vote is lost, they tell whether this node was the only one.
    pub voters: Voters,
    /// The quorum registers.
    pub registers: Registers,
}

/// The key of one that is about to join, kept before the token is shown to anybody: who fails half-way and tries again
/// is the same machine. Holds a secret.
#[derive(Clone, Serialize, Deserialize)]
pub struct Joining {
    /// The node's Ed25519 seed, hexadecimal.
    pub key: String,
    /// The cluster's id, hexadecimal.
    pub cluster: String,
}
