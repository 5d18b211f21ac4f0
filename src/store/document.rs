//! The one place that knows Automerge: an object's intent as a document of leaves.
//!
//! Always an actor of our own before a write, never a random one; no time in changes; only uncompressed change
//! chunks go in and out, never documents or sync messages. A live document costs some 20 KB, so documents are held
//! as their change chunks and brought to life through [`Cache`] only to be changed or merged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use automerge::transaction::{CommitOptions, Transactable};
use automerge::{ActorId, Automerge, Change, ChangeHash, ObjId, ROOT, ReadDoc, ScalarValue};
use sha2::{Digest, Sha256};

use crate::ids::{NodeId, Uid};

use super::epoch::{Name, Serial};
use super::guard::guarded;
use super::leaves::{self, Delta, Leaf, Leaves};
use super::leb::Reader;
use super::lineage::{Lineage, Misfit};
use super::scan::{self, Put, Scanned};

/// What a peer's change may cost to apply: one for each operation, and five more for each operation that it replaces.
/// That much takes some 50 ms at most; ours write no more at once ([`Document::affordable`]).
const MAX_COST: usize = 12_288;
/// The most leaves of an object that a user writes, and what a document has at most once those of several authors are
/// merged, in leaves and in bytes.
pub const MAX_LEAVES: usize = 10_000;
const MAX_MERGED_LEAVES: usize = 3 * MAX_LEAVES;
const MAX_MERGED_BYTES: usize = 8 << 20;
/// A document of more bytes or changes than this is not saved and loaded for every change that is merged.
const RELOADED_BYTES: usize = 4 << 20;
const RELOADED_CHANGES: usize = 2_048;

/// The hash of a change.
pub type Hash = [u8; 32];

/// Why a change cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The chunk is not an uncompressed change within bounds.
    #[error("no change: {0}")]
    Unreadable(String),
    /// The change does not go with the document.
    #[error("change does not apply: {0}")]
    Refused(String),
    /// Its author has told others something else under the same number: the change of that hash.
    #[error("its author says two things under one number")]
    Twice(Hash),
}

/// Who writes: unique to a node and one run of it, since a number used twice is refused by all for ever.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Actor(pub(super) ActorId);

impl Actor {
    /// Derives the actor of a node's run.
    pub fn new(node: NodeId, incarnation: u64) -> Self {
        let digest =
            Sha256::new_with_prefix(b"skein actor").chain_update(node.0).chain_update(incarnation.to_be_bytes());
        Self(ActorId::from(&digest.finalize()[..16]))
    }

    /// Derives the actor of the change with which an epoch begins.
    pub fn of_birth(uid: Uid, number: u64, heads: &[Serial]) -> Self {
        let mut digest = Sha256::new_with_prefix(b"skein epoch").chain_update(uid.0).chain_update(number.to_be_bytes());
        for head in heads {
            digest.update(head.author.0);
            digest.update(head.incarnation.to_be_bytes());
            digest.update(head.seq.to_be_bytes());
        }
        Self(ActorId::from(&digest.finalize()[..16]))
    }

    /// Derives the actor of a late change's image in a later epoch, by the change's record: it writes nothing else.
    pub fn of_image(uid: Uid, epoch: Name, record: &[u8]) -> Self {
        let digest =
            Sha256::new_with_prefix(b"skein image").chain_update(uid.0).chain_update(epoch.number.to_be_bytes());
        let digest = digest.chain_update(epoch.hash).chain_update(record);
        Self(ActorId::from(&digest.finalize()[..16]))
    }
}

/// A change of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its bytes.
    pub chunk: Vec<u8>,
    /// Its hash.
    pub hash: Hash,
}

/// A change that was read, not yet applied.
#[derive(Clone, Debug)]
pub struct Chunk {
    change: Change,
}

impl Chunk {
    /// Reads a peer's change chunk, which must not be too dear to apply.
    ///
    /// # Errors
    /// As [`Chunk::read`].
    pub fn of_peer(bytes: &[u8]) -> Result<Self, DocumentError> {
        let scanned = scanned(bytes)?;
        let cost: usize = scanned.ops.iter().map(|op| 1 + 5 * op.preds.len()).sum();
        if cost > MAX_COST {
            return Err(DocumentError::Unreadable(format!("a change of cost {cost}, at most {MAX_COST} will do")));
        }
        Self::read(bytes)
    }

