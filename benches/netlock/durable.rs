//! Durable servers: `cargo bench --bench netlock -- durable EARLIER LATER`, with the paths of two
//! builds of netlockd. Their data folders, and the append-only file of a Redis server beside them,
//! are in the folder for temporary files, so `TMPDIR` selects the disk.
//!
//! The lock of Redis is `SET NX PX`, and a script that deletes the key if it has the value. It has
//! no queue, no session and no fencing token.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use distsync::{LockOptions, connect};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::programs::Program;
use super::{ROUND, ROUNDS, flood, kept, raw, side};

/// The number of locks that are held while the log is replaced.
const HELD: u32 = 1_000_000;
/// How long a good client is measured while the log is replaced.
const EVENT: Duration = Duration::from_secs(12);
/// The script of Redis that releases a lock.
const RELEASE: &str =
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";

/// One side of the comparison.
#[derive(Clone, Copy)]
enum Side<'a> {
    Netlock(&'a str, &'static str),
    Redis(&'static str),
}

pub(crate) fn table(earlier: &str, later: &str) {
    let sides = [
        ("earlier, no folder", Side::Netlock(earlier, "")),
        ("no folder", Side::Netlock(later, "")),
        ("earlier, async", Side::Netlock(earlier, "async")),
        ("async", Side::Netlock(later, "async")),
        ("earlier, fsync", Side::Netlock(earlier, "fsync")),
        ("fsync", Side::Netlock(later, "fsync")),
        ("redis, everysec", Side::Redis("everysec")),
        ("redis, always", Side::Redis("always")),
    ];
    println!("durable                              pairs/s   us of processor a pair   wanted");
    for (connections, window, wanted) in [(1, 64, 2.0), (1, 256, 2.5), (4, 64, 2.0)] {
        let mut rounds = vec![Vec::new(); sides.len()];
        for _ in 0..ROUNDS {
            for ((_, side), rounds) in sides.iter().zip(&mut rounds) {
                rounds.push(side.round(connections, window));
            }
        }
        let of = |side: usize, what: fn(&(f64, f64)) -> f64| {
            side::median(rounds[side].iter().map(what).collect())
        };
        for (side, (name, _)) in sides.iter().enumerate() {
            println!(
                "{connections:>4} x {window:<4} {name:<20} {:>12.0} {:>24.2}",
                of(side, |round| round.0),
                of(side, |round| round.1)
            );
        }
        let ratio = |one: usize, other: usize| {
            let ratios = rounds[one].iter().zip(&rounds[other]);
            side::median(ratios.map(|(one, other)| one.0 / other.0).collect())
        };
        println!(
            "{connections:>4} x {window:<4} fsync: {:.2} x earlier, {:.2} x redis always (wanted: {wanted}); async: {:.2} of \
             no folder (wanted: 0.95; earlier {:.2}), {:.2} x redis everysec",
            ratio(5, 4),
            ratio(5, 7),
            ratio(3, 1),
            ratio(2, 0),
            ratio(3, 6),
        );
    }
    println!();
    for (name, path) in [("earlier", earlier), ("later", later)] {
        turn_over(name, path);
    }
    println!();
}

impl Side<'_> {
    /// Returns pairs per second, and the processor time of a pair in microseconds.
    fn round(self, connections: usize, window: usize) -> (f64, f64) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_str().expect("a path");
        match self {
            Self::Netlock(program, durability) => {
                let flags = ["--data-dir", path, "--durability", durability];
                let flags = if durability.is_empty() {
                    &[]
                } else {
                    &flags[..]
                };
                let program = Program::start(program, flags);
                let address: SocketAddr = program.address.parse().expect("an address");
                measured(program.id(), || {
                    raw::load(address, connections, window, ROUND)
                })
            }
            Self::Redis(fsync) => {
                let redis = Redis::start(&folder, fsync);
                measured(redis.child.id(), || {
                    redis_load(redis.address, connections, window, ROUND)
                })
            }
        }
    }
}

/// Runs a load, and returns its pairs per second and the processor time of a pair in microseconds.
fn measured(process: u32, load: impl FnOnce() -> f64) -> (f64, f64) {
    let before = busy(process);
    let per_second = load();
    let busy = busy(process) - before;
    (per_second, busy * 1e6 / (per_second * ROUND.as_secs_f64()))
}

/// Returns the processor time of all threads of a process so far, in seconds.
fn busy(process: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("it lives");
    let times = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok());
    times.sum::<f64>() / 1e9
}

