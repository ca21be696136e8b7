//! Requests that tasks of one process make at the same moment. They are sent in batches, with the
//! same results as if they were made one after the other. The lock table of `memory:` is the model.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use distsync::etcd::etcd_client::{Client, WatchOptions};
use distsync::{ErrorKind, LockOptions, Mode, connect};
use distsync_core::conformance::{Harness, bare};
use distsync_core::spi::{Backend, Claim, Session, Standing};
use distsync_core::{ClaimId, Kind, LockName, Namespace, Result, Token, Withdrawn};
use futures_util::StreamExt;
use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::stores::{Consul, Etcd, Memory, Redis};

/// A small random number generator that is repeatable from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// A request for a claim, which is identified by its number.
#[derive(Clone, Copy, Debug)]
enum Request {
    Enqueue(usize),
    Withdraw(usize),
    Evict(usize),
}

#[derive(Clone, Debug)]
struct Known {
    id: ClaimId,
    /// The index of one of three sessions, of which the last has ended.
    session: usize,
    name: usize,
    mode: Mode,
    waits: bool,
}

/// The outcome of a request, without the parts that differ between stores.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Granted(Same<Token>),
    Waiting(u32),
    Busy,
    Gone(String),
    Withdrawn(Withdrawn),
    Failed(ErrorKind),
}

/// A value that differs between stores, so all values compare as equal.
#[derive(Clone, Copy, Debug)]
struct Same<T>(T);

impl<T> PartialEq for Same<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

fn outcome(standing: Result<Standing>) -> Outcome {
    match standing {
        Ok(Standing::Granted { token } | Standing::GrantedAny { token, .. }) => {
            Outcome::Granted(Same(token))
        }
        Ok(Standing::Waiting { position, .. }) => Outcome::Waiting(position),
        Ok(Standing::Busy { .. }) => Outcome::Busy,
        Ok(Standing::Gone { why }) => Outcome::Gone(format!("{why:?}")),
        Err(error) => Outcome::Failed(error.kind()),
    }
}

fn withdrawn(withdrawn: Result<Withdrawn>) -> Outcome {
    withdrawn.map_or_else(|error| Outcome::Failed(error.kind()), Outcome::Withdrawn)
}

/// A store with the state that the comparison needs.
struct Side {
    backend: Arc<dyn Backend>,
    sessions: Vec<Session>,
    names: Vec<LockName>,
    /// The tokens seen so far: by claim (`tokens`), by name (`given`), and for each name the token
    /// of the latest grant that a reply contained (`newest`).
    tokens: HashMap<ClaimId, Token>,
    given: Vec<HashSet<Token>>,
    newest: Vec<Option<Token>>,
}

impl Side {
    async fn on(backend: Arc<dyn Backend>, names: usize) -> Self {
        let mut sessions = Vec::new();
        for _ in 0..3 {
            sessions.push(
                backend
                    .open(&bare::spec(Duration::from_secs(600)))
                    .await
                    .unwrap(),
            );
        }
        backend.close(&sessions[2]).await.unwrap();
        let name = |number| {
            LockName::new(&Namespace::default(), Kind::Lock, &format!("name {number}")).unwrap()
        };
        Self {
            backend,
            sessions,
            names: (0..names).map(name).collect(),
            tokens: HashMap::new(),
            given: vec![HashSet::new(); names],
            newest: vec![None; names],
        }
    }

    fn claim(&self, number: &Known) -> Claim {
        Claim {
            id: number.id,
            mode: number.mode,
            waits: number.waits,
            value: Bytes::from_static(b"value"),
            token: self.tokens.get(&number.id).copied(),
            ..bare::claim(
                self.sessions[number.session],
                self.names[number.name].clone(),
            )
        }
    }

