//! One connection of the server: read, apply, write, in one task.

mod ending;
mod greeting;
mod numbers;
mod patience;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use distsync_core::spi::clock::{self, Moment};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::{debug, info};

use super::access::number_of;
use super::hub::{Desk, Hub, Place};
use super::per_principal::Share;
use crate::engine::{Command, Effect, Refusal, Reply, Requester};
use crate::stream::Stream;
use crate::wire::proto::refused::Code;
use crate::wire::proto::{self, request::Body};
use crate::wire::{Frames, InvalidRequest, encode, encode_reply, read_command, to_command};
pub(super) use ending::turn_away;
use ending::{COURTESY, End, cut, refuse, too_long, unknown};
use greeting::Known;
pub(super) use greeting::welcome;
use numbers::Numbers;

/// Serves a connection until it ends. `principal`: whom its certificate names.
async fn serve(
    hub: Arc<Hub>,
    place: Place,
    stream: Stream,
    peer: SocketAddr,
    principal: Option<Arc<str>>,
) {
    let number = place.connection;
    debug!(connection = number, %peer, "connected");
    let now = clock::now();
    let mut connection = Connection {
        hub,
        place,
        stream,
        frames: Frames::new(),
        effects: Vec::new(),
        others: Vec::new(),
        out: Vec::new(),
        sessions: Numbers::default(),
        greeted: false,
        certified: principal,
        known: None,
        share: None,
        peer,
        since: now,
        heard: now,
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
            info!(connection = number, %peer, ?code, reason, "connection cut");
            let refused = proto::Refused {
                code: code.into(),
                message: reason,
                limit,
                ..proto::Refused::default()
            };
            let body = Some(proto::response::Body::Refused(refused));
            encode(&proto::Response { id: request, body }, &mut connection.out);
            if code == Code::Denied {
                // Guessing takes its time.
                tokio::time::sleep(COURTESY).await;
            }
            // A courtesy: whoever does not take it does not get it.
            let _ =
                tokio::time::timeout(COURTESY, connection.stream.write_all(&connection.out)).await;
            let _ = tokio::time::timeout(COURTESY, connection.stream.shutdown()).await;
        }
        Err(End::Unread) => {
            info!(connection = number, %peer, "connection cut: too much waits for clients that do not read");
        }
        Err(End::Peer(error)) => debug!(connection = number, %peer, %error, "connection lost"),
        Err(End::Closed) | Ok(()) => debug!(connection = number, %peer, "connection closed"),
    }
}

/// After this many requests their answers are written, so that a client that waits for many works
/// on the first of them while the server works on the rest.
const VISIT: usize = 64;
/// The same for a server with a data folder, where each visit is a write to the log too.
const VISIT_KEPT: usize = 128;
/// At this many bytes answers are written before more are made, and no more than this is kept of
/// the buffer.
const OUT_KEPT: usize = 64 << 10;

struct Connection {
    hub: Arc<Hub>,
    peer: SocketAddr,
    place: Place,
    stream: Stream,
    frames: Frames,
    /// Reused from request to request.
    effects: Vec<Effect>,
    others: Vec<Effect>,
    out: Vec<u8>,
    sessions: Numbers,
    greeted: bool,
    /// Whom the peer's certificate names.
    certified: Option<Arc<str>>,
    /// The principal and its permissions, where the server authenticates its clients.
    known: Option<Known>,
    /// Its share of the connections of its principal.
    share: Option<Share>,
    since: Moment,
    heard: Moment,
    /// Since when a request is incomplete.
    partial_since: Option<Moment>,
}

