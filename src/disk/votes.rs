//! The thread that makes ballots and registers durable, beside the log: a vote must not wait behind records.
//!
//! What is handed in while a write is under way becomes one write: the newest ballot and registers count.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::election::{Ballot, Registers, SaveId};

use super::files::Files;
use super::identity::{Registry, VOTE, Vote};
use super::registry::Ledger;
use super::sealed::{self, SealError};
use super::writer::{Place, Report};

/// How long to wait after a failed write before the next try.
const RETRY: Duration = Duration::from_millis(500);

/// The thread's door. Dropping it lets the thread write what waits, and end.
#[derive(Debug)]
pub struct Votes {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Desk {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    last: Option<SaveId>,
    ballot: Option<Ballot>,
    registers: Option<Registers>,
    closed: bool,
}

impl Votes {
    /// Starts the thread. `vote` and `registers` are what the files hold; with `owed` the vote is not in its file yet, and is
    /// written before all else. `report` is called on it.
    pub fn spawn(
        files: impl Files + 'static,
        vote: Vote,
        registers: Registers,
        owed: bool,
        report: impl FnMut(Report) + Send + 'static,
    ) -> Self {
        let desk = Arc::new(Desk::default());
        let voters = vote.ballot.as_ref().map(|b| b.voters.clone()).unwrap_or_default();
        let registry = Registry { voters, registers };
        let ledger = Ledger::new(registry.clone());
        let clerk = Clerk { files, vote, registry, ledger, owed, report, desk: Arc::clone(&desk) };
        let thread = std::thread::Builder::new().name("votes".into()).spawn(move || clerk.run());
        Self { desk, thread: Some(thread.expect("the system can start a thread")) }
    }

    /// Hands in what is to be made durable; never blocks. Ids come in order, and so do the reports.
    pub fn save(&self, id: SaveId, ballot: Option<Ballot>, registers: Option<Registers>) {
        let mut waiting = self.desk.lock();
        waiting.last = Some(id);
        waiting.ballot = ballot.or(waiting.ballot.take());
        waiting.registers = registers.or(waiting.registers.take());
        self.desk.bell.notify_one();
    }
}

impl Drop for Votes {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to save and takes it. `None` once there is nothing more to come.
    fn take(&self) -> Option<(SaveId, Option<Ballot>, Option<Registers>)> {
        let idle = |w: &mut Waiting| w.last.is_none() && !w.closed;
        let mut waiting = self.bell.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        Some((waiting.last.take()?, waiting.ballot.take(), waiting.registers.take()))
    }
}

struct Clerk<F, R> {
    files: F,
    vote: Vote,
    registry: Registry,
    ledger: Ledger,
    owed: bool,
    report: R,
    desk: Arc<Desk>,
}

impl<F: Files, R: FnMut(Report)> Clerk<F, R> {
    fn run(mut self) {
        if self.owed && !self.insist(true, false) {
            return;
        }
        while let Some((id, ballot, registers)) = self.desk.take() {
            let new_vote = ballot.is_some();
            if let Some(ballot) = ballot {
                self.vote.ballot = Some(ballot);
            }
            let voters = self.vote.ballot.as_ref().map(|b| b.voters.clone()).unwrap_or_default();
            let new_registry = registers.is_some() || voters != self.registry.voters;
            self.registry.voters = voters;
            if let Some(registers) = registers {
                self.registry.registers = registers;
            }
            if !self.insist(new_vote, new_registry) {
                return;
            }
            (self.report)(Report::Saved(id));
        }
    }

