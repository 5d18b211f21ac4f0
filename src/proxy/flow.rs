//! One client's flow of datagrams, to a pod of this node or of another.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::timeout;

use crate::handle::{Call, Stream};

use super::datagrams::{self, BUFFER, Silence};
use super::dial::call;
use super::server::Shared;
use super::target::Pick;

/// Where a client's datagrams go.
pub(super) enum Way {
    /// To the endpoint itself.
    Near(Arc<UdpSocket>),
    /// To the task that has the stream to the endpoint's node.
    Far(mpsc::Sender<Vec<u8>>),
}

impl Way {
    /// Sends a datagram; `false` if the endpoint is not there any more. A full queue loses it, as UDP may.
    pub(super) fn send(&self, datagram: &[u8]) -> bool {
        match self {
            Self::Near(server) => is_sent(&server.try_send(datagram)),
            Self::Far(inbox) => !matches!(inbox.try_send(datagram.to_vec()), Err(TrySendError::Closed(_))),
        }
    }
}

/// A full queue loses the datagram, as UDP may; any other error means that the endpoint is not there.
pub(super) fn is_sent(sent: &io::Result<usize>) -> bool {
    match sent {
        Ok(_) => true,
        Err(e) => e.kind() == io::ErrorKind::WouldBlock,
    }
}

/// To whom an endpoint's answers go.
pub(super) struct Answers {
    pub(super) client: SocketAddr,
    pub(super) listener: Arc<UdpSocket>,
    pub(super) silence: Arc<Silence>,
    pub(super) pick: Pick,
}

/// Carries answers of an endpoint that is dialled directly.
pub(super) struct Near {
    pub(super) server: Arc<UdpSocket>,
    pub(super) answers: Answers,
}

impl Near {
    pub(super) async fn carry(&self) {
        tokio::select! {
            () = self.carry_all() => {}
            () = self.answers.silence.lasts() => {}
        }
    }

    async fn carry_all(&self) {
        let Answers { client, listener, silence, pick } = &self.answers;
        loop {
            if self.server.readable().await.is_err() {
                return;
            }
            loop {
                match self.carry_one() {
                    Ok(None) => pick.succeeded(),
                    // The client may have gone; that is not an error of the flow.
                    Ok(Some(waiting)) => drop(listener.send_to(&waiting, *client).await),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(_) => return pick.failed(),
                }
                tokio::task::consume_budget().await;
            }
            silence.broken();
        }
    }

    /// Carries one datagram; returns it if it has to wait until the listening socket takes more.
    fn carry_one(&self) -> io::Result<Option<Vec<u8>>> {
        BUFFER.with_borrow_mut(|buffer| {
            let length = self.server.try_recv(buffer)?;
            match self.answers.listener.try_send_to(&buffer[..length], self.answers.client) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Some(buffer[..length].to_vec())),
                _ => Ok(None),
            }
        })
    }
}

/// Carries datagrams to an endpoint of another node and its answers back.
pub(super) struct Far {
    pub(super) shared: Arc<Shared>,
    pub(super) inbox: mpsc::Receiver<Vec<u8>>,
    pub(super) answers: Answers,
}

impl Far {
    /// Works until the flow ends. Returns what has not been sent if the endpoint cannot be reached.
    pub(super) async fn carry(mut self) -> Vec<Vec<u8>> {
        let pick = &self.answers.pick;
        let node = pick.node.as_deref().unwrap_or_default();
        let dialled = call(&*self.shared.calls, node, Call::Udp(pick.address));
        let Ok(Ok(stream)) = timeout(self.shared.config.patience, dialled).await else {
            pick.failed();
            return self.undelivered();
        };
        let Self { mut inbox, answers, .. } = self;
        tokio::select! {
            ended = exchange(stream, &mut inbox, &answers) => {
                if let Err(error) = ended {
                    tracing::debug!(endpoint = %answers.pick.address, %error, "a flow ended early");
                    answers.pick.failed();
                }
            }
            () = answers.silence.lasts() => {}
        }
        Vec::new()
    }

    fn undelivered(&mut self) -> Vec<Vec<u8>> {
        self.inbox.close();
        std::iter::from_fn(|| self.inbox.try_recv().ok()).collect()
    }
}

async fn exchange(stream: Stream, inbox: &mut mpsc::Receiver<Vec<u8>>, answers: &Answers) -> io::Result<()> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let there = async {
        while let Some(datagram) = inbox.recv().await {
            datagrams::write(&mut writer, &datagram).await?;
        }
        Ok(())
    };
    let back = async {
        loop {
            let datagram = datagrams::read(&mut reader).await?;
            answers.pick.succeeded();
            answers.silence.broken();
            // The client may have gone; that is not an error of the flow.
            drop(answers.listener.send_to(&datagram, answers.client).await);
        }
    };
    tokio::select! {
        ended = there => ended,
        ended = back => ended,
    }
}
