//! What the machine and our containers use: cgroups as the daemon reads them, and the kernel's own counts.
//!
//! Nothing is measured unless somebody asks. What was seen at the last question is the start of the next window, if it is
//! neither too young nor too old; else one begins now and the answer takes a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::ContainerStatsResponse;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use crate::handle::{Amounts, ContainerUsage, Usage};
use crate::kubelet::action::labels;
use crate::time::Wall;

use super::Engine;
use super::body::{CONTAINER, node_label};

/// A window that begins and ends at questions is between so long and so long.
const YOUNGEST: Duration = Duration::from_secs(5);
const OLDEST: Duration = Duration::from_secs(120);
/// How long a window is that begins with the question.
const SHORT: Duration = Duration::from_secs(1);
/// How many containers the daemon is asked about at the same time.
const AT_ONCE: usize = 8;

/// What was seen at a moment.
#[derive(Clone, Debug)]
pub struct Seen {
    taken: Instant,
    at: Wall,
    machine: Counts,
    containers: BTreeMap<String, (ContainerUsage, Counts)>,
}

/// Processor time so far, in nanoseconds, and memory now, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    cpu: u64,
    memory: u64,
}

/// What was measured last, and the answer that was given.
#[derive(Debug, Default)]
pub struct Meter {
    start: Option<Seen>,
    answer: Option<(Instant, Usage)>,
}

/// Measures this machine and its containers.
pub fn usage(engine: Arc<Engine>) -> BoxFuture<'static, Result<Usage, String>> {
    Box::pin(async move {
        // Whoever asks meanwhile waits, and gets the same answer.
        let mut meter = engine.meter.lock().await;
        if let Some((at, answer)) = &meter.answer
            && at.elapsed() < YOUNGEST
        {
            return Ok(answer.clone());
        }
        let mut now = look(&engine).await?;
        let usable = |seen: &Seen| (YOUNGEST..=OLDEST).contains(&now.taken.duration_since(seen.taken));
        let start = match meter.start.take().filter(usable) {
            Some(start) => start,
            None => {
                tokio::time::sleep(SHORT).await;
                std::mem::replace(&mut now, look(&engine).await?)
            }
        };
        let answer = between(&start, &now);
        *meter = Meter { start: Some(now), answer: Some((Instant::now(), answer.clone())) };
        Ok(answer)
    })
}

async fn look(engine: &Engine) -> Result<Seen, String> {
    let client = engine.client().map_err(|e| e.to_string())?;
    let wanted = [node_label(&engine.config.node), format!("{}={CONTAINER}", labels::TYPE)];
    let listed = client.list(&wanted).await.map_err(|e| e.to_string())?;
    let (taken, at) = (Instant::now(), super::now());
    let running = listed.into_iter().filter_map(|c| Some((c.id?, c.labels?)));
    let asked = running.map(|(id, labels)| {
        let client = client.clone();
        async move {
            let stats = client.stats(&id).await.ok()?;
            let text = |name: &str| labels.get(name).cloned().unwrap_or_default();
            let whose = ContainerUsage {
                namespace: text(labels::POD_NAMESPACE),
                pod: text(labels::POD_NAME),
                name: text(labels::CONTAINER_NAME),
                amounts: Amounts::default(),
            };
            Some((id, (whose, counts(&stats)?)))
        }
    });
    let containers = stream::iter(asked).buffer_unordered(AT_ONCE).filter_map(|found| async move { found }).collect();
    Ok(Seen {
        taken,
        at,
        machine: machine().map_err(|e| format!("cannot read /proc: {e}"))?,
        containers: containers.await,
    })
}

/// Reads what the daemon says of a container; `None` of one that does not run.
fn counts(stats: &ContainerStatsResponse) -> Option<Counts> {
    let cpu = stats.cpu_stats.as_ref()?.cpu_usage.as_ref()?.total_usage?;
    let memory = stats.memory_stats.as_ref()?;
    let used = memory.usage?;
    // cgroup v1 and v2 have different names for it.
    let count = |name: &str| memory.stats.as_ref().and_then(|stats| stats.get(name)).copied();
    let idle = count("total_inactive_file").or_else(|| count("inactive_file")).unwrap_or_default();
    Some(Counts { cpu, memory: used.saturating_sub(idle) })
}

