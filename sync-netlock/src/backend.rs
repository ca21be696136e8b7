//! The SPI over the engine's commands, whatever carries them: the process itself, or a connection.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use distsync_core::spi::Backend;
use distsync_core::spi::{
    Claim, ClaimId, Queue, Renewal, Revision, Session, SessionSpec, Standing, Withdrawn,
};
use distsync_core::{Capabilities, Error, ErrorKind, LockName, Result};

use crate::engine::{Command, Refusal, Reply, Terms};

/// What carries commands to a lock table and replies back.
pub(crate) trait Carrier: Debug + Send + std::marker::Sync + Sized + 'static {
    /// What this carrier's store can do.
    fn capabilities(&self) -> Capabilities;

    /// The same store over another connection.
    fn for_keeper(&self) -> Self;

    /// Another number once the store may have forgotten what it acknowledged.
    fn incarnation(&self) -> u64 {
        0
    }

    /// Sends a command; the first reply to it. `session`: the one that the command speaks for.
    fn call<'a>(
        &'a self,
        session: Option<&'a Session>,
        command: Command<'a>,
    ) -> impl Future<Output = Result<Reply>> + Send + 'a;

    /// The second reply to an `Enqueue` that was answered `Waiting`.
    fn second(&self, claim: ClaimId) -> impl Future<Output = Result<Reply>> + Send + '_;
}

/// A backend over a carrier.
#[derive(Debug)]
pub(crate) struct Netlock<C>(pub(crate) C);

impl<C: Carrier> Netlock<C> {
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

    /// The reply is none that this command can have.
    pub(crate) fn unexpected<T>(&self, reply: Reply) -> Result<T> {
        match reply {
            Reply::Refused(refusal) => Err(self.refused(refusal)),
            other => Err(Error::new(
                ErrorKind::Protocol,
                format!("the server gave an answer to another question: {other:?}"),
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

    fn withdrawn(&self, reply: Reply) -> Result<Withdrawn> {
        match reply {
            Reply::Withdrawn(withdrawn) => Ok(withdrawn),
            Reply::Refused(Refusal::SessionUnknown) => Ok(Withdrawn::Absent),
            other => self.unexpected(other),
        }
    }

    /// The paths of all names that begin in one way.
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
            Reply::Queue(queue) => Ok(Arc::unwrap_or_clone(queue)),
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
impl<C: Carrier> Backend for Netlock<C> {
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
            other => self.unexpected(other),
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

    async fn enqueue(&self, claim: &Claim) -> Result<Standing> {
        let Claim {
            id,
            session: Session { id: session, .. },
            any,
            mode,
            waits,
            ..
        } = *claim;
        let (name, value) = (claim.name.path(), &*claim.value);
        let reply = if claim.also.is_empty() {
            let enqueue = Command::Enqueue {
                session,
                claim: id,
                name: name.as_bytes(),
                mode,
                waits,
                value,
            };
            self.0.call(Some(&claim.session), enqueue).await?
        } else {
            let names: Vec<_> = std::iter::once(name)
                .chain(claim.also.iter().map(LockName::path))
                .collect();
            let enqueue = Command::EnqueueAll {
                session,
                claim: id,
                names: &names,
                any,
                mode,
                waits,
                value,
            };
            self.0.call(Some(&claim.session), enqueue).await?
        };
        self.standing(reply)
    }

    async fn granted(&self, claim: &Claim) -> Result<Standing> {
        let reply = self.0.second(claim.id).await?;
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
            Reply::Queue(queue) => Ok(Arc::unwrap_or_clone(queue)),
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
