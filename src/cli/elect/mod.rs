//! `distsync elect`: runs a command while it is the leader of an election.

mod http;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use distsync::spi::clock;
use distsync::{Elected, Handle, Leader, LeaderOptions, Node, Sync as _};

use crate::child::{Ending, Limits, Reason, Signals, Tree, grace, supervise};
use crate::exit::{self, Failure, tell};
use crate::farewell::{ended_by, leave};
use crate::request::duration;
use crate::store::secret_variables;
use crate::{Common, with_runtime};
use http::Sidecar;

/// Run a command while being the leader of an election. After a loss of the leadership the command
/// is stopped, and the candidate campaigns again. When the command ends by itself, the leader
/// resigns.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  distsync elect scheduler --node $HOSTNAME --http 127.0.0.1:8080 -- ./scheduler"
)]
pub(crate) struct Elect {
    /// The name of the election.
    name: String,

    /// The id of this candidate, for observers. [default: HOST:PID]
    #[arg(long, value_name = "ID")]
    node: Option<String>,

    /// Serve `/leader` and `/am-i-leader` at this address, as host:port, for programs that do not
    /// use distsync. They reply with 200, with 409 if there is no leader or another one, and with
    /// 503 if the store does not answer.
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,

    /// Campaign again after the command has ended by itself. It is started at most once a second.
    #[arg(long)]
    again: bool,

    /// The time between SIGTERM and SIGKILL when the command has to stop. [default: a third of the
    /// session's TTL]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    grace: Option<Duration>,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// The time between two attempts to campaign while the store is out of reach, and the shortest time
/// between two starts of the command.
const PAUSE: Duration = Duration::from_secs(1);

impl Elect {
    /// Campaigns and runs the command until the command has ended by itself.
    pub(crate) fn execute(self, common: &Common) -> Result<ExitCode, Failure> {
        with_runtime(self.elect(common))
    }

    async fn elect(self, common: &Common) -> Result<ExitCode, Failure> {
        let mut signals = Signals::listen()?;
        let (backend, options) = common.store_for_a_command()?;
        let limits = Limits {
            grace: grace(options.session_ttl, self.grace)?,
            stop_at: None,
            leave_background: false,
        };
        let node = self.node.clone().unwrap_or_else(|| options.client.clone());
        let connected = tokio::select! {
            handle = Handle::open(backend, options) => handle?,
            signal = signals.ending() => return Ok(ended_by(signal)),
        };
        let candidate = Candidate {
            variables: [
                ("DISTSYNC_NAME", self.name.clone()),
                ("DISTSYNC_NODE", node.clone()),
            ],
            leader: connected
                .leader(&self.name, LeaderOptions::new(Node::new(node)))?
                .into(),
            secrets: secret_variables(common.on.as_deref()),
            limits,
            elect: self,
        };
        let outcome = candidate.serve_and_campaign(&mut signals).await;
        leave(&connected).await;
        outcome
    }
}

/// A candidate with its command.
struct Candidate {
    elect: Elect,
    leader: Arc<dyn Leader>,
    variables: [(&'static str, String); 2],
    secrets: Vec<String>,
    limits: Limits,
}

impl Candidate {
    async fn serve_and_campaign(&self, signals: &mut Signals) -> Result<ExitCode, Failure> {
        let sidecar = match &self.elect.http {
            Some(address) => Some(Sidecar::start(address, self.leader.clone())?),
            None => None,
        };
        let lead = |elected: Option<Arc<dyn Elected>>| {
            if let Some(sidecar) = &sidecar {
                sidecar.lead(elected);
            }
        };
        let mut was_elected = false;
        loop {
            let elected = tokio::select! {
                elected = self.leader.elect() => elected,
                signal = signals.ending() => return Ok(ended_by(signal)),
            };
            let elected: Arc<dyn Elected> = match elected {
                Ok(elected) => elected.into(),
                // The store was in reach before, and will be again.
                Err(error) if was_elected && error.is_retryable() => {
                    tokio::select! {
                        () = tokio::time::sleep(PAUSE) => continue,
                        signal = signals.ending() => return Ok(ended_by(signal)),
                    }
                }
                Err(error) => return Err(error.into()),
            };
            was_elected = true;
            let started = clock::now();
            lead(Some(elected.clone()));
            let ending = self.run(&*elected, signals).await;
            lead(None);
            let ending = ending?;
            if let Some(end) = self.after(&*elected, &ending, signals).await? {
                return Ok(end);
            }
            // A lost leadership is dropped, which withdraws what the store may still have of it.
            drop(elected);
            tokio::select! {
                () = clock::sleep_until(started.after(PAUSE)) => {}
                signal = signals.ending() => return Ok(ended_by(signal)),
            }
        }
    }

    async fn run(&self, elected: &dyn Elected, signals: &mut Signals) -> Result<Ending, Failure> {
        let term = elected.token().to_string();
        tell(format_args!("elected, term {term}"));
        let mut variables = self.variables.to_vec();
        variables.push(("DISTSYNC_TOKEN", term));
        let start = |takes_terminal| {
            Tree::start(
                &self.elect.command,
                &variables,
                &self.secrets,
                takes_terminal,
            )
        };
        supervise(start, elected, self.limits, signals).await
    }

    /// Returns the exit code if this was the last campaign.
    async fn after(
        &self,
        elected: &dyn Elected,
        ending: &Ending,
        signals: &mut Signals,
    ) -> Result<Option<ExitCode>, Failure> {
        let code = ending.status.map_or(exit::OTHER, |status| status.code());
        let is_lost = match ending.reason {
            Some(Reason::Lost(loss)) => {
                tell(format_args!("no longer leader: {loss}"));
                true
            }
            Some(_) => {
                tell("the leadership was not renewed in time: resigning");
                true
            }
            None => false,
        };
        if is_lost {
            return match ending.asked {
                Some(_) => Err(self.lost()),
                None => Ok(None),
            };
        }
        let resigned = tokio::select! {
            resigned = elected.resign() => resigned,
            _ = signals.ending() => return Ok(Some(ExitCode::from(code))),
        };
        if let Err(error) = resigned {
            tell(format_args!(
                "{error}; the leadership ends with its session"
            ));
        }
        let is_last = !self.elect.again || ending.asked.is_some();
        Ok(is_last.then(|| ExitCode::from(code)))
    }

    fn lost(&self) -> Failure {
        let problem = format!(
            "the leadership of `{}` was lost while the command ran: the command was stopped, check \
             what it has left behind",
            self.elect.name.escape_debug()
        );
        Failure::new(exit::LOST, problem)
    }
}
