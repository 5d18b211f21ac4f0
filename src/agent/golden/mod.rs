//! The golden corpus: what earlier builds wrote must mean the same to this one, for good.
//!
//! `tests/golden/LEVEL` holds small files as a build of that feature level wrote them. Files are added, never changed:
//! when a format grows, [`regenerate`] writes the corpus of the new level beside the old ones.

mod read;
mod write;

use std::path::PathBuf;

use crate::time::{Mono, Now, Wall};

/// The moment at which everything in the corpus was written.
const WALL: Wall = Wall(1_763_900_000_000_000);

/// The folder of a level.
fn corpus(level: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{level}"))
}

fn now() -> Now {
    Now { mono: Mono(std::time::Duration::from_secs(100)), wall: WALL }
}

#[test]
#[ignore = "writes tests/golden: for a level that has none yet"]
fn regenerate() {
    write::corpus();
}
