//! Addresses and ports of Services: picked at once by the node that takes the write, kept with the Service.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use serde_json::{Map, Value, json};

use crate::ids::Uid;
use crate::object::Key;

use super::change::Rejected;

/// What is taken, and from which ranges.
#[derive(Debug)]
pub struct Allocations {
    range: Ipv4Net,
    ports: RangeInclusive<u16>,
    reserved: BTreeSet<Ipv4Addr>,
    addresses: BTreeMap<Ipv4Addr, BTreeSet<Uid>>,
    node_ports: BTreeMap<u16, BTreeSet<Uid>>,
    /// Services that were found to have what another has, or to lack what they need.
    contested: BTreeSet<Uid>,
}

impl Allocations {
    /// Makes one in which nothing is taken. Reserved addresses are given only to who asks for them.
    pub fn new(range: Ipv4Net, ports: RangeInclusive<u16>, reserved: impl IntoIterator<Item = Ipv4Addr>) -> Self {
        let reserved = reserved.into_iter().collect();
        let (addresses, node_ports, contested) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { range, ports, reserved, addresses, node_ports, contested }
    }

    /// Notes what a Service has. Returns whether another has it too, or it lacks an address: what only a merge leaves.
    pub fn claim(&mut self, uid: Uid, intent: &Map<String, Value>) -> bool {
        let before = self.contested.len();
        if lacks_address(intent) {
            self.contested.insert(uid);
        }
        for address in addresses(intent) {
            let users = self.addresses.entry(address).or_default();
            users.insert(uid);
            if users.len() > 1 {
                self.contested.extend(users.iter());
            }
        }
        for port in node_ports(intent) {
            let users = self.node_ports.entry(port).or_default();
            users.insert(uid);
            if users.len() > 1 {
                self.contested.extend(users.iter());
            }
        }
        self.contested.len() > before
    }

    /// Tells whether any Service has what another has.
    pub fn is_contested(&self) -> bool {
        !self.contested.is_empty()
    }

    /// Takes the Services that may have what another has.
    pub fn take_contested(&mut self) -> BTreeSet<Uid> {
        std::mem::take(&mut self.contested)
    }

