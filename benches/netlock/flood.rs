//! A minute of peers that send requests and never read: the effect on a well-behaved client, and
//! the cost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use distsync::{Lock, LockOptions, connect};
use distsync_netlock::wire::{encode, proto};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{memory, raw, side};

const PEERS: usize = 256;
const MINUTE: Duration = Duration::from_secs(60);
const BEFORE: Duration = Duration::from_secs(3);

pub(crate) fn table() {
    side::serving(raw::serve, |address| {
        let (alone, during, cut, grown) = side::runtime().block_on(measure(address));
        println!(
            "{PEERS} peers flood and never read, {MINUTE:?}       pairs/s         p50         p99     longest"
        );
        for (case, pairs) in [("a good client alone", alone), ("beside the flood", during)] {
            println!(
                "{case:<22}                     {:>13.0} {:>8.2} ms {:>8.2} ms {:>8.2} ms",
                pairs.per_second, pairs.p50, pairs.p99, pairs.longest
            );
        }
        println!(
            "peers cut and back again: {cut}; memory grown by {} MiB\n",
            grown >> 20
        );
    });
}

/// Returns the duration of each pair of one task, in milliseconds.
pub(crate) struct Pairs {
    pub(crate) per_second: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

async fn measure(address: SocketAddr) -> (Pairs, Pairs, u64, usize) {
    let sync = connect(&format!("netlock://{address}"))
        .await
        .expect("connect");
    // A queue with a long reply: 40 readers with 1 KiB each.
    let readers = sync
        .lock("a", LockOptions::shared().with_value(vec![7; 1_024]))
        .expect("a lock");
    let mut crowd = Vec::new();
    for _ in 0..40 {
        crowd.push(readers.acquire().await.expect("a read lock"));
    }
    let lock = sync.lock("b", LockOptions::new()).expect("a lock");
    let alone = pairs(&*lock, BEFORE).await;

    let before = memory::resident();
    let over = Arc::new(AtomicBool::new(false));
    let cut = Arc::new(AtomicU64::new(0));
    let (stop, told) = (over.clone(), cut.clone());
    let flood = std::thread::spawn(move || side::runtime().block_on(flood(address, stop, told)));
    let during = pairs(&*lock, MINUTE).await;
    let grown = memory::resident().saturating_sub(before);
    over.store(true, Ordering::Relaxed);
    flood.join().expect("the flood ends");
    sync.close().await.expect("close");
    (alone, during, cut.load(Ordering::Relaxed), grown)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) async fn pairs(lock: &dyn Lock, time: Duration) -> Pairs {
    let start = Instant::now();
    let mut took = Vec::new();
    while start.elapsed() < time {
        let begun = Instant::now();
        lock.acquire()
            .await
            .expect("acquire")
            .release()
            .await
            .expect("release");
        took.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    took.sort_by(f64::total_cmp);
    Pairs {
        per_second: took.len() as f64 / start.elapsed().as_secs_f64(),
        p50: took[took.len() / 2],
        p99: took[took.len() * 99 / 100],
        longest: took[took.len() - 1],
    }
}

/// Peers that write as much as the server accepts, and reconnect when they are closed.
async fn flood(address: SocketAddr, over: Arc<AtomicBool>, cut: Arc<AtomicU64>) {
    let mut out = raw::hello();
    for id in 2..1_000 {
        let inspect = proto::request::Body::Inspect(proto::Inspect {
            name: b"distsync/l/a".to_vec().into(),
        });
        encode(
            &proto::Request {
                id,
                body: Some(inspect),
            },
            &mut out,
        );
    }
    let out: Arc<[u8]> = out.into();
    let mut peers = JoinSet::new();
    for _ in 0..PEERS {
        let (out, over, cut) = (out.clone(), over.clone(), cut.clone());
        peers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                let Ok(mut stream) = TcpStream::connect(address).await else {
                    continue;
                };
                loop {
                    match tokio::time::timeout(Duration::from_millis(200), stream.write_all(&out))
                        .await
                    {
                        Err(_) if over.load(Ordering::Relaxed) => return,
                        Err(_) | Ok(Ok(())) => {}
                        Ok(Err(_)) => break,
                    }
                }
                cut.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    peers.join_all().await;
}
