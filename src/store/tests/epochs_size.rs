//! What is kept of many edits: by as many nodes, over as many days, as a cluster sees.

use std::time::Duration;

use super::epochs::{converge, give, ids, same};
use super::*;

/// How often a day the leader looks for long histories here. A real one looks every minute.
const LOOKS: usize = 10;

/// A cluster whose last node is away from the first day to the last. On each day the leader and two more are there, and
/// write; the others come back after days.
struct Years {
    nodes: Vec<Rig>,
    there: [usize; 3],
    days: usize,
    objects: usize,
    cuts: usize,
    edits: usize,
    /// Bytes of all records that were ever written.
    written: usize,
}

impl Years {
    fn new(nodes: usize, objects: usize) -> Self {
        let mut first = Rig::new(1);
        for n in 0..objects {
            let data: serde_json::Map<_, _> = (0..8).map(|k| (format!("key-{k}"), "v".repeat(40).into())).collect();
            first.create(config_map(&format!("m{n}"), data.into()));
        }
        let others = (2..=nodes).map(|n| {
            let mut rig = Rig::bare(u8::try_from(n).unwrap());
            rig.take_all(&first);
            rig
        });
        let others: Vec<Rig> = others.collect();
        let mut nodes: Vec<Rig> = std::iter::once(first).chain(others).collect();
        nodes.iter_mut().for_each(|node| node.disk.clear());
        Self { nodes, there: [0; 3], days: 0, objects, cuts: 0, edits: 0, written: 0 }
    }

    /// Two nodes come in the place of two others, and take what they have missed.
    fn change_shifts(&mut self) {
        let others = self.nodes.len() - 2;
        self.there = [0, 1 + self.days % others, 1 + (self.days + others / 2) % others];
        let (leader, others) = self.nodes.split_at_mut(1);
        for at in &self.there[1..] {
            give(&leader[0], &mut others[at - 1]);
            others[at - 1].disk.clear();
        }
    }

    /// Hands what a node has just written to the others that are there.
    fn tell(&mut self, from: usize) {
        let records = std::mem::take(&mut self.nodes[from].disk);
        self.written += records.iter().map(Vec::len).sum::<usize>();
        for at in self.there.into_iter().filter(|at| *at != from) {
            let node = &mut self.nodes[at];
            for record in &records {
                let merged = node.merge(record).unwrap();
                assert!(!matches!(merged, Merged::Waiting { .. }), "node {at} lacks something");
            }
            persist(node);
            node.disk.clear();
        }
    }

    /// Lets a day pass: `edits` of each object, each on another node, and the leader's upkeep.
    fn day(&mut self, edits: usize) {
        self.change_shifts();
        self.days += 1;
        for part in 0..LOOKS {
            for object in 0..self.objects {
                (0..edits).skip(part).step_by(LOOKS).for_each(|_| self.edit(object));
            }
            for node in &mut self.nodes {
                node.wait(Duration::from_secs(86_400) / LOOKS as u32);
            }
            for at in self.nodes[0].store.overgrown(usize::MAX) {
                let leader = &mut self.nodes[0];
                self.cuts += usize::from(leader.store.cut(leader.now, at));
            }
            persist(&mut self.nodes[0]);
            self.tell(0);
        }
    }

    fn edit(&mut self, object: usize) {
        self.edits += 1;
        let node = self.there[self.edits % 3];
        let rig = &mut self.nodes[node];
        let mut value = rig.get(&map_key(&format!("m{object}"))).unwrap();
        value["data"][format!("key-{}", self.edits % 8)] = format!("{:040}", self.edits).into();
        rig.try_as(Author::Client, update(value)).unwrap();
        persist(rig);
        self.tell(node);
    }

    fn held(rig: &Rig) -> usize {
        rig.store.records().map(|record| record.len()).sum()
    }

    /// What the same objects take when they are made today.
    fn fresh(&self) -> usize {
        let mut rig = Rig::new(99);
        for n in 0..self.objects {
            let data = self.nodes[0].get(&map_key(&format!("m{n}"))).unwrap()["data"].clone();
            rig.create(config_map(&format!("m{n}"), data));
        }
        Self::held(&rig)
    }

    /// Brings back who was away, with an edit of its own, and weighs what is held. Returns how many bytes more than
    /// fresh, and how many there would be without cuts.
    fn end(mut self) -> (usize, usize) {
        let last = self.nodes.len() - 1;
        let mut value = self.nodes[last].get(&map_key("m0")).unwrap();
        value["data"]["away"] = "mine".into();
        self.nodes[last].update(value);
        converge(&mut self.nodes);
        same(&self.nodes);
        assert_eq!(self.nodes[0].get(&map_key("m0")).unwrap()["data"]["away"], "mine");
        let newest = format!("{:040}", self.edits);
        let shown = self.nodes[last].visible();
        assert!(shown.iter().any(|object| object.to_string().contains(&newest)), "the last edit is there");
        let fresh = self.fresh();
        let held = self.nodes.iter().map(Self::held).max().unwrap();
        println!(
            "{} edits on {} nodes, {} cuts: {held} bytes held (what a rewritten log has), {fresh} afresh, {} more; all \
             that was written: {}",
            self.edits,
            self.nodes.len(),
            self.cuts,
            held - fresh,
            self.written
        );
        // What is on disk after a rewrite makes the same store.
        let disk: Vec<Vec<u8>> = self.nodes[0].store.records().collect();
        let all = ids(&self.nodes[0]);
        self.nodes[0].disk = disk;
        assert_eq!(self.nodes[0].crash().refused, []);
        assert_eq!(ids(&self.nodes[0]), all);
        (held - fresh, self.written)
    }
}

/// Makes everything durable; the index is not counted again each time.
fn persist(rig: &mut Rig) {
    while let Some(batch) = rig.store.take_batch() {
        rig.disk.extend(batch.records);
        rig.store.persisted(batch.id);
    }
}

/// Fewer objects than in the long run below.
#[test]
fn thirty_days_of_edits_on_ten_nodes_take_little_more_than_their_objects() {
    let mut years = Years::new(10, 10);
    (0..30).for_each(|_| years.day(50));
    let (more, written) = years.end();
    // 5 MB for 200 objects.
    assert!(more < 10 * 5_000_000 / 200, "{more} bytes more");
    assert!(written > 4 * more, "{written} bytes were written: cuts are what keeps it small");
}

#[test]
#[ignore = "long: 300,000 edits on ten nodes"]
fn long_thirty_days_of_ten_nodes_take_little_more_than_their_objects() {
    let mut years = Years::new(10, 200);
    (0..30).for_each(|_| years.day(50));
    let (more, _) = years.end();
    assert!(more < 5_000_000, "{more} bytes more");
}

#[test]
#[ignore = "long: 365,000 edits on ten nodes"]
fn long_a_year_of_ten_nodes_takes_little_more_than_their_objects() {
    let mut years = Years::new(10, 20);
    (0..365).for_each(|_| years.day(50));
    let (more, _) = years.end();
    assert!(more < 5_000_000, "{more} bytes more");
}
