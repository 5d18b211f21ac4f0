use proptest::prelude::*;
use std::collections::BTreeMap;

use super::*;
use crate::object::kinds::{CONFIG_MAP, DEPLOYMENT, POD, SERVICE};
use crate::object::write::{self, FieldValidation, How, Part, WriteError};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn by(manager: &str, second: i64) -> By<'_> {
    By { manager, subresource: "", now: at(second) }
}

fn key(kind: &'static Kind) -> Key {
    Key::new(kind, "shop", "web")
}

fn how(manager: &str, force: bool, second: i64) -> How<'_> {
    How { part: Part::Spec, validation: FieldValidation::Strict, by: by(manager, second), force }
}

fn applied(kind: &'static Kind, live: Option<&Value>, config: &Value, how: How<'_>) -> Result<Value, WriteError> {
    write::apply(kind, &key(kind), live, config.to_string().as_bytes(), how).map(|written| written.object)
}

fn apply_as(manager: &str, live: Option<&Value>, config: &Value) -> Result<Value, WriteError> {
    applied(&CONFIG_MAP, live, config, how(manager, false, 0))
}

fn map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": data})
}

/// What a manager owns, as `fieldsV1` has it.
fn owned(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.filter(|e| e["manager"] == manager).map(|e| e["fieldsV1"].clone()).next().unwrap_or_default()
}

fn put(kind: &'static Kind, live: &Value, body: &Value, by: &By<'_>) -> Value {
    let body = body.to_string();
    let validation = FieldValidation::Strict;
    let mut new = write::update(kind, live, body.as_bytes(), "", Part::Spec, validation).unwrap().object;
    note(kind, None, Some(live), &mut new, by);
    new
}

