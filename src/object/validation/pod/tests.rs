//! Tables of pods: what passes, what is refused and how, what may be changed.

#![allow(clippy::needless_pass_by_value, reason = "tables hand over JSON literals")]

use serde_json::{Value, json};

use crate::object::validation::{on_create, on_status, on_update};
use crate::object::{defaults, kinds};

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    defaults::apply(&kinds::POD, &mut pod);
    pod
}

/// A pod whose one container has these members too.
fn with_container(members: Value) -> Value {
    let mut container = json!({"name": "web", "image": "nginx"});
    for (name, value) in members.as_object().unwrap() {
        container[name] = value.clone();
    }
    json!({"containers": [container]})
}

/// A pod whose spec has these members too.
fn with(members: Value) -> Value {
    let mut spec = with_container(json!({}));
    for (name, value) in members.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

fn faults(spec: Value) -> Vec<String> {
    on_create(&kinds::POD, &pod(spec)).iter().map(ToString::to_string).collect()
}

fn check(table: &[(Value, &[&str])]) {
    for (spec, words) in table {
        assert_eq!(faults(spec.clone()), *words, "{spec}");
    }
}

#[test]
fn sound_pods_pass() {
    for spec in [
        with(json!({})),
        with_container(json!({
            "command": ["a"], "env": [{"name": "A", "value": "b"}, {"name": "A.b", "value": ""}],
            "envFrom": [{"configMapRef": {"name": "x"}}, {"prefix": "P_", "secretRef": {"name": "y"}}],
            "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 80, "protocol": "UDP"}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi", "example.com/gpu": 1}, "requests": {"cpu": "100m"}},
            "livenessProbe": {"httpGet": {"port": "http"}}, "readinessProbe": {"tcpSocket": {"port": 80}},
            "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}
        })),
        with(json!({
            "volumes": [{"name": "a", "configMap": {"name": "x", "items": [{"key": "k", "path": "d/k"}]}},
                {"name": "b", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}, {"name": "c", "hostPath": {"path": "/x"}}],
            "containers": [{"name": "web", "image": "nginx", "volumeMounts": [
                {"name": "a", "mountPath": "/a", "subPath": "k"}, {"name": "b", "mountPath": "/b"}]}]
        })),
        with(json!({"initContainers": [
            {"name": "once", "image": "x"},
            {"name": "side", "image": "x", "restartPolicy": "Always", "startupProbe": {"exec": {"command": ["a"]}}}]})),
        with(
            json!({"tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 5}]}),
        ),
        with(json!({"hostNetwork": true, "dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.1"]}})),
    ] {
        assert_eq!(faults(spec.clone()), [""; 0], "{spec}");
    }
}

