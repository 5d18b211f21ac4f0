//! What a side does that hears no leader: one of its nodes, the *caretaker*, keeps running what needs nobody's leave (design,
//! section 4; rules 2 and 10).
//!
//! *Hearing.* A leader counts beats while it may decide. Every node tells the newest that it knows of with its probes, so
//! that a leader is heard by any path. Who has not seen the count grow for [`SILENCE`] hears none.
//!
//! *Who.* The least of the members that such a node sees, itself counted. Two nodes that do not see the same may both
//! act: what they decide is merged like anything else, the higher round wins, and what is too much is trimmed.
//!
//! *What.* Controllers and scheduler within `controllers::look_after`. Decisions go to registers of their own, which
//! give way to a leader's. It binds only pods that a caretaker made or that turned up here since no leader was heard: any
//! other may have been bound where this side cannot see it.
//!
//! *When others are lost.* A side that sees at least half of the members takes the others for lost as a leader does;
//! a smaller one waits [`PATIENCE`] longer, and so does any for a member that was never heard in this run: after a power
//! cut the others may just be slow to start.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::controllers::{MADE_BY_CARETAKER, is_made_by_caretaker};
use crate::features::Feature;
use crate::ids::{NodeId, Uid};
use crate::object::{NoteType, hold, kinds};
use crate::store::{Author, Change, Entry, WatchEvent};
use crate::time::{Mono, Now};

use super::Node;
use super::bootstrap::CARETAKER;
use super::message::Beat;

/// For how long no beat has come until a node hears no leader.
const SILENCE: Duration = Duration::from_secs(8);
/// How long others have not answered until a small side takes them for lost.
const PATIENCE: Duration = Duration::from_secs(60);
/// A pod that turned up so soon after the last beat may have reached the leader still.
const MARGIN: Duration = Duration::from_secs(2);

/// Who says what a caretaker has to say.
const COMPONENT: &str = "caretaker";

/// By what right this node decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Office {
    /// It was elected.
    Leader,
    /// Its side hears no leader.
    Caretaker,
}

impl Office {
    /// Returns in whose name it makes changes.
    pub fn author(self) -> Author {
        match self {
            Self::Leader => Author::Leader,
            Self::Caretaker => Author::Caretaker,
        }
    }
}

/// Whether a leader is heard, and what this node does if not.
#[derive(Debug)]
pub(super) struct Caretaking {
    newest: Beat,
    /// When the newest came.
    heard: Mono,
    /// While this node is caretaker: since when, and its round.
    office: Option<(Mono, u64)>,
    /// Who is shown as caretaker.
    shown: Option<String>,
    /// Pods without a node, and when each turned up here.
    unbound: BTreeMap<Uid, Mono>,
}

impl Caretaking {
    pub fn new(now: Mono) -> Self {
        Self { newest: Beat::default(), heard: now, office: None, shown: None, unbound: BTreeMap::new() }
    }

    /// Returns the newest beat.
    pub fn newest_beat(&self) -> Beat {
        self.newest
    }

    /// Returns the round of this node's term as caretaker, 0 if it is none.
    pub fn round(&self) -> u64 {
        self.office.map_or(0, |(_, round)| round)
    }

    /// This node leads.
    pub fn give_up(&mut self) {
        self.office = None;
    }

    /// Notes pods that wait for a node.
    pub fn notice(&mut self, event: &WatchEvent, now: Mono) {
        if event.key().kind != &kinds::POD {
            return;
        }
        match &event.new {
            Some(pod) if pod.node.is_none() => drop(self.unbound.entry(pod.uid).or_insert(now)),
            Some(pod) => drop(self.unbound.remove(&pod.uid)),
            None => drop(event.old.as_ref().and_then(|pod| self.unbound.remove(&pod.uid))),
        }
    }

    /// Tells whether no leader can have bound a pod.
    fn may_bind(&self, pod: &Entry) -> bool {
        if hold::holds(&pod.value()) {
            // Nobody here could allow it to run.
            return false;
        }
        is_made_by_caretaker(pod) || self.unbound.get(&pod.uid).is_some_and(|at| *at > self.heard + MARGIN)
    }

    fn hears_a_leader(&self, now: Mono) -> bool {
        now.since(self.heard) < SILENCE
    }

    fn count(&mut self, beat: Beat, now: Mono) {
        if beat > self.newest {
            self.newest = beat;
            self.heard = now;
        }
    }
}

/// Marks a pod as made by a caretaker.
pub(super) fn signed(change: Change) -> Change {
    match change {
        Change::Create { key, mut object } if *key.kind == kinds::POD => {
            object["metadata"]["annotations"][MADE_BY_CARETAKER] = "true".into();
            Change::Create { key, object }
        }
        other => other,
    }
}

impl Node {
    /// Returns by what right this node decides, if it does.
    pub(super) fn decides(&self) -> Option<Office> {
        if self.leading.is_leader() {
            return Some(Office::Leader);
        }
        self.caretaking.office.map(|_| Office::Caretaker)
    }

    /// Returns since when this node decides, if it does.
    pub(super) fn in_office_since(&self) -> Option<Mono> {
        self.leading.since().or(self.caretaking.office.map(|(since, _)| since))
    }

