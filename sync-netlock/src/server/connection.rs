//! One connection of the server. One task reads requests, applies them and writes the replies.

mod ending;
mod greeting;
mod session_numbers;
mod timeouts;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use distsync_core::spi::clock::{self, Moment};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{debug, info};

use super::access::number_of;
use super::hub::{Hub, HubState, Registration};
use super::principal_counts::Share;
use crate::engine::{Command, Effect, Refusal, Reply, Requester};
use crate::stream::Stream;
use crate::wire::proto::refused::Code;
use crate::wire::proto::{self, request::Body};
use crate::wire::{Frames, InvalidRequest, encode, encode_reply, read_command, to_command};
pub(super) use ending::reject;
use ending::{End, LAST_WRITE, cut, refuse, too_long, unknown};
use greeting::Authenticated;
pub(super) use greeting::accept;
use session_numbers::SessionNumbers;

/// Serves a connection until it ends. `principal` is the one that the peer's certificate names.
async fn serve(
    hub: Arc<Hub>,
    registration: Registration,
    stream: Stream,
    peer: SocketAddr,
    principal: Option<Arc<str>>,
) {
    let number = registration.connection;
    debug!(connection = number, %peer, "connected");
    let now = clock::now();
    let mut connection = Connection {
        hub,
        registration,
        stream,
        frames: Frames::new(),
        effects: Vec::new(),
        others: Vec::new(),
        out: Vec::new(),
        sessions: SessionNumbers::default(),
        greeted: false,
        certified: principal,
        authenticated: None,
        share: None,
        peer,
        connected_at: now,
        last_request: now,
        partial_since: None,
    };
    let end = connection.run().await;
    match end {
        Err(End::Cut {
            code,
            reason,
            request,
            limit,
        }) => {
            info!(connection = number, %peer, ?code, reason, "connection closed by the server");
            let refused = proto::Refused {
                code: code.into(),
                message: reason,
                limit,
                ..proto::Refused::default()
            };
            let body = Some(proto::response::Body::Refused(refused));
            encode(&proto::Response { id: request, body }, &mut connection.out);
            if code == Code::Denied {
                // Slow down guessing of tokens.
                tokio::time::sleep(LAST_WRITE).await;
            }
            // Ignore errors: the connection ends in any case.
            let _ = tokio::time::timeout(LAST_WRITE, connection.stream.write_all(&connection.out))
                .await;
            let _ = tokio::time::timeout(LAST_WRITE, connection.stream.shutdown()).await;
        }
        Err(End::Unread) => {
            info!(connection = number, %peer, "connection closed by the server: too much waits for clients that do not read");
        }
        Err(End::Io(error)) => debug!(connection = number, %peer, %error, "connection lost"),
        Err(End::Closed) | Ok(()) => {
            debug!(connection = number, %peer, "connection closed by the client")
        }
    }
}

/// The most requests of one visit. Their replies are written afterwards, so that a client with many
/// requests works on the first replies while the server works on the rest.
const VISIT_MAX: usize = 64;
/// The same for a server with a data folder, where each visit also writes to the log.
const VISIT_MAX_STORED: usize = 128;
/// The size of replies at which a visit ends, so that they are written first. Also the most memory
/// that the buffer of replies keeps.
const OUT_MAX: usize = 64 << 10;

struct Connection {
    hub: Arc<Hub>,
    peer: SocketAddr,
    registration: Registration,
    stream: Stream,
    frames: Frames,
    /// The effects of the current request. A field only to reuse its memory.
    effects: Vec<Effect>,
    /// Effects for other connections.
    others: Vec<Effect>,
    /// Encoded replies for this connection.
    out: Vec<u8>,
    sessions: SessionNumbers,
    greeted: bool,
    /// The principal that the peer's certificate names.
    certified: Option<Arc<str>>,
    /// The principal and its permissions, if the server authenticates its clients.
    authenticated: Option<Authenticated>,
    /// Counts this connection for its principal.
    share: Option<Share>,
    connected_at: Moment,
    /// When the last complete request arrived.
    last_request: Moment,
    /// When the request began that is incomplete, if there is one.
    partial_since: Option<Moment>,
}

