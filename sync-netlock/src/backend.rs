//! The SPI in terms of the engine's commands and replies, for the embedded table and for a server.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use distsync_core::spi::Backend;
use distsync_core::spi::{
    Claim, ClaimId, Departure, Queue, Renewal, Revision, Session, SessionId, SessionSpec, Standing,
    Withdrawn,
};
use distsync_core::{Capabilities, Error, ErrorKind, LockName, Result};

use crate::engine::{Command, Refusal, Reply, Terms};

/// A way to send commands to a lock table and to receive its replies.
pub(crate) trait Transport: Debug + Send + std::marker::Sync + Sized + 'static {
    /// Returns the capabilities of the store.
    fn capabilities(&self) -> Capabilities;

    /// Returns a transport to the same store that uses a connection of its own.
    fn for_keeper(&self) -> Self;

    /// Returns a number that changes when the store may have lost changes that it acknowledged.
    fn incarnation(&self) -> u64 {
        0
    }

    /// Sends a command and returns the first reply. `session` is the session that the command
    /// names.
    fn call<'a>(
        &'a self,
        session: Option<&'a Session>,
        command: Command<'a>,
    ) -> impl Future<Output = Result<Reply>> + Send + 'a;

    /// Forgets an ended session, for the connection of the callers too.
    fn forget(&self, _session: SessionId) {}

    /// Sends the withdrawal of a departure, if it can be sent at once, and drops it otherwise.
    fn depart(&self, departure: Departure);

    /// Drops the departures that have no reply yet.
    fn give_back_departures(&self);

    /// Returns the second reply to an `Enqueue` whose first reply was `Waiting`.
    fn second_reply(&self, claim: ClaimId) -> impl Future<Output = Result<Reply>> + Send + '_;
}

/// A backend over a transport.
#[derive(Debug)]
pub(crate) struct Netlock<T>(pub(crate) T);

impl<T: Transport> Netlock<T> {
    /// Returns the error for a refusal.
    pub(crate) fn refused(&self, refusal: Refusal) -> Error {
        let kind = match refusal {
            Refusal::SessionUnknown => ErrorKind::SessionLost,
            Refusal::ClaimTaken => ErrorKind::Protocol,
            Refusal::PermitsDiffer { .. } | Refusal::TtlOutOfRange { .. } | Refusal::NoPermits => {
                ErrorKind::InvalidOption
            }
            Refusal::NameInvalid => ErrorKind::InvalidName,
            Refusal::TooLong { .. } => ErrorKind::InvalidOption,
            Refusal::TooMany { .. } => ErrorKind::Store,
            Refusal::Denied => ErrorKind::Denied,
            Refusal::Isolated => ErrorKind::Isolated,
            Refusal::Settling { .. } | Refusal::StorageFull => ErrorKind::Unavailable,
        };
        let error = Error::new(kind, refusal.to_string()).with_backend(self.capabilities().backend);
        if kind == ErrorKind::Unavailable {
            error.retryable()
        } else {
            error
        }
    }

    /// Returns the error for a refusal, or for a reply that does not belong to the command.
    pub(crate) fn unexpected<R>(&self, reply: Reply) -> Result<R> {
        match reply {
            Reply::Refused(refusal) => Err(self.refused(refusal)),
            other => Err(Error::new(
                ErrorKind::Protocol,
                format!("unexpected reply from the server: {other:?}"),
            )
            .with_backend(self.capabilities().backend)
            .with_maybe_applied()),
        }
    }

    fn standing(&self, reply: Reply) -> Result<Standing> {
        Ok(match reply {
            Reply::Granted { token } => Standing::Granted { token },
            Reply::GrantedAny { token, name } => Standing::GrantedAny {
                token,
                name: LockName::from_path(&name)?,
            },
            Reply::Waiting { position, holder } => Standing::Waiting { position, holder },
            Reply::Busy { holder } => Standing::Busy { holder },
            Reply::Gone { why } => Standing::Gone { why },
            Reply::Refused(Refusal::SessionUnknown) => Standing::Gone {
                why: distsync_core::spi::Gone::SessionLost,
            },
            other => return self.unexpected(other),
        })
    }

    /// Enqueues a claim for several names.
    async fn enqueue_several(&self, claim: &Claim) -> Result<Standing> {
        let names: Vec<_> = std::iter::once(&claim.name)
            .chain(&claim.also)
            .map(LockName::path)
            .collect();
        let enqueue = Command::EnqueueAll {
            session: claim.session.id,
            claim: claim.id,
            names: &names,
            any: claim.any,
            mode: claim.mode,
            waits: claim.waits,
            value: &claim.value,
        };
        let reply = self.0.call(Some(&claim.session), enqueue).await?;
        self.standing(reply)
    }

    fn withdrawn(&self, reply: Reply) -> Result<Withdrawn> {
        match reply {
            Reply::Withdrawn(withdrawn) => Ok(withdrawn),
            Reply::Refused(Refusal::SessionUnknown) => Ok(Withdrawn::Absent),
            other => self.unexpected(other),
        }
    }

