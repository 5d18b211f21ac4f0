//! ClusterIPs and NodePorts: picked by the node that takes the write, by hash of the uid, past those taken.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use crate::ids::Uid;
use crate::object::Key;

use super::change::Rejected;

/// What may be given.
#[derive(Clone, Debug)]
pub struct Ranges {
    /// ClusterIPs.
    pub addresses: Ipv4Net,
    /// Addresses that are given only to those who ask for them by name.
    pub reserved: Vec<Ipv4Addr>,
    /// NodePorts.
    pub ports: RangeInclusive<u16>,
}

/// What other Services hold.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    addresses: BTreeSet<Ipv4Addr>,
    ports: BTreeSet<(u16, String)>,
}

impl Taken {
    /// Adds what a Service holds.
    pub fn add(&mut self, service: &Value) {
        self.addresses.extend(address(service));
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            if let Some(number) = node_port(port) {
                self.ports.insert((number, protocol(port)));
            }
        }
    }
}

fn address(service: &Value) -> Option<Ipv4Addr> {
    service["spec"]["clusterIP"].as_str()?.parse().ok()
}

fn node_port(port: &Value) -> Option<u16> {
    u16::try_from(port["nodePort"].as_u64()?).ok().filter(|n| *n != 0)
}

fn protocol(port: &Value) -> String {
    port["protocol"].as_str().unwrap_or("TCP").to_owned()
}

/// Gives a Service what it lacks; checks what it asks for. `before`: the Service as it was.
///
/// # Errors
/// [`Rejected::Invalid`] in upstream's words.
pub fn allocate(
    ranges: &Ranges,
    taken: &Taken,
    key: &Key,
    uid: Uid,
    service: &mut Value,
    before: Option<&Value>,
) -> Result<(), Rejected> {
    keep(service, before);
    allocate_address(ranges, taken, key, uid, service)?;
    allocate_ports(ranges, taken, key, uid, service)
}

/// Keeps what the Service had and an update leaves out.
fn keep(service: &mut Value, before: Option<&Value>) {
    let Some(before) = before else { return };
    let spec = &mut service["spec"];
    if spec["type"] == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs"] {
        if is_blank(&spec[field]) && !is_blank(&before["spec"][field]) && before["spec"]["type"] != "ExternalName" {
            spec[field] = before["spec"][field].clone();
        }
    }
    if !wants_node_ports(spec) {
        return;
    }
    let old: Vec<Value> = before["spec"]["ports"].as_array().cloned().unwrap_or_default();
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        let same = |o: &&Value| o["port"] == port["port"] && protocol(o) == protocol(port);
        if node_port(port).is_none()
            && let Some(number) = old.iter().find(same).and_then(node_port)
        {
            port["nodePort"] = number.into();
        }
    }
}

fn is_blank(value: &Value) -> bool {
    value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty)
}

fn wants_node_ports(spec: &Value) -> bool {
    spec["type"] == "NodePort"
        || (spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != Value::Bool(false))
}

fn allocate_address(ranges: &Ranges, taken: &Taken, key: &Key, uid: Uid, service: &mut Value) -> Result<(), Rejected> {
    let spec = &mut service["spec"];
    if spec["type"] == "ExternalName" || spec["clusterIP"] == "None" {
        if spec["clusterIP"] == "None" {
            spec["clusterIPs"] = json!(["None"]);
        }
        return Ok(());
    }
    let given = spec["clusterIP"].as_str().filter(|a| !a.is_empty()).map(str::to_owned);
    let chosen = match given {
        Some(text) => {
            let invalid = |message: String| Rejected::Invalid {
                key: key.clone(),
                field: "spec.clusterIPs".into(),
                value: format!("[{text:?}]"),
                message,
            };
            let address: Ipv4Addr = text.parse().map_err(|_| invalid("must be a valid IP address".into()))?;
            if !ranges.addresses.contains(&address) {
                let range = ranges.addresses;
                return Err(invalid(format!(
                    "failed to allocate IP {text}: the provided network does not match the current range {range}"
                )));
            }
            if taken.addresses.contains(&address) {
                return Err(invalid(format!("failed to allocate IP {text}: provided IP is already allocated")));
            }
            address
        }
        None => free_address(ranges, taken, uid).ok_or_else(|| Rejected::Invalid {
            key: key.clone(),
            field: "spec.clusterIPs".into(),
            value: "[]".into(),
            message: format!("failed to allocate a serviceIP: range {} is full", ranges.addresses),
        })?,
    };
    spec["clusterIP"] = chosen.to_string().into();
    spec["clusterIPs"] = json!([chosen.to_string()]);
    Ok(())
}

fn free_address(ranges: &Ranges, taken: &Taken, uid: Uid) -> Option<Ipv4Addr> {
    let first = u32::from(ranges.addresses.network()) + 1;
    // Neither the network's own address nor the last one.
    let count = u32::from(ranges.addresses.broadcast()).checked_sub(first)?;
    let start = hash(uid, "address") % u64::from(count.max(1));
    (0..u64::from(count))
        .map(|i| Ipv4Addr::from(first + u32::try_from((start + i) % u64::from(count)).expect("below count")))
        .find(|a| !taken.addresses.contains(a) && !ranges.reserved.contains(a))
}

