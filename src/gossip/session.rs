//! One exchange with one peer, seen from either side ([`Step`] says how it goes).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ids::NodeId;
use crate::store::{Range, RecordId};
use crate::time::Mono;

use super::descent::{Descent, Watch};
use super::fingerprint::{Buckets, Difference, Fingerprint, Mask, Probe};
use super::message::{FRAME_IDS, MOST_RANGES, Message, Part, Records, SessionId, Step};
use super::refused::Known;
use super::transfer::{List, Outgoing, Parts};
use super::{Holdings, Numbers, Output};

/// The most parts of records that one exchange takes.
const MOST_PARTS: u32 = 1 << 16;
/// How long a peer may say nothing.
const SILENCE: Duration = Duration::from_secs(3);
/// How long an exchange may take; another goes on where it ended.
const MOST_TIME: Duration = Duration::from_secs(120);

/// What a step needs to see and where it leaves what comes of it.
pub(super) struct Context<'a> {
    pub now: Mono,
    pub holdings: &'a Known<'a>,
    /// What this node vouches for.
    pub numbers: &'a Numbers,
    pub out: &'a mut Vec<Output>,
    /// What peers vouch for with whom an exchange is done.
    pub learnt: Vec<Numbers>,
    /// What this node refuses and a peer does not hold.
    pub unheard: BTreeSet<RecordId>,
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
    /// As beginner: how the peer's holdings differ from these in what was probed.
    Descent(Box<Descent>),
    /// As answerer: what the beginner probes or lists first.
    Ids,
    /// As answerer: what it probes or lists then.
    Probed,
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
    /// As answerer: what goes while it is compared.
    watch: Option<Watch>,
    incoming: Parts,
    outgoing: Option<Outgoing>,
    /// Set once this side's half is done.
    outcome: Option<Outcome>,
}

impl Session {
    /// Begins one.
    pub fn begin(id: SessionId, peer: NodeId, cx: &mut Context<'_>) -> Self {
        let (fingerprint, buckets) = (Fingerprint::of(cx.holdings), Buckets::of(cx.holdings));
        let session = Self::new(id, true, Stage::Reply(fingerprint, buckets), Numbers::new(), cx.now);
        session.say_again(peer, cx);
        session
    }

