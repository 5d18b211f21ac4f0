//! Reads every corpus with this build.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ipnet::Ipv4Net;
use serde_json::Value;

use crate::agent::{backup, genesis, settings};
use crate::config::{Config, Settings};
use crate::disk::identity::{IDENTITY, JOINING};
use crate::disk::{Files, FolderFiles, Identity, Joining, Log, MemoryFiles, sealed};
use crate::election::{self, Stamp};
use crate::ids::{ClusterId, NodeId, Term, Uid};
use crate::membership;
use crate::node::message::{Ask, Leased, Message, decode};
use crate::object::hold;
use crate::store::record::{Body, Record};
use crate::store::{Author, Slot, Store, Verified};
use crate::trust::recovery::Recovery;
use crate::trust::{Member, Members, Token};

use super::{WALL, corpus, now};

/// Every level of which there is a corpus.
const LEVELS: [u32; 3] = [1, 3, 4];

/// The name of the file that holds a record of this kind.
pub fn record_name(record: &Record) -> String {
    match &record.body {
        Body::Change { birth, .. } => if birth.is_some() { "Birth" } else { "Change" }.to_owned(),
        Body::Register { slot, .. } => format!("Register{slot:?}"),
        other => first_word(&format!("{other:?}")),
    }
}

/// The name of the file that holds a message of this kind.
pub fn message_name(message: &Message) -> String {
    let text = format!("{message:?}");
    match message {
        Message::LeaseAsk { .. } => "LeaseAsk".into(),
        Message::LeaseAnswer { answer: Ok(_), .. } => "LeaseAnswer".into(),
        Message::LeaseAnswer { answer: Err(_), .. } => "LeaseRefusal".into(),
        Message::Membership(message, _) => first_word(&format!("{message:?}")),
        Message::ElectionOf(_, message) => format!("ElectionOf{}", first_word(&format!("{message:?}"))),
        Message::Recovery(_) => "Recovery".into(),
        Message::Election(message) => format!("Election{}", first_word(&format!("{message:?}"))),
        Message::Gossip(_) => {
            let inner = text.strip_prefix("Gossip(").unwrap_or(&text);
            inner.split_once("step: ").map_or_else(|| first_word(inner), |(_, step)| first_word(step))
        }
        Message::Ask { .. } => "AskJoin".into(),
        Message::Answer { answer, .. } => if answer.is_ok() { "Answer" } else { "Refusal" }.into(),
        Message::Level(_) => "Level".into(),
        Message::Beat(_) => "Beat".into(),
        Message::Clock(_) => "Clock".into(),
        Message::Members(_) => "Members".into(),
        Message::Standing { .. } => "Standing".into(),
        Message::Held { .. } => "Held".into(),
        Message::Leased { .. } => "Leased".into(),
        Message::Vouch { .. } => "Vouch".into(),
        Message::Vouched { .. } => "Vouched".into(),
    }
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// A copy of a data folder in memory, so that the corpus stays as it is.
fn copy(folder: &Path) -> MemoryFiles {
    let mut files = MemoryFiles::default();
    for name in names(folder).iter().filter(|name| folder.join(name).is_file()) {
        files.append(name, &fs::read(folder.join(name)).unwrap()).unwrap();
        files.sync(name).unwrap();
    }
    files.sync_folder().unwrap();
    files
}

fn config() -> Config {
    Settings::default().complete("n1").unwrap()
}

/// Whether all that is in `old` is in `new`; a later version may add fields of its own.
fn holds(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            old.iter().all(|(key, old)| key == "resourceVersion" || new.get(key).is_some_and(|new| holds(new, old)))
        }
        (Value::Array(new), Value::Array(old)) => {
            new.len() == old.len() && new.iter().zip(old).all(|(new, old)| holds(new, old))
        }
        (new, old) => new == old,
    }
}

