//! Writes the corpus of this build's level.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::agent::genesis::{self, Genesis};
use crate::agent::{backup, settings};
use crate::config::Settings;
use crate::disk::identity::{JOINING, REGISTERS, VOTE};
use crate::disk::{FolderFiles, Log, Registry, sealed};
use crate::election::{self, Ballot, Register, Registers, Stamp, Voters, VotersId};
use crate::features;
use crate::gossip::{self, Gossip, Holdings, Origin};
use crate::ids::{NodeId, Term, Uid};
use crate::node::leases::record as lease_record;
use crate::node::message::{Ask, Beat, Held as HeldSlots, LeaseWrite, Leased, Message, Refusal, Said, encode};
use crate::object::hold::Slot;
use crate::object::{Key, kinds};
use crate::store::record::{Draft, Record, Scribe};
use crate::store::{
    Author, Change, DeleteOptions, Horizon, Index, Overgrown, PARTS, Precondition, Range, RecordId, Standing, Store,
    Sum, Verified,
};
use crate::time::{Mono, Wall};
use crate::trust::{Admission, Declined, JoinRequest, Token, TokenId};
use crate::{membership, trust};

use super::{WALL, now};

/// Writes all of it, over what may be there.
pub fn corpus() {
    let to = super::corpus(features::LEVEL);
    let _ = fs::remove_dir_all(&to);
    for folder in ["data/log", "frames", "records"] {
        fs::create_dir_all(to.join(folder)).unwrap();
    }
    let genesis = data_folder(&to.join("data"));
    let records = state(&genesis, &to);
    write_log(&to, &records);
    write_records(&to.join("records"), &genesis, &records);
    write_frames(&to.join("frames"), &genesis);
    fs::write(to.join("token"), token(&genesis).text(&genesis.key)).unwrap();
    backup::create(&to.join("data"), &to.join("backup")).unwrap();
}

fn token(genesis: &Genesis) -> Token {
    Token {
        cluster: genesis.cluster,
        issuer: genesis.node_id(),
        id: TokenId([7; 16]),
        expires: Wall(4_000_000_000_000_000),
        addresses: vec!["192.0.2.1:7443".parse().unwrap(), "192.0.2.2:7443".parse().unwrap()],
    }
}

fn data_folder(folder: &Path) -> Genesis {
    let mut files = FolderFiles::open(folder.to_owned()).unwrap();
    let config = Settings { node_name: Some("n1".into()), ..Settings::default() }.complete("host").unwrap();
    let mut genesis = genesis::load(&mut files, &config, WALL).unwrap();
    genesis::draft(&mut files, genesis.cluster).unwrap();
    // A second member, admitted with a token.
    let joiner = ed25519_dalek::SigningKey::from_bytes(&[2; 32]);
    let id = NodeId(joiner.verifying_key().to_bytes());
    let request = JoinRequest { token: token(&genesis).text(&genesis.key), id, name: "n2".into(), level: 1 };
    let members = trust::Members::of(genesis.cluster, genesis.registers.values().map(|r| r.value.as_slice()));
    let member = members.admit(&genesis.settings, &request, genesis.node_id(), WALL).unwrap().sign(&genesis.key);
    let stamp = Stamp { term: Term(3), seq: 2 };
    genesis.registers.insert(trust::Member::register(&id), Register { stamp, value: member });
    let level = Register { stamp: Stamp { term: Term(3), seq: 3 }, value: features::write(features::LEVEL) };
    genesis.registers.insert(features::REGISTER.into(), level);
    let voters = Voters { term: Term(3), version: 2, members: [genesis.node_id(), id].into(), ..Voters::default() };
    let registry = Registry { voters: voters.clone(), registers: genesis.registers.clone() };
    sealed::write(&mut files, REGISTERS, &registry).unwrap();
    genesis.vote.ballot = Some(Ballot { term: Term(3), voted_for: Some(genesis.node_id()), voters, seat: 0 });
    sealed::write(&mut files, VOTE, &genesis.vote).unwrap();
    assert!(folder.join(JOINING).exists());
    genesis
}

fn empty(genesis: &Genesis) -> Store {
    let config = Settings::default().complete("n1").unwrap();
    let config = settings::node_config(&config, genesis, "192.0.2.1".parse().unwrap(), Vec::new());
    Store::open(crate::store::Config { seed: [1; 32], ..config.store }, [], now()).0
}

fn commit(store: &mut Store, author: Author, change: Change) {
    store.commit(now(), author, Term(3), change).unwrap();
}

fn create(store: &mut Store, key: &Key, mut object: Value) {
    object["apiVersion"] = key.kind.api_version().into();
    object["kind"] = key.kind.kind.into();
    object["metadata"]["name"] = key.name.clone().into();
    let written = crate::object::write::create_value(key.kind, &key.namespace, object).unwrap();
    commit(store, Author::Client, Change::Create { key: key.clone(), object: written.object });
}

