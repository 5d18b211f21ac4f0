//! Deletion as Kubernetes has it: grace, finalizers, propagation. A tombstone is what remains.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::object::{Key, kinds};

use super::change::{DeleteOptions, Propagation, Rejected};
use super::class;
use super::parts::{Mark, Object, Parts, to_json};
use super::plan::{Plan, Planned, Write, is_finished};
use super::render::{observation, phase};
use super::state::Store;

/// The finalizer that keeps an owner until what it owns is gone.
const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer that keeps an owner until what it owned is let go.
const ORPHAN: &str = "orphan";
/// Namespaces that every cluster has.
const IMMORTAL: &[&str] = &["default", "kube-system", "kube-public"];

impl Store {
    pub(super) fn plan_delete(&self, key: Key, options: &DeleteOptions) -> Result<Planned, Rejected> {
        let (uid, found) = self.find(&key, &options.when)?;
        if *key.kind == kinds::NAMESPACE && IMMORTAL.contains(&&*key.name) {
            return Err(Rejected::Forbidden { key, message: "this namespace may not be deleted".into() });
        }
        let intent = found.working.intent();
        let mut plan = self.plan_for(key, uid, found);
        match &found.working.mark {
            None => self.mark(&mut plan, found, intent, options)?,
            Some(mark) => self.hasten(&mut plan, mark, intent, options)?,
        }
        Ok(if plan.writes.is_empty() { Planned::Same(plan.key, uid) } else { plan.planned() })
    }

    /// The first deletion.
    fn mark(
        &self,
        plan: &mut Plan,
        found: &Object,
        intent: Map<String, Value>,
        options: &DeleteOptions,
    ) -> Result<(), Rejected> {
        let before = plan.after.finalizers(&intent);
        let finalizers = with_propagation(before.clone(), options.propagation);
        let graceful = *plan.key.kind == kinds::POD;
        let grace = if graceful { pod_grace(found, &intent, options) } else { 0 };
        if finalizers.is_empty() && grace == 0 && !class::has_builtin_finalizer(plan.key.kind) {
            plan.bury();
            return Ok(());
        }
        let seconds = self.now.wall.0.div_euclid(1_000_000);
        plan.after.mark = Some(Arc::new(Mark {
            at: seconds.saturating_add(grace),
            // A namespace's end takes as long as it takes.
            grace: (!class::has_builtin_finalizer(plan.key.kind)).then_some(grace),
            finalizers: finalizers.iter().cloned().collect(),
        }));
        if finalizers != before {
            self.set_finalizers(plan, intent, finalizers)?;
        }
        plan.writes.push(Write::Mark);
        Ok(())
    }

    /// A further deletion: it may only make it quicker.
    fn hasten(
        &self,
        plan: &mut Plan,
        mark: &Mark,
        intent: Map<String, Value>,
        options: &DeleteOptions,
    ) -> Result<(), Rejected> {
        match (mark.grace, options.grace_seconds.map(at_least_one)) {
            (Some(had), Some(grace)) if grace < had => {
                let at = mark.at.saturating_sub(had).saturating_add(grace);
                plan.after.mark = Some(Arc::new(Mark { at, grace: Some(grace), ..mark.clone() }));
                plan.writes.push(Write::Mark);
            }
            (Some(0), _) => {
                // Nothing to wait for but finalizers, of which a change of mind may take one away.
                let before = plan.after.finalizers(&intent);
                let wanted = with_propagation(before.clone(), options.propagation);
                let left: Vec<String> = before.iter().filter(|name| wanted.contains(name)).cloned().collect();
                if left != before {
                    return self.set_finalizers_and_finish(plan, intent, left);
                }
            }
            _ => {}
        }
        if is_finished(&plan.after, &intent) {
            plan.bury();
        }
        Ok(())
    }

    fn set_finalizers_and_finish(
        &self,
        plan: &mut Plan,
        intent: Map<String, Value>,
        finalizers: Vec<String>,
    ) -> Result<(), Rejected> {
        self.set_finalizers(plan, intent, finalizers)?;
        if is_finished(&plan.after, &plan.after.intent()) {
            plan.bury();
        }
        Ok(())
    }

    fn set_finalizers(
        &self,
        plan: &mut Plan,
        mut intent: Map<String, Value>,
        finalizers: Vec<String>,
    ) -> Result<(), Rejected> {
        let meta = intent.entry("metadata").or_insert_with(|| json!({}));
        if let Value::Object(meta) = meta {
            if finalizers.is_empty() {
                meta.remove("finalizers");
            } else {
                meta.insert("finalizers".into(), finalizers.into());
            }
        }
        let intent = Value::Object(intent);
        let leaves = self.leaves_of(&plan.key, &intent)?;
        plan.set_intent(to_json(&intent), leaves, false);
        Ok(())
    }

    /// Tells whether an object that is to go has nothing left to wait for.
    pub(super) fn is_finished(&self, parts: &Parts) -> bool {
        parts.mark.is_some() && is_finished(parts, &parts.intent())
    }
}

/// Negative grace is one second.
fn at_least_one(grace: i64) -> i64 {
    if grace < 0 { 1 } else { grace }
}

/// How long a pod may take: none if it is on no node, or has ended.
fn pod_grace(found: &Object, intent: &Map<String, Value>, options: &DeleteOptions) -> i64 {
    let bound = found.working.binding(intent).is_some();
    let ended = matches!(phase(&found.working, observation(found)).as_deref(), Some("Succeeded" | "Failed"));
    if !bound || ended {
        return 0;
    }
    let own = || intent.get("spec").and_then(|spec| spec["terminationGracePeriodSeconds"].as_i64());
    at_least_one(options.grace_seconds.or_else(own).unwrap_or(0))
}

/// Returns an object's finalizers as a deletion with that propagation leaves them.
pub(super) fn with_propagation(mut finalizers: Vec<String>, propagation: Option<Propagation>) -> Vec<String> {
    let Some(propagation) = propagation else { return finalizers };
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    finalizers.retain(|name| ![ORPHAN, FOREGROUND].contains(&&**name) || wanted == Some(name));
    if let Some(wanted) = wanted.filter(|wanted| !finalizers.iter().any(|name| name == wanted)) {
        finalizers.push(wanted.to_owned());
    }
    finalizers
}
