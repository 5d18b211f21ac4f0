//! Every kind that can be written, through its whole life; and those that cannot.

use axum::http::Method;
use serde_json::{Value, json};
use skein::object::Kind;
use skein::object::kinds::SERVED;

use crate::cluster::{Cluster, deployment, pod_spec, version};
use crate::watching::{Watch, assert_is_a_life};

/// A PKCS #10 request for `CN=ada`, in PEM and base64.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlISU1IQUNBUUF3RGpFTU1Bb0dBMVVFQXd3RFlXUmhNRmt3RXdZSEtvWkl6aj\
    BDQVFZSUtvWkl6ajBEQVFjRApRZ0FFWXN4S3pxb1FwaCs1N1lZRERHdDJsQ3VCa1AxL2JEUVE1dmgrYk82RFZvWFJDSVo4anBLMW5VRlFmc1BF\
    Cjczb1BYT0dBQU15SkhJWFp5K21uSituelRhQUFNQW9HQ0NxR1NNNDlCQU1DQTBnQU1FVUNJUUNFV0UrK1crQWoKYjBCL0ZBLzhHdXFQd3h4WT\
    NhdEN2SjNTVFZpVDdidkcrUUlnZEprTEJ2UDlCZUdpZmFoVGJuNHlpTXRkbStXMApMdjdCSm53ODJLMmlTek09Ci0tLS0tRU5EIENFUlRJRklD\
    QVRFIFJFUVVFU1QtLS0tLQo=";

/// An object of a kind, and the field that the tests change.
struct Sample {
    manifest: Value,
    /// A JSON pointer.
    field: &'static str,
    values: [Value; 5],
}

/// What the sample is called.
fn name(kind: &Kind) -> &'static str {
    match kind.kind {
        "IPAddress" => "192.0.2.9",
        "CustomResourceDefinition" => "samples.test.dev",
        _ => "sample",
    }
}

fn sample(kind: &Kind) -> Sample {
    let text = || ["v0", "v1", "v2", "v3", "v4"].map(Value::from);
    let numbers = || [0, 1, 2, 3, 4].map(Value::from);
    let label = "/metadata/labels/step";
    let (field, values, body) = match kind.kind {
        "ConfigMap" => ("/data/k", text(), json!({"data": {"l": "kept"}})),
        "Event" if kind.is_view() => {
            let about = json!({"kind": "Pod", "namespace": "default", "name": "p", "apiVersion": "v1"});
            let body = json!({"regarding": about, "reason": "Tested", "type": "Normal", "action": "Testing",
                "eventTime": "2025-01-01T00:00:00.000000Z", "reportingController": "test.dev/it", "reportingInstance": "i"});
            ("/note", text(), body)
        }
        "Event" => {
            let about = json!({"kind": "Pod", "namespace": "default", "name": "p", "apiVersion": "v1"});
            ("/message", text(), json!({"involvedObject": about, "reason": "Tested", "type": "Normal"}))
        }
        "Namespace" => (label, text(), json!({})),
        "Node" => (label, text(), json!({"spec": {"unschedulable": true}})),
        // It fits nowhere, so that nothing happens to it.
        "Pod" => (label, text(), json!({"spec": merged(pod_spec(), &json!({"nodeSelector": {"disk": "none"}}))})),
        "Secret" => ("/data/k", ["djA=", "djE=", "djI=", "djM=", "djQ="].map(Value::from), json!({"type": "Opaque"})),
        "ServiceAccount" => (label, text(), json!({"automountServiceAccountToken": false})),
        "Service" => ("/spec/selector/app", text(), json!({"spec": {"ports": [{"port": 80}]}})),
        "Deployment" => ("/spec/minReadySeconds", numbers(), json!({"spec": deployment("sample", 0)["spec"]})),
        "ReplicaSet" => ("/spec/minReadySeconds", numbers(), json!({"spec": deployment("sample", 0)["spec"]})),
        "Lease" => ("/spec/holderIdentity", text(), json!({"spec": {"leaseDurationSeconds": 15}})),
        "EndpointSlice" => {
            let endpoints = json!([{"addresses": ["192.0.2.7"]}]);
            (label, text(), json!({"addressType": "IPv4", "endpoints": endpoints, "ports": []}))
        }
        other => match of_level_5(other) {
            Some((field, body)) if field == label => (field, text(), body),
            Some((field, body)) => (field, [1, 2, 3, 4, 5].map(Value::from), body),
            None => panic!("a sample of kind {other} is missing here"),
        },
    };
    let name = name(kind);
    let identity = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name}});
    let manifest = merged(merged(identity, &body), &nested(field, &values[0]));
    Sample { manifest, field, values }
}

