//! What a path means.

use crate::object::custom::Catalog;
use crate::object::kinds::{self, SERVED, Subresource};
use crate::object::{Key, Kind};

use super::metrics::{self, MEASURED};
use super::params::decode;
use super::verbs::review::{REVIEWS, Review};

/// What a path asks for. The method is not looked at here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/`: which paths there are.
    Root,
    /// `/healthz`, `/livez`, `/readyz`.
    Health(&'static str),
    /// `/version`.
    Version,
    /// `/skein.dev/recover`: a new generation of the cluster, with this node as its first voter.
    Recover,
    /// `/skein.dev/partitions`: what this node tells of partitions.
    Partitions,
    /// `/.well-known/openid-configuration`: where others find what service account tokens are signed with.
    OpenIdConfiguration,
    /// `/openid/v1/jwks`: what they are signed with.
    OpenIdKeys,
    /// `/api`: the core group's versions.
    CoreVersions,
    /// `/apis`: all named groups.
    Groups,
    /// `/apis/apps`: one group.
    Group(&'static str),
    /// `/api/v1`, `/apis/apps/v1`: what a group version serves.
    Resources {
        /// The group; empty for core.
        group: &'static str,
        /// The version.
        version: &'static str,
    },
    /// `/openapi/v2`: a document without schemas.
    OpenApiV2,
    /// `/openapi/v3`: the index.
    OpenApiIndex,
    /// `/openapi/v3/apis/apps/v1`: a group version's document.
    OpenApiDocument {
        /// The group; empty for core.
        group: &'static str,
        /// The version.
        version: &'static str,
    },
    /// The objects of a kind, in one namespace or in all.
    Collection {
        /// The kind.
        kind: &'static Kind,
        /// The namespace; `None` for a cluster-scoped kind, or for all namespaces.
        namespace: Option<String>,
    },
    /// One object.
    Object(Key),
    /// Part of an object, or something done to it.
    Sub(Key, Subresource),
    /// A question, asked in a namespace or not.
    Review(&'static Review, Option<String>),
}

/// Reads a path, without its query. `None` if nothing is served there.
pub fn parse(path: &str) -> Option<Route> {
    let segments: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [] => Some(Route::Root),
        ["healthz"] => Some(Route::Health("healthz")),
        ["livez"] => Some(Route::Health("livez")),
        ["readyz"] => Some(Route::Health("readyz")),
        ["version"] => Some(Route::Version),
        ["skein.dev", "recover"] => Some(Route::Recover),
        ["skein.dev", "partitions"] => Some(Route::Partitions),
        [".well-known", "openid-configuration"] => Some(Route::OpenIdConfiguration),
        ["openid", "v1", "jwks"] => Some(Route::OpenIdKeys),
        ["openapi", "v2"] => Some(Route::OpenApiV2),
        ["openapi", "v3"] => Some(Route::OpenApiIndex),
        ["openapi", "v3", rest @ ..] => {
            let (group, version, rest) = group_version(rest)?;
            rest.is_empty().then_some(Route::OpenApiDocument { group, version })
        }
        ["api"] => Some(Route::CoreVersions),
        ["apis"] => Some(Route::Groups),
        ["apis", group] => groups().find(|(g, _)| g == group).map(|(group, _)| Route::Group(group)),
        rest => {
            let (group, version, rest) = group_version(rest)?;
            resource(group, version, rest)
        }
    }
}

/// Reads a path to what users define, without its query. `None` if nothing is served there.
pub fn parse_custom(path: &str, catalog: &Catalog) -> Option<Route> {
    let segments: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let in_version = |group: &str, version: &str| catalog.in_version(group, version).next().map(|(_, v)| v.kind);
    match segments.as_slice() {
        ["openapi", "v3", "apis", group, version] => {
            let kind = in_version(group, version)?;
            Some(Route::OpenApiDocument { group: kind.group, version: kind.version })
        }
        ["apis", group] => {
            let kind = catalog.groups().get(group).and_then(|versions| in_version(group, versions.first()?))?;
            Some(Route::Group(kind.group))
        }
        ["apis", group, version] => {
            let kind = in_version(group, version)?;
            Some(Route::Resources { group: kind.group, version: kind.version })
        }
        ["apis", group, version, "namespaces", namespace, plural, rest @ ..] => {
            let kind = catalog.find(group, version, plural)?.kind;
            if kind.namespaced { within(kind, Some(namespace), rest) } else { None }
        }
        ["apis", group, version, plural, rest @ ..] => within(catalog.find(group, version, plural)?.kind, None, rest),
        _ => None,
    }
}

/// Reads `api/v1/...` or `apis/GROUP/VERSION/...`.
fn group_version<'a, 'b>(segments: &'a [&'b str]) -> Option<(&'static str, &'static str, &'a [&'b str])> {
    let (group, version, rest) = match segments {
        ["api", version, rest @ ..] => ("", version, rest),
        ["apis", group, version, rest @ ..] if !group.is_empty() => (*group, version, rest),
        _ => return None,
    };
    let (group, version) = groups().find(|served| *served == (group, version))?;
    Some((group, version, rest))
}

