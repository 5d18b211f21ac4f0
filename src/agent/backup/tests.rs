//! The file there and back, whole and damaged, and a data folder out of it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::agent::genesis::{self as founding, Genesis};
use crate::agent::history;
use crate::config::Settings;
use crate::object::{Key, kinds};
use crate::store::{Author, Change, Store};

fn config(folder: &Path, name: &str) -> Config {
    let settings = Settings {
        data: Some(folder.to_owned()),
        node_name: Some(name.into()),
        services: Some("10.97.0.0/16".parse().unwrap()),
        ..Settings::default()
    };
    settings.complete("host").unwrap()
}

fn store_of(config: &Config, genesis: &Genesis, records: Vec<Vec<u8>>) -> Store {
    let node = settings::node_config(config, genesis, std::net::Ipv4Addr::LOCALHOST, Vec::new());
    let (store, report) = Store::open(node.store, records, clock::now());
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    store
}

fn flush(store: &mut Store, log: &mut Log<FolderFiles>) {
    while let Some(batch) = store.take_batch() {
        log.append(&batch.records).unwrap();
        log.sync().unwrap();
        store.persisted(batch.id);
    }
}

fn settings_map() -> Key {
    Key::new(&kinds::CONFIG_MAP, "shop", "settings")
}

fn make(store: &mut Store, key: &Key, mut object: serde_json::Value) {
    object["apiVersion"] = key.kind.api_version().into();
    object["kind"] = key.kind.kind.into();
    object["metadata"] = json!({"name": key.name});
    let object = crate::object::write::create_value(key.kind, &key.namespace, object).unwrap().object;
    store.commit(clock::now(), Author::Client, Term(1), Change::Create { key: key.clone(), object }).unwrap();
}

/// A data folder with a little state.
fn cluster() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "n1");
    let data = DataFolder::open(folder.path()).unwrap();
    let genesis = founding::load(&mut data.files().unwrap(), &config, clock::now().wall).unwrap();
    let (mut log, _) = Log::open(data.log_files().unwrap()).unwrap();
    let mut store = store_of(&config, &genesis, Vec::new());
    make(&mut store, &Key::cluster(&kinds::NAMESPACE, "shop"), json!({}));
    make(&mut store, &settings_map(), json!({"data": {"colour": "red"}}));
    make(&mut store, &Key::new(&kinds::SECRET, "shop", "password"), json!({"data": {"word": "c2VzYW1l"}}));
    flush(&mut store, &mut log);
    let mut object = store.snapshot().get(&settings_map()).unwrap().value();
    object["data"]["colour"] = "blue".into();
    let change = Change::Update { key: settings_map(), object, when: store::Precondition::default() };
    store.commit_for(clock::now(), Author::Client, Some("ann".into()), Term(1), change).unwrap();
    flush(&mut store, &mut log);
    folder
}

fn backup(of: &TempDir) -> (std::path::PathBuf, Made) {
    let file = of.path().join("cluster.backup");
    let made = create(of.path(), &file).unwrap();
    (file, made)
}

#[test]
fn a_backup_becomes_a_new_cluster_with_the_same_objects() {
    let (old, fresh) = (cluster(), tempfile::tempdir().unwrap());
    let (file, made) = backup(&old);
    assert_eq!(
        made.header.objects,
        [("configmaps", 1), ("namespaces", 1), ("secrets", 1)].map(|(k, n)| (k.into(), n)).into()
    );
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let identity = invite::identity(old.path()).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(!holds(identity.key.as_bytes()) && !holds(&hex::decode(&identity.key).unwrap()));
    assert!(!holds(b"PRIVATE KEY") && !holds(b"voted_for"));

    let target = fresh.path().join("data");
    let mut wanted = config(&target, "m1");
    wanted.given.services = None;
    let done = restore(wanted.clone(), &file).unwrap();
    assert_eq!((done.kept, done.left.len()), (3, 0));
    assert_ne!(done.cluster, made.header.cluster);
    let data = DataFolder::open(&target).unwrap();
    whole(&data).unwrap();
    founding::adopt(&data.files().unwrap(), &mut wanted).unwrap();
    assert_eq!(wanted.services, made.header.services);
    let genesis = founding::load(&mut data.files().unwrap(), &wanted, clock::now().wall).unwrap();
    assert!(!genesis.fresh && genesis.identity.name == "m1" && genesis.identity.key != identity.key);
    assert!(
        genesis.vote.ballot.as_ref().is_some_and(|b| b.term >= made.header.term && b.voters.only(&genesis.node_id()))
    );
    let (_, recovered) = Log::open(data.log_files().unwrap()).unwrap();
    let store = store_of(&wanted, &genesis, recovered.records);
    assert_eq!(store.snapshot().all().count(), 3);
    assert_eq!(store.snapshot().get(&settings_map()).unwrap().value()["data"]["colour"], "blue");
}

