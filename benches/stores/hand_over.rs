//! The time from the release of a contended name to the return of the next waiter's `acquire`.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use distsync::etcd::etcd_client::{Client, LockOptions as LeaseOf};
use distsync::{Guard, Lock, LockOptions, connect};
use tokio::task::JoinSet;

use super::ROUND;

/// The number of waiters beside the holder, and how long each holder holds.
const CASES: [(usize, Duration); 4] = [
    (1, Duration::ZERO),
    (1, Duration::from_millis(5)),
    (10, Duration::ZERO),
    (10, Duration::from_millis(5)),
];

/// A client that contends for a name.
trait Contender: Send + 'static {
    type Held: Send;

    fn acquire(&self) -> impl Future<Output = Self::Held> + Send;

    fn release(&self, held: Self::Held) -> impl Future<Output = ()> + Send;
}

impl Contender for Box<dyn Lock> {
    type Held = Guard;

    async fn acquire(&self) -> Guard {
        (**self).acquire().await.expect("acquire")
    }

    async fn release(&self, guard: Guard) {
        guard.release().await.expect("release");
    }
}

/// A client of etcd's own Lock service.
struct EtcdLock {
    client: Client,
    lease: i64,
}

impl Contender for EtcdLock {
    type Held = Vec<u8>;

    async fn acquire(&self) -> Vec<u8> {
        let options = LeaseOf::new().with_lease(self.lease);
        self.client
            .lock_client()
            .lock("own", Some(options))
            .await
            .expect("lock")
            .key()
            .to_vec()
    }

    async fn release(&self, key: Vec<u8>) {
        self.client.lock_client().unlock(key).await.expect("unlock");
    }
}

pub(crate) async fn table(url: &str) {
    let store = url.split(':').next().unwrap_or_default();
    for (number, (waiters, hold)) in CASES.into_iter().enumerate() {
        // Each contender has its own client, like separate processes, so they share no session.
        let mut locks = Vec::new();
        for _ in 0..=waiters {
            let sync = connect(&format!("{url}?ttl=60s")).await.expect("connect");
            locks.push(
                sync.lock(&format!("hot-{number}"), LockOptions::new())
                    .expect("a lock"),
            );
        }
        row(store, waiters, hold, measure(locks, hold).await);
    }
}

/// Measures etcd's own Lock service in the same cases.
pub(crate) async fn etcd_table(port: u16) {
    for (waiters, hold) in CASES {
        let mut locks = Vec::new();
        for _ in 0..=waiters {
            let client = Client::connect([format!("127.0.0.1:{port}")], None)
                .await
                .expect("connect");
            let lease = client
                .lease_client()
                .grant(60, None)
                .await
                .expect("a lease")
                .id();
            locks.push(EtcdLock { client, lease });
        }
        row("etcd lock", waiters, hold, measure(locks, hold).await);
    }
}

/// Measures the lower bound of a hand-over on etcd: a key is deleted and its watchers are notified.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) async fn etcd_floor(port: u16) {
    let connect = async || {
        Client::connect([format!("127.0.0.1:{port}")], None)
            .await
            .expect("connect")
    };
    let mut kv = connect().await.kv_client();
    for (waiters, hold) in CASES {
        let key = format!("floor-{waiters}-{hold:?}");
        let watch = async || {
            let mut watch = connect()
                .await
                .watch_client()
                .watch(&*key, None)
                .await
                .expect("a watch");
            watch.message().await.expect("told that it watches");
            watch
        };
        let mut others = JoinSet::new();
        for _ in 1..waiters {
            let mut watch = watch().await;
            others.spawn(async move { while watch.message().await.is_ok() {} });
        }
        let mut watch = watch().await;
        let mut times = Vec::new();
        let end = Instant::now() + 2 * ROUND;
        while Instant::now() < end {
            kv.put(&*key, "", None).await.expect("put");
            watch.message().await.expect("told of the put");
            tokio::time::sleep(hold).await;
            let start = Instant::now();
            let told = async {
                watch.message().await.expect("told of the deletion");
                start.elapsed().as_secs_f64() * 1e3
            };
            let (deleted, time) = tokio::join!(kv.delete(&*key, None), told);
            deleted.expect("delete");
            times.push(time);
        }
        row("etcd bare", waiters, hold, times);
    }
}

fn row(store: &str, waiters: usize, hold: Duration, mut times: Vec<f64>) {
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!(
        "{store:<10} {waiters:>8} {hold:>6?} {:>11} {:>9.2} ms {:>9.2} ms {:>9.2} ms",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

/// Returns the time of each hand-over in milliseconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
async fn measure<C: Contender>(contenders: Vec<C>, hold: Duration) -> Vec<f64> {
    let times = Arc::new(Mutex::new(Vec::new()));
    let released = Arc::new(Mutex::new(None::<Instant>));
    let end = Instant::now() + 2 * ROUND;
    let mut set = JoinSet::new();
    for contender in contenders {
        let (times, released) = (times.clone(), released.clone());
        set.spawn(async move {
            while Instant::now() < end {
                let held = contender.acquire().await;
                if let Some(start) = released.lock().expect("no panic").take() {
                    times
                        .lock()
                        .expect("no panic")
                        .push(start.elapsed().as_secs_f64() * 1e3);
                }
                if !hold.is_zero() {
                    tokio::time::sleep(hold).await;
                }
                *released.lock().expect("no panic") = Some(Instant::now());
                contender.release(held).await;
            }
        });
    }
    set.join_all().await;
    std::mem::take(&mut *times.lock().expect("no panic"))
}
