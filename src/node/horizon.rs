//! The horizon: how far every member has come, and whom to listen to (rules 15, 16; `store::graves` says why nothing comes
//! back). The leader's part is `collecting`.
//!
//! A node tells its [`Standing`] on the lane of the records, so that what it sent before is known to be from before. It
//! listens to a peer's records only while the peer has acked its own floor and forgotten what it has forgotten. A node
//! that is too old itself is *blank*: it presents, as its holdings, what it has taken since it knew, and nothing of its
//! own; once it has all that a peer holds, that takes the place of its state ([`Store::rejoin`](crate::store::Store)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::gossip;
use crate::ids::NodeId;
use crate::store::{Horizon, Standing};
use crate::time::{Mono, Now};

use super::collecting::Collecting;
use super::message::Message;
use super::shadow::Shadow;
use super::{Effect, Node};

/// The quorum register's name.
pub(super) const REGISTER: &str = "horizon";
/// How often a standing is told again: it may have been lost.
const AGAIN: Duration = Duration::from_secs(10);
/// How often a peer is told that it was not listened to.
const ASKING: Duration = Duration::from_secs(1);

/// How far everybody has come.
pub(super) struct Horizons {
    /// How long a horizon takes.
    pub period: Duration,
    connected: BTreeSet<NodeId>,
    told: BTreeMap<NodeId, Told>,
    /// What was last told to everybody, and when.
    said: (Said, Mono),
    asked: BTreeMap<NodeId, Mono>,
    /// What is taken in place of what is held, while this node is too old.
    pub shadow: Option<Shadow>,
    /// Files with what only this node held, to be written before anything else.
    displaced: Vec<Effect>,
    /// The leader's part.
    pub collecting: Collecting,
    /// Whether the register may say more than the store knows.
    pub unlearned: bool,
}

/// What a member says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// How far it has come.
    pub standing: Standing,
    /// Whether it is too old and presents nothing of its own.
    pub blank: bool,
}

/// What a member has said.
#[derive(Clone, Copy, Debug)]
struct Told {
    said: Said,
    /// Since when.
    since: Mono,
    /// What it had acked before.
    before: u64,
}

impl Horizons {
    pub fn new(period: Duration) -> Self {
        Self {
            period,
            connected: BTreeSet::new(),
            told: BTreeMap::new(),
            said: (Said::default(), Mono::default()),
            asked: BTreeMap::new(),
            shadow: None,
            displaced: Vec::new(),
            collecting: Collecting::default(),
            unlearned: true,
        }
    }

    /// Has something kept in a file before this turn's records are written.
    pub fn keep(&mut self, displaced: Effect) {
        self.displaced.push(displaced);
    }

    /// Takes what is to be kept in files.
    pub fn take_displaced(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.displaced)
    }

    /// Returns how far a member says that it has come.
    pub fn standing(&self, peer: &NodeId) -> Standing {
        self.told.get(peer).map(|told| told.said.standing).unwrap_or_default()
    }

    /// Returns what a peer had acked when an exchange began; `None` if it presented nothing of its own then.
    fn acked_at(&self, peer: &NodeId, began: Mono) -> Option<u64> {
        let Some(told) = self.told.get(peer) else { return Some(0) };
        (!told.said.blank).then_some(if told.since <= began { told.said.standing.acked } else { told.before })
    }
}

/// Tells whether a blank node, which knows the register as `own` says, may take the state of one that stands so. One that has
/// forgotten more than this node knows of cannot tell it which uids are dead.
fn may_be_taken(standing: Standing, own: Standing) -> bool {
    standing.acked >= own.floor && standing.cleared <= own.cleared
}

impl Node {
    /// Reads the horizon out of the registers, if it may have changed. Not before everything is merged that this node
    /// listened to: it was as good then as what the horizon was, and may not be any more.
    pub(super) fn learn_horizon(&mut self, now: Now) {
        if !std::mem::take(&mut self.horizons.unlearned) {
            return;
        }
        let moved = self.registered_horizon().is_some_and(|horizon| self.store.set_horizon(now, horizon));
        if self.is_too_old() {
            // It may have known that in its last run.
            self.go_blank(now);
        } else if moved {
            tracing::info!(
                horizon = self.store.horizon(),
                tombstones = self.store.tombstones(),
                "tombstones collected"
            );
            // What is kept to be pulled may hold the births of what is collected.
            self.telling.forget_batches();
        }
    }

    /// Tells whether this node must not be asked and must not decide, since its state is from too long ago.
    pub(super) fn is_too_old(&self) -> bool {
        self.store.is_too_old() && self.peers.members.iter().any(|member| member.id != self.store.node_id())
    }

    fn go_blank(&mut self, now: Now) {
        if self.horizons.shadow.is_some() {
            return;
        }
        tracing::warn!(horizon = self.store.horizon(), "this node was away too long: it takes the cluster's state");
        self.horizons.shadow = Some(Shadow::default());
        self.restart_gossip(now);
    }

