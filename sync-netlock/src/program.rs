//! The program `netlockd`: flags, logs and signals around a [`Server`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sync_core::Result;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::server::{Server, ServerOptions};
use crate::storage::{Durability, StorageOptions};

/// The lock server of distsync.
#[derive(Debug, Parser)]
#[command(name = "netlockd", version)]
struct Flags {
    /// Where to listen, as host:port; port 0 takes a free one.
    #[arg(long, env = "NETLOCKD_LISTEN", default_value = "127.0.0.1:7420")]
    listen: String,

    /// Listen also where other machines can reach it, although whoever reaches it can take and break locks.
    #[arg(long)]
    insecure_allow_remote: bool,

    /// Keep sessions and locks in this folder, so that they outlive a restart; it is made if it is missing.
    #[arg(long, env = "NETLOCKD_DATA_DIR")]
    data_dir: Option<PathBuf>,

    /// When an answer is safe, with a data folder: `memory` keeps nothing but waits after a restart, `async` survives the
    /// process's end, `fsync` a power failure too.
    #[arg(long, env = "NETLOCKD_DURABILITY", requires = "data_dir", default_value = "async")]
    durability: Durability,

    /// The most connections at a time.
    #[arg(long, env = "NETLOCKD_CONNECTIONS", default_value_t = ServerOptions::default().connections)]
    connections: usize,

    /// Log filter, such as info or sync_netlock=debug.
    #[arg(long, env = "NETLOCKD_LOG", default_value = "info")]
    log: String,
}

/// Runs netlockd with the process's arguments until SIGTERM or SIGINT. Prints `listening on ADDRESS` to standard output
/// once it serves; logs go to standard error.
#[must_use]
pub fn main() -> ExitCode {
    run(Flags::parse())
}

/// Runs netlockd with these arguments, the program's name first. For programs that bring their own lock server.
#[must_use]
pub fn main_with(arguments: impl IntoIterator<Item = String>) -> ExitCode {
    run(Flags::parse_from(arguments))
}

fn run(flags: Flags) -> ExitCode {
    let filter = match flags.log.parse::<EnvFilter>() {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("netlockd: the log filter `{}` is none: {error}", flags.log);
            return ExitCode::from(2);
        }
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("netlockd: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(flags)) {
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

/// Takes as many file descriptors as the system lets it: each connection is one.
fn take_descriptors(connections: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
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

async fn serve(flags: Flags) -> Result<()> {
    let options = ServerOptions {
        allow_remote: flags.insecure_allow_remote,
        connections: flags.connections,
        storage: flags.data_dir.map(|folder| StorageOptions::new(folder).with_durability(flags.durability)),
        ..ServerOptions::default()
    };
    take_descriptors(options.connections);
    let server = Server::bind(&flags.listen, options).await?;
    println!("listening on {}", server.address());
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let signals = async move {
        let unavailable = |error: std::io::Error| {
            sync_core::Error::new(sync_core::ErrorKind::Unavailable, "cannot listen to signals")
                .because(error)
        };
        let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(unavailable)?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.cancel();
        Ok(())
    };
    let ((), heard) = tokio::join!(server.run(stop), signals);
    heard
}