/// Every group with its version, once for each kind in it.
fn groups() -> impl Iterator<Item = (&'static str, &'static str)> {
    let kinds = SERVED.iter().copied().chain(MEASURED);
    kinds.map(|k| (k.group, k.version)).chain(REVIEWS.iter().map(|r| (r.group, r.version)))
}

fn review(group: &str, version: &str, plural: &str, namespace: Option<&str>) -> Option<Route> {
    let is =
        |r: &&Review| (r.group, r.version, r.plural, r.namespaced) == (group, version, plural, namespace.is_some());
    Some(Route::Review(REVIEWS.iter().find(is)?, namespace.map(str::to_owned)))
}

fn resource(group: &'static str, version: &'static str, segments: &[&str]) -> Option<Route> {
    let kind =
        |plural: &str| kinds::by_plural(group, version, plural).or_else(|| metrics::by_plural(group, version, plural));
    match segments {
        [] => Some(Route::Resources { group, version }),
        ["namespaces", namespace, plural, rest @ ..] if kind(plural).is_some_and(|k| k.namespaced) => {
            within(kind(plural)?, Some(namespace), rest)
        }
        ["namespaces", namespace, plural] if kind("namespaces").is_none() => {
            review(group, version, plural, Some(namespace))
        }
        [plural] if kind(plural).is_none() => review(group, version, plural, None),
        [plural, rest @ ..] => within(kind(plural)?, None, rest),
    }
}

fn within(kind: &'static Kind, namespace: Option<&str>, segments: &[&str]) -> Option<Route> {
    let key = |name: &str| {
        let located = kind.namespaced == namespace.is_some();
        located.then(|| Key::new(kind, namespace.unwrap_or_default(), name))
    };
    match segments {
        [] => Some(Route::Collection { kind, namespace: namespace.map(str::to_owned) }),
        [name] => Some(Route::Object(key(name)?)),
        [name, "proxy", ..] if kind.has(Subresource::Proxy) => Some(Route::Sub(key(name)?, Subresource::Proxy)),
        [name, sub] => {
            let sub = subresource(sub).filter(|s| kind.has(*s))?;
            Some(Route::Sub(key(name)?, sub))
        }
        _ => None,
    }
}

fn subresource(name: &str) -> Option<Subresource> {
    match name {
        "status" => Some(Subresource::Status),
        "scale" => Some(Subresource::Scale),
        "approval" => Some(Subresource::Approval),
        "log" => Some(Subresource::Log),
        "exec" => Some(Subresource::Exec),
        "attach" => Some(Subresource::Attach),
        "portforward" => Some(Subresource::PortForward),
        "eviction" => Some(Subresource::Eviction),
        "ephemeralcontainers" => Some(Subresource::EphemeralContainers),
        "proxy" => Some(Subresource::Proxy),
        "token" => Some(Subresource::Token),
        _ => None,
    }
}

