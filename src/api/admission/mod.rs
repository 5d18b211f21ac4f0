//! Admission webhooks: servers of users' that are asked about a write before it is made, and may change it or say no.
//!
//! Those that change are asked one after another, by the names of their configurations; then the object is judged as if the
//! client had sent it so; then those that only judge are asked, all at once. Where nobody asks for a kind this costs a look
//! at a list. Writes of the cluster's own controllers and kubelets do not come by here.

mod call;
mod hooks;
mod review;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use rand::TryRng as _;
use rand::rngs::SysRng;
use serde_json::Value;

use crate::object::kinds::{NAMESPACE, SERVED};
use crate::object::write::Part;
use crate::object::{Key, Kind, view};
use crate::trust::User;

use super::Api;
use super::status::Status;

pub use hooks::{Hook, Hooks, Operation};
use review::Review;

/// A write that is asked about.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// What is done.
    pub operation: Operation,
    /// To what; the kind is the form in which the client speaks.
    pub key: &'a Key,
    /// To which part of it.
    pub part: Part,
    /// By whom.
    pub who: &'a User,
    /// Whether nothing is to come of it.
    pub dry_run: bool,
    /// The options of the request, as `meta.k8s.io/v1` has them.
    pub options: &'a Value,
}

/// An object before and after.
#[derive(Clone, Copy)]
pub struct Objects<'a> {
    /// As it is to be; null if it is deleted.
    pub new: &'a Value,
    /// As it was; null if it is made.
    pub old: &'a Value,
}

/// What those who change have made of an object.
#[derive(Debug, Default)]
pub struct Mutated {
    /// The object.
    pub object: Value,
    /// What the client is to be warned of.
    pub warnings: Vec<String>,
}

impl Asked<'_> {
    fn subresource(&self) -> &'static str {
        self.part.subresource()
    }

    /// Configurations of webhooks are nobody's to refuse: else one that is wrong could not be put right.
    fn is_exempt(&self) -> bool {
        self.key.kind.group == "admissionregistration.k8s.io"
    }
}

impl Api {
    /// Tells whether somebody who changes objects wants to hear of such writes, whatever the object says.
    pub(super) fn is_mutated(&self, asked: &Asked<'_>) -> bool {
        let hooks = self.hooks.now(&self.handle);
        !asked.is_exempt() && hooks.mutating.iter().any(|hook| self.form(hook, asked).is_some())
    }

    /// Tells whether somebody who only judges wants to hear of such writes, whatever the object says.
    pub(super) fn is_judged(&self, asked: &Asked<'_>) -> bool {
        let hooks = self.hooks.now(&self.handle);
        !asked.is_exempt() && hooks.validating.iter().any(|hook| self.form(hook, asked).is_some())
    }

    /// Asks those who change objects.
    ///
    /// # Errors
    /// What one of them says, or 500 if one that must be asked does not answer.
    pub(super) async fn mutate(&self, asked: &Asked<'_>, objects: Objects<'_>) -> Result<Mutated, Status> {
        let hooks = self.hooks.now(&self.handle);
        let mut mutated = Mutated { object: objects.new.clone(), warnings: Vec::new() };
        // What an object was when each was asked: who wants so is asked again if others have changed it since.
        let mut shown: BTreeMap<usize, Value> = BTreeMap::new();
        for again in [false, true] {
            for (at, hook) in hooks.mutating.iter().enumerate() {
                if again && !(hook.reinvoked && shown.get(&at).is_some_and(|before| *before != mutated.object)) {
                    continue;
                }
                let Some(form) = self.concerned(hook, asked, Objects { new: &mutated.object, ..objects }) else {
                    continue;
                };
                let now = Objects { new: &mutated.object, ..objects };
                if let Some(answer) = self.ask(hook, form, asked, now).await? {
                    mutated.warnings.extend(answer.warnings);
                    if let Some(object) = answer.object {
                        mutated.object = converted(asked.part, object, form, asked.key.kind);
                    }
                }
                shown.insert(at, mutated.object.clone());
            }
        }
        Ok(mutated)
    }