fn post(kind: &'static Kind, body: &Value, by: &By<'_>) -> Value {
    let body = body.to_string();
    let mut new = write::create(kind, "shop", body.as_bytes(), "", FieldValidation::Strict, "").unwrap().object;
    note(kind, None, None, &mut new, by);
    new
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx:1", "args": ["-v"],
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

#[test]
fn field_sets_have_upstreams_form() {
    let text = json!({
        "f:metadata": {"f:finalizers": {".": {}, "v:\"a/b\"": {}}},
        "f:spec": {"f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            "f:list": {"i:3": {}}},
    });
    let set = FieldSet::of_json(&text).unwrap();
    assert_eq!(set.to_json(), text);
    let shown: Vec<_> = set.paths().iter().map(|path| element::show(path)).collect();
    assert_eq!(
        shown,
        [
            ".metadata.finalizers",
            ".metadata.finalizers[=\"a/b\"]",
            ".spec.list[3]",
            ".spec.ports[containerPort=80,protocol=\"TCP\"]",
            ".spec.ports[containerPort=80,protocol=\"TCP\"].containerPort",
        ]
    );
    let spaced = json!({"k:{\"b\": 1, \"a\":2}": {}});
    assert_eq!(FieldSet::of_json(&spaced).unwrap().to_json(), json!({"k:{\"a\":2,\"b\":1}": {}}));
    for bad in
        [json!([]), json!({"x": {}}), json!({"f:a": 1}), json!({"k:1": {}}), json!({"i:x": {}}), json!({"v:": {}})]
    {
        assert!(FieldSet::of_json(&bad).is_err(), "{bad}");
    }
}

#[test]
fn who_creates_owns_what_it_said_and_the_defaults() {
    let made = post(&DEPLOYMENT, &deployment(), &by("kubectl-create", 0));
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["operation"], &entry["apiVersion"], &entry["fieldsType"], &entry["time"], entry.get("subresource")),
        (&json!("Update"), &json!("apps/v1"), &json!("FieldsV1"), &json!("2023-11-14T22:13:20Z"), None)
    );
    let fields = &entry["fieldsV1"];
    assert_eq!(fields["f:metadata"], json!({"f:labels": {".": {}, "f:app": {}}}), "not the name");
    let spec = &fields["f:spec"];
    assert_eq!(spec["f:selector"], json!({}), "a selector is one value");
    assert_eq!(spec["f:strategy"]["f:rollingUpdate"], json!({".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}));
    let container = &spec["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"web\"}"];
    assert_eq!(container["."], json!({}));
    assert_eq!(container["f:args"], json!({}), "an atomic list is one value");
    assert_eq!(container["f:imagePullPolicy"], json!({}));
    let port = json!({".": {}, "f:containerPort": {}, "f:protocol": {}});
    assert_eq!(container["f:ports"], json!({".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": port}));
    assert_eq!(fields.get("f:status"), None);
}

#[test]
fn who_changes_a_field_owns_it_and_who_removes_it_leaves_it_to_nobody() {
    let made = post(&DEPLOYMENT, &deployment(), &by("a", 0));
    let mut body = made.clone();
    body["spec"]["replicas"] = 5.into();
    body["metadata"]["labels"] = json!({"tier": "front"});
    let changed = put(&DEPLOYMENT, &made, &body, &by("b", 100));
    assert_eq!(owned(&changed, "b"), json!({"f:metadata": {"f:labels": {"f:tier": {}}}, "f:spec": {"f:replicas": {}}}));
    assert_eq!(owned(&changed, "a")["f:spec"].get("f:replicas"), None);
    assert_eq!(owned(&changed, "a")["f:metadata"], json!({"f:labels": {}}), "the removed label is nobody's");
    let times: Vec<_> =
        changed["metadata"]["managedFields"].as_array().unwrap().iter().map(|e| e["time"].clone()).collect();
    assert_eq!(times, ["2023-11-14T22:13:20Z", "2023-11-14T22:15:00Z"]);
}

#[test]
fn a_write_that_changes_nothing_leaves_the_entries_alone() {
    let made = post(&DEPLOYMENT, &deployment(), &by("a", 0));
    assert_eq!(put(&DEPLOYMENT, &made, &made, &by("b", 1_000)), made);
    assert_eq!(put(&DEPLOYMENT, &made, &made, &by("a", 1_000)), made);
}

#[test]
fn an_entrys_time_is_renewed_by_other_fields_at_once_and_by_other_values_after_a_minute() {
    let made = post(&CONFIG_MAP, &map(&json!({"a": "1"})), &by("a", 0));
    let time = |o: &Value| o["metadata"]["managedFields"][0]["time"].clone();
    let soon = put(&CONFIG_MAP, &made, &map(&json!({"a": "2"})), &by("a", 59));
    assert_eq!(time(&soon), time(&made));
    let late = put(&CONFIG_MAP, &soon, &map(&json!({"a": "3"})), &by("a", 61));
    assert_eq!(time(&late), "2023-11-14T22:14:21Z");
    let more = put(&CONFIG_MAP, &made, &map(&json!({"a": "1", "b": "1"})), &by("a", 5));
    assert_eq!(time(&more), "2023-11-14T22:13:25Z");
}

#[test]
fn an_apply_makes_what_is_not_there_and_owns_what_it_names() {
    let made = applied(&DEPLOYMENT, None, &deployment(), how("me", false, 0)).unwrap();
    assert_eq!(made["metadata"]["namespace"], "shop");
    assert_eq!(made["spec"]["revisionHistoryLimit"], 10, "it has its defaults");
    let entry = &made["metadata"]["managedFields"][0];
    assert_eq!(
        (&entry["operation"], made["metadata"]["managedFields"].as_array().unwrap().len()),
        (&json!("Apply"), 1)
    );
    let fields = &entry["fieldsV1"];
    assert_eq!(fields["f:metadata"], json!({"f:labels": {"f:app": {}}}));
    assert_eq!(fields["f:spec"].get("f:revisionHistoryLimit"), None, "and does not own them");
    let container = &fields["f:spec"]["f:template"]["f:spec"]["f:containers"]["k:{\"name\":\"web\"}"];
    let names: Vec<_> = container.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, [".", "f:args", "f:env", "f:image", "f:name", "f:ports"]);
    assert_eq!(
        container["f:ports"],
        json!({"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}),
        "a key that is not said has its default"
    );
}

#[test]
fn to_apply_again_changes_nothing() {
    let made = applied(&DEPLOYMENT, None, &deployment(), how("me", false, 0)).unwrap();
    assert_eq!(applied(&DEPLOYMENT, Some(&made), &deployment(), how("me", false, 500)).unwrap(), made);
}

#[test]
fn what_is_no_longer_applied_goes_with_the_defaults_it_brought() {
    let made = applied(&DEPLOYMENT, None, &deployment(), how("me", false, 0)).unwrap();
    let mut less = deployment();
    let container = &mut less["spec"]["template"]["spec"]["containers"][0];
    container["env"] = json!([{"name": "B", "value": "2"}]);
    container.as_object_mut().unwrap().remove("ports");
    container.as_object_mut().unwrap().remove("args");
    less["spec"].as_object_mut().unwrap().remove("replicas");
    let after = applied(&DEPLOYMENT, Some(&made), &less, how("me", false, 1)).unwrap();
    let container = &after["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["env"], json!([{"name": "B", "value": "2"}]));
    assert_eq!((container.get("ports"), container.get("args")), (None, None));
    assert_eq!(after["spec"]["replicas"], 1, "the default again");
    assert_eq!(container["imagePullPolicy"], "IfNotPresent", "what it never named stays");
}

#[test]
fn what_another_owns_too_stays() {
    let made = apply_as("a", None, &map(&json!({"x": "1", "y": "1"}))).unwrap();
    let shared = apply_as("b", Some(&made), &map(&json!({"x": "1"}))).unwrap();
    assert_eq!(owned(&shared, "b"), json!({"f:data": {"f:x": {}}}), "the same value is no conflict");
    let less = apply_as("a", Some(&shared), &map(&json!({}))).unwrap();
    assert_eq!(less["data"], json!({"x": "1"}), "y was a's alone");
    assert_eq!(owned(&less, "a"), Value::Null);
    let none = apply_as("b", Some(&less), &map(&json!({}))).unwrap();
    assert_eq!(none.get("data"), None);
    assert_eq!(none["metadata"].get("managedFields"), None);
}

#[test]
fn to_change_what_others_own_is_a_conflict_in_upstreams_words() {
    let made = apply_as("a", None, &map(&json!({"x": "1", "y": "1"}))).unwrap();
    let other = map(&json!({"x": "2"}));
    let WriteError::FieldConflicts { message, conflicts } = apply_as("b", Some(&made), &other).unwrap_err() else {
        panic!("no conflict")
    };
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"a\": .data.x");
    assert_eq!((&*conflicts[0].manager, &*conflicts[0].field), ("\"a\"", ".data.x"));

    let made = put(&CONFIG_MAP, &made, &map(&json!({"x": "1", "y": "1", "z": "1"})), &by("edit", 0));
    let other = map(&json!({"x": "2", "y": "2", "z": "2"}));
    let WriteError::FieldConflicts { message, conflicts } = apply_as("b", Some(&made), &other).unwrap_err() else {
        panic!("no conflict")
    };
    assert_eq!(
        message,
        "Apply failed with 3 conflicts: conflicts with \"a\":\n- .data.x\n- .data.y\nconflicts with \"edit\" using v1:\n- .data.z"
    );
    assert_eq!(conflicts.len(), 3);
}

#[test]
fn force_takes_what_others_own() {
    let made = apply_as("a", None, &map(&json!({"x": "1", "y": "1"}))).unwrap();
    let forced = applied(&CONFIG_MAP, Some(&made), &map(&json!({"x": "2"})), how("b", true, 9)).unwrap();
    assert_eq!(forced["data"], json!({"x": "2", "y": "1"}));
    assert_eq!(owned(&forced, "a"), json!({"f:data": {"f:y": {}}}));
    assert_eq!(owned(&forced, "b"), json!({"f:data": {"f:x": {}}}));
}

#[test]
fn elements_of_lists_and_sets_have_owners_of_their_own() {
    let with = |env: &Value, finalizers: &Value| {
        let mut config = deployment();
        config["metadata"]["finalizers"] = finalizers.clone();
        config["spec"]["template"]["spec"]["containers"] = json!([{"name": "web", "image": "nginx:1", "env": env}]);
        config
    };
    let a = with(&json!([{"name": "B", "value": "b"}, {"name": "A", "value": "a"}]), &json!(["x/a"]));
    let b = with(&json!([{"name": "C", "value": "c"}, {"name": "A", "value": "a"}]), &json!(["x/b"]));
    let made = applied(&DEPLOYMENT, None, &a, how("a", false, 0)).unwrap();
    let both = applied(&DEPLOYMENT, Some(&made), &b, how("b", false, 0)).unwrap();
    let names = |o: &Value| {
        let env = o["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
        env.iter().map(|e| e["name"].as_str().unwrap().to_owned()).collect::<String>()
    };
    assert_eq!(names(&both), "CBA", "what is applied comes in its order");
    assert_eq!(both["metadata"]["finalizers"], json!(["x/b", "x/a"]));
    let less = applied(&DEPLOYMENT, Some(&both), &with(&json!([]), &json!([])), how("a", false, 0)).unwrap();
    assert_eq!(names(&less), "CA");
    assert_eq!(less["metadata"]["finalizers"], json!(["x/b"]));
}

#[test]
fn what_was_there_before_anybody_applied_belongs_to_a_manager_of_its_own() {
    let mut old = post(&CONFIG_MAP, &map(&json!({"x": "1", "y": "1"})), &by("a", 0));
    old["metadata"].as_object_mut().unwrap().remove("managedFields");
    let put = put(&CONFIG_MAP, &old, &map(&json!({"x": "9", "y": "1"})), &by("a", 0));
    assert_eq!(put["metadata"].get("managedFields"), None, "nobody is noted before the first apply");
    let after = apply_as("me", Some(&old), &map(&json!({"x": "1"}))).unwrap();
    assert_eq!(after["data"], json!({"x": "1", "y": "1"}));
    assert_eq!(owned(&after, "before-first-apply"), json!({"f:data": {".": {}, "f:x": {}, "f:y": {}}}));
    let WriteError::FieldConflicts { message, .. } = apply_as("me", Some(&old), &map(&json!({"x": "2"}))).unwrap_err()
    else {
        panic!("no conflict")
    };
    assert_eq!(message, "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.x");
}

#[test]
fn a_pod_is_noted_from_its_first_apply_on() {
    let pod = |image: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "web", "image": image}]}})
    };
    let made = post(&POD, &pod("nginx:1"), &by("kubectl-run", 0));
    assert_eq!(made["metadata"].get("managedFields"), None);
    let mut labelled = made.clone();
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let labelled = put(&POD, &made, &labelled, &by("kubectl-label", 0));
    assert_eq!(labelled["metadata"].get("managedFields"), None);
    let after = applied(&POD, Some(&labelled), &pod("nginx:1"), how("me", false, 0)).unwrap();
    assert_eq!(after["metadata"]["managedFields"].as_array().unwrap().len(), 2, "me, and who was before");
    assert!(applied(&POD, Some(&labelled), &pod("nginx:2"), how("me", false, 0)).is_err());
}

