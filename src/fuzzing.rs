//! The fuzz targets: every decoder of what peers, disks and clients of the API give, as a function of bytes.
//!
//! `tests/fuzz` gives each of them to libFuzzer, `tests/hostile` replays their corpora as ordinary tests. A target may do
//! what it likes with the bytes but panic, hang, or take memory out of proportion.

use serde_json::{Value, json};

use crate::disk::{Files, Identity, Joining, Log, MemoryFiles, Registry, Vote, identity, registry, sealed};
use crate::node::message::{self, Lane};
use crate::object::patch::PatchType;
use crate::object::protobuf;
use crate::object::selector::FieldSelector;
use crate::object::write::{self, By, FieldValidation, How, Part};
use crate::object::{Key, Kind, Quantity, Selector, kinds};
use crate::trust::{Member, Token, User};
use crate::{election, gossip, membership, store};

/// Reads bytes; must not panic.
pub type Target = fn(&[u8]);

/// Every target, by the name of its corpus.
pub const TARGETS: [(&str, Target); 21] = [
    ("frame", frame),
    ("gossip", |bytes| again(gossip::Message::of_bytes(bytes).ok(), gossip::Message::to_bytes)),
    ("numbers", |bytes| again(gossip::numbers_of_bytes(bytes).ok(), gossip::numbers_to_bytes)),
    ("membership", |bytes| again(membership::Message::of_bytes(bytes).ok(), membership::Message::to_bytes)),
    ("election", |bytes| again(election::Message::of_bytes(bytes).ok(), election::Message::to_bytes)),
    ("record", |bytes| drop(store::record::Record::read(bytes))),
    ("change", store::fuzzing::change),
    ("merge", store::fuzzing::merge),
    ("member", |bytes| drop(Member::read(bytes))),
    ("token", |bytes| drop(Token::parse(&String::from_utf8_lossy(bytes)))),
    ("certificate", |bytes| drop(User::of_der(bytes))),
    ("log", log),
    ("sealed", sealed_file),
    ("journal", |bytes| _ = registry::fuzz(bytes)),
    ("json", |bytes| create(bytes, "application/json")),
    ("yaml", |bytes| create(bytes, "application/yaml")),
    ("protobuf", message),
    ("patch", patch),
    ("selector", selector),
    ("quantity", quantity),
    ("call", |bytes| drop(serde_json::from_slice::<crate::handle::Call>(bytes))),
];

/// Runs a target.
///
/// # Panics
/// If there is none of that name, or the target finds something.
pub fn run(target: &str, bytes: &[u8]) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of that name");
    run(bytes);
}

/// What was read can be written, and that be read again.
fn again<T>(message: Option<T>, to_bytes: impl Fn(&T) -> Vec<u8>) {
    drop(message.map(|message| to_bytes(&message)));
}

fn frame(bytes: &[u8]) {
    for lane in [Lane::Control, Lane::Bulk] {
        if let Ok(messages) = message::decode_on(lane, bytes) {
            message::frames(&messages);
        }
    }
}

/// A segment of the log, as it is and behind the mark that begins one.
fn log(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), [b"SKEINLG1", bytes].concat()] {
        let mut files = MemoryFiles::default();
        files.append("000000000001.log", &bytes).expect("memory can be written");
        let (_, recovered) = Log::open(files).expect("memory can be read");
        let read: usize = recovered.records.iter().map(Vec::len).sum();
        assert!(read <= bytes.len(), "no record is read twice");
    }
}

/// One of the small files, its checksum made right: the first byte says which.
fn sealed_file(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    let name = [identity::IDENTITY, identity::VOTE, identity::REGISTERS, identity::JOINING][usize::from(which % 4)];
    let mut files = MemoryFiles::default();
    let line = format!("skein {name} 1 crc32 {:08x}\n", crc32fast::hash(body));
    files.append(name, &[line.as_bytes(), body].concat()).expect("memory can be written");
    match which % 4 {
        0 => drop(sealed::read::<Identity>(&files, name)),
        1 => drop(sealed::read::<Vote>(&files, name)),
        2 => drop(sealed::read::<Registry>(&files, name)),
        _ => drop(sealed::read::<Joining>(&files, name)),
    }
}

/// A body of a POST, for a kind that the first byte picks.
fn create(bytes: &[u8], media: &str) {
    let Some((which, body)) = bytes.split_first() else { return };
    let kind = kinds::KINDS[usize::from(*which) % kinds::KINDS.len()];
    let namespace = if kind.namespaced { "default" } else { "" };
    if let Ok(written) = write::create(kind, namespace, body, media, FieldValidation::Warn, "abcde") {
        let again =
            write::create(kind, namespace, written.object.to_string().as_bytes(), "", FieldValidation::Warn, "");
        drop(again);
    }
}

/// A body of protobuf of a POST, and a message that is put into such a body, so that a fuzzer need not guess the envelope.
fn message(bytes: &[u8]) {
    create(bytes, protobuf::MEDIA_TYPE);
    let Some((which, message)) = bytes.split_first() else { return };
    let mut body = vec![*which];
    body.extend(b"k8s\0");
    prost::encoding::bytes::encode(2, &message.to_vec(), &mut body);
    create(&body, protobuf::MEDIA_TYPE);
}

/// A body of a PATCH of one of four forms, on a Deployment.
fn patch(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    let form = [PatchType::Json, PatchType::Merge, PatchType::Strategic][usize::from(which % 3)];
    let part = [Part::Spec, Part::Status, Part::Scale][usize::from(which / 3 % 3)];
    let kind: &'static Kind = &kinds::DEPLOYMENT;
    if *which >= 128 {
        let by = By { manager: "fuzz", subresource: part.subresource(), now: jiff::Timestamp::UNIX_EPOCH };
        let how = How { part, validation: FieldValidation::Warn, by, force: which % 2 == 0 };
        let key = Key::new(kind, "default", "web");
        if let Ok(written) = write::apply(key.kind, &key, Some(&deployment()), body, how) {
            drop(write::apply(key.kind, &key, Some(&written.object), body, how));
        }
        return;
    }
    drop(write::patch(kind, &deployment(), body, form, part, FieldValidation::Warn));
}

fn deployment() -> Value {
    let container = json!({"name": "web", "image": "nginx:1", "ports": [{"containerPort": 80, "protocol": "TCP"}],
        "env": [{"name": "A", "value": "1"}], "resources": {"limits": {"cpu": "500m"}}});
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}, "finalizers": ["a.b/c"],
            "uid": "00000000-0000-4000-8000-000000000000", "resourceVersion": "7"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}}}})
}

fn quantity(bytes: &[u8]) {
    if let Ok(quantity) = String::from_utf8_lossy(bytes).parse::<Quantity>() {
        let again = quantity.to_string().parse::<Quantity>();
        assert!(again.is_ok(), "what was read is written so that it can be read");
    }
}

fn selector(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(selector) = text.parse::<Selector>() {
        selector.matches(&[("app".to_owned(), "web".to_owned())].into());
    }
    if let Ok(selector) = FieldSelector::parse(&kinds::POD, &text) {
        selector.matches(&deployment());
    }
    if let Ok(value) = serde_json::from_slice(bytes) {
        drop(Selector::of_object(&value));
    }
}
