//! What the cluster looks like at one moment: an immutable, cheaply cloned view.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::ids::{Revision, Uid};
use crate::object::{Key, Kind, json, kinds};

/// How many events of one kind a watcher may be behind before it is told to list again.
pub const HISTORY_PER_KIND: usize = 1_024;

/// One object as it is shown: canonical JSON and what is asked of it most.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where it lives.
    pub key: Key,
    /// `metadata.uid`.
    pub uid: Uid,
    /// `metadata.resourceVersion`.
    pub revision: Revision,
    /// The whole object, as `object::json` writes it: compact JSON in one order.
    pub json: Arc<[u8]>,
    /// `metadata.labels`, shared with the object before it in the order of keys if they are the same.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The uid of the controlling owner reference.
    pub controller: Option<Uid>,
    /// The uids of all owner references, in their order.
    pub owners: Vec<Uid>,
    /// `spec.nodeName` of a Pod.
    pub node: Option<String>,
    /// `status.phase`.
    pub phase: Option<String>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub terminating: bool,
}

impl Entry {
    /// Makes the entry of `object`, whose metadata names uid and resourceVersion already.
    ///
    /// # Panics
    /// If the object lacks a readable uid; the store never makes one that does.
    pub fn of(key: Key, revision: Revision, object: &Value) -> Self {
        let meta = &object["metadata"];
        let text = |v: &Value| v.as_str().map(str::to_owned);
        let uid = meta["uid"].as_str().and_then(|u| u.parse().ok()).expect("the store gives every object a uid");
        let labels = meta["labels"]
            .as_object()
            .map(|m| m.iter().filter_map(|(k, v)| Some((k.clone(), text(v)?))).collect::<BTreeMap<_, _>>())
            .unwrap_or_default();
        Self {
            uid,
            revision,
            json: json::write(object).into(),
            labels: labels.into(),
            controller: controller_of(object),
            owners: owners_of(object),
            node: text(&object["spec"]["nodeName"]),
            phase: text(&object["status"]["phase"]),
            terminating: meta["deletionTimestamp"].is_string(),
            key,
        }
    }

    /// Parses the object.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("an entry holds valid JSON")
    }

    /// Parses the object as a k8s-openapi type. `None` if its shape does not fit, which validation prevents.
    pub fn typed<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.json).ok()
    }
}

fn controller_of(object: &Value) -> Option<Uid> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|o| o["controller"] == true)?["uid"].as_str()?.parse().ok()
}

fn owners_of(object: &Value) -> Vec<Uid> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    let mut uids: Vec<Uid> = owners.into_iter().flatten().filter_map(|o| o["uid"].as_str()?.parse().ok()).collect();
    uids.shrink_to_fit();
    uids
}

/// One step of an object's visible life.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchEvent {
    /// The revision at which it was shown.
    pub revision: Revision,
    /// The object before; `None` if it was created.
    pub old: Option<Arc<Entry>>,
    /// The object after; `None` if it is gone.
    pub new: Option<Arc<Entry>>,
}

impl WatchEvent {
    /// Returns the key of the object it is about.
    pub fn key(&self) -> &Key {
        let entry = self.new.as_ref().or(self.old.as_ref());
        &entry.expect("an event has a side").key
    }
}

/// Recent events of one kind.
#[derive(Clone, Debug, Default)]
struct History {
    /// Events at or below this revision are forgotten.
    floor: Revision,
    events: Vector<Arc<WatchEvent>>,
}

/// The cluster at one revision. Clones share almost everything.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Keys are shared with the indexes: a change copies some sixteen of them on its way.
    objects: OrdMap<Arc<Key>, Arc<Entry>>,
    by_uid: OrdMap<Uid, Arc<Key>>,
    by_controller: OrdMap<(Uid, Arc<Key>), ()>,
    by_owner: OrdMap<(Uid, Arc<Key>), ()>,
    by_node: OrdMap<(Arc<str>, Arc<Key>), ()>,
    history: OrdMap<&'static Kind, History>,
    /// Events older than this process cannot be replayed for any kind.
    floor: Revision,
    revision: Revision,
    /// Objects that are gone for good.
    buried: OrdSet<Uid>,
    /// Objects, gone or not, that an older one of their name displaced.
    displaced: OrdSet<Uid>,
    /// Whether what is not here may be alive all the same.
    lost: bool,
    /// Other members may hold what has not come here.
    unsure: bool,
}

