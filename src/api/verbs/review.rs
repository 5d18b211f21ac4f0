//! Questions that are asked by creating an object which nobody keeps: who am I, and may I?
//!
//! There are no roles yet: whoever holds a certificate of the cluster may do everything. The answers say so, as the
//! requests themselves would.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::write::{Options, warn};
use crate::api::body;
use crate::api::dispatch::Call;
use crate::api::negotiate::{WHOLE, negotiate};
use crate::api::present;
use crate::api::status::{Cause, Details, Status};
use crate::object::decode::{self, BadBody, Target};
use crate::object::{json as text, schema};
use crate::trust::{ADMINS, User};

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

/// What anybody may see.
const OPEN: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];
/// What only administrators may do.
const ADMIN_ONLY: &str = "/skein.dev/recover";
/// The group of whoever proved to be somebody.
const AUTHENTICATED: &str = "system:authenticated";
const ANONYMOUS: &str = "system:anonymous";

/// Answers a question of `user`.
///
/// # Errors
/// What is wrong with the body.
pub async fn create(
    user: &User,
    review: &'static Review,
    namespace: Option<String>,
    call: Call,
) -> Result<Response<Body>, Status> {
    let (headers, params) = (&call.head.headers, &call.params);
    let form = negotiate(headers, WHOLE)?.form;
    let options = Options::parse("CreateOptions", headers, params)?;
    let bytes = body::read(headers, call.body).await?;
    let shape = schema::definition(review.definition).expect("every review is in the schema; a test looks");
    let target = Target { group: review.group, version: review.version, kind: review.kind, shape };
    let decoded = decode::decode(&target, &bytes, &body::media_type(headers), options.validation);
    let decoded = decoded.map_err(|bad| match bad {
        BadBody::Content(why) => Status::bad_request(why),
        BadBody::MediaType(why) => Status::unsupported_media_type(why),
    })?;
    let mut object = decoded.object;
    object["status"] = answer(user, review, namespace.as_deref(), &object)?;
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    object["metadata"]["creationTimestamp"] = Value::Null;
    Ok(warn(present::document(form, StatusCode::CREATED, text::write(&object)), &decoded.warnings))
}

fn answer(user: &User, review: &Review, namespace: Option<&str>, object: &Value) -> Result<Value, Status> {
    let mut groups = user.groups.clone();
    groups.push(AUTHENTICATED.to_owned());
    let (name, spec) = (user.name.clone(), &object["spec"]);
    match review.question {
        Question::Who => Ok(json!({"userInfo": {"username": name, "groups": groups}})),
        Question::What => {
            let everything = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
            let paths = json!({"verbs": ["*"], "nonResourceURLs": ["*"]});
            Ok(json!({"resourceRules": [everything], "nonResourceRules": [paths], "incomplete": false}))
        }
        Question::May { named } => {
            check(review, namespace, spec, named)?;
            let (name, groups) = if named { subject(spec) } else { (name, groups) };
            let allowed = may(&name, &groups, spec);
            let why = if allowed { "whoever holds a certificate of the cluster may do this" } else { "" };
            Ok(if allowed { json!({"allowed": true, "reason": why}) } else { json!({"allowed": false}) })
        }
    }
}

fn subject(spec: &Value) -> (String, Vec<String>) {
    let groups = spec["groups"].as_array().into_iter().flatten().filter_map(|g| g.as_str().map(str::to_owned));
    (spec["user"].as_str().unwrap_or_default().to_owned(), groups.collect())
}

/// What the requests themselves would find: `Api::route` has the same rules.
fn may(name: &str, groups: &[String], spec: &Value) -> bool {
    if let Some(path) = spec["nonResourceAttributes"]["path"].as_str() {
        if OPEN.contains(&path) {
            return true;
        }
        if path == ADMIN_ONLY {
            return groups.iter().any(|g| g == ADMINS);
        }
    }
    let nobody = name == ANONYMOUS || groups.iter().any(|g| g == "system:unauthenticated");
    // Nobody acts for somebody else here.
    !nobody && spec["resourceAttributes"]["verb"] != "impersonate"
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
    if named && subject(spec) == (String::new(), Vec::new()) {
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
