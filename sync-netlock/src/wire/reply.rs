//! Conversion between responses on the wire and replies of the engine.

use std::time::Duration;

use distsync_core::Token;
use distsync_core::spi as backend;
use distsync_core::spi::{ClaimId, Revision, SessionId};

use super::fast_path;
use super::frame::encode;
use super::proto::{self, gone::Why, refused, response::Body};
use super::queue::{encode_head, encode_queue};
use super::values::{from_found, from_mode, to_found, to_mode};
use crate::engine::{Bound, QueueView, Refusal, Reply, SessionEntry};

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn size(bytes: usize) -> u64 {
    bytes as u64
}

/// Appends a reply to `out` as the response to the request `id`.
pub fn encode_reply(id: u64, reply: Reply, out: &mut Vec<u8>) {
    if let Reply::Queue(view) = &reply
        && let Some(body) = encode_queue(view)
    {
        encode_head(id, body.len(), out);
        out.extend_from_slice(&body);
    } else if !fast_path::write_reply(id, &reply, out) {
        encode(&from_reply(id, reply), out);
    }
}

/// Decodes a response by the fast path, which covers the most frequent replies. Returns the id of
/// the request and the reply. `None` means that the caller has to decode the message and use
/// [`to_reply`].
#[must_use]
pub fn read_reply(frame: &[u8]) -> Option<(u64, Reply)> {
    fast_path::read_reply(frame)
}

/// Returns the response for a reply.
#[must_use]
pub(super) fn from_reply(id: u64, reply: Reply) -> proto::Response {
    let body = match reply {
        Reply::Opened { ttl } => Body::Opened(proto::Opened {
            ttl_ms: millis(ttl),
        }),
        Reply::Attached => Body::Attached(proto::Attached {}),
        Reply::Detached => Body::Detached(proto::Detached {}),
        Reply::Renewed { ttl } => Body::Renewed(proto::Renewed {
            ttl_ms: millis(ttl),
        }),
        Reply::Closed => Body::Closed(proto::Closed {}),
        Reply::Granted { token } => Body::Granted(proto::Granted {
            token: token.get(),
            name: Default::default(),
        }),
        Reply::GrantedAny { token, name } => Body::Granted(proto::Granted {
            token: token.get(),
            name: String::from(name).into(),
        }),
        Reply::Waiting { position, holder } => Body::Waiting(proto::Waiting {
            position,
            holder: holder.map(|holder| from_entry(*holder)),
        }),
        Reply::Busy { holder } => Body::Busy(proto::Busy {
            holder: holder.map(|holder| from_entry(*holder)),
        }),
        Reply::Gone { why } => {
            let why = match why {
                backend::Gone::SessionLost => Why::SessionLost,
                backend::Gone::Evicted => Why::Evicted,
                backend::Gone::Withdrawn => Why::Withdrawn,
            };
            Body::Gone(proto::Gone { why: why.into() })
        }
        Reply::Updated { held } => Body::Updated(proto::Updated { held }),
        Reply::Withdrawn(withdrawn) => Body::Withdrawn(proto::Withdrawn {
            found: from_found(withdrawn).into(),
        }),
        Reply::Evictions(claims) => Body::Evicted(proto::Evicted {
            claims: claims.into_iter().map(|id| id.bits().into()).collect(),
        }),
        Reply::Queue(view) => {
            let queue = view.into_queue();
            Body::Queue(proto::Queue {
                revision: queue.revision.0,
                entries: queue.entries.into_iter().map(from_entry).collect(),
            })
        }
        Reply::Names { names, more } => Body::Names(proto::Names {
            names: names.into_iter().map(Into::into).collect(),
            more,
        }),
        Reply::Released { claims } => Body::Released(proto::Released { claims }),
        Reply::Sessions { sessions, more } => Body::Sessions(proto::Sessions {
            sessions: sessions.into_iter().map(from_session).collect(),
            more,
        }),
        Reply::Refused(refusal) => Body::Refused(from_refusal(refusal)),
    };
    proto::Response {
        id,
        body: Some(body),
    }
}

fn from_entry(entry: backend::Entry) -> proto::Entry {
    let (mode, permits) = from_mode(entry.mode);
    proto::Entry {
        claim: Some(entry.claim.bits().into()),
        session: entry.session.map(|session| session.bits().into()),
        token: entry.token.map_or(0, Token::get),
        mode: mode.into(),
        permits,
        client: entry.client,
        value: entry.value,
        age_ms: entry.age.map_or(0, millis),
        isolating: entry.is_isolating,
    }
}

