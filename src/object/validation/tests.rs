//! Tables of objects of the kinds that feature level 5 brought, and what is wrong with them.

#![allow(clippy::needless_pass_by_value, reason = "tables hand over JSON literals")]

use serde_json::{Value, json};

use super::{on_birth, on_create, on_status, on_update};
use crate::object::{Kind, defaults, kinds};

fn made(kind: &'static Kind, mut object: Value) -> Value {
    object["metadata"]["name"] = json!("x");
    if kind.namespaced {
        object["metadata"]["namespace"] = json!("shop");
    }
    defaults::apply(kind, &mut object);
    object
}

fn faults(kind: &'static Kind, object: Value) -> Vec<String> {
    let object = made(kind, object);
    let causes = on_create(kind, &object).into_iter().chain(on_birth(kind, &object));
    causes.map(|cause| cause.to_string()).collect()
}

fn changes(kind: &'static Kind, object: &Value, change: impl FnOnce(&mut Value)) -> Vec<String> {
    let old = made(kind, object.clone());
    assert_eq!(on_update(kind, &old, &old), [], "{kind}: nothing changed");
    let mut new = old.clone();
    change(&mut new);
    on_update(kind, &new, &old).iter().map(ToString::to_string).collect()
}

fn template(restart: &str) -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"restartPolicy": restart, "containers": [{"name": "c", "image": "i"}]}})
}

#[test]
fn who_asks_a_job_for_what_is_not_done_is_warned() {
    let job = json!({"spec": {"backoffLimitPerIndex": 1, "backoffLimit": 2}});
    let expected = ["spec.backoffLimitPerIndex is stored, but nothing acts on it yet"];
    assert_eq!(super::warnings(&kinds::JOB, &job), expected);
    assert_eq!(super::warnings(&kinds::DEPLOYMENT, &job), [""; 0]);
}

#[test]
fn jobs_are_judged_in_upstreams_words() {
    let never = template("Never");
    assert_eq!(faults(&kinds::JOB, json!({"spec": {"template": never}})), Vec::<String>::new());
    for (spec, words) in [
        (
            json!({"template": template("Always")}),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            json!({"template": never, "parallelism": -1}),
            "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            json!({"template": never, "parallelism": 1, "completionMode": "Indexed"}),
            "spec.completions: Required value: when completion mode is Indexed",
        ),
        (
            json!({"template": never, "selector": {"matchLabels": {"a": "b"}}}),
            "spec.selector: Invalid value: v1.LabelSelector{MatchLabels:map[string]string{\"a\":\"b\"}, MatchExpressions:[]v1.LabelSelectorRequirement(nil)}: `selector` not auto-generated",
        ),
        (
            json!({"template": never, "manualSelector": true, "selector": {"matchLabels": {"a": "c"}}}),
            "spec.template.metadata.labels: Invalid value: map[string]string{\"a\":\"b\"}: `selector` does not match template `labels`",
        ),
        (
            json!({"template": template("OnFailure"), "podFailurePolicy": {"rules": []}}),
            "spec.template.spec.restartPolicy: Invalid value: \"OnFailure\": only \"Never\" is supported when podFailurePolicy is specified",
        ),
    ] {
        assert_eq!(faults(&kinds::JOB, json!({"spec": spec})), [words]);
    }
    let job = json!({"spec": {"template": never, "suspend": true}});
    let image = |job: &mut Value| job["spec"]["template"]["spec"]["containers"][0]["image"] = json!("other");
    assert!(changes(&kinds::JOB, &job, image)[0].ends_with("field is immutable"));
    assert!(changes(&kinds::JOB, &job, |job| job["spec"]["completions"] = json!(9))[0].starts_with("spec.completions"));
    assert_eq!(changes(&kinds::JOB, &job, |job| job["spec"]["parallelism"] = json!(9)), Vec::<String>::new());
    let place = |job: &mut Value| job["spec"]["template"]["spec"]["nodeSelector"] = json!({"disk": "fast"});
    assert_eq!(changes(&kinds::JOB, &job, place), Vec::<String>::new(), "while it is suspended");
    let running = json!({"spec": {"template": never}});
    assert_eq!(changes(&kinds::JOB, &running, place).len(), 1);
}

