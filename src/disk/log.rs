//! The append log: numbered segments of framed records.
//!
//! A frame is a mark, the payload's length and a checksum over length and payload, all little-endian, then the
//! payload. A reader that meets a damaged frame looks for the next mark, so damage costs what it hit and no more.

use std::io;

use super::files::{Files, remove_if_there};

/// Begins every segment; the last character is the format's version.
const SEGMENT_MARK: &[u8; 8] = b"SKEINLG1";
/// Begins every frame.
const FRAME_MARK: [u8; 4] = [0xf1, b'S', b'K', 0x1f];
const FRAME_HEADER: usize = 12;

/// A segment that has grown past this many bytes is followed by a new one.
pub const SEGMENT_BYTES: u64 = 4 << 20;
/// The largest record, in bytes; a longer length in a frame is damage.
pub const RECORD_BYTES: usize = 4 << 20;

/// A log open for appending.
#[derive(Debug)]
pub struct Log<F> {
    files: F,
    /// Sealed segments, oldest first.
    old: Vec<u64>,
    /// The segment written now.
    current: u64,
    /// Bytes in `current`.
    written: u64,
    /// Bytes in `old`.
    old_bytes: u64,
    /// Whether something was appended since the last sync.
    dirty: bool,
    /// Whether `current`'s name is durable.
    named: bool,
}

/// What a log held when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Every record that could be read, in the order of writing.
    pub records: Vec<Vec<u8>>,
    /// One sentence for each damaged piece that is no mere torn tail.
    pub damage: Vec<String>,
}

impl<F: Files> Log<F> {
    /// Opens the log and reads all of it. Nothing is written yet.
    ///
    /// # Errors
    /// What the file layer says.
    pub fn open(mut files: F) -> io::Result<(Self, Recovered)> {
        let mut recovered = Recovered::default();
        let (mut old, mut old_bytes) = (Vec::new(), 0);
        for name in files.list()? {
            if name.ends_with(".tmp") {
                files.remove(&name)?;
                continue;
            }
            let Some(number) = segment_number(&name) else { continue };
            let bytes = files.read(&name)?;
            read_segment(&name, &bytes, &mut recovered);
            old_bytes += bytes.len() as u64;
            old.push(number);
        }
        let current = old.last().map_or(1, |n| n + 1);
        let log = Self { files, old, current, written: 0, old_bytes, dirty: false, named: false };
        Ok((log, recovered))
    }

    /// Returns the log's size in bytes.
    pub fn bytes(&self) -> u64 {
        self.old_bytes + self.written
    }

    /// Appends records. They are durable after [`Log::sync`]; after an error none may be taken for written, and a
    /// later append of the same records goes to a fresh segment.
    ///
    /// # Errors
    /// What the file layer says.
    pub fn append<'a>(&mut self, records: impl IntoIterator<Item = &'a Vec<u8>>) -> io::Result<()> {
        let mut bytes = Vec::new();
        if self.written == 0 {
            bytes.extend_from_slice(SEGMENT_MARK);
        }
        for record in records {
            frame(record, &mut bytes);
        }
        self.dirty = true;
        if let Err(error) = self.files.append(&segment_name(self.current), &bytes) {
            self.abandon();
            return Err(error);
        }
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Makes all that was appended durable.
    ///
    /// # Errors
    /// What the file layer says; what was appended since the last successful sync must then be appended again.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        if let Err(error) = self.sync_current() {
            self.abandon();
            return Err(error);
        }
        self.dirty = false;
        if self.written > SEGMENT_BYTES {
            self.next_segment();
        }
        Ok(())
    }

    /// Replaces everything before by `records`, which must hold all that is still wanted. A crash at any point
    /// leaves the old log or the new one.
    ///
    /// # Errors
    /// What the file layer says; the old log is still whole then.
    pub fn compact<'a>(&mut self, records: impl IntoIterator<Item = &'a Vec<u8>>) -> io::Result<()> {
        self.sync()?;
        if self.written > 0 {
            self.next_segment();
        }
        let (name, draft) = (segment_name(self.current), format!("{}.tmp", segment_name(self.current)));
        let mut bytes = SEGMENT_MARK.to_vec();
        for record in records {
            frame(record, &mut bytes);
        }
        remove_if_there(&mut self.files, &draft)?;
        self.files.append(&draft, &bytes)?;
        self.files.sync(&draft)?;
        self.files.rename(&draft, &name)?;
        self.files.sync_folder()?;
        let dead = std::mem::take(&mut self.old);
        self.old_bytes = 0;
        self.written = bytes.len() as u64;
        self.next_segment();
        // Reading old segments again does no harm, so a crash among these is harmless.
        for number in dead {
            remove_if_there(&mut self.files, &segment_name(number))?;
        }
        self.files.sync_folder()
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
        if !self.named && self.files.remove(&segment_name(self.current)).is_ok() {
            self.written = 0;
            self.dirty = false;
            return;
        }
        self.written = self.written.max(1);
        self.next_segment();
        self.dirty = false;
    }

    fn next_segment(&mut self) {
        self.old.push(self.current);
        self.old_bytes += self.written;
        self.current += 1;
        self.written = 0;
        self.named = false;
    }
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
    let mut recovered = Recovered::default();
    for name in files.list()?.iter().filter(|name| segment_number(name).is_some()) {
        read_segment(name, &files.read(name)?, &mut recovered);
    }
    Ok(recovered)
}

