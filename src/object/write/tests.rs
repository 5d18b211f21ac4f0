use serde_json::json;

use super::*;
use crate::object::kinds::KINDS;
use crate::object::validation::Cause;

const JSON: &str = "application/json";
const STRICT: FieldValidation = FieldValidation::Strict;

fn web() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]},
            "template": {
                "metadata": {"labels": {"app": "web", "tier": "front"}},
                "spec": {"containers": [{"name": "web", "image": "nginx:1.27", "ports": [{"containerPort": 80}]}]},
            },
        },
    })
}

fn post(kind: &'static Kind, body: &Value) -> Result<Written, WriteError> {
    create(kind, "shop", body.to_string().as_bytes(), JSON, STRICT, "x2b4z")
}

/// `web` as the store would show it.
fn stored() -> Value {
    let mut object = post(&kinds::DEPLOYMENT, &web()).unwrap().object;
    let meta = object["metadata"].as_object_mut().unwrap();
    meta.insert("uid".into(), "0a0a0a0a-0000-4000-8000-000000000001".into());
    meta.insert("resourceVersion".into(), "7".into());
    meta.insert("generation".into(), 1.into());
    meta.insert("creationTimestamp".into(), "2025-01-02T03:04:05Z".into());
    object["status"] = json!({"replicas": 2, "observedGeneration": 1});
    object
}

fn put(current: &Value, body: &Value, part: Part) -> Result<Written, WriteError> {
    update(&kinds::DEPLOYMENT, current, body.to_string().as_bytes(), JSON, part, STRICT)
}

fn patched(current: &Value, body: &Value, form: PatchType, part: Part) -> Result<Written, WriteError> {
    patch(&kinds::DEPLOYMENT, current, body.to_string().as_bytes(), form, part, STRICT)
}

fn without(object: &Value, path: &str, name: &str) -> Value {
    let mut object = object.clone();
    object.pointer_mut(path).unwrap().as_object_mut().unwrap().remove(name);
    object
}

#[test]
fn a_created_object_is_placed_stripped_and_defaulted() {
    let mut body = web();
    body["metadata"]["uid"] = "mine".into();
    body["metadata"]["generation"] = 9.into();
    body["metadata"]["creationTimestamp"] = Value::Null;
    body["metadata"]["managedFields"] = json!([{"manager": "me"}]);
    body["status"] = json!({"replicas": 9});
    let object = post(&kinds::DEPLOYMENT, &body).unwrap().object;
    assert_eq!(object["metadata"], json!({"name": "web", "namespace": "shop", "labels": {"app": "web"}}));
    assert_eq!(object["spec"]["revisionHistoryLimit"], 10);
    assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"], "TCP");
    assert_eq!(object["status"].get("replicas"), None);
}

/// As little as makes an object of a kind valid.
fn of_level_5(kind: &str) -> Value {
    let spec = web()["spec"].clone();
    let never = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    match kind {
        "PersistentVolumeClaim" => json!({"spec": claim}),
        "PersistentVolume" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}})
        }
        "ReplicationController" => json!({"spec": {"template": spec["template"]}}),
        "DaemonSet" | "StatefulSet" => json!({"spec": {"selector": spec["selector"], "template": spec["template"]}}),
        "HorizontalPodAutoscaler" => {
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}})
        }
        "CronJob" => json!({"spec": {"schedule": "@daily", "jobTemplate": {"spec": {"template": never}}}}),
        "Job" => json!({"spec": {"template": never}}),
        "CertificateSigningRequest" => {
            json!({"spec": {"request": "eA==", "signerName": "test.dev/it", "usages": ["client auth"]}})
        }
        "Ingress" => json!({"spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}}),
        "RoleBinding" | "ClusterRoleBinding" => json!({"roleRef": {"kind": "ClusterRole", "name": "view"}}),
        "StorageClass" => json!({"provisioner": "test.dev/it"}),
        _ => json!({}),
    }
}

