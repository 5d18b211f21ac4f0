//! What is served: groups, versions, resources, their verbs; plain and aggregated.

use serde_json::{Map, Value, json};

use crate::object::Kind;
use crate::object::kinds::{self, NAMESPACE, SERVED, Subresource};

use super::metrics::MEASURED;
use super::routes::subresource_name;
use super::verbs::review::{REVIEWS, Review};

/// The Kubernetes version whose API is served.
const MAJOR: &str = "1";
const MINOR: &str = "33";

/// Returns the version as clients and `kubectl get nodes` show it: of the API served, and ours.
pub fn git_version() -> String {
    format!("v{MAJOR}.{MINOR}.0+skein{}", env!("CARGO_PKG_VERSION"))
}

/// Returns the answer of `/version`. Clients decide by `gitVersion` which of their builds to run.
pub fn version() -> Value {
    json!({
        "major": MAJOR,
        "minor": MINOR,
        "emulationMajor": MAJOR,
        "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR,
        "minCompatibilityMinor": "32",
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": platform(),
    })
}

/// `linux/amd64`, in Go's words.
fn platform() -> String {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("{}/{arch}", std::env::consts::OS)
}

/// Returns the answer of `/`.
pub fn root() -> Value {
    let groups = group_versions().into_iter().filter(|(g, _)| !g.is_empty());
    let mut paths: Vec<String> = ["/api", "/api/v1", "/apis"].map(str::to_owned).into();
    paths.extend(groups.flat_map(|(g, v)| [format!("/apis/{g}"), format!("/apis/{g}/{v}")]));
    paths.extend(["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"].map(str::to_owned));
    json!({ "paths": paths })
}

/// Returns the answer of `/api`. `host` is where the client thinks the server is.
pub fn core_versions(host: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    })
}

