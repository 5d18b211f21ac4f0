//! Brings in order what a merge has left: two objects of one name, objects of a namespace that is gone, Services that
//! have one address.
//!
//! The leader alone calls this, once it knows what every member that answers holds: whoever acts on half of the records
//! takes for a second object what is only a later one. It makes a copy of what has to go, has its dependants let go of
//! (`controllers::garbage` does, and the survivor adopts those that it selects), and only then buries it. So nothing is
//! ever deleted because its owner lost its name, and what was asked for can be read and applied again.

use serde_json::Value;

use crate::ids::{Term, Uid};
use crate::object::{Key, Note, NoteType, kinds, write};
use crate::time::{Mono, Now};

use super::change::{Author, Change};
use super::class;
use super::displaced::{copy, copy_key, of_intent};
use super::notices::COMPONENT;
use super::parts::{Object, Parts, to_json};
use super::small::SmallMap;
use super::state::Store;

/// How many names are looked at in one go.
const AT_ONCE: usize = 200;
/// Where copies are of what has no namespace any more: nobody but administrators looks there.
const LAST_RESORT: &str = "kube-system";
/// The ServiceAccount that every namespace is given.
const DEFAULT_ACCOUNT: &str = "default";

/// What is to be done besides what the store has done itself.
#[derive(Debug, Default)]
pub struct Orders {
    /// What to tell users.
    pub notes: Vec<Note>,
    /// Objects whose owner is gone or has lost its name: `controllers::garbage` sees to them.
    pub release: Vec<Key>,
}

/// What became of one object.
enum Step {
    /// Something has to be shown first.
    Wait,
    /// There is nothing (more) to do.
    Done,
}

impl Store {
    /// Tells since when there is something to bring in order; `None` if there is nothing.
    pub fn in_disorder_since(&self) -> Option<Mono> {
        let any = !(self.unsettled.is_empty() && self.bereaved.is_empty()) || self.allocations.is_contested();
        any.then_some(self.disorder)
    }

    /// Notes a name at which something may have to be brought in order.
    pub(super) fn unsettle(&mut self, key: &Key) {
        if self.unsettled.insert(key.clone()) {
            self.disorder = self.now.mono;
        }
    }

    /// Notes what the end of a namespace leaves.
    pub(super) fn unsettle_namespace(&mut self, namespace: &Key, uid: Uid) {
        if *namespace.kind != kinds::NAMESPACE {
            return;
        }
        let inside = |object: &&Object| object.working.birth.namespace == Some(uid) && !object.working.gone;
        let left: Vec<Key> = self.objects.values().filter(inside).map(|o| o.working.birth.key.clone()).collect();
        left.iter().for_each(|key| self.unsettle(key));
    }

    /// Goes one step further in bringing things in order.
    pub fn put_in_order(&mut self, now: Now, term: Term) -> Orders {
        self.advance(now);
        let release = std::mem::take(&mut self.bereaved).into_iter().collect();
        let mut orders = Orders { notes: Vec::new(), release };
        let keys: Vec<Key> = self.unsettled.iter().take(AT_ONCE).cloned().collect();
        for key in keys {
            if let Step::Done = self.settle_name(term, &key, &mut orders) {
                self.unsettled.remove(&key);
            }
        }
        self.settle_allocations(&mut orders);
        orders
    }

    fn settle_name(&mut self, term: Term, key: &Key, orders: &mut Orders) -> Step {
        let uids = self.names.get(key).into_iter().flat_map(SmallMap::keys);
        let mut alive: Vec<(Uid, &Object)> = uids.filter_map(|uid| Some((*uid, self.objects.get(uid)?))).collect();
        alive.retain(|(_, object)| !object.working.gone);
        if alive.iter().any(|(_, object)| object.shown.is_none() || object.pending > 0) {
            return Step::Wait;
        }
        let homeless = |object: &Object| object.working.birth.namespace.is_some_and(|ns| self.graves.contains_key(&ns));
        let (dead, mut live): (Vec<_>, Vec<_>) = alive.into_iter().partition(|(_, object)| homeless(object));
        live.sort_by_key(|(uid, object)| object.seniority(*uid));
        let survivor = live.first().map(|(uid, _)| *uid);
        let ended: Vec<Uid> =
            dead.iter().chain(&live).filter(|(_, o)| self.is_finished(&o.working)).map(|(uid, _)| *uid).collect();
        if !ended.is_empty() {
            ended.into_iter().for_each(|uid| self.end(uid));
            return Step::Wait;
        }
        let dead: Vec<Uid> = dead.into_iter().map(|(uid, _)| uid).collect();
        let losers: Vec<Uid> = live.into_iter().skip(1).map(|(uid, _)| uid).collect();
        let mut done = true;
        for (uid, by) in dead.into_iter().map(|uid| (uid, None)).chain(losers.into_iter().map(|uid| (uid, survivor))) {
            done &= matches!(self.displace(term, key, uid, by, orders), Step::Done);
        }
        if done { Step::Done } else { Step::Wait }
    }

