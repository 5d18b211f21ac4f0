//! Eviction: a pod is deleted if its disruption budget allows that.
//!
//! What a budget allows is spent by an entry in its ledger (`object::disruption`), a Lease, which a majority decides: of two
//! nodes that evict at once one finds the other's entry. Without a leader no budget can be spent; a pod that has none is
//! deleted all the same.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde_json::Value;

use crate::api::dispatch::Call;
use crate::api::present;
use crate::api::status::{self, Status};
use crate::api::{Api, body, now};
use crate::object::decode::{self, BadBody, FieldValidation, Target};
use crate::object::disruption::{self, Ledger};
use crate::object::{Key, Selector, kinds, schema};
use crate::store::{Change, Entry, Precondition, Rejected, Snapshot};

use super::delete;
use super::write::{ATTEMPTS, SHOWN_WITHIN};

/// Why a pod stays.
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// Evicts a pod.
///
/// # Errors
/// 404 if it is not there, 429 if its budget allows no disruption now, 500 if it has several, 503 without a leader.
pub async fn evict(api: &Api, key: &Key, call: Call) -> Result<Response<Body>, Status> {
    let bytes = body::read(&call.head.headers, call.body).await?;
    let eviction = read(key, &bytes, &body::media_type(&call.head.headers))?;
    let options = delete::Options::of(&eviction["deleteOptions"], &call.params)?;
    let mut snapshots = api.handle.snapshots();
    for _ in 0..ATTEMPTS {
        let snapshot = snapshots.borrow_and_update().clone();
        let pod = snapshot.get(key).ok_or_else(|| Status::not_found(key))?;
        options.against(pod)?;
        let spent = match budget(&snapshot, pod)? {
            Some(budget) if !may_go_unasked(pod, budget) => spend(api, &snapshot, pod, budget, options.dry_run).await,
            _ => Ok(()),
        };
        match spent {
            Ok(()) => {
                delete::commit(api, key, &options, &call.who).await?;
                return Ok(present::with_type(StatusCode::CREATED, "application/json", status::created()));
            }
            // Somebody else has evicted meanwhile, by this budget.
            Err(Spent::Before) => drop(tokio::time::timeout(SHOWN_WITHIN, snapshots.changed()).await),
            Err(Spent::Not(status)) => return Err(status),
        }
    }
    Err(Status::modified(key))
}

fn read(key: &Key, bytes: &[u8], media: &str) -> Result<Value, Status> {
    let shape = schema::definition("io.k8s.api.policy.v1.Eviction").expect("the schema has it; a test evicts");
    let target = Target { group: "policy", version: "v1", kind: "Eviction", shape };
    let read = decode::decode(&target, bytes, media, FieldValidation::Ignore);
    let eviction = read.map_err(|bad| match bad {
        BadBody::Content(why) => Status::bad_request(why),
        BadBody::MediaType(why) => Status::unsupported_media_type(why),
    })?;
    let named = |field: &str| eviction.object["metadata"][field].as_str().unwrap_or_default();
    if named("name") != key.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    if !["", key.namespace.as_str()].contains(&named("namespace")) {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(why));
    }
    Ok(eviction.object)
}

/// Finds the budget that covers a pod, if its going disturbs anybody at all.
fn budget<'a>(snapshot: &'a Snapshot, pod: &'a Entry) -> Result<Option<&'a Arc<Entry>>, Status> {
    let runs = !pod.terminating && !matches!(pod.phase.as_deref(), Some("Pending" | "Succeeded" | "Failed"));
    if !runs {
        return Ok(None);
    }
    let covers = |budget: &&Arc<Entry>| {
        let selector = budget.typed::<PodDisruptionBudget>().and_then(|b| b.spec?.selector);
        selector.is_some_and(|s| Selector::of_typed(&s).is_ok_and(|s| s.matches(&pod.labels)))
    };
    let mut budgets = snapshot.list(&kinds::POD_DISRUPTION_BUDGET, Some(&pod.key.namespace)).filter(covers);
    let (first, second) = (budgets.next(), budgets.next());
    if second.is_some() {
        let why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(Status::not_supported(why));
    }
    Ok(first)
}

/// Tells whether a pod that is not ready may go without spending anything.
fn may_go_unasked(pod: &Entry, budget: &Entry) -> bool {
    let conditions = pod.typed::<Pod>().and_then(|pod| pod.status?.conditions).unwrap_or_default();
    if conditions.iter().any(|c| c.type_ == "Ready" && c.status == "True") {
        return false;
    }
    let budget = budget.value();
    let count = |name: &str| budget["status"][name].as_i64().unwrap_or_default();
    let enough = count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0;
    enough || budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
}

/// Why a disruption is not spent.
enum Spent {
    /// What was looked at is no more.
    Before,
    Not(Status),
}

impl From<Rejected> for Spent {
    fn from(rejected: Rejected) -> Self {
        match rejected {
            Rejected::Stale { .. } | Rejected::AlreadyExists { .. } => Self::Before,
            other => Self::Not(other.into()),
        }
    }
}

/// Writes the pod into the budget's ledger, if there is anything left.
async fn spend(api: &Api, snapshot: &Snapshot, pod: &Entry, budget: &Entry, dry_run: bool) -> Result<(), Spent> {
    let at = disruption::key(&budget.key);
    let lease = snapshot.get(&at);
    let mut ledger = lease.map(|lease| disruption::entries(&lease.value(), now())).unwrap_or_default();
    let object = budget.value();
    if let Some(why) = why_not(&object, &ledger) {
        return Err(Spent::Not(Status::too_many_requests(REFUSED, "DisruptionBudget", why)));
    }
    ledger.insert(pod.key.name.clone(), now().to_string());
    let object = disruption::written(&object, &at, lease.map(|lease| lease.value()), &ledger);
    let change = match lease {
        Some(lease) => Change::Update { key: at, object, when: Precondition::unchanged(lease) },
        None => Change::Create { key: at, object },
    };
    api.handle.commit(change, dry_run).await?;
    Ok(())
}

/// Says why a budget allows no disruption now.
fn why_not(budget: &Value, ledger: &Ledger) -> Option<String> {
    let (name, status) = (budget["metadata"]["name"].as_str().unwrap_or_default(), &budget["status"]);
    let count = |name: &str| status[name].as_i64().unwrap_or_default();
    if count("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(1) {
        return Some(format!("The disruption budget {name} is still being processed by the server."));
    }
    let unknown = disruption::unknown_to(status, ledger);
    if ledger.len() < disruption::MOST && count("disruptionsAllowed") > i64::try_from(unknown).unwrap_or(i64::MAX) {
        return None;
    }
    let failed = status["conditions"].as_array().into_iter().flatten().find(|c| c["reason"] == "SyncFailed");
    Some(match failed.and_then(|condition| condition["message"].as_str()) {
        Some(why) => {
            format!("The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}")
        }
        None => {
            let (needed, there) = (count("desiredHealthy"), count("currentHealthy"));
            format!("The disruption budget {name} needs {needed} healthy pods and has {there} currently")
        }
    })
}