/// Returns a subresource's name in URLs.
pub fn subresource_name(subresource: Subresource) -> &'static str {
    match subresource {
        Subresource::Status => "status",
        Subresource::Scale => "scale",
        Subresource::Approval => "approval",
        Subresource::Log => "log",
        Subresource::Exec => "exec",
        Subresource::Attach => "attach",
        Subresource::PortForward => "portforward",
        Subresource::Eviction => "eviction",
        Subresource::EphemeralContainers => "ephemeralcontainers",
        Subresource::Proxy => "proxy",
        Subresource::Token => "token",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::kinds::{DEPLOYMENT, NAMESPACE, NODE, POD};

    fn collection(kind: &'static Kind, namespace: Option<&str>) -> Option<Route> {
        Some(Route::Collection { kind, namespace: namespace.map(str::to_owned) })
    }

    #[test]
    fn paths_of_objects() {
        let object = |key| Some(Route::Object(key));
        for (path, route) in [
            ("/api/v1/pods", collection(&POD, None)),
            ("/api/v1/namespaces/shop/pods", collection(&POD, Some("shop"))),
            ("/api/v1/namespaces/shop/pods/web", object(Key::new(&POD, "shop", "web"))),
            ("/api/v1/namespaces/shop/pods/web/", object(Key::new(&POD, "shop", "web"))),
            ("/api/v1/namespaces", collection(&NAMESPACE, None)),
            ("/api/v1/namespaces/shop", object(Key::cluster(&NAMESPACE, "shop"))),
            ("/api/v1/nodes/n1", object(Key::cluster(&NODE, "n1"))),
            ("/apis/apps/v1/deployments", collection(&DEPLOYMENT, None)),
            ("/apis/apps/v1/namespaces/shop/deployments/a%2Eb", object(Key::new(&DEPLOYMENT, "shop", "a.b"))),
        ] {
            assert_eq!(parse(path), route, "{path}");
        }
    }

    #[test]
    fn paths_of_subresources() {
        let sub = |key, sub| Some(Route::Sub(key, sub));
        let web = || Key::new(&DEPLOYMENT, "shop", "web");
        for (path, route) in [
            ("/api/v1/namespaces/shop/status", sub(Key::cluster(&NAMESPACE, "shop"), Subresource::Status)),
            ("/api/v1/nodes/n1/status", sub(Key::cluster(&NODE, "n1"), Subresource::Status)),
            ("/api/v1/namespaces/shop/pods/web/log", sub(Key::new(&POD, "shop", "web"), Subresource::Log)),
            ("/apis/apps/v1/namespaces/shop/deployments/web/scale", sub(web(), Subresource::Scale)),
            ("/apis/apps/v1/namespaces/shop/deployments/web/status", sub(web(), Subresource::Status)),
            ("/apis/apps/v1/namespaces/shop/deployments/web/log", None),
            ("/api/v1/namespaces/shop/pods/web/exec", sub(Key::new(&POD, "shop", "web"), Subresource::Exec)),
            ("/apis/apps/v1/namespaces/shop/deployments/web/exec", None),
        ] {
            assert_eq!(parse(path), route, "{path}");
        }
    }

    #[test]
    fn paths_of_reviews() {
        let name = |path: &str| match parse(path) {
            Some(Route::Review(review, namespace)) => Some((review.kind, namespace)),
            _ => None,
        };
        let root = "/apis/authorization.k8s.io/v1";
        assert_eq!(name(&format!("{root}/selfsubjectaccessreviews")), Some(("SelfSubjectAccessReview", None)));
        let local = format!("{root}/namespaces/shop/localsubjectaccessreviews");
        assert_eq!(name(&local), Some(("LocalSubjectAccessReview", Some("shop".into()))));
        for path in ["localsubjectaccessreviews", "namespaces/shop/subjectaccessreviews", "selfsubjectreviews"] {
            assert_eq!(name(&format!("{root}/{path}")), None, "{path}");
        }
        assert_eq!(parse("/apis/authentication.k8s.io"), Some(Route::Group("authentication.k8s.io")));
    }

    #[test]
    fn paths_of_discovery_and_health() {
        for (path, route) in [
            ("/", Some(Route::Root)),
            ("/api", Some(Route::CoreVersions)),
            ("/apis", Some(Route::Groups)),
            ("/apis/apps", Some(Route::Group("apps"))),
            ("/api/v1", Some(Route::Resources { group: "", version: "v1" })),
            ("/apis/apps/v1", Some(Route::Resources { group: "apps", version: "v1" })),
            ("/openapi/v2", Some(Route::OpenApiV2)),
            ("/openapi/v3", Some(Route::OpenApiIndex)),
            ("/openapi/v3/api/v1", Some(Route::OpenApiDocument { group: "", version: "v1" })),
            ("/openapi/v3/apis/apps/v1", Some(Route::OpenApiDocument { group: "apps", version: "v1" })),
            ("/readyz", Some(Route::Health("readyz"))),
            ("/.well-known/openid-configuration", Some(Route::OpenIdConfiguration)),
            ("/openid/v1/jwks", Some(Route::OpenIdKeys)),
            ("/version", Some(Route::Version)),
        ] {
            assert_eq!(parse(path), route, "{path}");
        }
    }

    #[test]
    fn what_is_not_served_is_nothing() {
        for path in [
            "/apis//v1/pods",
            "/api/v2",
            "/api/v2/pods",
            "/api/v1/potatoes",
            "/api/v1/namespaces/shop/potatoes",
            "/api/v1/namespaces/shop/nodes/n1",
            "/api/v1/pods/web",
            "/api/v1/pods/web/log",
            "/apis/potato.example",
            "/apis/apps/v2/deployments",
            "/openapi/v2/api",
            "/healthz/etcd",
            "/openapi/v3/apis/apps/v1/x",
            "/api/v1/namespaces/a/pods/b/c/d",
            "/%",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
