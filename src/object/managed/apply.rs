//! Server-side apply.

use serde_json::{Value, json};

use super::element::{Element, show};
use super::entries::{Manager, Managers, Operation};
use super::merge::{merge, remove};
use super::place::Place;
use super::set::FieldSet;
use super::walk::{Comparison, fields};
use super::{By, ownable};
use crate::object::Kind;
use crate::object::custom::Schema;

/// Who owns what was there before anybody applied anything.
const BEFORE: &str = "before-first-apply";
/// Who may take over what `kubectl apply` without `--server-side` wrote.
pub const KUBECTL: &str = "kubectl";
/// Where that keeps what it applied.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// An object after an apply.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The object, neither defaulted nor validated.
    pub object: Value,
    /// Its `managedFields`.
    pub managed: Option<Value>,
}

/// A field that another manager owns and that would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    /// Who owns it, as messages show it: `"kubectl-edit" using apps/v1`.
    pub manager: String,
    /// Which: `.spec.replicas`.
    pub field: String,
}

/// Why an object is not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// What is applied cannot be merged.
    #[error("{0}")]
    Malformed(String),
    /// Others own fields that would change; at least one.
    #[error("{}", message(.0))]
    Conflicts(Vec<FieldConflict>),
}

/// Applies `config`, which has the schema's types, to `live`. `schema` is that of a kind that users define. `is_new` says that `live` is only a name so far.
///
/// # Errors
/// [`ApplyError`], in upstream's words.
pub fn apply(
    kind: &'static Kind,
    schema: Option<&Schema>,
    live: &Value,
    is_new: bool,
    config: &Value,
    by: &By<'_>,
    force: bool,
) -> Result<Applied, ApplyError> {
    let root = Place::root(kind, schema);
    check(root, config, &mut Vec::new())?;
    let mut managers = Managers::of(live).unwrap_or_default();
    if managers.is_empty() && !is_new {
        let all = Comparison::of(root, &json!({}), live).added;
        let version = kind.api_version();
        let before = Manager::new(Operation::Update, BEFORE, &version, "");
        managers.set(&before, &version, ownable(kind, "", &all), true, by.now);
    }
    let work = Work { kind, root, live, config, by, managers };
    match work.clone().run(force) {
        Err(conflicts) if by.manager == KUBECTL => {
            let allowed = work.client_side(live);
            let left: Vec<_> = conflicts.into_iter().filter(|(_, set)| !set.difference(&allowed).is_empty()).collect();
            if !left.is_empty() {
                let left = left.into_iter().map(|(manager, set)| (manager, set.difference(&allowed))).collect();
                return Err(ApplyError::Conflicts(shown(left)));
            }
            work.run(true).map_err(|conflicts| ApplyError::Conflicts(shown(conflicts)))
        }
        other => other.map_err(|conflicts| ApplyError::Conflicts(shown(conflicts))),
    }
}

/// What others own of what would change.
type Conflicts = Vec<(Manager, FieldSet)>;

#[derive(Clone)]
struct Work<'a> {
    kind: &'static Kind,
    root: Place<'a>,
    live: &'a Value,
    config: &'a Value,
    by: &'a By<'a>,
    managers: Managers,
}

