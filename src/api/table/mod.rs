//! Objects as the tables that `kubectl get` prints: upstream's columns, cell for cell.

mod access;
mod autoscalers;
mod batch;
mod cluster;
mod events;
pub mod format;
mod ingress;
mod metrics;
mod network;
mod nodes;
mod pods;
mod storage;
mod workloads;

use serde_json::{Value, json};

use crate::object::{Kind, view};
use crate::time::Wall;

use super::params::Params;
use super::status::Status;

/// One column of a table.
#[derive(Clone, Copy, Debug)]
struct Column {
    name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    kind: &'static str,
    /// `name` for the column that identifies the row.
    format: &'static str,
    description: &'static str,
    /// 0 is always shown, 1 only by `-o wide`.
    priority: u8,
}

/// How a kind is printed.
struct Printer {
    columns: &'static [Column],
    cells: fn(&Value, Wall) -> Vec<Value>,
}

const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", description, priority: 0 }
}

const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", format: "", description, priority: 0 }
}

const fn boolean(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "boolean", format: "", description, priority: 0 }
}

/// A column that only `-o wide` shows.
const fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

const NAME: Column =
    Column { name: "Name", kind: "string", format: "name", description: NAME_DESCRIPTION, priority: 0 };

/// What the column that names an object is.
pub const NAME_DESCRIPTION: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources \
                  may allow a client to request the generation of an appropriate name automatically. Name is primarily \
                  intended for creation idempotence and configuration definition. Cannot be updated.";

const AGE: Column = text(
    "Age",
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed \
     to be set in happens-before order across separate operations. Clients may not set this value. It is represented \
     in RFC3339 form and is in UTC.",
);

/// For a kind that has no printer of its own.
const PLAIN: Printer = Printer {
    columns: &[NAME, Column { name: "Created At", kind: "date", ..AGE }],
    cells: |o, _| vec![name(o), o["metadata"]["creationTimestamp"].clone()],
};

/// Objects are printed from what is stored, in whichever form they are asked for.
fn printer(kind: &'static Kind) -> &'static Printer {
    let kind = kind.stored();
    match (kind.group, kind.plural) {
        ("", "pods") => &pods::PODS,
        ("", "nodes") => &nodes::NODES,
        ("", "services") => &network::SERVICES,
        ("", "namespaces") => &cluster::NAMESPACES,
        ("", "configmaps") => &cluster::CONFIG_MAPS,
        ("", "secrets") => &cluster::SECRETS,
        ("", "serviceaccounts") => &cluster::SERVICE_ACCOUNTS,
        ("", "events") => &events::EVENTS,
        ("", "endpoints") => &ingress::ENDPOINTS,
        ("", "persistentvolumeclaims") => &storage::PERSISTENT_VOLUME_CLAIMS,
        ("", "persistentvolumes") => &storage::PERSISTENT_VOLUMES,
        ("", "podtemplates") => &batch::POD_TEMPLATES,
        ("", "replicationcontrollers") => &batch::REPLICATION_CONTROLLERS,
        ("", "resourcequotas") => &storage::RESOURCE_QUOTAS,
        ("apps", "controllerrevisions") => &batch::CONTROLLER_REVISIONS,
        ("apps", "daemonsets") => &batch::DAEMON_SETS,
        ("apps", "statefulsets") => &batch::STATEFUL_SETS,
        ("autoscaling", _) => &batch::HORIZONTAL_POD_AUTOSCALERS,
        ("batch", "cronjobs") => &batch::CRON_JOBS,
        ("batch", "jobs") => &batch::JOBS,
        ("certificates.k8s.io", _) => &access::CERTIFICATE_SIGNING_REQUESTS,
        ("networking.k8s.io", "ingresses") => &ingress::INGRESSES,
        ("networking.k8s.io", "ingressclasses") => &ingress::INGRESS_CLASSES,
        ("networking.k8s.io", "ipaddresses") => &ingress::IP_ADDRESSES,
        ("networking.k8s.io", "networkpolicies") => &ingress::NETWORK_POLICIES,
        ("networking.k8s.io", "servicecidrs") => &ingress::SERVICE_CIDRS,
        ("policy", _) => &batch::POD_DISRUPTION_BUDGETS,
        ("rbac.authorization.k8s.io", "rolebindings") => &access::ROLE_BINDINGS,
        ("rbac.authorization.k8s.io", "clusterrolebindings") => &access::CLUSTER_ROLE_BINDINGS,
        ("storage.k8s.io", "csidrivers") => &storage::CSI_DRIVERS,
        ("storage.k8s.io", "csinodes") => &storage::CSI_NODES,
        ("storage.k8s.io", "csistoragecapacities") => &storage::CSI_STORAGE_CAPACITIES,
        ("storage.k8s.io", "storageclasses") => &storage::STORAGE_CLASSES,
        ("storage.k8s.io", "volumeattachments") => &storage::VOLUME_ATTACHMENTS,
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations" | "validatingwebhookconfigurations") => {
            &access::WEBHOOKS
        }
        ("admissionregistration.k8s.io", "validatingadmissionpolicies") => &access::ADMISSION_POLICIES,
        ("admissionregistration.k8s.io", "validatingadmissionpolicybindings") => &access::ADMISSION_POLICY_BINDINGS,
        ("scheduling.k8s.io", _) => &access::PRIORITY_CLASSES,
        ("node.k8s.io", _) => &access::RUNTIME_CLASSES,
        ("apps", "deployments") => &workloads::DEPLOYMENTS,
        ("apps", "replicasets") => &workloads::REPLICA_SETS,
        ("apiextensions.k8s.io", "customresourcedefinitions") => &cluster::CUSTOM_RESOURCE_DEFINITIONS,
        ("coordination.k8s.io", "leases") => &cluster::LEASES,
        ("discovery.k8s.io", "endpointslices") => &network::ENDPOINT_SLICES,
        ("metrics.k8s.io", "nodes") => &metrics::NODES,
        ("metrics.k8s.io", "pods") => &metrics::PODS,
        _ => &PLAIN,
    }
}

