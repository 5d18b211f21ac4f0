//! `agent status`: asks the agent's own API how things are.

use std::io::IsTerminal;
use std::path::Path;

use anyhow::bail;
use serde::Serialize;
use serde_json::Value;

use super::client::{self, Client};
use super::kubeconfig;
use crate::agent::{CLOCK_SKEWED, DATA_LOST, Partition};

/// Where the Leases are that show who is alive and who leads.
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Where the Events are that tell of refused records.
const REFUSALS: &str = "/api/v1/events?fieldSelector=reason=RecordRefused";

/// Where the agent tells of partitions. An older one does not.
const PARTITIONS: &str = "/skein.dev/partitions";

/// How many of them are told to people.
const SHOWN: usize = 3;

/// How to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// How things are.
#[derive(Debug, Serialize)]
struct Report {
    cluster: String,
    server: String,
    version: String,
    /// The cluster's feature level.
    level: u32,
    /// The node that leads, as this agent sees it; empty if it hears of none.
    leader: String,
    /// The node that looks after this side of a cut while no leader is heard; empty otherwise.
    caretaker: String,
    nodes: Vec<NodeLine>,
    pods: Pods,
    /// How many records of members were refused within the last hour, as far as Events tell.
    refused: u64,
    /// Files in the data folder with what only this node held when it came back too late.
    displaced: Vec<String>,
    /// The last partitions that this agent saw, the newest last; the last one may last still.
    partitions: Vec<Partition>,
}

#[derive(Debug, Serialize)]
struct NodeLine {
    name: String,
    ready: bool,
    reason: String,
    /// How the agent that was asked sees it: `Reachable`, `Unreachable` or `Lost`.
    reach: &'static str,
    address: String,
    runtime: String,
    /// What is wrong with its disk, a sentence each.
    disk: Vec<String>,
    /// What is wrong with its clock; empty if it agrees with the others'.
    clock: String,
}

#[derive(Debug, Default, Serialize)]
struct Pods {
    total: usize,
    running: usize,
    ready: usize,
    failed: usize,
}

/// Prints the report. Fails if the agent does not answer or a node is not ready.
pub fn run(folder: &Path, format: Format) -> anyhow::Result<()> {
    let config = kubeconfig::read(folder)?;
    let cluster = crate::agent::invite::cluster(folder)?;
    let level = crate::agent::invite::level(folder)?;
    let mut report = client::wait(report(&config, cluster, level))?;
    report.displaced = displaced(folder);
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&report)?),
        Format::Text => print(&report),
    }
    match report.nodes.iter().find(|n| !n.ready) {
        Some(node) => bail!("node {} is not ready: {}", node.name, node.reason),
        None => Ok(()),
    }
}

fn print(report: &Report) {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let paint = |text: &str, code: u8| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    println!("Cluster  {}", report.cluster.get(..16).unwrap_or(&report.cluster));
    println!("API      {} ({})", report.server, report.version);
    println!("Level    {}", report.level);
    println!("Leader   {}", if report.leader.is_empty() { "none is heard of" } else { &report.leader });
    if !report.caretaker.is_empty() {
        println!("Caretaker {}", report.caretaker);
    }
    for node in &report.nodes {
        let state = match (node.ready, node.reach) {
            (true, _) => paint("Ready", 32),
            (false, "Reachable") => paint(&format!("NotReady: {}", node.reason), 31),
            (false, reach) => paint(&format!("{reach}: {}", node.reason), 31),
        };
        println!("Node     {} {} {} {state}", node.name, node.address, node.runtime);
        for trouble in &node.disk {
            println!("Disk     {} {}", node.name, paint(trouble, 31));
        }
        if !node.clock.is_empty() {
            println!("Clock    {} {}", node.name, paint(&node.clock, 31));
        }
    }
    let Pods { total, running, ready, failed } = report.pods;
    let failed = if failed > 0 { paint(&format!(", {failed} failed"), 31) } else { String::new() };
    println!("Pods     {total}: {running} running, {ready} ready{failed}");
    if report.refused > 0 {
        let hint = "kubectl get events -A --field-selector reason=RecordRefused";
        println!("Refused  {}", paint(&format!("{} records of members in the last hour: {hint}", report.refused), 31));
    }
    for partition in report.partitions.iter().rev().take(SHOWN).rev() {
        for (number, line) in partition.lines().iter().enumerate() {
            println!("{:<8} {line}", if number == 0 { heading(partition) } else { String::new() });
        }
    }
    for file in &report.displaced {
        println!("Kept     {file}: what only this node held when it came back after too long");
    }
}

/// Names what a partition has come to.
fn heading(partition: &Partition) -> String {
    match (&partition.healed, partition.settled) {
        (None, _) => "Apart".into(),
        (Some(_), false) => "Heals".into(),
        (Some(_), true) => "Healed".into(),
    }
}

