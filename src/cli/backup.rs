//! `agent backup` and `agent restore`.

use std::collections::BTreeMap;
use std::path::Path;

use crate::agent::backup;
use crate::config::Config;

/// Writes a backup and says what is in it.
pub fn create(folder: &Path, to: &Path) -> anyhow::Result<()> {
    let made = backup::create(folder, to)?;
    for damage in &made.damage {
        eprintln!("agent: the log is damaged, and the backup lacks what was there: {damage}");
    }
    let (header, objects) = (&made.header, made.header.objects.values().sum::<usize>());
    println!("{objects} objects of cluster {} are in {}", short(&header.cluster), to.display());
    Ok(())
}

/// Restores a backup and says what has become of it.
pub fn restore(config: Config, from: &Path) -> anyhow::Result<()> {
    let data = config.data.clone();
    let done = backup::restore(config, from)?;
    for refused in &done.refused {
        eprintln!("agent: a record of the backup is not understood: {refused}");
    }
    let header = &done.header;
    println!("Backup   cluster {}, written at {} on {}", short(&header.cluster), header.time, header.node);
    println!("Cluster  {} (a new one) in {}", short(&done.cluster), data.display());
    println!("Objects  {}", done.kept);
    let mut left: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for (key, why) in &done.left {
        *left.entry((key.kind.to_string(), why)).or_default() += 1;
    }
    for ((kind, why), count) in left {
        println!("Left out {count} {kind}: {why}");
    }
    println!("Start the agent on this machine now: agent up");
    Ok(())
}

fn short(cluster: &str) -> &str {
    cluster.get(..16).unwrap_or(cluster)
}
