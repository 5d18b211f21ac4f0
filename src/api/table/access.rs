//! Who may, and what is admitted: role bindings, signing requests, webhooks, admission policies, classes.

use serde_json::Value;

use crate::time::Wall;

use super::format::{NONE, UNSET, count, items, lasting, len, or};
use super::{AGE, NAME, Printer, age, boolean, integer, name, text, wide};

pub(super) const ROLE_BINDINGS: Printer = Printer {
    columns: &[
        NAME,
        text(
            "Role",
            "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error. This field is immutable.",
        ),
        AGE,
        wide(text("Users", "Users in the roleBinding")),
        wide(text("Groups", "Groups in the roleBinding")),
        wide(text("ServiceAccounts", "ServiceAccounts in the roleBinding")),
    ],
    cells: binding,
};

pub(super) const CLUSTER_ROLE_BINDINGS: Printer = Printer {
    columns: &[
        NAME,
        text(
            "Role",
            "RoleRef can only reference a ClusterRole in the global namespace. If the RoleRef cannot be resolved, the Authorizer must return an error. This field is immutable.",
        ),
        AGE,
        wide(text("Users", "Users in the clusterRoleBinding")),
        wide(text("Groups", "Groups in the clusterRoleBinding")),
        wide(text("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding")),
    ],
    cells: binding,
};

pub(super) const CERTIFICATE_SIGNING_REQUESTS: Printer = Printer {
    columns: &[
        NAME,
        AGE,
        text(
            "SignerName",
            "signerName indicates the requested signer, and is a qualified name.\n\nList/watch requests for CertificateSigningRequests can filter on this field using a \"spec.signerName=NAME\" fieldSelector.\n\nWell-known Kubernetes signers are:\n 1. \"kubernetes.io/kube-apiserver-client\": issues client certificates that can be used to authenticate to kube-apiserver.\n  Requests for this signer are never auto-approved by kube-controller-manager, can be issued by the \"csrsigning\" controller in kube-controller-manager.\n 2. \"kubernetes.io/kube-apiserver-client-kubelet\": issues client certificates that kubelets use to authenticate to kube-apiserver.\n  Requests for this signer can be auto-approved by the \"csrapproving\" controller in kube-controller-manager, and can be issued by the \"csrsigning\" controller in kube-controller-manager.\n 3. \"kubernetes.io/kubelet-serving\" issues serving certificates that kubelets use to serve TLS endpoints, which kube-apiserver can connect to securely.\n  Requests for this signer are never auto-approved by kube-controller-manager, and can be issued by the \"csrsigning\" controller in kube-controller-manager.\n\nMore details are available at https://k8s.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers\n\nCustom signerNames can also be specified. The signer defines:\n 1. Trust distribution: how trust (CA bundles) are distributed.\n 2. Permitted subjects: and behavior when a disallowed subject is requested.\n 3. Required, permitted, or forbidden x509 extensions in the request (including whether subjectAltNames are allowed, which types, restrictions on allowed values) and behavior when a disallowed extension is requested.\n 4. Required, permitted, or forbidden key usages / extended key usages.\n 5. Expiration/certificate lifetime: whether it is fixed by the signer, configurable by the admin.\n 6. Whether or not requests for CA certificates are allowed.",
        ),
        text(
            "Requestor",
            "username contains the name of the user that created the CertificateSigningRequest. Populated by the API server on creation and immutable.",
        ),
        text(
            "RequestedDuration",
            "expirationSeconds is the requested duration of validity of the issued certificate. The certificate signer may issue a certificate with a different validity duration so a client must check the delta between the notBefore and and notAfter fields in the issued certificate to determine the actual duration.\n\nThe v1.22+ in-tree implementations of the well-known Kubernetes signers will honor this field as long as the requested duration is not greater than the maximum duration they will honor per the --cluster-signing-duration CLI flag to the Kubernetes controller manager.\n\nCertificate signers may not honor this field for various reasons:\n\n  1. Old signer that is unaware of the field (such as the in-tree\n     implementations prior to v1.22)\n  2. Signer whose configured maximum is shorter than the requested duration\n  3. Signer whose configured minimum is longer than the requested duration\n\nThe minimum valid value for expirationSeconds is 600, i.e. 10 minutes.",
        ),
        text(
            "Condition",
            "conditions applied to the request. Known conditions are \"Approved\", \"Denied\", and \"Failed\".",
        ),
    ],
    cells: signing_request,
};