fn machine() -> std::io::Result<Counts> {
    let (stat, meminfo) = (std::fs::read_to_string("/proc/stat")?, std::fs::read_to_string("/proc/meminfo")?);
    Ok(Counts { cpu: busy(&stat), memory: unavailable(&meminfo) })
}

/// Reads from `/proc/stat` how long all processors together have been busy, in nanoseconds.
fn busy(stat: &str) -> u64 {
    let line = stat.lines().find(|line| line.starts_with("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).map(|n| n.parse().unwrap_or_default()).collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted with the users.
    let busy: u64 = ticks.iter().take(8).enumerate().filter(|(i, _)| ![3, 4].contains(i)).map(|(_, n)| n).sum();
    // A tick is a hundredth of a second for all programs, whatever it is for the kernel.
    busy.saturating_mul(10_000_000)
}

/// Reads from `/proc/meminfo` how much memory could not be had for new programs, in bytes.
fn unavailable(meminfo: &str) -> u64 {
    let of = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let (all, free) = (of("MemTotal:").unwrap_or_default(), of("MemAvailable:").unwrap_or_default());
    all.saturating_sub(free).saturating_mul(1024)
}

fn between(start: &Seen, end: &Seen) -> Usage {
    let window = end.taken.duration_since(start.taken);
    let amounts = |before: u64, now: Counts| {
        let used = u128::from(now.cpu.saturating_sub(before)) * 1_000_000_000 / window.as_nanos().max(1);
        Amounts { nano_cores: u64::try_from(used).unwrap_or(u64::MAX), bytes: now.memory }
    };
    let containers = end.containers.iter().map(|(id, (whose, now))| {
        // One that was not there has used all that it has used within the window.
        let before = start.containers.get(id).map_or(0, |(_, counts)| counts.cpu);
        ContainerUsage { amounts: amounts(before, *now), ..whose.clone() }
    });
    Usage { at: end.at, window, node: amounts(start.machine.cpu, end.machine), containers: containers.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_are_read() {
        let stat = "cpu  100 1 20 3000 40 5 6 7 80 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(busy(stat), (100 + 1 + 20 + 5 + 6 + 7) * 10_000_000);
        let meminfo = "MemTotal:        1000 kB\nMemFree:          10 kB\nMemAvailable:     400 kB\n";
        assert_eq!(unavailable(meminfo), 600 * 1024);
        assert!(machine().unwrap().memory > 0, "this machine uses some");
    }

    #[test]
    fn cache_that_nobody_uses_does_not_count() {
        for name in ["total_inactive_file", "inactive_file"] {
            let stats = serde_json::from_value(serde_json::json!({"cpu_stats": {"cpu_usage": {"total_usage": 5}},
                "memory_stats": {"usage": 100, "stats": {name: 30}}}));
            assert_eq!(counts(&stats.unwrap()), Some(Counts { cpu: 5, memory: 70 }));
        }
        assert_eq!(counts(&ContainerStatsResponse::default()), None);
    }

    #[test]
    fn use_is_what_lies_between_two_looks() {
        let began = Instant::now();
        let seen = |after: u64, cpu: u64, containers: &[(&str, u64)]| Seen {
            taken: began + Duration::from_secs(after),
            at: Wall(0),
            machine: Counts { cpu, memory: 7 },
            containers: containers
                .iter()
                .map(|(id, cpu)| ((*id).to_owned(), (ContainerUsage::default(), Counts { cpu: *cpu, memory: 3 })))
                .collect(),
        };
        let usage = between(&seen(0, 0, &[("a", 1_000)]), &seen(10, 5_000_000_000, &[("a", 2_000_001_000), ("b", 10)]));
        assert_eq!(usage.node, Amounts { nano_cores: 500_000_000, bytes: 7 });
        let cores: Vec<u64> = usage.containers.iter().map(|c| c.amounts.nano_cores).collect();
        assert_eq!(cores, [200_000_000, 1]);
    }
}