impl Connection {
    async fn run(&mut self) -> Result<(), End> {
        let outbox = self.place.outbox.clone();
        let mut filled = pin!(outbox.filled.notified());
        // Armed anew when it fires, and when a request is begun and not completed: not for every
        // read.
        let mut watchdog = pin!(tokio::time::sleep(self.patience()));
        loop {
            let read = tokio::select! {
                biased;
                read = self.stream.read_buf(self.frames.room()) => Some(read?),
                () = &mut filled => {
                    filled.set(outbox.filled.notified());
                    None
                }
                () = &mut watchdog => {
                    self.check_patience()?;
                    watchdog.set(tokio::time::sleep(self.patience()));
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
                while self.answer(now).await? {
                    let is_heavy = self.out.len() >= OUT_KEPT / 4;
                    self.write().await?;
                    if is_heavy {
                        // A socket takes megabytes before it is full: others have their turn in
                        // between.
                        tokio::task::yield_now().await;
                    }
                }
                self.note_partial(now);
                if self.partial_since.is_some() && !was_partial {
                    watchdog.set(tokio::time::sleep(self.patience()));
                }
            }
            if self.hub.is_stopped() {
                return Err(cut(Code::Stopping, "the server stops"));
            }
            if outbox.displaced.load(Ordering::Relaxed) && !self.greeted {
                return Err(cut(
                    Code::Overloaded,
                    "the server has too many connections, and this one has not greeted",
                ));
            }
            if outbox.overflowed.load(Ordering::Relaxed) {
                return Err(cut(
                    Code::TooSlow,
                    "the client does not read what it is told",
                ));
            }
            if outbox.suspected.load(Ordering::Relaxed) {
                outbox.suspected.store(false, Ordering::Relaxed);
                if self.known.as_ref().is_some_and(Known::is_forgotten) {
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
        // Most often the socket takes it at once, and no timer is needed.
        let written = self.stream.write_now(&self.out).await?;
        if written < self.out.len() || self.stream.needs_flush() {
            let left = self.out.len() - written;
            let _share = if left > OUT_KEPT {
                Some(self.share_of_unread(left)?)
            } else {
                None
            };
            let rest = async {
                self.stream.write_all(&self.out[written..]).await?;
                self.stream.flush().await
            };
            match tokio::time::timeout(self.hub.options.write_timeout, rest).await {
                Ok(written) => written?,
                Err(_) => return Err(cut(Code::TooSlow, "the client does not read its answers")),
            }
        }
        self.hub
            .traffic
            .written
            .fetch_add(self.out.len() as u64, Ordering::Relaxed);
        self.out.clear();
        self.out.shrink_to(OUT_KEPT);
        Ok(())
    }

    /// Counts the rest of a long answer in what waits for the clients of this principal. A short
    /// rest is not counted: each connection has at most one, and counting takes a lock that all
    /// connections share.
    fn share_of_unread(&self, bytes: usize) -> Result<Share, End> {
        let principal = self.known.as_ref().map(|known| known.principal.clone());
        let max = self.hub.options.unread_per_principal;
        self.hub
            .unread
            .share(principal, bytes, max)
            .ok_or(End::Unread)
    }

    /// Answers some of what was read, in one visit to the table. Whether there may be more.
    async fn answer(&mut self, now: Moment) -> Result<bool, End> {
        let hub = self.hub.clone();
        let requests = if hub.options.storage.is_some() {
            VISIT_KEPT
        } else {
            VISIT
        };
        let mut frames = std::mem::take(&mut self.frames);
        let (more, mark) = hub.visit(|desk| {
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
                self.heard = now;
                self.ask(desk, request)?;
                if self.out.len() >= OUT_KEPT || desk.table.journal().is_long() {
                    break;
                }
            }
            Ok(true)
        });
        self.frames = frames;
        hub.kept(mark).await;
        hub.post(&mut self.others);
        more
    }

    /// Puts one request to the table, and sends each answer its way: one's own into the buffer,
    /// others' to their outboxes.
    fn ask(&mut self, desk: &mut Desk, request: &[u8]) -> Result<(), End> {
        // A connection that has not greeted has no session either, and so takes the long way.
        let (id, reply) = match read_command(request, |number| self.sessions.get(number)) {
            Some((id, command)) => (id, self.apply(desk, id, command)),
            None => self.ask_at_length(desk, request)?,
        };
        if !self.effects.is_empty() {
            self.sort_effects();
        }
        if let Some(reply) = reply {
            if let Reply::Refused(refusal) = &reply {
                self.hub.traffic.refused(refusal);
            }
            encode_reply(id, reply, &mut self.out);
        }
        Ok(())
    }

    /// The one place where commands of clients reach the table: what a principal may not do is
    /// refused here.
    fn apply(&mut self, desk: &mut Desk, request: u64, command: Command<'_>) -> Option<Reply> {
        let from = self.requester(request);
        let Some(known) = &self.known else {
            return desk
                .table
                .apply(self.heard, from, command, &mut self.effects);
        };
        if !known.allows(&command) {
            return Some(Reply::Refused(Refusal::Denied));
        }
        let reply = desk
            .table
            .apply(self.heard, from, command, &mut self.effects);
        known.veil(&command, reply)
    }

    fn sort_effects(&mut self) {
        for effect in self.effects.drain(..) {
            if effect.to.connection == self.place.connection {
                encode_reply(effect.to.request, effect.reply, &mut self.out);
            } else {
                self.others.push(effect);
            }
        }
    }

    fn requester(&self, request: u64) -> Requester {
        Requester {
            connection: self.place.connection,
            request,
        }
    }

    /// A request of any kind, or none at all: its id, and the table's reply to it.
    fn ask_at_length(
        &mut self,
        desk: &mut Desk,
        request: &[u8],
    ) -> Result<(u64, Option<Reply>), End> {
        let request = proto::Request::decode(request)
            .map_err(|error| cut(Code::Malformed, format!("a frame is no request: {error}")))?;
        if request.id == 0 {
            return Err(cut(Code::Malformed, "a request has no id"));
        }
        let Some(body) = &request.body else {
            return Err(unknown(request.id));
        };
        match body {
            Body::Hello(hello) => {
                self.greet(request.id, hello)?;
                if let Some(known) = &self.known {
                    let introduce = Command::Introduce {
                        principal: number_of(&known.principal),
                    };
                    desk.table
                        .apply(self.heard, self.requester(0), introduce, &mut self.effects);
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
            Ok(command) => match self.no_room_for(body) {
                Some(refusal) => Some(Reply::Refused(refusal)),
                None => {
                    let reply = self.apply(desk, request.id, command);
                    if let Some(replaced) = self.note_session(body, command, reply.as_ref()) {
                        let detach = Command::Detach { session: replaced };
                        desk.table
                            .apply(self.heard, self.requester(0), detach, &mut self.effects);
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
        self.known.as_ref().map(|known| &*known.principal)
    }
}
