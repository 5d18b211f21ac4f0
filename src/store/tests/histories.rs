//! Long histories of several replicas: merging commutes, associates and is idempotent, and what it makes is valid.
//!
//! Users on 3 to 5 replicas make, patch, delete and make again objects of all kinds, each on what its replica shows;
//! records travel late and in any order; now and then all meet, and a leader brings names in order. What users write is
//! what the API would let through, so what merges make of it must be valid too.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::super::inflate::inflate;
use super::super::leaves::{self, Shape, diff, flatten};
use super::*;
use crate::object::{defaults, schema, validation, write};

/// Operations of one history.
const LENGTH: usize = 250;
/// Operations of all histories in the gate.
const GATE: usize = 10_000;

type Counts = BTreeMap<&'static str, u64>;

/// One replica, and how much of the others' disks it has.
struct Replica {
    rig: Rig,
    taken: Vec<usize>,
}

impl Replica {
    fn new(n: u8, of: usize) -> Self {
        let mut own = config(n, 1);
        own.list_keys = schema::list_map_keys;
        let (store, _) = Store::open(own, [], start());
        let rig = Rig { store, now: start(), n, disk: Vec::new(), flying: None };
        Self { rig, taken: vec![0; of] }
    }

    /// Starts again from the disk.
    fn reopened(&self) -> Rig {
        let mut own = config(self.rig.n, 7);
        own.list_keys = schema::list_map_keys;
        let (store, report) = Store::open(own, self.rig.disk.clone(), self.rig.now);
        assert_eq!(report.refused, []);
        Rig { store, now: self.rig.now, n: self.rig.n, disk: self.rig.disk.clone(), flying: None }
    }
}

struct History {
    random: StdRng,
    replicas: Vec<Replica>,
    counts: Counts,
    /// Histories as they were when all met, and who leads since.
    noted: (usize, Vec<Overgrown>),
}

impl History {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let of = random.random_range(3..=5);
        let replicas = (0..of).map(|i| Replica::new(u8::try_from(i + 1).unwrap(), of)).collect();
        let mut history = Self { random, replicas, counts: Counts::new(), noted: (0, Vec::new()) };
        for name in ["default", "kube-system", "shop"] {
            history.replicas[0].rig.create(namespace(name));
        }
        history.meet();
        history
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn run(&mut self, length: usize) {
        for _ in 0..length {
            let at = self.random.random_range(0..self.replicas.len());
            let pause = Duration::from_millis(self.random.random_range(0..3_000));
            self.replicas[at].rig.wait(pause);
            self.operate(at);
            match self.random.random_range(0..100) {
                0..25 => {
                    let to = self.random.random_range(0..self.replicas.len());
                    self.deliver(at, to);
                }
                25 => {
                    self.meet();
                    self.lead();
                    self.note();
                }
                26..31 => self.cut(),
                _ => {}
            }
        }
    }

    /// Notes how long histories are that everybody has.
    fn note(&mut self) {
        let leader = self.random.random_range(0..self.replicas.len());
        let objects = &self.replicas[leader].rig.store.objects;
        self.noted = (leader, objects.iter().filter_map(|(uid, object)| Overgrown::of(*uid, object)).collect());
    }

    /// Has the leader begin a history anew, whatever has been written since all met. The others hear of it later.
    fn cut(&mut self) {
        let (leader, noted) = &mut self.noted;
        if noted.is_empty() {
            return;
        }
        let at = noted.swap_remove(self.random.random_range(0..noted.len()));
        let rig = &mut self.replicas[*leader].rig;
        if rig.store.cut(rig.now, at) {
            rig.flush();
            self.count("histories cut");
        }
    }

    /// Gives `to` what it has not got of `from`'s disk, in any order, some of it twice.
    fn deliver(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let disk = &self.replicas[from].rig.disk;
        let mut fresh = disk[self.replicas[to].taken[from]..].to_vec();
        self.replicas[to].taken[from] = disk.len();
        fresh.shuffle(&mut self.random);
        for record in fresh {
            let again = self.random.random_range(0..10) == 0;
            let rig = &mut self.replicas[to].rig;
            match rig.merge(&record).unwrap() {
                Merged::New => self.count("records merged"),
                Merged::Known => {}
                Merged::Waiting { .. } => self.count("records that waited"),
            }
            if again {
                let rig = &mut self.replicas[to].rig;
                assert_ne!(rig.merge(&record).unwrap(), Merged::New, "merging is idempotent");
                self.count("records merged twice");
            }
        }
        self.replicas[to].rig.flush();
        for note in self.replicas[to].rig.store.take_notes() {
            self.count(note.reason);
        }
    }

