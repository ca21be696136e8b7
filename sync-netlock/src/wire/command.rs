//! Conversion between requests on the wire and commands of the engine.

use std::time::Duration;

use bytes::Bytes;
use distsync_core::spi::{ClaimId, Revision, Secret, SessionId};

use super::fast_path;
use super::frame::encode;
use super::proto::{self, request::Body};
use super::values::{from_mode, to_mode};
use crate::engine::{Command, Refusal, Terms};

/// Appends a command to `out` as a request. `session` is the number of the command's session on
/// this connection. Appends nothing for commands that have no request, because only the host of a
/// table gives them.
pub fn encode_command(id: u64, session: u32, command: Command<'_>, out: &mut Vec<u8>) {
    if !fast_path::write_command(id, session, &command, out)
        && let Some(request) = to_request(id, session, command)
    {
        encode(&request, out);
    }
}

/// Decodes a request by the fast path, which covers the most frequent requests in the form that our
/// client writes. Returns the id of the request and the command. `None` means that the caller has
/// to decode the message and use [`to_command`]. `session` resolves the number of a session on this
/// connection.
pub fn read_command<'a>(
    frame: &'a [u8],
    session: impl Fn(u32) -> Option<SessionId>,
) -> Option<(u64, Command<'a>)> {
    fast_path::read_command(frame, session)
}

/// Returns the request for a command, or `None` if only the host of a table gives this command.
pub(super) fn to_request(id: u64, session: u32, command: Command<'_>) -> Option<proto::Request> {
    let named = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let claimed = |claim: ClaimId| Some(claim.bits().into());
    let body = match command {
        Command::Open {
            session: id,
            secret,
            terms,
            client,
            isolation,
        } => Body::Open(proto::Open {
            session,
            id: Some(id.bits().into()),
            secret: Some(secret.expose().into()),
            ttl_ms: millis(terms.ttl),
            client: client.to_owned(),
            release_on_disconnect: terms.release_on_disconnect,
            isolation: Bytes::copy_from_slice(isolation),
        }),
        Command::Attach {
            session: id,
            secret,
        } => Body::Attach(proto::Attach {
            session,
            id: Some(id.bits().into()),
            secret: Some(secret.expose().into()),
        }),
        Command::Detach { .. } => Body::Detach(proto::Detach { session }),
        Command::Renew { .. } => Body::Renew(proto::Renew { session }),
        Command::Close { .. } => Body::Close(proto::Close { session }),
        Command::Enqueue {
            claim,
            name,
            mode,
            waits,
            value,
            ..
        } => {
            let (mode, permits) = from_mode(mode);
            Body::Enqueue(proto::Enqueue {
                session,
                claim: claimed(claim),
                name: Bytes::copy_from_slice(name),
                mode: mode.into(),
                permits,
                r#try: !waits,
                value: Bytes::copy_from_slice(value),
            })
        }
        Command::EnqueueAll {
            claim,
            names,
            any,
            mode,
            waits,
            value,
            ..
        } => {
            let (mode, permits) = from_mode(mode);
            Body::EnqueueAll(proto::EnqueueAll {
                session,
                claim: claimed(claim),
                names: names.iter().map(|name| named(name)).collect(),
                mode: mode.into(),
                permits,
                r#try: !waits,
                value: Bytes::copy_from_slice(value),
                any,
            })
        }
        Command::Update { claim, value, .. } => Body::Update(proto::Update {
            session,
            claim: claimed(claim),
            value: Bytes::copy_from_slice(value),
        }),
        Command::Withdraw { claim, .. } => Body::Withdraw(proto::Withdraw {
            session,
            claim: claimed(claim),
        }),
        Command::Evict { name, claim } => Body::Evict(proto::Evict {
            name: named(name),
            claim: claimed(claim),
        }),
        Command::Evictions { .. } => Body::Evictions(proto::Evictions { session }),
        Command::Inspect { name } => Body::Inspect(proto::Inspect { name: named(name) }),
        Command::Changed { name, after } => Body::Changed(proto::Changed {
            name: named(name),
            after: after.0,
        }),
        Command::List { prefix, after } => Body::List(proto::List {
            prefix: named(prefix),
            after: Bytes::copy_from_slice(after.as_bytes()),
        }),
        Command::EndSession { session } => Body::EndSession(proto::EndSession {
            id: Some(session.bits().into()),
        }),
        Command::ConfirmIsolated { session } => Body::ConfirmIsolated(proto::ConfirmIsolated {
            id: Some(session.bits().into()),
        }),
        Command::ReleaseAll { prefix } => Body::ReleaseAll(proto::ReleaseAll {
            prefix: named(prefix),
        }),
        Command::Sessions { after } => Body::ListSessions(proto::ListSessions {
            after: Some(after.bits().into()),
        }),
        Command::Forget { request } => Body::Forget(proto::Forget { request }),
        Command::Introduce { .. } | Command::Disconnected | Command::Tick => return None,
    };
    Some(proto::Request {
        id,
        body: Some(body),
    })
}