    /// Reads an uncompressed change chunk.
    ///
    /// # Errors
    /// [`DocumentError::Unreadable`] if it is anything else, or says what no writer of ours does.
    pub fn read(bytes: &[u8]) -> Result<Self, DocumentError> {
        let unreadable = |e: String| DocumentError::Unreadable(e);
        scanned(bytes)?;
        let change = guarded(|| Change::try_from(bytes)).map_err(unreadable)?;
        let chunk = Self { change: change.map_err(|e| unreadable(e.to_string()))? };
        // The checksum is the hash's beginning; Automerge leaves it to its callers.
        if bytes[4..8] != chunk.hash()[..4] {
            return Err(unreadable("wrong checksum".into()));
        }
        Ok(chunk)
    }

    /// Returns its hash.
    pub fn hash(&self) -> Hash {
        self.change.hash().0
    }

    /// Returns who wrote it.
    pub fn actor(&self) -> Actor {
        Actor(self.change.actor_id().clone())
    }

    /// Returns its author, and its number among that one's changes.
    pub fn number(&self) -> (&[u8], u64) {
        (self.change.actor_id().to_bytes(), self.change.seq())
    }

    /// Reads the leaves of a document that has no other change, without bringing it to life: most objects are never
    /// edited. `None` if it builds on others.
    pub fn sole_leaves(&self) -> Option<Leaves> {
        if !self.change.deps().is_empty() {
            return None;
        }
        let delta = self.delta().ok()?;
        delta.into_iter().map(|(path, leaf)| Some((path, leaf?))).collect()
    }

    /// Returns the hashes of the changes that it builds on.
    pub fn parents(&self) -> impl Iterator<Item = Hash> {
        self.change.deps().iter().map(|hash| hash.0)
    }

    /// Returns what it puts and deletes, the last of each leaf.
    ///
    /// # Errors
    /// [`DocumentError::Unreadable`] if its operations cannot be read.
    pub fn delta(&self) -> Result<Delta, DocumentError> {
        let mut delta = BTreeMap::new();
        for op in scanned(self.change.raw_bytes())?.ops {
            match op.put {
                Some(put) => delta.extend(leaf_in(put).map(|leaf| (op.key.to_owned(), Some(leaf)))),
                None => drop(delta.insert(op.key.to_owned(), None)),
            }
        }
        Ok(delta.into_iter().collect())
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.change.raw_bytes()
    }
}

/// A document brought to life.
#[derive(Clone, Debug)]
pub struct Document {
    pub(super) doc: Automerge,
    leaves: Leaves,
    lineage: Lineage,
    /// Of all changes together.
    bytes: usize,
    changes: usize,
}

impl Default for Document {
    fn default() -> Self {
        Self { doc: Automerge::new(), leaves: Leaves::new(), lineage: Lineage::default(), bytes: 0, changes: 0 }
    }
}

impl Document {
    /// Makes a document of its changes, in any order. Those that do not apply, or whose parents are not among them,
    /// are left out: ask [`Document::has`].
    pub fn of(chunks: &[Chunk]) -> Self {
        let mut document = Self::default();
        if document.take(chunks.iter().cloned()).is_ok() {
            return document;
        }
        // Not all at once: then as many as go one by one.
        let one_more = |document: Self, chunk: &Chunk| document.merged(chunk.clone()).unwrap_or(document);
        chunks.iter().fold(Self::default(), one_more)
    }

    /// Applies a peer's change to a copy, which must survive being saved and loaded. The document itself stays as
    /// it is, whatever is in the change.
    ///
    /// # Errors
    /// [`DocumentError::Refused`] if it does not apply, [`DocumentError::Twice`] if another one stands in its place.
    pub fn merged(&self, chunk: Chunk) -> Result<Self, DocumentError> {
        let refused = |reason: &str| DocumentError::Refused(reason.to_owned());
        self.lineage.check(&chunk.change).map_err(|misfit| match misfit {
            Misfit::Twice(other) => DocumentError::Twice(other),
            Misfit::Wrong(reason) => refused(reason),
        })?;
        guarded(|| self.check_preds(&chunk.change)).map_err(DocumentError::Refused)??;
        let mut copy = self.clone();
        copy.take([chunk])?;
        if copy.leaves.len() > MAX_MERGED_LEAVES || leaves::size(&copy.leaves) > MAX_MERGED_BYTES {
            return Err(refused("the object would be too large"));
        }
        if copy.bytes > RELOADED_BYTES || copy.changes > RELOADED_CHANGES {
            return Ok(copy);
        }
        let reloaded = guarded(|| Automerge::load(&copy.doc.save_nocompress()).map(|doc| leaves_of(&doc)));
        match reloaded {
            Ok(Ok(leaves)) if leaves == copy.leaves => Ok(copy),
            Ok(Ok(_)) => Err(refused("the document changes when saved")),
            Ok(Err(e)) => Err(DocumentError::Refused(e.to_string())),
            Err(e) => Err(DocumentError::Refused(e)),
        }
    }