#[test]
fn kubectl_may_take_over_what_it_applied_on_the_clients_side() {
    let annotated = |data: &Value| {
        let mut body = map(data);
        let last = map(&json!({"x": "1", "y": "1"})).to_string();
        body["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": last});
        body
    };
    let made = post(&CONFIG_MAP, &annotated(&json!({"x": "1", "y": "1"})), &by("kubectl-client-side-apply", 0));
    let config = map(&json!({"x": "2"}));
    assert!(apply_as("other", Some(&made), &config).is_err());
    assert_eq!(apply_as("kubectl", Some(&made), &config).unwrap()["data"], json!({"x": "2", "y": "1"}));
    let after = apply_as("kubectl", Some(&made), &config).unwrap();
    let said = after["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(said).unwrap()["data"], json!({"x": "2"}), "it follows");
    assert_eq!(apply_as("kubectl", Some(&after), &config).unwrap(), after);
    let edited = put(&CONFIG_MAP, &made, &annotated(&json!({"x": "7", "y": "1"})), &by("edit", 0));
    assert!(apply_as("kubectl", Some(&edited), &config).is_err(), "somebody else changed it meanwhile");
}

#[test]
fn a_status_that_is_applied_with_the_object_is_dropped() {
    let mut config = deployment();
    config["status"] = json!({"replicas": 7});
    let made = applied(&DEPLOYMENT, None, &config, how("me", false, 0)).unwrap();
    assert_eq!(made["status"], json!({}));
    assert_eq!(owned(&made, "me").get("f:status"), None);
}