#[test]
fn every_kind_can_be_written_and_written_again() {
    for kind in KINDS {
        let minimal = match kind.kind {
            "Deployment" => web(),
            "ReplicaSet" => {
                let mut set = web();
                set["kind"] = "ReplicaSet".into();
                set
            }
            "Pod" => json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}),
            "Service" => json!({"metadata": {"name": "web"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}),
            "Event" => json!({"metadata": {"name": "web"}, "involvedObject": {"namespace": "shop"}}),
            "CustomResourceDefinition" => {
                json!({"metadata": {"name": "webs.test.dev"}, "spec": {"group": "test.dev", "scope": "Cluster",
                "names": {"plural": "webs", "kind": "Web"}, "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object"}}}]}})
            }
            "EndpointSlice" => json!({"metadata": {"name": "web"}, "addressType": "IPv4", "endpoints": []}),
            other => {
                let mut object = of_level_5(other);
                object["metadata"]["name"] = if other == "IPAddress" { "192.0.2.9".into() } else { "web".into() };
                object
            }
        };
        let first = create_value(kind, "shop", minimal).unwrap_or_else(|e| panic!("{kind}: {e:?}")).object;
        assert_eq!(first["metadata"].get("namespace").is_some(), kind.namespaced, "{kind}");
        assert_eq!(first["kind"], kind.kind);
        let body = without(&first, "", "status");
        let mut again = body.clone();
        again["metadata"]["resourceVersion"] = "5".into();
        let put = update(*kind, &first, again.to_string().as_bytes(), JSON, Part::Spec, STRICT).unwrap();
        assert_eq!(put.object, first, "{kind}: a PUT of what is there changes nothing");
        assert_eq!(put.revision, Some(Revision(5)));
        for form in [PatchType::Merge, PatchType::Strategic] {
            let same = patch(*kind, &first, body.to_string().as_bytes(), form, Part::Spec, STRICT).unwrap();
            assert_eq!(same.object, first, "{kind}: nor does a patch");
        }
    }
}

#[test]
fn names_are_given_or_generated() {
    let mut body = without(&web(), "/metadata", "name");
    body["metadata"]["generateName"] = "web-".into();
    assert_eq!(post(&kinds::DEPLOYMENT, &body).unwrap().object["metadata"]["name"], "web-x2b4z");
    body["metadata"]["generateName"] = "w".repeat(63).into();
    let name = post(&kinds::DEPLOYMENT, &body).unwrap().object["metadata"]["name"].as_str().unwrap().to_owned();
    assert_eq!(name, format!("{}x2b4z", "w".repeat(58)));
    let none = post(&kinds::DEPLOYMENT, &without(&web(), "/metadata", "name")).unwrap_err();
    let WriteError::Invalid { group: "apps", kind: "Deployment", causes, .. } = &none else { panic!("{none:?}") };
    assert_eq!(causes[0].to_string(), "metadata.name: Required value: name or generateName is required");
}

#[test]
fn suffixes_have_five_letters_that_spell_no_words() {
    for random in [0, 1, 26, 27, 12_345_678_901, u64::MAX] {
        let suffix = suffix(random);
        assert_eq!(suffix.len(), SUFFIX_LENGTH);
        assert!(suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)), "{suffix}");
    }
    assert_ne!(suffix(1), suffix(2));
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let other_namespace = {
        let mut body = web();
        body["metadata"]["namespace"] = "bakery".into();
        body
    };
    let namespaces = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!(post(&kinds::DEPLOYMENT, &other_namespace), Err(WriteError::BadRequest(namespaces.into())));
    assert_eq!(put(&stored(), &other_namespace, Part::Spec), Err(WriteError::BadRequest(namespaces.into())));
    let mut versioned = web();
    versioned["metadata"]["resourceVersion"] = "3".into();
    let why = "resourceVersion should not be set on objects to be created";
    assert_eq!(post(&kinds::DEPLOYMENT, &versioned), Err(WriteError::BadRequest(why.into())));
    versioned["metadata"]["resourceVersion"] = "0".into();
    assert!(post(&kinds::DEPLOYMENT, &versioned).is_ok());
    let mut renamed = web();
    renamed["metadata"]["name"] = "bew".into();
    let why = "the name of the object (bew) does not match the name on the URL (web)";
    assert_eq!(put(&stored(), &renamed, Part::Spec), Err(WriteError::BadRequest(why.into())));
    let change = json!({"metadata": {"name": "bew"}});
    assert_eq!(patched(&stored(), &change, PatchType::Merge, Part::Spec), Err(WriteError::BadRequest(why.into())));
    let why = "the name of the object (web based on URL) was undeterminable: name must be provided";
    let nameless = without(&web(), "/metadata", "name");
    assert_eq!(put(&stored(), &nameless, Part::Spec), Err(WriteError::BadRequest(why.into())));
    let mut other = stored();
    other["metadata"]["uid"] = "0a0a0a0a-0000-4000-8000-000000000002".into();
    let why = "Precondition failed: UID in precondition: 0a0a0a0a-0000-4000-8000-000000000002, UID in object meta: \
               0a0a0a0a-0000-4000-8000-000000000001";
    assert_eq!(put(&stored(), &other, Part::Spec), Err(WriteError::Conflict(why.into())));
    let odd = json!({"metadata": {"resourceVersion": "new"}});
    let Err(WriteError::Invalid { causes, .. }) = patched(&stored(), &odd, PatchType::Merge, Part::Spec) else {
        panic!()
    };
    assert_eq!(causes[0].field, "metadata.resourceVersion");
    let text = create(&kinds::DEPLOYMENT, "shop", b"{}", "text/plain", STRICT, "").unwrap_err();
    assert!(matches!(text, WriteError::UnsupportedMediaType(_)));
}

