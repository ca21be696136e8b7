//! The numbers by which a connection names its sessions.

use std::cell::Cell;
use std::collections::HashMap;

use distsync_core::spi::SessionId;
use foldhash::fast::RandomState;

use super::Connection;
use crate::engine::{Bound, Command, Refusal, Reply};
use crate::wire::proto::{self, request::Body};

/// The client's numbers for sessions that it has proved to be its own.
#[derive(Default)]
pub(super) struct Numbers {
    all: HashMap<u32, SessionId, RandomState>,
    /// The one asked for last: most connections have one session.
    recent: Cell<Option<(u32, SessionId)>>,
}

impl Numbers {
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
    /// Why there is no room for one more session, if this asks for one.
    pub(super) fn no_room_for(&self, body: &Body) -> Option<Refusal> {
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

    /// Remembers a session that the client has just proved to be its own, and forgets one that it
    /// closed. Returns the session that had the number before and has none on this connection any
    /// more.
    pub(super) fn note_session(
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
                    // A refused request changes nothing.
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
