//! One watch: where it is, what waits for it, whether it is read at all.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use crate::api::status::Status;
use crate::ids::Revision;
use crate::store::{Snapshot, WatchEvent};

use super::lines::{Line, concerns, initial, lines};
use super::{Scope, Start};

/// A watch, shared by its reader and the hub.
pub struct Watcher {
    /// What it is about.
    pub scope: Scope,
    snapshots: Receiver<Snapshot>,
    state: Mutex<State>,
    wake: Notify,
}

struct State {
    /// Up to here everything is in `pending`, sent, or of no concern.
    cursor: Revision,
    /// Something after the cursor may concern it.
    behind: bool,
    /// What was read and not sent: at most one reading of the history, or what was there at the beginning.
    pending: VecDeque<Line>,
    /// Since when something waits that nobody takes.
    waits_since: Option<Instant>,
    /// No line comes after those pending.
    ended: bool,
}

/// What comes next.
pub enum Next {
    /// A line.
    Line(Line),
    /// Nothing for now.
    Nothing,
    /// Nothing ever.
    End,
}

impl Watcher {
    /// Makes a watch that begins at `start`.
    pub fn new(scope: Scope, start: Start, mark_initial_end: bool, snapshots: Receiver<Snapshot>) -> Self {
        let snapshot = snapshots.borrow().clone();
        let mut pending = VecDeque::new();
        let cursor = match start {
            Start::After(revision) => revision,
            Start::Initial | Start::Now => snapshot.revision(),
        };
        if start == Start::Initial {
            pending.extend(initial(&scope, &snapshot));
        }
        if mark_initial_end {
            pending.push_back(Line::Bookmark { revision: snapshot.revision(), initial_end: true });
        }
        let state = State { cursor, behind: true, pending, waits_since: Some(Instant::now()), ended: false };
        Self { scope, snapshots, state: Mutex::new(state), wake: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next line.
    pub fn next(&self) -> Next {
        let mut state = self.state();
        if state.pending.is_empty() && state.behind && !state.ended {
            self.read_on(&mut state);
        }
        let next = state.pending.pop_front();
        // Whoever comes is not slow; whether more waits is to be seen.
        state.waits_since = (!state.pending.is_empty()).then(Instant::now);
        match next {
            Some(line) => Next::Line(line),
            None if state.ended => Next::End,
            None => Next::Nothing,
        }
    }

    /// Reads what happened between the cursor and now.
    fn read_on(&self, state: &mut State) {
        state.behind = false;
        let snapshot = self.snapshots.borrow().clone();
        match lines(&self.scope, &snapshot, state.cursor) {
            Ok(lines) => {
                state.pending.extend(lines);
                state.cursor = snapshot.revision();
            }
            Err(too_old) => state.end_with(Line::Error(too_old.into())),
        }
    }

    /// Waits until it is worth to ask for the next line.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Lets no line come after those pending.
    pub fn end(&self) {
        self.state().ended = true;
        self.wake.notify_one();
    }

    /// Says up to where everything was sent.
    pub fn bookmark(&self) {
        let mut state = self.state();
        if state.ended {
            return;
        }
        self.read_on(&mut state);
        let revision = state.cursor;
        state.pending.push_back(Line::Bookmark { revision, initial_end: false });
    }

    /// Takes note of what happened to its kind up to `now`; `None`: more than is remembered.
    pub fn notice<'a>(&self, mut events: Option<impl Iterator<Item = &'a WatchEvent>>, now: Revision) {
        let mut state = self.state();
        if state.behind || state.ended {
            // It reads on from where it is anyway.
            return;
        }
        if events.as_mut().is_some_and(|events| !events.any(|event| concerns(&self.scope, event))) {
            state.cursor = state.cursor.max(now);
            return;
        }
        state.behind = true;
        state.waits_since.get_or_insert_with(Instant::now);
        self.wake.notify_one();
    }

    /// Cuts it off if nobody has taken anything for as long as `patience`, and lets go of what waited. Returns whether
    /// it did.
    pub fn cut_off(&self, patience: Duration) -> bool {
        let mut state = self.state();
        if state.ended || state.waits_since.is_none_or(|since| since.elapsed() < patience) {
            return false;
        }
        let why = "the watch was not read for too long; list again";
        state.pending = VecDeque::new();
        state.end_with(Line::Error(Status::expired(why)));
        true
    }

    /// Tells whether no line comes after those pending.
    #[cfg(test)]
    pub fn is_ended(&self) -> bool {
        self.state().ended
    }

    /// Tells how many lines were read for it and not sent.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.state().pending.len()
    }
}

impl State {
    fn end_with(&mut self, line: Line) {
        self.pending.push_back(line);
        self.ended = true;
    }
}
