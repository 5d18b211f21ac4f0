//! What the tests of this room stand on: a clock, a configuration, views of made-up objects.

use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::ids::{Revision, Uid};
use crate::kubelet::action::DnsSpec;
use crate::kubelet::{Config, Machine};
use crate::object::Key;
use crate::store::{Entry, Snapshot};
use crate::time::{Mono, Now, Wall};
use crate::trust::Issuer;

/// The moment `secs` after the test began.
pub fn at(secs: u64) -> Now {
    moment(Duration::from_secs(secs))
}

/// The moment `after` the test began.
pub fn moment(after: Duration) -> Now {
    Now { mono: Mono(Duration::from_secs(1_000_000) + after), wall: Wall::from_secs(1_763_882_730) + after }
}

pub fn config() -> Config {
    Config {
        node: "n1".into(),
        pod_range: "10.240.1.0/24".parse().unwrap(),
        host_address: [192, 0, 2, 1].into(),
        dns: [10, 96, 0, 10].into(),
        cluster_domain: "cluster.local".into(),
        upstream_dns: DnsSpec { servers: vec!["192.0.2.53".into()], searches: vec!["lan".into()], options: vec![] },
        max_pods: 110,
        version: "v1.33.0+skein".into(),
        port: 6443,
        machine: Machine::default(),
        issuer: Some(Issuer::new(SigningKey::from_bytes(&[1; 32]))),
    }
}

/// A view that shows `objects`.
pub fn view(objects: &[Value]) -> Snapshot {
    let mut view = Snapshot::starting_at(Revision(1));
    for object in objects {
        show(&mut view, object.clone());
    }
    view
}

/// Shows `object`, giving it a uid and a revision.
pub fn show(view: &mut Snapshot, mut object: Value) {
    let key = Key::of(&object).expect("a test names its objects");
    let revision = view.revision().next();
    let meta = &mut object["metadata"];
    meta["resourceVersion"] = json!(revision.to_string());
    if meta["uid"].is_null() {
        meta["uid"] = json!(uid(&key));
    }
    let entry = Arc::new(Entry::of(key.clone(), revision, &object));
    view.show(&key, Some(entry), revision);
}

/// The uid that an object of this key gets.
pub fn uid(key: &Key) -> Uid {
    Uid::derived(&[key.to_string().as_bytes()])
}
