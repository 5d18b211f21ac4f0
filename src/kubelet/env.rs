//! A container's environment: what its manifest says, what configMaps and secrets hold, and Kubernetes' service
//! variables.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvFromSource, EnvVar, Secret, Service};

use crate::object::{Key, kinds};
use crate::store::Snapshot;

use super::expansion;
use super::fields::Subject;

/// A resolved environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Env {
    own: Vec<(String, String)>,
    services: BTreeMap<String, String>,
}

impl Env {
    /// Resolves the environment of `container`.
    ///
    /// # Errors
    /// What is missing, in upstream's words; the container waits with reason CreateContainerConfigError.
    pub fn of(view: &Snapshot, subject: &Subject<'_>, container: &Container) -> Result<Self, String> {
        let namespace = subject.pod.metadata.namespace.as_deref().unwrap_or_default();
        let links = subject.pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
        let mut env = Self { own: Vec::new(), services: services(view, namespace, links) };
        for source in container.env_from.iter().flatten() {
            for (name, value) in imported(view, namespace, source)? {
                env.set(name, value);
            }
        }
        for var in container.env.iter().flatten() {
            if let Some(value) = env.value(view, subject, namespace, container, var)? {
                env.set(var.name.clone(), value);
            }
        }
        Ok(env)
    }

    /// Replaces references to variables in `text`.
    pub fn expand(&self, text: &str) -> String {
        expansion::expand(text, |name| self.lookup(name))
    }

    /// Returns all variables: the container's own in order, then those of services that it did not set itself.
    pub fn variables(&self) -> Vec<(String, String)> {
        let services = self.services.iter().filter(|(name, _)| self.own.iter().all(|(own, _)| own != *name));
        self.own.iter().cloned().chain(services.map(|(k, v)| (k.clone(), v.clone()))).collect()
    }

    fn lookup(&self, name: &str) -> Option<&str> {
        let own = self.own.iter().find(|(own, _)| own == name).map(|(_, value)| value);
        own.or_else(|| self.services.get(name)).map(String::as_str)
    }

    fn set(&mut self, name: String, value: String) {
        match self.own.iter_mut().find(|(own, _)| *own == name) {
            Some((_, old)) => *old = value,
            None => self.own.push((name, value)),
        }
    }

    /// Returns the value of one variable; `None` if it comes from something optional that is not there.
    fn value(
        &self,
        view: &Snapshot,
        subject: &Subject<'_>,
        namespace: &str,
        container: &Container,
        var: &EnvVar,
    ) -> Result<Option<String>, String> {
        let Some(from) = &var.value_from else {
            return Ok(Some(self.expand(var.value.as_deref().unwrap_or_default())));
        };
        if let Some(field) = &from.field_ref {
            return subject.field(&field.field_path).map(Some);
        }
        if let Some(resource) = &from.resource_field_ref {
            return subject.resource(resource, Some(container)).map(Some);
        }
        if let Some(r) = &from.config_map_key_ref {
            let optional = r.optional.unwrap_or(false);
            let map = found(config_map(view, namespace, &r.name), optional, "configmap", &r.name)?;
            let value = map.as_ref().and_then(|m| m.data.as_ref()?.get(&r.key).cloned());
            let missing = || format!("couldn't find key {} in ConfigMap {namespace}/{}", r.key, r.name);
            return if value.is_none() && !optional { Err(missing()) } else { Ok(value) };
        }
        if let Some(r) = &from.secret_key_ref {
            let optional = r.optional.unwrap_or(false);
            let secret = found(secret(view, namespace, &r.name), optional, "secret", &r.name)?;
            let value = secret.as_ref().and_then(|s| s.data.as_ref()?.get(&r.key));
            let missing = || format!("couldn't find key {} in Secret {namespace}/{}", r.key, r.name);
            let value = value.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned());
            return if value.is_none() && !optional { Err(missing()) } else { Ok(value) };
        }
        Ok(Some(String::new()))
    }
}

/// Returns a configMap of the namespace.
pub(super) fn config_map(view: &Snapshot, namespace: &str, name: &str) -> Option<ConfigMap> {
    view.get(&Key::new(&kinds::CONFIG_MAP, namespace, name))?.typed()
}

/// Returns a secret of the namespace.
pub(super) fn secret(view: &Snapshot, namespace: &str, name: &str) -> Option<Secret> {
    view.get(&Key::new(&kinds::SECRET, namespace, name))?.typed()
}

/// Turns absence into upstream's error, unless it is allowed.
pub(super) fn found<T>(object: Option<T>, optional: bool, kind: &str, name: &str) -> Result<Option<T>, String> {
    if object.is_none() && !optional { Err(format!("{kind} {name:?} not found")) } else { Ok(object) }
}

fn imported(view: &Snapshot, namespace: &str, source: &EnvFromSource) -> Result<Vec<(String, String)>, String> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    let mut out = Vec::new();
    if let Some(r) = &source.config_map_ref {
        let map = found(config_map(view, namespace, &r.name), r.optional.unwrap_or(false), "configmap", &r.name)?;
        out.extend(map.and_then(|m| m.data).into_iter().flatten());
    }
    if let Some(r) = &source.secret_ref {
        let secret = found(secret(view, namespace, &r.name), r.optional.unwrap_or(false), "secret", &r.name)?;
        let data = secret.and_then(|s| s.data).into_iter().flatten();
        out.extend(data.map(|(k, v)| (k, String::from_utf8_lossy(&v.0).into_owned())));
    }
    Ok(out.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)).collect())
}

