//! Holds the table of who may see whom (docs/architecture.md): a back door between rooms fails here.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A room, and the rooms it may name. Rooms of one file stand for themselves.
type Row = (&'static str, &'static [&'static str]);

const PURE: &[Row] = &[
    ("ids", &[]),
    ("time", &[]),
    ("features", &[]),
    ("object", &["ids", "time"]),
    ("store", &["ids", "time", "object"]),
    ("trust", &["ids", "time", "object"]),
    ("authorization", &["ids", "object", "store", "trust"]),
    ("scheduler", &["ids", "time", "object", "store"]),
    ("controllers", &["ids", "time", "object", "store", "authorization"]),
    ("kubelet", &["ids", "time", "object", "store", "trust"]),
    ("routing", &["ids", "time", "object", "store"]),
    ("membership", &["ids", "time"]),
    ("election", &["ids", "time"]),
    ("gossip", &["ids", "time", "store"]),
    (
        "node",
        &[
            "ids",
            "time",
            "features",
            "object",
            "store",
            "trust",
            "authorization",
            "membership",
            "election",
            "gossip",
            "scheduler",
            "controllers",
            "kubelet",
            "routing",
        ],
    ),
];

/// The handle, and the pure rooms whose words they speak.
const EDGE: &[Row] = &[
    ("config", &["object"]),
    ("handle", &["ids", "time", "store", "node", "routing"]),
    ("hostnet", &[]),
    ("runtime", &["ids", "time", "object", "kubelet", "handle", "hostnet"]),
    ("mesh", &["ids", "node", "handle"]),
    ("api", &["ids", "time", "object", "store", "trust", "authorization", "node", "routing", "handle"]),
    ("proxy", &["time", "routing", "handle", "hostnet"]),
    ("dns", &["routing", "handle"]),
    ("disk", &["ids", "time", "election"]),
    ("cli", &["agent", "config"]),
];

/// Rooms that see all: the composition root, and the fuzz targets.
const ROOTS: &[&str] = &["agent", "fuzzing", "lib", "main"];

/// What a pure room may never name: clocks, sockets, files, tasks, locks, randomness that is not seeded.
const BANNED: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net::Tcp",
    "std::net::Udp",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "Mutex",
    "RwLock",
    "thread_rng",
    "rand::rng(",
    "std::process",
    "bollard",
    "hyper",
    "axum",
];

#[test]
fn rooms_see_only_what_the_table_allows() {
    let table: BTreeMap<_, BTreeSet<_>> =
        PURE.iter().chain(EDGE).map(|(room, sees)| (*room, sees.iter().copied().collect())).collect();
    let mut wrong = Vec::new();
    for (room, path, code) in sources() {
        if ROOTS.contains(&room.as_str()) {
            continue;
        }
        let allowed = table.get(room.as_str()).unwrap_or_else(|| panic!("room {room} is not in the table"));
        for seen in rooms_named(&code) {
            if seen != room && !allowed.contains(seen.as_str()) {
                wrong.push(format!("{}: {room} may not see {seen}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_touch_nothing_of_the_world() {
    let mut wrong = Vec::new();
    for (room, path, code) in sources() {
        if !PURE.iter().any(|(pure, _)| *pure == room) {
            continue;
        }
        for word in BANNED {
            if code.contains(word) {
                wrong.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reader_finds_what_it_looks_for() {
    let code = "use crate::{ids::Uid, store::{self, Snapshot}};\nlet x = crate::object::Key::of(v);";
    let seen: Vec<_> = rooms_named(code).into_iter().collect();
    assert_eq!(seen, ["ids", "object", "store"]);
}

/// Every source file without its comments and its tests: (room, path, code).
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&root, &mut files);
    assert!(files.len() > 20, "the sources are where they are looked for");
    files
        .into_iter()
        .map(|path| (room_of(&root, &path), path.clone(), shipped(&fs::read_to_string(&path).unwrap())))
        .collect()
}

fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "tests" || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            walk(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

fn room_of(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// Drops comments and what follows the tests' attribute, which stands last in a file.
fn shipped(code: &str) -> String {
    let code = code.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn rooms_named(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for part in code.split("crate::").skip(1) {
        match part.strip_prefix('{') {
            Some(group) => rooms.extend(group_heads(group)),
            None => rooms.extend(head(part)),
        }
    }
    rooms
}

/// The first names of `{a::B, c::{d, e}}`, given without its first brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut heads) = (0, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.extend(head(std::mem::take(&mut item).trim())),
            _ => {}
        }
        if depth == 0 && c != ',' {
            item.push(c);
        }
    }
    heads.extend(head(item.trim()));
    heads
}

fn head(path: &str) -> Option<String> {
    let name: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}
