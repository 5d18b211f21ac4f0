//! Tables of selectors: what parses, what matches, what is refused and how.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::object::kinds;

fn labels(text: &str) -> BTreeMap<String, String> {
    text.split(',').filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

#[test]
fn selectors_match_as_upstreams_do() {
    let web = labels("app=web,tier=front,n=5");
    let table = [
        ("", true),
        ("app", true),
        ("!app", false),
        ("!x", true),
        ("app=web", true),
        ("app==web", true),
        ("app=api", false),
        ("app!=api", true),
        ("x!=y", true),
        ("x=y", false),
        ("x=", false),
        ("app in (web,api)", true),
        ("app in (api)", false),
        ("app notin (api)", true),
        ("x notin (api)", true),
        ("x in ()", false),
        ("n>4", true),
        ("n>5", false),
        ("n<6", true),
        ("app<6", false),
        ("x<6", false),
        (" app in ( web , api ) , tier , !x ", true),
        ("app=web,tier=back", false),
        ("in=notin,app", false),
        ("app in (in,notin)", false),
    ];
    for (text, expected) in table {
        let selector: Selector = text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert_eq!(selector.matches(&web), expected, "{text}");
    }
    assert!("in=notin".parse::<Selector>().unwrap().matches(&labels("in=notin")));
}

#[test]
fn the_text_form_is_sorted_and_parses_back() {
    let table = [
        ("b=2,a=1", "a=1,b=2"),
        ("x in (c,a,b,a)", "x in (a,b,c)"),
        ("x notin ()", "x notin ()"),
        ("x in (,a)", "x in (,a)"),
        ("!b, a", "a,!b"),
        ("a==1,c!=3,d>4,e<5", "a==1,c!=3,d>4,e<5"),
        ("a=", "a="),
        ("example.com/a=b", "example.com/a=b"),
    ];
    for (text, expected) in table {
        let selector: Selector = text.parse().unwrap();
        assert_eq!(selector.to_string(), expected, "{text}");
        assert_eq!(expected.parse::<Selector>().unwrap(), selector);
    }
}

#[test]
fn bad_grammar_is_refused_in_upstreams_words() {
    let table = [
        (",", "found ',', expected: !, identifier, or 'end of string'"),
        ("a,,b", "found ',', expected: identifier after ','"),
        ("a,", "found '', expected: identifier after ','"),
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier"),
        ("a=b=c", "found '=', expected: ',' or 'end of string'"),
        ("a=(", "unable to parse requirement: found '(', expected: identifier"),
        ("!=b", "found '!=', expected: !, identifier, or 'end of string'"),
        ("!", "unable to parse requirement: found '', expected: identifier"),
        ("a in (b)c", "found 'c', expected: ',' or 'end of string'"),
        (
            "a>x",
            "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
        (
            "-a",
            "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
        (
            "a=-",
            "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ),
    ];
    for (text, words) in table {
        assert_eq!(text.parse::<Selector>().map_err(|e| e.to_string()), Err(words.to_owned()), "{text:?}");
    }
}

#[test]
fn an_objects_selector_is_read() {
    let web = labels("app=web,tier=front");
    let table: [(Value, bool, &str); 6] = [
        (json!(null), false, ""),
        (json!({}), true, ""),
        (json!({"matchLabels": {"app": "web"}}), true, "app=web"),
        (json!({"matchLabels": {"app": "web", "tier": "back"}}), false, "app=web,tier=back"),
        (
            json!({"matchLabels": {"tier": "front"}, "matchExpressions": [
                {"key": "app", "operator": "In", "values": ["web", "api"]},
                {"key": "x", "operator": "DoesNotExist"}]}),
            true,
            "app in (api,web),tier=front,!x",
        ),
        (
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
            false,
            "app notin (web)",
        ),
    ];
    for (object, expected, text) in table {
        let selector = Selector::of_object(&object).unwrap();
        assert_eq!(selector.matches(&web), expected, "{object}");
        assert_eq!(selector.to_string(), text);
        if let Ok(typed) = serde_json::from_value::<v1::LabelSelector>(object) {
            assert_eq!(Selector::of_typed(&typed), Ok(selector));
        }
    }
    for bad in [
        json!({"matchExpressions": [{"key": "a", "operator": "Is"}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
        json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
        json!({"matchLabels": {"-": "x"}}),
    ] {
        assert!(Selector::of_object(&bad).is_err(), "{bad}");
    }
}

#[test]
fn field_selectors_match_what_the_kind_supports() {
    let pod = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": {"nodeName": "n1"},
        "status": {"phase": "Running"}});
    let table = [
        ("", true),
        ("metadata.name=web", true),
        ("metadata.name==web,metadata.namespace=shop", true),
        ("metadata.name!=web", false),
        ("spec.nodeName=", false),
        ("spec.nodeName!=", true),
        ("status.podIP=", true),
        ("status.phase!=Succeeded,status.phase!=Failed", true),
        ("spec.hostNetwork=false", true),
    ];
    for (text, expected) in table {
        assert_eq!(FieldSelector::parse(&kinds::POD, text).unwrap().matches(&pod), expected, "{text}");
    }
    let cordoned = FieldSelector::parse(&kinds::NODE, "spec.unschedulable=false").unwrap();
    assert!(cordoned.matches(&json!({"spec": {}})));
    assert!(!cordoned.matches(&json!({"spec": {"unschedulable": true}})));
    let by_kubelet = FieldSelector::parse(&kinds::EVENT, "source=kubelet,involvedObject.name=web").unwrap();
    assert!(by_kubelet.matches(&json!({"source": {"component": "kubelet"}, "involvedObject": {"name": "web"}})));
    assert!(by_kubelet.matches(&json!({"reportingComponent": "kubelet", "involvedObject": {"name": "web"}})));
    assert_eq!(by_kubelet.required("involvedObject.name"), Some("web"));
    assert_eq!(by_kubelet.required("metadata.name"), None);
}

#[test]
fn bad_field_selectors_are_refused() {
    let refused = |kind, text| FieldSelector::parse(kind, text).unwrap_err().to_string();
    assert_eq!(refused(&kinds::POD, "spec.x=1"), "field label not supported: spec.x");
    assert_eq!(refused(&kinds::NODE, "metadata.namespace=a"), "field label not supported: metadata.namespace");
    assert_eq!(refused(&kinds::POD, "a,b=c"), "invalid selector: 'a,b=c'; can't understand 'a'");
    assert_eq!(refused(&kinds::POD, "metadata.name=a\\x"), "invalid field selector: invalid escape sequence: \\x");
    assert_eq!(refused(&kinds::POD, "metadata.name=a=b"), "invalid field selector: unescaped character in value: =");
    let escaped = FieldSelector::parse(&kinds::POD, "metadata.name=a\\,b\\=c").unwrap();
    assert!(escaped.matches(&json!({"metadata": {"name": "a,b=c"}})));
}
