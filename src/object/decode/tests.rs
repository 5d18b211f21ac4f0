use std::fmt::Write;

use serde_json::json;

use super::*;
use crate::object::kinds;
use crate::object::raw::MAX_DEPTH;

fn json_as(kind: &'static Kind, body: &str, validation: FieldValidation) -> Result<Decoded, BadBody> {
    decode(&Target::of(kind), body.as_bytes(), "application/json", validation)
}

fn strict(kind: &'static Kind, body: &str) -> Result<Value, String> {
    json_as(kind, body, FieldValidation::Strict).map(|d| d.object).map_err(|e| e.to_string())
}

#[test]
fn faults_are_worded_as_upstream_words_them() {
    let deployment = |spec: &str| format!(r#"{{"metadata":{{"name":"web"}},"spec":{spec}}}"#);
    let pod = |spec: &str| deployment(&format!(r#"{{"template":{{"spec":{spec}}}}}"#));
    let table = [
        (
            pod(r#"{"containers":[{"imagee":"x"}]}"#),
            r#"strict decoding error: unknown field "spec.template.spec.containers[0].imagee""#,
        ),
        (deployment(r#"{"replicas":1,"replicas":2}"#), r#"strict decoding error: duplicate field "spec.replicas""#),
        (
            deployment(r#"{"a":1,"replicas":1,"replicas":2,"b":{"c":1,"c":2},"a":3}"#),
            r#"strict decoding error: unknown field "spec.a", duplicate field "spec.replicas", unknown field "spec.b""#,
        ),
        (
            deployment(r#"{"selector":{"matchLabels":{"a":"1","a":"2"}}}"#),
            r#"strict decoding error: duplicate field "spec.selector.matchLabels.a""#,
        ),
        (
            deployment(r#"{"replicas":"3"}"#),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            deployment(r#"{"replicas":1.5}"#),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            deployment(r#"{"replicas":3000000000}"#),
            "json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            deployment("[]"),
            "json: cannot unmarshal array into Go struct field Deployment.spec of type v1.DeploymentSpec",
        ),
        (
            deployment(r#"{"paused":"yes"}"#),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.paused of type bool",
        ),
        (
            pod(r#"{"containers":{"name":"x"}}"#),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            pod(r#"{"containers":["x"]}"#),
            "json: cannot unmarshal string into Go struct field PodSpec.spec.template.spec.containers of type v1.Container",
        ),
        (
            pod(r#"{"containers":[{"env":[{"name":"A","value":1}]}]}"#),
            "json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            r#"{"metadata":{"labels":{"a":true}}}"#.to_owned(),
            "json: cannot unmarshal bool into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r#"{"metadata":{"labels":"a"}}"#.to_owned(),
            "json: cannot unmarshal string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
        ),
        (
            pod(r#"{"containers":[{"resources":{"limits":"1"}}]}"#),
            "json: cannot unmarshal string into Go struct field ResourceRequirements.spec.template.spec.containers.resources.limits of type v1.ResourceList",
        ),
        (
            pod(r#"{"containers":[{"resources":{"limits":{"cpu":"fast"}}}]}"#),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (pod(r#"{"containers":[{"resources":{"limits":{"cpu":{}}}}]}"#), "unable to parse numeric part of quantity"),
        (
            deployment(r#"{"strategy":{"rollingUpdate":{"maxSurge":true}}}"#),
            "json: cannot unmarshal bool into Go value of type int32",
        ),
        (
            r#"{"metadata":{"creationTimestamp":"yesterday"}}"#.to_owned(),
            r#"parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006""#,
        ),
        (
            r#"{"metadata":{"creationTimestamp":12}}"#.to_owned(),
            "json: cannot unmarshal number into Go value of type string",
        ),
    ];
    for (body, why) in table {
        let expected = format!(r#"Deployment in version "v1" cannot be handled as a Deployment: {why}"#);
        assert_eq!(strict(&kinds::DEPLOYMENT, &body), Err(expected), "{body}");
    }
}

#[test]
fn a_secrets_data_is_base64() {
    let secret = |data: &str| strict(&kinds::SECRET, &format!(r#"{{"data":{{"k":"{data}"}}}}"#));
    assert_eq!(secret("aGk=").unwrap()["data"]["k"], "aGk=");
    assert_eq!(secret("aG\\nk=\\r\\n").unwrap()["data"]["k"], "aGk=", "line breaks are skipped");
    for (data, at) in [("a*==", 1), ("hello", 4), ("aGk", 0)] {
        let why = secret(data).unwrap_err();
        assert_eq!(
            why,
            format!(r#"Secret in version "v1" cannot be handled as a Secret: illegal base64 data at input byte {at}"#),
            "{data}"
        );
    }
}

#[test]
fn warn_tells_and_ignore_is_silent_and_both_drop() {
    let body = r#"{"metadata":{"name":"a"},"dta":{},"data":{"a":"1","a":"2"}}"#;
    let warned = json_as(&kinds::CONFIG_MAP, body, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings, [r#"unknown field "dta""#, r#"duplicate field "data.a""#]);
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "2"}});
    assert_eq!(warned.object, object);
    let ignored = json_as(&kinds::CONFIG_MAP, body, FieldValidation::Ignore).unwrap();
    assert_eq!(ignored, Decoded { object, warnings: vec![] });
}

#[test]
fn a_body_of_another_kind_is_refused() {
    let table = [
        (
            r#"{"apiVersion":"apps/v1beta1","kind":"Deployment"}"#,
            "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)",
        ),
        (
            r#"{"apiVersion":"v1","kind":"Service"}"#,
            r#"Service in version "v1" cannot be handled as a Deployment: converting (v1.Service) to (apps.Deployment): unknown conversion"#,
        ),
        (
            r#"{"apiVersion":"v1","kind":"Potato"}"#,
            r#"Potato in version "v1" cannot be handled as a Deployment: no kind "Potato" is registered for version "v1" in scheme"#,
        ),
    ];
    for (body, why) in table {
        assert_eq!(strict(&kinds::DEPLOYMENT, body), Err(why.to_owned()));
    }
    let filled = strict(&kinds::DEPLOYMENT, "{}").unwrap();
    assert_eq!(filled, json!({"apiVersion": "apps/v1", "kind": "Deployment"}));
}

#[test]
fn what_is_no_object_is_shown_in_part() {
    let start =
        "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: ";
    let table = [
        ("", "EOF while parsing a value at line 1 column 0 (<empty>)"),
        ("nope", "expected ident at line 1 column 2 (6e6f7065)"),
        (r#"{"a":"#, r#"EOF while parsing a value at line 1 column 5 ({"a":)"#),
        ("[]", "json: cannot unmarshal array into Go value of type struct (5b5d)"),
        (r#"{} {}"#, r#"trailing characters at line 1 column 4 ({} {})"#),
        (
            r#"{"metadata":{"name":"a-name-that-is-long"}, }"#,
            r#"trailing comma at line 1 column 45 ({"metadata":{"name":"a-name-th ...)"#,
        ),
    ];
    for (body, why) in table {
        assert_eq!(strict(&kinds::POD, body), Err(format!("{start}{why}")), "{body}");
    }
}

#[test]
fn nulls_and_empty_optional_lists_and_maps_are_as_good_as_absent() {
    let body = r#"{"metadata":{"name":"p","creationTimestamp":null,"labels":{},"annotations":{"a":null},
        "managedFields":[]},"spec":{"volumes":[],"containers":[{"name":"c","command":[],"securityContext":{},
        "args":[null]}],"nodeSelector":null,"hostNetwork":null},"status":null}"#;
    let expected = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "annotations": {"a": ""}, "managedFields": []},
        "spec": {"containers": [{"name": "c", "securityContext": {}, "args": [""]}]}});
    assert_eq!(strict(&kinds::POD, body), Ok(expected));
    let required = strict(&kinds::POD, r#"{"spec":{"containers":[]}}"#).unwrap();
    assert_eq!(required["spec"], json!({"containers": []}));
}

#[test]
fn times_and_quantities_take_their_canonical_form() {
    let times = [
        ("2025-01-02T03:04:05Z", "2025-01-02T03:04:05Z"),
        ("2025-01-02T03:04:05+00:00", "2025-01-02T03:04:05Z"),
        ("2025-01-02T03:04:05.999999Z", "2025-01-02T03:04:05Z"),
        ("2025-01-02T03:04:05+02:00", "2025-01-02T01:04:05Z"),
    ];
    for (given, expected) in times {
        let object = strict(&kinds::POD, &format!(r#"{{"metadata":{{"creationTimestamp":"{given}"}}}}"#)).unwrap();
        assert_eq!(object["metadata"]["creationTimestamp"], expected, "{given}");
    }
    for bad in [
        "2025-01-02",
        "2025-01-02 03:04:05Z",
        "2025-01-02T03:04:05",
        "2025-13-02T03:04:05Z",
        "",
        "2025-01-02T03:04:05.Z",
    ] {
        let object = strict(&kinds::POD, &format!(r#"{{"metadata":{{"creationTimestamp":"{bad}"}}}}"#));
        assert!(object.is_err(), "{bad}");
    }
    let lease = strict(&kinds::LEASE, r#"{"spec":{"renewTime":"2025-01-02T03:04:05.1Z"}}"#).unwrap();
    assert_eq!(lease["spec"]["renewTime"], "2025-01-02T03:04:05.100000Z");
    let limits = r#"{"status":{"capacity":{"cpu":0.5,"memory":"1024Mi","pods":110,"a":" 1000m "}}}"#;
    let node = strict(&kinds::NODE, limits).unwrap();
    assert_eq!(node["status"]["capacity"], json!({"cpu": "500m", "memory": "1Gi", "pods": "110", "a": "1"}));
}

#[test]
fn yaml_is_read_as_json_is() {
    let yaml = |body: &str| {
        decode(
            &Target::of(&kinds::CONFIG_MAP),
            body.as_bytes(),
            "application/yaml; charset=utf-8",
            FieldValidation::Strict,
        )
    };
    let object = yaml("kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: a\ndata: &d\n  1: one\n  b: |\n    two\n")
        .unwrap()
        .object;
    assert_eq!(object["data"], json!({"1": "one", "b": "two\n"}));
    let twice = yaml("data:\n  a: x\n  a: y\n").unwrap_err().to_string();
    assert!(twice.ends_with(r#"strict decoding error: duplicate field "data.a""#), "{twice}");
    for bad in ["a: [", "- a", "a: .nan", "data: !x {a: b}", "a: b\n---\nc: d\n"] {
        assert!(yaml(bad).is_err(), "{bad}");
    }
    let media = decode(&Target::of(&kinds::POD), b"{}", "text/plain", FieldValidation::Strict);
    assert!(matches!(media, Err(BadBody::MediaType(_))));
}

#[test]
fn deep_nesting_is_an_error_and_no_crash() {
    for depth in [MAX_DEPTH + 1, 128, 10_000, 1_000_000] {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let body = format!(r#"{{"metadata":{}1{}}}"#, open.repeat(depth), close.repeat(depth));
            let why = strict(&kinds::POD, &body).unwrap_err();
            assert!(why.contains("exceeded max depth"), "{depth} {why}");
        }
    }
    let yaml = format!("a: {}", "[".repeat(20_000));
    assert!(decode(&Target::of(&kinds::POD), yaml.as_bytes(), "application/yaml", FieldValidation::Strict).is_err());
    let allowed = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert!(Raw::json(allowed.as_bytes()).is_ok());
}

#[test]
fn yaml_aliases_cannot_make_much_of_little() {
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..12 {
        let alias = format!("*a{},", i - 1).repeat(10);
        writeln!(bomb, "a{i}: &a{i} [{alias}]").unwrap();
    }
    let why =
        decode(&Target::of(&kinds::POD), bomb.as_bytes(), "application/yaml", FieldValidation::Ignore).unwrap_err();
    assert!(why.to_string().contains("exce"), "{why}");
    let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a,".repeat(1_000));
    let why =
        decode(&Target::of(&kinds::POD), long.as_bytes(), "application/yaml", FieldValidation::Ignore).unwrap_err();
    assert!(why.to_string().contains("excessive aliasing"), "{why}");
}

#[test]
fn many_faults_and_many_members_cost_little() {
    let members: Vec<_> = (0..50_000).map(|i| format!(r#""k{i}":1"#)).collect();
    let body = format!(r#"{{{},"spec":{{}}}}"#, members.join(","));
    let warned = json_as(&kinds::POD, &body, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings.len(), 100);
    let data = format!(r#"{{"data":{{{}}}}}"#, members.join(",").replace(":1", ":\"\""));
    assert_eq!(
        json_as(&kinds::CONFIG_MAP, &data, FieldValidation::Strict).unwrap().object["data"].as_object().unwrap().len(),
        50_000
    );
}

proptest::proptest! {
    /// Whatever comes, the answer is an object or an error.
    #[test]
    fn nothing_that_is_sent_panics(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64),
        text in r#"(\{|\}|\[|\]|,|:|"(metadata|spec|name|data|x)"|null|1|-1\.5e9|"aGk="|\n| |- |&a|\*a|!t|\|){0,40}"#,
    ) {
        for kind in kinds::KINDS {
            for body in [&bytes[..], text.as_bytes()] {
                for media in ["application/json", "application/yaml"] {
                    let _ = decode(&Target::of(kind), body, media, FieldValidation::Warn);
                }
            }
        }
    }
}

/// What every typed reader relies on: whatever is decoded fits the generated types.
#[test]
fn what_is_decoded_fits_the_typed_form() {
    let body = r#"{"metadata":{"name":"web","labels":{"a":null}},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},
        "strategy":{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":1}},"template":{"metadata":{"creationTimestamp":null},
        "spec":{"containers":[{"name":"c","image":"i","resources":{"limits":{"cpu":1.5,"memory":null}},
        "readinessProbe":{"httpGet":{"port":80}}}]}}}}"#;
    let object = strict(&kinds::DEPLOYMENT, body).unwrap();
    let typed: k8s_openapi::api::apps::v1::Deployment = serde_json::from_value(object.clone()).unwrap();
    let again = serde_json::to_value(typed).unwrap();
    let target = Target::of(&kinds::DEPLOYMENT);
    assert_eq!(typed_of(&target, again), object);
    assert_eq!(typed_of(&target, object.clone()), object, "decoding what was decoded changes nothing");
}

fn typed_of(target: &Target, value: Value) -> Value {
    let (object, faults) = typed(target, Raw::from(value)).unwrap();
    assert!(faults.is_empty(), "{faults:?}");
    object
}
