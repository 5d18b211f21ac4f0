//! The append log: numbered segments of framed records.
//!
//! Each segment begins by naming those before it and how much of each was durable ([`Preface`]), so that a segment that
//! is missing or has lost its end is noticed. What was appended last can be checked by nothing but its own
//! look: see `frame`.

use std::io;

use super::files::{Files, remove_if_there};
pub use super::frame::RECORD_BYTES;
use super::frame::{self, Found, Preface, SEGMENT_MARK};

/// A segment that has grown past this many bytes is followed by a new one.
pub const SEGMENT_BYTES: u64 = 4 << 20;
/// How much room a disk has at least that takes writes.
const PROBE: usize = 1 << 18;

/// A log open for appending.
#[derive(Debug)]
pub struct Log<F> {
    files: F,
    /// Earlier segments, oldest first, and how many bytes of each are durable.
    old: Vec<(u64, u64)>,
    /// The segment written now.
    current: u64,
    /// Bytes in `current`, and how many of them are durable.
    written: u64,
    durable: u64,
    /// Whether `current`'s name is durable.
    named: bool,
    /// When a segment is followed by another.
    segment_bytes: u64,
    /// What was read and may not be durable; it goes before what is appended next.
    again: Vec<Vec<u8>>,
    /// Whether it was appended.
    repeated: bool,
}

/// What a log held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Every record that could be read, in the order of writing.
    pub records: Vec<Vec<u8>>,
    /// Every piece that is damaged or missing.
    pub damage: Vec<Piece>,
    /// One sentence for each piece that a power cut has left of a write that nobody was told of.
    pub torn: Vec<String>,
}

/// A piece of the log that is damaged or missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Where it is, and what is wrong.
    pub what: String,
    /// What is there.
    pub bytes: Vec<u8>,
}

impl<F: Files> Log<F> {
    /// Opens the log and reads all of it, after making durable what a process that was killed has left in the kernel's
    /// hands: whoever reads it counts on it. Nothing new is written yet; what is dead is removed.
    ///
    /// # Errors
    /// What the file layer says.
    pub fn open(mut files: F) -> io::Result<(Self, Recovered)> {
        for name in files.list()?.iter().filter(|name| segment_number(name).is_some()) {
            unless_read_only(files.sync(name))?;
        }
        unless_read_only(files.sync_folder())?;
        let mut segments = read_segments(&files)?;
        let dead = take_dead(&mut segments).into_iter().map(segment_name);
        let drafts = files.list()?.into_iter().filter(|name| name.ends_with(".tmp"));
        for name in dead.chain(drafts) {
            // On a disk that cannot be written it stays, and does no harm.
            let _ = files.remove(&name);
        }
        let recovered = gather(&mut segments);
        let again = in_doubt(&segments, &recovered);
        let old: Vec<_> = segments.iter().map(|(number, found)| (*number, found.end)).collect();
        let current = old.last().map_or(1, |(number, _)| number + 1);
        let segment_bytes = SEGMENT_BYTES;
        let (written, durable, named, repeated) = (0, 0, false, false);
        Ok((Self { files, old, current, written, durable, named, segment_bytes, again, repeated }, recovered))
    }

    /// Begins a new segment sooner.
    #[cfg(test)]
    pub(super) fn roll_at(&mut self, bytes: u64) {
        self.segment_bytes = bytes;
    }

    /// Returns the log's size in bytes.
    pub fn bytes(&self) -> u64 {
        self.old.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.written
    }

