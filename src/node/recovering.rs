//! Recovery: most voters are gone for good, and a human makes this node the first voter of a new generation of the
//! cluster; and how the others hear of it.
//!
//! What is said of leading goes with its generation. Who hears something of another says what proves its own, or nothing
//! if it is of the first: so the one that is behind is shown what it has missed.

use crate::election::{self, Generation, RECOVERY};
use crate::features::Feature;
use crate::ids::{NodeId, RequestId};
use crate::time::Now;
use crate::trust::recovery::{Recovery, count, next_generation};

use super::message::Message;
use super::{Effect, Node};

impl Node {
    /// Makes this node the first voter of a new generation; answers once it leads it.
    pub(super) fn recover(&mut self, now: Now, id: RequestId, force: bool) {
        let given_up = match self.may_recover(force) {
            Ok(given_up) => given_up,
            Err(refused) => return self.effects.push(Effect::Recovered { id, result: Err(refused) }),
        };
        let me = self.store.node_id();
        let mut chance = [0; 8];
        chance.copy_from_slice(&me.0[..8]);
        let chance = u64::from_be_bytes(chance);
        let election = &self.leading.election;
        let recovery = Recovery {
            cluster: self.peers.cluster,
            generation: next_generation(election.generation(), chance),
            term: election.next_generations_term(chance),
            by: me,
            at: now.wall,
        };
        let number = count(recovery.generation);
        tracing::warn!(generation = number, "recovering: this node is the only voter from now on. {given_up}");
        let text =
            format!("node {} leads generation {number} of the cluster, and votes alone so far. {given_up}", self.name);
        self.leading.recovering = Some((id, text));
        let proof = self.admissions.sign(&recovery);
        self.begin(now, &recovery, proof);
    }

    /// Says what is given up, or why this node should not go on without the other voters.
    fn may_recover(&self, force: bool) -> Result<String, String> {
        if !self.may_use(Feature::Generations) {
            let (needed, level) = (Feature::Generations.level(), self.level());
            return Err(format!(
                "the cluster's feature level is {level}, and recovering needs {needed} in all members"
            ));
        }
        if self.leading.recovering.is_some() {
            return Err("this node is recovering already".into());
        }
        let me = self.store.node_id();
        let voters = &self.leading.election.ballot().voters;
        let here = |voter: &NodeId| *voter == me && self.leading.election.votes() || self.peers.answers(voter);
        let names = |wanted: bool| {
            let of = voters.members.iter().filter(|voter| here(voter) == wanted);
            let mut names: Vec<String> = of.map(|voter| self.peers.name_of(voter)).collect();
            names.sort();
            names.join(", ")
        };
        let (answering, absent) = (names(true), names(false));
        let all = voters.members.len();
        if voters.most(here) && !force {
            return Err(format!(
                "most of the {all} voters answer ({answering}): they elect a leader without help; with --force what they \
                 decide meanwhile and this node does not know would be given up"
            ));
        }
        if !voters.members.contains(&me) && !answering.is_empty() && !force {
            return Err(format!(
                "node {} does not vote and may know less than a voter: recover on {answering}",
                self.name
            ));
        }
        if absent.is_empty() {
            return Ok(format!("Of {all} voters all answer; what they have decided without this node is given up."));
        }
        Ok(format!(
            "Given up: whatever {absent} may have decided that this node has not heard of, such as members, Leases and \
             exactly-one slots. If they come back they take part again, but keep nothing of that."
        ))
    }

    /// This node leads: if somebody waits for that, it is done.
    pub(super) fn recovered(&mut self) {
        if let Some((id, text)) = self.leading.recovering.take() {
            self.effects.push(Effect::Recovered { id, result: Ok(text) });
        }
    }

    fn begin(&mut self, now: Now, recovery: &Recovery, proof: Vec<u8>) {
        let Recovery { generation: number, term, by: first, .. } = *recovery;
        self.elect(now, election::Input::Begin(Generation { number, term, first, proof }));
    }

    /// Says something of leading, and in which generation.
    pub(super) fn say_of_leading(&mut self, to: NodeId, message: election::Message) {
        self.telling.say(
            to,
            match self.leading.election.generation() {
                0 => Message::Election(message),
                generation => Message::ElectionOf(generation, message),
            },
        );
    }

    /// A member says something of leading in a generation.
    pub(super) fn hear_of_leading(&mut self, now: Now, from: NodeId, generation: u64, message: election::Message) {
        if generation == self.leading.election.generation() {
            self.elect(now, election::Input::Received { from, message });
        } else {
            self.prove_generation(from);
        }
    }

    fn prove_generation(&mut self, to: NodeId) {
        let proof = self.leading.registers().get(RECOVERY).map(|register| register.value.clone());
        self.telling.say(to, Message::Recovery(proof.unwrap_or_default()));
    }

    /// A member shows what proves its generation.
    pub(super) fn hear_of_recovery(&mut self, now: Now, from: NodeId, proof: &[u8]) {
        let own = self.leading.election.generation();
        let read = Recovery::read(proof, self.peers.cluster);
        let theirs = read.filter(|recovery| self.peers.members.get(&recovery.by).is_some());
        match theirs {
            Some(recovery) if recovery.generation > own => {
                let by = self.peers.name_of(&recovery.by);
                tracing::warn!(generation = count(recovery.generation), by, "the cluster was recovered: following");
                if let Some((id, _)) = self.leading.recovering.take() {
                    let why = format!("another recovery, on {by}, is newer than this one");
                    self.effects.push(Effect::Recovered { id, result: Err(why) });
                }
                self.begin(now, &recovery, proof.to_vec());
            }
            Some(recovery) if recovery.generation < own => self.prove_generation(from),
            None if proof.is_empty() && own > 0 => self.prove_generation(from),
            // What this node cannot judge it does not answer: the other could not judge that either.
            _ => {}
        }
    }

    /// Returns which recovery began this node's generation of the cluster; 0 if there was none.
    pub fn generation(&self) -> u64 {
        count(self.leading.election.generation())
    }
}