    fn restart_gossip(&mut self, now: Now) {
        self.telling.restart(self.store.incarnation());
        self.say_standing_to_all(now, true);
        for peer in self.horizons.connected.clone() {
            self.gossip(now, gossip::Input::Connected(peer));
        }
    }

    /// A member can be sent to.
    pub(super) fn connected(&mut self, now: Now, peer: NodeId) {
        self.horizons.connected.insert(peer);
        self.set_connected(now, peer, Some(now.mono));
        self.tell_members(peer);
        self.telling.say(peer, Message::Standing { said: self.own_standing(), ask: false });
        self.gossip(now, gossip::Input::Connected(peer));
    }

    /// A member cannot be sent to any more. What comes next from it may be another run's.
    pub(super) fn not_connected(&mut self, peer: NodeId) {
        self.horizons.connected.remove(&peer);
        if let Some(told) = self.horizons.told.get_mut(&peer) {
            // What it acked stays acked, for the leader's count; to be listened to it has to say so again.
            told.said.blank = true;
        }
    }

    fn own_standing(&self) -> Said {
        Said { standing: self.store.standing(), blank: self.horizons.shadow.is_some() }
    }

    /// Tells everybody how far this node has come, if that is new or long ago.
    pub(super) fn say_standing_to_all(&mut self, now: Now, anyway: bool) {
        let said = self.own_standing();
        let (before, at) = self.horizons.said;
        let due = said.standing != Standing::default() && now.mono.since(at) >= AGAIN;
        if !anyway && said == before && !due {
            return;
        }
        self.horizons.said = (said, now.mono);
        for peer in &self.horizons.connected {
            self.telling.say(*peer, Message::Standing { said, ask: false });
        }
    }

    /// A member says how far it has come.
    pub(super) fn standing_told(&mut self, now: Now, from: NodeId, said: Said, ask: bool) {
        let known = self.horizons.told.get(&from).copied();
        let told = match known {
            Some(known) if known.said == said => known,
            _ => Told { said, since: now.mono, before: known.map_or(0, |known| known.said.standing.acked) },
        };
        self.horizons.told.insert(from, told);
        if ask {
            self.telling.say(from, Message::Standing { said: self.own_standing(), ask: false });
        }
    }

    /// Tells whether what a peer says of records is listened to. If not, the peer is told why, now and then.
    pub(super) fn listens(&mut self, now: Now, from: NodeId, message: &gossip::Message) -> bool {
        let own = self.store.required_standing();
        if own == Standing::default() {
            return true;
        }
        let told = self.horizons.told.get(&from).map(|told| told.said).unwrap_or_default();
        let young = told.standing.acked >= own.floor && told.standing.cleared >= own.cleared;
        let exchange = matches!(message, gossip::Message::Exchange { .. });
        let listens = match (self.horizons.shadow.is_some(), told.blank) {
            (false, false) => young,
            // One that is blank gives nothing; it is given. What a peer has sent before it was gone for a while may be
            // from before this node forgot what it is about.
            (false, true) => exchange && !message.has_records(),
            (true, false) => exchange && may_be_taken(told.standing, own),
            (true, true) => false,
        };
        let quiet = self.horizons.asked.get(&from).is_none_or(|at| now.mono.since(*at) >= ASKING);
        if !listens && quiet {
            self.horizons.asked.insert(from, now.mono);
            self.telling.say(from, Message::Standing { said: self.own_standing(), ask: true });
        }
        listens
    }

    /// All that a peer held is here.
    pub(super) fn exchange_finished(&mut self, now: Now, peer: NodeId, began: Mono) {
        let nobody_is_too_old = self.store.required_standing() == Standing::default();
        let acked = match self.horizons.acked_at(&peer, began) {
            Some(acked) => acked,
            // It was gone for a while, or so it looked from here, and does not say again what has not changed.
            None if nobody_is_too_old => 0,
            // What a blank one holds, nobody knows.
            None => return self.telling.say(peer, Message::Standing { said: self.own_standing(), ask: true }),
        };
        if self.horizons.shadow.is_some() {
            let told = self.horizons.standing(&peer);
            if !may_be_taken(Standing { acked, ..told }, self.store.required_standing()) {
                return;
            }
            self.rejoin(now, peer);
        }
        self.exchanged(peer, began);
        self.store.ack(acked);
    }

    /// Takes what a peer holds in place of what this node does.
    fn rejoin(&mut self, now: Now, peer: NodeId) {
        let Some(shadow) = self.horizons.shadow.take() else { return };
        let displaced = self.store.rejoin(now, shadow.into_records());
        tracing::warn!(from = self.peers.name_of(&peer), displaced = displaced.len(), "the cluster's state is taken");
        self.displace(now, &displaced);
        self.restart_gossip(now);
        if self.leading.is_leader() {
            self.look_at_everything(now);
        }
    }

    /// Returns what the register says; `None` as long as there is none.
    pub(super) fn registered_horizon(&self) -> Option<Horizon> {
        Horizon::of_bytes(&self.leading.registers().get(REGISTER)?.value)
    }
}
