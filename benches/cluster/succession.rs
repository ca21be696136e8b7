//! How long nobody is granted a lock when the leader ends.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use distsync::{LockOptions, connect};
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::nodes::Nodes;

/// The number of leaders that end in each way.
const ENDS: usize = 20;
/// The number of clients, each with a name of its own.
const CLIENTS: usize = 4;
/// How long the clients work before a leader ends, and after another one leads.
const WORK: Duration = Duration::from_secs(2);

pub(crate) fn table(program: &str) {
    println!("the leader ends {ENDS} times: s without a grant      p50     longest   wanted");
    for (end, signal, wanted) in [
        ("kill -9", Signal::KILL, "1.5"),
        ("SIGTERM, which hands over", Signal::TERM, "0.2"),
    ] {
        let mut gaps = gaps(program, signal);
        gaps.sort_by(f64::total_cmp);
        println!(
            "{end:<40} {:>11.2} {:>11.2} {wanted:>8}",
            gaps[gaps.len() / 2],
            gaps[gaps.len() - 1]
        );
    }
    println!();
}

/// Ends leaders, and returns the longest time without a grant after each end, in seconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn gaps(program: &str, signal: Signal) -> Vec<f64> {
    let mut nodes = Nodes::start(program);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let grants: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (url, grants) = (nodes.url(), grants.clone());
        let work = async move {
            let sync = connect(&url).await.expect("connect");
            let name = format!("bench-{client}");
            let lock = sync.lock(&name, LockOptions::new()).expect("a lock");
            loop {
                if let Ok(guard) = lock.acquire().await {
                    grants.lock().expect("no panic").push(Instant::now());
                    let _ = guard.release().await;
                }
            }
        };
        clients.spawn_on(work, runtime.handle());
    }
    let mut gaps = Vec::new();
    for _ in 0..ENDS {
        std::thread::sleep(WORK);
        let leader = nodes.leader();
        *grants.lock().expect("no panic") = vec![Instant::now()];
        nodes.signal(leader, signal);
        nodes.restart(leader);
        nodes.leader();
        let led = Instant::now();
        let last = || grants.lock().expect("no panic").last().copied();
        while last().is_none_or(|last| last < led) {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(WORK);
        let mut grants = grants.lock().expect("no panic");
        grants.sort_unstable();
        let between = grants.windows(2).map(|two| two[1] - two[0]);
        gaps.push(between.max().expect("grants").as_secs_f64());
    }
    runtime.block_on(clients.shutdown());
    gaps
}
