//! Volumes, claims on them, and what else is about storage and quotas.

use serde_json::Value;

use crate::time::Wall;

use super::format::{NONE, UNSET, items, len, or, texts};
use super::{AGE, Column, NAME, Printer, age, boolean, integer, name, text, wide};

pub(super) const PERSISTENT_VOLUMES: Printer = Printer {
    columns: &[
        NAME,
        text(
            "Capacity",
            "capacity is the description of the persistent volume's resources and capacity. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#capacity",
        ),
        text(
            "Access Modes",
            "accessModes contains all ways the volume can be mounted. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes",
        ),
        text(
            "Reclaim Policy",
            "persistentVolumeReclaimPolicy defines what happens to a persistent volume when released from its claim. Valid options are Retain (default for manually created PersistentVolumes), Delete (default for dynamically provisioned PersistentVolumes), and Recycle (deprecated). Recycle must be supported by the volume plugin underlying this PersistentVolume. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#reclaiming",
        ),
        text(
            "Status",
            "phase indicates if a volume is available, bound to a claim, or released by a claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#phase",
        ),
        text(
            "Claim",
            "claimRef is part of a bi-directional binding between PersistentVolume and PersistentVolumeClaim. Expected to be non-nil when bound. claim.VolumeName is the authoritative bind between PV and PVC. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#binding",
        ),
        text(
            "StorageClass",
            "storageClassName is the name of StorageClass to which this persistent volume belongs. Empty value means that this volume does not belong to any StorageClass.",
        ),
        text(
            "VolumeAttributesClass",
            "Name of VolumeAttributesClass to which this persistent volume belongs. Empty value is not allowed. When this field is not set, it indicates that this volume does not belong to any VolumeAttributesClass. This field is mutable and can be changed by the CSI driver after a volume has been updated successfully to a new class. For an unbound PersistentVolume, the volumeAttributesClassName will be matched with unbound PersistentVolumeClaims during the binding process. This is a beta field and requires enabling VolumeAttributesClass feature (off by default).",
        ),
        text(
            "Reason",
            "reason is a brief CamelCase string that describes any failure and is meant for machine parsing and tidy display in the CLI.",
        ),
        AGE,
        wide(text(
            "VolumeMode",
            "volumeMode defines if a volume is intended to be used with a formatted filesystem or to remain in raw block state. Value of Filesystem is implied when not included in spec.",
        )),
    ],
    cells: volume,
};

pub(super) const PERSISTENT_VOLUME_CLAIMS: Printer = Printer {
    columns: &[
        NAME,
        text("Status", "phase represents the current phase of PersistentVolumeClaim."),
        text("Volume", "volumeName is the binding reference to the PersistentVolume backing this claim."),
        text("Capacity", "capacity represents the actual resources of the underlying volume."),
        text(
            "Access Modes",
            "accessModes contains the actual access modes the volume backing the PVC has. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#access-modes-1",
        ),
        text(
            "StorageClass",
            "storageClassName is the name of the StorageClass required by the claim. More info: https://kubernetes.io/docs/concepts/storage/persistent-volumes#class-1",
        ),
        text(
            "VolumeAttributesClass",
            "volumeAttributesClassName may be used to set the VolumeAttributesClass used by this claim. If specified, the CSI driver will create or update the volume with the attributes defined in the corresponding VolumeAttributesClass. This has a different purpose than storageClassName, it can be changed after the claim is created. An empty string value means that no VolumeAttributesClass will be applied to the claim but it's not allowed to reset this field to empty string once it is set. If unspecified and the PersistentVolumeClaim is unbound, the default VolumeAttributesClass will be set by the persistentvolume controller if it exists. If the resource referred to by volumeAttributesClass does not exist, this PersistentVolumeClaim will be set to a Pending state, as reflected by the modifyVolumeStatus field, until such as a resource exists. More info: https://kubernetes.io/docs/concepts/storage/volume-attributes-classes/ (Beta) Using this field requires the VolumeAttributesClass feature gate to be enabled (off by default).",
        ),
        AGE,
        wide(text(
            "VolumeMode",
            "volumeMode defines what type of volume is required by the claim. Value of Filesystem is implied when not included in claim spec.",
        )),
    ],
    cells: claim,
};

