//! The agent's settings: file < environment < flags, parsed into types once.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::Args;
use ipnet::Ipv4Net;
use serde::Deserialize;

/// Where the API listens if nothing else is said.
pub const API_PORT: u16 = 6443;
/// Where other members reach this node if nothing else is said.
pub const MESH_PORT: u16 = 7443;
/// The data folder if nothing else is said.
pub const DATA: &str = "/var/lib/skein";
/// Pods of all nodes live here.
pub const PODS: &str = "10.240.0.0/12";
/// Services live here.
pub const SERVICES: &str = "10.96.0.0/16";
/// The bits of a node's pod range.
pub const NODE_PREFIX: u8 = 24;
/// Docker's socket if nothing else is said.
pub const DOCKER: &str = "/var/run/docker.sock";
/// MiB of each of the two files of the audit log if nothing else is said.
pub const AUDIT_LOG: u32 = 10;
/// NodePorts, first and last.
pub const NODE_PORTS: (u16, u16) = (30_000, 32_767);
/// The domain of Services' names.
pub const DOMAIN: &str = "cluster.local";

/// What a user may say; all of it may be left out. The same names in the file, the environment and on the line.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Folder for all that must survive a restart [default: /var/lib/skein]
    #[arg(long, env = "SKEIN_DATA", value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// This node's name [default: the host's name]
    #[arg(long, env = "SKEIN_NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// This host's address [default: the one that leads to the outside]
    #[arg(long, env = "SKEIN_ADDRESS", value_name = "IP")]
    pub address: Option<Ipv4Addr>,
    /// Port of the Kubernetes API [default: 6443]
    #[arg(long, env = "SKEIN_API_PORT", value_name = "PORT")]
    pub api_port: Option<u16>,
    /// Port at which the other members reach this node [default: 7443]
    #[arg(long, env = "SKEIN_MESH_PORT", value_name = "PORT")]
    pub mesh_port: Option<u16>,
    /// Range of all pods; each node takes a /24 of it [default: 10.240.0.0/12]
    #[arg(long, env = "SKEIN_PODS", value_name = "CIDR")]
    pub pods: Option<Ipv4Net>,
    /// Range of all Services [default: 10.96.0.0/16]
    #[arg(long, env = "SKEIN_SERVICES", value_name = "CIDR")]
    pub services: Option<Ipv4Net>,
    /// Docker's socket [default: /var/run/docker.sock]
    #[arg(long, env = "SKEIN_DOCKER", value_name = "PATH")]
    pub docker: Option<PathBuf>,
    /// MiB of each of the two files of the audit log; 0 for none [default: 10]
    #[arg(long, env = "SKEIN_AUDIT_LOG", value_name = "MIB")]
    pub audit_log: Option<u32>,
}

/// The settings, complete and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// This node's name: an RFC 1123 subdomain.
    pub node_name: String,
    /// The host's address; `None` to find it.
    pub address: Option<Ipv4Addr>,
    /// The API's port.
    pub api_port: u16,
    /// The port at which the other members reach this node.
    pub mesh_port: u16,
    /// The range of all pods, at least as wide as one node's.
    pub pods: Ipv4Net,
    /// The range of all Services.
    pub services: Ipv4Net,
    /// Docker's socket.
    pub docker: PathBuf,
    /// The most MiB of each of the two files of the audit log; 0 for none.
    pub audit_log: u32,
    /// What of this was not left to a default. A node that is a member has the rest from its cluster.
    pub given: Given,
}

/// Settings that a cluster knows too, as far as they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The node's name.
    pub node_name: Option<String>,
    /// The range of all pods.
    pub pods: Option<Ipv4Net>,
    /// The range of all Services.
    pub services: Option<Ipv4Net>,
}

/// Why settings do not do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("config file {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is not understood.
    #[error("config file {path}: {error}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        error: serde_yaml_ng::Error,
    },
    /// A value does not do.
    #[error("{setting} {value:?}: {reason}")]
    Bad {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        reason: &'static str,
    },
}

