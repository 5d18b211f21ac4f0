//! What goes wrong during the storm.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use skein::election::{Ballot, Stamp};
use skein::node::Node;
use skein::runtime::fake::Knobs;

use crate::host::Host;
use crate::network::Way;
use crate::world::{Bug, Due, World};

impl World {
    /// Lets something go wrong, and the next thing later.
    pub fn fault(&mut self) -> Result<(), String> {
        if !self.storm {
            return Ok(());
        }
        let pause = self.pause(300, self.respite);
        self.at(pause, Due::Fault);
        let host = self.random.random_range(0..self.hosts.len());
        if self.plan.bug == Some(Bug::SleepingWarden) {
            // One at a time, and nothing else: the others are to go on without it.
            if self.hosts.iter().all(|host| host.stalled.is_none()) {
                self.stall(host, Duration::from_secs(30));
            }
            return Ok(());
        }
        match self.random.random_range(0..22) {
            0..=3 if self.hosts[host].incarnation.is_multiple_of(2) => self.lose_power(host)?,
            0..=3 => self.crash(host)?,
            4 => self.blackout()?,
            5..=6 => self.stop_docker(host),
            7..=8 => self.kill_container(host),
            9 => self.slow_disk(host),
            10..=12 => self.cut("links cut", &[(host, self.other(host)), (self.other(host), host)], 25_000),
            13..=14 => self.cut("one way cut", &[(host, self.other(host))], 15_000),
            15..=17 => self.partition(),
            18 => self.lose_ballot(host)?,
            19 => self.burst("frames lost", 300),
            20 => {
                let time = self.pause(100, 20_000);
                self.stall(host, time);
            }
            _ => self.burst("frames doubled", 500),
        }
        Ok(())
    }

