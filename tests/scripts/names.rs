//! Short names for what has a hash in its name.

use std::collections::{BTreeMap, BTreeSet};

use skein::object::{Key, kinds};
use skein::store::Entry;

/// Which short name stands for which real one. Longer real names come first, so that none hides another.
#[derive(Default)]
pub struct Names {
    pairs: Vec<(String, String)>,
    uids: BTreeSet<String>,
    /// How many children of a kind an owner has had.
    children: BTreeMap<(String, &'static str), u8>,
}

impl Names {
    /// Gives an object a short name if it needs one.
    pub fn notice(&mut self, entry: &Entry) {
        self.uids.insert(entry.uid.to_string());
        let object = entry.value();
        let Some(owner) = object["metadata"]["ownerReferences"][0]["name"].as_str() else { return };
        if self.pairs.iter().any(|(real, _)| *real == entry.key.name) {
            return;
        }
        let owner = self.short(owner);
        let taken = self.children.entry((owner.clone(), entry.key.kind.kind)).or_default();
        let Some(child) = name_of(&entry.key, *taken) else { return };
        *taken += 1;
        let short = format!("{owner}-{child}");
        self.pairs.push((entry.key.name.clone(), short));
        self.pairs.sort_by_key(|(real, _)| std::cmp::Reverse(real.len()));
    }

    /// Replaces real names by short ones.
    pub fn short(&self, text: &str) -> String {
        let text = self.pairs.iter().fold(text.to_owned(), |text, (real, short)| text.replace(real, short));
        self.uids.iter().fold(text, |text, uid| text.replace(uid, "UID"))
    }

    /// Replaces a short name by the real one.
    pub fn real(&self, name: &str) -> String {
        self.pairs.iter().find(|(_, short)| short == name).map_or(name, |(real, _)| real).to_owned()
    }
}

/// A letter for a ReplicaSet, a number for a pod or a slice.
fn name_of(key: &Key, taken: u8) -> Option<String> {
    if *key.kind == kinds::REPLICA_SET {
        Some(char::from(b'A' + taken).to_string())
    } else if *key.kind == kinds::POD || *key.kind == kinds::ENDPOINT_SLICE {
        Some((taken + 1).to_string())
    } else {
        None
    }
}