pub(super) const WEBHOOKS: Printer = Printer {
    columns: &[
        NAME,
        integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
        AGE,
    ],
    cells: |o, now| vec![name(o), len(&o["webhooks"]).into(), age(o, now)],
};

pub(super) const ADMISSION_POLICIES: Printer = Printer {
    columns: &[
        NAME,
        integer("Validations", "Validations indicates the number of validation rules defined in this configuration"),
        text(
            "ParamKind",
            "ParamKind specifies the kind of resources used to parameterize this policy. If absent, there are no parameters for this policy and the param CEL variable will not be provided to validation expressions. If ParamKind refers to a non-existent kind, this policy definition is mis-configured and the FailurePolicy is applied. If paramKind is specified but paramRef is unset in ValidatingAdmissionPolicyBinding, the params variable will be null.",
        ),
        AGE,
    ],
    cells: admission_policy,
};

pub(super) const ADMISSION_POLICY_BINDINGS: Printer = Printer {
    columns: &[
        NAME,
        text(
            "PolicyName",
            "PolicyName references a ValidatingAdmissionPolicy name which the ValidatingAdmissionPolicyBinding binds to. If the referenced resource does not exist, this binding is considered invalid and will be ignored Required.",
        ),
        text(
            "ParamRef",
            "paramRef specifies the parameter resource used to configure the admission control policy. It should point to a resource of the type specified in ParamKind of the bound ValidatingAdmissionPolicy. If the policy specifies a ParamKind and the resource referred to by ParamRef does not exist, this binding is considered mis-configured and the FailurePolicy of the ValidatingAdmissionPolicy applied. If the policy does not specify a ParamKind then this field is ignored, and the rules are evaluated without a param.",
        ),
        AGE,
    ],
    cells: admission_policy_binding,
};

pub(super) const PRIORITY_CLASSES: Printer = Printer {
    columns: &[
        NAME,
        integer(
            "Value",
            "value represents the integer value of this priority class. This is the actual priority that pods receive when they have the name of this class in their pod spec.",
        ),
        boolean(
            "Global-Default",
            "globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class. Only one PriorityClass can be marked as `globalDefault`. However, if more than one PriorityClasses exists with their `globalDefault` field set to true, the smallest value of such global default PriorityClasses will be used as the default priority.",
        ),
        AGE,
        text(
            "PreemptionPolicy",
            "preemptionPolicy is the Policy for preempting pods with lower priority. One of Never, PreemptLowerPriority. Defaults to PreemptLowerPriority if unset.",
        ),
    ],
    cells: priority_class,
};

pub(super) const RUNTIME_CLASSES: Printer = Printer {
    columns: &[
        NAME,
        text(
            "Handler",
            "handler specifies the underlying runtime and configuration that the CRI implementation will use to handle pods of this class. The possible values are specific to the node & CRI configuration.  It is assumed that all handlers are available on every node, and handlers of the same name are equivalent on every node. For example, a handler called \"runc\" might specify that the runc OCI runtime (using native Linux containers) will be used to run the containers in a pod. The Handler must be lowercase, conform to the DNS Label (RFC 1123) requirements, and is immutable.",
        ),
        AGE,
    ],
    cells: |o, now| vec![name(o), or(&o["handler"], "").into(), age(o, now)],
};

