//! Leader elections by Leases, as client-go does them, on different nodes of a stormy cluster: there are never two
//! holders at once. Besides: what a user of Leases sees on either side of a cut, and how documents become registers.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use skein::election::Registers;
use skein::features::Feature;
use skein::ids::RequestId;
use skein::node::leases::record::{Record, uid_of, version_of};
use skein::node::message::LeaseWrite;
use skein::node::{Input, Node, Request};
use skein::object::{Key, kinds, write};
use skein::store::{Change, Committed, DeleteOptions, Precondition, Rejected};
use skein::time::Wall;

use crate::world::{OURS, Plan, World};

/// client-go's defaults.
const LEASE: Duration = Duration::from_secs(15);
const DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);
/// How often it is looked what the candidates do.
const LOOK: Duration = Duration::from_millis(100);
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many seeds the gate runs.
const SEEDS: u64 = 24;

fn key(name: &str) -> Key {
    Key::new(&kinds::LEASE, "default", name)
}

/// Makes what is asked of a leader fit what its disk says, whatever the member had shown.
pub fn agree(asked: &mut LeaseWrite, disk: &Registers) {
    let there = [format!("~{}", asked.register), asked.register.clone()];
    let Some(is) = there.iter().find_map(|name| version_of(&disk.get(name)?.value)) else { return };
    let Some((record, object)) = asked.record.as_deref().and_then(Record::read) else { return };
    if uid_of(&object) == Some(is.uid) {
        asked.expected = Some(is);
        asked.record = Some(Record { version: is.number + 1, ..record }.to_bytes());
    }
}

/// One candidate, as client-go's `leaderelection` has it.
struct Candidate {
    name: String,
    host: usize,
    /// The spec it saw last, and when it first saw it.
    observed: Option<(Value, Duration)>,
    /// Until when it is sure to hold the Lease.
    sure: Duration,
    /// The object as its last write was answered, on that host.
    own: Option<(usize, Committed)>,
    /// What it waits for: the request, when it was sent, and whether it is a release.
    asked: Option<(RequestId, Duration, bool)>,
    next: Duration,
}

/// Candidates on a stormy cluster.
struct Contest {
    world: World,
    random: StdRng,
    candidates: Vec<Candidate>,
    asks: u64,
    holder: Option<usize>,
    counts: BTreeMap<&'static str, u64>,
}