/// How much of the object goes with its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata, by which kubectl finds the namespace.
    #[default]
    Metadata,
    /// All of it, by which kubectl sorts.
    Object,
}

impl Include {
    /// Reads the parameter `includeObject`.
    ///
    /// # Errors
    /// 400 for a value that is none of upstream's.
    pub fn parse(params: &Params) -> Result<Self, Status> {
        match params.text("includeObject") {
            None | Some("Metadata") => Ok(Self::Metadata),
            Some("None") => Ok(Self::None),
            Some("Object") => Ok(Self::Object),
            Some(other) => Err(Status::bad_request(format!("unrecognized includeObject value: {other:?}"))),
        }
    }
}

/// Makes a Table. `columns` may be left out after the first of a watch.
pub fn document(kind: &'static Kind, metadata: &Value, rows: &[Value], columns: bool) -> Value {
    let columns = if columns { column_definitions(kind) } else { Value::Null };
    with_columns(&columns, metadata, rows)
}

/// Makes a Table of these columns.
pub fn with_columns(columns: &Value, metadata: &Value, rows: &[Value]) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

fn column_definitions(kind: &'static Kind) -> Value {
    let columns = printer(kind).columns.iter().map(|c| {
        json!({
            "name": c.name,
            "type": c.kind,
            "format": c.format,
            "description": c.description,
            "priority": c.priority,
        })
    });
    columns.collect()
}

/// Makes the row of `object`.
pub fn row(kind: &'static Kind, object: &Value, include: Include, now: Wall) -> Value {
    let printer = printer(kind);
    let cells = (printer.cells)(object, now);
    debug_assert_eq!(cells.len(), printer.columns.len(), "a cell a column");
    let mut row = of_cells(kind, &cells, object, include);
    if kind == &crate::object::kinds::POD
        && let Some(conditions) = pods::row_conditions(object)
    {
        row["conditions"] = conditions;
    }
    row
}

/// Makes a row of these cells.
pub fn of_cells(kind: &'static Kind, cells: &[Value], object: &Value, include: Include) -> Value {
    let shown = match include {
        Include::None => Value::Null,
        Include::Metadata => partial_metadata(object),
        Include::Object => view::show(kind, object.clone()),
    };
    json!({"cells": cells, "object": shown})
}

/// Makes the PartialObjectMetadata of `object`.
pub fn partial_metadata(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

fn name(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

fn age(object: &Value, now: Wall) -> Value {
    format::since(&object["metadata"]["creationTimestamp"], now).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::kinds::{CONFIG_MAP, KINDS, POD};

    const NOW: Wall = Wall(1_763_882_730_000_000);

    #[test]
    fn every_kind_prints_an_empty_object_without_panic() {
        for kind in KINDS {
            for object in [json!({}), json!({"metadata": null, "spec": 3, "status": [], "data": "x"})] {
                let row = row(kind, &object, Include::None, NOW);
                let columns = column_definitions(kind);
                assert_eq!(row["cells"].as_array().unwrap().len(), columns.as_array().unwrap().len(), "{kind}");
                assert_eq!(columns[if kind.plural == "events" { 9 } else { 0 }]["format"], "name", "{kind}");
            }
        }
    }

    #[test]
    fn a_row_carries_as_much_of_the_object_as_asked_for() {
        let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"k": "v"}});
        assert_eq!(row(&CONFIG_MAP, &map, Include::None, NOW)["object"], Value::Null);
        assert_eq!(row(&CONFIG_MAP, &map, Include::Object, NOW)["object"], map);
        let partial =
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": "a"}});
        assert_eq!(row(&CONFIG_MAP, &map, Include::Metadata, NOW)["object"], partial);
        assert_eq!(Include::parse(&Params::parse("includeObject=All")).unwrap_err().code, 400);
    }

    #[test]
    fn wide_columns_have_priority_one() {
        let table = document(&POD, &json!({"resourceVersion": "5"}), &[], true);
        let of = |name: &str| {
            let columns = table["columnDefinitions"].as_array().unwrap();
            columns.iter().find(|c| c["name"] == name).unwrap()["priority"].clone()
        };
        assert_eq!((of("Ready"), of("Nominated Node")), (json!(0), json!(1)));
        assert_eq!(document(&POD, &json!({}), &[], false)["columnDefinitions"], Value::Null);
    }
}
