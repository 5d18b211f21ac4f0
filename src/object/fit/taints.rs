//! Taints and tolerations.

use k8s_openapi::api::core::v1::{Node, PodSpec, Taint, Toleration};

/// Tells whether a toleration covers a taint.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let said = |text: &Option<String>| text.as_deref().filter(|t| !t.is_empty()).map(str::to_owned);
    if said(&toleration.effect).is_some_and(|effect| effect != taint.effect)
        || said(&toleration.key).is_some_and(|key| key != taint.key)
    {
        return false;
    }
    match toleration.operator.as_deref().unwrap_or_default() {
        "" | "Equal" => said(&toleration.value) == said(&taint.value),
        "Exists" => true,
        _ => false,
    }
}

/// Returns the first taint of one of `effects` that the pod does not tolerate. A node that is not Ready counts as
/// tainted so, whether or not somebody has written the taint.
pub fn untolerated(spec: &PodSpec, node: &Node, effects: &[&str]) -> Option<Taint> {
    let written = node.spec.as_ref().and_then(|s| s.taints.as_ref()).into_iter().flatten();
    let own = readiness_taint(node);
    let bad = |taint: &&Taint| {
        effects.contains(&taint.effect.as_str()) && !spec.tolerations.iter().flatten().any(|t| tolerates(t, taint))
    };
    written.chain(&own).find(bad).cloned()
}

/// The taint that upstream's node lifecycle controller gives a node that is not Ready.
fn readiness_taint(node: &Node) -> Option<Taint> {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|c| c.type_ == "Ready");
    let key = match ready.map(|c| c.status.as_str()) {
        Some("True") => return None,
        Some("Unknown") => "node.kubernetes.io/unreachable",
        _ => "node.kubernetes.io/not-ready",
    };
    Some(Taint { key: key.into(), effect: "NoSchedule".into(), ..Taint::default() })
}