impl Contest {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed, Plan::default());
        // Nobody but the candidates.
        world.idle = true;
        let candidate = |n: usize| Candidate {
            name: format!("candidate-{n}"),
            host: n % world.hosts.len(),
            observed: None,
            sure: Duration::ZERO,
            own: None,
            asked: None,
            next: RETRY,
        };
        Self {
            candidates: (0..5).map(candidate).collect(),
            world,
            random: StdRng::seed_from_u64(seed),
            asks: OURS,
            holder: None,
            counts: BTreeMap::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Lets time pass.
    fn run(&mut self, time: Duration) -> Result<(), String> {
        let end = self.world.now + time;
        while self.world.now < end {
            self.world.run_until(self.world.now + LOOK)?;
            for (host, id, result) in std::mem::take(&mut self.world.heard) {
                self.hear(host, id, result)?;
            }
            for n in 0..self.candidates.len() {
                self.act(n)?;
            }
        }
        Ok(())
    }

    fn act(&mut self, n: usize) -> Result<(), String> {
        let now = self.world.now;
        let candidate = &mut self.candidates[n];
        if candidate.asked.is_some_and(|(_, sent, _)| now >= sent + PATIENCE) {
            candidate.asked = None;
        }
        if candidate.asked.is_some() || now < candidate.next {
            return Ok(());
        }
        // All look at the same moments, so that they are often in each other's way.
        let round = u32::try_from(now.as_millis() / RETRY.as_millis()).expect("short") + 1;
        candidate.next = RETRY * round + LOOK * self.random.random_range(0..2);
        if self.world.hosts[candidate.host].node.is_none() || self.random.random_bool(0.03) {
            // Its connection is gone: another node answers as well.
            candidate.host = self.random.random_range(0..self.world.hosts.len());
        }
        // Below that level Leases are documents, which promise nothing.
        let level = self.world.hosts[candidate.host].node.as_ref().map_or(0, Node::level);
        if level < Feature::Leases.level() && !self.counts.contains_key("acquisitions") {
            return Ok(());
        }
        let Some((change, releases)) = self.wish(n) else { return Ok(()) };
        self.asks += 1;
        let id = RequestId(self.asks);
        let candidate = &mut self.candidates[n];
        candidate.asked = Some((id, now, releases));
        if releases {
            candidate.sure = Duration::ZERO;
        }
        let host = candidate.host;
        self.world.give(host, Input::Request { id, request: Request { change, dry_run: false, user: None } })?;
        for (host, id, result) in std::mem::take(&mut self.world.heard) {
            self.hear(host, id, result)?;
        }
        Ok(())
    }

    /// What client-go would write now; and whether it lets go.
    fn wish(&mut self, n: usize) -> Option<(Change, bool)> {
        let now = self.world.now;
        let candidate = &mut self.candidates[n];
        let time = Wall(1_800_000_000_000_000 + i64::try_from(now.as_micros()).expect("short")).micro_time();
        let time = json!(time);
        let spec = |transitions: u64, acquired: &Value| {
            json!({"holderIdentity": candidate.name, "leaseDurationSeconds": LEASE.as_secs(), "renewTime": time,
                "acquireTime": acquired, "leaseTransitions": transitions})
        };
        let holds = now < candidate.sure;
        let own = candidate.own.as_ref().filter(|(host, _)| holds && *host == candidate.host);
        if let Some((_, committed)) = own {
            // The fast path: renewed without a look.
            let mut object = committed.entry.value();
            let releases = self.random.random_bool(0.08);
            if releases {
                object["spec"]["holderIdentity"] = "".into();
                object["spec"]["leaseDurationSeconds"] = 1.into();
            } else {
                object["spec"]["renewTime"] = time;
            }
            let when = Precondition::unchanged(&committed.entry);
            return Some((Change::Update { key: key("contest"), object, when }, releases));
        }
        let Some(entry) = self.world.hosts[candidate.host].view.get(&key("contest")).cloned() else {
            let object = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": "contest", "namespace": "default"}, "spec": spec(0, &time)});
            let written = write::create_value(&kinds::LEASE, "default", object).expect("it is valid");
            return Some((Change::Create { key: key("contest"), object: written.object }, false));
        };
        let mut object = entry.value();
        let is = object["spec"].clone();
        if candidate.observed.as_ref().is_none_or(|(seen, _)| *seen != is) {
            candidate.observed = Some((is.clone(), now));
        }
        let seen = candidate.observed.as_ref().map_or(now, |(_, at)| *at);
        let other = is["holderIdentity"].as_str().filter(|holder| !holder.is_empty() && *holder != candidate.name);
        let lasts = Duration::from_secs(is["leaseDurationSeconds"].as_u64().unwrap_or(0));
        if other.is_some() && now < seen + lasts {
            return None;
        }
        let transitions = is["leaseTransitions"].as_u64().unwrap_or(0) + u64::from(other.is_some());
        object["spec"] = spec(transitions, if other.is_some() { &Value::Null } else { &is["acquireTime"] });
        if object["spec"]["acquireTime"].is_null() {
            object["spec"]["acquireTime"] = time;
        }
        Some((Change::Update { key: key("contest"), object, when: Precondition::unchanged(&entry) }, false))
    }

    fn hear(&mut self, host: usize, id: RequestId, result: Result<Committed, Rejected>) -> Result<(), String> {
        let now = self.world.now;
        let Some(n) = self.candidates.iter().position(|c| c.asked.is_some_and(|(asked, ..)| asked == id)) else {
            return Ok(());
        };
        let (_, sent, releases) = self.candidates[n].asked.take().expect("it was found by it");
        match result {
            Ok(_) if releases => self.count("releases"),
            Ok(committed) => self.holds(n, host, sent, committed)?,
            Err(Rejected::Stale { .. } | Rejected::AlreadyExists { .. }) => self.count("conflicts"),
            Err(Rejected::NoLeader { .. }) => self.count("no leader"),
            Err(Rejected::Unknown { .. }) => self.count("unknown outcomes"),
            Err(Rejected::NoNamespace { .. } | Rejected::Unavailable { .. }) => self.count("not ready"),
            Err(other) => return Err(format!("a write of a Lease is refused: {other}")),
        }
        if self.candidates[n].sure <= now {
            self.candidates[n].own = None;
        }
        Ok(())
    }

    /// A candidate is told that it holds the Lease: nobody else may be sure of it.
    fn holds(&mut self, n: usize, host: usize, sent: Duration, committed: Committed) -> Result<(), String> {
        let now = self.world.now;
        let candidate = &mut self.candidates[n];
        let spec = committed.entry.value()["spec"].clone();
        if spec["holderIdentity"] != candidate.name.as_str() {
            return Err(format!("the answer to {} shows another's write: {spec}", candidate.name));
        }
        candidate.observed = Some((spec, now));
        candidate.own = Some((host, committed));
        candidate.sure = candidate.sure.max(sent + DEADLINE);
        if candidate.sure <= now {
            return Ok(());
        }
        let other = self.candidates.iter().enumerate().find(|(m, other)| *m != n && now < other.sure);
        if let Some((_, other)) = other {
            let name = &self.candidates[n].name;
            return Err(format!("two holders at {now:?}: {name}, and {} until {:?}", other.name, other.sure));
        }
        match self.holder.replace(n) {
            Some(before) if before == n => self.count("renewals"),
            _ => self.count("acquisitions"),
        }
        Ok(())
    }
}

