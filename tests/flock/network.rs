//! The network between the hosts: cuts, loss, and connections as a mesh would keep them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use skein::node::message::Message;

/// How often connections are looked after.
pub const LOOK: Duration = Duration::from_millis(50);

/// How often a member without a connection is dialled.
const REDIAL: Duration = Duration::from_secs(1);

/// From whom to whom.
pub type Way = (usize, usize);

/// Something in flight.
#[derive(Clone)]
pub struct Frame {
    pub way: Way,
    /// Of which connection.
    pub connection: u64,
    /// Later ones have higher numbers.
    pub number: u64,
    pub messages: Vec<Message>,
}

/// What a connection does to its ends.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Connected(Way),
    /// The first can reach the second no more, which was reset or not.
    Gone(Way, bool),
}

/// The network.
#[derive(Default)]
pub struct Network {
    cuts: BTreeMap<u64, BTreeSet<Way>>,
    links: BTreeMap<Way, Link>,
    /// When hosts without an agent were last dialled.
    refusals: BTreeMap<Way, Duration>,
    made: u64,
    /// Of a thousand frames so many are lost.
    pub loss: u32,
    /// Of a thousand frames so many come twice.
    pub twice: u32,
}

/// Between two hosts, the smaller one first.
#[derive(Default)]
struct Link {
    connection: u64,
    /// Whether each end holds the connection for good.
    up: [bool; 2],
    /// Since when it carries nothing, or not both ways, and how long that is borne.
    dark: Option<(Duration, Duration)>,
    /// When it is made anew.
    dial: Option<Duration>,
}

impl Network {
    /// Cuts some ways until the cut is mended.
    pub fn cut(&mut self, ways: BTreeSet<Way>) -> u64 {
        self.made += 1;
        self.cuts.insert(self.made, ways);
        self.made
    }

    /// Mends a cut.
    pub fn mend(&mut self, cut: u64) -> bool {
        self.cuts.remove(&cut).is_some()
    }

    /// Mends everything.
    pub fn calm_down(&mut self) {
        self.cuts.clear();
        (self.loss, self.twice) = (0, 0);
    }

    /// Returns how many cuts there are.
    pub fn cuts(&self) -> usize {
        self.cuts.len()
    }

    /// Tells whether nothing is cut between two hosts.
    pub fn is_open(&self, a: usize, b: usize) -> bool {
        self.carries((a, b)) && self.carries((b, a))
    }

    /// Tells whether some connection is there for one of its ends only.
    pub fn has_half_open(&self) -> bool {
        self.links.values().any(|link| link.up[0] != link.up[1])
    }

    fn carries(&self, way: Way) -> bool {
        !self.cuts.values().any(|ways| ways.contains(&way))
    }

    /// Returns the connection on which something can be sent, as far as the sender knows.
    pub fn connection(&self, (from, to): Way) -> Option<u64> {
        let link = self.links.get(&(from.min(to), from.max(to)))?;
        link.up[usize::from(from > to)].then_some(link.connection)
    }

    /// Tells whether a frame arrives.
    pub fn delivers(&self, frame: &Frame) -> bool {
        let (from, to) = frame.way;
        self.carries(frame.way) && self.connection((to, from)) == Some(frame.connection)
    }

    /// An agent is gone: whom the news can reach hears of it at once.
    pub fn crashed(&mut self, host: usize) -> Vec<Change> {
        let open: BTreeSet<usize> =
            self.links.keys().map(|way| other(*way, host)).filter(|peer| self.carries((host, *peer))).collect();
        let mut changes = Vec::new();
        for (way, link) in self.links.iter_mut().filter(|(way, _)| way.0 == host || way.1 == host) {
            let (peer, end) = (other(*way, host), usize::from(way.1 == host));
            link.up[end] = false;
            link.dial = None;
            if link.up[1 - end] && open.contains(&peer) {
                link.up[1 - end] = false;
                changes.push(Change::Gone((peer, host), true));
            }
        }
        changes
    }

    /// Dials a host on which no agent runs, every second. Returns whether it is heard to refuse.
    pub fn refuses(&mut self, now: Duration, way: Way) -> bool {
        let last = self.refusals.entry(way).or_default();
        if now < *last + REDIAL {
            return false;
        }
        *last = now;
        self.is_open(way.0, way.1)
    }

    /// Makes and ends connections. `wanted` tells whether both hosts are there and know each other.
    pub fn look(
        &mut self,
        now: Duration,
        random: &mut StdRng,
        hosts: usize,
        wanted: impl Fn(Way) -> bool,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        for way in (0..hosts).flat_map(|a| (a + 1..hosts).map(move |b| (a, b))) {
            let back = (way.1, way.0);
            let open = self.carries(way) && self.carries(back);
            let link = self.links.entry(way).or_default();
            match link.up {
                [true, true] if open => link.dark = None,
                [false, false] => {
                    link.dark = None;
                    if !(open && wanted(way)) {
                        link.dial = None;
                        continue;
                    }
                    let wait = Duration::from_millis(random.random_range(10..900));
                    if now >= *link.dial.get_or_insert(now + wait) {
                        self.made += 1;
                        *link = Link { connection: self.made, up: [true, true], ..Link::default() };
                        changes.extend([Change::Connected(way), Change::Connected(back)]);
                    }
                }
                up => {
                    let patience = Duration::from_millis(random.random_range(2_000..2_500));
                    let (since, patience) = *link.dark.get_or_insert((now, patience));
                    if now >= since + patience {
                        *link = Link::default();
                        let ends = [way, back].into_iter().zip(up).filter(|(_, up)| *up);
                        changes.extend(ends.map(|(way, _)| Change::Gone(way, false)));
                    }
                }
            }
        }
        changes
    }
}

fn other(way: Way, host: usize) -> usize {
    if way.0 == host { way.1 } else { way.0 }
}
