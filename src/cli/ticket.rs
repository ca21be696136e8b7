//! Tickets of locks, as arguments and in files.

use std::convert::Infallible;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use distsync::Ticket;
use tempfile::NamedTempFile;

use crate::exit::{self, Failure};

/// The longest text that is read as a ticket. A ticket has a name of at most 512 bytes, each of
/// which can be escaped by three, and 200 bytes beside it.
const TICKET_MAX: u64 = 4_096;

/// The place of a ticket: the argument itself, a file, or standard input.
///
/// It is parsed when it is read and not by clap, because clap shows an invalid argument.
#[derive(Clone)]
pub(crate) struct TicketSource(String);

impl FromStr for TicketSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for TicketSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSource(..)")
    }
}

impl TicketSource {
    /// Reads the ticket.
    pub(crate) fn read(&self) -> Result<Ticket, Failure> {
        let text = if self.0 == "-" {
            read(std::io::stdin(), "standard input")?
        } else if let Some(path) = self.0.strip_prefix('@') {
            let file = std::fs::File::open(path).map_err(|error| {
                let problem = format!(
                    "the file {path} cannot be read: give the path of a ticket after the @ ({error})"
                );
                Failure::new(exit::USAGE, problem)
            })?;
            read(file, path)?
        } else {
            self.0.clone()
        };
        Ok(text.parse()?)
    }
}

fn read(source: impl Read, name: &str) -> Result<String, Failure> {
    let mut text = String::new();
    source
        .take(TICKET_MAX)
        .read_to_string(&mut text)
        .map_err(|error| {
            let problem = format!("{name} cannot be read: give one ticket as text ({error})");
            Failure::new(exit::USAGE, problem)
        })?;
    Ok(text)
}

/// A file that will contain a ticket, and that only its owner can read.
#[derive(Debug)]
pub(crate) struct TicketFile {
    path: PathBuf,
    /// Beside the file, so that the ticket appears there as a whole.
    draft: NamedTempFile,
}

impl TicketFile {
    /// Checks that the file can be written. It does not exist before
    /// [`write`](Self::write).
    pub(crate) fn prepare(path: &Path) -> Result<Self, Failure> {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let draft = tempfile::Builder::new()
            .prefix(".ticket-")
            .tempfile_in(folder.unwrap_or(Path::new(".")));
        Ok(Self {
            path: path.to_owned(),
            draft: draft.map_err(|error| unwritable(path, &error))?,
        })
    }

    /// Writes the ticket, and replaces a file that is there.
    pub(crate) fn write(mut self, ticket: &Ticket) -> Result<(), Failure> {
        writeln!(self.draft, "{}", ticket.expose())
            .and_then(|()| self.draft.as_file().sync_all())
            .map_err(|error| unwritable(&self.path, &error))?;
        let persisted = self.draft.persist(&self.path);
        persisted.map_err(|failed| unwritable(&self.path, &failed.error))?;
        Ok(())
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let problem = format!(
        "the ticket file {} cannot be written: give a path in a folder that you can write to ({error})",
        path.display()
    );
    Failure::new(exit::OTHER, problem)
}