/// One run: a storm, and then some calm, in which somebody must come to hold the Lease and go on holding it.
fn contest(seed: u64, agreeable: bool) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut contest = Contest::new(seed);
    contest.world.agreeable = agreeable;
    contest.run(Duration::from_secs(60))?;
    contest.world.calm_down()?;
    contest.run(Duration::from_secs(45))?;
    // Whoever lets go is followed by another.
    let writes = |contest: &Contest| {
        ["acquisitions", "renewals"].iter().filter_map(|what| contest.counts.get(what)).sum::<u64>()
    };
    let before = writes(&contest);
    contest.run(Duration::from_secs(20))?;
    if writes(&contest) < before + 5 {
        return Err(format!("nobody holds the Lease in the calm: {:?}", contest.counts));
    }
    Ok(contest.counts)
}

fn contests(seeds: std::ops::Range<u64>) {
    let mut total = BTreeMap::<&str, u64>::new();
    for seed in seeds {
        let counts = contest(seed, false).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        for (what, n) in counts {
            *total.entry(what).or_default() += n;
        }
    }
    println!("{total:?}");
    for what in ["acquisitions", "renewals", "releases", "conflicts", "no leader", "unknown outcomes"] {
        assert!(total.get(what).is_some_and(|n| *n > 0), "nothing of this kind ever happened: {what}");
    }
}

#[test]
fn there_are_never_two_holders_of_a_lease() {
    contests(0..SEEDS);
}

#[test]
#[ignore = "long: a thousand seeds"]
fn long_there_are_never_two_holders_of_a_lease_in_a_thousand_storms() {
    contests(0..1_000);
}

#[test]
fn a_leader_that_compares_nothing_is_caught() {
    let caught = (0..40).find_map(|seed| contest(seed, true).err().filter(|broken| broken.starts_with("two holders")));
    println!("{}", caught.expect("some seed shows it"));
}

// -- one thing at a time --------------------------------------------------------------------------------------

/// A world without faults and users, of three hosts, all up.
struct Calm {
    world: World,
    asks: u64,
}