fn from_session(entry: SessionEntry) -> proto::Session {
    proto::Session {
        id: Some(entry.session.bits().into()),
        client: entry.client,
        left_ms: millis(entry.left),
        claims: entry.claims,
        connections: entry.connections,
    }
}

fn to_session(entry: proto::Session) -> Option<SessionEntry> {
    Some(SessionEntry {
        session: SessionId::from_bits(entry.id?.into()),
        client: entry.client,
        left: Duration::from_millis(entry.left_ms),
        claims: entry.claims,
        connections: entry.connections,
    })
}

fn from_refusal(refusal: Refusal) -> proto::Refused {
    use refused::Code;

    let (mut limit, mut floor, mut bound) = (0, 0, refused::Bound::Unknown);
    let code = match refusal {
        Refusal::SessionUnknown => Code::SessionUnknown,
        Refusal::ClaimTaken => Code::ClaimTaken,
        Refusal::PermitsDiffer { of } => {
            limit = u64::from(of);
            Code::PermitsDiffer
        }
        Refusal::TtlOutOfRange { min, max } => {
            (floor, limit) = (millis(min), millis(max));
            Code::TtlOutOfRange
        }
        Refusal::NameInvalid => Code::NameInvalid,
        Refusal::NoPermits => Code::NoPermits,
        Refusal::TooLong { max } => {
            limit = size(max);
            Code::TooLong
        }
        Refusal::TooMany { what, max } => {
            limit = size(max);
            bound = match what {
                Bound::Names => refused::Bound::Names,
                Bound::Sessions => refused::Bound::Sessions,
                Bound::ClaimsPerSession => refused::Bound::ClaimsPerSession,
                Bound::ClaimsPerName => refused::Bound::ClaimsPerName,
                Bound::WatchesPerConnection => refused::Bound::WatchesPerConnection,
                Bound::NamesPerClaim => refused::Bound::NamesPerClaim,
                Bound::SessionsPerConnection => refused::Bound::SessionsPerConnection,
                Bound::SessionsPerPrincipal => refused::Bound::SessionsPerPrincipal,
                Bound::ClaimsPerPrincipal => refused::Bound::ClaimsPerPrincipal,
                Bound::ClaimsPerNameAndPrincipal => refused::Bound::ClaimsPerNameAndPrincipal,
                Bound::WatchesPerPrincipal => refused::Bound::WatchesPerPrincipal,
                Bound::ReleasesAtOnce => refused::Bound::ReleasesAtOnce,
            };
            Code::TooMany
        }
        Refusal::Settling { left } => {
            limit = millis(left);
            Code::Settling
        }
        Refusal::StorageFull => Code::StorageFull,
        Refusal::Denied => Code::Denied,
        Refusal::Isolated => Code::Isolated,
    };
    proto::Refused {
        code: code.into(),
        message: refusal.to_string(),
        limit,
        floor,
        bound: bound.into(),
        leader: String::new(),
        table: None,
    }
}

/// Converts a response to a reply. Returns `None` if this version does not know the response, or if
/// it is one that the connection handles itself.
#[must_use]
pub fn to_reply(body: Body) -> Option<Reply> {
    Some(match body {
        Body::Welcome(_) | Body::Pong(_) | Body::Cluster(_) => return None,
        Body::Opened(opened) => Reply::Opened {
            ttl: Duration::from_millis(opened.ttl_ms),
        },
        Body::Attached(_) => Reply::Attached,
        Body::Detached(_) => Reply::Detached,
        Body::Renewed(renewed) => Reply::Renewed {
            ttl: Duration::from_millis(renewed.ttl_ms),
        },
        Body::Closed(_) => Reply::Closed,
        Body::Granted(granted) => match (Token::new(granted.token)?, &*granted.name) {
            (token, b"") => Reply::Granted { token },
            (token, name) => Reply::GrantedAny {
                token,
                name: std::str::from_utf8(name).ok()?.into(),
            },
        },
        Body::Waiting(waiting) => Reply::Waiting {
            position: waiting.position,
            holder: to_holder(waiting.holder),
        },
        Body::Busy(busy) => Reply::Busy {
            holder: to_holder(busy.holder),
        },
        Body::Gone(gone) => Reply::Gone {
            why: match Why::try_from(gone.why).ok()? {
                Why::SessionLost => backend::Gone::SessionLost,
                Why::Evicted => backend::Gone::Evicted,
                Why::Withdrawn => backend::Gone::Withdrawn,
            },
        },
        Body::Updated(updated) => Reply::Updated { held: updated.held },
        Body::Withdrawn(withdrawn) => Reply::Withdrawn(to_found(withdrawn.found)?),
        Body::Evicted(evicted) => Reply::Evictions(
            evicted
                .claims
                .into_iter()
                .map(|id| ClaimId::from_bits(id.into()))
                .collect(),
        ),
        Body::Queue(queue) => Reply::Queue(QueueView::from(backend::Queue {
            revision: Revision(queue.revision),
            entries: queue
                .entries
                .into_iter()
                .map(to_entry)
                .collect::<Option<_>>()?,
        })),
        Body::Names(names) => Reply::Names {
            names: names
                .names
                .into_iter()
                .map(|name| String::from_utf8(name.into()))
                .collect::<Result<_, _>>()
                .ok()?,
            more: names.more,
        },
        Body::Released(released) => Reply::Released {
            claims: released.claims,
        },
        Body::Sessions(sessions) => Reply::Sessions {
            sessions: sessions
                .sessions
                .into_iter()
                .map(to_session)
                .collect::<Option<_>>()?,
            more: sessions.more,
        },
        Body::Refused(refused) => Reply::Refused(to_refusal(&refused)?),
    })
}

