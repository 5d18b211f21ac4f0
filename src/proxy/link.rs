//! Links, addresses and routes, through the kernel's netlink interface.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::link::{InfoData, InfoVeth};
use rtnetlink::packet_route::route::{RouteScope, RouteType};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

/// How long the kernel may take to let go of a deleted link.
const GONE: Duration = Duration::from_secs(2);
/// The routing table of a machine's own addresses (RT_TABLE_LOCAL).
const LOCAL_TABLE: u32 = 255;

/// A netlink connection to one network namespace.
pub(super) struct Links {
    handle: Handle,
}

impl Links {
    /// Connects to the namespace of the calling thread. Must be called within a tokio runtime.
    pub(super) fn connect() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Finds a link's index; `None` if there is no such link.
    pub(super) async fn index(&self, name: &str) -> io::Result<Option<u32>> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        match found.map_err(error) {
            Ok(link) => Ok(link.map(|l| l.header.index)),
            Err(e) if e.raw_os_error() == Some(nix::libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Deletes a link, and with it its addresses, routes and peer; returns when it is gone.
    pub(super) async fn delete(&self, name: &str) -> io::Result<()> {
        let deadline = tokio::time::Instant::now() + GONE;
        while let Some(index) = self.index(name).await? {
            match self.handle.link().del(index).execute().await.map_err(error) {
                Err(e) if e.raw_os_error() != Some(nix::libc::ENODEV) => return Err(e),
                _ if tokio::time::Instant::now() > deadline => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, format!("link {name} does not go away")));
                }
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        Ok(())
    }

    /// Makes a pair of links: `name` here, `peer` in the namespace that `elsewhere` is a file of.
    pub(super) async fn add_pair(&self, name: &str, peer: &str, elsewhere: BorrowedFd<'_>) -> io::Result<()> {
        let peer_message =
            LinkMessageBuilder::<LinkUnspec>::new().name(peer).setns_by_fd(elsewhere.as_raw_fd()).build();
        let pair = LinkVeth::new(name, peer).set_info_data(InfoData::Veth(InfoVeth::Peer(peer_message)));
        self.handle.link().add(pair.build()).execute().await.map_err(error)
    }

    /// Sets a link up and returns its index.
    pub(super) async fn up(&self, name: &str) -> io::Result<u32> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("no link {name}"));
        let index = self.index(name).await?.ok_or_else(missing)?;
        self.handle.link().change(LinkUnspec::new_with_index(index).up().build()).execute().await.map_err(error)?;
        Ok(index)
    }

    /// Gives a link an address.
    pub(super) async fn add_address(&self, index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        self.handle.address().add(index, IpAddr::V4(address), prefix).execute().await.map_err(error)
    }

    /// Sends `range` to `gateway`.
    pub(super) async fn route_via(&self, range: Ipv4Net, gateway: Ipv4Addr, index: u32) -> io::Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range.network(), range.prefix_len())
            .gateway(gateway)
            .output_interface(index);
        self.handle.route().add(route.build()).execute().await.map_err(error)
    }

    /// Refuses what goes to `range`, in words (`prohibit`) that a UDP socket hears, as it does not hear `unreachable`.
    pub(super) async fn route_nowhere(&self, range: Ipv4Net) -> io::Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range.network(), range.prefix_len())
            .kind(RouteType::Prohibit);
        self.handle.route().add(route.build()).execute().await.map_err(error)
    }

    /// Takes all of `range` for addresses of this machine.
    pub(super) async fn route_local(&self, range: Ipv4Net, index: u32) -> io::Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range.network(), range.prefix_len())
            .kind(RouteType::Local)
            .scope(RouteScope::Host)
            .table_id(LOCAL_TABLE)
            .output_interface(index);
        self.handle.route().add(route.build()).execute().await.map_err(error)
    }
}

fn error(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}
