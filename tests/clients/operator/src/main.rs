//! A stock client library against real nodes: `operator control` keeps a ConfigMap for every Widget until it is killed;
//! `operator use` tries what clients do and says what it has seen, a line each.

mod control;
mod using;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("control") => control::run().await,
        Some("use") => using::run().await,
        _ => anyhow::bail!("usage: operator control | use (KUBECONFIG names the cluster)"),
    }
}
