//! `metadata.managedFields`: who owns what, as objects carry it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::set::FieldSet;

/// How a manager came to own its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By any other write.
    Update,
}

/// Who owns fields.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// How.
    pub operation: Operation,
    /// Its name.
    pub name: String,
    /// The version of the API by which the fields are named. Who applies has one entry for all.
    pub api_version: String,
    /// The subresource it wrote; empty for the object itself.
    pub subresource: String,
}

/// What a manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The fields.
    pub fields: FieldSet,
    /// When it wrote last; may be missing.
    pub time: Option<Timestamp>,
    /// As in the entry.
    api_version: String,
}

/// Every manager of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managers(BTreeMap<Manager, Owned>);

/// How many managers that update an object are told apart; the oldest beyond that become one.
const MAX_UPDATERS: usize = 10;
/// What those are called together.
const ANCIENT: &str = "ancient-changes";
/// An entry's time is not renewed within this, if only values changed: each renewal is kept in the object's history.
const FRESH: Duration = Duration::from_secs(60);

impl Managers {
    /// Reads an object's; one without any has none.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of(object: &Value) -> Result<Self, String> {
        let mut all = Self::default();
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let operation = match entry["operation"].as_str() {
                Some("Apply") => Operation::Apply,
                Some("Update") => Operation::Update,
                other => return Err(format!("no operation of a manager: {other:?}")),
            };
            if !matches!(&*text("fieldsType"), "" | "FieldsV1") {
                return Err(format!("no type of managed fields: {:?}", text("fieldsType")));
            }
            let fields = match &entry["fieldsV1"] {
                Value::Null => FieldSet::default(),
                fields => FieldSet::of_json(fields)?,
            };
            let manager = Manager::new(operation, &text("manager"), &text("apiVersion"), &text("subresource"));
            let owned = Owned { fields, time: text("time").parse().ok(), api_version: text("apiVersion") };
            all.add(manager, owned);
        }
        Ok(all)
    }

    /// Puts an entry beside what the manager owns already.
    fn add(&mut self, manager: Manager, owned: Owned) {
        match self.0.get_mut(&manager) {
            Some(before) => {
                before.fields = std::mem::take(&mut before.fields).union(&owned.fields);
                before.time = before.time.max(owned.time);
            }
            None => drop(self.0.insert(manager, owned)),
        }
    }

    /// Tells whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns what a manager owns.
    pub fn get(&self, manager: &Manager) -> Option<&Owned> {
        self.0.get(manager)
    }

    /// Returns every manager but one.
    pub fn others<'a>(&'a self, manager: &'a Manager) -> impl Iterator<Item = (&'a Manager, &'a Owned)> + 'a {
        self.0.iter().filter(move |(other, _)| *other != manager)
    }

    /// Takes fields away from every manager but one.
    pub fn take(&mut self, manager: &Manager, fields: &FieldSet) {
        for (_, owned) in self.0.iter_mut().filter(|(other, _)| *other != manager) {
            owned.fields = owned.fields.difference(fields);
        }
    }

    /// Sets what a manager owns. Its time is `now` if it `wrote` something or owns other fields than before.
    pub fn set(&mut self, manager: &Manager, api_version: &str, fields: FieldSet, wrote: bool, now: Timestamp) {
        let now = Timestamp::from_second(now.as_second()).expect("the second of a time is a time");
        let before = self.0.remove(manager);
        let fresh = |t: &Timestamp| now.duration_since(*t).unsigned_abs() < FRESH;
        let time = match before {
            Some(Owned { fields: same, time: Some(time), .. }) if same == fields && (!wrote || fresh(&time)) => time,
            _ => now,
        };
        let owned = Owned { fields, time: Some(time), api_version: api_version.to_owned() };
        self.0.insert(manager.clone(), owned);
    }

    /// Writes them as objects carry them; `None` if nobody owns anything.
    pub fn into_json(mut self) -> Option<Value> {
        self.0.retain(|_, owned| !owned.fields.is_empty());
        self.cap();
        let mut all: Vec<(Manager, Owned)> = self.0.into_iter().collect();
        all.sort_by(|(a, x), (b, y)| (a.operation, x.time, a).cmp(&(b.operation, y.time, b)));
        let entries: Vec<Value> = all.into_iter().map(|(manager, owned)| entry(&manager, &owned)).collect();
        (!entries.is_empty()).then(|| entries.into())
    }

    /// Makes one of the oldest updaters if there are too many.
    fn cap(&mut self) {
        let mut updaters: Vec<(Option<Timestamp>, Manager)> = self
            .0
            .iter()
            .filter(|(manager, _)| manager.operation == Operation::Update)
            .map(|(manager, owned)| (owned.time, manager.clone()))
            .collect();
        if updaters.len() <= MAX_UPDATERS {
            return;
        }
        updaters.sort();
        for (_, manager) in updaters.drain(..updaters.len() - MAX_UPDATERS + 1) {
            if let Some(owned) = self.0.remove(&manager) {
                self.add(Manager::new(Operation::Update, ANCIENT, &owned.api_version, &manager.subresource), owned);
            }
        }
    }
}

impl Manager {
    /// Makes one; who applies is the same in every version of the API.
    pub fn new(operation: Operation, name: &str, api_version: &str, subresource: &str) -> Self {
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self { operation, name: name.into(), api_version: api_version.into(), subresource: subresource.into() }
    }
}

fn entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = json!({
        "apiVersion": owned.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": owned.fields.to_json(),
        "operation": if manager.operation == Operation::Apply { "Apply" } else { "Update" },
    });
    if !manager.name.is_empty() {
        entry["manager"] = manager.name.clone().into();
    }
    if !manager.subresource.is_empty() {
        entry["subresource"] = manager.subresource.clone().into();
    }
    if let Some(time) = owned.time {
        entry["time"] = format!("{time:.0}").into();
    }
    entry
}
