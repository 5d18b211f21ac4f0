#![allow(clippy::needless_pass_by_value, reason = "tables read better")]

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::object::kinds;
use crate::object::raw::MAX_DEPTH;
use crate::object::schema::{self, Field};

fn patched(form: PatchType, current: &Value, patch: &Value) -> Result<Value, BadPatch> {
    apply(current, patch.to_string().as_bytes(), form, schema::of(&kinds::POD)).map(|p| p.value)
}

fn strategic(current: &Value, patch: &Value) -> Value {
    patched(PatchType::Strategic, current, patch).unwrap()
}

#[test]
fn a_patch_is_told_by_its_content_type() {
    assert_eq!(PatchType::of("application/json-patch+json"), Some(PatchType::Json));
    assert_eq!(PatchType::of("application/Merge-Patch+json; charset=utf-8"), Some(PatchType::Merge));
    assert_eq!(PatchType::of("application/strategic-merge-patch+json"), Some(PatchType::Strategic));
    assert_eq!(PatchType::of("application/json"), None);
}

/// The table of RFC 7386, appendix A.
#[test]
fn merge_patch_follows_the_rfc() {
    let table = [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"a": "foo"}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ];
    for (current, patch, after) in table {
        assert_eq!(patched(PatchType::Merge, &current, &patch), Ok(after), "{current} {patch}");
    }
    let list = patched(PatchType::Merge, &json!({}), &json!([1]));
    assert!(matches!(list, Err(BadPatch::Malformed(_))), "{list:?}");
}

#[test]
fn json_patch_applies_its_operations_in_order_or_says_which_does_not_fit() {
    let current = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"list": [1, 2]}});
    let ok = json!([
        {"op": "test", "path": "/metadata/labels/a", "value": "1"},
        {"op": "test", "path": "/metadata/finalizers", "value": null},
        {"op": "add", "path": "/spec/list/-", "value": 3},
        {"op": "remove", "path": "/spec/list/0"},
        {"op": "replace", "path": "/metadata/labels/a", "value": "2"},
        {"op": "copy", "from": "/metadata/labels", "path": "/metadata/annotations"},
        {"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/x~1y"},
    ]);
    let after = json!({"metadata": {"labels": {"x/y": "2"}, "annotations": {"a": "2"}}, "spec": {"list": [2, 3]}});
    assert_eq!(patched(PatchType::Json, &current, &ok), Ok(after));
    let unfit = [
        (
            json!({"op": "test", "path": "/metadata/labels", "value": null}),
            "testing value /metadata/labels failed: test failed",
        ),
        (json!({"op": "test", "path": "/spec/list/0", "value": 7}), "testing value /spec/list/0 failed: test failed"),
        (
            json!({"op": "remove", "path": "/spec/none"}),
            "remove operation does not apply: doc is missing path: \"/spec/none\": path is invalid",
        ),
        (
            json!({"op": "replace", "path": "/a/b", "value": 1}),
            "replace operation does not apply: doc is missing path: \"/a/b\": path is invalid",
        ),
    ];
    for (operation, why) in unfit {
        let result = patched(PatchType::Json, &current, &json!([operation]));
        assert_eq!(result, Err(BadPatch::Unfit(why.to_owned())));
    }
    for malformed in [json!({}), json!([{"op": "jump", "path": "/a"}]), json!([{"op": "add", "path": "a", "value": 1}])]
    {
        let result = patched(PatchType::Json, &current, &malformed);
        assert!(matches!(result, Err(BadPatch::Malformed(_))), "{malformed} {result:?}");
    }
}

