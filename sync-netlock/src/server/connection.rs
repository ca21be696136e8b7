//! One connection of the server. One task reads requests, applies them and writes the replies.

mod ending;
mod greeting;
mod inbox;
mod operator;
mod pacing;
mod session_numbers;
mod timeouts;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use distsync_core::spi::Revision;
use distsync_core::spi::clock::{self, Moment};
use prost::Message;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tracing::{debug, info};

use super::access::number_of;
use super::hub::{Behind, Hub, HubState, NotLeading, Outbox, Registration};
use super::principal_counts::Share;
use crate::engine::{Command, Effect, Refusal, Reply, Requester};
use crate::stream::Stream;
use crate::wire::proto::refused::Code;
use crate::wire::proto::{self, request::Body};
use crate::wire::{InvalidRequest, Outgoing, encode, read_command, to_command};
pub(super) use ending::reject;
use ending::{End, LAST_WRITE, cut, not_leader, refuse, too_long, unknown};
use greeting::Authenticated;
pub(super) use greeting::accept;
use inbox::Inbox;
use pacing::Pacing;
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
    hub.settled().await;
    let now = clock::now();
    let mut connection = Connection {
        hub: hub.clone(),
        registration,
        stream,
        inbox: Inbox::default(),
        pacing: Pacing::default(),
        requests: 0,
        effects: Vec::new(),
        others: Vec::new(),
        out: Outgoing::default(),
        behind: VecDeque::new(),
        sessions: SessionNumbers::default(),
        greeted: false,
        leadership: 0,
        membership: 0,
        certified: principal,
        authenticated: None,
        share: None,
        peer,
        connected_at: now,
        last_request: now,
        partial_since: None,
    };
    let end = match connection.run(&hub).await {
        Err(End::Operate { hello }) => connection.serve_operator(hello).await,
        end => end,
    };
    match end {
        Err(End::Cut {
            code,
            reason,
            request,
            limit,
            leader,
        }) => {
            let is_not_leader = code == Code::NotLeader;
            let (mut reason, mut leader) = (reason, leader);
            if is_not_leader {
                // They were not confirmed.
                connection.out.clear(OUT_MAX);
                if leader.is_empty() {
                    hub.settled().await;
                    (leader, reason) = hub.leader();
                }
            }
            info!(connection = number, %peer, ?code, reason, "connection closed by the server");
            let refused = proto::Refused {
                code: code.into(),
                message: reason,
                limit,
                leader,
                table: is_not_leader.then(|| hub.table.into()),
                ..proto::Refused::default()
            };
            let body = Some(proto::response::Body::Refused(refused));
            encode(&proto::Response { id: request, body }, connection.out.end());
            if code == Code::Denied {
                // Slow down guessing of tokens.
                tokio::time::sleep(LAST_WRITE).await;
            }
            // Ignore errors: the connection ends in any case.
            connection.out.encode();
            let rest = write_from(&mut connection.stream, &connection.out, 0, usize::MAX);
            let _ = tokio::time::timeout(LAST_WRITE, rest).await;
            let _ = tokio::time::timeout(LAST_WRITE, connection.stream.shutdown()).await;
        }
        Err(End::Unread(reason)) => {
            info!(connection = number, %peer, reason, "connection closed by the server");
        }
        Err(End::Io(error)) => debug!(connection = number, %peer, %error, "connection lost"),
        Err(End::Closed | End::Operate { .. }) | Ok(()) => {
            debug!(connection = number, %peer, "connection closed by the client")
        }
    }
}

/// How long a visit may take, about. Other connections wait for the table meanwhile.
const VISIT: Duration = Duration::from_micros(250);
/// The number of short requests between two looks at the clock. Longer requests look each time.
const BETWEEN_LOOKS: usize = 32;
/// The number of requests after which other connections run.
const TURN: usize = 512;
/// The size of replies at which a visit ends, so that they are written first. Also the most memory
/// that the buffer of replies keeps.
const OUT_MAX: usize = 64 << 10;