#[test]
fn a_data_folder_of_each_level_resumes_with_all_its_objects() {
    for level in LEVELS {
        let folder = corpus(level);
        let mut files = copy(&folder.join("data"));
        let identity: Identity = sealed::read(&files, IDENTITY).unwrap().unwrap();
        assert_eq!((identity.name.as_str(), identity.tag), ("n1", 1));
        let joining: Joining = sealed::read(&files, JOINING).unwrap().unwrap();
        assert_eq!(joining.cluster, identity.cluster);
        let genesis = genesis::load(&mut files, &config(), WALL).unwrap();
        assert!(!genesis.fresh);
        assert_eq!(genesis.level(), level);
        assert!(genesis.vote.incarnation > 1, "a later one than was written");
        let ballot = genesis.vote.ballot.clone().unwrap();
        assert_eq!((ballot.term, ballot.voted_for), (Term(3), Some(genesis.node_id())));
        assert_eq!((ballot.voters.members.len(), ballot.voters.version), (2, 2));
        let members = Members::of(genesis.cluster, genesis.registers.values().map(|r| r.value.as_slice()));
        let range: Ipv4Net = "10.240.1.0/24".parse().unwrap();
        assert_eq!(members.named("n2").map(|m| (m.tag, m.pod_range)), Some((2, range)));

        let (_, recovered) = Log::open(copy(&folder.join("data/log"))).unwrap();
        assert!(recovered.damage.is_empty(), "{:?}", recovered.damage);
        let address = "192.0.2.1".parse().unwrap();
        let node = settings::node_config(&config(), &genesis, address, Vec::new());
        let (store, report) = Store::open(node.store, recovered.records, now());
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        assert_eq!(report.tombstones, 1);
        let expected: Vec<Value> = serde_json::from_slice(&fs::read(folder.join("objects.json")).unwrap()).unwrap();
        let shown: Vec<Value> = store.snapshot().all().map(|entry| entry.value()).collect();
        assert_eq!(shown.len(), expected.len());
        for (shown, expected) in shown.iter().zip(&expected) {
            assert!(holds(shown, expected), "level {level}: shown {shown:#}\nwritten {expected:#}");
        }
    }
}