#[test]
fn a_json_patch_cannot_fill_the_memory() {
    let current = json!({"a": {"x": "x".repeat(1_000)}});
    let double = json!([{"op": "copy", "from": "/a", "path": "/a/y"}, {"op": "copy", "from": "/a", "path": "/a/z"}]);
    let doubles: Vec<_> = (0..40).flat_map(|_| double.as_array().unwrap().clone()).collect();
    assert!(matches!(patched(PatchType::Json, &current, &doubles.into()), Err(BadPatch::TooLarge(_))));
    let deeper: Vec<_> = (0..200).map(|i| json!({"op": "add", "path": "/a".repeat(i + 1), "value": {}})).collect();
    assert!(matches!(patched(PatchType::Json, &json!({}), &deeper.into()), Err(BadPatch::TooLarge(_))));
    let moves: Vec<_> = (0..150)
        .flat_map(|_| {
            [
                json!({"op": "add", "path": "/b", "value": {}}),
                json!({"op": "move", "from": "/a", "path": "/b/a"}),
                json!({"op": "move", "from": "/b", "path": "/a"}),
            ]
        })
        .collect();
    assert!(matches!(patched(PatchType::Json, &current, &moves.into()), Err(BadPatch::TooLarge(_))));
    let many = vec![json!({"op": "test", "path": "", "value": {}}); 10_001];
    assert!(matches!(patched(PatchType::Json, &json!({}), &many.into()), Err(BadPatch::TooLarge(_))));
    let deep = format!("[{{\"op\":\"add\",\"path\":\"/a\",\"value\":{}1{}}}]", "[".repeat(200), "]".repeat(200));
    let result = apply(&json!({}), deep.as_bytes(), PatchType::Json, schema::of(&kinds::POD));
    assert!(matches!(result, Err(BadPatch::Malformed(_))), "{MAX_DEPTH} is the bound: {result:?}");
}

#[test]
fn the_version_a_patch_names_is_reported() {
    let version = |form, patch: Value| {
        let current = json!({"metadata": {"resourceVersion": "7"}});
        apply(&current, patch.to_string().as_bytes(), form, schema::of(&kinds::POD)).unwrap().resource_version
    };
    let named = json!({"metadata": {"resourceVersion": "7"}});
    assert_eq!(version(PatchType::Merge, named.clone()).as_deref(), Some("7"));
    assert_eq!(version(PatchType::Strategic, named).as_deref(), Some("7"));
    assert_eq!(version(PatchType::Strategic, json!({"spec": {}})), None);
    let replace = json!([{"op": "replace", "path": "/metadata/resourceVersion", "value": "8"}]);
    assert_eq!(version(PatchType::Json, replace).as_deref(), Some("8"));
    assert_eq!(version(PatchType::Json, json!([])), None);
}

