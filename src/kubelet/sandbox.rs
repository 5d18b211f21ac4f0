//! What a pod's sandbox is made of: host name, names it resolves, volumes.

use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::Config;
use super::action::{DnsSpec, SandboxSpec, VolumeSpec};

/// Linux' longest host name; upstream cuts a pod's name there (`GeneratePodHostNameAndDomain`).
const HOSTNAME_MAX: usize = 63;

/// Builds what the runtime needs for the sandbox of `pod`.
pub(super) fn sandbox_spec(
    config: &Config,
    pod: &Pod,
    spec: &PodSpec,
    address: Option<Ipv4Addr>,
    volumes: Vec<VolumeSpec>,
) -> SandboxSpec {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let host_network = spec.host_network.unwrap_or(false);
    let hostname = if host_network { config.node.clone() } else { hostname(pod, spec) };
    let mut host_aliases = Vec::new();
    if let (Some(address), Some(subdomain)) = (address, spec.subdomain.as_deref().filter(|s| !s.is_empty())) {
        let full = format!("{hostname}.{subdomain}.{namespace}.svc.{}", config.cluster_domain);
        host_aliases.push((address.to_string(), vec![full, hostname.clone()]));
    }
    let aliases = spec.host_aliases.iter().flatten();
    host_aliases.extend(aliases.map(|a| (a.ip.clone(), a.hostnames.clone().unwrap_or_default())));
    SandboxSpec { hostname, address, dns: dns(config, namespace, spec), volumes, host_aliases, held: false }
}

fn hostname(pod: &Pod, spec: &PodSpec) -> String {
    let name = spec.hostname.as_deref().filter(|h| !h.is_empty());
    let name = name.or(pod.metadata.name.as_deref()).unwrap_or_default();
    let cut: String = name.chars().take(HOSTNAME_MAX).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// Builds the resolv.conf that `dnsPolicy` and `dnsConfig` ask for.
fn dns(config: &Config, namespace: &str, spec: &PodSpec) -> DnsSpec {
    let host_network = spec.host_network.unwrap_or(false);
    let mut dns = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "None" => DnsSpec::default(),
        "Default" => config.upstream_dns.clone(),
        "ClusterFirst" if host_network => config.upstream_dns.clone(),
        _ => cluster_dns(config, namespace),
    };
    if let Some(own) = &spec.dns_config {
        dns.servers.extend(own.nameservers.iter().flatten().cloned());
        dns.searches.extend(own.searches.iter().flatten().cloned());
        for option in own.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            dns.options.retain(|o| o.split(':').next() != Some(name.as_str()));
            dns.options.push(option.value.as_ref().map_or(name.clone(), |value| format!("{name}:{value}")));
        }
    }
    for list in [&mut dns.servers, &mut dns.searches] {
        let mut seen = std::collections::BTreeSet::new();
        list.retain(|item| seen.insert(item.clone()));
    }
    dns
}

fn cluster_dns(config: &Config, namespace: &str) -> DnsSpec {
    let domain = &config.cluster_domain;
    let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    searches.extend(config.upstream_dns.searches.iter().cloned());
    DnsSpec { servers: vec![config.dns.to_string()], searches, options: vec!["ndots:5".into()] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::tests::world;
    use serde_json::{Value, json};

    fn build(spec: &Value) -> SandboxSpec {
        let pod: Pod =
            serde_json::from_value(json!({"metadata": {"name": "web-0", "namespace": "shop"}, "spec": spec})).unwrap();
        let address = Some([10, 0, 0, 7].into());
        sandbox_spec(&world::config(), &pod, pod.spec.as_ref().unwrap(), address, Vec::new())
    }

    #[test]
    fn dns_follows_the_policy() {
        let cluster = build(&json!({"containers": []})).dns;
        assert_eq!(cluster.servers, ["10.96.0.10"]);
        assert_eq!(cluster.searches, ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "lan"]);
        assert_eq!(cluster.options, ["ndots:5"]);
        let host = world::config().upstream_dns;
        assert_eq!(build(&json!({"containers": [], "dnsPolicy": "Default"})).dns, host);
        assert_eq!(build(&json!({"containers": [], "hostNetwork": true})).dns, host);
        let both = json!({"containers": [], "hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"});
        assert_eq!(build(&both).dns, cluster);
        let own = json!({"containers": [], "dnsConfig": {"nameservers": ["9.9.9.9", "10.96.0.10"],
            "searches": ["example.org"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}});
        let merged = build(&own).dns;
        assert_eq!(merged.servers, ["10.96.0.10", "9.9.9.9"]);
        assert_eq!(merged.searches.last().map(String::as_str), Some("example.org"));
        assert_eq!(merged.options, ["ndots:2", "edns0"]);
    }

    #[test]
    fn names_of_the_pod() {
        let spec = build(&json!({"containers": [], "subdomain": "db",
            "hostAliases": [{"ip": "192.0.2.9", "hostnames": ["a", "b"]}]}));
        assert_eq!(spec.hostname, "web-0");
        assert_eq!(
            spec.host_aliases,
            [
                ("10.0.0.7".into(), vec!["web-0.db.shop.svc.cluster.local".into(), "web-0".into()]),
                ("192.0.2.9".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ]
        );
        assert_eq!(build(&json!({"containers": [], "hostname": "zeus"})).hostname, "zeus");
        assert_eq!(build(&json!({"containers": [], "hostNetwork": true})).hostname, "n1");
    }
}
