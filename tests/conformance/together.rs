//! What tasks of one process ask at the same moment travels together, and ends as if it had come
//! one after the other: the lock table of `memory:` says how that is.

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

use super::stores::{Consul, Etcd, Memory, Redis};

/// A small generator of numbers that anybody can repeat.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// One thing to do with a claim, which is known by its number.
#[derive(Clone, Copy, Debug)]
enum Act {
    Enqueue(usize),
    Withdraw(usize),
    Evict(usize),
}

#[derive(Clone, Debug)]
struct Wish {
    id: ClaimId,
    /// Of three sessions, of which the last has ended.
    session: usize,
    name: usize,
    mode: Mode,
    waits: bool,
}

/// What came of it, in words that are the same for every store.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Granted(Same<Token>),
    Waiting(u32),
    Busy,
    Gone(String),
    Withdrawn(Withdrawn),
    Failed(ErrorKind),
}

/// What differs from store to store.
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

/// A store, and what is done there.
struct Side {
    backend: Arc<dyn Backend>,
    sessions: Vec<Session>,
    names: Vec<LockName>,
    /// The tokens that have been seen, by claim; those of each name; and the newest that a request
    /// was answered with.
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

    fn claim(&self, wish: &Wish) -> Claim {
        Claim {
            id: wish.id,
            mode: wish.mode,
            waits: wish.waits,
            value: Bytes::from_static(b"value"),
            token: self.tokens.get(&wish.id).copied(),
            ..bare::claim(self.sessions[wish.session], self.names[wish.name].clone())
        }
    }

    fn act<'a>(&'a self, act: Act, wishes: &[Wish]) -> Pin<Box<dyn Future<Output = Outcome> + 'a>> {
        match act {
            Act::Enqueue(wish) => {
                let claim = self.claim(&wishes[wish]);
                Box::pin(async move { outcome(self.backend.enqueue(&claim).await) })
            }
            Act::Withdraw(wish) => {
                let claim = self.claim(&wishes[wish]);
                Box::pin(async move { withdrawn(self.backend.withdraw(&claim).await) })
            }
            Act::Evict(wish) => {
                let (name, id) = (self.names[wishes[wish].name].clone(), wishes[wish].id);
                Box::pin(async move { withdrawn(self.backend.evict(&name, id).await) })
            }
        }
    }

    /// A claim holds by this token: no other of its name ever had it.
    fn note(&mut self, name: usize, claim: ClaimId, token: Token) {
        match self.tokens.insert(claim, token) {
            Some(known) => assert_eq!(known, token, "two tokens for one grant"),
            None => assert!(
                self.given[name].insert(token),
                "{token:?} was given at this name before"
            ),
        }
    }

    /// What was answered, in this order: later grants of a name have greater tokens.
    fn note_answer(&mut self, act: Act, wishes: &[Wish], outcome: &Outcome) {
        if let (Act::Enqueue(wish), Outcome::Granted(Same(token))) = (act, outcome) {
            let Wish { id, name, .. } = wishes[wish];
            assert!(
                Some(*token) > self.newest[name],
                "{token:?} after {:?}",
                self.newest[name]
            );
            self.newest[name] = Some(*token);
            self.note(name, id, *token);
        }
    }

    /// All lines, as who stands in them, and whether they hold.
    async fn lines(&mut self) -> Vec<Vec<(ClaimId, Mode, bool)>> {
        let mut lines = Vec::new();
        for name in 0..self.names.len() {
            let queue = self.backend.queue(&self.names[name]).await.unwrap();
            for entry in queue.holders() {
                self.note(name, entry.claim, entry.token.unwrap());
            }
            let line =
                |entry: &distsync_core::Entry| (entry.claim, entry.mode, entry.token.is_some());
            lines.push(queue.entries.iter().map(line).collect());
        }
        lines
    }
}

