//! `netlockd dev-cluster`: three members on this machine, each a process, to try a cluster.

use std::ffi::OsString;
use std::io::{ErrorKind as Kind, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use distsync_core::spi::Secret;
use distsync_core::{Error, ErrorKind, Handle, Result, Sync, SyncOptions};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Config};

/// The command that runs this.
const COMMAND: &str = "dev-cluster";

/// The pause before a member that has ended starts again.
const AWAY: Duration = Duration::from_secs(5);

/// How long the cluster may take to form, and a member to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs three members on loopback addresses until `stop` is cancelled. Prints their process ids,
/// and their URL when a client can use it.
pub(super) async fn serve(stop: &CancellationToken) -> Result<()> {
    let cluster = DevCluster::prepare()?;
    let [a, b, c] = &cluster.members;
    let (a, b, c) = (
        cluster.run(a, stop),
        cluster.run(b, stop),
        cluster.run(c, stop),
    );
    tokio::try_join!(a, b, c, cluster.announce(stop)).map(|_| ())
}

struct DevCluster {
    program: PathBuf,
    /// The arguments of this process without the command: flags of the log, and in another program
    /// than netlockd what makes it the server.
    arguments: Vec<OsString>,
    table: String,
    members: [Address; 3],
    folder: Temporary,
}

/// Where a member listens.
struct Address {
    name: &'static str,
    clients: String,
    members: String,
}

/// A folder that is removed with its content.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl DevCluster {
    fn prepare() -> Result<Self> {
        let program = std::env::current_exe().map_err(|error| failed("find its program", error))?;
        let (command, arguments): (Vec<_>, Vec<_>) = std::env::args_os()
            .skip(1)
            .partition(|word| word == COMMAND);
        if command.is_empty() {
            // It would start itself without end.
            let problem = "this program was started with other arguments than `dev-cluster`: run netlockd itself";
            return Err(Error::new(ErrorKind::InvalidOption, problem));
        }
        let table = format!("{:032x}", Secret::random().expose());
        let mut ports = free_ports();
        let mut address = || {
            let port = ports
                .next()
                .ok_or_else(|| failed("find six free ports", Kind::AddrInUse))?;
            Ok::<_, Error>(format!("127.0.0.1:{port}"))
        };
        let mut member = |name| {
            let (clients, members) = (address()?, address()?);
            Ok::<_, Error>(Address {
                name,
                clients,
                members,
            })
        };
        Ok(Self {
            program,
            arguments,
            members: [member("a")?, member("b")?, member("c")?],
            folder: Temporary(std::env::temp_dir().join(format!("netlockd-{table}"))),
            table,
        })
    }

    fn command(&self, member: &Address) -> Command {
        let Address {
            name,
            clients,
            members,
        } = member;
        let peers = self
            .members
            .iter()
            .map(|peer| format!("'{}={}'", peer.name, peer.members));
        let peers = peers.collect::<Vec<_>>().join(",");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        // `--set` overrides flags and environment variables.
        for setting in [
            format!("listen={clients}"),
            format!("data_dir={}", self.folder.0.join(name).display()),
            format!("table='{}'", self.table),
            format!("cluster.name={name}"),
            format!("cluster.listen={members}"),
            format!("cluster.peers=[{peers}]"),
        ] {
            command.arg("--set").arg(setting);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.kill_on_drop(true);
        command
    }

    /// Runs a member. Starts it again after an end, unless that was by an error.
    async fn run(&self, member: &Address, stop: &CancellationToken) -> Result<()> {
        let name = member.name;
        while !stop.is_cancelled() {
            let start = self.command(member).spawn();
            let mut child =
                start.map_err(|error| failed(&format!("start member {name}"), error))?;
            let process = child
                .id()
                .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
            if let Some(process) = process {
                let process = process.as_raw_nonzero();
                say(&format!(
                    "member {name}: {}, process {process}",
                    member.clients
                ));
            }
            let mut ended = std::pin::pin!(log_until_ended(name, &mut child));
            let status = tokio::select! {
                status = &mut ended => status,
                () = stop.cancelled() => {
                    // Ignore errors: it may have ended by the signal that ended this process.
                    let _ = process.map(|process| kill_process(process, Signal::TERM));
                    let _ = tokio::time::timeout(PATIENCE, ended).await;
                    break;
                }
            };
            let status =
                status.map_err(|error| failed(&format!("wait for member {name}"), error))?;
            if status.code().is_some_and(|code| code != 0) {
                let problem = format!("member {name} ended with {status}: see its log above");
                return Err(Error::new(ErrorKind::Unavailable, problem));
            }
            say(&format!(
                "member {name}: ended with {status}, and starts again in {AWAY:?}"
            ));
            let _ = stop.run_until_cancelled(tokio::time::sleep(AWAY)).await;
        }
        Ok(())
    }

    /// Prints the URL when a client has connected to the leader.
    async fn announce(&self, stop: &CancellationToken) -> Result<()> {
        let addresses: Vec<_> = self.members.iter().map(|member| &*member.clients).collect();
        let url = format!("netlock://{}", addresses.join(","));
        let form = async {
            while Self::connect(&addresses).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        match stop
            .run_until_cancelled(tokio::time::timeout(PATIENCE, form))
            .await
        {
            Some(Ok(())) => say(&url),
            Some(Err(_)) => return Err(failed("form the cluster in time", Kind::TimedOut)),
            None => {}
        }
        Ok(())
    }

    async fn connect(addresses: &[&str]) -> Result<()> {
        let client = Client::new(Config::new(addresses.iter().copied())?);
        let sync = Handle::open(client.backend(), SyncOptions::new()).await?;
        sync.close().await
    }
}

/// Returns free ports, below the range that the system gives to outgoing connections, so no such
/// connection can take the port of a member that is away. Clusters that start at once begin at
/// different ports.
fn free_ports() -> impl Iterator<Item = u16> {
    let first = 10_000 + u16::try_from(std::process::id() % 300).unwrap_or(0) * 6;
    (first..32_000).filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}

/// Prints the log of a member, each line with its name, and returns how the member ended.
async fn log_until_ended(name: &str, child: &mut Child) -> std::io::Result<ExitStatus> {
    if let Some(log) = child.stderr.take() {
        let mut lines = BufReader::new(log).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            // Ignore errors: the log may have no reader.
            let _ = writeln!(std::io::stderr(), "{name} | {line}");
        }
    }
    child.wait().await
}

fn say(line: &str) {
    // Ignore errors: a parent process may close the pipe after it has read the URL.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn failed(what: &str, error: impl Into<std::io::Error>) -> Error {
    let problem = format!("cannot {what}: see the cause");
    Error::new(ErrorKind::Unavailable, problem).with_source(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_would_start_itself_without_end_is_refused() {
        let refused = DevCluster::prepare().err().expect("an error");
        assert!(
            refused.to_string().contains("run netlockd itself"),
            "{refused}"
        );
    }
}
