//! The server with and without a data folder, and the time to restore a large table.

use std::time::{Duration, Instant};

use distsync_core::Mode;
use distsync_core::spi::{ClaimId, Secret, SessionId};
use distsync_netlock::engine::{Command, Terms};
use distsync_netlock::wire::{encode, encode_command, proto};
use distsync_netlock::{Durability, Server, ServerOptions, StorageOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{ROUND, ROUNDS, raw, side};

/// The number of locks that are held when the server ends.
const HELD: u32 = 100_000;

async fn serve(listener: TcpListener, storage: StorageOptions) {
    let options = ServerOptions {
        storage: Some(storage),
        ..ServerOptions::default()
    };
    Server::on(listener, options)
        .expect("a server")
        .run(CancellationToken::new())
        .await;
}

pub(crate) fn table() {
    println!(
        "with a data folder            pairs/s without   async   of that   wanted    fsync   of that"
    );
    for (connections, window) in [(1, 1), (1, 256), (16, 16)] {
        let kept = |durability| {
            let folder = tempfile::tempdir().expect("a folder");
            let storage = StorageOptions::new(folder.path()).with_durability(durability);
            side::serving(
                move |listener| serve(listener, storage),
                |address| raw::load(address, connections, window, ROUND),
            )
        };
        let without = || {
            side::serving(raw::serve, |address| {
                raw::load(address, connections, window, ROUND)
            })
        };
        let (without, with) = side::interleaved(without, || kept(Durability::Async));
        // Run them separately, so that their pending writes slow nothing else.
        let fsync = side::median((0..ROUNDS).map(|_| kept(Durability::Fsync)).collect());
        println!(
            "{connections:>4} x {window:<4} {without:>30.0} {with:>9.0} {:>7.2}      0.8 {fsync:>9.0} {:>7.2}",
            with / without,
            fsync / without,
        );
    }
    println!(
        "{HELD} held locks are back after {:.2} s (wanted: 2)\n",
        restart().as_secs_f64()
    );
}

/// Returns how long a server takes to start on a folder with [`HELD`] held locks.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn restart() -> Duration {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = StorageOptions::new(folder.path());
    let first = storage.clone();
    side::serving(
        move |listener| serve(listener, first),
        |address| side::runtime().block_on(hold(address, HELD)),
    );
    let start = Instant::now();
    side::runtime().block_on(async {
        let options = ServerOptions {
            storage: Some(storage),
            ..ServerOptions::default()
        };
        let server = Server::bind("127.0.0.1:0", options)
            .await
            .expect("the folder is good");
        assert_eq!(server.observer().stats().claims, HELD as usize);
        start.elapsed()
    })
}

/// Acquires locks and does not release them.
pub(crate) async fn hold(address: std::net::SocketAddr, held: u32) {
    let session = SessionId::from_bits(1);
    let mut stream = TcpStream::connect(address).await.expect("connect");
    let mut out = raw::hello();
    let (secret, ttl) = (Secret::from_bits(7), Duration::from_secs(600));
    encode_command(
        2,
        1,
        Command::Open {
            session,
            secret,
            terms: Terms::lasting(ttl),
            client: "bench",
            isolation: b"",
        },
        &mut out,
    );
    for number in 0..held {
        let (claim, name) = (
            ClaimId::from_bits(u128::from(number) + 1),
            format!("bench/l/name-{number}"),
        );
        let (mode, waits, value) = (Mode::Exclusive, true, &b""[..]);
        let enqueue = Command::Enqueue {
            session,
            claim,
            name: name.as_bytes(),
            mode,
            waits,
            value,
        };
        encode_command(u64::from(number) + 3, 1, enqueue, &mut out);
    }
    let ping = proto::request::Body::Ping(proto::Ping {});
    encode(
        &proto::Request {
            id: u64::from(held) + 3,
            body: Some(ping),
        },
        &mut out,
    );
    let (mut reads, mut writes) = stream.split();
    let ask = writes.write_all(&out);
    let listen = async {
        let mut answers = Vec::new();
        // The last reply is the pong: four bytes of length, the id, and an empty message with a tag
        // of two bytes.
        loop {
            reads.read_buf(&mut answers).await.expect("read");
            if answers.ends_with(&[0x82, 0x01, 0]) {
                return;
            }
        }
    };
    tokio::join!(async { ask.await.expect("write") }, listen);
}