fn to_holder(entry: Option<proto::Entry>) -> Option<Box<backend::Entry>> {
    entry.and_then(to_entry).map(Box::new)
}

fn to_entry(entry: proto::Entry) -> Option<backend::Entry> {
    Some(backend::Entry {
        claim: ClaimId::from_bits(entry.claim?.into()),
        session: entry
            .session
            .map(|session| SessionId::from_bits(session.into())),
        token: if entry.token == 0 {
            None
        } else {
            Token::new(entry.token)
        },
        age: Some(Duration::from_millis(entry.age_ms)),
        is_isolating: entry.isolating,
        mode: to_mode(entry.mode, entry.permits)?,
        client: entry.client,
        value: entry.value,
    })
}

fn to_refusal(refused: &proto::Refused) -> Option<Refusal> {
    use refused::Code;

    let max = usize::try_from(refused.limit).unwrap_or(usize::MAX);
    Some(match Code::try_from(refused.code).ok()? {
        Code::SessionUnknown => Refusal::SessionUnknown,
        Code::ClaimTaken => Refusal::ClaimTaken,
        Code::PermitsDiffer => Refusal::PermitsDiffer {
            of: u16::try_from(refused.limit).ok()?,
        },
        Code::TtlOutOfRange => Refusal::TtlOutOfRange {
            min: Duration::from_millis(refused.floor),
            max: Duration::from_millis(refused.limit),
        },
        Code::NameInvalid => Refusal::NameInvalid,
        Code::NoPermits => Refusal::NoPermits,
        Code::TooLong => Refusal::TooLong { max },
        Code::Settling => Refusal::Settling {
            left: Duration::from_millis(refused.limit),
        },
        Code::StorageFull => Refusal::StorageFull,
        Code::Denied => Refusal::Denied,
        Code::Isolated => Refusal::Isolated,
        Code::TooMany => Refusal::TooMany {
            what: match refused::Bound::try_from(refused.bound).ok()? {
                refused::Bound::Unknown => return None,
                refused::Bound::Names => Bound::Names,
                refused::Bound::Sessions => Bound::Sessions,
                refused::Bound::ClaimsPerSession => Bound::ClaimsPerSession,
                refused::Bound::ClaimsPerName => Bound::ClaimsPerName,
                refused::Bound::WatchesPerConnection => Bound::WatchesPerConnection,
                refused::Bound::NamesPerClaim => Bound::NamesPerClaim,
                refused::Bound::SessionsPerConnection => Bound::SessionsPerConnection,
                refused::Bound::SessionsPerPrincipal => Bound::SessionsPerPrincipal,
                refused::Bound::ClaimsPerPrincipal => Bound::ClaimsPerPrincipal,
                refused::Bound::ClaimsPerNameAndPrincipal => Bound::ClaimsPerNameAndPrincipal,
                refused::Bound::WatchesPerPrincipal => Bound::WatchesPerPrincipal,
                refused::Bound::ReleasesAtOnce => Bound::ReleasesAtOnce,
            },
            max,
        },
        // The other codes end the connection, which handles them itself.
        _ => return None,
    })
}
