//! Webhook configurations (`pkg/apis/admissionregistration/validation`).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::field::{Causes, Field};
use super::names;

/// The longest a webhook may take, in seconds.
const MAX_TIMEOUT: i64 = 30;

/// Checks a Mutating- or ValidatingWebhookConfiguration.
pub(super) fn configuration(root: &Field<'_>, mutating: bool, causes: &mut Causes) {
    let mut seen = BTreeSet::new();
    for hook in root.child("webhooks").items() {
        let name = hook.child("name");
        qualified(&name, causes);
        if !seen.insert(name.text().to_owned()) {
            causes.duplicate(&name);
        }
        webhook(&hook, causes);
        if mutating && hook.has("reinvocationPolicy") {
            causes.one_of(&hook.child("reinvocationPolicy"), &["IfNeeded", "Never"]);
        }
    }
}

/// `a.example.com`: three parts at least.
fn qualified(name: &Field<'_>, causes: &mut Causes) {
    if name.text().is_empty() {
        return causes.required(name, "");
    }
    causes.invalid_each(name, names::dns_subdomain(name.text()));
    if name.text().split('.').count() < 3 {
        causes.invalid(name, "should be a domain with at least three segments separated by dots");
    }
}

fn webhook(hook: &Field<'_>, causes: &mut Causes) {
    let versions = hook.child("admissionReviewVersions");
    if versions.len() == 0 {
        causes.required(&versions, "must specify one of v1, v1beta1");
    } else if !versions.items().any(|version| version.text() == "v1") {
        causes.invalid(&versions, "must include at least one of v1");
    }
    for (field, supported) in [
        ("failurePolicy", &["Fail", "Ignore"][..]),
        ("matchPolicy", &["Equivalent", "Exact"]),
        ("sideEffects", &["None", "NoneOnDryRun"]),
    ] {
        causes.one_of(&hook.child(field), supported);
    }
    let timeout = hook.child("timeoutSeconds");
    if timeout.number().is_some_and(|seconds| !(1..=MAX_TIMEOUT).contains(&seconds)) {
        causes.invalid(&timeout, "the timeout value must be between 1 and 30 seconds");
    }
    if hook.child("matchConditions").len() > 0 {
        causes.forbidden(
            &hook.child("matchConditions"),
            "expressions are not evaluated by this server: select by rules, namespaceSelector and objectSelector",
        );
    }
    hook.child("rules").items().for_each(|each| rule(&each, causes));
    client(&hook.child("clientConfig"), causes);
}

fn rule(rule: &Field<'_>, causes: &mut Causes) {
    let operations = rule.child("operations");
    for (list, name) in [
        (&operations, "operations"),
        (&rule.child("apiGroups"), "apiGroups"),
        (&rule.child("apiVersions"), "apiVersions"),
        (&rule.child("resources"), "resources"),
    ] {
        if list.len() == 0 {
            causes.required(&rule.child(name), "");
        }
        if list.len() > 1 && list.items().any(|item| item.text() == "*") && name != "resources" {
            causes.invalid(list, "if '*' is present, must not specify other values");
        }
    }
    for operation in operations.items() {
        if !["*", "CREATE", "UPDATE", "DELETE", "CONNECT"].contains(&operation.text()) {
            causes.not_supported(&operation, &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"]);
        }
    }
    causes.one_of(&rule.child("scope"), &["*", "Cluster", "Namespaced"]);
}

fn client(config: &Field<'_>, causes: &mut Causes) {
    let (url, service) = (config.child("url"), config.child("service"));
    if url.is_set() == service.is_set() {
        return causes.required(config, "exactly one of url or service is required");
    }
    if url.is_set() && !url.text().starts_with("https://") {
        causes.invalid(&url, "'https' is the only allowed URL scheme; desired format: https://host[/path]");
    }
    if service.is_set() {
        for name in ["name", "namespace"].map(|name| service.child(name)) {
            if name.text().is_empty() {
                causes.required(
                    &name,
                    &format!("service {} is required", name.path.rsplit('.').next().unwrap_or_default()),
                );
            }
        }
        let path = service.child("path");
        if !path.text().is_empty() && !path.text().starts_with('/') {
            causes.invalid(&path, "must start with a '/'");
        }
    }
    let bundle = config.child("caBundle");
    let is_pem = |text: &str| STANDARD.decode(text).is_ok_and(|pem| pem.starts_with(b"-----BEGIN") || pem.is_empty());
    if !bundle.text().is_empty() && !is_pem(bundle.text()) {
        causes.invalid_as(&bundle, "\"...\"", "unable to load root certificates: unable to parse bytes as PEM block");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::object::{defaults, kinds, validation};

    /// What a test does to a webhook that is valid.
    type Edit = fn(&mut Value);

    fn told(edit: impl Fn(&mut Value)) -> Vec<String> {
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        let mut hook = json!({"name": "a.test.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
            "clientConfig": {"url": "https://test.dev"}, "rules": [rule]});
        edit(&mut hook);
        let mut object = json!({"metadata": {"name": "hooks"}, "webhooks": [hook]});
        defaults::apply(&kinds::MUTATING_WEBHOOK_CONFIGURATION, &mut object);
        let causes = validation::on_create(&kinds::MUTATING_WEBHOOK_CONFIGURATION, &object);
        causes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_could_not_be_asked_is_refused() {
        assert_eq!(told(|_| {}), Vec::<String>::new());
        let table: &[(Edit, &str)] = &[
            (
                |h| h["name"] = json!("a"),
                "webhooks[0].name: Invalid value: \"a\": should be a domain with at least three segments separated by dots",
            ),
            (
                |h| h["sideEffects"] = json!("Some"),
                "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                |h| h["timeoutSeconds"] = json!(31),
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
            ),
            (
                |h| h["admissionReviewVersions"] = json!(["v1beta1"]),
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v1beta1\"]: must include at least one of v1",
            ),
            (
                |h| h["clientConfig"] = json!({}),
                "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            ),
            (
                |h| h["clientConfig"]["url"] = json!("http://x"),
                "webhooks[0].clientConfig.url: Invalid value: \"http://x\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
            ),
            (
                |h| h["clientConfig"]["caBundle"] = json!("aGk="),
                "webhooks[0].clientConfig.caBundle: Invalid value: \"...\": unable to load root certificates: unable to parse bytes as PEM block",
            ),
            (|h| h["rules"][0]["resources"] = json!([]), "webhooks[0].rules[0].resources: Required value"),
        ];
        for (edit, fault) in table {
            assert_eq!(told(edit), [*fault]);
        }
        let conditions = told(|h| h["matchConditions"] = json!([{"name": "x", "expression": "true"}]));
        assert!(
            conditions[0].starts_with("webhooks[0].matchConditions: Forbidden: expressions are not evaluated"),
            "{conditions:?}"
        );
    }
}