    /// Gives a Service others of what an elder has too, and an address if it lacks one. Returns what has changed, in
    /// words.
    ///
    /// # Errors
    /// [`Rejected::Invalid`] if a range is full.
    pub fn give_way(
        &self,
        key: &Key,
        uid: Uid,
        intent: &mut Map<String, Value>,
        elder: impl Fn(&Uid) -> bool,
    ) -> Result<Vec<String>, Rejected> {
        let mut moves = Vec::new();
        let taken = |users: Option<&BTreeSet<Uid>>| users.is_some_and(|users| users.iter().any(&elder));
        let had: Option<Ipv4Addr> = addresses(intent).next();
        let lacks = lacks_address(intent);
        let mut given: BTreeSet<u16> = node_ports(intent).into_iter().collect();
        let Some(Value::Object(spec)) = intent.get_mut("spec") else { return Ok(moves) };
        if lacks || had.is_some_and(|had| taken(self.addresses.get(&had))) {
            let address = self.free_address(key, uid)?.to_string();
            let had = had.map_or_else(|| "none".to_owned(), |had| had.to_string());
            moves.push(format!("clusterIP {had} becomes {address}"));
            spec.insert("clusterIPs".into(), json!([address]));
            spec.insert("clusterIP".into(), address.into());
        }
        for (i, port) in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            let Some(had) = port["nodePort"].as_u64().and_then(|n| u16::try_from(n).ok()) else { continue };
            if taken(self.node_ports.get(&had)) {
                let number = self.free_port(key, uid, i, &given)?;
                given.insert(number);
                moves.push(format!("nodePort {had} becomes {number}"));
                port["nodePort"] = number.into();
            }
        }
        Ok(moves)
    }

    /// Forgets what a Service had.
    pub fn release(&mut self, uid: Uid, intent: &Map<String, Value>) {
        for address in addresses(intent) {
            if self.addresses.get_mut(&address).is_some_and(|users| users.remove(&uid) && users.is_empty()) {
                self.addresses.remove(&address);
            }
        }
        for port in node_ports(intent) {
            if self.node_ports.get_mut(&port).is_some_and(|users| users.remove(&uid) && users.is_empty()) {
                self.node_ports.remove(&port);
            }
        }
    }

    /// Completes what is asked of a Service with what it had (`old`) and with what it needs.
    ///
    /// # Errors
    /// [`Rejected::Invalid`] if it asks for what is taken or out of range, or a range is full.
    pub fn complete(
        &self,
        key: &Key,
        uid: Uid,
        intent: &mut Map<String, Value>,
        old: Option<&Map<String, Value>>,
    ) -> Result<(), Rejected> {
        let Some(Value::Object(spec)) = intent.get_mut("spec") else { return Ok(()) };
        let old = old.and_then(|old| old.get("spec")).and_then(Value::as_object);
        self.complete_address(key, uid, spec, old)?;
        self.complete_ports(key, uid, spec, old)
    }

    fn complete_address(
        &self,
        key: &Key,
        uid: Uid,
        spec: &mut Map<String, Value>,
        old: Option<&Map<String, Value>>,
    ) -> Result<(), Rejected> {
        if kind_of(spec) == "ExternalName" {
            // What it had goes with the type.
            for field in ["clusterIP", "clusterIPs"] {
                if old.is_some_and(|old| old.get(field) == spec.get(field)) {
                    spec.remove(field);
                }
            }
            return Ok(());
        }
        let asked = text(spec, "clusterIP").or_else(|| spec.get("clusterIPs")?[0].as_str().map(str::to_owned));
        let had = old.filter(|old| kind_of(old) != "ExternalName").and_then(|old| text(old, "clusterIP"));
        let address = match asked.or_else(|| had.clone()) {
            Some(none) if none == "None" => none,
            // Also while another has it too, which the leader settles.
            Some(kept) if Some(&kept) == had.as_ref() => kept,
            Some(asked) => self.check_address(key, uid, asked)?,
            None => self.free_address(key, uid)?.to_string(),
        };
        spec.insert("clusterIPs".into(), json!([address]));
        spec.insert("clusterIP".into(), address.into());
        Ok(())
    }

    fn check_address(&self, key: &Key, uid: Uid, asked: String) -> Result<String, Rejected> {
        let refuse = |why: String| {
            let message = format!("failed to allocate IP {asked}: {why}");
            invalid(key, "spec.clusterIPs", format!("[]string{{{asked:?}}}"), message)
        };
        let address = asked.parse().ok().filter(|a| self.range.contains(a) && !self.is_edge(*a));
        let Some(address) = address else {
            let range = self.range;
            return Err(refuse(format!(
                "the provided IP ({asked}) is not in the valid range. The range of valid IPs is {range}"
            )));
        };
        if taken_by_other(self.addresses.get(&address), uid) {
            return Err(refuse("provided IP is already allocated".into()));
        }
        Ok(asked)
    }

    fn is_edge(&self, address: Ipv4Addr) -> bool {
        address == self.range.network() || address == self.range.broadcast()
    }

    fn free_address(&self, key: &Key, uid: Uid) -> Result<Ipv4Addr, Rejected> {
        let first = u32::from(self.range.network());
        let size = u32::from(self.range.broadcast()) - first + 1;
        let start = hash(uid) % size;
        let candidates = (0..size).map(|i| Ipv4Addr::from(first + (start + i) % size));
        let free = |a: &Ipv4Addr| !self.is_edge(*a) && !self.reserved.contains(a) && !self.addresses.contains_key(a);
        candidates.into_iter().find(free).ok_or_else(|| {
            invalid(key, "spec.clusterIPs", "[]string(nil)".into(), "failed to allocate IP: range is full".into())
        })
    }

    fn complete_ports(
        &self,
        key: &Key,
        uid: Uid,
        spec: &mut Map<String, Value>,
        old: Option<&Map<String, Value>>,
    ) -> Result<(), Rejected> {
        let kind = kind_of(spec);
        let needs = kind == "NodePort"
            || kind == "LoadBalancer" && spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false));
        let had = old.map(ports_by_name).unwrap_or_default();
        let had_type = old.map(kind_of);
        let Some(Value::Array(ports)) = spec.get_mut("ports") else { return Ok(()) };
        let mut given: BTreeSet<u16> = BTreeSet::new();
        for (i, port) in ports.iter_mut().enumerate() {
            let name = port["name"].as_str().unwrap_or_default();
            let asked = port["nodePort"].as_u64().filter(|n| *n != 0);
            let before = had.get(name).copied();
            let allows = matches!(&*kind, "NodePort" | "LoadBalancer");
            let number = match asked {
                // What it had goes with the type, unless it is asked for anew.
                Some(n) if !allows && before.map(u64::from) == Some(n) && had_type.as_deref() != Some(&*kind) => None,
                // Also while another has it too, which the leader settles.
                Some(n) if allows && before.map(u64::from) == Some(n) => before,
                Some(n) => Some(self.check_port(key, uid, i, n)?),
                None => before.filter(|n| allows && !given.contains(n)),
            };
            let number = match number {
                None if needs => Some(self.free_port(key, uid, i, &given)?),
                number => number,
            };
            if let (Some(number), Value::Object(port)) = (number, &mut *port) {
                given.insert(number);
                port.insert("nodePort".into(), number.into());
            } else if let Value::Object(port) = port {
                port.remove("nodePort");
            }
        }
        Ok(())
    }

    fn check_port(&self, key: &Key, uid: Uid, i: usize, asked: u64) -> Result<u16, Rejected> {
        let refuse = |why: String| invalid(key, &format!("spec.ports[{i}].nodePort"), asked.to_string(), why);
        let port = u16::try_from(asked).ok().filter(|port| self.ports.contains(port));
        let Some(port) = port else {
            return Err(refuse(format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                self.ports.start(),
                self.ports.end()
            )));
        };
        if taken_by_other(self.node_ports.get(&port), uid) {
            return Err(refuse("provided port is already allocated".into()));
        }
        Ok(port)
    }

    fn free_port(&self, key: &Key, uid: Uid, i: usize, given: &BTreeSet<u16>) -> Result<u16, Rejected> {
        let size = u32::from(self.ports.end() - self.ports.start()) + 1;
        // Each port of a Service starts elsewhere.
        let start = hash(uid).wrapping_add(u32::try_from(i).unwrap_or(0).wrapping_mul(7_919)) % size;
        let candidates = (0..size).filter_map(|n| u16::try_from((start + n) % size).ok());
        let free = |port: &u16| !self.node_ports.contains_key(port) && !given.contains(port);
        candidates.map(|n| self.ports.start() + n).find(free).ok_or_else(|| {
            let message = "failed to allocate a nodePort: range is full".to_owned();
            invalid(key, &format!("spec.ports[{i}].nodePort"), "0".into(), message)
        })
    }
}

