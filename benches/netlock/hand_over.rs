//! The time from the release of a contended name to the grant of the next waiter.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use distsync::{LockOptions, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{echo, raw, side};

/// The number of hand-overs, and of round trips, measured in a round.
const SAMPLES: usize = 200;

pub(crate) fn table() {
    println!(
        "hand-over, one name, 64 waiters      median    p99   loopback round trip   median / round trip   wanted"
    );
    let mut ratios = Vec::new();
    let (mut medians, mut tails, mut trips) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..super::ROUNDS {
        let trip = side::serving(echo::serve, round_trip);
        let (median, tail) = side::serving(raw::serve, hand_overs);
        ratios.push(median / trip);
        medians.push(median);
        tails.push(tail);
        trips.push(trip);
    }
    println!(
        "                               {:>9.1} us {:>4.0} us {:>15.1} us {:>21.2} {:>8}\n",
        side::median(medians),
        side::median(tails),
        side::median(trips),
        side::median(ratios),
        1.5
    );
}

/// Returns the median round trip of one echoed frame, in microseconds, with the same pause before
/// each as before a hand-over.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn round_trip(address: SocketAddr) -> f64 {
    side::runtime().block_on(async {
        let mut stream = TcpStream::connect(address).await.expect("connect");
        stream.set_nodelay(true).expect("nodelay");
        let (mut frame, mut trips) = ([7; 64], Vec::new());
        for _ in 0..SAMPLES {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let start = Instant::now();
            stream.write_all(&frame).await.expect("write");
            stream.read_exact(&mut frame).await.expect("read");
            trips.push(start.elapsed().as_secs_f64() * 1e6);
        }
        side::median(trips)
    })
}

/// Returns the median and the 99th percentile, in microseconds, of the time from just before a
/// release to the return of the next `acquire`.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn hand_overs(address: SocketAddr) -> (f64, f64) {
    side::runtime().block_on(async {
        let sync = connect(&format!("netlock://{address}"))
            .await
            .expect("connect");
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel::<f64>();
        let released = std::rc::Rc::new(std::cell::Cell::new(None::<Instant>));
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let mut waiters = JoinSet::new();
                for _ in 0..64 {
                    let lock = sync.lock("hot", LockOptions::new()).expect("a lock");
                    let (tell, released) = (tell.clone(), released.clone());
                    waiters.spawn_local(async move {
                        loop {
                            let guard = lock.acquire().await.expect("acquire");
                            if let Some(start) = released.take() {
                                let _ = tell.send(start.elapsed().as_secs_f64() * 1e6);
                            }
                            // All other tasks are queued again before the next hand-over.
                            tokio::time::sleep(Duration::from_millis(1)).await;
                            released.set(Some(Instant::now()));
                            guard.release().await.expect("release");
                        }
                    });
                }
                let mut times = Vec::new();
                while times.len() < SAMPLES {
                    times.push(told.recv().await.expect("a hand-over"));
                }
                times.sort_by(f64::total_cmp);
                (times[times.len() / 2], times[times.len() * 99 / 100])
            })
            .await
    })
}
