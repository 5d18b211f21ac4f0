//! Kinds that users define, from their definition to their end.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::cluster::{Cluster, condition, version};
use crate::watching::{Watch, assert_is_a_life};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const DEFINITION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com";
const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";
const FIRST: &str = "/apis/example.com/v1/namespaces/default/widgets/first";

/// The definition and the object of the fixture.
fn fixture() -> (Value, Value) {
    let documents = serde_yaml_ng::Deserializer::from_str(include_str!("../fixtures/widgets.yaml"));
    let mut all = documents.map(|d| Value::deserialize(d).expect("valid YAML"));
    (all.next().expect("a definition"), all.next().expect("an object"))
}

/// A cluster in which all kinds may be made: its leader has heard that every member knows them.
async fn started() -> Cluster {
    let cluster = Cluster::new().await;
    let dry = format!("{DEFINITIONS}?dryRun=All");
    let started = async {
        while cluster.post(&dry, &fixture().0).await.0 != 201 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), started).await.expect("the cluster's level rises");
    cluster
}

async fn defined() -> Cluster {
    let cluster = started().await;
    let made = cluster.create(DEFINITIONS, &fixture().0).await;
    assert_eq!(condition(&made, "Established"), "True", "at once: {made}");
    cluster
}

async fn with_first() -> Cluster {
    let cluster = defined().await;
    cluster.create(WIDGETS, &fixture().1).await;
    cluster
}

fn messages(status: &Value) -> Vec<String> {
    let causes = status["details"]["causes"].as_array().into_iter().flatten();
    causes
        .map(|c| format!("{}: {}", c["field"].as_str().unwrap_or_default(), c["message"].as_str().unwrap_or_default()))
        .collect()
}