/// The most effects for which a connection keeps memory.
const EFFECTS_KEPT: usize = 1 << 10;
/// The most pieces of one write.
const PIECES: usize = 32;
/// How much of a reply, or what is left of it, a client has to read within the write timeout.
const STEP: usize = 64 << 10;

/// Writes from `written` on, at least `step` bytes or all that is left, and returns how many.
async fn write_from(
    stream: &mut Stream,
    out: &Outgoing,
    written: usize,
    step: usize,
) -> std::io::Result<usize> {
    let mut done = 0;
    while done < step {
        let (pieces, count) = out.pieces::<PIECES>(written + done);
        if count == 0 {
            break;
        }
        let write = std::future::poll_fn(|cx| {
            std::pin::Pin::new(&mut *stream).poll_write_vectored(cx, &pieces[..count])
        });
        match write.await? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            more => done += more,
        }
    }
    Ok(done)
}

/// The progress of one visit to the table.
#[derive(Default)]
struct Visit {
    /// The number of requests since the last look at the clock.
    requests: usize,
    /// The time of the first look.
    began: Option<Moment>,
}

impl Visit {
    /// Counts a request, and returns whether the visit has taken long enough.
    fn is_over(&mut self, is_short: bool) -> bool {
        self.requests += 1;
        if is_short && self.requests < BETWEEN_LOOKS {
            return false;
        }
        self.requests = 0;
        let now = clock::now();
        let began = *self.began.get_or_insert(now);
        now.since(began) >= VISIT
    }
}

