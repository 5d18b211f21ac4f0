//! Changes of our own: what they come to (planned on the working state, without a trace), and making them.

use std::sync::Arc;

use rand::Rng;
use serde_json::Value;

use crate::ids::{Revision, Term, Uid};
use crate::object::{Key, kinds};
use crate::time::Now;

use super::allocate::{self, Ranges, Taken};
use super::change::{Author, Change, Committed, Precondition, Rejected};
use super::class::{self, Class, Section};
use super::delete::{self, Step};
use super::leaves;
use super::parts::{Object, Parts, Register};
use super::record::{About, Body, OBJECT_BYTES};
use super::{Entry, Receipt, Store, Ticket, Tombstone};

/// The epoch of every document yet.
const EPOCH: u64 = 1;

/// What a change comes to.
enum Plan {
    Nothing(Uid),
    Create { about: About, intent: Value },
    Rewrite { uid: Uid, intent: Value },
    Register { uid: Uid, section: Section, value: Vec<u8> },
    Remove { uid: Uid },
}

impl Store {
    /// Makes a change, or says why not. `term`: the leader's, for decisions.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn commit(&mut self, now: Now, author: Author, term: Term, change: Change) -> Result<Receipt, Rejected> {
        self.wall = now.wall;
        let key = change.key().clone();
        if self.class_of(&change) == Class::Ephemeral {
            return self.commit_ephemeral(now, change).map(Receipt::Shown);
        }
        let uid = self.uid_for(&change);
        match self.plan(now, author, uid, change)? {
            Plan::Nothing(uid) => self.unchanged(&key, uid),
            Plan::Create { about, intent } => Ok(self.create(about, &intent)),
            Plan::Rewrite { uid, intent } => self.rewrite(&key, uid, &intent),
            Plan::Register { uid, section, value } => Ok(self.write_register(now, term, &key, uid, section, value)),
            Plan::Remove { uid } => Ok(self.remove(&key, uid)),
        }
    }

    /// Returns what [`Store::commit`] would have shown, without a trace.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn dry_run(&self, now: Now, author: Author, _: Term, change: Change) -> Result<Committed, Rejected> {
        let key = change.key().clone();
        let kept = |entry: Entry| Committed { entry: Arc::new(entry), removed: false };
        let shown = || self.snapshot.get(&key).cloned().ok_or_else(|| Rejected::NotFound { key: key.clone() });
        let uid = Uid::derived(&[b"dry run", key.to_string().as_bytes()]);
        if self.class_of(&change) == Class::Ephemeral {
            return match self.plan_ephemeral(now, uid, change)? {
                Some(object) => Ok(kept(self.ephemeral_entry(&key, &object))),
                None => Ok(Committed { entry: shown()?, removed: true }),
            };
        }
        let revision = self.revisions.last();
        let preview = |uid: Uid, edit: &dyn Fn(&mut Parts)| {
            let mut parts = self.objects.get(&uid).map(|o| o.working.clone()).unwrap_or_default();
            edit(&mut parts);
            let revision = self.snapshot.get(&key).map_or(revision, |e| e.revision);
            kept(parts.entry(&key, uid, revision))
        };
        let text = |intent: &Value| intent.to_string().into_bytes().into();
        Ok(match self.plan(now, author, uid, change)? {
            Plan::Nothing(_) => Committed { entry: shown()?, removed: false },
            Plan::Create { about, intent } => preview(about.uid, &|p| {
                p.intent = text(&intent);
                p.generation = 1;
            }),
            Plan::Rewrite { uid, intent } => preview(uid, &|p| p.intent = text(&intent)),
            Plan::Register { uid, section, value } => preview(uid, &|p| {
                let register = Register { stamp: (0, 0), value: value.clone().into(), record: Arc::default() };
                p.registers.insert(section, register);
            }),
            Plan::Remove { .. } => Committed { entry: shown()?, removed: true },
        })
    }

    fn class_of(&self, change: &Change) -> Class {
        let object = if let Change::Create { object, .. } = change { object } else { &Value::Null };
        if self.projected.contains(change.key()) {
            return Class::Projection;
        }
        class::of(change.key(), object)
    }

    fn plan(&self, now: Now, author: Author, uid: Uid, change: Change) -> Result<Plan, Rejected> {
        if self.class_of(&change) == Class::Projection {
            return Err(Rejected::Projection { key: change.key().clone() });
        }
        match change {
            Change::Create { key, object } => self.plan_create(now, key, uid, object),
            Change::Update { key, object, when } => self.plan_update(&key, object, when),
            Change::Status { key, status, when } => {
                let section = Section::of_status(author);
                self.plan_register(&key, when, section, status.to_string().into_bytes())
            }
            Change::Bind { key, .. } if author != Author::Leader => {
                Err(Rejected::Forbidden { key, message: "only the leader binds pods".into() })
            }
            Change::Bind { key, when, node } => {
                self.plan_register(&key, when, Section::Binding, Value::from(node).to_string().into_bytes())
            }
            Change::Delete { key, options } => {
                let (uid, object) = self.find(&key)?;
                self.check(&key, uid, options.when)?;
                let whole = object.working.entry(&key, uid, Revision(0)).value();
                Ok(match delete::delete(&key, &whole, object.working.intent(), &options, now.wall) {
                    Step::Nothing => Plan::Nothing(uid),
                    Step::Mark(intent) => Plan::Rewrite { uid, intent },
                    Step::Remove => Plan::Remove { uid },
                })
            }
            Change::Remove { key, when } => {
                let (uid, _) = self.find(&key)?;
                self.check(&key, uid, when)?;
                Ok(Plan::Remove { uid })
            }
        }
    }

    fn plan_create(&self, now: Now, key: Key, uid: Uid, object: Value) -> Result<Plan, Rejected> {
        if self.holder(&key).is_some() {
            return Err(Rejected::AlreadyExists { key });
        }
        self.check_namespace(&key)?;
        let mut intent = intent_of(object);
        intent["metadata"]["creationTimestamp"] = now.wall.to_string().into();
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
            remove(&mut intent["metadata"], field);
        }
        self.allocate(&key, uid, &mut intent, None)?;
        check_size(&key, &intent)?;
        let turn = self.next_turn(&key);
        Ok(Plan::Create { about: About { key, uid, turn }, intent })
    }

    fn plan_update(&self, key: &Key, object: Value, when: Precondition) -> Result<Plan, Rejected> {
        let (uid, current) = self.find(key)?;
        self.check(key, uid, when)?;
        let before = current.working.intent();
        let mut intent = intent_of(object);
        for field in ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            match before["metadata"].get(field) {
                Some(value) => intent["metadata"][field] = value.clone(),
                None => remove(&mut intent["metadata"], field),
            }
        }
        if current.working.registers.contains_key(&Section::Binding) {
            remove(&mut intent["spec"], "nodeName");
        }
        self.allocate(key, uid, &mut intent, Some(&before))?;
        check_size(key, &intent)?;
        if delete::is_over(key, &intent) {
            return Ok(Plan::Remove { uid });
        }
        Ok(if intent == before { Plan::Nothing(uid) } else { Plan::Rewrite { uid, intent } })
    }

    fn plan_register(&self, key: &Key, when: Precondition, section: Section, value: Vec<u8>) -> Result<Plan, Rejected> {
        let (uid, object) = self.find(key)?;
        self.check(key, uid, when)?;
        let same = object.working.registers.get(&section).is_some_and(|r| *r.value == *value);
        Ok(if same { Plan::Nothing(uid) } else { Plan::Register { uid, section, value } })
    }

    fn allocate(&self, key: &Key, uid: Uid, intent: &mut Value, before: Option<&Value>) -> Result<(), Rejected> {
        if key.kind != &kinds::SERVICE {
            return Ok(());
        }
        let mut taken = Taken::default();
        let others = self.objects.iter().filter(|(other, o)| **other != uid && o.key.kind == &kinds::SERVICE);
        others.for_each(|(_, service)| taken.add(&service.working.intent()));
        let ranges = Ranges {
            addresses: self.config.service_range,
            reserved: self.config.reserved_addresses.clone(),
            ports: self.config.node_ports.clone(),
        };
        allocate::allocate(&ranges, &taken, key, uid, intent, before)
    }

    /// Finds who holds a name in the working state: of several, the one that is or will be shown.
    fn holder(&self, key: &Key) -> Option<Uid> {
        let holders = self.names.get(key)?;
        let shown = self.snapshot.get(key).map(|e| e.uid).filter(|uid| holders.contains(uid));
        shown.or_else(|| holders.first().copied())
    }

    fn find(&self, key: &Key) -> Result<(Uid, &Object), Rejected> {
        let found = self.holder(key).and_then(|uid| Some((uid, self.objects.get(&uid)?)));
        found.ok_or_else(|| Rejected::NotFound { key: key.clone() })
    }

    /// Checks what a change expects.
    pub(super) fn check(&self, key: &Key, uid: Uid, when: Precondition) -> Result<(), Rejected> {
        if let Some(given) = when.uid.filter(|given| *given != uid) {
            return Err(Rejected::UidMismatch { key: key.clone(), given, found: uid });
        }
        let Some(expected) = when.revision else { return Ok(()) };
        let shown = self.snapshot.get(key).is_some_and(|e| e.uid == uid && e.revision == expected);
        let quiet = self.objects.get(&uid).is_none_or(|o| o.pending == 0);
        if shown && quiet { Ok(()) } else { Err(Rejected::Stale { key: key.clone() }) }
    }

    /// Checks that a new object's namespace is there and stays.
    pub(super) fn check_namespace(&self, key: &Key) -> Result<(), Rejected> {
        if !key.kind.namespaced {
            return Ok(());
        }
        let (key, namespace) = (key.clone(), key.namespace.clone());
        let Ok((_, object)) = self.find(&Key::cluster(&kinds::NAMESPACE, &namespace)) else {
            return Err(Rejected::NoNamespace { key, namespace });
        };
        if object.working.intent()["metadata"]["deletionTimestamp"].is_string() {
            return Err(Rejected::NamespaceTerminating { key, namespace });
        }
        Ok(())
    }

    fn next_turn(&self, key: &Key) -> u64 {
        self.turns.get(key).map_or(1, |n| n + 1)
    }

    /// Returns the uid that a created object gets (design, section 3): derived where two sides must make the same
    /// object, random else.
    fn uid_for(&mut self, change: &Change) -> Uid {
        let Change::Create { key, object } = change else { return Uid([0; 16]) };
        let turn = self.next_turn(key).to_be_bytes();
        let meta = &object["metadata"];
        let by_name = key.kind == &kinds::NAMESPACE || (key.kind == &kinds::SERVICE_ACCOUNT && key.name == "default");
        if by_name {
            return Uid::derived(&[key.to_string().as_bytes(), &turn]);
        }
        if let (true, Some(id)) = (key.kind == &kinds::NODE, meta["annotations"]["skein.dev/node-id"].as_str()) {
            return Uid::derived(&[b"node", id.as_bytes(), &turn]);
        }
        let owner = meta["ownerReferences"].as_array().and_then(|o| o.iter().find(|o| o["controller"] == true));
        let hash = meta["labels"]["pod-template-hash"].as_str();
        match (key.kind == &kinds::REPLICA_SET, owner.and_then(|o| o["uid"].as_str()), hash) {
            (true, Some(owner), Some(hash)) => Uid::derived(&[b"replicaset", owner.as_bytes(), hash.as_bytes(), &turn]),
            _ => self.fresh_uid(),
        }
    }

    pub(super) fn fresh_uid(&mut self) -> Uid {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        Uid::random(bytes)
    }

    fn unchanged(&self, key: &Key, uid: Uid) -> Result<Receipt, Rejected> {
        // What is so only in the working state is not acknowledged yet.
        let settled = self.objects.get(&uid).is_some_and(|o| o.pending == 0);
        match self.snapshot.get(key).filter(|e| e.uid == uid && settled) {
            Some(entry) => Ok(Receipt::Unchanged(Committed { entry: Arc::clone(entry), removed: false })),
            None => Err(Rejected::Stale { key: key.clone() }),
        }
    }

    fn create(&mut self, about: About, intent: &Value) -> Receipt {
        let About { key, uid, turn } = about;
        let object =
            Object { key: key.clone(), turn, changes: Vec::new(), working: Parts::default(), shown: None, pending: 0 };
        self.objects.insert(uid, object);
        self.names.entry(key.clone()).or_default().insert(uid);
        self.turns.insert(key.clone(), turn);
        self.write_document(&key, uid, intent);
        Receipt::Pending(self.wait_for_working(&key, uid))
    }

    /// Makes an object's working state wait for the disk.
    fn wait_for_working(&mut self, key: &Key, uid: Uid) -> Ticket {
        let parts = self.objects.get(&uid).map(|o| o.working.clone()).expect("the caller has found it");
        self.wait(key, uid, parts, false)
    }

    fn rewrite(&mut self, key: &Key, uid: Uid, intent: &Value) -> Result<Receipt, Rejected> {
        if !self.write_document(key, uid, intent) {
            return self.unchanged(key, uid);
        }
        Ok(Receipt::Pending(self.wait_for_working(key, uid)))
    }

    /// Writes the intent into the document. Returns whether anything differed.
    fn write_document(&mut self, key: &Key, uid: Uid, intent: &Value) -> bool {
        let wanted = leaves::take_apart(key.kind, self.config.list_keys, intent);
        let (change, generation) = self.with_document(uid, |doc| (doc.write(&wanted), doc.generation()));
        let Some(change) = change else { return false };
        let turn = self.objects.get(&uid).map_or(1, |o| o.turn);
        let about = About { key: key.clone(), uid, turn };
        let record = self.record(&Body::Change { about, epoch: EPOCH, change }, true);
        let object = self.objects.get_mut(&uid).expect("the caller has found it");
        object.changes.push(record);
        object.working.intent = intent.to_string().into_bytes().into();
        object.working.generation = generation;
        true
    }

    fn write_register(
        &mut self,
        now: Now,
        term: Term,
        key: &Key,
        uid: Uid,
        section: Section,
        value: Vec<u8>,
    ) -> Receipt {
        let stamp = (self.stamp(now, term, section), self.seq + 1);
        let turn = self.objects.get(&uid).map_or(1, |o| o.turn);
        let about = About { key: key.clone(), uid, turn };
        let body = Body::Register { about, section: section.number(), stamp, value: value.clone() };
        let record = self.record(&body, section.durable_first());
        let register = Register { stamp, value: value.into(), record };
        let object = self.objects.get_mut(&uid).expect("the plan has found it");
        object.working.registers.insert(section, register.clone());
        let Some(shown) = object.shown.as_mut().filter(|_| !section.durable_first()) else {
            // A decision waits for the disk, and an observation for its object to be shown at all.
            return Receipt::Pending(self.wait_for_working(key, uid));
        };
        shown.registers.insert(section, register);
        self.show_name(key);
        let entry = Arc::clone(self.snapshot.get(key).expect("it was shown just now"));
        Receipt::Shown(Committed { entry, removed: false })
    }

    /// The first half of a stamp: the term for the leader's, the incarnation for a node's, a hybrid clock for clients'.
    fn stamp(&self, now: Now, term: Term, section: Section) -> u64 {
        match section {
            Section::Observation => self.config.incarnation,
            Section::Client => u64::try_from(now.wall.millis()).unwrap_or(0),
            _ => term.0,
        }
    }

    fn remove(&mut self, key: &Key, uid: Uid) -> Receipt {
        let (turn, last) = self.objects.get(&uid).map(|o| (o.turn, o.working.clone())).expect("the plan has found it");
        let about = About { key: key.clone(), uid, turn };
        let record = self.record(&Body::Tombstone { about: about.clone() }, true);
        self.bury(Tombstone { about, record });
        Receipt::Pending(self.wait(key, uid, last, true))
    }

    /// Lets go of an object in the working state.
    pub(super) fn bury(&mut self, tombstone: Tombstone) {
        let About { key, uid, turn } = &tombstone.about;
        self.objects.remove(uid);
        self.documents.remove(uid);
        if let Some(holders) = self.names.get_mut(key) {
            holders.remove(uid);
            if holders.is_empty() {
                self.names.remove(key);
            }
        }
        let highest = self.turns.entry(key.clone()).or_default();
        *highest = (*highest).max(*turn);
        self.tombstones.insert(*uid, tombstone);
    }
}

/// Leaves of an object what is asked of it: no status, nothing that the store gives or the key says.
fn intent_of(mut object: Value) -> Value {
    for field in ["status", "apiVersion", "kind"] {
        remove(&mut object, field);
    }
    for field in ["uid", "resourceVersion", "generation", "selfLink", "name", "namespace"] {
        remove(&mut object["metadata"], field);
    }
    object
}

fn remove(map: &mut Value, field: &str) {
    if let Some(map) = map.as_object_mut() {
        map.remove(field);
    }
}

fn check_size(key: &Key, intent: &Value) -> Result<(), Rejected> {
    let size = intent.to_string().len();
    if size <= OBJECT_BYTES {
        return Ok(());
    }
    Err(Rejected::Invalid {
        key: key.clone(),
        field: "metadata".into(),
        value: format!("{size} bytes"),
        message: format!("the object must have at most {OBJECT_BYTES} bytes"),
    })
}
