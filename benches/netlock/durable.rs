//! Durable servers: `cargo bench --bench netlock -- durable EARLIER LATER`, with the paths of two
//! builds of netlockd. Their data folders, and the append-only file of a Redis server beside them,
//! are in the folder for temporary files, so `TMPDIR` selects the disk.
//!
//! The lock of Redis is `SET NX PX`, and a script that deletes the key if it has the value. It has
//! no queue, no session and no fencing token.

use std::net::SocketAddr;
use std::time::Duration;

use distsync::{LockOptions, connect};
use tempfile::TempDir;

use super::programs::Program;
use super::redis::{self, Redis, Release};
use super::side::{self, Round, medians};
use super::{ROUND, ROUNDS, flood, kept, raw};

/// The number of locks that are held while the log is replaced. The limit of a principal is a
/// million.
const HELD: u32 = 990_000;
/// How long a good client is measured while the log is replaced.
const EVENT: Duration = Duration::from_secs(12);
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
        for ((name, _), rounds) in sides.iter().zip(&rounds) {
            let (per_second, cpu) = medians(rounds);
            println!("{connections:>4} x {window:<4} {name:<20} {per_second:>12.0} {cpu:>24.2}");
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
    fn round(self, connections: usize, window: usize) -> Round {
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
                raw::measured(address, connections, window, ROUND, || program.cpu()).round()
            }
            Self::Redis(fsync) => {
                let server = Redis::start_in(folder.path(), fsync);
                let release = Release::DeleteOwn;
                redis::measured(&server, release, connections, window, ROUND).round()
            }
        }
    }
}

/// Prints the longest waits of a good client with one request in flight, while another connection
/// writes so much that the log is replaced.
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
    let load = std::thread::spawn(move || raw::load(address, 1, 64, EVENT));
    let (mut log, mut replaced) = (newest_log(&folder), 0);
    while !load.is_finished() {
        std::thread::sleep(ROUND / 10);
        let newest = newest_log(&folder);
        replaced += newest - log;
        log = newest;
    }
    load.join().expect("it ends");
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
