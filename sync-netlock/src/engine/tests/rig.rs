//! A table with simulated time, and shorthands for its commands.

use std::collections::HashMap;
use std::time::Duration;

use distsync_core::spi::clock::Moment;
use distsync_core::spi::{ClaimId, Queue, Revision, Secret, SessionId};
use distsync_core::{Mode, Token};

use crate::engine::{
    Change, Command, Effect, Freeze, Isolation, Journal, Limits, LockTable, Reply, Requester,
    Stats, Terms,
};

/// A second table that is restored from the changes of the first.
#[derive(Debug)]
struct Mirror(LockTable);

impl Mirror {
    fn new() -> Self {
        Self(LockTable::new(Limits::default(), Token::new(0).unwrap()))
    }

    /// Its time does not advance, so that no session expires in it.
    fn queue(&mut self, name: &str) -> Queue {
        match self.0.apply(
            Moment::default(),
            Requester::HOST,
            Command::Inspect { name },
            &mut Vec::new(),
        ) {
            Some(Reply::Queue(queue)) => queue.into_queue(),
            other => panic!("{other:?}"),
        }
    }
}

impl Journal for Mirror {
    fn record(&mut self, change: Change<'_>) {
        self.0
            .restore(Moment::default(), change)
            .expect("changes that fit");
    }
}

pub(super) struct Rig {
    table: LockTable<Mirror>,
    now: Moment,
    request: u64,
    /// Replies that were not taken yet.
    told: HashMap<u64, Vec<Reply>>,
    /// The last request that enqueued a claim.
    enqueued: HashMap<u128, u64>,
    /// Each command is a visit of its own.
    is_refilled: bool,
}

impl Rig {
    pub(super) const TTL: Duration = Duration::from_secs(10);

    pub(super) fn new(limits: Limits) -> Self {
        let last = Token::new(41).unwrap();
        Self {
            table: LockTable::with_journal(limits, last, Mirror::new()),
            now: Moment::from_nanos(1_000_000_000_000),
            request: 0,
            told: HashMap::new(),
            enqueued: HashMap::new(),
            is_refilled: true,
        }
    }

    /// Makes a visit do `steps` of the work that can be left to later visits. All commands until
    /// the next [`slice`](Self::slice) are then one visit.
    pub(super) fn set_slice(&mut self, steps: u32) {
        self.table.set_slice(steps);
        self.is_refilled = false;
    }

    /// Does a slice of the work that is left. Returns whether there is more.
    pub(super) fn slice(&mut self) -> bool {
        self.table.begin_visit();
        self.send(Command::Tick);
        self.table.has_backlog()
    }

    /// Returns how many claims were removed or granted in this visit.
    pub(super) fn touched(&self) -> usize {
        self.table.touched()
    }

    /// Restores a copy from a dump, and returns the numbers of its sessions and claims.
    pub(super) fn dumped(&self) -> Stats {
        let mut dumped = Mirror::new();
        self.table.dump(|change| dumped.record(change));
        dumped.0.stats()
    }

    pub(super) fn thaw(&mut self) {
        let mut effects = Vec::new();
        self.table.thaw(&mut effects);
        for Effect { to, reply } in effects {
            self.told.entry(to.request).or_default().push(reply);
        }
    }

    pub(super) fn is_visit_long(&self) -> bool {
        self.table.is_visit_long()
    }

    pub(super) fn begin_batch(&mut self) {
        self.table.begin_batch();
    }

    pub(super) fn has_backlog(&self) -> bool {
        self.table.has_backlog()
    }

    /// Returns the claims of a queue whose session has ended, but that are not removed yet, and
    /// whether the end of the session is recorded.
    pub(super) fn ghosts(&self, name: &str) -> Vec<(ClaimId, bool)> {
        self.table.ghosts(name)
    }

    pub(super) fn with_sessions(count: u128) -> Self {
        let mut rig = Self::new(Limits::default());
        for session in 0..count {
            assert_eq!(rig.open(session, session), Reply::Opened { ttl: Self::TTL });
        }
        rig
    }

    /// Returns a table restored from the changes of this one, as after a restart.
    pub(super) fn copied(&self, limits: Limits) -> Self {
        let mut mirror = Mirror::new();
        self.table.dump(|change| mirror.record(change));
        let mut copy = Self::new(limits.clone());
        copy.now = self.now;
        copy.table = LockTable::with_journal(limits, Token::new(41).unwrap(), mirror);
        self.table.dump(|change| {
            copy.table
                .restore(self.now, change)
                .expect("changes that fit")
        });
        copy.table.resume_isolations();
        copy
    }