    fn request<'a>(
        &'a self,
        request: Request,
        known: &[Known],
    ) -> Pin<Box<dyn Future<Output = Outcome> + 'a>> {
        match request {
            Request::Enqueue(number) => {
                let claim = self.claim(&known[number]);
                Box::pin(async move { outcome(self.backend.enqueue(&claim).await) })
            }
            Request::Withdraw(number) => {
                let claim = self.claim(&known[number]);
                Box::pin(async move { withdrawn(self.backend.withdraw(&claim).await) })
            }
            Request::Evict(number) => {
                let (name, id) = (self.names[known[number].name].clone(), known[number].id);
                Box::pin(async move { withdrawn(self.backend.evict(&name, id).await) })
            }
        }
    }

    /// Records the token of a grant, and checks that no other claim of the name had it.
    fn note(&mut self, name: usize, claim: ClaimId, token: Token) {
        match self.tokens.insert(claim, token) {
            Some(known) => assert_eq!(known, token, "two tokens for one grant"),
            None => assert!(
                self.given[name].insert(token),
                "{token:?} was given at this name before"
            ),
        }
    }

    /// Records a reply, in the order of replies. Later grants of a name have greater tokens.
    fn note_answer(&mut self, request: Request, known: &[Known], outcome: &Outcome) {
        if let (Request::Enqueue(number), Outcome::Granted(Same(token))) = (request, outcome) {
            let Known { id, name, .. } = known[number];
            assert!(
                Some(*token) > self.newest[name],
                "{token:?} after {:?}",
                self.newest[name]
            );
            self.newest[name] = Some(*token);
            self.note(name, id, *token);
        }
    }

    /// Returns the claims of each queue, with their modes and whether they are granted.
    async fn queues(&mut self) -> Vec<Vec<(ClaimId, Mode, bool)>> {
        let mut queues = Vec::new();
        for name in 0..self.names.len() {
            let queue = self.backend.queue(&self.names[name]).await.unwrap();
            for entry in queue.holders() {
                self.note(name, entry.claim, entry.token.unwrap());
            }
            let view =
                |entry: &distsync_core::Entry| (entry.claim, entry.mode, entry.token.is_some());
            queues.push(queue.entries.iter().map(view).collect());
        }
        queues
    }
}

/// Makes the same requests to both stores: one after the other to the model, in batches to the
/// other store. With `once`, a batch contains each name at most once.
async fn ends_as_one_after_the_other(
    backend: Arc<dyn Backend>,
    once: bool,
    seed: u64,
) -> (Side, usize) {
    const MODES: [Mode; 4] = [
        Mode::Exclusive,
        Mode::Exclusive,
        Mode::Shared,
        Mode::Permit { of: 2 },
    ];
    let names = if once { 12 } else { 3 };
    let memory = Memory::start();
    let (mut model, mut side) = (
        Side::on(memory.backend().await, names).await,
        Side::on(backend, names).await,
    );
    let (mut random, mut known, mut changes) = (Random(seed), Vec::<Known>::new(), 0);
    // The numbers of the claims that are in a queue.
    let mut there = Vec::new();
    for batch in 0..60 {
        let mut requests = Vec::new();
        let mut used = vec![false; names];
        // Every other batch is small enough that its requests may be sent singly.
        for _ in 0..1 + random.below(if once { names } else { [3, 40][batch % 2] }) {
            // Usually choose a queued claim: otherwise names would never become free again.
            let old = match random.below(4) {
                0 if !known.is_empty() => Some(random.below(known.len())),
                _ if !there.is_empty() => Some(there[random.below(there.len())]),
                _ => None,
            };
            // With odd seeds, removals outnumber new claims, so names become free again.
            let request = match (
                random.below([8, 6][usize::try_from(seed % 2).unwrap()]),
                old,
            ) {
                (0, Some(old)) => Request::Evict(old),
                (1..=3, Some(old)) => Request::Withdraw(old),
                _ => {
                    // Sometimes use the ended session. Such a claim waits, because etcd does not
                    // check the session of a try that is refused.
                    let is_dead = random.below(16) == 0;
                    known.push(Known {
                        id: ClaimId::random(),
                        session: if is_dead { 2 } else { random.below(2) },
                        name: random.below(names),
                        mode: MODES[random.below(MODES.len())],
                        waits: is_dead || random.below(3) > 0,
                    });
                    Request::Enqueue(known.len() - 1)
                }
            };
            let (Request::Enqueue(number) | Request::Withdraw(number) | Request::Evict(number)) =
                request;
            if !(once && std::mem::replace(&mut used[known[number].name], true)) {
                requests.push(request);
            }
        }
        let mut expected = Vec::new();
        for request in &requests {
            expected.push(model.request(*request, &known).await);
        }
        let seen = join_all(
            requests
                .iter()
                .map(|request| side.request(*request, &known)),
        )
        .await;
        for ((request, expected), seen) in requests.iter().zip(&expected).zip(&seen) {
            assert_eq!(
                seen, expected,
                "{request:?} of batch {batch}, seed {seed}: {requests:?}"
            );
        }
        for (request, seen) in requests.iter().zip(&seen) {
            side.note_answer(*request, &known, seen);
        }
        let is_change = |seen: &&Outcome| {
            use Outcome::{Granted, Waiting};
            matches!(
                seen,
                Granted(_) | Waiting(_) | Outcome::Withdrawn(Withdrawn::Held | Withdrawn::Waiting)
            )
        };
        changes += seen.iter().filter(is_change).count();
        let queues = model.queues().await;
        there = (0..known.len())
            .filter(|number| {
                queues
                    .iter()
                    .flatten()
                    .any(|(id, ..)| *id == known[*number].id)
            })
            .collect();
        assert_eq!(
            side.queues().await,
            queues,
            "after batch {batch}, seed {seed}: {requests:?}"
        );
    }
    (side, changes)
}

