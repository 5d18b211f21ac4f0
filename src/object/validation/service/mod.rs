//! Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::field::{Causes, Field, go_list, quoted};
use super::pod::port_number_or_name;
use super::{meta, names};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Checks a Service.
pub(super) fn service(root: &Field<'_>, causes: &mut Causes) {
    let spec = root.child("spec");
    let kind = spec.child("type").text();
    let headless = is_headless(&spec);
    if spec.child("ports").len() == 0 && !headless && kind != "ExternalName" {
        causes.required(&spec.child("ports"), "");
    }
    of_type(&spec, kind, headless, causes);
    let mut used = BTreeSet::new();
    let several = spec.child("ports").len() > 1;
    for port in spec.child("ports").items() {
        service_port(&port, several, &mut used, causes);
    }
    meta::labels(&spec.child("selector"), causes);
    affinity(&spec, causes);
    addresses(&spec, headless, causes);
    for ip in spec.child("externalIPs").items() {
        external_ip(&ip, causes);
    }
    causes.one_of(&spec.child("type"), TYPES);
    ports_together(&spec, kind, causes);
    load_balancer(&spec, kind, causes);
    traffic(&spec, kind, causes);
}

/// Checks what may become of a Service.
pub(super) fn on_update(new: &Field<'_>, old: &Field<'_>, causes: &mut Causes) {
    let (new, old) = (new.child("spec"), old.child("spec"));
    let (kind, was) = (new.child("type").text(), old.child("type").text());
    if kind != "ExternalName" && was != "ExternalName" {
        let (headless, was_headless) = (is_headless(&new), is_headless(&old));
        if !(headless && was_headless) {
            stays(&new, &old, "clusterIPs", "primary clusterIP can not be unset", causes);
        }
        if !headless && !was_headless {
            stays(&new, &old, "ipFamilies", "primary ipFamily can not be unset", causes);
        }
    }
    let (class, before) = (new.child("loadBalancerClass"), old.child("loadBalancerClass"));
    if kind == "LoadBalancer" && was == "LoadBalancer" && class.value != before.value {
        causes.invalid(&class, "may not change once set");
    }
}

/// The first of a list stays what it is, once set.
fn stays(new: &Field<'_>, old: &Field<'_>, name: &str, unset: &str, causes: &mut Causes) {
    let (now, was) = (new.child(name), old.child(name));
    let Some(first) = was.items().next() else { return };
    let path = now.named(format!("{}[0]", now.path));
    match now.items().next() {
        None => causes.invalid_as(&path, &go_list(now.value), unset),
        Some(other) if other.value != first.value => {
            causes.invalid_as(&path, &go_list(now.value), "may not change once set");
        }
        Some(_) => {}
    }
}

fn is_headless(spec: &Field<'_>) -> bool {
    spec.child("clusterIPs").len() == 1 && spec.value["clusterIPs"][0] == "None"
}

fn of_type(spec: &Field<'_>, kind: &str, headless: bool, causes: &mut Causes) {
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let first = spec.child("clusterIPs").items().next().expect("a headless service has one address");
            causes.invalid(&first, &format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => {
            for name in ["clusterIPs", "ipFamilies"] {
                if spec.child(name).len() > 0 {
                    causes.forbidden(&spec.child(name), "may not be set for ExternalName services");
                }
            }
            if spec.has("ipFamilyPolicy") {
                causes.forbidden(&spec.child("ipFamilyPolicy"), "may not be set for ExternalName services");
            }
            let name = spec.child("externalName");
            let bare = name.text().strip_suffix('.').unwrap_or(name.text());
            if bare.is_empty() {
                causes.required(&name, "");
            } else {
                causes.invalid_each(&name, names::dns_subdomain(bare));
            }
        }
        _ => {}
    }
}

