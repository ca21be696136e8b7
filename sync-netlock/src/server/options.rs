//! The options of a server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use distsync_core::{Error, ErrorKind, Result};

use super::access::Access;
use super::workers::WORKERS_MAX;
use crate::engine::Limits;
use crate::storage::StorageOptions;

/// The options of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Whether the server may listen where other machines can reach it without TLS and
    /// authentication. Default: no.
    pub allow_remote: bool,
    /// The tokens and permissions of principals. Default: none, so any client that can reach the
    /// server may do everything.
    pub access: Option<Arc<Access>>,
    /// The file to which a line of JSON is appended for each action of an administrator. Default:
    /// none. Actions are also logged.
    pub audit: Option<PathBuf>,
    /// The files for TLS. Default: none, so the server does not use TLS.
    #[cfg(feature = "tls")]
    pub tls: Option<super::tls::ServerTls>,
    /// How often to check whether the files of certificates and tokens have changed. Default: 30 s.
    pub reread: Duration,
    /// How clients are isolated whose session ends while it holds claims. Default: not at all.
    pub isolation: Option<IsolationOptions>,
    /// How the table is stored. Default: not at all, so a restart loses it.
    pub storage: Option<StorageOptions>,
    /// The identity of the table, by which clients tell servers apart. Default: drawn at random,
    /// and stored in the data folder if there is one.
    pub table: Option<u128>,
    /// The limits of the table.
    pub limits: Limits,
    /// The number of workers that serve connections. Default: 1, the runtime that runs the server.
    /// Each further one is a thread with a runtime of its own. All of them share one table, which
    /// takes a small part of the work. At most 1,024.
    pub workers: usize,
    /// The maximum number of connections. Default: 12,000. Further connections are refused.
    pub connections: usize,
    /// The maximum number of sessions attached to one connection. Default: 10,000.
    pub sessions_per_connection: usize,
    /// The maximum number of connections of one principal, if clients authenticate. Default: 6,000.
    pub connections_per_principal: usize,
    /// The longest request, in bytes. Default: 64 KiB.
    pub request_max: usize,
    /// The longest request before the greeting, in bytes. Default: 4 KiB.
    pub greeting_max: usize,
    /// How long a new connection may take to send its greeting. Default: 5 s.
    pub greeting_timeout: Duration,
    /// How long a request may take from its first byte to its last. Default: 10 s.
    pub request_timeout: Duration,
    /// How long a connection may be silent. Clients ping every 5 s. Default: 60 s.
    pub idle_timeout: Duration,
    /// How long a client may take to accept the next 64 KiB of its replies, or the rest of them.
    /// Default: 10 s.
    pub write_timeout: Duration,
    /// The maximum size of the replies that wait for a connection, in bytes, without those that end
    /// the wait of a claim. Default: 1 MiB. Beyond it, watches get the newest queue when the client
    /// reads again, and a connection with other replies is closed.
    pub outbox_max: usize,
    /// The maximum size of the long replies that wait for all connections of one principal, in
    /// bytes. Default: 64 MiB. A connection whose reply would exceed it is closed.
    pub unread_per_principal: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            allow_remote: false,
            access: None,
            audit: None,
            reread: Duration::from_secs(30),
            isolation: None,
            #[cfg(feature = "tls")]
            tls: None,
            storage: None,
            table: None,
            limits: Limits::default(),
            workers: 1,
            connections: 12_000,
            connections_per_principal: 6_000,
            sessions_per_connection: 10_000,
            request_max: 64 << 10,
            greeting_max: 4 << 10,
            greeting_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(10),
            outbox_max: 1 << 20,
            unread_per_principal: 64 << 20,
        }
    }
}

impl ServerOptions {
    /// Returns whether the server uses TLS and authenticates its clients.
    pub(super) fn is_guarded(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some() && self.access.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// Checks the number of workers.
    pub(super) fn check_workers(&self) -> Result<()> {
        let problem = match self.workers {
            0 => "`workers` is 0, so no connection would be served: give at least 1".to_owned(),
            1..=WORKERS_MAX => return Ok(()),
            more => format!("`workers` is {more}: give at most {WORKERS_MAX}"),
        };
        Err(Error::new(ErrorKind::InvalidOption, problem).with_backend("netlock"))
    }

    /// Returns the default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// The options for isolating clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolationOptions {
    /// The program that isolates a client, and its arguments. It runs without a shell and with an
    /// empty environment. It gets one JSON object on standard input: `event` and `session` (the
    /// same stable id), `client`, `isolation` (what the client gave when it opened the session),
    /// `reason` (`expired` or `ended`) and `locks` (each with `name`, `token` and `value`). It has
    /// to exit with 0 when the client can do nothing more. It may run more than once for the same
    /// event.
    pub command: Vec<String>,
    /// How long one run may take. Then it is killed and counts as failed. Default: 10 s.
    pub timeout: Duration,
    /// How many times the program is run again after a failure, after 1 s, 2 s, 4 s and so on.
    /// Default: 3.
    pub retries: u32,
    /// How many programs run at a time. Default: 4.
    pub parallel: usize,
    /// What happens to the locks after the last failure. Default: [`OnFailure::Hold`].
    pub on_failure: OnFailure,
}

/// What happens to the locks of a client that cannot be isolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They stay held until an operator confirms that the client can do nothing more.
    #[default]
    Hold,
    /// They are released after this time.
    GrantAfter(Duration),
}

impl IsolationOptions {
    /// Returns options that isolate clients by this program.
    #[must_use]
    pub fn new(command: Vec<String>) -> Self {
        let (timeout, on_failure) = (Duration::from_secs(10), OnFailure::default());
        Self {
            command,
            timeout,
            retries: 3,
            parallel: 4,
            on_failure,
        }
    }
}
