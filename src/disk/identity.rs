//! Who this node is, and for whom it voted: two sealed files that no backup holds (rule 22).

use serde::{Deserialize, Serialize};

use crate::ids::Term;

/// The name of the identity file.
pub const IDENTITY: &str = "identity";
/// The name of the vote file.
pub const VOTE: &str = "vote";

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
    pub pod_range: ipnet::Ipv4Net,
    /// The cluster's service range.
    pub service_range: ipnet::Ipv4Net,
    /// The certificate authority's key, PEM.
    pub authority_key: String,
    /// The certificate authority's certificate, PEM.
    pub authority: String,
}

/// What a voter must not forget. Grows only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The newest term this node has seen.
    pub term: Term,
    /// How often this node has started: stamps its observations and names its actors.
    pub incarnation: u64,
}