/// Prints the longest waits of a good client with one request in flight, while another connection
/// writes so much that the log is replaced.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn turn_over(name: &str, path: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a path");
    let program = Program::start(path, &["--data-dir", data, "--durability", "async"]);
    let address: SocketAddr = program.address.parse().expect("an address");
    side::runtime().block_on(kept::hold(address, HELD));
    let before = program.resident();
    let url = format!("netlock://{address}");
    let good = std::thread::spawn(move || {
        side::runtime().block_on(async {
            let sync = connect(&url).await.expect("connect");
            let lock = sync.lock("good", LockOptions::new()).expect("a lock");
            flood::pairs(&*lock, EVENT).await
        })
    });
    let (start, mut log, mut replaced) = (Instant::now(), newest_log(&folder), 0);
    while start.elapsed() < EVENT {
        raw::load(address, 1, 64, ROUND);
        let newest = newest_log(&folder);
        replaced += newest - log;
        log = newest;
    }
    let pairs = good.join().expect("it ends");
    println!(
        "{name}: {HELD} held, the log is replaced {replaced} times: a good client waits p50 {:.2} ms, p99 {:.2} ms, longest \
         {:.2} ms; memory grew by {} MiB",
        pairs.p50,
        pairs.p99,
        pairs.longest,
        program.resident().saturating_sub(before) >> 20,
    );
}

/// Returns the number of the newest log in a folder.
fn newest_log(folder: &TempDir) -> u64 {
    let names = std::fs::read_dir(folder.path())
        .expect("a folder")
        .flatten();
    names
        .filter_map(|entry| {
            entry
                .file_name()
                .to_str()?
                .strip_prefix("log-")?
                .parse()
                .ok()
        })
        .max()
        .unwrap_or_default()
}

/// A Redis server with an append-only file, which ends with its load.
struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Redis {
    fn start(folder: &TempDir, fsync: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let child = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", fsync])
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is on the PATH");
        while std::net::TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, address }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn redis_load(address: SocketAddr, connections: usize, window: usize, time: Duration) -> f64 {
    side::runtime().block_on(async {
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for connection in 0..connections {
            let stream = TcpStream::connect(address).await.expect("connect");
            stream.set_nodelay(true).expect("nodelay");
            tasks.spawn(redis_pairs(stream, connection, window, start, time));
        }
        let pairs: usize = tasks.join_all().await.into_iter().sum();
        pairs as f64 / start.elapsed().as_secs_f64()
    })
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out += &format!("${}\r\n{word}\r\n", word.len());
    }
    out.into_bytes()
}

async fn redis_pairs(
    mut stream: TcpStream,
    connection: usize,
    window: usize,
    start: Instant,
    time: Duration,
) -> usize {
    stream
        .write_all(&command(&["SCRIPT", "LOAD", RELEASE]))
        .await
        .expect("write");
    let mut inbox = BytesMut::with_capacity(64 << 10);
    while !inbox.ends_with(b"\r\n") || inbox.iter().filter(|byte| **byte == b'\n').count() < 2 {
        stream.read_buf(&mut inbox).await.expect("read");
    }
    let sha = String::from_utf8(inbox.split()[5..45].to_vec()).expect("a hash");
    let slots: Vec<[Vec<u8>; 2]> = (0..window)
        .map(|slot| {
            let name = format!("bench/l/c{connection}-n{slot}");
            let value = "0123456789abcdef";
            [
                command(&["SET", &name, value, "NX", "PX", "60000"]),
                command(&["EVALSHA", &sha, "1", &name, value]),
            ]
        })
        .collect();
    let mut out: Vec<u8> = slots.iter().flat_map(|slot| slot[0].clone()).collect();
    // Replies come in the order of the requests.
    let mut asked: VecDeque<(usize, bool)> = (0..window).map(|slot| (slot, false)).collect();
    let mut pairs = 0;
    while start.elapsed() < time {
        stream.write_all(&out).await.expect("write");
        out.clear();
        inbox.reserve(64 << 10);
        stream.read_buf(&mut inbox).await.expect("read");
        while let Some(end) = inbox.iter().position(|byte| *byte == b'\n') {
            let (slot, is_release) = asked.pop_front().expect("a request");
            let expected: &[u8] = if is_release { b":1\r\n" } else { b"+OK\r\n" };
            assert_eq!(&inbox[..=end], expected);
            inbox.advance(end + 1);
            pairs += usize::from(is_release);
            out.extend_from_slice(&slots[slot][usize::from(!is_release)]);
            asked.push_back((slot, !is_release));
        }
    }
    pairs
}
