//! One exchange with one peer, seen from either side ([`Step`] says how it goes).

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::NodeId;
use crate::store::RecordId;
use crate::time::Mono;

use super::fingerprint::{Buckets, Fingerprint, Mask, sums};
use super::message::{FRAME_BYTES, FRAME_IDS, FRAME_RECORDS, Message, Part, Records, SessionId, Step};
use super::{Holdings, Numbers, Output};

/// The most ids that one exchange lists; if more differ, another follows.
const MOST_IDS: usize = 128 << 10;
/// The most parts of records that one exchange takes.
const MOST_PARTS: u32 = 1 << 16;
/// How many parts of records are on their way at a time.
const IN_FLIGHT: usize = 4;
/// How long a peer may say nothing.
const SILENCE: Duration = Duration::from_secs(3);
/// How long an exchange may take; another goes on where it ended.
const MOST_TIME: Duration = Duration::from_secs(120);

/// What a step needs to see and where it leaves what comes of it.
pub(super) struct Context<'a> {
    pub now: Mono,
    pub holdings: &'a dyn Holdings,
    /// What this node vouches for.
    pub numbers: &'a Numbers,
    pub out: &'a mut Vec<Output>,
    /// What peers vouch for with whom an exchange is done.
    pub learnt: Vec<Numbers>,
}

/// What became of this side's half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All that the peer held is delivered.
    Complete,
    /// Some of it: another exchange is needed.
    Partial,
}

/// What is waited for.
#[derive(Debug)]
enum Stage {
    /// As beginner: how the peer's holdings differ from these.
    Reply(Fingerprint, Buckets),
    /// As answerer: the beginner's list.
    Ids,
    /// Records, and as beginner first what the peer wants.
    Records,
}

/// One exchange.
#[derive(Debug)]
pub(super) struct Session {
    pub id: SessionId,
    /// Whether this node began it.
    pub mine: bool,
    /// When it began here.
    pub began: Mono,
    /// When the peer last said something.
    heard: Mono,
    /// What the peer vouches for.
    pub told: Numbers,
    stage: Stage,
    list: List,
    /// Whether more differs than is listed.
    rest: bool,
    incoming: Parts,
    outgoing: Option<Outgoing>,
    /// Set once this side's half is done.
    outcome: Option<Outcome>,
}

impl Session {
    /// Begins one.
    pub fn begin(id: SessionId, peer: NodeId, cx: &mut Context<'_>) -> Self {
        let (fingerprint, buckets) = sums(&cx.holdings.ids());
        let session = Self::new(id, true, Stage::Reply(fingerprint, buckets), Numbers::new(), cx.now);
        session.say_again(peer, cx);
        session
    }

    /// Answers one.
    pub fn answer(id: SessionId, peer: NodeId, fingerprint: Fingerprint, told: Numbers, cx: &mut Context<'_>) -> Self {
        let session = Self::new(id, false, Stage::Ids, told, cx.now);
        let (own, buckets) = sums(&cx.holdings.ids());
        let buckets = (own != fingerprint).then_some(buckets);
        session.say(peer, Step::Reply { buckets, numbers: cx.numbers.clone() }, cx);
        session
    }

    fn new(id: SessionId, mine: bool, stage: Stage, told: Numbers, now: Mono) -> Self {
        Self {
            id,
            mine,
            began: now,
            heard: now,
            told,
            stage,
            list: List::default(),
            rest: false,
            incoming: Parts::default(),
            outgoing: None,
            outcome: None,
        }
    }

    /// Says the beginning again: the first may have been lost.
    pub fn say_again(&self, peer: NodeId, cx: &mut Context<'_>) {
        if let Stage::Reply(fingerprint, _) = &self.stage {
            self.say(peer, Step::Begin { fingerprint: *fingerprint, numbers: cx.numbers.clone() }, cx);
        }
    }

    /// Tells whether the peer has not said anything yet.
    pub fn is_fresh(&self) -> bool {
        matches!(self.stage, Stage::Reply(..) | Stage::Ids)
    }

    /// Returns what became of this side's half, once it is done.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Tells whether both halves are done.
    pub fn is_over(&self) -> bool {
        self.outcome.is_some() && self.outgoing.as_ref().is_some_and(Outgoing::is_done)
    }