/// Lists the files that an agent leaves for its user; see docs/state.md.
fn displaced(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with("displaced-")).collect();
    names.sort();
    names
}

async fn report(kubeconfig: &str, cluster: String, level: u32) -> anyhow::Result<Report> {
    let client = Client::of(kubeconfig)?;
    let version = client.get("/version").await?;
    let nodes = client.get("/api/v1/nodes").await?;
    let pods = client.get("/api/v1/pods").await?;
    let leases = client.get(LEASES).await?;
    let refusals = client.get(REFUSALS).await?;
    let partitions = client.get(PARTITIONS).await.unwrap_or_default();
    let holder = |name: &str| {
        let lease = items(&leases).find(|lease| lease["metadata"]["name"] == name);
        lease.map(|lease| text(&lease["spec"]["holderIdentity"])).unwrap_or_default()
    };
    Ok(Report {
        leader: holder(crate::agent::LEADER),
        caretaker: holder(crate::agent::CARETAKER),
        cluster,
        server: client.server,
        version: text(&version["gitVersion"]),
        level,
        nodes: items(&nodes).map(node_line).collect(),
        pods: count(items(&pods)),
        refused: items(&refusals).map(|event| event["count"].as_u64().unwrap_or(1)).sum(),
        displaced: Vec::new(),
        partitions: serde_json::from_value(partitions["partitions"].clone()).unwrap_or_default(),
    })
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list["items"].as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn node_line(node: &Value) -> NodeLine {
    let status = &node["status"];
    let ready = condition(node, "Ready");
    let address = status["addresses"].as_array().and_then(|a| a.iter().find(|a| a["type"] == "InternalIP"));
    NodeLine {
        name: text(&node["metadata"]["name"]),
        ready: ready.is_some_and(|c| c["status"] == "True"),
        reason: ready.map_or_else(|| "it has not reported yet".into(), |c| text(&c["message"])),
        reach: reach(node),
        address: address.map(|a| text(&a["address"])).unwrap_or_default(),
        runtime: text(&status["nodeInfo"]["containerRuntimeVersion"]),
        disk: ["DiskPressure", DATA_LOST]
            .into_iter()
            .filter_map(|name| condition(node, name).filter(|c| c["status"] == "True"))
            .map(|c| text(&c["message"]))
            .collect(),
        clock: condition(node, CLOCK_SKEWED).map(|c| text(&c["message"])).unwrap_or_default(),
    }
}

/// Reads what the asked agent projects onto the Nodes of others.
fn reach(node: &Value) -> &'static str {
    let taints = node["spec"]["taints"].as_array();
    let lost = |taint: &Value| taint["key"] == "node.kubernetes.io/unreachable" && taint["effect"] == "NoExecute";
    if taints.is_some_and(|taints| taints.iter().any(lost)) {
        "Lost"
    } else if condition(node, "Ready").is_some_and(|c| c["status"] == "Unknown") {
        "Unreachable"
    } else {
        "Reachable"
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

fn count<'a>(pods: impl Iterator<Item = &'a Value>) -> Pods {
    pods.fold(Pods::default(), |mut sum, pod| {
        sum.total += 1;
        sum.running += usize::from(pod["status"]["phase"] == "Running");
        sum.failed += usize::from(pod["status"]["phase"] == "Failed");
        sum.ready += usize::from(condition(pod, "Ready").is_some_and(|c| c["status"] == "True"));
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_node_that_is_not_ready_says_why() {
        let node = json!({"metadata": {"name": "n1"}, "status": {"conditions": [
            {"type": "Ready", "status": "False", "message": "container runtime is down"},
            {"type": "ClockSkewed", "status": "True", "message": "its clock is 2 h behind"}]}});
        let line = node_line(&node);
        assert!(!line.ready);
        assert_eq!(line.clock, "its clock is 2 h behind");
        assert_eq!((line.reason.as_str(), line.reach), ("container runtime is down", "Reachable"));
    }

    #[test]
    fn a_node_that_does_not_answer_is_unreachable_and_then_lost() {
        let mut node = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
        assert_eq!(reach(&node), "Unreachable");
        node["spec"]["taints"] = json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]);
        assert_eq!(reach(&node), "Lost");
    }

    #[test]
    fn pods_are_counted_by_what_they_do() {
        let pod = |phase: &str, ready: &str| json!({"status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}});
        let pods = [pod("Running", "True"), pod("Running", "False"), pod("Failed", "False")];
        let sum = count(pods.iter());
        assert_eq!((sum.total, sum.running, sum.ready, sum.failed), (3, 2, 1, 1));
    }
}
