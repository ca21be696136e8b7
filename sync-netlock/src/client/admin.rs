//! What an operator does to a server from outside, over the protocol.

use distsync_core::spi::{ClaimId, Queue, SessionId, Withdrawn};
use distsync_core::{Error, ErrorKind, Result};

use super::{Client, Config};
use crate::backend::{Carrier, Netlock};
use crate::engine::{Command, Refusal, Reply, SessionEntry};

/// An operator's connection to a netlock server. Names are paths here, as the server has them:
/// NAMESPACE/l/NAME.
#[derive(Debug)]
pub struct Admin {
    netlock: Netlock<Client>,
}

impl Admin {
    /// Connects when it is first used.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            netlock: Netlock(Client::new(config)),
        }
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

    /// The sessions that live.
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

    /// The names that begin in one way.
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

    /// Who holds a name and who waits.
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

    /// Ends one claim.
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

    /// Says that a client which was to be isolated can do nothing more; what it held goes to
    /// others.
    ///
    /// # Errors
    /// [`ErrorKind::NotHeld`] if no such client is being isolated,
    /// [`ErrorKind::Denied`], [`ErrorKind::Unavailable`].
    ///
    /// # Cancel safety
    /// It may or may not have been said.
    pub async fn confirm_isolated(&self, session: SessionId) -> Result<()> {
        let absent = "no client of this session is being isolated: `inspect` shows which are";
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
                "it has ended, and its client is being isolated or was: `confirm-isolated` gives its locks to others",
            ),
            other => self
                .netlock
                .unexpected(other)
                .map_err(|error: Error| error.with_operation(operation)),
        }
    }

    /// Ends all claims of the names that begin in one way; how many there were.
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