    pub(super) fn claim(claim: u128) -> ClaimId {
        ClaimId::from_bits(claim)
    }

    /// Sends a command, and returns the id of its request.
    pub(super) fn send(&mut self, command: Command<'_>) -> u64 {
        self.request += 1;
        let mut effects = Vec::new();
        let from = Requester {
            connection: 7,
            request: self.request,
        };
        if self.is_refilled {
            self.table.begin_visit();
        }
        let reply = self.table.apply(self.now, from, command, &mut effects);
        effects.extend(reply.map(|reply| Effect { to: from, reply }));
        for Effect { to, reply } in effects {
            if to.connection == Requester::HOST.connection {
                // To a waiter of a restored table, whose connection is gone.
                continue;
            }
            assert_eq!(to.connection, 7);
            self.told.entry(to.request).or_default().push(reply);
        }
        self.request
    }

    pub(super) fn told_to(&mut self, request: u64) -> Option<Reply> {
        let replies = self.told.get_mut(&request)?;
        let reply = replies.remove(0);
        if replies.is_empty() {
            self.told.remove(&request);
        }
        Some(reply)
    }

    pub(super) fn answer(&mut self, request: u64) -> Reply {
        self.told_to(request).expect("no answer")
    }

    pub(super) fn ask(&mut self, command: Command<'_>) -> Reply {
        let request = self.send(command);
        self.answer(request)
    }

    /// Returns the last request that enqueued a claim.
    pub(super) fn request_of(&self, claim: u128) -> u64 {
        self.enqueued[&claim]
    }

    /// Takes the replies that the waiter of this claim has got since.
    pub(super) fn told(&mut self, claim: u128) -> Reply {
        self.answer(self.enqueued[&claim])
    }

    /// Takes the grants that waiters have got since, in the order of their tokens, with the name if
    /// the claim was for any of several.
    pub(super) fn grants(&mut self) -> Vec<(Token, u128, Option<Box<str>>)> {
        let mut grants = Vec::new();
        for (claim, request) in &self.enqueued {
            let Some(replies) = self.told.get_mut(request) else {
                continue;
            };
            replies.retain(|reply| match reply {
                Reply::Granted { token } => {
                    grants.push((*token, *claim, None));
                    false
                }
                Reply::GrantedAny { token, name } => {
                    grants.push((*token, *claim, Some(name.clone())));
                    false
                }
                _ => true,
            });
            if replies.is_empty() {
                self.told.remove(request);
            }
        }
        grants.sort_unstable();
        grants
    }

    pub(super) fn told_any(&mut self) -> Option<u64> {
        self.told.keys().next().copied()
    }

    pub(super) fn open(&mut self, session: u128, secret: u128) -> Reply {
        self.open_for(session, secret, Self::TTL)
    }

    pub(super) fn open_for(&mut self, session: u128, secret: u128, ttl: Duration) -> Reply {
        let (session, secret) = (SessionId::from_bits(session), Secret::from_bits(secret));
        self.ask(Command::Open {
            session,
            secret,
            terms: Terms::lasting(ttl),
            client: "rig",
            isolation: b"",
        })
    }

    pub(super) fn attach(&mut self, session: u128, secret: u128) -> Reply {
        let (session, secret) = (SessionId::from_bits(session), Secret::from_bits(secret));
        self.ask(Command::Attach { session, secret })
    }

    pub(super) fn renew(&mut self, session: u128) -> Reply {
        self.ask(Command::Renew {
            session: SessionId::from_bits(session),
        })
    }

    pub(super) fn close(&mut self, session: u128) -> Reply {
        self.ask(Command::Close {
            session: SessionId::from_bits(session),
        })
    }

    fn enqueue(
        &mut self,
        session: u128,
        claim: u128,
        name: &str,
        mode: Mode,
        waits: bool,
    ) -> Reply {
        let request = self.send(Command::Enqueue {
            session: SessionId::from_bits(session),
            claim: Self::claim(claim),
            name: name.as_bytes(),
            mode,
            waits,
            value: b"",
        });
        self.remember(claim, request)
    }

    /// Enqueues a claim for more than one name.
    pub(super) fn enqueue_all(
        &mut self,
        session: u128,
        claim: u128,
        names: &[&str],
        any: bool,
        mode: Mode,
        waits: bool,
    ) -> Reply {
        let (session, id) = (SessionId::from_bits(session), Self::claim(claim));
        let request = self.send(Command::EnqueueAll {
            session,
            claim: id,
            names,
            any,
            mode,
            waits,
            value: b"",
        });
        self.remember(claim, request)
    }

