//! Names of things: every identifier is a type of its own, so that one cannot be passed for another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A node's identity: its Ed25519 public key, never an address (design, section 7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({})", hex::encode(&self.0[..4]))
    }
}

/// In hexadecimal.
impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// A cluster's id: the SHA-256 hash of its founder's key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub [u8; 32]);

impl ClusterId {
    /// Returns the id of the cluster that a node founds.
    pub fn founded_by(node: NodeId) -> Self {
        Self(Sha256::digest(node.0).into())
    }
}

/// The whole id in hexadecimal; people are shown its first 16 digits.
impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({})", hex::encode(&self.0[..8]))
    }
}

/// An object's uid as Kubernetes shows it: a UUID, eight-four-four-four-twelve hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(pub [u8; 16]);

impl Uid {
    /// Derives a uid from `parts`, length-prefixed and hashed, so that every node derives the same one
    /// (RFC 9562 version 8: custom).
    pub fn derived(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self::stamped(bytes, 8)
    }

    /// Makes a uid of 16 bytes of the caller's randomness (RFC 9562 version 4).
    pub fn random(bytes: [u8; 16]) -> Self {
        Self::stamped(bytes, 4)
    }

    fn stamped(mut bytes: [u8; 16], version: u8) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | (version << 4);
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let h = hex::encode(self.0);
        write!(f, "{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is no uid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a uid")]
pub struct BadUid(pub String);

impl FromStr for Uid {
    type Err = BadUid;

    fn from_str(text: &str) -> Result<Self, BadUid> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let mut bytes = [0; 16];
        hex::decode_to_slice(&digits, &mut bytes).map_err(|_| BadUid(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl Serialize for Uid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Uid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The next one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// An election term. Higher is newer; a leader acts in exactly one.
    Term
}
counter! {
    /// A resourceVersion: grows with every change that this node shows, never repeats (design, section 3).
    Revision
}

impl Revision {
    /// Returns the tag of the node that gave it.
    pub fn tag(self) -> u16 {
        (self.0 & 0xffff) as u16
    }
}

counter! {
    /// One batch of records handed to the disk. Ids are given in order and become durable in order.
    PersistId
}
counter! {
    /// Correlates a request to the node with its answer.
    RequestId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_uids_are_stable_and_parse_back() {
        let uid = Uid::derived(&[b"namespace", b"shop"]);
        assert_eq!(uid, Uid::derived(&[b"namespace", b"shop"]));
        assert_ne!(uid, Uid::derived(&[b"namespaces", b"hop"]));
        assert_eq!(uid.to_string().parse::<Uid>(), Ok(uid));
        assert_eq!(uid.to_string().len(), 36);
    }

    #[test]
    fn a_bad_uid_is_refused() {
        assert!("not-a-uid".parse::<Uid>().is_err());
    }
}
