//! What the log has lost, kept in a file until it is back or given up: a log that was rewritten shows no trace of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::disk::{DataFolder, Recovered, look};
use crate::ids::{NodeId, Term};
use crate::store::OpenReport;
use crate::store::Slot;
use crate::store::record::{Body, Record};
use crate::time::{Mono, Wall};

use super::genesis::Traces;
use super::replace_file;

/// The file, in the data folder: a line for each piece.
pub const FILE: &str = "damage";
/// How often it is looked whether somebody has removed it.
const LOOK: Duration = Duration::from_secs(5);
/// How many lines the file has at most.
const LINES: usize = 1_000;
/// What comes before a damaged record.
const FRAME_HEADER: usize = 12;

/// The file of a data folder.
pub struct Damage {
    path: PathBuf,
    lines: Vec<String>,
    /// Whether all of them are in the file: on a full disk they may not be, and nobody has given up what they say then.
    written: bool,
    looked: Mono,
}

impl Damage {
    /// Adds what was found at this start to the file, if anything was. It is told in the log too.
    pub fn note(folder: &Path, recovered: &Recovered, report: &OpenReport, now: Wall) -> Self {
        let path = folder.join(FILE);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
        for torn in &recovered.torn {
            tracing::info!("{torn}: nobody was told that it was done");
        }
        let named = recovered.damage.iter().map(|piece| format!("{}{}", piece.what, about(&piece.bytes)));
        let refused = report.refused.iter().map(|r| format!("record {} is refused: {}", r.index, r.reason));
        let fresh: Vec<String> = named.chain(refused).collect();
        for line in &fresh {
            tracing::error!("the log is damaged: {line}");
        }
        let known = |line: &String| lines.iter().any(|known| known.ends_with(line.as_str()));
        let new: Vec<String> = fresh.iter().filter(|line| !known(line)).map(|line| format!("{now} {line}")).collect();
        lines.extend(new);
        lines.truncate(LINES);
        let mut damage = Self { path, lines, written: true, looked: Mono::default() };
        if !fresh.is_empty() {
            damage.write();
        }
        damage
    }

    /// Lists what is lost, a sentence each.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// Tells whether somebody has given up what is lost: the file is gone. Looks only now and then.
    pub fn is_given_up(&mut self, now: Mono) -> bool {
        if self.lines.is_empty() || now.since(self.looked) < LOOK {
            return false;
        }
        self.looked = now;
        if !self.written {
            self.write();
            return false;
        }
        matches!(self.path.try_exists(), Ok(false))
    }

    /// All is back: the file goes.
    pub fn clear(&mut self) {
        self.lines.clear();
        // Gone already: somebody was faster.
        let _ = std::fs::remove_file(&self.path);
    }

    fn write(&mut self) {
        let text = self.lines.join("\n") + "\n";
        let written = replace_file(&self.path, text.as_bytes());
        // Durable before the log is ever rewritten.
        let synced = written.and_then(|()| std::fs::File::open(&self.path)?.sync_all());
        self.written = synced.is_ok();
        if let Err(error) = synced {
            tracing::warn!(%error, "the file {FILE} cannot be written");
        }
    }
}

/// Says what a damaged piece was about, if it can still be made out.
fn about(bytes: &[u8]) -> String {
    let record = bytes.get(FRAME_HEADER..).and_then(|payload| Record::read(payload).ok());
    let Some(record) = record else { return String::new() };
    match (record.body.uid(), &record.body) {
        (_, Body::Change { birth: Some(birth), .. } | Body::Epoch { birth, .. }) => {
            format!("; it was about {}", birth.key)
        }
        (Some(uid), _) => format!("; it was about object {uid}"),
        _ => String::new(),
    }
}

/// Reads what the log tells of a node that has lost ballot and registers; `None` if others have written there, or if
/// some of it is lost.
pub fn traces(folder: &DataFolder, me: NodeId) -> Option<Traces> {
    let recovered = look(&folder.log_files().ok()?).ok()?;
    let mut term = Term(0);
    for raw in &recovered.records {
        let record = Record::read(raw.as_slice()).ok()?;
        if record.author != me {
            return None;
        }
        if let Body::Register { slot: Slot::Binding | Slot::Status | Slot::Spec, stamp, .. } = &record.body {
            term = term.max(Term(stamp.0));
        }
    }
    recovered.damage.is_empty().then_some(Traces { term })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::log::Piece;

    fn lost(what: &str) -> Recovered {
        Recovered { damage: vec![Piece { what: what.into(), bytes: Vec::new() }], ..Recovered::default() }
    }

    #[test]
    fn what_is_lost_is_remembered_until_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let note = |recovered: &Recovered| Damage::note(folder.path(), recovered, &OpenReport::default(), Wall(0));
        assert!(note(&Recovered::default()).lines().is_empty());
        assert!(!folder.path().join(FILE).exists());
        assert_eq!(note(&lost("a is damaged")).lines().len(), 1);
        assert_eq!(note(&lost("a is damaged")).lines().len(), 1, "told once");
        assert_eq!(note(&lost("b is damaged")).lines().len(), 2);
        let mut damage = note(&Recovered::default());
        assert_eq!(damage.lines().len(), 2, "a log that was rewritten shows nothing");
        damage.clear();
        assert!(note(&Recovered::default()).lines().is_empty());
    }

    #[test]
    fn who_removes_the_file_gives_up_what_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let mut damage = Damage::note(folder.path(), &lost("a"), &OpenReport::default(), Wall(0));
        assert!(!damage.is_given_up(Mono(LOOK)));
        std::fs::remove_file(folder.path().join(FILE)).unwrap();
        assert!(!damage.is_given_up(Mono(LOOK)), "not looked at all the time");
        assert!(damage.is_given_up(Mono(LOOK * 2)));
    }
}