#[test]
fn a_record_of_each_kind_and_level_is_read_as_what_it_was() {
    let all = [
        "Birth",
        "Ceiling",
        "Change",
        "Event",
        "Mark",
        "RegisterBinding",
        "RegisterObservation",
        "RegisterSpec",
        "RegisterStatus",
        "Told",
        "Tombstone",
    ];
    for level in LEVELS {
        let folder = corpus(level).join("records");
        assert!(names(&folder).iter().map(String::as_str).collect::<BTreeSet<_>>().is_superset(&all.into()));
        for name in names(&folder) {
            let raw = fs::read(folder.join(&name)).unwrap();
            let verified = Verified::read(raw.clone()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(record_name(verified.record()), name);
            assert_eq!(&*verified.record().raw, raw);
        }
        let read = |name: &str| Record::read(fs::read(folder.join(name)).unwrap()).unwrap();
        let Body::Register { slot: Slot::Binding, stamp: (3, _), value, .. } = read("RegisterBinding").body else {
            panic!("a binding of term 3")
        };
        let bound: Value = serde_json::from_slice(&read("RegisterBinding").raw[value]).unwrap();
        assert_eq!(bound["node"], "n1");
        let Body::Mark { mark, .. } = read("Mark").body else { panic!("a mark") };
        assert_eq!((mark.at, mark.finalizers), (WALL.0 / 1_000_000, ["x.dev/held".to_owned()].into()));
        let Body::Tombstone { birth, .. } = read("Tombstone").body else { panic!("a tombstone") };
        assert_eq!(birth.key.to_string(), crate::object::Key::new(birth.key.kind, "shop", "gone").to_string());
        let Body::Event { time: 5, object: Some(object), .. } = read("Event").body else { panic!("an Event") };
        assert_eq!(&read("Event").raw[object], br#"{"reason":"Started"}"#);
    }
}

#[test]
fn a_message_of_each_kind_and_level_is_read_as_what_it_was() {
    let all = [
        "Ack",
        "Answer",
        "AskJoin",
        "Batches",
        "Begin",
        "ElectionAck",
        "ElectionBeat",
        "ElectionHandOver",
        "ElectionHeld",
        "ElectionNewer",
        "ElectionPreVote",
        "ElectionPreVoted",
        "ElectionRead",
        "ElectionVote",
        "ElectionVoted",
        "ElectionWrite",
        "Ids",
        "Lacking",
        "Probe",
        "Pull",
        "Records",
        "Refusal",
        "Reply",
        "Want",
    ];
    for level in LEVELS {
        let folder = corpus(level).join("frames");
        assert!(names(&folder).iter().map(String::as_str).collect::<BTreeSet<_>>().is_superset(&all.into()));
        let read = |name: &str| decode(&fs::read(folder.join(name)).unwrap()).unwrap();
        for name in names(&folder) {
            let messages = read(&name);
            assert_eq!(messages.iter().map(message_name).collect::<Vec<_>>(), [name]);
        }
        let Message::Membership(membership::Message::Probe(7), numbers) = &read("Probe")[0] else { panic!("a probe") };
        assert_eq!(*numbers, [(NodeId([3; 32]), (1, 9))].into());
        let Message::Election(election::Message::Write { term, after: 1, upto: 4, registers }) =
            &read("ElectionWrite")[0]
        else {
            panic!("a write")
        };
        assert_eq!((*term, registers.len()), (Term(3), if level == 1 { 2 } else { 3 }));
        let Message::Ask { id: 1, ask: Ask::Join(request) } = &read("AskJoin")[0] else { panic!("a request") };
        assert!(Token::parse(&request.token).is_ok() && request.name == "n2");
        let Message::Answer { answer: Ok(admission), .. } = &read("Answer")[0] else { panic!("an answer") };
        assert!(Member::read(&admission.member).is_ok() && admission.members.len() == 2);
    }
}

#[test]
fn a_token_of_each_level_is_read() {
    for level in LEVELS {
        let token = Token::parse(&fs::read_to_string(corpus(level).join("token")).unwrap()).unwrap();
        let files = FolderFiles::open(corpus(level).join("data")).unwrap();
        let identity: Identity = sealed::read(&files, IDENTITY).unwrap().unwrap();
        assert_eq!((token.cluster.to_string(), token.addresses.len()), (identity.cluster, 2));
        assert_eq!(token.expires.0, 4_000_000_000_000_000);
    }
}

#[test]
fn a_change_tells_whose_it_is_since_the_third_level() {
    for level in LEVELS {
        let raw = fs::read(corpus(level).join("records/Change")).unwrap();
        let credit = Record::read(raw).unwrap().credit();
        let known = (level > 1).then(|| (WALL, Author::Client, "ann".to_owned()));
        let told = credit.at.zip(credit.author).zip(credit.user).map(|((at, author), user)| (at, author, user));
        assert_eq!(told, known);
    }
}

#[test]
fn what_members_tell_since_the_third_level_is_read() {
    for level in LEVELS.into_iter().filter(|level| *level > 1) {
        let read = |name: &str| decode(&fs::read(corpus(level).join("frames").join(name)).unwrap()).unwrap();
        assert!(matches!(read("Level")[..], [Message::Level(7)]));
        assert!(matches!(read("Beat")[..], [Message::Beat(beat)] if (beat.term, beat.count) == (Term(3), 40)));
        let Message::Standing { said, ask: true } = read("Standing")[0] else { panic!("a standing") };
        let standing = said.standing;
        assert_eq!((standing.acked, standing.floor, standing.cleared, said.blank), (3, 2, 1, false));
        let Message::Members(records) = &read("Members")[0] else { panic!("records") };
        assert_eq!(records.iter().filter(|raw| Member::read(raw).is_ok()).count(), 2);
    }
}

#[test]
fn what_members_tell_since_the_fourth_level_is_read() {
    for level in LEVELS.into_iter().filter(|level| *level > 3) {
        let read = |name: &str| decode(&fs::read(corpus(level).join("frames").join(name)).unwrap()).unwrap();
        let (slot, pod) = (hold::Slot("d/0".into()), Uid([4; 16]));
        let Message::Held { run: 3, held } = &read("Held")[0] else { panic!("what a node holds") };
        assert!(held.number == 7 && held.complete && held.names(&slot, pod));
        let Message::Leased { term: Term(3), run: 3, number: 7, leased } = &read("Leased")[0] else { panic!("leases") };
        assert_eq!(leased[..], [Leased { slot, pod, millis: 14_900 }]);
        assert!(matches!(read("Vouch")[..], [Message::Vouch { term: Term(3), at: 1_234_567 }]));
        assert!(matches!(read("Vouched")[..], [Message::Vouched { term: Term(3), at: 1_234_567 }]));
        let Message::LeaseAsk { id: 5, write } = &read("LeaseAsk")[0] else { panic!("a write of a Lease") };
        assert_eq!((write.register.as_str(), write.expected.is_some()), ("lease/shop/operator", true));
        assert!(matches!(read("LeaseAnswer")[..], [Message::LeaseAnswer { id: 5, answer: Ok(Stamp { seq: 9, .. }) }]));
        let Message::ElectionOf(generation, _) = read("ElectionOfNewer")[0] else { panic!("of a generation") };
        assert_eq!(generation, 1 << 24);
        let Message::Recovery(raw) = &read("Recovery")[0] else { panic!("a recovery") };
        let files = FolderFiles::open(corpus(level).join("data")).unwrap();
        let identity: Identity = sealed::read(&files, IDENTITY).unwrap().unwrap();
        let mut cluster = [0; 32];
        hex::decode_to_slice(&identity.cluster, &mut cluster).unwrap();
        assert_eq!(Recovery::read(raw, ClusterId(cluster)).unwrap().term, Term(1_000_003));
    }
}

#[test]
fn a_backup_of_each_level_since_the_third_is_restored() {
    for level in LEVELS.into_iter().filter(|level| *level > 1) {
        let target = tempfile::tempdir().unwrap();
        let settings = Settings { data: Some(target.path().join("data")), ..Settings::default() };
        let done = backup::restore(settings.complete("m1").unwrap(), &corpus(level).join("backup")).unwrap();
        assert_eq!((done.header.level, done.header.node.as_str(), done.header.term), (level, "n1", Term(3)));
        assert!(done.refused.is_empty(), "{:?}", done.refused);
        // A namespace, six objects in it, and two pods without a controller.
        assert_eq!((done.kept, done.left.len()), (9, 0), "{:?}", done.left);
    }
}
