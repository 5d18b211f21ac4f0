//! Writes of clients, once admission webhooks have had their say.

use serde_json::{Value, json};

use crate::api::Api;
use crate::api::admission::{Asked, Objects, Operation};
use crate::api::present::Lens;
use crate::api::status::Status;
use crate::object::write::{self, FieldValidation, How, Part, Rules, WriteError, Written};
use crate::object::{Key, view};
use crate::trust::User;

use super::write::{Options, refused};

/// What a mutated object is read as.
const JSON: &str = "application/json";

/// Who writes, and how.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The API.
    pub api: &'a Api,
    /// As what the client sees the kind.
    pub lens: &'a Lens,
    /// Who asks.
    pub who: &'a User,
    /// The request's options.
    pub options: &'a Options,
    /// The same as webhooks see them.
    pub shown_options: &'a Value,
}

/// Returns the options of a request as `meta.k8s.io/v1` has them.
pub fn shown_options(kind: &str, dry_run: bool, manager: Option<&str>) -> Value {
    let mut options = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
    if dry_run {
        options["dryRun"] = json!(["All"]);
    }
    if let Some(manager) = manager {
        options["fieldManager"] = manager.into();
    }
    options
}

impl Request<'_> {
    fn asked<'b>(&'b self, operation: Operation, key: &'b Key, part: Part) -> Asked<'b> {
        let (dry_run, options) = (self.options.dry_run, self.shown_options);
        Asked { operation, key, part, who: self.who, dry_run, options }
    }

    /// An object in the form of the request; of a part that is a Scale, that.
    fn shown(&self, part: Part, object: &Value) -> Value {
        match part {
            _ if object.is_null() => Value::Null,
            Part::Scale => self.lens.rules().scale(object),
            _ => view::show(self.lens.kind(), object.clone()),
        }
    }

    /// Makes what a POST asks for.
    ///
    /// # Errors
    /// What is wrong with it, or what a webhook says.
    pub async fn created(&self, namespace: &str, body: &[u8], media: &str, suffix: &str) -> Result<Written, Status> {
        let (kind, rules, validation) = (self.lens.kind(), self.lens.rules(), self.options.validation);
        let unnamed = Key::new(kind, namespace, "");
        let refuse = |e| refused(e, &unnamed);
        let named = |written: &Written| {
            Key::new(kind, namespace, written.object["metadata"]["name"].as_str().unwrap_or_default())
        };
        let mutated = self.api.is_mutated(&self.asked(Operation::Create, &unnamed, Part::Spec));
        let first = if mutated { rules.lenient() } else { rules };
        let mut written = write::create(first, namespace, body, media, validation, suffix).map_err(refuse)?;
        let key = named(&written);
        let asked = self.asked(Operation::Create, &key, Part::Spec);
        if mutated {
            let make = |object: &[u8]| write::create(rules, namespace, object, JSON, FieldValidation::Ignore, suffix);
            written = self.mutated(&asked, written, &Value::Null, make).await?;
        }
        write::note(rules, None, &mut written.object, &self.options.by(Part::Spec));
        self.judged(&asked, &mut written, &Value::Null).await?;
        Ok(written)
    }

    /// Makes what a PUT or PATCH asks `current` to become.
    ///
    /// # Errors
    /// What is wrong with it, or what a webhook says.
    pub async fn changed(
        &self,
        key: &Key,
        part: Part,
        current: &Value,
        compute: impl Fn(Rules<'_>, &Value) -> Result<Written, WriteError>,
    ) -> Result<Written, Status> {
        let rules = self.lens.rules();
        let asked = self.asked(Operation::Update, key, part);
        let mutated = self.api.is_mutated(&asked);
        let first = if mutated { rules.lenient() } else { rules };
        let mut written = compute(first, current).map_err(|e| refused(e, key))?;
        if mutated {
            let make = |object: &[u8]| write::update(rules, current, object, JSON, part, FieldValidation::Ignore);
            written = self.mutated(&asked, written, current, make).await?;
        }
        // A status is a register of its own, into which nothing else goes.
        if !part.is_status() {
            write::note(rules, Some(current), &mut written.object, &self.options.by(part));
        }
        self.judged(&asked, &mut written, current).await?;
        Ok(written)
    }

    /// Makes what an apply asks for.
    ///
    /// # Errors
    /// What is wrong with it, or what a webhook says.
    pub async fn applied(
        &self,
        key: &Key,
        current: Option<&Value>,
        body: &[u8],
        how: How<'_>,
    ) -> Result<Written, Status> {
        let rules = self.lens.rules();
        let operation = if current.is_some() { Operation::Update } else { Operation::Create };
        let asked = self.asked(operation, key, how.part);
        let mutated = self.api.is_mutated(&asked);
        let first = if mutated { rules.lenient() } else { rules };
        let mut written = write::apply(first, key, current, body, how).map_err(|e| refused(e, key))?;
        let old = current.unwrap_or(&Value::Null);
        if mutated {
            let owners = written.object["metadata"]["managedFields"].clone();
            let make = |object: &[u8]| match current {
                Some(current) => write::update(rules, current, object, JSON, how.part, FieldValidation::Ignore),
                None => write::create(rules, &key.namespace, object, JSON, FieldValidation::Ignore, ""),
            };
            written = self.mutated(&asked, written, old, make).await?;
            // What webhooks add is nobody's.
            written.object["metadata"]["managedFields"] = owners;
        }
        self.judged(&asked, &mut written, old).await?;
        Ok(written)
    }

    /// Asks those who change objects, and makes of what they say what the client could have sent.
    async fn mutated(
        &self,
        asked: &Asked<'_>,
        first: Written,
        current: &Value,
        make: impl Fn(&[u8]) -> Result<Written, WriteError>,
    ) -> Result<Written, Status> {
        let (new, old) = (self.shown(asked.part, &first.object), self.shown(asked.part, current));
        let mutated = self.api.mutate(asked, Objects { new: &new, old: &old }).await?;
        let again = make(mutated.object.to_string().as_bytes()).map_err(|e| refused(e, asked.key))?;
        let mut warnings = first.warnings;
        for warning in again.warnings.into_iter().chain(mutated.warnings) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        Ok(Written { object: again.object, warnings, revision: first.revision })
    }

    async fn judged(&self, asked: &Asked<'_>, written: &mut Written, current: &Value) -> Result<(), Status> {
        if self.api.is_judged(asked) {
            let (new, old) = (self.shown(asked.part, &written.object), self.shown(asked.part, current));
            written.warnings.extend(self.api.judge(asked, Objects { new: &new, old: &old }).await?);
        }
        Ok(())
    }
}

/// Asks about the deletion of an object; returns what the client is to be warned of.
///
/// # Errors
/// What a webhook says.
pub async fn deleted(api: &Api, key: &Key, who: &User, dry_run: bool, object: &Value) -> Result<Vec<String>, Status> {
    let options = shown_options("DeleteOptions", dry_run, None);
    let asked = Asked { operation: Operation::Delete, key, part: Part::Spec, who, dry_run, options: &options };
    let objects = Objects { new: &Value::Null, old: object };
    let mut warnings = Vec::new();
    if api.is_mutated(&asked) {
        warnings = api.mutate(&asked, objects).await?.warnings;
    }
    if api.is_judged(&asked) {
        warnings.extend(api.judge(&asked, objects).await?);
    }
    Ok(warnings)
}
