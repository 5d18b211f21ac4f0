use proptest::prelude::*;
use serde_json::{Value, json};

use super::numbers::{self, Field, INLINE, Kind, Often, WRAPPED};
use super::*;
use crate::object::schema::{self, Shape};

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const CORE: &str = "io.k8s.api.core.v1";

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 127 {
        out.push(number as u8 | 128);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A field of a text, of bytes or of a message.
fn bytes(number: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3 | 2, &mut out);
    varint(value.as_ref().len() as u64, &mut out);
    out.extend(value.as_ref());
    out
}

/// A field of a number.
fn int(number: u64, value: i64) -> Vec<u8> {
    let mut out = Vec::new();
    varint(number << 3, &mut out);
    varint(value as u64, &mut out);
    out
}

fn message(fields: &[Vec<u8>]) -> Vec<u8> {
    fields.concat()
}

fn body(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let type_meta = [bytes(1, api_version), bytes(2, kind)].concat();
    [MAGIC.to_vec(), bytes(1, type_meta), bytes(2, message), bytes(3, ""), bytes(4, "")].concat()
}

fn read(definition: &str, message: &[u8]) -> Result<Value, String> {
    let body = body("v1", "X", message);
    let mut object = Envelope::open(&body)?.read(definition)?.into_value();
    assert_eq!(object["apiVersion"], "v1");
    object.as_object_mut().unwrap().retain(|name, _| name != "apiVersion" && name != "kind");
    Ok(object)
}

