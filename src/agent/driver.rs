//! Drives the node: one task owns it, feeds it inputs in order of urgency and executes its outputs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::disk::{Job, Report, Writer};
use crate::handle::{Answer, Door, Letter};
use crate::ids::RequestId;
use crate::kubelet::action::Observation;
use crate::node::io::TICK;
use crate::node::{Effect, Input, Node};
use crate::runtime::Runtime;

use super::clock;

/// A turn of the loop longer than this is worth a word in the log.
const SLOW: Duration = Duration::from_millis(100);

/// Everything the loop is connected to.
pub struct Driver {
    /// The machine.
    pub node: Node,
    /// Where requests come from and snapshots and routes go.
    pub door: Door,
    /// Where records go.
    pub writer: Writer,
    /// What the writer says.
    pub reports: mpsc::Receiver<Report>,
    /// What the runtime says.
    pub observations: mpsc::Receiver<Observation>,
    /// Where actions go.
    pub runtime: Arc<dyn Runtime>,
}

impl Driver {
    /// Runs until `shutdown`, then writes what waits.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut callers = Callers::default();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let outputs = self.node.start(clock::now());
        self.execute(outputs, &mut callers);
        loop {
            // Durability first, since others wait for it; then what happened; then what is asked.
            let input = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(report) = self.reports.recv() => match self.heard(report) {
                    Some(input) => input,
                    None => continue,
                },
                Some(observation) = self.observations.recv() => Input::Observed(observation),
                _ = tick.tick() => Input::Tick,
                Some(letter) = self.door.requests.recv() => callers.admit(letter),
            };
            let now = clock::now();
            let outputs = self.node.handle(now, input);
            let took = clock::now().mono.since(now.mono);
            if took > SLOW {
                tracing::warn!(milliseconds = took.as_millis(), "a turn of the node was slow");
            }
            self.execute(outputs, &mut callers);
        }
        // The writer ends only when all of it is on disk.
        tokio::task::spawn_blocking(move || drop(self.writer)).await.ok();
    }

    fn heard(&mut self, report: Report) -> Option<Input> {
        match report {
            Report::Persisted(id) => return Some(Input::Persisted(id)),
            Report::Grown => self.writer.write(Job::Compact(self.node.records())),
            Report::Trouble(sentence) => tracing::error!("{sentence}; writes wait"),
            Report::Recovered => tracing::info!("the disk can be written again"),
        }
        None
    }

    fn execute(&mut self, effects: Vec<Effect>, callers: &mut Callers) {
        for effect in effects {
            match effect {
                Effect::Persist { id, records, urgent } => self.writer.write(Job::Append { id, records, urgent }),
                Effect::Publish(snapshot) => drop(self.door.snapshot.send_replace(snapshot)),
                Effect::Answer { id, result } => callers.answer(id, result),
                Effect::Route(routes) => drop(self.door.routes.send_replace(routes)),
                Effect::Act(action) => self.runtime.act(*action),
                _ => todo!(),
            }
        }
    }
}

/// Who waits for an answer.
#[derive(Default)]
struct Callers {
    next: RequestId,
    waiting: BTreeMap<RequestId, oneshot::Sender<Answer>>,
}

impl Callers {
    fn admit(&mut self, (request, answer): Letter) -> Input {
        let id = self.next;
        self.next = id.next();
        self.waiting.insert(id, answer);
        Input::Request { id, request }
    }

    fn answer(&mut self, id: RequestId, result: Answer) {
        if let Some(caller) = self.waiting.remove(&id) {
            // One who has gone away meanwhile needs no answer.
            let _ = caller.send(result);
        }
    }
}