    /// Appends records. They are durable after [`Log::sync`]; after an error none may be taken for written, and a
    /// later append of the same records goes to a fresh segment.
    ///
    /// # Errors
    /// What the file layer says.
    pub fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a Vec<u8>>) -> io::Result<()> {
        let mut bytes = Vec::new();
        if self.written == 0 {
            bytes = self.beginning(false);
        }
        let mut first = self.written == self.durable && self.written > 0;
        if !self.repeated {
            self.again.iter().for_each(|record| frame::write(record, std::mem::take(&mut first), &mut bytes));
        }
        for record in records {
            frame::write(record, std::mem::take(&mut first), &mut bytes);
        }
        if let Err(error) = self.files.append(&segment_name(self.current), &bytes) {
            self.abandon();
            return Err(error);
        }
        self.written += bytes.len() as u64;
        self.repeated = true;
        Ok(())
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// What the file layer says; what was appended since the last successful sync must then be appended again.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.written == self.durable {
            return Ok(());
        }
        if let Err(error) = self.sync_current() {
            self.abandon();
            return Err(error);
        }
        self.durable = self.written;
        self.again.clear();
        if self.written > self.segment_bytes {
            self.next_segment();
        }
        Ok(())
    }

    /// Looks whether the disk takes writes, and leaves no trace.
    ///
    /// # Errors
    /// What the file layer says.
    pub fn probe(&mut self) -> io::Result<()> {
        const NAME: &str = "probe.tmp";
        let tried = self.files.append(NAME, &[0; PROBE]).and_then(|()| self.files.sync(NAME));
        remove_if_there(&mut self.files, NAME)?;
        tried
    }

    /// Replaces everything before by `records`, which must hold all that is still wanted. A crash at any point
    /// leaves the old log or the new one.
    ///
    /// # Errors
    /// What the file layer says; the old log is still whole then, but for what was not synced: that must be appended
    /// again.
    pub fn compact<'a>(&mut self, records: impl IntoIterator<Item = &'a Vec<u8>>) -> io::Result<()> {
        self.sync()?;
        if self.written > 0 {
            self.next_segment();
        }
        // Whatever becomes of it, this number is never used again.
        let number = self.current;
        self.current += 1;
        let mut bytes = self.beginning(true);
        for record in records {
            frame::write(record, false, &mut bytes);
        }
        self.replace(number, &bytes)?;
        self.again.clear();
        let dead = std::mem::replace(&mut self.old, vec![(number, bytes.len() as u64)]);
        for (number, _) in dead {
            remove_if_there(&mut self.files, &segment_name(number))?;
        }
        self.files.sync_folder()
    }

    /// Makes a segment that is whole when it gets its name.
    fn replace(&mut self, number: u64, bytes: &[u8]) -> io::Result<()> {
        let (name, draft) = (segment_name(number), format!("{}.tmp", segment_name(number)));
        let made = remove_if_there(&mut self.files, &draft)
            .and_then(|()| self.files.append(&draft, bytes))
            .and_then(|()| self.files.sync(&draft));
        if let Err(error) = made {
            // A full disk has no room for half a log.
            let _ = self.files.remove(&draft);
            return Err(error);
        }
        self.files.rename(&draft, &name)?;
        self.files.sync_folder()
    }

    fn beginning(&self, whole: bool) -> Vec<u8> {
        let before = if whole { Vec::new() } else { self.old.clone() };
        let mut bytes = SEGMENT_MARK.to_vec();
        frame::write(&Preface { whole, before }.to_bytes(), true, &mut bytes);
        bytes
    }

    fn sync_current(&mut self) -> io::Result<()> {
        self.files.sync(&segment_name(self.current))?;
        if !self.named {
            self.files.sync_folder()?;
            self.named = true;
        }
        Ok(())
    }

    /// Leaves a segment whose end is in doubt. One of which nothing was ever durable goes, so that a full disk is not
    /// littered by the retries.
    fn abandon(&mut self) {
        self.repeated = false;
        if self.named {
            return self.next_segment();
        }
        match remove_if_there(&mut self.files, &segment_name(self.current)) {
            Ok(()) => (self.written, self.durable) = (0, 0),
            // It stays where it is, and nobody counts on it.
            Err(_) => self.begin(self.current + 1),
        }
    }

    fn next_segment(&mut self) {
        self.old.push((self.current, self.durable));
        self.begin(self.current + 1);
    }

    fn begin(&mut self, number: u64) {
        self.current = number;
        (self.written, self.durable, self.named) = (0, 0, false);
    }
}

/// On a disk that cannot be written there is nothing to make durable.
fn unless_read_only(synced: io::Result<()>) -> io::Result<()> {
    synced.or_else(|error| if error.kind() == io::ErrorKind::ReadOnlyFilesystem { Ok(()) } else { Err(error) })
}

