//! One exchange with one peer, seen from either side ([`Step`] says how it goes).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ids::NodeId;
use crate::store::RecordId;
use crate::time::Mono;

use super::fingerprint::{Buckets, Fingerprint, Mask, sums};
use super::message::{FRAME_IDS, Message, Part, Records, SessionId, Step};
use super::transfer::{List, MOST_IDS, Outgoing, Parts};
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
            Step::Ids { part, mask, rest, ids } if self.takes_ids() && self.list.take(part, &ids) => {
                self.listed(peer, mask, rest, cx);
            }
            Step::Want { part, ids } if self.takes_wants() && self.list.take(part, &ids) => {
                let wanted = std::mem::take(&mut self.list.ids);
                self.send_records(peer, &wanted, cx);
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
        matches!(self.stage, Stage::Ids)
    }

    fn takes_wants(&self) -> bool {
        self.mine && matches!(self.stage, Stage::Records) && self.outgoing.is_none()
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

/// Cuts a list of ids to what one exchange takes: whole parts only. Returns whether something was cut.
fn limit(ids: &mut Vec<RecordId>, mask: &mut Mask) -> bool {
    ids.sort_unstable();
    let Some(first) = ids.get(MOST_IDS).map(|id| usize::from(id.0[0])) else { return false };
    (first..super::fingerprint::PARTS).for_each(|part| mask.set(part, false));
    ids.retain(|id| mask.covers(id));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_long_a_list_is_cut_between_parts() {
        let id = |n: usize| {
            let mut bytes = [0; 16];
            bytes[0] = u8::try_from(n % 3).unwrap();
            bytes[8..].copy_from_slice(&n.to_be_bytes());
            RecordId(bytes)
        };
        let (mut all, mut mask) = (Mask::default(), Mask::default());
        (0..3).for_each(|part| all.set(part, true));
        (0..2).for_each(|part| mask.set(part, true));
        let mut ids: Vec<RecordId> = (0..MOST_IDS + MOST_IDS / 4).map(id).collect();
        assert!(limit(&mut ids, &mut all));
        assert_eq!(all, mask, "the third part is for the next exchange");
        assert!(ids.len() <= MOST_IDS && ids.iter().all(|id| mask.covers(id)));
        assert!(!limit(&mut ids, &mut all));
    }
}
