//! The leader's part in collecting tombstones: seals them in batches, and moves the horizon and what follows it.

use crate::election::{self, ProposalId, Undecided};
use crate::features::Feature;
use crate::ids::NodeId;
use crate::store::{Horizon, RecordId, Standing};
use crate::time::{Mono, Now};

use super::Node;
use super::horizon::REGISTER;

/// A horizon's time is counted in slices, so that it passes under leaders that do not last.
const SLICES: u32 = 8;
/// How often the leader looks, as a part of a horizon's time: every minute of a day.
const LOOKS: u32 = 1_440;
/// For how long, as a part of a horizon's time, a leader concludes nothing from an absence: the first hour.
const UNSURE: u32 = 24;

/// How far the leader is with it.
#[derive(Default)]
pub(super) struct Collecting {
    next_look: Mono,
    /// Up to when slices are counted.
    counted: Mono,
    /// The batch that is to be decided when it is durable.
    sealed: Option<RecordId>,
    /// What is being decided, and the horizon that this leader acks with it.
    proposed: Option<(ProposalId, Option<u64>)>,
    /// Whether it may conclude from absences.
    sure: bool,
}

impl Node {
    /// Begins a term of office: nothing is concluded from an absence at first.
    pub(super) fn begin_collecting(&mut self, now: Now) {
        self.horizons.collecting = Collecting { counted: now.mono, next_look: now.mono, ..Collecting::default() };
        if self.peers.members.iter().count() > 1 {
            self.store.set_complete(false);
        }
    }

    /// Does, as the leader, what is due about tombstones.
    pub(super) fn collect_tombstones(&mut self, now: Now) {
        let Some(office) = self.leading.since() else { return };
        if now.mono < self.horizons.collecting.next_look {
            return;
        }
        self.horizons.collecting.next_look = now.mono + self.horizons.period / LOOKS;
        let sole = self.peers.members.iter().count() == 1;
        if sole {
            // Nobody else could know better.
            self.store.ack(self.store.horizon());
        }
        if self.store.is_too_old() || self.horizons.unlearned || self.horizons.collecting.proposed.is_some() {
            return;
        }
        let settled = now.mono.since(office) >= self.horizons.period / UNSURE && self.knows_most();
        if !sole && settled && !self.horizons.collecting.sure {
            self.horizons.collecting.sure = true;
            self.store.set_complete(true);
            self.look_at_everything(now);
        }
        if self.may_use(Feature::Horizon) && !self.decide_collection(now) {
            self.decide_advance(now);
        }
    }

    /// Has it decided what may be dropped and forgotten now. Returns whether there was anything.
    fn decide_collection(&mut self, now: Now) -> bool {
        let me = self.store.node_id();
        let standing = |id: &NodeId| if *id == me { self.store.standing() } else { self.horizons.standing(id) };
        let standings: Vec<Standing> = self.peers.members.iter().map(|member| standing(&member.id)).collect();
        let floor = standings.iter().map(|s| s.acked).min().unwrap_or(0);
        let Some(known) = self.registered_horizon() else { return false };
        let young = standings.iter().filter(|s| s.acked >= known.floor);
        let cleared = young.map(|s| s.floor).min().unwrap_or(0);
        let wanted = known.collected(floor, cleared);
        if wanted == known {
            return false;
        }
        self.propose_horizon(now, &wanted, None);
        true
    }

    /// Has the next horizon decided, when it is time and there is something to collect.
    fn decide_advance(&mut self, now: Now) {
        let known = self.registered_horizon().unwrap_or_default();
        if let Some(batch) = self.horizons.collecting.sealed {
            if self.store.is_durable(batch) {
                self.horizons.collecting.sealed = None;
                let next = known.advanced(self.store.standing().acked, batch);
                self.propose_horizon(now, &next, Some(next.number));
            }
            return;
        }
        let slice = self.horizons.period / SLICES;
        let passed =
            u32::try_from(now.mono.since(self.horizons.collecting.counted).as_nanos() / slice.as_nanos().max(1));
        let passed = passed.unwrap_or(SLICES).min(SLICES);
        if passed == 0 || !self.store.has_unsealed() {
            return;
        }
        self.horizons.collecting.counted = now.mono;
        if known.slices.saturating_add(passed) >= SLICES {
            self.horizons.collecting.sealed = self.store.seal(now);
            self.horizons.collecting.next_look = now.mono;
        } else {
            self.propose_horizon(now, &known.later(passed), None);
        }
    }

    fn propose_horizon(&mut self, now: Now, horizon: &Horizon, acks: Option<u64>) {
        let id = self.leading.number();
        self.horizons.collecting.proposed = Some((id, acks));
        self.elect(now, election::Input::Propose { id, key: REGISTER.into(), value: horizon.to_bytes() });
    }

    /// The election says what became of a proposal.
    pub(super) fn horizon_decided(&mut self, id: ProposalId, result: Result<(), Undecided>) {
        let Some((_, acks)) = self.horizons.collecting.proposed.take_if(|(proposed, _)| *proposed == id) else {
            return;
        };
        if result.is_ok() {
            // It holds what it sealed.
            acks.into_iter().for_each(|number| self.store.ack(number));
        }
    }
}