struct Connection {
    hub: Arc<Hub>,
    peer: SocketAddr,
    registration: Registration,
    stream: Stream,
    inbox: Inbox,
    pacing: Pacing,
    /// The number of requests applied since the last read.
    requests: usize,
    /// The effects of the current request. A field only to reuse its memory.
    effects: Vec<Effect>,
    /// Effects for other connections.
    others: Vec<Effect>,
    /// Replies for this connection that wait to be written.
    out: Outgoing,
    /// Watches of this connection that wait for the newest queue.
    behind: VecDeque<Behind>,
    sessions: SessionNumbers,
    greeted: bool,
    /// The leadership of the table that the connection uses, once it has greeted.
    leadership: u64,
    /// The membership of the cluster that the client was told.
    membership: u64,
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
    /// Serves the connection. `hub` is its hub: cloning the `Arc` for each visit would write to
    /// memory that all workers share.
    async fn run(&mut self, hub: &Hub) -> Result<(), End> {
        let outbox = self.registration.outbox.clone();
        let mut filled = pin!(outbox.filled.notified());
        // Resetting the timer for every read would be expensive. It is reset when it fires, and
        // when a request becomes incomplete.
        let mut watchdog = pin!(tokio::time::sleep(self.time_left()));
        loop {
            let read = tokio::select! {
                biased;
                read = self.inbox.read(&mut self.stream) => Some(read?),
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
                hub.traffic.read(read);
                let was_partial = self.partial_since.is_some();
                let now = clock::now();
                let mut visited = now;
                self.pacing.note(std::mem::take(&mut self.requests), now);
                let mut yielded = 0;
                while self.apply_requests(hub, visited).await? {
                    let is_heavy = self.out.size() >= OUT_MAX / 4;
                    self.write().await?;
                    if is_heavy || self.requests - yielded >= TURN {
                        // A socket buffers megabytes, so the write may not have waited. Let other
                        // connections run.
                        yielded = self.requests;
                        tokio::task::yield_now().await;
                    }
                    visited = clock::now();
                }
                self.update_partial(now);
                if self.partial_since.is_some() && !was_partial {
                    watchdog.set(tokio::time::sleep(self.time_left()));
                }
            }
            if self.hub.is_stopped() {
                return Err(cut(Code::Stopping, "the server is shutting down"));
            }
            if self.greeted && hub.is_deposed(self.leadership) {
                return Err(not_leader(hub, 0));
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
            self.check_token(&outbox)?;
            self.empty_outbox(&outbox).await?;
        }
    }

    /// Checks that the token was not removed from the file of tokens.
    fn check_token(&self, outbox: &Outbox) -> Result<(), End> {
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
        Ok(())
    }

    /// Writes all replies of the outbox. Its bound would not hold if the connection read requests
    /// before.
    async fn empty_outbox(&mut self, outbox: &Outbox) -> Result<(), End> {
        loop {
            let Some(taken) = outbox.empty_into(&mut self.out, OUT_MAX) else {
                return self.write().await;
            };
            self.behind.extend(taken.behind);
            self.write().await?;
            while !self.behind.is_empty() {
                self.read_newest().await?;
                self.write().await?;
                tokio::task::yield_now().await;
            }
            if !taken.more {
                return Ok(());
            }
            drop(taken.shares);
            // Other connections run in between.
            tokio::task::yield_now().await;
        }
    }

    /// Reads the newest queues for watches that are behind, in one visit to the table.
    async fn read_newest(&mut self) -> Result<(), End> {
        let hub = self.hub.clone();
        let (read, position): (Result<(), End>, _) = hub.visit(|state| {
            self.check_leadership(state)?;
            // Ages refer to the time of the table.
            let (now, from) = (clock::now(), self.requester(0));
            state
                .table
                .apply(now, from, Command::Tick, &mut self.effects);
            while self.out.size() < OUT_MAX
                && !state.table.is_visit_long()
                && let Some(Behind { request, name }) = self.behind.pop_front()
            {
                // Each revision is higher than this one, so there is a reply now.
                let (name, after) = (&*name, Revision(0));
                let reply = self.apply(state, request, Command::Changed { name, after });
                if let Some(reply) = reply {
                    self.out.push(request, reply);
                }
            }
            self.route_effects();
            Ok(())
        });
        read?;
        let stored = hub.stored(position).await;
        stored.map_err(|NotLeading| not_leader(&hub, 0))?;
        hub.post(&mut self.others);
        Ok(())
    }

    async fn write(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let length = self.out.encode();
        // Usually the socket takes everything at once, and no timer is needed.
        let mut written = match self.out.whole() {
            Some(bytes) => self.stream.write_now(bytes).await?,
            None => {
                let (pieces, count) = self.out.pieces::<PIECES>(0);
                self.stream.write_pieces_now(&pieces[..count]).await?
            }
        };
        if written < length || !self.stream.flush_now().await? {
            let _shares = if length - written > OUT_MAX {
                self.count_unread()?
            } else {
                Vec::new()
            };
            // The client has to read at this rate at least. A timeout for the whole would cut a
            // slow client off because many replies wait for it.
            let within = self.hub.options.write_timeout;
            let too_slow = |_| End::Unread("the client does not read its replies");
            while written < length {
                let step = write_from(&mut self.stream, &self.out, written, STEP);
                written += tokio::time::timeout(within, step)
                    .await
                    .map_err(too_slow)??;
            }
            tokio::time::timeout(within, self.stream.flush())
                .await
                .map_err(too_slow)??;
        }
        self.hub.traffic.written(length);
        self.out.clear(OUT_MAX);
        Ok(())
    }

    /// Counts long replies as unread by the clients of this principal. A short rest is not counted:
    /// each connection has at most one, and counting takes a lock that all connections share. A
    /// queue counts once for all connections that share its bytes.
    fn count_unread(&self) -> Result<Vec<Share>, End> {
        let principal = self
            .authenticated
            .as_ref()
            .map(|authenticated| &authenticated.principal);
        let max = self.hub.options.unread_per_principal;
        let share = |what: usize, bytes: usize| {
            self.hub
                .unread
                .share_of(what, principal.cloned(), bytes, max)
                .ok_or(End::Unread("too much waits for clients that do not read"))
        };
        let own = std::iter::once(share(0, self.out.own_size()));
        let queues = self.out.queues();
        own.chain(queues.map(|queue| share(queue.as_ptr().addr(), queue.len())))
            .collect()
    }

    /// Applies requests that were read, in one visit to the table. Returns whether there may be
    /// more.
    async fn apply_requests(&mut self, hub: &Hub, now: Moment) -> Result<bool, End> {
        let mut inbox = std::mem::take(&mut self.inbox);
        let (more, position) = hub.visit(|state| {
            self.check_leadership(state)?;
            state.table.begin_batch();
            let mut visit = Visit::default();
            let piece = self.requests.saturating_add(self.pacing.piece());
            let mut apply_all = || {
                loop {
                    let max = if self.greeted {
                        hub.options.request_max
                    } else {
                        hub.options.greeting_max
                    };
                    let request = inbox.take(max).map_err(|long| too_long(long.length, max))?;
                    let Some(request) = request else {
                        return Ok(false);
                    };
                    self.last_request = now;
                    self.requests += 1;
                    let is_short = self.apply_request(state, request)?;
                    if self.requests >= piece
                        || self.out.size() >= OUT_MAX
                        || state.table.is_visit_long()
                        || state.table.journal().is_long()
                        || visit.is_over(is_short)
                    {
                        return Ok(true);
                    }
                }
            };
            let more = apply_all();
            state.table.end_batch(&mut self.effects);
            self.route_effects();
            more
        });
        self.inbox = inbox;
        let is_silent = hub.is_member() && self.out.is_empty() && self.others.is_empty();
        if !is_silent && hub.stored(position).await == Err(NotLeading) {
            // Nothing of this was confirmed.
            self.out.clear(OUT_MAX);
            self.others.clear();
            more?;
            return Err(not_leader(hub, 0));
        }
        hub.post(&mut self.others);
        self.others.shrink_to(EFFECTS_KEPT);
        more
    }

    /// Checks that the connection may use the table: it may be that of a later leadership.
    fn check_leadership(&self, state: &HubState) -> Result<(), End> {
        if self.greeted && state.leadership() != Some(self.leadership) {
            return Err(not_leader(&self.hub, 0));
        }
        Ok(())
    }

    /// Applies one request. Appends replies for this connection to `out`, and effects for other
    /// connections to `others`. Returns whether it was a short request.
    fn apply_request(&mut self, state: &mut HubState, request: &[u8]) -> Result<bool, End> {
        let fast = self
            .greeted
            .then(|| read_command(request, |number| self.sessions.get(number)))
            .flatten();
        let is_short = fast.is_some();
        let (id, reply) = match fast {
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
            self.out.push(id, reply);
        }
        Ok(is_short)
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
        if self.effects.is_empty() {
            return;
        }
        for effect in self.effects.drain(..) {
            let is_own = effect.to.connection == self.registration.connection;
            // The outbox shares a queue between many watches of this connection, and is written in
            // parts.
            let is_many = matches!(effect.reply, Reply::Queue(_)) && self.out.size() >= OUT_MAX;
            if is_own && !is_many {
                self.out.push(effect.to.request, effect.reply);
            } else {
                self.others.push(effect);
            }
        }
        self.effects.shrink_to(EFFECTS_KEPT);
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
                self.greet(request.id, hello, state.leadership())?;
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
            Body::DescribeCluster(_) | Body::ChangeCluster(_) => {
                let reason =
                    "a request about the cluster needs a connection whose greeting has `to_member`";
                return Err(refuse(request.id, Code::Malformed, reason));
            }
            Body::Ping(_) => {
                let body = Some(proto::response::Body::Pong(self.pong()));
                encode(
                    &proto::Response {
                        id: request.id,
                        body,
                    },
                    self.out.end(),
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
