//! The node's pod network: a bridge of our own, a veth pair a pod, and the firewall rules they need.
//!
//! The host end of a pod's veth gets its name last, when all else is in place: a port of that name means that the pod's
//! network is complete. Bridge and ports survive the agent, so that what runs is adopted untouched.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::linux::fs::MetadataExt;

use ipnet::Ipv4Net;
use nix::sched::{CloneFlags, setns};
use tokio::net::{TcpSocket, TcpStream};

use crate::hostnet::{FirewallError, Rule};
use crate::ids::Uid;

use super::netlink::{Netlink, controller_of, name_of};

/// A pod's network could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel refused.
    #[error("cannot {what}: {reason}")]
    Refused {
        /// What it was asked to do.
        what: String,
        /// What it said.
        reason: String,
    },
    /// The sandbox died before its network was there.
    #[error("the sandbox's process {0} has no network namespace of its own")]
    NoNamespace(u32),
    /// The firewall could not be opened.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
}

/// The pod network of one node.
#[derive(Clone, Debug)]
pub struct Network {
    bridge: String,
    pods: Ipv4Net,
    cluster: Ipv4Net,
    services: Ipv4Net,
}

impl Network {
    /// Describes a network: this node's `pods` on `bridge`, in a `cluster` whose virtual addresses are `services`.
    pub fn new(bridge: String, pods: Ipv4Net, cluster: Ipv4Net, services: Ipv4Net) -> Self {
        Self { bridge, pods, cluster, services }
    }

    /// The bridge's own address, which is the pods' gateway: the first of the range.
    pub fn gateway(&self) -> Ipv4Addr {
        self.pods.hosts().next().unwrap_or(self.pods.addr())
    }

    /// Makes sure that the bridge is up with its address, that the host forwards, and that the firewall lets pods
    /// through. Docker sets the FORWARD policy to DROP whenever it starts, so this is called after each connection.
    pub async fn ensure(&self) -> Result<(), NetworkError> {
        forward_packets()?;
        self.ensure_bridge(&Netlink::open()?).await?;
        self.ensure_rules().await
    }

    /// Puts ports of `pods` that lost their bridge (somebody deleted it) back on.
    pub async fn mend(&self, pods: &[Uid]) -> Result<(), NetworkError> {
        let netlink = Netlink::open()?;
        let ours: BTreeSet<String> = pods.iter().map(|uid| port_name(*uid)).collect();
        for link in netlink.links().await? {
            if name_of(&link).is_some_and(|name| ours.contains(name)) && controller_of(&link).is_none() {
                let bridge = self.ensure_bridge(&netlink).await?;
                netlink.attach(link.header.index, bridge).await?;
                netlink.raise(link.header.index).await?;
            }
        }
        Ok(())
    }

    /// Gives the pod `uid`, whose namespaces process `pid` holds, its address. What is left of an earlier try goes.
    pub async fn plug(&self, uid: Uid, pid: u32, address: Ipv4Addr) -> Result<(), NetworkError> {
        let namespace = namespace_of(pid)?;
        let netlink = Netlink::open()?;
        let bridge = match netlink.index(&self.bridge).await? {
            Some(bridge) => bridge,
            None => self.ensure_bridge(&netlink).await?,
        };
        let (unfinished, port) = (unfinished_name(uid), port_name(uid));
        for name in [&unfinished, &port] {
            netlink.delete(name).await?;
        }
        netlink.add_pair(&unfinished, &namespace, &mac_of(address)).await?;
        let gateway = self.gateway();
        let length = self.pods.prefix_len();
        configure_inside(namespace, address, length, gateway).await?;
        let index = netlink.index(&unfinished).await?.ok_or(NetworkError::NoNamespace(pid))?;
        netlink.attach(index, bridge).await?;
        netlink.rename_and_raise(index, &port).await
    }

    /// Takes the pod's port away, if it is still there.
    pub async fn unplug(&self, uid: Uid) -> Result<(), NetworkError> {
        let netlink = Netlink::open()?;
        netlink.delete(&unfinished_name(uid)).await?;
        netlink.delete(&port_name(uid)).await
    }

