//! The program `netlockd`: flags, configuration, logs and signals around a [`Server`], and the
//! commands for operators.

mod cluster;
mod cluster_folder;
mod cluster_operation;
mod dev_cluster;
mod monitoring;
mod operate;
mod operate_cluster;
mod process;
mod settings;

use std::io::{BufRead, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use distsync_core::spi::Secret;
use distsync_core::{Error, ErrorKind, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use toml::Value;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::cluster::{Member, Node};
use crate::server::{Server, token_line};
use cluster_operation::FolderOperation;
use operate::Operation;
use operate::print_lines;
use settings::{LogFormat, Settings, parse_assignment};

/// The arguments of netlockd. Another program can take them as those of a subcommand, and give them
/// to [`execute`].
#[derive(Debug, Parser)]
#[command(
    name = "netlockd",
    version,
    about = "The lock server of distsync",
    long_about = "The lock server of distsync. Without a command, it runs until SIGTERM or SIGINT. A flag \
                  overrides its environment variable, which overrides the configuration file, which \
                  overrides the default."
)]
pub struct Flags {
    #[command(subcommand)]
    command: Option<Action>,

    #[command(flatten)]
    serve: ServeFlags,
}

#[derive(Debug, clap::Args)]
struct ServeFlags {
    /// Read the settings from this TOML file. `--print-config` prints all settings.
    #[arg(long, env = "NETLOCKD_CONFIG", global = true)]
    config: Option<PathBuf>,

    /// Print all settings as a configuration file, and exit.
    #[arg(long)]
    print_config: bool,

    /// Listen at this address, as host:port. With port 0, listen at a free port. [default:
    /// 127.0.0.1:7420]
    #[arg(long, env = "NETLOCKD_LISTEN")]
    listen: Option<String>,

    /// Allow listening on a non-loopback address without authentication. Anyone who can reach the
    /// server can then take and break locks.
    #[arg(long, env = "NETLOCKD_INSECURE_ALLOW_REMOTE", value_parser = clap::builder::FalseyValueParser::new())]
    insecure_allow_remote: bool,

    /// Serve metrics and health at this address, as host:port.
    #[arg(long, env = "NETLOCKD_ADMIN_LISTEN")]
    admin_listen: Option<String>,

    /// Serve connections on this many threads. [default: all cores but one]
    #[arg(long, env = "NETLOCKD_WORKERS")]
    workers: Option<u32>,

    /// Store sessions and locks in this folder, so that they survive a restart. The folder is
    /// created if it is missing.
    #[arg(long, env = "NETLOCKD_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// What acknowledged changes survive, with a data folder. `memory`: nothing, and after a
    /// restart the server grants nothing until earlier sessions have ended. `async`: the end of the
    /// process. `fsync`: also a power failure. [default: async]
    #[arg(long, env = "NETLOCKD_DURABILITY")]
    durability: Option<String>,

    /// The identity of the table, as 32 hexadecimal digits. Clients with more than one address need
    /// it (`?table=ID`). The server prints it when it starts. [default: drawn at random, and stored
    /// in the data folder if there is one]
    #[arg(long, env = "NETLOCKD_TABLE", value_name = "ID")]
    table: Option<String>,

    /// Authenticate clients by the tokens in this file, which `netlockd hash-token` creates. The
    /// file is read again when it changes, and on SIGHUP.
    #[arg(long, env = "NETLOCKD_TOKENS")]
    tokens: Option<PathBuf>,

    /// Use TLS with this certificate, as PEM. The file is read again when it changes, and on
    /// SIGHUP.
    #[arg(long, env = "NETLOCKD_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, as PEM.
    #[arg(long, env = "NETLOCKD_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Authenticate clients by certificates of these authorities, as PEM. The subject alternative
    /// name of a certificate is the client's principal.
    #[arg(long, env = "NETLOCKD_TLS_CLIENT_CA")]
    tls_client_ca: Option<PathBuf>,

    /// Also append administrator actions to this audit log, one JSON object per line. The file is
    /// opened again on SIGHUP.
    #[arg(long, env = "NETLOCKD_AUDIT_LOG")]
    audit_log: Option<PathBuf>,