pub(super) const STORAGE_CLASSES: Printer = Printer {
    columns: &[
        NAME,
        text("Provisioner", "provisioner indicates the type of the provisioner."),
        text(
            "ReclaimPolicy",
            "reclaimPolicy controls the reclaimPolicy for dynamically provisioned PersistentVolumes of this storage class. Defaults to Delete.",
        ),
        text(
            "VolumeBindingMode",
            "volumeBindingMode indicates how PersistentVolumeClaims should be provisioned and bound.  When unset, VolumeBindingImmediate is used. This field is only honored by servers that enable the VolumeScheduling feature.",
        ),
        text("AllowVolumeExpansion", "allowVolumeExpansion shows whether the storage class allow volume expand."),
        AGE,
    ],
    cells: storage_class,
};

pub(super) const VOLUME_ATTACHMENTS: Printer = Printer {
    columns: &[
        NAME,
        Column {
            format: "name",
            ..text(
                "Attacher",
                "attacher indicates the name of the volume driver that MUST handle this request. This is the name returned by GetPluginName().",
            )
        },
        text("PV", "persistentVolumeName represents the name of the persistent volume to attach."),
        text("Node", "nodeName represents the node that the volume should be attached to."),
        boolean(
            "Attached",
            "attached indicates the volume is successfully attached. This field must only be set by the entity completing the attach operation, i.e. the external-attacher.",
        ),
        AGE,
    ],
    cells: attachment,
};

pub(super) const CSI_DRIVERS: Printer = Printer {
    columns: &[
        NAME,
        boolean(
            "AttachRequired",
            "attachRequired indicates this CSI volume driver requires an attach operation (because it implements the CSI ControllerPublishVolume() method), and that the Kubernetes attach detach controller should call the attach volume interface which checks the volumeattachment status and waits until the volume is attached before proceeding to mounting. The CSI external-attacher coordinates with CSI volume driver and updates the volumeattachment status when the attach operation is complete. If the CSIDriverRegistry feature gate is enabled and the value is specified to false, the attach operation will be skipped. Otherwise the attach operation will be called.\n\nThis field is immutable.",
        ),
        boolean(
            "PodInfoOnMount",
            "podInfoOnMount indicates this CSI volume driver requires additional pod information (like podName, podUID, etc.) during mount operations, if set to true. If set to false, pod information will not be passed on mount. Default is false.\n\nThe CSI driver specifies podInfoOnMount as part of driver deployment. If true, Kubelet will pass pod information as VolumeContext in the CSI NodePublishVolume() calls. The CSI driver is responsible for parsing and validating the information passed in as VolumeContext.\n\nThe following VolumeContext will be passed if podInfoOnMount is set to true. This list might grow, but the prefix will be used. \"csi.storage.k8s.io/pod.name\": pod.Name \"csi.storage.k8s.io/pod.namespace\": pod.Namespace \"csi.storage.k8s.io/pod.uid\": string(pod.UID) \"csi.storage.k8s.io/ephemeral\": \"true\" if the volume is an ephemeral inline volume\n                                defined by a CSIVolumeSource, otherwise \"false\"\n\n\"csi.storage.k8s.io/ephemeral\" is a new feature in Kubernetes 1.16. It is only required for drivers which support both the \"Persistent\" and \"Ephemeral\" VolumeLifecycleMode. Other drivers can leave pod info disabled and/or ignore this field. As Kubernetes 1.15 doesn't support this field, drivers can only support one mode when deployed on such a cluster and the deployment determines which mode that is, for example via a command line parameter of the driver.\n\nThis field was immutable in Kubernetes < 1.29 and now is mutable.",
        ),
        boolean(
            "StorageCapacity",
            "storageCapacity indicates that the CSI volume driver wants pod scheduling to consider the storage capacity that the driver deployment will report by creating CSIStorageCapacity objects with capacity information, if set to true.\n\nThe check can be enabled immediately when deploying a driver. In that case, provisioning new volumes with late binding will pause until the driver deployment has published some suitable CSIStorageCapacity object.\n\nAlternatively, the driver can be deployed with the field unset or false and it can be flipped later when storage capacity information has been published.\n\nThis field was immutable in Kubernetes <= 1.22 and now is mutable.",
        ),
        text(
            "TokenRequests",
            "tokenRequests indicates the CSI driver needs pods' service account tokens it is mounting volume for to do necessary authentication. Kubelet will pass the tokens in VolumeContext in the CSI NodePublishVolume calls. The CSI driver should parse and validate the following VolumeContext: \"csi.storage.k8s.io/serviceAccount.tokens\": {\n  \"<audience>\": {\n    \"token\": <token>,\n    \"expirationTimestamp\": <expiration timestamp in RFC3339>,\n  },\n  ...\n}\n\nNote: Audience in each TokenRequest should be different and at most one token is empty string. To receive a new token after expiry, RequiresRepublish can be used to trigger NodePublishVolume periodically.",
        ),
        boolean(
            "RequiresRepublish",
            "requiresRepublish indicates the CSI driver wants `NodePublishVolume` being periodically called to reflect any possible change in the mounted volume. This field defaults to false.\n\nNote: After a successful initial NodePublishVolume call, subsequent calls to NodePublishVolume should only update the contents of the volume. New mount points will not be seen by a running container.",
        ),
        text(
            "Modes",
            "volumeLifecycleModes defines what kind of volumes this CSI volume driver supports. The default if the list is empty is \"Persistent\", which is the usage defined by the CSI specification and implemented in Kubernetes via the usual PV/PVC mechanism.\n\nThe other mode is \"Ephemeral\". In this mode, volumes are defined inline inside the pod spec with CSIVolumeSource and their lifecycle is tied to the lifecycle of that pod. A driver has to be aware of this because it is only going to get a NodePublishVolume call for such a volume.\n\nFor more information about implementing this mode, see https://kubernetes-csi.github.io/docs/ephemeral-local-volumes.html A driver can support one or more of these modes and more modes may be added in the future.\n\nThis field is beta. This field is immutable.",
        ),
        AGE,
    ],
    cells: csi_driver,
};

