//! Reads a script, runs it, and compares or rewrites what came of it.

use std::fs;
use std::path::Path;

use crate::story::Story;

/// A command and what is said to come of it.
#[derive(Default)]
struct Block {
    /// Remarks and blank lines before it, as they are.
    head: Vec<String>,
    command: Vec<String>,
    expected: Vec<String>,
}

/// Runs a script.
///
/// # Panics
/// If something else comes of it than it says, unless it is to be rewritten.
pub fn check(path: &Path) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut story, mut written, mut wrong) = (Story::begin(), Vec::new(), None);
    for block in parse(&text) {
        written.extend(block.head);
        if block.command.is_empty() {
            continue;
        }
        let mut found = story.tell(&block.command[0], &block.command[1..].join("\n"));
        if found.is_empty() {
            found.push("(nothing)".into());
        }
        if wrong.is_none() && found != block.expected {
            let command = block.command.join("\n");
            let (expected, found) = (block.expected.join("\n"), found.join("\n"));
            wrong = Some(format!("{command}\n--- expected\n{expected}\n--- found\n{found}"));
        }
        written.extend(block.command);
        written.push("---".into());
        written.extend(found);
    }
    if std::env::var_os("UPDATE").is_some() {
        return fs::write(path, written.join("\n") + "\n").expect("the script can be written");
    }
    if let Some(wrong) = wrong {
        panic!("{}:\n{wrong}\nUPDATE=1 cargo test --test scripts rewrites it", path.display());
    }
}

fn parse(text: &str) -> Vec<Block> {
    let mut blocks = vec![Block::default()];
    let mut expects = false;
    for line in text.lines() {
        let last = blocks.len() - 1;
        let block = &mut blocks[last];
        if expects && !line.is_empty() {
            block.expected.push(line.into());
        } else if expects {
            expects = false;
            blocks.push(Block { head: vec![String::new()], ..Block::default() });
        } else if line == "---" {
            expects = true;
        } else if block.command.is_empty() && (line.is_empty() || line.starts_with('#')) {
            block.head.push(line.into());
        } else {
            block.command.push(line.into());
        }
    }
    blocks
}