    /// Checks that a change replaces only what stood under the same key in what it builds on.
    fn check_preds(&self, change: &Change) -> Result<(), DocumentError> {
        let Scanned { actors, ops } = scanned(change.raw_bytes())?;
        let (heads, doc) = (change.deps(), &self.doc);
        let now = BTreeSet::from_iter(doc.get_heads()) == heads.iter().copied().collect();
        for op in ops.iter().filter(|op| !op.preds.is_empty()) {
            let there = if now { doc.get_all(ROOT, op.key) } else { doc.get_all_at(ROOT, op.key, heads) };
            let there = there.map_err(|e| DocumentError::Refused(e.to_string()))?;
            let stood = |(number, actor): &(u64, usize)| {
                there
                    .iter()
                    .any(|(_, id)| matches!(id, ObjId::Id(n, a, _) if n == number && a.to_bytes() == actors[*actor]))
            };
            if !op.preds.iter().all(stood) {
                return Err(DocumentError::Refused("it replaces what is not there".into()));
            }
        }
        Ok(())
    }

    pub(super) fn take(&mut self, chunks: impl IntoIterator<Item = Chunk>) -> Result<(), DocumentError> {
        let changes: Vec<Change> = chunks.into_iter().map(|chunk| chunk.change).collect();
        let doc = &mut self.doc;
        let applied = guarded(|| doc.apply_changes(changes.iter().cloned()).map(|()| leaves_of(doc)));
        self.leaves = applied.map_err(DocumentError::Refused)?.map_err(|e| DocumentError::Refused(e.to_string()))?;
        self.count(&changes);
        Ok(())
    }

    fn count(&mut self, changes: &[Change]) {
        self.lineage.add(changes);
        self.changes += changes.len();
        self.bytes += changes.iter().map(|change| change.raw_bytes().len()).sum::<usize>();
    }

    /// Returns a change and all that build on it.
    pub fn descendants(&self, hash: Hash) -> BTreeSet<Hash> {
        self.lineage.descendants(hash)
    }

    /// Returns the leaves.
    pub fn leaves(&self) -> &Leaves {
        &self.leaves
    }

    /// Returns the leaves as they were with these changes and all that they build on.
    pub fn leaves_at(&self, heads: &[Hash]) -> Leaves {
        let heads: Vec<ChangeHash> = heads.iter().map(|hash| ChangeHash(*hash)).collect();
        if heads.is_empty() { Leaves::new() } else { leaves_in(self.doc.map_range_at(ROOT, .., &heads)) }
    }

    /// Tells whether a change is in the document.
    pub fn has(&self, hash: Hash) -> bool {
        self.doc.get_change_meta_by_hash(&ChangeHash(hash)).is_some()
    }

    /// Returns how many of the first of `delta` one change may write, at least one: peers take none that is dear.
    pub fn affordable(&self, delta: &Delta) -> usize {
        let mut cost = 0;
        let within = |(path, _): &&(String, Option<Leaf>)| {
            let replaced = self.doc.get_all(ROOT, path.as_str()).map_or(0, |there| there.len());
            cost += 1 + 5 * replaced;
            cost <= MAX_COST
        };
        delta.iter().take_while(within).count().max(1)
    }

    /// Makes one change of our own. `None` if there is nothing to change.
    pub fn write(&mut self, actor: &Actor, delta: Delta) -> Option<Written> {
        if delta.is_empty() {
            return None;
        }
        self.doc.set_actor(actor.0.clone());
        let mut tx = self.doc.transaction();
        for (path, leaf) in &delta {
            match leaf {
                Some(leaf) => tx.put(ROOT, path.as_str(), scalar(leaf)).expect("the root takes any scalar"),
                None => tx.delete(ROOT, path.as_str()).expect("a leaf that is there can be deleted"),
            }
        }
        tx.commit();
        leaves::apply(&mut self.leaves, delta);
        Some(self.last_written())
    }

