//! The host's firewall, as far as both the runtime and the proxy need it.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use tokio::process::Command;

/// One iptables rule that has to be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    table: &'static str,
    chain: &'static str,
    spec: Vec<String>,
}

/// A rule could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// The program is not there.
    #[error("iptables cannot be run: {0}")]
    Missing(#[from] std::io::Error),
    /// It refused.
    #[error("iptables {args}: {message}")]
    Refused {
        /// What it was asked.
        args: String,
        /// What it said.
        message: String,
    },
}

impl Rule {
    /// Makes a rule of words as iptables takes them: `-i br0 -o br0 -j ACCEPT`.
    pub fn new(table: &'static str, chain: &'static str, spec: &str) -> Self {
        Self { table, chain, spec: spec.split_whitespace().map(str::to_owned).collect() }
    }

    /// Puts the rule at the head of its chain unless it is in the chain already.
    ///
    /// # Errors
    /// [`FirewallError`] if iptables is missing or refuses.
    pub async fn ensure(&self) -> Result<(), FirewallError> {
        if self.iptables("-C").await?.status.success() {
            return Ok(());
        }
        let inserted = self.iptables("-I").await?;
        if inserted.status.success() {
            return Ok(());
        }
        Err(FirewallError::Refused {
            args: format!("-t {} -I {} {}", self.table, self.chain, self.spec.join(" ")),
            message: String::from_utf8_lossy(&inserted.stderr).trim().to_owned(),
        })
    }

    /// Takes the rule out of its chain, if it is there.
    ///
    /// # Errors
    /// [`FirewallError::Missing`] if iptables cannot be run.
    pub async fn remove(&self) -> Result<(), FirewallError> {
        self.iptables("-D").await.map(drop)
    }

    async fn iptables(&self, verb: &str) -> Result<std::process::Output, FirewallError> {
        let mut command = Command::new("iptables");
        command.args(["-w", "5", "-t", self.table, verb, self.chain]).args(&self.spec);
        Ok(command.output().await?)
    }
}
