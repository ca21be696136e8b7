//! The baseline: a bare TCP echo of 64-byte frames.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::side::{self, Run};

pub(crate) const FRAME: usize = 64;

pub(crate) async fn serve(listener: TcpListener) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("nodelay");
        connections.spawn(async move {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Serves on a free port until the process ends.
pub(crate) fn program() {
    side::allow_many_connections();
    side::runtime().block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        println!("listening on {address}");
        serve(listener).await;
    });
}

/// Returns frames per second, with `window` of them in flight on each of `connections`.
pub(crate) fn load(address: SocketAddr, connections: usize, window: usize, time: Duration) -> f64 {
    measured(address, connections, window, time, || ()).per_second
}

/// Counts frames, and measures the processor time of the server.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
pub(crate) fn measured<C>(
    address: SocketAddr,
    connections: usize,
    window: usize,
    time: Duration,
    cpu: impl Fn() -> C,
) -> Run<C> {
    side::together(connections, time, cpu, |_, start| async move {
        let mut buffer = vec![7; (64 << 10).max(window * FRAME)];
        let greet = async |mut stream: TcpStream| {
            stream.write_all(&[7; FRAME]).await.expect("write");
            stream.read_exact(&mut [0; FRAME]).await.expect("read");
            stream
        };
        let mut stream = start.connect(address, greet).await;
        let end = start.wait().await;
        let first = &buffer[..window * FRAME];
        stream.write_all(first).await.expect("write");
        let (mut frames, mut partial) = (0, 0);
        while Instant::now() < end {
            let read = stream.read(&mut buffer).await.expect("read");
            let whole = (partial + read) / FRAME;
            partial = (partial + read) % FRAME;
            frames += whole;
            let next = &buffer[..whole * FRAME];
            stream.write_all(next).await.expect("write");
        }
        (frames, stream)
    })
}