    /// Makes exactly one change of `delta`, if need be one that changes nothing.
    pub fn write_once(&mut self, actor: &Actor, mut delta: Delta) -> Written {
        delta.retain(|(path, leaf)| self.leaves.get(path) != leaf.as_ref());
        self.write(actor, delta).unwrap_or_else(|| self.write_nothing(actor))
    }

    /// Makes a change that says only that something is there.
    pub fn write_nothing(&mut self, actor: &Actor) -> Written {
        self.doc.set_actor(actor.0.clone());
        self.doc.empty_commit(CommitOptions::default());
        self.last_written()
    }

    fn last_written(&mut self) -> Written {
        let change = self.doc.get_last_local_change().expect("a change was just made");
        self.count(std::slice::from_ref(&change));
        Written { chunk: change.raw_bytes().to_vec(), hash: change.hash().0 }
    }
}

fn scalar(leaf: &Leaf) -> ScalarValue {
    match leaf {
        Leaf::Null => ScalarValue::Null,
        Leaf::Bool(b) => ScalarValue::Boolean(*b),
        Leaf::Int(n) => ScalarValue::Int(*n),
        Leaf::Uint(n) => ScalarValue::Uint(*n),
        Leaf::Float(n) => ScalarValue::F64(*n),
        Leaf::Text(text) => ScalarValue::Str(text.as_str().into()),
        Leaf::Json(json) => ScalarValue::Bytes(json.clone()),
    }
}

/// Reads a leaf by the number of its scalar's type in a change's columns. Nothing of ours writes those that are none; a
/// peer's are as if they were not there.
fn leaf_in((kind, bytes): Put<'_>) -> Option<Leaf> {
    let mut input = Reader(bytes);
    Some(match kind {
        0 => Leaf::Null,
        1 => Leaf::Bool(false),
        2 => Leaf::Bool(true),
        3 => Leaf::Uint(input.unsigned().ok()?),
        4 => Leaf::Int(input.signed().ok()?),
        5 => Leaf::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        6 => Leaf::Text(std::str::from_utf8(bytes).ok()?.into()),
        7 => Leaf::Json(bytes.to_vec()),
        _ => return None,
    })
}

fn leaves_of(doc: &Automerge) -> Leaves {
    leaves_in(doc.map_range(ROOT, ..))
}

/// Reads the leaves of a moment.
pub(super) fn leaves_in(items: automerge::iter::MapRange<'_>) -> Leaves {
    let leaf = |item: automerge::iter::MapRangeItem<'_>| {
        Some((item.key.into_owned(), leaf_of(item.value.into_value().into_scalar().ok()?)?))
    };
    items.filter_map(leaf).collect()
}

/// Reads a leaf of a live document, as [`leaf_in`] does from a change.
pub(super) fn leaf_of(value: ScalarValue) -> Option<Leaf> {
    Some(match value {
        ScalarValue::Null => Leaf::Null,
        ScalarValue::Boolean(b) => Leaf::Bool(b),
        ScalarValue::Int(n) => Leaf::Int(n),
        ScalarValue::Uint(n) => Leaf::Uint(n),
        ScalarValue::F64(n) => Leaf::Float(n),
        ScalarValue::Str(text) => Leaf::Text(text.to_string()),
        ScalarValue::Bytes(json) => Leaf::Json(json),
        ScalarValue::Counter(_) | ScalarValue::Timestamp(_) | ScalarValue::Unknown { .. } => return None,
    })
}

fn scanned(bytes: &[u8]) -> Result<Scanned<'_>, DocumentError> {
    scan::scan(bytes).map_err(|e| DocumentError::Unreadable(e.to_string()))
}

/// How many documents are kept alive.
const ALIVE: usize = 128;

/// The documents used last.
#[derive(Debug, Default)]
pub struct Cache {
    /// Oldest first.
    alive: VecDeque<(Uid, Document)>,
}

impl Cache {
    /// Takes a document out, if it is alive.
    pub fn take(&mut self, uid: Uid) -> Option<Document> {
        let at = self.alive.iter().rposition(|(u, _)| *u == uid)?;
        self.alive.remove(at).map(|(_, document)| document)
    }

