//! Who wants to be asked about what: the webhook configurations, read.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::handle::Handle;
use crate::ids::Revision;
use crate::object::Kind;
use crate::object::kinds::{MUTATING_WEBHOOK_CONFIGURATION, VALIDATING_WEBHOOK_CONFIGURATION};
use crate::object::selector::Selector;
use crate::store::Snapshot;

/// How long a webhook may take if nothing is said.
const TIMEOUT: u64 = 10;

/// What is done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
}

impl Operation {
    /// Returns the word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A webhook.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its name.
    pub name: String,
    rules: Vec<Rule>,
    /// The namespaces whose objects it wants to hear of.
    pub namespaces: Selector,
    /// The objects it wants to hear of.
    pub objects: Selector,
    /// Whether it wants to hear of other forms of what its rules name.
    pub equivalent: bool,
    /// Whether a write goes on if it does not answer.
    pub ignores_failure: bool,
    /// Whether it may be asked about what is not done.
    pub dry_runs: bool,
    /// Whether it wants to be asked again about what others have changed since.
    pub reinvoked: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// Where it is.
    pub at: Place,
    /// The authorities whose certificates it may show, in PEM.
    pub authorities: Vec<u8>,
}

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Service.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
        /// The path there.
        path: String,
    },
    /// A URL.
    Url(String),
}

#[derive(Clone, Debug)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

impl Rule {
    fn of(json: &Value) -> Self {
        let texts = |name: &str| {
            let all = json[name].as_array().into_iter().flatten();
            all.filter_map(|v| v.as_str().map(str::to_owned)).collect()
        };
        Self {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources"),
            scope: json["scope"].as_str().unwrap_or("*").to_owned(),
        }
    }

    fn matches(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        let among = |all: &[String], one: &str| all.iter().any(|a| a == "*" || a == one);
        let is_global = !kind.namespaced;
        let in_scope = match self.scope.as_str() {
            "Namespaced" => !is_global,
            "Cluster" => is_global,
            _ => true,
        };
        let resource = |wanted: &String| {
            let (resource, sub) = wanted.split_once('/').unwrap_or((wanted, ""));
            (resource == "*" || resource == kind.plural) && (sub == subresource || sub == "*")
        };
        among(&self.operations, operation.word())
            && among(&self.groups, kind.group)
            && among(&self.versions, kind.version)
            && in_scope
            && self.resources.iter().any(resource)
    }
}

