//! The numbers by which a client names sessions on its connection.

use std::cell::Cell;
use std::collections::HashMap;

use distsync_core::spi::SessionId;
use foldhash::fast::RandomState;

use super::Connection;
use crate::engine::{Bound, Command, Refusal, Reply};
use crate::wire::proto::{self, request::Body};

/// The numbers of the sessions that a connection is attached to.
#[derive(Default)]
pub(super) struct SessionNumbers {
    all: HashMap<u32, SessionId, RandomState>,
    /// The last one that was looked up. Most connections have one session.
    recent: Cell<Option<(u32, SessionId)>>,
}

impl SessionNumbers {
    pub(super) fn get(&self, number: u32) -> Option<SessionId> {
        if let Some((recent, session)) = self.recent.get()
            && recent == number
        {
            return Some(session);
        }
        let session = self.all.get(&number).copied()?;
        self.recent.set(Some((number, session)));
        Some(session)
    }

    fn set(&mut self, number: u32, session: Option<SessionId>) {
        self.recent.set(None);
        match session {
            Some(session) => self.all.insert(number, session),
            None => self.all.remove(&number),
        };
    }
}

impl Connection {
    /// Returns the refusal for a request that would attach too many sessions to this connection.
    pub(super) fn session_limit(&self, body: &Body) -> Option<Refusal> {
        let max = self.hub.options.sessions_per_connection;
        let (Body::Open(proto::Open {
            session: number, ..
        })
        | Body::Attach(proto::Attach {
            session: number, ..
        })) = body
        else {
            return None;
        };
        let is_full = self.sessions.all.len() >= max && !self.sessions.all.contains_key(number);
        is_full.then_some(Refusal::TooMany {
            what: Bound::SessionsPerConnection,
            max,
        })
    }

    /// Updates the numbers after a request that attaches, detaches or closes a session. Returns the
    /// session that had the number before, if it has no other number on this connection.
    pub(super) fn update_numbers(
        &mut self,
        body: &Body,
        command: Command<'_>,
        reply: Option<&Reply>,
    ) -> Option<SessionId> {
        let proved = matches!(reply, Some(Reply::Opened { .. } | Reply::Attached));
        match (body, command) {
            (
                Body::Open(proto::Open {
                    session: number, ..
                }),
                Command::Open { session, .. },
            )
            | (
                Body::Attach(proto::Attach {
                    session: number, ..
                }),
                Command::Attach { session, .. },
            ) => {
                if !proved {
                    // A refused request leaves the number as it was.
                    return None;
                }
                let replaced = self
                    .sessions
                    .all
                    .get(number)
                    .copied()
                    .filter(|former| *former != session);
                self.sessions.set(*number, Some(session));
                return replaced
                    .filter(|former| !self.sessions.all.values().any(|other| other == former));
            }
            (
                Body::Close(proto::Close { session }) | Body::Detach(proto::Detach { session }),
                _,
            ) => {
                self.sessions.set(*session, None);
            }
            _ => {}
        }
        None
    }
}