impl Calm {
    fn new(level: u32) -> Self {
        let mut world = World::of(1, Plan::default(), 3);
        world.storm = false;
        world.hosts.iter_mut().for_each(|host| host.level = level);
        let mut calm = Self { world, asks: OURS };
        calm.pass(20);
        calm
    }

    fn pass(&mut self, seconds: u64) {
        self.world.run_until(self.world.now + Duration::from_secs(seconds)).expect("keeps its promises");
    }

    /// Asks a host, and waits for its answer.
    fn ask(&mut self, host: usize, change: Change) -> Result<Committed, Rejected> {
        self.asks += 1;
        let id = RequestId(self.asks);
        let request = Request { change, dry_run: false, user: None };
        self.world.give(host, Input::Request { id, request }).expect("keeps its promises");
        for _ in 0..100 {
            if let Some(at) = self.world.heard.iter().position(|(_, heard, _)| *heard == id) {
                return self.world.heard.remove(at).2;
            }
            self.world.run_until(self.world.now + LOOK).expect("keeps its promises");
        }
        panic!("no answer in ten seconds");
    }

    fn create(&mut self, host: usize, name: &str, more: &Value) -> Result<Committed, Rejected> {
        let mut object = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": name, "namespace": "default"}, "spec": {"holderIdentity": "a"}});
        for (field, value) in more.as_object().into_iter().flatten() {
            object["metadata"][field] = value.clone();
        }
        let written = write::create_value(&kinds::LEASE, "default", object).expect("it is valid");
        self.ask(host, Change::Create { key: key(name), object: written.object })
    }

    fn shown(&self, host: usize, name: &str) -> Option<Value> {
        Some(self.world.hosts[host].view.get(&key(name))?.value())
    }

    fn hold(&mut self, host: usize, name: &str, holder: &str) -> Result<Committed, Rejected> {
        let entry = self.world.hosts[host].view.get(&key(name)).expect("it is there").clone();
        let mut object = entry.value();
        object["spec"]["holderIdentity"] = holder.into();
        self.ask(host, Change::Update { key: key(name), object, when: Precondition::unchanged(&entry) })
    }

    fn delete(&mut self, host: usize, name: &str) -> Result<Committed, Rejected> {
        self.ask(host, Change::Delete { key: key(name), options: DeleteOptions::default() })
    }

    fn leader(&self) -> usize {
        let leads = |host: &crate::host::Host| host.node.as_ref().and_then(Node::leads).is_some();
        self.world.hosts.iter().position(leads).expect("somebody leads")
    }
}

fn meta(object: &Value, field: &str) -> Value {
    object["metadata"][field].clone()
}

#[test]
fn a_lease_is_written_and_read_at_any_node_and_stays_itself() {
    let mut calm = Calm::new(skein::features::LEVEL);
    let made = calm.create(1, "a", &json!({"labels": {"app": "x"}, "annotations": {"y": "z"}})).expect("it is made");
    assert!(calm.shown(1, "a").is_some(), "what is answered is shown");
    calm.pass(1);
    let entries: Vec<Value> = (0..3).map(|host| calm.shown(host, "a").expect("it is everywhere")).collect();
    for host in 0..3 {
        calm.hold(host, "a", &format!("h{host}")).expect("it is renewed");
        calm.pass(1);
    }
    for (host, before) in entries.iter().enumerate() {
        let now = calm.shown(host, "a").expect("it is there");
        assert_eq!(now["spec"]["holderIdentity"], "h2");
        for field in ["uid", "creationTimestamp", "labels", "annotations"] {
            assert_eq!(meta(&now, field), meta(before, field), "{field}");
        }
        let number = |object: &Value| meta(object, "resourceVersion").as_str().and_then(|t| t.parse::<u64>().ok());
        assert!(number(&now) > number(before), "versions grow");
    }
    assert_eq!(made.entry.value()["metadata"]["uid"], meta(&entries[0], "uid"));
    assert!(matches!(calm.create(2, "a", &json!({})), Err(Rejected::AlreadyExists { .. })));
    assert!(calm.delete(0, "a").expect("it goes").removed);
    calm.pass(1);
    assert!((0..3).all(|host| calm.shown(host, "a").is_none()));
    assert!(matches!(calm.delete(1, "a"), Err(Rejected::NotFound { .. })));
    let again = calm.create(2, "a", &json!({})).expect("the name is free");
    assert_ne!(again.entry.uid, made.entry.uid);
}