/// Returns whole milliseconds, rounded up so that a TTL is never shortened.
fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Why a request cannot be converted to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRequest {
    /// The request is not valid in this version of the protocol. The connection has to end.
    Malformed,
    /// The request is refused. The connection stays open.
    Refused(Refusal),
}

fn text(bytes: &Bytes) -> Result<&str, InvalidRequest> {
    std::str::from_utf8(bytes).map_err(|_| InvalidRequest::Refused(Refusal::NameInvalid))
}

fn claim(id: Option<proto::Id>) -> Result<ClaimId, InvalidRequest> {
    id.map(|id| ClaimId::from_bits(id.into()))
        .ok_or(InvalidRequest::Malformed)
}

fn named_session(
    id: Option<proto::Id>,
    secret: Option<proto::Id>,
) -> Result<(SessionId, Secret), InvalidRequest> {
    match (id, secret) {
        (Some(id), Some(secret)) => Ok((
            SessionId::from_bits(id.into()),
            Secret::from_bits(secret.into()),
        )),
        _ => Err(InvalidRequest::Malformed),
    }
}

/// Converts a request to a command. `session` resolves the number of a session on this connection.
/// `names` is storage for the names of a command with more than one name. `Hello`,
/// `Ping` and the requests about the cluster are not commands: the connection handles them itself.
///
/// # Errors
/// The request is malformed, or is refused before it reaches the table.
pub fn to_command<'a>(
    body: &'a Body,
    names: &'a mut Vec<&'a str>,
    session: impl Fn(u32) -> Option<SessionId>,
) -> Result<Command<'a>, InvalidRequest> {
    let session = |number| session(number).ok_or(InvalidRequest::Refused(Refusal::SessionUnknown));
    Ok(match body {
        Body::Hello(_) | Body::Ping(_) | Body::DescribeCluster(_) | Body::ChangeCluster(_) => {
            return Err(InvalidRequest::Malformed);
        }
        Body::Open(open) => {
            let (session, secret) = named_session(open.id, open.secret)?;
            let ttl = Duration::from_millis(open.ttl_ms);
            let terms = Terms {
                ttl,
                release_on_disconnect: open.release_on_disconnect,
            };
            Command::Open {
                session,
                secret,
                terms,
                client: &open.client,
                isolation: &open.isolation,
            }
        }
        Body::Attach(attach) => {
            let (session, secret) = named_session(attach.id, attach.secret)?;
            Command::Attach { session, secret }
        }
        Body::Detach(detach) => Command::Detach {
            session: session(detach.session)?,
        },
        Body::Renew(renew) => Command::Renew {
            session: session(renew.session)?,
        },
        Body::Close(close) => Command::Close {
            session: session(close.session)?,
        },
        Body::Enqueue(enqueue) => Command::Enqueue {
            session: session(enqueue.session)?,
            claim: claim(enqueue.claim)?,
            name: &enqueue.name,
            mode: to_mode(enqueue.mode, enqueue.permits)
                .ok_or(InvalidRequest::Refused(Refusal::NoPermits))?,
            waits: !enqueue.r#try,
            value: &enqueue.value,
        },
        Body::EnqueueAll(enqueue) => {
            for name in &enqueue.names {
                names.push(text(name)?);
            }
            Command::EnqueueAll {
                session: session(enqueue.session)?,
                claim: claim(enqueue.claim)?,
                names,
                any: enqueue.any,
                mode: to_mode(enqueue.mode, enqueue.permits)
                    .ok_or(InvalidRequest::Refused(Refusal::NoPermits))?,
                waits: !enqueue.r#try,
                value: &enqueue.value,
            }
        }
        Body::Update(update) => Command::Update {
            session: session(update.session)?,
            claim: claim(update.claim)?,
            value: &update.value,
        },
        Body::Withdraw(withdraw) => Command::Withdraw {
            session: session(withdraw.session)?,
            claim: claim(withdraw.claim)?,
        },
        Body::Evict(evict) => Command::Evict {
            name: text(&evict.name)?,
            claim: claim(evict.claim)?,
        },
        Body::Evictions(evictions) => Command::Evictions {
            session: session(evictions.session)?,
        },
        Body::Inspect(inspect) => Command::Inspect {
            name: text(&inspect.name)?,
        },
        Body::Changed(changed) => Command::Changed {
            name: text(&changed.name)?,
            after: Revision(changed.after),
        },
        Body::List(list) => Command::List {
            prefix: text(&list.prefix)?,
            after: text(&list.after)?,
        },
        Body::EndSession(end) => {
            let id = end.id.ok_or(InvalidRequest::Malformed)?;
            Command::EndSession {
                session: SessionId::from_bits(id.into()),
            }
        }
        Body::ConfirmIsolated(confirm) => {
            let id = confirm.id.ok_or(InvalidRequest::Malformed)?;
            Command::ConfirmIsolated {
                session: SessionId::from_bits(id.into()),
            }
        }
        Body::ReleaseAll(all) => Command::ReleaseAll {
            prefix: text(&all.prefix)?,
        },
        Body::ListSessions(list) => Command::Sessions {
            after: SessionId::from_bits(list.after.map_or(0, Into::into)),
        },
        Body::Forget(forget) => Command::Forget {
            request: forget.request,
        },
    })
}
