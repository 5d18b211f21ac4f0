//! The cluster's horizon: how far the collection of tombstones has come, as the leader has decided it.
//!
//! The quorum register `horizon` holds one [`Horizon`]. Number h stands for one batch of tombstones: those that an elected
//! leader held and that no batch before had. The batch itself is a record (`graves`); the register names it by its id.
//! *Sealed* is what is in a named batch. Once every member has acked h, or h is [`KEPT`] numbers old, h is at or below
//! `floor`: its tombstones go. Once every member that is not too old has told that it has dropped them, or h is twice as
//! old, h is at or below `cleared`: its list goes, and nothing remains.

use minicbor::{Decode, Encode};

use super::record::RecordId;

/// How many horizons a member may be behind before it is too old.
pub const KEPT: u64 = 30;
/// Of so many horizons the register names the batches. More than `2 * KEPT`, so that whoever is not too old finds the
/// names of all that it still has to drop.
const NAMED: u64 = 96;
/// The most names that are read.
const MOST_NAMES: usize = 256;

/// The horizon, as the quorum register says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Horizon {
    /// The newest horizon.
    #[n(0)]
    pub number: u64,
    /// Tombstones of batches up to this one are dropped. A member that has not acked it is too old.
    #[n(1)]
    pub floor: u64,
    /// Batches up to this one are forgotten.
    #[n(2)]
    pub cleared: u64,
    /// How much of the time until the next horizon has passed, in slices.
    #[n(3)]
    pub slices: u32,
    #[n(4)]
    names: Vec<Name>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Name {
    #[n(0)]
    number: u64,
    #[cbor(n(1), with = "minicbor::bytes")]
    batch: [u8; 16],
}

/// How far a member has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// It holds every tombstone of the batches up to this one that was not dropped, and nothing that they bury.
    pub acked: u64,
    /// The floor that it has applied.
    pub floor: u64,
    /// What it has forgotten.
    pub cleared: u64,
}

impl Horizon {
    /// Returns the register's value.
    pub fn to_bytes(&self) -> Vec<u8> {
        super::record::to_cbor(self)
    }

    /// Reads the register's value. `None` if it is none of this version.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let horizon: Self = super::record::of_cbor(bytes).ok()?;
        let sound = horizon.cleared <= horizon.floor && horizon.floor <= horizon.number;
        (sound && horizon.names.len() <= MOST_NAMES).then_some(horizon)
    }

    /// Returns what only ever grows: of two of the register's values the higher one is the later.
    pub(super) fn progress(&self) -> (u64, u64, u64) {
        (self.number, self.floor, self.cleared)
    }

    /// Returns the batch of a horizon, if one is in effect.
    pub fn batch(&self, number: u64) -> Option<RecordId> {
        self.names.iter().find(|name| name.number == number).map(|name| RecordId(name.batch))
    }

    /// Returns the horizon after the next, whose batch is `batch`, as a leader decides it that has `acked`. Batches that
    /// this leader has not acked become void: it cannot answer for what is in them. Nobody has dropped anything of them,
    /// since this leader has not acked them, and the tombstones in them go with a later batch.
    #[must_use]
    pub fn advanced(&self, acked: u64, batch: RecordId) -> Self {
        let number = self.number + 1;
        let mut names = self.names.clone();
        names.retain(|name| name.number <= acked && name.number + NAMED > number);
        names.push(Name { number, batch: batch.0 });
        let floor = self.floor.max(number.saturating_sub(KEPT));
        let cleared = self.cleared.max(number.saturating_sub(2 * KEPT));
        Self { number, floor, cleared, slices: 0, names }
    }

    /// Returns the horizon with more of the time until the next passed.
    #[must_use]
    pub fn later(&self, slices: u32) -> Self {
        Self { slices: self.slices.saturating_add(slices), ..self.clone() }
    }

    /// Returns the horizon with more dropped and forgotten: all members have acked `floor`, and all that are not too old
    /// have told that they dropped up to `cleared`.
    #[must_use]
    pub fn collected(&self, floor: u64, cleared: u64) -> Self {
        let floor = self.floor.max(floor.min(self.number));
        let cleared = self.cleared.max(cleared.min(self.floor));
        Self { floor, cleared, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> RecordId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        RecordId(bytes)
    }

    #[test]
    fn a_horizon_survives_its_wire_form() {
        let mut horizon = Horizon::default();
        for n in 1..=200 {
            horizon = horizon.advanced(n - 1, id(n));
        }
        assert_eq!(Horizon::of_bytes(&horizon.to_bytes()), Some(horizon.clone()));
        assert!(horizon.to_bytes().len() < 3_000, "it is written to every disk");
        assert_eq!((horizon.number, horizon.floor, horizon.cleared), (200, 170, 140));
        assert_eq!((horizon.batch(105), horizon.batch(104)), (Some(id(105)), None));
        assert_eq!(Horizon::of_bytes(b"\xff"), None);
    }

    #[test]
    fn a_leader_makes_void_what_it_has_not_acked() {
        let horizon = Horizon::default().advanced(0, id(1)).advanced(1, id(2)).advanced(1, id(3));
        assert_eq!((horizon.batch(1), horizon.batch(2), horizon.batch(3)), (Some(id(1)), None, Some(id(3))));
    }

    #[test]
    fn what_is_collected_never_comes_back() {
        let horizon = Horizon::default().advanced(0, id(1)).advanced(1, id(2)).collected(2, 1);
        assert_eq!((horizon.floor, horizon.cleared), (2, 0), "dropped first, forgotten later");
        let horizon = horizon.collected(1, 9);
        assert_eq!((horizon.floor, horizon.cleared), (2, 2));
        assert_eq!(horizon.collected(9, 0).floor, 2, "not beyond the newest");
    }
}