/// Puts together what segments hold, and says what is not as it was written.
fn gather(segments: &mut [(u64, Found)]) -> Recovered {
    let mut recovered = Recovered::default();
    // What was dead when this one was made is nobody's loss.
    let whole = segments.first().filter(|(_, found)| found.preface.as_ref().is_some_and(|preface| preface.whole));
    let first = whole.map_or(0, |(number, _)| *number);
    let said = segments.iter().filter_map(|(_, found)| found.preface.as_ref()).flat_map(|p| p.before.iter().copied());
    let mut promised = std::collections::BTreeMap::<u64, u64>::new();
    for (number, good) in said.filter(|(number, good)| *number >= first && *good > 0) {
        let known = promised.entry(number).or_default();
        *known = good.max(*known);
    }
    for (number, found) in segments {
        let name = segment_name(*number);
        let listed = promised.remove(number);
        let (sure, end) = (listed.map_or(found.sure, |good| good.max(found.sure)), found.end);
        for gap in &found.gaps {
            let sentence = format!("{name}: {} bytes at offset {} are", gap.to - gap.from, gap.from);
            // What comes after what a later segment was sure of was given up by those who wrote it.
            if gap.from >= sure && (gap.torn || listed.is_some()) {
                recovered.torn.push(format!("{sentence} an unfinished write"));
                found.end = found.end.min(gap.from);
            } else {
                recovered.damage.push(Piece { what: format!("{sentence} damaged"), bytes: gap.bytes.clone() });
            }
        }
        let told = found.gaps.last().is_some_and(|gap| gap.to > end);
        if let Some(good) = listed.filter(|good| *good > end && !told) {
            let what = format!("{name}: its end is missing, from offset {end} to {good}");
            recovered.damage.push(Piece { what, bytes: Vec::new() });
        }
        // Of one that never was durable nobody may say that it was.
        found.end = if sure > SEGMENT_MARK.len() as u64 { found.end.min(sure) } else { 0 };
        recovered.records.append(&mut found.records);
    }
    for (number, good) in promised {
        let what = format!("{}: missing, {good} bytes", segment_name(number));
        recovered.damage.push(Piece { what, bytes: Vec::new() });
    }
    recovered
}

/// Lists what was read and may not be durable all the same: a sync that has failed takes pages for written that never
/// reach the disk, and the one who knew that may be gone. It is what the newest segment holds behind what is sure; of
/// an older one it was written once more.
fn in_doubt(segments: &[(u64, Found)], recovered: &Recovered) -> Vec<Vec<u8>> {
    let Some((_, newest)) = segments.last() else { return Vec::new() };
    let count = newest.places.iter().filter(|at| **at >= newest.sure).count();
    recovered.records[recovered.records.len() - count..].to_vec()
}

/// Reads a log that another process may be writing: all that is durable, and perhaps a little more. Changes nothing.
///
/// # Errors
/// What the file layer says; `NotFound` if it was compacted meanwhile, time and again.
pub fn look(files: &(impl Files + ?Sized)) -> io::Result<Recovered> {
    /// A compaction takes far longer than a look, so a second one hardly ever comes between.
    const TRIES: usize = 5;
    let mut result = read_all(files);
    for _ in 1..TRIES {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => result = read_all(files),
            _ => break,
        }
    }
    result
}

fn read_all(files: &(impl Files + ?Sized)) -> io::Result<Recovered> {
    let mut segments = read_segments(files)?;
    take_dead(&mut segments);
    Ok(gather(&mut segments))
}

fn read_segments(files: &(impl Files + ?Sized)) -> io::Result<Vec<(u64, Found)>> {
    let numbers = files.list()?.into_iter().filter_map(|name| segment_number(&name));
    numbers.map(|number| Ok((number, frame::read(&files.read(&segment_name(number))?)))).collect()
}

/// Takes out what a rewrite has replaced.
fn take_dead(segments: &mut Vec<(u64, Found)>) -> Vec<u64> {
    let is_whole = |found: &Found| found.preface.as_ref().is_some_and(|preface| preface.whole);
    let first = segments.iter().rposition(|(_, found)| is_whole(found)).unwrap_or_default();
    segments.drain(..first).map(|(number, _)| number).collect()
}

