//! `agent recover`.

use std::path::Path;

use super::client::{self, Client};
use super::kubeconfig;

/// Has the agent go on without the voters that are gone, and says what is given up.
pub fn run(folder: &Path, force: bool) -> anyhow::Result<()> {
    let client = Client::of(&kubeconfig::read(folder)?)?;
    let path = if force { "/skein.dev/recover?force=true" } else { "/skein.dev/recover" };
    println!("{}", client::wait(client.post(path))?);
    Ok(())
}
