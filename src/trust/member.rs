//! Membership records: who belongs to the cluster, signed and chained to the member that founded it.
//!
//! A record is decided as a quorum register (rule 4) and signed by the leader that admits. It is valid if its signer's
//! own record is; the founder signs its own, and the cluster's id is the hash of its key. So whoever knows the id
//! can check the whole table, whoever hands it over.

use ipnet::Ipv4Net;

use crate::ids::{ClusterId, NodeId};
use crate::time::Wall;

use super::token::TokenId;

/// What a membership record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member's key.
    pub id: NodeId,
    /// Its node's name, unlike any other member's.
    pub name: String,
    /// The low bits of its resourceVersions, unlike any other member's; from 1.
    pub tag: u16,
    /// Its share of the pods' range, unlike any other member's.
    pub pod_range: Ipv4Net,
    /// When it was admitted.
    pub joined: Wall,
    /// The token that it came with, which nobody can use again; `None` for the founder.
    pub token: Option<TokenId>,
    /// Who signed.
    pub by: NodeId,
}

/// The signed form: CBOR and 64 bytes of signature.
pub type SignedMember = Vec<u8>;

/// What is the same for all members, told to one that joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// The range of all pods.
    pub pods: Ipv4Net,
    /// The range of all Services.
    pub services: Ipv4Net,
}

/// All members whose records are valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {}

/// Why somebody is not admitted, as a sentence for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// To be written by trust.
    #[error("{0}")]
    Other(String),
}

/// Who wants in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// The token, as text.
    pub token: String,
    /// The joiner's key, which the connection has proven.
    pub id: NodeId,
    /// The name that its host would like.
    pub name: String,
}

/// What a new member has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// Its own record.
    pub member: SignedMember,
    /// All records, its own included.
    pub members: Vec<SignedMember>,
    /// The cluster's settings.
    pub settings: ClusterSettings,
}

impl Members {
    /// Reads a table of records: those with a chain to the founder of `cluster` count, the others are left out.
    pub fn of<'a>(_cluster: ClusterId, _records: impl IntoIterator<Item = &'a [u8]>) -> Self {
        todo!()
    }

    /// Finds a member.
    pub fn get(&self, _id: &NodeId) -> Option<&Member> {
        todo!()
    }

    /// Finds a member by its node's name.
    pub fn named(&self, _name: &str) -> Option<&Member> {
        todo!()
    }

    /// Lists all, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        std::iter::empty()
    }

    /// Decides whether `request` is granted, and if so with which record, not signed yet: the name gets a suffix if it
    /// is taken, tag and pod range are the lowest free ones. Who is a member with this very token already gets its
    /// record as it is.
    ///
    /// # Errors
    /// [`Refused`]: the token is malformed, another cluster's, forged, expired or used; the pod range is exhausted.
    pub fn admit(
        &self,
        _settings: &ClusterSettings,
        _request: &JoinRequest,
        _by: NodeId,
        _now: Wall,
    ) -> Result<Member, Refused> {
        todo!()
    }
}

impl Member {
    /// Writes and signs it.
    pub fn sign(&self, _key: &ed25519_dalek::SigningKey) -> SignedMember {
        todo!()
    }
}
