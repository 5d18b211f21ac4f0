//! What records say, as numbered fields. Unknown fields are passed over; a number is never used again.

use std::borrow::Cow;
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::ids::{NodeId, Uid};
use crate::object::custom::{self, Names};
use crate::object::{Key, Kind, kinds};
use crate::time::Wall;

use super::class::{self, Class};
use super::credit::{Credit, CreditBody};
use super::epoch::{Clock, Decision, Name, Serial};
use super::horizon::Horizon;
use super::parts::{Birth, Mark};
use super::record::{Body, Draft, RecordError, RecordId, of_cbor, to_cbor};
use super::register::Slot;

/// The kind of record that holds a change of a document.
const CHANGE: u8 = 1;

#[derive(Encode, Decode)]
#[cbor(map)]
struct ChangeBody<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    uid: [u8; 16],
    #[n(1)]
    birth: Option<BirthBody>,
    #[n(2)]
    spec: bool,
    #[cbor(b(3), with = "minicbor::bytes")]
    chunk: &'a [u8],
    /// The hash that names the epoch it was written in; the envelope has the number.
    #[cbor(n(8), with = "minicbor::bytes")]
    base: Option<[u8; 32]>,
    #[n(9)]
    parents: Option<Vec<SerialBody>>,
    /// Whose it is: [`CreditBody`]'s fields.
    #[n(10)]
    at: Option<i64>,
    #[n(11)]
    author: Option<u8>,
    #[n(12)]
    user: Option<String>,
    #[n(13)]
    node: Option<String>,
}