async fn text(cluster: &Cluster, request: Request<Body>) -> (u16, Vec<String>, Value) {
    let response = cluster.answer(request).await;
    let code = response.status().as_u16();
    let warnings =
        response.headers().get_all("warning").iter().map(|w| w.to_str().unwrap_or_default().to_owned()).collect();
    let bytes = response.into_body().collect().await.expect("a whole body").to_bytes();
    (code, warnings, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn a_kind_is_served_as_soon_as_it_is_defined() {
    let cluster = started().await;
    assert_eq!(cluster.get(WIDGETS).await.0, 404);
    let (definition, first) = fixture();
    cluster.create(DEFINITIONS, &definition).await;
    let made = cluster.create(WIDGETS, &first).await;
    assert_eq!(
        made["spec"],
        json!({"color": "green", "replicas": 1, "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})
    );
    assert_eq!((&made["apiVersion"], &made["kind"]), (&json!("example.com/v1"), &json!("Widget")));
    assert_eq!(made["metadata"]["generation"], 1);

    let groups = cluster.get("/apis").await.1;
    let group = groups["groups"].as_array().unwrap().iter().find(|g| g["name"] == "example.com").unwrap();
    assert_eq!((&group["preferredVersion"]["version"], group["versions"].as_array().unwrap().len()), (&json!("v1"), 2));
    assert_eq!(cluster.get("/apis/example.com").await.1["kind"], "APIGroup");
    let resources = cluster.get("/apis/example.com/v1").await.1;
    let names: Vec<_> =
        resources["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    assert_eq!(resources["resources"][0]["shortNames"], json!(["wd"]));

    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let request = Request::get("/apis").header("accept", accept).body(Body::empty()).unwrap();
    let (_, _, aggregated) = text(&cluster, request).await;
    let item = aggregated["items"].as_array().unwrap().iter().find(|i| i["metadata"]["name"] == "example.com").unwrap();
    assert_eq!(item["versions"][0]["resources"][0]["resource"], "widgets");
    assert_eq!(item["versions"][1]["version"], "v1beta1");

    let crd = cluster.get(DEFINITION).await.1;
    assert_eq!(crd["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
}

#[tokio::test]
async fn openapi_follows_the_definition() {
    let cluster = defined().await;
    let url = |index: &Value| index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    let before = url(&cluster.get("/openapi/v3").await.1);
    let document = cluster.get(&before).await.1;
    let schema = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(schema["properties"]["spec"]["properties"]["color"]["description"], "One of three.");
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    assert!(document["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].is_object());
    let patch = &document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"];
    assert_eq!(patch["operationId"], "patchExampleComV1NamespacedWidget");
    let parameters: Vec<_> =
        patch["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert!(parameters.contains(&"fieldValidation") && parameters.contains(&"dryRun"), "{parameters:?}");
    let forms = patch["requestBody"]["content"].as_object().unwrap();
    assert!(!forms.contains_key("application/strategic-merge-patch+json"));

    let edit = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/new", "value": {"type": "string"}}]);
    assert_eq!(cluster.patch("json", DEFINITION, &edit).await.0, 200);
    let after = url(&cluster.get("/openapi/v3").await.1);
    assert_ne!(before, after, "clients keep a document by its hash");
    let document = cluster.get(&after).await.1;
    let spec = &document["components"]["schemas"]["com.example.v1.Widget"]["properties"]["spec"];
    assert_eq!(spec["properties"]["new"]["type"], "string");
    assert!(cluster.get("/openapi/v3").await.1["paths"]["api/v1"].is_object(), "the others are there still");
}

#[tokio::test]
async fn what_the_schema_forbids_is_refused_in_upstreams_words() {
    let cluster = defined().await;
    let (_, first) = fixture();
    let refused = async |edit: fn(&mut Value)| {
        let mut object = first.clone();
        edit(&mut object);
        let (code, status) = cluster.post(WIDGETS, &object).await;
        assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{status}");
        messages(&status)
    };
    assert_eq!(
        refused(|o| o["spec"]["replicas"] = json!("many")).await,
        ["spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\""]
    );
    assert_eq!(
        refused(|o| o["spec"]["color"] = json!("pink")).await,
        ["spec.color: Unsupported value: \"pink\": supported values: \"red\", \"green\", \"blue\""]
    );
    assert_eq!(refused(|o| o["spec"] = json!({})).await, ["spec.color: Required value"]);
    assert_eq!(
        refused(|o| o["spec"]["replicas"] = json!(101)).await,
        ["spec.replicas: Invalid value: 101: spec.replicas in body should be less than or equal to 100"]
    );
    assert_eq!(
        refused(|o| o["spec"]["ports"] = json!([{"name": "a", "port": 1}, {"name": "a", "port": 2}])).await,
        ["spec.ports[1]: Duplicate value: map[string]interface {}{\"name\":\"a\"}"]
    );
    assert!(
        refused(|o| o["metadata"]["name"] = json!("Not_A_Name")).await[0].starts_with("metadata.name: Invalid value")
    );
    let (code, status) = cluster.post(WIDGETS, &json!({"apiVersion": "example.com/v2", "kind": "Widget"})).await;
    assert_eq!(code, 400, "{status}");
}

#[tokio::test]
async fn unknown_fields_are_refused_warned_of_or_dropped() {
    let cluster = defined().await;
    let (_, mut first) = fixture();
    first["spec"]["colour"] = json!("red");
    first["spec"]["extra"] = json!({"anything": {"goes": [1]}});
    let post = async |validation: &str, first: &Value| {
        let path = format!("{WIDGETS}?fieldValidation={validation}");
        let request = Request::post(path).header("content-type", "application/json");
        text(&cluster, request.body(Body::from(first.to_string())).unwrap()).await
    };
    let (code, _, status) = post("Strict", &first).await;
    assert_eq!(code, 400);
    let message = status["message"].as_str().unwrap();
    assert!(message.ends_with("strict decoding error: unknown field \"spec.colour\""), "{message}");
    let (code, warnings, made) = post("Warn", &first).await;
    assert_eq!((code, warnings), (201, vec![r#"299 - "unknown field \"spec.colour\"""#.to_owned()]));
    assert_eq!((&made["spec"]["colour"], &made["spec"]["extra"]), (&Value::Null, &json!({"anything": {"goes": [1]}})));
    first["metadata"]["name"] = json!("second");
    let (code, warnings, made) = post("Ignore", &first).await;
    assert_eq!((code, warnings.len(), made["spec"]["colour"].is_null()), (201, 0, true));
}

#[tokio::test]
async fn spec_and_status_are_written_apart_and_changes_are_counted() {
    let cluster = with_first().await;
    let status = json!({"status": {"replicas": 2, "selector": "app=w", "conditions": [{"type": "Ready", "status": "True"}, {"type": "Able", "status": "False"}]}});
    let (_, ignored) = cluster.patch("merge", FIRST, &status).await;
    assert!(ignored["status"].is_null(), "{ignored}");
    let (code, told) = cluster
        .patch("merge", &format!("{FIRST}/status"), &json!({"spec": {"color": "red"}, "status": status["status"]}))
        .await;
    assert_eq!((code, &told["spec"]["color"], &told["status"]["replicas"]), (200, &json!("green"), &json!(2)));
    assert_eq!((condition(&told, "Ready"), &told["metadata"]["generation"]), ("True", &json!(1)));
    let (_, changed) = cluster.patch("merge", FIRST, &json!({"spec": {"color": "red"}})).await;
    assert_eq!((&changed["metadata"]["generation"], &changed["status"]["replicas"]), (&json!(2), &json!(2)));
    let (_, labelled) = cluster.patch("merge", FIRST, &json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(labelled["metadata"]["generation"], 2);
    let (code, bad) = cluster.patch("merge", &format!("{FIRST}/status"), &json!({"status": {"replicas": "x"}})).await;
    assert_eq!(code, 422, "{bad}");

    let (_, scale) = cluster.get(&format!("{FIRST}/scale")).await;
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"], &scale["status"]),
        (&json!("Scale"), &json!(1), &json!({"replicas": 2, "selector": "app=w"}))
    );
    let (code, scaled) = cluster.patch("merge", &format!("{FIRST}/scale"), &json!({"spec": {"replicas": 5}})).await;
    assert_eq!((code, &scaled["spec"]["replicas"]), (200, &json!(5)));
    let now = cluster.get(FIRST).await.1;
    assert_eq!(
        (&now["spec"]["replicas"], &now["metadata"]["generation"], &now["status"]["replicas"]),
        (&json!(5), &json!(3), &json!(2))
    );
}

#[tokio::test]
async fn without_a_status_apart_it_is_a_field_like_any_other() {
    let cluster = started().await;
    let (mut definition, mut first) = fixture();
    let version = &mut definition["spec"]["versions"][0];
    version["subresources"].as_object_mut().unwrap().remove("status");
    cluster.create(DEFINITIONS, &definition).await;
    first["status"] = json!({"replicas": 7});
    let made = cluster.create(WIDGETS, &first).await;
    assert_eq!(made["status"], json!({"replicas": 7}));
    assert_eq!(cluster.get(&format!("{FIRST}/status")).await.0, 404);
    let (_, changed) = cluster.patch("merge", FIRST, &json!({"status": {"replicas": 8}})).await;
    assert_eq!((&changed["status"]["replicas"], &changed["metadata"]["generation"]), (&json!(8), &json!(2)));
    let (_, gone) = cluster.patch("json", FIRST, &json!([{"op": "remove", "path": "/status"}])).await;
    assert!(gone["status"].is_null(), "{gone}");
    assert!(cluster.get(FIRST).await.1["status"].is_null());
}

#[tokio::test]
async fn every_version_shows_every_object() {
    let cluster = with_first().await;
    let beta = FIRST.replace("/v1/", "/v1beta1/");
    let request = Request::get(&beta).body(Body::empty()).unwrap();
    let (code, warnings, object) = text(&cluster, request).await;
    assert_eq!(
        (code, &object["apiVersion"], &object["spec"]["color"]),
        (200, &json!("example.com/v1beta1"), &json!("green"))
    );
    assert_eq!(warnings, [r#"299 - "example.com/v1beta1 Widget is deprecated""#]);
    let (code, changed) = cluster.patch("merge", &beta, &json!({"spec": {"color": "blue"}})).await;
    assert_eq!((code, &changed["apiVersion"]), (200, &json!("example.com/v1beta1")));
    let list = cluster.get(WIDGETS).await.1;
    assert_eq!(list["kind"], "WidgetList");
    assert_eq!(
        (&list["items"][0]["apiVersion"], &list["items"][0]["spec"]["color"]),
        (&json!("example.com/v1"), &json!("blue"))
    );
    let mut whole = list["items"][0].clone();
    whole["spec"]["color"] = json!("red");
    assert_eq!(cluster.put(FIRST, &whole).await.0, 200);
    assert_eq!(cluster.get(&beta).await.1["spec"]["color"], "red");
}

#[tokio::test]
async fn an_object_lives_and_dies_and_its_watch_tells() {
    let cluster = defined().await;
    let mut watch = Watch::of(&cluster, WIDGETS).await;
    let made = cluster.create(WIDGETS, &fixture().1).await;
    assert_eq!(cluster.post(WIDGETS, &fixture().1).await.0, 409);
    let (code, _) = cluster.patch("strategic-merge", FIRST, &json!({"spec": {"color": "red"}})).await;
    assert_eq!(code, 415);
    let (_, patched) =
        cluster.patch("json", FIRST, &json!([{"op": "replace", "path": "/spec/color", "value": "red"}])).await;
    assert!(version(&patched) > version(&made));
    assert_eq!(cluster.put(FIRST, &made).await.0, 409);
    let (_, same) = cluster.patch("merge", FIRST, &json!({"spec": {"color": "red"}})).await;
    assert_eq!(version(&same), version(&patched), "nothing was changed");
    let (code, gone) = cluster.delete(FIRST).await;
    assert_eq!((code, &gone["status"]), (200, &json!("Success")));
    cluster.until_gone(FIRST).await;
    let events = watch.life_of("first").await;
    assert_is_a_life(&events);
    assert!(events.iter().all(|e| e["object"]["apiVersion"] == "example.com/v1"));
}

#[tokio::test]
async fn lists_are_selected_paged_and_printed() {
    let cluster = with_first().await;
    for (name, color) in [("second", "red"), ("third", "green")] {
        let object = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name, "labels": {"n": name}}, "spec": {"color": color}});
        cluster.create(WIDGETS, &object).await;
    }
    let names = |list: &Value| {
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o["metadata"]["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&cluster.get(&format!("{WIDGETS}?fieldSelector=spec.color%3Dgreen")).await.1), ["first", "third"]);
    assert_eq!(names(&cluster.get(&format!("{WIDGETS}?labelSelector=n%3Dsecond")).await.1), ["second"]);
    assert_eq!(cluster.get(&format!("{WIDGETS}?fieldSelector=spec.replicas%3D1")).await.0, 400);
    let page = cluster.get(&format!("{WIDGETS}?limit=2")).await.1;
    let token = page["metadata"]["continue"].as_str().unwrap();
    assert_eq!(names(&cluster.get(&format!("{WIDGETS}?limit=2&continue={token}")).await.1), ["third"]);
    assert_eq!(names(&cluster.get("/apis/example.com/v1/widgets").await.1).len(), 3);

    let table = async |path: &str| {
        let request = Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
        text(&cluster, request.body(Body::empty()).unwrap()).await.2
    };
    let widgets = table(WIDGETS).await;
    let columns: Vec<_> =
        widgets["columnDefinitions"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(columns, ["Name", "Color", "Replicas", "Ready", "Age"]);
    let cells = widgets["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..4], [json!("first"), json!("green"), json!(1), Value::Null]);
    let definitions = table(DEFINITIONS).await;
    assert_eq!(definitions["columnDefinitions"][1]["name"], "Created At");
    let request = Request::get(FIRST).header("accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io");
    let (_, _, partial) = text(&cluster, request.body(Body::empty()).unwrap()).await;
    assert_eq!((&partial["kind"], partial.get("spec")), (&json!("PartialObjectMetadata"), None));
}

#[tokio::test]
async fn who_applies_owns_fields_by_the_schema() {
    let cluster = defined().await;
    let apply = async |manager: &str, force: bool, object: &Value| {
        let path = format!("{FIRST}?fieldManager={manager}&force={force}");
        cluster.send(Method::PATCH, &path, "application/apply-patch+yaml", object).await
    };
    let object = |spec: Value| json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "first"}, "spec": spec});
    let (code, made) =
        apply("a", false, &object(json!({"color": "red", "ports": [{"name": "http", "port": 80}]}))).await;
    assert_eq!(code, 201, "{made}");
    let owned = &made["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"];
    assert!(owned["f:ports"]["k:{\"name\":\"http\"}"]["f:port"].is_object(), "{owned}");
    let (code, both) = apply(
        "b",
        false,
        &object(json!({"color": "red", "ports": [{"name": "dns", "port": 53}], "labels": {"x": "y"}})),
    )
    .await;
    assert_eq!(
        (code, both["spec"]["ports"].as_array().unwrap().len()),
        (200, 2),
        "elements are told apart by name: {both}"
    );
    let (code, conflict) = apply("b", false, &object(json!({"color": "blue"}))).await;
    assert_eq!((code, &conflict["details"]["causes"][0]["field"]), (409, &json!(".spec.color")));
    let (code, forced) = apply("b", true, &object(json!({"color": "blue"}))).await;
    assert_eq!((code, &forced["spec"]["color"], &forced["spec"]["labels"]), (200, &json!("blue"), &Value::Null));
    assert_eq!(
        forced["spec"]["ports"],
        json!([{"name": "http", "port": 80, "protocol": "TCP"}]),
        "what b does not say any more is gone"
    );
    let (code, unknown) = apply("b", true, &object(json!({"colour": "blue"}))).await;
    assert_eq!(code, 400);
    assert!(unknown["message"].as_str().unwrap().ends_with(".spec.colour: field not declared in schema"), "{unknown}");
}

#[tokio::test]
async fn old_objects_get_the_defaults_of_a_new_schema() {
    let cluster = with_first().await;
    let field = json!({"type": "string", "default": "large"});
    let edit = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/class", "value": field}]);
    assert_eq!(cluster.patch("json", DEFINITION, &edit).await.0, 200);
    let read = cluster.get(FIRST).await.1;
    assert_eq!((&read["spec"]["class"], &read["metadata"]["generation"]), (&json!("large"), &json!(1)));
    assert_eq!(cluster.get(WIDGETS).await.1["items"][0]["spec"]["class"], "large");
}

#[tokio::test]
async fn a_definition_goes_with_its_objects() {
    let cluster = with_first().await;
    let held = json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "held", "finalizers": ["test.dev/hold"]}, "spec": {"color": "red"}});
    cluster.create(WIDGETS, &held).await;
    let (code, marked) = cluster.delete(DEFINITION).await;
    assert_eq!(code, 200);
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    cluster.until_gone(FIRST).await;
    let crd = cluster.until(DEFINITION, |crd| condition(crd, "Terminating") == "True").await;
    assert_eq!(crd["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let (code, status) = cluster.post(WIDGETS, &fixture().1).await;
    assert_eq!(
        (code, status["message"].as_str().unwrap()),
        (405, "create not allowed while custom resource definition is terminating")
    );
    let free = json!({"metadata": {"finalizers": null}});
    assert_eq!(cluster.patch("merge", &format!("{WIDGETS}/held"), &free).await.0, 200);
    cluster.until_gone(DEFINITION).await;
    assert_eq!(cluster.get(WIDGETS).await.0, 404);
    let groups = cluster.get("/apis").await.1;
    assert!(groups["groups"].as_array().unwrap().iter().all(|g| g["name"] != "example.com"));
    cluster.create(DEFINITIONS, &fixture().0).await;
    assert_eq!(cluster.get(WIDGETS).await.1["items"], json!([]));
}

#[tokio::test]
async fn owners_and_namespaces_take_custom_objects_with_them() {
    let cluster = defined().await;
    cluster.create("/api/v1/namespaces", &json!({"metadata": {"name": "shop"}})).await;
    let shop = "/apis/example.com/v1/namespaces/shop/widgets";
    let owner = cluster.create(shop, &fixture().1).await;
    let reference =
        json!({"apiVersion": "example.com/v1", "kind": "Widget", "name": "first", "uid": owner["metadata"]["uid"]});
    let owned = json!({"metadata": {"name": "owned", "ownerReferences": [reference]}, "data": {"a": "b"}});
    let map = "/api/v1/namespaces/shop/configmaps/owned";
    cluster.create("/api/v1/namespaces/shop/configmaps", &owned).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(cluster.get(map).await.0, 200, "its owner is there");
    cluster.delete(&format!("{shop}/first")).await;
    cluster.until_gone(map).await;
    cluster.create(shop, &fixture().1).await;
    cluster.delete("/api/v1/namespaces/shop").await;
    cluster.until_gone("/api/v1/namespaces/shop").await;
    assert_eq!(cluster.get(shop).await.1["items"], json!([]));
}

#[tokio::test]
async fn objects_are_there_after_a_crash() {
    let mut cluster = with_first().await;
    let (_, told) = cluster.patch("merge", &format!("{FIRST}/status"), &json!({"status": {"replicas": 2}})).await;
    cluster.crash(0).await;
    let read = cluster.until(FIRST, |object| object["kind"] == "Widget").await;
    assert_eq!(
        (&read["spec"], &read["status"], &read["metadata"]["uid"]),
        (&told["spec"], &told["status"], &told["metadata"]["uid"])
    );
    let (code, changed) = cluster.patch("merge", FIRST, &json!({"spec": {"color": "blue"}})).await;
    assert_eq!((code, &changed["metadata"]["generation"], &changed["status"]["replicas"]), (200, &json!(2), &json!(2)));
}

#[tokio::test]
async fn of_two_definitions_with_one_name_the_older_is_served() {
    let cluster = defined().await;
    let (mut other, _) = fixture();
    other["metadata"]["name"] = json!("wodgets.example.com");
    other["spec"]["names"] = json!({"plural": "wodgets", "kind": "Wodget", "shortNames": ["wd"]});
    // Virtual time passes meanwhile, so that it is younger by a second at least.
    tokio::time::sleep(Duration::from_millis(100)).await;
    cluster.create(DEFINITIONS, &other).await;
    let path = format!("{DEFINITIONS}/wodgets.example.com");
    let crd = cluster.until(&path, |crd| condition(crd, "NamesAccepted") == "False").await;
    assert_eq!(condition(&crd, "Established"), "False");
    let conditions = crd["status"]["conditions"].as_array().unwrap();
    assert!(
        conditions.iter().any(|c| c["reason"] == "ShortNamesConflict" && c["message"] == "\"wd\" is already in use"),
        "{crd}"
    );
    assert_eq!(cluster.get("/apis/example.com/v1/wodgets").await.0, 404);
    cluster.delete(DEFINITION).await;
    cluster.until_gone(DEFINITION).await;
    cluster.until(&path, |crd| condition(crd, "Established") == "True").await;
    assert_eq!(cluster.get("/apis/example.com/v1/wodgets").await.0, 200);
}

#[tokio::test]
async fn rules_that_are_not_enforced_are_told() {
    let cluster = started().await;
    let (mut definition, _) = fixture();
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["x-kubernetes-validations"] = json!([{"rule": "self.spec.replicas < 10"}]);
    let request = Request::post(DEFINITIONS).header("content-type", "application/json");
    let (code, warnings, _) = text(&cluster, request.body(Body::from(definition.to_string())).unwrap()).await;
    assert_eq!(code, 201);
    assert!(warnings[0].contains("x-kubernetes-validations are kept, and not enforced"), "{warnings:?}");
}

#[tokio::test]
async fn a_large_definition_is_one_value_and_a_broken_one_breaks_no_other() {
    let cluster = defined().await;
    let (mut large, _) = fixture();
    let fields: serde_json::Map<String, Value> =
        (0..12_000).map(|n| (format!("field{n}"), json!({"type": "string", "description": "One of many."}))).collect();
    large["metadata"]["name"] = json!("giants.large.example.com");
    large["spec"]["group"] = json!("large.example.com");
    large["spec"]["names"] = json!({"plural": "giants", "kind": "Giant"});
    large["spec"]["versions"] = json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
        "type": "object", "properties": {"spec": {"type": "object", "properties": fields}, "$ref": {"type": "string"}}}}}]);
    cluster.create(DEFINITIONS, &large).await;
    let index = cluster.get("/openapi/v3").await.1;
    for group in ["large.example.com", "example.com"] {
        let url = index["paths"][format!("apis/{group}/v1")]["serverRelativeURL"].as_str().expect("a URL");
        let document = cluster.get(url).await.1;
        assert!(document["paths"].as_object().expect("paths").len() > 2, "{group}");
    }
    let giant = json!({"apiVersion": "large.example.com/v1", "kind": "Giant", "metadata": {"name": "a"}, "spec": {"field7": "x"}});
    cluster.create("/apis/large.example.com/v1/namespaces/default/giants", &giant).await;
}