#[tokio::test]
async fn steps_on_redis_end_as_one_after_the_other() {
    for seed in 1..=8 {
        let redis = Redis::start_in_memory();
        let (_side, changes) =
            ends_as_one_after_the_other(redis.backend().await, false, seed).await;
        // Of the script calls, 180 read the queues: 3 names after each of 60 batches.
        let steps = redis.calls("evalsha").saturating_sub(180);
        assert!(
            2 * steps < changes,
            "{steps} scripts for {changes} changes: nothing is sent together"
        );
    }
}

#[tokio::test]
async fn steps_on_etcd_end_as_one_after_the_other() {
    for seed in 1..=2 {
        let etcd = Etcd::start();
        let (side, changes) = ends_as_one_after_the_other(etcd.backend().await, true, seed).await;
        // Each transaction that writes increments the revision.
        let revisions = side.backend.queue(&side.names[0]).await.unwrap().revision.0;
        let changes = u64::try_from(changes).unwrap();
        assert!(
            revisions < changes,
            "{revisions} revisions for {changes} changes: nothing is sent together"
        );
    }
}

#[tokio::test]
async fn of_those_who_try_one_name_at_the_same_moment_one_holds() {
    let (etcd, redis) = (Etcd::start(), Redis::start_in_memory());
    for url in [
        format!("etcd://127.0.0.1:{}", etcd.port()),
        format!("redis://127.0.0.1:{}", redis.port()),
    ] {
        let sync = connect(&url).await.unwrap();
        let lock = |name: &str| sync.lock(name, LockOptions::new()).unwrap();
        let locks: Vec<_> = (0..30)
            .flat_map(|number| [lock("one"), lock(&format!("other {number}"))])
            .collect();
        let tries = join_all(locks.iter().map(|lock| lock.try_acquire())).await;
        let held: Vec<_> = tries
            .into_iter()
            .map(|tried| tried.unwrap().is_some())
            .collect();
        assert!(
            held.iter().skip(1).step_by(2).all(|held| *held),
            "{url}: a free name was refused"
        );
        assert_eq!(
            held.iter().step_by(2).filter(|held| **held).count(),
            1,
            "{url}: {held:?}"
        );
    }
}

/// Asserts that on Redis only a name with foreign keys fails, even in one batch with other names.
#[tokio::test]
async fn a_step_that_fails_on_redis_fails_alone() {
    let redis = Redis::start_in_memory();
    let sync = connect(&format!("redis://127.0.0.1:{}", redis.port()))
        .await
        .unwrap();
    redis.tell("HSET distsync:{0}:table distsync/l/bad *");
    redis.tell("SET distsync:{0}:queue:distsync/l/bad foreign");
    let locks: Vec<_> = ["one", "bad", "two", "bad", "three"]
        .iter()
        .map(|name| sync.lock(name, LockOptions::new()).unwrap())
        .collect();
    let results = join_all(locks.iter().map(|lock| lock.acquire())).await;
    let kinds: Vec<_> = results
        .iter()
        .map(|result| result.as_ref().map(|_| ()).map_err(|error| error.kind()))
        .collect();
    assert_eq!(
        kinds,
        [
            Ok(()),
            Err(ErrorKind::Store),
            Ok(()),
            Err(ErrorKind::Store),
            Ok(())
        ]
    );
    let error = results[1].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("WRONGTYPE") && error.contains("redis") && error.contains("bad"),
        "{error}"
    );
}