#[test]
fn a_status_and_a_scale_are_applied_apart() {
    let made = applied(&DEPLOYMENT, None, &deployment(), how("me", false, 0)).unwrap();
    let part = |part: Part, force| How {
        part,
        by: By { subresource: part.subresource(), ..by("op", 0) },
        ..how("", force, 0)
    };
    let status = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"x": "y"}},
        "spec": {"replicas": 9}, "status": {"replicas": 2}});
    let after = applied(&DEPLOYMENT, Some(&made), &status, part(Part::Status, false)).unwrap();
    assert_eq!((&after["status"], &after["spec"]), (&json!({"replicas": 2}), &made["spec"]));
    assert_eq!(owned(&after, "op"), json!({"f:status": {"f:replicas": {}}}));
    assert_eq!(after["metadata"]["labels"], made["metadata"]["labels"]);

    let scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 7}});
    let refused = applied(&DEPLOYMENT, Some(&made), &scale, part(Part::Scale, false)).unwrap_err();
    assert!(matches!(refused, WriteError::FieldConflicts { .. }), "{refused}");
    let after = applied(&DEPLOYMENT, Some(&made), &scale, part(Part::Scale, true)).unwrap();
    assert_eq!(after["spec"]["replicas"], 7);
    assert_eq!(owned(&after, "op"), json!({"f:spec": {"f:replicas": {}}}));
}

