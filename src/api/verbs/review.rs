//! Questions that are asked by creating an object which nobody keeps: who am I, may I, and whose token is this?
//!
//! They are answered by the rules that requests are held to.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::{Value, json};

use super::token::audiences;
use super::write::{Options, warn};
use crate::api::dispatch::Call;
use crate::api::negotiate::{WHOLE, negotiate};
use crate::api::status::{Cause, Details, Status};
use crate::api::{Api, body, now, present};
use crate::authorization::Attributes;
use crate::object::decode::{self, BadBody, Decoded, Target};
use crate::object::{json as text, schema};
use crate::trust::User;

/// A kind that can only be created, and is the answer to itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Review {
    /// API group.
    pub group: &'static str,
    /// Its version.
    pub version: &'static str,
    /// CamelCase.
    pub kind: &'static str,
    /// The resource's name in URLs.
    pub plural: &'static str,
    /// The name for one.
    pub singular: &'static str,
    /// Whether it is asked in a namespace.
    pub namespaced: bool,
    /// The key of its definition in the schema.
    definition: &'static str,
    question: Question,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// Who am I?
    Who,
    /// Whose token is this?
    Whose,
    /// May I, or may the one that is named?
    May { named: bool },
    /// What may I?
    What,
}

/// Every one of them.
pub static REVIEWS: &[Review] = &[
    Review {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        namespaced: false,
        definition: "io.k8s.api.authentication.v1.SelfSubjectReview",
        question: Question::Who,
    },
    Review {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenReview",
        plural: "tokenreviews",
        singular: "tokenreview",
        namespaced: false,
        definition: "io.k8s.api.authentication.v1.TokenReview",
        question: Question::Whose,
    },
    Review {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        namespaced: true,
        definition: "io.k8s.api.authorization.v1.LocalSubjectAccessReview",
        question: Question::May { named: true },
    },
    Review {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        namespaced: false,
        definition: "io.k8s.api.authorization.v1.SelfSubjectAccessReview",
        question: Question::May { named: false },
    },
    Review {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        namespaced: false,
        definition: "io.k8s.api.authorization.v1.SelfSubjectRulesReview",
        question: Question::What,
    },
    Review {
        group: "authorization.k8s.io",
        version: "v1",
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        namespaced: false,
        definition: "io.k8s.api.authorization.v1.SubjectAccessReview",
        question: Question::May { named: true },
    },
];

/// Answers a question of `user`.
///
/// # Errors
/// What is wrong with the body.
pub async fn create(
    api: &Api,
    review: &'static Review,
    namespace: Option<String>,
    call: Call,
) -> Result<Response<Body>, Status> {
    let form = negotiate(&call.head.headers, WHOLE)?.form;
    let options = Options::parse("CreateOptions", &call.head.headers, &call.params)?;
    let shape = schema::definition(review.definition).expect("every review is in the schema; a test looks");
    let target = Target { group: review.group, version: review.version, kind: review.kind, shape };
    let user = call.who.clone();
    let decoded = read(&target, &options, call).await?;
    let mut object = decoded.object;
    object["status"] = answer(api, &user, review, namespace.as_deref(), &object)?;
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"]["creationTimestamp"] = Value::Null;
    Ok(warn(present::document(form, StatusCode::CREATED, text::write(&object)), &decoded.warnings))
}

/// Reads a body that is no object of the store.
pub(super) async fn read(target: &Target, options: &Options, call: Call) -> Result<Decoded, Status> {
    let headers = &call.head.headers;
    let bytes = body::read(headers, call.body).await?;
    let decoded = decode::decode(target, &bytes, &body::media_type(headers), options.validation);
    decoded.map_err(|bad| match bad {
        BadBody::Content(why) => Status::bad_request(why),
        BadBody::MediaType(why) => Status::unsupported_media_type(why),
    })
}

fn answer(api: &Api, user: &User, review: &Review, namespace: Option<&str>, object: &Value) -> Result<Value, Status> {
    let spec = &object["spec"];
    match review.question {
        Question::Who => Ok(json!({"userInfo": info(user)})),
        Question::Whose => whose(api, spec),
        Question::What => Ok(what(api, user, spec["namespace"].as_str().unwrap_or_default())),
        Question::May { named } => {
            check(review, namespace, spec, named)?;
            let user = if named { &subject(spec) } else { user };
            let decision = api.decide(user, &asked(spec));
            let mut status = json!({"allowed": decision.allowed});
            if !decision.reason.is_empty() {
                status["reason"] = decision.reason.into();
            }
            Ok(status)
        }
    }
}

