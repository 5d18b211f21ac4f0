//! What peers are told, and what they compare and give each other.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::merge::{Op, act, any_op, pair};
use super::*;

fn ids(rig: &Rig) -> BTreeSet<RecordId> {
    rig.check_index();
    rig.store.record_ids().into_iter().collect()
}

fn raws(news: &[News]) -> Vec<Vec<u8>> {
    news.iter().flat_map(|news| &news.records).map(|record| record.record().raw.to_vec()).collect()
}

/// Gives a node what it lacks of what another holds. Returns how many records that were.
fn repair(to: &mut Rig, from: &Rig) -> usize {
    let lacks: BTreeSet<RecordId> = ids(from).difference(&ids(to)).copied().collect();
    let records = from.store.records_of(&lacks);
    assert_eq!(records.len(), lacks.len());
    for record in &records {
        let merged = to.merge(record).unwrap();
        assert!(!matches!(merged, Merged::Waiting { .. }), "in an order in which they can be merged");
    }
    to.flush();
    records.len()
}

#[test]
fn own_changes_are_news_once_their_batch_is_durable() {
    for batch_first in [false, true] {
        let mut rig = Rig::new(1);
        rig.store.take_news();
        rig.try_as(Author::Client, create(pod("a"))).unwrap();
        rig.try_as(Author::Leader, bind(&pod_key("a"), "n1")).unwrap();
        let taken = batch_first.then(|| rig.store.take_batch().unwrap());
        let news = rig.store.take_news();
        let batch = taken.unwrap_or_else(|| rig.store.take_batch().unwrap());
        assert_eq!(news.len(), 1);
        assert_eq!(news[0].after, Some(batch.id));
        assert_eq!(raws(&news), batch.records);
        rig.store.persisted(batch.id);
        assert!(rig.store.take_news().is_empty(), "idle is silent");
    }
}

#[test]
fn every_kind_of_own_record_is_told_but_ceilings() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    rig.done_as(Author::Leader, bind(&pod_key("a"), "n1")).unwrap();
    rig.done_as(Author::Kubelet, status(&pod_key("a"), json!({"phase": "Running"}))).unwrap();
    rig.done(status(&pod_key("a"), json!({"message": "hm"}))).unwrap();
    rig.done(delete(&pod_key("a"))).unwrap();
    rig.done_as(Author::Kubelet, remove(&pod_key("a"))).unwrap();
    rig.create(config_map("x", json!({})));
    rig.flush();
    let told: BTreeSet<Vec<u8>> = raws(&rig.store.take_news()).into_iter().collect();
    let unsaid: Vec<_> = rig.disk.iter().filter(|raw| !told.contains(*raw)).collect();
    let body = |raw: &[u8]| Verified::read(raw.to_vec()).unwrap().record().body.clone();
    use super::super::record::Body;
    assert!(unsaid.iter().all(|raw| matches!(
        body(raw),
        Body::Ceiling { .. } | Body::Register { slot: super::super::register::Slot::Observation, .. }
    )));
    assert!(told.len() >= 7);
}

#[test]
fn observations_are_told_at_once_each_newest_value_once_in_the_bytes_that_go_to_disk() {
    let mut rig = Rig::new(1);
    rig.create(pod("a"));
    rig.store.take_news();
    let see = |rig: &mut Rig, v: u64| {
        rig.try_as(Author::Kubelet, status(&pod_key("a"), json!({"phase": "Running", "v": v}))).unwrap();
    };
    see(&mut rig, 1);
    see(&mut rig, 2);
    let news = rig.store.take_news();
    assert_eq!((news.len(), news[0].after, news[0].records.len()), (1, None, 1));
    assert!(rig.store.take_news().is_empty());
    assert!(ids(&rig).contains(&news[0].records[0].id()), "peers have it: so it is held");
    let batch = rig.store.take_batch().unwrap();
    assert!(!batch.urgent);
    assert_eq!(batch.records, raws(&news));
    rig.store.persisted(batch.id);
    see(&mut rig, 2);
    assert!(rig.store.take_news().is_empty(), "nothing new");
}

#[test]
fn what_peers_said_and_what_was_on_disk_is_no_news() {
    let (mut a, mut b) = pair();
    a.create(deployment("web", 1, "a"));
    b.store.take_news();
    b.take_all(&a);
    assert!(b.store.take_news().is_empty());
    a.try_as(Author::Kubelet, create(pod("p"))).unwrap();
    a.flush();
    a.crash();
    a.flush();
    assert!(a.store.take_news().is_empty());
}

