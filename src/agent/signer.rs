//! Signs approved CertificateSigningRequests for clients (signer `kubernetes.io/kube-apiserver-client`), on nodes that hold the
//! authority's key. Two that sign the same request both issue a certificate that holds; one of them is kept.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::handle::Handle;
use crate::object::kinds::CERTIFICATE_SIGNING_REQUEST;
use crate::store::{Change, Entry, Precondition};
use crate::time::Wall;
use crate::trust::Authority;
use crate::trust::request::SigningRequest;

use super::clock;

/// The one signer that is served.
const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";
/// What a client's certificate may be for; the last must be among them.
const USAGES: [&str; 3] = ["digital signature", "key encipherment", "client auth"];

/// Signs until `shutdown`.
pub async fn run(handle: Handle, authority: Arc<Authority>, shutdown: CancellationToken) {
    let mut snapshots = handle.snapshots();
    let signing = async {
        loop {
            let view = snapshots.borrow_and_update().clone();
            for entry in view.list(&CERTIFICATE_SIGNING_REQUEST, None).filter(|entry| waits(&entry.value())) {
                let status = decided(&entry.value(), &authority, clock::now().wall);
                let change = change(entry, status);
                if let Err(refused) = handle.commit(change, false).await {
                    // Somebody else has changed it meanwhile: it comes again with the next snapshot.
                    tracing::debug!(request = %entry.key, %refused, "not signed yet");
                }
            }
            if snapshots.changed().await.is_err() {
                return;
            }
        }
    };
    shutdown.run_until_cancelled(signing).await;
}

fn change(entry: &Entry, status: Value) -> Change {
    Change::Status { key: entry.key.clone(), status, when: Precondition::unchanged(entry) }
}

/// Tells whether a request is approved, ours to sign, and neither signed nor refused.
fn waits(request: &Value) -> bool {
    let has = |name: &str| {
        let mut conditions = request["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|c| c["type"] == name && c["status"] != "False")
    };
    let signed = request["status"]["certificate"].as_str().is_some_and(|text| !text.is_empty());
    request["spec"]["signerName"] == CLIENTS && has("Approved") && !has("Denied") && !has("Failed") && !signed
}

/// Returns the status with the certificate, or with the reason why there is none.
fn decided(request: &Value, authority: &Authority, now: Wall) -> Value {
    let mut status = request["status"].clone();
    match issue(&request["spec"], authority, now) {
        Ok(certificate) => status["certificate"] = STANDARD.encode(certificate).into(),
        Err(why) => {
            let failed = json!({"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
                "lastUpdateTime": now.time(), "lastTransitionTime": now.time()});
            if let Some(conditions) = status["conditions"].as_array_mut() {
                conditions.push(failed);
            }
        }
    }
    status
}

fn issue(spec: &Value, authority: &Authority, now: Wall) -> Result<String, String> {
    let usages: Vec<&str> = spec["usages"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !usages.contains(&USAGES[2]) || usages.iter().any(|usage| !USAGES.contains(usage)) {
        return Err(format!("usages {usages:?}: \"client auth\" is required, and only {USAGES:?} are possible"));
    }
    let text = STANDARD.decode(spec["request"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
    let lifetime = spec["expirationSeconds"].as_u64().map(Duration::from_secs);
    let signed = SigningRequest::of_pem(&text).and_then(|request| request.sign(authority, lifetime, now));
    signed.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(conditions: &Value) -> Value {
        json!({"spec": {"signerName": CLIENTS, "request": "", "usages": ["client auth"]}, "status": {"conditions": conditions}})
    }

    #[test]
    fn only_what_is_approved_and_undecided_is_signed() {
        let is = |name: &str| json!({"type": name, "status": "True"});
        assert!(waits(&request(&json!([is("Approved")]))));
        for conditions in [json!([]), json!([is("Approved"), is("Denied")]), json!([is("Approved"), is("Failed")])] {
            assert!(!waits(&request(&conditions)), "{conditions}");
        }
        let mut other = request(&json!([is("Approved")]));
        other["spec"]["signerName"] = "example.com/other".into();
        assert!(!waits(&other));
        let mut signed = request(&json!([is("Approved")]));
        signed["status"]["certificate"] = "eA==".into();
        assert!(!waits(&signed));
    }

    #[test]
    fn what_cannot_be_signed_fails_with_the_reason() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority = Authority::new(key, "test", Wall::from_secs(1_763_882_730)).expect("an authority");
        let mut request = request(&json!([{"type": "Approved", "status": "True"}]));
        let failed = |request: &Value| {
            let status = decided(request, &authority, Wall::from_secs(1_763_882_730));
            status["conditions"][1]["message"].as_str().expect("a reason").to_owned()
        };
        assert!(failed(&request).contains("the signing request"));
        request["spec"]["usages"] = json!(["client auth", "server auth"]);
        assert!(failed(&request).contains("server auth"));
    }
}
