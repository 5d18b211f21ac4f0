//! Doors to what the store reads of peers, for the fuzz targets and the corpora that replay as tests.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

use super::document::{Actor, Chunk, Document};
pub use super::guard::guarded;
use super::leaves::Leaf;
use super::record::{CONTEXT, Verified};
use super::state::{Config, Store};
use crate::ids::NodeId;
use crate::object::kinds;
use crate::time::{Mono, Now, Wall};

/// Signs a record's envelope, whatever it says, as the member would whose key it is.
pub fn sign(envelope: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&[CONTEXT, envelope].concat());
    [envelope, &signature.to_bytes()].concat()
}

/// Makes a change chunk of its body: with mark, checksum and length.
pub fn chunk_of(body: &[u8]) -> Vec<u8> {
    let mut rest = vec![1];
    let mut length = body.len();
    while length > 0x7f {
        rest.push(0x80 | u8::try_from(length & 0x7f).expect("seven bits"));
        length >>= 7;
    }
    rest.push(u8::try_from(length).expect("seven bits"));
    rest.extend_from_slice(body);
    let checksum = Sha256::digest(&rest);
    [&[0x85, 0x6f, 0x4a, 0x83], &checksum[..4], &rest].concat()
}

/// Returns a chunk's body.
pub fn body_of(chunk: &[u8]) -> &[u8] {
    let length = chunk.iter().skip(9).position(|byte| byte & 0x80 == 0).map_or(0, |at| at + 1);
    chunk.get(9 + length..).unwrap_or_default()
}

/// The node that [`base`] and [`store`] are of, and its key.
pub fn writer() -> (NodeId, SigningKey) {
    let key = SigningKey::from_bytes(&[1; 32]);
    (NodeId(key.verifying_key().to_bytes()), key)
}

/// Makes a small document, and its changes.
pub fn base() -> (Document, Vec<Vec<u8>>) {
    let actor = Actor::new(writer().0, 1);
    let mut document = Document::default();
    let mut chunks = Vec::new();
    for round in 0..3_i64 {
        let text = |n: i64| Some(Leaf::Text(format!("value {}", n * round)));
        let mut delta: Vec<_> = (0..4).map(|n| (format!("/data/key{n}"), text(n))).collect();
        delta.push(("/spec/replicas".into(), Some(Leaf::Int(round))));
        delta.push(("/spec/list".into(), (round != 1).then(|| Leaf::Json(b"[1,2]".to_vec()))));
        delta.retain(|(path, leaf)| leaf.is_some() || document.leaves().contains_key(path));
        chunks.extend(document.write(&actor, delta).map(|written| written.chunk));
    }
    (document, chunks)
}

/// Takes a change's body as a peer's: alone, and on top of a small document.
pub fn change(body: &[u8]) {
    let Ok(chunk) = Chunk::of_peer(&chunk_of(body)) else { return };
    for document in [Document::default(), base().0] {
        drop(document.merged(chunk.clone()));
    }
}

/// Opens an empty store.
pub fn store() -> Store {
    Store::open(config(1), [], now()).0
}

fn config(incarnation: u64) -> Config {
    let (node, key) = writer();
    Config {
        node,
        key,
        tag: 1,
        incarnation,
        seed: [1; 32],
        service_range: "10.96.0.0/24".parse().expect("a range"),
        node_ports: 30_000..=30_100,
        reserved_addresses: Vec::new(),
        list_keys: crate::object::schema::list_map_keys,
    }
}

/// The moment at which all happens.
pub fn now() -> Now {
    Now { mono: Mono(Duration::from_secs(100)), wall: Wall::from_secs(1_763_900_000) }
}

/// Merges records of which only the envelopes are given, each behind its length in two bytes, makes them durable, and
/// opens the store again from its disk.
pub fn merge(envelopes: &[u8]) {
    let (key, mut store, mut disk) = (writer().1, store(), Vec::new());
    let mut rest = envelopes;
    while let Some((length, after)) = rest.split_first_chunk() {
        let (envelope, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
        rest = after;
        if let Ok(record) = Verified::read(Arc::<[u8]>::from(sign(envelope, &key))) {
            drop(store.merge(now(), record));
        }
        while let Some(batch) = store.take_batch() {
            disk.extend(batch.records);
            store.persisted(batch.id);
        }
    }
    let (again, _) = Store::open(config(2), disk, now());
    let lasting = |store: &Store| store.snapshot().all().filter(|entry| *entry.key.kind != kinds::EVENT).count();
    assert_eq!(lasting(&again), lasting(&store), "the disk says what was shown");
}

/// Tells whether a change chunk is good enough to be applied.
pub fn is_readable(chunk: &[u8]) -> bool {
    Chunk::of_peer(chunk).is_ok()
}