#[test]
fn an_envelope_says_what_is_in_it() {
    let body = body("apps/v1", "Deployment", b"");
    let envelope = Envelope::open(&body).unwrap();
    assert_eq!((envelope.api_version, envelope.kind), ("apps/v1", "Deployment"));
    let object = envelope.read("io.k8s.api.apps.v1.Deployment").unwrap().into_value();
    assert_eq!(object, json!({"kind": "Deployment", "apiVersion": "apps/v1"}));
    for bad in [&b"k8s"[..], b"{}", b"", b"k8s\0\x12\xff", b"k8s\0\xff", b"k8s\0\x1a\x01x", b"k8s\0\x0b"] {
        assert!(Envelope::open(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn zeros_of_fields_without_pointers_are_left_out_and_others_kept() {
    let spec = message(&[
        bytes(3, ""),
        int(4, 0),
        int(11, 0),
        int(21, 0),
        int(25, -7),
        bytes(2, [bytes(1, "web"), bytes(2, ""), int(16, 1), int(17, 0), bytes(3, "")].concat()),
    ]);
    let pod = message(&[
        bytes(1, [bytes(1, "p"), bytes(2, ""), int(7, 0), bytes(8, "")].concat()),
        bytes(2, spec),
        bytes(3, ""),
    ]);
    assert_eq!(
        read(&format!("{CORE}.Pod"), &pod).unwrap(),
        json!({
            "metadata": {"name": "p"},
            "spec": {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false, "priority": -7,
                "containers": [{"name": "web", "stdin": true, "command": [""]}]},
            "status": {},
        })
    );
}

#[test]
fn inlined_members_belong_to_what_they_are_in() {
    let reference = bytes(1, bytes(1, "settings"));
    let volume = message(&[bytes(1, "v"), bytes(2, bytes(19, message(&[reference, int(3, 420)])))]);
    let handler =
        bytes(1, bytes(2, message(&[bytes(1, "/up"), bytes(2, message(&[int(1, 0), int(2, 80), bytes(3, "")]))])));
    let probe = message(&[handler, int(2, 5), int(3, 0)]);
    assert_eq!(
        read(&format!("{CORE}.Volume"), &volume).unwrap(),
        json!({"name": "v", "configMap": {"name": "settings", "defaultMode": 420}})
    );
    assert_eq!(
        read(&format!("{CORE}.Probe"), &probe).unwrap(),
        json!({"httpGet": {"path": "/up", "port": 80}, "initialDelaySeconds": 5})
    );
    let common = bytes(1, message(&[bytes(1, "debugger"), bytes(2, "sh:1")]));
    let ephemeral = message(&[common, bytes(2, "web")]);
    assert_eq!(
        read(&format!("{CORE}.EphemeralContainer"), &ephemeral).unwrap(),
        json!({"name": "debugger", "image": "sh:1", "targetContainerName": "web"})
    );
}

#[test]
fn maps_times_amounts_and_wrappers_have_their_form_in_json() {
    let entry = |key: &str, value: Vec<u8>| message(&[bytes(1, key), value]);
    let meta = message(&[
        bytes(8, message(&[int(1, 1_700_000_000), int(2, 5)])),
        bytes(11, entry("a", bytes(2, ""))),
        bytes(11, entry("b", Vec::new())),
        bytes(17, message(&[bytes(1, "me"), bytes(7, bytes(1, r#"{"f:data":{}}"#))])),
    ]);
    assert_eq!(
        read(META, &meta).unwrap(),
        json!({"creationTimestamp": "2023-11-14T22:13:20Z", "labels": {"a": "", "b": ""},
            "managedFields": [{"manager": "me", "fieldsV1": {"f:data": {}}}]})
    );
    let secret = message(&[bytes(2, entry("k", bytes(2, [0, 255]))), bytes(2, entry("none", Vec::new()))]);
    assert_eq!(read(&format!("{CORE}.Secret"), &secret).unwrap(), json!({"data": {"k": "AP8=", "none": ""}}));
    let resources = bytes(1, entry("cpu", bytes(2, bytes(1, "500m"))));
    assert_eq!(read(&format!("{CORE}.ResourceRequirements"), &resources).unwrap(), json!({"limits": {"cpu": "500m"}}));
    let lease = bytes(4, message(&[int(1, 1_700_000_000), int(2, 1_500)]));
    assert_eq!(
        read("io.k8s.api.coordination.v1.LeaseSpec", &lease).unwrap(),
        json!({"renewTime": "2023-11-14T22:13:20.000001Z"})
    );
    let user = bytes(4, entry("scopes", bytes(2, [bytes(1, "a"), bytes(1, "b")].concat())));
    assert_eq!(read("io.k8s.api.authentication.v1.UserInfo", &user).unwrap(), json!({"extra": {"scopes": ["a", "b"]}}));
    let surge = bytes(2, message(&[int(1, 1), int(2, 0), bytes(3, "25%")]));
    assert_eq!(read("io.k8s.api.apps.v1.RollingUpdateDeployment", &surge).unwrap(), json!({"maxSurge": "25%"}));
}

#[test]
fn the_last_of_a_field_that_comes_twice_counts_and_what_is_not_known_is_passed_over() {
    let meta = message(&[bytes(1, "a"), bytes(1, "b"), bytes(4_000, "new"), int(4_001, 7)]);
    assert_eq!(read(META, &meta).unwrap(), json!({"name": "b"}));
    assert!(read(META, &int(1, 7)).is_err(), "a name is no number");
    assert!(read(META, &bytes(1, [255])).is_err(), "a name is UTF-8");
}

#[test]
fn depth_is_bounded() {
    let schema = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
    let nested = |depth: usize| {
        (0..depth).fold(bytes(5, "object"), |inner, _| bytes(29, message(&[bytes(1, "a"), bytes(2, inner)])))
    };
    assert!(read(schema, &nested(40)).is_ok());
    assert_eq!(read(schema, &nested(60)).unwrap_err(), "exceeded max depth", "a map and a schema are two");
    assert_eq!(read(schema, &nested(3_000)).unwrap_err(), "exceeded max depth");
    let list = format!("{}{}", "[".repeat(95), "]".repeat(95));
    let inner =
        (0..10).fold(bytes(8, bytes(1, list)), |inner, _| bytes(29, message(&[bytes(1, "a"), bytes(2, inner)])));
    assert_eq!(read(schema, &inner).unwrap_err(), "exceeded max depth", "JSON within counts too");
}

#[test]
fn little_bytes_do_not_become_much() {
    let many = bytes(2, "").repeat(1 << 20);
    let error = read(&format!("{CORE}.PodSpec"), &many).unwrap_err();
    assert_eq!(error, "the message makes too large an object");
}

/// The crate that the numbers are from and the package that the schema is from may be of different versions.
#[test]
fn every_number_leads_to_a_field_of_the_schema_that_holds_the_same() {
    let mut looked_at = 0;
    for (name, fields) in numbers::all() {
        let Some(shape) = schema::definition(name) else { continue };
        for field in fields.iter().filter(|f| &*f.name != INLINE && &*f.name != WRAPPED) {
            let place = format!("{name}.{}", field.name);
            let known = shape.field(&field.name).unwrap_or_else(|| panic!("{place} is not in the schema"));
            assert!(fits(field, &known.shape), "{place}: {field:?} is {:?} in the schema", known.shape);
            looked_at += 1;
        }
        for field in fields.iter().filter(|f| &*f.name == INLINE) {
            let Kind::Message(inner) = &field.kind else { panic!("{name}: only a message is inlined") };
            let inner = numbers::fields(inner).unwrap();
            assert!(inner.iter().all(|f| &*f.name == INLINE || shape.field(&f.name).is_some()), "{name}: {field:?}");
        }
    }
    assert!(looked_at > 1_500, "{looked_at}");
    for kind in crate::object::kinds::KINDS {
        assert!(numbers::fields(kind.definition).is_some(), "{kind}");
    }
}

fn fits(field: &Field, shape: &Shape) -> bool {
    match (field.often, shape) {
        (Often::List, Shape::List(inner)) | (Often::Map, Shape::Map(inner)) => holds(&field.kind, inner),
        (Often::Once, shape) => holds(&field.kind, shape),
        _ => false,
    }
}

fn holds(kind: &Kind, shape: &Shape) -> bool {
    match (kind, shape) {
        (Kind::Text, Shape::String)
        | (Kind::Bytes, Shape::Bytes)
        | (Kind::Bool, Shape::Bool)
        | (Kind::Int, Shape::Int32 | Shape::Int64)
        | (Kind::Double, Shape::Double) => true,
        (Kind::Message(name), shape) => match (name.rsplit('.').next(), shape) {
            (Some("Time"), Shape::Time) | (Some("MicroTime"), Shape::MicroTime) => true,
            (Some("Quantity"), Shape::Quantity) | (Some("IntOrString"), Shape::IntOrString) => true,
            (Some("ExtraValue" | "Verbs"), Shape::List(_)) => true,
            (_, Shape::Struct(id)) => id.get().name == *name,
            (_, Shape::Opaque) => true,
            _ => false,
        },
        _ => false,
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0..487_usize) {
        let (name, _) = numbers::all().nth(kind).unwrap();
        drop(read(name, &bytes));
        drop(Envelope::open(&[MAGIC, &bytes].concat()));
    }

    /// Bytes that are mostly fields of known numbers, nested.
    #[test]
    fn no_fields_panic(fields in proptest::collection::vec((1..40_u64, any::<i64>(), "[a-z]{0,3}"), 0..20), kind in 0..487_usize) {
        let (name, _) = numbers::all().nth(kind).unwrap();
        let mut message = Vec::new();
        for (number, value, text) in fields {
            message.extend(int(number, value));
            message = [message.clone(), bytes(number, &message), bytes(number, text)].concat();
            message.truncate(4_000);
        }
        drop(read(name, &message));
    }

    #[test]
    fn texts_and_numbers_are_read_as_written(name in "[a-z]{1,9}", grace in any::<i64>(), labels in proptest::collection::btree_map("[a-z]{1,4}", "[a-z]{0,4}", 0..5)) {
        let mut fields = vec![bytes(1, &name), int(10, grace)];
        fields.extend(labels.iter().map(|(k, v)| bytes(11, [bytes(1, k), bytes(2, v)].concat())));
        let mut expected = json!({"name": name, "deletionGracePeriodSeconds": grace});
        if !labels.is_empty() {
            expected["labels"] = json!(labels);
        }
        prop_assert_eq!(read(META, &message(&fields)).unwrap(), expected);
    }
}