fn allocate_ports(ranges: &Ranges, taken: &Taken, key: &Key, uid: Uid, service: &mut Value) -> Result<(), Rejected> {
    let wants = wants_node_ports(&service["spec"]);
    let mut mine = BTreeSet::new();
    let Some(ports) = service["spec"]["ports"].as_array_mut() else { return Ok(()) };
    for (index, port) in ports.iter().enumerate() {
        let Some(number) = node_port(port) else { continue };
        let invalid = |message: String| Rejected::Invalid {
            key: key.clone(),
            field: format!("spec.ports[{index}].nodePort"),
            value: number.to_string(),
            message,
        };
        if !ranges.ports.contains(&number) {
            let (low, high) = (ranges.ports.start(), ranges.ports.end());
            return Err(invalid(format!(
                "provided port is not in the valid range. The range of valid ports is {low}-{high}"
            )));
        }
        if taken.ports.contains(&(number, protocol(port))) || !mine.insert((number, protocol(port))) {
            return Err(invalid("provided port is already allocated".into()));
        }
    }
    for (index, port) in ports.iter_mut().enumerate() {
        if !wants || node_port(port).is_some() {
            continue;
        }
        let protocol = protocol(port);
        let number = free_port(ranges, taken, &mine, uid, index, &protocol).ok_or_else(|| Rejected::Invalid {
            key: key.clone(),
            field: format!("spec.ports[{index}].nodePort"),
            value: "0".into(),
            message: "failed to allocate a nodePort: range is full".into(),
        })?;
        mine.insert((number, protocol));
        port["nodePort"] = number.into();
    }
    Ok(())
}

fn free_port(
    ranges: &Ranges,
    taken: &Taken,
    mine: &BTreeSet<(u16, String)>,
    uid: Uid,
    index: usize,
    protocol: &str,
) -> Option<u16> {
    let (low, high) = (u64::from(*ranges.ports.start()), u64::from(*ranges.ports.end()));
    let count = high - low + 1;
    let start = hash(uid, &format!("port {index}")) % count;
    (0..count).map(|i| u16::try_from(low + (start + i) % count).expect("a port")).find(|n| {
        let slot = (*n, protocol.to_owned());
        !taken.ports.contains(&slot) && !mine.contains(&slot)
    })
}

fn hash(uid: Uid, purpose: &str) -> u64 {
    let derived = Uid::derived(&[purpose.as_bytes(), &uid.0]);
    u64::from_be_bytes(derived.0[..8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::kinds;

    fn ranges() -> Ranges {
        let addresses = "10.96.0.0/29".parse().unwrap();
        Ranges { addresses, reserved: vec!["10.96.0.2".parse().unwrap()], ports: 30000..=30001 }
    }

    fn give(service: &mut Value, taken: &Taken, before: Option<&Value>) -> Result<(), Rejected> {
        let key = Key::new(&kinds::SERVICE, "default", "web");
        allocate(&ranges(), taken, &key, Uid([1; 16]), service, before)
    }

    #[test]
    fn addresses_are_given_until_the_range_is_full() {
        let mut taken = Taken::default();
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let mut service = json!({"spec": {"ports": [{"port": 80}]}});
            give(&mut service, &taken, None).unwrap();
            assert_eq!(service["spec"]["clusterIPs"][0], service["spec"]["clusterIP"]);
            assert!(seen.insert(address(&service).unwrap()));
            taken.add(&service);
        }
        assert!(!seen.contains(&"10.96.0.2".parse().unwrap()), "a reserved address is not given unasked");
        let full = give(&mut json!({"spec": {}}), &taken, None).unwrap_err().to_string();
        assert!(full.contains("full"), "{full}");
    }

    #[test]
    fn what_is_asked_for_is_checked() {
        let mut taken = Taken::default();
        let service = |ip: &str, port: u16| {
            json!({"spec": {"type": "NodePort", "clusterIP": ip,
            "ports": [{"port": 80, "nodePort": port}]}})
        };
        give(&mut service("10.96.0.2", 30000), &taken, None).unwrap();
        taken.add(&service("10.96.0.2", 30000));
        let why = |s: &mut Value| give(s, &taken, None).unwrap_err().to_string();
        assert!(why(&mut service("10.96.0.2", 30001)).contains("provided IP is already allocated"));
        assert!(why(&mut service("10.96.0.3", 30000)).contains("provided port is already allocated"));
        assert!(why(&mut service("10.96.0.3", 80)).contains("30000-30001"));
        assert!(why(&mut service("10.97.0.3", 30001)).contains("10.96.0.0/29"));
    }

    #[test]
    fn an_update_keeps_what_it_leaves_out() {
        let mut before = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        give(&mut before, &Taken::default(), None).unwrap();
        let mut after = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}});
        give(&mut after, &Taken::default(), Some(&before)).unwrap();
        assert_eq!(after["spec"]["clusterIP"], before["spec"]["clusterIP"]);
        assert_eq!(after["spec"]["ports"][0], before["spec"]["ports"][0]);
        assert_ne!(after["spec"]["ports"][0]["nodePort"], after["spec"]["ports"][1]["nodePort"]);
    }
}
