//! The settings of a server, with their defaults.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use crate::engine::Limits;
use crate::storage::StorageOptions;

/// Settings of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Whether it may listen where other machines can reach it without TLS and authentication.
    /// Default: no.
    pub allow_remote: bool,
    /// Who is known, and who may do what. Default: nobody is asked, and everybody who reaches the
    /// server may do everything.
    pub access: Option<Arc<Access>>,
    /// A line of JSON goes to the end of this file for each thing that an administrator does.
    /// Default: to the log alone.
    pub audit: Option<PathBuf>,
    /// The server's certificate. Default: none, and no TLS.
    #[cfg(feature = "tls")]
    pub tls: Option<super::tls::ServerTls>,
    /// How often the files of the certificate and of the tokens are looked at, and read again if
    /// they have changed. Default: 30 s.
    pub reread: Duration,
    /// How clients are isolated that end by themselves while they hold. Default: they are not.
    pub isolation: Option<IsolationOptions>,
    /// Where and how well the table is kept. Default: not at all, so a restart forgets it.
    pub storage: Option<StorageOptions>,
    /// The identity of the table, by which clients tell servers apart. Default: drawn with the data
    /// folder and kept in it; without a folder, drawn at each start.
    pub table: Option<u128>,
    /// The bounds of the table.
    pub limits: Limits,
    /// Connections at a time. Default: 12,000. One more is told so and closed.
    pub connections: usize,
    /// Sessions attached to one connection. Default: 10,000.
    pub sessions_per_connection: usize,
    /// The most connections of one principal at a time, where the server asks who they are.
    /// Default: 6,000.
    pub connections_per_principal: usize,
    /// The longest request, in bytes. Default: 64 KiB.
    pub request_max: usize,
    /// The longest request before the greeting, in bytes. Default: 4 KiB.
    pub greeting_max: usize,
    /// How long a new connection may take to greet. Default: 5 s.
    pub greeting_timeout: Duration,
    /// How long a request may take from its first byte to its last. Default: 10 s.
    pub request_timeout: Duration,
    /// How long a connection may be silent. Clients ping every 5 s. Default: 60 s.
    pub idle_timeout: Duration,
    /// How long a connection may refuse to take answers. Default: 10 s.
    pub write_timeout: Duration,
    /// The most that waits for a connection that does not read, in bytes. Default: 1 MiB. Then it
    /// is cut.
    pub outbox_max: usize,
    /// The most of long answers that waits for all connections of one principal, in bytes. Default:
    /// 64 MiB. A connection whose answer would be more is cut.
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
    /// Whether it speaks TLS and authenticates its clients.
    pub(super) fn is_guarded(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some() && self.access.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

/// How clients are isolated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolationOptions {
    /// The program and its arguments. No shell is between, and the environment is empty. It gets
    /// one JSON object on standard input: `event` and `session` (the same, a stable id), `client`,
    /// `isolation` (what the client said of itself), `reason` (`expired` or `ended`), `locks` (with
    /// `name`, `token`, `value`). It ends with 0 once the client can do nothing more, and may be
    /// asked again for the same event.
    pub command: Vec<String>,
    /// How long one run may take; then it is killed and counts as failed. Default: 10 s.
    pub timeout: Duration,
    /// How often it is run again after a failure, after 1 s, 2 s, 4 s and so on. Default: 3.
    pub retries: u32,
    /// How many run at a time. Default: 4.
    pub parallel: usize,
    /// What becomes of the locks when it has failed for the last time. Default:
    /// [`OnFailure::Hold`].
    pub on_failure: OnFailure,
}

/// What becomes of the locks of a client that cannot be isolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// They are held until an operator confirms that the client can do nothing more.
    #[default]
    Hold,
    /// They go to others after this time.
    GrantAfter(Duration),
}

impl IsolationOptions {
    /// Isolates clients by this program.
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
