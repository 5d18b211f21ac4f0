//! Tables of Services: what passes, what is refused and how.

#![allow(clippy::needless_pass_by_value, reason = "tables hand over JSON literals")]

use serde_json::{Value, json};

use crate::object::validation::{on_create, on_update};
use crate::object::{defaults, kinds};

fn web(spec: Value) -> Value {
    let mut web = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    defaults::apply(&kinds::SERVICE, &mut web);
    web
}

fn faults(spec: Value) -> Vec<String> {
    on_create(&kinds::SERVICE, &web(spec)).iter().map(ToString::to_string).collect()
}

#[test]
fn sound_services_pass() {
    for spec in [
        json!({"ports": [{"port": 80}]}),
        json!({"ports": [{"port": 53, "name": "a", "protocol": "UDP"}, {"port": 53, "name": "b"}]}),
        json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "targetPort": "http"}]}),
        json!({"clusterIP": "None"}),
        json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}),
        json!({"type": "ExternalName", "externalName": "example.com."}),
        json!({"type": "LoadBalancer", "ports": [{"port": 80}], "sessionAffinity": "ClientIP"}),
    ] {
        assert_eq!(faults(spec.clone()), [""; 0], "{spec}");
    }
}

#[test]
fn faults_are_named_in_upstreams_words() {
    let table = [
        (json!({}), vec!["spec.ports: Required value"]),
        (
            json!({"ports": [{"port": 80}, {"port": 80, "name": "b"}]}),
            vec![
                "spec.ports[0].name: Required value",
                "spec.ports[1]: Duplicate value: core.ServicePort{Name:\"\", Protocol:\"TCP\", AppProtocol:(*string)(nil), Port:80, TargetPort:intstr.IntOrString{Type:0, IntVal:0, StrVal:\"\"}, NodePort:0}",
            ],
        ),
        (
            json!({"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]}),
            vec!["spec.ports[1].name: Duplicate value: \"a\""],
        ),
        (
            json!({"ports": [{"port": 0, "targetPort": 70000}]}),
            vec![
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            json!({"ports": [{"port": 80, "protocol": "ICMP"}]}),
            vec!["spec.ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\""],
        ),
        (
            json!({"ports": [{"port": 80, "nodePort": 30000}]}),
            vec!["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (
            json!({"type": "NodePort", "ports": [{"port": 80, "name": "a", "nodePort": 30000}, {"port": 81, "name": "b", "nodePort": 30000}]}),
            vec!["spec.ports[1].nodePort: Duplicate value: 30000"],
        ),
        (
            json!({"type": "Mesh", "ports": [{"port": 80}]}),
            vec![
                "spec.type: Unsupported value: \"Mesh\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ],
        ),
        (
            json!({"clusterIP": "here", "ports": [{"port": 80}]}),
            vec![
                "spec.clusterIPs[0]: Invalid value: \"here\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            json!({"type": "NodePort", "clusterIP": "None", "ports": [{"port": 80}]}),
            vec!["spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services"],
        ),
        (json!({"type": "ExternalName"}), vec!["spec.externalName: Required value"]),
        (
            json!({"ports": [{"port": 80}], "externalTrafficPolicy": "Local"}),
            vec![
                "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
            ],
        ),
        (
            json!({"ports": [{"port": 80}], "externalIPs": ["127.0.0.1"]}),
            vec![
                "spec.externalIPs[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        ),
    ];
    for (spec, words) in table {
        assert_eq!(faults(spec.clone()), words, "{spec}");
    }
}

#[test]
fn a_service_name_is_a_dns_1035_label() {
    let mut web = web(json!({"ports": [{"port": 80}]}));
    web["metadata"]["name"] = json!("9web");
    assert_eq!(on_create(&kinds::SERVICE, &web)[0].field, "metadata.name");
}

#[test]
fn the_address_may_not_change_once_set() {
    let old = web(json!({"clusterIP": "10.96.0.9", "ports": [{"port": 80}]}));
    let new = web(json!({"clusterIP": "10.96.0.10", "ports": [{"port": 80}]}));
    let words: Vec<_> = on_update(&kinds::SERVICE, &new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(words, ["spec.clusterIPs[0]: Invalid value: []string{\"10.96.0.10\"}: may not change once set"]);
    let headless = web(json!({"clusterIP": "None", "ports": [{"port": 80}]}));
    assert!(!on_update(&kinds::SERVICE, &headless, &old).is_empty());
    let external = web(json!({"type": "ExternalName", "externalName": "example.com"}));
    assert_eq!(on_update(&kinds::SERVICE, &external, &old), []);
    assert_eq!(on_update(&kinds::SERVICE, &old, &old), []);
}