/// Tells whether a Service has no address that should have one: two sides have changed its type.
fn lacks_address(intent: &Map<String, Value>) -> bool {
    let Some(Value::Object(spec)) = intent.get("spec") else { return false };
    kind_of(spec) != "ExternalName" && text(spec, "clusterIP").is_none()
}

fn invalid(key: &Key, field: &str, value: String, message: String) -> Rejected {
    Rejected::Invalid { key: key.clone(), field: field.to_owned(), value, message }
}

fn taken_by_other(users: Option<&BTreeSet<Uid>>, uid: Uid) -> bool {
    users.is_some_and(|users| users.iter().any(|user| *user != uid))
}

fn kind_of(spec: &Map<String, Value>) -> String {
    text(spec, "type").unwrap_or_else(|| "ClusterIP".into())
}

fn text(map: &Map<String, Value>, field: &str) -> Option<String> {
    map.get(field)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn addresses(intent: &Map<String, Value>) -> impl Iterator<Item = Ipv4Addr> {
    let address = intent.get("spec").and_then(|spec| spec["clusterIP"].as_str()?.parse().ok());
    address.into_iter()
}

fn node_ports(intent: &Map<String, Value>) -> Vec<u16> {
    let ports = intent.get("spec").and_then(|spec| spec["ports"].as_array());
    let number = |port: &Value| u16::try_from(port["nodePort"].as_u64()?).ok();
    ports.into_iter().flatten().filter_map(number).collect()
}

fn ports_by_name(spec: &Map<String, Value>) -> BTreeMap<String, u16> {
    let ports = spec.get("ports").and_then(Value::as_array);
    let named = |port: &Value| {
        let number = u16::try_from(port["nodePort"].as_u64()?).ok()?;
        Some((port["name"].as_str().unwrap_or_default().to_owned(), number))
    };
    ports.into_iter().flatten().filter_map(named).collect()
}

fn hash(uid: Uid) -> u32 {
    let spread = Uid::derived(&[b"allocation", &uid.0]);
    u32::from_be_bytes([spread.0[0], spread.0[1], spread.0[2], spread.0[3]])
}