#[test]
fn containers_are_checked() {
    check(&[
        (json!({}), &["spec.containers: Required value"]),
        (json!({"containers": [{"name": "web"}]}), &["spec.containers[0].image: Required value"]),
        (json!({"containers": [{"image": "a"}]}), &["spec.containers[0].name: Required value"]),
        (
            json!({"containers": [{"image": "a ", "name": "a"}, {"image": "b", "name": "a"}]}),
            &[
                "spec.containers[1].name: Duplicate value: \"a\"",
                "spec.containers[0].image: Invalid value: \"a \": must not have leading or trailing whitespace",
            ],
        ),
        (
            with(
                json!({"initContainers": [{"name": "web", "image": "x", "livenessProbe": {"tcpSocket": {"port": 1}}}]}),
            ),
            &[
                "spec.initContainers[0].name: Duplicate value: \"web\"",
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
            ],
        ),
        (
            with_container(json!({"imagePullPolicy": "Sometimes", "restartPolicy": "Always"})),
            &[
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
                "spec.containers[0].restartPolicy: Forbidden: may not be set for non-init containers",
            ],
        ),
    ]);
    let words = faults(json!({"containers": [{"name": "Web", "image": "x"}]}));
    assert_eq!(
        words,
        [
            "spec.containers[0].name: Invalid value: \"Web\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
}

#[test]
fn ports_are_checked() {
    check(&[
        (
            with_container(json!({"ports": [{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]})),
            &["spec.containers[0].ports[1].name: Duplicate value: \"a\""],
        ),
        (
            with_container(json!({"ports": [{"containerPort": 0}, {"containerPort": 65536, "protocol": "X"}]})),
            &[
                "spec.containers[0].ports[0].containerPort: Required value",
                "spec.containers[0].ports[1].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive",
                "spec.containers[0].ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ],
        ),
        (
            with_container(
                json!({"ports": [{"containerPort": 80, "hostPort": 80}, {"containerPort": 81, "hostPort": 80}]}),
            ),
            &["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//80\""],
        ),
        (
            json!({"hostNetwork": true, "containers": [
                {"name": "web", "image": "x", "ports": [{"containerPort": 80, "hostPort": 81}]}]}),
            &[
                "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
            ],
        ),
    ]);
}

#[test]
fn the_environment_is_checked() {
    let from = |source: Value| with_container(json!({"env": [{"name": "A", "valueFrom": source}]}));
    check(&[
        (with_container(json!({"env": [{"value": "b"}]})), &["spec.containers[0].env[0].name: Required value"]),
        (
            with_container(json!({"env": [{"name": "a=b"}]})),
            &[
                "spec.containers[0].env[0].name: Invalid value: \"a=b\": a valid environment variable name must consist only of printable ASCII characters other than '='",
            ],
        ),
        (
            from(json!({})),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
            ],
        ),
        (
            from(json!({"configMapKeyRef": {"name": "x"}})),
            &["spec.containers[0].env[0].valueFrom.configMapKeyRef.key: Required value"],
        ),
        (
            from(json!({"configMapKeyRef": {"name": "x", "key": "a"}, "secretKeyRef": {"name": "x", "key": "a"}})),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not have more than one field specified at a time",
            ],
        ),
        (
            with_container(
                json!({"env": [{"name": "A", "value": "b", "valueFrom": {"secretKeyRef": {"name": "x", "key": "a"}}}]}),
            ),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ],
        ),
        (
            from(json!({"fieldRef": {"fieldPath": "spec.what"}})),
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.what\": error converting fieldPath: field label not supported: spec.what",
            ],
        ),
        (from(json!({"fieldRef": {"fieldPath": "metadata.labels['app']"}})), &[]),
        (
            from(json!({"resourceFieldRef": {"resource": "limits.disk"}})),
            &[
                "spec.containers[0].env[0].valueFrom.resourceFieldRef.resource: Unsupported value: \"limits.disk\": supported values: \"limits.cpu\", \"limits.ephemeral-storage\", \"limits.memory\", \"requests.cpu\", \"requests.ephemeral-storage\", \"requests.memory\"",
            ],
        ),
        (
            from(json!({"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}})),
            &[
                "spec.containers[0].env[0].valueFrom.resourceFieldRef.divisor: Invalid value: \"limits.cpu\": only divisor's values 1m and 1 are supported with the cpu resource",
            ],
        ),
        (
            with_container(json!({"envFrom": [{}, {"configMapRef": {}}]})),
            &[
                "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
                "spec.containers[0].envFrom[1].configMapRef.name: Required value",
            ],
        ),
    ]);
}

#[test]
fn volumes_and_mounts_are_checked() {
    let mounts = |mounts: Value| {
        let mut spec = with_container(json!({ "volumeMounts": mounts }));
        spec["volumes"] = json!([{"name": "a", "emptyDir": {}}]);
        spec
    };
    check(&[
        (
            mounts(json!([{"name": "x", "mountPath": "/x"}])),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"x\""],
        ),
        (mounts(json!([{"name": "a"}])), &["spec.containers[0].volumeMounts[0].mountPath: Required value"]),
        (
            mounts(json!([{"name": "a", "mountPath": "/x"}, {"name": "a", "mountPath": "/x"}])),
            &["spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/x\": must be unique"],
        ),
        (
            mounts(json!([{"name": "a", "mountPath": "/x", "subPath": "../b"}])),
            &["spec.containers[0].volumeMounts.subPath: Invalid value: \"../b\": must not contain '..'"],
        ),
        (
            with(json!({"volumes": [{"name": "a", "emptyDir": {}, "hostPath": {"path": "/"}}]})),
            &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            with(json!({"volumes": [{"name": "a"}, {"name": "a"}, {"secret": {}}]})),
            &[
                "spec.volumes[1].name: Duplicate value: \"a\"",
                "spec.volumes[2].secret.secretName: Required value",
                "spec.volumes[2].name: Required value",
            ],
        ),
        (
            with(
                json!({"volumes": [{"name": "a", "configMap": {"name": "x", "defaultMode": 512, "items": [{"key": "k", "path": "/k"}]}}]}),
            ),
            &[
                "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a number between 0 and 0777 (octal), both inclusive",
                "spec.volumes[0].configMap.items[0].path: Invalid value: \"/k\": must be a relative path",
            ],
        ),
        (
            with(json!({"volumes": [{"name": "a", "hostPath": {"path": "/a/../b", "type": "Thing"}}]})),
            &[
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                "spec.volumes[0].hostPath.type: Unsupported value: \"Thing\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            ],
        ),
        (
            with(json!({"volumes": [{"name": "a", "downwardAPI": {"items": [{"path": "..x"}]}}]})),
            &[
                "spec.volumes[0].downwardAPI.path: Invalid value: \"..x\": must not start with '..'",
                "spec.volumes[0].downwardAPI: Required value: one of fieldRef and resourceFieldRef is required",
            ],
        ),
    ]);
}

#[test]
fn probes_have_one_handler() {
    let path = "spec.containers[0].livenessProbe";
    let table = [
        (json!({}), vec![format!("{path}: Required value: must specify a handler type")]),
        (
            json!({"exec": {"command": ["a"]}, "httpGet": {"port": 80}}),
            vec![format!("{path}.httpGet: Forbidden: may not specify more than 1 handler type")],
        ),
        (json!({"exec": {}}), vec![format!("{path}.exec.command: Required value")]),
        (
            json!({"httpGet": {"port": 0, "scheme": "FTP"}}),
            vec![
                format!("{path}.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive"),
                format!("{path}.httpGet.scheme: Unsupported value: \"FTP\": supported values: \"HTTP\", \"HTTPS\""),
            ],
        ),
        (
            json!({"tcpSocket": {"port": 80}, "periodSeconds": -1, "successThreshold": 2}),
            vec![
                format!("{path}.periodSeconds: Invalid value: -1: must be greater than or equal to 0"),
                format!("{path}.successThreshold: Invalid value: 2: must be 1"),
            ],
        ),
    ];
    for (probe, words) in table {
        assert_eq!(faults(with_container(json!({ "livenessProbe": probe }))), words, "{probe}");
    }
    let ready = json!({"tcpSocket": {"port": 80}, "successThreshold": 2, "terminationGracePeriodSeconds": 5});
    assert_eq!(
        faults(with_container(json!({ "readinessProbe": ready }))),
        [
            "spec.containers[0].readinessProbe.terminationGracePeriodSeconds: Invalid value: 5: must not be set for readinessProbes"
        ]
    );
}

#[test]
fn resources_are_checked() {
    let path = "spec.containers[0].resources";
    let table = [
        (
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            vec![format!("{path}.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1")],
        ),
        (
            json!({"requests": {"cpu": "-1"}}),
            vec![format!("{path}.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0")],
        ),
        (
            json!({"requests": {"disk": "1"}}),
            vec![
                format!(
                    "{path}.requests[disk]: Invalid value: \"disk\": must be a standard resource type or fully qualified"
                ),
                format!("{path}.requests[disk]: Invalid value: \"disk\": must be a standard resource for containers"),
            ],
        ),
        (
            json!({"requests": {"example.com/gpu": "1"}}),
            vec![format!("{path}.limits: Required value: Limit must be set for non overcommitable resources")],
        ),
        (
            json!({"limits": {"example.com/gpu": "1500m"}}),
            vec![
                format!("{path}.limits[example.com/gpu]: Invalid value: \"1500m\": must be an integer"),
                format!("{path}.requests[example.com/gpu]: Invalid value: \"1500m\": must be an integer"),
            ],
        ),
        (
            json!({"limits": {"hugepages-2Mi": "2Mi"}}),
            vec![format!("{path}: Forbidden: HugePages require cpu or memory")],
        ),
    ];
    for (resources, words) in table {
        assert_eq!(faults(with_container(json!({ "resources": resources }))), words, "{resources}");
    }
}

#[test]
fn the_rest_of_the_spec_is_checked() {
    check(&[
        (
            with(json!({"restartPolicy": "Sometimes"})),
            &[
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        ),
        (
            with(json!({"dnsPolicy": "Mine"})),
            &[
                "spec.dnsPolicy: Unsupported value: \"Mine\": supported values: \"ClusterFirstWithHostNet\", \"ClusterFirst\", \"Default\", \"None\"",
            ],
        ),
        (
            with(json!({"dnsPolicy": "None"})),
            &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            with(json!({"activeDeadlineSeconds": 0})),
            &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            with(
                json!({"tolerations": [{"key": "a", "operator": "Is"}, {"value": "x"}, {"key": "a", "effect": "Go"}]}),
            ),
            &[
                "spec.tolerations[0].operator: Unsupported value: \"Is\": supported values: \"Equal\", \"Exists\"",
                "spec.tolerations[1].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                "spec.tolerations[2].effect: Unsupported value: \"Go\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        ),
        (
            with(
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}),
            ),
            &[
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
            ],
        ),
        (
            with(
                json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "Cry"}]}),
            ),
            &[
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Cry\": supported values: \"DoNotSchedule\", \"ScheduleAnyway\"",
            ],
        ),
        (
            with(json!({"nodeName": "n1", "schedulingGates": [{"name": "a"}]})),
            &["spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared"],
        ),
        (
            with(json!({"securityContext": {"runAsUser": -1}})),
            &["spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 4294967295, inclusive"],
        ),
    ]);
}

