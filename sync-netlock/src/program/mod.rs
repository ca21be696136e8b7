//! The program `netlockd`: flags, files, logs and signals around a [`Server`], and an operator's
//! commands.

mod operate;
mod settings;
mod watch;

use std::io::{BufRead, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use distsync_core::spi::Secret;
use distsync_core::{Error, ErrorKind, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use toml::Value;
use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::server::{Server, token_line};
use operate::Operation;
use settings::{LogFormat, Settings, parse_assignment};

/// The lock server of distsync. Without a command it serves until SIGTERM. Flags go over the
/// environment, the environment over the configuration file, the file over the defaults.
#[derive(Debug, Parser)]
#[command(name = "netlockd", version)]
struct Flags {
    #[command(subcommand)]
    command: Option<Action>,

    #[command(flatten)]
    serve: ServeFlags,
}

#[derive(Debug, clap::Args)]
struct ServeFlags {
    /// A TOML file with settings; `--print-config` shows all of them.
    #[arg(long, env = "NETLOCKD_CONFIG", global = true)]
    config: Option<PathBuf>,

    /// Print the settings as a configuration file, and end.
    #[arg(long)]
    print_config: bool,

    /// Where to listen, as host:port; port 0 takes a free one. [default: 127.0.0.1:7420]
    #[arg(long, env = "NETLOCKD_LISTEN")]
    listen: Option<String>,

    /// Allow listening on a non-loopback address without authentication. Anyone who can reach the
    /// server can then take and break locks.
    #[arg(long, env = "NETLOCKD_INSECURE_ALLOW_REMOTE", value_parser = clap::builder::FalseyValueParser::new())]
    insecure_allow_remote: bool,

    /// Serve metrics and health at this address, as host:port.
    #[arg(long, env = "NETLOCKD_ADMIN_LISTEN")]
    admin_listen: Option<String>,

    /// Keep sessions and locks in this folder, so that they survive a restart. It is created if it
    /// is missing.
    #[arg(long, env = "NETLOCKD_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// When an answer is safe, with a data folder: `memory` keeps nothing but waits after a
    /// restart, `async` survives the process's end, `fsync` a power failure too. [default: async]
    #[arg(long, env = "NETLOCKD_DURABILITY")]
    durability: Option<String>,

    /// The identity of the table, 32 hexadecimal digits, for clients with several addresses
    /// (`?table=ID`). It is printed at the start. [default: drawn and kept in the data folder;
    /// without one, new at each start]
    #[arg(long, env = "NETLOCKD_TABLE", value_name = "ID")]
    table: Option<String>,

    /// Authenticate clients by this file of tokens, made by `netlockd hash-token`. It is read again
    /// when it changes, and on SIGHUP.
    #[arg(long, env = "NETLOCKD_TOKENS")]
    tokens: Option<PathBuf>,

    /// Speak TLS: the server's certificate, as PEM. It is read again when it changes, and on
    /// SIGHUP.
    #[arg(long, env = "NETLOCKD_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// The certificate's private key, as PEM.
    #[arg(long, env = "NETLOCKD_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// Ask clients for a certificate of these authorities: its alternative name says who a client
    /// is.
    #[arg(long, env = "NETLOCKD_TLS_CLIENT_CA")]
    tls_client_ca: Option<PathBuf>,

    /// Write the deeds of administrators to this file too. It is opened again on SIGHUP.
    #[arg(long, env = "NETLOCKD_AUDIT_LOG")]
    audit_log: Option<PathBuf>,

    /// The most connections at a time. [default: 12000]
    #[arg(long, env = "NETLOCKD_CONNECTIONS")]
    connections: Option<u32>,

    /// Log filter, such as info or distsync_netlock=debug. [default: info]
    #[arg(long, env = "NETLOCKD_LOG")]
    log: Option<String>,

    /// How logs look: text or json. [default: text]
    #[arg(long, env = "NETLOCKD_LOG_FORMAT")]
    log_format: Option<String>,

    /// Any other setting of the configuration file, such as limits.names=1000. Can be given several
    /// times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_assignment)]
    set: Vec<(String, Value)>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Look at the configuration.
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Print the line for the file of tokens that makes a token a principal's. The token is the
    /// first line of standard input; without one a token is made, and printed to standard error.
    HashToken {
        /// Whose token it is.
        principal: String,
    },
    /// Ask a server that runs, or order it.
    Admin {
        /// The server, as netlock://[:TOKEN@]HOST:PORT. In the environment the token is not seen by
        /// others.
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
    /// Refuse what a start would refuse, and end: reads the files that the configuration names and
    /// the data folder, and changes nothing. Only whether the ports and the folder are in use is
    /// left to the start.
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

/// Runs netlockd with the process's arguments until SIGTERM or SIGINT. Prints
/// `listening on ADDRESS` to standard output once it serves; logs go to standard error.
#[must_use]
pub fn main() -> ExitCode {
    run(Flags::parse())
}

/// Runs netlockd with these arguments, the program's name first. For programs that bring their own
/// lock server.
#[must_use]
pub fn main_with(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    run(Flags::parse_from(arguments))
}

fn run(flags: Flags) -> ExitCode {
    let outcome = match flags.command {
        None => start(&flags.serve),
        Some(Action::Config {
            action: ConfigAction::Check,
        }) => check(&flags.serve),
        Some(Action::HashToken { principal }) => hash_token(&principal),
        Some(Action::Admin { server, operation }) => {
            with_runtime(operate::carry_out(&server, operation))
        }
    };
    match outcome {
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
        .map_err(|error| Error::new(ErrorKind::Unavailable, "cannot start").with_source(error))?;
    runtime.block_on(work)
}

fn start(flags: &ServeFlags) -> Result<()> {
    let settings = flags.settings()?;
    if flags.print_config {
        print!("{}", settings.to_toml()?);
        return Ok(());
    }
    let filter = filter(&settings)?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().init(),
    }
    with_runtime(serve(settings))
}

fn filter(settings: &Settings) -> Result<EnvFilter> {
    settings
        .log
        .parse()
        .map_err(|error: tracing_subscriber::filter::ParseError| {
            let problem = format!("the log filter `{}` is none", settings.log);
            Error::new(ErrorKind::InvalidOption, problem).with_source(error)
        })
}

fn check(flags: &ServeFlags) -> Result<()> {
    let settings = flags.settings()?;
    filter(&settings)?;
    with_runtime(async {
        Server::check(&settings.listen, &settings.server_options()?).await?;
        match &settings.admin_listen {
            Some(address) => watch::check(address).await,
            None => Ok(()),
        }
    })?;
    println!("the configuration is good");
    Ok(())
}

fn hash_token(principal: &str) -> Result<()> {
    if principal.is_empty()
        || principal.contains(char::is_whitespace)
        || principal.contains('#')
        || principal == "*"
    {
        let problem = format!("`{principal}` is no principal: one word, without # and not *");
        return Err(Error::new(ErrorKind::InvalidOption, problem));
    }
    let mut token = String::new();
    // No more than a token can be long: the greeting is 4 KiB.
    let read = std::io::BufReader::new(std::io::stdin().take(2_048)).read_line(&mut token);
    read.map_err(|error| {
        Error::new(ErrorKind::InvalidOption, "standard input is no text").with_source(error)
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

/// Takes as many file descriptors as the system lets it: each connection is one.
fn take_descriptors(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let allowed = setrlimit(Resource::Nofile, raised).map_or(limit.current, |()| limit.maximum);
    // A few for the listener, the runtime and the logs.
    let wanted = connections as u64 + 32;
    if let Some(allowed) = allowed.filter(|allowed| *allowed < wanted) {
        warn!(
            allowed,
            wanted,
            "fewer open files are allowed than there may be connections: raise the hard limit (ulimit -Hn)"
        );
    }
}

async fn serve(settings: Settings) -> Result<()> {
    let options = settings.server_options()?;
    take_descriptors(options.connections);
    let server = Server::bind(&settings.listen, options).await?;
    let admin = match &settings.admin_listen {
        Some(address) => Some(watch::bind(address).await?),
        None => None,
    };
    println!("listening on {}", server.address());
    if let Some(admin) = &admin {
        println!("metrics on {}", admin.address());
    }
    // Whoever started this may read no further than the first line.
    let _ = writeln!(std::io::stdout(), "table {}", server.table());
    let observer = server.observer();
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let signals = async move {
        let unavailable = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "cannot listen to signals").with_source(error)
        };
        let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(unavailable)?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => observer.reread(),
            }
        }
        stopping.cancel();
        Ok(())
    };
    let watched = watch::serve(admin, server.observer(), stop.clone());
    let ((), heard, ()) = tokio::join!(server.run(stop), signals, watched);
    heard
}