    /// Tells whether it has come to nothing.
    pub fn is_stuck(&self, now: Mono) -> bool {
        now.since(self.heard) > SILENCE || now.since(self.began) > MOST_TIME
    }

    /// Takes a step of the peer. One that does not fit is passed over.
    pub fn step(&mut self, peer: NodeId, step: Step, cx: &mut Context<'_>) {
        self.heard = cx.now;
        match step {
            Step::Reply { buckets, numbers } if self.mine => self.compare(peer, buckets, numbers, cx),
            Step::Ids { part, mask, rest, ids } if matches!(self.stage, Stage::Ids) => {
                if self.list.take(part, ids) {
                    self.listed(peer, mask, rest, cx);
                }
            }
            Step::Want { part, ids } if self.mine && matches!(self.stage, Stage::Records) => {
                if self.outgoing.is_none() && self.list.take(part, ids) {
                    let wanted = std::mem::take(&mut self.list.ids);
                    self.send_records(peer, &wanted, cx);
                }
            }
            Step::Records { part, gone, records } if matches!(self.stage, Stage::Records) => {
                self.take_records(peer, part, gone, records, cx);
            }
            Step::Ack { number } => {
                if let Some(mut outgoing) = self.outgoing.take() {
                    outgoing.acked(number);
                    self.pump(peer, outgoing, cx);
                }
            }
            _ => {}
        }
    }

    /// The beginner lists what it holds of the parts that differ.
    fn compare(&mut self, peer: NodeId, theirs: Option<Buckets>, told: Numbers, cx: &mut Context<'_>) {
        let Stage::Reply(_, at_beginning) = &self.stage else { return };
        let theirs = theirs.unwrap_or_else(|| at_beginning.clone());
        // As it is now: what has come since the beginning counts too.
        let mut ids = cx.holdings.ids();
        let mut mask = sums(&ids).1.differing(&theirs);
        let equal = mask.is_empty();
        ids.retain(|id| mask.covers(id));
        self.rest = limit(&mut ids, &mut mask);
        self.told = told;
        self.stage = Stage::Records;
        let mut frames = ids.chunks(FRAME_IDS);
        for number in 0.. {
            let ids = frames.next().unwrap_or_default().to_vec();
            let part = Part { number, last: frames.len() == 0 };
            self.say(peer, Step::Ids { part, mask, rest: self.rest, ids }, cx);
            if part.last {
                break;
            }
        }
        if equal {
            self.outgoing = Some(Outgoing::default());
            self.received(false);
        }
    }

    /// The answerer has the list: says what it wants and sends what the beginner lacks.
    fn listed(&mut self, peer: NodeId, mask: Mask, rest: bool, cx: &mut Context<'_>) {
        let theirs = std::mem::take(&mut self.list.ids);
        self.rest = rest;
        self.stage = Stage::Records;
        if mask.is_empty() {
            self.outgoing = Some(Outgoing::default());
            self.received(false);
            return;
        }
        let ours: BTreeSet<RecordId> = cx.holdings.ids().into_iter().filter(|id| mask.covers(id)).collect();
        let want: Vec<RecordId> = theirs.difference(&ours).copied().collect();
        let mut frames = want.chunks(FRAME_IDS);
        for number in 0.. {
            let ids = frames.next().unwrap_or_default().to_vec();
            let part = Part { number, last: frames.len() == 0 };
            self.say(peer, Step::Want { part, ids }, cx);
            if part.last {
                break;
            }
        }
        let surplus = ours.difference(&theirs).copied().collect();
        self.send_records(peer, &surplus, cx);
        if want.is_empty() {
            self.received(false);
        }
    }

    /// Starts to send records. The answerer sends at least one part, since the beginner does not know how many; the
    /// beginner none if none is wanted, since the answerer knows.
    fn send_records(&mut self, peer: NodeId, ids: &BTreeSet<RecordId>, cx: &mut Context<'_>) {
        if self.mine && ids.is_empty() {
            self.outgoing = Some(Outgoing::default());
            return;
        }
        let records = cx.holdings.records(ids);
        let gone = records.len() < ids.len();
        let outgoing = Outgoing { queue: records.into(), gone, unfinished: true, ..Outgoing::default() };
        self.pump(peer, outgoing, cx);
    }

