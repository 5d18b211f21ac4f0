//! One rule of a role: what it allows, and whether others cover it.

use k8s_openapi::api::rbac::v1::PolicyRule;

use super::Attributes;

const ALL: &str = "*";

/// Tells whether a rule allows what is asked.
pub(super) fn allows(rule: &PolicyRule, asked: &Attributes<'_>) -> bool {
    if !has(&rule.verbs, asked.verb) {
        return false;
    }
    match asked.path {
        Some(path) => rule.non_resource_urls.iter().flatten().any(|pattern| is_path(pattern, path)),
        None => {
            has(rule.api_groups.as_deref().unwrap_or_default(), asked.group)
                && rule.resources.iter().flatten().any(|pattern| is_resource(pattern, asked))
                && is_name(rule, asked.name)
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|one| one == ALL || one == wanted)
}

fn is_name(rule: &PolicyRule, name: &str) -> bool {
    let names = rule.resource_names.as_deref().unwrap_or_default();
    names.is_empty() || names.iter().any(|one| one == name)
}

/// `*` is all, `*/scale` the part of all, anything else itself.
fn is_resource(pattern: &str, asked: &Attributes<'_>) -> bool {
    if pattern == ALL {
        return true;
    }
    let (resource, sub) = pattern.split_once('/').unwrap_or((pattern, ""));
    sub == asked.subresource && (resource == asked.resource || resource == ALL && !sub.is_empty())
}

/// A path, or with a trailing `*` all that begin so.
fn is_path(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => pattern == path,
    }
}

/// Returns what of `wanted` is not covered by `held`, taken apart to one verb of one thing each: empty if all is.
pub fn covers(held: &[PolicyRule], wanted: &[PolicyRule]) -> Vec<PolicyRule> {
    let apart = wanted.iter().flat_map(take_apart);
    apart.filter(|one| !held.iter().any(|rule| covers_one(rule, one))).collect()
}

/// Takes a rule apart, as upstream does before it compares.
fn take_apart(rule: &PolicyRule) -> Vec<PolicyRule> {
    let mut all = Vec::new();
    let one = |text: &String| Some(vec![text.clone()]);
    let names = rule.resource_names.as_deref().unwrap_or_default();
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for verb in &rule.verbs {
                let base = PolicyRule {
                    api_groups: one(group),
                    resources: one(resource),
                    verbs: vec![verb.clone()],
                    ..PolicyRule::default()
                };
                if names.is_empty() {
                    all.push(base);
                } else {
                    all.extend(names.iter().map(|name| PolicyRule { resource_names: one(name), ..base.clone() }));
                }
            }
        }
    }
    for path in rule.non_resource_urls.iter().flatten() {
        let of = |verb: &String| PolicyRule {
            non_resource_urls: one(path),
            verbs: vec![verb.clone()],
            ..PolicyRule::default()
        };
        all.extend(rule.verbs.iter().map(of));
    }
    all
}

/// Tells whether a rule covers one that was taken apart.
fn covers_one(held: &PolicyRule, wanted: &PolicyRule) -> bool {
    let verbs = wanted.verbs.iter().all(|verb| has(&held.verbs, verb));
    if let Some(paths) = &wanted.non_resource_urls {
        let covered = |path: &String| held.non_resource_urls.iter().flatten().any(|pattern| is_path(pattern, path));
        return verbs && paths.iter().all(covered);
    }
    let groups = held.api_groups.as_deref().unwrap_or_default();
    let names = held.resource_names.as_deref().unwrap_or_default();
    let wanted_names = wanted.resource_names.as_deref().unwrap_or_default();
    verbs
        && wanted.api_groups.iter().flatten().all(|group| has(groups, group))
        && wanted.resources.iter().flatten().all(|resource| {
            let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
            let asked = Attributes { resource, subresource: sub, ..Attributes::default() };
            held.resources.iter().flatten().any(|pattern| is_resource(pattern, &asked))
        })
        && (names.is_empty() || !wanted_names.is_empty() && wanted_names.iter().all(|name| names.contains(name)))
}

/// Puts what was taken apart together again: one rule for all verbs on one thing.
pub fn compact(rules: Vec<PolicyRule>) -> Vec<PolicyRule> {
    let mut all: Vec<PolicyRule> = Vec::new();
    for rule in rules {
        let same = |known: &&mut PolicyRule| {
            (&known.api_groups, &known.resources, &known.resource_names, &known.non_resource_urls)
                == (&rule.api_groups, &rule.resources, &rule.resource_names, &rule.non_resource_urls)
        };
        match all.iter_mut().find(same) {
            Some(known) => {
                let fresh: Vec<String> = rule.verbs.into_iter().filter(|verb| !known.verbs.contains(verb)).collect();
                known.verbs.extend(fresh);
            }
            None => all.push(rule),
        }
    }
    all
}

/// Writes a rule in one line, as upstream's refusals do.
pub(super) fn one_line(rule: &PolicyRule) -> String {
    let list = |name: &str, list: Option<&[String]>| {
        let quoted: Vec<String> = list?.iter().map(|text| format!("{text:?}")).collect();
        (!quoted.is_empty()).then(|| format!("{name}:[{}]", quoted.join(" ")))
    };
    let parts = [
        list("APIGroups", rule.api_groups.as_deref()),
        list("Resources", rule.resources.as_deref()),
        list("NonResourceURLs", rule.non_resource_urls.as_deref()),
        list("ResourceNames", rule.resource_names.as_deref()),
        list("Verbs", Some(&rule.verbs)),
    ];
    format!("{{{}}}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}