#[test]
fn what_cannot_be_applied_is_refused() {
    let made = apply_as("a", None, &map(&json!({"x": "1"}))).unwrap();
    let with = |path: &str, name: &str, value: Value| {
        let mut config = map(&json!({"x": "1"}));
        config.pointer_mut(path).unwrap()[name] = value;
        config
    };
    let bad = |config: &Value, live: Option<&Value>| apply_as("me", live, config).unwrap_err().to_string();
    assert_eq!(
        bad(&with("/metadata", "managedFields", json!([{}])), Some(&made)),
        "metadata.managedFields must be nil"
    );
    assert_eq!(
        bad(&with("", "datum", json!({})), Some(&made)),
        "failed to create typed patch object (shop/web; v1, Kind=ConfigMap): .datum: field not declared in schema"
    );
    assert_eq!(
        bad(&with("/metadata", "name", json!("other")), Some(&made)),
        "the name of the object (other) does not match the name on the URL (web)"
    );
    assert_eq!(
        bad(&with("/metadata", "resourceVersion", json!("7")), None),
        "resourceVersion should not be set on objects to be created"
    );
    assert!(bad(&with("/metadata", "uid", json!("u")), None).starts_with("uid mismatch"));
    assert!(bad(&with("", "kind", json!("")), None).contains("'kind' is missing"));
    assert!(bad(&with("", "kind", json!("Secret")), None).contains("Secret"));
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "1"}});
    assert_eq!(apply_as("me", None, &nameless).unwrap()["metadata"]["name"], "web", "the URL says it");

    let service = |ports: &Value| {
        let config =
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": ports}});
        applied(&SERVICE, None, &config, how("me", false, 0)).map_err(|e| e.to_string())
    };
    assert!(service(&json!([{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}])).is_ok());
    assert_eq!(
        service(&json!([{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "TCP"}])).unwrap_err(),
        "failed to create typed patch object (shop/web; v1, Kind=Service): .spec.ports: duplicate entries for key \
         [port=80,protocol=\"TCP\"]"
    );
    assert!(service(&json!([{"name": "a"}])).unwrap_err().contains("omits key field \"port\""));
}

#[test]
fn a_client_may_rewrite_the_entries_and_nonsense_is_passed_over() {
    let made = post(&CONFIG_MAP, &map(&json!({"x": "1"})), &by("a", 0));
    let with = |entries: Value| {
        let mut body = made.clone();
        body["metadata"]["managedFields"] = entries;
        put(&CONFIG_MAP, &made, &body, &by("b", 0))["metadata"].get("managedFields").cloned()
    };
    let mut renamed = made["metadata"]["managedFields"].clone();
    renamed[0]["manager"] = "c".into();
    renamed[0]["operation"] = "Apply".into();
    assert_eq!(with(renamed.clone()), Some(renamed));
    assert_eq!(with(json!([{"operation": "Guess"}])), made["metadata"].get("managedFields").cloned());
    assert_eq!(with(json!([{}])), None, "cleared");
}

#[test]
fn of_many_updaters_the_oldest_become_one() {
    let mut object = post(&CONFIG_MAP, &map(&json!({"k0": "v"})), &by("m0", 0));
    for n in 1..15 {
        let mut body = object.clone();
        body["data"][format!("k{n}")] = "v".into();
        object = put(&CONFIG_MAP, &object, &body, &by(&format!("m{n}"), n * 100));
    }
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!(entries.len(), 10);
    let ancient = owned(&object, "ancient-changes");
    assert_eq!(ancient["f:data"].as_object().unwrap().len(), 7, "k0 to k5 and the map: {ancient}");
}

