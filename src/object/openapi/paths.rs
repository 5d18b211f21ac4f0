//! The paths of a kind: every URL it is served at, and what can be done there.

use serde_json::{Map, Value, json};

use super::{parameters, root};
use crate::object::Kind;
use crate::object::kinds::Subresource;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const EVICTION: &str = "io.k8s.api.policy.v1.Eviction";
const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";
const TOKEN: &str = "io.k8s.api.authentication.v1.TokenRequest";

/// Returns every path of `kind` with its operations. `shape` is the name of its schema.
pub(super) fn of(kind: &'static Kind, shape: &str) -> Vec<(String, Value)> {
    let root = root(kind.group, kind.version);
    let all = format!("/{root}/{}", kind.plural);
    let list = if kind.namespaced { format!("/{root}/namespaces/{{namespace}}/{}", kind.plural) } else { all.clone() };
    let one = format!("{list}/{{name}}");
    let scope = if kind.namespaced { "Namespaced" } else { "" };
    let at = |part| Place { kind, scope, part, shape };
    let mut paths = vec![(list.clone(), collection(&list, &at(""))), (one.clone(), object(&one, &at("")))];
    if kind.namespaced {
        let everywhere = Place { scope: "", part: "ForAllNamespaces", ..at("") };
        paths.push((all.clone(), item(&all, vec![("get", list_operation(&everywhere))])));
    }
    for subresource in kind.subresources {
        let (name, place) = match subresource {
            Subresource::Status => ("status", at("Status")),
            Subresource::Approval => ("approval", at("Approval")),
            Subresource::Scale => ("scale", Place { shape: SCALE, ..at("Scale") }),
            Subresource::Log => ("log", at("Log")),
            Subresource::Exec => ("exec", at("Exec")),
            Subresource::Attach => ("attach", at("Attach")),
            Subresource::PortForward => ("portforward", at("Portforward")),
            Subresource::EphemeralContainers => ("ephemeralcontainers", at("Ephemeralcontainers")),
            Subresource::Eviction => ("eviction", Place { shape: EVICTION, ..at("Eviction") }),
            Subresource::Proxy => ("proxy", at("Proxy")),
            Subresource::Token => ("token", Place { shape: TOKEN, ..at("Token") }),
        };
        let path = format!("{one}/{name}");
        let operations = match subresource {
            Subresource::Log => vec![("get", log(&place))],
            Subresource::Eviction => vec![("post", create(&place))],
            Subresource::Token => vec![("post", create(&place))],
            Subresource::Exec | Subresource::Attach | Subresource::PortForward => {
                vec![("get", connect("Get", &place)), ("post", connect("Post", &place))]
            }
            Subresource::Proxy => METHODS.iter().map(|method| (*method, connect(&capital(method), &place))).collect(),
            Subresource::Status | Subresource::Scale | Subresource::Approval | Subresource::EphemeralContainers => {
                vec![("get", read(&place)), ("put", replace(&place)), ("patch", patch(&place))]
            }
        };
        let operations = item(&path, operations);
        paths.push((path, operations));
    }
    paths
}

/// What can be passed on.
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// What an operation works on.
#[derive(Clone, Copy)]
struct Place<'a> {
    kind: &'static Kind,
    /// `Namespaced` or nothing: part of the operation's id.
    scope: &'static str,
    /// The subresource: part of the operation's id.
    part: &'static str,
    /// The definition of what is read and written.
    shape: &'a str,
}