#[test]
fn cron_jobs_are_judged_in_upstreams_words() {
    let with = |schedule: &str| json!({"spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": template("Never")}}}});
    assert_eq!(faults(&kinds::CRON_JOB, with("*/5 * * * *")), Vec::<String>::new());
    let words = ["spec.schedule: Invalid value: \"* * *\": expected exactly 5 fields, found 3: [\"*\", \"*\", \"*\"]"];
    assert_eq!(faults(&kinds::CRON_JOB, with("* * *")), words);
    assert_eq!(faults(&kinds::CRON_JOB, with("")), ["spec.schedule: Required value"]);
}

#[test]
fn workloads_are_judged_in_upstreams_words() {
    let labels = json!({"matchLabels": {"a": "b"}});
    let spec = json!({"spec": {"selector": labels, "serviceName": "s", "template": template("Always")}});
    for kind in [&kinds::DAEMON_SET, &kinds::STATEFUL_SET] {
        assert_eq!(faults(kind, spec.clone()), Vec::<String>::new());
        assert_eq!(faults(kind, json!({"spec": {"template": template("Always")}}))[0], "spec.selector: Required value");
    }
    let forbidden = changes(&kinds::STATEFUL_SET, &spec, |set| set["spec"]["serviceName"] = json!("t"));
    assert!(forbidden[0].starts_with("spec: Forbidden: updates to statefulset spec for fields other than 'replicas',"));
    assert_eq!(changes(&kinds::STATEFUL_SET, &spec, |set| set["spec"]["replicas"] = json!(3)), Vec::<String>::new());
    let labels = |set: &mut Value| set["spec"]["selector"]["matchLabels"] = json!({"c": "d"});
    assert!(changes(&kinds::DAEMON_SET, &spec, labels)[0].ends_with("field is immutable"));
    let wrong = json!({"spec": {"selector": {"a": "c"}, "template": template("Always")}});
    assert_eq!(faults(&kinds::REPLICATION_CONTROLLER, wrong).len(), 1);
}

#[test]
fn policies_are_judged_in_upstreams_words() {
    let rbac = "rbac.authorization.k8s.io";
    let binding = json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "ada"}]});
    let hpa = |spec: Value| {
        let mut spec = spec;
        spec["scaleTargetRef"] = json!({"kind": "Deployment", "name": "web"});
        json!({ "spec": spec })
    };
    for (kind, object, words) in [
        (&kinds::POD_DISRUPTION_BUDGET, json!({"spec": {"minAvailable": "50%"}}), &[][..]),
        (
            &kinds::POD_DISRUPTION_BUDGET,
            json!({"spec": {"minAvailable": "101%"}}),
            &["spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"],
        ),
        (&kinds::ROLE, json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}), &[]),
        (
            &kinds::ROLE,
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"]}]}),
            &["rules[0].verbs: Required value: verbs must contain at least one value"],
        ),
        (
            &kinds::ROLE,
            json!({"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
            &["rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs"],
        ),
        (&kinds::ROLE_BINDING, binding.clone(), &[]),
        (
            &kinds::CLUSTER_ROLE_BINDING,
            binding.clone(),
            &["roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\""],
        ),
        (
            &kinds::ROLE_BINDING,
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "ServiceAccount", "name": "ci"}]}),
            &["subjects[0].namespace: Required value"],
        ),
        (&kinds::HORIZONTAL_POD_AUTOSCALER, hpa(json!({"maxReplicas": 3})), &[]),
        (
            &kinds::HORIZONTAL_POD_AUTOSCALER,
            hpa(json!({"maxReplicas": 0})),
            &["spec.maxReplicas: Invalid value: 0: must be greater than 0"],
        ),
        (
            &kinds::HORIZONTAL_POD_AUTOSCALER,
            hpa(json!({"maxReplicas": 1, "minReplicas": 2})),
            &["spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`"],
        ),
        (
            &kinds::PRIORITY_CLASS,
            json!({"value": 2_000_000_000}),
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        (
            &kinds::CERTIFICATE_SIGNING_REQUEST,
            json!({"spec": {"request": "eA==", "signerName": "plain", "usages": ["client auth"]}}),
            &[
                "spec.signerName: Invalid value: \"plain\": must be a fully qualified domain and path of the form \"example.com/signer-name\"",
            ],
        ),
    ] {
        assert_eq!(faults(kind, object), words, "{kind}");
    }
    let words = changes(&kinds::ROLE_BINDING, &binding, |b| b["roleRef"]["name"] = json!("other"));
    let shown = format!(
        "roleRef: Invalid value: rbac.RoleRef{{APIGroup:\"{rbac}\", Kind:\"Role\", Name:\"other\"}}: cannot change roleRef"
    );
    assert_eq!(words, [shown]);
    let mut role = json!({"metadata": {"name": "system:Node/x", "namespace": "shop"}, "rules": []});
    let name = on_create(&kinds::ROLE, &role);
    assert_eq!(
        name.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["metadata.name: Invalid value: \"system:Node/x\": may not contain '/'"]
    );
    role["metadata"]["name"] = json!("system:Node");
    assert_eq!(on_create(&kinds::ROLE, &role), []);

    let approved =
        json!({"metadata": {"name": "x"}, "status": {"conditions": [{"type": "Approved", "status": "True"}]}});
    let mut denied = approved.clone();
    denied["status"]["conditions"] = json!([{"type": "Denied", "status": "True"}]);
    assert_eq!(on_status(&kinds::CERTIFICATE_SIGNING_REQUEST, &approved, &approved), []);
    assert_eq!(on_status(&kinds::CERTIFICATE_SIGNING_REQUEST, &denied, &approved).len(), 1);
}

