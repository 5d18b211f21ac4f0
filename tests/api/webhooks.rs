//! Admission webhooks, which real servers of the test's own answer over TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cluster::{Cluster, deployment};

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// What a webhook answers: the `response` without its uid.
type Answer = fn(&Value) -> Value;

/// A server of webhooks.
struct Server {
    address: SocketAddr,
    /// Its certificate, as a configuration has it.
    authority: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Server {
    async fn start(answer: Answer) -> Self {
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(pair.key_pair.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![pair.cert.der().clone()], key)
            .expect("they belong together");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, heard) = (acceptor.clone(), Arc::clone(&heard));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| respond(request, answer, &heard));
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        Self { address, authority: STANDARD.encode(pair.cert.pem()), asked }
    }

    /// A webhook of this server for writes of ConfigMaps.
    fn hook(&self, name: &str) -> Value {
        let rule = json!({"operations": ["CREATE", "UPDATE", "DELETE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]});
        let selector = json!({"matchLabels": {"kubernetes.io/metadata.name": "default"}});
        json!({"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "rules": [rule], "namespaceSelector": selector,
            "clientConfig": {"url": format!("https://{}/x", self.address), "caBundle": self.authority}})
    }

    fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock().expect("nobody panics with it"))
    }
}

async fn respond(
    request: Request<Incoming>,
    answer: Answer,
    heard: &Mutex<Vec<Value>>,
) -> Result<Response<Full<bytes::Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    heard.lock().expect("nobody panics with it").push(review["request"].clone());
    let mut response = answer(&review["request"]);
    if response["sleep"] == true {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    if response["uid"].is_null() {
        response["uid"] = review["request"]["uid"].clone();
    }
    let review = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    Ok(Response::new(Full::from(review.to_string())))
}

/// Allows, and sets `data.NAME`.
fn patch(path: &str, value: &Value) -> Value {
    let patch = json!([{"op": "add", "path": path, "value": value}]).to_string();
    json!({"allowed": true, "patchType": "JSONPatch", "patch": STANDARD.encode(patch)})
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

fn configuration(name: &str, hooks: &[Value]) -> Value {
    json!({"metadata": {"name": name}, "webhooks": hooks})
}

async fn started() -> Cluster {
    let cluster = Cluster::new().await;
    let probe = configuration("probe", &[]);
    let started = async {
        while cluster.post(&format!("{MUTATING}?dryRun=All"), &probe).await.0 != 201 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), started).await.expect("the cluster's level rises");
    cluster
}

#[tokio::test]
async fn a_webhook_that_judges_refuses_in_upstreams_words() {
    let server = Server::start(|request| match request["object"]["data"]["k"].as_str() {
        Some("bad") => {
            json!({"allowed": false, "status": {"message": "no bad values", "code": 403, "reason": "Forbidden"}})
        }
        Some("mute") => json!({"allowed": false}),
        _ => json!({"allowed": true, "warnings": ["mind the gap"]}),
    })
    .await;
    let cluster = started().await;
    cluster.create(VALIDATING, &configuration("judges", &[server.hook("judge.test.dev")])).await;
    let request =
        Request::post(MAPS).header("content-type", "application/json").body(Body::from(map("good").to_string()));
    let response = cluster.answer(request.expect("a request")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["warning"], r#"299 - "mind the gap""#);
    let asked = server.asked();
    let heard = &asked[0];
    assert_eq!(
        (&heard["operation"], &heard["kind"]["kind"], &heard["resource"]["resource"]),
        (&json!("CREATE"), &json!("ConfigMap"), &json!("configmaps"))
    );
    assert_eq!(
        (&heard["name"], &heard["namespace"], &heard["userInfo"]["username"]),
        (&json!("good"), &json!("default"), &json!("admin"))
    );
    assert_eq!(
        (&heard["object"]["data"], &heard["oldObject"], &heard["dryRun"]),
        (&json!({"k": "v"}), &Value::Null, &json!(false))
    );

    let mut bad = map("bad");
    bad["data"]["k"] = json!("bad");
    let (code, status) = cluster.post(MAPS, &bad).await;
    assert_eq!((code, &status["reason"]), (403, &json!("Forbidden")));
    assert_eq!(status["message"], "admission webhook \"judge.test.dev\" denied the request: no bad values");
    assert_eq!(cluster.get(&format!("{MAPS}/bad")).await.0, 404);
    let (code, status) = cluster.patch("merge", &format!("{MAPS}/good"), &json!({"data": {"k": "mute"}})).await;
    assert_eq!(
        (code, status["message"].as_str()),
        (400, Some("admission webhook \"judge.test.dev\" denied the request without explanation"))
    );
    assert_eq!(server.asked().last().expect("it was asked")["oldObject"]["data"], json!({"k": "v"}));

    assert_eq!(cluster.delete(&format!("{MAPS}/good")).await.0, 200);
    let heard = server.asked().pop().expect("it was asked");
    assert_eq!(
        (&heard["operation"], &heard["object"], &heard["oldObject"]["metadata"]["name"]),
        (&json!("DELETE"), &Value::Null, &json!("good"))
    );
    let mut elsewhere = map("bad");
    elsewhere["data"]["k"] = json!("bad");
    assert_eq!(cluster.post("/api/v1/namespaces/kube-system/configmaps", &elsewhere).await.0, 201, "another namespace");
}

#[tokio::test]
async fn webhooks_change_objects_one_after_another_and_again_if_they_want() {
    let first = Server::start(|request| {
        let seen = request["object"]["data"]["b"].is_string();
        if seen { patch("/data/again", &json!("yes")) } else { patch("/data/a", &json!("1")) }
    })
    .await;
    let second = Server::start(|_| patch("/data/b", &json!("2"))).await;
    let judge = Server::start(|request| json!({"allowed": request["object"]["data"]["b"] == "2"})).await;
    let cluster = started().await;
    let mut again = first.hook("a.test.dev");
    again["reinvocationPolicy"] = json!("IfNeeded");
    cluster.create(MUTATING, &configuration("b-later", &[second.hook("b.test.dev")])).await;
    cluster.create(MUTATING, &configuration("a-first", &[again])).await;
    cluster.create(VALIDATING, &configuration("judge", &[judge.hook("judge.test.dev")])).await;
    let made = cluster.create(MAPS, &map("x")).await;
    assert_eq!(made["data"], json!({"k": "v", "a": "1", "b": "2", "again": "yes"}));
    assert_eq!((first.asked().len(), second.asked().len(), judge.asked().len()), (2, 1, 1));
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "y"}, "data": {"k": "v"}});
    let path = format!("{MAPS}/y?fieldManager=me");
    let (code, applied) = cluster.send(axum::http::Method::PATCH, &path, "application/apply-patch+yaml", &apply).await;
    assert_eq!((code, &applied["data"]["b"]), (201, &json!("2")), "{applied}");
}