fn binding(object: &Value, now: Wall) -> Vec<Value> {
    let role = &object["roleRef"];
    let role = format!("{}/{}", or(&role["kind"], ""), or(&role["name"], ""));
    let subjects = |kind: &str, shown: fn(&Value) -> String| {
        let of_kind = items(&object["subjects"]).iter().filter(|s| s["kind"] == kind);
        of_kind.map(shown).collect::<Vec<_>>().join(", ")
    };
    let called = |subject: &Value| or(&subject["name"], "").to_owned();
    let account = |subject: &Value| format!("{}/{}", or(&subject["namespace"], ""), or(&subject["name"], ""));
    let (users, groups) = (subjects("User", called), subjects("Group", called));
    let accounts = subjects("ServiceAccount", account);
    vec![name(object), role.into(), age(object, now), users.into(), groups.into(), accounts.into()]
}

fn signing_request(object: &Value, now: Wall) -> Vec<Value> {
    let spec = &object["spec"];
    let duration = spec["expirationSeconds"].as_u64().map_or_else(|| NONE.to_owned(), lasting);
    vec![
        name(object),
        age(object, now),
        or(&spec["signerName"], NONE).into(),
        or(&spec["username"], "").into(),
        duration.into(),
        decision(&object["status"]).into(),
    ]
}

/// `Pending`, or `Approved,Issued`: a denial counts before all.
fn decision(status: &Value) -> String {
    let is = |kind: &str| items(&status["conditions"]).iter().any(|c| c["type"] == kind);
    let mut words = vec![match () {
        () if is("Denied") => "Denied",
        () if is("Approved") => "Approved",
        () => "Pending",
    }];
    if is("Failed") {
        words.push("Failed");
    }
    if !or(&status["certificate"], "").is_empty() {
        words.push("Issued");
    }
    words.join(",")
}

fn admission_policy(object: &Value, now: Wall) -> Vec<Value> {
    let spec = &object["spec"];
    let kind = &spec["paramKind"];
    let kind = if kind.is_null() {
        UNSET.to_owned()
    } else {
        format!("{}/{}", or(&kind["apiVersion"], ""), or(&kind["kind"], ""))
    };
    vec![name(object), len(&spec["validations"]).into(), kind.into(), age(object, now)]
}

fn admission_policy_binding(object: &Value, now: Wall) -> Vec<Value> {
    let spec = &object["spec"];
    let with = &spec["paramRef"];
    let with = match (or(&with["namespace"], ""), or(&with["name"], "*")) {
        _ if with.is_null() => UNSET.to_owned(),
        ("", called) => called.to_owned(),
        (namespace, called) => format!("{namespace}/{called}"),
    };
    vec![name(object), or(&spec["policyName"], "").into(), with.into(), age(object, now)]
}

fn priority_class(object: &Value, now: Wall) -> Vec<Value> {
    let is_default = object["globalDefault"] == true;
    let policy = or(&object["preemptionPolicy"], "PreemptLowerPriority");
    vec![name(object), count(&object["value"]).into(), is_default.into(), age(object, now), policy.into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bindings_and_requests_are_printed_as_upstream_does() {
        let mut object = json!({"metadata": {"name": "x", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "ada"},
                {"kind": "User", "name": "bob"}, {"kind": "ServiceAccount", "namespace": "shop", "name": "ci"}]});
        let now = Wall::from_secs(60);
        assert_eq!(json!(binding(&object, now)), json!(["x", "Role/r", "60s", "ada, bob", "", "shop/ci"]));
        object["spec"] = json!({"signerName": "s", "username": "ada", "expirationSeconds": 7200});
        assert_eq!(json!(signing_request(&object, now)), json!(["x", "60s", "s", "ada", "120m", "Pending"]));
        let approved = json!({"conditions": [{"type": "Approved"}], "certificate": "eA=="});
        assert_eq!(decision(&approved), "Approved,Issued");
        assert_eq!(decision(&json!({"conditions": [{"type": "Approved"}, {"type": "Denied"}]})), "Denied");
    }
}
