//! A Redis server on loopback, under a load of the cheapest lock that it has: `SET key NX PX` and
//! `DEL key`. That lock has no queue, no session and no fencing token.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::side;

/// A Redis server that ends with its load.
pub(crate) struct Redis {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Redis {
    /// Starts a server that keeps nothing on the disk.
    pub(crate) fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let child = Command::new("redis-server")
            .args(["--port", &address.port().to_string()])
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
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

/// Returns pairs per second, with `window` requests in flight on each of `connections`.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn load(address: SocketAddr, connections: usize, window: usize, time: Duration) -> f64 {
    side::runtime().block_on(async {
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for connection in 0..connections {
            let stream = TcpStream::connect(address).await.expect("connect");
            stream.set_nodelay(true).expect("nodelay");
            tasks.spawn(pairs(stream, connection, window, start, time));
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

async fn pairs(
    mut stream: TcpStream,
    connection: usize,
    window: usize,
    start: Instant,
    time: Duration,
) -> usize {
    let slots: Vec<[Vec<u8>; 2]> = (0..window)
        .map(|slot| {
            let name = format!("bench/l/c{connection}-n{slot}");
            let value = "0123456789abcdef";
            [
                command(&["SET", &name, value, "NX", "PX", "60000"]),
                command(&["DEL", &name]),
            ]
        })
        .collect();
    let mut out: Vec<u8> = slots.iter().flat_map(|slot| slot[0].clone()).collect();
    let mut inbox = BytesMut::with_capacity(64 << 10);
    // Replies come in the order of the requests. Each slot alternates, so the requests in flight
    // are always one of each slot in the same order.
    let (mut next, mut replies) = (0, 0_usize);
    while start.elapsed() < time {
        stream.write_all(&out).await.expect("write");
        out.clear();
        inbox.reserve(64 << 10);
        stream.read_buf(&mut inbox).await.expect("read");
        while let Some(end) = inbox.iter().position(|byte| *byte == b'\n') {
            assert!(
                matches!(inbox[..end + 1], [b'+', b'O', ..] | [b':', b'1', ..]),
                "an unexpected reply: {inbox:?}"
            );
            inbox.advance(end + 1);
            // Slots are numbered within a round, and all of a round are of one kind.
            let kind = (replies / window + 1) % 2;
            out.extend_from_slice(&slots[next][kind]);
            next = (next + 1) % window;
            replies += 1;
        }
    }
    replies / 2
}