#[test]
fn a_history_and_its_node_survive_a_restore_and_secrets_are_never_told() {
    let (old, fresh) = (cluster(), tempfile::tempdir().unwrap());
    let (file, _) = backup(&old);
    restore(config(&fresh.path().join("data"), "m1"), &file).unwrap();
    for folder in [old.path().to_owned(), fresh.path().join("data")] {
        let told = history::read(&folder, &settings_map()).unwrap();
        let last = told.changes.last().unwrap();
        assert_eq!((last.user.as_str(), last.node.as_str(), told.changes.len()), ("ann", "n1", 2));
        let field = &last.fields[0];
        assert_eq!(
            (field.field.as_str(), &field.old, &field.new),
            ("data.colour", &Some("red".into()), &Some("blue".into()))
        );
        let secret = history::read(&folder, &Key::new(&kinds::SECRET, "shop", "password")).unwrap();
        let text = serde_json::to_string(&secret).unwrap();
        assert!(text.contains("data.word") && text.contains(history::HIDDEN) && !text.contains("c2VzYW1l"), "{text}");
    }
    let none = Key::new(&kinds::CONFIG_MAP, "shop", "none");
    assert_eq!(history::read(old.path(), &none).unwrap_err().to_string(), "configmaps/shop/none is not there");
}

#[test]
fn a_backup_cut_or_changed_anywhere_is_refused_by_name_and_nothing_is_written() {
    let (old, fresh) = (cluster(), tempfile::tempdir().unwrap());
    let (file, _) = backup(&old);
    let bytes = std::fs::read(&file).unwrap();
    let (target, bad) = (fresh.path().join("data"), fresh.path().join("bad"));
    let why = |bytes: &[u8]| file::parse(bytes).expect_err("is refused").to_string();
    for length in 0..bytes.len() {
        assert!(!why(&bytes[..length]).is_empty());
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x10;
        assert!(!why(&flipped).is_empty(), "byte {at}");
    }
    assert_eq!(why(b"hello"), "it is no backup: `agent backup` writes one");
    assert_eq!(why(b"SKEINBK2"), "it is a backup of format 2, this agent reads format 1: use a newer agent");
    let records = file::parse(&bytes).unwrap().0.records;
    assert_eq!(
        why(&bytes[..bytes.len() - 40]),
        format!("it is cut short: it ends within record {records} of {records}")
    );
    assert_eq!(why(&[&bytes[..], b"more"].concat()), "it is damaged: 4 bytes follow its end");
    std::fs::write(&bad, &bytes[..bytes.len() / 2]).unwrap();
    let error = format!("{:#}", restore(config(&target, "m1"), &bad).unwrap_err());
    assert!(error.starts_with(&format!("the backup {} is refused: it is cut short", bad.display())), "{error}");
    assert!(!target.exists());
}

#[test]
fn a_restore_keeps_off_what_is_there_and_ranges_that_are_not_the_backups() {
    let (old, fresh) = (cluster(), tempfile::tempdir().unwrap());
    let (file, made) = backup(&old);
    let error = restore(config(old.path(), "n1"), &file).unwrap_err().to_string();
    assert!(error.contains("is not empty") && error.contains("fresh"), "{error}");
    let target = fresh.path().join("data");
    let mut other = config(&target, "m1");
    other.given.services = Some("10.98.0.0/16".parse().unwrap());
    let error = restore(other, &file).unwrap_err().to_string();
    assert_eq!(
        error,
        "the backup's services range is 10.97.0.0/16, not 10.98.0.0/16: leave --services out when restoring"
    );
    let newer = Header { level: features::LEVEL + 1, ..made.header };
    file::write(&file, &Header { records: 0, ..newer }, &[]).unwrap();
    let error = restore(config(&target, "m1"), &file).unwrap_err().to_string();
    assert!(error.contains(&features::too_old(features::LEVEL, features::LEVEL + 1)), "{error}");
    assert!(!target.exists());
    let data = DataFolder::open(&target).unwrap();
    data.files().unwrap().append(RESTORING, b"").unwrap();
    assert!(whole(&data).unwrap_err().to_string().contains("interrupted"));
}

#[test]
fn a_backup_leaves_out_what_was_replaced() {
    let old = cluster();
    let log = Log::open(FolderFiles::open(old.path().join("log")).unwrap()).unwrap().1.records;
    let (living, _) = living(&[log.clone(), log.clone()].concat());
    let ceilings = |records: &[Vec<u8>]| {
        let is = |raw: &&Vec<u8>| matches!(Record::read(raw.as_slice()).unwrap().body, Body::Ceiling { .. });
        records.iter().filter(is).count()
    };
    assert!(ceilings(&log) >= 1 && ceilings(&living) <= 2);
    assert!(living.iter().all(|raw| log.contains(raw)));
}