    /// Writes until it has worked. Gives up only if the agent ends meanwhile.
    fn insist(&mut self, vote: bool, registry: bool) -> bool {
        let mut trouble = None;
        loop {
            match self.write(vote, registry) {
                Ok(()) => break,
                Err(_) if self.desk.lock().closed => return false,
                Err(error) => {
                    let sentence = format!("the vote cannot be written: {error}");
                    if trouble.as_ref() != Some(&sentence) {
                        trouble = Some(sentence.clone());
                        (self.report)(Report::Trouble(Place::Votes, sentence));
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
        if trouble.is_some() {
            (self.report)(Report::Recovered(Place::Votes));
        }
        true
    }

    fn write(&mut self, vote: bool, registry: bool) -> Result<(), SealError> {
        if vote {
            sealed::write(&mut self.files, VOTE, &self.vote)?;
        }
        if registry {
            self.ledger.save(&mut self.files, &self.registry)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::REGISTERS;
    use super::super::memory::MemoryFiles;
    use super::super::registry;
    use super::*;
    use crate::election::{Register, Voters};
    use crate::ids::{NodeId, Term};
    use std::sync::mpsc::{Receiver, channel};

    fn start(files: &MemoryFiles) -> (Votes, Receiver<Report>) {
        let (reports, seen) = channel();
        let vote = Vote { incarnation: 3, ..Vote::default() };
        (Votes::spawn(files.clone(), vote, Registers::new(), false, move |r| drop(reports.send(r))), seen)
    }

    fn ballot(term: u64) -> Ballot {
        let voters = Voters { term: Term(term), version: 1, members: [NodeId([1; 32])].into(), ..Voters::default() };
        Ballot { term: Term(term), voters, ..Ballot::default() }
    }

    fn registers(value: u8) -> Registers {
        [("member/x".to_owned(), Register { stamp: crate::election::Stamp::default(), value: vec![value] })].into()
    }

    fn vote(files: &MemoryFiles) -> Vote {
        sealed::read(files, VOTE).expect("is whole").expect("is there")
    }

    #[test]
    fn what_is_reported_survives_a_crash() {
        let files = MemoryFiles::default();
        let (votes, seen) = start(&files);
        votes.save(SaveId(1), Some(ballot(7)), Some(registers(1)));
        assert_eq!(seen.recv().expect("a report"), Report::Saved(SaveId(1)));
        files.crash(0);
        assert_eq!(vote(&files), Vote { incarnation: 3, ballot: Some(ballot(7)), term: Term(0) });
        let kept = registry::read(&files, REGISTERS).expect("is whole").expect("is there");
        assert_eq!((kept.voters, kept.registers), (ballot(7).voters, registers(1)));
    }

    #[test]
    fn registers_alone_leave_the_ballot_and_new_voters_are_kept_with_them() {
        let files = MemoryFiles::default();
        let (votes, seen) = start(&files);
        votes.save(SaveId(1), Some(ballot(1)), Some(registers(1)));
        votes.save(SaveId(2), None, Some(registers(2)));
        votes.save(SaveId(3), Some(ballot(9)), None);
        while seen.recv().expect("a report") != Report::Saved(SaveId(3)) {}
        assert_eq!(vote(&files).ballot, Some(ballot(9)));
        let kept = registry::read(&files, REGISTERS).expect("is whole").expect("is there");
        assert_eq!((kept.voters, kept.registers), (ballot(9).voters, registers(2)));
    }

    #[test]
    fn a_full_disk_is_told_once_and_retried() {
        let files = MemoryFiles::default();
        let (votes, seen) = start(&files);
        files.fail_after(0);
        votes.save(SaveId(1), Some(ballot(1)), None);
        assert!(matches!(seen.recv().expect("a report"), Report::Trouble(Place::Votes, _)));
        files.repair();
        assert_eq!(seen.recv().expect("a report"), Report::Recovered(Place::Votes));
        assert_eq!(seen.recv().expect("a report"), Report::Saved(SaveId(1)));
        assert_eq!(vote(&files).ballot, Some(ballot(1)));
    }

    #[test]
    fn a_vote_that_is_owed_is_written_before_all_else() {
        let files = MemoryFiles::default();
        files.fail_after(0);
        let (reports, seen) = channel();
        let owed = Vote { incarnation: 9, ballot: Some(ballot(3)), ..Vote::default() };
        let votes = Votes::spawn(files.clone(), owed.clone(), Registers::new(), true, move |r| drop(reports.send(r)));
        assert!(matches!(seen.recv().expect("a report"), Report::Trouble(Place::Votes, _)), "told at once");
        votes.save(SaveId(1), None, Some(registers(1)));
        files.repair();
        assert_eq!(seen.recv().expect("a report"), Report::Recovered(Place::Votes));
        assert_eq!(seen.recv().expect("a report"), Report::Saved(SaveId(1)));
        assert_eq!(vote(&files), owed);
    }

    #[test]
    fn dropping_the_door_writes_what_waits() {
        let files = MemoryFiles::default();
        let (votes, _seen) = start(&files);
        votes.save(SaveId(1), Some(ballot(5)), None);
        drop(votes);
        assert_eq!(vote(&files).ballot, Some(ballot(5)));
    }
}