#[test]
fn storage_and_networks_are_judged_in_upstreams_words() {
    let claim = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let volume =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}});
    let backend = |port: Value| json!({"service": {"name": "web", "port": port}});
    let ingress = |kind: &str| json!({"spec": {"rules": [{"http": {"paths": [{"path": "/", "pathType": kind, "backend": backend(json!({"number": 80}))}]}}]}});
    for (kind, object, words) in [
        (&kinds::PERSISTENT_VOLUME_CLAIM, claim.clone(), &[][..]),
        (
            &kinds::PERSISTENT_VOLUME_CLAIM,
            json!({"spec": {"accessModes": ["Often"]}}),
            &[
                "spec.accessModes: Unsupported value: \"Often\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                "spec.resources[storage]: Required value",
            ],
        ),
        (&kinds::PERSISTENT_VOLUME, volume.clone(), &[]),
        (
            &kinds::PERSISTENT_VOLUME,
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}}),
            &["spec: Required value: must specify a volume type"],
        ),
        (&kinds::STORAGE_CLASS, json!({}), &["provisioner: Required value"]),
        (&kinds::INGRESS, ingress("Prefix"), &[]),
        (
            &kinds::INGRESS,
            ingress(""),
            &["spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"],
        ),
        (
            &kinds::INGRESS,
            json!({"spec": {}}),
            &["spec: Invalid value: {}: either `defaultBackend` or `rules` must be specified"],
        ),
        (
            &kinds::INGRESS,
            json!({"spec": {"defaultBackend": backend(json!({}))}}),
            &["spec.defaultBackend.service.port: Required value: port name or number is required"],
        ),
        (
            &kinds::NETWORK_POLICY,
            json!({"spec": {"ingress": [{"from": [{}]}]}}),
            &["spec.ingress[0].from[0]: Required value: must specify a peer"],
        ),
    ] {
        assert_eq!(faults(kind, object), words, "{kind}");
    }
    assert_eq!(
        changes(&kinds::PERSISTENT_VOLUME_CLAIM, &claim, |c| c["spec"]["volumeName"] = json!("v")),
        Vec::<String>::new()
    );
    assert_eq!(
        changes(&kinds::PERSISTENT_VOLUME_CLAIM, &claim, |c| c["spec"]["accessModes"] = json!(["ReadOnlyMany"])).len(),
        1
    );
    assert_eq!(changes(&kinds::PERSISTENT_VOLUME, &volume, |v| v["spec"]["hostPath"]["path"] = json!("/y")).len(), 1);
    let class = json!({"provisioner": "test.dev/it", "parameters": {"a": "b"}});
    let words = changes(&kinds::STORAGE_CLASS, &class, |c| c["parameters"] = json!({}));
    assert_eq!(words, ["parameters: Forbidden: updates to parameters are forbidden."]);
}
