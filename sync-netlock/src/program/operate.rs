//! The commands for operators: `netlockd admin sessions`, `netlockd admin evict` and so on.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;
use distsync_core::spi::{ClaimId, Entry, SessionId, StoreUrl};
use distsync_core::{Error, ErrorKind, Mode, Result, Withdrawn};

use super::operate_cluster::{self as cluster, ClusterOperation};
use crate::client::{Admin, Config};

/// A command for a running server.
#[derive(Debug, Subcommand)]
pub(super) enum Operation {
    /// List the open sessions: id, client, remaining time, claims, connections.
    Sessions,
    /// List the names that have holders or waiters.
    Names {
        /// List only names that begin with this text, such as distsync/l/
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show the holders and waiters of a name: claim, session, client, token, age, mode, value.
    Inspect {
        /// The full name, such as distsync/l/NAME
        name: String,
    },
    /// End one claim.
    Evict {
        /// The full name, such as distsync/l/NAME
        name: String,
        /// The claim, as `inspect` shows it.
        claim: String,
    },
    /// End a session and all its claims.
    EndSession {
        /// The session, as `sessions` shows it.
        session: String,
    },
    /// Confirm that a client is isolated, if the server could not isolate it. This releases its
    /// locks.
    ConfirmIsolated {
        /// The session of the client, as `inspect` and the log show it.
        session: String,
    },
    /// End all claims of the names that begin with a prefix.
    ReleaseAll {
        /// The prefix. Empty: all names.
        prefix: String,
    },
    /// Inspect and change the cluster of which the server is a member.
    Cluster {
        #[command(subcommand)]
        operation: ClusterOperation,
    },
}

fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T> {
    text.parse().map_err(|_| {
        let problem = format!("invalid {what} `{text}`: give its 32 hexadecimal digits");
        Error::new(ErrorKind::InvalidOption, problem)
    })
}

/// Executes a command, and prints its result.
pub(super) async fn execute(server: &str, operation: Operation) -> Result<()> {
    let url: StoreUrl = server.parse()?;
    if !matches!(url.scheme(), "netlock" | "netlocks") {
        // Do not print the rest of the URL, which may contain a token.
        let problem = format!(
            "the scheme `{}:` is not one of netlock: give netlock://HOST:PORT",
            url.scheme()
        );
        return Err(Error::new(ErrorKind::InvalidOption, problem));
    }
    let admin = Admin::new(Config::from_url(url)?);
    let mut lines = Vec::new();
    match operation {
        Operation::Cluster { operation } => lines = cluster::execute(&admin, operation).await?,
        Operation::Sessions => {
            for entry in admin.sessions().await? {
                let left = humantime::format_duration(entry.left);
                lines.push(format!(
                    "{} {} left {left} claims {} connections {}",
                    entry.session,
                    entry.client.escape_debug(),
                    entry.claims,
                    entry.connections
                ));
            }
        }
        Operation::Names { prefix } => lines = admin.names(&prefix).await?,
        Operation::Inspect { name } => {
            lines.extend(admin.inspect(&name).await?.entries.iter().map(line));
        }
        Operation::Evict { name, claim } => {
            let claim: ClaimId = id(&claim, "claim")?;
            lines.push(match admin.evict(&name, claim).await? {
                Withdrawn::Held => "ended a claim that was held".to_owned(),
                Withdrawn::Waiting => "ended a claim that waited".to_owned(),
                Withdrawn::Absent => {
                    let problem = format!(
                        "there is no claim {claim} of this name: `inspect` shows its claims"
                    );
                    return Err(Error::new(ErrorKind::NotHeld, problem).with_name(&name));
                }
            });
        }
        Operation::EndSession { session } => {
            let session: SessionId = id(&session, "session")?;
            admin.end_session(session).await?;
            lines.push("ended the session".to_owned());
        }
        Operation::ConfirmIsolated { session } => {
            admin.confirm_isolated(id(&session, "session")?).await?;
            lines.push("released the locks of the client".to_owned());
        }
        Operation::ReleaseAll { prefix } => {
            lines.push(format!(
                "ended {} claims",
                admin.release_all(&prefix).await?
            ));
        }
    }
    print_lines(&lines);
    Ok(())
}

pub(super) fn print_lines(lines: &[String]) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        // The reader of a pipe, such as `head`, may close it early.
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
}

/// Formats a holder or waiter as one line.
fn line(entry: &Entry) -> String {
    let token = entry.token.map_or_else(
        || "waits".to_owned(),
        |token| format!("holds with token {token}"),
    );
    let isolating = if entry.is_isolating {
        ", its client is being isolated"
    } else {
        ""
    };
    let mode = match entry.mode {
        Mode::Exclusive => "exclusive".to_owned(),
        Mode::Shared => "shared".to_owned(),
        Mode::Permit { of } => format!("permit of {of}"),
    };
    let age = entry.age.map_or_else(String::new, |age| {
        format!(
            " for {}",
            humantime::format_duration(Duration::from_millis(
                u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
            ))
        )
    });
    let value = String::from_utf8_lossy(&entry.value);
    let session = entry
        .session
        .map_or_else(String::new, |session| format!(" session {session}"));
    format!(
        "{}{session} {} {token}{age} {mode} value \"{}\"{isolating}",
        entry.claim,
        entry.client.escape_debug(),
        value.escape_debug()
    )
}