#[test]
fn only_what_is_durable_is_held() {
    let mut rig = Rig::new(1);
    rig.create(config_map("x", json!({"k": "1"})));
    let before = ids(&rig);
    rig.try_as(Author::Client, update(config_map("x", json!({"k": "2"})))).unwrap();
    rig.try_as(Author::Client, create(config_map("y", json!({})))).unwrap();
    rig.try_as(Author::Client, create(pod("p"))).unwrap();
    rig.try_as(Author::Leader, bind(&pod_key("p"), "n1")).unwrap();
    assert_eq!(ids(&rig), before);
    rig.flush();
    assert_eq!(ids(&rig).len(), before.len() + 4);
    let again = ids(&rig);
    rig.crash();
    assert_eq!(ids(&rig), again);
}

#[test]
fn what_another_lacks_is_given_in_an_order_that_merges() {
    let (mut a, mut b) = pair();
    a.create(deployment("web", 1, "a"));
    for replicas in 2..6 {
        a.update(deployment("web", replicas, "a"));
    }
    a.done_as(Author::Leader, status(&deployment_key("web"), json!({"replicas": 1}))).unwrap();
    a.create(pod("p"));
    a.done(remove(&pod_key("p"))).unwrap();
    assert!(repair(&mut b, &a) > 5);
    assert_eq!((ids(&a), a.visible()), (ids(&b), b.visible()));
    assert_eq!(a.store.records_of(&BTreeSet::new()).len(), 0);
}

/// Something that happens to one of three nodes.
#[derive(Clone, Debug)]
enum Turn {
    Act(Op),
    /// It thinks this of node n0 or n1.
    Reach(u8, Reach),
    /// It gets up to so many of the records on their way to it, in any order.
    Hear(u8),
    /// It loses those.
    Miss(u8),
    Crash,
}

fn any_turn() -> impl Strategy<Value = Turn> {
    let reach = prop::sample::select(vec![Reach::Reachable, Reach::Returning, Reach::Unreachable, Reach::Lost]);
    prop_oneof![
        8 => any_op().prop_map(Turn::Act),
        2 => (0..2_u8, reach).prop_map(|(node, reach)| Turn::Reach(node, reach)),
        5 => any::<u8>().prop_map(Turn::Hear),
        2 => any::<u8>().prop_map(Turn::Miss),
        1 => Just(Turn::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn stores_that_tell_news_and_repair_what_was_lost_converge(
        turns in prop::collection::vec((0..3_usize, any_turn()), 1..60),
    ) {
        let mut rigs = [Rig::new(1), Rig::new(2), Rig::new(3)];
        let mut underway: [Vec<Verified>; 3] = Default::default();
        for (at, turn) in &turns {
            for rig in &mut rigs {
                rig.wait(Duration::from_millis(300));
            }
            let rig = &mut rigs[*at];
            match turn {
                Turn::Act(op) => act(rig, op),
                Turn::Reach(node, reach) => rig.store.set_reach(rig.now, &format!("n{node}"), *reach),
                Turn::Hear(n) => {
                    for i in 0..*n {
                        let left = underway[*at].len();
                        if left == 0 { break; }
                        let record = underway[*at].swap_remove(usize::from(i) * 31 % left);
                        rig.store.merge(rig.now, record).unwrap();
                    }
                }
                Turn::Miss(n) => underway[*at].truncate(usize::from(*n) / 2),
                Turn::Crash => {
                    rig.crash();
                }
            }
            rig.check_index();
            rig.flush();
            let told = rig.store.take_news();
            rig.check_index();
            for news in told {
                prop_assert_eq!(news.after, None, "all is durable");
                for (to, queue) in underway.iter_mut().enumerate().filter(|(to, _)| to != at) {
                    prop_assert!(to < 3);
                    queue.extend(news.records.clone());
                }
            }
        }
        for rig in &mut rigs {
            for node in ["n0", "n1"] {
                rig.store.set_reach(rig.now, node, Reach::Reachable);
            }
        }
        for _ in 0..20 {
            let mut moved = 0;
            for (to, from) in [(0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)] {
                let [one, other] = rigs.get_disjoint_mut([to, from]).unwrap();
                moved += repair(one, other);
            }
            if moved == 0 { break; }
        }
        for rig in &rigs[1..] {
            prop_assert_eq!(rigs[0].visible(), rig.visible());
            prop_assert_eq!(ids(&rigs[0]), ids(rig));
        }
        for rig in &mut rigs {
            let visible = rig.visible();
            rig.crash();
            prop_assert_eq!(rig.visible(), visible);
            prop_assert!(rig.store.take_news().is_empty());
        }
    }
}