#[test]
fn faults_of_the_patch_are_reported() {
    let faults = |form, patch: &str| apply(&json!({}), patch.as_bytes(), form, schema::of(&kinds::POD)).unwrap().faults;
    let twice = r#"{"spec":{"nodeName":"a","nodeName":"b"}}"#;
    assert_eq!(faults(PatchType::Merge, twice), [r#"duplicate field "spec.nodeName""#]);
    assert_eq!(faults(PatchType::Strategic, twice), [r#"duplicate field "spec.nodeName""#]);
    let odd = r#"[{"op":"add","path":"/a","value":1,"foo":2,"op":"add"}]"#;
    let expected = [r#"json patch unknown field "[0].foo""#, r#"json patch duplicate field "[0].op""#];
    assert_eq!(faults(PatchType::Json, odd), expected);
}

fn pod(spec: Value) -> Value {
    json!({"spec": spec})
}

#[test]
fn strategic_merge_follows_the_schema() {
    let containers = |list: Value| pod(json!({"containers": list}));
    let table = [
        (
            "a container is changed by name",
            containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])),
            containers(json!([{"name": "b", "image": "2"}])),
            containers(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}])),
        ),
        (
            "a new container goes after what is there",
            containers(json!([{"name": "a"}])),
            containers(json!([{"name": "c"}])),
            containers(json!([{"name": "c"}, {"name": "a"}])),
        ),
        (
            "nested lists are merged too",
            containers(json!([{"name": "a", "env": [{"name": "X", "value": "1"}]}])),
            containers(json!([{"name": "a", "env": [{"name": "Y", "value": "2"}]}])),
            containers(json!([{"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]}])),
        ),
        (
            "lists without a strategy are replaced",
            containers(json!([{"name": "a", "args": ["1", "2"]}])),
            containers(json!([{"name": "a", "args": ["3"]}])),
            containers(json!([{"name": "a", "args": ["3"]}])),
        ),
        (
            "tolerations are atomic",
            pod(json!({"tolerations": [{"key": "a"}]})),
            pod(json!({"tolerations": [{"key": "b"}]})),
            pod(json!({"tolerations": [{"key": "b"}]})),
        ),
        (
            "$patch: delete takes an element",
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"name": "a", "$patch": "delete"}])),
            containers(json!([{"name": "b"}])),
        ),
        (
            "$patch: replace in a list replaces it",
            containers(json!([{"name": "a"}, {"name": "b"}])),
            containers(json!([{"$patch": "replace"}, {"name": "c"}])),
            containers(json!([{"name": "c"}])),
        ),
        (
            "$patch: replace in a map replaces it",
            pod(json!({"securityContext": {"runAsUser": 1, "runAsGroup": 2}})),
            pod(json!({"securityContext": {"$patch": "replace", "runAsUser": 3}})),
            pod(json!({"securityContext": {"runAsUser": 3}})),
        ),
        (
            "$patch: delete empties a map",
            pod(json!({"securityContext": {"runAsUser": 1}})),
            pod(json!({"securityContext": {"$patch": "delete"}})),
            pod(json!({"securityContext": {}})),
        ),
        (
            "$patch: merge is what happens anyhow",
            pod(json!({"securityContext": {"runAsUser": 1}})),
            pod(json!({"securityContext": {"$patch": "merge", "runAsGroup": 2}})),
            pod(json!({"securityContext": {"runAsUser": 1, "runAsGroup": 2}})),
        ),
        (
            "null removes",
            pod(json!({"nodeName": "n", "hostname": "h"})),
            pod(json!({"nodeName": null, "subdomain": null})),
            pod(json!({"hostname": "h"})),
        ),
        (
            "nulls in what is new are dropped",
            pod(json!({})),
            pod(json!({"securityContext": {"runAsUser": null, "runAsGroup": 1}})),
            pod(json!({"securityContext": {"runAsGroup": 1}})),
        ),
        (
            "directives in what is new are dropped",
            pod(json!({})),
            containers(
                json!([{"name": "gone", "$patch": "delete"}, {"name": "a", "$setElementOrder/env": [{"name": "X"}], "env": [{"name": "X"}]}]),
            ),
            containers(json!([{"name": "a", "env": [{"name": "X"}]}])),
        ),
        (
            "free maps are merged",
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"b": null, "c": "3"}}}),
            json!({"metadata": {"labels": {"a": "1", "c": "3"}}}),
        ),
        (
            "finalizers are merged as a set",
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["c", "a"]}}),
            json!({"metadata": {"finalizers": ["c", "a", "b"]}}),
        ),
        (
            "$deleteFromPrimitiveList takes scalars",
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "c", "x"]}}),
            json!({"metadata": {"finalizers": ["b"]}}),
        ),
        (
            "$retainKeys clears the rest",
            pod(json!({"volumes": [{"name": "v", "emptyDir": {}}]})),
            pod(json!({"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]})),
            pod(json!({"volumes": [{"name": "v", "configMap": {"name": "c"}}]})),
        ),
        (
            "$setElementOrder orders, and keeps what only the server has",
            containers(json!([{"name": "a"}, {"name": "sidecar"}, {"name": "b"}])),
            pod(
                json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}], "containers": [{"name": "c"}]}),
            ),
            containers(json!([{"name": "sidecar"}, {"name": "b"}, {"name": "c"}, {"name": "a"}])),
        ),
        (
            "$setElementOrder alone reorders",
            containers(json!([{"name": "a"}, {"name": "b"}])),
            pod(json!({"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]})),
            containers(json!([{"name": "b"}, {"name": "a"}])),
        ),
        (
            "what replaces an element takes its place",
            containers(json!([{"name": "a"}, {"name": "b"}])),
            pod(json!({"$setElementOrder/containers": [{"name": "e"}],
                "containers": [{"name": "b", "$patch": "delete"}, {"name": "e"}]})),
            containers(json!([{"name": "a"}, {"name": "e"}])),
        ),
        (
            "what only the server has stays in front",
            containers(json!([{"name": "istio"}, {"name": "a"}])),
            pod(json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "image": "2"}]})),
            containers(json!([{"name": "istio"}, {"name": "a", "image": "2"}])),
        ),
        (
            "another type replaces",
            pod(json!({"nodeSelector": {"a": "b"}})),
            pod(json!({"nodeSelector": "x"})),
            pod(json!({"nodeSelector": "x"})),
        ),
    ];
    for (what, current, patch, after) in table {
        assert_eq!(strategic(&current, &patch), after, "{what}");
    }
}

