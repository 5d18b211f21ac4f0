//! What a change would do, without doing it: the half that a dry run shares with a commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ids::{Term, Uid};
use crate::object::{Key, defaults, kinds};

use super::bounds::MAX_FINALIZERS;
use super::change::{Author, Change, Precondition, Rejected};
use super::class::{self, Class};
use super::document::MAX_LEAVES;
use super::inflate::inflate;
use super::leaves::{self, Leaves, MAX_DEPTH, flatten};
use super::parts::{Birth, Object, Parts, to_json};
use super::record::MAX_RECORD_BYTES;
use super::register::{Register, Slot, Stamp};
use super::render::intent_of;
use super::state::Store;
use super::status;
use super::uid;

/// The most bytes of an object as compact JSON.
pub const MAX_OBJECT_BYTES: usize = 1_500_000;

/// What a change comes to.
#[derive(Debug)]
pub(super) enum Planned {
    /// Nothing: all is so already.
    Same(Key, Uid),
    /// This.
    Do(Box<Plan>),
}

/// A change thought through.
#[derive(Debug)]
pub(super) struct Plan {
    pub key: Key,
    pub uid: Uid,
    /// Whether the object is new.
    pub born: bool,
    /// The object after.
    pub after: Parts,
    /// What its kubelet saw: JSON.
    pub observed: Option<Vec<u8>>,
    /// What has to be written for it.
    pub writes: Vec<Write>,
}

/// One record to write.
#[derive(Debug)]
pub(super) enum Write {
    /// The document, so that it has these leaves.
    Intent { leaves: Leaves, spec: bool },
    /// A decision.
    Decide(Slot, Stamp, Vec<u8>),
    /// What a client says of a status.
    Tell(Stamp, Vec<(String, Option<Arc<[u8]>>)>),
    /// The mark in `after`.
    Mark,
    /// The tombstone; of one that an older one of its name displaced, or of any other.
    Bury { displaced: bool },
}

impl Plan {
    fn of(key: Key, uid: Uid, object: &Object) -> Self {
        Self { key, uid, born: false, after: object.working.clone(), observed: None, writes: Vec::new() }
    }

    fn done(self) -> Planned {
        Planned::Do(Box::new(self))
    }
}

impl Store {
    /// Thinks a change through. `fresh` is the uid of a new object whose uid is random.
    pub(super) fn plan(&self, author: Author, term: Term, fresh: Uid, change: Change) -> Result<Planned, Rejected> {
        match change {
            Change::Create { key, object } => self.plan_create(author, term, fresh, key, object),
            Change::Update { key, object, when } => self.plan_update(term, key, object, &when),
            Change::Status { key, status, when } => self.plan_status(author, term, key, status, &when),
            Change::Bind { key, when, node } => self.plan_bind(author, term, key, &when, &node),
            Change::Delete { key, options } => self.plan_delete(key, &options),
            Change::Remove { key, when } => {
                let (uid, object) = self.find(&key, &when)?;
                let mut plan = Plan::of(key, uid, object);
                plan.bury();
                Ok(plan.done())
            }
        }
    }

    fn plan_create(
        &self,
        author: Author,
        term: Term,
        fresh: Uid,
        key: Key,
        object: Value,
    ) -> Result<Planned, Rejected> {
        if class::of_object(&key, Some(&object)) == Class::Projection {
            return Err(Rejected::Projection { key });
        }
        let namespace = self.home(&key)?;
        if self.holder(&key).is_some() || self.projections.contains_key(&key) || self.decided.contains_key(&key) {
            return Err(Rejected::AlreadyExists { key });
        }
        check_size(&key, &object)?;
        let status = class::keeps_status_at_birth(key.kind, author).then(|| object["status"].clone());
        let mut intent = intent_of(key.kind, object);
        let origin = uid::origin(&key, &intent, namespace);
        let turn = origin.map_or(0, |origin| self.next_turn(&key, origin));
        let uid = origin.map_or(fresh, |origin| uid::of_turn(origin, turn));
        if *key.kind == kinds::SERVICE {
            self.allocations.complete(&key, uid, &mut intent, None)?;
        }
        if *key.kind == kinds::JOB {
            defaults::name_pods(&mut intent, &key.name, uid);
        }
        let birth = Birth { key: key.clone(), created: self.now.wall, turn, origin, namespace };
        let decided = class::has_decided_spec(key.kind).then(|| intent.remove("spec")).flatten();
        if key.kind.is_custom() && intent.get("status").is_some_and(Value::is_null) {
            intent.remove("status");
        }
        let spec = key.kind.is_custom() || intent.contains_key("spec");
        let intent = Value::Object(intent);
        let mut after = Parts::new(birth, &intent);
        after.spec_changes = u64::from(spec);
        let leaves = self.leaves_of(&key, &intent)?;
        let observed = status.filter(|s| s.as_object().is_some_and(|s| !s.is_empty())).map(|s| to_json(&s).to_vec());
        let writes = vec![Write::Intent { leaves, spec }];
        let mut plan = Plan { key, uid, born: true, after, observed, writes };
        if let Some(spec) = decided {
            self.decide(&mut plan, Slot::Spec, term, to_json(&spec).to_vec())?;
        }
        Ok(plan.done())
    }

