//! Membership records: who belongs to the cluster, signed and chained to the member that founded it.
//!
//! A record is decided as a quorum register (rule 4) and signed by the leader that admits. It is valid if its signer's
//! own record is; the founder signs its own, and the cluster's id is the hash of its key. So whoever knows the id
//! can check the whole table, whoever hands it over.
//!
//! On the wire a record is CBOR, a map of numbered fields, and behind it 64 bytes of signature over exactly these bytes.
//! Numbers are never used again for something else.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use ipnet::Ipv4Net;
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, NodeId};
use crate::time::Wall;

use super::token::TokenId;

/// The most bytes of a signed record.
pub const MAX_MEMBER_BYTES: usize = 1024;

/// Names of quorum registers that hold membership records begin so; the member's id follows.
pub const REGISTERS: &str = "member/";

const VERSION: u8 = 1;
/// Goes before what is signed, so that a signature of another purpose does not do.
const CONTEXT: &[u8] = b"skein member 1\0";
const SIGNATURE_BYTES: usize = 64;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    /// The range of all pods.
    pub pods: Ipv4Net,
    /// The range of all Services.
    pub services: Ipv4Net,
}

/// Why bytes are no membership record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMember {
    /// Too long or too short.
    #[error("a membership record of {0} bytes")]
    Size(usize),
    /// It cannot be read.
    #[error("malformed membership record: {0}")]
    Malformed(String),
    /// The signature is not that of whom it names.
    #[error("the membership record of {0:?} is not signed by {1:?}")]
    Signature(NodeId, NodeId),
}

/// All members whose records are valid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    by_id: BTreeMap<NodeId, Member>,
}

impl Members {
    /// Reads a table of records: those with a chain to the founder of `cluster` count, the others are left out. Of
    /// several valid ones about one member the oldest counts. The order does not matter.
    pub fn of<'a>(cluster: ClusterId, records: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let read = records.into_iter().filter_map(|raw| Some((Member::read(raw).ok()?, raw)));
        let mut waiting: Vec<_> = read.filter(|(member, _)| member.cluster == cluster).collect();
        waiting.sort_by(|(a, a_raw), (b, b_raw)| (a.joined, a_raw).cmp(&(b.joined, b_raw)));
        let mut table = Self::default();
        // Each round admits those whose signers the rounds before have admitted, as deep as the chain goes.
        loop {
            let (valid, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(m, _)| table.vouches_for(m));
            if valid.is_empty() {
                break;
            }
            for (member, _) in valid {
                table.keep(member);
            }
            waiting = rest;
        }
        table
    }

    fn vouches_for(&self, member: &Member) -> bool {
        member.is_founder() || self.by_id.contains_key(&member.by) && member.by != member.id
    }

    fn keep(&mut self, member: Member) {
        let known = self.by_id.get(&member.id);
        // A later round may bring an older record of a member that is there: that one counts then.
        if known.is_none_or(|known| !known.is_founder() && member.joined < known.joined) {
            self.by_id.insert(member.id, member);
        }
    }

    /// Finds a member.
    pub fn get(&self, id: &NodeId) -> Option<&Member> {
        self.by_id.get(id)
    }

    /// Finds a member by its node's name.
    pub fn named(&self, name: &str) -> Option<&Member> {
        self.iter().find(|m| m.name == name)
    }

    /// Lists all, by key.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }
}

impl Member {
    /// Tells whether this is the record of the member that founded its cluster.
    pub fn is_founder(&self) -> bool {
        self.by == self.id && self.cluster == ClusterId::founded_by(self.id)
    }

    /// Returns the name of the quorum register that holds the record of `id`.
    pub fn register(id: &NodeId) -> String {
        format!("{REGISTERS}{id}")
    }

    /// Writes and signs it. The key is that of [`Member::by`].
    pub fn sign(&self, key: &SigningKey) -> SignedMember {
        let wire = Wire {
            version: VERSION,
            cluster: self.cluster.0,
            id: self.id.0,
            name: &self.name,
            tag: self.tag,
            range: u32::from(self.pod_range.addr()),
            prefix: self.pod_range.prefix_len(),
            joined: self.joined.0,
            token: self.token.map(|t| t.0.into()),
            by: self.by.0,
        };
        let mut bytes = minicbor::to_vec(&wire).expect("a vector takes any number of bytes");
        let signature = key.sign(&signed(&bytes));
        bytes.extend(signature.to_bytes());
        bytes
    }

    /// Reads a record and checks its signature. Whether the signer is a member, [`Members::of`] says.
    ///
    /// # Errors
    /// [`BadMember`].
    pub fn read(raw: &[u8]) -> Result<Self, BadMember> {
        if raw.len() > MAX_MEMBER_BYTES || raw.len() <= SIGNATURE_BYTES {
            return Err(BadMember::Size(raw.len()));
        }
        let (bytes, signature) = raw.split_at(raw.len() - SIGNATURE_BYTES);
        let member = Self::of_wire(bytes)?;
        let wrong = || BadMember::Signature(member.id, member.by);
        let key = VerifyingKey::from_bytes(&member.by.0).map_err(|_| wrong())?;
        let signature = Signature::from_slice(signature).map_err(|_| wrong())?;
        key.verify_strict(&signed(bytes), &signature).map_err(|_| wrong())?;
        Ok(member)
    }

    fn of_wire(bytes: &[u8]) -> Result<Self, BadMember> {
        let wire: Wire<'_> = minicbor::decode(bytes).map_err(|e| BadMember::Malformed(e.to_string()))?;
        if wire.version != VERSION {
            return Err(BadMember::Malformed(format!("version {}", wire.version)));
        }
        let pod_range = Ipv4Net::new(Ipv4Addr::from(wire.range), wire.prefix);
        Ok(Self {
            cluster: ClusterId(wire.cluster),
            id: NodeId(wire.id),
            name: wire.name.to_owned(),
            tag: wire.tag,
            pod_range: pod_range.map_err(|e| BadMember::Malformed(e.to_string()))?,
            joined: Wall(wire.joined),
            token: wire.token.map(|bytes| TokenId(*bytes)),
            by: NodeId(wire.by),
        })
    }
}

fn signed(bytes: &[u8]) -> Vec<u8> {
    [CONTEXT, bytes].concat()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Wire<'a> {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    cluster: [u8; 32],
    #[cbor(n(2), with = "minicbor::bytes")]
    id: [u8; 32],
    #[b(3)]
    name: &'a str,
    #[n(4)]
    tag: u16,
    #[n(5)]
    range: u32,
    #[n(6)]
    prefix: u8,
    #[n(7)]
    joined: i64,
    #[n(8)]
    token: Option<minicbor::bytes::ByteArray<16>>,
    #[cbor(n(9), with = "minicbor::bytes")]
    by: [u8; 32],
}

#[cfg(test)]
#[path = "member_tests.rs"]
mod tests;
