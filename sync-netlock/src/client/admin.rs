//! The operations of an operator on a running server.

use distsync_core::spi::{ClaimId, Queue, SessionId, Withdrawn};
use distsync_core::{Error, ErrorKind, Result};

use super::{Client, Config};
use crate::backend::{Netlock, Transport};
use crate::engine::{Command, Refusal, Reply, SessionEntry};

/// A client for operators of a netlock server. Names are paths, as the server knows them:
/// `NAMESPACE/l/NAME`.
#[derive(Debug)]
pub struct Admin {
    netlock: Netlock<Client>,
}

impl Admin {
    /// Creates a client that connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            netlock: Netlock(Client::new(config)),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.netlock.0
    }

    async fn ask(&self, operation: &'static str, command: Command<'_>) -> Result<Reply> {
        match self
            .netlock
            .0
            .call(None, command)
            .await
            .map_err(|error| error.with_operation(operation))?
        {
            Reply::Refused(refusal) => Err(self.netlock.refused(refusal).with_operation(operation)),
            reply => Ok(reply),
        }
    }

    /// Returns all open sessions.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn sessions(&self) -> Result<Vec<SessionEntry>> {
        let (mut all, mut after) = (Vec::new(), SessionId::from_bits(0));
        loop {
            match self
                .ask("list sessions", Command::Sessions { after })
                .await?
            {
                Reply::Sessions { sessions, more } => {
                    all.extend(sessions);
                    match all.last() {
                        Some(last) if more => after = last.session,
                        _ => return Ok(all),
                    }
                }
                other => return self.netlock.unexpected(other),
            }
        }
    }

    /// Returns the names that begin with `prefix` and have holders or waiters.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>> {
        self.netlock
            .paths(prefix)
            .await
            .map_err(|error| error.with_operation("list"))
    }

    /// Returns the holders and waiters of a name.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// Safe: it only reads.
    pub async fn inspect(&self, name: &str) -> Result<Queue> {
        self.netlock
            .queue_at(name)
            .await
            .map_err(|error| error.with_operation("inspect").with_name(name))
    }

    /// Ends one claim, and returns whether it was held, waiting or absent.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// The claim may or may not have ended.
    pub async fn evict(&self, name: &str, claim: ClaimId) -> Result<Withdrawn> {
        self.netlock
            .evict_at(name, claim)
            .await
            .map_err(|error| error.with_operation("evict").with_name(name))
    }

    /// Ends a session and all its claims.
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`] if there is no such session, [`ErrorKind::Isolated`] if its client is
    /// being isolated, [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// The session may or may not have ended.
    pub async fn end_session(&self, session: SessionId) -> Result<()> {
        let absent = "there is no such session: `sessions` lists those that are open";
        self.end(
            "end session",
            Command::EndSession { session },
            session,
            absent,
        )
        .await
    }

    /// Confirms that the client of a session was isolated, which releases the claims that it held.
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`] if no such client is being isolated,
    /// [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// The claims may or may not have been released.
    pub async fn confirm_isolated(&self, session: SessionId) -> Result<()> {
        let absent = "no client with this session is being isolated: `inspect` shows which are";
        self.end(
            "confirm isolated",
            Command::ConfirmIsolated { session },
            session,
            absent,
        )
        .await
    }

    async fn end(
        &self,
        operation: &'static str,
        command: Command<'_>,
        session: SessionId,
        absent: &str,
    ) -> Result<()> {
        let explain = |kind, problem: &str| {
            Err(Error::new(kind, format!("{session}: {problem}"))
                .with_backend("netlock")
                .with_operation(operation))
        };
        match self
            .netlock
            .0
            .call(None, command)
            .await
            .map_err(|error| error.with_operation(operation))?
        {
            Reply::Closed => Ok(()),
            Reply::Refused(Refusal::SessionUnknown) => explain(ErrorKind::NotHeld, absent),
            Reply::Refused(Refusal::Isolated) => explain(
                ErrorKind::Isolated,
                "the session has ended, and its client was or is being isolated: use `confirm-isolated` to release \
                 its locks",
            ),
            other => self
                .netlock
                .unexpected(other)
                .map_err(|error: Error| error.with_operation(operation)),
        }
    }

    /// Ends all claims of the names that begin with `prefix`, and returns their number.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// The claims may or may not have ended.
    pub async fn release_all(&self, prefix: &str) -> Result<u64> {
        match self
            .ask("release all", Command::ReleaseAll { prefix })
            .await?
        {
            Reply::Released { claims } => Ok(claims),
            other => self.netlock.unexpected(other),
        }
    }
}