fn segment_name(number: u64) -> String {
    format!("{number:012}.log")
}

fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFiles;
    use super::*;

    fn record(n: usize) -> Vec<u8> {
        format!("record {n} {}", "x".repeat(n % 50)).into_bytes()
    }

    fn reopen(files: &MemoryFiles) -> Recovered {
        Log::open(files.clone()).expect("opens").1
    }

    #[test]
    fn a_retry_after_a_full_disk_loses_nothing() {
        let files = MemoryFiles::default();
        let (mut log, _) = Log::open(files.clone()).expect("opens");
        log.append([&record(1)]).and_then(|()| log.sync()).expect("writes");
        files.fail_after(0);
        log.append([&record(2)]).expect_err("the disk is full");
        files.repair();
        log.append([&record(2)]).and_then(|()| log.sync()).expect("writes again");
        files.crash(0);
        let recovered = reopen(&files);
        assert_eq!(recovered.records, [record(1), record(2)]);
    }

    #[test]
    fn retries_on_a_full_disk_leave_no_litter() {
        let files = MemoryFiles::default();
        let (mut log, _) = Log::open(files.clone()).expect("opens");
        log.append([&record(1)]).and_then(|()| log.sync()).expect("writes");
        for _ in 0..10 {
            files.fail_after(1);
            log.append([&record(2)]).and_then(|()| log.sync()).expect_err("the disk is full");
            files.repair();
        }
        assert!(files.list().expect("lists").len() <= 2, "{:?}", files.list());
        log.append([&record(2)]).and_then(|()| log.sync()).expect("writes again");
        files.crash(0);
        assert_eq!(reopen(&files).records, [record(1), record(2)]);
    }

    #[test]
    fn what_a_failed_sync_has_left_is_written_once_more_by_the_next_process() {
        let files = MemoryFiles::default();
        let (mut log, _) = Log::open(files.clone()).expect("opens");
        log.append([&record(1)]).and_then(|()| log.sync()).expect("writes");
        log.append([&record(2)]).expect("writes");
        files.fail_at(files.operations());
        log.sync().expect_err("the disk is broken");
        drop(log);
        // The kernel still shows what never reached the disk.
        let (mut log, recovered) = Log::open(files.clone()).expect("opens");
        assert_eq!(recovered.records, [record(1), record(2)]);
        log.append([&record(3)]).and_then(|()| log.sync()).expect("writes");
        files.crash(0);
        let recovered = reopen(&files);
        assert_eq!((recovered.records, recovered.damage), (vec![record(1), record(2), record(3)], vec![]));
    }

    #[test]
    fn one_damaged_byte_costs_at_most_one_record() {
        let pristine = MemoryFiles::default();
        let (mut log, _) = Log::open(pristine.clone()).expect("opens");
        let all: Vec<_> = (0..8).map(record).collect();
        log.append(&all).and_then(|()| log.sync()).expect("writes");
        let size = pristine.read("000000000001.log").expect("is there").len();
        for offset in 0..size {
            let files = pristine.copy();
            assert!(files.damage("000000000001.log", offset));
            let found = reopen(&files);
            assert!(found.records.len() >= 7, "offset {offset}: {} records left", found.records.len());
            assert!(found.records.iter().all(|r| all.contains(r)), "offset {offset}: an invented record");
            assert!(found.records.len() == 8 || !found.damage.is_empty(), "offset {offset}: nobody is told");
        }
    }

    #[test]
    fn compaction_forgets_the_dead_and_keeps_what_follows() {
        let files = MemoryFiles::default();
        let (mut log, _) = Log::open(files.clone()).expect("opens");
        let all: Vec<_> = (0..100).map(record).collect();
        log.append(&all).and_then(|()| log.sync()).expect("writes");
        let before = log.bytes();
        log.compact(&[record(7)]).expect("compacts");
        assert!(log.bytes() < before / 10);
        log.append([&record(200)]).and_then(|()| log.sync()).expect("writes");
        files.crash(0);
        assert_eq!(reopen(&files).records, [record(7), record(200)]);
    }
}