    fn plan_update(&self, term: Term, key: Key, object: Value, when: &Precondition) -> Result<Planned, Rejected> {
        let (uid, found) = self.find(&key, when)?;
        if class::of_object(&key, Some(&object)) == Class::Projection {
            return Err(Rejected::Projection { key });
        }
        check_size(&key, &object)?;
        let old = found.working.intent();
        let mut intent = intent_of(key.kind, object);
        if key.kind.is_custom() {
            let shown = status::compose(&found.working, &old, None, |_| true).map(Value::Object);
            keep_status(&old, shown.as_ref(), &mut intent);
        }
        keep_what_only_birth_gives(&key, &old, &mut intent);
        if *key.kind == kinds::SERVICE {
            self.allocations.complete(&key, uid, &mut intent, Some(&old))?;
        }
        self.check_finalizers(&key, found, &old, &intent)?;
        let mut plan = Plan::of(key.clone(), uid, found);
        if class::has_decided_spec(key.kind) {
            let spec = to_json(&intent.remove("spec").unwrap_or(Value::Null)).to_vec();
            if found.working.registers.get(&Slot::Spec).map_or(b"null".as_slice(), Register::value) != spec {
                self.decide(&mut plan, Slot::Spec, term, spec)?;
            }
        }
        let mut intent = Value::Object(intent);
        if let Some(shown) = found.shown.as_ref().filter(|shown| shown.intent != found.working.intent) {
            intent = self.onto_pending(&key, shown, &found.working, &intent);
        }
        let bytes = to_json(&intent);
        if bytes == found.working.intent {
            return Ok(if plan.writes.is_empty() { Planned::Same(key, uid) } else { plan.done() });
        }
        let spec = if key.kind.is_custom() {
            is_more_than_metadata(&old, &intent)
        } else {
            old.get("spec") != intent.get("spec")
        };
        let leaves = self.leaves_of(&plan.key, &intent)?;
        plan.set_intent(bytes, leaves, spec);
        if let Value::Object(intent) = &intent
            && is_finished(&plan.after, intent)
        {
            plan.bury();
        }
        Ok(plan.done())
    }

    /// Does to what is not shown yet what a caller did to what is: nobody's change is lost.
    fn onto_pending(&self, key: &Key, seen: &Parts, working: &Parts, wish: &Value) -> Value {
        let shape = self.shape(key);
        let flat = |parts: &Parts| flatten(shape, &Value::Object(parts.intent()));
        let delta = leaves::diff(&flat(seen), &flatten(shape, wish));
        let mut merged = flat(working);
        leaves::apply(&mut merged, delta);
        inflate(shape, &merged)
    }

    fn check_finalizers(
        &self,
        key: &Key,
        found: &Object,
        old: &Map<String, Value>,
        new: &Map<String, Value>,
    ) -> Result<(), Rejected> {
        if found.working.mark.is_none() {
            return Ok(());
        }
        let held: BTreeSet<String> = found.working.finalizers(old).into_iter().collect();
        let asked = new.get("metadata").and_then(|meta| meta["finalizers"].as_array());
        let asked = asked.into_iter().flatten().filter_map(Value::as_str);
        let added: Vec<String> = asked.filter(|name| !held.contains(*name)).map(|name| format!("{name:?}")).collect();
        if added.is_empty() {
            return Ok(());
        }
        let found = format!("[]string{{{}}}", added.join(", "));
        Err(Rejected::Invalid {
            key: key.clone(),
            field: "metadata.finalizers".into(),
            message: format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers {found}"
            ),
            value: found,
        })
    }

    pub(super) fn leaves_of(&self, key: &Key, intent: &Value) -> Result<Leaves, Rejected> {
        let leaves = flatten(self.shape(key), intent);
        // Half of it leaves room for columns and envelope.
        let (size, most) = (leaves::size(&leaves), MAX_RECORD_BYTES / 2);
        if size > most {
            return Err(too_large(key, size, most));
        }
        if leaves.len() > MAX_LEAVES {
            let message = format!("has too many fields: {}, at most {MAX_LEAVES} can be stored", leaves.len());
            let (field, value) = ("metadata".into(), key.name.clone());
            return Err(Rejected::Invalid { key: key.clone(), field, value, message });
        }
        check_finalizers(key, intent)?;
        Ok(leaves)
    }

    pub(super) fn plan_for(&self, key: Key, uid: Uid, object: &Object) -> Plan {
        Plan::of(key, uid, object)
    }
}

