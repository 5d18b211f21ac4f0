//! Ephemeral containers: what they may not have, and that they can only be added.

use super::container;
use super::volume;
use crate::object::validation::field::{Causes, Field, same};
use crate::object::validation::meta;

/// Fields that an ephemeral container may have (upstream's `allowedEphemeralContainerFields`).
const ALLOWED: [&str; 17] = [
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "env",
    "envFrom",
    "volumeMounts",
    "volumeDevices",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
    "targetContainerName",
];

/// Checks what is ephemeral about a container of a pod spec.
pub(super) fn ephemeral(spec: &Field<'_>, container: &Field<'_>, causes: &mut Causes) {
    let target = container.child("targetContainerName");
    let named = |list: &str| spec.child(list).items().any(|c| c.child("name").text() == target.text());
    if !target.text().is_empty() && !named("containers") && !named("initContainers") {
        causes.not_found(&target);
    }
    for name in container.entries().map(|(name, _)| name).filter(|name| !ALLOWED.contains(name)) {
        let field = container.child(name);
        let empty = field.value.as_object().is_some_and(serde_json::Map::is_empty);
        if field.is_set() && !empty {
            causes.forbidden(&field, "cannot be set for an Ephemeral Container");
        }
    }
    for mount in container.child("volumeMounts").items() {
        for name in ["subPath", "subPathExpr"] {
            if !mount.child(name).text().is_empty() {
                causes.forbidden(&mount.child(name), "cannot be set for an Ephemeral Container");
            }
        }
    }
}

/// Checks a change of a Pod's ephemeral containers: what is there stays as it is.
pub(in crate::object::validation) fn on_ephemeral_containers(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    meta::on_update(&crate::object::kinds::POD, new, old, causes);
    let (new, old) = (new.child("spec"), old.child("spec"));
    let volumes = volume::volumes(&new.child("volumes"), causes);
    container::containers(&new, &volumes, causes);
    let list = new.child("ephemeralContainers");
    for before in old.child("ephemeralContainers").items() {
        let name = before.child("name").text();
        match list.items().find(|c| c.child("name").text() == name) {
            None => causes.forbidden(&list, &format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(now) if !same(now.value, before.value) => {
                causes.forbidden(&list, &format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::object::validation::on_ephemeral_containers;
    use crate::object::{defaults, kinds};

    fn pod(ephemeral: &Value) -> Value {
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"containers": [{"name": "web", "image": "web:1"}], "ephemeralContainers": ephemeral}});
        defaults::apply(&kinds::POD, &mut pod);
        pod
    }

    fn causes(new: &Value, old: &Value) -> Vec<String> {
        on_ephemeral_containers(&pod(new), &pod(old)).iter().map(|c| format!("{}: {}", c.field, c.message)).collect()
    }

    #[test]
    fn they_can_be_added_and_nothing_else() {
        let look = json!({"name": "look", "image": "web:1", "targetContainerName": "web"});
        assert_eq!(causes(&json!([look]), &json!([])), [""; 0]);
        let removed = causes(&json!([]), &json!([look]));
        assert_eq!(
            removed,
            [r#"spec.ephemeralContainers: Forbidden: existing ephemeral containers "look" may not be removed"#
                .to_owned()
                + "\n"]
        );
        let changed = causes(&json!([{"name": "look", "image": "web:2"}]), &json!([look]));
        assert!(changed[0].contains("may not be changed"), "{changed:?}");
    }

    #[test]
    fn what_is_a_service_or_lasts_is_refused() {
        let bad = json!([{"name": "look", "image": "web:1", "ports": [{"containerPort": 80}], "targetContainerName": "nope",
            "resources": {"limits": {"cpu": "1"}}}]);
        let found = causes(&bad, &json!([]));
        for wanted in [
            "spec.ephemeralContainers[0].targetContainerName: Not found: \"nope\"",
            "spec.ephemeralContainers[0].ports: Forbidden: cannot be set for an Ephemeral Container",
            "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
        ] {
            assert!(found.iter().any(|f| f == wanted), "{wanted}: {found:#?}");
        }
        assert!(
            causes(&json!([{"name": "web", "image": "web:1"}]), &json!([])).iter().any(|c| c.contains("Duplicate"))
        );
    }
}
