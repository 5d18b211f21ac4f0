//! What a container is started with: command, environment, mounts, limits, and what it may do.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SecurityContext};
use sha2::{Digest, Sha256};

use crate::store::Snapshot;

use super::action::{ContainerSpec, MountSpec, SecuritySpec};
use super::env::Env;
use super::fields::Subject;
use super::resources::resources;

const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";

/// Builds what the runtime needs for one start of `container`, whose image runs as `image_user` by itself (`None`: root).
///
/// # Errors
/// What is missing or contradictory, in upstream's words; the container waits with reason
/// CreateContainerConfigError.
pub(super) fn container_spec(
    view: &Snapshot,
    subject: &Subject<'_>,
    spec: &PodSpec,
    container: &Container,
    attempt: u32,
    image_user: Option<&str>,
) -> Result<ContainerSpec, String> {
    let env = Env::of(view, subject, container)?;
    let expand = |texts: &Option<Vec<String>>| texts.iter().flatten().map(|t| env.expand(t)).collect();
    Ok(ContainerSpec {
        name: container.name.clone(),
        attempt,
        hash: hash(container),
        image: container.image.clone().unwrap_or_default(),
        command: expand(&container.command),
        args: expand(&container.args),
        working_dir: container.working_dir.clone().filter(|d| !d.is_empty()),
        mounts: mounts(container, &env),
        resources: resources(spec, container, subject.capacity),
        security: security(subject.pod, spec, container, image_user)?,
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        termination_message_path: container
            .termination_message_path
            .clone()
            .unwrap_or_else(|| TERMINATION_MESSAGE_PATH.into()),
        env: env.variables(),
        held: false,
        processes: None,
    })
}

/// Names what a container is: a running one with another hash is replaced. Only name and image count, for nothing
/// else can change under a running pod, and a new default in a newer agent must not restart everything.
pub(super) fn hash(container: &Container) -> String {
    let mut hash = Sha256::new();
    for part in [container.name.as_str(), container.image.as_deref().unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hex::encode(&hash.finalize()[..8])
}

fn mounts(container: &Container, env: &Env) -> Vec<MountSpec> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts
        .map(|m| MountSpec {
            volume: m.name.clone(),
            path: m.mount_path.clone(),
            sub_path: match &m.sub_path_expr {
                Some(expression) if !expression.is_empty() => env.expand(expression),
                _ => m.sub_path.clone().unwrap_or_default(),
            },
            read_only: m.read_only.unwrap_or(false),
        })
        .collect()
}

fn security(of: &Pod, spec: &PodSpec, container: &Container, image_user: Option<&str>) -> Result<SecuritySpec, String> {
    let none = SecurityContext::default();
    let own = container.security_context.as_ref().unwrap_or(&none);
    let pod = spec.security_context.clone().unwrap_or_default();
    let user = own.run_as_user.or(pod.run_as_user);
    let group = own.run_as_group.or(pod.run_as_group);
    // An image may name a group too.
    let image_user = image_user.and_then(|u| u.split(':').next()).filter(|u| !u.is_empty()).unwrap_or("0");
    if own.run_as_non_root.or(pod.run_as_non_root) == Some(true)
        && let Some(problem) = root_problem(user, image_user)
    {
        return Err(format!("{problem} (pod: {:?}, container: {})", full_name(of), container.name));
    }
    let capabilities = own.capabilities.clone().unwrap_or_default();
    Ok(SecuritySpec {
        user: match (user, group) {
            (Some(user), Some(group)) => Some(format!("{user}:{group}")),
            (None, Some(group)) => Some(format!("{image_user}:{group}")),
            (Some(user), None) => Some(user.to_string()),
            (None, None) => None,
        },
        groups: pod.supplemental_groups.into_iter().flatten().chain(pod.fs_group).collect(),
        privileged: own.privileged.unwrap_or(false),
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        add_capabilities: capabilities.add.unwrap_or_default(),
        drop_capabilities: capabilities.drop.unwrap_or_default(),
        no_new_privileges: own.allow_privilege_escalation == Some(false),
    })
}

/// Why a container that must not run as root may not start (upstream's `verifyRunAsNonRoot`).
fn root_problem(user: Option<i64>, image_user: &str) -> Option<String> {
    match (user, image_user.parse::<i64>()) {
        (Some(0), _) => Some("container's runAsUser breaks non-root policy".into()),
        (None, Ok(0)) => Some("container has runAsNonRoot and image will run as root".into()),
        (None, Err(_)) => Some(format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root"
        )),
        _ => None,
    }
}

fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let [name, namespace, uid] = [&meta.name, &meta.namespace, &meta.uid].map(|t| t.as_deref().unwrap_or_default());
    format!("{name}_{namespace}({uid})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::resources::Capacity;
    use crate::kubelet::tests::world;
    use serde_json::{Value, json};

    fn build(pod: &Value) -> Result<ContainerSpec, String> {
        build_of(None, pod)
    }

    fn build_of(image_user: Option<&str>, pod: &Value) -> Result<ContainerSpec, String> {
        let meta = json!({"name": "web", "namespace": "shop", "uid": "u1"});
        let pod: Pod = serde_json::from_value(json!({"metadata": meta, "spec": pod})).unwrap();
        let subject = Subject {
            pod: &pod,
            node: "n1",
            pod_ip: None,
            host_ip: [192, 0, 2, 1].into(),
            capacity: Capacity::default(),
        };
        let spec = pod.spec.as_ref().unwrap();
        container_spec(&world::view(&[]), &subject, spec, &spec.containers[0], 3, image_user)
    }

    #[test]
    fn commands_arguments_and_sub_paths_see_the_environment() {
        let spec = build(&json!({"containers": [{"name": "web", "image": "web:1", "command": ["run", "$(MODE)"],
            "args": ["$(NOPE)"], "env": [{"name": "MODE", "value": "fast"}],
            "volumeMounts": [{"name": "v", "mountPath": "/v", "subPathExpr": "x/$(MODE)", "readOnly": true}]}]}))
        .unwrap();
        assert_eq!(spec.command, ["run", "fast"]);
        assert_eq!(spec.args, ["$(NOPE)"]);
        let mount = MountSpec { volume: "v".into(), path: "/v".into(), sub_path: "x/fast".into(), read_only: true };
        assert_eq!(spec.mounts, [mount]);
        assert_eq!(spec.attempt, 3);
        assert_eq!(spec.termination_message_path, "/dev/termination-log");
    }

    #[test]
    fn a_containers_security_context_overrides_the_pods() {
        let pod = |own: Value| {
            json!({"securityContext": {"runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000},
                "containers": [{"name": "web", "securityContext": own}]})
        };
        let security = build(&pod(json!({"runAsUser": 7, "capabilities": {"drop": ["ALL"]}}))).unwrap().security;
        assert_eq!(security.user.as_deref(), Some("7:2000"));
        assert_eq!(security.groups, [3000]);
        assert_eq!(security.drop_capabilities, ["ALL"]);
        assert!(build(&pod(json!({"runAsUser": 0, "runAsNonRoot": true}))).is_err());
    }

    #[test]
    fn a_container_that_must_not_be_root_is_refused_unless_that_is_certain() {
        let non_root = |user: Value| json!({"securityContext": {"runAsNonRoot": true, "runAsUser": user}, "containers": [{"name": "web"}]});
        let of_user = "container's runAsUser breaks non-root policy";
        let of_image = "container has runAsNonRoot and image will run as root";
        let unknown =
            "container has runAsNonRoot and image has non-numeric user (nginx), cannot verify user is non-root";
        for (user, image_user, problem) in [
            (json!(0), Some("1000"), Some(of_user)),
            (json!(7), None, None),
            (json!(7), Some("nginx"), None),
            (json!(null), None, Some(of_image)),
            (json!(null), Some(""), Some(of_image)),
            (json!(null), Some("0:1000"), Some(of_image)),
            (json!(null), Some("nginx:nginx"), Some(unknown)),
            (json!(null), Some("1000"), None),
            (json!(null), Some("1000:0"), None),
        ] {
            let expected = problem.map(|p| format!("{p} (pod: \"web_shop(u1)\", container: web)"));
            assert_eq!(build_of(image_user, &non_root(user.clone())).err(), expected, "{user} {image_user:?}");
        }
        let own = json!({"securityContext": {"runAsNonRoot": true},
            "containers": [{"name": "web", "securityContext": {"runAsNonRoot": false}}]});
        assert!(build_of(None, &own).is_ok(), "the container's own word counts");
    }

    #[test]
    fn a_group_alone_leaves_the_images_user() {
        let pod = json!({"securityContext": {"runAsGroup": 5}, "containers": [{"name": "web"}]});
        for (image_user, expected) in [(None, "0:5"), (Some("nginx:nginx"), "nginx:5"), (Some("1000"), "1000:5")] {
            assert_eq!(build_of(image_user, &pod).unwrap().security.user.as_deref(), Some(expected));
        }
    }

    #[test]
    fn only_name_and_image_make_a_container_another() {
        let hash_of = |c: Value| hash(&serde_json::from_value(c).unwrap());
        let web = hash_of(json!({"name": "web", "image": "web:1"}));
        assert_eq!(web, hash_of(json!({"name": "web", "image": "web:1", "tty": true})));
        assert_ne!(web, hash_of(json!({"name": "web", "image": "web:2"})));
    }
}
