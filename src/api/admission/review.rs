//! What a webhook is asked and what it answers: AdmissionReview, version v1.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde_json::{Value, json};

use crate::api::status::Status;
use crate::object::Kind;
use crate::object::write::Part;

use super::Asked;
use super::hooks::Hook;

/// A question.
pub struct Review<'a> {
    /// What is done.
    pub asked: &'a Asked<'a>,
    /// The form in which the webhook hears of it.
    pub form: &'static Kind,
    /// The object as it is to be, in that form.
    pub new: &'a Value,
    /// The object as it was, in that form.
    pub old: &'a Value,
    /// What tells this question from others.
    pub uid: &'a str,
}

/// What a webhook that does not refuse says.
#[derive(Debug, Default, PartialEq)]
pub struct Answer {
    /// The object as it wants it, if it changes it.
    pub object: Option<Value>,
    /// What the client is to be warned of.
    pub warnings: Vec<String>,
}

impl Review<'_> {
    /// Makes the question.
    pub fn request(&self) -> Value {
        let Self { asked, form, new, old, uid } = self;
        let gvk = |kind: &Kind| match asked.part {
            Part::Scale => json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}),
            _ => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
        };
        let gvr = |kind: &Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
        let who = asked.who;
        let mut user = json!({"username": who.name, "groups": who.groups});
        if !who.uid.is_empty() {
            user["uid"] = json!(who.uid);
        }
        if !who.extra.is_empty() {
            user["extra"] = json!(who.extra);
        }
        let mut request = json!({
            "uid": uid,
            "kind": gvk(form),
            "resource": gvr(form),
            "requestKind": gvk(asked.key.kind),
            "requestResource": gvr(asked.key.kind),
            "name": asked.key.name,
            "operation": asked.operation.word(),
            "userInfo": user,
            "object": new,
            "oldObject": old,
            "dryRun": asked.dry_run,
            "options": asked.options,
        });
        if asked.key.kind.namespaced {
            request["namespace"] = asked.key.namespace.clone().into();
        } else if *asked.key.kind == crate::object::kinds::NAMESPACE {
            request["namespace"] = asked.key.name.clone().into();
        }
        if !asked.subresource().is_empty() {
            request["subResource"] = asked.subresource().into();
            request["requestSubResource"] = asked.subresource().into();
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request})
    }

    /// Reads the answer. What it refuses is the inner error.
    ///
    /// # Errors
    /// Why it is none: one sentence.
    pub fn read(&self, hook: &Hook, answer: &[u8]) -> Result<Result<Answer, Status>, String> {
        let review: Value =
            serde_json::from_slice(answer).map_err(|e| format!("received invalid webhook response: {e}"))?;
        let response = &review["response"];
        if review["kind"] != "AdmissionReview" || review["apiVersion"] != "admission.k8s.io/v1" {
            let (kind, version) = (&review["kind"], &review["apiVersion"]);
            return Err(format!(
                "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, \
                 got {version}, Kind={kind}"
            ));
        }
        if !response.is_object() {
            return Err("webhook response was absent".into());
        }
        if response["uid"] != *self.uid {
            let got = response["uid"].as_str().unwrap_or_default();
            return Err(format!(
                "received invalid webhook response: expected response.uid={:?}, got {got:?}",
                self.uid
            ));
        }
        if response["allowed"] != true {
            return Ok(Err(refusal(&hook.name, &response["status"])));
        }
        let warnings = response["warnings"].as_array().into_iter().flatten();
        let warnings = warnings.filter_map(|w| w.as_str().map(str::to_owned)).collect();
        Ok(Ok(Answer { object: self.patched(response)?, warnings }))
    }

    fn patched(&self, response: &Value) -> Result<Option<Value>, String> {
        let Some(patch) = response["patch"].as_str().filter(|patch| !patch.is_empty()) else { return Ok(None) };
        match response["patchType"].as_str() {
            Some("JSONPatch") => {}
            None => {
                return Err(
                    "received invalid webhook response: webhook returned response.patch but not response.patchType"
                        .into(),
                );
            }
            Some(other) => {
                return Err(format!(
                    "received invalid webhook response: invalid response.patchType {other:?}, expected \"JSONPatch\""
                ));
            }
        }
        let bytes = STANDARD.decode(patch).map_err(|e| format!("received invalid webhook response: {e}"))?;
        let patch: Patch = serde_json::from_slice(&bytes).map_err(|e| format!("received undecodable patch: {e}"))?;
        if patch.0.is_empty() || self.new.is_null() {
            return Ok(None);
        }
        let mut object = self.new.clone();
        json_patch::patch(&mut object, &patch).map_err(|e| format!("its patch does not fit: {e}"))?;
        Ok(Some(object))
    }
}

/// Words a refusal as upstream does.
fn refusal(name: &str, status: &Value) -> Status {
    let denied = format!("admission webhook {name:?} denied the request");
    let text = |field: &str| status[field].as_str().filter(|text| !text.is_empty());
    let message = match (text("message"), text("reason")) {
        (Some(why), _) | (None, Some(why)) => format!("{denied}: {why}"),
        (None, None) => format!("{denied} without explanation"),
    };
    let code =
        status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| (400..600).contains(code));
    Status::refused_by_webhook(code.unwrap_or(400), text("reason").unwrap_or_default(), message)
}
