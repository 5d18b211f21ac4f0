//! resourceVersions grow, over restarts too, and no two objects shown have the same.

use std::collections::BTreeSet;

use skein::ids::Revision;
use skein::store::Snapshot;

pub const NAME: &str = "versions grow";

pub fn check(view: &Snapshot, newest: Revision) -> Result<(), String> {
    if view.revision() < newest {
        return Err(format!("{NAME}: {} is shown after {newest}", view.revision()));
    }
    let mut seen = BTreeSet::new();
    match view.all().find(|e| !seen.insert(e.revision) || e.revision > view.revision()) {
        Some(entry) => Err(format!("{NAME}: {} has version {}", entry.key, entry.revision)),
        None => Ok(()),
    }
}
