//! `agent kubeconfig`.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{anyhow, bail};

/// Reads the kubeconfig that the agent wrote into its data folder.
///
/// # Errors
/// One sentence: no agent has started there, or the file is not ours to read.
pub fn read(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("kubeconfig");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!(
                "there is no {}: start the agent first (agent up), or name its data folder with --data",
                path.display()
            )
        }
        Err(error) => Err(anyhow!("{}: {error}", path.display())),
    }
}

/// Prints it.
pub fn run(folder: &Path) -> anyhow::Result<()> {
    print!("{}", read(folder)?);
    Ok(())
}
