//! What an operator asks of a server that runs: `netlockd sessions`, `netlockd evict` and so on.

use std::io::Write;
use std::time::Duration;

use clap::Subcommand;
use distsync_core::spi::{ClaimId, Entry, SessionId, StoreUrl};
use distsync_core::{Error, ErrorKind, Mode, Result, Withdrawn};

use crate::client::{Admin, Config};

/// A question to a server, or an order.
#[derive(Debug, Subcommand)]
pub(super) enum Operation {
    /// List the sessions that live: id, client, time left, claims, connections.
    Sessions,
    /// List the names that somebody holds or waits for.
    Names {
        /// Only those that begin like this, such as distsync/l/
        #[arg(default_value = "")]
        prefix: String,
    },
    /// Show who holds a name and who waits: claim, session, client, token, mode, age, value.
    Inspect {
        /// The name as the server has it, such as distsync/l/NAME
        name: String,
    },
    /// End one claim.
    Evict {
        /// The name as the server has it, such as distsync/l/NAME
        name: String,
        /// The claim, as `inspect` shows it.
        claim: String,
    },
    /// End a session and all its claims.
    EndSession {
        /// The session, as `sessions` shows it.
        session: String,
    },
    /// Say that a client which could not be isolated can do nothing more: its locks go to others.
    ConfirmIsolated {
        /// Its session, as the log and `inspect` have it.
        session: String,
    },
    /// End all claims of the names that begin in one way.
    ReleaseAll {
        /// How they begin; nothing for all of them.
        prefix: String,
    },
}

fn id<T: std::str::FromStr>(text: &str, what: &str) -> Result<T> {
    text.parse().map_err(|_| {
        let problem = format!("`{text}` is no {what}: give its 32 hexadecimal digits");
        Error::new(ErrorKind::InvalidOption, problem)
    })
}

/// Carries it out, and prints what comes of it.
pub(super) async fn carry_out(server: &str, operation: Operation) -> Result<()> {
    let url: StoreUrl = server.parse()?;
    if !matches!(url.scheme(), "netlock" | "netlocks") {
        // Without the rest of the URL, which can have a token in it.
        let problem = format!(
            "`{}:` leads to no netlock server: give netlock://HOST:PORT",
            url.scheme()
        );
        return Err(Error::new(ErrorKind::InvalidOption, problem));
    }
    let admin = Admin::new(Config::from_url(url)?);
    let mut lines = Vec::new();
    match operation {
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
                Withdrawn::Held => "it held, and is ended".to_owned(),
                Withdrawn::Waiting => "it stood in line, and is ended".to_owned(),
                Withdrawn::Absent => {
                    let problem = format!(
                        "there is no claim {claim} at this name: `inspect` shows its claims"
                    );
                    return Err(Error::new(ErrorKind::NotHeld, problem).with_name(&name));
                }
            });
        }
        Operation::EndSession { session } => {
            let session: SessionId = id(&session, "session")?;
            admin.end_session(session).await?;
            lines.push("it is ended".to_owned());
        }
        Operation::ConfirmIsolated { session } => {
            admin.confirm_isolated(id(&session, "session")?).await?;
            lines.push("its locks go to others".to_owned());
        }
        Operation::ReleaseAll { prefix } => {
            lines.push(format!(
                "{} claims are ended",
                admin.release_all(&prefix).await?
            ));
        }
    }
    let mut out = std::io::stdout().lock();
    for line in lines {
        // Whoever closed the pipe has seen enough.
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    Ok(())
}

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
