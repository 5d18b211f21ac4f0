//! The one thread that writes the log: gathers what waits, appends it at once, syncs once (group commit).

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::election::SaveId;
use crate::ids::PersistId;

use super::files::Files;
use super::log::Log;

/// How many jobs may wait.
pub const QUEUE: usize = 1_024;
/// How long records that nobody waits for may stay unsynced.
pub const LAZY: Duration = Duration::from_secs(2);
/// How long to wait after a failed write before the next try.
pub const RETRY: Duration = Duration::from_millis(500);
/// How long to wait after a rewrite that failed where there was too much to keep: it takes everything alive.
pub const REWRITE: Duration = Duration::from_secs(10);
/// A log smaller than this is not compacted.
pub const COMPACT_BYTES: u64 = 8 << 20;
/// How much is kept for a disk that takes no writes, in bytes of records. What comes beyond that is written, once it
/// takes them again, by writing all that is alive.
pub const BACKLOG: usize = 16 << 20;

/// Something to write.
#[derive(Debug)]
pub enum Job {
    /// Append a batch.
    Append {
        /// The batch; ids come in order.
        id: PersistId,
        /// Its records.
        records: Vec<Vec<u8>>,
        /// Whether somebody waits for it.
        urgent: bool,
    },
    /// Replace everything before by these records.
    Compact(Vec<Vec<u8>>),
}

/// What the threads that write say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// All batches up to this one are durable.
    Persisted(PersistId),
    /// All saves of ballot and registers up to this one are durable.
    Saved(SaveId),
    /// The log has grown far past what is alive in it: compact it, please.
    Grown,
    /// The disk refuses; the writer goes on trying. One sentence, once for each new trouble.
    Trouble(Place, String),
    /// The disk works again.
    Recovered(Place),
}

/// What is written by a thread of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The log.
    Log,
    /// Ballot and registers.
    Votes,
}

