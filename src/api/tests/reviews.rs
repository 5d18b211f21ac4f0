//! Who am I, and may I?

use serde_json::json;

use super::*;

const AUTHENTICATION: &str = "/apis/authentication.k8s.io/v1";
const AUTHORIZATION: &str = "/apis/authorization.k8s.io/v1";

fn question(kind: &str, spec: &Value) -> Value {
    json!({"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec})
}

#[tokio::test]
async fn one_is_told_who_one_is() {
    let cluster = Cluster::new().await;
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let (code, answer) = cluster.post(&format!("{AUTHENTICATION}/selfsubjectreviews"), &body).await;
    let expected = json!({"username": "admin", "groups": [ADMINS, "system:authenticated"]});
    assert_eq!((code, &answer["status"]["userInfo"], &answer["kind"]), (201, &expected, &body["kind"]), "{answer}");
    assert_eq!(cluster.get(&format!("{AUTHENTICATION}/selfsubjectreviews")).await.0, 405);
}

#[tokio::test]
async fn what_one_may_is_what_requests_would_find() {
    let cluster = Cluster::new().await;
    let ask = async |kind: &str, spec: Value| {
        let path = format!("{AUTHORIZATION}/{}s", kind.to_lowercase());
        let (code, answer) = cluster.post(&path, &question(kind, &spec)).await;
        assert_eq!(code, 201, "{answer}");
        answer["status"]["allowed"].as_bool()
    };
    let pods = json!({"verb": "create", "resource": "pods", "namespace": "default"});
    let path = |path: &str| json!({"path": path, "verb": "get"});
    let own = "SelfSubjectAccessReview";
    assert_eq!(ask(own, json!({"resourceAttributes": pods})).await, Some(true));
    assert_eq!(ask(own, json!({"resourceAttributes": {"verb": "impersonate", "resource": "users"}})).await, Some(true));
    assert_eq!(ask(own, json!({"nonResourceAttributes": path("/skein.dev/recover")})).await, Some(true));

    let of = "SubjectAccessReview";
    cluster.bind_view("jane").await;
    let read = json!({"verb": "list", "resource": "pods", "namespace": "default"});
    assert_eq!(ask(of, json!({"user": "jane", "resourceAttributes": read})).await, Some(true));
    assert_eq!(ask(of, json!({"user": "jane", "resourceAttributes": pods})).await, Some(false));
    assert_eq!(ask(of, json!({"groups": [ADMINS], "resourceAttributes": pods})).await, Some(true));
    assert_eq!(ask(of, json!({"user": "system:anonymous", "resourceAttributes": read})).await, Some(false));
    let jane = json!({"user": "jane", "nonResourceAttributes": path("/skein.dev/recover")});
    assert_eq!(ask(of, jane).await, Some(false));
    let status = cluster
        .post(
            &format!("{AUTHORIZATION}/subjectaccessreviews"),
            &question(
                of,
                &json!({"user": "jane",
        "resourceAttributes": read}),
            ),
        )
        .await
        .1;
    let why = r#"RBAC: allowed by ClusterRoleBinding "jane" of ClusterRole "view" to User "jane""#;
    assert_eq!(status["status"]["reason"], why);
}

#[tokio::test]
async fn one_is_told_what_one_may() {
    let cluster = Cluster::new().await;
    let path = format!("{AUTHORIZATION}/selfsubjectrulesreviews");
    let (code, answer) = cluster.post(&path, &question("SelfSubjectRulesReview", &json!({"namespace": "x"}))).await;
    assert_eq!((code, &answer["status"]["resourceRules"][0]["verbs"]), (201, &json!(["*"])), "{answer}");
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_invalid() {
    let cluster = Cluster::new().await;
    let pods = json!({"verb": "get", "resource": "pods", "namespace": "other"});
    for (path, body) in [
        ("selfsubjectaccessreviews", question("SelfSubjectAccessReview", &json!({}))),
        ("subjectaccessreviews", question("SubjectAccessReview", &json!({"resourceAttributes": pods}))),
        (
            "namespaces/default/localsubjectaccessreviews",
            question("LocalSubjectAccessReview", &json!({"user": "jane", "resourceAttributes": pods})),
        ),
    ] {
        let (code, status) = cluster.post(&format!("{AUTHORIZATION}/{path}"), &body).await;
        assert_eq!((code, &status["reason"]), (422, &json!("Invalid")), "{path}: {status}");
    }
    let wrong = question("SubjectAccessReview", &json!({}));
    assert_eq!(cluster.post(&format!("{AUTHORIZATION}/selfsubjectaccessreviews"), &wrong).await.0, 400);
}

#[tokio::test]
async fn nobody_is_told_nothing() {
    let cluster = Cluster::new().await;
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let request = Request::post(format!("{AUTHENTICATION}/selfsubjectreviews")).body(Body::from(body)).unwrap();
    assert_eq!(cluster.api.answer(request, None).await.status(), 403);
}
