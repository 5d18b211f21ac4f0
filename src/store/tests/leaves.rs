//! Objects taken apart and put together.

use proptest::prelude::*;

use super::super::document::{Actor, Chunk, Document};
use super::super::inflate::inflate;
use super::super::leaves::{Shape, diff, flatten};
use super::*;

fn shape(kind: &'static Kind) -> Shape {
    Shape { kind, list_keys }
}

/// Objects that look a bit like Kubernetes', and a bit like nothing.
fn any_value() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec![
        "name",
        "image",
        "env",
        "containers",
        "initContainers",
        "ports",
        "containerPort",
        "protocol",
        "port",
        "spec",
        "template",
        "metadata",
        "finalizers",
        "tolerations",
        "selector",
        "a/b",
        "c~d",
        "#",
        "",
        "ü",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        // Not any: the JSON parser is off by a bit for some.
        (-1_000_000..1_000_000).prop_map(|n| Value::from(f64::from(n) / 4.0)),
        prop::sample::select(vec!["web", "", "a,b", "{}", "[]", "TCP", "x/y"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        let map = prop::collection::btree_map(names.clone(), inner.clone(), 0..5)
            .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()));
        prop_oneof![3 => map, 1 => prop::collection::vec(inner, 0..4).prop_map(Value::from)]
    })
}

fn any_object() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["spec", "metadata", "data", "x"]);
    prop::collection::btree_map(names, any_value(), 0..4)
        .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_object_comes_back_as_it_was(object in any_object()) {
        for kind in [&kinds::DEPLOYMENT, &kinds::POD, &kinds::CONFIG_MAP, &kinds::REPLICA_SET] {
            let leaves = flatten(shape(kind), &object);
            prop_assert_eq!(&inflate(shape(kind), &leaves), &object);
        }
    }

    #[test]
    fn a_document_goes_from_any_object_to_any_other(from in any_object(), to in any_object()) {
        let actor = Actor::new(crate::ids::NodeId([1; 32]), 1);
        for kind in [&kinds::DEPLOYMENT, &kinds::POD] {
            let (a, b) = (flatten(shape(kind), &from), flatten(shape(kind), &to));
            let mut document = Document::default();
            let first = document.write(&actor, diff(document.leaves(), &a));
            let second = document.write(&actor, diff(document.leaves(), &b));
            prop_assert_eq!(second.is_none(), from == to);
            let chunks: Vec<Chunk> = first.iter().chain(&second).map(|c| Chunk::read(&c.chunk).unwrap()).collect();
            let read = Document::of(&chunks);
            prop_assert_eq!(read.leaves(), &b);
            prop_assert_eq!(inflate(shape(kind), read.leaves()), to.clone());
        }
    }

    #[test]
    fn whatever_a_merge_leaves_is_an_object_and_settles(
        base in any_object(), left in any_object(), right in any_object()
    ) {
        let shape = shape(&kinds::DEPLOYMENT);
        let flat = |object: &Value| flatten(shape, object);
        // Each side's delta onto the other side: what a merge can come to.
        let mut merged = flat(&left);
        super::super::leaves::apply(&mut merged, diff(&flat(&base), &flat(&right)));
        let object = inflate(shape, &merged);
        prop_assert!(object.is_object());
        prop_assert_eq!(inflate(shape, &flat(&object)), object);
    }
}

#[test]
fn keyed_lists_merge_by_element_and_keep_their_order() {
    let list = |names: &[&str]| {
        let items: Vec<Value> = names.iter().map(|n| json!({"name": n, "image": n.to_uppercase()})).collect();
        json!({"spec": {"template": {"spec": {"containers": items}}}})
    };
    let shape = shape(&kinds::DEPLOYMENT);
    let base = flatten(shape, &list(&["b", "a"]));
    let mut merged = flatten(shape, &list(&["c", "b", "a"]));
    super::super::leaves::apply(&mut merged, diff(&base, &flatten(shape, &list(&["b"]))));
    assert_eq!(inflate(shape, &merged), list(&["b", "c"]), "a went, c came and is not in the order that won");
    let gone = "/spec/template/spec/containers#\"a\"/image".to_owned();
    merged.insert(gone, super::super::leaves::Leaf::Text("edited".into()));
    assert_eq!(inflate(shape, &merged), list(&["b", "c"]), "a container of which one leaf is left is gone");
}

#[test]
fn a_pods_spec_is_one_leaf_but_for_what_may_change() {
    let leaves = flatten(shape(&kinds::POD), &pod("a"));
    let paths: Vec<&str> = leaves.keys().map(String::as_str).filter(|p| p.starts_with("/spec")).collect();
    assert_eq!(paths, ["/spec", "/spec/containers#\"web\"/image", "/spec/terminationGracePeriodSeconds"]);
}

#[test]
fn duplicate_keys_make_a_list_one_leaf() {
    let object = json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}});
    let leaves = flatten(shape(&kinds::DEPLOYMENT), &object);
    assert_eq!(leaves.keys().collect::<Vec<_>>(), ["/spec/template/spec/containers"]);
}
