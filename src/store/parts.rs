//! One object in parts: what is known of it, each part merged by a rule of its own.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::ids::{NodeId, Uid};
use crate::object::{Key, kinds};
use crate::time::Wall;

use super::document::Hash;
use super::epoch::{Epoch, Serial};
use super::record::Record;
use super::register::{Register, Slot, Told};
use super::small::SmallMap;

/// How an object came to be. Of two births of one uid the lesser stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Where it lives.
    pub key: Key,
    /// When it was made.
    pub created: Wall,
    /// How many objects of the same origin there were, this one counted; 0 without an origin.
    pub turn: u64,
    /// What its uid is derived from, together with the turn.
    pub origin: Option<Uid>,
    /// The uid of its namespace.
    pub namespace: Option<Uid>,
}

/// That an object is to go. Two marks make one: the earlier time, the shorter grace, the finalizers in both; so the
/// time never moves back and finalizers only shrink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// `metadata.deletionTimestamp` in seconds since the Unix epoch.
    pub at: i64,
    /// `metadata.deletionGracePeriodSeconds`.
    pub grace: Option<i64>,
    /// The finalizers that were there; later ones do not count.
    pub finalizers: BTreeSet<String>,
}

impl Mark {
    /// Merges two marks.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            at: self.at.min(other.at),
            grace: match (self.grace, other.grace) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
            finalizers: self.finalizers.intersection(&other.finalizers).cloned().collect(),
        }
    }
}

/// A mark as it is kept.
#[derive(Clone, Debug)]
pub struct KeptMark {
    /// What it says.
    pub mark: Mark,
    /// The signed record.
    pub record: Arc<[u8]>,
}

impl KeptMark {
    /// Tells whether `other` adds nothing to it; of two that say the same, one does not.
    fn covers(&self, other: &Self) -> bool {
        self.mark.and(&other.mark) == self.mark && (self.mark != other.mark || self.record <= other.record)
    }
}

/// What must be durable before it is shown. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Parts {
    /// How it came to be.
    pub birth: Arc<Birth>,
    /// What is asked of it: the object without what the store gives, as compact JSON.
    pub intent: Arc<[u8]>,
    /// How many changes touched the spec.
    pub spec_changes: u64,
    /// If it is to go.
    pub mark: Option<Arc<Mark>>,
    /// What was decided about it.
    pub registers: Arc<SmallMap<Slot, Register>>,
    /// What clients say about its status: by field, or by condition.
    pub told: Arc<SmallMap<String, Told>>,
    /// Whether it is gone for good.
    pub gone: bool,
}

impl Parts {
    /// Makes those of a new object.
    pub fn new(birth: Birth, intent: &Value) -> Self {
        Self {
            birth: Arc::new(birth),
            intent: to_json(intent),
            spec_changes: 0,
            mark: None,
            registers: Arc::default(),
            told: Arc::default(),
            gone: false,
        }
    }

    /// Parses the intent.
    pub fn intent(&self) -> Map<String, Value> {
        serde_json::from_slice(&self.intent).expect("an intent is a JSON object")
    }

    /// Returns the node that a pod is bound to and, if that was decided after its creation, when.
    pub fn binding(&self, intent: &Map<String, Value>) -> Option<(String, Option<String>)> {
        if *self.birth.key.kind != kinds::POD {
            return None;
        }
        if let Some(node) = intent.get("spec").and_then(|spec| spec["nodeName"].as_str()) {
            return Some((node.to_owned(), None));
        }
        let decided = self.decided_binding()?;
        Some((decided["node"].as_str()?.to_owned(), decided["at"].as_str().map(str::to_owned)))
    }

    /// Returns the id of the node that a pod was bound to, if that was decided and is known.
    pub fn bound_to(&self) -> Option<NodeId> {
        let mut id = [0; 32];
        hex::decode_to_slice(self.decided_binding()?["id"].as_str()?, &mut id).ok()?;
        Some(NodeId(id))
    }

    /// A leader's word stands, whatever a caretaker said.
    fn decided_binding(&self) -> Option<Value> {
        let register = [Slot::Binding, Slot::CaretakerBinding].iter().find_map(|slot| self.registers.get(slot))?;
        serde_json::from_slice(register.value()).ok()
    }