    /// Puts a document (back) in.
    pub fn put(&mut self, uid: Uid, document: Document) {
        self.alive.push_back((uid, document));
        if self.alive.len() > ALIVE {
            self.alive.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(n: u8) -> Actor {
        Actor::new(NodeId([n; 32]), 1)
    }

    fn put(path: &str, text: &str) -> Delta {
        vec![(path.into(), Some(Leaf::Text(text.into())))]
    }

    fn text(document: &Document, path: &str) -> Option<String> {
        match document.leaves().get(path) {
            Some(Leaf::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    #[test]
    fn changes_travel_and_merge_in_any_order() {
        let mut a = Document::default();
        let first = Chunk::read(&a.write(&actor(1), put("/x", "1")).unwrap().chunk).unwrap();
        let mut b = Document::of(std::slice::from_ref(&first));
        let on_a = Chunk::read(&a.write(&actor(1), put("/y", "a")).unwrap().chunk).unwrap();
        let on_b = Chunk::read(&b.write(&actor(2), put("/z", "b")).unwrap().chunk).unwrap();
        assert_eq!(on_a.parents().collect::<Vec<_>>(), [first.hash()]);
        let a = a.merged(on_b.clone()).unwrap();
        let b = b.merged(on_a.clone()).unwrap();
        assert_eq!(a.leaves(), b.leaves());
        assert_eq!((text(&a, "/y").as_deref(), text(&a, "/z").as_deref()), (Some("a"), Some("b")));
        let again = Document::of(&[on_b, on_a, first]);
        assert_eq!(again.leaves(), a.leaves());
    }

    #[test]
    fn a_change_without_its_parent_is_left_out() {
        let mut a = Document::default();
        a.write(&actor(1), put("/x", "1"));
        let second = Chunk::read(&a.write(&actor(1), put("/x", "2")).unwrap().chunk).unwrap();
        let b = Document::of(std::slice::from_ref(&second));
        assert!(!b.has(second.hash()));
        assert!(b.leaves().is_empty());
    }

    #[test]
    fn the_leaves_of_a_sole_change_are_those_of_its_document() {
        let leaves = [
            Leaf::Null,
            Leaf::Bool(false),
            Leaf::Bool(true),
            Leaf::Int(i64::MIN),
            Leaf::Int(-1),
            Leaf::Int(i64::MAX),
            Leaf::Uint(u64::MAX),
            Leaf::Float(-0.0),
            Leaf::Float(1.5e300),
            Leaf::Text(String::new()),
            Leaf::Text("ünï".into()),
            Leaf::Json(b"[]".to_vec()),
            Leaf::Json(Vec::new()),
        ];
        let delta: Delta = leaves.into_iter().enumerate().map(|(n, leaf)| (format!("/{n:02}"), Some(leaf))).collect();
        let mut document = Document::default();
        let chunk = Chunk::read(&document.write(&actor(1), delta).unwrap().chunk).unwrap();
        let alive = Document::of(std::slice::from_ref(&chunk));
        assert_eq!(alive.leaves().len(), 13);
        assert_eq!(chunk.sole_leaves().as_ref(), Some(alive.leaves()));
        let next = Chunk::read(&document.write(&actor(1), put("/x", "1")).unwrap().chunk).unwrap();
        assert_eq!(next.sole_leaves(), None, "it builds on another");
        let nothing = Chunk::read(&Document::default().write_nothing(&actor(1)).chunk).unwrap();
        assert_eq!(nothing.sole_leaves(), Some(Leaves::new()));
    }

    #[test]
    fn documents_and_damaged_chunks_are_refused() {
        let mut a = Document::default();
        let chunk = a.write(&actor(1), put("/x", &"long ".repeat(100))).unwrap().chunk;
        assert!(Chunk::read(&a.doc.save()).is_err());
        for at in 0..chunk.len() {
            let mut bad = chunk.clone();
            bad[at] ^= 0x40;
            let taken = Chunk::read(&bad).and_then(|c| Document::default().merged(c));
            assert!(taken.is_err() || !taken.unwrap().has(Chunk::read(&chunk).unwrap().hash()), "byte {at}");
        }
        let compressed = automerge::Change::try_from(&chunk[..]).unwrap().bytes().into_owned();
        assert_ne!(compressed, chunk);
        assert!(Chunk::read(&compressed).is_err());
    }

    #[test]
    fn equal_writes_by_equal_actors_are_equal_bytes() {
        let write = || Document::default().write(&actor(1), put("/x", "1"));
        assert_eq!(write(), write());
    }
}