#[test]
fn of_two_writes_on_the_same_state_one_is_refused() {
    let mut calm = Calm::new(skein::features::LEVEL);
    calm.create(0, "a", &json!({})).expect("it is made");
    calm.pass(1);
    let stale = calm.world.hosts[2].view.get(&key("a")).expect("it is there").clone();
    calm.hold(0, "a", "first").expect("it is written");
    calm.pass(1);
    let change = Change::Update { key: key("a"), object: stale.value(), when: Precondition::unchanged(&stale) };
    assert!(matches!(calm.ask(2, change), Err(Rejected::Stale { .. })));
    // Both at once, so that neither node can know of the other's.
    let all: Vec<_> =
        (0..3).map(|host| calm.world.hosts[host].view.get(&key("a")).expect("it is there").clone()).collect();
    for (host, entry) in all.into_iter().enumerate() {
        let mut object = entry.value();
        object["spec"]["holderIdentity"] = format!("at-once-{host}").into();
        let change = Change::Update { key: key("a"), object, when: Precondition::unchanged(&entry) };
        let request = Request { change, dry_run: false, user: None };
        calm.world.give(host, Input::Request { id: RequestId(2 * OURS + host as u64), request }).expect("it goes on");
    }
    calm.pass(3);
    let heard = std::mem::take(&mut calm.world.heard);
    let made: Vec<_> = heard.iter().filter(|(_, _, result)| result.is_ok()).collect();
    assert_eq!((heard.len(), made.len()), (3, 1));
    let refused = heard.iter().filter(|(_, _, result)| matches!(result, Err(Rejected::Stale { .. })));
    assert_eq!(refused.count(), 2);
}

#[test]
fn a_side_without_a_majority_says_so_and_the_other_goes_on_through_the_leaders_death() {
    let mut calm = Calm::new(skein::features::LEVEL);
    calm.create(0, "a", &json!({})).expect("it is made");
    calm.pass(1);
    let former = calm.leader();
    calm.world.crash(former).expect("keeps its promises");
    calm.world.keep_down(former);
    calm.pass(5);
    let (next, third) = (calm.leader(), 3 - former - calm.leader());
    calm.hold(third, "a", "through-another").expect("two of three are a majority");
    calm.world.isolate(third);
    calm.pass(5);
    let alone = calm.hold(third, "a", "alone");
    assert!(matches!(alone, Err(Rejected::NoLeader { .. })), "{alone:?}");
    let alone = calm.hold(next, "a", "alone-too");
    assert!(matches!(alone, Err(Rejected::NoLeader { .. })), "one of three is none: {alone:?}");
    assert_eq!(calm.shown(third, "a").expect("it is read")["spec"]["holderIdentity"], "through-another");
    calm.world.heal();
    calm.pass(5);
    calm.hold(third, "a", "healed").expect("it is written");
    calm.world.bring_back(former).expect("keeps its promises");
    calm.pass(10);
    assert!((0..3).all(|host| calm.shown(host, "a").expect("it is there")["spec"]["holderIdentity"] == "healed"));
}

