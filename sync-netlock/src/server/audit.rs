//! What administrators did: to the log, and to a file of its own where one is wanted.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;
use sync_core::backend::Withdrawn;
use sync_core::{Error, ErrorKind, Result, clock};
use tracing::{error, info};

use crate::engine::{Command, Refusal, Reply};

/// Where it is written.
#[derive(Debug)]
pub(super) struct Audit {
    file: Option<File>,
}

/// One thing that somebody did, or was refused.
#[derive(Debug, Serialize)]
struct Deed<'a> {
    /// Milliseconds since 1970.
    at_ms: u64,
    principal: Option<&'a str>,
    peer: String,
    deed: &'static str,
    /// The name, or the start of the names.
    name: Option<&'a str>,
    /// The claim or session.
    id: Option<String>,
    outcome: String,
}

impl Audit {
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self { file: None }) };
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|error| {
            let problem =
                format!("the audit log {} cannot be written: does its folder exist?", path.display());
            Error::new(ErrorKind::InvalidOption, problem).on("netlock").because(error)
        })?;
        Ok(Self { file: Some(file) })
    }

    /// Notes a command if it is an administrator's.
    pub(super) fn note(
        &self,
        principal: Option<&str>,
        peer: SocketAddr,
        command: &Command<'_>,
        reply: Option<&Reply>,
    ) {
        let (deed, name, id) = match command {
            Command::Evict { name, claim } => ("evict", Some(*name), Some(claim.to_string())),
            Command::EndSession { session } => ("end session", None, Some(session.to_string())),
            Command::ConfirmIsolated { session } => ("confirm isolated", None, Some(session.to_string())),
            Command::ReleaseAll { prefix } => ("release all", Some(*prefix), None),
            _ => return,
        };
        let outcome = match reply {
            Some(Reply::Refused(Refusal::Denied)) => "denied".to_owned(),
            Some(Reply::Refused(Refusal::SessionUnknown) | Reply::Withdrawn(Withdrawn::Absent)) => {
                "absent".to_owned()
            }
            Some(Reply::Released { claims }) => format!("{claims} claims"),
            Some(Reply::Refused(refusal)) => refusal.to_string(),
            _ => "done".to_owned(),
        };
        let at_ms = clock::wall_millis();
        let deed = Deed { at_ms, principal, peer: peer.to_string(), deed, name, id, outcome };
        info!(
            target: "netlock::audit",
            principal = deed.principal,
            peer = deed.peer,
            deed = deed.deed,
            name = deed.name,
            id = deed.id,
            outcome = deed.outcome,
            "administrator action"
        );
        if let Some(mut file) = self.file.as_ref() {
            let written = serde_json::to_vec(&deed).map_err(std::io::Error::from).and_then(|mut line| {
                line.push(b'\n');
                file.write_all(&line)
            });
            if let Err(error) = written {
                error!(%error, "the audit log cannot be written");
            }
        }
    }
}
