//! Resource requests and limits.

use crate::object::Quantity;
use crate::object::validation::field::{Causes, Field, quoted};
use crate::object::validation::names;

/// Checks a container's `resources`.
pub(super) fn requirements(resources: &Field<'_>, causes: &mut Causes) {
    let (limits, requests) = (resources.child("limits"), resources.child("requests"));
    quantities(&limits, causes);
    for (name, request) in requests.entries() {
        quantity(name, &request, causes);
        let (amount, limit) = (Quantity::of(request.value), Quantity::of(&limits.value[name]));
        let overcommit = may_be_overcommitted(name);
        match (amount, limit) {
            (Ok(amount), Ok(limit)) if amount != limit && !overcommit => {
                let why = format!("must be equal to {name} limit of {limit}");
                causes.invalid_as(&requests, &quoted(&amount.to_string()), &why);
            }
            (Ok(amount), Ok(limit)) if amount > limit => {
                let why = format!("must be less than or equal to {name} limit of {limit}");
                causes.invalid_as(&requests, &quoted(&amount.to_string()), &why);
            }
            (Ok(_), Err(_)) if !overcommit => {
                causes.required(&limits, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
    let names_huge = |list: &Field<'_>| list.entries().any(|(name, _)| name.starts_with("hugepages-"));
    let names_compute = |list: &Field<'_>| list.entries().any(|(name, _)| name == "cpu" || name == "memory");
    let lists = [limits, requests];
    if lists.iter().any(names_huge) && !lists.iter().any(names_compute) {
        causes.forbidden(resources, "HugePages require cpu or memory");
    }
}

/// Checks a map of resource names and amounts.
pub(super) fn quantities(list: &Field<'_>, causes: &mut Causes) {
    for (name, amount) in list.entries() {
        quantity(name, &amount, causes);
    }
}

fn quantity(name: &str, amount: &Field<'_>, causes: &mut Causes) {
    let shown = quoted(name);
    let faults = names::qualified_name(name);
    let malformed = !faults.is_empty();
    for fault in faults {
        causes.invalid_as(amount, &shown, &fault);
    }
    if !name.contains('/') {
        if !malformed && !is_standard(name) {
            causes.invalid_as(amount, &shown, "must be a standard resource type or fully qualified");
        }
        if !is_of_containers(name) {
            causes.invalid_as(amount, &shown, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        causes.invalid_as(amount, &shown, "doesn't follow extended resource name standard");
    }
    value(name, amount, causes);
}

/// Checks an amount, whatever its name: not negative, and whole where it counts things.
pub(in crate::object::validation) fn value(name: &str, amount: &Field<'_>, causes: &mut Causes) {
    match Quantity::of(amount.value) {
        Err(why) => causes.invalid(amount, &why.to_string()),
        Ok(quantity) if quantity.is_negative() => {
            causes.invalid_as(amount, &quoted(&quantity.to_string()), "must be greater than or equal to 0");
        }
        Ok(quantity) if counts_things(name) && quantity.milli_value() % 1_000 != 0 => {
            causes.invalid_as(amount, &quoted(&quantity.to_string()), "must be an integer");
        }
        Ok(_) => {}
    }
}

fn is_of_containers(name: &str) -> bool {
    ["cpu", "memory", "ephemeral-storage"].contains(&name) || name.starts_with("hugepages-")
}

fn is_standard(name: &str) -> bool {
    is_of_containers(name) || ["storage", "pods"].contains(&name)
}

/// In Kubernetes' own namespace, which is also that of names without a prefix.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

fn may_be_overcommitted(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

fn counts_things(name: &str) -> bool {
    name == "pods" || is_extended(name)
}