    fn remember(&mut self, claim: u128, request: u64) -> Reply {
        let reply = self.answer(request);
        if matches!(
            reply,
            Reply::Granted { .. } | Reply::GrantedAny { .. } | Reply::Waiting { .. }
        ) {
            self.enqueued.insert(claim, request);
        }
        reply
    }

    pub(super) fn acquire(&mut self, session: u128, claim: u128, name: &str, mode: Mode) -> Reply {
        self.enqueue(session, claim, name, mode, true)
    }

    pub(super) fn try_acquire(
        &mut self,
        session: u128,
        claim: u128,
        name: &str,
        mode: Mode,
    ) -> Reply {
        self.enqueue(session, claim, name, mode, false)
    }

    pub(super) fn withdraw(&mut self, session: u128, claim: u128) -> Reply {
        self.ask(Command::Withdraw {
            session: SessionId::from_bits(session),
            claim: Self::claim(claim),
        })
    }

    pub(super) fn update(&mut self, session: u128, claim: u128, value: &[u8]) -> Reply {
        self.ask(Command::Update {
            session: SessionId::from_bits(session),
            claim: Self::claim(claim),
            value,
        })
    }

    pub(super) fn evict(&mut self, name: &str, claim: u128) -> Reply {
        self.ask(Command::Evict {
            name,
            claim: Self::claim(claim),
        })
    }

    pub(super) fn evictions(&mut self, session: u128) -> u64 {
        self.send(Command::Evictions {
            session: SessionId::from_bits(session),
        })
    }

    /// Returns the queue of a name. Checks that it is the same in a table restored from the
    /// changes, and in one restored from a dump.
    pub(super) fn inspect(&mut self, name: &str) -> Queue {
        let queue = self.ask(Command::Inspect { name }).queue();
        assert_eq!(
            self.table.journal().queue(name).entries,
            queue.entries,
            "made of the changes"
        );
        let mut dumped = Mirror::new();
        self.table.dump(|change| dumped.record(change));
        assert_eq!(dumped.queue(name).entries, queue.entries, "made of a dump");
        assert_eq!(
            dumped.0.stats().sessions,
            self.table.journal().0.stats().sessions
        );
        assert_eq!(
            dumped.0.stats().claims,
            self.table.journal().0.stats().claims
        );
        queue
    }

    pub(super) fn changed(&mut self, name: &str, after: Revision) -> u64 {
        self.send(Command::Changed { name, after })
    }

    pub(super) fn changed_from_now(&mut self, name: &str) -> u64 {
        let now = self.inspect(name).revision;
        self.changed(name, now)
    }

    pub(super) fn list(&mut self, prefix: &str, after: &str) -> (Vec<String>, bool) {
        match self.ask(Command::List { prefix, after }) {
            Reply::Names { names, more } => (names, more),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn forget(&mut self, request: u64) {
        self.send(Command::Forget { request });
    }

    pub(super) fn disconnect(&mut self) {
        self.send(Command::Disconnected);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.skip(time);
        self.send(Command::Tick);
    }

    /// Advances the time without a command.
    pub(super) fn skip(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    pub(super) fn go_back(&mut self, time: Duration) {
        self.now = self.now.before(time);
    }

    /// Opens a session that can be isolated, and that ends with its last connection.
    pub(super) fn open_to_isolate(&mut self, session: u128) -> Reply {
        self.table.enable_isolation();
        let terms = Terms {
            ttl: Self::TTL,
            release_on_disconnect: true,
        };
        let (session, secret) = (SessionId::from_bits(session), Secret::from_bits(session));
        self.ask(Command::Open {
            session,
            secret,
            terms,
            client: "rig",
            isolation: b"how",
        })
    }

    pub(super) fn isolations(&mut self) -> Vec<Isolation> {
        self.table.take_isolations()
    }

    pub(super) fn freeze(&mut self, why: Freeze) {
        self.table.freeze(why);
    }

    pub(super) fn now(&self) -> Moment {
        self.now
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.table.next_deadline()
    }

    pub(super) fn stats(&self) -> Stats {
        self.table.stats()
    }
}

impl Reply {
    /// Returns the token of a grant.
    pub(super) fn token(&self) -> Token {
        match self {
            Self::Granted { token } | Self::GrantedAny { token, .. } => *token,
            other => panic!("not granted: {other:?}"),
        }
    }

    pub(super) fn position(&self) -> u32 {
        match self {
            Self::Waiting { position, .. } => *position,
            other => panic!("not waiting: {other:?}"),
        }
    }

    pub(super) fn queue(self) -> Queue {
        match self {
            Self::Queue(queue) => queue.into_queue(),
            other => panic!("no queue: {other:?}"),
        }
    }
}