impl Settings {
    /// Reads settings from a YAML file.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`], [`ConfigError::Malformed`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
        serde_yaml_ng::from_str(&text).map_err(|error| ConfigError::Malformed { path: path.to_owned(), error })
    }

    /// Takes from `weaker` what is left out here.
    #[must_use]
    pub fn over(self, weaker: Settings) -> Settings {
        Settings {
            data: self.data.or(weaker.data),
            node_name: self.node_name.or(weaker.node_name),
            address: self.address.or(weaker.address),
            api_port: self.api_port.or(weaker.api_port),
            mesh_port: self.mesh_port.or(weaker.mesh_port),
            pods: self.pods.or(weaker.pods),
            services: self.services.or(weaker.services),
            docker: self.docker.or(weaker.docker),
            audit_log: self.audit_log.or(weaker.audit_log),
        }
    }

    /// Fills in the defaults and checks the whole. `host_name` names the node if nothing else does.
    ///
    /// # Errors
    /// [`ConfigError::Bad`].
    pub fn complete(self, host_name: &str) -> Result<Config, ConfigError> {
        let range = |given: Option<Ipv4Net>, default: &str| {
            given.unwrap_or_else(|| default.parse().expect("the default is a range")).trunc()
        };
        let given = Given {
            node_name: self.node_name.clone(),
            pods: self.pods.map(|range| range.trunc()),
            services: self.services.map(|range| range.trunc()),
        };
        let config = Config {
            given,
            data: self.data.unwrap_or_else(|| DATA.into()),
            node_name: self.node_name.unwrap_or_else(|| host_name.to_ascii_lowercase()),
            address: self.address,
            api_port: self.api_port.unwrap_or(API_PORT),
            mesh_port: self.mesh_port.unwrap_or(MESH_PORT),
            pods: range(self.pods, PODS),
            services: range(self.services, SERVICES),
            docker: self.docker.unwrap_or_else(|| DOCKER.into()),
            audit_log: self.audit_log.unwrap_or(AUDIT_LOG),
        };
        config.check()?;
        Ok(config)
    }
}

impl Config {
    fn check(&self) -> Result<(), ConfigError> {
        let bad = |setting, value: String, reason| Err(ConfigError::Bad { setting, value, reason });
        if !is_node_name(&self.node_name) {
            let reason =
                "a node name has lower-case letters, digits, '-' and '.', and begins and ends with a letter or digit";
            return bad("node-name", self.node_name.clone(), reason);
        }
        if self.mesh_port == self.api_port {
            return bad("mesh-port", self.mesh_port.to_string(), "the API has the same port");
        }
        if self.pods.prefix_len() > NODE_PREFIX {
            return bad("pods", self.pods.to_string(), "the range must hold at least a /24, one node's share");
        }
        if self.services.prefix_len() > 24 {
            return bad("services", self.services.to_string(), "the range must be a /24 or wider");
        }
        if self.pods.contains(&self.services.network()) || self.services.contains(&self.pods.network()) {
            return bad("services", self.services.to_string(), "the range overlaps that of the pods");
        }
        Ok(())
    }

    /// Returns the share of the node with number `index`. `None` past the end of the range.
    pub fn pod_range(&self, index: u32) -> Option<Ipv4Net> {
        self.pods.subnets(NODE_PREFIX).ok()?.nth(usize::try_from(index).ok()?)
    }

    /// Returns the address of the `kubernetes` Service: the first of the range.
    pub fn api_address(&self) -> Ipv4Addr {
        nth_address(self.services, 1)
    }

    /// Returns the address of the cluster's DNS: the tenth of the range.
    pub fn dns_address(&self) -> Ipv4Addr {
        nth_address(self.services, 10)
    }
}

fn nth_address(range: Ipv4Net, n: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(range.network()) + n)
}

fn is_node_name(name: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 63
        && name.starts_with(inner)
        && name.ends_with(inner)
        && name.chars().all(|c| inner(c) || c == '-' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(yaml: &str) -> Settings {
        serde_yaml_ng::from_str(yaml).expect("parses")
    }

    #[test]
    fn defaults_are_the_documented_ones() {
        let config = Settings::default().complete("Pi-1").expect("does");
        assert_eq!(config.node_name, "pi-1");
        assert_eq!(config.api_address().to_string(), "10.96.0.1");
        assert_eq!(config.dns_address().to_string(), "10.96.0.10");
        assert_eq!(config.pod_range(1).map(|r| r.to_string()).as_deref(), Some("10.240.1.0/24"));
    }

    #[test]
    fn flags_beat_the_file() {
        let file = settings("api-port: 1000\nnode-name: file");
        let flags = Settings { api_port: Some(2000), ..Settings::default() };
        let config = flags.over(file).complete("host").expect("does");
        assert_eq!((config.api_port, config.node_name.as_str()), (2000, "file"));
    }

    #[test]
    fn bad_values_are_named() {
        let why = |yaml: &str| settings(yaml).complete("host").expect_err("is bad").to_string();
        assert!(why("node-name: -x").starts_with("node-name \"-x\":"), "{}", why("node-name: -x"));
        assert!(why("pods: 10.0.0.0/28").contains("10.0.0.0/28"));
        assert!(why("services: 10.241.0.0/16").contains("overlaps"));
        assert!(why("mesh-port: 6443").contains("same port"));
        assert!(serde_yaml_ng::from_str::<Settings>("potato: 1").is_err());
    }
}