/// What one applier says: labels (a map), environment (a list of objects) and finalizers (a set) by name.
fn config(says: &BTreeMap<String, u8>) -> Value {
    let mut config = deployment();
    let env: Vec<_> = says.iter().map(|(name, value)| json!({"name": name, "value": value.to_string()})).collect();
    let labels: BTreeMap<_, _> = says.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
    config["metadata"] = json!({"name": "web", "labels": labels,
        "finalizers": says.keys().map(|name| format!("x/{name}")).collect::<Vec<_>>()});
    config["spec"]["template"]["spec"]["containers"] = json!([{"name": "web", "image": "nginx:1", "env": env}]);
    config
}

/// What an object has of all that appliers say.
fn state(object: &Value) -> BTreeMap<String, u8> {
    let env = object["spec"]["template"]["spec"]["containers"][0]["env"].as_array().cloned().unwrap_or_default();
    let number = |v: &Value| v.as_str().unwrap().parse::<u8>().unwrap();
    let says: BTreeMap<_, _> =
        env.iter().map(|e| (e["name"].as_str().unwrap().to_owned(), number(&e["value"]))).collect();
    let labels = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    assert_eq!(says, labels.iter().map(|(name, v)| (name.clone(), number(v))).collect(), "{object}");
    let finalizers = object["metadata"]["finalizers"].as_array().map_or(0, Vec::len);
    assert_eq!(finalizers, says.len());
    says
}

fn says() -> impl Strategy<Value = BTreeMap<String, u8>> {
    proptest::collection::btree_map("[a-e]", 0..3_u8, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_apply_is_idempotent(first in says(), second in says(), other in says()) {
        let run = |live: Option<&Value>, who: &str, says: &BTreeMap<String, u8>, time| {
            applied(&DEPLOYMENT, live, &config(says), how(who, true, time)).unwrap()
        };
        let live = run(None, "a", &first, 0);
        let live = run(Some(&live), "b", &other, 1);
        let once = run(Some(&live), "a", &second, 2);
        prop_assert_eq!(&run(Some(&once), "a", &second, 900), &once);
    }

    /// What goes is what the applier said, says no longer, and nobody else says.
    #[test]
    fn a_subset_removes_what_was_this_managers_alone(all in says(), keep in proptest::collection::btree_set("[a-e]", 0..5), other in says()) {
        let live = applied(&DEPLOYMENT, None, &config(&all), how("a", false, 0)).unwrap();
        let live = applied(&DEPLOYMENT, Some(&live), &config(&other), how("b", true, 0)).unwrap();
        let subset: BTreeMap<_, _> = all.iter().filter(|(n, _)| keep.contains(*n)).map(|(n, v)| (n.clone(), *v)).collect();
        let after = applied(&DEPLOYMENT, Some(&live), &config(&subset), how("a", true, 0)).unwrap();
        let mut expected = other.clone();
        expected.extend(subset);
        prop_assert_eq!(state(&after), expected);
    }

    #[test]
    fn disjoint_appliers_never_conflict(a in says(), b in says(), again in says()) {
        let b: BTreeMap<_, _> = b.into_iter().map(|(name, v)| (name.to_uppercase(), v)).collect();
        let live = applied(&DEPLOYMENT, None, &config(&a), how("a", false, 0)).unwrap();
        let live = applied(&DEPLOYMENT, Some(&live), &config(&b), how("b", false, 0)).unwrap();
        let after = applied(&DEPLOYMENT, Some(&live), &config(&again), how("a", false, 0)).unwrap();
        let mut expected = b;
        expected.extend(again);
        prop_assert_eq!(state(&after), expected);
    }

    #[test]
    fn sets_are_sets(a in proptest::collection::vec("[a-c]{1,3}", 0..8), b in proptest::collection::vec("[a-c]{1,3}", 0..8)) {
        let set = |texts: &[String]| {
            let mut set = FieldSet::default();
            texts.iter().for_each(|t| set.insert(&t.chars().map(|c| Element::Field(c.into())).collect::<Vec<_>>()));
            set
        };
        let (a, b) = (set(&a), set(&b));
        prop_assert_eq!(a.difference(&b).union(&a.intersection(&b)), a.clone());
        prop_assert!(a.difference(&b).intersection(&b).is_empty());
        prop_assert_eq!(FieldSet::of_json(&a.to_json()).unwrap(), a.clone());
        prop_assert!(a.without(&b).difference(&a).is_empty());
    }
}
