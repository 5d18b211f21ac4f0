//! After a heal every host shows the same, but for Events, projections and resourceVersions.

use std::collections::BTreeMap;

use serde_json::Value;
use skein::object::{Key, kinds};
use skein::store::class::{MANAGED_BY, is_projection};

use crate::host::Host;

pub const NAME: &str = "all hosts show the same";

pub fn check(hosts: &[Host]) -> Result<(), String> {
    let Some((first, others)) = hosts.split_first() else { return Ok(()) };
    let known = shown(first);
    for other in others {
        let found = shown(other);
        let names = (first.name(), other.name());
        if let Some((key, value)) = known.iter().find(|(key, value)| found.get(*key) != Some(*value)) {
            let found = found.get(key).map_or("nothing".into(), ToString::to_string);
            return Err(format!("{NAME}: {key} is on {}: {value}\non {}: {found}", names.0, names.1));
        }
        if let Some(key) = found.keys().find(|key| !known.contains_key(*key)) {
            return Err(format!("{NAME}: {key} is on {} and not on {}", names.1, names.0));
        }
    }
    Ok(())
}

fn shown(host: &Host) -> BTreeMap<&Key, Value> {
    let entries = host.view.all().filter(|entry| {
        let managed_by = entry.labels.get(MANAGED_BY).map(String::as_str);
        *entry.key.kind != kinds::EVENT && !is_projection(&entry.key, managed_by)
    });
    let value = |entry: &std::sync::Arc<skein::store::Entry>| {
        let mut value = entry.value();
        value["metadata"]["resourceVersion"] = Value::Null;
        value
    };
    entries.map(|entry| (&entry.key, value(entry))).collect()
}