fn service_port<'a>(port: &Field<'a>, several: bool, used: &mut BTreeSet<&'a str>, causes: &mut Causes) {
    let name = port.child("name");
    if !name.text().is_empty() {
        causes.invalid_each(&name, names::dns_label(name.text()));
        if !used.insert(name.text()) {
            causes.duplicate(&name);
        }
    } else if several {
        causes.required(&name, "");
    }
    let number = port.child("port");
    let value = number.number().unwrap_or_default();
    for fault in names::port_number(value) {
        causes.invalid_as(&number, &value.to_string(), &fault);
    }
    causes.one_of(&port.child("protocol"), PROTOCOLS);
    port_number_or_name(&port.child("targetPort"), causes);
    let protocol = port.child("appProtocol");
    if protocol.is_set() {
        causes.invalid_each(&protocol, names::qualified_name(protocol.text()));
    }
}

fn affinity(spec: &Field<'_>, causes: &mut Causes) {
    let (kind, config) = (spec.child("sessionAffinity"), spec.child("sessionAffinityConfig"));
    causes.one_of(&kind, &["ClientIP", "None"]);
    match kind.text() {
        "ClientIP" => {
            let seconds = config.child("clientIP").child("timeoutSeconds");
            match seconds.number() {
                None => causes.required(&seconds, "when session affinity type is ClientIP"),
                Some(1..=86_400) => {}
                Some(_) => causes.invalid(&seconds, "must be greater than 0 and less than 86400"),
            }
        }
        "None" if config.is_set() => causes.forbidden(&config, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn addresses(spec: &Field<'_>, headless: bool, causes: &mut Causes) {
    let (one, list) = (spec.child("clusterIP"), spec.child("clusterIPs"));
    if one.text().is_empty() {
        if list.len() > 0 {
            causes.invalid_as(&list, &go_list(list.value), "must be empty when `clusterIP` is not specified");
        }
    } else if list.len() == 0 {
        causes.required(&list, "");
    } else if list.value[0] != *one.value {
        causes.invalid_as(&list, &go_list(list.value), "first value must match `clusterIP`");
    }
    families(spec, causes);
    for (i, ip) in list.items().enumerate() {
        if i == 0 && ip.text() == "None" {
            if list.len() > 1 {
                causes.invalid_as(&list, &go_list(list.value), "'None' must be the first and only value");
            }
            continue;
        }
        let faults = names::ip_address(ip.text());
        let family = spec.value["ipFamilies"][i].as_str().unwrap_or_default();
        let is_v6 = ip.text().parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6());
        if faults.is_empty() && !headless && ((family == "IPv4" && is_v6) || (family == "IPv6" && !is_v6)) {
            causes.invalid(&ip, &format!("expected an {family} value as indicated by `ipFamilies[{i}]`"));
        }
        causes.invalid_each(&ip, faults);
    }
    if list.len() > 2 {
        causes.invalid_as(&list, &go_list(list.value), "may only hold up to 2 values");
    }
}

fn families(spec: &Field<'_>, causes: &mut Causes) {
    let mut used = BTreeSet::new();
    for family in spec.child("ipFamilies").items() {
        if !["IPv4", "IPv6"].contains(&family.text()) {
            causes.not_supported(&family, &["IPv4", "IPv6"]);
        }
        if !used.insert(family.text()) {
            causes.duplicate(&family);
        }
    }
    let policy = spec.child("ipFamilyPolicy");
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    if policy.is_set() && !policies.contains(&policy.text()) {
        causes.not_supported(&policy, &policies);
    }
}

/// An address that leads back to this machine or to nobody in particular is no external address.
fn external_ip(ip: &Field<'_>, causes: &mut Causes) {
    let Ok(address) = ip.text().parse::<IpAddr>() else {
        return causes.invalid_each(ip, names::ip_address(ip.text()));
    };
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_unspecified() {
        causes.invalid(ip, &format!("may not be unspecified ({})", ip.text()));
    }
    if address.is_loopback() {
        causes.invalid(ip, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        causes.invalid(ip, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
}

fn ports_together(spec: &Field<'_>, kind: &str, causes: &mut Causes) {
    let (mut node_ports, mut ports) = (BTreeSet::new(), BTreeSet::new());
    for port in spec.child("ports").items() {
        let node_port = port.child("nodePort");
        let number = node_port.number().unwrap_or_default();
        if number != 0 && kind == "ClusterIP" {
            causes.forbidden(&node_port, "may not be used when `type` is 'ClusterIP'");
        }
        if number != 0 && !node_ports.insert((port.child("protocol").text(), number)) {
            causes.duplicate(&node_port);
        }
        let number = port.child("port").number().unwrap_or_default();
        let protocol = port.child("protocol").text();
        if !ports.insert((protocol, number)) {
            // As Go writes the structure that upstream shows here.
            let shown = format!(
                "core.ServicePort{{Name:\"\", Protocol:{}, AppProtocol:(*string)(nil), Port:{number}, \
                 TargetPort:intstr.IntOrString{{Type:0, IntVal:0, StrVal:\"\"}}, NodePort:0}}",
                quoted(protocol)
            );
            causes.duplicate_as(&port, &shown, "");
        }
    }
}

fn load_balancer(spec: &Field<'_>, kind: &str, causes: &mut Causes) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let balanced = kind == "LoadBalancer";
    let ranges = spec.child("loadBalancerSourceRanges").named(spec.child("LoadBalancerSourceRanges").path);
    if ranges.len() > 0 && !balanced {
        causes.forbidden(&ranges, ONLY);
    }
    for range in ranges.items() {
        causes.invalid_each(&range, names::cidr(range.text().trim()));
    }
    for name in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
        if spec.has(name) && !balanced {
            causes.forbidden(&spec.child(name), ONLY);
        }
    }
    let class = spec.child("loadBalancerClass");
    if balanced && class.is_set() {
        causes.invalid_each(&class, names::qualified_name(class.text()));
    }
}

fn traffic(spec: &Field<'_>, kind: &str, causes: &mut Causes) {
    let (external, internal) = (spec.child("externalTrafficPolicy"), spec.child("internalTrafficPolicy"));
    let with_node_ports = kind == "NodePort" || kind == "LoadBalancer";
    if with_node_ports || (kind == "ClusterIP" && spec.child("externalIPs").len() > 0) {
        causes.one_of(&external, &["Cluster", "Local"]);
    } else if !external.text().is_empty() {
        causes.invalid(&external, "may only be set for externally-accessible services");
    }
    if with_node_ports || kind == "ClusterIP" || internal.is_set() {
        causes.one_of(&internal, &["Cluster", "Local"]);
    }
    let distribution = spec.child("trafficDistribution");
    if distribution.is_set() && distribution.text() != "PreferClose" {
        causes.not_supported(&distribution, &["PreferClose"]);
    }
    let health = spec.child("healthCheckNodePort");
    if health.number().unwrap_or_default() != 0 && !(kind == "LoadBalancer" && external.text() == "Local") {
        let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        causes.invalid(&health, why);
    }
}

/// Checks the status of a Service.
pub(super) fn on_status(new: &Field<'_>, causes: &mut Causes) {
    let ingress = new.child("status").child("loadBalancer").child("ingress");
    if ingress.len() > 0 && new.child("spec").child("type").text() != "LoadBalancer" {
        return causes.forbidden(&ingress, "may only be used when `spec.type` is 'LoadBalancer'");
    }
    for point in ingress.items() {
        let (ip, host) = (point.child("ip"), point.child("hostname"));
        if !ip.text().is_empty() {
            causes.invalid_each(&ip, names::ip_address(ip.text()));
        }
        if !host.text().is_empty() {
            causes.invalid_each(&host, names::dns_subdomain(host.text()));
        }
    }
}

#[cfg(test)]
mod tests;
