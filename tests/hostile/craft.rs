//! Records, chunks and frames put together byte by byte, as no writer of ours would.

use minicbor::Encoder;
use skein::store::fuzzing;
use skein::store::record::{Body, Record};

use crate::member::{MAD, id, key};

const SIGNATURE: usize = 64;

/// A record without its signature.
pub fn envelope(record: &[u8]) -> &[u8] {
    &record[..record.len() - SIGNATURE]
}

/// Signs an envelope as the mad member.
pub fn sign(envelope: &[u8]) -> Vec<u8> {
    fuzzing::sign(envelope, &key(MAD))
}

/// Returns the change chunk in a record, if it is a change's.
pub fn chunk(record: &[u8]) -> Option<&[u8]> {
    match Record::read(record).ok()?.body {
        Body::Change { chunk, .. } => Some(&record[chunk]),
        _ => None,
    }
}

/// Puts another chunk into a change's record and signs it.
pub fn with_chunk(record: &[u8], other: &[u8]) -> Vec<u8> {
    let chunk = chunk(record).unwrap();
    let at = chunk.as_ptr() as usize - record.as_ptr() as usize;
    let envelope = envelope(record);
    // The chunk is the last field of the body, and the body the last of the envelope: lengths go before each.
    let (before, behind) = (&envelope[..at - head(chunk.len()).len()], &envelope[at + chunk.len()..]);
    let begins = |body_at: &usize| {
        let head = head(envelope.len() - body_at);
        envelope[..*body_at].ends_with(&head)
    };
    let body_at = (1..before.len()).find(begins).unwrap();
    let prefix = &envelope[..body_at - head(envelope.len() - body_at).len()];
    let body = [&envelope[body_at..before.len()], &head(other.len()), other, behind].concat();
    sign(&[prefix, &head(body.len()), &body].concat())
}

/// What goes before so many bytes in CBOR.
fn head(length: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(Vec::new());
    encoder.bytes_len(length as u64).unwrap();
    encoder.into_writer()
}

/// A record of any kind and body, signed by the mad member.
pub fn record(seq: u64, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.map(7).unwrap().u8(0).unwrap().u8(1).unwrap().u8(1).unwrap().bytes(&id(MAD).0).unwrap();
    e.u8(2).unwrap().u64(1).unwrap().u8(3).unwrap().u64(1).unwrap().u8(4).unwrap().u64(seq).unwrap();
    e.u8(5).unwrap().u8(kind).unwrap().u8(6).unwrap().bytes(body).unwrap();
    sign(&e.into_writer())
}

/// The first change of a made-up ConfigMap.
pub fn birth(seq: u64, uid: [u8; 16], name: &str, chunk: &[u8]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.map(4).unwrap().u8(0).unwrap().bytes(&uid).unwrap();
    e.u8(1).unwrap().map(6).unwrap().u8(0).unwrap().str("").unwrap().u8(1).unwrap().str("configmaps").unwrap();
    e.u8(2).unwrap().str("default").unwrap().u8(3).unwrap().str(name).unwrap();
    e.u8(4).unwrap().i64(7).unwrap().u8(5).unwrap().u64(0).unwrap();
    e.u8(2).unwrap().bool(false).unwrap().u8(3).unwrap().bytes(chunk).unwrap();
    record(seq, 1, &e.into_writer())
}

/// A frame of messages: kinds and bytes.
pub fn frame(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut e = Encoder::new(vec![1]);
    e.array(messages.len() as u64).unwrap();
    for (kind, bytes) in messages {
        e.array(2).unwrap().u8(*kind).unwrap().bytes(bytes).unwrap();
    }
    e.into_writer()
}

/// A frame that carries records in a batch of the mad member's.
pub fn batch(number: u64, records: &[Vec<u8>]) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(2).unwrap().u8(0).unwrap().array(2).unwrap();
    e.array(2).unwrap().bytes(&id(MAD).0).unwrap().u64(1).unwrap();
    e.array(1).unwrap().array(2).unwrap().u64(number).unwrap().array(records.len() as u64).unwrap();
    for record in records {
        e.bytes(record).unwrap();
    }
    frame(&[(3, e.into_writer())])
}

/// LEB128.
pub fn leb(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(0x80 | u8::try_from(number & 0x7f).unwrap());
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// LEB128 of a positive number, two's complement.
pub fn signed_leb(number: u64) -> Vec<u8> {
    let mut bytes = leb(number);
    if bytes.last().unwrap() & 0x40 != 0 {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(0);
    }
    bytes
}

/// A chunk's body: no parents; `head` is sequence number and first operation.
pub fn body(actor: &[u8], head: [u64; 2], columns: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(leb(actor.len() as u64));
    body.extend(actor);
    head.iter().for_each(|number| body.extend(leb(*number)));
    body.extend([0, 0, 0]);
    body.extend(leb(columns.len() as u64));
    for (spec, column) in columns {
        body.push(*spec);
        body.extend(leb(column.len() as u64));
    }
    columns.iter().for_each(|(_, column)| body.extend(column));
    body
}

#[test]
fn a_record_with_its_own_chunk_put_in_again_is_the_same() {
    let records = crate::member::records(1);
    let changes = records.iter().filter(|record| chunk(record).is_some());
    assert!(changes.clone().count() > 100);
    for record in changes {
        assert_eq!(with_chunk(record, chunk(record).unwrap()), *record);
    }
}

#[test]
fn a_batch_is_read() {
    use skein::node::message::{Lane, Message, decode_on, encode};
    let frame = batch(1, &crate::member::records(1)[..3]);
    let messages = decode_on(Lane::Bulk, &frame).unwrap();
    assert!(matches!(&messages[..], [Message::Gossip(_)]));
    assert_eq!(encode(&messages), frame);
}