impl Hook {
    /// Reads a webhook. `None` if it is none that could be asked, which validation prevents.
    fn of(json: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let selector = |value: &Value| {
            if value.is_null() { Some(Selector::everything()) } else { Selector::of_object(value).ok() }
        };
        let config = &json["clientConfig"];
        let at = match (&config["service"], config["url"].as_str()) {
            (_, Some(url)) => Place::Url(url.to_owned()),
            (service, None) => Place::Service {
                namespace: text(&service["namespace"]),
                name: service["name"].as_str()?.to_owned(),
                port: service["port"].as_u64().map_or(Some(443), |port| port.try_into().ok())?,
                path: service["path"].as_str().unwrap_or("/").to_owned(),
            },
        };
        Some(Self {
            name: json["name"].as_str()?.to_owned(),
            rules: json["rules"].as_array().into_iter().flatten().map(Rule::of).collect(),
            namespaces: selector(&json["namespaceSelector"])?,
            objects: selector(&json["objectSelector"])?,
            equivalent: json["matchPolicy"] != "Exact",
            ignores_failure: json["failurePolicy"] == "Ignore",
            dry_runs: matches!(json["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")),
            reinvoked: json["reinvocationPolicy"] == "IfNeeded",
            timeout: Duration::from_secs(json["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT).clamp(1, 30)),
            at,
            authorities: config["caBundle"].as_str().and_then(|ca| STANDARD.decode(ca).ok()).unwrap_or_default(),
        })
    }

    /// Tells whether its rules name such a write.
    pub fn wants(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        self.rules.iter().any(|rule| rule.matches(operation, kind, subresource))
    }
}

/// All webhooks of a moment, in the order in which they are asked.
#[derive(Debug, Default)]
pub struct Configured {
    /// The last change of each sort of configuration that this knows of.
    at: (Revision, Revision),
    /// Those that may change objects.
    pub mutating: Vec<Hook>,
    /// Those that judge.
    pub validating: Vec<Hook>,
}

impl Configured {
    /// Reads one webhook.
    #[cfg(test)]
    pub fn hook(json: &Value) -> Option<Hook> {
        Hook::of(json)
    }

    fn of(view: &Snapshot, at: (Revision, Revision)) -> Self {
        let all = |kind: &'static Kind| {
            // By name, as the snapshot lists them.
            let configurations = view.list(kind, None).map(|entry| entry.value());
            let hooks = configurations.flat_map(|c| c["webhooks"].as_array().cloned().unwrap_or_default());
            hooks.filter_map(|hook| Hook::of(&hook)).collect()
        };
        Self { at, mutating: all(&MUTATING_WEBHOOK_CONFIGURATION), validating: all(&VALIDATING_WEBHOOK_CONFIGURATION) }
    }
}

/// The webhooks, as they were read last.
#[derive(Debug, Default)]
pub struct Hooks(ArcSwapOption<Configured>);

impl Hooks {
    /// Returns the webhooks as they are now.
    pub fn now(&self, handle: &Handle) -> Arc<Configured> {
        let view = handle.snapshot();
        let at =
            (view.last_change(&MUTATING_WEBHOOK_CONFIGURATION), view.last_change(&VALIDATING_WEBHOOK_CONFIGURATION));
        if let Some(known) = self.0.load_full().filter(|known| known.at == at) {
            return known;
        }
        let read = Arc::new(Configured::of(&view, at));
        self.0.store(Some(Arc::clone(&read)));
        read
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::kinds::{DEPLOYMENT, NAMESPACE, POD};

    fn wants(rule: &Value, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        let hook = json!({"name": "a", "clientConfig": {"url": "https://x"}, "rules": [rule]});
        Hook::of(&hook).unwrap().wants(operation, kind, subresource)
    }

    #[test]
    fn rules_name_what_is_asked_about() {
        let pods = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        assert!(wants(&pods, Operation::Create, &POD, ""));
        assert!(!wants(&pods, Operation::Update, &POD, ""));
        assert!(!wants(&pods, Operation::Create, &POD, "status"));
        assert!(!wants(&pods, Operation::Create, &DEPLOYMENT, ""));
        let any = |resources: &str, scope: &str| json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": [resources], "scope": scope});
        for (resources, scope, kind, subresource, expected) in [
            ("*", "*", &POD, "", true),
            ("*", "*", &POD, "status", false),
            ("*/*", "*", &POD, "status", true),
            ("pods/*", "*", &POD, "status", true),
            ("*/scale", "*", &DEPLOYMENT, "scale", true),
            ("deployments/scale", "*", &DEPLOYMENT, "", false),
            ("*", "Cluster", &POD, "", false),
            ("*", "Cluster", &NAMESPACE, "", true),
            ("*", "Namespaced", &NAMESPACE, "", false),
        ] {
            assert_eq!(
                wants(&any(resources, scope), Operation::Update, kind, subresource),
                expected,
                "{resources} {scope}"
            );
        }
    }

    #[test]
    fn a_hook_is_read_with_upstreams_defaults() {
        let hook = json!({"name": "a", "clientConfig": {"service": {"namespace": "n", "name": "s"}}});
        let hook = Hook::of(&hook).unwrap();
        let at = Place::Service { namespace: "n".into(), name: "s".into(), port: 443, path: "/".into() };
        assert_eq!((hook.at.clone(), hook.timeout, hook.equivalent), (at, Duration::from_secs(10), true));
        assert!(!hook.ignores_failure && !hook.reinvoked && !hook.dry_runs);
        assert!(hook.namespaces.is_everything() && hook.objects.is_everything());
    }
}