    fn pump(&mut self, peer: NodeId, mut outgoing: Outgoing, cx: &mut Context<'_>) {
        while let Some(step) = outgoing.next() {
            self.say(peer, step, cx);
        }
        self.outgoing = Some(outgoing);
    }

    fn take_records(&mut self, peer: NodeId, part: Part, gone: bool, records: Records, cx: &mut Context<'_>) {
        let Some(complete) = self.incoming.take(part, MOST_PARTS) else { return };
        self.rest |= gone;
        let (records, _) = records.into_verified();
        if !records.is_empty() {
            cx.out.push(Output::Deliver { from: peer, records });
        }
        self.say(peer, Step::Ack { number: part.number }, cx);
        if complete {
            self.received(self.rest);
        }
    }

    fn received(&mut self, partial: bool) {
        let partial = partial || self.rest;
        self.outcome.get_or_insert(if partial { Outcome::Partial } else { Outcome::Complete });
    }

    fn say(&self, to: NodeId, step: Step, cx: &mut Context<'_>) {
        cx.out.push(Output::Send { to, message: Message::Exchange { session: self.id, step } });
    }
}

/// Cuts a list of ids to what one exchange takes: whole parts only. Returns whether something was cut.
fn limit(ids: &mut Vec<RecordId>, mask: &mut Mask) -> bool {
    ids.sort_unstable();
    let Some(first) = ids.get(MOST_IDS).map(|id| usize::from(id.0[0])) else { return false };
    (first..super::fingerprint::PARTS).for_each(|part| mask.set(part, false));
    ids.retain(|id| mask.covers(id));
    true
}

/// Which parts have come.
#[derive(Debug, Default)]
struct Parts {
    come: BTreeSet<u32>,
    last: Option<u32>,
}

impl Parts {
    /// Notes a part. Returns whether all have come, `None` if this one came before or cannot be.
    fn take(&mut self, part: Part, most: u32) -> Option<bool> {
        let beyond = self.last.is_some_and(|last| part.number > last || part.last && part.number != last);
        let early = part.last && self.come.last().is_some_and(|come| *come > part.number);
        if part.number >= most || beyond || early || !self.come.insert(part.number) {
            return None;
        }
        if part.last {
            self.last = Some(part.number);
        }
        Some(self.last.is_some_and(|last| self.come.len() > last as usize))
    }
}

/// A list of ids that comes in parts.
#[derive(Debug, Default)]
struct List {
    parts: Parts,
    ids: BTreeSet<RecordId>,
}

impl List {
    /// Takes a part. Returns whether the list is complete now.
    fn take(&mut self, part: Part, ids: Vec<RecordId>) -> bool {
        if self.ids.len() + ids.len() > MOST_IDS {
            return false;
        }
        let most = u32::try_from(MOST_IDS / FRAME_IDS).unwrap_or(u32::MAX);
        let complete = self.parts.take(part, most);
        if complete.is_some() {
            self.ids.extend(ids);
        }
        complete == Some(true)
    }
}

/// Records that are sent.
#[derive(Debug, Default)]
struct Outgoing {
    queue: VecDeque<Arc<[u8]>>,
    /// Whether some are not held any more.
    gone: bool,
    in_flight: BTreeSet<u32>,
    next: u32,
    /// Whether the last part is not sent yet.
    unfinished: bool,
}

impl Outgoing {
    fn is_done(&self) -> bool {
        !self.unfinished && self.in_flight.is_empty()
    }

    fn acked(&mut self, number: u32) {
        self.in_flight.remove(&number);
    }

    /// Returns the next part, if it may go now.
    fn next(&mut self) -> Option<Step> {
        if !self.unfinished || self.in_flight.len() == IN_FLIGHT {
            return None;
        }
        let mut bytes = 0;
        let fits = |raw: &&Arc<[u8]>| {
            bytes += raw.len();
            bytes <= FRAME_BYTES
        };
        let count = self.queue.iter().take(FRAME_RECORDS).take_while(fits).count();
        let count = count.max(1).min(self.queue.len());
        let records: Arc<[_]> = self.queue.drain(..count).collect();
        let part = Part { number: self.next, last: self.queue.is_empty() };
        self.in_flight.insert(part.number);
        self.next += 1;
        self.unfinished = !part.last;
        Some(Step::Records { part, gone: self.gone, records: Records::Raw(records) })
    }
}