impl Plan {
    pub(super) fn set_intent(&mut self, bytes: Arc<[u8]>, leaves: Leaves, spec: bool) {
        self.after.intent = bytes;
        self.after.spec_changes += u64::from(spec);
        self.writes.push(Write::Intent { leaves, spec });
    }

    pub(super) fn bury(&mut self) {
        self.bury_as(false);
    }

    pub(super) fn bury_as(&mut self, displaced: bool) {
        self.after.gone = true;
        self.writes.push(Write::Bury { displaced });
    }

    pub(super) fn planned(self) -> Planned {
        self.done()
    }
}

/// Tells whether nothing holds an object that is to go any more.
pub(super) fn is_finished(parts: &Parts, intent: &Map<String, Value>) -> bool {
    let Some(mark) = &parts.mark else { return false };
    let kind = parts.birth.key.kind;
    // A pod with grace left is ended by its kubelet, once its containers are.
    let may_go = *kind != kinds::POD || mark.grace == Some(0);
    may_go && !class::has_builtin_finalizer(kind) && parts.finalizers(intent).is_empty()
}

/// Refuses what is too large or too deep to be stored.
pub(super) fn check_size(key: &Key, object: &Value) -> Result<(), Rejected> {
    sized_json(key, object).map(|_| ())
}

/// Serialises what is not too large or too deep to be stored.
pub(super) fn sized_json(key: &Key, object: &Value) -> Result<Vec<u8>, Rejected> {
    let json = serde_json::to_vec(object).expect("a JSON value serialises");
    if json.len() > MAX_OBJECT_BYTES {
        return Err(too_large(key, json.len(), MAX_OBJECT_BYTES));
    }
    if leaves::depth(object) > MAX_DEPTH {
        let message = format!("must not be nested more than {MAX_DEPTH} levels deep");
        return Err(Rejected::Invalid { key: key.clone(), field: String::new(), value: String::new(), message });
    }
    Ok(json)
}

/// Refuses more finalizers than a mark may name.
pub(super) fn check_finalizers(key: &Key, intent: &Value) -> Result<(), Rejected> {
    let count = intent["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
    if count <= MAX_FINALIZERS {
        return Ok(());
    }
    let message = format!("must have at most {MAX_FINALIZERS} items");
    Err(Rejected::Invalid { key: key.clone(), field: "metadata.finalizers".into(), value: count.to_string(), message })
}

fn too_large(key: &Key, size: usize, most: usize) -> Rejected {
    let message = format!("is too large: {size} bytes, at most {most} can be stored");
    Rejected::Invalid { key: key.clone(), field: "metadata".into(), value: key.name.clone(), message }
}

/// Keeps the status within the intent of an object of a user's kind, if it is there. Where the status is apart, an update
/// says nothing of it, or repeats what is shown; where it is not, it may say another, and a null takes it away.
fn keep_status(old: &Map<String, Value>, shown: Option<&Value>, new: &mut Map<String, Value>) {
    match new.remove("status").filter(|given| Some(given) != shown) {
        None => new.extend(old.get("status").map(|status| ("status".to_owned(), status.clone()))),
        Some(Value::Null) => {}
        Some(other) => drop(new.insert("status".into(), other)),
    }
}

/// Tells whether two states of an object of a user's kind differ beyond their metadata, which is what its generation counts.
fn is_more_than_metadata(old: &Map<String, Value>, new: &Value) -> bool {
    let rest = |(name, _): &(&String, &Value)| *name != "metadata";
    let new = new.as_object().into_iter().flatten().filter(rest);
    !old.iter().filter(rest).eq(new)
}

/// A pod's node is the scheduler's to say, or its creator's; what follows from the birth stays.
fn keep_what_only_birth_gives(key: &Key, old: &Map<String, Value>, new: &mut Map<String, Value>) {
    if *key.kind != kinds::POD {
        return;
    }
    new.remove("status");
    new.extend(old.get("status").map(|status| ("status".to_owned(), status.clone())));
    if let Some(Value::Object(spec)) = new.get_mut("spec") {
        spec.remove("nodeName");
        let node = old.get("spec").and_then(|spec| spec.get("nodeName"));
        spec.extend(node.map(|node| ("nodeName".to_owned(), node.clone())));
    }
}
