//! Namespaces, ConfigMaps, Secrets, ServiceAccounts and Leases.

use super::format::{len, or};
use super::{AGE, NAME, Printer, age, integer, name, text};

pub(super) const NAMESPACES: Printer = Printer {
    columns: &[NAME, text("Status", "The status of the namespace"), AGE],
    cells: |o, now| vec![name(o), or(&o["status"]["phase"], "").into(), age(o, now)],
};

pub(super) const CONFIG_MAPS: Printer = Printer {
    columns: &[NAME, text("Data", "Data contains the configuration data."), AGE],
    cells: |o, now| vec![name(o), (len(&o["data"]) + len(&o["binaryData"])).into(), age(o, now)],
};

pub(super) const SECRETS: Printer = Printer {
    columns: &[
        NAME,
        text("Type", "Used to facilitate programmatic handling of secret data."),
        text("Data", "Data contains the secret data."),
        AGE,
    ],
    cells: |o, now| vec![name(o), or(&o["type"], "").into(), len(&o["data"]).into(), age(o, now)],
};

pub(super) const SERVICE_ACCOUNTS: Printer = Printer {
    columns: &[
        NAME,
        integer(
            "Secrets",
            "Secrets is a list of the secrets in the same namespace that pods running using this ServiceAccount are allowed to use.",
        ),
        AGE,
    ],
    cells: |o, now| vec![name(o), len(&o["secrets"]).into(), age(o, now)],
};

pub(super) const CUSTOM_RESOURCE_DEFINITIONS: Printer = Printer {
    columns: &[NAME, text("Created At", "When the definition was made.")],
    cells: |o, _| vec![name(o), or(&o["metadata"]["creationTimestamp"], "<unknown>").into()],
};

pub(super) const LEASES: Printer = Printer {
    columns: &[NAME, text("Holder", "holderIdentity contains the identity of the holder of a current lease."), AGE],
    cells: |o, now| vec![name(o), or(&o["spec"]["holderIdentity"], "").into(), age(o, now)],
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;
    use serde_json::{Value, json};

    #[test]
    fn small_kinds_are_printed_as_upstream_does() {
        let now = Wall::from_secs(60);
        let with = |rest: Value| {
            let mut object = json!({"metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"}});
            object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            object
        };
        for (printer, object, cells) in [
            (&NAMESPACES, json!({"status": {"phase": "Active"}}), json!(["x", "Active", "60s"])),
            (&CONFIG_MAPS, json!({"data": {"a": "1", "b": "2"}, "binaryData": {"c": ""}}), json!(["x", 3, "60s"])),
            (&SECRETS, json!({"type": "Opaque", "data": {"a": ""}}), json!(["x", "Opaque", 1, "60s"])),
            (&SERVICE_ACCOUNTS, json!({"secrets": [{}, {}]}), json!(["x", 2, "60s"])),
            (&LEASES, json!({"spec": {"holderIdentity": "n1"}}), json!(["x", "n1", "60s"])),
        ] {
            assert_eq!(json!((printer.cells)(&with(object), now)), cells);
        }
    }
}
