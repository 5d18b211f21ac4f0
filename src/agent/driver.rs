//! Drives the node: one task owns it, feeds it inputs in order of urgency and executes its outputs.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::disk::{Job, Place, Report, Votes, Writer};
use crate::handle::{Answer, Door, Letter, Recovery};
use crate::ids::RequestId;
use crate::kubelet::action::Observation;
use crate::mesh::{Directory, Mesh, Peer};
use crate::node::io::TICK;
use crate::node::message::frames;
use crate::node::{Effect, Input, Node};
use crate::runtime::Runtime;
use crate::time::Now;
use crate::trust::{Admission, Declined, JoinRequest};

use super::clock;
use super::damage::Damage;
use super::keepsakes::Keepsakes;
use super::warden::Board;

/// A turn of the loop longer than this is worth a word in the log.
const SLOW: Duration = Duration::from_millis(100);

/// What answers one that asks to be admitted.
pub type Verdict = Result<Admission, Declined>;

/// Everything the loop is connected to.
pub struct Driver {
    /// The machine.
    pub node: Node,
    /// Where requests come from and snapshots and routes go.
    pub door: Door,
    /// What only this node held when it came back after too long.
    pub keepsakes: Keepsakes,
    /// Where records go.
    pub writer: Writer,
    /// Where ballots and registers go.
    pub votes: Votes,
    /// What those two say.
    pub reports: mpsc::Receiver<Report>,
    /// What the log has lost.
    pub damage: Damage,
    /// What of the disk cannot be written, and why.
    pub troubles: BTreeMap<Place, String>,
    /// What the runtime says.
    pub observations: mpsc::Receiver<Observation>,
    /// Where actions go.
    pub runtime: Arc<dyn Runtime>,
    /// Where the deadlines of pods go that must never run twice.
    pub board: Board,
    /// Where frames go.
    pub mesh: Mesh,
    /// What members say that is small and urgent, and who comes and goes.
    pub urgent: mpsc::Receiver<Input>,
    /// Records that members send.
    pub bulk: mpsc::Receiver<Input>,
    /// Who asks to be admitted, and where the verdict goes.
    pub joins: mpsc::Receiver<(JoinRequest, oneshot::Sender<Verdict>)>,
    /// This host's address.
    pub address: watch::Receiver<Ipv4Addr>,
    /// Where the other members are, for whoever else wants to know.
    pub directory: watch::Sender<Arc<Directory>>,
}

/// How an agent that stops leaves its office first.
#[derive(Clone, Debug, Default)]
pub struct Parting {
    /// Says that it is about to stop.
    pub asked: CancellationToken,
    /// Says that others do not wait for it.
    pub done: CancellationToken,
}

impl Driver {
    /// Runs until `shutdown`, then writes what waits.
    pub async fn run(mut self, parting: Parting, shutdown: CancellationToken) {
        let mut leaving = false;
        let mut callers = Callers::default();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let outputs = self.node.start(clock::now());
        self.execute(outputs, &mut callers);
        // Whether the last turn was of records that peers sent in bulk: who asks something comes after each such turn.
        let mut bulky = false;
        loop {
            // Durability first, since others wait for it; then what members say of being alive and of leading; then
            // what happened here; then what is asked.
            let asked = if std::mem::take(&mut bulky) { self.door.requests.try_recv().ok() } else { None };
            let input = tokio::select! {
                biased;
                Some(letter) = std::future::ready(asked) => callers.admit(letter),
                () = shutdown.cancelled() => break,
                () = parting.asked.cancelled(), if !leaving => {
                    leaving = true;
                    Input::Leave
                }
                Some(report) = self.reports.recv() => match self.heard(report) {
                    Some(input) => input,
                    None => continue,
                },
                Some(input) = self.urgent.recv() => input,
                Some(observation) = self.observations.recv() => Input::Observed(observation),
                _ = tick.tick() => Input::Tick,
                Ok(()) = self.address.changed() => Input::Address(*self.address.borrow_and_update()),
                () = std::future::ready(()), if self.node.is_busy() => {
                    bulky = true;
                    Input::Continue
                }
                Some(input) = self.bulk.recv() => {
                    bulky = true;
                    input
                }
                Some(join) = self.joins.recv() => callers.admit_member(join),
                Some(recovery) = self.door.recoveries.recv() => callers.admit_recovery(recovery),
                Some(letter) = self.door.requests.recv() => callers.admit(letter),
            };
            let now = clock::now();
            let outputs = self.node.handle(now, input);
            let took = clock::now().mono.since(now.mono);
            if took > SLOW {
                tracing::warn!(milliseconds = took.as_millis(), "a turn of the node was slow");
            }
            self.execute(outputs, &mut callers);
            if leaving && !self.node.is_in_office() {
                parting.done.cancel();
            }
            self.look_at_damage(now);
        }
        // The threads end only when all of it is on disk.
        tokio::task::spawn_blocking(move || drop((self.votes, self.writer))).await.ok();
    }