#[test]
fn a_put_replaces_what_is_asked_and_keeps_what_was_given() {
    let mut body = web();
    body["metadata"].as_object_mut().unwrap().remove("labels");
    body["spec"]["replicas"] = 5.into();
    body["status"] = json!({"replicas": 99});
    let written = put(&stored(), &body, Part::Spec).unwrap();
    let mut expected = without(&stored(), "/metadata", "labels");
    expected["spec"]["replicas"] = 5.into();
    assert_eq!(written.object, expected);
    assert_eq!(written.revision, None);
    assert_eq!(put(&stored(), &stored(), Part::Spec).unwrap().revision, Some(Revision(7)));
}

#[test]
fn a_status_is_written_alone() {
    let mut body = stored();
    body["spec"]["replicas"] = 5.into();
    body["metadata"]["labels"] = json!({"x": "y"});
    body["status"] = json!({"replicas": 3});
    let mut expected = stored();
    expected["status"] = json!({"replicas": 3});
    assert_eq!(put(&stored(), &body, Part::Status).unwrap().object, expected);
    let change = json!({"spec": {"replicas": 5}, "status": {"replicas": 3, "observedGeneration": null}});
    assert_eq!(patched(&stored(), &change, PatchType::Merge, Part::Status).unwrap().object, expected);
    let change = json!({"status": {"replicas": 3}});
    assert_eq!(patched(&stored(), &change, PatchType::Strategic, Part::Spec).unwrap().object, stored());
}

#[test]
fn managed_fields_are_kept_unless_cleared() {
    let fields = json!([{"manager": "kubectl", "operation": "Update"}]);
    let mut current = stored();
    current["metadata"]["managedFields"] = fields.clone();
    assert_eq!(put(&current, &web(), Part::Spec).unwrap().object["metadata"]["managedFields"], fields);
    for cleared in [json!([]), json!([{}])] {
        let mut body = web();
        body["metadata"]["managedFields"] = cleared;
        let written = put(&current, &body, Part::Spec).unwrap().object;
        assert_eq!(written["metadata"].get("managedFields"), None);
    }
}

