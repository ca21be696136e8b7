//! `cargo bench --features full --bench stores`: acquire and release of a free name on each store,
//! compared with the same steps through the store's own client (create a key, delete it if it is
//! unchanged). Each store is one server on loopback. The two sides of a comparison take turns, and
//! the table shows the median of their rounds. A further table shows hand-overs.

mod bare;
mod hand_over;
#[path = "../../tests/stores/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests' own stores; the benchmark uses some of them"
)]
mod stores;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use distsync::{LockOptions, Sync, connect};
use tokio::task::JoinSet;

use stores::{Consul, Etcd, Redis};

/// The number of rounds of each side of a comparison.
const ROUNDS: usize = 6;
/// The length of one round.
const ROUND: Duration = Duration::from_millis(800);

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let section = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        println!("acquire + release of a free name, median of {ROUNDS} rounds of {ROUND:?}\n");
        println!("beside   in flight   bare pairs/s   distsync pairs/s   ratio   wanted");
        distsync_core::spi::tls::choose_cryptography();
        if section("redis") {
            let redis = Redis::start_in_memory();
            let url = format!("redis://127.0.0.1:{}", redis.port());
            table(
                "redis",
                &url,
                &bare::Redis::connect(redis.port()).await,
                0.8,
            )
            .await;
            table("rslock", &url, &bare::Rslock::connect(redis.port()), 1.0).await;
        }
        if section("etcd") {
            let etcd = Etcd::start();
            let url = format!("etcd://127.0.0.1:{}", etcd.port());
            table("etcd", &url, &bare::Etcd::connect(etcd.port()).await, 0.9).await;
        }
        if section("consul") {
            let consul = Consul::start();
            let url = format!("consul://127.0.0.1:{}", consul.port());
            table(
                "consul",
                &url,
                &bare::Consul::connect(consul.port()).await,
                0.9,
            )
            .await;
        }
        if section("handover") {
            println!(
                "\nhand-over     waiters   hold       grants          p50          p99      longest"
            );
            let (redis, etcd, consul) = (Redis::start_in_memory(), Etcd::start(), Consul::start());
            hand_over::table(&format!("redis://127.0.0.1:{}", redis.port())).await;
            hand_over::table(&format!("etcd://127.0.0.1:{}", etcd.port())).await;
            hand_over::etcd_table(etcd.port()).await;
            hand_over::etcd_floor(etcd.port()).await;
            hand_over::table(&format!("consul://127.0.0.1:{}", consul.port())).await;
        }
    });
}

async fn table<B: bare::Bare>(beside: &str, url: &str, bare: &B, wanted: f64) {
    let sync = connect(&format!("{url}?ttl=60s")).await.expect("connect");
    for tasks in [1, 16, 64] {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // The sides also take turns at being first, because a store becomes slower with its
            // history.
            for is_bare in [round % 2 == 0, round % 2 == 1] {
                if is_bare {
                    theirs.push(
                        rate(tasks, |task| {
                            bare.worker(format!("bare-{tasks}-{round}-{task}"))
                        })
                        .await,
                    );
                } else {
                    ours.push(
                        rate(tasks, |task| {
                            worker(&*sync, &format!("ours-{tasks}-{round}-{task}"))
                        })
                        .await,
                    );
                }
            }
        }
        let (theirs, ours) = (median(theirs), median(ours));
        println!(
            "{beside:<8} {tasks:>9} {theirs:>14.0} {ours:>18.0} {:>7.2} {wanted:>8}",
            ours / theirs
        );
    }
    sync.close().await.expect("close");
}

/// Returns a worker that acquires and releases `name` until it is stopped, and returns the count.
fn worker(sync: &dyn Sync, name: &str) -> impl FnOnce(Arc<AtomicBool>) -> bare::Work + use<> {
    let lock = sync.lock(name, LockOptions::new()).expect("a lock");
    |over| {
        Box::pin(async move {
            let mut pairs = 0;
            while !over.load(Ordering::Relaxed) {
                lock.acquire()
                    .await
                    .expect("acquire")
                    .release()
                    .await
                    .expect("release");
                pairs += 1;
            }
            pairs
        })
    }
}

/// Returns the pairs per second of `tasks` workers.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
async fn rate<W, F>(tasks: usize, worker: impl Fn(usize) -> W) -> f64
where
    W: FnOnce(Arc<AtomicBool>) -> F,
    F: Future<Output = u64> + Send + 'static,
{
    let over = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let mut set = JoinSet::new();
    for task in 0..tasks {
        set.spawn(worker(task)(over.clone()));
    }
    tokio::time::sleep(ROUND).await;
    over.store(true, Ordering::Relaxed);
    let pairs: u64 = set.join_all().await.into_iter().sum();
    pairs as f64 / start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    (values[middle - 1] + values[middle]) / 2.0
}
