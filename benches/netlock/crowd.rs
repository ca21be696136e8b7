//! The effect of many misbehaving clients on a well-behaved one, with a server process of its own:
//! `cargo bench --bench netlock -- crowd NETLOCKD`, with the path of the program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use distsync::{LockOptions, connect};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::flood::pairs;
use super::programs::Program;
use super::{raw, side};

const DRIBBLING: usize = 10_000;
const BOMBING: usize = 16;
/// The frame length that a bomb announces, and the bytes that it sends if the server accepts them.
const BOMB: u32 = 1 << 20;
const ALONE: Duration = Duration::from_secs(5);
const BESIDE: Duration = Duration::from_secs(30);

pub(crate) fn table(netlockd: &str) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .expect("more descriptors");
    let program = Program::start(netlockd, &[]);
    let address: SocketAddr = program.address.parse().expect("an address");
    side::runtime().block_on(async {
        let sync = connect(&format!("netlock://{address}")).await.expect("connect");
        let lock = sync.lock("a", LockOptions::new()).expect("a lock");
        let alone = pairs(&*lock, ALONE).await;
        let before = program.resident();
        let crowd = Crowd::default();
        let bad = crowd.clone();
        let thread = std::thread::spawn(move || side::runtime().block_on(bad.gather(address)));
        while crowd.there.load(Ordering::Relaxed) < DRIBBLING as u64 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let beside = pairs(&*lock, BESIDE).await;
        let grown = program.resident().saturating_sub(before);
        crowd.over.store(true, Ordering::Relaxed);
        thread.join().expect("the crowd goes home");
        sync.close().await.expect("close");
        println!("{DRIBBLING} peers dribble, {BOMBING} announce 1 MiB    pairs/s         p50         p99     longest");
        for (case, pairs) in [("a good client alone", &alone), ("beside the crowd", &beside)] {
            println!(
                "{case:<22}                     {:>13.0} {:>8.2} ms {:>8.2} ms {:>8.2} ms",
                pairs.per_second, pairs.p50, pairs.p99, pairs.longest
            );
        }
        println!(
            "p99 {:.2} times (wanted: 2); bombs cut: {}; memory grown by {} MiB\n",
            beside.p99 / alone.p99,
            crowd.cut.load(Ordering::Relaxed),
            grown >> 20
        );
    });
}

/// Misbehaving clients.
#[derive(Clone, Default)]
struct Crowd {
    /// The number that have connected.
    there: Arc<AtomicU64>,
    /// The number of bombs whose connection the server closed.
    cut: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Crowd {
    async fn gather(self, address: SocketAddr) {
        let hello: Arc<[u8]> = raw::hello().into();
        let mut peers = JoinSet::new();
        for number in 0..DRIBBLING + BOMBING {
            let (crowd, hello) = (self.clone(), hello.clone());
            peers.spawn(async move {
                // Do not start all at one moment.
                tokio::time::sleep(Duration::from_micros(200) * u32::try_from(number).unwrap_or(0))
                    .await;
                while !crowd.over.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(address).await else {
                        continue;
                    };
                    if stream.write_all(&hello).await.is_err() {
                        continue;
                    }
                    crowd.there.fetch_add(1, Ordering::Relaxed);
                    if number < BOMBING {
                        crowd.bomb(stream).await
                    } else {
                        crowd.dribble(stream).await
                    }
                }
            });
        }
        peers.join_all().await;
    }

    /// Sends one byte of a request per second, until the server closes the connection.
    async fn dribble(&self, mut stream: TcpStream) {
        while !self.over.load(Ordering::Relaxed) && stream.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn bomb(&self, mut stream: TcpStream) {
        let mut bytes = vec![7; BOMB as usize];
        bytes[..4].copy_from_slice(&BOMB.to_be_bytes());
        let _ = stream.write_all(&bytes).await;
        let mut last_words = Vec::new();
        let _ = stream.read_to_end(&mut last_words).await;
        self.cut.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
