//! What happened, line by line, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

/// The history of one run.
#[derive(Default)]
pub struct Trace {
    lines: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
    print: bool,
}

impl Trace {
    /// Begins a history, printed as it comes if so wished.
    pub fn new(print: bool) -> Self {
        Self { print, ..Self::default() }
    }

    /// Adds a line.
    pub fn line(&mut self, at: Duration, text: impl AsRef<str>) {
        let line = format!("{:>9.3} {}", at.as_secs_f64(), text.as_ref());
        if self.print {
            println!("{line}");
        }
        self.lines.push(line);
    }

    /// Counts something.
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Returns the counts.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Returns the whole history.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}
