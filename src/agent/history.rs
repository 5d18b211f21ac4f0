//! `agent history` and `agent undo`: what was done to one object, read from this node's disk.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use ed25519_dalek::SigningKey;
use serde::Serialize;
use serde_json::Value;

use crate::config::{NODE_PORTS, Settings};
use crate::disk::identity::REGISTERS;
use crate::disk::{FolderFiles, look, registry};
use crate::ids::{NodeId, Uid};
use crate::object::kinds::KINDS;
use crate::object::{Key, Kind, kinds, schema};
use crate::store::record::{Body, Record};
use crate::store::{self, Author, Edit, FieldEdit, Store};
use crate::trust::Members;

use super::{clock, genesis, invite};

/// Stands for a value that is not to be printed.
pub const HIDDEN: &str = "(hidden)";

/// Fields of a Secret whose values tell nothing.
const OPEN_IN_SECRETS: [&str; 4] = ["metadata.labels", "metadata.finalizers", "type", "immutable"];

/// An object's history.
#[derive(Debug, Serialize)]
pub struct History {
    /// The object, as `deployments.apps/default/web`.
    pub object: String,
    /// Whether its history was cut, so that earlier changes are not known.
    pub cut: bool,
    /// What was done to it, oldest first.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Debug, Serialize)]
pub struct Change {
    /// Its name, for `agent undo`.
    pub change: String,
    /// When it was made, by the clock of the node that made it; `None` if an older agent did.
    pub time: Option<String>,
    /// Who asked for it.
    pub user: String,
    /// The node that made it.
    pub node: String,
    /// Whether it made the object.
    pub created: bool,
    /// What it touched.
    pub fields: Vec<Field>,
}

/// What a change did to one field.
#[derive(Debug, Serialize)]
pub struct Field {
    /// The field.
    pub field: String,
    /// Its value before; `None` if it was not there.
    pub old: Option<Value>,
    /// Its value after; `None` if it was taken away.
    pub new: Option<Value>,
}

/// Finds the object that `KIND/NAME` and a namespace name.
///
/// # Errors
/// One sentence: it names no kind or no object.
pub fn target(text: &str, namespace: &str) -> anyhow::Result<Key> {
    let (kind, name) = text
        .split_once('/')
        .filter(|(_, name)| !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| anyhow!("{text:?} names no object: write KIND/NAME, such as deployment/web"))?;
    let wanted = kind.to_ascii_lowercase();
    let is_called = |kind: &&&Kind| {
        let plain = [kind.plural, kind.singular];
        plain.contains(&wanted.as_str()) || kind.short_names.contains(&wanted.as_str()) || kind.to_string() == wanted
    };
    let kind = KINDS.iter().find(is_called).ok_or_else(|| anyhow!("there is no kind {kind:?}"))?;
    Ok(if kind.namespaced { Key::new(kind, namespace, name) } else { Key::cluster(kind, name) })
}

/// Returns where the API has an object.
pub fn path(key: &Key) -> String {
    let root = if key.kind.group.is_empty() { "/api" } else { "/apis" };
    let home = if key.kind.namespaced { format!("/namespaces/{}", key.namespace) } else { String::new() };
    format!("{root}/{}{home}/{}/{}", key.kind.api_version(), key.kind.plural, key.name)
}

/// Reads the history of an object.
///
/// # Errors
/// One sentence: no agent has started there, the folder is not ours to read, or there is no such object.
pub fn read(folder: &Path, key: &Key) -> anyhow::Result<History> {
    let identity = invite::identity(folder)?;
    let files = FolderFiles::open(folder.to_owned()).with_context(|| folder.display().to_string())?;
    let registry = registry::read(&files, REGISTERS)?.unwrap_or_default();
    let members = Members::of(genesis::cluster_of(&identity)?, registry.registers.values().map(|r| r.value.as_slice()));
    let edits = edits(folder, key)?;
    let node = |edit: &Edit| {
        let name = edit.credit.node.clone().or_else(|| Some(members.get(&edit.node)?.name.clone()));
        name.unwrap_or_else(|| hex::encode(&edit.node.0[..4]))
    };
    let change = |edit: &Edit| Change {
        change: edit.name(),
        time: edit.credit.at.map(|at| at.to_string()),
        user: user(edit),
        node: node(edit),
        created: edit.birth,
        fields: edit.fields.iter().filter(|field| !field.is_order()).map(|f| told(key.kind, f)).collect(),
    };
    let cut = !edits.iter().any(|edit| edit.birth);
    Ok(History { object: key.to_string(), cut, changes: edits.iter().map(change).collect() })
}

/// Makes of an object as the API shows it one without what a change did to it.
///
/// # Errors
/// One sentence: as [`read`], or the change cannot be put back.
pub fn undone(folder: &Path, key: &Key, shown: &Value, change: &str, force: bool) -> anyhow::Result<Value> {
    Ok(store::undo(key, schema::list_map_keys, shown, &edits(folder, key)?, change, force)?)
}

fn user(edit: &Edit) -> String {
    match (&edit.credit.user, edit.credit.author) {
        (Some(user), _) => user.clone(),
        (None, Some(Author::Leader)) => "controllers".into(),
        (None, Some(Author::Caretaker)) => "caretaker".into(),
        (None, Some(Author::Kubelet)) => "kubelet".into(),
        (None, _) => String::new(),
    }
}

/// Tells what was done to a field. A Secret's values are nobody's to print, nor is what kubectl keeps of them.
fn told(kind: &Kind, edit: &FieldEdit) -> Field {
    let field = edit.field();
    let open = *kind != kinds::SECRET || OPEN_IN_SECRETS.iter().any(|open| field.starts_with(open));
    let shown = |value: Option<Value>| value.map(|value| if open { value } else { HIDDEN.into() });
    Field { old: shown(edit.was()), new: shown(edit.became()), field }
}

/// Opens a store with nothing but the records of one name, and asks it.
fn edits(folder: &Path, key: &Key) -> anyhow::Result<Vec<Edit>> {
    // Opening the files would make the folder.
    let log = FolderFiles::open(folder.join("log")).and_then(|files| look(&files));
    let log = log.with_context(|| format!("the log in {} cannot be read", folder.display()))?;
    let uid = |raw: &Vec<u8>| Record::read(raw.as_slice()).ok().and_then(|record| record.body.uid());
    let named: BTreeSet<Uid> = log.records.iter().filter_map(|raw| born(raw, key)).collect();
    let records: Vec<_> = log.records.into_iter().filter(|raw| uid(raw).is_some_and(|u| named.contains(&u))).collect();
    let mut store = Store::open(reader()?, records, clock::now()).0;
    match store.history(key) {
        Some(edits) => Ok(edits),
        None if named.is_empty() => bail!("{key} is not there"),
        None => bail!("{key} has been deleted"),
    }
}

/// A store that is only read from needs no identity.
fn reader() -> anyhow::Result<store::Config> {
    let config = Settings::default().complete("history")?;
    let key = SigningKey::from_bytes(&[0; 32]);
    Ok(store::Config {
        node: NodeId(key.verifying_key().to_bytes()),
        key,
        tag: 0,
        incarnation: 0,
        seed: [0; 32],
        service_range: config.services,
        node_ports: NODE_PORTS.0..=NODE_PORTS.1,
        reserved_addresses: Vec::new(),
        list_keys: schema::list_map_keys,
    })
}

fn born(raw: &[u8], key: &Key) -> Option<Uid> {
    match Record::read(raw).ok()?.body {
        Body::Change { uid, birth: Some(birth), .. } | Body::Epoch { uid, birth, .. } if birth.key == *key => Some(uid),
        _ => None,
    }
}