    /// Draws a time, in milliseconds.
    pub fn pause(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.random.random_range(from * 1_000..to * 1_000))
    }

    fn other(&self, host: usize) -> usize {
        (host + 1) % self.hosts.len()
    }

    fn cut(&mut self, what: &'static str, ways: &[Way], longest: u64) {
        self.trace.count(what);
        self.line(format!("{what}: {ways:?}"));
        let cut = self.network.cut(ways.iter().copied().collect());
        let pause = self.pause(200, longest);
        self.at(pause, Due::Mend(cut));
    }

    fn partition(&mut self) {
        let (mut one, mut other) = (BTreeSet::new(), BTreeSet::new());
        for host in 0..self.hosts.len() {
            if self.random.random_bool(0.5) {
                one.insert(host)
            } else {
                other.insert(host)
            };
        }
        if one.is_empty() || other.is_empty() {
            return;
        }
        let pairs = one.iter().flat_map(|a| other.iter().flat_map(move |b| [(*a, *b), (*b, *a)]));
        self.cut("partitions", &pairs.collect::<Vec<_>>(), 30_000);
    }

    fn burst(&mut self, what: &'static str, most: u32) {
        let chance = self.random.random_range(20..most);
        self.line(format!("{what}: {chance} of 1000"));
        if what == "frames lost" {
            self.network.loss = chance;
        } else {
            self.network.twice = chance;
        }
        let pause = self.pause(500, 10_000);
        self.at(pause, Due::CleanAir);
    }

    /// All agents die at once.
    fn blackout(&mut self) -> Result<(), String> {
        self.trace.count("blackouts");
        (0..self.hosts.len()).try_for_each(|host| self.crash(host))
    }

    /// Ends an agent without warning; it is started again later.
    pub fn crash(&mut self, index: usize) -> Result<(), String> {
        if self.hosts[index].node.is_none() {
            return Ok(());
        }
        let pause = self.kill(index)?;
        self.at(pause, Due::Restart(index));
        Ok(())
    }

    /// Ends an agent like [`World::crash`], and nothing answers on its host any more. What it runs is not stopped here:
    /// others must do with as little knowledge of that as if it went on.
    pub fn lose_power(&mut self, index: usize) -> Result<(), String> {
        self.crash(index)?;
        self.hosts[index].dark = true;
        self.trace.count("hosts without power");
        Ok(())
    }

    /// Lets an agent die. Returns a time after which it may start again.
    pub fn kill(&mut self, index: usize) -> Result<Duration, String> {
        self.note_crash(index);
        let (now, bug) = (self.now, self.plan.bug);
        let host = &mut self.hosts[index];
        host.node = None;
        host.stalled = None;
        self.trace.count("agent crashes");
        self.trace.line(now, format!("{} crashes", host.name()));
        host.peers.clear();
        // Some of what was written but not synced has reached the disk all the same, in order.
        let kept = self.random.random_range(0..=host.disk.pending.len());
        for (number, (_, records)) in std::mem::take(&mut host.disk.pending).into_iter().enumerate() {
            if number < kept {
                host.disk.durable.extend(records.into_iter().filter(|r| !self.plan.loses(r)));
            } else {
                self.trace.count("unsynced records lost");
            }
        }
        let kept = self.random.random_range(0..=host.disk.saving.len());
        for (number, (_, ballot, registers)) in std::mem::take(&mut host.disk.saving).into_iter().enumerate() {
            if number < kept && bug.is_none() {
                host.disk.keep(ballot, registers);
            } else {
                self.trace.count("saves lost");
            }
        }
        host.disk.busy_until = now;
        host.disk.saving_until = now;
        host.users.agent_died();
        host.crowd.agent_died();
        let clock = host.clock(now);
        host.docker.kill_agent(clock);
        let pause = self.pause(10, 15_000);
        let changes = self.network.crashed(index);
        self.connections(changes)?;
        Ok(pause)
    }

    /// Keeps a crashed agent from being started again.
    pub fn keep_down(&mut self, index: usize) {
        self.hosts[index].kept_down = true;
    }

    /// Starts one that was kept down.
    pub fn bring_back(&mut self, index: usize) -> Result<(), String> {
        self.hosts[index].kept_down = false;
        self.start_agent(index)
    }

    /// Cuts a host off from all others, for good.
    pub fn isolate(&mut self, host: usize) {
        let others = (0..self.hosts.len()).filter(|other| *other != host);
        let ways = others.flat_map(|other| [(host, other), (other, host)]).collect();
        self.network.cut(ways);
    }

    /// Mends all cuts.
    pub fn heal(&mut self) {
        self.network.calm_down();
    }

    /// Has every host's clocks drift, and be set wrong now and then.
    pub fn let_clocks_go_wrong(&mut self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed ^ 0xC10C);
        for host in &mut self.hosts {
            let mono = random.random_range(-100..=100);
            host.drift = (mono, mono + random.random_range(-1_000..=1_000));
        }
        self.clocks = Some(random);
        self.at(Duration::from_secs(1), Due::Clock);
    }

    /// Somebody sets a host's wall clock: wrong by a second to a week, or right. Wrong ones stay wrong in the calm.
    pub fn set_a_clock(&mut self) {
        let Some(mut random) = self.clocks.take().filter(|_| self.storm) else { return };
        let index = random.random_range(0..self.hosts.len());
        let pause = Duration::from_millis(random.random_range(500..10_000));
        let by = 10_f64.powf(random.random_range(6.0..11.8));
        let right = random.random_bool(0.3);
        let side = if random.random_bool(0.5) { 1.0 } else { -1.0 };
        self.clocks = Some(random);
        self.at(pause, Due::Clock);
        self.hosts[index].ahead = if right { 0 } else { (side * by) as i64 };
        self.trace.count(if right { "clocks set right" } else { "clocks set wrong" });
        let ahead = self.hosts[index].ahead / 1_000_000;
        self.line(format!("the clock of n{} is set {ahead} s ahead", index + 1));
    }

    /// A voter's files with its vote and the registers are lost, and it starts again as its agent does then.
    fn lose_ballot(&mut self, index: usize) -> Result<(), String> {
        if !self.can_spare(index) {
            return Ok(());
        }
        self.crash(index)?;
        self.trace.count("ballots lost");
        let seat = self.random.random_range(1..u64::MAX);
        let host = &mut self.hosts[index];
        host.disk.ballot = Ballot { seat, ..Ballot::default() };
        // The members it learns anew; that it is one, and those it came by, its identity says.
        host.disk.registers.retain(|key, _| !key.starts_with('~'));
        for register in host.disk.registers.values_mut() {
            register.stamp = Stamp::default();
        }
        self.line(format!("n{} has lost its ballot", index + 1));
        Ok(())
    }

    /// Tells whether the voters are several, and all the others have what the newest leader has on its disk.
    fn can_spare(&self, index: usize) -> bool {
        let leads = |host: &Host| host.node.as_ref().and_then(Node::leads);
        let Some(leader) = self.hosts.iter().filter(|host| leads(host).is_some()).max_by_key(|host| leads(host)) else {
            return false;
        };
        let voters = &leader.disk.ballot.voters;
        let sound = |host: &Host| {
            let ballot = &host.disk.ballot;
            !voters.members.contains(&host.id()) || (ballot.voters == *voters && ballot.seat == voters.seat(&host.id()))
        };
        leader.id() != self.hosts[index].id()
            && voters.members.len() > 2
            && voters.members.contains(&self.hosts[index].id())
            && self.hosts.iter().all(sound)
    }

    fn stop_docker(&mut self, index: usize) {
        let now = self.now;
        let live_restore = self.random.random_bool(0.5);
        let host = &mut self.hosts[index];
        if !std::mem::take(&mut host.docker_up) {
            return;
        }
        self.trace.count("docker outages");
        self.trace.line(now, format!("docker of {} stops, live-restore {live_restore}", host.name()));
        let clock = host.clock(now);
        host.docker.stop_daemon(clock, live_restore);
        let pause = self.pause(100, 20_000);
        self.at(pause, Due::DockerBack(index));
    }

    /// Has a host's Docker come back.
    pub fn docker_back(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        if !std::mem::replace(&mut host.docker_up, true) {
            self.trace.line(self.now, format!("docker of {} is back", host.name()));
            let clock = host.clock(self.now);
            host.docker.start_daemon(clock);
        }
    }

    fn kill_container(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let listed = host.docker.listed();
        let ids: Vec<_> = listed.iter().flat_map(|p| p.containers.iter().map(|c| c.id.clone())).collect();
        if ids.is_empty() {
            return;
        }
        let id = &ids[self.random.random_range(0..ids.len())];
        self.trace.count("containers killed");
        self.trace.line(self.now, format!("container {id} on {} is killed", host.name()));
        let clock = host.clock(self.now);
        host.docker.kill(clock, id);
    }

    fn slow_disk(&mut self, index: usize) {
        self.trace.count("slow disk");
        self.hosts[index].disk.slow = true;
        let pause = self.pause(100, 15_000);
        self.at(pause, Due::FastDisk(index));
    }

    /// Ends all faults.
    pub fn calm_down(&mut self) -> Result<(), String> {
        self.line("-- calm --");
        self.storm = false;
        self.network.calm_down();
        for index in 0..self.hosts.len() {
            self.wake(index)?;
            let host = &mut self.hosts[index];
            host.disk.slow = false;
            host.docker.tune(Knobs::default());
            self.docker_back(index);
            self.start_agent(index)?;
        }
        Ok(())
    }
}
