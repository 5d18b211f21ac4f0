//! Every served kind, by groups in the order in which upstream lists them, and in each by plural.

use super::Kind;
use super::Subresource::{
    Approval, Attach, EphemeralContainers, Eviction, Exec, Log, PortForward, Proxy, Scale, Status, Token,
};

macro_rules! kinds {
    (stored { $($name:ident = $kind:expr;)* } views { $($view:ident = $form:expr;)* }) => {
        $(#[doc = concat!("The kind `", stringify!($name), "`.")] pub static $name: Kind = $kind;)*
        /// Every kind of which objects are stored, in the order in which discovery lists them.
        pub static KINDS: &[&Kind] = &[$(&$name),*];
        $(#[doc = concat!("The kind `", stringify!($view), "`.")] pub static $view: Kind = $form;)*
        /// Every served kind: those that are stored, then views of them.
        pub static SERVED: &[&Kind] = &[$(&$name,)* $(&$view),*];
    };
}

/// What most kinds have in common.
pub(crate) const KIND: Kind = Kind {
    group: "",
    version: "",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    subresources: &[],
    definition: "",
    view_of: None,
    is_shown_when_deleted: false,
    is_inert: false,
    since: 5,
};

kinds! { stored {
    CONFIG_MAP = Kind { group: "", version: "v1", kind: "ConfigMap", plural: "configmaps", singular: "configmap",
        short_names: &["cm"], since: 1, definition: "io.k8s.api.core.v1.ConfigMap", ..KIND };
    ENDPOINTS = Kind { group: "", version: "v1", kind: "Endpoints", plural: "endpoints", singular: "endpoints",
        short_names: &["ep"], is_inert: true, definition: "io.k8s.api.core.v1.Endpoints", ..KIND };
    EVENT = Kind { group: "", version: "v1", kind: "Event", plural: "events", singular: "event", short_names: &["ev"],
        since: 1, definition: "io.k8s.api.core.v1.Event", ..KIND };
    LIMIT_RANGE = Kind { group: "", version: "v1", kind: "LimitRange", plural: "limitranges", singular: "limitrange",
        short_names: &["limits"], is_inert: true, definition: "io.k8s.api.core.v1.LimitRange", ..KIND };
    NAMESPACE = Kind { group: "", version: "v1", kind: "Namespace", plural: "namespaces", singular: "namespace",
        short_names: &["ns"], namespaced: false, subresources: &[Status], since: 1,
        definition: "io.k8s.api.core.v1.Namespace", ..KIND };
    NODE = Kind { group: "", version: "v1", kind: "Node", plural: "nodes", singular: "node", short_names: &["no"],
        namespaced: false, subresources: &[Status, Proxy], since: 1, definition: "io.k8s.api.core.v1.Node", ..KIND };
    PERSISTENT_VOLUME_CLAIM = Kind { group: "", version: "v1", kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims", singular: "persistentvolumeclaim", short_names: &["pvc"],
        subresources: &[Status], is_shown_when_deleted: true, is_inert: true,
        definition: "io.k8s.api.core.v1.PersistentVolumeClaim", ..KIND };
    PERSISTENT_VOLUME = Kind { group: "", version: "v1", kind: "PersistentVolume", plural: "persistentvolumes",
        singular: "persistentvolume", short_names: &["pv"], namespaced: false, subresources: &[Status],
        is_shown_when_deleted: true, is_inert: true, definition: "io.k8s.api.core.v1.PersistentVolume", ..KIND };
    POD = Kind { group: "", version: "v1", kind: "Pod", plural: "pods", singular: "pod", short_names: &["po"],
        categories: &["all"], subresources: &[Status, Log, Exec, Attach, PortForward, EphemeralContainers, Proxy, Eviction],
        is_shown_when_deleted: true,
        since: 1, definition: "io.k8s.api.core.v1.Pod", ..KIND };
    POD_TEMPLATE = Kind { group: "", version: "v1", kind: "PodTemplate", plural: "podtemplates",
        singular: "podtemplate", is_shown_when_deleted: true, definition: "io.k8s.api.core.v1.PodTemplate", ..KIND };
    REPLICATION_CONTROLLER = Kind { group: "", version: "v1", kind: "ReplicationController",
        plural: "replicationcontrollers", singular: "replicationcontroller", short_names: &["rc"],
        categories: &["all"], subresources: &[Status, Scale], is_inert: true,
        definition: "io.k8s.api.core.v1.ReplicationController", ..KIND };
    RESOURCE_QUOTA = Kind { group: "", version: "v1", kind: "ResourceQuota", plural: "resourcequotas",
        singular: "resourcequota", short_names: &["quota"], subresources: &[Status], is_shown_when_deleted: true,
        is_inert: true, definition: "io.k8s.api.core.v1.ResourceQuota", ..KIND };
    SECRET = Kind { group: "", version: "v1", kind: "Secret", plural: "secrets", singular: "secret", since: 1,
        definition: "io.k8s.api.core.v1.Secret", ..KIND };
    SERVICE_ACCOUNT = Kind { group: "", version: "v1", kind: "ServiceAccount", plural: "serviceaccounts",
        singular: "serviceaccount", short_names: &["sa"], subresources: &[Token], is_shown_when_deleted: true, since: 1,
        definition: "io.k8s.api.core.v1.ServiceAccount", ..KIND };
    SERVICE = Kind { group: "", version: "v1", kind: "Service", plural: "services", singular: "service",
        short_names: &["svc"], categories: &["all"], subresources: &[Status, Proxy], is_shown_when_deleted: true, since: 1,
        definition: "io.k8s.api.core.v1.Service", ..KIND };
    CONTROLLER_REVISION = Kind { group: "apps", version: "v1", kind: "ControllerRevision",
        plural: "controllerrevisions", singular: "controllerrevision",
        definition: "io.k8s.api.apps.v1.ControllerRevision", ..KIND };
    DAEMON_SET = Kind { group: "apps", version: "v1", kind: "DaemonSet", plural: "daemonsets", singular: "daemonset",
        short_names: &["ds"], categories: &["all"], subresources: &[Status], is_inert: true,
        definition: "io.k8s.api.apps.v1.DaemonSet", ..KIND };
    DEPLOYMENT = Kind { group: "apps", version: "v1", kind: "Deployment", plural: "deployments",
        singular: "deployment", short_names: &["deploy"], categories: &["all"], subresources: &[Status, Scale],
        since: 1, definition: "io.k8s.api.apps.v1.Deployment", ..KIND };
    REPLICA_SET = Kind { group: "apps", version: "v1", kind: "ReplicaSet", plural: "replicasets",
        singular: "replicaset", short_names: &["rs"], categories: &["all"], subresources: &[Status, Scale], since: 1,
        definition: "io.k8s.api.apps.v1.ReplicaSet", ..KIND };
    STATEFUL_SET = Kind { group: "apps", version: "v1", kind: "StatefulSet", plural: "statefulsets",
        singular: "statefulset", short_names: &["sts"], categories: &["all"], subresources: &[Status, Scale],
        is_inert: true, definition: "io.k8s.api.apps.v1.StatefulSet", ..KIND };
    HORIZONTAL_POD_AUTOSCALER = Kind { group: "autoscaling", version: "v2", kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers", singular: "horizontalpodautoscaler", short_names: &["hpa"],
        categories: &["all"], subresources: &[Status], is_inert: true,
        definition: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler", ..KIND };
    CRON_JOB = Kind { group: "batch", version: "v1", kind: "CronJob", plural: "cronjobs", singular: "cronjob",
        short_names: &["cj"], categories: &["all"], subresources: &[Status], is_inert: true,
        definition: "io.k8s.api.batch.v1.CronJob", ..KIND };
    JOB = Kind { group: "batch", version: "v1", kind: "Job", plural: "jobs", singular: "job", categories: &["all"],
        subresources: &[Status], definition: "io.k8s.api.batch.v1.Job", ..KIND };
    CERTIFICATE_SIGNING_REQUEST = Kind { group: "certificates.k8s.io", version: "v1",
        kind: "CertificateSigningRequest", plural: "certificatesigningrequests",
        singular: "certificatesigningrequest", short_names: &["csr"], namespaced: false,
        subresources: &[Status, Approval],
        definition: "io.k8s.api.certificates.v1.CertificateSigningRequest", ..KIND };
    INGRESS_CLASS = Kind { group: "networking.k8s.io", version: "v1", kind: "IngressClass", plural: "ingressclasses",
        singular: "ingressclass", namespaced: false, is_inert: true,
        definition: "io.k8s.api.networking.v1.IngressClass", ..KIND };
    INGRESS = Kind { group: "networking.k8s.io", version: "v1", kind: "Ingress", plural: "ingresses",
        singular: "ingress", short_names: &["ing"], subresources: &[Status], is_inert: true,
        definition: "io.k8s.api.networking.v1.Ingress", ..KIND };
    IP_ADDRESS = Kind { group: "networking.k8s.io", version: "v1", kind: "IPAddress", plural: "ipaddresses",
        singular: "ipaddress", short_names: &["ip"], namespaced: false, is_inert: true,
        definition: "io.k8s.api.networking.v1.IPAddress", ..KIND };
    NETWORK_POLICY = Kind { group: "networking.k8s.io", version: "v1", kind: "NetworkPolicy",
        plural: "networkpolicies", singular: "networkpolicy", short_names: &["netpol"], is_inert: true,
        definition: "io.k8s.api.networking.v1.NetworkPolicy", ..KIND };
    SERVICE_CIDR = Kind { group: "networking.k8s.io", version: "v1", kind: "ServiceCIDR", plural: "servicecidrs",
        singular: "servicecidr", namespaced: false, subresources: &[Status], is_inert: true,
        definition: "io.k8s.api.networking.v1.ServiceCIDR", ..KIND };
    POD_DISRUPTION_BUDGET = Kind { group: "policy", version: "v1", kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets", singular: "poddisruptionbudget", short_names: &["pdb"],
        subresources: &[Status], definition: "io.k8s.api.policy.v1.PodDisruptionBudget", ..KIND };
    CLUSTER_ROLE_BINDING = Kind { group: "rbac.authorization.k8s.io", version: "v1", kind: "ClusterRoleBinding",
        plural: "clusterrolebindings", singular: "clusterrolebinding", namespaced: false,
        definition: "io.k8s.api.rbac.v1.ClusterRoleBinding", ..KIND };
    CLUSTER_ROLE = Kind { group: "rbac.authorization.k8s.io", version: "v1", kind: "ClusterRole",
        plural: "clusterroles", singular: "clusterrole", namespaced: false,
        definition: "io.k8s.api.rbac.v1.ClusterRole", ..KIND };
    ROLE_BINDING = Kind { group: "rbac.authorization.k8s.io", version: "v1", kind: "RoleBinding",
        plural: "rolebindings", singular: "rolebinding", definition: "io.k8s.api.rbac.v1.RoleBinding",
        ..KIND };
    ROLE = Kind { group: "rbac.authorization.k8s.io", version: "v1", kind: "Role", plural: "roles", singular: "role",
        definition: "io.k8s.api.rbac.v1.Role", ..KIND };
    CSI_DRIVER = Kind { group: "storage.k8s.io", version: "v1", kind: "CSIDriver", plural: "csidrivers",
        singular: "csidriver", namespaced: false, is_shown_when_deleted: true, is_inert: true,
        definition: "io.k8s.api.storage.v1.CSIDriver", ..KIND };
    CSI_NODE = Kind { group: "storage.k8s.io", version: "v1", kind: "CSINode", plural: "csinodes",
        singular: "csinode", namespaced: false, is_shown_when_deleted: true, is_inert: true,
        definition: "io.k8s.api.storage.v1.CSINode", ..KIND };
    CSI_STORAGE_CAPACITY = Kind { group: "storage.k8s.io", version: "v1", kind: "CSIStorageCapacity",
        plural: "csistoragecapacities", singular: "csistoragecapacity", is_inert: true,
        definition: "io.k8s.api.storage.v1.CSIStorageCapacity", ..KIND };
    STORAGE_CLASS = Kind { group: "storage.k8s.io", version: "v1", kind: "StorageClass", plural: "storageclasses",
        singular: "storageclass", short_names: &["sc"], namespaced: false, is_shown_when_deleted: true,
        is_inert: true, definition: "io.k8s.api.storage.v1.StorageClass", ..KIND };
    VOLUME_ATTACHMENT = Kind { group: "storage.k8s.io", version: "v1", kind: "VolumeAttachment",
        plural: "volumeattachments", singular: "volumeattachment", namespaced: false, subresources: &[Status],
        is_shown_when_deleted: true, is_inert: true, definition: "io.k8s.api.storage.v1.VolumeAttachment", ..KIND };
    MUTATING_WEBHOOK_CONFIGURATION = Kind { group: "admissionregistration.k8s.io", version: "v1",
        kind: "MutatingWebhookConfiguration", plural: "mutatingwebhookconfigurations",
        singular: "mutatingwebhookconfiguration", categories: &["api-extensions"], namespaced: false,
        definition: "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration", ..KIND };
    VALIDATING_ADMISSION_POLICY = Kind { group: "admissionregistration.k8s.io", version: "v1",
        kind: "ValidatingAdmissionPolicy", plural: "validatingadmissionpolicies",
        singular: "validatingadmissionpolicy", categories: &["api-extensions"], namespaced: false,
        subresources: &[Status], is_inert: true,
        definition: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy", ..KIND };
    VALIDATING_ADMISSION_POLICY_BINDING = Kind { group: "admissionregistration.k8s.io", version: "v1",
        kind: "ValidatingAdmissionPolicyBinding", plural: "validatingadmissionpolicybindings",
        singular: "validatingadmissionpolicybinding", categories: &["api-extensions"], namespaced: false,
        is_inert: true, definition: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding", ..KIND };
    VALIDATING_WEBHOOK_CONFIGURATION = Kind { group: "admissionregistration.k8s.io", version: "v1",
        kind: "ValidatingWebhookConfiguration", plural: "validatingwebhookconfigurations",
        singular: "validatingwebhookconfiguration", categories: &["api-extensions"], namespaced: false,
        definition: "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration", ..KIND };
    CUSTOM_RESOURCE_DEFINITION = Kind { group: "apiextensions.k8s.io", version: "v1", kind: "CustomResourceDefinition",
        plural: "customresourcedefinitions", singular: "customresourcedefinition", short_names: &["crd", "crds"],
        categories: &["api-extensions"], namespaced: false, subresources: &[Status],
        definition: "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition", ..KIND };
    PRIORITY_CLASS = Kind { group: "scheduling.k8s.io", version: "v1", kind: "PriorityClass",
        plural: "priorityclasses", singular: "priorityclass", short_names: &["pc"], namespaced: false, is_inert: true,
        definition: "io.k8s.api.scheduling.v1.PriorityClass", ..KIND };
    LEASE = Kind { group: "coordination.k8s.io", version: "v1", kind: "Lease", plural: "leases", singular: "lease",
        since: 1, definition: "io.k8s.api.coordination.v1.Lease", ..KIND };
    RUNTIME_CLASS = Kind { group: "node.k8s.io", version: "v1", kind: "RuntimeClass", plural: "runtimeclasses",
        singular: "runtimeclass", namespaced: false, is_inert: true, definition: "io.k8s.api.node.v1.RuntimeClass",
        ..KIND };
    ENDPOINT_SLICE = Kind { group: "discovery.k8s.io", version: "v1", kind: "EndpointSlice", plural: "endpointslices",
        singular: "endpointslice", since: 1, definition: "io.k8s.api.discovery.v1.EndpointSlice", ..KIND };
} views {
    EVENT_V1 = Kind { group: "events.k8s.io", version: "v1", kind: "Event", plural: "events", singular: "event",
        short_names: &["ev"], view_of: Some(&EVENT), definition: "io.k8s.api.events.v1.Event", ..KIND };
    HORIZONTAL_POD_AUTOSCALER_V1 = Kind { group: "autoscaling", version: "v1", kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers", singular: "horizontalpodautoscaler", short_names: &["hpa"],
        categories: &["all"], subresources: &[Status], view_of: Some(&HORIZONTAL_POD_AUTOSCALER),
        definition: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler", ..KIND };
} }