    /// Asks those who only judge, all at once; returns what the client is to be warned of.
    ///
    /// # Errors
    /// What the first of them that refuses says, or 500 if one that must be asked does not answer.
    pub(super) async fn judge(&self, asked: &Asked<'_>, objects: Objects<'_>) -> Result<Vec<String>, Status> {
        let hooks = self.hooks.now(&self.handle);
        let concerned = hooks.validating.iter().filter_map(|hook| Some((hook, self.concerned(hook, asked, objects)?)));
        let answers = join_all(concerned.map(|(hook, form)| self.ask(hook, form, asked, objects))).await;
        let mut warnings = Vec::new();
        for answer in answers {
            warnings.extend(answer?.into_iter().flat_map(|answer| answer.warnings));
        }
        Ok(warnings)
    }

    /// The form in which a hook wants to hear of such writes: that of the request, or an equivalent one.
    fn form(&self, hook: &Hook, asked: &Asked<'_>) -> Option<&'static Kind> {
        let kind = asked.key.kind;
        let wants = |kind: &&'static Kind| hook.wants(asked.operation, kind, asked.subresource());
        if wants(&kind) {
            return Some(kind);
        }
        if !hook.equivalent {
            return None;
        }
        if kind.is_custom() {
            let customs = self.customs();
            let mut versions =
                customs.catalog.definitions().filter(|d| d.group == kind.group && d.plural == kind.plural);
            return versions.next()?.versions.iter().map(|version| version.kind).find(wants);
        }
        SERVED.iter().copied().filter(|other| std::ptr::eq(other.stored(), kind.stored())).find(wants)
    }

    /// As [`Api::form`], if the object and its namespace are among those that the hook wants to hear of.
    fn concerned(&self, hook: &Hook, asked: &Asked<'_>, objects: Objects<'_>) -> Option<&'static Kind> {
        let form = self.form(hook, asked)?;
        let labels = |object: &Value| -> BTreeMap<String, String> {
            let labels = object["metadata"]["labels"].as_object().into_iter().flatten();
            labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
        };
        let there = |object: &&Value| !object.is_null();
        let mut both = [objects.new, objects.old].into_iter().filter(there);
        if !hook.objects.is_everything() && !both.any(|object| hook.objects.matches(&labels(object))) {
            return None;
        }
        let key = asked.key;
        let in_namespace = match () {
            () if hook.namespaces.is_everything() => true,
            () if *key.kind == NAMESPACE => {
                let own = if objects.new.is_null() { objects.old } else { objects.new };
                hook.namespaces.matches(&labels(own))
            }
            () if !key.kind.namespaced => true,
            () => {
                let view = self.handle.snapshot();
                let namespace = view.get(&Key::cluster(&NAMESPACE, &*key.namespace));
                namespace.is_some_and(|namespace| hook.namespaces.matches(&namespace.labels))
            }
        };
        in_namespace.then_some(form)
    }

    /// Asks one; `None` if it does not answer and need not.
    async fn ask(
        &self,
        hook: &Hook,
        form: &'static Kind,
        asked: &Asked<'_>,
        objects: Objects<'_>,
    ) -> Result<Option<review::Answer>, Status> {
        if asked.dry_run && !hook.dry_runs {
            let why = format!("admission webhook {:?} does not support dry run", hook.name);
            return Err(Status::bad_request(why));
        }
        let shown = |object: &Value| {
            if object.is_null() { Value::Null } else { converted(asked.part, object.clone(), asked.key.kind, form) }
        };
        let (new, old) = (shown(objects.new), shown(objects.old));
        let uid = uid().map_err(Status::internal)?;
        let review = Review { asked, form, new: &new, old: &old, uid: &uid };
        let called = call::call(self, hook, &review.request()).await;
        match called.and_then(|answer| review.read(hook, &answer)) {
            Ok(answer) => answer.map(Some),
            Err(why) if hook.ignores_failure => {
                tracing::warn!(webhook = hook.name, why, "an admission webhook is passed over");
                Ok(None)
            }
            Err(why) => {
                let text = format!("Internal error occurred: failed calling webhook {:?}: {why}", hook.name);
                Err(Status::internal_error(text))
            }
        }
    }
}

/// Turns an object of one form of a kind into another. A Scale has but one.
fn converted(part: Part, mut object: Value, from: &'static Kind, to: &'static Kind) -> Value {
    if part == Part::Scale || std::ptr::eq(from, to) {
        return object;
    }
    if to.is_custom() {
        object["apiVersion"] = to.api_version().into();
        return object;
    }
    view::show(to, view::store(from, object))
}

/// A random uid.
fn uid() -> Result<String, String> {
    let mut bytes = [0; 16];
    SysRng.try_fill_bytes(&mut bytes).map_err(|e| e.to_string())?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    Ok(format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]))
}
