//! Golden scripts: stories of a node, told by commands and what comes of them.
//!
//!     cargo test --test scripts               compares
//!     UPDATE=1 cargo test --test scripts      writes what comes of them into the scripts; read the difference
//!
//! A script is blocks of a command, `---` and what came of it, with a blank line after. Lines that are indented go on
//! with the command (its manifest), lines with `#` are remarks. Names that hold hashes are replaced by short ones:
//! `web-A`, `web-B` are the ReplicaSets of `web` in the order of their appearance, `web-A-1` is the first one's first
//! pod. The commands are described at [`story::Story::tell`].

#[path = "../harness/mod.rs"]
mod harness;
mod names;
mod script;
mod show;
mod story;
mod writes;

use std::path::{Path, PathBuf};

/// Makes a test of every script, and one that none was forgotten.
macro_rules! scripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            script::check(&folder().join(concat!(stringify!($name), ".txt")));
        })*

        #[test]
        fn every_script_is_a_test() {
            let mut found: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|f| f.unwrap().file_name()).collect();
            found.sort();
            let mut known = [$(concat!(stringify!($name), ".txt")),*];
            known.sort_unstable();
            assert_eq!(found, known);
        }
    };
}

scripts! {
    adoption_after_restart
    crash_loop
    docker_down_and_up
    garbage_collection
    graceful_deletion
    image_that_is_not_there
    namespace_deletion
    readiness_moves_endpoints
    rollout
    unschedulable_pod_gets_room
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/node")
}