/// A watcher asked for events that are gone; it has to list again (HTTP 410).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too old resource version: {asked} ({oldest})")]
pub struct TooOld {
    /// The revision the watcher had.
    pub asked: Revision,
    /// The oldest from which a watch can start.
    pub oldest: Revision,
}

impl Snapshot {
    /// Makes an empty snapshot whose watches start at `floor`.
    pub fn starting_at(floor: Revision) -> Self {
        Self { floor, revision: floor, ..Self::default() }
    }

    /// Tells whether what is not here is known not to be: false after records were lost to a damaged disk, and where
    /// other members may hold what has not come here.
    pub fn is_complete(&self) -> bool {
        !self.lost && !self.unsure
    }

    /// Notes whether other members may hold what has not come here.
    pub fn set_complete(&mut self, complete: bool) {
        self.unsure = !complete;
    }

    /// Notes whether records were lost to a damaged disk.
    pub fn set_lost(&mut self, lost: bool) {
        self.lost = lost;
    }

    /// Forgets that an object is gone for good: nobody speaks of it any more, or its tombstone did not count.
    pub(super) fn forget_burial(&mut self, uid: Uid) {
        self.buried.remove(&uid);
        self.displaced.remove(&uid);
    }

    /// Returns the newest revision shown.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Finds an object.
    pub fn get(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.objects.get(key)
    }

    /// Finds an object by its uid.
    pub fn by_uid(&self, uid: Uid) -> Option<&Arc<Entry>> {
        self.objects.get(&**self.by_uid.get(&uid)?)
    }

    /// Tells whether an object is known to be gone for good. One whose document has made way for a quorum register is not.
    pub fn is_buried(&self, uid: Uid) -> bool {
        self.buried.contains(&uid) && !self.by_uid.contains_key(&uid)
    }

    /// Tells whether an object has given its name to an older one, and is hidden by it or gone.
    pub fn is_displaced(&self, uid: Uid) -> bool {
        self.displaced.contains(&uid)
    }

    /// Notes that an object is gone for good, and whether it was displaced.
    pub fn bury(&mut self, uid: Uid, displaced: bool) {
        self.buried.insert(uid);
        self.set_displaced(uid, displaced);
    }

    /// Notes whether an older object of its name hides an object.
    pub fn set_displaced(&mut self, uid: Uid, displaced: bool) {
        if displaced {
            self.displaced.insert(uid);
        } else if self.displaced.contains(&uid) {
            self.displaced.remove(&uid);
        }
    }