impl Place<'_> {
    /// Makes an operation's id, as `readAppsV1NamespacedDeploymentStatus`.
    fn id(&self, verb: &str, what: &str) -> String {
        let group: String = self.group_words().map(capital).collect();
        let version = capital(self.kind.version);
        format!("{verb}{group}{version}{what}{}{}{}", self.scope, self.kind.kind, self.part)
    }

    /// The words of the group's name: of `rbac.authorization.k8s.io` the first two.
    fn group_words(&self) -> impl Iterator<Item = &'static str> {
        let group = if self.kind.group.is_empty() { "core" } else { self.kind.group };
        group.strip_suffix(".k8s.io").unwrap_or(group).split('.')
    }

    /// Starts an operation; the caller adds what is special.
    fn operation(&self, action: &str, id: &str, description: &str) -> Map<String, Value> {
        let words = self.group_words().enumerate();
        let group: String = words.map(|(at, word)| if at == 0 { word.to_owned() } else { capital(word) }).collect();
        let tag = format!("{group}_{}", self.kind.version);
        let (group, version, kind) = match self.shape {
            SCALE => ("autoscaling", "v1", "Scale"),
            EVICTION => ("policy", "v1", "Eviction"),
            TOKEN => ("authentication.k8s.io", "v1", "TokenRequest"),
            _ => (self.kind.group, self.kind.version, self.kind.kind),
        };
        let operation = json!({
            "description": description,
            "operationId": id,
            "tags": [tag],
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
        });
        match operation {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    fn text(&self, before: &str) -> String {
        match self.part {
            "" | "ForAllNamespaces" => format!("{before} {}", self.kind.kind),
            part => format!("{before} {} of the specified {}", part.to_lowercase(), self.kind.kind),
        }
    }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn item(path: &str, operations: Vec<(&str, Value)>) -> Value {
    let mut item: Map<String, Value> = operations.into_iter().map(|(method, o)| (method.to_owned(), o)).collect();
    item.insert("parameters".into(), parameters::shared(path));
    item.into()
}

fn collection(path: &str, place: &Place<'_>) -> Value {
    let operations =
        vec![("get", list_operation(place)), ("post", create(place)), ("delete", delete_collection(place))];
    item(path, operations)
}

fn object(path: &str, place: &Place<'_>) -> Value {
    let operations =
        vec![("get", read(place)), ("put", replace(place)), ("patch", patch(place)), ("delete", delete(place))];
    item(path, operations)
}

fn list_operation(place: &Place<'_>) -> Value {
    let id = place.id("list", "");
    let mut list = place.operation("list", &id, &place.text("list or watch objects of kind"));
    let shape = format!("{}List", place.shape);
    list.insert("parameters".into(), parameters::query(parameters::LIST));
    list.insert("responses".into(), responses(&[("200", "OK")], &shape, LIST_FORMS));
    list.into()
}

fn create(place: &Place<'_>) -> Value {
    let mut post = place.operation("post", &place.id("create", ""), &place.text("create a"));
    post.insert("parameters".into(), parameters::query(parameters::WRITE));
    post.insert("requestBody".into(), body(&["*/*"], place.shape, true));
    let codes = [("200", "OK"), ("201", "Created"), ("202", "Accepted")];
    post.insert("responses".into(), responses(&codes, place.shape, FORMS));
    post.into()
}

fn delete_collection(place: &Place<'_>) -> Value {
    let id = place.id("delete", "Collection");
    let mut delete = place.operation("deletecollection", &id, &place.text("delete collection of"));
    delete.insert("parameters".into(), parameters::query(parameters::DELETE_COLLECTION));
    delete.insert("requestBody".into(), body(&["*/*"], &format!("{META}.DeleteOptions"), false));
    delete.insert("responses".into(), responses(&[("200", "OK")], &format!("{META}.Status"), FORMS));
    delete.into()
}

fn read(place: &Place<'_>) -> Value {
    let mut get = place.operation("get", &place.id("read", ""), &place.text("read the specified"));
    get.insert("responses".into(), responses(&[("200", "OK")], place.shape, FORMS));
    get.into()
}

fn replace(place: &Place<'_>) -> Value {
    let mut put = place.operation("put", &place.id("replace", ""), &place.text("replace the specified"));
    put.insert("parameters".into(), parameters::query(parameters::WRITE));
    put.insert("requestBody".into(), body(&["*/*"], place.shape, true));
    put.insert("responses".into(), responses(&[("200", "OK"), ("201", "Created")], place.shape, FORMS));
    put.into()
}

fn patch(place: &Place<'_>) -> Value {
    const PATCHES: &[&str] = &[
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];
    let mut patch = place.operation("patch", &place.id("patch", ""), &place.text("partially update the specified"));
    patch.insert("parameters".into(), parameters::query(parameters::PATCH));
    let patches = if place.kind.is_custom() { &PATCHES[..3] } else { PATCHES };
    patch.insert("requestBody".into(), body(patches, &format!("{META}.Patch"), true));
    patch.insert("responses".into(), responses(&[("200", "OK"), ("201", "Created")], place.shape, FORMS));
    patch.into()
}

fn delete(place: &Place<'_>) -> Value {
    let status = format!("{META}.Status");
    let shape = if place.kind.is_shown_when_deleted { place.shape } else { &status };
    let mut delete = place.operation("delete", &place.id("delete", ""), &place.text("delete a"));
    delete.insert("parameters".into(), parameters::query(parameters::DELETE));
    delete.insert("requestBody".into(), body(&["*/*"], &format!("{META}.DeleteOptions"), false));
    delete.insert("responses".into(), responses(&[("200", "OK"), ("202", "Accepted")], shape, FORMS));
    delete.into()
}

fn log(place: &Place<'_>) -> Value {
    let mut get = place.operation("get", &place.id("read", ""), &place.text("read"));
    get.insert("parameters".into(), parameters::query(parameters::LOG));
    let text = json!({"text/plain": {"schema": {"type": "string"}}});
    let ok = json!({"description": "OK", "content": text});
    get.insert("responses".into(), json!({"200": ok, "401": {"description": "Unauthorized"}}));
    get.into()
}

/// A connection that is more than request and answer.
fn connect(method: &str, place: &Place<'_>) -> Value {
    let id = place.id(&format!("connect{method}"), "");
    let mut operation = place.operation("connect", &id, &format!("connect {method} requests to {}", place.text("")));
    operation.insert("parameters".into(), parameters::query(parameters::SESSION));
    let text = json!({"*/*": {"schema": {"type": "string"}}});
    let ok = json!({"description": "OK", "content": text});
    operation.insert("responses".into(), json!({"200": ok, "401": {"description": "Unauthorized"}}));
    operation.into()
}

const FORMS: &[&str] = &["application/json", "application/yaml"];
const LIST_FORMS: &[&str] = &["application/json", "application/json;stream=watch", "application/yaml"];

fn schema(definition: &str) -> Value {
    json!({"schema": {"$ref": format!("#/components/schemas/{definition}")}})
}

fn body(forms: &[&str], definition: &str, required: bool) -> Value {
    let content: Map<String, Value> = forms.iter().map(|form| ((*form).to_owned(), schema(definition))).collect();
    if required { json!({"content": content, "required": true}) } else { json!({"content": content}) }
}

fn responses(codes: &[(&str, &str)], definition: &str, forms: &[&str]) -> Value {
    let content: Map<String, Value> = forms.iter().map(|form| ((*form).to_owned(), schema(definition))).collect();
    let mut responses: Map<String, Value> = codes
        .iter()
        .map(|(code, text)| ((*code).to_owned(), json!({"description": text, "content": content})))
        .collect();
    responses.insert("401".into(), json!({"description": "Unauthorized"}));
    responses.into()
}