    /// Lets everybody have everything.
    fn meet(&mut self) {
        let all = self.replicas.len();
        for _ in 0..2 {
            for (from, to) in (0..all).flat_map(|a| (0..all).map(move |b| (a, b))) {
                self.deliver(from, to);
            }
        }
        let longest = self.replicas.iter().map(|r| r.rig.now.mono).max().unwrap();
        for replica in &mut self.replicas {
            let behind = longest.since(replica.rig.now.mono);
            replica.rig.wait(behind);
            assert_eq!(replica.rig.store.waiting(), 0);
        }
    }

    /// Has one of them, as leader, bring names in order, and tell the others.
    fn lead(&mut self) {
        let leader = self.random.random_range(0..self.replicas.len());
        for _ in 0..10 {
            let rig = &mut self.replicas[leader].rig;
            if rig.store.in_disorder_since().is_none() {
                break;
            }
            let orders = rig.store.put_in_order(rig.now, Term(1));
            rig.flush();
            for note in orders.notes {
                self.count(note.reason);
            }
        }
        assert!(self.replicas[leader].rig.store.in_disorder_since().is_none(), "it comes to rest");
        for to in 0..self.replicas.len() {
            self.deliver(leader, to);
        }
    }

    fn operate(&mut self, at: usize) {
        let namespaces = [("shop", 9), ("extra", 2)];
        let namespace = if self.random.random_range(0..11) < namespaces[0].1 { "shop" } else { "extra" };
        let name = format!("o{}", self.random.random_range(0..3));
        let kind = *[&kinds::DEPLOYMENT, &kinds::SERVICE, &kinds::CONFIG_MAP, &kinds::SECRET, &kinds::POD]
            .get(self.random.random_range(0..5))
            .unwrap();
        let key = Key::new(kind, namespace, name);
        match self.random.random_range(0..100) {
            0..3 => self.end_or_make_namespace(at),
            3..8 => self.delete(at, &key),
            8..14 => self.say_status(at, &key),
            14..20 => self.finalize(at, &key),
            _ => match self.replicas[at].rig.get(&key) {
                None => self.create(at, &key),
                Some(object) => self.patch(at, &key, object),
            },
        }
    }

    fn done(&mut self, at: usize, what: &'static str, author: Author, change: Change) {
        if self.replicas[at].rig.done_as(author, change).is_ok() {
            self.count(what);
        }
    }

    fn end_or_make_namespace(&mut self, at: usize) {
        let key = Key::cluster(&kinds::NAMESPACE, "extra");
        let rig = &self.replicas[at].rig;
        match rig.get(&key) {
            None => self.done(at, "namespaces made", Author::Client, create(namespace("extra"))),
            // Its leader sees it empty, others may not.
            Some(_) if rig.store.snapshot().all().all(|e| e.key.namespace != "extra") => {
                self.done(at, "namespaces ended", Author::Leader, remove(&key));
            }
            Some(_) => {}
        }
    }

    fn create(&mut self, at: usize, key: &Key) {
        let object = write::create_value(key.kind, &key.namespace, fresh(key, &mut self.random)).unwrap().object;
        let made_before = self.replicas[at].rig.store.graves.values().any(|grave| grave.birth.key == *key);
        self.done(at, if made_before { "made again" } else { "made" }, Author::Client, create(object));
    }

    fn delete(&mut self, at: usize, key: &Key) {
        self.done(at, "deleted", Author::Client, delete(key));
    }