    /// Returns the names of all complete ports.
    pub async fn ports(&self) -> Result<Ports, NetworkError> {
        let links = Netlink::open()?.links().await?;
        Ok(Ports(links.iter().filter_map(name_of).filter(|name| is_port(name)).map(str::to_owned).collect()))
    }

    async fn ensure_bridge(&self, netlink: &Netlink) -> Result<u32, NetworkError> {
        let index = match netlink.index(&self.bridge).await? {
            Some(index) => index,
            None => netlink.add_bridge(&self.bridge, &mac_of(self.gateway())).await?,
        };
        netlink.set_only_address(index, self.gateway(), self.pods.prefix_len()).await?;
        netlink.raise(index).await?;
        Ok(index)
    }

    /// With bridge-nf-call-iptables even traffic within the bridge crosses FORWARD, whose policy Docker sets to DROP.
    async fn ensure_rules(&self) -> Result<(), NetworkError> {
        let Self { bridge, pods, cluster, services } = self;
        Rule::new("filter", "FORWARD", &format!("-o {bridge} -j ACCEPT")).ensure().await?;
        Rule::new("filter", "FORWARD", &format!("-i {bridge} -j ACCEPT")).ensure().await?;
        let masquerade = format!("-s {pods} ! -d {cluster} ! -o {bridge} -j MASQUERADE");
        Rule::new("nat", "POSTROUTING", &masquerade).ensure().await?;
        // Services see who calls. A rule holds one `! -d` only, so this one goes in front of the other.
        let direct = Rule::new("nat", "POSTROUTING", &format!("-s {pods} -d {services} -j RETURN"));
        direct.remove().await?;
        direct.ensure().await?;
        Ok(())
    }
}

/// Which pods have their network.
#[derive(Clone, Debug, Default)]
pub struct Ports(BTreeSet<String>);

impl Ports {
    /// Whether the pod's network is complete.
    pub fn has(&self, uid: Uid) -> bool {
        self.0.contains(&port_name(uid))
    }
}

/// Names of interfaces have 15 characters at most: 48 bits of the uid tell pods of one host apart.
fn port_name(uid: Uid) -> String {
    format!("sk{}", hex::encode(&uid.0[..6]))
}

fn unfinished_name(uid: Uid) -> String {
    format!("st{}", hex::encode(&uid.0[..6]))
}