impl Connection {
    async fn run(&mut self) -> Result<(), End> {
        let outbox = self.registration.outbox.clone();
        let mut filled = pin!(outbox.filled.notified());
        // Resetting the timer for every read would be expensive. It is reset when it fires, and
        // when a request becomes incomplete.
        let mut watchdog = pin!(tokio::time::sleep(self.time_left()));
        loop {
            let read = tokio::select! {
                biased;
                read = self.stream.read_buf(self.frames.room()) => Some(read?),
                () = &mut filled => {
                    filled.set(outbox.filled.notified());
                    None
                }
                () = &mut watchdog => {
                    self.check_timeouts()?;
                    watchdog.set(tokio::time::sleep(self.time_left()));
                    continue;
                }
            };
            if let Some(read) = read {
                if read == 0 {
                    return Err(End::Closed);
                }
                self.hub
                    .traffic
                    .read
                    .fetch_add(read as u64, Ordering::Relaxed);
                let was_partial = self.partial_since.is_some();
                let now = clock::now();
                while self.apply_requests(now).await? {
                    let is_heavy = self.out.len() >= OUT_MAX / 4;
                    self.write().await?;
                    if is_heavy {
                        // A socket buffers megabytes, so the write may not have waited. Let other
                        // connections run.
                        tokio::task::yield_now().await;
                    }
                }
                self.update_partial(now);
                if self.partial_since.is_some() && !was_partial {
                    watchdog.set(tokio::time::sleep(self.time_left()));
                }
            }
            if self.hub.is_stopped() {
                return Err(cut(Code::Stopping, "the server is shutting down"));
            }
            if outbox.displaced.load(Ordering::Relaxed) && !self.greeted {
                return Err(cut(
                    Code::Overloaded,
                    "the server has too many connections, and this one has not greeted",
                ));
            }
            if outbox.overflowed.load(Ordering::Relaxed) {
                return Err(cut(Code::TooSlow, "the client does not read its replies"));
            }
            if outbox.recheck_token.load(Ordering::Relaxed) {
                outbox.recheck_token.store(false, Ordering::Relaxed);
                if self
                    .authenticated
                    .as_ref()
                    .is_some_and(Authenticated::is_revoked)
                {
                    return Err(cut(
                        Code::Denied,
                        "the server does not know this token any more",
                    ));
                }
            }
            outbox.empty_into(&mut self.out);
            self.write().await?;
        }
    }

    async fn write(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        // Usually the socket takes everything at once, and no timer is needed.
        let written = self.stream.write_now(&self.out).await?;
        if written < self.out.len() || self.stream.needs_flush() {
            let left = self.out.len() - written;
            let _share = if left > OUT_MAX {
                Some(self.count_unread(left)?)
            } else {
                None
            };
            let rest = async {
                self.stream.write_all(&self.out[written..]).await?;
                self.stream.flush().await
            };
            match tokio::time::timeout(self.hub.options.write_timeout, rest).await {
                Ok(written) => written?,
                Err(_) => return Err(cut(Code::TooSlow, "the client does not read its replies")),
            }
        }
        self.hub
            .traffic
            .written
            .fetch_add(self.out.len() as u64, Ordering::Relaxed);
        self.out.clear();
        self.out.shrink_to(OUT_MAX);
        Ok(())
    }

    /// Counts the rest of a long reply as unread by the clients of this principal. A short rest is
    /// not counted: each connection has at most one, and counting takes a lock that all connections
    /// share.
    fn count_unread(&self, bytes: usize) -> Result<Share, End> {
        let principal = self
            .authenticated
            .as_ref()
            .map(|authenticated| authenticated.principal.clone());
        let max = self.hub.options.unread_per_principal;
        self.hub
            .unread
            .share(principal, bytes, max)
            .ok_or(End::Unread)
    }

    /// Applies requests that were read, in one visit to the table. Returns whether there may be
    /// more.
    async fn apply_requests(&mut self, now: Moment) -> Result<bool, End> {
        let hub = self.hub.clone();
        let requests = if hub.options.storage.is_some() {
            VISIT_MAX_STORED
        } else {
            VISIT_MAX
        };
        let mut frames = std::mem::take(&mut self.frames);
        let (more, position) = hub.visit(|state| {
            for _ in 0..requests {
                let max = if self.greeted {
                    hub.options.request_max
                } else {
                    hub.options.greeting_max
                };
                let request = frames
                    .take(max)
                    .map_err(|long| too_long(long.length, max))?;
                let Some(request) = request else {
                    return Ok(false);
                };
                self.last_request = now;
                self.apply_request(state, request)?;
                if self.out.len() >= OUT_MAX || state.table.journal().is_long() {
                    break;
                }
            }
            Ok(true)
        });
        self.frames = frames;
        hub.stored(position).await;
        hub.post(&mut self.others);
        more
    }