    /// Returns the paths of all names that begin with `prefix`.
    pub(crate) async fn paths(&self, prefix: &str) -> Result<Vec<String>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            match self
                .0
                .call(
                    None,
                    Command::List {
                        prefix,
                        after: &after,
                    },
                )
                .await?
            {
                Reply::Names { names, more } => {
                    all.extend(names);
                    match all.last() {
                        Some(last) if more => after.clone_from(last),
                        _ => return Ok(all),
                    }
                }
                other => return self.unexpected(other),
            }
        }
    }

    pub(crate) async fn queue_at(&self, path: &str) -> Result<Queue> {
        match self.0.call(None, Command::Inspect { name: path }).await? {
            Reply::Queue(queue) => Ok(queue.into_queue()),
            other => self.unexpected(other),
        }
    }

    pub(crate) async fn evict_at(&self, path: &str, claim: ClaimId) -> Result<Withdrawn> {
        let reply = self
            .0
            .call(None, Command::Evict { name: path, claim })
            .await?;
        self.withdrawn(reply)
    }
}

#[async_trait]
impl<T: Transport> Backend for Netlock<T> {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn for_keeper(&self) -> Arc<dyn Backend> {
        Arc::new(Self(self.0.for_keeper()))
    }

    fn incarnation(&self) -> u64 {
        self.0.incarnation()
    }

    async fn open(&self, spec: &SessionSpec) -> Result<Session> {
        let session = Session {
            id: spec.nonce,
            secret: spec.secret,
            ttl: spec.ttl,
        };
        let SessionSpec {
            nonce,
            secret,
            ttl,
            client,
            release_on_disconnect,
            isolation,
        } = spec;
        let open = Command::Open {
            session: *nonce,
            secret: *secret,
            terms: Terms {
                ttl: *ttl,
                release_on_disconnect: *release_on_disconnect,
            },
            client,
            isolation,
        };
        match self.0.call(Some(&session), open).await? {
            Reply::Opened { ttl } => Ok(Session { ttl, ..session }),
            other => {
                self.0.forget(session.id);
                self.unexpected(other)
            }
        }
    }

    async fn renew(&self, session: &Session) -> Result<Renewal> {
        match self
            .0
            .call(
                Some(session),
                Command::Renew {
                    session: session.id,
                },
            )
            .await?
        {
            Reply::Renewed { ttl } => Ok(Renewal::Renewed { ttl }),
            Reply::Refused(Refusal::SessionUnknown) => Ok(Renewal::Expired),
            Reply::Refused(Refusal::Isolated) => Ok(Renewal::Isolated),
            other => self.unexpected(other),
        }
    }

    async fn close(&self, session: &Session) -> Result<()> {
        match self
            .0
            .call(
                Some(session),
                Command::Close {
                    session: session.id,
                },
            )
            .await?
        {
            Reply::Closed | Reply::Refused(Refusal::SessionUnknown) => Ok(()),
            other => self.unexpected(other),
        }
    }

    fn forget(&self, session: &Session) {
        self.0.forget(session.id);
    }

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        let Claim {
            id,
            session: Session { id: session, .. },
            mode,
            waits,
            ..
        } = *claim;
        if !claim.also.is_empty() {
            return Box::pin(self.enqueue_several(claim)).await;
        }
        let enqueue = Command::Enqueue {
            session,
            claim: id,
            name: claim.name.as_bytes(),
            mode,
            waits,
            value: &claim.value,
        };
        let reply = self.0.call(Some(&claim.session), enqueue).await?;
        self.standing(reply)
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        let reply = self.0.second_reply(claim.id).await?;
        self.standing(reply)
    }

    async fn update(&self, claim: &Claim, value: Bytes) -> Result<bool> {
        let update = Command::Update {
            session: claim.session.id,
            claim: claim.id,
            value: &value,
        };
        match self.0.call(Some(&claim.session), update).await? {
            Reply::Updated { held } => Ok(held),
            Reply::Refused(Refusal::SessionUnknown) => Ok(false),
            other => self.unexpected(other),
        }
    }

    async fn withdraw(&self, claim: &Claim) -> Result<Withdrawn> {
        let withdraw = Command::Withdraw {
            session: claim.session.id,
            claim: claim.id,
        };
        let reply = self.0.call(Some(&claim.session), withdraw).await?;
        self.withdrawn(reply)
    }

    fn depart(&self, departure: Departure) {
        self.0.depart(departure);
    }

    fn give_back_departures(&self) {
        self.0.give_back_departures();
    }

    async fn evict(&self, name: &LockName, claim: ClaimId) -> Result<Withdrawn> {
        self.evict_at(name.path(), claim).await
    }

    async fn evictions(&self, session: &Session) -> Result<Vec<ClaimId>> {
        match self
            .0
            .call(
                Some(session),
                Command::Evictions {
                    session: session.id,
                },
            )
            .await?
        {
            Reply::Evictions(claims) => Ok(claims),
            other => self.unexpected(other),
        }
    }

    async fn queue(&self, name: &LockName) -> Result<Queue> {
        self.queue_at(name.path()).await
    }

    async fn changed(&self, name: &LockName, after: Revision) -> Result<Queue> {
        match self
            .0
            .call(
                None,
                Command::Changed {
                    name: name.path(),
                    after,
                },
            )
            .await?
        {
            Reply::Queue(queue) => Ok(queue.into_queue()),
            other => self.unexpected(other),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<LockName>> {
        self.paths(prefix)
            .await?
            .iter()
            .map(|path| LockName::from_path(path))
            .collect()
    }
}