/// Does the same in both stores, there one after the other, here in bunches; `once`: with each name
/// once in a bunch.
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
    let (mut dice, mut wishes, mut changes) = (Dice(seed), Vec::<Wish>::new(), 0);
    // The wishes that stand in a line.
    let mut there = Vec::new();
    for bunch in 0..60 {
        let mut acts = Vec::new();
        let mut used = vec![false; names];
        // Every other bunch is so small that it may go by itself.
        for _ in 0..1 + dice.below(if once { names } else { [3, 40][bunch % 2] }) {
            // Most often one that is there: else names would never be free again.
            let old = match dice.below(4) {
                0 if !wishes.is_empty() => Some(dice.below(wishes.len())),
                _ if !there.is_empty() => Some(there[dice.below(there.len())]),
                _ => None,
            };
            // With every other seed more leave than come, and names are free again.
            let act = match (dice.below([8, 6][usize::try_from(seed % 2).unwrap()]), old) {
                (0, Some(old)) => Act::Evict(old),
                (1..=3, Some(old)) => Act::Withdraw(old),
                _ => {
                    // The dead one now and then. It waits, for etcd does not look at the session of
                    // a try that is refused.
                    let is_dead = dice.below(16) == 0;
                    wishes.push(Wish {
                        id: ClaimId::random(),
                        session: if is_dead { 2 } else { dice.below(2) },
                        name: dice.below(names),
                        mode: MODES[dice.below(MODES.len())],
                        waits: is_dead || dice.below(3) > 0,
                    });
                    Act::Enqueue(wishes.len() - 1)
                }
            };
            let (Act::Enqueue(wish) | Act::Withdraw(wish) | Act::Evict(wish)) = act;
            if !(once && std::mem::replace(&mut used[wishes[wish].name], true)) {
                acts.push(act);
            }
        }
        let mut expected = Vec::new();
        for act in &acts {
            expected.push(model.act(*act, &wishes).await);
        }
        let seen = join_all(acts.iter().map(|act| side.act(*act, &wishes))).await;
        for ((act, expected), seen) in acts.iter().zip(&expected).zip(&seen) {
            assert_eq!(
                seen, expected,
                "{act:?} of bunch {bunch}, seed {seed}: {acts:?}"
            );
        }
        for (act, seen) in acts.iter().zip(&seen) {
            side.note_answer(*act, &wishes, seen);
        }
        let is_change = |seen: &&Outcome| {
            use Outcome::{Granted, Waiting};
            matches!(
                seen,
                Granted(_) | Waiting(_) | Outcome::Withdrawn(Withdrawn::Held | Withdrawn::Waiting)
            )
        };
        changes += seen.iter().filter(is_change).count();
        let lines = model.lines().await;
        there = (0..wishes.len())
            .filter(|wish| {
                lines
                    .iter()
                    .flatten()
                    .any(|(id, ..)| *id == wishes[*wish].id)
            })
            .collect();
        assert_eq!(
            side.lines().await,
            lines,
            "after bunch {bunch}, seed {seed}: {acts:?}"
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
        // 180 of them look at the lines.
        let steps = redis.calls("evalsha").saturating_sub(180);
        assert!(
            2 * steps < changes,
            "{steps} scripts for {changes} changes: nothing travels together"
        );
    }
}

#[tokio::test]
async fn steps_on_etcd_end_as_one_after_the_other() {
    for seed in 1..=2 {
        let etcd = Etcd::start();
        let (side, changes) = ends_as_one_after_the_other(etcd.backend().await, true, seed).await;
        // Each transaction that changes something is a revision.
        let revisions = side.backend.queue(&side.names[0]).await.unwrap().revision.0;
        let changes = u64::try_from(changes).unwrap();
        assert!(
            revisions < changes,
            "{revisions} revisions for {changes} changes: nothing travels together"
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

/// On Redis a name whose keys are foreign fails by itself, whoever travels with it.
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

/// Tokens and revisions come from one counter, which is never behind the clock: as after a clock
/// that was set back.
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

/// Whoever watches a name on Redis is told of every step, also of one that comes alone.
#[tokio::test]
async fn those_who_watch_on_redis_are_told_of_each_step() {
    let redis = Redis::start_in_memory();
    let sync = connect(&format!("redis://127.0.0.1:{}", redis.port()))
        .await
        .unwrap();
    let lock = sync.lock("a", LockOptions::new()).unwrap();
    // Another handle watches, and looks at least once a second, so its mark is there all the time.
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

/// etcd walks over every key that a prefix ever had since the last compaction.
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

/// Consul walks over every key of a prefix that was deleted within the last 15 minutes.
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