    /// The maximum number of connections. [default: 12000]
    #[arg(long, env = "NETLOCKD_CONNECTIONS")]
    connections: Option<u32>,

    /// The log filter, such as info or distsync_netlock=debug. [default: info]
    #[arg(long, env = "NETLOCKD_LOG")]
    log: Option<String>,

    /// The format of logs: text or json. [default: text]
    #[arg(long, env = "NETLOCKD_LOG_FORMAT")]
    log_format: Option<String>,

    /// Set any setting of the configuration file, such as limits.names=1000. Can be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_assignment)]
    set: Vec<(String, Value)>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Examine the configuration.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Print a line for the file of tokens, which gives a token to a principal. The token is read
    /// from the first line of standard input. If that is empty, a token is generated and printed to
    /// standard error.
    HashToken {
        /// The principal that the token authenticates.
        principal: String,
    },
    /// Run three servers that form a cluster on this machine, until SIGTERM or SIGINT. Prints their
    /// process ids and their URL. A server that is killed is started again after 5 s. For trying a
    /// cluster: its data is removed at the end.
    DevCluster,
    /// Make a data folder that of the only member of a cluster. Its server must not run.
    Cluster {
        #[command(subcommand)]
        operation: FolderOperation,
    },
    /// Inspect and administer a running server.
    Admin {
        /// The server, as netlock://[:TOKEN@]HOST:PORT. Use the environment variable for a URL with
        /// a token, because other users can see the arguments of a process.
        #[arg(
            long,
            env = "NETLOCKD_SERVER",
            default_value = "netlock://127.0.0.1:7420",
            hide_env_values = true
        )]
        server: String,
        #[command(subcommand)]
        operation: Operation,
    },
}

#[derive(Debug, Subcommand)]
enum ConfigAction {
    /// Check the configuration and exit. Reads the files that it names and the data folder, and
    /// changes nothing. Reports the errors that a start would report, except that ports or the data
    /// folder are in use.
    Check,
}

impl ServeFlags {
    fn settings(&self) -> Result<Settings> {
        let path = |path: &PathBuf| Value::from(path.to_string_lossy().into_owned());
        let text = |text: &String| Value::from(text.clone());
        let given = [
            ("listen", self.listen.as_ref().map(text)),
            (
                "insecure_allow_remote",
                self.insecure_allow_remote.then_some(Value::from(true)),
            ),
            ("admin_listen", self.admin_listen.as_ref().map(text)),
            (
                "workers",
                self.workers.map(|count| Value::from(i64::from(count))),
            ),
            ("data_dir", self.data_dir.as_ref().map(path)),
            ("durability", self.durability.as_ref().map(text)),
            ("table", self.table.as_ref().map(text)),
            ("tokens", self.tokens.as_ref().map(path)),
            ("tls.cert", self.tls_cert.as_ref().map(path)),
            ("tls.key", self.tls_key.as_ref().map(path)),
            ("tls.client_ca", self.tls_client_ca.as_ref().map(path)),
            ("audit_log", self.audit_log.as_ref().map(path)),
            (
                "limits.connections",
                self.connections.map(|count| Value::from(i64::from(count))),
            ),
            ("log", self.log.as_ref().map(text)),
            ("log_format", self.log_format.as_ref().map(text)),
        ];
        let given = given
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)));
        let set = self
            .set
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()));
        Settings::load(
            self.config.as_deref(),
            &given.chain(set).collect::<Vec<_>>(),
        )
    }
}

/// Runs netlockd with the arguments of the process, until SIGTERM or SIGINT. Prints
/// `listening on ADDRESS` to standard output when it is ready. Logs go to standard error.
#[must_use]
pub fn main() -> ExitCode {
    run(Flags::parse())
}

/// Runs netlockd with these arguments, of which the first is the name of the program. For programs
/// that contain a lock server.
#[must_use]
pub fn main_with(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    run(Flags::parse_from(arguments))
}

