//! Interfaces, addresses and routes: what we ask of the kernel.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::error::reason;
use super::network::{NetworkError, refused};

/// Questions and orders to the kernel, in the namespace of the thread that opened it.
pub struct Netlink {
    handle: Handle,
    connection: tokio::task::JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Netlink {
    /// Opens a socket in the namespace of this thread.
    pub fn open() -> Result<Self, NetworkError> {
        let (connection, handle, _) =
            rtnetlink::new_connection().map_err(|e| refused("open a netlink socket", reason(&e)))?;
        Ok(Self { handle, connection: tokio::spawn(connection) })
    }

    /// Lists all interfaces.
    pub async fn links(&self) -> Result<Vec<LinkMessage>, NetworkError> {
        self.handle.link().get().execute().try_collect().await.map_err(failed("list interfaces"))
    }

    /// Returns an interface's index, if there is one of that name.
    pub async fn index(&self, name: &str) -> Result<Option<u32>, NetworkError> {
        match self.handle.link().get().match_name(name).execute().try_next().await {
            Ok(link) => Ok(link.map(|l| l.header.index)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(failed(format!("look for interface {name}"))(error)),
        }
    }

    /// Deletes an interface, if there is one of that name.
    pub async fn delete(&self, name: &str) -> Result<(), NetworkError> {
        let Some(index) = self.index(name).await? else { return Ok(()) };
        match self.handle.link().del(index).execute().await {
            Err(error) if !is_absent(&error) => Err(failed(format!("delete interface {name}"))(error)),
            _ => Ok(()),
        }
    }

    /// Makes a bridge that is up, and returns its index.
    pub async fn add_bridge(&self, name: &str, mac: &[u8]) -> Result<u32, NetworkError> {
        // With an address given, the bridge does not take over those of its ports as they come and go.
        let bridge = LinkBridge::new(name).address(mac.to_vec()).up().build();
        self.handle.link().add(bridge).execute().await.map_err(failed(format!("make bridge {name}")))?;
        self.index(name).await?.ok_or_else(|| refused(format!("make bridge {name}"), "it is not there"))
    }

    /// Makes a pair of interfaces: `name` here, `eth0` with this hardware address in `namespace`.
    pub async fn add_pair(&self, name: &str, namespace: &OwnedFd, mac: &[u8]) -> Result<(), NetworkError> {
        let inside = LinkUnspec::new_with_name("eth0").address(mac.to_vec()).setns_by_fd(namespace.as_raw_fd()).build();
        let pair: LinkMessageBuilder<LinkVeth> =
            LinkVeth::new(name, "eth0").set_info_data(InfoData::Veth(InfoVeth::Peer(inside)));
        let request = self.handle.link().add(pair.build());
        request.execute().await.map_err(failed(format!("make interface {name}")))
    }

    /// Puts a port on the bridge. Hairpin: a pod may reach itself by an address that leads back to it.
    pub async fn attach(&self, index: u32, bridge: u32) -> Result<(), NetworkError> {
        let attach = LinkUnspec::new_with_index(index).controller(bridge).build();
        self.handle.link().change(attach).execute().await.map_err(failed("attach a pod to the bridge"))?;
        let port = LinkBridgePort::new(index).hairpin(true).build();
        self.handle.link().set_port(port).execute().await.map_err(failed("set up a bridge port"))
    }

    /// Gives an interface that is down its name, and raises it.
    pub async fn rename_and_raise(&self, index: u32, name: &str) -> Result<(), NetworkError> {
        let rename = LinkUnspec::new_with_index(index).name(name).up().build();
        self.handle.link().change(rename).execute().await.map_err(failed(format!("raise interface {name}")))
    }

    /// Raises an interface.
    pub async fn raise(&self, index: u32) -> Result<(), NetworkError> {
        let up = LinkUnspec::new_with_index(index).up().build();
        self.handle.link().change(up).execute().await.map_err(failed("raise an interface"))
    }

    /// Gives an interface this IPv4 address and takes all others away.
    pub async fn set_only_address(&self, index: u32, address: Ipv4Addr, length: u8) -> Result<(), NetworkError> {
        let addresses = self.handle.address();
        let mut there = addresses.get().set_link_index_filter(index).execute();
        let mut found = false;
        while let Some(message) = there.try_next().await.map_err(failed("list addresses"))? {
            if message.header.family != AddressFamily::Inet {
                continue;
            }
            let same = message.header.prefix_len == length
                && message.attributes.contains(&AddressAttribute::Local(IpAddr::V4(address)));
            found |= same;
            if !same {
                addresses.del(message).execute().await.map_err(failed("take away an address"))?;
            }
        }
        if found {
            return Ok(());
        }
        let add = addresses.add(index, IpAddr::V4(address), length);
        add.execute().await.map_err(failed(format!("set address {address}/{length}")))
    }

    /// Makes `gateway` the way to everywhere.
    pub async fn route_all(&self, gateway: Ipv4Addr) -> Result<(), NetworkError> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
        self.handle.route().add(route).execute().await.map_err(failed(format!("route by {gateway}")))
    }
}

fn failed(what: impl Into<String>) -> impl FnOnce(rtnetlink::Error) -> NetworkError {
    let what = what.into();
    move |error| {
        let reason = match &error {
            rtnetlink::Error::NetlinkError(message) => reason(&message.to_io()),
            other => other.to_string(),
        };
        refused(what, reason)
    }
}

/// ENODEV: there is no such interface.
fn is_absent(error: &rtnetlink::Error) -> bool {
    const ENODEV: i32 = 19;
    matches!(error, rtnetlink::Error::NetlinkError(m) if m.to_io().raw_os_error() == Some(ENODEV))
}

/// Returns an interface's name.
pub fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// Returns the bridge that an interface is a port of.
pub fn controller_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|a| match a {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}