    /// Applies one request. Appends replies for this connection to `out`, and effects for other
    /// connections to `others`.
    fn apply_request(&mut self, state: &mut HubState, request: &[u8]) -> Result<(), End> {
        // The fast path needs a session, and a connection has none before its greeting.
        let (id, reply) = match read_command(request, |number| self.sessions.get(number)) {
            Some((id, command)) => (id, self.apply(state, id, command)),
            None => self.apply_decoded(state, request)?,
        };
        if !self.effects.is_empty() {
            self.route_effects();
        }
        if let Some(reply) = reply {
            if let Reply::Refused(refusal) = &reply {
                self.hub.traffic.refused(refusal);
            }
            encode_reply(id, reply, &mut self.out);
        }
        Ok(())
    }

    /// Checks the permission for a command, and applies it. This is the only place where commands
    /// of clients reach the table.
    fn apply(&mut self, state: &mut HubState, request: u64, command: Command<'_>) -> Option<Reply> {
        let from = self.requester(request);
        let Some(authenticated) = &self.authenticated else {
            return state
                .table
                .apply(self.last_request, from, command, &mut self.effects);
        };
        if !authenticated.allows(&command) {
            return Some(Reply::Refused(Refusal::Denied));
        }
        let reply = state
            .table
            .apply(self.last_request, from, command, &mut self.effects);
        authenticated.redact(&command, reply)
    }

    fn route_effects(&mut self) {
        for effect in self.effects.drain(..) {
            if effect.to.connection == self.registration.connection {
                encode_reply(effect.to.request, effect.reply, &mut self.out);
            } else {
                self.others.push(effect);
            }
        }
    }

    fn requester(&self, request: u64) -> Requester {
        Requester {
            connection: self.registration.connection,
            request,
        }
    }

    /// Decodes a request by the generic codec, and applies it. Returns its id and the reply.
    fn apply_decoded(
        &mut self,
        state: &mut HubState,
        request: &[u8],
    ) -> Result<(u64, Option<Reply>), End> {
        let request = proto::Request::decode(request).map_err(|error| {
            cut(
                Code::Malformed,
                format!("a frame is not a request: {error}"),
            )
        })?;
        if request.id == 0 {
            return Err(cut(Code::Malformed, "a request has no id"));
        }
        let Some(body) = &request.body else {
            return Err(unknown(request.id));
        };
        match body {
            Body::Hello(hello) => {
                self.greet(request.id, hello)?;
                if let Some(authenticated) = &self.authenticated {
                    let introduce = Command::Introduce {
                        principal: number_of(&authenticated.principal),
                    };
                    state.table.apply(
                        self.last_request,
                        self.requester(0),
                        introduce,
                        &mut self.effects,
                    );
                }
                return Ok((request.id, None));
            }
            _ if !self.greeted => {
                let reason = "the first request is not a greeting".to_owned();
                return Err(refuse(request.id, Code::NotGreeted, reason));
            }
            Body::Ping(_) => {
                let body = Some(proto::response::Body::Pong(proto::Pong {}));
                encode(
                    &proto::Response {
                        id: request.id,
                        body,
                    },
                    &mut self.out,
                );
                return Ok((request.id, None));
            }
            _ => {}
        }
        let mut names = Vec::new();
        let reply = match to_command(body, &mut names, |number| self.sessions.get(number)) {
            Ok(command) => match self.session_limit(body) {
                Some(refusal) => Some(Reply::Refused(refusal)),
                None => {
                    let reply = self.apply(state, request.id, command);
                    if let Some(replaced) = self.update_numbers(body, command, reply.as_ref()) {
                        let detach = Command::Detach { session: replaced };
                        state.table.apply(
                            self.last_request,
                            self.requester(0),
                            detach,
                            &mut self.effects,
                        );
                    }
                    self.hub
                        .audit
                        .note(self.principal(), self.peer, &command, reply.as_ref());
                    reply
                }
            },
            Err(InvalidRequest::Malformed) => return Err(unknown(request.id)),
            Err(InvalidRequest::Refused(refusal)) => Some(Reply::Refused(refusal)),
        };
        Ok((request.id, reply))
    }

    fn principal(&self) -> Option<&str> {
        self.authenticated
            .as_ref()
            .map(|authenticated| &*authenticated.principal)
    }
}
