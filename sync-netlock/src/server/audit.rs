//! The audit log: administrator actions, written to the log and optionally to a file of their own.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use distsync_core::spi::{Withdrawn, clock, locked};
use distsync_core::{Error, ErrorKind, Result};
use rustix::fs::{Access, access};
use serde::Serialize;
use tracing::{error, info};

use crate::engine::{Command, Refusal, Reply};

/// The audit log.
#[derive(Debug)]
pub(super) struct Audit {
    file: Option<AuditFile>,
}

/// The file of the audit log. Programs such as `logrotate` may move it away, and expect that it is
/// created again.
#[derive(Debug)]
struct AuditFile {
    path: PathBuf,
    open: Mutex<File>,
}

impl AuditFile {
    fn open(path: &Path) -> Result<File> {
        let options = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path);
        options.map_err(|error| unwritable(path, error))
    }

    /// Returns whether the open file is still the one at the path.
    fn is_current(&self, open: &File) -> bool {
        let identity = |data: &std::fs::Metadata| (data.dev(), data.ino());
        matches!(
            (&open.metadata(), &std::fs::metadata(&self.path)),
            (Ok(open), Ok(found)) if identity(open) == identity(found)
        )
    }
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    let problem = format!(
        "cannot write the audit log {}: check that its folder exists and is writable",
        path.display()
    );
    Error::new(ErrorKind::InvalidOption, problem)
        .with_backend("netlock")
        .with_source(error)
}

/// One action of an administrator, executed or refused.
#[derive(Debug, Serialize)]
struct Action<'a> {
    /// Milliseconds since 1970.
    at_ms: u64,
    principal: Option<&'a str>,
    peer: String,
    deed: &'static str,
    /// The name, or the prefix of the names.
    name: Option<&'a str>,
    /// The id of the claim or session.
    id: Option<String>,
    outcome: String,
}

impl Audit {
    pub(super) fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self { file: None });
        };
        let open = Mutex::new(AuditFile::open(path)?);
        Ok(Self {
            file: Some(AuditFile {
                path: path.to_owned(),
                open,
            }),
        })
    }

    /// Checks whether the file could be opened, without creating it.
    pub(super) fn check(path: Option<&Path>) -> Result<()> {
        let Some(path) = path else { return Ok(()) };
        let looked = match OpenOptions::new().append(true).open(path) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                let folder = folder.unwrap_or(Path::new("."));
                access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(std::io::Error::from)
            }
            Err(error) => Err(error),
        };
        looked.map_err(|error| unwritable(path, error))
    }

    /// Opens the file again if it was moved away or removed.
    pub(super) fn reopen(&self) {
        let Some(file) = &self.file else { return };
        let mut open = locked(&file.open);
        if file.is_current(&open) {
            return;
        }
        match AuditFile::open(&file.path) {
            Ok(fresh) => {
                *open = fresh;
                info!(path = %file.path.display(), "the audit log was moved away: created a new one");
            }
            Err(error) => {
                error!(%error, "cannot open the new audit log: continuing with the old one")
            }
        }
    }

    /// Records a command, if it is an action of an administrator.
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
            Command::ConfirmIsolated { session } => {
                ("confirm isolated", None, Some(session.to_string()))
            }
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
        self.write(&Action {
            at_ms: clock::wall_millis(),
            principal,
            peer: peer.to_string(),
            deed,
            name,
            id,
            outcome,
        });
    }

    /// Records a change of the cluster. `failure` is the reason why it was not made.
    pub(super) fn note_change(
        &self,
        principal: Option<&str>,
        peer: SocketAddr,
        deed: &'static str,
        name: Option<&str>,
        failure: Option<&str>,
    ) {
        self.write(&Action {
            at_ms: clock::wall_millis(),
            principal,
            peer: peer.to_string(),
            deed,
            name,
            id: None,
            outcome: failure.unwrap_or("done").to_owned(),
        });
    }

    fn write(&self, action: &Action<'_>) {
        info!(
            target: "netlock::audit",
            principal = action.principal,
            peer = action.peer,
            deed = action.deed,
            name = action.name,
            id = action.id,
            outcome = action.outcome,
            "administrator action"
        );
        if let Some(file) = &self.file {
            let written = serde_json::to_vec(action)
                .map_err(std::io::Error::from)
                .and_then(|mut line| {
                    line.push(b'\n');
                    locked(&file.open).write_all(&line)
                });
            if let Err(error) = written {
                error!(%error, "cannot write the audit log: this action is only in this log");
            }
        }
    }
}