fn template(image: &str) -> Value {
    json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [
        {"name": "web", "image": image, "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53}]}]}})
}

/// A small cluster's state; writes what it shows. Returns its records.
fn state(genesis: &Genesis, to: &Path) -> Vec<Vec<u8>> {
    let mut store = empty(genesis);
    let mut records = Vec::new();
    let flush = |store: &mut Store, records: &mut Vec<Vec<u8>>| {
        while let Some(batch) = store.take_batch() {
            records.extend(batch.records);
            store.persisted(batch.id);
        }
    };
    let shop = |kind, name: &str| Key::new(kind, "shop", name);
    create(&mut store, &Key::cluster(&kinds::NAMESPACE, "shop"), json!({}));
    create(
        &mut store,
        &shop(&kinds::CONFIG_MAP, "settings"),
        json!({"metadata": {"annotations": {"x.dev/note": "~#/"}}, "data": {"colour": "red"}}),
    );
    create(&mut store, &shop(&kinds::SECRET, "password"), json!({"data": {"word": "c2VzYW1l"}}));
    let selector = json!({"matchLabels": {"app": "web"}});
    let spec = json!({"replicas": 2, "selector": selector, "template": template("web:1")});
    let web = shop(&kinds::DEPLOYMENT, "web");
    create(&mut store, &web, json!({"spec": spec}));
    create(
        &mut store,
        &shop(&kinds::SERVICE, "web"),
        json!({"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}}),
    );
    let pod = shop(&kinds::POD, "web-1");
    create(&mut store, &pod, template("web:1"));
    let lease = shop(&kinds::LEASE, "operator");
    create(&mut store, &lease, json!({"spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}}));
    for name in ["held", "gone"] {
        create(&mut store, &shop(&kinds::CONFIG_MAP, name), json!({"metadata": {"finalizers": ["x.dev/held"]}}));
    }
    flush(&mut store, &mut records);
    let mut object = store.snapshot().get(&web).unwrap().value();
    object["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2".into();
    object["spec"]["replicas"] = 3.into();
    let when = Precondition::default();
    let change = Change::Update { key: web.clone(), object, when };
    store.commit_for(now(), Author::Client, Some("ann".into()), Term(3), change).unwrap();
    let status = json!({"observedGeneration": 2, "replicas": 3});
    commit(&mut store, Author::Leader, Change::Status { key: web.clone(), status, when });
    let status = json!({"conditions": [{"type": "Audited", "status": "True"}], "observedGeneration": 2, "replicas": 3});
    commit(&mut store, Author::Client, Change::Status { key: web, status, when });
    commit(&mut store, Author::Leader, Change::Bind { key: pod.clone(), when, node: "n1".into() });
    let status = json!({"phase": "Running", "podIP": "10.240.0.9"});
    commit(&mut store, Author::Kubelet, Change::Status { key: pod, status, when });
    let options = DeleteOptions { grace_seconds: Some(5), ..DeleteOptions::default() };
    commit(&mut store, Author::Client, Change::Delete { key: shop(&kinds::CONFIG_MAP, "held"), options });
    commit(&mut store, Author::Client, Change::Remove { key: shop(&kinds::CONFIG_MAP, "gone"), when });
    flush(&mut store, &mut records);
    // What leads the store then: a history is cut, a tombstone sealed, and a caretaker decides.
    let uid = store.snapshot().get(&shop(&kinds::DEPLOYMENT, "web")).unwrap().uid;
    assert!(store.cut(now(), Overgrown { uid, epoch: 1, changes: 2 }));
    store.seal(now()).unwrap();
    let late = shop(&kinds::POD, "web-2");
    create(&mut store, &late, template("web:2"));
    flush(&mut store, &mut records);
    commit(&mut store, Author::Caretaker, Change::Bind { key: late, when, node: "n1".into() });
    let status = json!({"observedGeneration": 2, "replicas": 4});
    let web = shop(&kinds::DEPLOYMENT, "web");
    commit(&mut store, Author::Caretaker, Change::Status { key: web, status, when });
    flush(&mut store, &mut records);
    let shown: Vec<Value> = store.snapshot().all().map(|entry| entry.value()).collect();
    fs::write(to.join("objects.json"), serde_json::to_vec_pretty(&shown).unwrap()).unwrap();
    records
}

fn write_log(to: &Path, records: &[Vec<u8>]) {
    let (mut log, _) = Log::open(FolderFiles::open(to.join("data/log")).unwrap()).unwrap();
    log.append(records).unwrap();
    log.sync().unwrap();
}

/// One file a kind of record.
fn write_records(to: &Path, genesis: &Genesis, records: &[Vec<u8>]) {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for raw in records {
        let name = super::read::record_name(&Record::read(raw.clone()).unwrap());
        files.entry(name).or_insert_with(|| raw.clone());
    }
    let scribe = Scribe::new(genesis.node_id(), 1, genesis.key.clone());
    let key = Key::new(&kinds::EVENT, "shop", "started");
    let event = scribe.write_as(99, Draft::Event(Uid([9; 16]), &key, 5, Some(br#"{"reason":"Started"}"#)));
    files.insert("Event".into(), event.to_vec());
    let acked = scribe.write_as(100, Draft::Acked(3, &Horizon::default()));
    files.insert("Acked".into(), acked.to_vec());
    let forgotten = scribe.write_as(101, Draft::Forgotten(&[Uid([8; 16])], &[]));
    files.insert("Forgotten".into(), forgotten.to_vec());
    for (name, raw) in files {
        fs::write(to.join(name), raw).unwrap();
    }
}

/// One file a kind of message.
fn write_frames(to: &Path, genesis: &Genesis) {
    let mut messages = elections(genesis);
    let numbers: gossip::Numbers = [(NodeId([3; 32]), (1, 9))].into();
    messages.push(Message::Membership(membership::Message::Probe(7), numbers.clone()));
    messages.push(Message::Membership(membership::Message::Ack(7), numbers.clone()));
    let text = token(genesis).text(&genesis.key);
    let request = JoinRequest { token: text, id: NodeId([5; 32]), name: "n2".into(), level: 1 };
    messages.push(Message::Ask { id: 1, ask: Ask::Join(request) });
    let records = member_records(genesis);
    let settings = genesis.settings.clone();
    let admission = Admission { member: records[0].clone(), members: records, settings };
    messages.push(Message::Answer { id: 1, answer: Ok(admission) });
    messages.push(Message::Answer { id: 2, answer: Err(Declined::for_now("not now")) });
    messages.push(Message::Level(7));
    messages.push(Message::Beat(Beat { term: Term(3), count: 40 }));
    messages.push(Message::Clock(WALL));
    let standing = Standing { acked: 3, floor: 2, cleared: 1 };
    messages.push(Message::Standing { said: Said { standing, blank: false }, ask: true });
    let (number, about) = (8, NodeId([4; 32]));
    messages.push(Message::Membership(membership::Message::Ask { number, about }, numbers.clone()));
    messages.push(Message::Membership(membership::Message::Told { number, answers: true }, numbers));
    messages.push(Message::Members(member_records(genesis)));
    messages.push(Message::LeaseAsk { id: 5, write: lease() });
    messages.push(Message::LeaseAnswer { id: 5, answer: Ok(Stamp { term: Term(3), seq: 9 }) });
    messages.push(Message::LeaseAnswer { id: 6, answer: Err(Refusal::Stale) });
    let slots = vec![(Slot("d/0".into()), Uid([4; 16]))];
    messages.push(Message::Held { run: 3, held: HeldSlots { number: 7, complete: true, slots } });
    let leased = vec![Leased { slot: Slot("d/0".into()), pod: Uid([4; 16]), millis: 14_900 }];
    messages.push(Message::Leased { term: Term(3), run: 3, number: 7, leased });
    messages.push(Message::Vouch { term: Term(3), at: 1_234_567 });
    messages.push(Message::Vouched { term: Term(3), at: 1_234_567 });
    messages.push(Message::Recovery(recovery(genesis)));
    messages.extend(gossiping().into_iter().map(Message::Gossip));
    let mut written = BTreeSet::new();
    for message in messages {
        let name = super::read::message_name(&message);
        if written.insert(name.clone()) {
            fs::write(to.join(name), encode(&[message])).unwrap();
        }
    }
}

fn recovery(genesis: &Genesis) -> Vec<u8> {
    let (term, generation) = (Term(1_000_003), 1 << 24);
    trust::recovery::Recovery { cluster: genesis.cluster, generation, term, by: genesis.node_id(), at: WALL }
        .sign(&genesis.key)
}

fn lease() -> LeaseWrite {
    let uid = Uid([6; 16]);
    let object = json!({"kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "operator", "namespace": "shop", "uid": uid}, "spec": {"holderIdentity": "a"}});
    let record = lease_record::Record::new(&object, 3, Some(Uid([2; 16]))).to_bytes();
    let expected = Some(lease_record::Version { uid, number: 2 });
    LeaseWrite { register: "lease/shop/operator".into(), expected, record: Some(record) }
}

fn member_records(genesis: &Genesis) -> Vec<Vec<u8>> {
    let all = genesis.registers.iter().filter(|(name, _)| name.starts_with(trust::member::REGISTERS));
    all.map(|(_, register)| register.value.clone()).collect()
}

fn elections(genesis: &Genesis) -> Vec<Message> {
    use election::Message as Said;
    let (term, held) = (Term(3), Stamp { term: Term(3), seq: 4 });
    let voters = Voters { term, version: 2, members: [genesis.node_id()].into(), ..Voters::default() };
    let id = VotersId { term, version: 2 };
    let registers: Registers = genesis.registers.clone();
    let all = [
        Said::PreVote { term, voters: voters.clone() },
        Said::PreVoted { term },
        Said::Vote { term, voters: voters.clone() },
        Said::Voted { term, held, seat: 0 },
        Said::Beat { term, voters, commit: 4 },
        Said::Ack { term, voters: id, held, seat: 0 },
        Said::Read { term },
        Said::Held { term, registers: registers.clone() },
        Said::Write { term, after: 1, upto: 4, registers },
        Said::Newer { term },
        Said::HandOver { term },
    ];
    let later = Message::ElectionOf(1 << 24, Said::Newer { term });
    all.into_iter().map(Message::Election).chain([later]).collect()
}

#[derive(Default)]
struct Held(Index);

impl Holdings for Held {
    fn sum(&self) -> Sum {
        self.0.sum()
    }

    fn sums(&self, range: Range) -> [Sum; PARTS] {
        self.0.sums(range)
    }

    fn ids(&self, range: Range) -> Vec<RecordId> {
        self.0.ids(range).copied().collect()
    }

    fn has(&self, id: &RecordId) -> bool {
        self.0.get(id).is_some()
    }

    fn removed(&self) -> &[u64; 256] {
        self.0.removed()
    }

    fn records(&self, ids: &BTreeSet<RecordId>) -> Vec<Arc<[u8]>> {
        ids.iter().filter_map(|id| self.0.get(id)).cloned().collect()
    }
}

/// Everything that members of which each lacks what the others have say to each other.
fn gossiping() -> Vec<gossip::Message> {
    let count = 12;
    let key = |n: u8| ed25519_dalek::SigningKey::from_bytes(&[n + 1; 32]);
    let id = |n: usize| NodeId(key(u8::try_from(n).unwrap()).verifying_key().to_bytes());
    let mut machines: Vec<(Gossip, Held, Scribe)> = (0..count)
        .map(|n| {
            let scribe = Scribe::new(id(n), 1, key(u8::try_from(n).unwrap()));
            (Gossip::new(Origin { node: id(n), incarnation: 1 }, n as u64), Held::default(), scribe)
        })
        .collect();
    let mut said = Vec::new();
    let mut queue: Vec<(usize, usize, gossip::Message)> = Vec::new();
    for round in 0..400u64 {
        let at = Mono(std::time::Duration::from_millis(100 * round));
        let mut inputs: Vec<(usize, gossip::Input)> = queue
            .drain(..)
            .map(|(from, to, message)| {
                let message = gossip::Message::of_bytes(&message.to_bytes()).unwrap();
                (to, gossip::Input::Received { from: id(from), message })
            })
            .collect();
        if round == 0 {
            for n in 0..count {
                for (machine, held, scribe) in &mut machines[n..=n] {
                    let raw = scribe.write(Draft::Told(Uid([1; 16]), n as u64, &[]));
                    held.0.insert(&raw);
                    machine.handle(at, gossip::Input::Publish(vec![Verified::read(raw).unwrap()]), held);
                }
                let others = (0..count).filter(|other| *other != n);
                inputs.extend(others.map(|other| (n, gossip::Input::Connected(id(other)))));
            }
        }
        if round == 200 {
            // Nobody has these.
            let numbers = [(NodeId([77; 32]), (1, 3))].into();
            inputs.push((0, gossip::Input::Heard { from: id(1), numbers }));
            let raw = machines[2].2.write(Draft::Told(Uid([1; 16]), 100, &[]));
            inputs.push((2, gossip::Input::Publish(vec![Verified::read(raw).unwrap()])));
        }
        inputs.extend((0..count).map(|n| (n, gossip::Input::Tick)));
        for (n, input) in inputs {
            let (machine, held, _) = &mut machines[n];
            for output in machine.handle(at, input, held) {
                match output {
                    gossip::Output::Send { to, message } => {
                        said.push(message.clone());
                        queue.extend((0..count).find(|m| id(*m) == to).map(|m| (n, m, message)));
                    }
                    gossip::Output::Deliver { records, .. } => {
                        records.iter().for_each(|r| held.0.insert(&r.record().raw));
                    }
                    gossip::Output::Exchanged { .. } => {}
                }
            }
        }
    }
    said
}
