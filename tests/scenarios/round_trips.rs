//! The round trips of each store's steps, counted by a proxy.
//!
//! A turn is data from the client after data from the server. For a client that waits for each
//! reply, the number of turns is the number of round trips. On etcd a turn is the beginning of a
//! request (an HTTP/2 stream), because the server also sends pings.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use distsync::{LockOptions, Sync, connect};
use tokio::task::JoinSet;

use super::programs::Netlockd;
use crate::stores::{Consul, Etcd, Redis};

/// A counter of the HTTP/2 streams that a client begins.
#[derive(Default)]
struct Streams {
    pending: Vec<u8>,
    greeted: bool,
}

impl Streams {
    /// Returns the number of streams that begin in `bytes`, which follow the bytes of the last
    /// call.
    fn begun(&mut self, bytes: &[u8]) -> u64 {
        const PREFACE: usize = 24;
        const HEADER: usize = 9;
        const HEADERS: u8 = 1;

        self.pending.extend_from_slice(bytes);
        let mut at = 0;
        if !self.greeted && self.pending.len() >= PREFACE {
            (at, self.greeted) = (PREFACE, true);
        }
        let mut begun = 0;
        while let Some(header) = self.pending.get(at..at + HEADER).filter(|_| self.greeted) {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            if self.pending.len() < at + HEADER + length {
                break;
            }
            begun += u64::from(header[3] == HEADERS);
            at += HEADER + length;
        }
        self.pending.drain(..at);
        begun
    }
}

/// A proxy in front of a store that counts turns.
struct Recorder {
    port: u16,
    turns: Arc<AtomicU64>,
}

impl Recorder {
    /// Starts a proxy for the store of `scheme` at port `target`. The threads of a connection end
    /// when it closes.
    fn before(scheme: &str, target: u16) -> Self {
        let streams = scheme == "etcd";
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let turns = Arc::new(AtomicU64::new(0));
        let counted = turns.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else {
                    return;
                };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let clients_turn = Arc::new(AtomicBool::new(false));
                let (turns, said) = (counted.clone(), clients_turn.clone());
                let mut parser = Streams::default();
                pipe(
                    client.try_clone().unwrap(),
                    server.try_clone().unwrap(),
                    move |bytes| {
                        let turn = u64::from(!said.swap(true, Ordering::SeqCst));
                        let begun = if streams { parser.begun(bytes) } else { turn };
                        turns.fetch_add(begun, Ordering::SeqCst);
                    },
                );
                pipe(server, client, move |_| {
                    clients_turn.store(false, Ordering::SeqCst)
                });
            }
        });
        Self { port, turns }
    }

    /// Returns the result of `work` and the number of turns it took.
    async fn turns<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let before = self.turns.load(Ordering::SeqCst);
        let result = work.await;
        (result, self.turns.load(Ordering::SeqCst) - before)
    }
}

