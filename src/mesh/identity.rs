//! A node's key as libp2p knows it, and back.

use std::net::SocketAddrV4;

use libp2p::identity::{Keypair, PublicKey, ed25519};
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::ids::NodeId;

/// Returns the key pair of a node.
pub(super) fn keypair(key: &ed25519_dalek::SigningKey) -> Keypair {
    Keypair::ed25519_from_bytes(key.to_bytes()).expect("32 bytes are an Ed25519 secret key")
}

/// Returns whom a peer id names; nothing if its key is of another kind.
pub(super) fn node_of(peer: &PeerId) -> Option<NodeId> {
    // An Ed25519 key is short enough to be in its peer id as it is.
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(NodeId(key.try_into_ed25519().ok()?.to_bytes()))
}

/// Returns the peer id of a node; nothing if its id is no point of the curve.
pub(super) fn peer_of(node: NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// Writes an address the way libp2p does.
pub(super) fn multiaddr(address: SocketAddrV4) -> Multiaddr {
    Multiaddr::empty().with(Protocol::Ip4(*address.ip())).with(Protocol::Tcp(address.port()))
}

/// Reads an address of libp2p; nothing if it is not IPv4 and TCP.
pub(super) fn socket_address(address: &Multiaddr) -> Option<SocketAddrV4> {
    let mut parts = address.iter();
    match (parts.next(), parts.next()) {
        (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) => Some(SocketAddrV4::new(ip, port)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_peer_ids_name_each_other() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let node = NodeId(key.verifying_key().to_bytes());
        let peer = keypair(&key).public().to_peer_id();
        assert_eq!(node_of(&peer), Some(node));
        assert_eq!(peer_of(node), Some(peer));
    }

    #[test]
    fn addresses_read_back() {
        let address: SocketAddrV4 = "10.1.2.3:7443".parse().unwrap();
        assert_eq!(socket_address(&multiaddr(address)), Some(address));
        assert_eq!(socket_address(&"/ip6/::1/tcp/1".parse().unwrap()), None);
    }
}
