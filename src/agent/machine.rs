//! What the host says of itself.

use crate::kubelet::Machine;
use crate::kubelet::action::DnsSpec;
use crate::object::{Key, kinds};
use crate::store::Snapshot;

/// Reads the machine's names; what is not there is empty.
pub fn names() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    Machine {
        machine_id: read("/etc/machine-id"),
        system_uuid: read("/sys/class/dmi/id/product_uuid"),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
    }
}

/// Reads the host's resolv.conf, for pods with `dnsPolicy: Default`.
pub fn resolv_conf() -> DnsSpec {
    parse(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default())
}

fn parse(text: &str) -> DnsSpec {
    let mut dns = DnsSpec::default();
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.servers.extend(words.take(1)),
            Some("search") => dns.searches = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

/// Tells whether node `name` is shown as Ready.
pub fn is_ready(view: &Snapshot, name: &str) -> bool {
    let Some(node) = view.get(&Key::cluster(&kinds::NODE, name)) else { return false };
    let node = node.value();
    let conditions = node["status"]["conditions"].as_array();
    conditions.is_some_and(|c| c.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read() {
        let dns = parse("# x\nnameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch a.b c\noptions ndots:2\n");
        assert_eq!(dns.servers, ["1.1.1.1", "9.9.9.9"]);
        assert_eq!((dns.searches.len(), dns.options), (2, vec!["ndots:2".to_owned()]));
    }
}
