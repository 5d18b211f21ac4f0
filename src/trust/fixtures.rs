//! Keys of the tests' nodes, by number; node 1 has founded the cluster.

use ed25519_dalek::SigningKey;

use crate::ids::{ClusterId, NodeId};

/// The key of a node.
pub fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

/// A node's id.
pub fn id(n: u8) -> NodeId {
    NodeId(key(n).verifying_key().to_bytes())
}

/// The cluster.
pub fn cluster() -> ClusterId {
    ClusterId::founded_by(id(1))
}