#[test]
fn bad_strategic_patches_are_told_from_unfit_ones() {
    let current = json!({"metadata": {"finalizers": ["x/y"]},
        "spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v"}]}});
    let malformed = [
        (pod(json!({"$patch": "jump"})), "unknown patch type"),
        (pod(json!({"containers": [{"name": "a", "$patch": 1}]})), "unknown patch type"),
        (
            pod(json!({"volumes": [{"name": "v", "$retainKeys": ["name"], "emptyDir": {}}]})),
            "invalid patch format of retainKeys",
        ),
        (pod(json!({"$setElementOrder/containers": "a"})), "invalid patch format of setElementOrder"),
        (
            pod(json!({"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "b"}]})),
            "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
        (json!({"metadata": {"$deleteFromPrimitiveList/finalizers": 1}}), "invalid patch format of primitive list"),
    ];
    for (patch, why) in malformed {
        match patched(PatchType::Strategic, &current, &patch) {
            Err(BadPatch::Malformed(message)) => assert!(message.starts_with(why), "{message}"),
            other => panic!("{patch}: {other:?}"),
        }
    }
    let unfit = [
        (pod(json!({"containers": [{"image": "x"}]})), "map: map[image:x] does not contain declared merge key: name"),
        (pod(json!({"containers": ["x"]})), "list element types are not identical: containers"),
        (pod(json!({"containers": [["x"]]})), "list element types are not identical: containers"),
    ];
    for (patch, why) in unfit {
        assert_eq!(patched(PatchType::Strategic, &current, &patch), Err(BadPatch::Unfit(why.into())), "{patch}");
    }
    assert!(patched(PatchType::Strategic, &current, &json!([])).is_err());
}

/// DNS serves 53/UDP and 53/TCP; the merge key is the number alone, and neither may get lost.
#[test]
fn ports_that_differ_in_protocol_only_are_kept() {
    let port = |protocol: &str| json!({"containerPort": 53, "protocol": protocol});
    let current = pod(json!({"containers": [{"name": "dns", "ports": [port("UDP"), port("TCP")]}]}));
    let patch =
        pod(json!({"$setElementOrder/containers": [{"name": "dns"}], "containers": [{"name": "dns", "image": "2"}]}));
    let after = strategic(&current, &patch);
    assert_eq!(after["spec"]["containers"][0]["ports"], json!([port("UDP"), port("TCP")]));
}

#[test]
fn long_lists_are_merged_in_no_time() {
    let list: Vec<_> = (0..20_000).map(|i| json!({"name": format!("e{i}"), "value": "x"})).collect();
    let spec = |env: &[Value]| pod(json!({"containers": [{"name": "a", "env": env}]}));
    let after = strategic(&spec(&list), &spec(&list));
    assert_eq!(after, spec(&list));
    let names: Vec<_> = (0..20_000).map(|i| format!("f/{i}")).collect();
    let meta = |names: &[String]| json!({"metadata": {"finalizers": names}});
    assert_eq!(strategic(&meta(&names), &meta(&names)), meta(&names));
}

/// Makes the strategic merge patch from `a` to `b`, as `kubectl apply` would with `a` applied last.
fn diff(a: &Map<String, Value>, b: &Map<String, Value>, shape: Option<&'static Struct>) -> Map<String, Value> {
    let mut patch = Map::new();
    for name in a.keys().filter(|name| !b.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, after) in b {
        let field = shape.and_then(|s| s.field(name));
        match (a.get(name), after) {
            (Some(before), after) if before == after => {}
            (Some(Value::Object(before)), Value::Object(after)) => {
                let inner = field.and_then(|f| f.shape.inner_struct());
                patch.insert(name.clone(), diff(before, after, inner).into());
            }
            (Some(Value::Array(before)), Value::Array(after)) if field.is_some_and(|f| f.merge) => {
                diff_lists(&mut patch, name, before, after, field.unwrap());
            }
            (_, after) => {
                patch.insert(name.clone(), after.clone());
            }
        }
    }
    patch
}

fn diff_lists(patch: &mut Map<String, Value>, name: &str, before: &[Value], after: &[Value], field: &'static Field) {
    let Some(key) = field.merge_key.as_deref() else {
        let gone: Vec<_> = before.iter().filter(|v| !after.contains(v)).cloned().collect();
        let new: Vec<_> = after.iter().filter(|v| !before.contains(v)).cloned().collect();
        patch.insert(format!("$deleteFromPrimitiveList/{name}"), gone.into());
        patch.insert(format!("$setElementOrder/{name}"), after.to_vec().into());
        patch.insert(name.to_owned(), new.into());
        return;
    };
    let find = |list: &[Value], item: &Value| list.iter().find(|o| o[key] == item[key]).cloned();
    let mut items = Vec::new();
    for item in after {
        match find(before, item) {
            None => items.push(item.clone()),
            Some(old) if old == *item => {}
            Some(old) => {
                let inner = field.shape.inner_struct();
                let mut change = diff(old.as_object().unwrap(), item.as_object().unwrap(), inner);
                change.insert(key.to_owned(), item[key].clone());
                items.push(change.into());
            }
        }
    }
    for item in before.iter().filter(|item| find(after, item).is_none()) {
        items.push(json!({key: item[key], "$patch": "delete"}));
    }
    let order: Vec<_> = after.iter().map(|item| json!({key: item[key]})).collect();
    patch.insert(format!("$setElementOrder/{name}"), order.into());
    patch.insert(name.to_owned(), items.into());
}

fn named(prefix: &'static str, inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    proptest::collection::btree_map(0..5u8, inner, 0..5).prop_shuffle_values(prefix)
}

trait Shuffled: Strategy<Value = std::collections::BTreeMap<u8, Value>> + Sized {
    /// Makes a list of objects with distinct names in any order.
    fn prop_shuffle_values(self, prefix: &'static str) -> impl Strategy<Value = Value> {
        self.prop_map(move |map| {
            let named = |(i, mut v): (u8, Value)| {
                v["name"] = format!("{prefix}{i}").into();
                v
            };
            map.into_iter().map(named).collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_map(Value::from)
    }
}

impl<S: Strategy<Value = std::collections::BTreeMap<u8, Value>>> Shuffled for S {}

fn some_pod() -> impl Strategy<Value = Value> {
    let env = named("E", "[a-c]".prop_map(|v| json!({"value": v})));
    let container = (env, "[a-c]", proptest::collection::vec("[a-c]", 0..3))
        .prop_map(|(env, image, args)| json!({"env": env, "image": image, "args": args}));
    let labels = proptest::collection::btree_map("[a-e]", "[a-c]", 0..4);
    let finalizers = proptest::collection::btree_set("[a-f]", 0..5)
        .prop_map(|set| set.into_iter().collect::<Vec<_>>())
        .prop_shuffle();
    (named("c", container), labels, finalizers, proptest::option::of("[a-c]")).prop_map(
        |(containers, labels, finalizers, node)| {
            let mut pod =
                json!({"metadata": {"labels": labels, "finalizers": finalizers}, "spec": {"containers": containers}});
            if let Some(node) = node {
                pod["spec"]["nodeName"] = node.into();
            }
            pod
        },
    )
}

proptest! {
    #[test]
    fn applying_the_difference_gives_the_other(a in some_pod(), b in some_pod()) {
        let patch = diff(a.as_object().unwrap(), b.as_object().unwrap(), Some(schema::of(&kinds::POD)));
        prop_assert_eq!(strategic(&a, &Value::Object(patch)), b);
    }

    #[test]
    fn an_empty_patch_changes_nothing(a in some_pod()) {
        prop_assert_eq!(strategic(&a, &json!({})), a.clone());
        prop_assert_eq!(patched(PatchType::Merge, &a, &json!({})).unwrap(), a.clone());
        prop_assert_eq!(patched(PatchType::Json, &a, &json!([])).unwrap(), a);
    }

    /// Whatever a client sends, the answer is an object or an error.
    #[test]
    fn nothing_panics(a in some_pod(), text in r#"\{("(\$patch|\$retainKeys|\$setElementOrder/containers|spec|metadata|containers)":(1|null|"delete"|"replace"|\[\{"name":"c1"\}\]|\[1\]|\{"\$patch":"delete"\}),?){0,4}\}"#) {
        for form in [PatchType::Json, PatchType::Merge, PatchType::Strategic] {
            let wrapped = format!(r#"{{"spec":{text}}}"#);
            let _ = apply(&a, text.as_bytes(), form, schema::of(&kinds::POD));
            let _ = apply(&a, wrapped.as_bytes(), form, schema::of(&kinds::POD));
        }
    }
}
