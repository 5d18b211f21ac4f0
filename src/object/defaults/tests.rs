//! Tables of manifests and what becomes of them.

#![allow(clippy::needless_pass_by_value, reason = "tables hand over JSON literals")]

use serde_json::{Value, json};

use super::*;

/// Applies the defaults twice and checks that the second time changes nothing.
fn defaulted(kind: &'static Kind, mut object: Value) -> Value {
    apply(kind, &mut object);
    let once = object.clone();
    apply(kind, &mut object);
    assert_eq!(object, once, "defaulting is idempotent");
    object
}

fn defaulted_container(container: Value) -> Value {
    defaulted(&kinds::POD, json!({"spec": {"containers": [container]}}))["spec"]["containers"][0].clone()
}

#[test]
fn a_pod_gets_all_its_defaults() {
    let pod = defaulted(&kinds::POD, json!({"spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}}));
    assert_eq!(
        pod["spec"],
        json!({
            "containers": [{"name": "web", "image": "nginx:1.27", "imagePullPolicy": "IfNotPresent", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
            "priority": 0, "restartPolicy": "Always", "schedulerName": "default-scheduler", "securityContext": {},
            "serviceAccount": "default", "serviceAccountName": "default", "terminationGracePeriodSeconds": 30
        })
    );
}

#[test]
fn what_is_said_stays() {
    let spec = json!({
        "containers": [{"name": "web", "image": "nginx", "imagePullPolicy": "Never", "terminationMessagePath": "/x",
            "terminationMessagePolicy": "FallbackToLogsOnError", "resources": {"limits": {"cpu": "1"},
            "requests": {"cpu": "500m"}}, "unknown": [1, {"kept": true}],
            "ports": [{"containerPort": 53, "protocol": "UDP"}]}],
        "dnsPolicy": "Default", "enableServiceLinks": false, "restartPolicy": "Never", "schedulerName": "mine",
        "securityContext": {"runAsUser": 1}, "serviceAccount": "robot", "serviceAccountName": "robot",
        "terminationGracePeriodSeconds": 0, "priority": 7, "preemptionPolicy": "Never", "unknown": {"kept": true}
    });
    assert_eq!(defaulted(&kinds::POD, json!({ "spec": spec }))["spec"], spec);
}

#[test]
fn the_pull_policy_follows_the_tag() {
    let digest = format!("nginx@sha256:{}", "0".repeat(64));
    let table = [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:1", "IfNotPresent"),
        (digest.as_str(), "IfNotPresent"),
        ("", "IfNotPresent"),
    ];
    for (image, policy) in table {
        assert_eq!(defaulted_container(json!({"image": image}))["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn requests_default_to_limits_in_pods_only() {
    let resources = json!({"limits": {"cpu": "0.5", "memory": "1Gi"}, "requests": {"cpu": 0.1}});
    assert_eq!(
        defaulted_container(json!({ "resources": resources }))["resources"],
        json!({"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "1Gi"}})
    );
    let template = json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "1"}}}]}});
    let deployment = defaulted(&kinds::DEPLOYMENT, json!({"spec": {"template": template}}));
    let spec = &deployment["spec"]["template"]["spec"];
    assert_eq!(spec["containers"][0]["resources"], json!({"limits": {"cpu": "1"}}));
    assert_eq!(
        (&spec["enableServiceLinks"], &spec["serviceAccountName"], &spec["priority"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[test]
fn quantities_become_canonical_and_stay_so() {
    for (said, kept) in [("1000m", "1"), ("687.5Ki", "704k"), ("1.0001", "1001m"), ("64Mi", "64Mi"), ("junk", "junk")] {
        let container = defaulted_container(json!({"resources": {"limits": {"x.io/y": said}}}));
        assert_eq!(container["resources"]["requests"]["x.io/y"], kept, "{said}");
    }
}

#[test]
fn probes_hooks_ports_and_references_are_filled_in() {
    let container = defaulted_container(json!({
        "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"port": 80}, "timeoutSeconds": 0},
        "readinessProbe": {"grpc": {"port": 9}, "periodSeconds": 5},
        "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
        "env": [
            {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]
    }));
    assert_eq!(container["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]));
    assert_eq!(
        container["livenessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(container["readinessProbe"]["periodSeconds"], 5);
    assert_eq!(container["readinessProbe"]["grpc"], json!({"port": 9, "service": ""}));
    assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["scheme"], "HTTP");
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(container["env"][1]["valueFrom"]["resourceFieldRef"]["divisor"], "0");
}

#[test]
fn volumes_are_filled_in() {
    let volumes = json!([
        {"name": "a"},
        {"name": "b", "configMap": {"name": "x"}},
        {"name": "c", "secret": {"secretName": "x", "defaultMode": 256}},
        {"name": "d", "hostPath": {"path": "/"}},
        {"name": "e", "emptyDir": {"sizeLimit": "0.5Gi"}},
        {"name": "f", "projected": {"sources": [
            {"serviceAccountToken": {"path": "t"}},
            {"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "metadata.name"}}]}}]}}
    ]);
    let pod = defaulted(&kinds::POD, json!({"spec": {"volumes": volumes}}));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([
            {"name": "a", "emptyDir": {}},
            {"name": "b", "configMap": {"name": "x", "defaultMode": 420}},
            {"name": "c", "secret": {"secretName": "x", "defaultMode": 256}},
            {"name": "d", "hostPath": {"path": "/", "type": ""}},
            {"name": "e", "emptyDir": {"sizeLimit": "512Mi"}},
            {"name": "f", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                {"downwardAPI": {"items": [
                    {"path": "x", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}]}}]}}
        ])
    );
}

#[test]
fn host_network_ports_are_host_ports() {
    let spec = json!({"hostNetwork": true, "containers": [{"ports": [{"containerPort": 80}]}]});
    let pod = defaulted(&kinds::POD, json!({ "spec": spec }));
    assert_eq!(pod["spec"]["containers"][0]["ports"][0]["hostPort"], 80);
}

#[test]
fn the_old_word_for_a_service_account_counts() {
    let pod = defaulted(&kinds::POD, json!({"spec": {"serviceAccount": "robot"}}));
    assert_eq!(pod["spec"]["serviceAccountName"], "robot");
    let template = json!({"spec": {"serviceAccountName": "robot"}});
    let deployment = defaulted(&kinds::DEPLOYMENT, json!({"spec": {"template": template}}));
    assert_eq!(deployment["spec"]["template"]["spec"]["serviceAccount"], "robot");
}

#[test]
fn a_deployment_gets_its_defaults() {
    let spec = &defaulted(&kinds::DEPLOYMENT, json!({}))["spec"];
    assert_eq!(spec["replicas"], 1);
    assert_eq!(spec["revisionHistoryLimit"], 10);
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    let rolling = json!({"maxSurge": "25%", "maxUnavailable": "25%"});
    assert_eq!(spec["strategy"], json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
    assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");
    let recreate = json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}}});
    let spec = &defaulted(&kinds::DEPLOYMENT, recreate)["spec"];
    assert_eq!((&spec["replicas"], &spec["strategy"]), (&json!(0), &json!({"type": "Recreate"})));
    assert_eq!(defaulted(&kinds::REPLICA_SET, json!({}))["spec"]["replicas"], 1);
}

#[test]
fn services_get_the_defaults_of_their_type() {
    let plain = json!({"ports": [{"port": 80}, {"port": 443, "targetPort": "tls", "protocol": "UDP"}]});
    assert_eq!(
        defaulted(&kinds::SERVICE, json!({ "spec": plain }))["spec"],
        json!({
            "type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [{"port": 80, "targetPort": 80, "protocol": "TCP"},
                {"port": 443, "targetPort": "tls", "protocol": "UDP"}]
        })
    );
    let balanced = &defaulted(&kinds::SERVICE, json!({"spec": {"type": "LoadBalancer"}}))["spec"];
    assert_eq!(balanced["externalTrafficPolicy"], "Cluster");
    assert_eq!(balanced["allocateLoadBalancerNodePorts"], true);
    let named = json!({"type": "ExternalName", "externalName": "example.com", "sessionAffinity": "None"});
    assert_eq!(defaulted(&kinds::SERVICE, json!({ "spec": named }))["spec"], named);
    let headless = &defaulted(&kinds::SERVICE, json!({"spec": {"clusterIP": "None"}}))["spec"];
    assert_eq!(headless["clusterIPs"], json!(["None"]));
    let sticky = &defaulted(&kinds::SERVICE, json!({"spec": {"sessionAffinity": "ClientIP"}}))["spec"];
    assert_eq!(sticky["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"], 10_800);
}

#[test]
fn a_secrets_plain_text_is_folded_in() {
    let secret = json!({"data": {"a": "eA==", "b": "eQ=="}, "stringData": {"b": "new", "c": ""}});
    assert_eq!(
        defaulted(&kinds::SECRET, secret),
        json!({"type": "Opaque", "data": {"a": "eA==", "b": "bmV3", "c": ""}})
    );
    assert_eq!(defaulted(&kinds::SECRET, json!({"stringData": {}})), json!({"type": "Opaque"}));
}

#[test]
fn small_kinds_get_their_defaults() {
    let namespace = defaulted(&kinds::NAMESPACE, json!({"metadata": {"name": "shop"}}));
    assert_eq!(namespace["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "shop"}));
    assert_eq!(namespace["spec"]["finalizers"], json!(["kubernetes"]));
    let going = json!({"metadata": {"name": "shop", "deletionTimestamp": "2025-01-01T00:00:00Z"}, "spec": {}});
    assert_eq!(defaulted(&kinds::NAMESPACE, going)["spec"], json!({}));
    let slice = defaulted(&kinds::ENDPOINT_SLICE, json!({"ports": [{"port": 80}]}));
    assert_eq!(slice["ports"], json!([{"port": 80, "name": "", "protocol": "TCP"}]));
    let node = defaulted(&kinds::NODE, json!({"status": {"capacity": {"cpu": "4000m"}}}));
    assert_eq!(node["status"]["allocatable"], json!({"cpu": "4"}));
}

#[test]
fn odd_shapes_are_left_alone() {
    for kind in kinds::KINDS {
        for odd in [
            json!(null),
            json!([]),
            json!({"spec": 1}),
            json!({"spec": {"containers": {}, "template": [], "ports": [1], "type": 5, "volumes": [null]}}),
            json!({"metadata": [], "stringData": {"a": 1}, "status": "x"}),
        ] {
            defaulted(kind, odd);
        }
    }
}

#[test]
fn the_status_of_a_new_pod_names_its_quality_of_service() {
    let class = |containers: Value| {
        let pod = defaulted(&kinds::POD, json!({"spec": {"containers": containers}}));
        initial_status(&kinds::POD, &pod).unwrap()["qosClass"].clone()
    };
    let both = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
    assert_eq!(class(json!([{}])), "BestEffort");
    assert_eq!(class(json!([{"resources": both}])), "Guaranteed");
    assert_eq!(class(json!([{"resources": both}, {}])), "Burstable");
    assert_eq!(class(json!([{"resources": {"requests": {"cpu": "1"}}}])), "Burstable");
    let less = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}});
    assert_eq!(class(json!([{"resources": less}])), "Burstable");
}

#[test]
fn an_update_need_not_repeat_what_was_allocated() {
    let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
        "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30001}, {"port": 81, "protocol": "TCP", "nodePort": 30002}]}});
    let mut new = json!({"spec": {"type": "NodePort", "ports": [{"port": 81}, {"port": 82}]}});
    carry_over(&kinds::SERVICE, &mut new, &old);
    assert_eq!(
        new["spec"],
        json!({"type": "NodePort", "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 81, "nodePort": 30002}, {"port": 82}]})
    );
    let mut plain = json!({"spec": {"ports": [{"port": 80}]}});
    carry_over(&kinds::SERVICE, &mut plain, &old);
    assert_eq!(plain["spec"]["ports"], json!([{"port": 80}]));
    let mut patched = old.clone();
    patched["spec"]["type"] = json!("ClusterIP");
    carry_over(&kinds::SERVICE, &mut patched, &old);
    assert_eq!(patched["spec"]["ports"], json!([{"port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]));
    patched["spec"]["type"] = json!("ExternalName");
    carry_over(&kinds::SERVICE, &mut patched, &old);
    assert_eq!((&patched["spec"]["clusterIP"], &patched["spec"]["clusterIPs"]), (&Value::Null, &Value::Null));
    let mut external = json!({"spec": {"type": "ExternalName"}});
    carry_over(&kinds::SERVICE, &mut external, &old);
    assert_eq!(external["spec"], json!({"type": "ExternalName"}));
    let mut emptied = json!({"metadata": {}});
    carry_over(&kinds::NAMESPACE, &mut emptied, &json!({"spec": {"finalizers": ["kubernetes"]}}));
    assert_eq!(emptied["spec"]["finalizers"], json!(["kubernetes"]));
    carry_over(&kinds::NAMESPACE, &mut emptied, &json!({"spec": {}}));
    assert_eq!(emptied["spec"], json!({}));
}

#[test]
fn a_job_gets_all_its_defaults_and_its_own_labels() {
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": []}});
    let job = defaulted(&kinds::JOB, json!({"spec": {"template": template}}));
    let spec = &job["spec"];
    assert_eq!((&spec["completions"], &spec["parallelism"], &spec["backoffLimit"]), (&json!(1), &json!(1), &json!(6)));
    assert_eq!((&spec["completionMode"], &spec["suspend"]), (&json!("NonIndexed"), &json!(false)));
    assert_eq!(job["metadata"]["labels"], json!({"app": "x"}), "the template's");
    let work_queue = defaulted(&kinds::JOB, json!({"spec": {"parallelism": 3, "podFailurePolicy": {"rules": []}}}));
    assert_eq!(
        (work_queue["spec"].get("completions"), &work_queue["spec"]["podReplacementPolicy"]),
        (None, &json!("Failed"))
    );

    let uid = crate::ids::Uid([7; 16]);
    let named = |mut job: Value| {
        let members = job.as_object_mut().unwrap();
        name_pods(members, "pi", uid);
        let once = members.clone();
        name_pods(members, "pi", uid);
        assert_eq!(*members, once);
        job
    };
    let made = named(defaulted(&kinds::JOB, json!({"spec": {}})));
    assert_eq!(made["spec"]["selector"], json!({"matchLabels": {CONTROLLER_UID: uid.to_string()}}));
    let labels = &made["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        (&labels[JOB_NAME], &labels["job-name"], &labels["controller-uid"]),
        (&json!("pi"), &json!("pi"), &json!(uid.to_string()))
    );
    assert_eq!(&made["metadata"]["labels"], labels, "a Job without labels has its pods'");
    let manual = json!({"spec": {"manualSelector": true, "selector": {"matchLabels": {"a": "b"}}}});
    assert_eq!(named(manual.clone()), manual);
}

#[test]
fn kinds_on_which_nothing_acts_have_their_defaults_too() {
    let table = [
        (&kinds::CRON_JOB, json!({"spec": {}}), "/spec/concurrencyPolicy", json!("Allow")),
        (&kinds::CRON_JOB, json!({"spec": {}}), "/spec/jobTemplate/spec/template/spec/restartPolicy", json!("Always")),
        (
            &kinds::DAEMON_SET,
            json!({}),
            "/spec/updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}),
        ),
        (
            &kinds::STATEFUL_SET,
            json!({}),
            "/spec/updateStrategy",
            json!({"type": "RollingUpdate", "rollingUpdate": {"partition": 0}}),
        ),
        (
            &kinds::STATEFUL_SET,
            json!({"spec": {"updateStrategy": {"type": "OnDelete"}}}),
            "/spec/updateStrategy",
            json!({"type": "OnDelete"}),
        ),
        (
            &kinds::STATEFUL_SET,
            json!({"spec": {"volumeClaimTemplates": [{}]}}),
            "/spec/volumeClaimTemplates/0/spec/volumeMode",
            json!("Filesystem"),
        ),
        (
            &kinds::REPLICATION_CONTROLLER,
            json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}}),
            "/spec/selector",
            json!({"a": "b"}),
        ),
        (&kinds::HORIZONTAL_POD_AUTOSCALER, json!({}), "/spec/metrics/0/resource/target/averageUtilization", json!(80)),
        (
            &kinds::HORIZONTAL_POD_AUTOSCALER,
            json!({"spec": {"behavior": {}}}),
            "/spec/behavior/scaleUp/policies/0/value",
            json!(4),
        ),
        (&kinds::PERSISTENT_VOLUME, json!({}), "/spec/persistentVolumeReclaimPolicy", json!("Retain")),
        (
            &kinds::PERSISTENT_VOLUME_CLAIM,
            json!({"spec": {"resources": {"requests": {"storage": "1024Mi"}}}}),
            "/spec/resources/requests/storage",
            json!("1Gi"),
        ),
        (&kinds::STORAGE_CLASS, json!({}), "/volumeBindingMode", json!("Immediate")),
        (&kinds::CSI_DRIVER, json!({}), "/spec/volumeLifecycleModes", json!(["Persistent"])),
        (&kinds::INGRESS_CLASS, json!({"spec": {"parameters": {}}}), "/spec/parameters/scope", json!("Cluster")),
        (
            &kinds::NETWORK_POLICY,
            json!({"spec": {"egress": [{"ports": [{"port": 1}]}]}}),
            "/spec/policyTypes",
            json!(["Ingress", "Egress"]),
        ),
        (
            &kinds::ENDPOINTS,
            json!({"subsets": [{"ports": [{"port": 1}]}]}),
            "/subsets/0/ports/0/protocol",
            json!("TCP"),
        ),
        (
            &kinds::ROLE_BINDING,
            json!({"roleRef": {}, "subjects": [{"kind": "User"}]}),
            "/subjects/0/apiGroup",
            json!("rbac.authorization.k8s.io"),
        ),
        (
            &kinds::MUTATING_WEBHOOK_CONFIGURATION,
            json!({"webhooks": [{"rules": [{}]}]}),
            "/webhooks/0/reinvocationPolicy",
            json!("Never"),
        ),
        (
            &kinds::VALIDATING_WEBHOOK_CONFIGURATION,
            json!({"webhooks": [{"rules": [{}]}]}),
            "/webhooks/0/rules/0/scope",
            json!("*"),
        ),
        (
            &kinds::VALIDATING_ADMISSION_POLICY,
            json!({"spec": {"matchConstraints": {}}}),
            "/spec/matchConstraints/matchPolicy",
            json!("Equivalent"),
        ),
        (&kinds::PRIORITY_CLASS, json!({}), "/preemptionPolicy", json!("PreemptLowerPriority")),
        (
            &kinds::LIMIT_RANGE,
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}),
            "/spec/limits/0/defaultRequest/cpu",
            json!("1"),
        ),
    ];
    for (kind, object, path, value) in table {
        assert_eq!(defaulted(kind, object).pointer(path), Some(&value), "{kind} {path}");
    }
}