/// Does what the arguments say: runs the server until SIGTERM or SIGINT, or executes a command for
/// operators. Must be called outside of a Tokio runtime, because it starts one.
///
/// # Errors
/// [`ErrorKind::InvalidOption`] for invalid settings, and the errors of the server and of commands.
pub fn execute(flags: Flags) -> Result<()> {
    match flags.command {
        None => start(&flags.serve),
        Some(Action::Config {
            action: ConfigAction::Check,
        }) => check(&flags.serve),
        Some(Action::HashToken { principal }) => hash_token(&principal),
        Some(Action::Cluster { operation }) => {
            let settings = flags.serve.settings()?;
            log_to_stderr(&settings)?;
            let work = cluster_folder::execute(&settings, operation);
            with_runtime(async { work.await.map(|lines| print_lines(&lines)) })
        }
        Some(Action::DevCluster) => {
            let settings = flags.serve.settings()?;
            // The members write the log. An invalid filter is reported once.
            filter(&settings)?;
            if !settings.only_set_the_log()? {
                let problem = "dev-cluster has its own settings: remove all flags, environment variables and \
                               configuration but those of the log";
                return Err(Error::new(ErrorKind::InvalidOption, problem));
            }
            with_runtime(async {
                let stop = CancellationToken::new();
                let members = async {
                    let served = dev_cluster::serve(&stop).await;
                    // A failure ends the wait for signals.
                    stop.cancel();
                    served
                };
                let (served, signalled) = tokio::join!(members, until_signal(stop.clone(), || {}));
                served.and(signalled)
            })
        }
        Some(Action::Admin { server, operation }) => {
            with_runtime(operate::execute(&server, operation))
        }
    }
}

