//! A Redis server on loopback, under a load of locks: `SET key NX PX`, and a release. Such a lock
//! has no queue, no session and no fencing token.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::side::{self, Run};

/// The script that deletes a key if it has the value.
const DELETE_OWN: &str =
    "if redis.call('get',KEYS[1])==ARGV[1] then return redis.call('del',KEYS[1]) else return 0 end";

/// How a lock is released.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Release {
    /// By `DEL`, whoever holds the lock. No release is cheaper.
    Delete,
    /// By a script that deletes the key if it has the value.
    DeleteOwn,
}

/// A Redis server that ends with its load.
pub(crate) struct Redis {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Redis {
    /// Starts a server that keeps nothing on the disk.
    pub(crate) fn start() -> Self {
        Self::start_with(&mut Command::new("redis-server"), "no")
    }

    /// Starts a server with an append-only file in this folder, which is synced as `fsync` says.
    pub(crate) fn start_in(folder: &Path, fsync: &str) -> Self {
        let mut command = Command::new("redis-server");
        command.args(["--appendfsync", fsync, "--dir"]).arg(folder);
        Self::start_with(&mut command, "yes")
    }

    fn start_with(command: &mut Command, append_only: &str) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let child = command
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", append_only])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is on the PATH");
        while std::net::TcpStream::connect(address).is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, address }
    }

    /// Returns its processor time so far, in seconds.
    pub(crate) fn cpu(&self) -> f64 {
        side::cpu_of_threads(self.child.id()).iter().sum()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Counts pairs, and measures the processor time of the server, with `window` requests in flight on
/// each of `connections`.
pub(crate) fn measured(
    server: &Redis,
    release: Release,
    connections: usize,
    window: usize,
    time: Duration,
) -> Run<f64> {
    let address = server.address;
    side::together(
        connections,
        time,
        || server.cpu(),
        |number, start| async move {
            let greet = async |mut stream: TcpStream| {
                let hash = load_script(&mut stream).await;
                (stream, hash)
            };
            let (mut stream, hash) = start.connect(address, greet).await;
            let script = (release == Release::DeleteOwn).then_some(&*hash);
            let end = start.wait().await;
            (
                pairs(&mut stream, script, number, window, end).await,
                stream,
            )
        },
    )
}

fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out += &format!("${}\r\n{word}\r\n", word.len());
    }
    out.into_bytes()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
async fn pairs(
    stream: &mut TcpStream,
    script: Option<&str>,
    connection: usize,
    window: usize,
    end: Instant,
) -> usize {
    let mut inbox = BytesMut::with_capacity(64 << 10);
    let slots: Vec<[Vec<u8>; 2]> = (0..window)
        .map(|slot| {
            let name = format!("bench/l/c{connection}-n{slot}");
            let value = "0123456789abcdef";
            [
                command(&["SET", &name, value, "NX", "PX", "60000"]),
                match script {
                    None => command(&["DEL", &name]),
                    Some(script) => command(&["EVALSHA", script, "1", &name, value]),
                },
            ]
        })
        .collect();
    let mut out: Vec<u8> = slots.iter().flat_map(|slot| slot[0].clone()).collect();
    // Replies come in the order of the requests.
    let mut asked: VecDeque<(usize, bool)> = (0..window).map(|slot| (slot, false)).collect();
    let mut pairs = 0;
    while Instant::now() < end {
        stream.write_all(&out).await.expect("write");
        out.clear();
        inbox.reserve(64 << 10);
        stream.read_buf(&mut inbox).await.expect("read");
        while let Some(last) = inbox.iter().position(|byte| *byte == b'\n') {
            let (slot, is_release) = asked.pop_front().expect("a request");
            let expected: &[u8] = if is_release { b":1\r\n" } else { b"+OK\r\n" };
            assert_eq!(&inbox[..=last], expected);
            inbox.advance(last + 1);
            pairs += usize::from(is_release);
            out.extend_from_slice(&slots[slot][usize::from(!is_release)]);
            asked.push_back((slot, !is_release));
        }
    }
    pairs
}

/// Loads the script of a release, and returns its hash.
async fn load_script(stream: &mut TcpStream) -> String {
    let mut inbox = BytesMut::new();
    let load = command(&["SCRIPT", "LOAD", DELETE_OWN]);
    stream.write_all(&load).await.expect("write");
    while !inbox.ends_with(b"\r\n") || inbox.iter().filter(|byte| **byte == b'\n').count() < 2 {
        stream.read_buf(&mut inbox).await.expect("read");
    }
    String::from_utf8(inbox.split()[5..45].to_vec()).expect("a hash")
}