    fn finalize(&mut self, at: usize, key: &Key) {
        let Some(mut object) = self.replicas[at].rig.get(key) else { return };
        let name = format!("x/{}", self.random.random_range(0..2));
        let mut names: Vec<String> = object["metadata"]["finalizers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|f| f.as_str().map(str::to_owned))
            .collect();
        let before = names.len();
        names.retain(|n| *n != name);
        if names.len() == before && object["metadata"]["deletionTimestamp"].is_null() {
            names.push(name);
        }
        object["metadata"]["finalizers"] = json!(names);
        self.done(at, "finalizers changed", Author::Client, update(object));
    }

    fn say_status(&mut self, at: usize, key: &Key) {
        let (author, value) = match key.kind {
            k if *k == kinds::DEPLOYMENT => (Author::Leader, json!({"replicas": self.random.random_range(0..9)})),
            k if *k == kinds::POD => (
                Author::Kubelet,
                json!({"phase": "Running", "podIP": format!("10.1.0.{}", self.random.random_range(1..9))}),
            ),
            _ => return,
        };
        self.done(at, "statuses", author, status(key, value));
    }

    /// Edits an object as a user may: what validation refuses is not written.
    fn patch(&mut self, at: usize, key: &Key, old: Value) {
        let mut new = old.clone();
        edit(key.kind, &mut new, &mut self.random);
        defaults::carry_over(key.kind, &mut new, &old);
        defaults::apply(key.kind, &mut new);
        if !validation::on_update(key.kind, &new, &old).is_empty() {
            return self.count("refused");
        }
        let shape = Shape { kind: key.kind, list_keys: schema::list_map_keys };
        let (a, b) = (flatten(shape, &old), flatten(shape, &new));
        let mut applied = a.clone();
        leaves::apply(&mut applied, diff(&a, &b));
        assert_eq!(inflate(shape, &applied), new, "apply(diff(a, b), a) = b");
        self.done(at, "patched", Author::Client, update(new));
    }

    /// All are equal, valid, and as if read from any disk at once.
    fn check(&mut self, seed: u64) {
        for _ in 0..3 {
            self.meet();
            self.lead();
        }
        self.meet();
        let held = |rig: &Rig| rig.store.record_ids().into_iter().collect::<std::collections::BTreeSet<_>>();
        let (shown, ids) = (self.replicas[0].rig.visible(), held(&self.replicas[0].rig));
        let late = |object: &super::super::parts::Object| object.changes.iter().any(|kept| kept.image.is_some());
        if self.replicas[0].rig.store.objects.values().any(late) {
            self.count("histories with late changes");
        }
        for replica in &self.replicas {
            let rig = &replica.rig;
            assert_same(&rig.visible(), &shown, seed, "another replica");
            assert_eq!(held(rig), ids, "seed {seed}: replica {}", rig.n);
            assert_same(&replica.reopened().visible(), &shown, seed, "started again");
        }
        // One that takes everything at once, in another order: merging commutes and associates.
        let mut last = Replica::new(9, 0);
        let mut records: Vec<Vec<u8>> = self.replicas[1].rig.store.records().skip(1).collect();
        records.shuffle(&mut self.random);
        for record in records {
            last.rig.merge(&record).unwrap();
        }
        last.rig.flush();
        assert_eq!(last.rig.store.waiting(), 0);
        assert_same(&last.rig.visible(), &shown, seed, "another order");
        for entry in self.replicas[0].rig.store.snapshot().all() {
            let causes = validation::on_create(entry.key.kind, &entry.value());
            assert!(causes.is_empty(), "seed {seed}: {}: {causes:?}\n{:#}", entry.key, entry.value());
        }
        for key in self.replicas[0].rig.store.names.keys() {
            assert_eq!(self.replicas[0].rig.store.names[key].keys().count(), 1, "seed {seed}: {key} has one object");
        }
    }
}

fn assert_same(found: &[Value], wanted: &[Value], seed: u64, what: &str) {
    let differs = found.iter().zip(wanted).find(|(found, wanted)| found != wanted);
    if let Some((found, wanted)) = differs {
        panic!("seed {seed}, {what}:\n{found:#}\nand not\n{wanted:#}");
    }
    assert_eq!(found.len(), wanted.len(), "seed {seed}, {what}");
}

fn fresh(key: &Key, random: &mut StdRng) -> Value {
    let n = random.random_range(0..4);
    let mut object = match key.kind {
        k if *k == kinds::DEPLOYMENT => json!({"spec": {"replicas": n, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c0", "image": "a"}]}}}}),
        k if *k == kinds::SERVICE => {
            json!({"spec": {"clusterIP": format!("10.96.9.{}", n + 1), "ports": [{"name": "p0", "port": 80}]}})
        }
        k if *k == kinds::POD => json!({"spec": {"containers": [{"name": "c0", "image": "a"}]}}),
        k if *k == kinds::SECRET => json!({"type": "Opaque", "data": {"k0": "YQ=="}}),
        _ => json!({"data": {"k0": n.to_string()}}),
    };
    object["apiVersion"] = key.kind.api_version().into();
    object["kind"] = key.kind.kind.into();
    object["metadata"] = json!({"name": key.name, "namespace": key.namespace});
    object
}

/// Changes something, of lists above all.
fn edit(kind: &Kind, object: &mut Value, random: &mut StdRng) {
    let (n, m) = (random.random_range(0..4_u16), random.random_range(0..4_u16));
    if random.random_range(0..6) == 0 {
        object["metadata"]["labels"][format!("l{n}")] = m.to_string().into();
        return;
    }
    match kind {
        k if *k == kinds::DEPLOYMENT => edit_deployment(object, n, m, random),
        k if *k == kinds::SERVICE => edit_service(&mut object["spec"], n, m, random),
        k if *k == kinds::POD => object["spec"]["containers"][0]["image"] = format!("i{m}").into(),
        k if *k == kinds::SECRET => {
            edit_map(&mut object["data"], n, json!(["YQ==", "Yg==", "Yw==", "ZA=="][usize::from(m)]), random);
        }
        _ => edit_map(&mut object["data"], n, json!(m.to_string()), random),
    }
}

fn edit_map(map: &mut Value, n: u16, value: Value, random: &mut StdRng) {
    let key = format!("k{n}");
    match map.as_object_mut() {
        Some(map) if random.random_range(0..3) == 0 => drop(map.remove(&key)),
        _ => map[key] = value,
    }
}

/// Puts in, changes or takes out the element whose `by` is `id`.
fn edit_list(list: &mut Value, by: &str, element: Value, random: &mut StdRng) {
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(items) = list.as_array_mut() else { return };
    match items.iter().position(|item| item[by] == element[by]) {
        Some(at) if random.random_range(0..3) == 0 => drop(items.remove(at)),
        Some(at) => items[at] = element,
        None => items.insert(random.random_range(0..=items.len()), element),
    }
}

fn edit_deployment(object: &mut Value, n: u16, m: u16, random: &mut StdRng) {
    let pick = random.random_range(0..9);
    let spec = &mut object["spec"];
    let pod = &mut spec["template"]["spec"];
    match pick {
        0 => spec["replicas"] = m.into(),
        1 => spec["strategy"] = json!({"type": "Recreate"}),
        2 => {
            spec["strategy"] =
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": m + 1, "maxUnavailable": 0}});
        }
        3 => {
            let source =
                [json!({"emptyDir": {}}), json!({"hostPath": {"path": "/x"}}), json!({"configMap": {"name": "c"}})];
            let mut volume = source[usize::from(m % 3)].clone();
            volume["name"] = format!("v{}", n % 2).into();
            edit_list(&mut pod["volumes"], "name", volume, random);
        }
        4 => edit_list(
            &mut pod["containers"],
            "name",
            json!({"name": format!("c{n}"), "image": format!("i{m}")}),
            random,
        ),
        5 => {
            let variable = json!({"name": format!("E{n}"), "value": m.to_string()});
            edit_list(&mut pod["containers"][0]["env"], "name", variable, random);
        }
        // Another side may keep another one.
        8 => {
            let containers = pod["containers"].as_array_mut().unwrap();
            let kept = containers.swap_remove(random.random_range(0..containers.len()));
            *containers = vec![kept];
        }
        6 => pod["containers"][0]["image"] = format!("i{m}").into(),
        _ => edit_list(
            &mut pod["containers"][0]["volumeMounts"],
            "mountPath",
            json!({"name": format!("v{}", n % 2), "mountPath": format!("/m{m}")}),
            random,
        ),
    }
}

fn edit_service(spec: &mut Value, n: u16, m: u16, random: &mut StdRng) {
    match random.random_range(0..4) {
        0 => spec["type"] = ["ClusterIP", "NodePort", "ClusterIP", "LoadBalancer"][usize::from(m)].into(),
        1 => spec["selector"] = json!({"app": m.to_string()}),
        _ => {
            let protocol = if m.is_multiple_of(2) { "TCP" } else { "UDP" };
            let port = json!({"name": format!("p{n}-{}", m % 2), "port": 53 + n, "protocol": protocol});
            edit_list(&mut spec["ports"], "name", port, random);
        }
    }
}

fn histories(seeds: std::ops::Range<u64>) -> Counts {
    let mut counts = Counts::new();
    for seed in seeds {
        let mut history = History::new(seed);
        history.run(LENGTH);
        history.check(seed);
        for (what, n) in history.counts {
            *counts.entry(what).or_default() += n;
        }
    }
    let written = ["made", "made again", "patched", "deleted", "statuses", "finalizers changed"];
    println!("{counts:?}; {} writes", written.iter().filter_map(|what| counts.get(what)).sum::<u64>());
    counts
}

fn assert_all_happened(counts: &Counts) {
    let expected = [
        "made",
        "made again",
        "patched",
        "refused",
        "deleted",
        "statuses",
        "finalizers changed",
        "namespaces made",
        "namespaces ended",
        "records merged",
        "records merged twice",
        "records that waited",
        "MergeConflict",
        "MergeRepaired",
        "Displaced",
        "AllocationMoved",
        "histories cut",
        "histories with late changes",
    ];
    for what in expected {
        assert!(counts.get(what).is_some_and(|n| *n > 0), "nothing of this kind ever happened: {what}");
    }
}

#[test]
fn merging_commutes_associates_is_idempotent_and_makes_what_is_valid() {
    let counts = histories(0..(GATE / LENGTH) as u64);
    assert_all_happened(&counts);
}

#[test]
#[ignore = "long: 100,000 operations"]
fn long_histories_merge_alike() {
    assert_all_happened(&histories(1_000..1_400));
}

#[test]
fn replay() {
    let Some(seed) = std::env::var("SKEIN_HISTORY").ok().and_then(|s| s.parse().ok()) else { return };
    histories(seed..seed + 1);
}
