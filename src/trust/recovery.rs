//! Recoveries: that a member was made the only voter of a new generation of the cluster, signed by that member.
//!
//! On the wire it is CBOR, a map of numbered fields, and behind it 64 bytes of signature over exactly these bytes. Numbers
//! are never used again for something else.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};

use crate::ids::{ClusterId, NodeId, Term};
use crate::time::Wall;

/// The most bytes of a signed recovery.
pub const MAX_RECOVERY_BYTES: usize = 512;

const VERSION: u8 = 1;
/// Goes before what is signed, so that a signature of another purpose does not do.
const CONTEXT: &[u8] = b"skein recovery 1\0";
const SIGNATURE_BYTES: usize = 64;
/// The lower bits of a generation, drawn by chance: of two that are begun on two sides one is the newer.
const CHANCE_BITS: u32 = 24;
/// The highest count of recoveries, far above what people do.
const MOST: u64 = 1 << 32;

/// What a recovery says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The cluster.
    pub cluster: ClusterId,
    /// The generation; a newer one is greater.
    pub generation: u64,
    /// A term below all of the generation's, and far above those of the one before.
    pub term: Term,
    /// Its first voter, who signs.
    pub by: NodeId,
    /// When it was begun.
    pub at: Wall,
}

/// Returns the generation after `last`. `chance`: any number.
pub fn next_generation(last: u64, chance: u64) -> u64 {
    ((last >> CHANCE_BITS) + 1) << CHANCE_BITS | chance & ((1 << CHANCE_BITS) - 1)
}

/// Returns which recovery began a generation, from 1.
pub fn count(generation: u64) -> u64 {
    generation >> CHANCE_BITS
}

impl Recovery {
    /// Writes and signs it. The key is that of [`Recovery::by`].
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        let wire = Wire {
            version: VERSION,
            cluster: self.cluster.0,
            generation: self.generation,
            term: self.term.0,
            by: self.by.0,
            at: self.at.0,
        };
        let mut bytes = minicbor::to_vec(&wire).expect("a vector takes any number of bytes");
        let signature = key.sign(&signed(&bytes));
        bytes.extend(signature.to_bytes());
        bytes
    }

    /// Reads one of a cluster and checks its signature. Whether the signer is a member is the caller's to know. `None` if
    /// it is not what it should be.
    pub fn read(raw: &[u8], cluster: ClusterId) -> Option<Self> {
        if raw.len() > MAX_RECOVERY_BYTES {
            return None;
        }
        let (bytes, signature) = raw.split_at_checked(raw.len().checked_sub(SIGNATURE_BYTES)?)?;
        let wire: Wire = minicbor::decode(bytes).ok()?;
        let key = VerifyingKey::from_bytes(&wire.by).ok()?;
        key.verify_strict(&signed(bytes), &Signature::from_slice(signature).ok()?).ok()?;
        let sound = wire.version == VERSION && wire.cluster == cluster.0 && count(wire.generation) <= MOST;
        sound.then_some(Self {
            cluster,
            generation: wire.generation,
            term: Term(wire.term),
            by: NodeId(wire.by),
            at: Wall(wire.at),
        })
    }
}

fn signed(bytes: &[u8]) -> Vec<u8> {
    [CONTEXT, bytes].concat()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Wire {
    #[n(0)]
    version: u8,
    #[cbor(n(1), with = "minicbor::bytes")]
    cluster: [u8; 32],
    #[n(2)]
    generation: u64,
    #[n(3)]
    term: u64,
    #[cbor(n(4), with = "minicbor::bytes")]
    by: [u8; 32],
    #[n(5)]
    at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_its_signer_wrote_is_read() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let by = NodeId(key.verifying_key().to_bytes());
        let cluster = ClusterId::founded_by(by);
        let recovery = Recovery { cluster, generation: next_generation(0, 77), term: Term(9), by, at: Wall(5) };
        let raw = recovery.sign(&key);
        assert_eq!(Recovery::read(&raw, cluster), Some(recovery.clone()));
        assert_eq!(Recovery::read(&raw, ClusterId([7; 32])), None);
        for at in 0..raw.len() {
            let mut other = raw.clone();
            other[at] ^= 1;
            assert_eq!(Recovery::read(&other, cluster), None, "byte {at}");
            assert_eq!(Recovery::read(&raw[..at], cluster), None, "{at} bytes");
        }
        let forged = recovery.sign(&SigningKey::from_bytes(&[2; 32]));
        assert_eq!(Recovery::read(&forged, cluster), None);
    }

    #[test]
    fn generations_count_and_no_two_are_alike() {
        let first = next_generation(0, u64::MAX);
        assert_eq!((count(0), count(first), count(next_generation(first, 0))), (0, 1, 2));
        assert!(next_generation(first, 0) > first && next_generation(0, 3) != next_generation(0, 4));
    }
}
