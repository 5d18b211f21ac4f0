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
/// A log smaller than this is not compacted.
pub const COMPACT_BYTES: u64 = 8 << 20;

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
        let (unsynced, appended) = (Vec::new(), 0);
        Self { log, report, unsynced, appended, last: None, due: None, trouble: None, limit, asked: false }
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
                self.unsynced.extend(records);
                self.last = Some(id);
                let due = Instant::now() + if urgent { Duration::ZERO } else { LAZY };
                self.due = Some(self.due.map_or(due, |d| d.min(due)));
            }
            Job::Compact(records) => self.compact(&records),
        }
    }

    /// Lets no more time pass before the next sync, or the next try.
    #[cfg(test)]
    pub(super) fn hurry(&mut self) {
        self.due = self.last.map(|_| Instant::now());
    }

    /// Appends what came and syncs when it is due.
    pub(super) fn flush(&mut self) {
        let result = self.append().and_then(|()| self.sync_if_due());
        match result {
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

    fn sync_if_due(&mut self) -> io::Result<()> {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.log.sync()?;
        self.unsynced.clear();
        self.appended = 0;
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
        if let Err(error) = self.log.compact(records) {
            // Nothing that was appended and not synced may be taken for written.
            self.appended = 0;
            tracing::warn!(%error, "the log cannot be compacted");
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