#[tokio::test]
async fn what_a_webhook_makes_is_judged_and_what_it_mends_is_taken() {
    let server = Server::start(|_| patch("/spec/replicas", &json!(2))).await;
    let cluster = started().await;
    let mut hook = server.hook("mends.test.dev");
    hook["rules"] =
        json!([{"operations": ["CREATE"], "apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}]);
    cluster.create(MUTATING, &configuration("mends", &[hook])).await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let mut wrong = deployment("web", 0);
    wrong["spec"]["replicas"] = json!(-1);
    assert_eq!(cluster.create(deployments, &wrong).await["spec"]["replicas"], 2, "it was wrong before it was mended");
    let broken = Server::start(|_| patch("/spec/replicas", &json!(-5))).await;
    let mut hook = broken.hook("breaks.test.dev");
    hook["rules"] =
        json!([{"operations": ["CREATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["deployments"]}]);
    cluster.create(MUTATING, &configuration("z-breaks", &[hook])).await;
    let (code, status) = cluster.post(deployments, &deployment("other", 0)).await;
    assert_eq!((code, &status["details"]["causes"][0]["field"]), (422, &json!("spec.replicas")), "{status}");
}

#[tokio::test]
async fn a_webhook_that_fails_is_an_error_or_is_passed_over() {
    let slow = Server::start(|_| json!({"allowed": true, "sleep": true})).await;
    let liar = Server::start(|_| json!({"allowed": true, "uid": "another"})).await;
    let cluster = started().await;
    let judged = async |hook: Value| {
        cluster.create(VALIDATING, &configuration("one", &[hook])).await;
        let answer = cluster.post(MAPS, &map("x")).await;
        cluster.delete(&format!("{VALIDATING}/one")).await;
        cluster.until_gone(&format!("{VALIDATING}/one")).await;
        cluster.delete(&format!("{MAPS}/x")).await;
        (answer.0, answer.1["message"].as_str().unwrap_or_default().to_owned())
    };
    let mut hook = slow.hook("slow.test.dev");
    hook["timeoutSeconds"] = json!(1);
    let (code, message) = judged(hook.clone()).await;
    let url = format!("https://{}/x?timeout=1s", slow.address);
    assert_eq!(code, 500);
    assert_eq!(
        message,
        format!(
            "Internal error occurred: failed calling webhook \"slow.test.dev\": failed to call webhook: Post {url:?}: context deadline exceeded"
        )
    );
    hook["failurePolicy"] = json!("Ignore");
    assert_eq!(judged(hook).await.0, 201);
    let (code, message) = judged(liar.hook("liar.test.dev")).await;
    assert!(code == 500 && message.contains("received invalid webhook response: expected response.uid="), "{message}");
    let mut stranger = slow.hook("stranger.test.dev");
    stranger["clientConfig"]["caBundle"] = json!(liar.authority);
    let (code, message) = judged(stranger).await;
    assert!(code == 500 && message.contains("failed to verify certificate"), "{message}");
    let mut nobody = slow.hook("nobody.test.dev");
    nobody["clientConfig"] = json!({"service": {"namespace": "default", "name": "none"}, "caBundle": slow.authority});
    let (code, message) = judged(nobody).await;
    let text = "failed to call webhook: Post \"https://none.default.svc:443/?timeout=10s\": service \"none\" not found";
    assert!(code == 500 && message.ends_with(text), "{message}");
}

#[tokio::test]
async fn a_dry_run_asks_only_those_without_side_effects_and_configurations_are_never_asked_about() {
    let server = Server::start(|_| json!({"allowed": false})).await;
    let cluster = started().await;
    let mut hook = server.hook("all.test.dev");
    hook["rules"] = json!([{"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}]);
    hook.as_object_mut().expect("an object").remove("namespaceSelector");
    cluster.create(VALIDATING, &configuration("all", &[hook])).await;
    assert_eq!(cluster.post(&format!("{MAPS}?dryRun=All"), &map("x")).await.0, 400);
    assert_eq!(server.asked().pop().expect("it was asked")["dryRun"], true);
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(cluster.patch("merge", &format!("{VALIDATING}/all"), &label).await.0, 200);
    assert_eq!(cluster.delete(&format!("{VALIDATING}/all")).await.0, 200);
    assert!(server.asked().is_empty(), "nobody is asked about webhooks");
    assert_eq!(cluster.post(MAPS, &map("x")).await.0, 201, "it is gone");
}
