//! What administrators did: to the log, and to a file of its own where one is wanted.

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

/// Where it is written.
#[derive(Debug)]
pub(super) struct Audit {
    file: Option<AuditFile>,
}

/// The file, which others may move away (`logrotate` does) and expect to be made anew.
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

    /// Whether what is open is what stands at the path now.
    fn is_current(&self, open: &File) -> bool {
        let place = |data: &std::fs::Metadata| (data.dev(), data.ino());
        matches!(
            (&open.metadata(), &std::fs::metadata(&self.path)),
            (Ok(open), Ok(there)) if place(open) == place(there)
        )
    }
}

fn unwritable(path: &Path, error: std::io::Error) -> Error {
    let problem = format!(
        "the audit log {} cannot be written: does its folder exist?",
        path.display()
    );
    Error::new(ErrorKind::InvalidOption, problem)
        .with_backend("netlock")
        .with_source(error)
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

    /// Looks whether the file could be opened, and does not make it.
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
                info!(path = %file.path.display(), "the audit log was moved away, and is made anew");
            }
            Err(error) => error!(%error, "the old audit log is written on"),
        }
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
        let at_ms = clock::wall_millis();
        let deed = Deed {
            at_ms,
            principal,
            peer: peer.to_string(),
            deed,
            name,
            id,
            outcome,
        };
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
        if let Some(file) = &self.file {
            let written = serde_json::to_vec(&deed)
                .map_err(std::io::Error::from)
                .and_then(|mut line| {
                    line.push(b'\n');
                    locked(&file.open).write_all(&line)
                });
            if let Err(error) = written {
                error!(%error, "the audit log cannot be written");
            }
        }
    }
}