    /// Takes an object out of the way of `by`; of nobody, if its namespace is gone.
    fn displace(&mut self, term: Term, key: &Key, uid: Uid, by: Option<Uid>, orders: &mut Orders) -> Step {
        let Some(parts) = self.objects.get(&uid).map(|object| object.working.clone()) else { return Step::Done };
        let mut say = |about: &Key, uid: Uid, reason: &'static str, message: String| {
            let (regarding, kind) = (about.clone(), NoteType::Warning);
            let field_path = String::new();
            orders.notes.push(Note { regarding, uid, field_path, kind, reason, message, component: COMPONENT });
        };
        let (kind, name, made) = (key.kind.singular, &key.name, parts.birth.created);
        if let (true, Some(by)) = (class::is_kept_whole(key.kind), by) {
            let message = format!(
                "another {kind} {name:?} was made at {made} by a side that was cut off: this one is older and has the \
                 name; the other and its data are kept, and shown once this one is deleted"
            );
            say(key, by, "NameTaken", message);
            return Step::Done;
        }
        let mut kept = None;
        if wants_copy(key, &parts) {
            match self.copy_out(term, key, uid, &parts) {
                Ok(Some(found)) => kept = Some(found),
                Ok(None) => return Step::Wait,
                Err(why) => {
                    let about = by.unwrap_or(uid);
                    say(
                        key,
                        about,
                        "NameTaken",
                        format!("another {kind} {name:?} stays hidden, no copy of it can be made: {why}"),
                    );
                    return Step::Done;
                }
            }
        }
        if by.is_some() {
            let held: Vec<Key> =
                self.snapshot.owned_by(uid).filter(|e| !e.terminating).map(|e| e.key.clone()).collect();
            if !held.is_empty() {
                orders.release.extend(held);
                return Step::Wait;
            }
        }
        if let Some((copy, copy_uid)) = kept {
            let kept =
                format!("what was asked of it is kept in {} {}/{}", copy.kind.singular, copy.namespace, copy.name);
            let (about, about_uid, message) = match by {
                Some(by) => (
                    key,
                    by,
                    format!(
                        "another {kind} {name:?} was made at {made} by a side that was cut off: this one is older and stays; {kept}"
                    ),
                ),
                None => (
                    &copy,
                    copy_uid,
                    format!(
                        "{kind} {name:?} was made in namespace {:?} while another side of a cut deleted that; {kept}",
                        key.namespace
                    ),
                ),
            };
            say(about, about_uid, "Displaced", message);
        }
        self.bury_displaced(uid, by.is_some());
        Step::Done
    }

    /// Makes the copy of an object, or finds it: its key and uid, once it is shown.
    fn copy_out(&mut self, term: Term, key: &Key, uid: Uid, parts: &Parts) -> Result<Option<(Key, Uid)>, String> {
        let own = copy_key(key, uid, &key.namespace);
        let at = if key.kind.namespaced && self.home(&own).is_ok() { own } else { copy_key(key, uid, LAST_RESORT) };
        if let Some((copy_uid, found)) = self.holder(&at) {
            return match of_intent(&found.working.intent()) {
                Some(of) if of == uid => Ok(found.shown.is_some().then_some((at, copy_uid))),
                _ => Err(format!("{at} is something else")),
            };
        }
        let object = copy(key, uid, parts, &at);
        let written = write::create_value(at.kind, &at.namespace, object).map_err(|e| e.to_string())?;
        let change = Change::Create { key: at, object: written.object };
        // Refused if its namespace is just going: then there will be another place.
        drop(self.commit(self.now, Author::Leader, term, change));
        Ok(None)
    }

    /// Lets go of an object for good. `displaced`: those that it owned are not deleted for it.
    fn bury_displaced(&mut self, uid: Uid, displaced: bool) {
        let Some(object) = self.objects.get(&uid) else { return };
        let mut plan = self.plan_for(object.working.birth.key.clone(), uid, object);
        plan.bury_as(displaced);
        self.perform_unasked(plan);
    }

    /// Moves the younger of Services that have the same address or port.
    fn settle_allocations(&mut self, orders: &mut Orders) {
        for uid in self.allocations.take_contested() {
            let Some(object) = self.objects.get(&uid).filter(|object| !object.working.gone) else { continue };
            let (key, seniority) = (object.working.birth.key.clone(), object.seniority(uid));
            let elder = |other: &Uid| {
                let other = self.objects.get(other).filter(|o| !o.working.gone).map(|o| (o, o.seniority(*other)));
                other.is_some_and(|(object, rank)| {
                    let key = &object.working.birth.key;
                    rank < seniority && self.holder(key).is_some_and(|(holder, _)| holder == rank.1)
                })
            };
            if self.holder(&key).is_none_or(|(holder, _)| holder != uid) {
                // It is on its way out.
                continue;
            }
            let mut intent = object.working.intent();
            let Ok(moves) = self.allocations.give_way(&key, uid, &mut intent, elder) else { continue };
            if moves.is_empty() {
                continue;
            }
            let intent = Value::Object(intent);
            let Ok(leaves) = self.leaves_of(&key, &intent) else { continue };
            let mut plan = self.plan_for(key.clone(), uid, object);
            plan.set_intent(to_json(&intent), leaves, true);
            self.perform_unasked(plan);
            let (kind, reason, field_path) = (NoteType::Warning, "AllocationMoved", String::new());
            let message = format!("an older Service of another side of a cut has the same: {}", moves.join(", "));
            orders.notes.push(Note { regarding: key, uid, field_path, kind, reason, message, component: COMPONENT });
        }
    }
}

/// Tells whether anybody would miss what was asked of an object: not if a controller makes it again, or it was on its
/// way out.
fn wants_copy(key: &Key, parts: &Parts) -> bool {
    let intent = parts.intent();
    let owners = intent.get("metadata").and_then(|meta| meta["ownerReferences"].as_array());
    let controlled = owners.into_iter().flatten().any(|owner| owner["controller"] == true);
    let given = *key.kind == kinds::SERVICE_ACCOUNT && key.name == DEFAULT_ACCOUNT || *key.kind == kinds::LEASE;
    parts.mark.is_none() && !controlled && !given
}
