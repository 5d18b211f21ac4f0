//! Whom to dial, where and when. Knows no socket.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use libp2p::swarm::{ConnectionId, DialError};

use super::{Directory, identity, limits};
use crate::ids::NodeId;

/// Redials members that have no connection.
#[derive(Default)]
pub(super) struct Dialer {
    directory: Arc<Directory>,
    tries: BTreeMap<NodeId, Try>,
}

#[derive(Default)]
struct Try {
    last: Option<Instant>,
    dialling: Option<ConnectionId>,
    found: VecDeque<SocketAddrV4>,
}

impl Dialer {
    /// Sets where members are. Those whose addresses changed are dialled at once.
    pub(super) fn set_directory(&mut self, directory: Arc<Directory>) {
        self.tries.retain(|id, _| directory.contains_key(id));
        for (id, peer) in directory.iter() {
            let known = self.directory.get(id).is_some_and(|p| p.addresses == peer.addresses);
            let entry = self.tries.entry(*id).or_default();
            if !known {
                entry.last = None;
            }
        }
        self.directory = directory;
    }

    /// Notes where a node was found on the local network. Strangers are ignored.
    pub(super) fn found(&mut self, node: NodeId, address: SocketAddrV4) {
        let Some(entry) = self.tries.get_mut(&node) else { return };
        if !entry.found.contains(&address) {
            entry.found.push_front(address);
            entry.found.truncate(limits::FOUND);
        }
    }

    /// Returns the members to dial now, and where; each counts as dialled from now on.
    pub(super) fn due(&mut self, now: Instant, connected: impl Fn(NodeId) -> bool) -> Vec<(NodeId, Vec<SocketAddrV4>)> {
        let mut due = Vec::new();
        for (id, entry) in &mut self.tries {
            let resting = entry.last.is_some_and(|last| now.duration_since(last) < limits::REDIAL);
            if resting || entry.dialling.is_some() || connected(*id) {
                continue;
            }
            let listed = self.directory.get(id).map_or(&[][..], |p| &p.addresses);
            let mut addresses: Vec<_> = entry.found.iter().copied().collect();
            for address in listed {
                if addresses.len() < limits::ADDRESSES && !addresses.contains(address) {
                    addresses.push(*address);
                }
            }
            if !addresses.is_empty() {
                entry.last = Some(now);
                due.push((*id, addresses));
            }
        }
        due
    }

    /// Notes that a dial is under way: there is one at a time to each member.
    pub(super) fn dialling(&mut self, node: NodeId, dial: ConnectionId) {
        if let Some(entry) = self.tries.get_mut(&node) {
            entry.dialling = Some(dial);
        }
    }

    /// Notes that a dial has ended, well or not. Returns whom it was to reach, if it was a member.
    pub(super) fn ended(&mut self, dial: ConnectionId) -> Option<NodeId> {
        let mut ended = None;
        for (id, entry) in &mut self.tries {
            if entry.dialling.take_if(|d| *d == dial).is_some() {
                ended = Some(*id);
            }
        }
        ended
    }

    /// Tells whether a dial has failed since nobody listens where a member is listed. Where it was found besides says
    /// nothing: an address of a bridge is there on many hosts, this one among them.
    pub(super) fn is_refused(&self, node: NodeId, error: &DialError) -> bool {
        let (Some(peer), DialError::Transport(tries)) = (self.directory.get(&node), error) else { return false };
        let refused = |at: &SocketAddrV4| {
            tries.iter().any(|(tried, error)| identity::socket_address(tried) == Some(*at) && is_refusal(error))
        };
        !peer.addresses.is_empty() && peer.addresses.iter().all(refused)
    }
}

/// Says why a dial failed, in words of our own.
pub(super) fn reason(error: &DialError) -> String {
    match error {
        DialError::LocalPeerId { .. } => "it is this node itself".into(),
        DialError::WrongPeerId { obtained, .. } => match identity::node_of(obtained) {
            Some(node) => format!("another node answers there, {node}"),
            None => "another kind of node answers there".into(),
        },
        DialError::Transport(tries) => {
            let reasons: Vec<_> = tries.iter().map(|(_, error)| deepest(error)).collect();
            reasons.join(", ")
        }
        other => other.to_string(),
    }
}

/// Tells whether an error says that a host refuses connections.
fn is_refusal(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        // What an error of the system wraps is not its source.
        let wrapped = io.and_then(|io| io.get_ref()).map(|inner| inner as &(dyn std::error::Error + 'static));
        next = wrapped.or_else(|| error.source());
    }
    false
}

/// The innermost error says most in the fewest words.
fn deepest(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mesh::Peer;

    fn address(port: u16) -> SocketAddrV4 {
        SocketAddrV4::new([127, 0, 0, 1].into(), port)
    }

    fn directory(port: u16) -> Arc<Directory> {
        let peer = Peer { name: "n2".into(), addresses: vec![address(port)] };
        Arc::new(Directory::from([(NodeId([2; 32]), peer)]))
    }

    #[test]
    fn a_member_is_dialled_every_second_one_dial_at_a_time_and_not_while_connected() {
        let (id, start) = (NodeId([2; 32]), Instant::now());
        let mut dialer = Dialer::default();
        dialer.set_directory(directory(1));
        assert_eq!(dialer.due(start, |_| true), []);
        assert_eq!(dialer.due(start, |_| false), [(id, vec![address(1)])]);
        assert_eq!(dialer.due(start + Duration::from_millis(900), |_| false), []);
        let dial = ConnectionId::new_unchecked(1);
        dialer.dialling(id, dial);
        assert_eq!(dialer.due(start + limits::REDIAL, |_| false), []);
        dialer.ended(dial);
        assert_eq!(dialer.due(start + limits::REDIAL, |_| false).len(), 1);
    }

    #[test]
    fn a_new_address_is_dialled_at_once_and_what_is_found_comes_first() {
        let (id, start) = (NodeId([2; 32]), Instant::now());
        let mut dialer = Dialer::default();
        dialer.set_directory(directory(1));
        assert_eq!(dialer.due(start, |_| false).len(), 1);
        dialer.set_directory(directory(2));
        dialer.found(id, address(3));
        dialer.found(NodeId([9; 32]), address(4));
        assert_eq!(dialer.due(start, |_| false), [(id, vec![address(3), address(2)])]);
    }
}
