//! What goes to peers and comes from them: frames, records, and what waits for the disk before it may be told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::gossip::{Gossip, Holdings, Input, Numbers, Origin, Output};
use crate::ids::{NodeId, PersistId};
use crate::membership;
use crate::store::{Index, PARTS, Range, RecordId, Store, Sum, Verified};
use crate::time::Now;

use super::message::{Lane, Message};
use super::shadow::Shadow;
use super::{Effect, Node};

/// The gossip, and what this turn has for whom.
pub(super) struct Telling {
    gossip: Gossip,
    me: Origin,
    seed: u64,
    frames: BTreeMap<(NodeId, Lane), Vec<Message>>,
    /// News whose batch is not durable yet.
    held: VecDeque<(PersistId, Vec<Verified>)>,
    /// The last batch taken from the store.
    pub taken: PersistId,
    /// The last batch that is durable.
    pub durable: PersistId,
}

/// What the store holds, for an exchange; or what was taken in its place.
struct Held<'a>(&'a Store, Option<&'a Shadow>);

impl Held<'_> {
    fn index(&self) -> &Index {
        self.1.map_or_else(|| self.0.held(), Shadow::index)
    }
}

impl Holdings for Held<'_> {
    fn sum(&self) -> Sum {
        self.index().sum()
    }

    fn sums(&self, range: Range) -> [Sum; PARTS] {
        self.index().sums(range)
    }

    fn ids(&self, range: Range) -> Vec<RecordId> {
        self.index().ids(range).copied().collect()
    }

    fn has(&self, id: &RecordId) -> bool {
        self.index().get(id).is_some()
    }

    fn removed(&self) -> &[u64; 256] {
        self.index().removed()
    }

    fn records(&self, ids: &BTreeSet<RecordId>) -> Vec<Arc<[u8]>> {
        // Who is too old gives nothing.
        if self.1.is_some() { Vec::new() } else { self.0.records_of(ids) }
    }
}

impl Telling {
    pub fn new(me: Origin, seed: u64) -> Self {
        Self {
            gossip: Gossip::new(me, seed),
            me,
            seed,
            frames: BTreeMap::new(),
            held: VecDeque::new(),
            taken: PersistId::default(),
            durable: PersistId::default(),
        }
    }

    /// Begins the gossip anew, as a later run: nothing of what it kept is given to anybody, and nothing goes out that
    /// waited.
    pub fn restart(&mut self, incarnation: u64) {
        self.me.incarnation = incarnation.max(self.me.incarnation);
        self.gossip = Gossip::new(self.me, self.seed);
        self.held.clear();
    }

    /// Forgets batches that are kept to be pulled, and exchanges under way.
    pub fn forget_batches(&mut self) {
        self.gossip.forget_batches();
    }

    /// Says something to a peer at the end of this turn.
    pub fn say(&mut self, to: NodeId, message: Message) {
        self.frames.entry((to, message.lane())).or_default().push(message);
    }

    /// Returns what this node has of everybody's batches.
    pub fn numbers(&self) -> Numbers {
        self.gossip.numbers().clone()
    }

    /// Takes this turn's frames.
    pub fn frames(&mut self) -> impl Iterator<Item = Effect> {
        std::mem::take(&mut self.frames).into_iter().map(|((to, lane), messages)| Effect::Send { to, lane, messages })
    }
}

impl Node {
    /// Takes what a member says.
    pub(super) fn received(&mut self, now: Now, from: NodeId, messages: Vec<Message>) {
        if self.peers.members.get(&from).is_none() || !self.understands(from, &messages) {
            return;
        }
        for message in messages {
            match message {
                Message::Membership(message, numbers) => {
                    self.peers.has_said_something(&from);
                    self.watch_peers(now, membership::Input::Received { from, message });
                    if self.horizons.shadow.is_none() {
                        self.gossip(now, Input::Heard { from, numbers });
                    }
                }
                Message::Election(message) => self.hear_of_leading(now, from, 0, message),
                Message::ElectionOf(generation, message) => self.hear_of_leading(now, from, generation, message),
                Message::Recovery(proof) => self.hear_of_recovery(now, from, &proof),
                Message::Gossip(message) => {
                    if self.listens(now, from, &message) {
                        self.gossip(now, Input::Received { from, message });
                    }
                }
                Message::Standing { said, ask } => self.standing_told(now, from, said, ask),
                Message::Ask { id, ask } => self.asked(now, from, id, ask),
                Message::Answer { id, answer } => self.answered(id, answer),
                Message::LeaseAsk { id, write } => self.lease_asked(now, from, id, write),
                Message::LeaseAnswer { id, answer } => self.lease_answered(now, from, id, answer),
                // Heard above, before anything else.
                Message::Level(_) => {}
                Message::Beat(beat) => self.heard_of_a_leader(now, beat),
                Message::Clock(wall) => self.told_time(now, from, wall),
                Message::Members(records) => self.hear_of_members(now, records),
                Message::Held { run, held } => self.asked_for_leases(now, from, run, held),
                Message::Leased { term, run, number, leased } => self.leased(now, term, run, number, &leased),
                Message::Vouch { term, at } => self.asked_to_vouch(from, term, at),
                Message::Vouched { term, at } => self.vouched(now, from, term, at),
            }
        }
    }

    /// Hands the gossip an input and does what it says.
    pub(super) fn gossip(&mut self, now: Now, input: Input) {
        let outputs = self.telling.gossip.handle(now.mono, input, &Held(&self.store, self.horizons.shadow.as_ref()));
        for output in outputs {
            match output {
                Output::Send { to, message } => self.telling.say(to, Message::Gossip(message)),
                Output::Deliver { from, records } => self.arrived(from, records),
                Output::Exchanged { peer, began } => self.all_arrived(peer, began),
            }
        }
    }

    /// Tells peers what is new here, or holds it until it is durable.
    pub(super) fn tell_news(&mut self, now: Now) {
        let mut at_once = Vec::new();
        for news in self.store.take_news() {
            self.note_own_records(&news.records);
            match news.after {
                Some(batch) if batch > self.telling.durable => self.telling.held.push_back((batch, news.records)),
                _ => at_once.extend(news.records),
            }
        }
        self.publish(now, at_once);
    }

    /// Tells what waited for a batch that is durable now.
    pub(super) fn tell_what_waited(&mut self, now: Now, durable: PersistId) {
        let mut records = Vec::new();
        while self.telling.held.front().is_some_and(|(batch, _)| *batch <= durable) {
            records.extend(self.telling.held.pop_front().into_iter().flat_map(|(_, records)| records));
        }
        self.publish(now, records);
    }

    fn publish(&mut self, now: Now, records: Vec<Verified>) {
        if !records.is_empty() && self.horizons.shadow.is_none() {
            self.gossip(now, Input::Publish(records));
        }
    }
}
