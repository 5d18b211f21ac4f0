//! All definitions together: which of them have the names they want, and what is served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::definition::{Definition, Version};
use crate::object::kinds::{KINDS, Kind};

/// What is served of users' kinds.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// By group and plural.
    served: BTreeMap<(String, String), Arc<Definition>>,
}

/// A name that a definition wants and does not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which: `Plural`, `Singular`, `ShortNames`, `Kind`, `ListKind`.
    pub what: &'static str,
    /// The name.
    pub name: String,
}

impl Catalog {
    /// Makes the catalog of these definitions, in any order.
    pub fn of(definitions: impl IntoIterator<Item = Arc<Definition>>) -> Self {
        let mut all: Vec<_> = definitions.into_iter().filter(|d| !is_builtin(&d.group)).collect();
        all.sort_by(|a, b| (&a.created, &a.name).cmp(&(&b.created, &b.name)));
        let mut catalog = Self::default();
        for definition in all {
            if catalog.taken(&definition).is_empty() {
                catalog.served.insert((definition.group.clone(), definition.plural.clone()), definition);
            }
        }
        catalog
    }

    /// Returns the names that others have already, which a definition wants.
    pub fn taken(&self, definition: &Definition) -> Vec<Taken> {
        let others = || self.of_group(&definition.group).filter(|other| other.name != definition.name);
        let resources: BTreeSet<&str> = others().flat_map(|other| other.resource_names()).collect();
        let kinds: BTreeSet<&str> = others().flat_map(|other| [&*other.kind, &*other.list_kind]).collect();
        let taken = |what, name: &str| Taken { what, name: name.to_owned() };
        let mut found = Vec::new();
        for (what, name) in [("Plural", &definition.plural), ("Singular", &definition.singular)] {
            found.extend(resources.contains(&**name).then(|| taken(what, name)));
        }
        let short = definition.short_names.iter().filter(|name| resources.contains(&***name));
        found.extend(short.map(|name| taken("ShortNames", name)));
        for (what, name) in [("Kind", &definition.kind), ("ListKind", &definition.list_kind)] {
            found.extend(kinds.contains(&**name).then(|| taken(what, name)));
        }
        found
    }

    fn of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Arc<Definition>> {
        self.served.range((group.to_owned(), String::new())..).take_while(move |((g, _), _)| g == group).map(|(_, d)| d)
    }

    /// Lists what is served, by group and plural.
    pub fn definitions(&self) -> impl Iterator<Item = &Arc<Definition>> {
        self.served.values()
    }

    /// Lists the groups, sorted, each with its versions, the preferred one first.
    pub fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups = BTreeMap::<&str, Vec<&str>>::new();
        for definition in self.served.values() {
            let versions = groups.entry(&definition.group).or_default();
            for version in &definition.versions {
                if !versions.contains(&version.kind.version) {
                    versions.push(version.kind.version);
                }
            }
        }
        groups.retain(|_, versions| !versions.is_empty());
        groups.values_mut().for_each(|versions| versions.sort_by(|a, b| super::order::compare(a, b)));
        groups
    }

    /// Finds a version by its place in a URL.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Version>> {
        self.served.get(&(group.to_owned(), plural.to_owned()))?.version(version)
    }

    /// Finds the version that a kind is.
    pub fn version(&self, kind: &Kind) -> Option<&Arc<Version>> {
        self.find(kind.group, kind.version, kind.plural)
    }

    /// Lists the definitions that serve something in a group version.
    pub fn in_version<'a>(
        &'a self,
        group: &'a str,
        version: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<Definition>, &'a Arc<Version>)> {
        self.of_group(group).filter_map(move |definition| Some((definition, definition.version(version)?)))
    }
}

/// Tells whether a group is this house's own: no definition adds to it.
pub fn is_builtin(group: &str) -> bool {
    KINDS.iter().any(|kind| kind.group == group)
}