/// The writer's door. Dropping it lets the thread write what waits, and end.
#[derive(Debug)]
pub struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread. `report` is called on it.
    pub fn spawn<F: Files + 'static>(log: Log<F>, report: impl FnMut(Report) + Send + 'static) -> Self {
        let (jobs, inbox) = sync_channel(QUEUE);
        let state = State::new(log, report);
        let thread = std::thread::Builder::new()
            .name("log".into())
            .spawn(move || state.run(&inbox))
            .expect("the system can start a thread");
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    /// Hands in a job. Blocks while [`QUEUE`] jobs wait.
    pub fn write(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The thread ends only after this sender is gone.
            let _ = jobs.send(job);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(super) struct State<F, R> {
    log: Log<F>,
    report: R,
    /// Records appended or to be appended since the last sync, in case they must be written again.
    unsynced: Vec<Vec<u8>>,
    /// How many of them are in the log.
    appended: usize,
    /// How many bytes they have.
    bytes: usize,
    /// There was too much to keep: only a compaction makes durable what was handed in.
    forgotten: bool,
    /// The last batch among them.
    last: Option<PersistId>,
    /// When they must be durable.
    due: Option<Instant>,
    trouble: Option<String>,
    /// The log's size that calls for a compaction.
    limit: u64,
    asked: bool,
}

impl<F: Files, R: FnMut(Report)> State<F, R> {
    pub(super) fn new(log: Log<F>, report: R) -> Self {
        let limit = COMPACT_BYTES;
        let (unsynced, appended, bytes) = (Vec::new(), 0, 0);
        let (forgotten, trouble, asked) = (false, None, false);
        Self { log, report, unsynced, appended, bytes, forgotten, last: None, due: None, trouble, limit, asked }
    }

    fn run(mut self, inbox: &Receiver<Job>) {
        loop {
            match self.next(inbox) {
                Ok(job) => self.take(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.due = self.last.map(|_| Instant::now());
                    self.flush();
                    return;
                }
            }
            while let Ok(job) = inbox.try_recv() {
                self.take(job);
            }
            self.flush();
        }
    }

    fn next(&self, inbox: &Receiver<Job>) -> Result<Job, RecvTimeoutError> {
        match self.due {
            Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    pub(super) fn take(&mut self, job: Job) {
        match job {
            Job::Append { id, records, urgent } => {
                self.keep(records);
                self.last = Some(id);
                let due = Instant::now() + if urgent { Duration::ZERO } else { LAZY };
                self.due = Some(self.due.map_or(due, |d| d.min(due)));
            }
            Job::Compact(records) => self.compact(&records),
        }
    }

    /// Keeps records until they are durable; while the disk refuses, no more than [`BACKLOG`].
    fn keep(&mut self, records: Vec<Vec<u8>>) {
        if self.forgotten {
            return;
        }
        self.bytes += records.iter().map(Vec::len).sum::<usize>();
        self.unsynced.extend(records);
        if self.trouble.is_some() && self.bytes > BACKLOG {
            self.forgotten = true;
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.unsynced = Vec::new();
        (self.appended, self.bytes) = (0, 0);
    }

    /// Lets no more time pass before the next sync, or the next try.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.due = self.last.map(|_| Instant::now());
    }

    /// Appends what came and syncs when it is due.
    pub(super) fn flush(&mut self) {
        let result = if self.forgotten { self.look_again() } else { self.append().and_then(|()| self.sync_if_due()) };
        match result {
            // A compaction is to come.
            Ok(()) if self.forgotten => {}
            Ok(()) => {
                if self.trouble.take().is_some() {
                    (self.report)(Report::Recovered(Place::Log));
                }
            }
            Err(error) => {
                self.appended = 0;
                self.due = Some(Instant::now() + RETRY);
                let sentence = format!("the log cannot be written: {error}");
                if self.trouble.as_ref() != Some(&sentence) {
                    self.trouble = Some(sentence.clone());
                    (self.report)(Report::Trouble(Place::Log, sentence));
                }
            }
        }
    }

    fn append(&mut self) -> io::Result<()> {
        let fresh = &self.unsynced[self.appended..];
        if !fresh.is_empty() {
            self.log.append(fresh)?;
            self.appended = self.unsynced.len();
        }
        Ok(())
    }

    /// Looks whether the disk takes writes again, and if it does asks for all that is alive.
    fn look_again(&mut self) -> io::Result<()> {
        if self.asked || self.due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.log.probe()?;
        (self.asked, self.due) = (true, None);
        (self.report)(Report::Grown);
        Ok(())
    }

    fn sync_if_due(&mut self) -> io::Result<()> {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.log.sync()?;
        self.forget();
        self.due = None;
        if let Some(id) = self.last.take() {
            (self.report)(Report::Persisted(id));
        }
        if self.log.bytes() > self.limit && !self.asked {
            self.asked = true;
            (self.report)(Report::Grown);
        }
        Ok(())
    }

    fn compact(&mut self, records: &[Vec<u8>]) {
        // What is unsynced is older than `records`, which therefore hold it; it still has to be acknowledged.
        self.due = self.last.map(|_| Instant::now());
        match self.log.compact(records) {
            Ok(()) => self.forgotten = false,
            Err(error) => {
                // Nothing that was appended and not synced may be taken for written.
                self.appended = 0;
                tracing::warn!(%error, "the log cannot be compacted");
                if self.forgotten {
                    self.due = Some(Instant::now() + REWRITE);
                }
            }
        }
        self.limit = COMPACT_BYTES.max(self.log.bytes() * 4);
        self.asked = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryFiles;
    use super::*;
    use std::sync::mpsc::channel;

    fn append(id: u64, urgent: bool) -> Job {
        Job::Append { id: PersistId(id), records: vec![id.to_string().into_bytes()], urgent }
    }

    fn records(files: &MemoryFiles) -> Vec<String> {
        let recovered = Log::open(files.clone()).expect("opens").1;
        recovered.records.into_iter().map(|r| String::from_utf8(r).expect("digits")).collect()
    }

    #[test]
    fn what_is_reported_is_durable_and_in_order() {
        let files = MemoryFiles::default();
        let (reports, seen) = channel();
        let log = Log::open(files.clone()).expect("opens").0;
        let writer = Writer::spawn(log, move |r| drop(reports.send(r)));
        writer.write(append(1, false));
        writer.write(append(2, true));
        let first = seen.recv().expect("a report");
        assert!(matches!(first, Report::Persisted(PersistId(2))), "{first:?}");
        files.crash(0);
        assert_eq!(records(&files), ["1", "2"]);
    }

    #[test]
    fn a_full_disk_is_told_once_and_retried() {
        let files = MemoryFiles::default();
        let (reports, seen) = channel();
        let log = Log::open(files.clone()).expect("opens").0;
        let writer = Writer::spawn(log, move |r| drop(reports.send(r)));
        files.fail_after(0);
        writer.write(append(1, true));
        assert!(matches!(seen.recv().expect("a report"), Report::Trouble(Place::Log, _)));
        files.repair();
        assert_eq!(seen.recv().expect("a report"), Report::Persisted(PersistId(1)));
        assert_eq!(seen.recv().expect("a report"), Report::Recovered(Place::Log));
        files.crash(0);
        assert_eq!(records(&files), ["1"]);
    }

    #[test]
    fn what_a_full_disk_makes_wait_is_bounded_and_durable_in_the_end() {
        let files = MemoryFiles::default();
        let (reports, seen) = channel();
        let mut state = State::new(Log::open(files.clone()).expect("opens").0, move |r| drop(reports.send(r)));
        files.fail_after(0);
        let large = |id: u64| Job::Append { id: PersistId(id), records: vec![vec![7; 1 << 20]], urgent: true };
        for id in 1..100 {
            state.take(large(id));
            state.flush();
            assert!(state.bytes <= BACKLOG + (1 << 20) && state.unsynced.len() <= 17, "{} bytes", state.bytes);
        }
        assert!(matches!(seen.try_recv(), Ok(Report::Trouble(Place::Log, _))));
        state.hurry();
        state.flush();
        assert!(seen.try_recv().is_err(), "told once, and nothing is asked for while there is no room");
        // There is room for a look, and then for no more.
        files.repair();
        state.hurry();
        state.flush();
        assert_eq!(seen.try_recv(), Ok(Report::Grown));
        let alive = || Job::Compact(vec![b"all".to_vec(), b"alive".to_vec()]);
        files.fail_after(0);
        state.take(alive());
        state.flush();
        assert!(seen.try_recv().is_err(), "nothing is durable: {:?}", records(&files));
        files.repair();
        state.hurry();
        state.flush();
        assert_eq!(seen.try_recv(), Ok(Report::Grown), "asked once more");
        state.take(alive());
        state.flush();
        assert_eq!(seen.try_recv(), Ok(Report::Persisted(PersistId(99))));
        assert_eq!(seen.try_recv(), Ok(Report::Recovered(Place::Log)));
        state.take(append(100, true));
        state.flush();
        files.crash(0);
        assert_eq!(records(&files), ["all", "alive", "100"]);
        assert!(files.list().expect("lists").iter().all(|name| name.ends_with(".log")));
    }

    #[test]
    fn dropping_the_writer_writes_what_waits() {
        let files = MemoryFiles::default();
        let log = Log::open(files.clone()).expect("opens").0;
        let writer = Writer::spawn(log, |_| {});
        writer.write(append(1, false));
        drop(writer);
        files.crash(0);
        assert_eq!(records(&files), ["1"]);
    }
}