/// Variables of the namespace's services, and always of `default/kubernetes` (upstream's `envvars.FromServices`).
fn services(view: &Snapshot, namespace: &str, links: bool) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    if let Some(service) = view.get(&Key::new(&kinds::SERVICE, "default", "kubernetes")).and_then(|e| e.typed()) {
        service_variables(&service, &mut out);
    }
    if links {
        for service in view.list(&kinds::SERVICE, Some(namespace)).filter_map(|e| e.typed()) {
            service_variables(&service, &mut out);
        }
    }
    out
}

fn service_variables(service: &Service, out: &mut BTreeMap<String, String>) {
    let upper = |text: &str| text.to_uppercase().replace('-', "_");
    let Some(spec) = &service.spec else { return };
    let ip = spec.cluster_ip.as_deref().unwrap_or_default();
    let (Some(first), false) = (spec.ports.iter().flatten().next(), ip.is_empty() || ip == "None") else { return };
    let name = upper(service.metadata.name.as_deref().unwrap_or_default());
    let protocol = |p: &Option<String>| p.clone().unwrap_or_else(|| "TCP".into());
    let url = |proto: &Option<String>, port: i32| format!("{}://{ip}:{port}", protocol(proto).to_lowercase());
    out.insert(format!("{name}_SERVICE_HOST"), ip.into());
    out.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    out.insert(format!("{name}_PORT"), url(&first.protocol, first.port));
    for port in spec.ports.iter().flatten() {
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            out.insert(format!("{name}_SERVICE_PORT_{}", upper(port_name)), port.port.to_string());
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol(&port.protocol).to_uppercase());
        out.insert(format!("{prefix}_PROTO"), protocol(&port.protocol).to_lowercase());
        out.insert(format!("{prefix}_PORT"), port.port.to_string());
        out.insert(format!("{prefix}_ADDR"), ip.into());
        out.insert(prefix, url(&port.protocol, port.port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::resources::Capacity;
    use crate::kubelet::tests::world;
    use serde_json::{Value, json};

    fn resolve(container: &Value, objects: &[Value]) -> Result<Vec<(String, String)>, String> {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": [container]},
        }))
        .unwrap();
        let subject = Subject {
            pod: &pod,
            node: "n1",
            pod_ip: Some([10, 0, 0, 7].into()),
            host_ip: [192, 0, 2, 1].into(),
            capacity: Capacity::default(),
        };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        Env::of(&world::view(objects), &subject, container).map(|env| env.variables())
    }

    fn config() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "shop", "name": "c"},
            "data": {"color": "red", "size": "big"}})
    }

    fn pairs(list: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        Ok(list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn values_come_from_everywhere_in_order() {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": "shop", "name": "s"},
            "data": {"word": "aHVzaA=="}});
        let container = json!({"name": "web",
        "envFrom": [{"prefix": "C_", "configMapRef": {"name": "c"}}],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(C_color)-$(NOPE)"},
            {"name": "C_size", "value": "small"},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "k", "optional": true}}},
        ]});
        assert_eq!(
            resolve(&container, &[config(), secret]),
            pairs(&[
                ("C_color", "red"),
                ("C_size", "small"),
                ("A", "1"),
                ("B", "1-red-$(NOPE)"),
                ("WORD", "hush"),
                ("IP", "10.0.0.7"),
            ])
        );
    }

    #[test]
    fn what_is_missing_is_named_in_upstreams_words() {
        let from = |source: Value| json!({"name": "web", "env": [{"name": "A", "valueFrom": source}]});
        for (container, message) in [
            (from(json!({"configMapKeyRef": {"name": "x", "key": "k"}})), "configmap \"x\" not found"),
            (from(json!({"configMapKeyRef": {"name": "c", "key": "k"}})), "couldn't find key k in ConfigMap shop/c"),
            (from(json!({"secretKeyRef": {"name": "x", "key": "k"}})), "secret \"x\" not found"),
            (json!({"name": "web", "envFrom": [{"secretRef": {"name": "x"}}]}), "secret \"x\" not found"),
        ] {
            assert_eq!(resolve(&container, &[config()]), Err(message.to_owned()));
        }
    }

    #[test]
    fn services_are_announced_unless_the_container_says_otherwise() {
        let service = |ns: &str, name: &str, ip: &str| {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": ns, "name": name},
                "spec": {"clusterIP": ip, "ports": [{"name": "http", "port": 80}]}})
        };
        let objects = [
            service("default", "kubernetes", "10.96.0.1"),
            service("shop", "my-web", "10.96.0.9"),
            service("shop", "headless", "None"),
            service("other", "far", "10.96.0.10"),
        ];
        let container = json!({"name": "web", "env": [{"name": "MY_WEB_SERVICE_PORT", "value": "7"},
            {"name": "URL", "value": "$(MY_WEB_PORT)"}]});
        let found: BTreeMap<String, String> = resolve(&container, &objects).unwrap().into_iter().collect();
        assert_eq!(found["KUBERNETES_SERVICE_HOST"], "10.96.0.1");
        assert_eq!(found["MY_WEB_SERVICE_HOST"], "10.96.0.9");
        assert_eq!(found["MY_WEB_SERVICE_PORT_HTTP"], "80");
        assert_eq!(found["MY_WEB_PORT_80_TCP"], "tcp://10.96.0.9:80");
        assert_eq!(found["MY_WEB_SERVICE_PORT"], "7");
        assert_eq!(found["URL"], "tcp://10.96.0.9:80");
        assert!(!found.keys().any(|k| k.starts_with("HEADLESS") || k.starts_with("FAR")), "{found:?}");
    }
}