/// Returns the status of a definition with this spec: its names, and whether it has them. `since` is the time of each
/// condition.
pub fn status(spec: &Value, taken: &[Taken], since: &str) -> Value {
    let accepted = taken.is_empty();
    let condition = |kind: &str, holds: bool, reason: &str, message: &str| {
        let status = if holds { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    };
    let (names, established) = match taken.first() {
        None => (
            condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
            condition("Established", true, "InitialNamesAccepted", "the initial names have been accepted"),
        ),
        Some(Taken { what, name }) => (
            condition("NamesAccepted", false, &format!("{what}Conflict"), &format!("{name:?} is already in use")),
            condition("Established", false, "NotAccepted", "not all names are accepted"),
        ),
    };
    let versions = spec["versions"].as_array().into_iter().flatten();
    let stored: Vec<&Value> = versions.filter(|v| v["storage"] == true).map(|v| &v["name"]).collect();
    let mut status = json!({"conditions": [names, established], "storedVersions": stored});
    status["acceptedNames"] = if accepted { spec["names"].clone() } else { json!({"plural": "", "kind": ""}) };
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(name: &str, kind: &str, short: &[&str], created: &str) -> Arc<Definition> {
        let (plural, group) = name.split_once('.').unwrap();
        let crd = json!({"metadata": {"name": name, "creationTimestamp": created}, "spec": {"group": group, "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, "shortNames": short},
            "versions": [{"name": "v1beta1", "served": true}, {"name": "v1", "served": true, "storage": true}, {"name": "v0", "served": false}]}});
        Arc::new(Definition::of(&crd).unwrap())
    }

    #[test]
    fn of_two_that_want_a_name_the_older_has_it() {
        let old = definition("widgets.catalog.example.com", "Widget", &["w"], "2025-01-01T00:00:00Z");
        let new = definition("wodgets.catalog.example.com", "Wodget", &["w"], "2025-01-02T00:00:00Z");
        let other = definition("widgets.other.example.com", "Widget", &["w"], "2025-01-03T00:00:00Z");
        let core = definition("potatoes.apps", "Potato", &[], "2025-01-03T00:00:00Z");
        let catalog = Catalog::of([new.clone(), other, old, core]);
        let served: Vec<_> = catalog.definitions().map(|d| d.name.as_str()).collect();
        assert_eq!(served, ["widgets.catalog.example.com", "widgets.other.example.com"]);
        assert_eq!(catalog.taken(&new), [Taken { what: "ShortNames", name: "w".into() }]);
        assert_eq!(catalog.groups()["other.example.com"], ["v1", "v1beta1"]);
        let v1 = catalog.find("catalog.example.com", "v1", "widgets").unwrap();
        assert_eq!((v1.kind.kind, v1.list_kind.as_str()), ("Widget", "WidgetList"));
        assert!(catalog.find("catalog.example.com", "v0", "widgets").is_none(), "not served");
        assert!(std::ptr::eq(catalog.version(v1.kind).unwrap().kind, v1.kind));
    }

    #[test]
    fn a_status_says_whether_the_names_are_taken() {
        let spec = json!({"names": {"plural": "a", "kind": "A"}, "versions": [{"name": "v1", "storage": true}, {"name": "v2"}]});
        let good = status(&spec, &[], "t");
        assert_eq!((&good["acceptedNames"]["kind"], &good["storedVersions"]), (&json!("A"), &json!(["v1"])));
        let all = |status: &Value| -> Vec<String> {
            status["conditions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|c| format!("{}={}", c["type"].as_str().unwrap(), c["status"].as_str().unwrap()))
                .collect()
        };
        assert_eq!(all(&good), ["NamesAccepted=True", "Established=True"]);
        let bad = status(&spec, &[Taken { what: "Kind", name: "A".into() }], "t");
        assert_eq!(all(&bad), ["NamesAccepted=False", "Established=False"]);
        assert_eq!(bad["conditions"][0]["reason"], "KindConflict");
        assert_eq!(bad["conditions"][0]["message"], "\"A\" is already in use");
    }
}