impl Work<'_> {
    fn run(mut self, force: bool) -> Result<Applied, Conflicts> {
        let version = self.kind.api_version();
        let me = Manager::new(Operation::Apply, self.by.manager, &version, self.by.subresource);
        let last = self.managers.get(&me).map(|owned| owned.fields.clone()).unwrap_or_default();
        let said = fields(self.root, self.config);
        let mine = ownable(self.kind, self.by.subresource, &said);
        let merged = merge(self.root, self.live, self.config);
        let others = self.managers.others(&me).fold(FieldSet::default(), |all, (_, owned)| all.union(&owned.fields));
        // The name is nobody's, but said; without it nothing would hold the metadata together.
        let object = self.prune(merged, &others.union(&said), &last);

        let changes = Comparison::of(self.root, self.live, &object);
        let written = changes.written();
        let conflicts: Conflicts = self
            .managers
            .others(&me)
            .map(|(manager, owned)| (manager.clone(), owned.fields.intersection(&written)))
            .filter(|(_, set)| !set.is_empty())
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        self.managers.take(&me, &written.union(&changes.removed));
        self.managers.set(&me, &version, mine, !changes.is_same(), self.by.now);
        Ok(Applied { object, managed: self.managers.into_json() })
    }

    /// Takes away what the manager applied last, does not apply now, and nobody else owns. What it made and did not
    /// name, such as the defaults in a list's element, goes with that.
    fn prune(&self, merged: Value, owned: &FieldSet, last: &FieldSet) -> Value {
        if last.is_empty() {
            return merged;
        }
        let root = self.root;
        let all = named(root, &fields(root, &merged));
        let last = named(root, last);
        let pruned = remove(root, &merged, &last);
        let kept = named(root, &fields(root, &pruned)).union(&named(root, owned));
        let pruned = remove(root, &merged, &all.difference(&kept));
        let kept = named(root, &fields(root, &pruned));
        remove(root, &merged, &all.difference(&kept).intersection(&last))
    }

    /// What `kubectl apply` without `--server-side` wrote and is still as it was: who goes over to server-side apply
    /// means to own that.
    fn client_side(&self, live: &Value) -> FieldSet {
        let Some(text) = live["metadata"]["annotations"][LAST_APPLIED].as_str() else { return FieldSet::default() };
        let Ok(last) = serde_json::from_str::<Value>(text) else { return FieldSet::default() };
        let changes = Comparison::of(self.root, &last, live);
        fields(self.root, &last).difference(&changes.modified).difference(&changes.removed)
    }
}

/// Adds the known fields that paths of a set begin with: who owns all that is in a struct owns the struct.
fn named(root: Place<'_>, set: &FieldSet) -> FieldSet {
    set.with_beginnings(root, Place::step, |place, element| place.names(element))
}

/// Looks whether the elements of applied lists can be told apart.
fn check(place: Place<'_>, value: &Value, path: &mut Vec<Element>) -> Result<(), ApplyError> {
    match value {
        Value::Object(members) if place.branches(value) => {
            for (name, item) in members {
                let element = Element::Field(name.clone());
                path.push(element.clone());
                check(place.member(&element), item, path)?;
                path.pop();
            }
        }
        Value::Array(items) if place.branches(value) => {
            let mut seen = std::collections::BTreeSet::new();
            for (at, item) in items.iter().enumerate() {
                let here = show(path);
                let malformed = |why: String| ApplyError::Malformed(format!("{here}: {why}"));
                let element = place.element(item).map_err(|key| {
                    malformed(format!(
                        "element {at}: associative list with keys has an element that omits key field {key:?} \
                         (and doesn't have default value)"
                    ))
                })?;
                if !seen.insert(element.clone()) {
                    return Err(malformed(format!("duplicate entries for key {element}")));
                }
                path.push(element.clone());
                check(place.member(&element), item, path)?;
                path.pop();
            }
        }
        _ => {}
    }
    Ok(())
}

fn shown(conflicts: Conflicts) -> Vec<FieldConflict> {
    let mut all = Vec::new();
    for (manager, set) in conflicts {
        let mut name = format!("{:?}", manager.name);
        if !manager.subresource.is_empty() {
            name = format!("{name} with subresource {:?}", manager.subresource);
        }
        if manager.operation == Operation::Update {
            name = format!("{name} using {}", manager.api_version);
        }
        all.extend(set.paths().iter().map(|path| FieldConflict { manager: name.clone(), field: show(path) }));
    }
    all.sort_by(|a, b| (&a.manager, &a.field).cmp(&(&b.manager, &b.field)));
    all
}

fn message(conflicts: &[FieldConflict]) -> String {
    if let [one] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {}: {}", one.manager, one.field);
    }
    let mut lines = Vec::new();
    let mut before = "";
    for conflict in conflicts {
        if conflict.manager != before {
            lines.push(format!("conflicts with {}:", conflict.manager));
            before = &conflict.manager;
        }
        lines.push(format!("- {}", conflict.field));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}