fn info(user: &User) -> Value {
    let mut info = json!({"username": user.name, "groups": user.groups});
    if !user.uid.is_empty() {
        info["uid"] = user.uid.clone().into();
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

fn whose(api: &Api, spec: &Value) -> Result<Value, Status> {
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let Some(tokens) = &api.tokens else { return Ok(json!({"authenticated": false})) };
    let audiences = audiences(&spec["audiences"]);
    Ok(match tokens.check(token, &api.handle.snapshot(), now()) {
        Ok(claims) if claims.is_for(&audiences) => {
            let both: Vec<&String> = claims.audiences.iter().filter(|own| audiences.contains(own)).collect();
            json!({"authenticated": true, "user": info(&claims.user()), "audiences": both})
        }
        Ok(claims) => {
            let why =
                format!("token audiences {:?} is invalid for the target audiences {audiences:?}", claims.audiences);
            json!({"authenticated": false, "user": {}, "error": why})
        }
        Err(why) => json!({"authenticated": false, "user": {}, "error": why}),
    })
}

fn what(api: &Api, user: &User, namespace: &str) -> Value {
    let listed = api.rules().1.list(user, namespace);
    let (paths, resources): (Vec<&PolicyRule>, Vec<&PolicyRule>) =
        listed.rules.iter().partition(|rule| rule.non_resource_urls.is_some());
    let some = |name: &str, list: &Option<Vec<String>>, rule: &mut Value| {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            rule[name] = json!(list);
        }
    };
    let resource = |rule: &&PolicyRule| {
        let mut out = json!({"verbs": rule.verbs});
        some("apiGroups", &rule.api_groups, &mut out);
        some("resources", &rule.resources, &mut out);
        some("resourceNames", &rule.resource_names, &mut out);
        out
    };
    let path = |rule: &&PolicyRule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls});
    let mut status = json!({
        "resourceRules": resources.iter().map(resource).collect::<Vec<_>>(),
        "nonResourceRules": paths.iter().map(path).collect::<Vec<_>>(),
        "incomplete": !listed.trouble.is_empty(),
    });
    if !listed.trouble.is_empty() {
        status["evaluationError"] = listed.trouble.into();
    }
    status
}

fn subject(spec: &Value) -> User {
    let list = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let extra = spec["extra"].as_object().into_iter().flatten().map(|(k, v)| (k.clone(), list(v)));
    User {
        name: spec["user"].as_str().unwrap_or_default().to_owned(),
        uid: spec["uid"].as_str().unwrap_or_default().to_owned(),
        groups: list(&spec["groups"]),
        extra: extra.collect::<BTreeMap<_, _>>(),
    }
}

fn asked(spec: &Value) -> Attributes<'_> {
    let (of, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let member = |name: &str| of[name].as_str().unwrap_or_default();
    Attributes {
        verb: if path.is_object() { path["verb"].as_str().unwrap_or_default() } else { member("verb") },
        group: member("group"),
        resource: member("resource"),
        subresource: member("subresource"),
        namespace: member("namespace"),
        name: member("name"),
        path: path.is_object().then(|| path["path"].as_str().unwrap_or_default()),
    }
}

fn check(review: &Review, namespace: Option<&str>, spec: &Value, named: bool) -> Result<(), Status> {
    let invalid = |field: &str, message: String| {
        let cause = Cause { reason: "FieldValueInvalid".into(), message, field: field.into() };
        let details = Details { group: review.group, kind: review.kind, causes: vec![cause], ..Details::default() };
        Err(Status::invalid(details))
    };
    let has = |name: &str| spec.get(name).is_some();
    if has("resourceAttributes") == has("nonResourceAttributes") {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return invalid("spec.resourceAttributes", format!("Invalid value: {why}"));
    }
    if named && subject(spec) == User::default() {
        return invalid("spec.user", "Invalid value: \"\": at least one of user or group must be specified".into());
    }
    if let Some(namespace) = namespace
        && spec["resourceAttributes"]["namespace"] != namespace
    {
        let why = format!("Invalid value: {}: must match metadata.namespace", spec["resourceAttributes"]["namespace"]);
        return invalid("spec.resourceAttributes.namespace", why);
    }
    Ok(())
}
