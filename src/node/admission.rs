//! Admits new members: through the leader, one after the other, each a unique decision (rule 4).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use ed25519_dalek::SigningKey;

use crate::election::{self, ProposalId, Undecided};
use crate::features;
use crate::ids::{NodeId, RequestId};
use crate::time::{Mono, Now};
use crate::trust::{Admission, ClusterSettings, Declined, JoinRequest, Member, Recovery};

use super::message::{Ask, Message};
use super::{Effect, Node};

/// How long the leader may take to answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// How many may wait to be admitted.
const QUEUE: usize = 64;

/// Who asks for an admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// One that is connected to this node.
    Here(RequestId),
    /// Another member, for one that is connected to it.
    There(NodeId, u64),
}

/// Admissions under way.
pub(super) struct Admissions {
    key: SigningKey,
    settings: ClusterSettings,
    /// The leader's: who waits, and in front whose record is being decided.
    queue: VecDeque<(Asker, JoinRequest)>,
    deciding: Option<ProposalId>,
    /// What the leader was asked by this node, until when.
    asked: BTreeMap<u64, (RequestId, Mono)>,
    asks: u64,
}

impl Admissions {
    pub fn new(key: SigningKey, settings: ClusterSettings) -> Self {
        Self { key, settings, queue: VecDeque::new(), deciding: None, asked: BTreeMap::new(), asks: 0 }
    }

    /// Signs as this node.
    pub fn sign(&self, recovery: &Recovery) -> Vec<u8> {
        recovery.sign(&self.key)
    }

    /// Tells whether this node, should it lead, has nobody to admit just now.
    pub fn are_idle(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Node {
    /// Somebody asks to be admitted: the leader decides, any other node asks the leader.
    pub(super) fn asked_to_admit(&mut self, now: Now, asker: Asker, request: JoinRequest) {
        let me = self.store.node_id();
        match (asker, self.leading.leader(me)) {
            (_, Some(leader)) if leader == me => {
                let least = self.least_level();
                if request.level < least {
                    let sentence = features::too_old(request.level, least);
                    return self
                        .answer(asker, Err(Declined::for_good(format!("this machine cannot join: {sentence}"))));
                }
                if self.admissions.queue.len() >= QUEUE {
                    return self
                        .answer(asker, Err(Declined::for_now("too many machines are joining at once: try again")));
                }
                self.admissions.queue.push_back((asker, request));
                self.admit_next(now);
            }
            (Asker::Here(id), Some(leader)) => {
                self.admissions.asks += 1;
                let ask = self.admissions.asks;
                self.admissions.asked.insert(ask, (id, now.mono + PATIENCE));
                self.telling.say(leader, Message::Ask { id: ask, ask: Ask::Join(request) });
            }
            _ => self.answer(asker, Err(no_leader())),
        }
    }

    /// Another member asks this node as the leader.
    pub(super) fn asked(&mut self, now: Now, from: NodeId, id: u64, ask: Ask) {
        let Ask::Join(request) = ask;
        if self.leading.is_leader() {
            self.asked_to_admit(now, Asker::There(from, id), request);
        } else {
            self.answer(Asker::There(from, id), Err(no_leader()));
        }
    }

    /// The leader answers this node.
    pub(super) fn answered(&mut self, id: u64, answer: Result<Admission, Declined>) {
        if let Some((request, _)) = self.admissions.asked.remove(&id) {
            self.answer(Asker::Here(request), answer);
        }
    }

    /// Ends the wait for answers that have not come.
    pub(super) fn give_up_on_answers(&mut self, now: Now) {
        let late: Vec<u64> =
            self.admissions.asked.iter().filter(|(_, (_, until))| *until <= now.mono).map(|(id, _)| *id).collect();
        for id in late {
            self.answered(id, Err(Declined::for_now("the leader does not answer: try again")));
        }
    }

    /// Has the first in the queue decided, if none is.
    fn admit_next(&mut self, now: Now) {
        while self.admissions.deciding.is_none() {
            let Some((asker, request)) = self.admissions.queue.front().cloned() else { return };
            let me = self.store.node_id();
            let settings = &self.admissions.settings;
            match self.peers.members.admit(settings, &request, me, now.wall) {
                Err(refused) => {
                    self.admissions.queue.pop_front();
                    self.answer(asker, Err(refused.into()));
                }
                Ok(member) if self.peers.members.get(&member.id) == Some(&member) => {
                    self.admissions.queue.pop_front();
                    self.answer(asker, self.admission(&member.id));
                }
                Ok(member) => {
                    let signed = member.sign(&self.admissions.key);
                    let id = self.leading.number();
                    self.admissions.deciding = Some(id);
                    self.elect(now, election::Input::Propose { id, key: Member::register(&member.id), value: signed });
                }
            }
        }
    }

    /// The election says what became of a proposal.
    pub(super) fn decided(&mut self, now: Now, id: ProposalId, result: Result<(), Undecided>) {
        if self.admissions.deciding != Some(id) {
            return;
        }
        self.admissions.deciding = None;
        if let Some((asker, request)) = self.admissions.queue.pop_front() {
            self.read_members();
            let answer = match result {
                Ok(()) => self.admission(&request.id),
                Err(why) => Err(Declined::for_now(format!("not decided: {why}; try again"))),
            };
            if answer.is_ok() {
                tracing::info!(node = self.peers.name_of(&request.id), "admitted");
                self.members_changed(now);
            }
            self.answer(asker, answer);
        }
        self.admit_next(now);
    }

    /// This node leads no more: whoever waits has to ask the next leader.
    pub(super) fn nobody_can_be_admitted(&mut self) {
        self.admissions.deciding = None;
        for (asker, _) in std::mem::take(&mut self.admissions.queue) {
            self.answer(asker, Err(no_leader()));
        }
    }

    fn admission(&self, id: &NodeId) -> Result<Admission, Declined> {
        let own = self.leading.registers().get(&Member::register(id));
        let own = own.ok_or_else(|| Declined::for_now("the membership record is not in effect yet: try again"))?;
        Ok(Admission {
            member: own.value.clone(),
            members: self.leading.member_records().cloned().collect(),
            settings: self.admissions.settings.clone(),
        })
    }

    fn answer(&mut self, asker: Asker, result: Result<Admission, Declined>) {
        match asker {
            Asker::Here(id) => self.effects.push(Effect::Admit { id, result }),
            Asker::There(to, id) => self.telling.say(to, Message::Answer { id, answer: result }),
        }
    }
}

fn no_leader() -> Declined {
    Declined::for_now(
        "the cluster has no leader just now (a majority of its voters does not answer), so nobody can join: try again",
    )
}