fn is_port(name: &str) -> bool {
    name.len() == 14 && name.strip_prefix("sk").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A locally administered address that follows the IP address, so that neighbours' caches stay right when a pod is
/// given an address that another one had.
fn mac_of(address: Ipv4Addr) -> Vec<u8> {
    [&[0x0a, 0x58], address.octets().as_slice()].concat()
}

fn forward_packets() -> Result<(), NetworkError> {
    let path = "/proc/sys/net/ipv4/ip_forward";
    let failed = |e: io::Error| refused("forward packets", super::error::reason(&e));
    if std::fs::read_to_string(path).map_err(failed)?.trim() != "1" {
        std::fs::write(path, "1").map_err(failed)?;
    }
    Ok(())
}

/// Opens a process's network namespace. A process that has died may have left its number to one of the host: the
/// host's own namespace must never be configured as a pod's.
fn namespace_of(pid: u32) -> Result<OwnedFd, NetworkError> {
    let none = |_| NetworkError::NoNamespace(pid);
    let theirs = File::open(format!("/proc/{pid}/ns/net")).map_err(none)?;
    let ours = File::open("/proc/thread-self/ns/net").map_err(none)?;
    let id = |file: &File| file.metadata().map(|m| (m.st_dev(), m.st_ino())).map_err(none);
    if id(&theirs)? == id(&ours)? {
        return Err(NetworkError::NoNamespace(pid));
    }
    Ok(theirs.into())
}

/// Opens the network namespace in which a process's ports are to be dialled: also the host's own.
pub fn namespace_to_dial(pid: u32) -> Result<OwnedFd, NetworkError> {
    File::open(format!("/proc/{pid}/ns/net")).map(Into::into).map_err(|_| NetworkError::NoNamespace(pid))
}

/// Opens a connection from within a network namespace. A socket stays in the namespace in which it was made.
///
/// # Errors
/// The kernel's: nobody listens there, or the namespace cannot be entered.
pub async fn dial_within(namespace: OwnedFd, at: SocketAddrV4) -> io::Result<TcpStream> {
    let (made_in, made) = tokio::sync::oneshot::channel();
    let inside = move || -> io::Result<TcpSocket> {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        Ok(TcpSocket::from_std_stream(socket.into()))
    };
    std::thread::Builder::new().name("pod-dial".into()).spawn(move || {
        let _ = made_in.send(inside());
    })?;
    let socket = made.await.map_err(|_| io::Error::other("the thread died"))??;
    socket.connect(at.into()).await
}

/// Configures a pod's end. A namespace belongs to a thread, so one of its own goes in and ends there.
async fn configure_inside(
    namespace: OwnedFd,
    address: Ipv4Addr,
    length: u8,
    gateway: Ipv4Addr,
) -> Result<(), NetworkError> {
    let (done_in, done) = tokio::sync::oneshot::channel();
    let inside = move || -> Result<(), NetworkError> {
        let failed = |e: io::Error| refused("enter the pod's network namespace", super::error::reason(&e));
        setns(&namespace, CloneFlags::CLONE_NEWNET).map_err(|e| failed(e.into()))?;
        let local = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(failed)?;
        local.block_on(async {
            let netlink = Netlink::open()?;
            let missing = |what: &str| refused(what, "no such device");
            let lo = netlink.index("lo").await?.ok_or_else(|| missing("raise lo"))?;
            netlink.raise(lo).await?;
            let eth0 = netlink.index("eth0").await?.ok_or_else(|| missing("raise eth0"))?;
            netlink.set_only_address(eth0, address, length).await?;
            netlink.raise(eth0).await?;
            netlink.route_all(gateway).await
        })
    };
    let thread = std::thread::Builder::new().name("pod-network".into()).spawn(move || {
        let _ = done_in.send(inside());
    });
    thread.map_err(|e| refused("start a thread", super::error::reason(&e)))?;
    done.await.unwrap_or_else(|_| Err(refused("configure the pod's network", "the thread died")))
}

/// Returns the error for something that the kernel did not do.
pub fn refused(what: impl Into<String>, reason: impl Into<String>) -> NetworkError {
    NetworkError::Refused { what: what.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_an_interface_and_are_told_apart() {
        let uid = Uid::derived(&[b"a"]);
        let (port, unfinished) = (port_name(uid), unfinished_name(uid));
        assert!(port.len() < 16 && unfinished.len() < 16);
        assert!(is_port(&port) && !is_port(&unfinished));
        for foreign in ["sk0", "skein0", "docker0", "skbridge-abcde", "veth0123456789"] {
            assert!(!is_port(foreign), "{foreign}");
        }
        assert!(Ports(BTreeSet::from([port])).has(uid));
    }

    #[test]
    fn a_mac_is_local_and_follows_the_address() {
        assert_eq!(mac_of(Ipv4Addr::new(10, 240, 0, 5)), [0x0a, 0x58, 10, 240, 0, 5]);
    }

    #[test]
    fn the_hosts_own_namespace_is_never_taken_for_a_pods() {
        let own = std::process::id();
        assert!(matches!(namespace_of(own), Err(NetworkError::NoNamespace(pid)) if pid == own));
        assert!(matches!(namespace_of(u32::MAX), Err(NetworkError::NoNamespace(_))));
    }

    #[test]
    fn the_gateway_is_the_ranges_first_address() {
        let net = |text: &str| text.parse().unwrap();
        let network = Network::new("b".into(), net("10.240.3.0/24"), net("10.240.0.0/12"), net("10.96.0.0/16"));
        assert_eq!(network.gateway(), Ipv4Addr::new(10, 240, 3, 1));
    }
}