    /// Lists a kind in key order, in one namespace or (with `None`) in all.
    pub fn list<'a>(
        &'a self,
        kind: &'static Kind,
        namespace: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        let from = Key::new(kind, namespace.unwrap_or_default(), "");
        self.objects
            .range(from..)
            .map(|(_, entry)| entry)
            .take_while(move |e| e.key.kind == kind && namespace.is_none_or(|n| n == e.key.namespace))
    }

    /// Returns every kind of which an object was shown since the process started, those that users define among them.
    pub fn kinds(&self) -> impl Iterator<Item = &'static Kind> {
        self.history.keys().copied()
    }

    /// Finds the kind of an owner reference or another mention, among those in the table and those that were shown.
    pub fn kind_of(&self, api_version: &str, kind: &str) -> Option<&'static Kind> {
        kinds::by_api_version(api_version, kind).or_else(|| {
            let group = api_version.split_once('/')?.0;
            self.kinds().find(|k| k.is_custom() && k.group == group && k.kind == kind)
        })
    }

    /// Lists every object, in key order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.objects.values()
    }

    /// Lists the objects of `kind` that `owner` controls.
    pub fn controlled_by<'a>(&'a self, owner: Uid, kind: &'static Kind) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        self.by_controller
            .range((owner, Arc::new(Key::cluster(kind, "")))..)
            .take_while(move |((uid, key), ())| *uid == owner && key.kind == kind)
            .filter_map(|((_, key), ())| self.objects.get(&**key))
    }

    /// Lists the objects of all kinds that name `owner` in an owner reference.
    pub fn owned_by(&self, owner: Uid) -> impl Iterator<Item = &Arc<Entry>> {
        let first = kinds::KINDS.iter().min().expect("the table of kinds is not empty");
        self.by_owner
            .range((owner, Arc::new(Key::cluster(first, "")))..)
            .take_while(move |((uid, _), ())| *uid == owner)
            .filter_map(|((_, key), ())| self.objects.get(&**key))
    }

    /// Lists the pods bound to a node.
    pub fn on_node<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a Arc<Entry>> + 'a {
        self.by_node
            .range((Arc::from(node), Arc::new(Key::cluster(&kinds::POD, "")))..)
            .take_while(move |((name, _), ())| **name == *node)
            .filter_map(|((_, key), ())| self.objects.get(&**key))
    }

    /// Returns when an object of a kind was last changed; of a kind that never was since the start, the start.
    pub fn last_change(&self, kind: &Kind) -> Revision {
        let last = self.history.get(kind).and_then(|history| history.events.last());
        last.map_or(self.floor, |event| event.revision)
    }

    /// Returns the events of `kind` after `from`, oldest first.
    ///
    /// # Errors
    /// [`TooOld`] if some of them are forgotten already, or if `from` is no number of this node and process: nothing is
    /// known of what lies between.
    pub fn events_since(
        &self,
        kind: &'static Kind,
        from: Revision,
    ) -> Result<impl Iterator<Item = &Arc<WatchEvent>>, TooOld> {
        let history = self.history.get(&kind);
        let oldest = history.map_or(self.floor, |h| h.floor.max(self.floor));
        if from < oldest || from > self.revision || from.tag() != self.revision.tag() {
            return Err(TooOld { asked: from, oldest });
        }
        let events = history.into_iter().flat_map(move |h| {
            let first = h.events.binary_search_by(|e| e.revision.cmp(&from)).map_or_else(|i| i, |i| i + 1);
            h.events.iter().skip(first)
        });
        Ok(events)
    }

    /// Shows `new` (or, with `None`, that the object is gone) at `revision`, which must be the newest yet.
    pub fn show(&mut self, key: &Key, mut new: Option<Arc<Entry>>, revision: Revision) -> Option<Arc<WatchEvent>> {
        debug_assert!(revision > self.revision, "revisions grow");
        let known = self.objects.get_key_value(key).map(|(key, entry)| (Arc::clone(key), Arc::clone(entry)));
        let (shared, old) = known.map_or_else(|| (Arc::new(key.clone()), None), |(key, old)| (key, Some(old)));
        if old.is_none() && new.is_none() {
            return None;
        }
        if let Some(entry) = new.as_mut().and_then(Arc::get_mut) {
            // Pods of one kind are neighbours, and have the same labels.
            let like = old.as_ref().or_else(|| self.objects.get_prev(key).map(|(_, entry)| entry));
            entry.labels =
                like.map(|like| &like.labels).filter(|l| **l == entry.labels).unwrap_or(&entry.labels).clone();
        }
        let places = |e: &Arc<Entry>| (e.uid, e.controller, e.owners.clone(), e.node.clone());
        // Most events move nothing: only a status changes.
        if old.as_ref().map(places) != new.as_ref().map(places) {
            old.iter().for_each(|old| self.unindex(&shared, old));
            new.iter().for_each(|new| self.index(&shared, new));
        }
        match &new {
            Some(entry) => {
                self.objects.insert(shared, Arc::clone(entry));
            }
            None => {
                self.objects.remove(key);
            }
        }
        self.revision = revision;
        let event = Arc::new(WatchEvent { revision, old, new });
        self.remember(key.kind, Arc::clone(&event));
        Some(event)
    }

    fn remember(&mut self, kind: &'static Kind, event: Arc<WatchEvent>) {
        let mut history = self.history.remove(&kind).unwrap_or_default();
        history.events.push_back(event);
        if history.events.len() > HISTORY_PER_KIND
            && let Some(oldest) = history.events.pop_front()
        {
            history.floor = oldest.revision;
        }
        self.history.insert(kind, history);
    }

    fn index(&mut self, key: &Arc<Key>, entry: &Entry) {
        self.by_uid.insert(entry.uid, Arc::clone(key));
        if let Some(owner) = entry.controller {
            self.by_controller.insert((owner, Arc::clone(key)), ());
        }
        for owner in &entry.owners {
            self.by_owner.insert((*owner, Arc::clone(key)), ());
        }
        if let Some(node) = &entry.node {
            self.by_node.insert((node.as_str().into(), Arc::clone(key)), ());
        }
    }

    fn unindex(&mut self, key: &Arc<Key>, entry: &Entry) {
        self.by_uid.remove(&entry.uid);
        if let Some(owner) = entry.controller {
            self.by_controller.remove(&(owner, Arc::clone(key)));
        }
        for owner in &entry.owners {
            self.by_owner.remove(&(*owner, Arc::clone(key)));
        }
        if let Some(node) = &entry.node {
            self.by_node.remove(&(Arc::<str>::from(node.as_str()), Arc::clone(key)));
        }
    }
}