/// Returns the answer of `/apis`.
pub fn groups() -> Value {
    let groups = group_versions().into_iter().filter(|(g, _)| !g.is_empty());
    let mut names: Vec<_> = groups.map(|(group, _)| group).collect();
    names.dedup();
    let groups: Vec<_> = names.into_iter().map(group_members).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// Returns the answer of `/apis/GROUP`.
pub fn group(group: &str) -> Value {
    let mut answer = group_members(group);
    answer["kind"] = json!("APIGroup");
    answer["apiVersion"] = json!("v1");
    answer
}

/// A group and its versions, the preferred one first.
fn group_members(group: &str) -> Value {
    let versions: Vec<_> = group_versions()
        .into_iter()
        .filter(|(g, _)| *g == group)
        .map(|(_, version)| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

/// Returns the answer of `/api/v1` and `/apis/GROUP/VERSION`.
pub fn resources(group: &str, version: &str) -> Value {
    let kinds = served(group, version);
    let mut resources: Vec<Value> = kinds.flat_map(resource).collect();
    resources.extend(reviews(group, version).map(|r| {
        json!({
            "name": r.plural,
            "singularName": r.singular,
            "namespaced": r.namespaced,
            "kind": r.kind,
            "verbs": ["create"],
        })
    }));
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
}

/// A kind and its subresources, as plain discovery lists them.
pub fn resource(kind: &Kind) -> Vec<Value> {
    let mut this = json!({
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": verbs(kind),
    });
    add_names(&mut this, kind);
    let subresources = kind.subresources.iter().map(|sub| {
        let mut it = json!({
            "name": format!("{}/{}", kind.plural, subresource_name(*sub)),
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": subresource_verbs(*sub),
        });
        if let Subresource::Scale = sub {
            it["group"] = json!("autoscaling");
            it["version"] = json!("v1");
            it["kind"] = json!("Scale");
        }
        if let Subresource::Eviction = sub {
            it["group"] = json!("policy");
            it["version"] = json!("v1");
            it["kind"] = json!("Eviction");
        }
        if let Some(options) = options(kind, *sub) {
            it["kind"] = json!(options);
        }
        if let Subresource::Token = sub {
            it["group"] = json!("authentication.k8s.io");
            it["version"] = json!("v1");
            it["kind"] = json!("TokenRequest");
        }
        it
    });
    std::iter::once(this).chain(subresources).collect()
}

/// Returns the aggregated answer of `/api` (`core`) or `/apis`.
pub fn aggregated(core: bool) -> Value {
    let mut names: Vec<_> = group_versions().into_iter().map(|(g, _)| g).filter(|g| g.is_empty() == core).collect();
    names.dedup();
    let item = |group: &str| {
        let mut metadata = Map::new();
        if !group.is_empty() {
            metadata.insert("name".into(), json!(group));
        }
        metadata.insert("creationTimestamp".into(), Value::Null);
        let versions = group_versions().into_iter().filter(|(g, _)| *g == group);
        let versions: Vec<_> = versions.map(|(group, version)| aggregated_version(group, version)).collect();
        json!({"metadata": metadata, "versions": versions})
    };
    let items: Vec<Value> = names.into_iter().map(item).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_version(group: &str, version: &str) -> Value {
    let kinds = served(group, version);
    let mut resources: Vec<_> = kinds.map(aggregated_resource).collect();
    resources.extend(reviews(group, version).map(|r| {
        json!({
            "resource": r.plural,
            "responseKind": {"group": r.group, "version": r.version, "kind": r.kind},
            "scope": if r.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": r.singular,
            "verbs": ["create"],
        })
    }));
    json!({"version": version, "resources": resources, "freshness": "Current"})
}

/// A kind and its subresources, as aggregated discovery lists them.
pub fn aggregated_resource(kind: &Kind) -> Value {
    let this = json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let subresources = kind.subresources.iter().map(|sub| {
        let response = match (sub, options(kind, *sub)) {
            (Subresource::Scale, _) => json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}),
            (Subresource::Eviction, _) => json!({"group": "policy", "version": "v1", "kind": "Eviction"}),
            (Subresource::Token, _) => {
                json!({"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"})
            }
            (_, Some(options)) => json!({"group": "", "version": "v1", "kind": options}),
            (_, None) => this.clone(),
        };
        json!({
            "subresource": subresource_name(*sub),
            "responseKind": response,
            "verbs": subresource_verbs(*sub),
        })
    });
    let mut resource = json!({
        "resource": kind.plural,
        "responseKind": this,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": verbs(kind),
    });
    let subresources: Vec<_> = subresources.collect();
    if !subresources.is_empty() {
        resource["subresources"] = json!(subresources);
    }
    add_names(&mut resource, kind);
    resource
}

fn add_names(resource: &mut Value, kind: &Kind) {
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
}

/// Returns what can be done with a kind.
pub fn verbs(kind: &Kind) -> &'static [&'static str] {
    const ALL: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    const NO_COLLECTION: &[&str] = &["create", "delete", "get", "list", "patch", "update", "watch"];
    match kind {
        k if MEASURED.contains(&k) => &["get", "list"],
        k if *k == NAMESPACE => NO_COLLECTION,
        _ => ALL,
    }
}

fn subresource_verbs(subresource: Subresource) -> &'static [&'static str] {
    match subresource {
        Subresource::Status | Subresource::Scale | Subresource::Approval | Subresource::EphemeralContainers => {
            &["get", "patch", "update"]
        }
        Subresource::Log => &["get"],
        Subresource::Eviction => &["create"],
        Subresource::Exec | Subresource::Attach | Subresource::PortForward => &["create", "get"],
        Subresource::Proxy => &["create", "delete", "get", "patch", "update"],
        Subresource::Token => &["create"],
    }
}

/// The kind of the options of what is a connection, which travel in the query.
fn options(kind: &Kind, subresource: Subresource) -> Option<String> {
    match subresource {
        Subresource::Exec => Some("PodExecOptions".to_owned()),
        Subresource::Attach => Some("PodAttachOptions".to_owned()),
        Subresource::PortForward => Some("PodPortForwardOptions".to_owned()),
        Subresource::Proxy => Some(format!("{}ProxyOptions", kind.kind)),
        _ => None,
    }
}

fn reviews(group: &str, version: &str) -> impl Iterator<Item = &'static Review> {
    REVIEWS.iter().filter(move |r| (r.group, r.version) == (group, version))
}