    fn heard(&mut self, report: Report) -> Option<Input> {
        match report {
            Report::Persisted(id) => return Some(Input::Persisted(id)),
            Report::Saved(id) => return Some(Input::Saved(id)),
            Report::Grown => self.writer.write(Job::Compact(self.node.records())),
            Report::Trouble(place, sentence) => {
                tracing::error!("{sentence}: going on from memory, and refusing writes");
                self.troubles.insert(place, sentence);
                return Some(self.disk());
            }
            Report::Recovered(place) => {
                self.troubles.remove(&place);
                self.keepsakes.try_again();
                if self.troubles.is_empty() {
                    tracing::info!("the disk can be written again");
                }
                return Some(self.disk());
            }
        }
        None
    }

    fn disk(&self) -> Input {
        Input::Disk { trouble: self.troubles.values().next().cloned() }
    }

    /// Ends the time of doubt after a damage: once the node has all, or somebody has given up what is lost.
    fn look_at_damage(&mut self, now: Now) {
        if self.damage.lines().is_empty() {
            return;
        }
        if self.damage.is_given_up(now.mono) {
            tracing::info!("the file {} is gone: what was lost is given up", super::damage::FILE);
            self.node.forget_the_loss(now);
        }
        if self.node.is_whole() {
            // Without the damaged pieces, which else would be found again at the next start.
            self.writer.write(Job::Compact(self.node.records()));
            self.damage.clear();
        }
    }

    fn execute(&mut self, effects: Vec<Effect>, callers: &mut Callers) {
        for effect in effects {
            match effect {
                Effect::Persist { id, records, urgent } => self.writer.write(Job::Append { id, records, urgent }),
                Effect::Displaced { name, text } => self.keepsakes.keep(name, text),
                Effect::Save { id, ballot, registers } => self.votes.save(id, ballot, registers),
                Effect::Deadlines(deadlines) => self.board.write(&deadlines),
                Effect::Send { to, lane, messages } => {
                    for frame in frames(&messages) {
                        self.mesh.send(to, lane, Bytes::from(frame));
                    }
                }
                Effect::Publish(snapshot) => drop(self.door.snapshot.send_replace(snapshot)),
                Effect::Answer { id, result } => callers.answer(id, result),
                Effect::Partitions(partitions) => drop(self.door.partitions.send_replace(partitions)),
                Effect::Route(routes) => drop(self.door.routes.send_replace(routes)),
                Effect::Act(action) => self.runtime.act(*action),
                Effect::Peers(peers) => {
                    let peer = |(name, addresses)| Peer { name, addresses };
                    let directory = Arc::new(peers.into_iter().map(|(id, p)| (id, peer(p))).collect::<Directory>());
                    self.mesh.set_directory(Arc::clone(&directory));
                    self.directory.send_replace(directory);
                }
                Effect::Admit { id, result } => callers.judge(id, result),
                Effect::Recovered { id, result } => callers.recovered(id, result),
            }
        }
    }
}

/// Who waits for an answer.
#[derive(Default)]
struct Callers {
    next: RequestId,
    waiting: BTreeMap<RequestId, oneshot::Sender<Answer>>,
    joining: BTreeMap<RequestId, oneshot::Sender<Verdict>>,
    recovering: BTreeMap<RequestId, oneshot::Sender<Result<String, String>>>,
}

impl Callers {
    fn number(&mut self) -> RequestId {
        let id = self.next;
        self.next = id.next();
        id
    }

    fn admit(&mut self, (request, answer): Letter) -> Input {
        let id = self.number();
        self.waiting.insert(id, answer);
        Input::Request { id, request }
    }

    fn admit_member(&mut self, (request, verdict): (JoinRequest, oneshot::Sender<Verdict>)) -> Input {
        let id = self.number();
        self.joining.insert(id, verdict);
        Input::Join { id, request }
    }

    fn admit_recovery(&mut self, (force, answer): Recovery) -> Input {
        let id = self.number();
        self.recovering.insert(id, answer);
        Input::Recover { id, force }
    }

    fn recovered(&mut self, id: RequestId, result: Result<String, String>) {
        if let Some(caller) = self.recovering.remove(&id) {
            let _ = caller.send(result);
        }
    }

    fn answer(&mut self, id: RequestId, result: Answer) {
        if let Some(caller) = self.waiting.remove(&id) {
            // One who has gone away meanwhile needs no answer.
            let _ = caller.send(result);
        }
    }

    fn judge(&mut self, id: RequestId, result: Verdict) {
        if let Some(caller) = self.joining.remove(&id) {
            let _ = caller.send(result);
        }
    }
}