#[test]
fn finalizers_owners_and_namespaces_hold_for_leases_too() {
    let mut calm = Calm::new(skein::features::LEVEL);
    calm.create(0, "held", &json!({"finalizers": ["x.dev/held"]})).expect("it is made");
    let marked = calm.delete(0, "held").expect("it is marked");
    assert!(!marked.removed && marked.entry.terminating);
    let mut object = marked.entry.value();
    object["metadata"]["finalizers"] = json!([]);
    let change = Change::Update { key: key("held"), object, when: Precondition::unchanged(&marked.entry) };
    assert!(calm.ask(0, change).expect("the last finalizer goes").removed);
    // What belongs to something goes with it.
    let owner = Key::new(&kinds::CONFIG_MAP, "default", "owner");
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}});
    let written = write::create_value(&kinds::CONFIG_MAP, "default", object).expect("it is valid");
    let made = calm.ask(1, Change::Create { key: owner.clone(), object: written.object }).expect("it is made");
    let reference = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": made.entry.uid}]);
    calm.create(1, "owned", &json!({"ownerReferences": reference})).expect("it is made");
    calm.ask(1, Change::Delete { key: owner, options: DeleteOptions::default() }).expect("it goes");
    calm.pass(10);
    assert!((0..3).all(|host| calm.shown(host, "owned").is_none()));
    // And with its namespace.
    let shop = Key::cluster(&kinds::NAMESPACE, "shop");
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let written = write::create_value(&kinds::NAMESPACE, "", object).expect("it is valid");
    calm.ask(2, Change::Create { key: shop.clone(), object: written.object }).expect("it is made");
    let inside = Key::new(&kinds::LEASE, "shop", "inside");
    let object = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "inside"}});
    let written = write::create_value(&kinds::LEASE, "shop", object).expect("it is valid");
    calm.ask(2, Change::Create { key: inside.clone(), object: written.object }).expect("it is made");
    calm.ask(2, Change::Delete { key: shop.clone(), options: DeleteOptions::default() }).expect("it is marked");
    calm.pass(10);
    for host in &calm.world.hosts {
        assert!(host.view.get(&inside).is_none() && host.view.get(&shop).is_none());
    }
}

#[test]
fn what_is_too_large_is_refused_and_there_is_always_room_for_members() {
    let mut calm = Calm::new(skein::features::LEVEL);
    let large = json!({"annotations": {"x": "y".repeat(17_000)}});
    assert!(matches!(calm.create(0, "large", &large), Err(Rejected::Invalid { .. })));
    let outcomes =
        (0..40).map(|n| calm.create(n % 3, &format!("l{n}"), &json!({"annotations": {"x": "y".repeat(15_000)}})));
    let outcomes: Vec<_> = outcomes.collect();
    let made = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
    assert!((30..36).contains(&made), "{made} of 15 kB each fit into half a mebibyte");
    assert!(outcomes[made..].iter().all(|outcome| matches!(outcome, Err(Rejected::NoRoom { .. }))));
    calm.hold(1, "l0", "b").expect("what is there can be renewed");
    calm.delete(1, "l1").expect("it goes");
    calm.create(2, "l1", &json!({"annotations": {"x": "y".repeat(15_000)}})).expect("there is room again");
}

#[test]
fn documents_become_registers_and_stay_what_they_were() {
    let mut calm = Calm::new(3);
    calm.create(0, "old", &json!({"labels": {"app": "x"}})).expect("it is made");
    calm.create(1, "gone", &json!({})).expect("it is made");
    calm.delete(1, "gone").expect("it goes at once");
    calm.pass(2);
    let before = calm.shown(2, "old").expect("it is everywhere");
    for host in 0..3 {
        calm.world.crash(host).expect("keeps its promises");
        calm.world.hosts[host].level = skein::features::LEVEL;
        calm.pass(20);
    }
    calm.pass(30);
    for host in 0..3 {
        let disk = &calm.world.hosts[host].disk.registers;
        assert!(disk.keys().any(|name| name.ends_with("lease/default/old")), "it is a register on n{}", host + 1);
        let now = calm.shown(host, "old").expect("it is there");
        for field in ["uid", "creationTimestamp", "labels", "name"] {
            assert_eq!(meta(&now, field), meta(&before, field), "{field}");
        }
        assert_eq!(now["spec"], before["spec"]);
        assert!(calm.shown(host, "gone").is_none());
    }
    calm.hold(2, "old", "b").expect("it is written");
    assert!(calm.delete(0, "old").expect("it goes").removed);
    calm.pass(10);
    assert!((0..3).all(|host| calm.shown(host, "old").is_none()), "nothing of the document is left");
}