    /// Answers one.
    pub fn answer(id: SessionId, peer: NodeId, fingerprint: Fingerprint, told: Numbers, cx: &mut Context<'_>) -> Self {
        let mut session = Self::new(id, false, Stage::Ids, told, cx.now);
        session.watch = Some(Watch::new(cx.holdings));
        let buckets = (Fingerprint::of(cx.holdings) != fingerprint).then(|| Buckets::of(cx.holdings));
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
            watch: None,
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
            Step::Reply { buckets, numbers } if self.mine => self.compare(peer, buckets.as_ref(), numbers, cx),
            Step::Probes { rest, probes } if matches!(self.stage, Stage::Descent(_)) => {
                self.descend(peer, &probes, rest, cx);
            }
            Step::Probes { probes, .. } if self.takes_ids() => self.probed(peer, &probes, cx),
            Step::Ids { part, mask, rest, ids } if self.takes_ids() && self.list.take(part, &[], &ids) => {
                self.listed(peer, &mask.ranges(), rest, cx);
            }
            Step::Listed { part, rest, ranges, ids } if self.takes_ids() && self.list.take(part, &ranges, &ids) => {
                let mut ranges = std::mem::take(&mut self.list.ranges);
                ranges.sort_unstable();
                // Else a few of them could stand for the same ids again and again.
                if ranges.is_sorted_by(|one, next| one.ends().end() < next.ends().start()) {
                    self.listed(peer, &ranges, rest, cx);
                }
            }
            Step::Want { part, ids } if self.takes_wants() && self.list.take(part, &[], &ids) => {
                let wanted = std::mem::take(&mut self.list.ids);
                self.send_records(peer, &wanted, false, cx);
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

    fn takes_ids(&self) -> bool {
        matches!(self.stage, Stage::Ids | Stage::Probed)
    }

    fn takes_wants(&self) -> bool {
        self.mine && matches!(self.stage, Stage::Records) && self.outgoing.is_none()
    }

    /// The beginner compares parts, and begins to look for what differs in them.
    fn compare(&mut self, peer: NodeId, theirs: Option<&Buckets>, told: Numbers, cx: &mut Context<'_>) {
        let Stage::Reply(_, at_beginning) = &self.stage else { return };
        let theirs = theirs.unwrap_or(at_beginning);
        // As it is now: what has come since the beginning counts too.
        let found = theirs.differing(cx.holdings);
        self.told = told;
        self.search(peer, Descent::new(&found, cx.holdings), cx);
        if found.is_empty() {
            self.outgoing = Some(Outgoing::default());
            self.received(false);
        }
    }

    /// The beginner goes on to look for what differs.
    fn descend(&mut self, peer: NodeId, probes: &[Probe], rest: bool, cx: &mut Context<'_>) {
        if let Stage::Descent(mut descent) = std::mem::replace(&mut self.stage, Stage::Records) {
            descent.go_on(probes, rest, cx.holdings);
            self.search(peer, *descent, cx);
        }
    }

    /// The beginner asks for what differs in more detail, or lists what it holds of it.
    fn search(&mut self, peer: NodeId, descent: Descent, cx: &mut Context<'_>) {
        let probes = descent.probes(cx.holdings);
        if !probes.is_empty() {
            self.stage = Stage::Descent(Box::new(descent));
            self.say(peer, Step::Probes { rest: false, probes }, cx);
            return;
        }
        self.stage = Stage::Records;
        let (frames, rest) = descent.list(cx.holdings);
        self.rest = rest;
        // Every version understands a list of the parts that were compared first.
        let ranges: Vec<Range> = frames.iter().flat_map(|frame| frame.ranges.iter().copied()).collect();
        if let Some(mask) = Mask::of(&ranges) {
            let ids: Vec<RecordId> = frames.into_iter().flat_map(|frame| frame.ids).collect();
            for (part, ids) in parts(ids.chunks(FRAME_IDS).map(<[RecordId]>::to_vec).collect()) {
                self.say(peer, Step::Ids { part, mask, rest, ids }, cx);
            }
        } else {
            for (part, frame) in parts(frames) {
                self.say(peer, Step::Listed { part, rest, ranges: frame.ranges, ids: frame.ids }, cx);
            }
        }
    }

    /// The answerer tells in which parts of what is probed it differs, and gives the sums of theirs.
    fn probed(&mut self, peer: NodeId, probes: &[Probe], cx: &mut Context<'_>) {
        self.stage = Stage::Probed;
        if let Some(watch) = &mut self.watch {
            watch.add(probes.iter().map(|probe| probe.range));
        }
        let mut differing = probes.iter().flat_map(|probe| probe.differing(cx.holdings));
        let answer = |found: Difference| Probe::of(found.range, cx.holdings);
        let probes = differing.by_ref().take(MOST_RANGES).map(answer).collect();
        let rest = differing.next().is_some();
        self.say(peer, Step::Probes { rest, probes }, cx);
    }

    /// The answerer has the list: says what it wants and sends what the beginner lacks.
    fn listed(&mut self, peer: NodeId, ranges: &[Range], rest: bool, cx: &mut Context<'_>) {
        let theirs = std::mem::take(&mut self.list.ids);
        self.rest = rest;
        self.stage = Stage::Records;
        if ranges.is_empty() {
            self.outgoing = Some(Outgoing::default());
            self.received(false);
            return;
        }
        let held = |range: &Range| cx.holdings.ids(*range);
        let ours: BTreeSet<RecordId> = ranges.iter().flat_map(held).collect();
        let refused = ranges.iter().flat_map(|range| cx.holdings.refused(*range));
        cx.unheard.extend(refused.filter(|id| !theirs.contains(id)));
        let want: Vec<RecordId> = theirs.difference(&ours).copied().collect();
        for (part, ids) in parts(want.chunks(FRAME_IDS).map(<[RecordId]>::to_vec).collect()) {
            self.say(peer, Step::Want { part, ids }, cx);
        }
        let surplus = ours.difference(&theirs).copied().collect();
        let seen = self.watch.take().is_some_and(|mut watch| {
            watch.add(ranges.iter().copied());
            watch.has_seen(cx.holdings)
        });
        self.send_records(peer, &surplus, seen, cx);
        if want.is_empty() {
            self.received(false);
        }
    }

    /// Starts to send records; `seen`: others went while it was compared. The answerer sends at least one part, since the beginner does not know how many; the
    /// beginner none if none is wanted, since the answerer knows.
    fn send_records(&mut self, peer: NodeId, ids: &BTreeSet<RecordId>, seen: bool, cx: &mut Context<'_>) {
        if self.mine && ids.is_empty() {
            self.outgoing = Some(Outgoing::default());
            return;
        }
        let records = cx.holdings.records(ids);
        let gone = seen || records.len() < cx.holdings.count_held(ids);
        self.pump(peer, Outgoing::new(records, gone), cx);
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

/// Numbers the messages of a list; there is at least one.
fn parts<T: Default>(mut frames: Vec<T>) -> impl Iterator<Item = (Part, T)> {
    if frames.is_empty() {
        frames.push(T::default());
    }
    let count = frames.len();
    let part =
        move |(at, frame)| (Part { number: u32::try_from(at).unwrap_or(u32::MAX), last: at + 1 == count }, frame);
    frames.into_iter().enumerate().map(part)
}
