//! A CronJob that runs every minute leaves a bounded store, however long it does.

use super::*;

/// How many finished runs are kept.
const HISTORY: u64 = 3;
/// Runs a day.
const RUNS: u64 = 1_440;

/// A leader and a follower, and what the register says.
struct Cluster {
    leader: Rig,
    follower: Rig,
    register: Horizon,
    runs: u64,
}

fn run(n: u64) -> String {
    format!("cron-{n}")
}

impl Cluster {
    fn new() -> Self {
        let (leader, mut follower) = (Rig::new(1), Rig::bare(2));
        follower.take_all(&leader);
        Self { leader, follower, register: Horizon::default(), runs: 0 }
    }

    /// A day of runs, of which the oldest goes with each new one.
    fn day(&mut self) {
        for _ in 0..RUNS {
            self.leader.wait(Duration::from_secs(60));
            self.leader.create(pod(&run(self.runs)));
            if let Some(old) = self.runs.checked_sub(HISTORY) {
                self.leader.done(remove(&pod_key(&run(old)))).unwrap();
            }
            self.runs += 1;
        }
    }

    fn exchange(&mut self) {
        let acked = self.leader.store.standing().acked;
        let theirs: std::collections::BTreeSet<_> = self.follower.store.record_ids().into_iter().collect();
        let ours = self.leader.store.record_ids().into_iter().filter(|id| !theirs.contains(id)).collect();
        for record in self.leader.store.records_of(&ours) {
            self.follower.merge(&record).unwrap();
        }
        self.follower.store.ack(acked);
        self.follower.flush();
        self.leader.store.take_news();
    }

    fn decide(&mut self, horizon: Horizon) {
        self.register = horizon;
        for rig in [&mut self.leader, &mut self.follower] {
            rig.store.set_horizon(rig.now, self.register.clone());
            rig.flush();
        }
    }

    /// What the leader does once a day.
    fn collect(&mut self) {
        if let Some(batch) = self.leader.store.seal(self.leader.now) {
            self.leader.flush();
            let next = self.register.advanced(self.leader.store.standing().acked, batch);
            self.decide(next);
            self.leader.store.ack(self.register.number);
            self.leader.flush();
        }
        self.exchange();
        let dropped = self.follower.store.standing().floor;
        let next = self.register.collected(self.follower.store.standing().acked, dropped);
        self.decide(next);
        for rig in [&mut self.leader, &mut self.follower] {
            // The log is rewritten now and then.
            rig.disk = rig.store.records().collect();
        }
    }

    fn bytes(rig: &Rig) -> usize {
        rig.disk.iter().map(Vec::len).sum()
    }
}

fn days(count: u64) {
    let mut cluster = Cluster::new();
    let (mut most, mut first) = (0, 0);
    for day in 0..count {
        cluster.day();
        cluster.collect();
        let bytes = Cluster::bytes(&cluster.leader).max(Cluster::bytes(&cluster.follower));
        most = most.max(bytes);
        if day == 0 {
            first = bytes;
        }
        assert!(bytes < 1 << 20, "{bytes} bytes after day {day}");
        assert!(cluster.leader.store.tombstones() <= 2 * 1_440);
    }
    println!("{count} days: {first} bytes after the first, {most} at most");
    cluster.collect();
    cluster.exchange();
    assert_eq!(cluster.leader.visible(), cluster.follower.visible());
    cluster.follower.crash();
    assert_eq!(cluster.leader.visible(), cluster.follower.visible());
}

#[test]
fn a_job_every_minute_leaves_a_bounded_store() {
    days(2);
}

#[test]
#[ignore = "long: a year of a run every minute, some 20 minutes"]
fn long_a_job_every_minute_for_a_year_leaves_a_bounded_store() {
    days(365);
}
