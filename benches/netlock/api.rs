//! Acquire and release through the public API.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use distsync::{LockOptions, Sync, connect};
use tokio::task::JoinSet;

use super::side;

/// How a lock is given back.
#[derive(Clone, Copy)]
pub(crate) enum End {
    /// By `release`, which waits for the server.
    Release,
    /// By dropping the guard.
    Drop,
}

/// Returns pairs per second of `tasks` tasks on one handle, on a runtime of one thread or of
/// `workers`.
pub(crate) fn load(
    address: SocketAddr,
    tasks: usize,
    time: Duration,
    workers: usize,
    end: End,
) -> f64 {
    let runtime = if workers == 1 {
        side::runtime()
    } else {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(workers)
            .enable_all()
            .build()
            .expect("a runtime")
    };
    runtime.block_on(async move {
        let sync = connect(&format!("netlock://{address}"))
            .await
            .expect("connect");
        let rate = if workers == 1 {
            run(sync.clone(), tasks, time, end).await
        } else {
            // Run on a worker, like the code of users, instead of the thread that waits for the
            // runtime.
            let sync = sync.clone();
            let mut on_worker = JoinSet::new();
            on_worker.spawn(async move { run(sync, tasks, time, end).await });
            on_worker
                .join_next()
                .await
                .expect("a task")
                .expect("it ends")
        };
        sync.close().await.expect("close");
        rate
    })
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
async fn run(sync: Arc<dyn Sync>, tasks: usize, time: Duration, end: End) -> f64 {
    let mut set = JoinSet::new();
    let over = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    for task in 0..tasks {
        let lock = sync
            .lock(&format!("n{task}"), LockOptions::new())
            .expect("a lock");
        let over = over.clone();
        set.spawn(async move {
            let mut pairs = 0;
            while !over.load(Ordering::Relaxed) {
                let guard = lock.acquire().await.expect("acquire");
                match end {
                    End::Release => {
                        guard.release().await.expect("release");
                    }
                    End::Drop => drop(guard),
                }
                pairs += 1;
            }
            pairs
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    let pairs: usize = set.join_all().await.into_iter().sum();
    pairs as f64 / start.elapsed().as_secs_f64()
}
