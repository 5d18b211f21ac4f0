//! How long things take. Run by hand, optimised:
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --lib store::tests::speed -- --ignored --nocapture`.
#![allow(clippy::disallowed_methods)]

use std::time::Instant;

use super::*;

fn report(what: &str, from: Instant, n: u32) {
    println!("{what}: {:?} each", from.elapsed() / n);
}

#[test]
#[ignore = "measures"]
fn how_long_things_take() {
    const N: u32 = 10_000;
    let mut rig = Rig::new(1);
    let from = Instant::now();
    for i in 0..N {
        rig.try_as(Author::Client, create(pod(&format!("p{i}")))).unwrap();
    }
    report("create a pod", from, N);
    let from = Instant::now();
    rig.flush();
    report("show it", from, N);
    let from = Instant::now();
    for i in 0..N {
        rig.try_as(Author::Leader, bind(&pod_key(&format!("p{i}")), "n1")).unwrap();
    }
    rig.flush();
    report("bind and show it", from, N);
    let from = Instant::now();
    for i in 0..N {
        rig.try_as(
            Author::Kubelet,
            status(&pod_key(&format!("p{i}")), json!({"phase": "Running", "podIP": "10.0.0.1"})),
        )
        .unwrap();
    }
    report("status", from, N);
    rig.flush();
    let from = Instant::now();
    let ids = rig.store.record_ids();
    println!("list the ids of {} records: {:?}", ids.len(), from.elapsed());
    let from = Instant::now();
    let sums: Vec<Sum> = Range::ALL.parts().iter().flatten().flat_map(|part| rig.store.held().sums(*part)).collect();
    println!("sum up {} parts of them: {:?}", sums.len(), from.elapsed());
    let few = ids.iter().step_by(1_000).copied().collect();
    let from = Instant::now();
    println!("find {} of them: {:?}", rig.store.records_of(&few).len(), from.elapsed());
    rig.create(deployment("web", 1, "a"));
    let from = Instant::now();
    for i in 0..200 {
        rig.try_as(Author::Client, update(deployment("web", i + 2, "a"))).unwrap();
    }
    report("update a deployment", from, 200);
    rig.flush();
    let from = Instant::now();
    for i in 0..1_000 {
        rig.try_as(Author::Client, create(deployment(&format!("d{i}"), 1, "a"))).unwrap();
    }
    report("create a deployment", from, 1_000);
    rig.flush();
    let from = Instant::now();
    rig.crash();
    println!("open {} objects of {} records: {:?}", rig.store.objects.len(), rig.disk.len(), from.elapsed());
}

#[test]
#[ignore = "measures"]
fn how_long_a_status_takes() {
    let mut rig = Rig::new(1);
    for i in 0..1_000 {
        rig.create(pod(&format!("p{i}")));
    }
    let from = Instant::now();
    for round in 0..50 {
        for i in 0..1_000 {
            let seen = json!({"phase": "Running", "podIP": "10.0.0.1", "round": round});
            rig.try_as(Author::Kubelet, status(&pod_key(&format!("p{i}")), seen)).unwrap();
        }
    }
    report("status", from, 50_000);
}