#[test]
fn hardly_anything_of_a_pod_may_be_changed() {
    let old = pod(with(json!({"activeDeadlineSeconds": 100, "tolerations": [{"key": "a", "operator": "Exists"}]})));
    let changed = |change: fn(&mut Value)| {
        let mut new = old.clone();
        change(&mut new);
        on_update(&kinds::POD, &new, &old).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for fine in [
        |p| p["spec"]["containers"][0]["image"] = json!("nginx:2"),
        |p| p["metadata"]["labels"] = json!({"a": "b"}),
        |p| p["spec"]["activeDeadlineSeconds"] = json!(50),
        |p| p["spec"]["tolerations"] = json!([{"key": "b"}, {"key": "a", "operator": "Exists"}]),
        |p| p["spec"]["containers"][0]["env"] = json!([]),
    ] as [fn(&mut Value); 5]
    {
        assert_eq!(changed(fine), [""; 0]);
    }
    let sentence = "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n";
    assert_eq!(
        changed(|p| p["spec"]["restartPolicy"] = json!("Never")),
        [format!("{sentence}spec.restartPolicy: \"Always\" -> \"Never\"")]
    );
    assert_eq!(changed(|p| p["spec"]["nodeName"] = json!("n2")), [format!("{sentence}spec.nodeName: null -> \"n2\"")]);
    assert_eq!(
        changed(|p| p["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "b", "image": "x"})))
            .last()
            .map(String::as_str),
        Some("spec.containers: Forbidden: pod updates may not add or remove containers")
    );
    assert_eq!(
        changed(|p| p["spec"]["activeDeadlineSeconds"] = json!(101)),
        ["spec.activeDeadlineSeconds: Invalid value: 101: must be less than or equal to previous value"]
    );
    assert_eq!(
        changed(|p| p["spec"]["tolerations"] = json!([])),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
    assert_eq!(
        changed(|p| p["metadata"]["uid"] = json!("x")),
        ["metadata.uid: Invalid value: \"x\": field is immutable"]
    );
}

#[test]
fn a_status_keeps_to_its_pod() {
    let mut old = pod(with(json!({"restartPolicy": "Never"})));
    old["status"] = json!({"qosClass": "BestEffort",
        "containerStatuses": [{"name": "web", "state": {"terminated": {"exitCode": 0}}}]});
    let mut new = old.clone();
    new["status"]["podIPs"] = json!([{"ip": "10.240.1.5"}]);
    assert_eq!(on_status(&kinds::POD, &new, &old), []);
    new["status"]["containerStatuses"][0]["state"] = json!({"running": {}});
    new["status"]["podIPs"][0]["ip"] = json!("x");
    let words: Vec<_> = on_status(&kinds::POD, &new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            "status.podIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        ]
    );
}

#[test]
fn metadata_is_checked() {
    let faults = |metadata: Value| {
        let mut pod = pod(with(json!({})));
        pod["metadata"] = metadata;
        on_create(&kinds::POD, &pod).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        faults(json!({"namespace": "shop"})),
        ["metadata.name: Required value: name or generateName is required"]
    );
    assert_eq!(faults(json!({"name": "a"})), ["metadata.namespace: Required value"]);
    assert_eq!(faults(json!({"name": "a-1", "generateName": "a-", "namespace": "shop"})), [""; 0]);
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u", "controller": true});
    assert_eq!(
        faults(json!({"name": "a", "namespace": "shop", "labels": {"a b": "x"}, "finalizers": ["mine"],
            "ownerReferences": [owner, owner]})),
        [
            "metadata.labels: Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')".to_owned(),
            format!("metadata.ownerReferences: Invalid value: {}: Only one reference can have Controller set to true. Found \"true\" in references for Pod/x and Pod/x", json!([owner, owner])),
            "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard finalizer name nor is it fully qualified".to_owned(),
        ]
    );
    let long = json!({"name": "a", "namespace": "shop", "annotations": {"a": "x".repeat(1 << 18)}});
    assert_eq!(faults(long), ["metadata.annotations: Too long: may not be more than 262144 bytes"]);
}

#[test]
fn odd_shapes_are_judged_without_panic() {
    for odd in [
        json!(null),
        json!([]),
        json!({"spec": 5, "metadata": 7}),
        json!({"spec": {"containers": {"a": 1}, "volumes": [1], "tolerations": "x"}}),
    ] {
        for kind in kinds::KINDS {
            let _ = (on_create(kind, &odd), on_update(kind, &odd, &odd), on_status(kind, &odd, &odd));
        }
    }
}