/// The field to change, a number if it is no label, and the body of the kinds that feature level 5 brought.
fn of_level_5(kind: &str) -> Option<(&'static str, Value)> {
    let label = "/metadata/labels/step";
    let labels = json!({"app": "none"});
    let template = deployment("sample", 0)["spec"]["template"].clone();
    let selector = deployment("sample", 0)["spec"]["selector"].clone();
    let job = json!({"suspend": true, "template": {"spec": merged(pod_spec(), &json!({"restartPolicy": "Never"}))}});
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    let webhook = json!({"name": "a.test.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": "https://test.dev/hook"}});
    let role = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
    let bind = |kind: &str| {
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": "r"},
        "subjects": [{"kind": "User", "name": "ada", "apiGroup": "rbac.authorization.k8s.io"}]})
    };
    let signer = json!({"request": REQUEST, "signerName": "test.dev/signer", "usages": ["client auth"]});
    Some(match kind {
        "Endpoints" => (label, json!({"subsets": [{"addresses": [{"ip": "192.0.2.7"}], "ports": [{"port": 80}]}]})),
        "LimitRange" => (label, json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}})),
        "PersistentVolumeClaim" => (label, json!({"spec": claim})),
        "PersistentVolume" => {
            let spec =
                json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}});
            (label, json!({"spec": spec}))
        }
        "PodTemplate" => (label, json!({"template": template})),
        "ReplicationController" => ("/spec/minReadySeconds", json!({"spec": {"replicas": 0, "template": template}})),
        "ResourceQuota" => (label, json!({"spec": {"hard": {"pods": "3"}}})),
        "ControllerRevision" => ("/revision", json!({"data": {"spec": {}}})),
        "DaemonSet" => ("/spec/minReadySeconds", json!({"spec": {"selector": selector, "template": template}})),
        "StatefulSet" => {
            ("/spec/minReadySeconds", json!({"spec": {"serviceName": "s", "selector": selector, "template": template}}))
        }
        "HorizontalPodAutoscaler" => (
            "/spec/maxReplicas",
            json!({"spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}}}),
        ),
        "CronJob" => {
            ("/spec/startingDeadlineSeconds", json!({"spec": {"schedule": "5 4 * * *", "jobTemplate": {"spec": job}}}))
        }
        "Job" => ("/spec/parallelism", json!({"spec": job})),
        "CertificateSigningRequest" => (label, json!({"spec": signer})),
        "IngressClass" => (label, json!({"spec": {"controller": "test.dev/it"}})),
        "Ingress" => (label, json!({"spec": {"defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}})),
        "IPAddress" => {
            (label, json!({"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}}))
        }
        "NetworkPolicy" => (label, json!({"spec": {"podSelector": {"matchLabels": labels}}})),
        "ServiceCIDR" => (label, json!({"spec": {"cidrs": ["198.51.100.0/24"]}})),
        "PodDisruptionBudget" => ("/spec/minAvailable", json!({"spec": {"selector": {"matchLabels": labels}}})),
        "ClusterRoleBinding" => (label, bind("ClusterRole")),
        "RoleBinding" => (label, bind("Role")),
        "ClusterRole" | "Role" => (label, role),
        "CSIDriver" => (label, json!({"spec": {}})),
        "CSINode" => (label, json!({"spec": {"drivers": []}})),
        "CSIStorageCapacity" => (label, json!({"storageClassName": "fast"})),
        "StorageClass" => (label, json!({"provisioner": "test.dev/it"})),
        "VolumeAttachment" => (
            label,
            json!({"spec": {"attacher": "test.dev", "nodeName": "n1", "source": {"persistentVolumeName": "v"}}}),
        ),
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" => (label, json!({"webhooks": [webhook]})),
        "ValidatingAdmissionPolicy" => {
            let rule =
                json!({"apiGroups": ["test.dev"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["x"]});
            let spec = json!({"matchConstraints": {"resourceRules": [rule]}, "validations": [{"expression": "true"}]});
            (label, json!({"spec": spec}))
        }
        "ValidatingAdmissionPolicyBinding" => {
            (label, json!({"spec": {"policyName": "p.test.dev", "validationActions": ["Deny"]}}))
        }
        "CustomResourceDefinition" => {
            let versions = json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]);
            let names = json!({"plural": "samples", "kind": "Sample"});
            (label, json!({"spec": {"group": "test.dev", "scope": "Cluster", "names": names, "versions": versions}}))
        }
        "PriorityClass" => (label, json!({"value": 7})),
        "RuntimeClass" => (label, json!({"handler": "runc"})),
        _ => return None,
    })
}

/// Lays one document over another.
fn merged(mut below: Value, above: &Value) -> Value {
    json_patch::merge(&mut below, above);
    below
}

/// Makes the document that has nothing but `value` at a pointer.
fn nested(pointer: &str, value: &Value) -> Value {
    pointer.rsplit('/').filter(|name| !name.is_empty()).fold(value.clone(), |inner, name| json!({name: inner}))
}

fn collection(kind: &Kind, namespace: &str) -> String {
    let group = if kind.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}", kind.api_version()) };
    let place = if kind.namespaced { format!("/namespaces/{namespace}") } else { String::new() };
    format!("{group}{place}/{}", kind.plural)
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().into_iter().flatten().filter_map(|o| o["metadata"]["name"].as_str()).collect()
}

/// Reads an object once the cluster has said all there is to say about it.
async fn settled(cluster: &Cluster, path: &str) -> Value {
    let mut calm = 0;
    let mut last = cluster.get(path).await.1;
    while calm < 10 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let now = cluster.get(path).await.1;
        calm = if now == last { calm + 1 } else { 0 };
        last = now;
    }
    last
}

/// Takes an object of one kind from its creation to its end.
async fn lives(cluster: &Cluster, kind: &'static Kind) {
    let Sample { manifest, field, values } = sample(kind);
    let all = collection(kind, "default");
    let name = name(kind);
    let one = format!("{all}/{name}");
    let mut watch = Watch::of(cluster, &all).await;

    assert_eq!(cluster.get(&one).await.0, 404, "{kind}");
    let made = cluster.create(&all, &manifest).await;
    let (code, status) = cluster.post(&all, &manifest).await;
    assert_eq!((code, &status["reason"]), (409, &json!("AlreadyExists")), "{kind}");
    let read = settled(cluster, &one).await;
    assert_eq!((&read["metadata"]["uid"], read.pointer(field)), (&made["metadata"]["uid"], Some(&values[0])), "{kind}");
    assert_eq!(names(&cluster.get(&all).await.1).iter().filter(|n| **n == name).count(), 1, "{kind}");

    let op = json!([{"op": "replace", "path": field, "value": values[1]}]);
    let patches = [("json", op), ("merge", nested(field, &values[2])), ("strategic-merge", nested(field, &values[3]))];
    let mut newest = version(&read);
    for ((form, patch), value) in patches.iter().zip(&values[1..]) {
        let (code, patched) = cluster.patch(form, &one, patch).await;
        assert_eq!((code, patched.pointer(field)), (200, Some(value)), "{kind} {form}: {patched}");
        assert!(version(&patched) > newest, "{kind} {form}");
        newest = version(&settled(cluster, &one).await);
    }
    let (code, again) = cluster.patch("strategic-merge", &one, &patches[2].1).await;
    assert_eq!((code, version(&again)), (200, newest), "{kind}: the same once more changes nothing");

    let (code, status) = cluster.put(&one, &made).await;
    assert_eq!((code, &status["reason"]), (409, &json!("Conflict")), "{kind}: {status}");
    let whole = merged(cluster.get(&one).await.1, &nested(field, &values[4]));
    let (code, replaced) = cluster.put(&one, &whole).await;
    assert_eq!((code, replaced.pointer(field)), (200, Some(&values[4])), "{kind}: {replaced}");

    assert_eq!(cluster.delete(&one).await.0, 200, "{kind}");
    cluster.until_gone(&one).await;
    assert!(!names(&cluster.get(&all).await.1).contains(&name), "{kind}");
    assert_eq!(cluster.delete(&one).await.0, 404, "{kind}");

    let events = watch.life_of(name).await;
    assert_is_a_life(&events);
    let mut seen: Vec<&Value> = events.iter().filter_map(|event| event["object"].pointer(field)).collect();
    seen.dedup();
    assert_eq!(seen, values.iter().collect::<Vec<_>>(), "{kind}: the watch shows every value once, in order");
}

#[tokio::test]
async fn every_kind_lives_and_dies() {
    let cluster = Cluster::new().await;
    for kind in SERVED {
        lives(&cluster, kind).await;
    }
}

#[tokio::test]
async fn a_dry_run_of_every_kind_leaves_no_trace() {
    let cluster = Cluster::new().await;
    for kind in SERVED {
        let Sample { manifest, field, values } = sample(kind);
        let all = collection(kind, "default");
        let (one, dry) = (format!("{all}/{}", name(kind)), "dryRun=All");
        let (code, made) = cluster.post(&format!("{all}?{dry}"), &manifest).await;
        assert_eq!((code, made.pointer(field)), (201, Some(&values[0])), "{kind}: {made}");
        assert_eq!(cluster.get(&one).await.0, 404, "{kind}");

        cluster.create(&all, &manifest).await;
        let before = settled(&cluster, &one).await;
        let (code, patched) = cluster.patch("merge", &format!("{one}?{dry}"), &nested(field, &values[1])).await;
        assert_eq!((code, patched.pointer(field)), (200, Some(&values[1])), "{kind}: {patched}");
        let whole = merged(before.clone(), &nested(field, &values[1]));
        assert_eq!(cluster.put(&format!("{one}?{dry}"), &whole).await.0, 200, "{kind}");
        assert_eq!(cluster.delete(&format!("{one}?{dry}")).await.0, 200, "{kind}");
        assert_eq!(settled(&cluster, &one).await, before, "{kind}");
        assert_eq!(cluster.delete(&one).await.0, 200, "{kind}");
        cluster.until_gone(&one).await;
    }
}

#[tokio::test]
async fn what_every_node_computes_cannot_be_written() {
    let cluster = Cluster::new().await;
    for path in [
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes",
    ] {
        let before = cluster.until(path, |o| o["metadata"]["uid"].is_string()).await;
        let label = json!({"metadata": {"labels": {"mine": "yes"}}});
        let mut whole = merged(before.clone(), &label);
        let mut refused = vec![cluster.patch("merge", path, &label).await, cluster.delete(path).await];
        // A lease is renewed all the time: only the newest may be replaced.
        whole["metadata"]["resourceVersion"] = cluster.get(path).await.1["metadata"]["resourceVersion"].take();
        refused.push(cluster.put(path, &whole).await);
        for (code, status) in refused {
            assert_eq!((code, &status["reason"]), (405, &json!("MethodNotAllowed")), "{path}: {status}");
        }
        assert_eq!(cluster.get(path).await.1["metadata"]["labels"], before["metadata"]["labels"]);
    }
    let manifest = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "n9"}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    assert_eq!(cluster.send(Method::POST, leases, "application/json", &manifest).await.0, 405);
    assert_eq!(cluster.get(&format!("{leases}/n9")).await.0, 404);
}