/// The kinds of a group version, those that are measured included.
fn served(group: &str, version: &str) -> impl Iterator<Item = &'static Kind> {
    SERVED.iter().copied().chain(MEASURED).filter(move |k| (k.group, k.version) == (group, version))
}

/// The served group versions, in the order of the table of kinds; those of measures and questions last.
pub fn group_versions() -> Vec<(&'static str, &'static str)> {
    let mut found = kinds::group_versions();
    let measured = MEASURED.iter().map(|k| (k.group, k.version));
    for served in measured.chain(REVIEWS.iter().map(|r| (r.group, r.version))) {
        if !found.contains(&served) {
            found.push(served);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_one_that_clients_know() {
        let version = version();
        assert!(version["gitVersion"].as_str().unwrap().starts_with("v1.33.0+skein"));
        assert_eq!(version["minor"], "33");
        assert!(version["platform"].as_str().unwrap().starts_with("linux/"));
    }

    #[test]
    fn both_forms_of_discovery_name_the_same_resources() {
        let mut plain = Vec::new();
        for (group, version) in group_versions() {
            for r in resources(group, version)["resources"].as_array().unwrap() {
                plain.push((group.to_owned(), r["name"].as_str().unwrap().to_owned(), r["verbs"].clone()));
            }
        }
        let mut aggregate = Vec::new();
        for list in [aggregated(true), aggregated(false)] {
            for item in list["items"].as_array().unwrap() {
                let group = item["metadata"]["name"].as_str().unwrap_or_default();
                let versions = item["versions"].as_array().unwrap().iter();
                for r in versions.flat_map(|v| v["resources"].as_array().unwrap()) {
                    let name = r["resource"].as_str().unwrap();
                    aggregate.push((group.to_owned(), name.to_owned(), r["verbs"].clone()));
                    for s in r["subresources"].as_array().unwrap_or(&Vec::new()) {
                        let full = format!("{name}/{}", s["subresource"].as_str().unwrap());
                        aggregate.push((group.to_owned(), full, s["verbs"].clone()));
                    }
                }
            }
        }
        assert_eq!(plain, aggregate);
        assert!(plain.iter().any(|(g, n, _)| g == "apps" && n == "deployments/scale"));
        assert!(plain.iter().any(|(g, n, _)| g.is_empty() && n == "pods/log"));
    }

    #[test]
    fn deployments_are_described_as_upstream_does() {
        let apps = resources("apps", "v1");
        assert_eq!(apps["groupVersion"], "apps/v1");
        let deployments = apps["resources"].as_array().unwrap().iter().find(|r| r["name"] == "deployments").unwrap();
        assert_eq!(deployments["singularName"], "deployment");
        assert_eq!(deployments["shortNames"], json!(["deploy"]));
        assert_eq!(deployments["categories"], json!(["all"]));
        let scale = apps["resources"].as_array().unwrap().iter().find(|r| r["name"] == "deployments/scale").unwrap();
        assert_eq!((&scale["group"], &scale["kind"]), (&json!("autoscaling"), &json!("Scale")));
    }

    #[test]
    fn named_groups_are_listed_with_their_versions() {
        let groups = groups();
        let names: Vec<_> = groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
        let first = ["apps", "autoscaling", "batch", "certificates.k8s.io", "networking.k8s.io", "policy"];
        assert_eq!(names[..6], first, "core is not among them");
        let last = ["metrics.k8s.io", "authentication.k8s.io", "authorization.k8s.io"];
        assert_eq!(names[names.len() - 3..], last);
        let autoscaling = group("autoscaling");
        let versions: Vec<_> = autoscaling["versions"].as_array().unwrap().iter().map(|v| &v["version"]).collect();
        assert_eq!(versions, ["v2", "v1"]);
        assert_eq!(autoscaling["preferredVersion"]["version"], "v2");
        assert_eq!(group("apps")["preferredVersion"]["groupVersion"], "apps/v1");
        assert!(!verbs(&NAMESPACE).contains(&"deletecollection"));
    }
}