fn segment_name(number: u64) -> String {
    format!("{number:012}.log")
}

fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".log")?.parse().ok()
}

fn frame(record: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(record.len()).expect("records are bounded").to_le_bytes();
    out.extend_from_slice(&FRAME_MARK);
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, record).to_le_bytes());
    out.extend_from_slice(record);
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(payload);
    hasher.finalize()
}

fn read_segment(name: &str, bytes: &[u8], out: &mut Recovered) {
    let mut at = SEGMENT_MARK.len();
    if bytes.get(..at) != Some(SEGMENT_MARK.as_slice()) {
        at = 0;
    }
    while at < bytes.len() {
        if let Some(payload) = read_frame(&bytes[at..]) {
            out.records.push(payload.to_vec());
            at += FRAME_HEADER + payload.len();
            continue;
        }
        let next = (at + 1..bytes.len()).find(|i| read_frame(&bytes[*i..]).is_some());
        if let Some(next) = next {
            out.damage.push(format!("{name}: {} bytes at offset {at} are damaged", next - at));
        }
        at = next.unwrap_or(bytes.len());
    }
}

fn read_frame(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(..FRAME_HEADER)?;
    if header[..4] != FRAME_MARK {
        return None;
    }
    let word = |at: usize| <[u8; 4]>::try_from(&header[at..at + 4]).expect("four bytes");
    let length = usize::try_from(u32::from_le_bytes(word(4))).ok()?;
    if length > RECORD_BYTES {
        return None;
    }
    let payload = bytes.get(FRAME_HEADER..FRAME_HEADER + length)?;
    (checksum(word(4), payload) == u32::from_le_bytes(word(8))).then_some(payload)
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

    /// Writes records one a batch until the disk fails; returns how many were acknowledged.
    fn write_until_failure(files: &MemoryFiles, compact_at: usize) -> usize {
        let Ok((mut log, _)) = Log::open(files.clone()) else { return 0 };
        for n in 0..20 {
            if n == compact_at {
                let live: Vec<_> = (0..n).map(record).collect();
                // A failed compaction leaves the log usable.
                let _ = log.compact(&live);
            }
            if log.append([&record(n)]).and_then(|()| log.sync()).is_err() {
                return n;
            }
        }
        20
    }

    #[test]
    fn acknowledged_records_survive_a_crash_at_every_write_point() {
        for torn in [0, 1, 7, 1000] {
            for compact_at in [5, 99] {
                for point in 0..70 {
                    let files = MemoryFiles::default();
                    files.fail_after(point);
                    let acknowledged = write_until_failure(&files, compact_at);
                    files.crash(torn);
                    let found = reopen(&files).records;
                    for n in 0..acknowledged {
                        assert!(found.contains(&record(n)), "point {point}, torn {torn}: record {n} is lost");
                    }
                    assert!(point < 69 || acknowledged == 20, "the last point lets everything through");
                }
            }
        }
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
    fn one_damaged_byte_costs_at_most_one_record() {
        let pristine = MemoryFiles::default();
        let (mut log, _) = Log::open(pristine.clone()).expect("opens");
        let all: Vec<_> = (0..8).map(record).collect();
        log.append(&all).and_then(|()| log.sync()).expect("writes");
        let size = pristine.read("000000000001.log").expect("is there").len();
        for offset in 0..size {
            let files = MemoryFiles::default();
            let (mut log, _) = Log::open(files.clone()).expect("opens");
            log.append(&all).and_then(|()| log.sync()).expect("writes");
            assert!(files.damage("000000000001.log", offset));
            let found = reopen(&files).records;
            assert!(found.len() >= 7, "offset {offset}: {} records left", found.len());
            assert!(found.iter().all(|r| all.contains(r)), "offset {offset}: an invented record");
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
