//! How what nodes say of run-leases is written. Numbered fields; a newer version's are passed over.

use minicbor::{Decode, Encode};

use crate::ids::{Term, Uid};
use crate::object::hold::{MAX_SLOT, Slot};

use super::message::{Held, Leased};

/// The most slots of a message: more than a node has pods.
const MOST: usize = 4_096;

type Bad = minicbor::decode::Error;

#[derive(Encode, Decode)]
#[cbor(map)]
struct HeldBody {
    #[n(0)]
    run: u64,
    #[n(1)]
    number: u64,
    #[n(2)]
    complete: bool,
    #[n(3)]
    slots: Vec<SlotBody>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct LeasedBody {
    #[n(0)]
    term: u64,
    #[n(1)]
    run: u64,
    #[n(2)]
    number: u64,
    #[n(3)]
    slots: Vec<SlotBody>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct SlotBody {
    #[n(0)]
    slot: String,
    #[cbor(n(1), with = "minicbor::bytes")]
    pod: [u8; 16],
    #[cbor(n(2), default)]
    millis: u64,
}

fn write(body: impl Encode<()>) -> Vec<u8> {
    minicbor::to_vec(body).expect("a vector takes any number of bytes")
}

fn within(slots: &[SlotBody]) -> Result<(), Bad> {
    if slots.len() > MOST || slots.iter().any(|slot| slot.slot.len() > MAX_SLOT) {
        return Err(Bad::message("too many slots, or too long a name"));
    }
    Ok(())
}

pub(super) fn held(run: u64, held: &Held) -> Vec<u8> {
    let slots = held.slots.iter().map(|(slot, pod)| SlotBody { slot: slot.0.clone(), pod: pod.0, millis: 0 });
    write(HeldBody { run, number: held.number, complete: held.complete, slots: slots.collect() })
}

pub(super) fn read_held(bytes: &[u8]) -> Result<(u64, Held), Bad> {
    let HeldBody { run, number, complete, slots } = minicbor::decode(bytes)?;
    within(&slots)?;
    let slots = slots.into_iter().map(|slot| (Slot(slot.slot), Uid(slot.pod))).collect();
    Ok((run, Held { number, complete, slots }))
}

pub(super) fn leased(term: Term, run: u64, number: u64, leased: &[Leased]) -> Vec<u8> {
    let slots = leased.iter().map(|l| SlotBody { slot: l.slot.0.clone(), pod: l.pod.0, millis: l.millis });
    write(LeasedBody { term: term.0, run, number, slots: slots.collect() })
}

pub(super) fn read_leased(bytes: &[u8]) -> Result<(Term, u64, u64, Vec<Leased>), Bad> {
    let LeasedBody { term, run, number, slots } = minicbor::decode(bytes)?;
    within(&slots)?;
    let leased = |slot: SlotBody| Leased { slot: Slot(slot.slot), pod: Uid(slot.pod), millis: slot.millis };
    Ok((Term(term), run, number, slots.into_iter().map(leased).collect()))
}

pub(super) fn moment(term: Term, at: u64) -> Vec<u8> {
    write((term.0, at))
}

pub(super) fn read_moment(bytes: &[u8]) -> Result<(Term, u64), Bad> {
    let (term, at): (u64, u64) = minicbor::decode(bytes)?;
    Ok((Term(term), at))
}