fn only_cause(result: Result<Written, WriteError>) -> (&'static str, Cause) {
    match result {
        Err(WriteError::Invalid { kind, mut causes, .. }) if causes.len() == 1 => (kind, causes.remove(0)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_patch_that_makes_no_object_names_the_patch() {
    let change = json!({"spec": {"replicaz": 4}});
    let (kind, cause) = only_cause(patched(&stored(), &change, PatchType::Strategic, Part::Spec));
    let expected =
        r#"Invalid value: "map[spec:map[replicaz:4]]": strict decoding error: unknown field "spec.replicaz""#;
    assert_eq!((kind, cause.field.as_str(), cause.message.as_str()), ("", "patch", expected));
    let change = json!({"spec": {"replicas": "four"}});
    let (_, cause) = only_cause(patched(&stored(), &change, PatchType::Merge, Part::Spec));
    let expected = "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32";
    assert!(cause.message.ends_with(expected), "{}", cause.message);
    let warned = patch(
        &kinds::DEPLOYMENT,
        &stored(),
        br#"{"spec":{"replicaz":4,"paused":true,"paused":true}}"#,
        PatchType::Merge,
        Part::Spec,
        FieldValidation::Warn,
    );
    let expected = [r#"duplicate field "spec.paused""#, r#"unknown field "spec.replicaz""#];
    assert_eq!(warned.unwrap().warnings, expected);
}

#[test]
fn a_patch_that_does_not_fit_is_told_from_one_that_is_malformed() {
    let test = json!([{"op": "test", "path": "/spec/replicas", "value": 4}]);
    let why = "testing value /spec/replicas failed: test failed";
    let result = patched(&stored(), &test, PatchType::Json, Part::Spec);
    assert_eq!(result, Err(WriteError::Unprocessable(why.into())));
    let result = patch(&kinds::DEPLOYMENT, &stored(), b"{", PatchType::Strategic, Part::Spec, STRICT);
    assert!(matches!(result, Err(WriteError::BadRequest(_))), "{result:?}");
}

#[test]
fn a_patch_keeps_what_the_cluster_gives() {
    let theft = json!([
        {"op": "remove", "path": "/metadata/creationTimestamp"},
        {"op": "replace", "path": "/metadata/generation", "value": 77},
        {"op": "replace", "path": "/spec/replicas", "value": 4},
    ]);
    let written = patched(&stored(), &theft, PatchType::Json, Part::Spec).unwrap();
    let mut expected = stored();
    expected["spec"]["replicas"] = 4.into();
    assert_eq!(written.object, expected);
}

#[test]
fn a_scale_shows_and_sets_the_replicas() {
    let current = stored();
    let shown = json!({
        "apiVersion": "autoscaling/v1", "kind": "Scale",
        "metadata": {"name": "web", "namespace": "shop", "uid": "0a0a0a0a-0000-4000-8000-000000000001",
            "resourceVersion": "7", "creationTimestamp": "2025-01-02T03:04:05Z"},
        "spec": {"replicas": 3},
        "status": {"replicas": 2, "selector": "app=web,tier"},
    });
    assert_eq!(scale(&current), shown);
    let mut expected = current.clone();
    expected["spec"]["replicas"] = 5.into();
    let mut body = shown.clone();
    body["spec"]["replicas"] = 5.into();
    let written = update(&kinds::DEPLOYMENT, &current, body.to_string().as_bytes(), "", Part::Scale, STRICT).unwrap();
    assert_eq!((written.object, written.revision), (expected.clone(), Some(Revision(7))));
    let change = json!({"spec": {"replicas": 5}});
    let written = patched(&current, &change, PatchType::Merge, Part::Scale).unwrap();
    assert_eq!((written.object, written.revision), (expected, None));
    let negative = json!({"spec": {"replicas": -1}});
    let (kind, cause) = only_cause(patched(&current, &negative, PatchType::Merge, Part::Scale));
    assert_eq!(
        (kind, cause.to_string().as_str()),
        ("Scale", "spec.replicas: Invalid value: -1: must be greater than or equal to 0")
    );
}

#[test]
fn a_lease_is_not_overwritten_unseen() {
    let lease = create_value(&kinds::LEASE, "shop", json!({"metadata": {"name": "l"}})).unwrap().object;
    let body = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}});
    let unseen = update(&kinds::LEASE, &lease, body.to_string().as_bytes(), JSON, Part::Spec, STRICT);
    assert_eq!(only_cause(unseen).1.message, "Invalid value: 0: must be specified for an update");
}

#[test]
fn a_nodes_status_comes_with_it() {
    let node = json!({"metadata": {"name": "n1"}, "status": {"capacity": {"cpu": "2", "memory": "1Gi"}}});
    let node = create_value(&kinds::NODE, "", node).unwrap().object;
    assert_eq!(node["status"]["allocatable"]["cpu"], "2");
}

/// The patch that kubectl 1.33 sends when a manifest has another image and one variable less.
#[test]
fn a_patch_of_kubectl_apply_does_what_it_means() {
    let mut manifest = web();
    manifest["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    let current = post(&kinds::DEPLOYMENT, &manifest).unwrap().object;
    let change = json!({"spec": {"template": {"spec": {"$setElementOrder/containers": [{"name": "web"}], "containers": [
        {"$setElementOrder/env": [{"name": "B"}], "env": [{"$patch": "delete", "name": "A"}], "image": "nginx:2",
         "name": "web"}]}}}});
    let mut expected = current.clone();
    let container = &mut expected["spec"]["template"]["spec"]["containers"][0];
    container["image"] = "nginx:2".into();
    container["env"] = json!([{"name": "B", "value": "2"}]);
    assert_eq!(patched(&current, &change, PatchType::Strategic, Part::Spec).unwrap().object, expected);
}

/// `kubectl apply` twice: the second finds nothing to do.
#[test]
fn what_kubectl_apply_sends_the_second_time_changes_nothing() {
    let applied = stored();
    let second = json!({"spec": {
        "$setElementOrder/containers": [{"name": "web"}],
        "template": {"spec": {"$setElementOrder/containers": [{"name": "web"}],
            "containers": [{"name": "web", "$setElementOrder/ports": [{"containerPort": 80}],
                "image": "nginx:1.27", "ports": [{"containerPort": 80}]}]}},
    }});
    let written = patched(&applied, &second, PatchType::Strategic, Part::Spec).unwrap();
    assert_eq!(written.object, applied);
}
