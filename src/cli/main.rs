//! `distsync`, the command line: locks and elections for shells and operators.

mod bench;
mod break_lock;
mod check;
mod child;
mod claims;
mod elect;
mod exit;
mod extend;
mod farewell;
mod inspect;
mod interrupt;
mod leader;
mod list;
mod lock;
mod output;
mod pages;
mod request;
mod run;
mod serve;
mod store;
mod table;
mod ticket;
mod unlock;
mod watch;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use exit::{Failure, USAGE};

/// Distributed locks and leader election, over netlock, etcd, Consul and Redis.
#[derive(Debug, Parser)]
#[command(
    name = "distsync",
    version,
    arg_required_else_help = true,
    after_help = "Example:\n  distsync --on netlock://127.0.0.1:7420 run nightly -- ./backup.sh"
)]
struct Cli {
    #[command(flatten)]
    common: Common,

    #[command(subcommand)]
    command: Command,
}

/// The options of all commands.
#[derive(Debug, Args)]
struct Common {
    /// Use the store at this URL, such as netlock://HOST, etcd://HOST, consul://HOST or
    /// redis://HOST. Use the environment variable for a URL with a password, because other users
    /// can see the arguments of a process.
    #[arg(
        long,
        value_name = "URL",
        env = store::URL_VARIABLE,
        hide_env_values = true,
        global = true
    )]
    on: Option<String>,

    /// Print JSON for programs.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Run),
    Elect(elect::Elect),
    Lock(lock::Lock),
    Extend(extend::Extend),
    Unlock(unlock::Unlock),
    Leader(leader::Leader),
    Watch(watch::Watch),
    Inspect(inspect::Inspect),
    List(list::List),
    Break(break_lock::Break),
    Serve(Box<serve::Serve>),
    Bench(bench::Bench),
    Check(check::Check),
    Completions(pages::Completions),
    #[command(name = "__pages", hide = true)]
    Pages(pages::Pages),
    #[command(name = child::STUB, hide = true)]
    Child(child::Stub),
    #[command(name = child::DEATH, hide = true)]
    Death(child::Death),
    /// Kill the group of a command whose distsync was killed.
    #[command(name = child::WATCHDOG, hide = true)]
    Watchdog,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be done if the terminal is gone.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let common = cli.common;
    let outcome = match cli.command {
        Command::Run(run) => run.execute(&common),
        Command::Elect(elect) => elect.execute(&common),
        Command::Lock(lock) => lock.execute(&common),
        Command::Extend(extend) => extend.execute(&common),
        Command::Unlock(unlock) => unlock.execute(&common),
        Command::Leader(leader) => leader.execute(&common),
        Command::Watch(watch) => watch.execute(&common),
        Command::Inspect(inspect) => inspect.execute(&common),
        Command::List(list) => list.execute(&common),
        Command::Break(break_lock) => break_lock.execute(&common),
        Command::Serve(serve) => serve.execute(),
        Command::Bench(bench) => bench.execute(&common),
        Command::Check(check) => check.execute(&common),
        Command::Completions(completions) => completions.execute(),
        Command::Pages(pages) => pages.execute(),
        Command::Child(stub) => Err(stub.execute()),
        Command::Death(death) => death.execute(),
        Command::Watchdog => child::run_watchdog(),
    };
    outcome.unwrap_or_else(|failure| {
        failure.print(common.json);
        failure.into()
    })
}

/// Runs a command on a runtime of its own, on the calling thread.
fn with_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            let problem =
                format!("cannot start the runtime: raise the limit of open files ({error})");
            Failure::new(exit::OTHER, problem)
        })?;
    runtime.block_on(work)
}