    /// Returns the status that was decided, as JSON. A caretaker's counts as long as no leader has decided since: so that it is
    /// a function of what is held, and a leader's word always stands.
    pub fn decided_status(&self) -> Option<Cow<'_, [u8]>> {
        let by_caretaker = self.registers.get(&Slot::CaretakerStatus).and_then(|register| {
            let mut said: Value = serde_json::from_slice(register.value()).ok()?;
            (said["over"] == self.elected_stamp()).then(|| Cow::Owned(to_json(&said["status"].take()).to_vec()))
        });
        by_caretaker.or_else(|| Some(Cow::Borrowed(self.registers.get(&Slot::Status)?.value())))
    }

    /// Returns the stamp of the status that a leader decided, as a caretaker's names it; null if there is none.
    pub fn elected_stamp(&self) -> Value {
        self.registers
            .get(&Slot::Status)
            .map_or(Value::Null, |register| json!([register.stamp.major, register.stamp.minor]))
    }

    /// Returns the finalizers that hold it: those asked for, and once it is to go only those that were there then.
    pub fn finalizers(&self, intent: &Map<String, Value>) -> Vec<String> {
        let asked = intent.get("metadata").and_then(|meta| meta["finalizers"].as_array());
        let asked = asked.into_iter().flatten().filter_map(Value::as_str);
        let holds = |name: &&str| self.mark.as_ref().is_none_or(|mark| mark.finalizers.contains(*name));
        asked.filter(holds).map(str::to_owned).collect()
    }
}

/// One change of an object's document, as it is kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The hash in the document: the change's own, or its image's.
    pub hash: Hash,
    /// The signed record.
    pub record: Arc<[u8]>,
    /// Where in it the chunk is.
    pub chunk: std::ops::Range<usize>,
    /// Whether it touches the spec.
    pub spec: bool,
    /// What stands in the document for a late change.
    pub image: Option<Arc<Image>>,
}

/// A late change as a change of the current epoch.
#[derive(Clone, Debug)]
pub struct Image {
    /// The hash of the late change.
    pub of: Hash,
    /// The image.
    pub chunk: Vec<u8>,
}

impl Kept {
    /// Returns the chunk that is in the document.
    pub fn in_document(&self) -> &[u8] {
        self.image.as_ref().map_or_else(|| &self.record[self.chunk.clone()], |image| &image.chunk)
    }

    /// Returns the hash of the change as it was written.
    pub fn written(&self) -> Hash {
        self.image.as_ref().map_or(self.hash, |image| image.of)
    }

    /// Reads the record's number.
    pub fn serial(&self) -> Serial {
        Serial::of(&Record::read(Arc::clone(&self.record)).expect("a record that is kept was read before"))
    }
}

/// Counts the changes that touch the spec. Several records may hold one change.
pub fn spec_changes(changes: &[Kept]) -> u64 {
    let specs: BTreeSet<Hash> = changes.iter().filter(|kept| kept.spec).map(|kept| kept.hash).collect();
    specs.len() as u64
}

/// All that is known of one object.
#[derive(Clone, Debug)]
pub struct Object {
    /// With what is not durable yet.
    pub working: Parts,
    /// What is durable; `None` while its birth is not.
    pub shown: Option<Parts>,
    /// How many changes of what is asked of it are not durable yet.
    pub pending: u32,
    /// The epoch of its document, `None` for the first.
    pub epoch: Option<Arc<Epoch>>,
    /// Its document's changes in this epoch, parents before children.
    pub changes: Vec<Kept>,
    /// Records of the former epoch, should another decision win: kept, not told.
    pub former: Vec<Arc<[u8]>>,
    /// What says that it is to go: only marks that no other one covers, so that every node keeps the same.
    pub marks: Vec<KeptMark>,
    /// What kubelets saw; shown at once.
    pub observed: SmallMap<NodeId, Register>,
}

impl Object {
    /// Makes a new one.
    pub fn new(working: Parts) -> Self {
        Self {
            working,
            shown: None,
            pending: 0,
            epoch: None,
            changes: Vec::new(),
            former: Vec::new(),
            marks: Vec::new(),
            observed: SmallMap::default(),
        }
    }

    /// Keeps a change, whose parents are kept already.
    pub fn keep_change(&mut self, change: Kept) {
        if self.changes.len() < 4 {
            // Most objects have one or two.
            self.changes.reserve_exact(1);
        }
        self.changes.push(change);
    }

    /// Keeps a mark. Returns those that it takes the place of; `None` if it adds nothing to those that are kept.
    pub fn keep_mark(&mut self, mark: Mark, record: Arc<[u8]>) -> Option<Vec<KeptMark>> {
        let new = KeptMark { mark, record };
        if self.marks.iter().any(|kept| kept.covers(&new)) {
            return None;
        }
        let replaced = self.marks.extract_if(.., |kept| new.covers(kept)).collect();
        self.marks.push(new);
        Some(replaced)
    }

    /// Returns what decides between two objects of one name: the older stays.
    pub fn seniority(&self, uid: Uid) -> (Wall, Uid) {
        (self.working.birth.created, uid)
    }
}

/// What remains of an object that is gone.
#[derive(Clone, Debug)]
pub struct Grave {
    /// Where it lived, and the turn.
    pub birth: Birth,
    /// Whether it went because an older one has its name: then nothing is deleted for having been its.
    pub displaced: bool,
    /// The signed record.
    pub record: Arc<[u8]>,
}

/// Serialises a value.
pub fn to_json(value: &Value) -> Arc<[u8]> {
    serde_json::to_vec(value).expect("a JSON value serialises").into()
}