/// Asserts that tokens rise after the clock was set back. Tokens and revisions share one counter
/// that is never behind the clock, so the test sets the counter far ahead of the clock.
#[tokio::test]
async fn tokens_on_redis_rise_though_the_clock_was_set_back() {
    const AHEAD: u64 = 9_000_000_000_000_000;
    let redis = Redis::start_in_memory();
    let sync = connect(&format!("redis://127.0.0.1:{}", redis.port()))
        .await
        .unwrap();
    redis.tell(&format!("HSET distsync:{{0}}:table # {AHEAD}"));
    let mut last = AHEAD;
    for names in [&["a"][..], &["a"], &["a", "b", "c"], &["a"]] {
        let locks: Vec<_> = names
            .iter()
            .map(|name| sync.lock(name, LockOptions::new()).unwrap())
            .collect();
        let guards = join_all(locks.iter().map(|lock| lock.acquire())).await;
        let tokens: Vec<u64> = guards
            .iter()
            .map(|guard| guard.as_ref().unwrap().token().get())
            .collect();
        assert!(
            tokens
                .iter()
                .all(|token| *token > last && *token < AHEAD + 100),
            "{tokens:?} after {last}"
        );
        last = tokens[0];
        for guard in guards {
            guard.unwrap().release().await.unwrap();
        }
    }
}

/// Asserts that watchers on Redis are notified of every step, including one that is sent singly.
#[tokio::test]
async fn those_who_watch_on_redis_are_told_of_each_step() {
    let redis = Redis::start_in_memory();
    let sync = connect(&format!("redis://127.0.0.1:{}", redis.port()))
        .await
        .unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    // A second handle watches. It reads at least once a second, so its watcher mark always exists.
    let other = connect(&format!("redis://127.0.0.1:{}", redis.port()))
        .await
        .unwrap();
    let mut watch = other.lock("a", LockOptions::new()).unwrap().watch();
    assert!(watch.next().await.unwrap().unwrap().entries.is_empty());
    let mut watching = JoinSet::new();
    watching.spawn(async move { while watch.next().await.is_some() {} });
    for told in 1..=3 {
        let guard = lock.acquire().await.unwrap();
        assert_eq!(redis.calls("publish"), 2 * told - 1, "of a grant");
        guard.release().await.unwrap();
        assert_eq!(redis.calls("publish"), 2 * told, "of a release");
    }
}

/// Asserts that keys are reused. etcd scans every key that a prefix had since the last compaction.
#[tokio::test]
async fn a_lock_that_is_taken_again_and_again_uses_few_keys_on_etcd() {
    let etcd = Etcd::start();
    let address = format!("127.0.0.1:{}", etcd.port());
    let sync = connect(&format!("etcd://{address}")).await.unwrap();
    let lock = sync.lock("busy", LockOptions::new()).unwrap();
    for _ in 0..10 {
        let pair = async || lock.acquire().await.unwrap().release().await.unwrap();
        tokio::join!(pair(), pair());
        assert!(
            lock.try_acquire()
                .await
                .unwrap()
                .unwrap()
                .release()
                .await
                .is_ok()
        );
    }
    let client = Client::connect([&address], None).await.unwrap();
    let options = WatchOptions::new().with_prefix().with_start_revision(1);
    let mut history = client
        .watch_client()
        .watch("distsync/l/busy/", Some(options))
        .await
        .unwrap();
    let (mut puts, mut keys) = (0, HashSet::new());
    while puts < 30 {
        for event in history.message().await.unwrap().unwrap().events() {
            if event.event_type() == distsync::etcd::etcd_client::EventType::Put {
                puts += 1;
                keys.insert(event.kv().unwrap().key().to_vec());
            }
        }
    }
    assert_eq!(keys.len(), 2, "two at a time use two slots");
}

/// Asserts that keys are reused. Consul scans every key of a prefix that was deleted in the last 15
/// minutes.
#[tokio::test]
async fn a_lock_that_is_taken_again_and_again_uses_few_keys_on_consul() {
    let consul = Consul::start();
    let sync = connect(&format!("consul://127.0.0.1:{}", consul.port()))
        .await
        .unwrap();
    let lock = sync.lock("busy", LockOptions::shared()).unwrap();
    let line = format!(
        "http://127.0.0.1:{}/v1/kv/distsync/l/busy/?keys",
        consul.port()
    );
    let mut keys = HashSet::new();
    for _ in 0..10 {
        let (one, two) = (
            lock.acquire().await.unwrap(),
            lock.try_acquire().await.unwrap().unwrap(),
        );
        let now: Vec<String> = reqwest::get(&line).await.unwrap().json().await.unwrap();
        assert_eq!(now.len(), 2);
        keys.extend(now);
        one.release().await.unwrap();
        two.release().await.unwrap();
    }
    assert_eq!(keys.len(), 2, "two at a time use two slots");
}