fn pipe(mut from: TcpStream, mut to: TcpStream, mut heard: impl FnMut(&[u8]) + Send + 'static) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            heard(&buffer[..read]);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// The number of samples per figure. A keep-alive may add one turn to a figure.
const SAMPLES: u64 = 20;

/// Asserts the number of turns of each step on a store. `busy_try` is the limit for a try of a held
/// name.
async fn costs(scheme: &str, port: u16, busy_try: u64) {
    let recorder = Recorder::before(scheme, port);
    let url = |port: u16, ttl: &str| format!("{scheme}://127.0.0.1:{port}?ttl={ttl}");
    // The long TTL keeps renewals out of the measurements.
    let sync = connect(&url(recorder.port, "600s")).await.unwrap();
    let direct = connect(&url(port, "600s")).await.unwrap();
    let lock = sync.lock("free", LockOptions::new()).unwrap();
    lock.acquire().await.unwrap().release().await.unwrap();
    // Wait until the set-up of the first use (a watch, an attached session) is complete.
    quiet(&recorder).await;

    let (mut acquires, mut releases) = (0, 0);
    for _ in 0..SAMPLES {
        let (guard, turns) = recorder.turns(lock.acquire()).await;
        acquires += turns;
        let (released, turns) = recorder.turns(guard.unwrap().release()).await;
        releases += turns;
        released.unwrap();
    }
    assert!(
        acquires <= SAMPLES + 1,
        "{scheme}: {acquires} round trips for {SAMPLES} acquires"
    );
    assert!(
        releases <= SAMPLES + 1,
        "{scheme}: {releases} round trips for {SAMPLES} releases"
    );

    let busy = direct
        .lock("busy", LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let lock = sync.lock("busy", LockOptions::new()).unwrap();
    let mut tries = 0;
    for _ in 0..SAMPLES {
        let (tried, turns) = recorder.turns(lock.try_acquire()).await;
        assert!(tried.unwrap().is_none());
        tries += turns;
    }
    assert!(
        tries <= SAMPLES * busy_try + 1,
        "{scheme}: {tries} round trips for {SAMPLES} tries"
    );
    busy.release().await.unwrap();

    one_is_woken(scheme, &recorder, &*sync, &*direct).await;
}

/// Waits until the client has sent nothing for a while.
async fn quiet(recorder: &Recorder) {
    loop {
        let ((), turns) = recorder
            .turns(tokio::time::sleep(Duration::from_millis(200)))
            .await;
        if turns == 0 {
            return;
        }
    }
}

/// Asserts that a release with 50 waiters causes at most two requests, from the next holder.
async fn one_is_woken(scheme: &str, recorder: &Recorder, sync: &dyn Sync, direct: &dyn Sync) {
    // A Consul client reads its claims every two seconds. That can fall into one measurement, but
    // not into three in a row.
    let mut all = Vec::new();
    for round in 0..3 {
        let turns =
            woken_by_a_release(scheme, &format!("hot {round}"), recorder, sync, direct).await;
        // On Consul, the next holder may ask again on the connection of its blocking query.
        if turns <= 2 {
            return;
        }
        all.push(turns);
    }
    panic!("{scheme}: a release wakes those who are not next: {all:?} requests");
}

/// Returns the number of requests that a release with 50 waiters causes.
async fn woken_by_a_release(
    scheme: &str,
    name: &str,
    recorder: &Recorder,
    sync: &dyn Sync,
    direct: &dyn Sync,
) -> u64 {
    let guard = direct
        .lock(name, LockOptions::new())
        .unwrap()
        .acquire()
        .await
        .unwrap();
    let observer = direct.lock(name, LockOptions::new()).unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..50 {
        let lock = sync.lock(name, LockOptions::new()).unwrap();
        waiters.spawn(async move { lock.acquire().await.unwrap() });
    }
    while observer.inspect().await.unwrap().waiters().count() < 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    quiet(recorder).await;
    let (first, turns) = recorder
        .turns(async {
            guard.release().await.unwrap();
            let first = waiters.join_next().await.unwrap().unwrap();
            tokio::time::sleep(Duration::from_millis(300)).await;
            first
        })
        .await;
    assert!(waiters.try_join_next().is_none(), "{scheme}: two hold");
    drop(first);
    waiters.abort_all();
    turns
}

#[tokio::test]
async fn netlock_takes_one_round_trip_a_step() {
    let server = Netlockd::start();
    costs("netlock", server.port(), 1).await;
}

#[tokio::test]
async fn redis_takes_one_round_trip_a_step() {
    let redis = Redis::start();
    costs("redis", redis.port(), 1).await;
}

#[tokio::test]
async fn etcd_takes_one_round_trip_a_step() {
    let etcd = Etcd::start();
    costs("etcd", etcd.port(), 1).await;
}

#[tokio::test]
async fn consul_takes_one_round_trip_a_step_and_two_for_a_busy_try() {
    let consul = Consul::start();
    costs("consul", consul.port(), 2).await;
}

/// Asserts that a thousand locks of one session cause no more keep-alive traffic than one lock.
#[tokio::test]
async fn keep_alive_traffic_does_not_grow_with_locks() {
    let (server, redis, etcd) = (Netlockd::start(), Redis::start(), Etcd::start());
    for (scheme, port) in [
        ("netlock", server.port()),
        ("redis", redis.port()),
        ("etcd", etcd.port()),
    ] {
        let recorder = Recorder::before(scheme, port);
        let sync = connect(&format!("{scheme}://127.0.0.1:{}?ttl=2s", recorder.port))
            .await
            .unwrap();
        let one = sync
            .lock("one", LockOptions::new())
            .unwrap()
            .acquire()
            .await
            .unwrap();
        let ((), with_one) = recorder
            .turns(tokio::time::sleep(Duration::from_secs(4)))
            .await;
        let mut guards = Vec::new();
        for number in 0..1_000 {
            let lock = sync
                .lock(&format!("lock {number}"), LockOptions::new())
                .unwrap();
            guards.push(lock.acquire().await.unwrap());
        }
        let ((), with_many) = recorder
            .turns(tokio::time::sleep(Duration::from_secs(4)))
            .await;
        assert!(with_one > 0, "{scheme}: no renewals at all");
        // Renewals and pings fall into either window. One message per lock would be a thousand.
        assert!(
            with_many <= 2 * with_one + 10,
            "{scheme}: {with_one} turns with one lock, {with_many} with 1,001"
        );
        one.check(Duration::ZERO).unwrap();
    }
}

/// Asserts that a grant takes about one script to acquire and one to release, because grants are
/// pushed to waiters.
#[tokio::test]
async fn a_hand_over_on_redis_asks_once() {
    const GRANTS: usize = 50;
    const CLIENTS: usize = 3;

    let redis = Redis::start();
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push(
            connect(&format!("redis://127.0.0.1:{}?ttl=600s", redis.port()))
                .await
                .unwrap(),
        );
    }
    let before = redis.calls("evalsha");
    let mut contenders = JoinSet::new();
    for sync in clients {
        contenders.spawn(async move {
            let lock = sync.lock("hot", LockOptions::new()).unwrap();
            for _ in 0..GRANTS {
                let guard = lock.acquire().await.unwrap();
                // The other clients are queued by the time of the release.
                tokio::time::sleep(Duration::from_millis(3)).await;
                guard.release().await.unwrap();
            }
            sync
        });
    }
    let clients = contenders.join_all().await;
    let grants = GRANTS * CLIENTS;
    let acquires = redis.calls("evalsha") - before - grants;
    assert!(
        acquires * 10 <= grants * 11,
        "{acquires} scripts that acquire for {grants} grants"
    );
    drop(clients);
}

/// Asserts that a waiter on Consul reads about once more after the claim ahead has left, and then
/// holds the lock.
#[tokio::test]
async fn a_hand_over_on_consul_asks_once() {
    const GRANTS: u64 = 20;

    let consul = Consul::start();
    let recorder = Recorder::before("consul", consul.port());
    let waiting = connect(&format!("consul://127.0.0.1:{}?ttl=600s", recorder.port))
        .await
        .unwrap();
    let direct = connect(&format!("consul://127.0.0.1:{}?ttl=600s", consul.port()))
        .await
        .unwrap();
    let hot = direct.lock("hot", LockOptions::new()).unwrap();
    let guard = hot.acquire().await.unwrap();
    let mut waiters = JoinSet::new();
    for _ in 0..GRANTS {
        let lock = waiting.lock("hot", LockOptions::new()).unwrap();
        waiters.spawn(async move { lock.acquire().await.unwrap().release().await.unwrap() });
    }
    while hot.inspect().await.unwrap().waiters().count() < usize::try_from(GRANTS).unwrap() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    quiet(&recorder).await;
    let (_, turns) = recorder
        .turns(async {
            guard.release().await.unwrap();
            waiters.join_all().await
        })
        .await;
    // Each waiter also sends one release.
    let requests = turns - GRANTS;
    assert!(
        requests * 2 <= GRANTS * 3,
        "{requests} requests for {GRANTS} grants"
    );
    assert!(
        requests >= GRANTS,
        "{requests} requests for {GRANTS} grants: nobody looks"
    );
}
