//! What runs inside a connection's own task: opens streams that are asked for, hands on those that come.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use libp2p::core::upgrade::{InboundUpgrade, ReadyUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol};
use libp2p::{Stream, StreamProtocol};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::link::{Link, Open, Purpose};
use super::{Event, calls, lanes, limits};
use crate::node::message::Lane;

/// The handler of one connection.
pub(super) struct Handler {
    link: Arc<Link>,
    opens: mpsc::Receiver<Open>,
    events: mpsc::Sender<Event>,
    tasks: TaskTracker,
    control: Option<AbortHandle>,
    bulk: Option<AbortHandle>,
}

impl Handler {
    pub(super) fn new(
        link: Arc<Link>,
        opens: mpsc::Receiver<Open>,
        events: mpsc::Sender<Event>,
        tasks: TaskTracker,
    ) -> Self {
        Self { link, opens, events, tasks, control: None, bulk: None }
    }

    fn take(&mut self, stream: Stream, purpose: Purpose) {
        match purpose {
            Purpose::Lane(lane) => self.take_lane(stream, lane),
            Purpose::Call => self.take_call(stream),
        }
    }

    /// Reads a lane, in place of a former one. A stranger's is dropped unread.
    fn take_lane(&mut self, stream: Stream, lane: Lane) {
        let Some(member) = self.link.member.load_full() else { return };
        let link = self.link.clone();
        let reader = self.tasks.spawn(async move {
            link.ended.run_until_cancelled(lanes::read(&member, &link, lane, stream)).await;
        });
        let place = match lane {
            Lane::Control => &mut self.control,
            Lane::Bulk => &mut self.bulk,
        };
        if let Some(former) = place.replace(reader.abort_handle()) {
            former.abort();
        }
    }

    fn take_call(&mut self, stream: Stream) {
        let Some(slot) = self.link.room_in() else {
            debug!(peer = ?self.link.node, "a peer has too many calls open: one is dropped");
            return;
        };
        let (link, events) = (self.link.clone(), self.events.clone());
        let ended = link.ended.clone();
        self.tasks.spawn(async move {
            ended.run_until_cancelled(calls::accept(link, slot, stream, events)).await;
        });
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Accepts;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<io::Result<Stream>>;

    fn listen_protocol(&self) -> SubstreamProtocol<Accepts, ()> {
        SubstreamProtocol::new(Accepts, ()).with_timeout(limits::OPEN_PATIENCE)
    }

    fn connection_keep_alive(&self) -> bool {
        self.link.member.load().is_some()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Infallible>> {
        while let Poll::Ready(Some(open)) = self.opens.poll_recv(cx) {
            if open.answer.is_closed() {
                continue;
            }
            let protocol = SubstreamProtocol::new(ReadyUpgrade::new(open.purpose.protocol()), open.answer)
                .with_timeout(limits::OPEN_PATIENCE);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Accepts, Self::OutboundProtocol, (), Self::OutboundOpenInfo>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, Some(purpose)),
                ..
            }) => self.take(stream, purpose),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let _ = info.send(Ok(protocol));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(io_error(error)));
            }
            _ => {}
        }
    }
}

fn io_error(error: StreamUpgradeError<Infallible>) -> io::Error {
    match error {
        StreamUpgradeError::Timeout => io::ErrorKind::TimedOut.into(),
        StreamUpgradeError::NegotiationFailed => io::ErrorKind::Unsupported.into(),
        StreamUpgradeError::Io(error) => error,
        StreamUpgradeError::Apply(never) => match never {},
    }
}

/// The streams that are taken.
pub(super) struct Accepts;

impl UpgradeInfo for Accepts {
    type Info = StreamProtocol;
    type InfoIter = std::array::IntoIter<StreamProtocol, 3>;

    fn protocol_info(&self) -> Self::InfoIter {
        Purpose::ALL.map(Purpose::protocol).into_iter()
    }
}

impl InboundUpgrade<Stream> for Accepts {
    type Output = (Stream, Option<Purpose>);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, Purpose::of(&protocol))))
    }
}