    /// Tells whether this node is the caretaker of a side that hears no leader.
    pub fn is_caretaker(&self) -> bool {
        self.decides() == Some(Office::Caretaker)
    }

    /// A member has told of a leader's beat.
    pub(super) fn heard_of_a_leader(&mut self, now: Now, beat: Beat) {
        self.caretaking.count(beat, now.mono);
    }

    /// This node follows a leader from now on: it hears one, and decides nothing more for its side in this very turn. Else it
    /// would replace what the leader stops.
    pub(super) fn follow(&mut self, now: Now) {
        self.caretaking.heard = now.mono;
        self.take_care(now);
    }

    /// Counts a beat as leader; becomes the caretaker of a side that hears none, and ceases to be.
    pub(super) fn take_care(&mut self, now: Now) {
        if let Some(term) = self.leads() {
            let Beat { term: last, count } = self.caretaking.newest;
            let count = if last == term { count + 1 } else { 1 };
            self.caretaking.count(Beat { term, count }, now.mono);
        }
        let hears = self.caretaking.hears_a_leader(now.mono);
        let caretaker = (!hears && self.may_use(Feature::Caretakers)).then(|| self.least_seen());
        let acts = caretaker.is_some_and(|least| least == self.store.node_id());
        self.show_caretaker(now, caretaker);
        match (acts, self.caretaking.office) {
            (true, None) => self.become_caretaker(now),
            (false, Some((since, _))) => self.cease_to_be_caretaker(now, since, hears),
            // Who is lost depends on the time alone.
            _ if !hears => self.refresh_reaches(now),
            _ => {}
        }
    }

    fn become_caretaker(&mut self, now: Now) {
        let round = self.store.caretaker_round().saturating_add(1);
        let side = self.side();
        tracing::warn!(round, nodes = side, "no leader is heard: this node is caretaker");
        self.caretaking.office = Some((now.mono, round));
        self.look_at_everything(now);
        self.refresh_reaches(now);
        let message = format!("No leader is heard; node {} keeps pods running on: {side}", self.name);
        self.note_about_itself(now, NoteType::Warning, COMPONENT, "CaretakerStarted", message);
    }

    fn cease_to_be_caretaker(&mut self, now: Now, since: Mono, hears: bool) {
        self.caretaking.office = None;
        self.leave_office(now);
        let why = if hears { "A leader is heard again" } else { "Another node is caretaker" };
        let pods = self.store.snapshot().list(&kinds::POD, None);
        let made = pods.filter(|pod| is_made_by_caretaker(pod)).count();
        let seconds = now.mono.since(since).as_secs();
        tracing::info!(seconds, made, "caretaker no more: {why}");
        let message = format!("{why}; node {} was caretaker for {seconds} s, {made} pods are of caretakers", self.name);
        self.note_about_itself(now, NoteType::Normal, COMPONENT, "CaretakerEnded", message);
    }

    /// Shows who looks after this side, if that is new.
    fn show_caretaker(&mut self, now: Now, caretaker: Option<NodeId>) {
        let name = caretaker.map(|id| self.peers.name_of(&id));
        if name != self.caretaking.shown {
            let spec = name.as_ref().map(|name| json!({"holderIdentity": name, "acquireTime": now.wall.micro_time()}));
            self.show_office(now, CARETAKER, spec);
            self.partings.cared_for(name.as_deref());
            self.caretaking.shown = name;
        }
    }

    /// Returns the least of the members that this node sees, itself counted.
    fn least_seen(&self) -> NodeId {
        let me = self.store.node_id();
        self.peers.here(me).map(|member| member.id).min().unwrap_or(me)
    }

    /// Names the members that this node sees, itself counted.
    fn side(&self) -> String {
        self.peers.here(self.store.node_id()).map(|member| member.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Tells whether a pod that waits for a node can have been bound by nobody else. As leader: what another node made
    /// may have been bound on its side of a cut; then all that answer are heard out first.
    pub(super) fn may_bind(&mut self, now: Now, office: Office, pod: &Entry) -> bool {
        if office == Office::Caretaker {
            return self.caretaking.may_bind(pod);
        }
        if self.store.is_made_here(pod.uid) {
            return true;
        }
        if !is_made_by_caretaker(pod) {
            return !self.is_anyone_returning();
        }
        let turned_up = self.caretaking.unbound.get(&pod.uid).copied().unwrap_or_default();
        let unheard = self.unheard_since(turned_up);
        unheard.iter().for_each(|peer| self.exchange_soon(now, *peer));
        unheard.is_empty()
    }

    /// Whether this node sees at least half of the members, itself counted.
    pub(super) fn sees_half(&self) -> bool {
        2 * self.peers.here(self.store.node_id()).count() >= self.peers.members.iter().count()
    }

    /// Whether a member that does not answer is not to be taken for lost yet. `many`: whether this node sees at least half.
    pub(super) fn must_be_patient_with(&self, now: Now, peer: &NodeId, many: bool) -> bool {
        if self.leading.is_leader() {
            return false;
        }
        let trusts_itself = many && self.peers.was_heard(peer);
        let silence = self.peers.silent_since(peer).map_or(Duration::ZERO, |since| now.mono.since(since));
        !trusts_itself && silence < PATIENCE
    }
}
