//! What the node has shown, and what follows for whoever reads it.

use std::collections::BTreeMap;

use serde_json::Value;
use skein::object::kinds::CONFIG_MAP;
use skein::store::Snapshot;

use crate::cluster::version;

/// The ConfigMaps of one moment, by `namespace/name`.
pub type Objects = BTreeMap<String, Value>;

/// Why a run is wrong: which promise is broken, and how.
pub type Broken = String;

/// All that was shown, over all processes of the node.
#[derive(Default)]
pub struct Truth {
    /// What each version was: one object as it was then.
    versions: BTreeMap<u64, Value>,
    /// The newest version of each uid that anybody was told.
    told: BTreeMap<String, u64>,
    /// What each snapshot of this process showed.
    shown: BTreeMap<u64, Objects>,
    /// Acknowledged writes of this process.
    pub acknowledged: BTreeMap<u64, Value>,
    /// The newest version shown.
    pub newest: u64,
}

impl Truth {
    /// A new process shows `view` first.
    pub fn restarted(&mut self, view: &Snapshot) -> Result<(), Broken> {
        self.shown.clear();
        self.acknowledged.clear();
        self.published(view)
    }

    /// The node shows `view`.
    pub fn published(&mut self, view: &Snapshot) -> Result<(), Broken> {
        let now = view.revision().0;
        if now < self.newest {
            return Err(format!("versions go back: {now} is shown after {}", self.newest));
        }
        self.newest = now;
        let mut objects = Objects::new();
        for entry in view.list(&CONFIG_MAP, None) {
            let object = entry.value();
            self.is_version(&object)?;
            objects.insert(name(&object), object);
        }
        self.shown.insert(now, objects);
        Ok(())
    }

    /// A version belongs to one object in one state, for ever.
    pub fn is_version(&mut self, object: &Value) -> Result<(), Broken> {
        let known = self.versions.entry(version(object)).or_insert_with(|| object.clone());
        if known == object {
            return Ok(());
        }
        Err(format!("a version is given twice: {known} and {object}"))
    }

    /// Somebody was told that an object is so now.
    pub fn told(&mut self, object: &Value) -> Result<(), Broken> {
        self.is_version(object)?;
        let (uid, now) = (object["metadata"]["uid"].to_string(), version(object));
        let before = self.told.entry(uid).or_default();
        if now < *before {
            return Err(format!("an object goes back from {before}: {object}"));
        }
        *before = now;
        Ok(())
    }

    /// Returns what was shown at exactly a revision of this process.
    pub fn at(&self, revision: u64) -> Option<&Objects> {
        self.shown.get(&revision)
    }

    /// Whether a revision is one of this process.
    pub fn is_of_this_process(&self, revision: u64) -> bool {
        self.shown.keys().next().is_some_and(|first| revision >= *first)
    }

    /// Returns what is shown now.
    pub fn now(&self) -> &Objects {
        self.shown.values().next_back().expect("a process shows something first")
    }
}

/// Returns `namespace/name`.
pub fn name(object: &Value) -> String {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text("namespace"), text("name"))
}
