//! Broken links: whoever can still make a majority has a leader, and keeps it.

use super::world::{FINE, World, node};

const NODES: u8 = 5;
/// Within how many milliseconds one leads.
const WITHIN: u64 = 2000;

/// Lists the links of five nodes.
fn links() -> Vec<(u8, u8)> {
    (1..=NODES).flat_map(|a| (a + 1..=NODES).map(move |b| (a, b))).collect()
}

/// Tells whether some three of the nodes see each other, given by bits which links there are.
fn has_majority(graph: u32) -> bool {
    let linked = |a: u8, b: u8| links().iter().position(|link| *link == (a, b)).is_some_and(|n| graph >> n & 1 == 1);
    links().iter().any(|(a, b)| linked(*a, *b) && (b + 1..=NODES).any(|c| linked(*a, c) && linked(*b, c)))
}

/// Cuts a cluster that works down to a graph, and watches it for a minute. Returns after how many milliseconds one leads.
fn watch(graph: u32) -> u64 {
    let mut world = World::settled(u64::from(graph), FINE, NODES);
    world.run(3000);
    for (n, (a, b)) in links().into_iter().enumerate() {
        if graph >> n & 1 == 0 {
            world.cut.extend([(node(a), node(b)), (node(b), node(a))]);
        }
    }
    let cut = world.now;
    world.run_until(cut + WITHIN, |world| world.leads_majority());
    assert!(world.leads_majority(), "graph {graph:010b}: nobody leads in time");
    let took = world.now - cut;
    let before = world.count["leaders"];
    world.run(60_000);
    let changes = world.count["leaders"] - before;
    assert!(changes <= 1, "graph {graph:010b}: {changes} changes in a minute");
    assert!(world.leader().is_some(), "graph {graph:010b}: nobody leads after a minute");
    took
}

#[test]
fn with_a_connected_majority_there_is_one_leader_that_stays() {
    assert!((0..1024).step_by(41).filter(|graph| has_majority(*graph)).all(|graph| watch(graph) <= WITHIN));
}

#[test]
#[ignore = "long: a minute of each of 1,024 graphs"]
fn long_in_every_graph_with_a_connected_majority_there_is_one_leader_that_stays() {
    let graphs: Vec<u32> = (0..1024).filter(|graph| has_majority(*graph)).collect();
    println!("{} of 1,024 graphs have a connected majority", graphs.len());
    println!("one leads after {:?} ms at the latest", graphs.into_iter().map(watch).max());
}