fn run(flags: Flags) -> ExitCode {
    match execute(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut cause = std::error::Error::source(&error);
            eprint!("netlockd: {error}");
            while let Some(source) = cause {
                eprint!(" ({source})");
                cause = source.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

fn with_runtime(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let problem = "cannot start the runtime: raise the limits of threads and open files";
            Error::new(ErrorKind::Unavailable, problem).with_source(error)
        })?;
    runtime.block_on(work)
}

fn start(flags: &ServeFlags) -> Result<()> {
    let settings = flags.settings()?;
    if flags.print_config {
        print!("{}", settings.to_toml()?);
        return Ok(());
    }
    log_to_stderr(&settings)?;
    with_runtime(serve(settings))
}

fn log_to_stderr(settings: &Settings) -> Result<()> {
    let filter = filter(settings)?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

fn filter(settings: &Settings) -> Result<EnvFilter> {
    let mut log = settings.log.clone();
    if !log.contains(RAFT) {
        // It writes tens of lines a second while another node is unreachable, also as errors. What
        // matters of them is in the log of the node.
        log = format!("{log},{RAFT}=off");
    }
    log.parse()
        .map_err(|error: tracing_subscriber::filter::ParseError| {
            let problem = format!(
                "invalid log filter `{}`: write a level such as info, or TARGET=LEVEL",
                settings.log
            );
            Error::new(ErrorKind::InvalidOption, problem).with_source(error)
        })
}

/// The target of the logs of the library that replicates the table of a cluster.
const RAFT: &str = "openraft";

fn check(flags: &ServeFlags) -> Result<()> {
    let settings = flags.settings()?;
    filter(&settings)?;
    with_runtime(async {
        Server::check(&settings.listen, &settings.server_options()?).await?;
        settings.membership()?;
        match &settings.admin_listen {
            Some(address) => monitoring::check(address).await,
            None => Ok(()),
        }
    })?;
    println!("the configuration is valid");
    Ok(())
}

fn hash_token(principal: &str) -> Result<()> {
    if principal.is_empty()
        || principal.contains(char::is_whitespace)
        || principal.contains('#')
        || principal == "*"
    {
        let problem =
            format!("invalid principal `{principal}`: give one word without #, other than *");
        return Err(Error::new(ErrorKind::InvalidOption, problem));
    }
    let mut token = String::new();
    // A token is shorter than this, because a greeting has at most 4 KiB.
    let read = std::io::BufReader::new(std::io::stdin().take(2_048)).read_line(&mut token);
    read.map_err(|error| {
        let problem = "standard input is not text: give the token on its first line";
        Error::new(ErrorKind::InvalidOption, problem).with_source(error)
    })?;
    let mut token = token.trim().to_owned();
    if token.is_empty() {
        token = format!(
            "{:032x}{:032x}",
            Secret::random().expose(),
            Secret::random().expose()
        );
        eprintln!("{token}");
    }
    println!("{}", token_line(principal, &token));
    Ok(())
}

/// Raises the limit of open files as far as allowed, because each connection is one.
fn raise_open_files(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let allowed = setrlimit(Resource::Nofile, raised).map_or(limit.current, |()| limit.maximum);
    // The listener, the runtime and the logs need some too.
    let wanted = connections as u64 + 32;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        warn!(
            allowed,
            wanted,
            "the limit of open files is too low for the maximum number of connections: raise the hard limit (ulimit -Hn)"
        );
    }
}

/// Logs the limits of a server that runs without settings, which a user may not expect.
fn note_limits(settings: &Settings, address: SocketAddr) {
    if address.ip().is_loopback() {
        info!(
            "only programs on this machine can connect: use --listen with --tokens or --tls-client-ca for others"
        );
    }
    if settings.data_dir.is_none() {
        info!("locks are kept in memory, and a restart forgets them: use --data-dir to keep them");
    }
}

async fn serve(settings: Settings) -> Result<()> {
    let options = settings.server_options()?;
    raise_open_files(options.connections);
    let (server, first) = match settings.membership()? {
        Some(membership) => {
            let server = Server::member(&settings.listen, options, membership.node).await?;
            (server, membership.first)
        }
        None => (Server::bind(&settings.listen, options).await?, Vec::new()),
    };
    let admin = match &settings.admin_listen {
        Some(address) => Some(monitoring::bind(address).await?),
        None => None,
    };
    note_limits(&settings, server.address());
    println!("listening on {}", server.address());
    if let Some(admin) = &admin {
        println!("metrics on {}", admin.address());
    }
    // Ignore errors: a parent process may close the pipe after it has read the address.
    let _ = writeln!(std::io::stdout(), "table {}", server.table());
    let observer = server.observer();
    let stop = CancellationToken::new();
    // A member hands its leadership over before it stops.
    let asked = CancellationToken::new();
    let member = member(server.node(), first, asked.clone(), stop.clone());
    let signals = until_signal(asked.clone(), move || observer.reread());
    let monitored = monitoring::serve(admin, server.observer(), stop.clone());
    let ((), signalled, (), joined) =
        tokio::join!(server.run(stop.clone()), signals, monitored, member);
    joined.and(signalled)
}

/// Does what a member does besides serving, until the server is `asked` to end. Then hands the
/// leadership over and cancels `stop`.
async fn member(
    node: Option<Arc<Node>>,
    first: Vec<Member>,
    asked: CancellationToken,
    stop: CancellationToken,
) -> Result<()> {
    let mut joined = Ok(());
    if let Some(node) = node {
        let join = asked.run_until_cancelled(node.join(&first)).await;
        joined = join.unwrap_or(Ok(()));
        if joined.is_err() {
            asked.cancel();
        } else {
            asked.cancelled().await;
            cluster::hand_over(&node).await;
        }
    }
    asked.cancelled().await;
    stop.cancel();
    joined
}

/// Waits for SIGTERM or SIGINT, and cancels `stop` then. Calls `reread` for each SIGHUP. Ends too
/// when `stop` is cancelled.
async fn until_signal(stop: CancellationToken, reread: impl Fn()) -> Result<()> {
    let unavailable = |error: std::io::Error| {
        Error::new(ErrorKind::Unavailable, "cannot handle signals").with_source(error)
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(unavailable)?;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = stop.cancelled() => break,
            _ = hangup.recv() => reread(),
        }
    }
    stop.cancel();
    Ok(())
}