/// A record, told from the one that names it: what is equal in both is left out.
#[derive(Encode, Decode)]
#[cbor(map)]
struct SerialBody {
    #[n(0)]
    seq: u64,
    #[n(1)]
    incarnation: Option<u64>,
    #[cbor(n(2), with = "minicbor::bytes")]
    author: Option<[u8; 32]>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct EpochBody<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    uid: [u8; 16],
    #[n(1)]
    birth: BirthBody,
    #[cbor(n(2), with = "minicbor::bytes")]
    former: Option<[u8; 32]>,
    #[n(3)]
    heads: Vec<RunBody>,
    /// How far each run counts.
    #[n(4)]
    runs: Vec<RunBody>,
    /// Runs of which, and of those before, nothing is known any more.
    #[n(5)]
    ended: Vec<RunBody>,
    #[n(6)]
    generation: u64,
    #[cbor(b(7), with = "minicbor::bytes")]
    chunk: &'a [u8],
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RunBody {
    #[cbor(n(0), with = "minicbor::bytes")]
    author: [u8; 32],
    #[n(1)]
    incarnation: u64,
    #[n(2)]
    seq: Option<u64>,
    #[n(3)]
    horizon: Option<u64>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct BirthBody {
    #[n(0)]
    group: String,
    #[n(1)]
    plural: String,
    #[n(2)]
    namespace: String,
    #[n(3)]
    name: String,
    /// Microseconds since the Unix epoch.
    #[n(4)]
    created: i64,
    #[n(5)]
    turn: u64,
    #[cbor(n(6), with = "minicbor::bytes")]
    origin: Option<[u8; 16]>,
    #[cbor(n(7), with = "minicbor::bytes")]
    namespace_uid: Option<[u8; 16]>,
    /// Of a kind that users define, by whose definition nobody need have it: its name, and the version it was made in.
    #[n(8)]
    kind: Option<String>,
    #[n(9)]
    version: Option<String>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct RegisterBody<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    uid: [u8; 16],
    #[n(1)]
    slot: u8,
    #[n(2)]
    major: u64,
    #[n(3)]
    minor: u64,
    #[cbor(b(4), with = "minicbor::bytes")]
    value: &'a [u8],
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ToldBody {
    #[cbor(n(0), with = "minicbor::bytes")]
    uid: [u8; 16],
    #[n(1)]
    time: u64,
    #[n(2)]
    fields: Vec<ToldField>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ToldField {
    #[n(0)]
    field: String,
    #[cbor(n(1), with = "minicbor::bytes")]
    value: Option<Vec<u8>>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct MarkBody {
    #[cbor(n(0), with = "minicbor::bytes")]
    uid: [u8; 16],
    /// Seconds since the Unix epoch.
    #[n(1)]
    at: i64,
    #[n(2)]
    grace: Option<i64>,
    #[n(3)]
    finalizers: Vec<String>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct TombstoneBody {
    #[cbor(n(0), with = "minicbor::bytes")]
    uid: [u8; 16],
    #[n(1)]
    birth: BirthBody,
    /// Left out where it is not so.
    #[n(2)]
    displaced: Option<bool>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct CeilingBody {
    #[n(0)]
    ceiling: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct SealedBody {
    #[n(0)]
    number: u64,
    /// 16 bytes each.
    #[cbor(n(1), with = "minicbor::bytes")]
    uids: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct AckedBody {
    #[n(0)]
    number: u64,
    #[n(1)]
    horizon: Horizon,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ForgottenBody {
    /// 16 bytes each.
    #[cbor(n(0), with = "minicbor::bytes")]
    uids: Vec<u8>,
    /// 16 bytes each.
    #[cbor(n(1), with = "minicbor::bytes")]
    batches: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct EventBody<'a> {
    #[cbor(n(0), with = "minicbor::bytes")]
    uid: [u8; 16],
    #[n(1)]
    group: String,
    #[n(2)]
    plural: String,
    #[n(3)]
    namespace: String,
    #[n(4)]
    name: String,
    /// Hybrid time: microseconds since the Unix epoch.
    #[n(5)]
    time: u64,
    /// The whole object as JSON, nothing if it is gone.
    #[cbor(b(6), with = "minicbor::bytes")]
    object: Option<&'a [u8]>,
}

/// Returns kind and body of a draft that becomes the record `serial`. `credit`: whose change it is, if it is one.
pub(super) fn encode(draft: Draft<'_>, credit: &Credit, serial: Serial) -> (u8, Vec<u8>) {
    match draft {
        Draft::Change { uid, birth, spec, chunk, base, parents } => {
            let CreditBody { at, author, user, node } = credit.body();
            let (uid, birth, base) = (uid.0, birth.map(birth_body), base.map(|name| name.hash));
            let parents = parents.map(|parents| parents.iter().map(|parent| serial_body(*parent, serial)).collect());
            (CHANGE, to_cbor(&ChangeBody { uid, birth, spec, chunk, base, parents, at, author, user, node }))
        }
        Draft::Epoch(uid, birth, decision, chunk) => (9, to_cbor(&epoch_body(uid, birth, decision, chunk))),
        Draft::Register(uid, slot, (major, minor), value) => {
            (2, to_cbor(&RegisterBody { uid: uid.0, slot: slot.number(), major, minor, value }))
        }
        Draft::Told(uid, time, fields) => {
            let field = |(field, value): &(String, Option<Arc<[u8]>>)| ToldField {
                field: field.clone(),
                value: value.as_ref().map(|v| v.to_vec()),
            };
            (3, to_cbor(&ToldBody { uid: uid.0, time, fields: fields.iter().map(field).collect() }))
        }
        Draft::Mark(uid, mark) => {
            let finalizers = mark.finalizers.iter().cloned().collect();
            (4, to_cbor(&MarkBody { uid: uid.0, at: mark.at, grace: mark.grace, finalizers }))
        }
        Draft::Tombstone(uid, birth) => {
            (5, to_cbor(&TombstoneBody { uid: uid.0, birth: birth_body(birth), displaced: None }))
        }
        Draft::Displaced(uid, birth) => {
            (5, to_cbor(&TombstoneBody { uid: uid.0, birth: birth_body(birth), displaced: Some(true) }))
        }
        Draft::Ceiling(ceiling) => (6, to_cbor(&CeilingBody { ceiling })),
        Draft::Event(uid, key, time, object) => {
            let (group, plural) = (key.kind.group.to_owned(), key.kind.plural.to_owned());
            let (namespace, name) = (key.namespace.clone(), key.name.clone());
            (7, to_cbor(&EventBody { uid: uid.0, group, plural, namespace, name, time, object }))
        }
        Draft::Sealed(number, uids) => {
            (16, to_cbor(&SealedBody { number, uids: uids.iter().flat_map(|uid| uid.0).collect() }))
        }
        Draft::Acked(number, horizon) => (17, to_cbor(&AckedBody { number, horizon: horizon.clone() })),
        Draft::Forgotten(uids, batches) => {
            let uids = uids.iter().flat_map(|uid| uid.0).collect();
            let batches = batches.iter().flat_map(|id| id.0).collect();
            (18, to_cbor(&ForgottenBody { uids, batches }))
        }
    }
}

/// Reads the body of the record `serial`, whose bytes are `raw`.
pub(super) fn decode(kind: u8, body: &[u8], raw: &[u8], serial: Serial, epoch: u64) -> Result<Body, RecordError> {
    // Slices of `body` are slices of `raw`: keep where they are.
    let place = |part: &[u8]| {
        let start = part.as_ptr() as usize - raw.as_ptr() as usize;
        start..start + part.len()
    };
    Ok(match kind {
        CHANGE => {
            let b: ChangeBody<'_> = of_cbor(body)?;
            let birth = b.birth.map(birth).transpose()?;
            let base = b.base.map(|hash| Name { number: epoch, hash });
            let parents = b.parents.map(|parents| parents.iter().map(|parent| parent.beside(serial)).collect());
            Body::Change { uid: Uid(b.uid), birth, spec: b.spec, chunk: place(b.chunk), base, parents }
        }
        2 => {
            let b: RegisterBody<'_> = of_cbor(body)?;
            let slot = Slot::of(b.slot).ok_or_else(|| RecordError::Kind(format!("register {}", b.slot)))?;
            Body::Register { uid: Uid(b.uid), slot, stamp: (b.major, b.minor), value: place(b.value) }
        }
        3 => {
            let b: ToldBody = of_cbor(body)?;
            let fields = b.fields.into_iter().map(|f| (f.field, f.value.map(Arc::from))).collect();
            Body::Told { uid: Uid(b.uid), time: b.time, fields }
        }
        4 => {
            let b: MarkBody = of_cbor(body)?;
            let mark = Mark { at: b.at, grace: b.grace, finalizers: b.finalizers.into_iter().collect() };
            Body::Mark { uid: Uid(b.uid), mark }
        }
        5 => {
            let b: TombstoneBody = of_cbor(body)?;
            Body::Tombstone { uid: Uid(b.uid), birth: birth(b.birth)?, displaced: b.displaced == Some(true) }
        }
        6 => Body::Ceiling { ceiling: of_cbor::<CeilingBody>(body)?.ceiling },
        7 => {
            let b: EventBody<'_> = of_cbor(body)?;
            let key = Key::new(kind_of(&b.group, &b.plural)?, b.namespace, b.name);
            if class::of_object(&key, None) != Class::Ephemeral {
                return Err(RecordError::Malformed(format!("{key} does not live in memory only")));
            }
            Body::Event { uid: Uid(b.uid), key, time: b.time, object: b.object.map(place) }
        }
        9 => {
            let b: EpochBody<'_> = of_cbor(body)?;
            let chunk = place(b.chunk);
            Body::Epoch { uid: Uid(b.uid), decision: Box::new(decision(&b, epoch, chunk)), birth: birth(b.birth)? }
        }
        16 => {
            let b: SealedBody = of_cbor(body)?;
            Body::Sealed { number: b.number, uids: sixteens(&b.uids)?.map(Uid).collect() }
        }
        17 => {
            let AckedBody { number, horizon } = of_cbor(body)?;
            Body::Acked { number, horizon }
        }
        18 => {
            let b: ForgottenBody = of_cbor(body)?;
            let uids = sixteens(&b.uids)?.map(Uid).collect();
            Body::Forgotten { uids, batches: sixteens(&b.batches)?.map(RecordId).collect() }
        }
        other => return Err(RecordError::Kind(other.to_string())),
    })
}

/// Reads whose change it is, of a record of any kind.
pub(super) fn credit(kind: u8, body: &[u8]) -> Credit {
    let read = || of_cbor::<CreditBody>(body).ok();
    (kind == CHANGE).then(read).flatten().map(Credit::of_body).unwrap_or_default()
}

/// Returns the body of a change for another author: with the name of the node that made it, unless that is said already,
/// and without what it says of records by number, which are others then. Any other body as it is.
pub(super) fn with_node<'a>(kind: u8, body: &'a [u8], node: Option<&str>) -> Cow<'a, [u8]> {
    match of_cbor::<ChangeBody<'_>>(body) {
        Ok(change) if kind == CHANGE && (change.parents.is_some() || change.node.is_none() && node.is_some()) => {
            let node = change.node.clone().or_else(|| node.map(str::to_owned));
            to_cbor(&ChangeBody { node, parents: None, ..change }).into()
        }
        _ => body.into(),
    }
}

fn serial_body(of: Serial, beside: Serial) -> SerialBody {
    SerialBody {
        seq: of.seq,
        incarnation: (of.incarnation != beside.incarnation).then_some(of.incarnation),
        author: (of.author != beside.author).then_some(of.author.0),
    }
}

impl SerialBody {
    fn beside(&self, other: Serial) -> Serial {
        Serial {
            author: self.author.map_or(other.author, NodeId),
            incarnation: self.incarnation.unwrap_or(other.incarnation),
            seq: self.seq,
        }
    }
}

fn epoch_body<'a>(uid: Uid, birth: &Birth, decision: &Decision, chunk: &'a [u8]) -> EpochBody<'a> {
    let run = |author: NodeId, incarnation, seq, horizon| RunBody { author: author.0, incarnation, seq, horizon };
    let clock = &decision.clock;
    EpochBody {
        uid: uid.0,
        birth: birth_body(birth),
        former: decision.former,
        heads: decision.heads.iter().map(|head| run(head.author, head.incarnation, Some(head.seq), None)).collect(),
        runs: clock.runs.iter().map(|((a, i), (seq, horizon))| run(*a, *i, Some(*seq), Some(*horizon))).collect(),
        ended: clock.ended.iter().map(|(author, incarnation)| run(*author, *incarnation, None, None)).collect(),
        generation: decision.generation,
        chunk,
    }
}

fn decision(b: &EpochBody<'_>, number: u64, chunk: std::ops::Range<usize>) -> Decision {
    let author = |run: &RunBody| NodeId(run.author);
    let seq = |run: &RunBody| run.seq.unwrap_or(0);
    let runs = b.runs.iter().map(|r| ((author(r), r.incarnation), (seq(r), r.horizon.unwrap_or(0))));
    let head = |head: &RunBody| Serial { author: author(head), incarnation: head.incarnation, seq: seq(head) };
    let ended = b.ended.iter().map(|run| (author(run), run.incarnation)).collect();
    let clock = Clock { runs: runs.collect(), ended };
    let heads = b.heads.iter().map(head).collect();
    Decision { number, former: b.former, heads, clock, generation: b.generation, chunk }
}

/// Cuts bytes into ids.
fn sixteens(bytes: &[u8]) -> Result<impl Iterator<Item = [u8; 16]>, RecordError> {
    let (ids, rest) = bytes.as_chunks::<16>();
    if rest.is_empty() { Ok(ids.iter().copied()) } else { Err(RecordError::Malformed("a list of ids".into())) }
}

fn kind_of(group: &str, plural: &str) -> Result<&'static Kind, RecordError> {
    let kind = kinds::KINDS.iter().find(|k| k.group == group && k.plural == plural);
    kind.copied().ok_or_else(|| RecordError::Kind(format!("{plural}.{group}")))
}

/// A kind of the table, or one that users define: such a record says of it all that a key needs.
fn kind_of_birth(b: &BirthBody) -> Result<&'static Kind, RecordError> {
    let known = kind_of(&b.group, &b.plural);
    let (Err(unknown), Some(kind), Some(version)) = (&known, &b.kind, &b.version) else { return known };
    let (group, plural, namespaced) = (&b.group, &b.plural, !b.namespace.is_empty());
    let names = Names { group, version, plural, kind, namespaced, subresources: &[] };
    custom::kind(names).ok_or_else(|| unknown.clone())
}

fn birth_body(birth: &Birth) -> BirthBody {
    BirthBody {
        group: birth.key.kind.group.to_owned(),
        plural: birth.key.kind.plural.to_owned(),
        namespace: birth.key.namespace.clone(),
        name: birth.key.name.clone(),
        created: birth.created.0,
        turn: birth.turn,
        origin: birth.origin.map(|uid| uid.0),
        namespace_uid: birth.namespace.map(|uid| uid.0),
        kind: birth.key.kind.is_custom().then(|| birth.key.kind.kind.to_owned()),
        version: birth.key.kind.is_custom().then(|| birth.key.kind.version.to_owned()),
    }
}

fn birth(b: BirthBody) -> Result<Birth, RecordError> {
    Ok(Birth {
        key: Key::new(kind_of_birth(&b)?, b.namespace, b.name),
        created: Wall(b.created),
        turn: b.turn,
        origin: b.origin.map(Uid),
        namespace: b.namespace_uid.map(Uid),
    })
}
