//! The command line: `agent up | join | token | status | kubeconfig | backup | restore | history | undo | recover`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod backup;
mod client;
mod history;
mod kubeconfig;
mod recover;
mod status;
mod token;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::agent;
use crate::config::{Config, Settings};

/// Skein: a masterless container orchestrator. Every machine runs this one program.
#[derive(Parser)]
#[command(name = "agent", version, about, propagate_version = true, subcommand_required = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// File with settings (YAML; the names of `agent up`'s flags)
    #[arg(long, global = true, env = "SKEIN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Start this machine's agent; the first time, found a cluster
    ///
    /// Stays in the foreground until SIGTERM or SIGINT; pods go on running then. With NOTIFY_SOCKET set (systemd's
    /// Type=notify) it tells when it is ready. Logs go to standard error; RUST_LOG sets how much (default: info).
    Up {
        #[command(flatten)]
        settings: Settings,
        /// Write logs as JSON, one object a line
        #[arg(long, env = "SKEIN_LOG_JSON")]
        log_json: bool,
    },
    /// Make this machine a member of a cluster and start its agent
    ///
    /// The token comes from `agent token create` on a member. All else is as with `agent up`, which also starts the
    /// agent from the second time on (as does this, with the same token).
    Join {
        /// The join token. On a machine with other users give it in the environment: arguments can be seen by all
        #[arg(env = "SKEIN_TOKEN", hide_env_values = true)]
        token: String,
        /// Run no pods, for good: be a member for the vote, so that of two others one may fail. Needs no Docker
        #[arg(long)]
        witness: bool,
        #[command(flatten)]
        settings: Settings,
        /// Write logs as JSON, one object a line
        #[arg(long, env = "SKEIN_LOG_JSON")]
        log_json: bool,
    },
    /// Invite machines into the cluster
    Token {
        #[command(subcommand)]
        command: token::Command,
    },
    /// Tell how the agent and the cluster are
    Status {
        #[command(flatten)]
        place: Place,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: status::Format,
    },
    /// Print a kubeconfig for this cluster's administrator
    Kubeconfig {
        #[command(flatten)]
        place: Place,
    },
    /// Write the cluster's state, as this node has it, into a file
    ///
    /// The agent may run meanwhile. The file holds all objects, Secrets among them: only its owner can read it; keep it so.
    /// It holds no keys of the cluster and nothing of what pods have written.
    Backup {
        /// The file; one that is there is replaced
        file: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Make this machine the first of a new cluster with the state of a backup
    ///
    /// Needs a fresh data folder. Afterwards start the agent with `agent up`; other machines join with a token. The
    /// cluster is a new one: kubeconfigs, tokens and members of the old one are not its own.
    Restore {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show who has changed which field of an object, and when
    History {
        /// The object: KIND/NAME, such as deployment/web
        object: String,
        #[command(flatten)]
        home: history::Home,
        /// How to print it
        #[arg(short, long, value_enum, default_value_t)]
        output: status::Format,
        #[command(flatten)]
        place: Place,
    },
    #[command(hide = true, name = agent::warden::COMMAND)]
    Warden {
        /// Where the deadlines are
        folder: PathBuf,
    },
    /// Put back what one change has done to an object, as a new change
    Undo {
        /// The object: KIND/NAME, such as deployment/web
        object: String,
        /// The change, as `agent history` shows it
        change: String,
        /// Also where a later change has touched the same field
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        home: history::Home,
        #[command(flatten)]
        place: Place,
    },
    /// Go on without the voters that are gone for good
    ///
    /// Only for when more than half of the voters will never come back: makes this node the only voter, from which the
    /// cluster grows new ones. Run it on one node, one that votes if there is any. Objects, the cluster's id and all
    /// certificates stay. What the others have decided and this node has not heard of is given up.
    Recover {
        /// Do so although most voters answer, or a better node does
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the agent lives.
#[derive(clap::Args)]
struct Place {
    /// The agent's data folder [default: /var/lib/skein]
    #[arg(long, env = "SKEIN_DATA", value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// Runs the program. Exit codes: 0 done, 1 failed (one sentence on standard error), 2 wrong usage.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Up { settings, log_json } => up(settings, None, log_json, cli.config),
        Command::Join { token, witness, settings, log_json } => {
            up(settings, Some(agent::Ticket { token, witness }), log_json, cli.config)
        }
        Command::Token { command: token::Command::Create { ttl, place } } => {
            folder(place, cli.config).and_then(|f| token::create(&f, ttl))
        }
        Command::Status { place, output } => folder(place, cli.config).and_then(|f| status::run(&f, output)),
        Command::Kubeconfig { place } => folder(place, cli.config).and_then(|f| kubeconfig::run(&f)),
        Command::Backup { file, place } => folder(place, cli.config).and_then(|f| backup::create(&f, &file)),
        Command::Restore { file, settings } => complete(settings, cli.config).and_then(|c| backup::restore(c, &file)),
        Command::History { object, home, output, place } => {
            folder(place, cli.config).and_then(|f| history::show(&f, &object, &home, output))
        }
        Command::Warden { folder } => agent::warden::run(&folder),
        Command::Undo { object, change, force, home, place } => {
            folder(place, cli.config).and_then(|f| history::undo(&f, &object, &home, &change, force))
        }
        Command::Recover { force, place } => folder(place, cli.config).and_then(|f| recover::run(&f, force)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn up(settings: Settings, ticket: Option<agent::Ticket>, log_json: bool, file: Option<PathBuf>) -> anyhow::Result<()> {
    log_to_stderr(log_json);
    let config = complete(settings, file)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(agent::run(config, ticket))
}

fn complete(settings: Settings, file: Option<PathBuf>) -> anyhow::Result<Config> {
    let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    Ok(settings.over(from_file(file)?).complete(&host)?)
}

/// Worker threads of the agent: enough that one slow computation does not hold up the rest, few enough for a small board.
const WORKERS: usize = 4;

/// What is logged if RUST_LOG does not say. What libp2p says of its own doings the mesh says in our words.
const LOG_FILTER: &str = "info,libp2p=warn,libp2p_mdns=warn,libp2p_swarm=warn,libp2p_tcp=warn";

fn log_to_stderr(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(colour);
    if json { log.json().init() } else { log.init() }
}

fn from_file(file: Option<PathBuf>) -> anyhow::Result<Settings> {
    Ok(file.map(|path| Settings::read(&path)).transpose()?.unwrap_or_default())
}

fn folder(place: Place, file: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let configured = from_file(file)?.data;
    Ok(place.data.or(configured).unwrap_or_else(|| crate::config::DATA.into()))
}