pub(super) const CSI_NODES: Printer = Printer {
    columns: &[NAME, integer("Drivers", "Drivers indicates the number of CSI drivers registered on the node"), AGE],
    cells: |o, now| vec![name(o), len(&o["spec"]["drivers"]).into(), age(o, now)],
};

pub(super) const CSI_STORAGE_CAPACITIES: Printer = Printer {
    columns: &[
        NAME,
        text(
            "StorageClassName",
            "storageClassName represents the name of the StorageClass that the reported capacity applies to. It must meet the same requirements as the name of a StorageClass object (non-empty, DNS subdomain). If that object no longer exists, the CSIStorageCapacity object is obsolete and should be removed by its creator. This field is immutable.",
        ),
        text(
            "Capacity",
            "capacity is the value reported by the CSI driver in its GetCapacityResponse for a GetCapacityRequest with topology and parameters that match the previous fields.\n\nThe semantic is currently (CSI spec 1.2) defined as: The available capacity, in bytes, of the storage that can be used to provision volumes. If not set, that information is currently unavailable.",
        ),
    ],
    cells: |o, _| vec![name(o), or(&o["storageClassName"], "").into(), or(&o["capacity"], UNSET).into()],
};

pub(super) const RESOURCE_QUOTAS: Printer = Printer {
    columns: &[
        NAME,
        text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
        text(
            "Limit",
            "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
        ),
        AGE,
    ],
    cells: quota,
};

fn volume(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let claim = &spec["claimRef"];
    let claim = if claim.is_null() {
        String::new()
    } else {
        format!("{}/{}", or(&claim["namespace"], ""), or(&claim["name"], ""))
    };
    vec![
        name(object),
        or(&spec["capacity"]["storage"], "").into(),
        access_modes(&spec["accessModes"]).into(),
        or(&spec["persistentVolumeReclaimPolicy"], "").into(),
        phase(object).into(),
        claim.into(),
        class(object).into(),
        or(&spec["volumeAttributesClassName"], UNSET).into(),
        or(&status["reason"], "").into(),
        age(object, now),
        or(&spec["volumeMode"], UNSET).into(),
    ]
}

fn claim(object: &Value, now: Wall) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let volume = or(&spec["volumeName"], "");
    let bound = !volume.is_empty();
    vec![
        name(object),
        phase(object).into(),
        volume.into(),
        if bound { or(&status["capacity"]["storage"], "").into() } else { "".into() },
        if bound { access_modes(&status["accessModes"]).into() } else { "".into() },
        class(object).into(),
        or(&spec["volumeAttributesClassName"], UNSET).into(),
        age(object, now),
        or(&spec["volumeMode"], UNSET).into(),
    ]
}

fn phase(object: &Value) -> &str {
    if object["metadata"]["deletionTimestamp"].is_null() { or(&object["status"]["phase"], "") } else { "Terminating" }
}

/// The annotation is older than the field.
fn class(object: &Value) -> &str {
    let annotation = &object["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"];
    or(annotation, or(&object["spec"]["storageClassName"], ""))
}

