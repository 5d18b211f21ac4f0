use super::*;

fn claim(slot: &str, pod: u8, there: bool) -> Claim {
    Claim { slot: Slot(slot.into()), pod: Uid([pod; 16]), there }
}

fn at(secs: u64) -> Mono {
    Mono(Duration::from_secs(1_000 + secs))
}

fn leased(slot: &str, pod: u8, millis: u64) -> Leased {
    Leased { slot: Slot(slot.into()), pod: Uid([pod; 16]), millis }
}

fn all(claims: &[Claim]) -> Claims {
    Claims { claims: claims.to_vec(), complete: true }
}

#[test]
fn a_lease_counts_from_when_it_was_asked_for_and_two_thirds_are_used() {
    let mut holding = Holding::default();
    let held = holding.ask(at(0), &all(&[claim("d/0", 1, true)]));
    assert!(held.complete && held.names(&Slot("d/0".into()), Uid([1; 16])));
    assert!(holding.lacks(at(0)));
    assert!(holding.take(held.number, &[leased("d/0", 1, 15_000)]));
    assert_eq!(holding.leases[&Uid([1; 16])], at(10));
    assert!(!holding.lacks(at(9)) && holding.lacks(at(10)));
    assert!(!holding.take(held.number, &[leased("d/0", 1, 9_000)]), "a shorter one takes nothing away");
    holding.take(held.number, &[leased("d/0", 1, u64::MAX)]);
    assert_eq!(holding.leases[&Uid([1; 16])], at(10), "nobody is given more than a lease's time");
}

#[test]
fn what_was_not_asked_for_or_was_let_go_meanwhile_is_not_taken() {
    let mut holding = Holding::default();
    let early = holding.ask(at(0), &all(&[claim("d/0", 1, true)]));
    holding.take(99, &[leased("d/0", 1, 15_000)]);
    holding.take(early.number, &[leased("d/0", 2, 15_000), leased("d/1", 1, 15_000)]);
    assert!(holding.leases.is_empty());
    // It is let go, and wanted again: the leader may have taken the first for its end.
    holding.ask(at(1), &all(&[]));
    let late = holding.ask(at(2), &all(&[claim("d/0", 1, false)]));
    holding.take(early.number, &[leased("d/0", 1, 15_000)]);
    assert!(holding.leases.is_empty());
    holding.take(late.number, &[leased("d/0", 1, 15_000)]);
    assert_eq!(holding.leases.len(), 1);
}

#[test]
fn of_two_pods_of_a_slot_the_one_that_may_be_running_is_asked_for() {
    let mut holding = Holding::default();
    let slot = Slot("d/0".into());
    for claims in [[claim("d/0", 1, false), claim("d/0", 2, true)], [claim("d/0", 2, true), claim("d/0", 1, false)]] {
        let held = holding.ask(at(0), &all(&claims));
        assert_eq!(held.slots, [(slot.clone(), Uid([2; 16]))]);
        assert!(held.complete, "the other has not begun");
    }
    let held = holding.ask(at(1), &all(&[claim("d/0", 1, true), claim("d/0", 2, true)]));
    assert!(!held.complete, "what is not named may run");
}

#[test]
fn leases_of_an_earlier_run_are_kept_for_what_is_still_there() {
    let (one, other) = (Uid([1; 16]), Uid([2; 16]));
    let mut holding = Holding::new(BTreeMap::from([(one, at(9)), (other, at(9))]));
    holding.ask(at(0), &all(&[claim("d/0", 1, true)]));
    assert_eq!(holding.leases, BTreeMap::from([(one, at(9))]));
}