/// `RWO,ROX`, in upstream's order.
fn access_modes(modes: &Value) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let there = SHORT.iter().filter(|(mode, _)| items(modes).iter().any(|m| m == mode));
    there.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

fn storage_class(object: &Value, now: Wall) -> Vec<Value> {
    let marks = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    let is_default = marks.iter().any(|mark| object["metadata"]["annotations"][mark] == "true");
    let name = or(&object["metadata"]["name"], "");
    vec![
        if is_default { format!("{name} (default)").into() } else { name.into() },
        or(&object["provisioner"], "").into(),
        or(&object["reclaimPolicy"], "Delete").into(),
        or(&object["volumeBindingMode"], "Immediate").into(),
        (object["allowVolumeExpansion"] == true).into(),
        age(object, now),
    ]
}

fn attachment(object: &Value, now: Wall) -> Vec<Value> {
    let spec = &object["spec"];
    vec![
        name(object),
        or(&spec["attacher"], "").into(),
        or(&spec["source"]["persistentVolumeName"], "").into(),
        or(&spec["nodeName"], "").into(),
        (object["status"]["attached"] == true).into(),
        age(object, now),
    ]
}

fn csi_driver(object: &Value, now: Wall) -> Vec<Value> {
    let spec = &object["spec"];
    let tokens: Vec<_> = items(&spec["tokenRequests"]).iter().map(|t| or(&t["audience"], "")).collect();
    let modes = texts(&spec["volumeLifecycleModes"], ",");
    vec![
        name(object),
        (spec["attachRequired"] != false).into(),
        (spec["podInfoOnMount"] == true).into(),
        (spec["storageCapacity"] == true).into(),
        if tokens.is_empty() { UNSET.into() } else { tokens.join(",").into() },
        (spec["requiresRepublish"] == true).into(),
        if modes.is_empty() { NONE.into() } else { modes.into() },
        age(object, now),
    ]
}

fn quota(object: &Value, now: Wall) -> Vec<Value> {
    let status = &object["status"];
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for (resource, hard) in status["hard"].as_object().into_iter().flatten() {
        let text = format!("{resource}: {}/{}", or(&status["used"][resource], "0"), or(hard, "0"));
        if resource.contains("limits") { limits.push(text) } else { requests.push(text) }
    }
    vec![name(object), requests.join(", ").into(), limits.join(", ").into(), age(object, now)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn object(rest: &Value) -> Value {
        let mut object = json!({"metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    }

    #[test]
    fn volumes_and_claims_are_printed_as_upstream_does() {
        let now = Wall::from_secs(60);
        let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadOnlyMany", "ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain", "claimRef": {"namespace": "shop", "name": "data"},
            "storageClassName": "fast", "volumeMode": "Filesystem"});
        let cells = json!(volume(&object(&json!({"spec": spec, "status": {"phase": "Bound"}})), now));
        let expected =
            json!(["x", "1Gi", "RWO,ROX", "Retain", "Bound", "shop/data", "fast", "<unset>", "", "60s", "Filesystem"]);
        assert_eq!(cells, expected);
        let cells =
            json!(claim(&object(&json!({"status": {"phase": "Pending", "capacity": {"storage": "1Gi"}}})), now));
        assert_eq!(cells, json!(["x", "Pending", "", "", "", "", "<unset>", "60s", "<unset>"]));
    }

    #[test]
    fn classes_and_quotas_are_printed_as_upstream_does() {
        let now = Wall::from_secs(60);
        let mut class = object(&json!({"provisioner": "p", "allowVolumeExpansion": true}));
        class["metadata"]["annotations"] = json!({"storageclass.kubernetes.io/is-default-class": "true"});
        assert_eq!(json!(storage_class(&class, now)), json!(["x (default)", "p", "Delete", "Immediate", true, "60s"]));
        let status = json!({"hard": {"limits.cpu": "2", "pods": "5"}, "used": {"pods": "1"}});
        assert_eq!(
            json!(quota(&object(&json!({"status": status})), now)),
            json!(["x", "pods: 1/5", "limits.cpu: 0/2", "60s"])
        );
        let driver = json!(csi_driver(&object(&json!({"spec": {"volumeLifecycleModes": ["Persistent"]}})), now));
        assert_eq!(driver, json!(["x", true, false, false, "<unset>", false, "Persistent", "60s"]));
    }
}
